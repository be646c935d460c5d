//! What outlives the process, and how it is read again.
//!
//! ```text
//! documents   definitions and the like: small, replaced whole
//! log         what no other log holds: rows written to tables, exclusions, where sources begin; durable before it counts
//! segments    state as of one tick: of sources, tables and views
//! manifests   name the segments of one checkpoint; the last one written is the state to start from
//! ```
//! Everything lies in one [`Storage`](storage::Storage): a directory or a bucket. Of all files but the documents each is written once, whole,
//! under a name that nobody else may take: that is what commits a checkpoint, and what keeps out an engine that was
//! taken for dead. Every file carries checksums ([`frame`]): one that was altered or cut off is refused by name.
//!
//! ```text
//! start     read the newest manifest; write the next one with a higher epoch; write a fence into the log
//! tick      append to the log what the tick rests on, then compute, then publish
//! checkpoint  write segments of what changed; write the manifest; delete what no manifest names any more
//! ```

pub mod bucket;
pub mod columns;
pub mod directory;
pub mod durable;
pub mod frame;
pub mod lease;
pub mod log;
pub mod manifest;
pub mod memory;
pub mod recovered;
pub mod segment;
pub mod storage;
pub mod store;
pub mod writer;
