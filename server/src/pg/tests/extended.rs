//! The extended protocol, byte by byte.

use super::client::*;

#[tokio::test]
async fn a_statement_is_parsed_described_bound_and_executed() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let text = "SELECT value AS v FROM generate_series(1, 5) WHERE value > $1";
    let replies = client.ask(&[parse("s", text, &[]), describe('S', "s"), sync()]).await;
    assert_eq!(replies, ["1", "t 20", "T v:20:0", "Z I"]);
    let binding = [bind("", "s", &[Some("3")], &[1]), describe('P', ""), execute("", 0), sync()];
    let replies = client.ask(&binding).await;
    assert_eq!(replies, ["2", "T v:20:1", "D \0\0\0\0\0\0\0\u{4}", "D \0\0\0\0\0\0\0\u{5}", "C SELECT 2", "Z I"]);
    // The client's own type stands; a number of another width is taken as well.
    let replies = client.ask(&[parse("t", text, &[21]), describe('S', "t"), sync()]).await;
    assert_eq!(replies, ["1", "t 21", "T v:20:0", "Z I"]);
    let small = bind_raw("", "t", &[1], &[Some(&4i16.to_be_bytes())], &[0]);
    assert_eq!(client.ask(&[small, execute("", 0), sync()]).await, ["2", "D 5", "C SELECT 1", "Z I"]);
    let wide = bind_raw("", "s", &[1], &[Some(&4i32.to_be_bytes())], &[0]);
    assert_eq!(client.ask(&[wide, execute("", 0), sync()]).await, ["2", "D 5", "C SELECT 1", "Z I"]);
    let null = [bind("", "s", &[None], &[]), execute("", 0), sync()];
    assert_eq!(client.ask(&null).await, ["2", "C SELECT 0", "Z I"]);
}

#[tokio::test]
async fn an_error_silences_a_pipeline_up_to_its_sync() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let good = || [parse("", "SELECT 1 AS a", &[]), bind("", "", &[], &[]), execute("", 0)].concat();
    let bad = parse("", "SELECT nope", &[]);
    client.send(&[good(), bad, good(), query("SELECT 2"), sync(), good(), sync()].concat()).await;
    let replies = show(&client.until_ready().await);
    assert_eq!(replies[..4], ["1", "2", "D 1", "C SELECT 1"]);
    assert!(replies[4].starts_with("E ERROR 42703"), "{replies:?}");
    assert_eq!(replies[5..], ["Z I"]);
    assert_eq!(show(&client.until_ready().await), ["1", "2", "D 1", "C SELECT 1", "Z I"]);
}

#[tokio::test]
async fn flush_sends_what_there_is_without_a_sync() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send(&[parse("", "SELECT 1 AS a", &[]), describe('S', ""), flush()].concat()).await;
    for expected in ["1", "t", "T a:20:0"] {
        assert_eq!(show_one(&client.read().await.expect("an answer")), expected);
    }
    client.send(&[bind("", "", &[], &[]), execute("", 1), flush()].concat()).await;
    for expected in ["2", "D 1", "s"] {
        assert_eq!(show_one(&client.read().await.expect("an answer")), expected);
    }
    assert_eq!(client.ask(&[execute("", 1), sync()]).await, ["C SELECT 0", "Z I"]);
}

