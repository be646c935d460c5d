//! Nexmark bids as JSON in memory.

use engine::format::Decoder;
use engine::source::nexmark::{EventKind, NexmarkConfig, NexmarkGenerator};
use engine::source::{Headers, RawRecord};

/// The source all queries read, with the benchmark's columns.
pub const CREATE_SOURCE: &str = "CREATE SOURCE bid (
  auction bigint, bidder bigint, price bigint, channel text, url text, \"dateTime\" timestamp, extra text,
  WATERMARK FOR \"dateTime\" AS \"dateTime\" - INTERVAL '2 seconds' IDLE TIMEOUT NEVER
) WITH (connector = 'kafka', bootstrap = 'localhost:1', topic = 'bid') FORMAT JSON";

/// The stream of events of `seed`, so many of all kinds in a second of event time.
pub fn generator(seed: u64, events_per_second: u64) -> NexmarkGenerator {
    NexmarkGenerator::new(seed, NexmarkConfig { events_per_second, ..NexmarkConfig::default() })
}

/// Records in one buffer.
#[derive(Default)]
pub struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    /// The first `count` bids of the stream of `seed`.
    pub fn bids(seed: u64, count: usize, events_per_second: u64) -> Self {
        let mut records = Self { bytes: Vec::with_capacity(count * 290), ends: Vec::with_capacity(count) };
        records.refill(&mut generator(seed, events_per_second), count);
        records
    }

    /// Replaces the records by the next `count` bids of a stream.
    pub fn refill(&mut self, events: &mut NexmarkGenerator, count: usize) {
        self.clear();
        while self.ends.len() < count {
            let start = self.bytes.len();
            match events.next(&mut self.bytes) {
                EventKind::Bid => self.ends.push(self.bytes.len()),
                _ => self.bytes.truncate(start),
            }
        }
    }

    /// Removes all records.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a record.
    pub fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    /// Gives every bid another auction.
    pub fn set_auctions(&mut self, mut auction: impl FnMut() -> u64) {
        let old = std::mem::take(&mut self.bytes);
        let ends = std::mem::take(&mut self.ends);
        let mut start = 0;
        for end in ends {
            let bid = &old[start..end];
            let comma = bid.iter().position(|byte| *byte == b',').expect("more fields follow the auction");
            self.bytes.extend_from_slice(format!("{{\"auction\":{}", auction()).as_bytes());
            self.bytes.extend_from_slice(&bid[comma..]);
            self.ends.push(self.bytes.len());
            start = end;
        }
    }

    /// Records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all records.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// One record's bytes.
    pub fn payload(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    /// Records `from..to` as a source hands them over, at offsets from `offset` on.
    pub fn raw(&self, from: usize, to: usize, offset: i64) -> Vec<RawRecord<'_>> {
        let record = |index: usize| RawRecord {
            partition: 0,
            offset: offset + (index - from) as i64,
            timestamp_ms: None,
            key: None,
            payload: Some(self.payload(index)),
            headers: Headers::default(),
        };
        (from..to).map(record).collect()
    }
}

/// Records of one batch of [`decode`], as many as the engine puts into one.
const BATCH_RECORDS: usize = 8_192;

/// Decodes the records from one on, in batches, and does nothing with them.
///
/// # Panics
/// If one is not what the decoder expects.
pub fn decode(decoder: &mut dyn Decoder, records: &Records, from: usize) {
    for from in (from..records.len()).step_by(BATCH_RECORDS) {
        for index in from..(from + BATCH_RECORDS).min(records.len()) {
            decoder.decode(records.payload(index)).expect("a valid record");
        }
        std::hint::black_box(decoder.finish().expect("columns"));
    }
}
