//! The ways a wire server goes wrong that looks right: one test each.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::client::*;
use super::fake::quiet_panics;
use crate::pg::PgConfig;

const ENDLESS: &str = "SELECT * FROM slow(1000000, 20)";

/// Waits until something that must happen has happened.
pub(super) async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen");
}

async fn cancel(server: &TestServer, client: &Client) {
    let mut other = Client::connect(server.address).await;
    other.send(&cancel_request(&client.key())).await;
    assert_eq!(other.read().await, None, "a cancel request is not answered");
}

#[tokio::test]
async fn trap_1_rows_of_a_query_string_arrive_while_it_runs() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send(&query(ENDLESS)).await;
    for expected in ["T row:20:0", "D 1", "D 2", "D 3"] {
        assert_eq!(show_one(&client.read().await.expect("a row")), expected);
    }
}

#[tokio::test]
async fn trap_2_an_unlimited_execute_streams_and_keeps_nothing() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let messages = [parse("", ENDLESS, &[]), bind("", "", &[], &[]), execute("", 0), sync()];
    client.send(&messages.concat()).await;
    for expected in ["1", "2", "D 1", "D 2", "D 3"] {
        assert_eq!(show_one(&client.read().await.expect("a row")), expected);
    }
}

#[tokio::test]
async fn trap_3_a_cancel_request_stops_planning_and_streaming() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let cancelled = "E ERROR 57014 canceling statement due to user request";
    client.send(&query(ENDLESS)).await;
    client.read().await.expect("a description");
    client.read().await.expect("a row");
    cancel(&server, &client).await;
    let replies = show(&client.until_ready().await);
    assert_eq!(replies[replies.len() - 2..], [cancelled, "Z I"]);
    eventually("the end of the stream", || server.backend.dropped.load(Ordering::SeqCst) == 1).await;

    client.send(&query("SELECT slow_planning")).await;
    eventually("a running statement", || server.config.sessions.list()[0].query.contains("slow_planning")).await;
    cancel(&server, &client).await;
    assert_eq!(show(&client.until_ready().await), [cancelled, "Z I"]);

    assert_eq!(client.query("SELECT 1 AS a").await, ["T a:20:0", "D 1", "C SELECT 1", "Z I"]);
    // A cancel that comes when nothing runs is lost, as it must be.
    cancel(&server, &client).await;
    assert_eq!(client.query("SELECT 1 AS a").await, ["T a:20:0", "D 1", "C SELECT 1", "Z I"]);
}

#[tokio::test]
async fn trap_3_a_definition_is_told_to_stop_and_not_cut_off() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send(&query("CREATE VIEW slow_view AS SELECT 1")).await;
    eventually("a running statement", || server.config.sessions.list()[0].query.contains("slow_view")).await;
    cancel(&server, &client).await;
    let cancelled = "E ERROR 57014 canceling statement due to user request";
    assert_eq!(show(&client.until_ready().await), [cancelled, "Z I"]);
    assert_eq!(server.backend.undone.load(Ordering::SeqCst), 1);
    // A client that vanishes meanwhile does not stop it either; the end of the server does.
    client.send(&query("CREATE VIEW slow_view AS SELECT 2")).await;
    eventually("a running statement", || server.config.sessions.list()[0].query.contains("SELECT 2")).await;
    drop(client);
    server.shutdown.cancel();
    eventually("the end of the session", || server.config.sessions.count() == 0).await;
    assert_eq!(server.backend.undone.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn trap_3_a_statement_timeout_stops_planning_and_streaming() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let timed_out = "E ERROR 57014 canceling statement due to statement timeout";
    client.query("SET statement_timeout = 50").await;
    assert_eq!(client.query("SELECT slow_planning").await, [timed_out, "Z I"]);
    let replies = client.query(ENDLESS).await;
    assert_eq!(replies[replies.len() - 2..], [timed_out, "Z I"]);
    let messages = [parse("", ENDLESS, &[]), bind("", "", &[], &[]), execute("", 0), sync()];
    let replies = client.ask(&messages).await;
    assert_eq!(replies[replies.len() - 2..], [timed_out, "Z I"]);
}

