//! COPY … TO STDOUT, as psql and the drivers read it.

use super::client::*;

const ROWS: &str = "SELECT * FROM (VALUES (1, 'a\tb', 1.5), (2, NULL, NULL), (3, 'back\\slash', -1.0)) AS t(i, t, f)";

#[tokio::test]
async fn rows_are_copied_as_text_with_postgres_escapes() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let replies = client.query(&format!("COPY ({ROWS}) TO STDOUT")).await;
    let lines = ["d 1\ta\\tb\t1.5", "d 2\t\\N\t\\N", "d 3\tback\\\\slash\t-1"];
    assert_eq!(replies, [&["H"][..], &lines, &["c", "C COPY 3", "Z I"]].concat());
    let replies = client.query(&format!("COPY ({ROWS}) TO STDOUT WITH (DELIMITER '|', NULL 'null')")).await;
    assert_eq!(replies[1..4], ["d 1|a\\tb|1.5", "d 2|null|null", "d 3|back\\\\slash|-1"]);
    // Through the extended protocol it is the same data.
    let copy = parse("", &format!("COPY ({ROWS}) TO STDOUT"), &[]);
    let replies = client.ask(&[copy, describe('S', ""), bind("", "", &[], &[]), execute("", 0), sync()]).await;
    assert_eq!(replies, [&["1", "t", "n", "2", "H"][..], &lines, &["c", "C COPY 3", "Z I"]].concat());
}

#[tokio::test]
async fn csv_quotes_what_must_be_and_what_is_asked() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let rows = "SELECT * FROM (VALUES ('a b', 'x''y'), ('line\nend', 'say \"hi\"')) AS t(a, b)";
    let replies = client.query(&format!("COPY ({rows}) TO STDOUT CSV HEADER")).await;
    assert_eq!(replies[1..4], ["d a,b", "d a b,x'y", "d \"line\nend\",\"say \"\"hi\"\"\""]);
    let options = "(FORMAT csv, DELIMITER ';', QUOTE '''', ESCAPE '\\', FORCE_QUOTE (b))";
    let replies = client.query(&format!("COPY ({rows}) TO STDOUT WITH {options}")).await;
    assert_eq!(replies[1..3], ["d a b;'x\\'y'", "d 'line\nend';'say \"hi\"'"]);
    // Alone on its line, the mark of the end of data would end it.
    let replies = client.query("COPY (SELECT '\\.' AS a) TO STDOUT CSV").await;
    assert_eq!(replies[1], "d \"\\.\"");
    let replies = client.query(&format!("COPY ({rows}) TO STDOUT WITH (FORMAT csv, FORCE_QUOTE (nope))")).await;
    assert_eq!(replies, ["E ERROR 42703 column \"nope\" does not exist", "Z I"]);
}

#[tokio::test]
async fn binary_has_its_header_tuples_and_trailer() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send(&query("COPY (SELECT 1 AS a, NULL AS b) TO STDOUT WITH (FORMAT binary)")).await;
    let replies = client.until_ready().await;
    assert_eq!(replies[0], Reply { tag: b'H', body: vec![1, 0, 2, 0, 1, 0, 1] });
    let data: Vec<_> = replies.iter().filter(|r| r.tag == b'd').map(|r| r.body.clone()).collect();
    let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
    let row = b"\0\x02\0\0\0\x08\0\0\0\0\0\0\0\x01\xff\xff\xff\xff";
    // Drivers expect the header in one message with the first row, and every other row in one of its own.
    assert_eq!(data, [[&header[..], row].concat(), b"\xff\xff".to_vec()]);
    assert_eq!(show(&replies[replies.len() - 2..]), ["C COPY 1", "Z I"]);
}

#[tokio::test]
async fn a_relation_is_copied_by_name_and_files_are_refused() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.query("CREATE VIEW v AS SELECT 1 AS a, 2 AS b").await;
    assert_eq!(client.query("COPY v TO STDOUT").await[1], "d 1\t2");
    assert_eq!(client.query("COPY v (b) TO STDOUT").await[1], "d 2");
    assert_eq!(client.query("COPY nope TO STDOUT").await[0][..13], *"E ERROR 42P01");
    assert_eq!(client.query("COPY v FROM '/etc/passwd'").await[0][..13], *"E ERROR 0A000");
    assert_eq!(client.query("COPY v FROM STDIN WHERE a > 1").await[0][..13], *"E ERROR 0A000");
    assert_eq!(client.query("COPY nope FROM STDIN").await[0][..13], *"E ERROR 42P01");
    assert_eq!(client.query("COPY v TO '/etc/passwd'").await[0][..13], *"E ERROR 0A000");
}

