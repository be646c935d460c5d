//! A view followed while it changes: what a subscription says adds up to the view, over every transport.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::source::embedded_broker::EmbeddedBroker;
use engine::source::producer::{OutgoingRecord, Producer, ProducerOptions};
use harness::served::Served;

struct Topic {
    broker: EmbeddedBroker,
    producer: Producer,
}

impl Topic {
    fn new() -> Self {
        let broker = EmbeddedBroker::start().expect("a broker");
        broker.create_topic("t", 2).expect("a new topic");
        let producer = Producer::new(broker.bootstrap(), &ProducerOptions::default()).expect("good options");
        Self { broker, producer }
    }

    /// One record for each key.
    fn produce(&self, keys: impl IntoIterator<Item = u32>) {
        for key in keys {
            let payload = format!("{{\"k\": {key}}}");
            let record = OutgoingRecord { payload: Some(payload.as_bytes()), ..OutgoingRecord::default() };
            self.producer.produce("t", record).expect("room");
        }
        self.producer.flush(Duration::from_secs(60)).expect("delivered");
    }

    /// A server whose view `v` counts the records of each key, and keeps its ticks.
    fn served(&self) -> Served {
        let served = Served::start();
        served.run("SET history_retention = '10 minutes'");
        let options = format!("connector = 'kafka', bootstrap = '{}', topic = 't'", self.broker.bootstrap());
        served.run(&format!("CREATE SOURCE s (k int) WITH ({options}) FORMAT JSON"));
        served.run("CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM s GROUP BY k");
        served.run("FLUSH");
        served
    }
}

/// Rows added up: each with how often it is there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: BTreeMap<String, i64>,
    /// The tick up to which they are complete, from progress rows.
    tick: Option<u64>,
}

impl Sum {
    /// Adds rows of `tidemark_tick | tidemark_progressed | tidemark_diff | k | n`.
    fn add(&mut self, rows: &[String]) {
        for row in rows {
            let cells: Vec<&str> = row.splitn(4, " | ").collect();
            let [tick, progressed, diff, data] = cells[..] else { panic!("{row}") };
            let tick: u64 = tick.parse().expect("a tick");
            assert!(Some(tick) > self.tick, "{row} after tick {:?} was complete", self.tick);
            if progressed == "t" {
                self.tick = Some(tick);
                continue;
            }
            *self.rows.entry(data.to_owned()).or_default() += diff.parse::<i64>().expect("a number");
        }
        self.rows.retain(|row, count| {
            assert!(*count >= 0, "{row} is there {count} times");
            *count != 0
        });
    }

    fn of(rows: &[String]) -> BTreeMap<String, i64> {
        rows.iter().map(|row| (row.clone(), 1)).collect()
    }
}

#[test]
fn a_cursor_s_changes_add_up_to_the_view_at_every_tick() {
    let topic = Topic::new();
    let served = topic.served();
    topic.produce(0..10);
    served.run("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE v WITH (PROGRESS)");
    let mut sum = Sum::default();
    for round in 0..20_u32 {
        topic.produce((0..round).map(|n| (n * n + round) % 13));
        // The first rows come at once; a timeout of nothing gives what is there.
        sum.add(&served.rows(if round == 0 { "FETCH ALL c" } else { "FETCH ALL c WITH (timeout = '20ms')" }));
        let tick = sum.tick.expect("the tick it starts at is told");
        let view = served.rows(&format!("SELECT k, n FROM v AS OF TICK {tick}"));
        assert_eq!(sum.rows, Sum::of(&view), "at tick {tick}");
    }
    assert!(sum.tick > Some(0));
    served.run("COMMIT");
}

/// Rows in several ticks; returns the first tick and the last.
fn several_ticks(topic: &Topic, served: &Served) -> (u64, u64) {
    let tick = || served.value("SHOW TICK").parse::<u64>().expect("a tick");
    topic.produce(0..5);
    served.run("FLUSH");
    let first = tick();
    for round in 0..5 {
        topic.produce([round, 7]);
        served.run("FLUSH");
    }
    (first, tick())
}

