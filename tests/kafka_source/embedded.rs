//! The same reading from the embedded broker, and the limits of that broker.

use std::time::Duration;

use engine::ErrorKind;
use engine::source::embedded_broker::{EmbeddedBroker, PARTITION_BYTES_KEPT};
use engine::source::producer::OutgoingRecord;
use engine::source::{Offsets, SourceOpener, StartPosition};

use super::{assert_read, fill, nth_record, open, opener, produce, producer, reader, write};

fn broker(topic: &str, partitions: i32) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start().expect("starts");
    broker.create_topic(topic, partitions).expect("a new topic");
    broker
}

#[test]
fn every_record_comes_once_and_in_order() {
    let broker = broker("t", 4);
    fill(broker.bootstrap(), "t", 4, 1_000);
    let opener = opener(broker.bootstrap(), "t", StartPosition::Earliest, &[]);
    let mut reader = open(&opener, &Offsets::new());
    reader.until("every record", |r| r.count() == 4_000);
    assert_read(&reader, 0..4, 0, 1_000);
    reader.until_caught_up();
    assert_eq!(opener.bounds().expect("the broker answers")[&3], (0, 1_000));

    let mut saved = open(&opener, &Offsets::from([(0, 900), (1, 1_000), (2, 0), (3, 999)]));
    saved.until_caught_up();
    assert_read(&saved, 0..1, 900, 1_000);
    assert_eq!(saved.count(), 1_101);
}

#[test]
fn topics_are_created_once_and_never_by_asking() {
    let broker = broker("t", 1);
    assert_eq!(broker.create_topic("t", 1).expect_err("exists").kind(), ErrorKind::Conflict);
    let missing = opener(broker.bootstrap(), "other", StartPosition::Earliest, &[]);
    for _ in 0..2 {
        let error = missing.open(&Offsets::new()).err().expect("unknown");
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        assert!(error.to_string().contains("topic \"other\" does not exist"), "{error}");
    }
}

#[test]
fn latest_reads_only_what_comes_later() {
    let broker = broker("t", 2);
    write(broker.bootstrap(), "t", 0, &["early"]);
    let mut reader = reader(broker.bootstrap(), "t", StartPosition::Latest);
    reader.until_caught_up();
    write(broker.bootstrap(), "t", 0, &["late"]);
    reader.until("the late record", |r| r.count() == 1);
    assert_eq!(reader.texts()[&0], ["late"]);
}

#[test]
fn a_broker_away_is_shown_and_waited_out() {
    let broker = broker("t", 2);
    fill(broker.bootstrap(), "t", 2, 100);
    let mut reader = reader(broker.bootstrap(), "t", StartPosition::Earliest);
    reader.until_caught_up();
    broker.set_away(true).expect("closes");
    reader.until("word of the absence", |r| r.source.trouble().is_some());
    let polled = reader.poll().expect("absence is no error");
    assert_eq!(polled, 0);
    broker.set_away(false).expect("opens");
    let producer = producer(broker.bootstrap());
    for partition in 0..2 {
        produce(&producer, "t", partition, &nth_record(partition, 100));
    }
    producer.flush(super::FLUSH_PATIENCE).expect("delivered");
    reader.until("the new records", |r| r.count() == 202);
    reader.until("an end to the trouble", |r| r.source.trouble().is_none());
    assert_read(&reader, 0..2, 0, 101);
}

#[test]
fn a_log_trimmed_behind_a_reader_halts_it() {
    let broker = broker("t", 1);
    write(broker.bootstrap(), "t", 0, &["first"]);
    let small =
        [("queued.min.messages", "1"), ("queued.max.messages.kbytes", "1"), ("fetch.message.max.bytes", "1000")];
    let slow = opener(broker.bootstrap(), "t", StartPosition::Earliest, &small);
    let mut reader = open(&slow, &Offsets::new());
    reader.until("the first record", |r| r.count() == 1);

    // More than a partition keeps, in batches small enough to be dropped one by one.
    let producer = producer(broker.bootstrap());
    let payload = vec![b'x'; 50_000];
    for n in 0..2 * PARTITION_BYTES_KEPT / payload.len() {
        let record = OutgoingRecord { partition: Some(0), payload: Some(&payload), ..OutgoingRecord::default() };
        producer.produce("t", record).expect("room");
        if n % 10 == 9 {
            producer.flush(super::FLUSH_PATIENCE).expect("delivered");
        }
    }
    producer.flush(super::FLUSH_PATIENCE).expect("delivered");
    let start = slow.bounds().expect("the broker answers")[&0].0;
    assert!(start > 0, "the broker trims");

    let error = reader.until_error();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert!(error.to_string().contains(&format!("starts at {start}")), "{error}");
}

#[test]
fn a_slow_broker_is_waited_for() {
    let broker = broker("t", 1);
    write(broker.bootstrap(), "t", 0, &["a"]);
    broker.set_delay(Duration::from_millis(150)).expect("delays");
    let mut reader = reader(broker.bootstrap(), "t", StartPosition::Earliest);
    reader.until("the record", |r| r.count() == 1);
}
