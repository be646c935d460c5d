//! The Nexmark benchmark's people, auctions and bids, and a table beside them, as records of topics.
//!
//! In: a seed and how many events. Out: the same records every time. Times stray further than the watermarks wait, so
//! some rows are late; the partitions take turns at random, so bids are read before their auctions and long after them.

use engine::source::nexmark::{EventKind, NexmarkConfig, NexmarkGenerator};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::stream::{RECORD_TIME_MILLIS, Record};
use super::workload::Produced;

/// Event times begin here, µs: 2026-01-01 23:59:00, so that a stream crosses midnight.
const START_MICROS: i64 = 1_767_311_940_000_000;

/// Events in a second of event time.
const EVENTS_PER_SECOND: u64 = 10;

/// How far event times stray, µs: further than the delay of the watermarks.
const DISORDER_MICROS: i64 = 5_000_000;

/// Keys of the side input; the auctions' numbers begin at 1000.
const SIDE_KEYS: std::ops::Range<i64> = 990..1_060;

/// The events of a seed in the order they were produced, each topic of so many partitions.
pub fn events(seed: u64, count: usize, partitions: i32) -> Vec<Produced> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0e8);
    let config = NexmarkConfig {
        first_event_time_micros: START_MICROS,
        events_per_second: EVENTS_PER_SECOND,
        disorder_micros: DISORDER_MICROS,
        bid_extra_bytes: 30,
        ..NexmarkConfig::default()
    };
    let mut generator = NexmarkGenerator::new(seed, config);
    let mut events = Vec::with_capacity(count);
    for index in 0..count {
        if rng.random_range(0..20) == 0 {
            events.push(side(&mut rng, partitions));
        }
        let mut payload = Vec::new();
        let source = match generator.next(&mut payload) {
            EventKind::Person => "person",
            EventKind::Auction => "auction",
            EventKind::Bid => "bid",
        };
        // A record is stored up to four seconds after what it tells of.
        let stored_millis = generator.event_time_micros() / 1_000 + rng.random_range(0..4_000);
        let record = Record {
            of_other: false,
            partition: rng.random_range(0..partitions),
            skipped: 0,
            key: None,
            payload: Some(String::from_utf8(payload).expect("JSON is UTF-8")),
            time_shift: stored_millis - RECORD_TIME_MILLIS,
        };
        // Now and then a record waits, and others overtake it.
        let late = if rng.random_range(0..10) == 0 { rng.random_range(0..=events.len().min(40)) } else { 0 };
        let place = if index == 0 { 0 } else { events.len() - late };
        events.insert(place, (source, record));
    }
    events
}

/// A change of the side input.
fn side(rng: &mut impl Rng, partitions: i32) -> Produced {
    let key = rng.random_range(SIDE_KEYS);
    let deletes = rng.random_range(0..6) == 0;
    let payload = (!deletes).then(|| format!("{{\"value\": \"v{}\"}}", rng.random_range(0..5)));
    let partition = (key % i64::from(partitions)) as i32;
    (
        "side_input",
        Record { of_other: false, partition, skipped: 0, key: Some(key.to_string()), payload, time_shift: 0 },
    )
}
