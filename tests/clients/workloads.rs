//! The standard workloads on a whole server: sources read from a broker, half of the views created while records are
//! there already, and each view verified over the wire.

use std::time::Duration;

use engine::source::embedded_broker::EmbeddedBroker;
use engine::source::producer::{OutgoingRecord, Producer, ProducerOptions};
use harness::served::Served;
use harness::stream::RECORD_TIME_MILLIS;
use harness::workload::{Produced, script};
use harness::{nexmark, tpch};

const PARTITIONS: i32 = 2;

fn produce(producer: &Producer, records: &[Produced]) {
    for (topic, record) in records {
        let outgoing = OutgoingRecord {
            partition: Some(record.partition),
            key: record.key.as_deref().map(str::as_bytes),
            payload: record.payload.as_deref().map(str::as_bytes),
            timestamp_ms: Some(RECORD_TIME_MILLIS + record.time_shift),
            ..OutgoingRecord::default()
        };
        producer.produce(topic, outgoing).expect("room");
    }
    producer.flush(Duration::from_secs(60)).expect("delivered");
}

/// Runs a script on a server; every view must say what its query says.
fn serve(name: &str, records: &[Produced]) {
    let broker = EmbeddedBroker::start().expect("a broker");
    let producer = Producer::new(broker.bootstrap(), &ProducerOptions::default()).expect("good options");
    let text = script(name).replace("localhost:1", broker.bootstrap());
    let named = |statement: &str, before: &str| {
        let (_, rest) = statement.split_once(before)?;
        rest.split_whitespace().next().map(str::to_owned)
    };
    let served = Served::start();
    let (first, second) = records.split_at(records.len() / 2);
    let mut views = Vec::new();
    let mut later = Vec::new();
    for statement in text.split_inclusive(";\n") {
        if let Some(source) = named(statement, "CREATE SOURCE ") {
            broker.create_topic(&source, PARTITIONS).expect("a new topic");
            served.run(statement);
        } else if let Some(view) = named(statement, "CREATE MATERIALIZED VIEW ") {
            if views.len() % 2 == 0 {
                served.run(statement)
            } else {
                later.push(statement)
            }
            views.push(view);
        }
    }
    produce(&producer, first);
    served.run("FLUSH");
    later.iter().for_each(|statement| served.run(statement));
    produce(&producer, second);
    served.run("FLUSH");
    for view in &views {
        assert_eq!(served.rows(&format!("VERIFY MATERIALIZED VIEW {view}")), [""; 0], "{name}: {view}");
    }
    let failed = served.rows("SELECT name, error FROM tidemark.materialized_views WHERE state <> 'running'");
    assert_eq!(failed, [""; 0], "{name}");
    let consumed: usize =
        served.value("SELECT sum(consumed)::bigint FROM tidemark.source_partitions").parse().expect("a number");
    assert_eq!(consumed, records.len(), "{name}");
}

#[test]
fn nexmark_s_views_are_verified_on_a_server() {
    serve("nexmark.sql", &nexmark::events(7, 1_500, PARTITIONS));
}

#[test]
fn tpc_h_s_views_are_verified_on_a_server() {
    serve("tpch.sql", &tpch::changes(7, 2_000, PARTITIONS));
}
