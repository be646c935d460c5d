//! Queries over `pg_catalog` and `information_schema`, and with Postgres's session functions.
//!
//! Only a query that asks for any of that comes here: it is rewritten, given the catalog's tables and functions, and
//! bound like every other.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::SchemaRef;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::sql::sqlparser::ast;
use engine::ingest::quarantine::{errors_schema, late_schema};
use engine::row_error::row_errors_schema;
use engine::view::ViewReading;
use sql::administration::Privilege;
use sql::binder::{Relation, Relations};
use sql::catalog::{Definition, Object, SOURCE_RELATIONS};
use sql::write::constraint_name;
use sql::{SqlError, SqlState};

use super::relations::ReadRelations;
use super::{Database, Reading, system};
use crate::backend::{Backend as _, Identity, RoleSetting, Settings};
use crate::pg_catalog::{
    CatalogSnapshot, Contents, Grantee, Index as CatalogIndex, PgCatalog, Relation as CatalogRelation, RelationKind,
    Role, SchemaEntry, SessionAccess, SessionActivity, SessionFacts, Setting,
};
use crate::roles::Securable;
use crate::roles::access::{Access as Rights, COMPANIONS_OID};
use crate::roles::privileges::Privileges;
use crate::session::registry::{SessionInfo, Sessions};

/// The one database's oid; template0 and template1 have smaller ones in Postgres as well.
const DATABASE_OID: u32 = 13_000;

/// The oid of schema `tidemark`, and the first of the tables in it.
const SYSTEM_SCHEMA_OID: u32 = 14_000;

/// Who asks, as the catalog wants to know it.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The session's settings.
    pub settings: Settings,
    /// Who it is.
    pub identity: Identity,
    /// What it may do.
    pub access: Arc<Rights>,
}

/// The live side of a session.
#[derive(Debug)]
struct Access {
    asker: Asker,
    sessions: Arc<Sessions>,
    database: Weak<Database>,
}

impl Access {
    /// The role of a session.
    fn role_of(&self, pid: i32) -> Option<u32> {
        let sessions = self.sessions.list();
        sessions.into_iter().find(|session| session.identity.pid == pid).map(|session| session.identity.role)
    }
}

impl SessionAccess for Access {
    fn setting(&self, name: &str) -> Option<String> {
        self.asker.settings.value(name)
    }

    fn set(&self, name: &str, value: &str, local: bool) -> Result<String, SqlError> {
        let Some(setting) = RoleSetting::named(name) else { return self.asker.settings.set(name, value, local) };
        let database = self.database.upgrade().ok_or_else(|| SqlError::new(SqlState::CANNOT_CONNECT_NOW, "closed"))?;
        database.act_as(&self.asker.identity, &self.asker.settings, setting, Some(value), local)?;
        Ok(value.to_owned())
    }

    fn settings(&self) -> Vec<Setting> {
        let setting = |setting: crate::session::settings::Setting| Setting {
            name: setting.name,
            boot_value: Some(setting.value.clone()),
            reset_value: Some(setting.value.clone()),
            value: setting.value,
            category: "Client Connection Defaults".into(),
            description: setting.description,
            context: "user",
            value_type: "string",
            source: "session",
            ..Default::default()
        };
        self.asker.settings.all().into_iter().map(setting).collect()
    }

    fn sessions(&self) -> Vec<SessionActivity> {
        let rights = &self.asker.access;
        let seen = |info: SessionInfo| {
            let is_seen = rights.sees_session_of(Some(info.identity.role));
            let session = activity(info);
            if is_seen { session } else { hidden(session) }
        };
        self.sessions.list().into_iter().map(seen).collect()
    }

    fn cancel(&self, pid: i32) -> Result<bool, SqlError> {
        let Some(role) = self.role_of(pid) else { return Ok(false) };
        self.asker.access.check_signals(Some(role), false)?;
        Ok(self.sessions.cancel(pid))
    }

    fn terminate(&self, pid: i32) -> Result<bool, SqlError> {
        let Some(role) = self.role_of(pid) else { return Ok(false) };
        self.asker.access.check_signals(Some(role), true)?;
        Ok(self.sessions.terminate(pid))
    }

