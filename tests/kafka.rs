//! End to end: a real Kafka on one side, SQL over the Postgres protocol on the other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::source::producer::{OutgoingRecord, Producer, ProducerOptions};
use harness::kafka::{RealKafka, RealKafkaSettings};
use harness::served::Served;
use harness::stream::timestamp;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

const DELIVERY_PATIENCE: Duration = Duration::from_secs(60);

/// 2026-01-01 12:00:00, µs.
const NOON_MICROS: i64 = 1_767_268_800_000_000;
/// Event time between two records of a partition, µs.
const STEP_MICROS: i64 = 50_000;
/// The windows' length, µs.
const WINDOW_MICROS: i64 = 10_000_000;
/// The watermark's delay, µs.
const DELAY_MICROS: i64 = 2_000_000;

fn producer(bootstrap: &str) -> Producer {
    Producer::new(bootstrap, &ProducerOptions::default()).expect("good options")
}

fn send(producer: &Producer, topic: &str, partition: i32, payload: Option<&str>) {
    let payload = payload.map(str::as_bytes);
    let record = OutgoingRecord { partition: Some(partition), payload, ..OutgoingRecord::default() };
    producer.produce(topic, record).expect("room");
}

/// Writes records and waits until they are there.
fn write(bootstrap: &str, topic: &str, records: &[(i32, Option<&str>)]) {
    let producer = producer(bootstrap);
    records.iter().for_each(|(partition, payload)| send(&producer, topic, *partition, *payload));
    producer.flush(DELIVERY_PATIENCE).expect("delivered");
}

fn create_source(name: &str, bootstrap: &str, topic: &str, watermark: &str) -> String {
    format!(
        "CREATE SOURCE {name} (k bigint, v bigint, ts timestamp, WATERMARK FOR ts AS {watermark})
         WITH (connector = 'kafka', bootstrap = '{bootstrap}', topic = '{topic}') FORMAT JSON"
    )
}

/// A record that is a function of its place. Times of a partition are a little out of order, never by the delay.
fn nth(partition: i32, offset: i64) -> (i64, i64, i64) {
    let key = (offset * 7 + i64::from(partition)) % 5;
    let jitter = (offset * 31 % 20) * STEP_MICROS;
    (key, offset, NOON_MICROS + offset * STEP_MICROS - jitter + i64::from(partition))
}

fn nth_text(partition: i32, offset: i64) -> String {
    let (key, value, time) = nth(partition, offset);
    format!("{{\"k\": {key}, \"v\": {value}, \"ts\": \"{}\"}}", timestamp(time))
}

/// `window start | key | count | sum` of the first `count` records of each partition, as psql prints it. Of the windows
/// that end at or before `closed` only, if that is given.
fn expected(partitions: i32, count: i64, closed: Option<i64>) -> Vec<String> {
    let mut groups: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
    for (key, value, time) in (0..partitions).flat_map(|p| (0..count).map(move |offset| nth(p, offset))) {
        let group = groups.entry((time - time.rem_euclid(WINDOW_MICROS), key)).or_default();
        *group = (group.0 + 1, group.1 + value);
    }
    let shown =
        groups.into_iter().filter(|((start, _), _)| closed.is_none_or(|closed| start + WINDOW_MICROS <= closed));
    let line = |((start, key), (n, sum))| {
        let start: String = timestamp(start);
        format!("{} | {key} | {n} | {sum}", start.trim_end_matches('0').trim_end_matches('.'))
    };
    shown.map(line).collect()
}

const WINDOWS: &str = "SELECT window_start, k, count(*) AS n, sum(v) AS sum
    FROM tumble(s, ts, INTERVAL '10 seconds') GROUP BY window_start, k";

