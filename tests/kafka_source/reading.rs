//! Plain reading of a real Kafka: every record once, from every start, with partitions added.

use std::collections::BTreeMap;

use engine::source::{Offsets, SourceOpener, StartPosition};
use harness::kafka::RealKafka;
use harness::log_reader::OwnedRecord;

use super::{assert_read, fill, nth_record, open, opener, produce, producer, reader, write};

#[test]
fn every_record_comes_once_and_in_order() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, partitions, count) = ("every-record", 5, 4_000);
    kafka.create_topic(topic, partitions);
    fill(&kafka.bootstrap(), topic, partitions, count);
    let long = OwnedRecord { payload: Some(vec![b'z'; 900_000]), ..nth_record(0, count) };
    let producer = producer(&kafka.bootstrap());
    produce(&producer, topic, 0, &long);
    producer.flush(super::FLUSH_PATIENCE).expect("delivered");

    let opener = opener(&kafka.bootstrap(), topic, StartPosition::Earliest, &[]);
    let mut reader = open(&opener, &Offsets::new());
    reader.until("every record", |r| r.count() as i64 == i64::from(partitions) * count + 1);
    assert_eq!(reader.records.get_mut(&0).expect("read").pop(), Some(long));
    assert_read(&reader, 0..partitions, 0, count);

    reader.until_caught_up();
    assert_eq!(reader.source.trouble(), None);
    let bounds = opener.bounds().expect("a broker answers");
    let ends: BTreeMap<i32, i64> = reader.source.partitions().iter().map(|(p, status)| (*p, status.position)).collect();
    assert_eq!(ends, bounds.iter().map(|(p, (start, end))| (*p, *start + *end)).collect(), "starts are 0");
    assert!(reader.source.partitions().values().all(|status| status.lag() == Some(0)));
}

#[test]
fn an_empty_topic_is_caught_up_and_then_reads_on() {
    let Some(kafka) = RealKafka::shared() else { return };
    kafka.create_topic("empty", 2);
    let mut reader = reader(&kafka.bootstrap(), "empty", StartPosition::Earliest);
    assert!(!reader.is_caught_up(), "no word from the broker yet");
    reader.until_caught_up();
    write(&kafka.bootstrap(), "empty", 1, &["a", "b"]);
    reader.until("both records", |r| r.count() == 2);
    assert_eq!(reader.texts(), BTreeMap::from([(1, vec!["a".to_owned(), "b".to_owned()])]));
}

#[test]
fn reading_starts_where_it_is_told() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("starts", kafka.bootstrap());
    kafka.create_topic(topic, 2);
    fill(&bootstrap, topic, 2, 100);

    // Offsets given to the opener: partitions not named start at the oldest record.
    let mut some = reader(&bootstrap, topic, StartPosition::Offsets(Offsets::from([(1, 60)])));
    some.until("the rest of partition 1 and all of partition 0", |r| r.count() == 140);
    assert_read(&some, 0..1, 0, 100);
    assert_read(&some, 1..2, 60, 100);

    // Saved offsets go before the opener's start; the end itself is a place to go on from.
    let earliest = opener(&bootstrap, topic, StartPosition::Earliest, &[]);
    let mut saved = open(&earliest, &Offsets::from([(0, 90), (1, 100)]));
    saved.until_caught_up();
    assert_read(&saved, 0..1, 90, 100);
    assert_eq!(saved.records.get(&1), None);

    // By time: timestamps ascend with offsets here. Partition 0's record 10 is the first at or after its own time.
    let time = nth_record(0, 10).timestamp_ms.expect("it has one");
    let mut timed = reader(&bootstrap, topic, StartPosition::Timestamp(time));
    timed.until_caught_up();
    assert_read(&timed, 0..2, 10, 100);

    // After every record, by time or by name: only what comes later is read, by every reader of the same opener.
    for start in [StartPosition::Timestamp(i64::MAX), StartPosition::Latest] {
        let later = opener(&bootstrap, topic, start, &[]);
        let mut first = open(&later, &Offsets::new());
        first.until_caught_up();
        assert_eq!(first.count(), 0);
        write(&bootstrap, topic, 0, &["late"]);
        first.until("the late record", |r| r.count() == 1);
        let mut second = open(&later, &Offsets::new());
        second.until("the late record", |r| r.count() == 1);
        assert_eq!((first.texts(), first.records), (second.texts(), second.records));
    }
}

#[test]
fn partitions_added_are_found_and_read_whole() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("growing", kafka.bootstrap());
    kafka.create_topic(topic, 1);
    write(&bootstrap, topic, 0, &["before"]);
    let mut reader = reader(&bootstrap, topic, StartPosition::Latest);
    reader.until_caught_up();
    kafka.set_partitions(topic, 3);
    write(&bootstrap, topic, 2, &["a", "b"]);
    write(&bootstrap, topic, 0, &["after"]);
    reader.until("the records of the new partition", |r| r.count() == 3);
    let read = reader.texts();
    assert_eq!((read[&0].join(" "), read[&2].join(" ")), ("after".to_owned(), "a b".to_owned()));
    reader.until("the empty one as well", |r| r.source.partitions().len() == 3 && r.is_caught_up());
    assert_eq!(reader.source.trouble(), None);

    // Found after a restart too: saved offsets know nothing of the new partitions.
    let latest = opener(&bootstrap, topic, StartPosition::Latest, &[]);
    let mut restarted = open(&latest, &Offsets::from([(0, 1)]));
    restarted.until("everything since", |r| r.count() == 3);
    assert_eq!(restarted.texts(), reader.texts());
}

#[test]
fn compressed_batches_are_read() {
    use engine::source::producer::{Compression, OutgoingRecord, Producer, ProducerOptions};
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("compressed", kafka.bootstrap());
    kafka.create_topic(topic, 1);
    let mut texts = Vec::new();
    for compression in [Compression::Lz4, Compression::Zstd, Compression::None] {
        let options = ProducerOptions { compression, idempotent: false, ..ProducerOptions::default() };
        let producer = Producer::new(&bootstrap, &options).expect("good options");
        for n in 0..500 {
            texts.push(format!("{compression:?} {n} {}", "again ".repeat(20)));
            let payload = texts.last().map(|text| text.as_bytes());
            producer.produce(topic, OutgoingRecord { payload, ..OutgoingRecord::default() }).expect("room");
        }
        producer.flush(super::FLUSH_PATIENCE).expect("delivered");
        assert_eq!(producer.stats().delivered, 500);
    }
    let mut reader = reader(&bootstrap, topic, StartPosition::Earliest);
    reader.until("every record", |r| r.count() == texts.len());
    assert_eq!(reader.texts()[&0], texts);
}
