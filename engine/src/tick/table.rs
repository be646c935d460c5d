//! A table: rows that statements write, kept by the engine and read like a view's.
//!
//! In: each statement's change, as deltas, between two ticks. Out: the change of all of a tick's statements together, which
//! is the table's delta in that tick. A change is held against the rows as they are when it goes in, after those before it,
//! so two writers never both insert one key. One that cannot go in changes nothing.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};

use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::time::{TickId, Watermark};
use crate::view::{BuiltIndexes, MaterializedView, ViewReading, ViewSnapshot, batch_of, consolidate};

/// Why a change did not go in.
#[derive(Debug)]
pub enum WriteError {
    /// It holds a key twice, or one that the table has.
    Duplicate {
        /// The key's columns, one row: the first such key.
        key: RecordBatch,
    },
    /// What it retracts is not there (any more), or the table is gone or another.
    Conflict(Error),
    /// Anything else.
    Failed(Error),
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { .. } => f.write_str("a key is there already"),
            Self::Conflict(error) | Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WriteError {}

/// A table between ticks.
#[derive(Debug)]
pub struct RunningTable {
    view: MaterializedView,
    /// The key's columns by index, and the keys there are; `None` without a key.
    key: Option<Key>,
    /// The changes since the last tick, in order, each consolidated.
    waiting: Vec<Delta>,
    changed: TickId,
    instance: u64,
    id: u32,
}

#[derive(Debug)]
struct Key {
    columns: Vec<usize>,
    converter: RowConverter,
    present: HashSet<Box<[u8]>>,
}

impl RunningTable {
    /// An empty table; of `key`'s columns no two rows have the same values, which are never NULL.
    ///
    /// # Errors
    /// `Unsupported` if a column's type cannot be compared.
    pub fn try_new(schema: SchemaRef, key: Vec<usize>) -> Result<Self> {
        let key = match key.is_empty() {
            true => None,
            false => Some(Key::try_new(&schema, key)?),
        };
        let view = MaterializedView::new(schema, false)?;
        Ok(Self { view, key, waiting: Vec::new(), changed: TickId::default(), instance: 0, id: 0 })
    }

    /// The table under its number in the catalog, which it keeps for good; of one without a number nothing is kept.
    #[must_use]
    pub fn with_id(self, id: u32) -> Self {
        Self { id, ..self }
    }

    /// Its number in the catalog; 0 if nothing of it is kept.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The tick in which its rows last changed.
    pub fn changed(&self) -> TickId {
        self.changed
    }

    /// Takes the rows that it had in `changed` into an empty table: they are no change of the next tick.
    ///
    /// # Errors
    /// See [`WriteError`]; rows of other columns are a conflict.
    pub fn restore(&mut self, changed: TickId, rows: Vec<RecordBatch>) -> std::result::Result<(), WriteError> {
        let own = |rows: RecordBatch| {
            Ok(Delta::inserts(batch_of(self.view.schema(), rows.columns().to_vec(), rows.num_rows())?))
        };
        let rows = rows.into_iter().map(own).collect::<Result<Vec<_>>>()?;
        self.write(changed, &rows)?;
        self.waiting.clear();
        self.changed = changed;
        Ok(())
    }

    /// Tells it from an earlier table of the same name.
    pub(super) fn set_instance(&mut self, instance: u64) {
        self.instance = instance;
    }

    /// Indexes the table by these columns and no others.
    ///
    /// # Errors
    /// As for [`MaterializedView::set_indexes`].
    pub fn set_indexes(&mut self, indexes: &[Vec<usize>], built: &BuiltIndexes) -> Result<()> {
        self.view.set_indexes(indexes, built)
    }

    /// The rows as they are now.
    pub fn rows(&self) -> ViewSnapshot {
        self.view.snapshot()
    }

