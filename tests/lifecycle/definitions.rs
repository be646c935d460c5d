//! Catalog, engine and data directory agree, whatever becomes of the client, the disk or the process.

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use engine::source::embedded_broker::EmbeddedBroker;
use engine::source::producer::{OutgoingRecord, Producer, ProducerOptions};
use server::config::Config;
use server::server::Server;
use sql::statement::Statement;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const VIEW: &str = "SELECT k, count(*) AS n FROM s GROUP BY k";

struct Bench {
    runtime: Runtime,
    server: Option<Server>,
    broker: EmbeddedBroker,
    root: TempDir,
}

impl Bench {
    /// A server with a data directory, and the source `s` of 20,000 records that the view `a` has read.
    fn start() -> Self {
        let broker = EmbeddedBroker::start().expect("starts");
        broker.create_topic("t", 2).expect("a new topic");
        let producer = Producer::new(broker.bootstrap(), &ProducerOptions::default()).expect("good options");
        for number in 0..20_000 {
            let payload = format!("{{\"k\": {}, \"ts\": \"2026-03-01 00:00:01\"}}", number % 7);
            let record =
                OutgoingRecord { partition: Some(number % 2), payload: Some(payload.as_bytes()), ..Default::default() };
            producer.produce("t", record).expect("room");
        }
        producer.flush(Duration::from_secs(60)).expect("delivered");
        let root = tempfile::tempdir().expect("a directory that can be made");
        let runtime = server::runtime().worker_threads(2).build().expect("a runtime");
        let mut bench = Self { runtime, server: None, broker, root };
        bench.restart();
        let source = format!(
            "CREATE SOURCE s (k bigint, ts timestamp, WATERMARK FOR ts AS ts) \
             WITH (connector = 'kafka', bootstrap = '{}', topic = 't') FORMAT JSON",
            bench.broker.bootstrap()
        );
        bench.run(&source).expect("a topic that is there");
        bench.run(&format!("CREATE MATERIALIZED VIEW a AS {VIEW}")).expect("a view");
        bench.flush();
        bench
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("running between restarts")
    }

    /// Ends the process, as far as a test can: what is not in the data directory is gone.
    fn restart(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
        let local = "127.0.0.1:0".parse().expect("an address");
        let data_dir = Some(self.root.path().display().to_string());
        let config = Config { pg_addr: local, http_addr: local, data_dir, ..Config::default() };
        self.server = Some(self.runtime.block_on(Server::start(config)).expect("the server starts"));
    }

    fn run(&self, text: &str) -> Result<(), String> {
        self.runtime.block_on(self.server().database.run(text)).map_err(|e| format!("{e:?}"))
    }

    fn flush(&self) {
        self.server().database.engine().flush(&|| false).expect("a broker that answers");
    }

    /// Whether catalog, engine and data directory have a view; they must agree.
    fn has(&self, view: &str) -> bool {
        let database = &self.server().database;
        let in_catalog = database.catalog().get(view).is_some();
        let in_engine = database.engine().snapshot().view(view).is_some();
        let kept = std::fs::read_to_string(self.root.path().join("definitions.toml")).unwrap_or_default();
        let is_kept = kept.contains(&format!("name = \"{view}\""));
        assert_eq!((in_catalog, in_engine), (is_kept, is_kept), "in catalog and engine, but kept: {is_kept}");
        in_catalog
    }

    fn value(&self, query: &str) -> String {
        let batches = self.runtime.block_on(self.server().database.select(query)).expect("a good query");
        let column = batches.iter().find(|batch| batch.num_rows() > 0).expect("a row").column(0).clone();
        arrow::util::display::array_value_to_string(&column, 0).expect("a shown type")
    }

    /// Nothing can be written to the data directory until this is dropped.
    fn break_disk(&self) -> BrokenDisk {
        // Where a file would be written before it gets its name.
        let staged = |number| self.root.path().join(format!(".staged-{}-{number}", std::process::id()));
        let staged: Vec<PathBuf> = (0..10_000).map(staged).filter(|path| std::fs::create_dir(path).is_ok()).collect();
        BrokenDisk(staged)
    }
}