#[tokio::test]
async fn trap_4_wrong_counts_in_a_bind_are_errors_and_panics_stay_with_their_statement() {
    quiet_panics();
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let three = parse("", "SELECT 1, 2, 3", &[]);
    let replies = client.ask(&[three, bind("", "", &[], &[0, 1]), execute("", 0), sync()]).await;
    let message = "E ERROR 08P01 bind message has 2 result formats but query has 3 columns";
    assert_eq!(replies, ["1", message, "Z I"]);
    let one = parse("", "SELECT $1::int8", &[]);
    let replies = client.ask(&[one.clone(), bind("", "", &[], &[]), sync()]).await;
    let message = "E ERROR 08P01 bind message supplies 0 parameters, but prepared statement \"\" requires 1";
    assert_eq!(replies, ["1", message, "Z I"]);
    let replies = client.ask(&[one, bind_raw("", "", &[0, 1, 0], &[Some(b"1")], &[]), sync()]).await;
    assert_eq!(replies, ["1", "E ERROR 08P01 bind message has 3 parameter formats but 1 parameters", "Z I"]);

    let abandoned = "E ERROR XX000 internal error: the statement was abandoned";
    let replies = client.query("SELECT panic(value) FROM generate_series(1, 2)").await;
    assert_eq!(replies[replies.len() - 2..], [abandoned, "Z I"]);
    let panic = parse("", "SELECT panic(value) FROM generate_series(1, 2)", &[]);
    let replies = client.ask(&[panic, bind("", "", &[], &[]), execute("", 0), execute("", 0), sync()]).await;
    assert_eq!(replies[replies.len() - 2..], [abandoned, "Z I"]);
    assert_eq!(client.query("SELECT 1 AS a").await, ["T a:20:0", "D 1", "C SELECT 1", "Z I"]);
}

#[tokio::test]
async fn trap_5_statements_run_one_after_the_other_up_to_the_first_error() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let replies = client.query("SELECT 1 AS a; SELECT nope; SELECT 3 AS c").await;
    assert_eq!(replies[..3], ["T a:20:0", "D 1", "C SELECT 1"]);
    assert!(replies[3].starts_with("E ERROR 42703"), "{replies:?}");
    assert_eq!(replies[4..], ["Z I"]);
    // The first answer does not wait for the second statement.
    client.send(&query("SELECT 1 AS a; SELECT slow_planning")).await;
    for expected in ["T a:20:0", "D 1", "C SELECT 1"] {
        assert_eq!(show_one(&client.read().await.expect("a row")), expected);
    }
}

#[tokio::test]
async fn trap_6_an_error_in_copy_ends_the_data_with_an_error_alone() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let replies = client.query("COPY (SELECT 1 / (3 - value) FROM generate_series(1, 5)) TO STDOUT").await;
    assert_eq!(replies, ["H", "E ERROR 22012 division by zero", "Z I"]);
    assert_eq!(client.query("SELECT 1 AS a").await.len(), 4);
}

#[tokio::test]
async fn trap_7_names_are_taken_or_missing_as_in_postgres() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let state = |replies: Vec<String>| replies.iter().find(|r| r.starts_with('E')).map(|r| r[8..13].to_owned());
    let named = parse("s", "SELECT 1", &[]);
    assert_eq!(client.ask(&[named.clone(), sync()]).await, ["1", "Z I"]);
    assert_eq!(state(client.ask(&[named, sync()]).await).as_deref(), Some("42P05"));
    let twice = [bind("p", "s", &[], &[]), bind("p", "s", &[], &[]), sync()];
    assert_eq!(state(client.ask(&twice).await).as_deref(), Some("42P03"));
    assert_eq!(state(client.ask(&[execute("q", 0), sync()]).await).as_deref(), Some("34000"));
    assert_eq!(state(client.ask(&[describe('P', "q"), sync()]).await).as_deref(), Some("34000"));
    assert_eq!(state(client.ask(&[bind("", "t", &[], &[]), sync()]).await).as_deref(), Some("26000"));
    assert_eq!(state(client.ask(&[describe('S', "t"), sync()]).await).as_deref(), Some("26000"));
    // What is not there is closed already; a name that was closed is free.
    assert_eq!(client.ask(&[close('S', "t"), close('P', "q"), close('S', "s"), sync()]).await, ["3", "3", "3", "Z I"]);
    assert_eq!(client.ask(&[parse("s", "SELECT 1", &[]), sync()]).await, ["1", "Z I"]);
}

