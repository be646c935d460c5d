//! Views: what the deltas add up to, and how it is read.
//!
//! # Life of a change
//! 1. [`MaterializedView::apply`] takes the deltas a tick made for one view and consolidates them ([`mod@consolidate`]).
//! 2. It finds the stored entry of every changed row (`row_index`, compared by `row_keys`) and refuses a retraction of a
//!    row that is not there.
//! 3. `chunk_store` drops the old entries, assembles the new ones into chunks, and merges chunks that became small.
//! 4. [`MaterializedView::snapshot`] shares those chunks; the tick loop puts the snapshots of all views into one
//!    [`Snapshot`] and publishes it in the [`SnapshotStore`].
//! 5. A query reads a [`ViewSnapshot`] through [`SnapshotTable`], a DataFusion table: all of it, or what `index_choice` finds to
//!    look up in an index of its columns ([`column_index`]).
//!
//! In: deltas and, for errors and late rows, plain batches ([`RingTable`]). Out: snapshots, and each tick's consolidated
//! change for subscribers and sinks ([`changelog`] shows it as text).

mod assembly;
mod batch;
mod canonical;
pub mod changelog;
mod chunk;
mod chunk_list;
mod chunk_store;
pub mod column_index;
mod compact;
pub mod consolidate;
mod index_choice;
pub mod materialized;
pub mod ring;
mod row_index;
mod row_keys;
pub mod scan_exec;
pub mod snapshot;
pub mod snapshot_store;
pub mod table;
#[cfg(test)]
mod tests;
pub mod view_snapshot;

pub(crate) use batch::batch_of;
pub use column_index::{BuiltIndexes, IndexColumns, can_be_indexed};
pub use consolidate::consolidate;
pub use index_choice::NamedIndex;
pub use materialized::{Applied, MaterializedView};
pub use ring::RingTable;
pub use snapshot::{PartitionReading, Snapshot, SourceReading, ViewReading};
pub use snapshot_store::{SnapshotStore, TickStats};
pub use table::SnapshotTable;
pub use view_snapshot::{ViewScan, ViewSnapshot};