struct BrokenDisk(Vec<PathBuf>);

impl Drop for BrokenDisk {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| std::fs::remove_dir(path).expect("made above"));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

/// A message of the protocol: a tag, a length, a text.
fn message(tag: Option<u8>, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short message").to_be_bytes();
    tag.into_iter().chain(length).chain(body.iter().copied()).collect()
}

#[test]
fn a_client_that_leaves_leaves_no_half_view() {
    let bench = Bench::start();
    for round in 0..12 {
        let view = format!("v{round}");
        let mut stream = std::net::TcpStream::connect(bench.server().pg_addr).expect("the server listens");
        let startup = [&196_608_u32.to_be_bytes()[..], b"user\0tidemark\0database\0tidemark\0\0"].concat();
        stream.write_all(&message(None, &startup)).expect("the server reads");
        let query = format!("SELECT 1; CREATE MATERIALIZED VIEW {view} AS {VIEW}\0");
        stream.write_all(&message(Some(b'Q'), query.as_bytes())).expect("the server reads");
        std::thread::sleep(Duration::from_millis(round * 2));
        drop(stream);
        // Its turn comes after all that began before.
        bench.run(&format!("CREATE VIEW after{round} AS SELECT 1")).expect("a view");
        bench.runtime.block_on(bench.server().database.changes_made());
        bench.has(&view);
    }
}

#[test]
fn a_change_nobody_waits_for_any_more_comes_to_its_end() {
    let bench = Bench::start();
    for round in 0..12 {
        let view = format!("v{round}");
        let text = format!("CREATE MATERIALIZED VIEW {view} AS {VIEW}");
        bench.runtime.block_on(async {
            // Dropped somewhere on its way, or not at all.
            let _ = tokio::time::timeout(Duration::from_millis(round * 3), bench.server().database.run(&text)).await;
        });
        bench.run(&format!("CREATE VIEW after{round} AS SELECT 1")).expect("a view");
        assert!(bench.has(&view) || round == 0, "round {round}: the change was begun");
    }
}

#[test]
fn a_change_that_cannot_be_kept_is_not_made() {
    let mut bench = Bench::start();
    let count = "SELECT count(*) FROM a";
    let broken = bench.break_disk();
    let error = bench.run(&format!("CREATE MATERIALIZED VIEW b AS {VIEW}")).expect_err("a broken disk");
    assert!(error.contains("nothing was changed"), "{error}");
    assert!(!bench.has("b"));
    bench.run("CREATE OR REPLACE MATERIALIZED VIEW a AS SELECT k FROM s").expect_err("a broken disk");
    bench.run("DROP MATERIALIZED VIEW a").expect_err("a broken disk");
    bench.run("DROP SOURCE s CASCADE").expect_err("a broken disk");
    assert!(bench.has("a"));
    assert_eq!(bench.value(count), "7", "the view as it was");
    let source = format!(
        "CREATE SOURCE s2 (k bigint) WITH (connector = 'kafka', bootstrap = '{}', topic = 't') FORMAT JSON",
        bench.broker.bootstrap()
    );
    bench.run(&source).expect_err("a broken disk");
    assert!(bench.server().database.engine().source("s2").is_none());
    drop(broken);
    bench.restart();
    bench.flush();
    assert!(bench.has("a") && !bench.has("b"));
    assert_eq!(bench.value(count), "7");
    bench.run("CREATE OR REPLACE MATERIALIZED VIEW a AS SELECT k FROM s").expect("a mended disk");
    assert_eq!(bench.value(count), "20000");
    bench.run(&source).expect("a mended disk");
    bench.run(&source.replace("CREATE", "CREATE OR REPLACE")).expect("nobody reads it");
    let elsewhere = source.replace("CREATE", "CREATE OR REPLACE").replace("'t'", "'nowhere'");
    bench.run(&elsewhere).expect_err("there is no such topic");
    bench.restart();
    bench.flush();
    assert_eq!(bench.value(count), "20000");
    bench.run("CREATE MATERIALIZED VIEW b AS SELECT k FROM s2").expect("the source is still there");
    bench.flush();
    assert_eq!(bench.value("SELECT count(*) FROM b"), "20000");
}

