//! Roles, privileges, owners and secrets: what each statement about them changes, checked and prepared.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::compute::kernels::cast_utils::string_to_datetime;
use datafusion::sql::sqlparser::ast;
use sql::administration::{
    Administration, CreateRole, CreateSecret, Grantable, Privilege, PrivilegeChange, RoleAttributes, RoleName,
    SecretProvider,
};
use sql::catalog::Catalog;
use sql::secret::Secret;
use sql::statement::ObjectKind;
use sql::{SqlError, SqlState};

use super::Database;
use super::change::Change;
use super::secrets::{Secrets, names};
use crate::backend::{Notice, Outcome, ScramVerifier};
use crate::pg_catalog::BOOTSTRAP_ROLE;
use crate::roles::access::{Access, COMPANIONS_OID, Secured, companion_oid, not_owner, secured};
use crate::roles::change::{Given, superusers_only};
use crate::roles::privileges::Privileges;
use crate::roles::{Membership, Role, Roles, SUPERUSER, Securable, forbidden};
use crate::session::command::{Command, of_session};
use crate::session::settings::Settings;

/// The state of an invalid grant.
const INVALID_GRANT_OPERATION: SqlState = SqlState("0LP01");
/// The state of what is in use.
const OBJECT_IN_USE: SqlState = SqlState("55006");

/// The command tag of a statement about rights, which a read-only transaction refuses.
pub fn tag(administration: &Administration) -> &'static str {
    match administration {
        Administration::CreateRole(_) => "CREATE ROLE",
        Administration::AlterRole { .. } | Administration::RenameRole { .. } | Administration::SetForRole { .. } => {
            "ALTER ROLE"
        }
        Administration::DropRoles { .. } => "DROP ROLE",
        Administration::GrantRoles { .. } => "GRANT ROLE",
        Administration::RevokeRoles { .. } => "REVOKE ROLE",
        Administration::Grant(_) => "GRANT",
        Administration::Revoke(_) => "REVOKE",
        Administration::SetOwner { kind, .. } => match kind {
            ObjectKind::Source => "ALTER SOURCE",
            ObjectKind::MaterializedView => "ALTER MATERIALIZED VIEW",
            ObjectKind::View => "ALTER VIEW",
            ObjectKind::Table => "ALTER TABLE",
        },
        Administration::ReassignOwned { .. } => "REASSIGN OWNED",
        Administration::DropOwned { .. } => "DROP OWNED",
        Administration::CreateSecret(_) => "CREATE SECRET",
        Administration::DropSecrets { .. } => "DROP SECRET",
    }
}

/// A statement at work: what it changes, and what it says.
struct Work<'a> {
    access: &'a Access,
    catalog: Arc<Catalog>,
    roles: Roles,
    notices: Vec<Notice>,
    iterations: u32,
}

impl Database {
    /// Prepares a statement about rights.
    ///
    /// # Errors
    /// 42501 for what the role may not do; 42704, 42710, 42P01, 0LP01, 2BP01, 22023, 55006 for what makes no sense.
    pub(super) fn administer(&self, statement: &Administration, access: &Access) -> Result<Change, SqlError> {
        let mut work = Work {
            access,
            catalog: self.catalog(),
            roles: self.roles().as_ref().clone(),
            notices: Vec::new(),
            iterations: self.scram_iterations,
        };
        match statement {
            Administration::CreateRole(create) => work.create_role(create)?,
            Administration::AlterRole { role, attributes } => work.alter_role(role, attributes)?,
            Administration::RenameRole { name, new_name } => work.rename_role(name, new_name)?,
            Administration::SetForRole { role, setting } => work.set_for_role(role, setting)?,
            Administration::DropRoles { names, if_exists } => {
                work.drop_roles(names, *if_exists, &self.secrets())?;
            }
            Administration::GrantRoles { roles, members, admin } => work.grant_roles(roles, members, *admin)?,
            Administration::RevokeRoles { roles, members, admin_only } => {
                work.revoke_roles(roles, members, *admin_only)?;
            }
            Administration::Grant(grant) => work.change_privileges(grant, true, &self.secrets())?,
            Administration::Revoke(revoke) => work.change_privileges(revoke, false, &self.secrets())?,
            Administration::SetOwner { kind, name, if_exists, owner } => {
                work.set_owner(*kind, name, *if_exists, owner)?;
            }
            Administration::ReassignOwned { from, to } => work.reassign(from, to)?,
            Administration::DropOwned { by, cascade } => return self.drop_owned(work, by, *cascade),
            Administration::CreateSecret(create) => return self.create_secret(create, access),
            Administration::DropSecrets { names, if_exists } => return self.drop_secrets(names, *if_exists, access),
        }
        let outcome = Outcome { notices: work.notices, ..Outcome::done(tag(statement)) };
        Ok(Change { roles: Some(work.roles), ..Change::nothing(outcome) })
    }