#[test]
fn views_are_right_through_a_killed_broker() {
    let Some(kafka) = RealKafka::start(RealKafkaSettings::default()) else { return };
    let (topic, bootstrap, partitions) = ("killed", kafka.bootstrap(), 3);
    kafka.create_topic(topic, partitions);
    let served = Served::start();
    served.run(&create_source("s", &bootstrap, topic, "ts - INTERVAL '2 seconds' IDLE TIMEOUT NEVER"));
    served.run(&format!("CREATE MATERIALIZED VIEW running AS {WINDOWS}"));
    served.run(&format!("CREATE MATERIALIZED VIEW closed AS {WINDOWS} EMIT ON WINDOW CLOSE"));

    let (stop, written) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Writes all the while; what the broker does not take is kept and sent again, once.
            let producer = producer(&bootstrap);
            while !stop.load(Ordering::Relaxed) {
                let offset = written.load(Ordering::Relaxed);
                (0..partitions).for_each(|p| send(&producer, topic, p, Some(&nth_text(p, offset))));
                written.store(offset + 1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
            producer.flush(DELIVERY_PATIENCE).expect("delivered in the end");
        });
        let closed_windows = |more_than: usize| {
            let rows = served.until("SELECT DISTINCT window_start FROM closed", |rows| rows.len() > more_than);
            // At every tick, whatever has closed is what the running view shows of that window.
            let differing = "SELECT count(*) FROM (SELECT * FROM closed EXCEPT SELECT * FROM running) AS d";
            assert_eq!(served.value(differing), "0");
            rows.len()
        };
        let before = closed_windows(1);
        kafka.kill();
        let trouble = "SELECT trouble FROM tidemark.sources";
        served.until(trouble, |rows| rows[0].contains(&bootstrap));
        // Reads go on meanwhile.
        assert!(served.value("SELECT sum(n) > 0 FROM running") == "t");
        kafka.restart();
        closed_windows(before + 1);
        // A view that comes later, while records come: its past is read beside the others.
        served.run(&format!("CREATE MATERIALIZED VIEW later AS {WINDOWS}"));
        served.run(&format!("CREATE MATERIALIZED VIEW closed_later AS {WINDOWS} EMIT ON WINDOW CLOSE"));
        for (first, second) in [("running", "later"), ("closed", "closed_later")] {
            // One statement reads one tick, so the two are equal now, not only in the end.
            let differing = format!(
                "SELECT (SELECT count(*) FROM (SELECT * FROM {first} EXCEPT SELECT * FROM {second}) AS d),
                    (SELECT count(*) FROM (SELECT * FROM {second} EXCEPT SELECT * FROM {first}) AS d)"
            );
            assert_eq!(served.value(&differing), "0 | 0", "{first} and {second}");
        }
        served.until_value(trouble, "NULL");
        stop.store(true, Ordering::Relaxed);
    });

    served.run("FLUSH");
    let written = written.load(Ordering::Relaxed);
    let counts = "SELECT accepted, late, errors, tombstones, skipped, lag FROM tidemark.sources";
    assert_eq!(served.value(counts), format!("{} | 0 | 0 | 0 | 0 | 0", written * i64::from(partitions)));
    let all = expected(partitions, written, None);
    // The newest time of a partition is that of one of its last 20 records.
    let newest = |p| (0..written).rev().take(20).map(|offset| nth(p, offset).2).max().unwrap_or_default();
    let watermark = (0..partitions).map(newest).min().unwrap_or_default() - DELAY_MICROS;
    let closed = expected(partitions, written, Some(watermark));
    assert!(!closed.is_empty() && closed.len() < all.len(), "some windows close and some do not");
    for (view, expected) in [("running", &all), ("later", &all), ("closed", &closed), ("closed_later", &closed)] {
        assert_eq!(served.rows(&format!("SELECT * FROM {view} ORDER BY window_start, k")), *expected, "{view}");
    }
}

