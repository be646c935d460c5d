//! What a tick costs by itself: one without input, one of 1,000 rows of q5, one of 1,000 rows of q0.
//!
//! `cargo bench --workspace --bench tick`. Medians and 99th percentiles over many ticks on one core, decode and
//! snapshot included.

use benches::input::Records;
use benches::pipeline::Pipeline;
use benches::stopwatch::Stopwatch;

const TICKS: usize = 2_000;

const Q0: &str = "SELECT auction, bidder, price, \"dateTime\", extra FROM bid";
const Q5: &str = "SELECT auction, count(*) AS num, window_start, window_end \
                  FROM hop(bid, \"dateTime\", INTERVAL '2 seconds', INTERVAL '10 seconds') \
                  GROUP BY auction, window_start, window_end";

fn main() {
    println!("| tick | p50 µs | p99 µs |\n|---|---|---|");
    for (name, query, rows) in
        [("q5, no input", Q5, 0), ("q5, 1 row", Q5, 1), ("q5, 1,000 rows", Q5, 1_000), ("q0, 1,000 rows", Q0, 1_000)]
    {
        let records = Records::bids(1, 100_000 + rows * TICKS, 10_000);
        let mut pipeline = Pipeline::new(&[query]);
        pipeline.tick(&records.raw(0, 100_000, 0));
        let mut micros: Vec<f64> = (0..TICKS)
            .map(|tick| {
                let from = 100_000 + tick * rows;
                let raw = records.raw(from, from + rows, pipeline.offset("bid"));
                let watch = Stopwatch::start();
                pipeline.tick(&raw);
                watch.nanos() / 1e3
            })
            .collect();
        micros.sort_by(f64::total_cmp);
        println!("| {name} | {:.0} | {:.0} |", micros[TICKS / 2], micros[TICKS * 99 / 100]);
    }
}
