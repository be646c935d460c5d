//! Who asks, for one statement: the role it acts as, and what that role may do.

use std::sync::Arc;

use sql::SqlError;
use sql::administration::Privilege;
use sql::catalog::{Catalog, Definition, ERRORS_RELATION, Object, SOURCE_RELATIONS, noun};

use super::{CREATE_SOURCE, MONITOR, Roles, SIGNAL_BACKEND, Securable, forbidden};
use crate::pg_catalog::BOOTSTRAP_ROLE;

/// Where the oids of the relations that come with sources and views begin.
pub const COMPANIONS_OID: u32 = 1 << 30;

/// One statement's rights.
#[derive(Debug, Clone)]
pub struct Access {
    /// All roles, as they were when the statement began.
    pub roles: Arc<Roles>,
    /// The role it acts as: `current_user`.
    pub role: u32,
    /// The session's role: `session_user`.
    pub session_role: u32,
    /// A relation that may be read without SELECT, because what is done to it is allowed by another privilege.
    pub target: Option<String>,
}

/// A relation of users', as privileges see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secured {
    /// What privileges are on.
    pub securable: Securable,
    /// Its owner.
    pub owner: u32,
    /// Its kind in messages.
    pub noun: &'static str,
}

impl Access {
    /// What the server does by itself: everything.
    pub fn of_server(roles: Arc<Roles>) -> Self {
        Self { roles, role: BOOTSTRAP_ROLE, session_role: BOOTSTRAP_ROLE, target: None }
    }

    /// True if the role may do everything.
    pub fn is_superuser(&self) -> bool {
        self.roles.is_superuser(self.role)
    }

    /// True if the role has another's privileges.
    pub fn acts_as(&self, other: u32) -> bool {
        self.roles.acts_as(self.role, other)
    }

    /// True if the role has a privilege.
    pub fn holds(&self, privilege: Privilege, on: Securable) -> bool {
        self.roles.held(self.role, on, self.roles.owner(on)).0.contains(privilege)
    }

    /// Checks that the role may make objects.
    ///
    /// # Errors
    /// 42501.
    pub fn check_create(&self) -> Result<(), SqlError> {
        if self.holds(Privilege::Create, Securable::Schema) { Ok(()) } else { Err(denied_schema()) }
    }

    /// Checks that the role may make the server connect to other machines.
    ///
    /// # Errors
    /// 42501.
    pub fn check_connects(&self, what: &str) -> Result<(), SqlError> {
        if self.acts_as(CREATE_SOURCE) {
            return Ok(());
        }
        Err(forbidden(format!("permission denied to create {what}")).detail(
            "Only roles with privileges of the \"pg_create_source\" role may make the server connect elsewhere.",
        ))
    }

    /// Checks that the role owns a relation, or acts as who does. A relation that is not there is no matter of rights.
    ///
    /// # Errors
    /// 42501.
    pub fn check_owner(&self, catalog: &Catalog, name: &str) -> Result<(), SqlError> {
        if let Some(secured) = secured(catalog, &self.roles, name)
            && !self.acts_as(secured.owner)
        {
            return Err(not_owner(secured.noun, name));
        }
        Ok(())
    }

    /// Checks that the role has a privilege on a relation. One that is not there is no matter of rights.
    ///
    /// # Errors
    /// 42501.
    pub fn check(&self, catalog: &Catalog, name: &str, privilege: Privilege) -> Result<(), SqlError> {
        self.check_for(self.role, catalog, name, privilege)
    }

    /// Checks that a relation may be read: by the role, or within plain views, the innermost last, by its owner.
    ///
    /// # Errors
    /// 42501.
    pub fn check_read(&self, catalog: &Catalog, name: &str, within: &[String]) -> Result<(), SqlError> {
        let reader = match within.last().and_then(|view| secured(catalog, &self.roles, view)) {
            Some(view) => view.owner,
            None if self.target.as_deref() == Some(name) => return Ok(()),
            None => self.role,
        };
        self.check_for(reader, catalog, name, Privilege::Select)
    }

