//! What the benchmarks share: Nexmark bids in memory, and a view driven over them on one thread.

/// The one the server has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod auction_site;
pub mod input;
pub mod pipeline;
pub mod stopwatch;
