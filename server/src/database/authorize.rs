//! What a statement needs the right to do, before it does anything.
//!
//! What a query reads is checked where its names are resolved ([`super::relations`]), by the asker's rights, and within a
//! plain view by its owner's. Everything else is here, one arm a statement. What is not there is no matter of rights: the
//! statement itself says so.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast;
use sql::SqlError;
use sql::administration::Privilege;
use sql::catalog::{Catalog, Definition};
use sql::statement::{CreateSource, ExplainTarget, Followed, Statement, Write, WriteAction};

use super::Database;
use crate::backend::{Identity, Settings};
use crate::roles::access::{Access, not_owner};
use crate::roles::{Securable, forbidden, no_role};

impl Database {
    /// A session's rights now.
    ///
    /// # Errors
    /// 42704 if its role is not there any more.
    pub(super) fn access(&self, identity: &Identity, settings: &Settings) -> Result<Access, SqlError> {
        let roles = self.roles();
        let named = |setting: &str| settings.value(setting).filter(|name| !name.is_empty());
        // Where nobody is asked for a password, the session's own name may be no role's.
        let session_user = named("session_authorization").unwrap_or_else(|| identity.user.to_string());
        let session_role = match *session_user == *identity.user {
            true => identity.role,
            false => roles.expect(&session_user)?.oid,
        };
        let role = match named("role") {
            Some(name) if name != "none" && name != session_user => roles.expect(&name)?.oid,
            _ => session_role,
        };
        if roles.get(role).is_none() {
            return Err(no_role(&identity.user));
        }
        Ok(Access { roles, role, session_role, target: None })
    }

    /// Checks the rights of a statement, but for what its query reads.
    ///
    /// # Errors
    /// 42501.
    pub(super) fn authorize(&self, statement: &Statement, access: &Access, catalog: &Catalog) -> Result<(), SqlError> {
        match statement {
            Statement::CreateSource(create) => self.authorize_source(create, access, catalog),
            Statement::CreateMaterializedView(create) => {
                access.check_create()?;
                if create.or_replace { access.check_owner(catalog, &create.name) } else { Ok(()) }
            }
            Statement::CreateView(create) => {
                access.check_create()?;
                if create.or_replace { access.check_owner(catalog, &create.name) } else { Ok(()) }
            }
            Statement::CreateTable(_) => access.check_create(),
            Statement::CreateIndex(create) => access.check_owner(catalog, &create.relation.name),
            Statement::DropIndex(drop) => drop.names.iter().try_for_each(|name| match catalog.index(name) {
                Some((object, _)) => access.check_owner(catalog, &object.name).map_err(|_| not_owner("index", name)),
                None => Ok(()),
            }),
            Statement::Drop(drop) => drop.names.iter().try_for_each(|name| access.check_owner(catalog, name)),
            Statement::Rename(rename) => {
                access.check_owner(catalog, &rename.name)?;
                access.check_create()
            }
            Statement::Write(write) => authorize_write(write, access, catalog),
            Statement::ShowCreate { name, .. } => match catalog.get(name).map(|object| &object.definition) {
                Some(Definition::Source(_)) => access.check_owner(catalog, name),
                _ => access.check(catalog, name, Privilege::Select),
            },
            Statement::Explain(explain) => match &explain.target {
                ExplainTarget::MaterializedView(name) => access.check(catalog, name, Privilege::Select),
                ExplainTarget::Query(_) | ExplainTarget::CreateMaterializedView(_) => Ok(()),
            },
            Statement::Checkpoint if access.is_superuser() => Ok(()),
            Statement::Checkpoint => Err(forbidden("permission denied to execute CHECKPOINT command")),
            Statement::Verify(verify) => access.check(catalog, &verify.view, Privilege::Select),
            Statement::Subscribe(subscribe) => match &subscribe.followed {
                Followed::Relation(relation) => access.check(catalog, &relation.name, Privilege::Select),
                Followed::Query(_) => Ok(()),
            },
            // Their own checks need what they are about.
            Statement::Administer(_) => Ok(()),
            // What these read is checked by name, and what they say of others is what everybody may know.
            Statement::Query(_)
            | Statement::ShowObjects(_)
            | Statement::Describe { .. }
            | Statement::Flush
            | Statement::Wait(_)
            | Statement::OfSubscription { .. }
            | Statement::FetchWithin { .. }
            | Statement::Move(_)
            | Statement::Session(_) => Ok(()),
        }
    }