#[test]
fn a_subscription_ends_where_it_is_told_to_and_goes_on_from_there() {
    let topic = Topic::new();
    let served = topic.served();
    let (first, last) = several_ticks(&topic, &served);
    assert!(first < last);
    // As rows of a query.
    let mut sum = Sum::default();
    sum.add(&served.rows(&format!("SUBSCRIBE TO v WITH (PROGRESS) AS OF TICK {first} UP TO TICK {last}")));
    assert_eq!(sum.tick, Some(last));
    let view = Sum::of(&served.rows(&format!("SELECT k, n FROM v AS OF TICK {last}")));
    assert_eq!(sum.rows, view);
    // In two pieces, the second without the rows at its start.
    let middle = first + (last - first) / 2;
    let mut sum = Sum::default();
    sum.add(&served.rows(&format!("SUBSCRIBE v AS OF TICK {first} UP TO TICK {middle} WITH (PROGRESS)")));
    let then = Sum::of(&served.rows(&format!("SELECT k, n FROM v AS OF TICK {middle}")));
    assert_eq!((sum.tick, &sum.rows), (Some(middle), &then));
    let rest = format!("SUBSCRIBE v AS OF TICK {middle} UP TO TICK {last} WITH (PROGRESS, SNAPSHOT = false)");
    let mut rows = served.rows(&rest);
    // What it starts from is told again.
    assert!(rows.remove(0).starts_with(&format!("{middle} | t")));
    sum.add(&rows);
    assert_eq!((sum.tick, sum.rows), (Some(last), view.clone()));
    // With the extended protocol, values in binary.
    let rows = served.typed(&format!("SUBSCRIBE v UP TO TICK {last}"), |row| {
        assert_eq!(row.get::<_, i64>("tidemark_tick"), i64::try_from(last).expect("a small tick"));
        (format!("{} | {}", row.get::<_, i32>("k"), row.get::<_, i64>("n")), row.get::<_, i64>("tidemark_diff"))
    });
    assert_eq!(rows.into_iter().collect::<BTreeMap<_, _>>(), view);
    // As COPY.
    let lines = served.copied(&format!("COPY (SUBSCRIBE v UP TO TICK {last}) TO STDOUT"));
    let lines = lines.iter().map(|line| line.splitn(3, '\t').nth(2).expect("three cells").replace('\t', " | "));
    assert_eq!(lines.map(|row| (row, 1)).collect::<BTreeMap<_, _>>(), view);
}

#[test]
fn whoever_follows_a_view_hears_of_its_end() {
    let topic = Topic::new();
    let served = topic.served();
    served.run("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE v; FETCH ALL c WITH (timeout = '0s'); SAVEPOINT here");
    served.run_beside("CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT k, count(*) + 1 AS n FROM s GROUP BY k");
    assert_eq!(served.error("FETCH c"), "55000: materialized view \"v\" was replaced");
    served.run("ROLLBACK; BEGIN; DECLARE c CURSOR FOR SUBSCRIBE v");
    served.run_beside("DROP MATERIALIZED VIEW v");
    assert_eq!(served.error("FETCH c"), "55000: materialized view \"v\" was dropped");
    served.run("ROLLBACK");
}

/// The query that is followed, and the same as of a tick.
const PER_REST: &str = "SELECT k % 3 AS rest, sum(n)::bigint AS n FROM v GROUP BY k % 3";

