//! What the catalog tables are made from: one immutable picture of the database's objects.
//!
//! In: [`Contents`], put together by whoever owns the objects each time one is created, changed or dropped. Out:
//! look-ups by OID and by name, and the built tables, kept for as long as the snapshot lives. Sessions share one
//! snapshot by `Arc`; nothing in it belongs to a session.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::catalog::TableProvider;
use parking_lot::Mutex;

use super::system;
use crate::roles::Membership;
use crate::roles::privileges::{AclItem, Grant};

/// OID of the role that owns what the server is born with.
pub const BOOTSTRAP_ROLE: u32 = 10;

/// Everything a snapshot holds. OIDs of users' objects are at least 16384 and never change while the object lives.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Grows with every change to anything below. Clients see it as the last transaction's number, and as the one
    /// that every object was changed in.
    pub version: u64,
    /// The database's name.
    pub database: String,
    /// The database's OID.
    pub database_oid: u32,
    /// Schemas beside `pg_catalog`, `information_schema` and `public`.
    pub schemas: Vec<SchemaEntry>,
    /// Roles; the one with OID [`BOOTSTRAP_ROLE`] owns what says nothing else.
    pub roles: Vec<Role>,
    /// Sources, views and materialized views, in any order.
    pub relations: Vec<Relation>,
    /// The indexes on them.
    pub indexes: Vec<Index>,
    /// What was granted on the schema public, if anything was.
    pub schema_acl: Option<Vec<Grant>>,
    /// What was granted on the database, if anything was.
    pub database_acl: Option<Vec<Grant>>,
}

/// An index.
#[derive(Debug, Clone)]
pub struct Index {
    /// Its OID.
    pub oid: u32,
    /// Its name; it is in the schema of what it is on.
    pub name: String,
    /// The OID of what it is on.
    pub relation: u32,
    /// Its columns, by their numbers there, from 1.
    pub columns: Vec<u16>,
    /// It is a primary key's.
    pub is_primary: bool,
}

/// A schema.
#[derive(Debug, Clone)]
pub struct SchemaEntry {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Its comment.
    pub comment: Option<String>,
}

/// A role.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its OID.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// May do everything.
    pub superuser: bool,
    /// May connect.
    pub login: bool,
    /// How many connections it may have; -1 is any number.
    pub connection_limit: i32,
    /// Has the privileges of the roles it is a member of.
    pub inherit: bool,
    /// Until when its password is good, µs since 1970.
    pub valid_until: Option<i64>,
    /// What its sessions start with, as `name=value`.
    pub settings: Vec<String>,
    /// The roles it is a member of.
    pub member_of: Vec<Membership>,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RelationKind {
    /// A source: a topic read as a table.
    ///
    /// Its `relkind` is `r`, an ordinary table, although `f` (a foreign table) is nearer to what it is: BI tools offer
    /// tables and views by default and leave foreign tables out, and none of them does anything with an `r` that a
    /// source cannot bear.
    Source,
    /// A stored table.
    #[default]
    Table,
    /// A materialized view: `m`.
    MaterializedView,
    /// A view: `v`.
    View,
}

impl RelationKind {
    /// `pg_class.relkind`.
    pub fn relkind(self) -> &'static str {
        match self {
            RelationKind::Source | RelationKind::Table => "r",
            RelationKind::MaterializedView => "m",
            RelationKind::View => "v",
        }
    }

    /// True where a query defines it.
    pub fn is_view(self) -> bool {
        matches!(self, RelationKind::MaterializedView | RelationKind::View)
    }
}

/// A source, table, view or materialized view.
#[derive(Debug, Clone, Default)]
pub struct Relation {
    /// Its OID.
    pub oid: u32,
    /// The schema it is in.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// Its columns. A field that may not be null is NOT NULL; [`super::types::type_of`] reads the type.
    pub columns: Vec<FieldRef>,
    /// The query of a view, without a semicolon.
    pub definition: Option<String>,
    /// Its comment.
    pub comment: Option<String>,
    /// Comments of its columns by position from 1.
    pub column_comments: Vec<(u16, String)>,
    /// How many rows it has, if that is known.
    pub rows: Option<u64>,
    /// How many bytes it holds, if that is known.
    pub bytes: Option<u64>,
    /// OIDs of the relations its query reads.
    pub depends_on: Vec<u32>,
    /// The oid of its owner.
    pub owner: u32,
    /// What was granted on it, if anything was: `relacl`.
    pub acl: Option<Vec<Grant>>,
    /// The same, with what its owner has from the beginning.
    pub grants: Vec<Grant>,
    /// Who asks may do something with it.
    pub accessible: bool,
}

/// Built tables by schema and name.
type Tables = HashMap<(&'static str, &'static str), Arc<dyn TableProvider>>;

/// The picture. See the module's words.
#[derive(Debug)]
pub struct CatalogSnapshot {
    contents: Contents,
    relations_by_oid: HashMap<u32, usize>,
    relations_by_name: HashMap<(String, String), usize>,
    tables: Mutex<Tables>,
}

impl CatalogSnapshot {
    /// Takes the picture.
    pub fn new(mut contents: Contents) -> Self {
        contents.relations.sort_by_key(|relation| relation.oid);
        let relations_by_oid = contents.relations.iter().enumerate().map(|(at, r)| (r.oid, at)).collect();
        let relations_by_name =
            contents.relations.iter().enumerate().map(|(at, r)| ((r.schema.clone(), r.name.clone()), at)).collect();
        Self { contents, relations_by_oid, relations_by_name, tables: Mutex::default() }
    }

    /// Grows with every change.
    pub fn version(&self) -> u64 {
        self.contents.version
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.contents.database
    }

