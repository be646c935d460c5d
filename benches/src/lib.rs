//! What the benchmarks share: Nexmark bids in memory, and a view driven over them on one thread.

pub mod input;
pub mod pipeline;
