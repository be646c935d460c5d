//! A server of its own process, killed at random moments while records and rows come in, and started again.
//!
//! `TIDEMARK_KILLS` says how often (default 4).

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use engine::source::embedded_broker::EmbeddedBroker;
use engine::source::producer::{OutgoingRecord, Producer, ProducerOptions};
use engine::tick::interval::parse_duration;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use server::config::Config;
use server::server::Server;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Tells the test that is a server where to keep its data.
const DATA_DIR: &str = "TIDEMARK_KILLED_DATA_DIR";
/// And where to listen.
const PORT: &str = "TIDEMARK_KILLED_PORT";
/// On a bucket: how long it may be silent before another takes over.
const LEASE: &str = "TIDEMARK_KILLED_LEASE";

/// The embedded broker keeps no more of a topic.
const RECORDS_MAX: i64 = 150_000;

/// How long a start may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(90);

/// No test of its own: the process that is killed.
#[test]
fn a_server_of_its_own() {
    let (Ok(data_dir), Ok(port)) = (std::env::var(DATA_DIR), std::env::var(PORT)) else { return };
    let runtime = server::runtime().worker_threads(2).build().expect("a runtime");
    let lease = std::env::var(LEASE).ok().and_then(|text| parse_duration(&text));
    let address = |port: &str| format!("127.0.0.1:{port}").parse().expect("an address");
    let config = Config {
        pg_addr: address(&port),
        http_addr: address("0"),
        data_dir: Some(data_dir),
        checkpoints: "150ms".parse().expect("an interval"),
        standby: lease.is_some(),
        lease: lease.unwrap_or_default(),
        ..Config::default()
    };
    let server = runtime.block_on(Server::start(config)).expect("the server starts");
    panic!("{}", runtime.block_on(server.halted()));
}

pub(super) struct Killed(pub(super) Child, pub(super) u16);

impl Killed {
    fn start(data_dir: &Path, port: u16) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", "killed::a_server_of_its_own"]).env(DATA_DIR, data_dir).env(PORT, port.to_string());
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process"), port)
    }

    /// One that stands by if another is at work on the bucket.
    pub(super) fn on_bucket(url: &str, port: u16, lease: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", "killed::a_server_of_its_own"]).env(DATA_DIR, url).env(PORT, port.to_string());
        command.env(LEASE, lease);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process"), port)
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // SIGKILL: it has no time for anything. One that ended by itself has gone already.
        let _ = self.0.kill();
        self.0.wait().expect("it ends");
    }
}

