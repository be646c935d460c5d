//! Nothing vanishes: every consumed offset is accepted, late, an error, a tombstone or skipped, per partition, every tick;
//! and whatever is counted as a row is there as a row.

use arrow::array::RecordBatch;
use engine::ingest::{Counts, IngestedTick};
use engine::source::{Offsets, RawRecord};
use engine::tick::core::SourceTables;

use super::keyed::LastRecords;

/// What is known beforehand of a partition's share of a tick.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    offsets: (i64, i64),
    consumed: u64,
    skipped: u64,
    tombstones: u64,
    bytes: u64,
}

/// Holds what a tick took against the records it was given, and the next offsets before and after them; `keyed` where these
/// are changes of rows.
///
/// # Errors
/// The partition and the counts that do not add up.
pub fn check_tick(
    tick: &IngestedTick,
    records: &[RawRecord<'_>],
    before: &Offsets,
    after: &Offsets,
    keyed: Option<&LastRecords>,
) -> Result<(), String> {
    for (partition, to) in after {
        let counts = tick.counts.get(partition).copied().unwrap_or_default();
        let from = before.get(partition).copied().unwrap_or_default();
        let given = || records.iter().filter(|record| record.partition == *partition);
        let expected = Expected {
            offsets: (from, *to),
            consumed: (to - from) as u64,
            skipped: (to - from) as u64 - given().count() as u64,
            tombstones: given().filter(|record| record.payload.is_none()).count() as u64,
            bytes: given().filter_map(|record| record.payload).map(<[u8]>::len).sum::<usize>() as u64,
        };
        let found = Expected {
            offsets: tick.offsets.get(partition).copied().unwrap_or_default(),
            consumed: sum(&counts),
            skipped: counts.skipped,
            tombstones: counts.tombstones,
            bytes: counts.bytes,
        };
        if found != expected {
            return Err(format!("accounting: partition {partition}: {expected:?}, found {found:?} of {counts:?}"));
        }
    }
    let total = tick.total();
    let rows = |table: &Option<RecordBatch>| table.as_ref().map_or(0, RecordBatch::num_rows) as u64;
    let changes = keyed.map_or(total.accepted, |keyed| keyed.changes(total.accepted, total.tombstones));
    let listed = (tick.rows() as u64, rows(&tick.late), rows(&tick.errors));
    if listed != (changes, total.late, total.errors) {
        return Err(format!("accounting: (accepted, late, errors) rows are {listed:?}, but {total:?}"));
    }
    Ok(())
}

/// Holds the sums a source keeps, from which its accounting is read, against every offset there ever was.
///
/// # Errors
/// The partition and the counts that do not add up.
pub fn check_sums(source: &SourceTables, next_offsets: &Offsets) -> Result<(), String> {
    for (partition, next) in next_offsets {
        let counts = source.counts.get(partition).copied().unwrap_or_default();
        let reached = source.offsets.get(partition).copied().unwrap_or_default();
        if sum(&counts) != *next as u64 || reached != *next {
            return Err(format!(
                "accounting: partition {partition} ends at {next}, its source is at {reached} with {counts:?}"
            ));
        }
    }
    Ok(())
}

fn sum(counts: &Counts) -> u64 {
    counts.accepted + counts.late + counts.errors + counts.tombstones + counts.skipped
}
