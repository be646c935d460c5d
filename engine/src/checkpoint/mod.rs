//! What outlives the process.
//!
//! Today: named documents, written whole ([`store::Store`]). Operator state and views are rebuilt from the log.

pub mod store;
