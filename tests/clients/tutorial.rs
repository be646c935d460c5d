//! The README's five minutes: its records, its statements, and what it says they show.

use std::time::Duration;

use engine::source::embedded_broker::EmbeddedBroker;
use engine::source::producer::{OutgoingRecord, Producer, ProducerOptions};
use harness::served::Served;

/// A server, a broker with the topic `orders`, and the README's statements.
pub struct Tutorial {
    /// The server.
    pub served: Served,
    broker: EmbeddedBroker,
    readme: String,
}

impl Tutorial {
    /// The topic with the README's records; nothing is declared.
    pub fn start() -> Self {
        let readme = std::fs::read_to_string(super::beside("../README.md")).expect("the README is in the repository");
        let broker = EmbeddedBroker::start().expect("a broker");
        broker.create_topic("orders", 1).expect("a new topic");
        let tutorial = Self { served: Served::start(), broker, readme };
        let records: Vec<_> = tutorial.steps().lines().filter(|line| line.starts_with("{\"id\"")).collect();
        assert_eq!(records.len(), 5, "the README's records are found");
        tutorial.produce(&records);
        tutorial
    }

    /// The same, with everything declared that step 3 to 5 declare, and the views filled.
    pub fn declared() -> Self {
        let tutorial = Self::start();
        for statement in tutorial.statements().iter().filter(|statement| statement.starts_with("CREATE")) {
            tutorial.served.run(statement);
        }
        tutorial.served.run("FLUSH");
        tutorial
    }

    /// Writes records to `orders`.
    pub fn produce(&self, records: &[&str]) {
        let producer = Producer::new(self.broker.bootstrap(), &ProducerOptions::default()).expect("good options");
        for record in records {
            // An event time far beyond the record's own would be an error; these are of January 2026.
            let record = OutgoingRecord { payload: Some(record.as_bytes()), ..OutgoingRecord::default() };
            producer.produce("orders", record).expect("room");
        }
        producer.flush(Duration::from_secs(60)).expect("delivered");
    }

    fn steps(&self) -> &str {
        let (_, steps) = self.readme.split_once("## Five minutes on your own topic").expect("the README's section");
        steps.split_once("\n## ").map_or(steps, |(steps, _)| steps)
    }

    /// What stands in the steps' blocks of this kind.
    pub fn blocks(&self, kind: &str) -> Vec<String> {
        let begin = format!("```{kind}\n");
        let blocks = self.steps().split(&begin).skip(1).filter_map(|rest| rest.split_once("```"));
        blocks.map(|(block, _)| block.replace("localhost:9092", self.broker.bootstrap())).collect()
    }

    /// The steps' SQL statements, without psql's own commands.
    pub fn statements(&self) -> Vec<String> {
        let text: String = self.blocks("sql").concat();
        let lines = text.lines().map(|line| line.split(" -- ").next().unwrap_or_default().trim_end());
        let lines: Vec<_> = lines.filter(|line| !line.starts_with('\\')).collect();
        lines.join("\n").split_inclusive(";\n").map(|statement| statement.trim().to_owned()).collect()
    }
}
