//! What a random topic's records are to its source's rows: rows, upserts, or Debezium's change events.
//!
//! Keys come in every spelling, in one partition or in several; payloads repeat them, leave them out or contradict them.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};
use sql::statement::Envelope;

use super::stream::{CREATE_SOURCE, Record, StreamShape};

/// The envelope of a source's records, and its primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// What a record is.
    pub envelope: Envelope,
    /// The primary key: some of `k` and `g`.
    pub key: &'static [&'static str],
    /// How many seconds behind its partition's newest another row is accepted; `None` for as long as windows wait for it.
    pub accept_late: Option<u32>,
}

/// Each record is a row.
pub const ROWS: Feed = Feed { envelope: Envelope::None, key: &[], accept_late: None };

impl Feed {
    /// A feed with a key.
    pub fn keyed(rng: &mut impl Rng) -> Self {
        let envelope = *[Envelope::Upsert, Envelope::Upsert, Envelope::Debezium].choose(rng).expect("not empty");
        let key = *[&["k"][..], &["k"], &["g"], &["k", "g"], &["g", "k"]].choose(rng).expect("not empty");
        Self { envelope, key, accept_late: None }
    }

    /// The same, if its records are rows, with rows accepted for windows that have closed.
    #[must_use]
    pub fn accepting_late(self, rng: &mut impl Rng) -> Self {
        let accepted = *[3, 6, 15, 60].choose(rng).expect("not empty");
        Self { accept_late: self.is_rows().then_some(accepted), ..self }
    }

    /// Whether each record is a row.
    pub fn is_rows(self) -> bool {
        self.key.is_empty()
    }

    /// The CREATE SOURCE of `s`, or of `o`, with records like these.
    pub fn create(self, name: &str) -> String {
        let topic = if name == "s" { "t" } else { "u" };
        let text = CREATE_SOURCE.replace("SOURCE s (", &format!("SOURCE {name} ("));
        let text = text.replace("topic = 't'", &format!("topic = '{topic}'"));
        if self.is_rows() {
            let accepted = self.accept_late.map(|seconds| format!(" ACCEPT LATE INTERVAL '{seconds} seconds'"));
            return text.replace(" IDLE", &format!("{} IDLE", accepted.unwrap_or_default()));
        }
        let (columns, rest) = text.split_once("WATERMARK").expect("the source has a watermark");
        let (_, options) = rest.split_once('\n').expect("a line of its own");
        let key = self.key.join(", ");
        let options = options.replacen(')', ") INCLUDE KEY", 1);
        format!("{columns}PRIMARY KEY ({key})\n{options} ENVELOPE {}", self.envelope)
    }

    /// The records of one stream, in the order they were produced.
    pub fn records(self, shape: &StreamShape, rng: &mut impl Rng) -> Vec<Record> {
        let rows = shape.records(rng);
        if self.is_rows() {
            return rows;
        }
        // A key moves between partitions in few topics only.
        let wanders = rng.random_range(0..4) == 0;
        let rows = rows.into_iter().map(|row| self.record(rng, shape, row, wanders));
        rows.collect()
    }

    fn record(self, rng: &mut impl Rng, shape: &StreamShape, row: Record, wanders: bool) -> Record {
        let k = rng.random_range(0..shape.keys.max(1));
        let g = *["", "a", "b", "ä", "a \"long\" one, not inlined"].choose(rng).expect("not empty");
        let key: Vec<(&str, Value)> =
            self.key.iter().map(|name| (*name, if *name == "k" { json!(k) } else { json!(g) })).collect();
        let partition = if wanders { row.partition } else { home(&key, shape.partitions) };
        let time_shift = if rng.random_range(0..3) == 0 { rng.random_range(-3..4) } else { 0 };
        let broken = rng.random_range(0..100) < shape.broken_percent;
        let mut payload = row.payload.map(|text| {
            let Ok(Value::Object(mut fields)) = serde_json::from_str(&text) else { return Err(text) };
            for (name, value) in &key {
                match rng.random_range(0..10) {
                    0 => _ = fields.insert((*name).into(), Value::Null),
                    1 => _ = fields.remove(*name),
                    2 if broken => _ = fields.insert((*name).into(), json!(7)),
                    3 => _ = fields.insert((*name).into(), respelled(value)),
                    _ => _ = fields.insert((*name).into(), value.clone()),
                }
            }
            Ok(fields)
        });
        if rng.random_range(0..6) == 0 {
            payload = None;
        }
        let has_key = rng.random_range(0..20) != 0;
        let payload = match self.envelope {
            Envelope::Debezium => event(rng, &key, payload),
            _ => payload.map(|payload| payload.map_or_else(|text| text, |fields| Value::Object(fields).to_string())),
        };
        let key = (has_key || payload.is_none()).then(|| spelled(rng, &key));
        Record { partition, key, payload, time_shift, ..row }
    }
}

/// The partition that keys like this one go to.
fn home(key: &[(&str, Value)], partitions: i32) -> i32 {
    let text: String = key.iter().map(|(_, value)| value.to_string()).collect();
    let sum: usize = text.bytes().map(usize::from).sum();
    sum as i32 % partitions
}

/// The same value written otherwise.
fn respelled(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.to_string()),
        other => other.clone(),
    }
}

/// A record's key as some producer writes it.
fn spelled(rng: &mut impl Rng, key: &[(&str, Value)]) -> String {
    let fields: Vec<String> = key
        .iter()
        .map(|(name, value)| match (rng.random_range(0..6), value) {
            (0, Value::Number(number)) => format!("\"{name}\":\"{number}\""),
            (1, Value::Number(number)) => format!("\"{name}\":{number}.0"),
            _ => format!("\"{name}\":{value}"),
        })
        .collect();
    let object = format!("{{{}}}", fields.join(","));
    match (rng.random_range(0..8), key) {
        (0, _) => format!("{{\"schema\":null,\"payload\":{object}}}"),
        (1, _) => format!("{{\"other\":[1],{}", &object[1..]),
        (2, [(_, value)]) => value.to_string(),
        (3, [(_, Value::String(text))]) if !text.starts_with(['"', '{']) => text.clone(),
        (4, [(_, Value::Number(number))]) => format!("\"{number}\""),
        (5, [(_, value)]) => format!("{{\"schema\":{{\"type\":\"int64\"}},\"payload\":{value}}}"),
        _ => object,
    }
}

/// A change event for a row, a deletion for none, and now and then the tombstone that follows one.
fn event(rng: &mut impl Rng, key: &[(&str, Value)], row: Option<Result<Map<String, Value>, String>>) -> Option<String> {
    let identity: Map<String, Value> = key.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let event = match row {
        None if rng.random_range(0..4) == 0 => return None,
        None => json!({"op": "d", "before": identity, "after": null}),
        Some(Err(text)) => return Some(text),
        Some(Ok(fields)) => {
            let op = *["c", "r", "u", "u", "u", "u", "u", "t"].choose(rng).expect("not empty");
            let before = if rng.random_bool(0.5) { Value::Object(identity) } else { Value::Null };
            json!({"before": before, "after": fields, "source": {"db": "x"}, "op": op, "ts_ms": 5})
        }
    };
    let schema = json!({"type": "struct", "fields": []});
    Some(if rng.random_range(0..3) == 0 { json!({"schema": schema, "payload": event}) } else { event }.to_string())
}