    fn holds(&self, grantee: Grantee, on: Securable, privilege: Option<Privilege>, grantable: bool) -> bool {
        let roles = &self.asker.access.roles;
        let owner = roles.owner(owning(on));
        let role = match grantee {
            Grantee::Asker => self.asker.access.role,
            Grantee::Role(role) => role,
            Grantee::Public => {
                let grants = roles.grants_on(on, owner);
                let everybody = grants.iter().filter(|grant| grant.grantee.is_none());
                return everybody
                    .fold(Privileges::default(), |all, grant| all | grant.privileges)
                    .iter()
                    .any(|held| Some(held) == privilege && !grantable);
            }
        };
        let (held, may_grant) = roles.held(role, on, owner);
        match privilege {
            Some(privilege) => (if grantable { may_grant } else { held }).contains(privilege),
            None => roles.is_superuser(role),
        }
    }

    fn is_member(&self, member: Grantee, of: u32, inherits: bool, admin: bool) -> bool {
        let roles = &self.asker.access.roles;
        let member = match member {
            Grantee::Asker => self.asker.access.role,
            Grantee::Role(role) => role,
            Grantee::Public => return false,
        };
        match (admin, inherits) {
            (true, _) => roles.administers(member, of),
            (false, true) => roles.acts_as(member, of),
            (false, false) => roles.may_become(member, of),
        }
    }
}

/// What owns something: a relation that comes with another is owned as that is.
fn owning(on: Securable) -> Securable {
    match on {
        Securable::Relation(oid) if oid >= COMPANIONS_OID => Securable::Relation((oid - COMPANIONS_OID) / 2),
        on => on,
    }
}

/// A session of which one may know that it is there.
fn hidden(session: SessionActivity) -> SessionActivity {
    SessionActivity {
        pid: session.pid,
        user: session.user,
        backend_start: session.backend_start,
        query: "<insufficient privilege>".into(),
        ..SessionActivity::default()
    }
}

fn activity(info: SessionInfo) -> SessionActivity {
    SessionActivity {
        pid: info.identity.pid,
        user: info.identity.user.to_string(),
        application_name: info.application_name,
        client: info.identity.client.map(SocketAddr::from),
        backend_start: micros(info.identity.started_at),
        transaction_start: info.transaction_started_at.map(micros),
        query_start: info.query_started_at.map(micros),
        state_change: Some(micros(info.state_changed_at)),
        state: info.state.word().into(),
        query: info.query,
    }
}

fn micros(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The catalog's relations before the users' own.
struct WithCatalog<'a> {
    catalog: &'a PgCatalog,
    own: ReadRelations<'a>,
}

impl Relations for WithCatalog<'_> {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Relation> {
        match self.catalog.relation(schema, name) {
            Ok(Some(table)) => Some(Relation::Table(table)),
            Ok(None) => self.own.relation(schema, name),
            Err(error) => {
                tracing::error!(%error, table = name, "a catalog table cannot be built");
                None
            }
        }
    }

    fn version_time(&self, schema: Option<&str>, name: &str) -> Result<String, SqlError> {
        self.own.version_time(schema, name)
    }

    fn entering(&self, view: &str) {
        self.own.entering(view);
    }

    fn leaving(&self) {
        self.own.leaving();
    }
}

impl Database {
    /// True if a query needs this module.
    pub(super) fn asks_catalog(query: &ast::Query) -> bool {
        crate::pg_catalog::is_catalog_query(&ast::Statement::Query(Box::new(query.clone())))
    }

    /// Binds a query that asks about the catalog.
    ///
    /// # Errors
    /// The rewrite's and the binder's.
    pub(super) fn plan_catalog_query(
        &self,
        query: &ast::Query,
        text: &str,
        types: &[Option<arrow::datatypes::DataType>],
        reading: &Reading,
        asker: &Asker,
    ) -> Result<super::query::PlannedQuery, SqlError> {
        let catalog = PgCatalog::new(self.catalog_snapshot(reading, &asker.access), Arc::new(self.facts(asker)));
        let mut query = query.clone();
        let mut functions = catalog.functions();
        functions.extend(catalog.rewrite(&mut query)?);
        let mut state: SessionState = self.session_state.clone();
        for function in functions {
            state.register_udf(function)?;
        }
        let relations = WithCatalog { catalog: &catalog, own: ReadRelations::new(reading, &self.engine) };
        let mut planned = super::query::bind(&state, &relations, &query, text, types)?;
        planned.plan = catalog.present(planned.plan)?;
        for (field, shown) in planned.columns.iter_mut().zip(planned.plan.schema().fields()) {
            *field = Arc::new(shown.as_ref().clone().with_name(crate::pg_catalog::output_name(field.name())));
        }
        Ok(planned)
    }

