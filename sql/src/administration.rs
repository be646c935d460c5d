//! Statements about who may do what: roles, privileges, owners, secrets.

use datafusion::sql::sqlparser::ast;

use crate::secret::Secret;
use crate::statement::ObjectKind;

/// A statement about roles, privileges, owners or secrets.
#[derive(Debug, Clone)]
pub enum Administration {
    /// `CREATE ROLE | USER | GROUP`.
    CreateRole(CreateRole),
    /// `ALTER ROLE | USER name [WITH] attribute …`.
    AlterRole {
        /// Which role.
        role: RoleName,
        /// What changes.
        attributes: RoleAttributes,
    },
    /// `ALTER ROLE name RENAME TO name`.
    RenameRole {
        /// Which role.
        name: String,
        /// Its new name.
        new_name: String,
    },
    /// `ALTER ROLE name SET … | RESET …`: what its sessions start with.
    SetForRole {
        /// Which role.
        role: RoleName,
        /// The [`ast::Statement::Set`] or [`ast::Statement::Reset`].
        setting: Box<ast::Statement>,
    },
    /// `DROP ROLE | USER | GROUP [IF EXISTS] name, …`.
    DropRoles {
        /// Which.
        names: Vec<RoleName>,
        /// True after IF EXISTS: a missing one is a NOTICE.
        if_exists: bool,
    },
    /// `GRANT role, … TO member, … [WITH ADMIN OPTION]`.
    GrantRoles {
        /// The roles.
        roles: Vec<String>,
        /// Who becomes a member.
        members: Vec<RoleName>,
        /// True if they may make others members.
        admin: bool,
    },
    /// `REVOKE [ADMIN OPTION FOR] role, … FROM member, …`.
    RevokeRoles {
        /// The roles.
        roles: Vec<String>,
        /// Who is no member any more.
        members: Vec<RoleName>,
        /// True if they stay members, who may not make others.
        admin_only: bool,
    },
    /// `GRANT privilege, … ON … TO …`.
    Grant(PrivilegeChange),
    /// `REVOKE [GRANT OPTION FOR] privilege, … ON … FROM …`.
    Revoke(PrivilegeChange),
    /// `ALTER … name OWNER TO role`.
    SetOwner {
        /// What it is.
        kind: ObjectKind,
        /// Which.
        name: String,
        /// True after IF EXISTS: a missing one is a NOTICE.
        if_exists: bool,
        /// The new owner.
        owner: RoleName,
    },
    /// `REASSIGN OWNED BY role, … TO role`.
    ReassignOwned {
        /// Whose objects.
        from: Vec<RoleName>,
        /// Their new owner.
        to: RoleName,
    },
    /// `DROP OWNED BY role, … [CASCADE | RESTRICT]`.
    DropOwned {
        /// Whose objects and privileges.
        by: Vec<RoleName>,
        /// True after CASCADE.
        cascade: bool,
    },
    /// `CREATE SECRET`.
    CreateSecret(CreateSecret),
    /// `DROP SECRET [IF EXISTS] name, …`.
    DropSecrets {
        /// Which.
        names: Vec<String>,
        /// True after IF EXISTS: a missing one is a NOTICE.
        if_exists: bool,
    },
}

/// A role as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleName {
    /// By its name.
    Name(String),
    /// `CURRENT_USER`, `CURRENT_ROLE`.
    CurrentUser,
    /// `SESSION_USER`.
    SessionUser,
    /// `PUBLIC`: everybody. In GRANT and REVOKE of privileges alone.
    Public,
}

/// `CREATE ROLE`.
#[derive(Debug, Clone)]
pub struct CreateRole {
    /// The role's name.
    pub name: String,
    /// True after IF NOT EXISTS: an existing role is a NOTICE.
    pub if_not_exists: bool,
    /// What it is; `CREATE USER` can log in unless it says otherwise.
    pub attributes: RoleAttributes,
    /// `IN ROLE`: the roles it becomes a member of.
    pub in_roles: Vec<String>,
    /// `ROLE`: who becomes a member of it.
    pub members: Vec<RoleName>,
    /// `ADMIN`: who does and may make others members.
    pub admins: Vec<RoleName>,
}

/// What a statement says of a role; what it does not mention is `None`.
#[derive(Debug, Clone, Default)]
pub struct RoleAttributes {
    /// `SUPERUSER`: may do everything.
    pub superuser: Option<bool>,
    /// `LOGIN`: may connect.
    pub login: Option<bool>,
    /// `INHERIT`: has the privileges of the roles it is a member of.
    pub inherit: Option<bool>,
    /// `CONNECTION LIMIT`: sessions at a time; -1 is any number.
    pub connection_limit: Option<i32>,
    /// `PASSWORD`: a password or a verifier of one; `Some(None)` is NULL.
    pub password: Option<Option<Secret>>,
    /// `VALID UNTIL`: until when the password is good, as written.
    pub valid_until: Option<String>,
}

