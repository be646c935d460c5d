//! Transactions of a real Kafka: only committed records are read, and the end is known in spite of what lies unread.

use std::time::Duration;

use engine::source::{Offsets, SourceOpener, StartPosition};
use harness::kafka::RealKafka;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::{open, opener, reader, write};

const PATIENCE: Duration = Duration::from_secs(30);

/// A transactional producer.
fn transactional(bootstrap: &str, id: &str) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("transactional.id", id);
    let producer: BaseProducer = config.create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("a coordinator");
    producer
}

/// Sends `texts` within the open transaction and waits until the broker has them.
fn send(producer: &BaseProducer, topic: &str, partition: i32, texts: &[&str]) {
    for text in texts {
        let record: BaseRecord<'_, [u8], str> = BaseRecord::to(topic).partition(partition).payload(text);
        producer.send(record).map_err(|(error, _)| error).expect("room");
    }
    producer.flush(PATIENCE).expect("delivered");
}

#[test]
fn only_committed_records_are_read() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("transactions", kafka.bootstrap());
    kafka.create_topic(topic, 2);
    let producer = transactional(&bootstrap, "only-committed");
    producer.begin_transaction().expect("begins");
    send(&producer, topic, 0, &["c0", "c1"]);
    send(&producer, topic, 1, &["d0"]);
    producer.commit_transaction(PATIENCE).expect("commits");
    producer.begin_transaction().expect("begins");
    send(&producer, topic, 0, &["aborted"]);
    send(&producer, topic, 1, &["aborted"]);
    producer.abort_transaction(PATIENCE).expect("aborts");
    write(&bootstrap, topic, 0, &["plain"]);
    producer.begin_transaction().expect("begins");
    send(&producer, topic, 0, &["c2"]);
    producer.commit_transaction(PATIENCE).expect("commits");

    let committed = opener(&bootstrap, topic, StartPosition::Earliest, &[]);
    let mut reader = open(&committed, &Offsets::new());
    reader.until_caught_up();
    let read = reader.texts();
    assert_eq!((read[&0].join(" "), read[&1].join(" ")), ("c0 c1 plain c2".to_owned(), "d0".to_owned()));
    // Partition 0: two records, commit, one aborted, abort, plain, one record, commit. Partition 1 ends in an abort.
    let status = reader.source.partitions();
    assert_eq!((status[&0].position, status[&0].end), (8, Some(8)));
    assert_eq!((status[&1].position, status[&1].end), (4, Some(4)));
    assert_eq!(committed.bounds().expect("a broker answers"), [(0, (0, 8)), (1, (0, 4))].into());

    // A position on a control record is a place to go on from.
    let mut resumed = open(&committed, &Offsets::from([(0, 2), (1, 4)]));
    resumed.until_caught_up();
    assert_eq!(resumed.texts()[&0].join(" "), "plain c2");
    assert_eq!(resumed.records.get(&1), None);

    let everything = opener(&bootstrap, topic, StartPosition::Earliest, &[("isolation.level", "read_uncommitted")]);
    let mut everything = open(&everything, &Offsets::new());
    everything.until_caught_up();
    assert_eq!(everything.texts()[&0].join(" "), "c0 c1 aborted plain c2");
    assert_eq!(everything.texts()[&1].join(" "), "d0 aborted");
}

#[test]
fn an_open_transaction_does_not_hide_the_end() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("open-transaction", kafka.bootstrap());
    kafka.create_topic(topic, 1);
    write(&bootstrap, topic, 0, &["first", "second"]);
    let producer = transactional(&bootstrap, "stays-open");
    producer.begin_transaction().expect("begins");
    send(&producer, topic, 0, &["pending"]);
    write(&bootstrap, topic, 0, &["behind it"]);

    let mut reader = reader(&bootstrap, topic, StartPosition::Earliest);
    reader.until_caught_up();
    assert_eq!(reader.texts()[&0].join(", "), "first, second");
    let status = reader.source.partitions()[&0];
    assert_eq!((status.position, status.end, status.lag()), (2, Some(2), Some(0)), "the last stable offset");
    let committed = opener(&bootstrap, topic, StartPosition::Earliest, &[]);
    assert_eq!(committed.bounds().expect("a broker answers")[&0], (0, 2));

    producer.commit_transaction(PATIENCE).expect("commits");
    reader.until("what was pending", |r| r.count() == 4);
    assert_eq!(reader.texts()[&0].join(", "), "first, second, pending, behind it");
    reader.until("the end, past the control record", |r| {
        let status = r.source.partitions()[&0];
        (status.position, status.end) == (5, Some(5))
    });
}