    fn facts(&self, asker: &Asker) -> SessionFacts {
        let Asker { settings, identity, access } = asker;
        let named = |setting: RoleSetting| settings.value(setting.name());
        let session_user = named(RoleSetting::SessionAuthorization).unwrap_or_else(|| identity.user.to_string());
        let user = named(RoleSetting::Role).filter(|role| role != "none").unwrap_or_else(|| session_user.clone());
        let enabled_roles = match access.is_superuser() {
            true => access.roles.all().map(|role| role.oid).collect(),
            false => access.roles.acting(access.role),
        };
        SessionFacts {
            user,
            session_user,
            enabled_roles,
            backend_pid: identity.pid,
            // No schema is a user's own; the engine's only looks like one to the superuser of that name.
            search_path: settings.search_path().into_iter().filter(|schema| schema != "$user").collect(),
            client: identity.client.map(SocketAddr::from),
            server: None,
            server_started: micros(self.started_at),
            access: Arc::new(Access {
                asker: asker.clone(),
                sessions: self.sessions.clone(),
                database: self.this.clone(),
            }),
        }
    }

    fn catalog_snapshot(&self, reading: &Reading, access: &Rights) -> Arc<CatalogSnapshot> {
        let mut relations: Vec<CatalogRelation> = Vec::new();
        for object in reading.catalog.objects() {
            relations.push(relation(object, reading));
            relations.extend(companions(object));
            relations.extend(errors_of(object, reading));
        }
        for (index, name) in (1..).zip(system::TABLES) {
            let columns = system::columns(name, reading, &self.engine);
            relations.push(CatalogRelation {
                oid: SYSTEM_SCHEMA_OID + index,
                schema: system::SCHEMA.into(),
                name: name.into(),
                kind: RelationKind::View,
                columns,
                definition: None,
                comment: None,
                column_comments: vec![],
                rows: None,
                bytes: None,
                depends_on: vec![],
                ..CatalogRelation::default()
            });
        }
        relations
            .iter_mut()
            .filter(|relation| relation.schema == "public")
            .for_each(|relation| secure(relation, access));
        // Whose rows one may not read, their definition one may not see.
        for relation in &mut relations {
            relation.definition =
                relation.definition.take().filter(|_| access.may_see(&reading.catalog, &relation.name));
        }
        let roles = &access.roles;
        let role = |role: &Arc<crate::roles::Role>| Role {
            oid: role.oid,
            name: role.name.clone(),
            superuser: role.superuser,
            login: role.login,
            connection_limit: role.connection_limit,
            inherit: role.inherit,
            valid_until: role.valid_until,
            settings: role.settings.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            member_of: roles.memberships().iter().filter(|m| m.member == role.oid).copied().collect(),
        };
        let comment = Some("the engine's own state".into());
        Arc::new(CatalogSnapshot::new(Contents {
            version: reading.catalog.version(),
            database: super::backend::DATABASE.into(),
            database_oid: DATABASE_OID,
            schemas: vec![SchemaEntry { oid: SYSTEM_SCHEMA_OID, name: system::SCHEMA.into(), comment }],
            roles: roles.all().map(role).collect(),
            schema_acl: roles.granted(Securable::Schema).map(<[_]>::to_vec),
            database_acl: roles.granted(Securable::Database).map(<[_]>::to_vec),
            relations,
            indexes: reading.catalog.objects().flat_map(|object| indexes(object)).collect(),
        }))
    }
}