/// What a privilege lets one do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privilege {
    /// Add rows.
    Insert,
    /// Read.
    Select,
    /// Change rows.
    Update,
    /// Delete rows.
    Delete,
    /// Empty a table.
    Truncate,
    /// Look into a schema; use a secret.
    Usage,
    /// Make objects.
    Create,
    /// Connect to a database.
    Connect,
}

impl Privilege {
    /// All of them, in the order in which PostgreSQL lists them.
    pub const ALL: [Self; 8] = [
        Self::Insert,
        Self::Select,
        Self::Update,
        Self::Delete,
        Self::Truncate,
        Self::Usage,
        Self::Create,
        Self::Connect,
    ];

    /// Its word in SQL.
    pub fn word(self) -> &'static str {
        match self {
            Self::Insert => "INSERT",
            Self::Select => "SELECT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Truncate => "TRUNCATE",
            Self::Usage => "USAGE",
            Self::Create => "CREATE",
            Self::Connect => "CONNECT",
        }
    }

    /// Its letter in an `aclitem`.
    pub fn letter(self) -> char {
        match self {
            Self::Insert => 'a',
            Self::Select => 'r',
            Self::Update => 'w',
            Self::Delete => 'd',
            Self::Truncate => 'D',
            Self::Usage => 'U',
            Self::Create => 'C',
            Self::Connect => 'c',
        }
    }

    /// The privilege of this word, in any case.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|privilege| privilege.word().eq_ignore_ascii_case(word))
    }

    /// The privilege of this letter.
    pub fn of_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|privilege| privilege.letter() == letter)
    }
}

/// GRANT or REVOKE of privileges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivilegeChange {
    /// Which; `None` is ALL.
    pub privileges: Option<Vec<Privilege>>,
    /// On what.
    pub on: Grantable,
    /// To, or from, whom.
    pub roles: Vec<RoleName>,
    /// `WITH GRANT OPTION`, `GRANT OPTION FOR`.
    pub grant_option: bool,
    /// REVOKE … CASCADE.
    pub cascade: bool,
}

/// What privileges can be on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grantable {
    /// Sources, tables and views, by name.
    Relations(Vec<String>),
    /// `ALL TABLES IN SCHEMA public`: all there are.
    AllRelations,
    /// `SCHEMA public`.
    Schema,
    /// `DATABASE name`.
    Database(Vec<String>),
    /// `SECRET name, …`.
    Secrets(Vec<String>),
    /// `ALL FUNCTIONS IN SCHEMA …` and other kinds of which there are none.
    Nothing,
}

/// `CREATE SECRET [IF NOT EXISTS] name [WITH (…)] [AS '…']`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateSecret {
    /// The secret's name.
    pub name: String,
    /// True after IF NOT EXISTS: an existing secret is a NOTICE.
    pub if_not_exists: bool,
    /// Where its value is.
    pub provider: SecretProvider,
}

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretProvider {
    /// In the data directory.
    Kept(Secret),
    /// In an environment variable of the server.
    Environment(String),
    /// In a file of the server, but for a line's end.
    File(String),
}

impl Administration {
    /// What it is about, by name: roles, relations, secrets.
    pub fn objects(&self) -> Vec<String> {
        let names = |roles: &[RoleName]| roles.iter().map(ToString::to_string).collect::<Vec<_>>();
        match self {
            Self::CreateRole(create) => vec![create.name.clone()],
            Self::AlterRole { role, .. } | Self::SetForRole { role, .. } => vec![role.to_string()],
            Self::RenameRole { name, new_name } => vec![name.clone(), new_name.clone()],
            Self::DropRoles { names: roles, .. } | Self::DropOwned { by: roles, .. } => names(roles),
            Self::GrantRoles { roles, members, .. } | Self::RevokeRoles { roles, members, .. } => {
                roles.iter().cloned().chain(names(members)).collect()
            }
            Self::Grant(change) | Self::Revoke(change) => {
                let on = match &change.on {
                    Grantable::Relations(names) | Grantable::Database(names) | Grantable::Secrets(names) => {
                        names.clone()
                    }
                    Grantable::AllRelations => vec!["ALL TABLES".into()],
                    Grantable::Schema => vec!["public".into()],
                    Grantable::Nothing => vec![],
                };
                on.into_iter().chain(names(&change.roles)).collect()
            }
            Self::SetOwner { name, owner, .. } => vec![name.clone(), owner.to_string()],
            Self::ReassignOwned { from, to } => names(from).into_iter().chain([to.to_string()]).collect(),
            Self::CreateSecret(create) => vec![create.name.clone()],
            Self::DropSecrets { names, .. } => names.clone(),
        }
    }
}

impl std::fmt::Display for RoleName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Name(name) => name,
            Self::CurrentUser => "CURRENT_USER",
            Self::SessionUser => "SESSION_USER",
            Self::Public => "PUBLIC",
        })
    }
}
