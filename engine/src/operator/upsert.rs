//! From a log of changes to rows: the last row of each key, and what each tick changes of them.
//!
//! Its input are a source's records, each an upsert or a deletion, with their places in the log; its output are `-old +new`,
//! once a tick for each key whose row changed. Rows go when they are deleted, and for no other reason. [`LastRows`] says which
//! record is the last.
//!
//! Of each key its row is kept, with the partition and the time of the record that made it. Nothing of the records before is:
//! within a partition offsets rise from tick to tick, so the last of a tick's records of a key is later than all before it and
//! says alone what the key's row is there. A row a tick leaves as it was is not told, though it was deleted and written again.
//!
//! ```text
//! records of key 1          kept        out
//! tick 1   'a', 'b'         'b'         +'b': 'a' was never anybody's row
//! tick 2   'c'              'c'         -'b' +'c'
//! tick 3   deleted, 'c'     'c'         nothing
//! tick 4   deleted          nothing     -'c'
//! tick 5   deleted          nothing     nothing: of what is not there nothing goes
//! ```
//! A deleted key needs no memory: the next record makes its row whatever was before. If, against the rules, a key is in
//! several partitions, the rows of all of them are kept, for what one partition deletes brings back what another one has.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};

use super::state_bound::{Growth, Held, StateBound, StatePart};
use super::{KEY_GROUP_COLUMN, Operator, SavedState, TickContext};
use crate::delta::{Delta, Weights};
use crate::error::{Error, Result};
use crate::state::key_group::key_groups;
use crate::state::last_row::{KeptRow, LastRows, Places};

/// Columns behind the records' own: deleted, partition, offset, timestamp.
const COLUMNS_BEHIND: usize = 4;

/// The table that rows are saved in.
const ROWS_TABLE: &str = "rows";
/// Rows saved in one batch.
const ROWS_AT_ONCE: usize = 16 << 10;

/// What an upsert operator reads and writes.
#[derive(Debug, Clone)]
pub struct UpsertSpec {
    /// The records' columns, then whether they delete (Boolean), their partitions (Int32), offsets (Int64) and times
    /// (Timestamp(µs)).
    pub input: SchemaRef,
    /// The columns that are the key.
    pub keys: Vec<usize>,
    /// The columns that come out.
    pub output: Vec<usize>,
    /// How these are called and typed, without the weight column.
    pub schema: SchemaRef,
}

impl UpsertSpec {
    /// One line: what a tick costs, and what is kept.
    pub fn explain(&self) -> String {
        let names: Vec<_> = self.keys.iter().map(|key| self.input.field(*key).name().as_str()).collect();
        format!(
            "last row by ({}): emit on update, cost: delta, keeps: one row a key, bounded by keys",
            names.join(", ")
        )
    }
}

/// The last row of each key of one partition of them.
#[derive(Debug)]
pub struct UpsertOperator {
    spec: UpsertSpec,
    rows: LastRows,
}

impl UpsertOperator {
    /// An operator without rows.
    ///
    /// # Errors
    /// `Unsupported` for a type that has no row format, `Internal` for columns that are not there.
    pub fn try_new(spec: UpsertSpec) -> Result<Self> {
        let own = spec.input.fields().len().checked_sub(COLUMNS_BEHIND);
        let own = own.ok_or_else(|| Error::internal("records without their places"))?;
        let types: Vec<DataType> = spec.input.fields()[..own].iter().map(|field| field.data_type().clone()).collect();
        Ok(Self { rows: LastRows::try_new(&types, spec.keys.clone(), spec.output.clone())?, spec })
    }

    /// What is kept: the rows there are, however many records there were.
    pub fn state_bound(&self) -> StateBound {
        let row = StatePart::new("a row", "keys that have a row", Growth::Present, self.rows.bytes_each());
        StateBound { parts: vec![row], output: Growth::Present }
    }

