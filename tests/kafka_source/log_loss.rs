//! What a real Kafka can lose behind a reader's back: it is named, and nothing else is read in its place.

use std::os::unix::fs::FileExt as _;

use engine::ErrorKind;
use engine::source::{Offsets, SourceOpener, StartPosition};
use harness::kafka::RealKafka;

use super::{assert_read, fill, open, opener, reader, write};

/// Asserts that `error` is of `kind` and that its text holds every one of `parts`.
fn assert_says(error: &engine::Error, kind: ErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn saved_offsets_that_are_gone_are_refused() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("gone", kafka.bootstrap());
    kafka.create_topic(topic, 2);
    fill(&bootstrap, topic, 2, 50);
    kafka.delete_records_before(topic, 1, 20);

    let earliest = opener(&bootstrap, topic, StartPosition::Earliest, &[]);
    let refused = |offsets: &[(i32, i64)]| earliest.open(&offsets.iter().copied().collect()).err().expect("refused");
    let early = refused(&[(0, 5), (1, 7)]);
    assert_says(&early, ErrorKind::Data, &["\"gone\"", "partition 1", "offset 7", "starts at 20", "13 offsets"]);
    assert_says(&refused(&[(0, 51)]), ErrorKind::Data, &["partition 0", "offset 51", "ends at 50"]);
    assert_says(&refused(&[(2, 0)]), ErrorKind::Data, &["2 partitions", "partition 2"]);

    // The same in a statement is the user's to mend.
    let told = opener(&bootstrap, topic, StartPosition::Offsets(Offsets::from([(1, 7)])), &[]);
    assert_says(&told.open(&Offsets::new()).err().expect("refused"), ErrorKind::Input, &["starts at 20"]);

    // The oldest record kept is where `earliest` begins.
    let mut reader = open(&earliest, &Offsets::new());
    reader.until_caught_up();
    assert_read(&reader, 0..1, 0, 50);
    assert_read(&reader, 1..2, 20, 50);
    assert_eq!(earliest.bounds().expect("a broker answers"), [(0, (0, 50)), (1, (20, 50))].into());
}

#[test]
fn a_reader_overtaken_by_retention_halts_and_names_the_gap() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("overtaken", kafka.bootstrap());
    kafka.create_topic(topic, 1);
    fill(&bootstrap, topic, 1, 400);
    // Next to nothing is fetched ahead, so most of the log is still at the broker when it goes.
    let small =
        [("queued.min.messages", "1"), ("queued.max.messages.kbytes", "1"), ("fetch.message.max.bytes", "1000")];
    let slow = opener(&bootstrap, topic, StartPosition::Earliest, &small);
    let mut reader = open(&slow, &Offsets::new());
    reader.until("a first record", |r| r.count() > 0);
    fill(&bootstrap, topic, 1, 4_000);
    kafka.delete_records_before(topic, 0, 4_390);

    let error = reader.until_error();
    let position = reader.source.partitions()[&0].position;
    let gap = format!("offset {position}, but the log starts at 4390: {} offsets are gone", 4_390 - position);
    assert_says(&error, ErrorKind::Data, &["\"overtaken\"", "partition 0", &gap]);
    assert!(position < 4_390 && reader.count() as i64 == position, "nothing was skipped before the gap");
    let again = reader.poll().expect_err("halted for good");
    assert_eq!(again.to_string(), error.to_string());
    assert_eq!(reader.source.trouble(), Some(error.to_string()));
}

#[test]
fn a_topic_created_again_is_not_taken_for_the_old_one() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("reborn", kafka.bootstrap());
    kafka.create_topic(topic, 1);
    write(&bootstrap, topic, 0, &["old", "old", "old"]);
    let mut reader = reader(&bootstrap, topic, StartPosition::Earliest);
    reader.until_caught_up();
    kafka.delete_topic(topic);
    reader.until("word of the deletion", |r| {
        r.troubles.iter().any(|trouble| trouble.contains("does not exist any more"))
    });
    kafka.create_topic(topic, 1);
    // The new log goes on beyond the old position, so offsets alone would not tell.
    write(&bootstrap, topic, 0, &["new"; 10]);
    let error = reader.until_error();
    assert_says(&error, ErrorKind::Data, &["\"reborn\"", "deleted and created again"]);
    assert_eq!(reader.texts()[&0].join(" "), "old old old");
}

#[test]
fn a_damaged_record_halts_the_reader_before_it() {
    let Some(kafka) = RealKafka::shared() else { return };
    let (topic, bootstrap) = ("damaged", kafka.bootstrap());
    kafka.create_topic(topic, 1);
    for text in ["good", "to be spoiled", "behind it"] {
        write(&bootstrap, topic, 0, &[text]);
    }
    // The broker serves the file as it is; only the reader checks.
    let file = std::fs::File::options().read(true).write(true).open(kafka.log_file(topic, 0)).expect("the segment");
    let mut log = vec![0; 1_000];
    file.read_at(&mut log, 0).expect("its first bytes");
    let place = log.windows(7).position(|bytes| bytes == b"spoiled").expect("the record is in the segment");
    file.write_all_at(b"S", place as u64).expect("one byte");

    let mut reader = reader(&bootstrap, topic, StartPosition::Earliest);
    let error = reader.until_error();
    assert_says(&error, ErrorKind::Data, &["\"damaged\" partition 0 offset 1", "CRC"]);
    assert_eq!(reader.texts()[&0], ["good"]);
    assert_eq!(reader.source.partitions()[&0].position, 1);
}

#[test]
fn a_topic_that_is_not_there_is_the_users_to_mend() {
    let Some(kafka) = RealKafka::shared() else { return };
    let bootstrap = kafka.bootstrap();
    let missing = opener(&bootstrap, "no-such-topic", StartPosition::Earliest, &[]);
    for error in [missing.open(&Offsets::new()).err(), missing.bounds().err()] {
        let error = error.expect("refused");
        assert_says(&error, ErrorKind::Input, &["topic \"no-such-topic\" does not exist at bootstrap", &bootstrap]);
    }
    // Asking did not create it.
    assert!(missing.open(&Offsets::new()).is_err());
}