    fn authorize_source(&self, create: &CreateSource, access: &Access, catalog: &Catalog) -> Result<(), SqlError> {
        access.check_create()?;
        access.check_connects("source")?;
        if create.or_replace {
            access.check_owner(catalog, &create.name)?;
        }
        let secrets = self.secrets();
        create.secrets.iter().try_for_each(|(_, name)| {
            let on = Securable::Secret(secrets.expect(name)?.oid);
            let may = access.holds(Privilege::Usage, on);
            if may { Ok(()) } else { Err(forbidden(format!("permission denied for secret {name}"))) }
        })
    }

    /// Refuses an engine-wide setting to all but superusers.
    ///
    /// # Errors
    /// 42501.
    pub(super) fn authorize_setting(identity: &Access, name: &str) -> Result<(), SqlError> {
        let refused = || forbidden(format!("permission denied to set parameter \"{name}\""));
        if identity.is_superuser() { Ok(()) } else { Err(refused()) }
    }
}

fn authorize_write(write: &Write, access: &Access, catalog: &Catalog) -> Result<(), SqlError> {
    let table = &write.table.name;
    let check = |privilege| access.check(catalog, table, privilege);
    match &write.action {
        WriteAction::Insert { conflict, .. } => {
            check(Privilege::Insert)?;
            if conflict.as_ref().is_some_and(|conflict| conflict.update.is_some()) {
                check(Privilege::Update)?;
            }
        }
        WriteAction::Update { .. } => check(Privilege::Update)?,
        WriteAction::Delete { .. } => check(Privilege::Delete)?,
        WriteAction::Truncate => check(Privilege::Truncate)?,
    }
    if reads_target(write) { check(Privilege::Select) } else { Ok(()) }
}

/// True if a statement says something of the rows that are there, and so tells of them.
fn reads_target(write: &Write) -> bool {
    let conditional = match &write.action {
        WriteAction::Insert { conflict, .. } => conflict.as_ref().is_some_and(|conflict| conflict.update.is_some()),
        WriteAction::Update { assigned, selection } => {
            selection.as_ref().is_some_and(names_something) || assigned.iter().any(|a| names_something(&a.value))
        }
        WriteAction::Delete { selection } => selection.as_ref().is_some_and(names_something),
        WriteAction::Truncate => false,
    };
    conditional || write.returning.is_some()
}

/// True for an expression that is more than constants and functions of them.
fn names_something(expr: &ast::Expr) -> bool {
    let found = ast::visit_expressions(expr, |inner| match inner {
        ast::Expr::Identifier(_)
        | ast::Expr::CompoundIdentifier(_)
        | ast::Expr::CompoundFieldAccess { .. }
        | ast::Expr::Subquery(_)
        | ast::Expr::Exists { .. }
        | ast::Expr::InSubquery { .. }
        | ast::Expr::AnyOp { .. }
        | ast::Expr::AllOp { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The rights a writing statement reads with: the rows it changes are there to be changed.
pub(super) fn while_writing(write: &Write, access: &Access) -> Arc<Access> {
    // Of an INSERT only ON CONFLICT looks at the table itself; its own query reads what it names.
    let looks = match &write.action {
        WriteAction::Insert { conflict, .. } => conflict.is_some(),
        _ => true,
    };
    Arc::new(Access { target: looks.then(|| write.table.name.clone()), ..access.clone() })
}