#[tokio::test]
async fn trap_8_messages_out_of_bounds_are_refused_by_their_header() {
    let server = TestServer::start().await;
    let fatal = |replies: Vec<Reply>| show(&replies).join(" ");
    // Before authentication: nothing beyond a startup packet is buffered.
    let mut stranger = Client::connect(server.address).await;
    stranger.send(&0x3fff_ffffi32.to_be_bytes()).await;
    assert_eq!(fatal(stranger.until_ready().await), "E FATAL 08P01 invalid length of startup packet");
    // After it: a length no message has, and a type there is none of.
    for garbage in [&b"B\x7f\xff\xff\xff"[..], b"B\0\0\0\x03", b"\xe2\0\0\0\x04"] {
        let mut client = server.client().await;
        client.send(garbage).await;
        assert!(fatal(client.until_ready().await).starts_with("E FATAL 08P01 invalid"));
    }
    // A statement that is too long is passed over, and the session goes on.
    let mut client = server.client().await;
    let long = format!("SELECT '{}'", "x".repeat(2 << 20));
    let replies = client.query(&long).await;
    assert!(replies[0].starts_with("E ERROR 54000"), "{replies:?}");
    let replies = client.ask(&[parse("", &long, &[]), bind("", "", &[], &[]), sync()]).await;
    assert!(replies[0].starts_with("E ERROR 54000") && replies.len() == 2, "{replies:?}");
    assert_eq!(client.query("SELECT 1 AS a").await.len(), 4);
    assert!(server.config.sessions.counters().protocol_errors.load(Ordering::Relaxed) >= 4);
}

#[tokio::test]
async fn trap_9_a_client_that_vanished_and_a_session_that_must_end_are_noticed() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send(&query("SELECT * FROM slow(2, 600000)")).await;
    eventually("a running statement", || server.config.sessions.list()[0].query.contains("slow")).await;
    drop(client);
    eventually("the end of the session", || server.config.sessions.count() == 0).await;
    assert_eq!(server.backend.dropped.load(Ordering::SeqCst), 1);

    // One that sent more than is read ahead is noticed as well.
    let mut client = server.client().await;
    client.send(&query("SELECT * FROM slow(2, 600000)")).await;
    for _ in 0..200 {
        client.send(&query(&format!("SELECT '{}'", "x".repeat(1000)))).await;
    }
    drop(client);
    eventually("the end of the session", || server.config.sessions.count() == 0).await;

    let mut idle = server.client().await;
    let pid = server.config.sessions.list()[0].identity.pid;
    assert!(server.config.sessions.terminate(pid));
    let farewell = show(&idle.until_ready().await);
    assert_eq!(farewell, ["E FATAL 57P01 terminating connection due to administrator command"]);
}

#[tokio::test]
async fn trap_10_portals_end_with_their_transaction_and_statements_when_told() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.query("BEGIN").await;
    let series = parse("s", "SELECT value FROM generate_series(1, 5)", &[]);
    let replies = client.ask(&[series, bind("p", "s", &[], &[]), execute("p", 2), sync()]).await;
    assert_eq!(replies, ["1", "2", "D 1", "D 2", "s", "Z T"]);
    let replies = client.ask(&[execute("p", 2), sync()]).await;
    assert_eq!(replies, ["D 3", "D 4", "s", "Z T"]);
    let replies = client.ask(&[execute("p", i32::MAX), execute("p", -5), sync()]).await;
    assert_eq!(replies, ["D 5", "C SELECT 1", "C SELECT 0", "Z T"]);
    client.query("COMMIT").await;
    let replies = client.ask(&[execute("p", 0), sync()]).await;
    assert_eq!(replies, ["E ERROR 34000 portal \"p\" does not exist", "Z I"]);
    // Outside a block a portal lasts until Sync.
    let replies = client.ask(&[bind("p", "s", &[], &[]), execute("p", 1), sync(), execute("p", 0), sync()]).await;
    assert_eq!(replies, ["2", "D 1", "s", "Z I"]);
    assert!(show(&client.until_ready().await)[0].starts_with("E ERROR 34000"));

    client.query("DISCARD ALL").await;
    let replies = client.ask(&[bind("", "s", &[], &[]), sync()]).await;
    assert_eq!(replies, ["E ERROR 26000 prepared statement \"s\" does not exist", "Z I"]);
    client.ask(&[parse("s", "SELECT 1", &[]), sync()]).await;
    client.query("DEALLOCATE ALL").await;
    assert_eq!(client.ask(&[parse("s", "SELECT 1", &[]), sync()]).await, ["1", "Z I"]);
}

