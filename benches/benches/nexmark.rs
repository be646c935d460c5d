//! Nexmark from memory-resident JSON, one core: each query's time against decoding the same columns alone.
//!
//! `cargo bench --workspace --bench nexmark [-- QUERY …]`. Rounds of decode and query alternate, so that both meet
//! the same machine; the median of each is shown, and the ratio of the medians. A round before them asks the system for the pages
//! that they use again, and is not counted. Times are those of the thread on the processor. Each round of a query is a new view
//! that has taken in some bids before, so that what is measured is a view at work rather than its tables growing from nothing.

use benches::input::{Records, decode};
use benches::pipeline::{Pipeline, factory, spec};
use benches::stopwatch::{Stopwatch, median};

/// Bids of one round.
const RECORDS: usize = 2_000_000;

/// Bids before them that are not measured.
const WARM_UP: usize = 1_000_000;

/// Events of all kinds in a second of event time: the benchmark's default, and a busy site.
const RATES: [u64; 2] = [10_000, 100_000];

/// Records of one tick.
const TICK_RECORDS: usize = 100_000;

/// Rounds of each.
const ROUNDS: usize = 5;

struct Query {
    name: &'static str,
    text: &'static str,
    columns: &'static [&'static str],
}

const QUERIES: [Query; 7] = [
    Query {
        name: "q0",
        text: "SELECT auction, bidder, price, \"dateTime\", extra FROM bid",
        columns: &["auction", "bidder", "price", "dateTime", "extra"],
    },
    Query {
        name: "q1",
        text: "SELECT auction, bidder, 0.908 * price AS price, \"dateTime\", extra FROM bid",
        columns: &["auction", "bidder", "price", "dateTime", "extra"],
    },
    Query {
        name: "q2",
        text: "SELECT auction, price FROM bid WHERE auction % 123 = 0",
        columns: &["auction", "price", "dateTime"],
    },
    Query {
        name: "q5",
        text: "SELECT auction, count(*) AS num, window_start, window_end \
               FROM hop(bid, \"dateTime\", INTERVAL '2 seconds', INTERVAL '10 seconds') \
               GROUP BY auction, window_start, window_end",
        columns: &["auction", "dateTime"],
    },
    Query {
        name: "q7",
        text: "SELECT max(price) AS maxprice, window_end FROM tumble(bid, \"dateTime\", INTERVAL '10 seconds') \
               GROUP BY window_start, window_end",
        columns: &["price", "dateTime"],
    },
    Query {
        name: "q12",
        text: "SELECT bidder, count(*) AS bid_count, window_start, window_end \
               FROM tumble(bid, \"dateTime\", INTERVAL '10 seconds') GROUP BY bidder, window_start, window_end",
        columns: &["bidder", "dateTime"],
    },
    Query {
        name: "q17",
        text: "SELECT auction, date_trunc('day', \"dateTime\") AS day, count(*) AS total_bids, \
               count(*) FILTER (WHERE price < 10000) AS rank1_bids, \
               count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids, \
               count(*) FILTER (WHERE price >= 1000000) AS rank3_bids, \
               min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price, sum(price) AS sum_price \
               FROM bid GROUP BY auction, date_trunc('day', \"dateTime\")",
        columns: &["auction", "price", "dateTime"],
    },
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for rate in RATES {
        let records = Records::bids(1, WARM_UP + RECORDS, rate);
        let bytes = records.bytes() / records.len();
        println!("\n{RECORDS} bids of {bytes} bytes, {rate} events/s, ticks of {TICK_RECORDS}, {ROUNDS} rounds\n");
        println!("| query | decode alone, ns/row | query, ns/row | query / decode | M rows/s | state bytes/key |");
        println!("|---|---|---|---|---|---|");
        for query in QUERIES.iter().filter(|query| wanted.is_empty() || wanted.iter().any(|name| name == query.name)) {
            measure(query, &records);
        }
    }
}

fn measure(query: &Query, records: &Records) {
    let (mut decode, mut whole, mut state) = (Vec::new(), Vec::new(), (0, 0));
    for round in 0..=ROUNDS {
        let (alone, (nanos, found)) = (decode_alone(records, query.columns), run(records, query.text));
        if round > 0 {
            decode.push(alone);
            whole.push(nanos);
        }
        state = found;
    }
    let (decode, whole) = (median(&decode), median(&whole));
    let per_key = if state.1 == 0 { "-".into() } else { (state.0 / state.1).to_string() };
    let (ratio, million_rows) = (whole / decode, 1e3 / whole);
    println!("| {} | {decode:.0} | {whole:.0} | {ratio:.2} | {million_rows:.2} | {per_key} |", query.name);
}

/// ns a record of decoding alone: the same decoder, the same columns, no lateness, no view.
fn decode_alone(records: &Records, columns: &[&str]) -> f64 {
    let mut decoder = factory()(spec(columns).decode).expect("a decoder");
    let watch = Stopwatch::start();
    decode(decoder.as_mut(), records, WARM_UP);
    watch.nanos() / RECORDS as f64
}

/// ns a record of a view over the bids, and its operators' state: bytes and keys.
fn run(records: &Records, text: &str) -> (f64, (usize, usize)) {
    let mut pipeline = Pipeline::new(&[text]);
    // What hands the records over is not the engine's work.
    let mut tick = |from: usize| {
        let raw = records.raw(from, (from + TICK_RECORDS).min(records.len()), from as i64);
        let watch = Stopwatch::start();
        pipeline.tick(&raw);
        watch.nanos()
    };
    (0..WARM_UP).step_by(TICK_RECORDS).for_each(|from| _ = tick(from));
    let nanos: f64 = (WARM_UP..records.len()).step_by(TICK_RECORDS).map(&mut tick).sum();
    (nanos / RECORDS as f64, pipeline.state())
}
