//! Text and catalog to an incremental dataflow. Does no I/O; of the engine it knows the dataflow, the view's shape and errors.
//!
//! # Life of a statement
//! 1. [`parser`] splits the text and recognises our DDL in front of sqlparser; SELECT bodies are plain sqlparser.
//! 2. [`binder`] resolves names against the catalog and gives a DataFusion logical plan.
//! 3. [`mod@incremental`] rewrites a view's plan: stateless nodes stay DataFusion's, the others become the engine's, or
//!    are refused by name.
//!
//! [`catalog`] says what exists; [`mod@write`] makes queries of the statements that write to tables.

pub mod administration;
mod asof;
pub mod binder;
pub mod catalog;
mod diagnosis;
pub mod error;
pub mod functions;
mod guard;
pub mod incremental;
pub mod interval;
pub mod parser;
mod push_down_filter;
pub mod rename;
pub mod secret;
pub mod stack;
pub mod state_budget;
pub mod statement;
mod subquery_rules;
pub mod types;
pub mod window;
pub mod write;

pub use error::{SqlError, SqlState};
