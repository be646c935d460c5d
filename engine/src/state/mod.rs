//! What operators keep: keyed, weighted state, and how its rows are dealt to partitions.

pub mod key_group;