#[test]
fn views_over_views_come_back_under_their_present_names() {
    let mut bench = Bench::start();
    for statement in [
        "CREATE MATERIALIZED VIEW b AS SELECT n, count(*) AS keys FROM a GROUP BY n",
        "CREATE VIEW few AS SELECT a.k FROM a WHERE a.n < 2858",
        "CREATE MATERIALIZED VIEW c AS SELECT count(*) AS few FROM few JOIN b ON b.n = 2857",
        "ALTER MATERIALIZED VIEW a RENAME TO per_key",
        "ALTER SOURCE s RENAME TO numbers",
        "CREATE MATERIALIZED VIEW a AS SELECT sum(keys)::bigint AS keys FROM b",
        "CREATE OR REPLACE MATERIALIZED VIEW b AS SELECT n, count(*) AS keys FROM per_key AS a GROUP BY n",
        "ALTER VIEW few RENAME TO lesser",
    ] {
        bench.run(statement).expect(statement);
    }
    for restarts in 0..3 {
        bench.flush();
        assert_eq!(bench.value("SELECT few FROM c"), "6", "after {restarts} restarts");
        assert_eq!(bench.value("SELECT keys FROM a"), "7", "after {restarts} restarts");
        assert!(["per_key", "a", "b", "c"].into_iter().all(|view| bench.has(view)) && !bench.has("s"));
        bench.restart();
    }
    let error = bench.run("DROP SOURCE numbers").expect_err("it is read");
    assert!(error.contains("materialized view per_key depends on source numbers"), "{error}");
}

/// That it is over its budget is no reason for a restart to fail, nor for the others not to come back.
#[test]
fn a_view_over_its_budget_comes_back_as_one_that_failed() {
    let mut bench = Bench::start();
    bench.broker.create_topic("u", 1).expect("a new topic");
    let source = format!(
        "CREATE SOURCE u (k bigint) WITH (connector = 'kafka', bootstrap = '{}', topic = 'u') FORMAT JSON",
        bench.broker.bootstrap()
    );
    bench.run(&source).expect("a topic that is there");
    let budget = "WITH (max_state = '500kB') AS SELECT k, count(*) AS n FROM u GROUP BY k";
    bench.run(&format!("CREATE MATERIALIZED VIEW big {budget}")).expect("an empty view");
    bench.run("CREATE MATERIALIZED VIEW over AS SELECT count(*) AS keys FROM big").expect("a view over it");
    let producer = Producer::new(bench.broker.bootstrap(), &ProducerOptions::default()).expect("good options");
    for number in 0..20_000 {
        let payload = format!("{{\"k\": {number}}}");
        let record = OutgoingRecord { partition: Some(0), payload: Some(payload.as_bytes()), ..Default::default() };
        producer.produce("u", record).expect("room");
    }
    producer.flush(Duration::from_secs(60)).expect("delivered");
    let failed = |bench: &Bench| {
        bench.flush();
        let snapshot = bench.server().database.engine().snapshot();
        ["big", "over"].map(|view| snapshot.view(view).and_then(|view| view.error.clone()).unwrap_or_default())
    };
    for _ in 0..2 {
        let errors = failed(&bench);
        assert!(errors.iter().all(|error| error.contains("its budget is 512000")), "{errors:?}");
        assert_eq!(bench.value("SELECT sum(n) FROM a"), "20000");
        assert!(bench.has("big") && bench.has("over"));
        bench.restart();
    }
    bench.run(&format!("CREATE OR REPLACE MATERIALIZED VIEW big {}", budget.replace("500kB", "1GB"))).expect("room");
    bench.flush();
    assert_eq!(bench.value("SELECT * FROM over"), "20000");
}