    fn drop_owned(&self, mut work: Work<'_>, by: &[RoleName], cascade: bool) -> Result<Change, SqlError> {
        let mut names_owned = Vec::new();
        for role in by {
            let role = work.existing(role)?;
            work.check_acts_as(role.oid, "drop objects")?;
            let owned = |name: &String, work: &Work<'_>| {
                let owner = secured(&work.catalog, &work.roles, name).map(|secured| secured.owner);
                owner == Some(role.oid)
            };
            let all = work.catalog.objects().map(|object| object.name.clone());
            names_owned.extend(all.filter(|name| owned(name, &work)));
            work.roles.revoke_all_from(role.oid);
        }
        let change = self.drop_objects(&names_owned, cascade, "DROP OWNED".into(), work.notices)?;
        Ok(Change { roles: Some(work.roles), ..change })
    }

    fn create_secret(&self, create: &CreateSecret, access: &Access) -> Result<Change, SqlError> {
        let CreateSecret { name, if_not_exists, provider } = create;
        access.check_create()?;
        access.check_connects("secret")?;
        if !matches!(provider, SecretProvider::Kept(_)) && !access.is_superuser() {
            // It would be read with the server's own rights.
            return Err(superusers_only("create a secret from the server's environment or files"));
        }
        let mut secrets = self.secrets().as_ref().clone();
        if secrets.get(name).is_some() {
            let message = format!("secret \"{name}\" already exists");
            return match if_not_exists {
                true => Ok(Change::skipped("CREATE SECRET", format!("{message}, skipping"))),
                false => Err(SqlError::new(SqlState("42710"), message)),
            };
        }
        let oid = secrets.add(name, provider.clone(), false);
        secrets.value(name)?;
        let mut roles = self.roles().as_ref().clone();
        if access.role != BOOTSTRAP_ROLE {
            roles.set_owner(Securable::Secret(oid), access.role);
        }
        let outcome = Outcome::done("CREATE SECRET");
        Ok(Change { roles: Some(roles), secrets: Some(secrets), ..Change::nothing(outcome) })
    }

    fn drop_secrets(&self, dropped: &[String], if_exists: bool, access: &Access) -> Result<Change, SqlError> {
        let (mut secrets, mut roles) = (self.secrets().as_ref().clone(), self.roles().as_ref().clone());
        let mut notices = Vec::new();
        for name in dropped {
            if if_exists && secrets.get(name).is_none() {
                notices.push(Notice::new(format!("secret \"{name}\" does not exist, skipping")));
                continue;
            }
            let on = Securable::Secret(secrets.expect(name)?.oid);
            if !access.acts_as(roles.owner(on)) {
                return Err(not_owner("secret", name));
            }
            let catalog = self.catalog();
            if let Some(source) = catalog.objects().find(|object| names(&object.definition, name)) {
                let message = format!("cannot drop secret {name} because other objects depend on it");
                return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message)
                    .detail(format!("source {} depends on secret {name}", source.name)));
            }
            secrets.remove(name);
            roles.retain(|securable| securable != on);
        }
        let outcome = Outcome { notices, ..Outcome::done("DROP SECRET") };
        Ok(Change { roles: Some(roles), secrets: Some(secrets), ..Change::nothing(outcome) })
    }
}