    /// Takes a change in, whole or not at all; it belongs to `tick`, the next one.
    ///
    /// # Errors
    /// See [`WriteError`]. After an error the table is as before.
    pub fn write(&mut self, tick: TickId, change: &[Delta]) -> std::result::Result<(), WriteError> {
        if change.iter().any(|delta| delta.rows.schema().fields() != self.view.schema().fields()) {
            return Err(WriteError::Conflict(Error::conflict("the table has other columns by now")));
        }
        let change = consolidate(self.view.schema(), change)?;
        let keys = self.key.as_mut().map(|key| key.after(&change)).transpose()?;
        let applied = self.view.apply(tick, vec![change]).map_err(|error| match error.kind() {
            crate::ErrorKind::Data => WriteError::Conflict(error),
            _ => WriteError::Failed(error),
        })?;
        if let (Some(key), Some(KeyChange { gone, came })) = (&mut self.key, keys) {
            gone.iter().for_each(|gone| _ = key.present.remove(gone));
            key.present.extend(came);
        }
        if applied.inserted + applied.deleted > 0 {
            self.changed = tick;
            self.waiting.extend(applied.changelog);
        }
        Ok(())
    }

    /// Says whether a change would leave a key there twice; rows that it retracts are not looked for.
    ///
    /// # Errors
    /// `Duplicate`; `Failed` for rows that are not the table's.
    pub fn check_keys(&self, change: &Delta) -> std::result::Result<(), WriteError> {
        self.key.as_ref().map_or(Ok(()), |key| key.after(change).map(drop))
    }

    /// True if the next tick changes it.
    pub fn has_change(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Hands out the change since the last tick, consolidated: at most one delta.
    ///
    /// # Errors
    /// `Data` if there are more rows than can be counted.
    pub fn take_change(&mut self) -> Result<Vec<Delta>> {
        let mut waiting = std::mem::take(&mut self.waiting);
        if waiting.len() > 1 {
            waiting = vec![consolidate(self.view.schema(), &waiting)?];
        }
        waiting.retain(|delta| !delta.is_empty());
        Ok(waiting)
    }

    /// The table as a reader sees it; the last reading itself if nothing changed since.
    pub fn reading(&self, last: Option<&Arc<ViewReading>>) -> Arc<ViewReading> {
        let same = |last: &&Arc<ViewReading>| {
            last.instance == self.instance
                && last.applied == self.changed
                && Arc::ptr_eq(last.rows.indexes(), self.view.indexes())
        };
        last.filter(same).cloned().unwrap_or_else(|| {
            Arc::new(ViewReading {
                instance: self.instance,
                rows: self.view.snapshot(),
                watermark: Watermark::NONE,
                applied: self.changed,
                view_bytes: self.view.bytes() + self.key.as_ref().map_or(0, Key::bytes),
                state_bytes: 0,
                held: vec![],
                error: None,
            })
        })
    }
}

/// What a change does to the keys.
struct KeyChange {
    gone: Vec<Box<[u8]>>,
    came: Vec<Box<[u8]>>,
}

impl Key {
    fn try_new(schema: &SchemaRef, columns: Vec<usize>) -> Result<Self> {
        let fields = columns.iter().map(|column| SortField::new(schema.field(*column).data_type().clone()));
        let converter = RowConverter::new(fields.collect())?;
        Ok(Self { columns, converter, present: HashSet::new() })
    }

    /// What a consolidated change does to the keys, if each is there at most once afterwards.
    fn after(&self, change: &Delta) -> std::result::Result<KeyChange, WriteError> {
        let columns: Vec<_> = self.columns.iter().map(|column| change.rows.column(*column).clone()).collect();
        let rows = self.converter.convert_columns(&columns).map_err(Error::from)?;
        let mut counts: HashMap<Box<[u8]>, i64> = HashMap::with_capacity(rows.num_rows());
        // Retractions stand before inserts in a consolidated change, so no count is too high in between.
        for row in 0..rows.num_rows() {
            let bytes: Box<[u8]> = rows.row(row).as_ref().into();
            let held = i64::from(self.present.contains(&bytes));
            let count = counts.entry(bytes).or_insert(held);
            *count = count.saturating_add(change.weight(row));
            if *count > 1 {
                let key = change.rows.project(&self.columns).map_err(Error::from)?.slice(row, 1);
                return Err(WriteError::Duplicate { key });
            }
        }
        let (mut gone, mut came) = (Vec::new(), Vec::new());
        for (bytes, count) in counts {
            match (self.present.contains(&bytes), count) {
                (true, ..=0) => gone.push(bytes),
                (false, 1..) => came.push(bytes),
                _ => {}
            }
        }
        Ok(KeyChange { gone, came })
    }

