//! Who there is and what each may do: roles, memberships, owners and privileges, as one value.
//!
//! In: [`change`]s, each giving the next value. Out: answers to "may this role do that", asked of one value for a whole
//! statement. [`document`] keeps it in the data directory. Nothing here knows a session or reads a catalog: relations
//! are oids, and oids survive renaming and CREATE OR REPLACE.

pub mod access;
pub mod change;
pub mod document;
pub mod privileges;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sql::administration::Privilege;
use sql::{SqlError, SqlState};

use self::privileges::{Grant, Privileges};
use crate::backend::ScramVerifier;
use crate::pg_catalog::BOOTSTRAP_ROLE;

/// The superuser that is always there, and owns what nobody else does.
pub const SUPERUSER: &str = "tidemark";

/// The first oid of a role that a statement makes.
const FIRST_OID: u32 = 16_384;

/// May read every relation.
pub const READ_ALL_DATA: u32 = 6181;
/// Sees what others run.
pub const MONITOR: u32 = 3373;
/// May cancel and end sessions of others, but of superusers.
pub const SIGNAL_BACKEND: u32 = 4200;
/// May create sources and secrets, which make the server connect to other machines.
pub const CREATE_SOURCE: u32 = 9001;

/// Roles that are always there to be granted; nobody logs in as one.
const PREDEFINED: [(u32, &str); 4] = [
    (MONITOR, "pg_monitor"),
    (SIGNAL_BACKEND, "pg_signal_backend"),
    (READ_ALL_DATA, "pg_read_all_data"),
    (CREATE_SOURCE, "pg_create_source"),
];

/// A role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its oid, which stays.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// May do everything.
    pub superuser: bool,
    /// May connect.
    pub login: bool,
    /// Has the privileges of the roles it is a member of.
    pub inherit: bool,
    /// Sessions at a time; -1 is any number.
    pub connection_limit: i32,
    /// Until when its password is good, µs since 1970.
    pub valid_until: Option<i64>,
    /// What is kept of its password.
    pub verifier: Option<ScramVerifier>,
    /// What its sessions start with.
    pub settings: BTreeMap<String, String>,
}

impl Role {
    /// A role that can do nothing yet.
    pub fn new(oid: u32, name: impl Into<String>) -> Self {
        Self {
            oid,
            name: name.into(),
            superuser: false,
            login: false,
            inherit: true,
            connection_limit: -1,
            valid_until: None,
            verifier: None,
            settings: BTreeMap::new(),
        }
    }
}

/// That a role is a member of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// The other.
    pub role: u32,
    /// The member.
    pub member: u32,
    /// Who made it one.
    pub grantor: u32,
    /// It may make others members.
    pub admin: bool,
}

/// What privileges are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Securable {
    /// A source, table, view or materialized view, or a relation that comes with one.
    Relation(u32),
    /// The schema public.
    Schema,
    /// The database.
    Database,
    /// A secret.
    Secret(u32),
}

impl Securable {
    /// Every privilege there is on it.
    pub fn all(self) -> Privileges {
        use Privilege::{Connect, Create, Delete, Insert, Select, Truncate, Update, Usage};
        match self {
            Self::Relation(_) => Privileges::of([Insert, Select, Update, Delete, Truncate]),
            Self::Schema => Privileges::of([Usage, Create]),
            Self::Database => Privileges::of([Connect]),
            Self::Secret(_) => Privileges::of([Usage]),
        }
    }

    /// What everybody has without a GRANT, until somebody revokes it.
    fn of_public(self) -> Privileges {
        match self {
            Self::Relation(_) | Self::Secret(_) => Privileges::default(),
            Self::Schema => Privileges::of([Privilege::Usage]),
            Self::Database => Privileges::of([Privilege::Connect]),
        }
    }
}

/// All roles and what they may do, at one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    next_oid: u32,
    roles: BTreeMap<u32, Arc<Role>>,
    memberships: Vec<Membership>,
    /// Who owns what; what is not here is the superuser's.
    owners: BTreeMap<Securable, u32>,
    /// Privileges that were granted or revoked; what is not here has those it begins with.
    grants: BTreeMap<Securable, Vec<Grant>>,
    /// The superuser's password is the configuration's, and not to be changed by a statement.
    pub password_is_configured: bool,
    /// Salts of roles that do not exist are derived from it.
    pub mock_secret: [u8; 32],
}

impl Default for Roles {
    fn default() -> Self {
        let superuser = Role { superuser: true, login: true, ..Role::new(BOOTSTRAP_ROLE, SUPERUSER) };
        let predefined = PREDEFINED.map(|(oid, name)| Role::new(oid, name));
        let all = predefined.into_iter().chain([superuser]);
        Self {
            next_oid: FIRST_OID,
            roles: all.map(|role| (role.oid, Arc::new(role))).collect(),
            memberships: Vec::new(),
            owners: BTreeMap::new(),
            grants: BTreeMap::new(),
            password_is_configured: false,
            mock_secret: rand::random(),
        }
    }
}

impl Roles {
    /// The role of this oid.
    pub fn get(&self, oid: u32) -> Option<&Arc<Role>> {
        self.roles.get(&oid)
    }