#[test]
fn indexes_come_back() {
    let mut bench = Bench::start();
    for statement in [
        "CREATE TABLE t (id bigint PRIMARY KEY, n int)",
        "CREATE INDEX by_n ON t (n, id)",
        "CREATE INDEX \"By Key\" ON a (k)",
        "CREATE MATERIALIZED VIEW b AS SELECT k + 1 AS k FROM a",
        "CREATE INDEX ON b (k)",
        "CREATE INDEX gone ON b (k)",
        "DROP INDEX gone",
        "CREATE OR REPLACE MATERIALIZED VIEW a AS SELECT k, count(*) AS n FROM s WHERE k < 6 GROUP BY k",
        "ALTER MATERIALIZED VIEW a RENAME TO per_key",
    ] {
        bench.run(statement).expect(statement);
    }
    let oids = |bench: &Bench| {
        let catalog = bench.server().database.catalog();
        ["by_n", "By Key", "b_k_idx"].map(|name| catalog.index(name).map(|(on, index)| (on.name.clone(), index.oid)))
    };
    let before = oids(&bench);
    assert!(before.iter().all(Option::is_some), "{before:?}");
    for restarts in 0..3 {
        bench.flush();
        assert_eq!(oids(&bench), before, "after {restarts} restarts");
        assert!(bench.server().database.catalog().index("gone").is_none());
        let snapshot = bench.server().database.engine().snapshot();
        for (relation, columns) in [("t", vec![vec![0], vec![1, 0]]), ("per_key", vec![vec![0]]), ("b", vec![vec![0]])]
        {
            let indexes = snapshot.view(relation).expect("it is there").rows.indexes().clone();
            let indexes: Vec<Vec<usize>> = indexes.iter().map(|columns| columns.to_vec()).collect();
            assert_eq!(indexes, columns, "{relation} after {restarts} restarts");
        }
        assert_eq!(bench.value("SELECT n FROM per_key WHERE k = 3"), "2857", "after {restarts} restarts");
        assert_eq!(bench.value("SELECT count(*) FROM b WHERE k BETWEEN 2 AND 4"), "3", "after {restarts} restarts");
        bench.restart();
    }
}

#[test]
fn how_far_a_view_is_can_be_asked_while_it_is_built() {
    let bench = Bench::start();
    let database = &bench.server().database;
    let state = server::database::session_state().expect("functions");
    for (query, rows) in
        [(VIEW, 20_000), ("SELECT k, n + 1 AS n FROM a", 7), ("SELECT n FROM a JOIN s ON a.k = s.k", 20_007)]
    {
        let text = format!("CREATE MATERIALIZED VIEW b AS {query}");
        let Statement::CreateMaterializedView(create) = sql::parser::parse(&text).expect("a view").remove(0).statement
        else {
            panic!("{text}")
        };
        let planned = server::database::plan_view(&state, &database.catalog(), &create, &text).expect("maintained");
        let seen = RefCell::new(Vec::new());
        let engine = database.engine();
        let look = || {
            seen.borrow_mut().extend(engine.buildings());
            false
        };
        engine.create_view("b", &planned.dataflow, &look).expect("a view");
        let seen = seen.into_inner();
        assert!(!seen.is_empty() && seen.iter().all(|report| report.view == "b"), "{query}: {seen:?}");
        assert!(seen.windows(2).all(|pair| pair[0].rows_read <= pair[1].rows_read), "{query}: {seen:?}");
        let last = seen.last().expect("not empty");
        assert_eq!((last.rows_to_read, last.percent().is_some()), (rows, true), "{query}");
        assert!(engine.buildings().is_empty(), "{query}");
        engine.drop_view("b").expect("it is there");
    }
    assert_eq!(bench.value("SELECT count(*) FROM tidemark.backfills"), "0");
}