impl Work<'_> {
    fn say(&mut self, message: String) {
        self.notices.push(Notice::new(message));
    }

    fn warn(&mut self, state: &'static str, message: String) {
        self.notices.push(Notice::warning(SqlState(state), message));
    }

    /// A role that a statement names.
    fn existing(&self, name: &RoleName) -> Result<Arc<Role>, SqlError> {
        let by_oid = |oid: u32| self.roles.get(oid).cloned().ok_or_else(|| crate::roles::no_role(&oid.to_string()));
        match name {
            RoleName::Name(name) => self.roles.expect(name).cloned(),
            RoleName::CurrentUser => by_oid(self.access.role),
            RoleName::SessionUser => by_oid(self.access.session_role),
            RoleName::Public => Err(crate::roles::no_role("public")),
        }
    }

    fn check_superuser(&self, what: &str) -> Result<(), SqlError> {
        if self.access.is_superuser() { Ok(()) } else { Err(forbidden(format!("permission denied to {what}"))) }
    }

    fn check_acts_as(&self, role: u32, what: &str) -> Result<(), SqlError> {
        if self.access.acts_as(role) {
            return Ok(());
        }
        let name = self.roles.name_of(role);
        Err(forbidden(format!("permission denied to {what}"))
            .detail(format!("Only roles with privileges of role \"{name}\" may do so.")))
    }

    fn create_role(&mut self, create: &CreateRole) -> Result<(), SqlError> {
        self.check_superuser("create role")?;
        if create.if_not_exists && self.roles.named(&create.name).is_some() {
            self.say(format!("role \"{}\" already exists, skipping", create.name));
            return Ok(());
        }
        let mut role = Role::new(0, &create.name);
        self.apply(&mut role, &create.attributes)?;
        let oid = self.roles.add(role)?;
        self.say_unasked(&create.attributes);
        let membership = |role, member, admin| Membership { role, member, grantor: self.access.role, admin };
        let mut memberships = Vec::new();
        for group in &create.in_roles {
            memberships.push(membership(self.roles.expect(group)?.oid, oid, false));
        }
        for (members, admin) in [(&create.members, false), (&create.admins, true)] {
            for member in members {
                memberships.push(membership(oid, self.existing(member)?.oid, admin));
            }
        }
        memberships.into_iter().try_for_each(|membership| self.roles.add_member(membership).map(drop))
    }

    fn alter_role(&mut self, name: &RoleName, attributes: &RoleAttributes) -> Result<(), SqlError> {
        let role = self.changeable(name)?;
        let RoleAttributes { superuser, login, inherit, connection_limit, password, valid_until } = attributes;
        let only_password = superuser.is_none()
            && login.is_none()
            && inherit.is_none()
            && connection_limit.is_none()
            && valid_until.is_none();
        if !(self.access.is_superuser() || (only_password && role.oid == self.access.role)) {
            return Err(forbidden("permission denied to alter role"));
        }
        if role.oid == BOOTSTRAP_ROLE && (*superuser == Some(false) || *login == Some(false)) {
            return Err(forbidden("permission denied to alter role")
                .detail(format!("Role \"{SUPERUSER}\" is always a superuser that may log in.")));
        }
        if role.oid == BOOTSTRAP_ROLE && password.is_some() && self.roles.password_is_configured {
            let message = format!("the password of role \"{SUPERUSER}\" is given by the configuration");
            return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                .hint("Change TIDEMARK_PASSWORD and restart the server."));
        }
        let mut changed = role.as_ref().clone();
        self.apply(&mut changed, attributes)?;
        self.roles.replace(changed)?;
        self.say_unasked(attributes);
        Ok(())
    }

    fn changeable(&self, name: &RoleName) -> Result<Arc<Role>, SqlError> {
        self.roles.changeable(&self.existing(name)?.name)
    }

    /// A password that nobody asks for is no protection.
    fn say_unasked(&mut self, attributes: &RoleAttributes) {
        if matches!(attributes.password, Some(Some(_))) && !self.roles.password_required() {
            let message = "passwords are not asked for, because no superuser has one yet";
            let mut notice = Notice::warning(SqlState("01000"), message);
            notice.message.hint = Some(format!("Give role \"{SUPERUSER}\" a password."));
            self.notices.push(notice);
        }
    }

    fn apply(&mut self, role: &mut Role, attributes: &RoleAttributes) -> Result<(), SqlError> {
        let RoleAttributes { superuser, login, inherit, connection_limit, password, valid_until } = attributes;
        role.superuser = superuser.unwrap_or(role.superuser);
        role.login = login.unwrap_or(role.login);
        role.inherit = inherit.unwrap_or(role.inherit);
        role.connection_limit = connection_limit.unwrap_or(role.connection_limit);
        if let Some(until) = valid_until {
            role.valid_until = time(until)?;
        }
        match password.as_ref().map(|password| password.as_ref().map(Secret::reveal)) {
            None => {}
            Some(None) => role.verifier = None,
            Some(Some("")) => {
                self.say("empty string is not a valid password, clearing password".into());
                role.verifier = None;
            }
            Some(Some(text)) => {
                let verifier = text.parse::<ScramVerifier>();
                if verifier.is_err() && is_md5(text) {
                    let message =
                        "MD5 passwords are not supported: give the password itself, or a SCRAM-SHA-256 verifier";
                    return Err(SqlError::unsupported(message));
                }
                role.verifier = Some(verifier.unwrap_or_else(|_| ScramVerifier::from_password(text, self.iterations)));
            }
        }
        Ok(())
    }

    fn rename_role(&mut self, name: &str, new_name: &str) -> Result<(), SqlError> {
        let role = self.roles.changeable(name)?;
        self.check_superuser("rename role")?;
        if role.oid == BOOTSTRAP_ROLE {
            return Err(SqlError::unsupported(format!("role \"{SUPERUSER}\" cannot be renamed")));
        }
        let refuse = |what: &str| Err(SqlError::unsupported(format!("{what} cannot be renamed")));
        if role.oid == self.access.session_role {
            return refuse("session user");
        }
        if role.oid == self.access.role {
            return refuse("current user");
        }
        if self.roles.named(new_name).is_some() {
            return Err(SqlError::new(SqlState("42710"), format!("role \"{new_name}\" already exists")));
        }
        self.roles.replace(Role { name: new_name.to_owned(), ..role.as_ref().clone() })
    }

    fn set_for_role(&mut self, name: &RoleName, setting: &ast::Statement) -> Result<(), SqlError> {
        let role = self.changeable(name)?;
        if !(self.access.is_superuser() || role.oid == self.access.role) {
            return Err(forbidden("permission denied to alter setting"));
        }
        let mut settings: BTreeMap<String, String> = role.settings.clone();
        match of_session(setting)? {
            Command::Set { name, value: Some(value), .. } => {
                if Settings::is_superusers(&name) && !self.access.is_superuser() {
                    return Err(forbidden(format!("permission denied to set parameter \"{name}\"")));
                }
                let value = Settings::checked(&name, &value)?;
                settings.insert(name.to_ascii_lowercase(), value);
            }
            Command::Set { name, value: None, .. } | Command::Reset(name) => {
                let name = name.to_ascii_lowercase();
                if Settings::is_superusers(&name) && !self.access.is_superuser() {
                    return Err(forbidden(format!("permission denied to set parameter \"{name}\"")));
                }
                settings.remove(&name);
            }
            Command::ResetAll => {
                settings.retain(|name, _| Settings::is_superusers(name) && !self.access.is_superuser())
            }
            _ => return Err(SqlError::new(SqlState::SYNTAX_ERROR, "ALTER ROLE sets or resets a setting")),
        }
        self.roles.replace(Role { settings, ..role.as_ref().clone() })
    }

    fn drop_roles(&mut self, names: &[RoleName], if_exists: bool, secrets: &Secrets) -> Result<(), SqlError> {
        self.check_superuser("drop role")?;
        for name in names {
            if let RoleName::Name(name) = name
                && if_exists
                && self.roles.named(name).is_none()
            {
                self.say(format!("role \"{name}\" does not exist, skipping"));
                continue;
            }
            let role = self.changeable(name)?;
            let in_use = |what: &str| Err(SqlError::new(OBJECT_IN_USE, format!("{what} cannot be dropped")));
            if role.oid == self.access.role {
                return in_use("current user");
            }
            if role.oid == self.access.session_role {
                return in_use("session user");
            }
            if role.oid == BOOTSTRAP_ROLE {
                let message = format!("cannot drop role {SUPERUSER} because it is required by the database system");
                return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message));
            }
            let depends = self.roles.dependents(role.oid);
            if !depends.is_empty() {
                let describe = |(securable, owns): &(Securable, bool)| {
                    let what = self.describe(*securable, secrets);
                    if *owns { format!("owner of {what}") } else { format!("privileges for {what}") }
                };
                let all: Vec<_> = depends.iter().map(describe).collect();
                let message = format!("role \"{}\" cannot be dropped because some objects depend on it", role.name);
                return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message).detail(all.join("\n")));
            }
            self.roles.remove(role.oid)?;
        }
        Ok(())
    }

    /// Something in words: `table t`.
    fn describe(&self, securable: Securable, secrets: &Secrets) -> String {
        match securable {
            Securable::Schema => "schema public".into(),
            Securable::Database => "database tidemark".into(),
            Securable::Secret(oid) => format!("secret {}", secrets.name_of(oid).unwrap_or_default()),
            Securable::Relation(oid) => {
                let own = if oid >= COMPANIONS_OID { (oid - COMPANIONS_OID) / 2 } else { oid };
                let Some(object) = self.catalog.objects().find(|object| object.oid == own) else {
                    return oid.to_string();
                };
                let companions = object.definition.companions().iter();
                let companion = companions.copied().find(|suffix| companion_oid(object, suffix) == oid);
                match companion {
                    Some(suffix) => format!("table {}_{suffix}", object.name),
                    None => format!("{} {}", sql::catalog::noun(object.kind()), object.name),
                }
            }
        }
    }

    fn grant_roles(&mut self, roles: &[String], members: &[RoleName], admin: bool) -> Result<(), SqlError> {
        for role in roles {
            let role = self.roles.expect(role)?.clone();
            self.check_administers(&role)?;
            for member in members {
                let member = self.existing(member)?;
                let membership = Membership { role: role.oid, member: member.oid, grantor: self.access.role, admin };
                if !self.roles.add_member(membership)? {
                    self.say(format!("role \"{}\" is already a member of role \"{}\"", member.name, role.name));
                }
            }
        }
        Ok(())
    }

    fn revoke_roles(&mut self, roles: &[String], members: &[RoleName], admin_only: bool) -> Result<(), SqlError> {
        for role in roles {
            let role = self.roles.expect(role)?.clone();
            self.check_administers(&role)?;
            for member in members {
                let member = self.existing(member)?;
                if !self.roles.remove_member(role.oid, member.oid, admin_only) {
                    self.warn("01000", format!("role \"{}\" is not a member of role \"{}\"", member.name, role.name));
                }
            }
        }
        Ok(())
    }

    fn check_administers(&self, role: &Role) -> Result<(), SqlError> {
        if role.superuser && !self.access.is_superuser() {
            return Err(superusers_only("alter superusers"));
        }
        if self.roles.administers(self.access.role, role.oid) {
            return Ok(());
        }
        Err(forbidden(format!("must have admin option on role \"{}\"", role.name)))
    }

    fn change_privileges(&mut self, change: &PrivilegeChange, grants: bool, secrets: &Secrets) -> Result<(), SqlError> {
        let mut grantees = Vec::new();
        for role in &change.roles {
            grantees.push(match role {
                RoleName::Public => None,
                role => Some(self.existing(role)?.oid),
            });
        }
        for (on, owner, noun, name) in self.securables(&change.on, secrets)? {
            let privileges = privileges(change.privileges.as_deref(), on, noun)?;
            let (held, grantable) = self.roles.held(self.access.role, on, owner);
            if (grantable & privileges).is_empty() {
                if held.is_empty() {
                    return Err(forbidden(format!("permission denied for {noun} {name}")));
                }
                match grants {
                    true => self.warn("01007", format!("no privileges were granted for \"{name}\"")),
                    false => self.warn("01006", format!("no privileges could be revoked for \"{name}\"")),
                }
                continue;
            }
            let mut partly = false;
            for grantee in &grantees {
                if grants {
                    let grant = (*grantee, privileges, change.grant_option);
                    partly |= self.roles.grant(on, owner, self.access.role, grant)? == Given::Some;
                } else {
                    let revoke = (*grantee, privileges, change.grant_option, change.cascade);
                    self.roles.revoke(on, owner, self.access.role, revoke)?;
                }
            }
            // ALL is whatever one has.
            if partly && change.privileges.is_some() {
                self.warn("01007", format!("not all privileges were granted for \"{name}\""));
            }
        }
        Ok(())
    }

    /// What privileges are on: with its owner, and its kind and name in messages.
    fn securables(
        &self,
        on: &Grantable,
        secrets: &Secrets,
    ) -> Result<Vec<(Securable, u32, &'static str, String)>, SqlError> {
        let relation = |name: &String| match secured(&self.catalog, &self.roles, name) {
            Some(Secured { securable, owner, noun }) => Ok((securable, owner, noun, name.clone())),
            None => {
                let message = format!("relation \"{name}\" does not exist");
                Err(SqlError::new(SqlState::UNDEFINED_TABLE, message))
            }
        };
        match on {
            Grantable::Nothing => Ok(vec![]),
            Grantable::Relations(names) => names.iter().map(relation).collect(),
            Grantable::AllRelations => {
                let of = |object: &Arc<sql::catalog::Object>| {
                    let companions = object.definition.companions().iter();
                    let companions = companions.map(|suffix| format!("{}_{suffix}", object.name));
                    std::iter::once(object.name.clone()).chain(companions).collect::<Vec<_>>()
                };
                self.catalog.objects().flat_map(of).map(|name| relation(&name)).collect()
            }
            Grantable::Schema => {
                Ok(vec![(Securable::Schema, self.roles.owner(Securable::Schema), "schema", "public".into())])
            }
            Grantable::Database(names) => {
                let database = |name: &String| match name == super::backend::DATABASE {
                    true => Ok((Securable::Database, self.roles.owner(Securable::Database), "database", name.clone())),
                    false => {
                        let message = format!("database \"{name}\" does not exist");
                        Err(SqlError::new(SqlState::UNDEFINED_DATABASE, message))
                    }
                };
                names.iter().map(database).collect()
            }
            Grantable::Secrets(names) => {
                let secret = |name: &String| {
                    let on = Securable::Secret(secrets.expect(name)?.oid);
                    Ok((on, self.roles.owner(on), "secret", name.clone()))
                };
                names.iter().map(secret).collect()
            }
        }
    }

    fn set_owner(&mut self, kind: ObjectKind, name: &str, if_exists: bool, owner: &RoleName) -> Result<(), SqlError> {
        if if_exists && self.catalog.get(name).is_none() {
            self.say(format!("relation \"{name}\" does not exist, skipping"));
            return Ok(());
        }
        let securable = Securable::Relation(self.catalog.expect(name, kind)?.oid);
        self.access.check_owner(&self.catalog, name)?;
        let owner = self.existing(owner)?;
        self.check_may_give(&owner)?;
        self.give(securable, owner.oid);
        Ok(())
    }

    /// Gives something, and what comes with it, to a role.
    fn give(&mut self, securable: Securable, owner: u32) {
        let old = self.roles.owner(securable);
        self.roles.set_owner(securable, owner);
        if let Securable::Relation(oid) = securable
            && let Some(object) = self.catalog.objects().find(|object| object.oid == oid)
        {
            let companions: Vec<_> =
                object.definition.companions().iter().map(|suffix| companion_oid(object, suffix)).collect();
            companions.into_iter().for_each(|oid| self.roles.hand_over(Securable::Relation(oid), old, owner));
        }
    }

    /// One gives only to roles that one may become, and that may have objects.
    fn check_may_give(&self, owner: &Role) -> Result<(), SqlError> {
        if self.access.is_superuser() {
            return Ok(());
        }
        if !self.roles.may_become(self.access.role, owner.oid) {
            return Err(forbidden(format!("must be member of role \"{}\"", owner.name)));
        }
        Access { role: owner.oid, ..self.access.clone() }.check_create()
    }

    fn reassign(&mut self, from: &[RoleName], to: &RoleName) -> Result<(), SqlError> {
        let to = self.existing(to)?;
        for role in from {
            let role = self.existing(role)?;
            self.check_acts_as(role.oid, "reassign objects")?;
            self.check_acts_as(to.oid, "reassign objects")?;
            if role.oid == BOOTSTRAP_ROLE {
                let message =
                    format!("cannot reassign objects owned by role {SUPERUSER}: it owns the database system's");
                return Err(SqlError::new(SqlState::DEPENDENT_OBJECTS_STILL_EXIST, message));
            }
            for securable in self.roles.owned_by(role.oid) {
                self.give(securable, to.oid);
            }
        }
        Ok(())
    }
}

