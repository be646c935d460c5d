//! What a reader takes: every view and source at one tick.
//!
//! A [`Snapshot`] never changes. A reader that holds one sees all views at its tick, however long it reads and whatever
//! ticks come meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::ingest::Counts;
use crate::operator::state_bound::Held;
use crate::row_error::errors_name;
use crate::time::{TickId, Watermark};
use crate::view::view_snapshot::ViewSnapshot;

/// Everything readable at one tick.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The tick; 0 before any input.
    pub tick: TickId,
    /// The tick's time, µs since the Unix epoch.
    pub now_micros: i64,
    /// Views by name. A view that this tick did not change shares its reading with the snapshot before.
    pub views: HashMap<String, Arc<ViewReading>>,
    /// The rows left out of views, by the name of the relation that shows them.
    pub errors: HashMap<String, Arc<ViewReading>>,
    /// Sources by name.
    pub sources: HashMap<String, Arc<SourceReading>>,
}

impl Snapshot {
    /// The view called `name`, or a view's errors so called.
    pub fn view(&self, name: &str) -> Option<&Arc<ViewReading>> {
        self.views.get(name).or_else(|| self.errors.get(name))
    }

    /// How many rows the view called `name` leaves out because an expression failed on them.
    pub fn rows_left_out(&self, name: &str) -> u64 {
        self.errors.get(&errors_name(name)).map_or(0, |errors| errors.num_rows())
    }

    /// The source called `name`.
    pub fn source(&self, name: &str) -> Option<&Arc<SourceReading>> {
        self.sources.get(name)
    }
}

/// One view at a tick.
#[derive(Debug, Clone)]
pub struct ViewReading {
    /// Which view of this name it is: a replaced one's successor has a larger number.
    pub instance: u64,
    /// The rows.
    pub rows: ViewSnapshot,
    /// Event time below which the view is final.
    pub watermark: Watermark,
    /// The tick the rows are of. It falls behind the snapshot's own only for a view that failed or is being built.
    pub applied: TickId,
    /// Bytes of the stored rows and their index.
    pub view_bytes: usize,
    /// Bytes of the operators' state behind the view.
    pub state_bytes: usize,
    /// What that is of: by the operator's number in the plan, each part of its state.
    pub held: Vec<(u32, Vec<Held>)>,
    /// Why the view FAILED, if it did; its rows then stay those of `applied`.
    pub error: Option<String>,
}

impl ViewReading {
    /// Rows in the view.
    pub fn num_rows(&self) -> u64 {
        self.rows.num_rows()
    }
}

/// One source at a tick.
#[derive(Debug, Clone, Default)]
pub struct SourceReading {
    /// Partitions by number.
    pub partitions: BTreeMap<i32, PartitionReading>,
    /// Minimum over the partitions that are not idle.
    pub watermark: Watermark,
    /// The watermark by which windows close; never behind the other.
    pub closing: Watermark,
    /// The newest rows that could not be decoded, for `<source>_errors`.
    pub errors: Option<ViewSnapshot>,
    /// The newest rows that came late, for `<source>_late`.
    pub late: Option<ViewSnapshot>,
}

impl SourceReading {
    /// The counts of all partitions added up.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.partitions.values().for_each(|partition| sum += partition.counts);
        sum
    }
}

/// One partition of a source at a tick.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartitionReading {
    /// The next offset to consume: everything before it is in the snapshot.
    pub next_offset: i64,
    /// The partition's own watermark.
    pub watermark: Watermark,
    /// True while the partition is silent and does not hold the source's watermark back.
    pub idle: bool,
    /// What became of the records consumed.
    pub counts: Counts,
}
