//! What the tests share.
//!
//! The oracle's parts: [`stream`] makes random topics, [`query`] random views over them, [`run`] drives a view tick by
//! tick through random cuts, restarts and partition counts, [`batch`] asks DataFusion the same SQL over the accepted
//! rows, [`compare`] holds the two against each other, and [`case`] puts a case together and shrinks one that fails.
//!
//! [`kafka`] starts a real broker and [`log_reader`] reads a log into memory.

pub mod batch;
pub mod case;
pub mod compare;
pub mod kafka;
pub mod log_reader;
pub mod query;
pub mod run;
pub mod stream;