#[tokio::test]
async fn copied_rows_arrive_while_the_query_runs() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send(&query("COPY (SELECT * FROM slow(1000000, 20)) TO STDOUT")).await;
    for expected in ["H", "d 1", "d 2", "d 3"] {
        assert_eq!(show_one(&client.read().await.expect("a row")), expected);
    }
    let mut other = Client::connect(server.address).await;
    other.send(&cancel_request(&client.key())).await;
    let replies = show(&client.until_ready().await);
    assert_eq!(replies[replies.len() - 2..], ["E ERROR 57014 canceling statement due to user request", "Z I"]);
}

fn data(text: &str) -> Vec<u8> {
    message(b'd', text.as_bytes())
}

/// What was copied in so far: column a and b as text.
fn copied(server: &TestServer) -> Vec<String> {
    let batches = std::mem::take(&mut *server.backend.copied.lock());
    let rows = batches.iter().flat_map(|batch| {
        let options = arrow::util::display::FormatOptions::default().with_null("-");
        let shown = |column: usize, row: usize| {
            let array = batch.column(column);
            arrow::util::display::ArrayFormatter::try_new(array, &options).expect("shown").value(row).to_string()
        };
        (0..batch.num_rows()).map(|row| format!("{}|{}", shown(0, row), shown(1, row))).collect::<Vec<_>>()
    });
    rows.collect()
}

#[tokio::test]
async fn data_is_copied_in_however_its_messages_are_cut() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.query("CREATE VIEW v AS SELECT 1 AS a, 'x' AS b").await;
    let messages =
        [query("COPY v FROM STDIN"), data("1\ton"), data("e\n2\t\\N\n3\tlas"), data("t"), message(b'c', b"")];
    assert_eq!(client.ask(&messages).await, ["G", "C COPY 3", "Z I"]);
    assert_eq!(copied(&server), ["1|one", "2|-", "3|last"]);
    let messages = [query("COPY v (b, a) FROM STDIN CSV HEADER"), data("b,a\n\"x, y\",7\n"), message(b'c', b"")];
    assert_eq!(client.ask(&messages).await, ["G", "C COPY 1", "Z I"]);
    assert_eq!(copied(&server), ["x, y|7"]);
    // Through the extended protocol, with the Sync that a driver sends before it knows of the COPY.
    let copy = parse("", "COPY v FROM STDIN", &[]);
    let begin = [copy, describe('S', ""), bind("", "", &[], &[]), execute("", 0), sync()].concat();
    let messages = [begin, data("4\tfour\n"), message(b'c', b""), sync()];
    assert_eq!(client.ask(&messages).await, ["1", "t", "n", "2", "G", "C COPY 1", "Z I"]);
    assert_eq!(copied(&server), ["4|four"]);
    // Nothing at all is no row.
    assert_eq!(client.ask(&[query("COPY v FROM STDIN"), message(b'c', b"")]).await, ["G", "C COPY 0", "Z I"]);
}

#[tokio::test]
async fn bad_data_is_told_with_its_line_and_what_follows_is_passed_over() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.query("CREATE VIEW v AS SELECT 1 AS a, 'x' AS b").await;
    for (rows, state, place) in [
        ("1\tx\nseven\tx\n", "22P02", "COPY v, line 2, column a: \"seven\""),
        ("1\n", "22P04", "COPY v, line 1"),
        ("1\tx\ty\n", "22P04", "COPY v, line 1"),
    ] {
        client.send(&[query("COPY v FROM STDIN"), data(rows), data("2\ty\n"), message(b'c', b"")].concat()).await;
        let replies = client.until_ready().await;
        assert_eq!(show(&replies[1..])[0][..13], *format!("E ERROR {state}"), "{rows}");
        assert_eq!(error_field(&replies[1], b'D').as_deref(), Some(place), "{rows}");
    }
    // The session goes on, in the extended protocol behind the next Sync.
    let begin = [parse("", "COPY v FROM STDIN", &[]), bind("", "", &[], &[]), execute("", 0)].concat();
    let replies = client.ask(&[begin, data("x\n"), data("1\ty\n"), message(b'c', b""), sync()]).await;
    assert_eq!(replies.iter().map(|reply| &reply[..1]).collect::<Vec<_>>(), ["1", "2", "G", "E", "Z"]);
    let gives_up = [query("COPY v FROM STDIN"), data("1\tx\n"), message(b'f', b"no more\0")];
    assert_eq!(client.ask(&gives_up).await, ["G", "E ERROR 57014 COPY from stdin failed: no more", "Z I"]);
    assert_eq!(client.query("SELECT 1 AS one").await[1], "D 1");
    assert!(copied(&server).is_empty());
    // Any other message breaks the protocol.
    client.send(&[query("COPY v FROM STDIN"), query("SELECT 1")].concat()).await;
    assert_eq!(show(&client.until_ready().await)[1][..13], *"E FATAL 08P01");
}