pub(super) async fn connect(port: u16) -> Client {
    let began = Instant::now();
    let config = format!("host=127.0.0.1 port={port} user=tidemark dbname=tidemark");
    loop {
        if let Ok((client, connection)) = tokio_postgres::connect(&config, NoTls).await {
            tokio::spawn(connection);
            return client;
        }
        assert!(began.elapsed() < PATIENCE, "the server does not start");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The rows of a query; `None` if the server is gone.
pub(super) async fn rows(client: &Client, query: &str) -> Option<Vec<String>> {
    match client.simple_query(query).await {
        Ok(messages) => {
            let row = |message: SimpleQueryMessage| match message {
                SimpleQueryMessage::Row(row) => {
                    let cells: Vec<_> = (0..row.len()).map(|cell| row.get(cell).unwrap_or("NULL")).collect();
                    Some(cells.join("|"))
                }
                _ => None,
            };
            Some(messages.into_iter().filter_map(row).collect())
        }
        Err(error) => {
            assert!(error.as_db_error().is_none_or(|e| e.code().code() == "57P01"), "{query}: {error:?}");
            None
        }
    }
}

async fn number(client: &Client, query: &str) -> Option<i64> {
    rows(client, query).await.map(|rows| rows[0].parse().expect("a number"))
}

/// What clients have seen; it must never go back.
#[derive(Debug, Default)]
struct Seen {
    tick: i64,
    records: i64,
    rows: i64,
}

const VIEWS: [&str; 4] = [
    "CREATE MATERIALIZED VIEW counted AS SELECT k, count(*) AS n, sum(v) AS total FROM s GROUP BY k",
    "CREATE MATERIALIZED VIEW joined AS SELECT t.id, s.v FROM t JOIN s ON s.v = t.id",
    "CREATE MATERIALIZED VIEW closed AS SELECT window_start, count(*) AS n \
     FROM tumble(s, ts, INTERVAL '1 second') GROUP BY 1 EMIT ON WINDOW CLOSE",
    "CREATE MATERIALIZED VIEW stacked AS SELECT sum(n) AS n, sum(total) AS total FROM counted",
];

#[test]
fn a_server_that_is_killed_loses_nothing() {
    let kills: u64 = std::env::var("TIDEMARK_KILLS").map_or(4, |text| text.parse().expect("a number"));
    let broker = EmbeddedBroker::start().expect("starts");
    broker.create_topic("t", 3).expect("a new topic");
    let (written, done) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let producing = produce(broker.bootstrap().to_owned(), written.clone(), done.clone());
    let root = tempfile::tempdir().expect("a directory");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let runtime = server::runtime().worker_threads(2).build().expect("a runtime");
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let (mut confirmed, mut seen) = (Vec::new(), Seen::default());
    let mut next_id = 0;
    for round in 0..=kills {
        let server = Killed::start(root.path(), port);
        runtime.block_on(async {
            let client = connect(port).await;
            if round == 0 {
                create(&client, broker.bootstrap()).await;
            }
            check(&client, &confirmed, &mut seen, round).await;
            if round == kills {
                done.store(true, Ordering::Release);
                end(&client, &written).await;
                return;
            }
            let end = Instant::now() + Duration::from_millis(random.random_range(50..900));
            while Instant::now() < end {
                next_id += 1;
                if rows(&client, &format!("INSERT INTO t VALUES ({next_id})")).await.is_some() {
                    confirmed.push(next_id);
                }
                look(&client, &mut seen).await;
            }
        });
        drop(server);
    }
    producing.join().expect("the producer ends");
    println!("{kills} kills, {} records, {} rows confirmed", written.load(Ordering::Acquire), confirmed.len());
}

fn produce(bootstrap: String, written: Arc<AtomicI64>, done: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let producer = Producer::new(&bootstrap, &ProducerOptions::default()).expect("good options");
        let mut number = 0;
        while !done.load(Ordering::Acquire) {
            for _ in 0..50 {
                if number == RECORDS_MAX {
                    break;
                }
                number += 1;
                let time =
                    format!("2026-03-01 {:02}:{:02}:{:02}", number / 36000 % 24, number / 600 % 60, number / 10 % 60);
                let payload = format!("{{\"k\": {}, \"v\": {number}, \"ts\": \"{time}\"}}", number % 7);
                let partition = i32::try_from(number % 3).ok();
                let record = OutgoingRecord { partition, payload: Some(payload.as_bytes()), ..Default::default() };
                producer.produce("t", record).expect("room");
            }
            producer.flush(Duration::from_secs(60)).expect("delivered");
            written.store(number, Ordering::Release);
            std::thread::sleep(Duration::from_millis(10));
        }
    })
}

async fn create(client: &Client, bootstrap: &str) {
    let source = format!(
        "CREATE SOURCE s (k bigint, v bigint, ts timestamp, WATERMARK FOR ts AS ts - INTERVAL '5 seconds') \
         WITH (connector = 'kafka', bootstrap = '{bootstrap}', topic = 't') FORMAT JSON"
    );
    rows(client, &source).await.expect("a server that runs");
    rows(client, "CREATE TABLE t (id bigint PRIMARY KEY)").await.expect("a server that runs");
    for view in VIEWS {
        rows(client, view).await.expect("a server that runs");
    }
}

/// Nothing that was seen may be unseen.
async fn look(client: &Client, seen: &mut Seen) {
    let tick = number(client, "SHOW TICK").await;
    let records = number(client, "SELECT coalesce(n, 0) FROM stacked").await;
    let rows = number(client, "SELECT count(*) FROM t").await;
    let (Some(tick), Some(records), Some(rows)) = (tick, records, rows) else { return };
    let found = (tick, records, rows);
    assert!(tick >= seen.tick && records >= seen.records && rows >= seen.rows, "{found:?} after {seen:?}");
    *seen = Seen { tick, records, rows };
}

async fn check(client: &Client, confirmed: &[i64], seen: &mut Seen, round: u64) {
    look(client, seen).await;
    let there = rows(client, "SELECT id FROM t ORDER BY id").await.expect("a server that runs");
    for id in confirmed {
        let id = id.to_string();
        assert_eq!(there.iter().filter(|found| **found == id).count(), 1, "round {round}: row {id} was confirmed");
    }
    for view in ["counted", "joined", "closed", "stacked"] {
        let wrong = rows(client, &format!("VERIFY MATERIALIZED VIEW {view}")).await.expect("a server that runs");
        assert_eq!(wrong, Vec::<String>::new(), "round {round}: {view}");
    }
}

async fn end(client: &Client, written: &AtomicI64) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    rows(client, "FLUSH").await.expect("a server that runs");
    let all = written.load(Ordering::Acquire);
    let found = rows(client, "SELECT n, total FROM stacked").await.expect("a server that runs");
    assert_eq!(found, [format!("{all}|{}", all * (all + 1) / 2)]);
}

