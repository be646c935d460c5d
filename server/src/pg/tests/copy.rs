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
async fn a_relation_is_copied_by_name_and_reading_is_refused() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.query("CREATE VIEW v AS SELECT 1 AS a, 2 AS b").await;
    assert_eq!(client.query("COPY v TO STDOUT").await[1], "d 1\t2");
    assert_eq!(client.query("COPY v (b) TO STDOUT").await[1], "d 2");
    assert_eq!(client.query("COPY nope TO STDOUT").await[0][..13], *"E ERROR 42P01");
    assert_eq!(client.query("COPY v FROM STDIN").await[0][..13], *"E ERROR 0A000");
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