    /// The role of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.values().find(|role| role.name == name)
    }

    /// The role of this name.
    ///
    /// # Errors
    /// 42704 if there is none.
    pub fn expect(&self, name: &str) -> Result<&Arc<Role>, SqlError> {
        self.named(name).ok_or_else(|| no_role(name))
    }

    /// The name of a role; its oid if it is gone.
    pub fn name_of(&self, oid: u32) -> String {
        self.get(oid).map_or_else(|| oid.to_string(), |role| role.name.clone())
    }

    /// All of them, by oid.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    /// All memberships, in the order in which they came.
    pub fn memberships(&self) -> &[Membership] {
        &self.memberships
    }

    /// True if a role may do everything.
    pub fn is_superuser(&self, role: u32) -> bool {
        self.get(role).is_some_and(|role| role.superuser)
    }

    /// The role and all whose privileges it has, as far as INHERIT reaches.
    pub fn acting(&self, role: u32) -> BTreeSet<u32> {
        self.reached(role, |member| self.get(member).is_some_and(|member| member.inherit))
    }

    /// The role and all it is a member of, however far away.
    pub fn member_of(&self, role: u32) -> BTreeSet<u32> {
        self.reached(role, |_| true)
    }

    fn reached(&self, role: u32, passes: impl Fn(u32) -> bool) -> BTreeSet<u32> {
        let mut found = BTreeSet::from([role]);
        let mut open = vec![role];
        while let Some(member) = open.pop().filter(|member| self.roles.contains_key(member)) {
            let memberships =
                self.memberships.iter().filter(|membership| membership.member == member && passes(member));
            for membership in memberships {
                if found.insert(membership.role) {
                    open.push(membership.role);
                }
            }
        }
        found
    }

    /// True if a role has another's privileges: it is the other, inherits from it, or may do everything.
    pub fn acts_as(&self, role: u32, other: u32) -> bool {
        role == other || self.is_superuser(role) || self.acting(role).contains(&other)
    }

    /// True if a role may become another with SET ROLE.
    pub fn may_become(&self, role: u32, other: u32) -> bool {
        role == other || self.is_superuser(role) || self.member_of(role).contains(&other)
    }

    /// True if a role may make others members of `role`.
    pub fn administers(&self, who: u32, role: u32) -> bool {
        let acting = self.acting(who);
        self.is_superuser(who)
            || self.memberships.iter().any(|m| m.role == role && m.admin && acting.contains(&m.member))
    }

    /// Who owns something.
    pub fn owner(&self, of: Securable) -> u32 {
        self.owners.get(&of).copied().unwrap_or(BOOTSTRAP_ROLE)
    }

    /// What a role owns.
    pub fn owned_by(&self, role: u32) -> Vec<Securable> {
        self.owners.iter().filter(|(_, owner)| **owner == role).map(|(securable, _)| *securable).collect()
    }

    /// The privileges on something, each as it was granted; `None` if they are those it begins with.
    pub fn granted(&self, on: Securable) -> Option<&[Grant]> {
        self.grants.get(&on).map(Vec::as_slice)
    }

    /// The privileges on something, whose owner is `owner`, also where nothing was granted yet.
    pub fn grants_on(&self, on: Securable, owner: u32) -> Vec<Grant> {
        if let Some(grants) = self.grants.get(&on) {
            return grants.clone();
        }
        let everybody =
            Grant { grantee: None, grantor: owner, privileges: on.of_public(), grantable: Privileges::default() };
        let own =
            Grant { grantee: Some(owner), grantor: owner, privileges: on.all(), grantable: Privileges::default() };
        let all = [everybody, own].into_iter();
        all.filter(|grant| !grant.privileges.is_empty()).collect()
    }

    /// The privileges a role has on something, and those of them it may grant.
    pub fn held(&self, role: u32, on: Securable, owner: u32) -> (Privileges, Privileges) {
        if self.is_superuser(role) {
            return (on.all(), on.all());
        }
        let acting = self.acting(role);
        let (mut held, mut grantable) = (Privileges::default(), Privileges::default());
        for grant in self.grants_on(on, owner) {
            if grant.grantee.is_none_or(|grantee| acting.contains(&grantee)) {
                held |= grant.privileges;
                grantable |= grant.grantable;
            }
        }
        if acting.contains(&READ_ALL_DATA) {
            match on {
                Securable::Relation(_) => held |= Privileges::of([Privilege::Select]),
                Securable::Schema => held |= Privileges::of([Privilege::Usage]),
                Securable::Database | Securable::Secret(_) => {}
            }
        }
        // What an owner revoked of its own it can grant itself again.
        if acting.contains(&owner) {
            grantable |= on.all();
        }
        (held, grantable)
    }

    /// True once some superuser can log in with a password: from then on everybody needs one.
    pub fn password_required(&self) -> bool {
        self.roles.values().any(|role| role.superuser && role.login && role.verifier.is_some())
    }
}

/// That there is no role of that name.
pub fn no_role(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
}

/// 42501.
pub fn forbidden(message: impl Into<String>) -> SqlError {
    SqlError::new(INSUFFICIENT_PRIVILEGE, message)
}

/// The state of all that one may not do.
pub const INSUFFICIENT_PRIVILEGE: SqlState = SqlState("42501");

#[cfg(test)]
mod tests;