#[tokio::test]
async fn empty_strings_commands_and_several_statements() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let all = |text: &str| {
        [parse("", text, &[]), describe('S', ""), bind("", "", &[], &[]), describe('P', ""), execute("", 0), sync()]
    };
    assert_eq!(client.ask(&all(" ; ")).await, ["1", "t", "n", "2", "n", "I", "Z I"]);
    assert_eq!(client.query("").await, ["I", "Z I"]);
    assert_eq!(client.ask(&all("BEGIN")).await, ["1", "t", "n", "2", "n", "C BEGIN", "Z T"]);
    let show = ["1", "t", "T TimeZone:25:0", "2", "T TimeZone:25:0", "D UTC", "C SHOW", "Z T"];
    assert_eq!(client.ask(&all("SHOW timezone")).await, show);
    assert_eq!(client.ask(&all("COMMIT")).await, ["1", "t", "n", "2", "n", "C COMMIT", "Z I"]);
    let explain = client.ask(&all("EXPLAIN SELECT 1")).await;
    assert_eq!(explain[5..], ["D a plan", "D of two lines", "C EXPLAIN", "Z I"]);
    let replies = client.ask(&[parse("", "SELECT 1; SELECT 2", &[]), sync()]).await;
    assert_eq!(replies, ["E ERROR 42601 cannot insert multiple commands into a prepared statement", "Z I"]);
    // A statement without rows cannot run twice from one portal.
    let twice = [parse("", "UNLISTEN a", &[]), bind("", "", &[], &[]), execute("", 1), execute("", 1), sync()];
    assert_eq!(client.ask(&twice).await, ["1", "2", "C UNLISTEN", "E ERROR 55000 portal cannot be run again", "Z I"]);
}

#[tokio::test]
async fn parameters_that_are_none_are_refused_by_their_state() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let text = "SELECT $1 AS a";
    for (oid, format, value, state) in [
        (20, 0, &b"abc"[..], "22P02"),
        (21, 0, b"40000", "22003"),
        (1114, 0, b"2023-99-01", "22008"),
        (1114, 0, b"soon", "22007"),
        (25, 0, b"\xff", "22021"),
        (25, 0, b"a\0b", "22021"),
        (20, 1, b"abc", "22P03"),
        (1700, 1, b"\0\x01", "22P03"),
        (1007, 1, b"\0\0\0\x01\0\0\0\0\0\0\0\x17\x7f\xff\xff\xff\0\0\0\x01", "22P03"),
        (1007, 0, b"{1,x}", "22P02"),
        (3802, 1, b"\x02{}", "22P03"),
        (2950, 1, b"short", "22P03"),
    ] {
        let messages = [parse("", text, &[oid]), bind_raw("", "", &[format], &[Some(value)], &[]), sync()];
        let replies = client.ask(&messages).await;
        assert!(replies[1].starts_with(&format!("E ERROR {state}")), "{oid} {value:?}: {replies:?}");
        assert_eq!(replies[2..], ["Z I"]);
    }
    let replies = client.ask(&[parse("", text, &[99_999]), sync()]).await;
    assert_eq!(replies, ["E ERROR 42704 type with OID 99999 does not exist", "Z I"]);
}

#[tokio::test]
async fn a_result_whose_types_changed_since_parse_is_refused() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.query("CREATE VIEW v AS SELECT 1 AS a").await;
    let replies = client.ask(&[parse("s", "SELECT * FROM v", &[]), describe('S', "s"), sync()]).await;
    assert_eq!(replies, ["1", "t", "T a:20:0", "Z I"]);
    client.query("CREATE OR REPLACE VIEW v AS SELECT 'x' AS a").await;
    let replies = client.ask(&[bind("", "s", &[], &[]), execute("", 0), sync()]).await;
    assert_eq!(replies, ["2", "E ERROR 0A000 cached plan must not change result type", "Z I"]);
}

#[tokio::test]
async fn messages_that_are_cut_short_inside_their_frame_are_errors() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let replies = client.ask(&[message(b'P', b"\0\0\xff\xff"), query("SELECT 1"), sync()]).await;
    assert_eq!(replies, ["E ERROR 08P01 insufficient data left in message", "Z I"]);
    let replies = client.ask(&[message(b'Q', b"SELECT 1")]).await;
    assert_eq!(replies, ["E ERROR 08P01 invalid string in message", "Z I"]);
    // COPY data nobody asked for is passed over; a function call is refused.
    let replies = client.ask(&[message(b'd', b"x"), message(b'c', b""), query("SELECT 1 AS a")]).await;
    assert_eq!(replies.len(), 4);
    let replies = client.ask(&[message(b'F', b"")]).await;
    assert_eq!(replies, ["E ERROR 0A000 function calls of the protocol are not supported", "Z I"]);
}