#[test]
fn a_query_s_changes_add_up_to_its_answer_at_every_tick() {
    let topic = Topic::new();
    let served = topic.served();
    topic.produce(0..10);
    served.run(&format!("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO ({PER_REST}) WITH (PROGRESS)"));
    assert_eq!(served.running_views().len(), 2);
    let mut sum = Sum::default();
    for round in 0..20_u32 {
        topic.produce((0..round).map(|n| (n * n + round) % 13));
        sum.add(&served.rows(if round == 0 { "FETCH ALL c" } else { "FETCH ALL c WITH (timeout = '20ms')" }));
        let tick = sum.tick.expect("the tick it starts at is told");
        let answer = served.rows(&format!("{PER_REST} AS OF TICK {tick}"));
        assert_eq!(sum.rows, Sum::of(&answer), "at tick {tick}");
    }
    // Nobody else sees what it follows, and nothing stands in its way.
    assert_eq!(served.rows("SELECT name FROM tidemark.materialized_views"), ["v"]);
    assert_eq!(served.rows("SELECT matviewname FROM pg_matviews"), ["v"]);
    served.run("COMMIT");
    served.until("SELECT 1", |_| served.running_views() == ["v"]);
    // Straight from the source, and over a table.
    served.run("CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 10), (2, 20)");
    let counted = "SELECT k, count(*) AS n FROM s WHERE k > 2 GROUP BY k";
    served.run(&format!("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE ({counted}) WITH (PROGRESS)"));
    let mut sum = Sum::default();
    sum.add(&served.rows("FETCH ALL c"));
    assert_eq!(
        sum.rows,
        Sum::of(&served.rows(&format!("SELECT * FROM v WHERE k > 2 AS OF TICK {}", sum.tick.unwrap_or(0))))
    );
    served
        .run("COMMIT; BEGIN; DECLARE c CURSOR FOR SUBSCRIBE (SELECT a, b FROM t WHERE b > 10) WITH (SNAPSHOT = false)");
    served.run_beside("INSERT INTO t VALUES (3, 30); UPDATE t SET b = b - 15");
    let mut rows = served.rows("FETCH ALL c WITH (timeout = '1s')");
    while rows.len() < 4 {
        rows.extend(served.rows("FETCH ALL c WITH (timeout = '1s')"));
    }
    let mut changes: Vec<_> = rows.iter().filter_map(|row| Some(row.split_once(" | ")?.1)).collect();
    changes.sort_unstable();
    assert_eq!(changes, ["-1 | 2 | 20", "-1 | 3 | 30", "1 | 3 | 15", "1 | 3 | 30"]);
    served.run("ROLLBACK");
    served.until("SELECT 1", |_| served.running_views() == ["t", "v"]);
}

#[test]
fn a_query_is_followed_from_an_earlier_tick_to_a_later_one() {
    let topic = Topic::new();
    let served = topic.served();
    let (first, last) = several_ticks(&topic, &served);
    let at = |tick: u64| Sum::of(&served.rows(&format!("{PER_REST} AS OF TICK {tick}")));
    for (from, to) in [(first, last), (first, first + (last - first) / 2), (last, last)] {
        let mut sum = Sum::default();
        let told = format!("SUBSCRIBE ({PER_REST}) AS OF TICK {from} UP TO TICK {to} WITH (PROGRESS)");
        for row in served.rows(&told) {
            let before = sum.tick;
            sum.add(&[row]);
            if let Some(tick) = sum.tick.filter(|tick| Some(*tick) != before) {
                assert_eq!(sum.rows, at(tick), "at tick {tick} of {from} to {to}");
            }
        }
        assert_eq!(sum.tick, Some(to));
    }
    // With the extended protocol, values in binary, and as COPY.
    let rows = served.typed(&format!("SUBSCRIBE TO ({PER_REST}) UP TO TICK {last} AS OF {last}"), |row| {
        (format!("{} | {}", row.get::<_, i64>("rest"), row.get::<_, i64>("n")), row.get::<_, i64>("tidemark_diff"))
    });
    assert_eq!(rows.into_iter().collect::<BTreeMap<_, _>>(), at(last));
    let lines = served.copied(&format!("COPY (SUBSCRIBE ({PER_REST}) AS OF TICK {last} UP TO TICK {last}) TO STDOUT"));
    let lines = lines.iter().map(|line| line.splitn(3, '\t').nth(2).expect("three cells").replace('\t', " | "));
    assert_eq!(lines.map(|row| (row, 1)).collect::<BTreeMap<_, _>>(), at(last));
    served.until("SELECT 1", |_| served.running_views() == ["v"]);
    // The past of a source is not kept.
    let error = served.error(&format!("SUBSCRIBE (SELECT k FROM s) AS OF TICK {first}"));
    assert!(error.starts_with("0A000: a query over a source (\"s\")"), "{error}");
    let error = served.error(&format!("SUBSCRIBE ({PER_REST}) AS OF TICK {}", last + 1_000_000));
    assert!(error.starts_with("22023: tick"), "{error}");
    assert_eq!(served.error("SUBSCRIBE (SELECT nope FROM v)"), "42703: column \"nope\" does not exist");
    assert_eq!(served.error("SUBSCRIBE (SELECT * FROM v LIMIT 3)").get(..5), Some("0A000"));
    assert_eq!(served.running_views(), ["v"]);
}