    /// The database's OID.
    pub fn database_oid(&self) -> u32 {
        self.contents.database_oid
    }

    /// The roles.
    pub fn roles(&self) -> &[Role] {
        &self.contents.roles
    }

    /// Grants as `aclitem`s; NULL where nothing was granted.
    pub fn acl(&self, grants: Option<&Vec<Grant>>) -> Option<Vec<String>> {
        let name = |oid: u32| self.role_name(oid).unwrap_or_default();
        let item = |grant: &Grant| {
            let grantee = grant.grantee.map_or("", name);
            AclItem { grantee, grantor: name(grant.grantor), grant: *grant }.to_string()
        };
        grants.map(|grants| grants.iter().map(item).collect())
    }

    /// What was granted on the schema public.
    pub fn schema_acl(&self) -> Option<Vec<String>> {
        self.acl(self.contents.schema_acl.as_ref())
    }

    /// What was granted on the database.
    pub fn database_acl(&self) -> Option<Vec<String>> {
        self.acl(self.contents.database_acl.as_ref())
    }

    /// The name of role `oid`.
    pub fn role_name(&self, oid: u32) -> Option<&str> {
        self.contents.roles.iter().find(|role| role.oid == oid).map(|role| role.name.as_str())
    }

    /// Users' relations, by ascending OID.
    pub fn relations(&self) -> &[Relation] {
        &self.contents.relations
    }

    /// The relation with this OID.
    pub fn relation(&self, oid: u32) -> Option<&Relation> {
        self.relations_by_oid.get(&oid).map(|at| &self.contents.relations[*at])
    }

    /// The relation with this name.
    pub fn relation_named(&self, schema: &str, name: &str) -> Option<&Relation> {
        let at = self.relations_by_name.get(&(schema.to_string(), name.to_string()))?;
        Some(&self.contents.relations[*at])
    }

    /// The indexes.
    pub fn indexes(&self) -> &[Index] {
        &self.contents.indexes
    }

    /// The index with this OID, and what it is on.
    pub fn index(&self, oid: u32) -> Option<(&Index, &Relation)> {
        let index = self.contents.indexes.iter().find(|index| index.oid == oid)?;
        Some((index, self.relation(index.relation)?))
    }

    /// The columns of an index.
    pub fn index_columns(&self, index: &Index) -> Vec<FieldRef> {
        let columns = self.relation(index.relation).map_or(&[][..], |relation| &relation.columns);
        index.columns.iter().filter_map(|number| columns.get(usize::from(*number).checked_sub(1)?).cloned()).collect()
    }

    /// All schemas as (OID, name, comment).
    pub fn schemas(&self) -> Vec<(u32, &str, Option<&str>)> {
        let born = [
            (system::PG_CATALOG, "pg_catalog", Some("system catalog schema")),
            (system::PUBLIC, "public", Some("standard public schema")),
            (system::INFORMATION_SCHEMA, "information_schema", None),
        ];
        let others = self.contents.schemas.iter().map(|s| (s.oid, s.name.as_str(), s.comment.as_deref()));
        born.into_iter().chain(others).collect()
    }

    /// The OID of schema `name`, 0 where there is none.
    pub fn schema_oid(&self, name: &str) -> u32 {
        let own = || self.contents.schemas.iter().find(|schema| schema.name == name).map(|schema| schema.oid);
        system::schema_oid(name).or_else(own).unwrap_or(0)
    }

    /// The name of schema `oid`.
    pub fn schema_name(&self, oid: u32) -> Option<&str> {
        self.schemas().into_iter().find(|(schema, _, _)| *schema == oid).map(|(_, name, _)| name)
    }

    /// (schema, name) of any relation, the system's own too.
    pub fn qualified_name(&self, oid: u32) -> Option<(&str, &str)> {
        let own = || system::by_oid(oid).map(|relation| (relation.schema, relation.name));
        let index = || self.index(oid).map(|(index, relation)| (relation.schema.as_str(), index.name.as_str()));
        self.relation(oid)
            .map(|relation| (relation.schema.as_str(), relation.name.as_str()))
            .or_else(index)
            .or_else(own)
    }

    /// The OID of a relation, the system's own too.
    pub fn relation_oid(&self, schema: &str, name: &str) -> Option<u32> {
        let own = || system::find(schema, name).map(|relation| relation.oid).filter(|oid| *oid != 0);
        let is_it = |index: &&Index| {
            index.name == name && self.relation(index.relation).is_some_and(|relation| relation.schema == schema)
        };
        let index = || self.contents.indexes.iter().find(is_it).map(|index| index.oid);
        self.relation_named(schema, name).map(|relation| relation.oid).or_else(index).or_else(own)
    }

    /// The columns of any relation in order, with the `PG_TYPE` of their types.
    pub fn columns(&self, oid: u32) -> Option<Vec<FieldRef>> {
        let own = || system::by_oid(oid).map(|relation| relation.arrow.fields().iter().cloned().collect());
        let index = || self.index(oid).map(|(index, _)| self.index_columns(index));
        self.relation(oid).map(|relation| relation.columns.clone()).or_else(index).or_else(own)
    }

    /// The built table, made by `build` the first time.
    pub(super) fn table<E>(
        &self,
        schema: &'static str,
        name: &'static str,
        build: impl FnOnce() -> Result<Arc<dyn TableProvider>, E>,
    ) -> Result<Arc<dyn TableProvider>, E> {
        if let Some(table) = self.tables.lock().get(&(schema, name)) {
            return Ok(Arc::clone(table));
        }
        let table = build()?;
        self.tables.lock().insert((schema, name), Arc::clone(&table));
        Ok(table)
    }
}