#[test]
fn partitions_added_are_found_and_included() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("added", kafka.bootstrap());
    kafka.create_topic(topic, 1);
    write(&bootstrap, topic, &[(0, Some(r#"{"k": 1, "v": 1, "ts": "2026-01-01 12:00:20"}"#))]);
    let served = Served::start();
    served.run(&create_source("s", &bootstrap, topic, "ts - INTERVAL '0 seconds' IDLE TIMEOUT NEVER"));
    served.run("CREATE MATERIALIZED VIEW sums AS SELECT k, sum(v) AS sum FROM s GROUP BY k; FLUSH");
    assert_eq!(served.rows("SELECT * FROM sums"), ["1 | 1"]);

    kafka.set_partitions(topic, 3);
    // A row below what had closed when its partition was found, and one that is not.
    let late = r#"{"k": 1, "v": 10, "ts": "2026-01-01 12:00:19"}"#;
    write(&bootstrap, topic, &[(2, Some(late)), (2, Some(r#"{"k": 2, "v": 100, "ts": "2026-01-01 12:00:20"}"#))]);
    served.until_value("SELECT sum(sum) FROM sums", "101");
    served.until_value("SELECT count(*) FROM tidemark.source_partitions", "3");
    assert_eq!(served.rows("SELECT partition, \"offset\", v FROM s_late"), ["2 | 0 | 10"]);
    let counts = "SELECT partition, consumed, accepted, late FROM tidemark.source_partitions ORDER BY partition";
    assert_eq!(served.rows(counts), ["0 | 1 | 1 | 0", "1 | 0 | 0 | 0", "2 | 2 | 1 | 1"]);

    // A view that comes now has a second reading judge the same rows late.
    served.run("CREATE MATERIALIZED VIEW later AS SELECT k, sum(v) AS sum FROM s GROUP BY k");
    assert_eq!(served.rows("SELECT * FROM later ORDER BY k"), ["1 | 1", "2 | 100"]);
}

/// The present, µs since 1970.
fn now_micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros() as i64
}

#[test]
fn windows_close_without_the_silent() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("silent", kafka.bootstrap());
    kafka.create_topic(topic, 2);
    let served = Served::start();
    let watermark = "ts - INTERVAL '0 seconds' IDLE TIMEOUT INTERVAL '500 milliseconds'";
    served.run(&create_source("s", &bootstrap, topic, watermark));
    served.run(
        "CREATE MATERIALIZED VIEW closed AS SELECT window_start, count(*) AS n, max(v) AS last
         FROM tumble(s, ts, INTERVAL '1 second') GROUP BY window_start EMIT ON WINDOW CLOSE",
    );
    let producer = producer(&bootstrap);
    let now = |value: i64| format!("{{\"k\": 1, \"v\": {value}, \"ts\": \"{}\"}}", timestamp(now_micros()));
    send(&producer, topic, 1, Some(&now(1)));
    producer.flush(DELIVERY_PATIENCE).expect("delivered");

    // Partition 1 falls silent, partition 0 goes on: windows close, that of partition 1's only row among them.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for value in 2.. {
                send(&producer, topic, 0, Some(&now(value)));
                std::thread::sleep(Duration::from_millis(20));
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        served.until("SELECT count(*) FROM closed", |rows| rows[0].parse::<i64>().is_ok_and(|windows| windows >= 3));
        let idle = "SELECT idle FROM tidemark.source_partitions ORDER BY partition";
        served.until(idle, |rows| rows == ["f", "t"]);
        stop.store(true, Ordering::Relaxed);
    });

    // Now everybody is silent: the last window closes too, with every row.
    producer.flush(DELIVERY_PATIENCE).expect("delivered");
    let produced = producer.stats().produced.to_string();
    served.until_value("SELECT sum(n) FROM closed", &produced);
    served.until_value("SELECT max(last) FROM closed", &produced);
    served.until("SELECT idle FROM tidemark.source_partitions", |rows| rows == ["t", "t"]);
    let counts = "SELECT accepted, late, errors FROM tidemark.sources";
    assert_eq!(served.value(counts), format!("{produced} | 0 | 0"));

    // Whoever comes back with a row below what has closed is late; with one of the present, accepted.
    let watermark = "SELECT watermark > max(window_start) FROM closed, tidemark.sources GROUP BY watermark";
    assert_eq!(served.value(watermark), "t");
    send(&producer, topic, 1, Some(r#"{"k": 1, "v": -1, "ts": "2026-01-01 12:00:00"}"#));
    producer.flush(DELIVERY_PATIENCE).expect("delivered");
    served.until_value("SELECT v FROM s_late", "-1");
}

/// A producer of transactions.
fn transactional(bootstrap: &str, id: &str) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("transactional.id", id);
    let producer: BaseProducer = config.create().expect("a producer");
    producer.init_transactions(DELIVERY_PATIENCE).expect("a coordinator");
    producer
}

fn transaction(producer: &BaseProducer, topic: &str, partition: i32, texts: &[&str], commit: bool) {
    producer.begin_transaction().expect("begins");
    for text in texts {
        let record: BaseRecord<'_, [u8], str> = BaseRecord::to(topic).partition(partition).payload(text);
        producer.send(record).map_err(|(error, _)| error).expect("room");
    }
    producer.flush(DELIVERY_PATIENCE).expect("delivered");
    if commit {
        producer.commit_transaction(DELIVERY_PATIENCE).expect("commits");
    } else {
        producer.abort_transaction(DELIVERY_PATIENCE).expect("aborts");
    }
}

#[test]
fn every_offset_is_accounted_for() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("accounted", kafka.bootstrap());
    kafka.create_topic(topic, 3);
    let good = r#"{"k": 1, "v": 1, "ts": "2026-01-01 12:00:10"}"#;
    let late = r#"{"k": 1, "v": 1, "ts": "2026-01-01 12:00:07"}"#;
    let wrong = r#"{"k": "one", "v": 1, "ts": "2026-01-01 12:00:10"}"#;
    let future = r#"{"k": 1, "v": 1, "ts": "2226-01-01 12:00:10"}"#;
    let transactions = transactional(&bootstrap, "accounted");
    // Partition 0: two committed and their control record, three of each kind of trouble, an aborted one and its.
    transaction(&transactions, topic, 0, &[good, good], true);
    let troubles = [late, "{", wrong, future].map(|text| (0, Some(text)));
    let tombstones = [(0, None), (0, None)];
    write(&bootstrap, topic, &[&troubles[..], &tombstones, &[(0, Some(good))]].concat());
    transaction(&transactions, topic, 0, &[good], false);
    // Partition 1 begins with an aborted transaction, and ends with a committed one.
    transaction(&transactions, topic, 1, &[good, good], false);
    transaction(&transactions, topic, 1, &[good], true);
    // Partition 2 is nothing but an aborted transaction.
    transaction(&transactions, topic, 2, &[good], false);

    let served = Served::start();
    served.run(&create_source("s", &bootstrap, topic, "ts - INTERVAL '2 seconds' IDLE TIMEOUT NEVER"));
    served.run("CREATE MATERIALIZED VIEW counts AS SELECT k, count(*) AS n FROM s GROUP BY k; FLUSH");
    assert_eq!(served.rows("SELECT * FROM counts"), ["1 | 4"]);
    let counts = "SELECT partition, next_offset, end_offset, consumed, accepted, late, errors, tombstones, skipped
        FROM tidemark.source_partitions ORDER BY partition";
    let expected = [
        "0 | 12 | 12 | 12 | 3 | 1 | 3 | 2 | 3",
        "1 | 5 | 5 | 5 | 1 | 0 | 0 | 0 | 4",
        "2 | 2 | 2 | 2 | 0 | 0 | 0 | 0 | 2",
    ];
    assert_eq!(served.rows(counts), expected);
    let errors = "SELECT partition, \"offset\", reason FROM s_errors ORDER BY 1, 2";
    assert_eq!(served.rows(errors), ["0 | 4 | malformed", "0 | 5 | wrong_type", "0 | 6 | future_time"]);
    assert_eq!(served.rows("SELECT partition, \"offset\", watermark FROM s_late"), ["0 | 3 | 2026-01-01 12:00:08+00"]);
    // The sum is that of the whole source, and the same after more of everything.
    write(&bootstrap, topic, &[(2, Some(good)), (2, None), (2, Some("]"))]);
    transaction(&transactions, topic, 2, &[good], true);
    served.run("FLUSH");
    assert_eq!(served.rows(counts)[2], "2 | 7 | 7 | 7 | 2 | 0 | 1 | 1 | 3");
    let sum =
        "SELECT sum(consumed) = sum(next_offset), sum(consumed) = sum(accepted + late + errors + tombstones + skipped)
        FROM tidemark.source_partitions";
    assert_eq!(served.value(sum), "t | t");
    // A second view over the same source reads the same rows.
    served.run("CREATE MATERIALIZED VIEW later AS SELECT k, count(*) AS n FROM s GROUP BY k");
    assert_eq!(served.rows("SELECT * FROM later"), served.rows("SELECT * FROM counts"));
}

#[test]
fn a_compacted_topic_gives_a_later_view_the_same_rows() {
    let properties = vec!["log.cleaner.backoff.ms=100".to_owned()];
    let settings = RealKafkaSettings { properties, ..RealKafkaSettings::default() };
    let Some(kafka) = RealKafka::start(settings) else { return };
    let (topic, bootstrap) = ("compacted", kafka.bootstrap());
    let compact = [("cleanup.policy", "compact"), ("segment.ms", "200"), ("min.cleanable.dirty.ratio", "0.01")];
    kafka.create_topic_with(topic, 2, &compact);
    let producer = producer(&bootstrap);
    let change = |key: i64, value: Option<i64>| {
        let (key_text, payload) = (format!("{{\"id\":{key}}}"), value.map(|value| format!("{{\"value\":{value}}}")));
        let payload = payload.as_deref().map(str::as_bytes);
        let partition = Some((key % 2) as i32);
        let record = OutgoingRecord { partition, key: Some(key_text.as_bytes()), payload, ..OutgoingRecord::default() };
        producer.produce(topic, record).expect("room");
    };
    for round in 0..20 {
        (0..10).for_each(|key| change(key, (key != 7 || round % 2 == 0).then_some(round * 10 + key)));
    }
    producer.flush(DELIVERY_PATIENCE).expect("delivered");

    let served = Served::start();
    let with = format!("WITH (connector = 'kafka', bootstrap = '{bootstrap}', topic = '{topic}') FORMAT JSON");
    served.run(&format!("CREATE SOURCE t (id bigint, value bigint, PRIMARY KEY (id)) {with} ENVELOPE UPSERT"));
    served.run(&format!("CREATE SOURCE records (value bigint) {with}"));
    served.run("CREATE MATERIALIZED VIEW first AS SELECT id, value FROM t; FLUSH");
    let rows = "SELECT id, value FROM first WHERE id < 10 ORDER BY id";
    let expected: Vec<String> = (0..10).filter(|key| *key != 7).map(|key| format!("{key} | {}", 190 + key)).collect();
    assert_eq!(served.rows(rows), expected);

    // A segment is closed by the record after its time, and what is closed is compacted.
    let next = AtomicI64::new(0);
    served.until("SELECT count(*) FROM records WHERE value < 190", |left| {
        let value = next.fetch_add(1, Ordering::Relaxed);
        [100, 101].iter().for_each(|key| change(*key, Some(1000 + value)));
        producer.flush(DELIVERY_PATIENCE).expect("delivered");
        left == ["0"]
    });
    served.run("CREATE MATERIALIZED VIEW later AS SELECT id, value FROM t");
    let differing =
        |a: &str, b: &str| format!("SELECT count(*) FROM (SELECT * FROM {a} EXCEPT SELECT * FROM {b}) AS d");
    assert_eq!(served.value(&differing("first", "later")), "0");
    assert_eq!(served.value(&differing("later", "first")), "0");
    assert_eq!(served.rows(&rows.replace("first", "later")), expected);
    assert_eq!(served.rows("SELECT id, value FROM t WHERE id < 10 ORDER BY id"), expected);
    change(0, None);
    change(7, Some(1));
    producer.flush(DELIVERY_PATIENCE).expect("delivered");
    served.run("FLUSH");
    assert_eq!(served.rows("SELECT id, value FROM later WHERE id IN (0, 7)"), ["7 | 1"]);
    // What the first reading counted and the second did not find adds up all the same.
    let sums =
        "SELECT sum(consumed) = sum(accepted + late + errors + tombstones + skipped) FROM tidemark.source_partitions";
    assert_eq!(served.value(sums), "t");
}
