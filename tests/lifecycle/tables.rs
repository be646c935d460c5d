//! Tables that statements write: views over them against the same queries, writers side by side, and restarts.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use server::config::Config;
use server::server::Server;
use tokio::runtime::Runtime;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

const VIEWS: [(&str, &str); 3] = [
    ("grouped", "SELECT g, count(*) AS n, sum(x) AS total, min(x) AS low, max(x) AS high FROM t GROUP BY g"),
    ("paired", "SELECT a.id AS left_id, b.id AS right_id FROM t a JOIN t b ON a.x = b.x AND a.id < b.id"),
    ("best", "SELECT id, x FROM t ORDER BY x DESC NULLS LAST, id LIMIT 3"),
];

fn served(data_dir: Option<String>) -> (Runtime, Server) {
    let runtime = server::runtime().worker_threads(2).build().expect("a runtime");
    let local = "127.0.0.1:0".parse().expect("an address");
    let config = Config { pg_addr: local, http_addr: local, data_dir, ..Config::default() };
    let server = runtime.block_on(Server::start(config)).expect("the server starts");
    (runtime, server)
}

async fn connect(server: &Server) -> Client {
    let config = format!("host=127.0.0.1 port={} user=tidemark dbname=tidemark", server.pg_addr.port());
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("a server that listens");
    tokio::spawn(connection);
    client
}

async fn rows(client: &Client, query: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for message in client.simple_query(query).await.unwrap_or_else(|e| panic!("{query}: {e:?}")) {
        if let SimpleQueryMessage::Row(row) = message {
            let cells: Vec<_> = (0..row.len()).map(|cell| row.get(cell).unwrap_or("NULL")).collect();
            rows.push(cells.join("|"));
        }
    }
    rows.sort();
    rows
}

/// A statement that may fail on a key that is there, and on nothing else.
fn statement(random: &mut ChaCha8Rng) -> String {
    let id = |random: &mut ChaCha8Rng| random.random_range(0..30);
    let x = |random: &mut ChaCha8Rng| match random.random_range(0..6) {
        0 => "NULL".to_owned(),
        _ => random.random_range(-5..5).to_string(),
    };
    let row = |random: &mut ChaCha8Rng| format!("({}, 'g{}', {})", id(random), random.random_range(0..4), x(random));
    let several = |random: &mut ChaCha8Rng| {
        let rows: Vec<_> = (0..random.random_range(1..4)).map(|_| row(random)).collect();
        rows.join(", ")
    };
    match random.random_range(0..12) {
        0..4 => format!("INSERT INTO t VALUES {}", several(random)),
        4 => format!("INSERT INTO t VALUES {} ON CONFLICT DO NOTHING", several(random)),
        5 => format!("INSERT INTO t VALUES {} ON CONFLICT (id) DO UPDATE SET x = excluded.x", row(random)),
        6 => format!("UPDATE t SET x = {} WHERE id < {}", x(random), id(random)),
        7 => format!("UPDATE t SET g = 'g0', x = x + 1 WHERE g = 'g{}'", random.random_range(0..4)),
        8 => format!("UPDATE t SET id = id + {} WHERE id > {}", random.random_range(0..3), id(random)),
        9 => format!("DELETE FROM t WHERE id % 5 = {}", random.random_range(0..5)),
        10 => format!("DELETE FROM t WHERE id = {}", id(random)),
        _ => (*["DELETE FROM t", "TRUNCATE t", "UPDATE t SET x = 0", "INSERT INTO t SELECT id + 100, g, x FROM t"]
            .choose(random)
            .expect("four"))
        .to_owned(),
    }
}

#[test]
fn views_are_what_their_queries_say_after_every_statement() {
    let seed = rand::random::<u64>();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (runtime, server) = served(None);
    runtime.block_on(async {
        let client = connect(&server).await;
        client.simple_query("CREATE TABLE t (id bigint PRIMARY KEY, g text NOT NULL, x int)").await.expect("a table");
        for (n, (view, query)) in VIEWS.iter().enumerate() {
            // Some begin with the rows there are.
            for _ in 0..n * 3 {
                let _ = client.simple_query(&statement(&mut random)).await;
            }
            let create = format!("CREATE MATERIALIZED VIEW {view} AS {query}");
            client.simple_query(&create).await.expect("a view that can be maintained");
        }
        for _ in 0..150 {
            let text = statement(&mut random);
            let before = rows(&client, "SELECT * FROM t").await;
            if let Err(error) = client.simple_query(&text).await {
                let state = error.code().cloned();
                let expected = [SqlState::UNIQUE_VIOLATION, SqlState::CARDINALITY_VIOLATION];
                assert!(state.as_ref().is_some_and(|s| expected.contains(s)), "seed {seed}: {text}: {error:?}");
                assert_eq!(rows(&client, "SELECT * FROM t").await, before, "seed {seed}: {text}");
            }
            for (view, query) in VIEWS {
                let found = rows(&client, &format!("SELECT * FROM {view}")).await;
                assert_eq!(found, rows(&client, query).await, "seed {seed}: {view} after {text}");
            }
        }
        server.stop().await;
    });
}

