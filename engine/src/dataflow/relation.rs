//! What a plan may build on when it reads a relation: something with a change every tick.
//!
//! A source's change is the rows it accepted. A **maintained** relation's is the consolidated change of rows the engine
//! itself keeps: a view's. A plan takes both alike; what differs is told by the properties.

use std::collections::BTreeSet;

use arrow::datatypes::Schema;

use super::bound::{Bound, BoundTerm};
use crate::operator::state_bound::Growth;

/// A relation's properties, as far as plans over it depend on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationProperties {
    /// True if the engine keeps its rows, so that a new reader starts from them; false for a source, whose log is read.
    pub maintained: bool,
    /// True if no row is ever retracted.
    pub append_only: bool,
    /// For each column, the lower bound of what later ticks insert or retract there.
    pub bounds: Vec<Option<Bound>>,
    /// True if every row is final when it appears.
    pub closes: bool,
    /// True if a source behind it, or it itself, accepts rows for windows that have closed.
    pub accepts_late: bool,
    /// The sources whose event time it follows.
    pub sources: BTreeSet<String>,
    /// How the number of its rows grows.
    pub rows: Growth,
}

impl RelationProperties {
    /// A source with these columns, one of which may be its event time.
    pub fn of_source(name: &str, schema: &Schema, event_time: Option<&str>) -> Self {
        let is_time = |column: &str| event_time == Some(column);
        let bound = |field: &arrow::datatypes::FieldRef| {
            is_time(field.name()).then(|| Bound::event_time(name, field.data_type())).flatten()
        };
        Self {
            maintained: false,
            append_only: true,
            bounds: schema.fields().iter().map(bound).collect(),
            closes: false,
            accepts_late: false,
            sources: BTreeSet::from([name.to_owned()]),
            rows: Growth::Unbounded,
        }
    }

    /// A table with so many columns, whose rows come and go as they are written.
    pub fn of_table(columns: usize) -> Self {
        Self {
            maintained: true,
            append_only: false,
            bounds: vec![None; columns],
            closes: false,
            accepts_late: false,
            sources: BTreeSet::new(),
            rows: Growth::Present,
        }
    }

    /// The same of a source that accepts rows for windows that have closed, or does not.
    #[must_use]
    pub fn accepting_late(self, accepts_late: bool) -> Self {
        Self { accepts_late, ..self }
    }

    /// The same after a source was given another name.
    #[must_use]
    pub fn with_source_renamed(&self, from: &str, to: &str) -> Self {
        let name = |name: &String| if name == from { to.to_owned() } else { name.clone() };
        let term = |term: &BoundTerm| BoundTerm { source: name(&term.source), ..term.clone() };
        let bound = |bound: &Bound| Bound { terms: bound.terms.iter().map(term).collect() };
        Self {
            bounds: self.bounds.iter().map(|column| column.as_ref().map(bound)).collect(),
            sources: self.sources.iter().map(name).collect(),
            ..self.clone()
        }
    }
}
