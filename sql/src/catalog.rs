//! What exists: sources, tables, views and materialized views, with the text that made them.
//!
//! A catalog is a value: every change gives a new one, so a statement works on the version it began with. Restarting
//! feeds each definition's text, in order of oid, through the path by which it first came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use engine::dataflow::relation::RelationProperties;

use crate::error::{SqlError, SqlState};
use crate::rename::quoted;
use crate::statement::{CreateMaterializedView, CreateSource, CreateTable, CreateView, ObjectKind, OnError};

/// The first oid of a user's object, as in Postgres: smaller ones are the system's.
pub const FIRST_USER_OID: u32 = 16_384;

/// Suffixes of the two relations that come with every source.
pub const SOURCE_RELATIONS: [&str; 2] = ["errors", "late"];

/// Suffix of the relation that comes with a materialized view that leaves rows out.
pub const ERRORS_RELATION: &str = "errors";

/// One named object.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its oid; never used again after a drop.
    pub oid: u32,
    /// Its name, in schema public.
    pub name: String,
    /// The statement that made it.
    pub text: String,
    /// What it is.
    pub definition: Definition,
    /// Its columns.
    pub columns: Vec<FieldRef>,
    /// The objects it reads, by name.
    pub reads: BTreeSet<String>,
    /// What views over it may build on; `None` for a source, which says so itself, and for a plain view.
    pub properties: Option<Arc<RelationProperties>>,
    /// The indexes on it, in the order they came, without that of a primary key.
    pub indexes: Vec<Arc<Index>>,
}

/// An index on a materialized view or table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its oid.
    pub oid: u32,
    /// Its name, which no relation has.
    pub name: String,
    /// Its columns, by name.
    pub columns: Vec<String>,
}

impl Index {
    /// The statement that makes it.
    pub fn text(&self, relation: &str) -> String {
        let columns: Vec<_> = self.columns.iter().map(|column| quoted(column)).collect();
        format!("CREATE INDEX {} ON {} ({})", quoted(&self.name), quoted(relation), columns.join(", "))
    }
}

/// What an object is.
#[derive(Debug, Clone)]
pub enum Definition {
    /// A source.
    Source(Arc<CreateSource>),
    /// A materialized view.
    MaterializedView(Arc<CreateMaterializedView>),
    /// A plain view.
    View(Arc<CreateView>),
    /// A table.
    Table(Arc<CreateTable>),
}

impl Definition {
    /// The suffixes of the relations that come with it.
    pub fn companions(&self) -> &'static [&'static str] {
        match self {
            Self::Source(_) => &SOURCE_RELATIONS,
            Self::MaterializedView(create) => create.companions(),
            Self::View(_) | Self::Table(_) => &[],
        }
    }
}

impl CreateMaterializedView {
    /// The suffixes of the relations that come with the view.
    pub fn companions(&self) -> &'static [&'static str] {
        match self.on_error {
            OnError::Exclude => &[ERRORS_RELATION],
            OnError::Fail => &[],
        }
    }
}

impl Object {
    /// The index of this name on it.
    pub fn index(&self, name: &str) -> Option<&Arc<Index>> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// Its kind.
    pub fn kind(&self) -> ObjectKind {
        match self.definition {
            Definition::Source(_) => ObjectKind::Source,
            Definition::MaterializedView(_) => ObjectKind::MaterializedView,
            Definition::View(_) => ObjectKind::View,
            Definition::Table(_) => ObjectKind::Table,
        }
    }
}

/// An object about to be added.
#[derive(Debug, Clone)]
pub struct NewObject {
    /// Its name.
    pub name: String,
    /// The statement that makes it.
    pub text: String,
    /// What it is.
    pub definition: Definition,
    /// Its columns.
    pub columns: Vec<FieldRef>,
    /// The objects it reads.
    pub reads: BTreeSet<String>,
    /// What views over it may build on, if the engine keeps its rows.
    pub properties: Option<Arc<RelationProperties>>,
}

