//! A real Kafka that is killed, that is not there, and that asks for a password.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use engine::ErrorKind;
use engine::source::producer::{Producer, ProducerOptions};
use engine::source::{Offsets, SourceOpener, StartPosition};
use harness::kafka::{RealKafka, RealKafkaSettings, USER};

use super::{assert_read, nth_record, open, opener, produce, reader};

#[test]
fn a_killed_broker_costs_nothing() {
    let Some(kafka) = RealKafka::start(RealKafkaSettings::default()) else { return };
    let (topic, bootstrap, partitions) = ("killed", kafka.bootstrap(), 3);
    kafka.create_topic(topic, partitions);
    let mut reader = reader(&bootstrap, topic, StartPosition::Earliest);
    let (stop, written) = (AtomicBool::new(false), AtomicI64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Writes all the while; what the broker does not take is kept and sent again, once.
            let producer = Producer::new(&bootstrap, &ProducerOptions::default()).expect("good options");
            while !stop.load(Ordering::Relaxed) {
                let offset = written.load(Ordering::Relaxed);
                for partition in 0..partitions {
                    produce(&producer, topic, partition, &nth_record(partition, offset));
                }
                written.store(offset + 1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
            producer.flush(super::FLUSH_PATIENCE).expect("delivered in the end");
        });
        reader.until("records", |r| r.count() > 100);
        kafka.kill();
        reader.until("word of the broker's absence", |r| r.source.trouble().is_some());
        let trouble = reader.source.trouble().expect("just seen");
        assert!(trouble.contains(&bootstrap), "{trouble}");
        kafka.restart();
        let before = reader.count();
        reader.until("records again", |r| r.count() > before + 100);
        reader.until("an end to the trouble", |r| r.source.trouble().is_none());
        stop.store(true, Ordering::Relaxed);
    });
    let written = written.load(Ordering::Relaxed);
    reader.until("every record", |r| r.count() as i64 >= written * i64::from(partitions));
    reader.until_caught_up();
    assert_read(&reader, 0..partitions, 0, written);
}

#[test]
fn a_broker_that_is_not_there_is_said_in_time() {
    // A port that was free a moment ago: connections are refused.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let bootstrap = format!("127.0.0.1:{port}");
    let away = opener(&bootstrap, "t", StartPosition::Earliest, &[("broker_timeout_ms", "400")]);
    for error in [away.open(&Offsets::new()).err(), away.bounds().err()] {
        let error = error.expect("nobody there");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains(&bootstrap) && error.to_string().contains("refused"), "{error}");
    }
}

#[test]
fn a_login_is_used_and_never_shown() {
    let Some(kafka) = RealKafka::shared() else { return };
    let topic = "secured";
    kafka.create_topic(topic, 1);
    super::fill(&kafka.bootstrap(), topic, 1, 10);
    let ca = kafka.ca_pem();
    let login = |mechanism, password| {
        let options = [
            ("properties.security.protocol", "SASL_SSL"),
            ("properties.sasl.mechanism", mechanism),
            ("properties.sasl.username", USER.0),
            ("properties.sasl.password", password),
            ("properties.ssl.ca.pem", ca.as_str()),
        ];
        opener(&kafka.bootstrap_sasl_ssl(), topic, StartPosition::Earliest, &options)
    };
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let opener = login(mechanism, USER.1);
        assert!(!format!("{opener:?}").contains(USER.1));
        let mut reader = open(&opener, &Offsets::new());
        reader.until_caught_up();
        assert_read(&reader, 0..1, 0, 10);
    }

    let error = login("SCRAM-SHA-256", "hunter2-canary").open(&Offsets::new()).err().expect("a wrong password");
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2-canary"));

    // Without the certificate the handshake fails.
    let plain = [("security.protocol", "SSL"), ("broker_timeout_ms", "1500")];
    let untrusted = opener(&kafka.bootstrap_sasl_ssl(), topic, StartPosition::Earliest, &plain);
    let error = untrusted.open(&Offsets::new()).err().expect("an untrusted certificate");
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    assert!(error.to_string().contains("TLS handshake"), "{error}");
}
