//! The tick: every source's cut, every view's step, one snapshot.
//!
//! [`core`] is the tick itself, a synchronous struct without threads: given what each source ingested, it steps every
//! view and publishes. [`driver`] is the thread around it: it waits for data or for the interval, takes the cuts and
//! runs the core. [`backfill`] brings a new view to the main line's cut before it joins; where it reads other views, their
//! rows are pinned ([`pin`]) and their changes from then on kept ([`recording`]). [`interval`] says when a tick is due.
//! A view that takes more memory than its [`budget`] fails.
//! [`durability`] makes durable what ticks rest on, and has their state written as checkpoints.
//! [`lease_keeper`] says that this engine leads.
//! [`history`] keeps the last ticks for readers, [`subscription`] hands a view's changes to those who follow it.

pub mod backfill;
pub mod budget;
pub mod building;
mod checkpointing;
pub mod core;
pub mod driver;
pub mod durability;
pub mod history;
pub mod interval;
pub mod lease_keeper;
pub mod pin;
pub mod recording;
pub mod replay;
pub(crate) mod saving;
pub mod subscription;
pub mod table;
pub mod temporary;
