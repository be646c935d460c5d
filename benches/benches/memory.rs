//! Memory over a long stream: 100 million bids through q5 and q17, with 10,000 auctions bid on at any time.
//!
//! `cargo bench --workspace --bench memory [-- MILLIONS]`. One thread. Resident memory is the process's, from
//! `/proc/self/statm`. A view keeps its answer for windows long closed, as its SQL says; so that this does not
//! hide what the operators keep, q5 stands below a sum per auction: its windows open and close as ever, and what is
//! above them has one row an auction.

use std::time::{Duration, Instant};

use benches::input::{Records, generator};
use benches::pipeline::Pipeline;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Records of one tick.
const TICK_RECORDS: usize = 10_000;
/// Auctions bid on: q17's groups of a day; q5 has as many in each slice of its open windows.
const AUCTIONS: u64 = 10_000;
/// Bids a second of event time.
const RATE: u64 = 20_000;
/// A line each so many records.
const LINE_EVERY: usize = 5_000_000;

const Q5: &str = "SELECT auction, sum(num) AS num, count(*) AS windows FROM \
                  (SELECT auction, count(*) AS num, window_start, window_end \
                   FROM hop(bid, \"dateTime\", INTERVAL '2 seconds', INTERVAL '10 seconds') \
                   GROUP BY auction, window_start, window_end) AS q5 GROUP BY auction";
const Q17: &str = "SELECT auction, date_trunc('day', \"dateTime\") AS day, count(*) AS total_bids, \
                   count(*) FILTER (WHERE price < 10000) AS rank1_bids, \
                   count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids, \
                   count(*) FILTER (WHERE price >= 1000000) AS rank3_bids, \
                   min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price, sum(price) AS sum_price \
                   FROM bid GROUP BY auction, date_trunc('day', \"dateTime\")";

fn main() {
    let millions = std::env::args().skip(1).find_map(|argument| argument.parse::<usize>().ok()).unwrap_or(100);
    let mut events = generator(1, RATE);
    let mut auctions = ChaCha8Rng::seed_from_u64(1);
    let mut records = Records::default();
    let mut pipeline = Pipeline::new(&[Q5, Q17]);
    println!("| records, millions | resident MiB | operator state MiB | keys of state | ns/record |");
    println!("|---|---|---|---|---|");
    let (mut spent, mut since) = (Duration::ZERO, 0);
    for done in (TICK_RECORDS..=millions * 1_000_000).step_by(TICK_RECORDS) {
        records.refill(&mut events, TICK_RECORDS);
        records.set_auctions(|| 10_000 + auctions.random_range(0..AUCTIONS));
        let raw = records.raw(0, TICK_RECORDS, pipeline.offset("bid"));
        let started = Instant::now();
        pipeline.tick(&raw);
        spent += started.elapsed();
        since += TICK_RECORDS;
        if done == 1_000_000 || done % LINE_EVERY == 0 {
            let (bytes, keys) = pipeline.state();
            let mib = bytes as f64 / f64::from(1 << 20);
            let nanos = spent.as_nanos() as f64 / since as f64;
            println!("| {} | {} | {mib:.1} | {keys} | {nanos:.0} |", done / 1_000_000, resident_mib());
            (spent, since) = (Duration::ZERO, 0);
        }
    }
}

/// Resident memory of this process, MiB.
fn resident_mib() -> usize {
    const PAGE_BYTES: usize = 4096;
    let sizes = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = sizes.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * PAGE_BYTES >> 20
}
