//! What operators keep: keyed, weighted state, and how its rows are dealt to partitions.
//!
//! Rows become bytes once, in [`row_codec`]; everything below works on bytes: [`row_store`] holds them by number, [`key_index`] numbers
//! keys, [`multiset`] counts rows under each key; [`paged`] is what they grow in. [`size`] reckons what they take before they are there.
//! [`canonical`] makes equal floats equal bytes, and [`key_group`] deals keys to partitions.

pub mod canonical;
pub mod key_group;
pub mod key_index;
pub mod last_row;
pub mod multiset;
pub mod paged;
pub mod row_codec;
pub mod row_store;
pub mod size;