/// The privileges a statement names, or all there are.
fn privileges(named: Option<&[Privilege]>, on: Securable, noun: &str) -> Result<Privileges, SqlError> {
    let Some(named) = named else { return Ok(on.all()) };
    match named.iter().find(|privilege| !on.all().contains(**privilege)) {
        Some(wrong) => {
            let message = format!("invalid privilege type {} for {noun}", wrong.word());
            Err(SqlError::new(INVALID_GRANT_OPERATION, message))
        }
        None => Ok(Privileges::of(named.iter().copied())),
    }
}

/// When a password stops being good, µs since 1970; never for `infinity`.
fn time(text: &str) -> Result<Option<i64>, SqlError> {
    if text.trim().eq_ignore_ascii_case("infinity") {
        return Ok(None);
    }
    let time = string_to_datetime(&chrono::Utc, text.trim()).map_err(|_| {
        let message = format!("invalid input syntax for type timestamp with time zone: \"{text}\"");
        SqlError::new(SqlState::INVALID_DATETIME_FORMAT, message)
    })?;
    Ok(Some(time.timestamp_micros()))
}

/// True for what PostgreSQL keeps of a password with MD5.
fn is_md5(text: &str) -> bool {
    text.len() == 35 && text.starts_with("md5") && text[3..].chars().all(|c| c.is_ascii_hexdigit())
}
