//! The front door, tested from outside.

mod arrow_types;
mod client;
mod copy;
mod drivers;
mod extended;
mod fake;
mod garbage;
mod session;
mod startup;
mod traps;
mod types;
