//! What a transaction block writes, until its end: changes of tables that the block alone sees, on top of its read point.
//!
//! ```text
//! statement ─> change ─> own writes ──(reads of the block)──> ChangedTable: the snapshot and the change
//!                            └──COMMIT──> Engine::write: every table in one tick, or none
//! ```
//! A block sees the tick of its first statement and itself: snapshot isolation. Views move at COMMIT. If others changed a row
//! that it changed, COMMIT is refused (40001); if they took a key, too (23505).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use engine::Error;
use engine::delta::Delta;
use engine::tick::table::WriteError;
use engine::view::{ViewSnapshot, consolidate};
use sql::catalog::{Definition, Object};
use sql::{SqlError, SqlState};

use super::relations::schema_of;
use super::write::duplicate;
use super::{Database, Reading, blocking};
use crate::backend::Settings;

/// The changes of a block, by table.
#[derive(Debug, Clone, Default)]
pub struct OwnWrites(BTreeMap<String, Own>);

/// A table's change.
#[derive(Debug, Clone)]
struct Own {
    /// Which table of that name.
    instance: Option<u64>,
    /// Consolidated.
    change: Delta,
}

impl OwnWrites {
    /// The change of a table, consolidated; `None` if the block has not written to it.
    pub(super) fn change_of(&self, table: &str) -> Option<&Delta> {
        self.0.get(table).map(|own| &own.change)
    }

    /// These writes and a further change of a table.
    ///
    /// # Errors
    /// `Data` if a row is there too often to be counted; 40001 if the table is another by now.
    pub(super) fn with(&self, table: &Object, reading: &Reading, change: &[Delta]) -> Result<Self, SqlError> {
        let instance = instance(reading, &table.name);
        let mut all = change.to_vec();
        if let Some(own) = self.0.get(&table.name) {
            if own.instance != instance {
                return Err(conflict());
            }
            all.insert(0, own.change.clone());
        }
        let change = consolidate(&schema_of(&table.columns), &all)?;
        let mut writes = self.clone();
        writes.0.insert(table.name.clone(), Own { instance, change });
        Ok(writes)
    }
}

fn instance(reading: &Reading, table: &str) -> Option<u64> {
    reading.snapshot.view(table).map(|view| view.instance)
}

/// Others came first.
pub(super) fn conflict() -> SqlError {
    SqlError::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
        .hint("Run the transaction again.")
}

/// The key columns of the rows of a table that a reading sees.
pub(super) fn keys_there(reading: &Reading, table: &str, key: &[usize]) -> Result<Vec<RecordBatch>, SqlError> {
    let Some(view) = reading.snapshot.view(table) else { return Ok(Vec::new()) };
    match reading.own.change_of(table) {
        None => Ok(view.rows.scan(Some(key)).collect::<Result<_, _>>()?),
        Some(change) => {
            let rows = changed_rows(&view.rows, change)?;
            Ok(rows.iter().map(|batch| batch.project(key)).collect::<Result<_, _>>().map_err(Error::from)?)
        }
    }
}

/// The rows of a snapshot after a change.
fn changed_rows(rows: &ViewSnapshot, change: &Delta) -> Result<Vec<RecordBatch>, Error> {
    let mut batches = rows.scan(None).collect::<Result<Vec<_>, _>>()?;
    let after = if (0..change.num_rows()).all(|row| change.weight(row) > 0) {
        change.clone()
    } else {
        let schema = change.rows.schema();
        let all: Vec<Delta> = batches.drain(..).map(Delta::inserts).chain([change.clone()]).collect();
        consolidate(&schema, &all)?
    };
    let copies = (0..after.num_rows()).flat_map(|row| {
        let copies = usize::try_from(after.weight(row)).unwrap_or(0);
        std::iter::repeat_n(row as u64, copies)
    });
    batches.push(take_record_batch(&after.rows, &UInt64Array::from_iter_values(copies))?);
    Ok(batches)
}

/// A table as the block sees it that has written to it.
#[derive(Debug)]
pub(super) struct ChangedTable {
    rows: ViewSnapshot,
    change: Delta,
}

impl ChangedTable {
    /// These rows after this change.
    pub(super) fn new(rows: ViewSnapshot, change: Delta) -> Self {
        Self { rows, change }
    }
}

#[async_trait]
impl TableProvider for ChangedTable {
    fn schema(&self) -> SchemaRef {
        self.change.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let external = |error: Error| DataFusionError::External(Box::new(error));
        let rows = changed_rows(&self.rows, &self.change).map_err(external)?;
        Ok(MemorySourceConfig::try_new_exec(&[rows], self.schema(), projection.cloned())?)
    }
}

impl Database {
    /// Makes a block's changes everybody's. Returns when the tick that holds them is published.
    ///
    /// # Errors
    /// 40001, 23505; then nothing has changed.
    pub(super) async fn commit_block(&self, own: &OwnWrites) -> Result<(), SqlError> {
        let reading = self.reading();
        if own.0.iter().any(|(table, own)| own.instance.is_some() && own.instance != instance(&reading, table)) {
            return Err(conflict());
        }
        let changes = own.0.iter().filter(|(_, own)| !own.change.is_empty());
        let changes: Vec<_> = changes.map(|(table, own)| (table.clone(), vec![own.change.clone()])).collect();
        if changes.is_empty() {
            return Ok(());
        }
        let tables: Vec<String> = changes.iter().map(|(table, _)| table.clone()).collect();
        let engine = self.engine.clone();
        match blocking(move || Ok(engine.write(changes))).await? {
            Ok(()) => Ok(()),
            Err((place, WriteError::Duplicate { key })) => {
                let object = tables.get(place).and_then(|table| reading.catalog.get(table));
                match object.map(|object| &object.definition) {
                    Some(Definition::Table(table)) => Err(duplicate(table, &key, &Settings::default())),
                    _ => Err(conflict()),
                }
            }
            Err((_, WriteError::Conflict(_))) => Err(conflict()),
            Err((_, WriteError::Failed(error))) => Err(error.into()),
        }
    }
}
