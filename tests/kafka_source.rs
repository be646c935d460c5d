//! The Kafka source against a real Apache Kafka and against the embedded broker.

#[path = "kafka_source/broker_faults.rs"]
mod broker_faults;
#[path = "kafka_source/embedded.rs"]
mod embedded;
#[path = "kafka_source/log_loss.rs"]
mod log_loss;
#[path = "kafka_source/reading.rs"]
mod reading;
#[path = "kafka_source/transactions.rs"]
mod transactions;

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::source::kafka::KafkaOpener;
use engine::source::kafka_options::KafkaOptions;
use engine::source::producer::{OutgoingRecord, Producer, ProducerOptions};
use engine::source::{Offsets, SourceOpener, StartPosition};
use harness::log_reader::{LogReader, OwnedRecord};

/// How long a flush may take before it counts as hung.
const FLUSH_PATIENCE: Duration = Duration::from_secs(60);

/// An opener of `topic` at `bootstrap` with more options.
fn opener(bootstrap: &str, topic: &str, start: StartPosition, more: &[(&str, &str)]) -> KafkaOpener {
    let base = [("connector", "kafka"), ("bootstrap", bootstrap), ("topic", topic)];
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let options: Vec<(String, String)> = base.iter().chain(more).map(owned).collect();
    KafkaOpener::new(KafkaOptions::parse(&options).expect("good options"), start)
}

/// A reader of `topic` from `start` on.
fn reader(bootstrap: &str, topic: &str, start: StartPosition) -> LogReader {
    open(&opener(bootstrap, topic, start, &[]), &Offsets::new())
}

fn open(opener: &KafkaOpener, offsets: &Offsets) -> LogReader {
    LogReader::new(opener.open(offsets).expect("opens"))
}

/// A producer to a broker that stays up.
fn producer(bootstrap: &str) -> Producer {
    let options = ProducerOptions { idempotent: false, ..ProducerOptions::default() };
    Producer::new(bootstrap, &options).expect("good options")
}

/// Writes `texts` to one partition and waits until they are there.
fn write(bootstrap: &str, topic: &str, partition: i32, texts: &[&str]) {
    let producer = producer(bootstrap);
    for text in texts {
        let record =
            OutgoingRecord { partition: Some(partition), payload: Some(text.as_bytes()), ..OutgoingRecord::default() };
        producer.produce(topic, record).expect("room");
    }
    producer.flush(FLUSH_PATIENCE).expect("delivered");
}

/// A record that is a function of its place: keys, headers, tombstones, empty and long values all occur.
fn nth_record(partition: i32, offset: i64) -> OwnedRecord {
    let n = offset * 31 + i64::from(partition);
    let payload = match n % 50 {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(vec![b'x'; 20_000]),
        _ => Some(format!("{{\"partition\":{partition},\"offset\":{offset}}}").into_bytes()),
    };
    let headers = match n % 7 {
        0 => vec![],
        1 => vec![("trace".to_owned(), Some(n.to_be_bytes().to_vec())), ("trace".to_owned(), None)],
        _ => vec![("kind".to_owned(), Some(Vec::new()))],
    };
    OwnedRecord {
        offset,
        timestamp_ms: Some(first_time_ms() + n),
        key: (n % 3 != 0).then(|| format!("key {n}").into_bytes()),
        payload,
        headers,
    }
}

/// The time of the oldest records, ms: now. A broker that restarts forgets idempotent producers whose records are a day
/// old by their own timestamps, and would then take a batch sent again for a new one.
fn first_time_ms() -> i64 {
    static FIRST: OnceLock<i64> = OnceLock::new();
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    *FIRST.get_or_init(now)
}

/// Writes one record to its partition, without waiting.
fn produce(producer: &Producer, topic: &str, partition: i32, record: &OwnedRecord) {
    let headers: Vec<(&str, Option<&[u8]>)> =
        record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
    let outgoing = OutgoingRecord {
        partition: Some(partition),
        key: record.key.as_deref(),
        payload: record.payload.as_deref(),
        timestamp_ms: record.timestamp_ms,
        headers: &headers,
    };
    producer.produce(topic, outgoing).expect("room");
}

/// Writes the first `count` records of each partition and waits until they are there.
fn fill(bootstrap: &str, topic: &str, partitions: i32, count: i64) {
    let producer = producer(bootstrap);
    for offset in 0..count {
        for partition in 0..partitions {
            produce(&producer, topic, partition, &nth_record(partition, offset));
        }
    }
    producer.flush(FLUSH_PATIENCE).expect("delivered");
}

/// Asserts that `reader` read exactly the records `from..to` of each of `partitions`.
fn assert_read(reader: &LogReader, partitions: std::ops::Range<i32>, from: i64, to: i64) {
    for partition in partitions {
        let read = reader.records.get(&partition).map_or(&[][..], Vec::as_slice);
        for (record, offset) in read.iter().zip(from..to) {
            assert_eq!(*record, nth_record(partition, offset), "partition {partition}");
        }
        assert_eq!(read.len() as i64, to - from, "partition {partition}");
    }
}