/// Says of a relation whose it is, and what was granted on it.
fn secure(relation: &mut CatalogRelation, access: &Rights) {
    let on = Securable::Relation(relation.oid);
    relation.owner = access.roles.owner(owning(on));
    relation.acl = access.roles.granted(on).map(<[_]>::to_vec);
    relation.grants = access.roles.grants_on(on, relation.owner);
    relation.accessible = access.has_any(on, relation.owner);
}

/// `<source>_errors` and `<source>_late`, under oids that follow from the source's own, far above all others.
fn companions(object: &Object) -> Vec<CatalogRelation> {
    let Definition::Source(source) = &object.definition else { return vec![] };
    let schemas = [errors_schema(), late_schema(&source.columns)];
    let companion = |(index, (suffix, schema)): (u32, (&str, SchemaRef))| CatalogRelation {
        oid: COMPANIONS_OID + object.oid * 2 + index,
        schema: "public".into(),
        name: format!("{}_{suffix}", object.name),
        kind: RelationKind::Table,
        columns: schema.fields().iter().cloned().collect(),
        definition: None,
        comment: None,
        column_comments: vec![],
        rows: None,
        bytes: None,
        depends_on: vec![object.oid],
        ..CatalogRelation::default()
    };
    (0..).zip(SOURCE_RELATIONS.into_iter().zip(schemas)).map(companion).collect()
}

/// `<view>_errors`, under an oid that follows from the view's own as a source's relations' do.
fn errors_of(object: &Object, reading: &Reading) -> Option<CatalogRelation> {
    let [suffix] = object.definition.companions() else { return None };
    let name = format!("{}_{suffix}", object.name);
    let errors = reading.snapshot.view(&name);
    Some(CatalogRelation {
        oid: COMPANIONS_OID + object.oid * 2,
        schema: "public".into(),
        kind: RelationKind::Table,
        columns: row_errors_schema().fields().iter().cloned().collect(),
        definition: None,
        comment: None,
        column_comments: vec![],
        rows: errors.map(|errors| errors.num_rows()),
        bytes: errors.map(|errors| errors.view_bytes as u64),
        depends_on: vec![object.oid],
        name,
        ..CatalogRelation::default()
    })
}

/// The indexes on an object. That of a primary key is under an oid that follows from the table's own, as those of a source's
/// relations do.
fn indexes(object: &Object) -> Vec<CatalogIndex> {
    let number = |name: &String| {
        let at = object.columns.iter().position(|column| column.name() == name)?;
        u16::try_from(at + 1).ok()
    };
    let index = |index: &Arc<sql::catalog::Index>| CatalogIndex {
        oid: index.oid,
        name: index.name.clone(),
        relation: object.oid,
        columns: index.columns.iter().filter_map(number).collect(),
        is_primary: false,
    };
    let key = match &object.definition {
        Definition::Table(table) if !table.primary_key.is_empty() => Some(CatalogIndex {
            oid: COMPANIONS_OID + object.oid * 2,
            name: constraint_name(&object.name),
            relation: object.oid,
            columns: table.primary_key.iter().filter_map(|column| u16::try_from(column + 1).ok()).collect(),
            is_primary: true,
        }),
        _ => None,
    };
    key.into_iter().chain(object.indexes.iter().map(index)).collect()
}

fn relation(object: &Object, reading: &Reading) -> CatalogRelation {
    let (kind, definition) = match &object.definition {
        Definition::Source(_) => (RelationKind::Source, None),
        Definition::MaterializedView(view) => (RelationKind::MaterializedView, Some(view.query_text.clone())),
        Definition::View(view) => (RelationKind::View, Some(view.query_text.clone())),
        Definition::Table(_) => (RelationKind::Table, None),
    };
    let view = reading.snapshot.view(&object.name);
    let oid_of = |name: &String| reading.catalog.get(name).map(|object| object.oid);
    CatalogRelation {
        oid: object.oid,
        schema: "public".into(),
        name: object.name.clone(),
        kind,
        columns: object.columns.clone(),
        definition,
        comment: None,
        column_comments: vec![],
        rows: view.map(|view: &Arc<ViewReading>| view.num_rows()),
        bytes: view.map(|view| view.view_bytes as u64),
        depends_on: object.reads.iter().filter_map(oid_of).collect(),
        ..CatalogRelation::default()
    }
}