/// All objects at one version.
#[derive(Debug, Clone)]
pub struct Catalog {
    version: u64,
    next_oid: u32,
    /// The oid of the next new object, in place of the next that is free.
    given_oid: Option<u32>,
    objects: BTreeMap<String, Arc<Object>>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { version: 0, next_oid: FIRST_USER_OID, given_oid: None, objects: BTreeMap::new() }
    }
}

impl Catalog {
    /// Counts changes.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The object of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Object>> {
        self.objects.get(name)
    }

    /// All objects, by name.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// All objects in an order in which each comes after what it reads, older ones first where that leaves a choice. A
    /// replaced view keeps its oid but may read younger objects, so oids alone are no such order.
    pub fn in_creation_order(&self) -> Vec<Arc<Object>> {
        let mut open: Vec<_> = self.objects.values().cloned().collect();
        open.sort_by_key(|object| object.oid);
        let mut ordered: Vec<Arc<Object>> = Vec::with_capacity(open.len());
        while !open.is_empty() {
            let waits = |object: &Arc<Object>| object.reads.iter().any(|read| open.iter().any(|o| o.name == *read));
            // Nothing reads itself, so there always is one that waits for nothing; the first is taken all the same.
            let next = open.iter().position(|object| !waits(object)).unwrap_or(0);
            ordered.push(open.remove(next));
        }
        ordered
    }

    /// The source that brings a relation such as `bids_errors`, and which of its relations it is.
    pub fn source_relation(&self, name: &str) -> Option<(&Arc<Object>, &'static str)> {
        SOURCE_RELATIONS.into_iter().find_map(|suffix| {
            let source = self.get(name.strip_suffix(suffix)?.strip_suffix('_')?)?;
            (source.kind() == ObjectKind::Source).then_some((source, suffix))
        })
    }

    /// The materialized view whose errors a relation such as `totals_errors` shows.
    pub fn view_of_errors(&self, name: &str) -> Option<&Arc<Object>> {
        let view = self.get(name.strip_suffix(ERRORS_RELATION)?.strip_suffix('_')?)?;
        matches!(&view.definition, Definition::MaterializedView(create) if create.on_error == OnError::Exclude)
            .then_some(view)
    }

    /// Refuses a name that is taken, by an object or by a relation that comes with one. `companions` are the suffixes of the
    /// relations that are to come with it.
    ///
    /// # Errors
    /// 42P07.
    pub fn check_free(&self, name: &str, companions: &[&str]) -> Result<(), SqlError> {
        let is_companion = |name: &str| self.source_relation(name).is_some() || self.view_of_errors(name).is_some();
        let taken = |name: &str| self.get(name).is_some() || is_companion(name) || self.index(name).is_some();
        let mut names = vec![name.to_owned()];
        names.extend(companions.iter().map(|suffix| format!("{name}_{suffix}")));
        match names.iter().find(|name| taken(name)) {
            Some(name) => Err(SqlError::new(SqlState::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))),
            None => Ok(()),
        }
    }

    /// The object of this name, if it is of this kind; a source may be called a table.
    ///
    /// # Errors
    /// 42P01 if there is none, 42809 if it is something else.
    pub fn expect(&self, name: &str, kind: ObjectKind) -> Result<&Arc<Object>, SqlError> {
        let Some(object) = self.get(name) else {
            let message = format!("{} \"{name}\" does not exist", noun(kind));
            return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message));
        };
        // CREATE TABLE can make a source, too.
        if object.kind() == kind || (kind, object.kind()) == (ObjectKind::Table, ObjectKind::Source) {
            return Ok(object);
        }
        Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a {}", noun(kind))))
    }

    /// The objects that read `name`, directly.
    pub fn readers(&self, name: &str) -> Vec<Arc<Object>> {
        self.objects.values().filter(|object| object.reads.contains(name)).cloned().collect()
    }

    /// `names` and everything that reads them, however far away, readers before what they read: the order to drop in.
    pub fn with_readers(&self, names: &[String]) -> Vec<Arc<Object>> {
        let mut found: BTreeSet<String> = BTreeSet::new();
        let mut open: Vec<String> = names.to_vec();
        while let Some(name) = open.pop() {
            if self.get(&name).is_some() && found.insert(name.clone()) {
                open.extend(self.readers(&name).iter().map(|reader| reader.name.clone()));
            }
        }
        let ordered = self.in_creation_order().into_iter().rev();
        ordered.filter(|object| found.contains(&object.name)).collect()
    }

    /// This catalog with an object added under a new oid, or in the place and with the oid of its namesake.
    #[must_use]
    pub fn with(&self, new: NewObject) -> Self {
        let mut next = self.clone();
        next.version += 1;
        let known = next.objects.get(&new.name).map(|old| old.oid);
        let oid = known.unwrap_or_else(|| next.take_oid());
        let NewObject { name, text, definition, columns, reads, properties } = new;
        let indexes = next.objects.get(&name).map(|old| old.indexes.clone()).unwrap_or_default();
        let object = Object { oid, name: name.clone(), text, definition, columns, reads, properties, indexes };
        next.objects.insert(name, Arc::new(object));
        next
    }

    /// The index of this name, and what it is on.
    pub fn index(&self, name: &str) -> Option<(&Arc<Object>, &Arc<Index>)> {
        self.objects.values().find_map(|object| object.index(name).map(|index| (object, index)))
    }

    /// This catalog with an index on an object, under a new oid.
    #[must_use]
    pub fn with_index(&self, object: &str, name: &str, columns: Vec<String>) -> Self {
        let mut next = self.clone();
        next.version += 1;
        let index = Arc::new(Index { oid: next.take_oid(), name: name.to_owned(), columns });
        next.change_indexes(object, |indexes| indexes.push(index));
        next
    }

    /// This catalog without an index.
    #[must_use]
    pub fn without_index(&self, name: &str) -> Self {
        let mut next = self.clone();
        next.version += 1;
        if let Some((object, _)) = self.index(name) {
            next.change_indexes(&object.name, |indexes| indexes.retain(|index| index.name != name));
        }
        next
    }

    fn change_indexes(&mut self, object: &str, change: impl FnOnce(&mut Vec<Arc<Index>>)) {
        if let Some(object) = self.objects.get_mut(object) {
            change(&mut Arc::make_mut(object).indexes);
        }
    }

    /// This catalog, whose next new object or index gets this oid: what brings back definitions with the oids they had.
    #[must_use]
    pub fn with_given_oid(&self, oid: Option<u32>) -> Self {
        Self { given_oid: oid, ..self.clone() }
    }

    fn take_oid(&mut self) -> u32 {
        let oid = self.given_oid.take().unwrap_or(self.next_oid);
        self.next_oid = self.next_oid.max(oid + 1);
        oid
    }

    /// This catalog with an object under another name, and so for all that read it. `rewritten` has, by the present name,
    /// the text and definition of each object whose text names it, its own among them.
    #[must_use]
    pub fn renamed(&self, from: &str, to: &str, rewritten: BTreeMap<String, (String, Definition)>) -> Self {
        let mut next = self.clone();
        next.version += 1;
        let name = |name: &String| if name == from { to.to_owned() } else { name.clone() };
        let is_source = self.get(from).is_some_and(|object| object.kind() == ObjectKind::Source);
        let rename = |object: &Arc<Object>| {
            let mut renamed = Object { name: name(&object.name), ..object.as_ref().clone() };
            renamed.reads = object.reads.iter().map(name).collect();
            if is_source && let Some(properties) = &object.properties {
                renamed.properties = Some(Arc::new(properties.with_source_renamed(from, to)));
            }
            if let Some((text, definition)) = rewritten.get(&object.name) {
                (renamed.text, renamed.definition) = (text.clone(), definition.clone());
            }
            (renamed.name.clone(), Arc::new(renamed))
        };
        next.objects = self.objects.values().map(rename).collect();
        next
    }

    /// This catalog without these objects.
    #[must_use]
    pub fn without<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut next = self.clone();
        next.version += 1;
        for name in names {
            next.objects.remove(name);
        }
        next
    }
}

/// A kind's name in messages.
pub fn noun(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Source => "source",
        ObjectKind::MaterializedView => "materialized view",
        ObjectKind::View => "view",
        ObjectKind::Table => "table",
    }
}
