//! Nexmark's queries over people, auctions and bids from memory-resident JSON, one core: what an event costs early and late in
//! the stream, and what the operators keep.
//!
//! `cargo bench --workspace --bench queries [-- QUERY …] [--millions N]`. Each query is one view, fed N million events (3
//! unless told) in ticks of 100,000. The columns that it uses are also decoded alone, tick by tick in turn with the view. The first
//! million warms up; the costs shown are medians over the ticks of the second million and of the last. Times are those of
//! the thread on the processor. The queries named `join…` have no filter and no window: their state is every row, and stands beside
//! the bytes of the columns it holds.

use benches::auction_site::{Events, create_sources, query};
use benches::input::{decode, generator};
use benches::pipeline::Pipeline;
use benches::stopwatch::{Stopwatch, median};
use engine::format::Decoder;

/// Events of one tick, and of all kinds in a second of event time: the benchmark's default.
const TICK_EVENTS: usize = 100_000;
const RATE: u64 = 10_000;
/// Ticks of one million events.
const MILLION: usize = 1_000_000 / TICK_EVENTS;

/// The benchmark's queries that are run unless some are named.
const QUERIES: [&str; 15] = [
    "q3",
    "q4",
    "q5",
    "q5_final",
    "q7",
    "q8",
    "q8_final",
    "q9",
    "q15",
    "q16",
    "q18",
    "q19",
    "q20",
    "join_narrow",
    "join_wide",
];

/// Rows of two numbers and a time on either side, and rows of the benchmark's width.
const JOINS: [(&str, &str); 2] = [
    (
        "join_narrow",
        "SELECT a.id, a.seller, b.bidder, b.price FROM auction a JOIN bid b ON a.id = b.auction WHERE a.reserve > b.price * 1000000",
    ),
    (
        "join_wide",
        "SELECT a.id, a.seller, a.extra AS auction_extra, b.bidder, b.price, b.channel, b.url, b.extra \
         FROM auction a JOIN bid b ON a.id = b.auction WHERE a.reserve > b.price * 1000000",
    ),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let millions = arguments.iter().position(|argument| argument == "--millions").map(|at| arguments[at + 1].as_str());
    let millions: usize = millions.map_or(3, |number| number.parse().expect("a number of millions"));
    let named = |name: &&str| arguments.iter().any(|argument| argument == name);
    let mut wanted: Vec<&str> = QUERIES.into_iter().filter(named).collect();
    if wanted.is_empty() {
        wanted = QUERIES.into();
    }
    println!("{millions} million events, {RATE} a second of event time, ticks of {TICK_EVENTS}\n");
    println!(
        "| query | decode alone, ns/event | 2nd million, ns/event | last million | last / 2nd | query / decode | M events/s \
         | keys touched/tick | state MiB | keys | state / column bytes |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for name in wanted {
        measure(name, millions.max(2));
    }
}

fn measure(name: &str, millions: usize) {
    let text = JOINS.iter().find(|(join, _)| *join == name).map_or_else(|| query(name), |(_, text)| text);
    let mut pipeline = Pipeline::over(&create_sources(), &[text]);
    let mut decoders = pipeline.decoders();
    let (mut stream, mut events) = (generator(1, RATE), Events::default());
    let (mut decode, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..millions * MILLION {
        events.refill(&mut stream, TICK_EVENTS);
        decode.push(decode_alone(&mut decoders, &events));
        let raw = events.raw(|source| pipeline.offset(source));
        let raw: Vec<_> = raw.iter().map(|(source, records)| (*source, records.as_slice())).collect();
        let watch = Stopwatch::start();
        pipeline.tick_of(&raw);
        whole.push(watch.nanos() / TICK_EVENTS as f64);
    }
    let decode = median(&decode[MILLION..]);
    let (early, late) = (median(&whole[MILLION..2 * MILLION]), median(&whole[whole.len() - MILLION..]));
    let (bytes, keys) = pipeline.state();
    let (growth, ratio, rate, mib) = (late / early, early / decode, 1e3 / early, bytes as f64 / f64::from(1 << 20));
    let of_columns = bytes as f64 / pipeline.column_bytes() as f64;
    let touched = pipeline.touched_keys() / whole.len() as u64;
    println!(
        "| {name} | {decode:.0} | {early:.0} | {late:.0} | {growth:.2} | {ratio:.2} | {rate:.2} | {touched} | {mib:.1} | {keys} | {of_columns:.2} |"
    );
}

/// ns an event of decoding alone: the columns that the view uses, of the sources that it reads.
fn decode_alone(decoders: &mut [(String, Box<dyn Decoder>)], events: &Events) -> f64 {
    let watch = Stopwatch::start();
    for (source, decoder) in decoders {
        decode(decoder.as_mut(), events.of(source), 0);
    }
    watch.nanos() / TICK_EVENTS as f64
}
