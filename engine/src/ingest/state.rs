//! An ingest's state for checkpoints: plain values, and the same as Arrow tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{ArrowPrimitiveType, Int32Type, Int64Type, UInt64Type};

use crate::error::{Error, Result};
use crate::ingest::exclusion::Exclusion;
use crate::ingest::partition::{Counts, PartitionProgress};
use crate::time::Watermark;

/// Everything lateness depends on, and the counts, as of one take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestState {
    /// The watermark.
    pub watermark: Watermark,
    /// The watermark by which windows close.
    pub closing: Watermark,
    /// The newest tick's time, µs.
    pub now_micros: i64,
    /// Partition to its progress.
    pub partitions: BTreeMap<i32, PartitionProgress>,
    /// The exclusion log, by partition and offset.
    pub exclusions: Vec<Exclusion>,
}

const SOURCE: &str = "source";
const PARTITIONS: &str = "partitions";
const EXCLUSIONS: &str = "exclusions";

impl IngestState {
    /// Three tables: `source` (one row), `partitions` and `exclusions`. Times are Int64 µs. The names of tables and
    /// columns are the format.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn to_tables(&self) -> Result<Vec<(String, RecordBatch)>> {
        let source = RecordBatch::try_from_iter_with_nullable([
            ("watermark", int64(std::iter::once(self.watermark.micros())), true),
            ("closing", int64(std::iter::once(self.closing.micros())), true),
            ("now", int64(std::iter::once(Some(self.now_micros))), true),
        ])?;
        let tables = [(SOURCE, source), (PARTITIONS, self.partitions()?), (EXCLUSIONS, self.exclusions()?)];
        Ok(tables.map(|(name, table)| (name.to_owned(), table)).into())
    }

    fn partitions(&self) -> Result<RecordBatch> {
        let int64 = |of: fn(&PartitionProgress) -> Option<i64>| int64(self.partitions.values().map(of));
        let flag = |of: fn(&PartitionProgress) -> bool| -> ArrayRef {
            Arc::new(BooleanArray::from_iter(self.partitions.values().map(|known| Some(of(known)))))
        };
        let count = |of: fn(&Counts) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(self.partitions.values().map(|known| of(&known.counts))))
        };
        Ok(RecordBatch::try_from_iter_with_nullable([
            ("partition", Arc::new(Int32Array::from_iter_values(self.partitions.keys().copied())) as ArrayRef, true),
            ("next_offset", int64(|known| known.next_offset), true),
            ("event_time_max", int64(|known| known.event_time_max), true),
            ("floor", int64(|known| known.floor), true),
            ("closing_floor", int64(|known| known.closing_floor), true),
            ("excluded", flag(|known| known.excluded), true),
            ("exclusion_open", flag(|known| known.exclusion_open), true),
            ("idle_since", int64(|known| known.idle_since_micros), true),
            ("bytes", count(|counts| counts.bytes), true),
            ("accepted", count(|counts| counts.accepted), true),
            ("late", count(|counts| counts.late), true),
            ("errors", count(|counts| counts.errors), true),
            ("tombstones", count(|counts| counts.tombstones), true),
            ("skipped", count(|counts| counts.skipped), true),
        ])?)
    }

    fn exclusions(&self) -> Result<RecordBatch> {
        let partition = Int32Array::from_iter_values(self.exclusions.iter().map(|entry| entry.partition));
        let int64 = |of: fn(&Exclusion) -> i64| int64(self.exclusions.iter().map(|entry| Some(of(entry))));
        Ok(RecordBatch::try_from_iter_with_nullable([
            ("partition", Arc::new(partition) as ArrayRef, true),
            ("offset", int64(|entry| entry.offset), true),
            ("floor", int64(|entry| entry.floor_micros), true),
            ("closing_floor", int64(|entry| entry.closing_floor_micros), true),
            ("now", int64(|entry| entry.now_micros), true),
        ])?)
    }

    /// Reads what [`to_tables`](Self::to_tables) wrote, in any order of tables.
    ///
    /// # Errors
    /// `Data` if a table, a column or a value is missing or of another type.
    pub fn from_tables(tables: &[(String, RecordBatch)]) -> Result<Self> {
        let source = Table::find(tables, SOURCE)?;
        let watermark = source.primitive::<Int64Type>("watermark")?;
        let closing = source.primitive::<Int64Type>("closing")?;
        let now = source.primitive::<Int64Type>("now")?;
        if source.rows() != 1 {
            return Err(Error::data("saved source state: table source does not hold one row"));
        }
        Ok(Self {
            watermark: watermark(0).map_or(Watermark::NONE, Watermark),
            closing: closing(0).map_or(Watermark::NONE, Watermark),
            now_micros: source.required(now(0), "now")?,
            partitions: Self::read_partitions(&Table::find(tables, PARTITIONS)?)?,
            exclusions: Self::read_exclusions(&Table::find(tables, EXCLUSIONS)?)?,
        })
    }

    fn read_partitions(table: &Table<'_>) -> Result<BTreeMap<i32, PartitionProgress>> {
        let number = table.primitive::<Int32Type>("partition")?;
        let next_offset = table.primitive::<Int64Type>("next_offset")?;
        let event_time_max = table.primitive::<Int64Type>("event_time_max")?;
        let floor = table.primitive::<Int64Type>("floor")?;
        let closing_floor = table.primitive::<Int64Type>("closing_floor")?;
        let idle_since = table.primitive::<Int64Type>("idle_since")?;
        let (excluded, exclusion_open) = (table.flag("excluded")?, table.flag("exclusion_open")?);
        let names = ["bytes", "accepted", "late", "errors", "tombstones", "skipped"];
        let columns = names.map(|name| table.primitive::<UInt64Type>(name));
        let columns = columns.into_iter().collect::<Result<Vec<_>>>()?;
        let mut partitions = BTreeMap::new();
        for row in 0..table.rows() {
            let count = |column: usize| table.required(columns[column](row), names[column]);
            let counts = Counts {
                bytes: count(0)?,
                accepted: count(1)?,
                late: count(2)?,
                errors: count(3)?,
                tombstones: count(4)?,
                skipped: count(5)?,
            };
            let progress = PartitionProgress {
                next_offset: next_offset(row),
                event_time_max: event_time_max(row),
                floor: floor(row),
                closing_floor: closing_floor(row),
                excluded: excluded.value(row),
                exclusion_open: exclusion_open.value(row),
                idle_since_micros: idle_since(row),
                counts,
            };
            partitions.insert(table.required(number(row), "partition")?, progress);
        }
        Ok(partitions)
    }

    fn read_exclusions(table: &Table<'_>) -> Result<Vec<Exclusion>> {
        let partition = table.primitive::<Int32Type>("partition")?;
        let offset = table.primitive::<Int64Type>("offset")?;
        let floor = table.primitive::<Int64Type>("floor")?;
        let closing_floor = table.primitive::<Int64Type>("closing_floor")?;
        let now = table.primitive::<Int64Type>("now")?;
        let read = |row| {
            Ok(Exclusion {
                partition: table.required(partition(row), "partition")?,
                offset: table.required(offset(row), "offset")?,
                floor_micros: table.required(floor(row), "floor")?,
                closing_floor_micros: table.required(closing_floor(row), "closing_floor")?,
                now_micros: table.required(now(row), "now")?,
            })
        };
        (0..table.rows()).map(read).collect()
    }
}