#[test]
fn of_writers_side_by_side_one_inserts_a_key_and_no_update_is_lost() {
    let (runtime, server) = served(None);
    runtime.block_on(async {
        let client = connect(&server).await;
        client.simple_query("CREATE TABLE t (id bigint PRIMARY KEY, n int)").await.expect("a table");
        client.simple_query("INSERT INTO t VALUES (0, 0)").await.expect("a row");
        let mut writers = Vec::new();
        for _ in 0..4 {
            let client = connect(&server).await;
            writers.push(tokio::spawn(async move {
                let mut inserted = 0_u64;
                for id in 1..=10_i64 {
                    match client.execute("INSERT INTO t VALUES ($1, $2)", &[&id, &1_i32]).await {
                        Ok(count) => inserted += count,
                        Err(error) => assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{error:?}"),
                    }
                    client.execute("UPDATE t SET n = n + 1 WHERE id = $1", &[&0_i64]).await.expect("an update");
                    let upsert =
                        "INSERT INTO t AS t VALUES (99, 1) ON CONFLICT (id) DO UPDATE SET n = t.n + excluded.n";
                    client.execute(upsert, &[]).await.expect("an upsert");
                }
                inserted
            }));
        }
        let mut inserted = 0;
        for writer in writers {
            inserted += writer.await.expect("no writer panics");
        }
        assert_eq!(inserted, 10);
        assert_eq!(rows(&client, "SELECT n FROM t WHERE id IN (0, 99)").await, ["40", "40"]);
        assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["12"]);
        server.stop().await;
    });
}

#[test]
fn a_table_comes_back_with_its_rows() {
    let root = tempfile::tempdir().expect("a directory that can be made");
    let data_dir = || Some(root.path().display().to_string());
    let (runtime, server) = served(data_dir());
    runtime.block_on(async {
        let client = connect(&server).await;
        client.simple_query("CREATE TABLE u (id int PRIMARY KEY, n int DEFAULT 7)").await.expect("a table");
        client.simple_query("CREATE MATERIALIZED VIEW v AS SELECT sum(n) AS n FROM u").await.expect("a view");
        client.simple_query("ALTER TABLE u RENAME TO t").await.expect("a name that is free");
        client.simple_query("INSERT INTO t (id) VALUES (1), (2)").await.expect("two rows");
        assert_eq!(rows(&client, "SELECT n FROM v").await, ["14"]);
        server.stop().await;
    });
    for restarts in 1..4 {
        let (runtime, server) = served(data_dir());
        runtime.block_on(async {
            let client = connect(&server).await;
            assert_eq!(rows(&client, "SELECT count(*) FROM t").await, [(1 + restarts).to_string()]);
            let taken = client.simple_query("INSERT INTO t (id) VALUES (1)").await.expect_err("a key that is there");
            assert_eq!(taken.code(), Some(&SqlState::UNIQUE_VIOLATION));
            assert_eq!(rows(&client, "SELECT n FROM v").await, [(7 + 7 * restarts).to_string()]);
            let insert = format!("INSERT INTO t (id) VALUES ({})", 2 + restarts);
            client.simple_query(&insert).await.expect("a key that is free");
            assert_eq!(rows(&client, "SELECT n FROM v").await, [(14 + 7 * restarts).to_string()]);
            if restarts == 2 {
                client.simple_query("DROP TABLE t CASCADE").await.expect("a table that is there");
                client.simple_query("CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 7)").await.expect("another");
                client.simple_query("CREATE MATERIALIZED VIEW v AS SELECT sum(n) AS n FROM t").await.expect("a view");
                client.simple_query("INSERT INTO t (id) VALUES (1), (2), (3), (9)").await.expect("its own rows");
            }
            server.stop().await;
        });
    }
}