    fn saved_schema(&self) -> SchemaRef {
        let own = |name: &str, data_type| FieldRef::from(Field::new(name, data_type, false));
        let mut fields = vec![own(KEY_GROUP_COLUMN, DataType::UInt16)];
        let columns = self.rows.saved_types().enumerate();
        fields.extend(
            columns.map(|(n, data_type)| FieldRef::from(Field::new(format!("__column_{n}"), data_type.clone(), true))),
        );
        fields.extend([own("__partition", DataType::Int32), own("__time", DataType::Int64)]);
        Arc::new(Schema::new(fields))
    }

    fn save_batch(&self, schema: &SchemaRef, rows: &[KeptRow<'_>]) -> Result<RecordBatch> {
        let columns = self.rows.saved_columns(rows)?;
        // The first of them are the key, canonical, as the exchange deals it out.
        let groups = key_groups(&columns[..self.spec.keys.len()], rows.len())?;
        let mut all: Vec<ArrayRef> = vec![Arc::new(groups)];
        all.extend(columns);
        all.push(Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.partition))));
        all.push(Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.time))));
        Ok(RecordBatch::try_new(schema.clone(), all)?)
    }
}

/// A batch's own columns and its places.
fn split(batch: &RecordBatch) -> Result<(&[ArrayRef], Places<'_>)> {
    let wrong = || Error::internal("records without their places");
    let own = batch.num_columns().checked_sub(COLUMNS_BEHIND).ok_or_else(wrong)?;
    let (columns, places) = batch.columns().split_at(own);
    let places = Places {
        deleted: places[0].as_boolean_opt().ok_or_else(wrong)?,
        partitions: places[1].as_primitive_opt::<Int32Type>().ok_or_else(wrong)?,
        offsets: places[2].as_primitive_opt::<Int64Type>().ok_or_else(wrong)?,
        times: places[3].as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong)?,
    };
    Ok((columns, places))
}