    fn check_for(&self, role: u32, catalog: &Catalog, name: &str, privilege: Privilege) -> Result<(), SqlError> {
        let Some(Secured { securable, owner, noun }) = secured(catalog, &self.roles, name) else { return Ok(()) };
        let schema_owner = self.roles.owner(Securable::Schema);
        if !self.roles.held(role, Securable::Schema, schema_owner).0.contains(Privilege::Usage) {
            return Err(denied_schema());
        }
        if self.roles.held(role, securable, owner).0.contains(privilege) {
            return Ok(());
        }
        Err(forbidden(format!("permission denied for {noun} {name}")))
    }

    /// True if the definition of a relation, and what its errors say, may be shown.
    pub fn may_see(&self, catalog: &Catalog, name: &str) -> bool {
        let is_source = catalog.get(name).is_some_and(|object| matches!(object.definition, Definition::Source(_)));
        match is_source {
            // Its options are not its rows.
            true => self.check_owner(catalog, name).is_ok(),
            false => self.check(catalog, name, Privilege::Select).is_ok(),
        }
    }

    /// True if the role has any privilege on a relation.
    pub fn has_any(&self, on: Securable, owner: u32) -> bool {
        self.acts_as(owner) || !self.roles.held(self.role, on, owner).0.is_empty()
    }

    /// True if the role sees what a session of `other` runs.
    pub fn sees_session_of(&self, other: Option<u32>) -> bool {
        self.acts_as(MONITOR) || other.is_some_and(|other| self.acts_as(other))
    }

    /// Checks that the role may stop what a session of `other` runs, or with `ends` end it.
    ///
    /// # Errors
    /// 42501.
    pub fn check_signals(&self, other: Option<u32>, ends: bool) -> Result<(), SqlError> {
        let (verb, done, what) =
            if ends { ("terminate", "terminated", "process") } else { ("cancel", "canceled", "query") };
        if self.is_superuser() {
            return Ok(());
        }
        if other.is_some_and(|other| self.roles.is_superuser(other)) {
            return Err(forbidden(format!("must be a superuser to {verb} superuser {what}")));
        }
        if other.is_some_and(|other| self.acts_as(other)) || self.acts_as(SIGNAL_BACKEND) {
            return Ok(());
        }
        Err(forbidden(format!(
            "must be a member of the role whose {what} is being {done} or member of pg_signal_backend"
        )))
    }
}

fn denied_schema() -> SqlError {
    forbidden("permission denied for schema public")
}

/// That a role is not who owns something.
pub fn not_owner(noun: &str, name: &str) -> SqlError {
    forbidden(format!("must be owner of {noun} {name}"))
}

/// A relation of users' by its name, also one that comes with a source or view.
pub fn secured(catalog: &Catalog, roles: &Roles, name: &str) -> Option<Secured> {
    let of = |object: &Object| roles.owner(Securable::Relation(object.oid));
    if let Some(object) = catalog.get(name) {
        let securable = Securable::Relation(object.oid);
        return Some(Secured { securable, owner: of(object), noun: noun(object.kind()) });
    }
    if let Some(view) = catalog.view_of_errors(name) {
        let securable = Securable::Relation(companion_oid(view, ERRORS_RELATION));
        return Some(Secured { securable, owner: of(view), noun: "table" });
    }
    let (source, suffix) = catalog.source_relation(name)?;
    let securable = Securable::Relation(companion_oid(source, suffix));
    Some(Secured { securable, owner: of(source), noun: "table" })
}

/// The oid of a relation that comes with a source or view: it follows from the object's own, far above all others.
pub fn companion_oid(object: &Object, suffix: &str) -> u32 {
    let at = SOURCE_RELATIONS.iter().position(|known| *known == suffix).unwrap_or(0);
    COMPANIONS_OID + object.oid * 2 + u32::from(at != 0)
}

/// True if a relation of this oid is in a catalog.
pub fn exists(catalog: &Catalog, oid: u32) -> bool {
    let own = match oid.checked_sub(COMPANIONS_OID) {
        Some(of) => of / 2,
        None => oid,
    };
    catalog.objects().any(|object| object.oid == own)
}
