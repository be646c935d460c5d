//! Two servers on one bucket: when the one at work falls silent the other takes over, and the first, woken, changes nothing.
//!
//! Needs a bucket: `TIDEMARK_BUCKET=s3://bucket` and the variables that say how to reach it. `just failover` starts one.

use std::process::Command;
use std::time::{Duration, Instant};

use super::killed::{Killed, connect, rows};

/// How long a server may be silent before the other takes over.
const LEASE: &str = "3s";

fn signal(server: &Killed, signal: &str) {
    let sent = Command::new("kill").args([signal, &server.0.id().to_string()]).status();
    assert!(sent.expect("a command that is there").success(), "the server is there");
}

fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}

#[test]
fn a_standby_takes_over_and_the_woken_leader_changes_nothing() {
    let Ok(bucket) = std::env::var("TIDEMARK_BUCKET") else { return };
    let folder = format!("{bucket}/failover-{}", std::process::id());
    let runtime = server::runtime().worker_threads(2).build().expect("a runtime");
    let (mut confirmed, mut id) = (0, 0);
    let mut server = Killed::on_bucket(&folder, port(), LEASE);
    for round in 0..3 {
        let client = runtime.block_on(connect(server.1));
        if round == 0 {
            runtime.block_on(rows(&client, "CREATE TABLE t (id int PRIMARY KEY)")).expect("a server that runs");
            let view = "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(id) AS total FROM t";
            runtime.block_on(rows(&client, view)).expect("a server that runs");
        }
        let standby = Killed::on_bucket(&folder, port(), LEASE);
        for _ in 0..30 {
            id += 1;
            runtime.block_on(rows(&client, &format!("INSERT INTO t VALUES ({id})"))).expect("a server that runs");
            confirmed += 1;
        }
        signal(&server, "-STOP");
        let stopped = Instant::now();
        let other = runtime.block_on(connect(standby.1));
        println!("round {round}: taken over after {:?}", stopped.elapsed());
        let expected = format!("{confirmed}|{}", id * (id + 1) / 2);
        let found = runtime.block_on(rows(&other, "SELECT n, total FROM v")).expect("a server that runs");
        assert_eq!(found, [expected.as_str()], "round {round}");
        signal(&server, "-CONT");
        let late = runtime.block_on(client.simple_query(&format!("INSERT INTO t VALUES ({})", id + 1_000)));
        assert!(late.is_err(), "round {round}: a server that was taken for dead confirms a row");
        std::thread::sleep(Duration::from_secs(1));
        let ended = server.0.try_wait().expect("a process of ours");
        assert!(ended.is_some_and(|status| !status.success()), "round {round}: it stops by itself");
        let found = runtime.block_on(rows(&other, "SELECT n, total FROM v")).expect("a server that runs");
        assert_eq!(found, [expected.as_str()], "round {round}, after the first woke");
        server = standby;
    }
}