#[tokio::test]
async fn trap_11_numbers_are_written_as_postgres_writes_them() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let replies = client.query("SELECT 1.0 AS a, CAST('inf' AS double) AS b, -0.0 AS c, 1e20 AS d").await;
    assert_eq!(replies[1], "D 1|Infinity|-0|1e+20");
    let replies = client.query("SELECT CAST('2023-01-02T03:04:05.600' AS timestamp) AS t").await;
    assert_eq!(replies[1], "D 2023-01-02 03:04:05.6");
}

#[tokio::test]
async fn trap_12_an_empty_text_is_not_null_in_csv_and_columns_have_sizes() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let rows = "SELECT * FROM (VALUES ('', 1), (NULL, 2), ('a,\"b\"', 3)) AS t(a, b)";
    let replies = client.query(&format!("COPY ({rows}) TO STDOUT WITH (FORMAT csv, HEADER true)")).await;
    assert_eq!(replies, ["H", "d a,b", "d \"\",1", "d ,2", "d \"a,\"\"b\"\"\",3", "c", "C COPY 3", "Z I"]);

    client.send(&query("SELECT CAST(1.5 AS decimal(10, 2)) AS n, 1 AS i, 'x' AS t")).await;
    let description = client.read().await.expect("a description");
    let field = |name: &str| {
        let start = description.body.windows(2).position(|w| w == [name.as_bytes()[0], 0]).expect("the column") + 2;
        let of = |range: std::ops::Range<usize>| description.body[start + range.start..start + range.end].to_vec();
        (
            i16::from_be_bytes(of(10..12).try_into().expect("two")),
            i32::from_be_bytes(of(12..16).try_into().expect("four")),
        )
    };
    assert_eq!((field("n"), field("i"), field("t")), ((-1, (10 << 16 | 2) + 4), (8, -1), (-1, -1)));
}

#[tokio::test]
async fn trap_13_strangers_are_limited_in_time_and_number() {
    let hasty = PgConfig { startup_timeout: Duration::from_millis(50), ..PgConfig::default() };
    let server = TestServer::with(hasty).await;
    // One who says nothing, or half of something, is let go.
    for said in [&b""[..], b"\0\0\0\x30\0\x03"] {
        let mut silent = Client::connect(server.address).await;
        silent.send(said).await;
        assert_eq!(silent.read().await, None);
    }
    let server = TestServer::with(PgConfig { connections_max: 1, ..PgConfig::default() }).await;
    let mut first = server.client().await;
    let second = server.client().await;
    let replies = show(&second.greeting);
    assert_eq!(replies.last().map(String::as_str), Some("E FATAL 53300 sorry, too many clients already"));
    let superuser = |client: &Client| show(&client.greeting).iter().any(|r| r == "S is_superuser=on");
    assert!(superuser(&first));
    // The one who is in may still cancel: that takes a connection, not a session.
    cancel(&server, &first).await;
    assert_eq!(first.query("SELECT 1 AS a").await.len(), 4);
    drop(first);
    eventually("room for another", || server.config.sessions.count() == 0).await;
    let other = server.client_with(&[("user", "reader"), ("database", "tidemark")]).await;
    assert!(show(&other.greeting).iter().any(|r| r == "S is_superuser=off"));
}