impl Operator for UpsertOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, _tick: &TickContext) -> Result<Vec<Delta>> {
        let records: Vec<&RecordBatch> = inputs.iter().flatten().map(|delta| &delta.rows).collect();
        let records = records.into_iter().map(split).collect::<Result<Vec<_>>>()?;
        let changes = self.rows.fold(&records)?;
        let mut deltas = Vec::new();
        if !changes.is_empty() {
            let options = RecordBatchOptions::new().with_row_count(Some(changes.len()));
            let columns = self.rows.columns_of(&changes)?;
            let rows = RecordBatch::try_new_with_options(self.spec.schema.clone(), columns, &options)?;
            let weights = Int64Array::from_iter_values(changes.iter().map(|change| change.weight));
            deltas.push(Delta { rows, weights: Weights::Signed(weights) });
        }
        self.rows.settle();
        Ok(deltas)
    }

    fn output_schema(&self) -> SchemaRef {
        self.spec.schema.clone()
    }

    fn save(&mut self) -> Result<SavedState> {
        let (schema, rows) = (self.saved_schema(), self.rows.kept_rows());
        let batches = rows.chunks(ROWS_AT_ONCE).map(|rows| self.save_batch(&schema, rows)).collect::<Result<_>>()?;
        Ok(SavedState { tables: vec![(ROWS_TABLE.to_owned(), batches)] })
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        let expected = self.saved_schema();
        let wrong = || Error::data("saved state is not of this operator: its columns differ");
        for (name, batches) in state.tables {
            if name != ROWS_TABLE {
                return Err(Error::data(format!("saved state has an unknown table {name}")));
            }
            for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
                let types = |schema: &SchemaRef| -> Vec<DataType> {
                    schema.fields().iter().map(|field| field.data_type().clone()).collect()
                };
                if types(&expected) != types(&batch.schema()) {
                    return Err(wrong());
                }
                let end = batch.num_columns() - 2;
                let (partitions, times) = (batch.column(end).as_primitive(), batch.column(end + 1).as_primitive());
                if partitions.null_count() + times.null_count() > 0 {
                    return Err(wrong());
                }
                self.rows.restore(&batch.columns()[1..end], partitions, times)?;
            }
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn state_keys(&self) -> usize {
        self.rows.len()
    }

    fn held(&self) -> Vec<Held> {
        vec![Held { units: self.rows.len(), room: self.rows.len_max(), bytes: self.rows.bytes() }]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::array::{BooleanArray, Float64Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::TimeUnit;
    use rand::seq::{IndexedRandom, SliceRandom};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// One change: key, value or deletion, and where it stands.
    #[derive(Debug, Clone)]
    struct Change {
        partition: i32,
        offset: i64,
        time: Option<i64>,
        key: (i64, f64),
        value: Option<String>,
    }

    fn spec() -> UpsertSpec {
        let columns = vec![
            Field::new("v", DataType::Utf8, true),
            Field::new("k", DataType::Int64, true),
            Field::new("x", DataType::Float64, true),
            Field::new("deleted", DataType::Boolean, false),
            Field::new("partition", DataType::Int32, false),
            Field::new("offset", DataType::Int64, false),
            Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        ];
        let output = vec![columns[1].clone(), columns[0].clone()];
        UpsertSpec {
            input: Arc::new(Schema::new(columns)),
            keys: vec![1, 2],
            output: vec![1, 0],
            schema: Arc::new(Schema::new(output)),
        }
    }

    fn batch(changes: &[Change]) -> Delta {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter(changes.iter().map(|change| change.value.as_deref()))),
            Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.key.0))),
            Arc::new(Float64Array::from_iter_values(changes.iter().map(|change| change.key.1))),
            Arc::new(BooleanArray::from_iter(changes.iter().map(|change| Some(change.value.is_none())))),
            Arc::new(Int32Array::from_iter_values(changes.iter().map(|change| change.partition))),
            Arc::new(Int64Array::from_iter_values(changes.iter().map(|change| change.offset))),
            Arc::new(TimestampMicrosecondArray::from_iter(changes.iter().map(|change| change.time))),
        ];
        Delta::inserts(RecordBatch::try_new(spec().input, columns).expect("columns of their types"))
    }

    /// Rows with their weights: the key's integer, the value.
    type Rows = BTreeMap<(i64, String), i64>;

    fn add(rows: &mut Rows, deltas: &[Delta]) {
        for delta in deltas {
            for row in 0..delta.num_rows() {
                let key = delta.rows.column(0).as_primitive::<Int64Type>().value(row);
                let value = delta.rows.column(1).as_string::<i32>().value(row).to_owned();
                *rows.entry((key, value)).or_default() += delta.weight(row);
            }
        }
        rows.retain(|_, weight| *weight != 0);
    }

    /// Per key and partition the last change; of a key the newest of them.
    fn model(seen: &[Change]) -> Rows {
        let mut last: BTreeMap<(i64, u64), BTreeMap<i32, &Change>> = BTreeMap::new();
        for change in seen {
            let of_key = last.entry((change.key.0, (change.key.1 + 0.0).to_bits())).or_default();
            let known = of_key.entry(change.partition).or_insert(change);
            if known.offset <= change.offset {
                *known = change;
            }
        }
        let mut rows = Rows::new();
        for partitions in last.values() {
            let present = partitions.values().filter(|change| change.value.is_some());
            let newest = present.max_by_key(|change| (change.time.unwrap_or(i64::MIN), change.partition));
            if let Some(change) = newest {
                *rows.entry((change.key.0, change.value.clone().unwrap_or_default())).or_default() += 1;
            }
        }
        rows
    }

    fn log(rng: &mut ChaCha8Rng) -> Vec<Change> {
        let partitions = *[1, 1, 3].choose(rng).expect("not empty");
        let keys = *[1, 5, 50].choose(rng).expect("not empty");
        let mut offsets = BTreeMap::new();
        let mut change = || {
            let partition = rng.random_range(0..partitions);
            let offset: &mut i64 = offsets.entry(partition).or_default();
            *offset += 1;
            Change {
                partition,
                offset: *offset,
                time: (rng.random_range(0..8) != 0).then(|| rng.random_range(0..20)),
                key: (rng.random_range(0..keys), *[0.0, -0.0, 1.5].choose(rng).expect("not empty")),
                value: (rng.random_range(0..3) != 0).then(|| format!("value {}", rng.random_range(0..3))),
            }
        };
        (0..300).map(|_| change()).collect()
    }

    #[test]
    fn rows_are_those_of_the_log_however_it_is_cut() {
        for seed in 0..60 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let log = log(&mut rng);
            let mut operator = UpsertOperator::try_new(spec()).expect("types with a row format");
            let (mut rows, mut from) = (Rows::new(), 0);
            while from < log.len() {
                let to = (from + rng.random_range(1..60)).min(log.len());
                let mut tick = log[from..to].to_vec();
                // Batches of a tick come in any order.
                tick.shuffle(&mut rng);
                let (first, second) = tick.split_at(rng.random_range(0..=tick.len()));
                let input = vec![vec![batch(first), batch(second)]];
                let deltas = operator.step(input, &TickContext::default()).expect("a step");
                let weights: Vec<i64> =
                    deltas.iter().flat_map(|d| (0..d.num_rows()).map(|row| d.weight(row))).collect();
                assert!(weights.iter().all(|weight| weight.abs() == 1), "seed {seed}: {weights:?}");
                add(&mut rows, &deltas);
                assert_eq!(rows, model(&log[..to]), "seed {seed}, after {to}");
                assert_eq!(operator.state_keys() as i64, rows.values().sum::<i64>(), "seed {seed}, after {to}");
                if rng.random_range(0..4) == 0 {
                    let saved = operator.save().expect("rows");
                    operator = UpsertOperator::try_new(spec()).expect("types with a row format");
                    for part in saved.split(3, |group, parts| usize::from(group) % parts).expect("key groups") {
                        operator.restore(part).expect("rows of this operator");
                    }
                }
                from = to;
            }
        }
    }

    #[test]
    fn what_is_deleted_takes_no_memory() {
        let mut operator = UpsertOperator::try_new(spec()).expect("types with a row format");
        let empty = operator.state_bytes();
        let change = |offset: i64, value: Option<String>| Change {
            partition: (offset % 2) as i32,
            offset,
            time: Some(offset),
            key: (offset % 1_000, 0.0),
            value,
        };
        for round in 0..50i64 {
            let puts: Vec<_> = (0..1_000).map(|n| change(round * 2_000 + n, Some("x".repeat(100)))).collect();
            let deletions: Vec<_> = (0..1_000).map(|n| change(round * 2_000 + 1_000 + n, None)).collect();
            for changes in [puts, deletions] {
                operator.step(vec![vec![batch(&changes)]], &TickContext::default()).expect("a step");
            }
            assert_eq!(operator.state_keys(), 0);
        }
        // What is left are places for a thousand keys, not their rows.
        assert!(operator.state_bytes() - empty < 100_000, "{} bytes", operator.state_bytes());
    }

    #[test]
    fn state_of_another_operator_is_refused() {
        let other = UpsertSpec { keys: vec![1], ..spec() };
        let mut operator = UpsertOperator::try_new(other).expect("types with a row format");
        let change = Change { partition: 0, offset: 0, time: None, key: (1, 1.0), value: Some("x".into()) };
        operator.step(vec![vec![batch(&[change])]], &TickContext::default()).expect("a step");
        let saved = operator.save().expect("rows");
        let restored = UpsertOperator::try_new(spec()).expect("types with a row format").restore(saved);
        assert_eq!(restored.map_err(|error| error.kind()), Err(crate::ErrorKind::Data));
    }
}
