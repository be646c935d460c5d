//! Random topics: JSON records in partitions, with everything that goes wrong in real ones.
//!
//! Disorder, late rows, NULLs, NaN, negative zero, duplicates, hot keys, malformed and wrongly typed records,
//! tombstones, absent and unknown fields, event times far in the future.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// The source every random stream is of; `query` knows its columns. [`feed`](super::feed) makes others of it.
pub const CREATE_SOURCE: &str = "CREATE SOURCE s (
  k bigint, g text, v int, d numeric(12,2), f double precision, b boolean, ts timestamp, day date, tags text[],
  WATERMARK FOR ts AS ts - INTERVAL '3 seconds' IDLE TIMEOUT NEVER
) WITH (connector = 'kafka', bootstrap = 'localhost:1', topic = 't') FORMAT JSON";

/// The record time of every record, ms: far enough ahead that only the broken event times lie in the future.
pub const RECORD_TIME_MILLIS: i64 = START_MICROS / 1000 + 3_600_000_000;

/// Event times begin here, µs: 2026-03-01 23:59:30, so that a stream crosses midnight.
pub const START_MICROS: i64 = 1_772_409_570_000_000;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whether it is of the second source.
    pub of_other: bool,
    /// Its partition.
    pub partition: i32,
    /// Offsets before it that hold no record: control records, aborted transactions, compaction.
    pub skipped: i64,
    /// Its key.
    pub key: Option<String>,
    /// Its value; `None` is a tombstone.
    pub payload: Option<String>,
    /// How far its own time is from [`RECORD_TIME_MILLIS`], ms.
    pub time_shift: i64,
}

impl Record {
    /// The record without one of its fields; `None` if it has no such field.
    pub fn without(&self, field: &str) -> Option<Self> {
        let mut fields = serde_json::from_str(self.payload.as_ref()?).ok();
        let serde_json::Value::Object(fields) = fields.as_mut()? else { return None };
        fields.remove(field)?;
        let payload = serde_json::to_string(fields).expect("JSON that was just read");
        Some(Self { payload: Some(payload), ..self.clone() })
    }
}

/// How a stream is made.
#[derive(Debug, Clone, Copy)]
pub struct StreamShape {
    /// Partitions.
    pub partitions: i32,
    /// Records.
    pub records: usize,
    /// Distinct keys; few make hot keys.
    pub keys: i64,
    /// How far event times stray, µs.
    pub disorder_micros: i64,
    /// Records in a hundred that are broken in some way.
    pub broken_percent: u32,
    /// Time between records, µs.
    pub step_micros: i64,
}

impl StreamShape {
    /// A random shape.
    pub fn random(rng: &mut impl Rng, partitions: i32) -> Self {
        Self {
            partitions,
            records: rng.random_range(1..200),
            keys: *[1, 2, 5, 40].choose(rng).expect("not empty"),
            disorder_micros: *[0, 1_000_000, 4_000_000, 20_000_000].choose(rng).expect("not empty"),
            broken_percent: *[0, 5, 30].choose(rng).expect("not empty"),
            step_micros: *[1_000, 100_000, 700_000, 30_000_000].choose(rng).expect("not empty"),
        }
    }

    /// The records of one stream, in the order they were produced.
    pub fn records(&self, rng: &mut impl Rng) -> Vec<Record> {
        let mut made: Vec<Record> = Vec::with_capacity(self.records);
        let mut clock = START_MICROS;
        for _ in 0..self.records {
            clock += rng.random_range(0..=self.step_micros * 2);
            let again = rng.random_range(0..20) == 0;
            let payload = match made.choose(rng) {
                Some(record) if again => record.payload.clone(),
                _ => self.payload(rng, clock),
            };
            let skipped = if rng.random_range(0..25) == 0 { rng.random_range(1..4) } else { 0 };
            let partition = rng.random_range(0..self.partitions);
            made.push(Record { of_other: false, partition, skipped, key: None, payload, time_shift: 0 });
        }
        made
    }

    fn payload(&self, rng: &mut impl Rng, clock: i64) -> Option<String> {
        let time = clock - rng.random_range(0..=self.disorder_micros);
        let mut fields = vec![
            ("k", maybe_null(rng, |rng| rng.random_range(0..rng_keys(self.keys)).to_string())),
            ("g", maybe_null(rng, |rng| quoted(["", "a", "b", "ä", "long enough not to be inlined"].choose(rng)))),
            ("v", maybe_null(rng, |rng| rng.random_range(-3..4).to_string())),
            ("d", maybe_null(rng, |rng| format!("{}.{:02}", rng.random_range(-9..100), rng.random_range(0..100)))),
            ("f", maybe_null(rng, float)),
            ("b", maybe_null(rng, |rng| rng.random_bool(0.5).to_string())),
            ("ts", format!("\"{}\"", timestamp(time))),
            ("day", maybe_null(rng, |rng| format!("\"2026-02-{:02}\"", rng.random_range(1..29)))),
            ("tags", maybe_null(rng, tags)),
        ];
        if rng.random_range(0..10) == 0 {
            fields.swap(0, 6);
        }
        if rng.random_range(0..10) == 0 {
            fields.push(("unknown", "{\"x\": [1, {\"y\": null}]}".into()));
        }
        if rng.random_range(0..15) == 0 {
            fields.remove(2);
        }
        let body: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        let text = format!("{{{}}}", body.join(", "));
        if rng.random_range(0..100) >= self.broken_percent { Some(text) } else { broken(rng, &text) }
    }
}

fn rng_keys(keys: i64) -> i64 {
    keys.max(1)
}

fn broken(rng: &mut impl Rng, text: &str) -> Option<String> {
    match rng.random_range(0..7) {
        0 => None,
        1 => Some(text[..text.floor_char_boundary(text.len() / 2)].to_owned()),
        2 => Some(text.replace("\"v\": ", "\"v\": \"x\", \"w\": ")),
        3 => Some(text.replace("\"ts\": \"2026", "\"ts\": \"2226")),
        4 => Some(text.replace("\"ts\": ", "\"ts\": null, \"other\": ")),
        5 => Some("[1]".into()),
        _ => Some(String::new()),
    }
}

fn maybe_null<R: Rng>(rng: &mut R, value: impl FnOnce(&mut R) -> String) -> String {
    if rng.random_range(0..8) == 0 { "null".into() } else { value(rng) }
}

fn quoted(text: Option<&&str>) -> String {
    format!("\"{}\"", text.copied().unwrap_or_default())
}

fn float(rng: &mut impl Rng) -> String {
    match rng.random_range(0..12) {
        0 => "\"NaN\"".into(),
        1 => "-0.0".into(),
        2 => "0".into(),
        _ => format!("{}", rng.random_range(-1000..1000) as f64 / 8.0),
    }
}

fn tags(rng: &mut impl Rng) -> String {
    let count = rng.random_range(0..4);
    let tag = |rng: &mut _| maybe_null(rng, |rng| quoted(["x", "y", "z"].choose(rng)));
    let tags: Vec<_> = (0..count).map(|_| tag(rng)).collect();
    format!("[{}]", tags.join(", "))
}

/// An event time as the records write it.
pub fn timestamp(micros: i64) -> String {
    let time = arrow::temporal_conversions::timestamp_us_to_datetime(micros).expect("within chrono's range");
    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}
