//! Nexmark from memory-resident JSON, one core: each query's time against decoding the same columns alone.
//!
//! `cargo bench --workspace --bench nexmark [-- QUERY]`. Rounds of decode and query alternate, so that both meet
//! the same machine; the median of each is shown, and the ratio of the medians.

use std::time::Instant;

use benches::input::Records;
use benches::pipeline::{Pipeline, factory, spec};

/// Bids of one round.
const RECORDS: usize = 2_000_000;

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
    let records = Records::bids(1, RECORDS, 100_000);
    println!("{RECORDS} bids of {} bytes, ticks of {TICK_RECORDS}, {ROUNDS} rounds", records.bytes() / RECORDS);
    println!("| query | decode alone, ns/row | query, ns/row | query / decode | M rows/s | state bytes/key |");
    println!("|---|---|---|---|---|---|");
    for query in QUERIES.iter().filter(|query| wanted.is_empty() || wanted.iter().any(|name| name == query.name)) {
        let (mut decode, mut whole, mut state) = (Vec::new(), Vec::new(), (0, 0));
        for _ in 0..ROUNDS {
            decode.push(decode_alone(&records, query.columns));
            let (seconds, found) = run(&records, query.text);
            whole.push(seconds);
            state = found;
        }
        let (decode, whole) = (median(decode), median(whole));
        let per_key = if state.1 == 0 { "-".into() } else { (state.0 / state.1).to_string() };
        let nanos = |seconds: f64| seconds / RECORDS as f64 * 1e9;
        println!(
            "| {} | {:.0} | {:.0} | {:.2} | {:.2} | {per_key} |",
            query.name,
            nanos(decode),
            nanos(whole),
            whole / decode,
            RECORDS as f64 / whole / 1e6,
        );
    }
}

/// Decoding alone: the same decoder, the same columns, no lateness, no view.
fn decode_alone(records: &Records, columns: &[&str]) -> f64 {
    let mut decoder = factory()(spec(columns).decode).expect("a decoder");
    let started = Instant::now();
    for from in (0..records.len()).step_by(16 * 1024) {
        for index in from..(from + 16 * 1024).min(records.len()) {
            decoder.decode(records.payload(index)).expect("a valid bid");
        }
        std::hint::black_box(decoder.finish().expect("columns"));
    }
    started.elapsed().as_secs_f64()
}

fn run(records: &Records, text: &str) -> (f64, (usize, usize)) {
    let mut pipeline = Pipeline::new(&[text]);
    let started = Instant::now();
    for from in (0..records.len()).step_by(TICK_RECORDS) {
        let to = (from + TICK_RECORDS).min(records.len());
        let raw = records.raw(from, to, pipeline.offset());
        pipeline.tick(&raw);
    }
    (started.elapsed().as_secs_f64(), pipeline.state())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