/// Queries of views; `{}` is a relation that there is.
const QUERIES: [&str; 7] = [
    "SELECT k, count(*) AS n FROM s GROUP BY k",
    "SELECT k, v FROM s WHERE v % 50 = 0",
    "SELECT id FROM t WHERE id % 2 = 0",
    "SELECT s.v FROM s JOIN t ON s.v = t.id",
    "SELECT count(*) AS rows FROM {}",
    "SELECT k, n + 1 AS more FROM (SELECT k, count(*) AS n FROM s GROUP BY k) AS counted WHERE k IN (SELECT count(*) % 7 FROM {})",
    "SELECT k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC) AS place FROM s WHERE v % 20 = 0",
];

/// A statement that changes what there is, among these views.
fn definition(random: &mut ChaCha8Rng, views: &[String]) -> String {
    let any = |random: &mut ChaCha8Rng| views.get(random.random_range(0..views.len().max(1))).cloned();
    let query = QUERIES[random.random_range(0..QUERIES.len())];
    let query = query.replace("{}", &any(random).unwrap_or_else(|| "t".to_owned()));
    let name = format!("v{}", random.random_range(0..9));
    match (random.random_range(0..10), any(random)) {
        (0, Some(view)) => format!("DROP MATERIALIZED VIEW {view} CASCADE"),
        (1, Some(view)) => format!("ALTER MATERIALIZED VIEW {view} RENAME TO {name}"),
        (2, _) => "ALTER SOURCE s RENAME TO s2".to_owned(),
        (3, _) => "ALTER SOURCE s2 RENAME TO s".to_owned(),
        (4, Some(view)) => format!("CREATE INDEX ON {view} ({})", ["k", "n", "id"][random.random_range(0..3)]),
        (5..7, _) => format!("CREATE OR REPLACE MATERIALIZED VIEW {name} AS {query}"),
        _ => format!("CREATE MATERIALIZED VIEW {name} AS {query}"),
    }
}

#[test]
fn a_server_that_is_killed_amid_definitions_has_what_was_confirmed() {
    let kills: u64 = std::env::var("TIDEMARK_KILLS").map_or(4, |text| text.parse().expect("a number"));
    let seed: u64 = std::env::var("TIDEMARK_KILLS_SEED").map_or(5, |text| text.parse().expect("a number"));
    let broker = EmbeddedBroker::start().expect("starts");
    broker.create_topic("t", 3).expect("a new topic");
    let (written, done) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let producing = produce(broker.bootstrap().to_owned(), written, done.clone());
    let root = tempfile::tempdir().expect("a directory");
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let runtime = server::runtime().worker_threads(2).build().expect("a runtime");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut there, mut under_way) = (Vec::<String>::new(), String::new());
    for round in 0..=kills {
        let server = Killed::start(root.path(), port);
        runtime.block_on(async {
            let client = connect(port).await;
            if round == 0 {
                create(&client, broker.bootstrap()).await;
            }
            let found = definitions(&client).await.expect("a server that runs");
            let lost: Vec<_> = there.iter().filter(|name| !found.contains(name)).collect();
            let may_be_lost =
                if under_way.starts_with("DROP") { 9 } else { usize::from(under_way.starts_with("ALTER")) };
            assert!(lost.len() <= may_be_lost, "round {round}: {lost:?} of {there:?} after {under_way}");
            for view in found.iter().filter(|name| *name != "s" && *name != "s2") {
                let wrong = rows(&client, &format!("VERIFY MATERIALIZED VIEW {view}")).await;
                assert_eq!(wrong.expect("a server that runs"), Vec::<String>::new(), "round {round}: {view}");
            }
            let end = Instant::now() + Duration::from_millis(random.random_range(50..1500));
            let mut id = i64::try_from(round).expect("few rounds") * 100_000;
            while Instant::now() < end && round < kills {
                id += 1;
                let Some(views) = definitions(&client).await else { return };
                there.clone_from(&views);
                let views: Vec<_> = views.into_iter().filter(|name| name.starts_with('v')).collect();
                under_way = definition(&mut random, &views);
                // Many are refused: the name is taken, or is gone.
                let _ = client.simple_query(&under_way).await;
                let _ = client.simple_query(&format!("INSERT INTO t VALUES ({id})")).await;
            }
        });
        drop(server);
    }
    done.store(true, Ordering::Release);
    producing.join().expect("the producer ends");
}

/// The sources and materialized views that there are; `None` if the server is gone.
async fn definitions(client: &Client) -> Option<Vec<String>> {
    rows(client, "SELECT name FROM tidemark.sources UNION SELECT name FROM tidemark.materialized_views ORDER BY 1")
        .await
}