#[test]
fn whoever_follows_a_query_hears_of_its_end() {
    let topic = Topic::new();
    let served = topic.served();
    let follow = |query: &str| {
        served.run(&format!("BEGIN; DECLARE c CURSOR FOR SUBSCRIBE ({query}); FETCH ALL c WITH (timeout = '0s')"));
    };
    follow("SELECT k + 1 AS k FROM v");
    served.run_beside("CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT k, count(*) + 1 AS n FROM s GROUP BY k");
    assert_eq!(served.error("FETCH c"), "55000: materialized view \"v\" was replaced");
    served.run("ROLLBACK");
    // Another name is no end.
    follow("SELECT k + 1 AS k FROM v WHERE k > 3");
    served.run_beside("ALTER MATERIALIZED VIEW v RENAME TO w");
    topic.produce([5]);
    let row = served.rows("FETCH c");
    assert!(row[0].ends_with(" | 1 | 6"), "{row:?}");
    served.run_beside("DROP MATERIALIZED VIEW w");
    assert_eq!(served.error("FETCH c"), "55000: materialized view \"w\" was dropped");
    served.run("ROLLBACK");
    follow("SELECT 10 / (k - 8) AS q FROM s");
    topic.produce([8]);
    let error = served.error("FETCH ALL c WITH (timeout = '60s')");
    assert!(error.starts_with("55000: ") && error.contains("division by zero"), "{error}");
    served.run("ROLLBACK");
    follow("SELECT k FROM s WHERE k < 5");
    served.run_beside("DROP SOURCE s");
    assert_eq!(served.error("FETCH ALL c WITH (timeout = '60s')"), "55000: source \"s\" was dropped");
    served.run("ROLLBACK");
    served.until("SELECT 1", |_| served.running_views().is_empty());
}

#[test]
fn waits_end_when_it_can_be_seen() {
    let topic = Topic::new();
    let served = topic.served();
    let tick: u64 = served.value("SHOW TICK").parse().expect("a tick");
    let error = served.error(&format!("WAIT FOR TICK {} TIMEOUT '10ms'", tick + 1_000_000));
    assert!(error.starts_with("57014: WAIT timed out: tick"), "{error}");
    let error = served.error("WAIT FOR s PARTITION 0 OFFSET 1000 TIMEOUT '10ms'");
    assert!(error.starts_with("57014: WAIT timed out"), "{error}");
    topic.produce(0..100);
    let ends = served.rows("SELECT partition, end_offset FROM tidemark.source_partitions WHERE end_offset > 0");
    for end in ends {
        let (partition, end) = end.split_once(" | ").expect("two cells");
        let last = end.parse::<u64>().expect("an offset") - 1;
        served.run(&format!("WAIT FOR s PARTITION {partition} OFFSET {last} TIMEOUT '60s'"));
        let seen = served.value(&format!("SELECT next_offset FROM tidemark_frontier() WHERE partition = {partition}"));
        assert!(seen.parse::<u64>().expect("an offset") > last);
    }
}
