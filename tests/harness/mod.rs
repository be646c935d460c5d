//! What the tests share.
//!
//! The oracle's parts: [`stream`] makes random topics, [`feed`] makes changes of their rows, [`keyed`] finds what these
//! come to, [`query`], [`join`], [`asof`], [`over`], [`windows`] and [`temporal`] random views over them, [`run`] drives a view tick by
//! tick through random cuts, restarts and partition counts, [`batch`] asks DataFusion the same SQL over the accepted
//! rows, [`accounting`] counts what became of every offset, [`compare`] holds the answers against each other, [`case`] puts
//! a case together, and [`shrink`] makes one that fails small and writes it down. [`sabotage`] is the oracle's own test:
//! bugs put in from outside, each of which must be noticed. [`failing`] has views that fail on rows. [`stack`] has views over
//! views, [`ternary`] views in three parts.
//!
//! [`workload`] runs a script of sources and views at once, over records of all of them: [`nexmark`]'s and
//! [`tpch`]'s.
//!
//! [`script`] and [`stage`] run golden scripts of ticks; [`binary`] reads what drivers are sent.
//!
//! [`kafka`] starts a real broker, [`log_reader`] reads a log into memory, and [`served`] is a whole server.

pub mod accounting;
pub mod asof;
pub mod batch;
pub mod binary;
pub mod case;
pub mod compare;
pub mod failing;
pub mod feed;
pub mod join;
pub mod kafka;
pub mod keyed;
pub mod log_reader;
pub mod nexmark;
pub mod over;
pub mod query;
pub mod run;
pub mod sabotage;
pub mod script;
pub mod served;
pub mod shrink;
pub mod stack;
pub mod stack_table;
pub mod stage;
pub mod stream;
pub mod temporal;
pub mod ternary;
pub mod tpch;
pub mod windows;
pub mod workload;