fn int64(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(values))
}

/// A saved table, read with its name in every complaint.
struct Table<'a> {
    name: &'static str,
    batch: &'a RecordBatch,
}

impl<'a> Table<'a> {
    fn find(tables: &'a [(String, RecordBatch)], name: &'static str) -> Result<Self> {
        let found = tables.iter().find(|(known, _)| known == name);
        let (_, batch) = found.ok_or_else(|| Error::data(format!("saved source state: no table {name}")))?;
        Ok(Self { name, batch })
    }

    fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    fn column(&self, name: &str) -> Result<&'a ArrayRef> {
        self.batch.column_by_name(name).ok_or_else(|| self.wrong(name))
    }

    fn wrong(&self, column: &str) -> Error {
        Error::data(format!("saved source state: {}.{column} is missing or of another type", self.name))
    }

    fn primitive<T: ArrowPrimitiveType>(&self, name: &str) -> Result<impl Fn(usize) -> Option<T::Native> + 'a> {
        let column = self.column(name)?.as_primitive_opt::<T>().ok_or_else(|| self.wrong(name))?;
        Ok(|row| column.is_valid(row).then(|| column.value(row)))
    }

    fn flag(&self, name: &str) -> Result<&'a BooleanArray> {
        self.column(name)?.as_boolean_opt().ok_or_else(|| self.wrong(name))
    }

    fn required<T>(&self, value: Option<T>, column: &str) -> Result<T> {
        value.ok_or_else(|| self.wrong(column))
    }
}
