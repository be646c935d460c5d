//! Incremental execution: everything between a Kafka topic and a readable view.
//!
//! # Life of a record
//! 1. [`source`] polls it: bytes, partition, offset, broker time.
//! 2. [`mod@format`] decodes the columns some view uses straight into Arrow builders; what cannot be decoded is an error row.
//! 3. [`ingest`] decides, per partition and from the log alone, whether the row is accepted or late.
//! 4. [`tick`] closes a cut: the exact offsets one tick consumes, and the watermark that follows from them.
//! 5. [`dataflow`] runs every view's incremental plan once over the tick's deltas; DataFusion executes it.
//! 6. [`operator`]s inside that plan fold the delta into their state and emit the change of their answer.
//! 7. [`view`] applies the change and publishes one snapshot, at one tick, for all views.
//!
//! Data goes one way along that list. [`engine`](mod@engine) is the handle the server holds.

pub mod checkpoint;
pub mod dataflow;
pub mod delta;
pub mod engine;
pub mod error;
pub mod format;
pub mod ingest;
pub mod operator;
pub mod row_error;
pub mod source;
pub mod state;
pub mod tick;
pub mod time;
pub mod view;

pub use delta::{Delta, Weights};
pub use error::{Error, ErrorKind, Result};
pub use time::{Clock, TickId, Watermark};
