//! Tests of the aggregate: every answer against DataFusion's batch answer over the same rows.

mod close;
mod differential;
mod edges;
mod hops;
mod input;
mod oracle;
mod plan;
mod replay;
mod speed;