    fn bytes(&self) -> usize {
        let each = self.present.iter().next().map_or(0, |key| key.len() + size_of::<Box<[u8]>>());
        self.present.capacity() * each
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;
    use crate::delta::Weights;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("x", DataType::Int64, true)]))
    }

    fn delta(rows: &[(i64, i64, i64)]) -> Delta {
        let column = |value: fn(&(i64, i64, i64)) -> i64| Int64Array::from_iter_values(rows.iter().map(value));
        let columns = vec![Arc::new(column(|row| row.0)) as _, Arc::new(column(|row| row.1)) as _];
        let batch = RecordBatch::try_new(schema(), columns).expect("two columns");
        Delta { rows: batch, weights: Weights::Signed(column(|row| row.2)) }
    }

    fn rows(table: &RunningTable) -> Vec<(i64, i64)> {
        let mut rows = Vec::new();
        for batch in table.rows().scan(None) {
            let batch = batch.expect("rows that are kept can be read");
            let value = |column: usize, row| batch.column(column).as_primitive::<Int64Type>().value(row);
            rows.extend((0..batch.num_rows()).map(|row| (value(0, row), value(1, row))));
        }
        rows.sort_unstable();
        rows
    }

    #[test]
    fn a_key_is_there_once() {
        let mut table = RunningTable::try_new(schema(), vec![0]).expect("a table");
        table.write(TickId(1), &[delta(&[(1, 10, 1), (2, 20, 1)])]).expect("two keys");
        let refused = table.write(TickId(1), &[delta(&[(3, 30, 1), (2, 21, 1)])]);
        let Err(WriteError::Duplicate { key }) = refused else { panic!("{refused:?}") };
        assert_eq!(key.column(0).as_primitive::<Int64Type>().values().to_vec(), [2]);
        assert_eq!(rows(&table), [(1, 10), (2, 20)]);
        // Twice in one statement is once too often, too.
        assert!(matches!(table.write(TickId(1), &[delta(&[(4, 1, 1), (4, 2, 1)])]), Err(WriteError::Duplicate { .. })));
        // An update keeps the key, also one that passes keys round.
        table.write(TickId(1), &[delta(&[(2, 20, -1), (2, 21, 1)])]).expect("an update");
        table.write(TickId(1), &[delta(&[(1, 10, -1), (2, 21, -1), (2, 10, 1), (1, 21, 1)])]).expect("keys swapped");
        table.write(TickId(1), &[delta(&[(1, 21, -1)])]).expect("a deletion");
        table.write(TickId(1), &[delta(&[(1, 5, 1)])]).expect("the key is free again");
        assert_eq!(rows(&table), [(1, 5), (2, 10)]);
    }

    #[test]
    fn what_is_not_there_cannot_be_retracted() {
        let mut table = RunningTable::try_new(schema(), vec![]).expect("a table");
        table.write(TickId(1), &[delta(&[(1, 10, 2)])]).expect("a row twice");
        assert!(matches!(table.write(TickId(1), &[delta(&[(1, 11, -1)])]), Err(WriteError::Conflict(_))));
        assert!(matches!(table.write(TickId(1), &[delta(&[(1, 10, -3)])]), Err(WriteError::Conflict(_))));
        table.write(TickId(1), &[delta(&[(1, 10, -1)])]).expect("one of the two");
        assert_eq!(rows(&table), [(1, 10)]);
    }

    #[test]
    fn the_change_of_a_tick_is_consolidated() {
        let mut table = RunningTable::try_new(schema(), vec![0]).expect("a table");
        table.write(TickId(1), &[delta(&[(1, 10, 1)])]).expect("an insert");
        table.write(TickId(1), &[delta(&[(1, 10, -1), (1, 11, 1)])]).expect("an update");
        let change = table.take_change().expect("a change");
        assert_eq!(change.len(), 1);
        assert_eq!((change[0].num_rows(), change[0].weight(0)), (1, 1));
        table.write(TickId(2), &[delta(&[(2, 1, 1)])]).expect("an insert");
        table.write(TickId(2), &[delta(&[(2, 1, -1)])]).expect("a deletion");
        assert!(table.has_change());
        assert!(table.take_change().expect("no change").is_empty());
    }
}
