//! Settings, transactions, cursors and prepared statements, as a client sees them.

use super::client::*;

fn states(replies: &[String]) -> Vec<String> {
    let of_interest = replies.iter().filter(|reply| reply.starts_with(['E', 'N', 'Z', 'C']));
    let short = of_interest.map(|reply| match reply.split_once(' ') {
        Some(("E" | "N", rest)) => rest.split(' ').take(2).collect::<Vec<_>>().join(" "),
        _ => reply.clone(),
    });
    short.collect()
}

#[tokio::test]
async fn settings_are_set_shown_reported_and_reset() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    assert_eq!(client.query("SET TimeZone = 'Europe/Berlin'").await, ["C SET", "S TimeZone=Europe/Berlin", "Z I"]);
    assert_eq!(client.query("SET search_path TO a, \"B c\"").await, ["C SET", "Z I"]);
    assert_eq!(client.query("SHOW search_path").await, ["T search_path:25:0", "D a, \"B c\"", "C SHOW", "Z I"]);
    assert_eq!(client.query("SHOW TIME ZONE").await[1], "D Europe/Berlin");
    assert_eq!(client.query("RESET timezone").await, ["C RESET", "S TimeZone=UTC", "Z I"]);
    assert_eq!(client.query("SET timezone TO DEFAULT").await, ["C SET", "Z I"]);
    assert_eq!(client.query("SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE").await[1], "S TimeZone=<+02>-02");
    assert_eq!(client.query("SET SESSION application_name = 'app'").await[1], "S application_name=app");
    assert_eq!(client.query("SET extra_float_digits = -1").await, ["C SET", "Z I"]);
    assert_eq!(client.query("SET NAMES 'UTF8'").await, ["C SET", "Z I"]);
    let reset = client.query("RESET ALL").await;
    assert_eq!(reset, ["C RESET", "S application_name=", "S TimeZone=UTC", "Z I"]);
    assert_eq!(client.query("SHOW TRANSACTION ISOLATION LEVEL").await[1], "D serializable");
    assert_eq!(client.query("SET my.own = 'x'; SHOW my.own").await[2], "D x");

    assert_eq!(states(&client.query("SET no_such = 1").await), ["ERROR 42704", "Z I"]);
    assert_eq!(states(&client.query("SHOW no_such").await), ["ERROR 42704", "Z I"]);
    assert_eq!(states(&client.query("SET server_version = '9'").await), ["ERROR 55P02", "Z I"]);
    assert_eq!(states(&client.query("SET DateStyle = 'German'").await), ["ERROR 0A000", "Z I"]);
    assert_eq!(states(&client.query("SET TimeZone = 'Nowhere'").await), ["ERROR 22023", "Z I"]);

    let all = client.query("SHOW ALL").await;
    assert_eq!(all[0], "T name:25:0 setting:25:0 description:25:0");
    assert!(all.iter().any(|row| row == "D tick_interval|100ms|How long a tick lasts."));
    assert_eq!(client.query("SET tick_interval = '50ms'").await, ["C SET", "Z I"]);
    assert_eq!(client.query("SHOW tick_interval").await[1], "D 50ms");
    assert_eq!(client.query("RESET tick_interval; SHOW tick_interval").await[2], "D 100ms");
    assert_eq!(
        client.query("SELECT set_config('TimeZone', 'Asia/Tokyo', false) AS a").await[3],
        "S TimeZone=Asia/Tokyo"
    );
    assert_eq!(states(&client.query("SET ROLE missing").await), ["ERROR 22023", "Z I"]);
    assert_eq!(client.query("SET SESSION AUTHORIZATION DEFAULT").await, ["C SET", "Z I"]);
}

#[tokio::test]
async fn a_rollback_takes_settings_back_and_tells_the_client() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.query("BEGIN").await;
    assert_eq!(client.query("SET TimeZone = 'Asia/Tokyo'").await[1], "S TimeZone=Asia/Tokyo");
    assert_eq!(client.query("ROLLBACK").await, ["C ROLLBACK", "S TimeZone=UTC", "Z I"]);
    client.query("BEGIN").await;
    assert_eq!(client.query("SET LOCAL TimeZone = 'Asia/Tokyo'").await[1], "S TimeZone=Asia/Tokyo");
    assert_eq!(client.query("COMMIT").await, ["C COMMIT", "S TimeZone=UTC", "Z I"]);
    let warned = states(&client.query("SET LOCAL TimeZone = 'Asia/Tokyo'").await);
    assert_eq!(warned, ["WARNING 25P01", "C SET", "Z I"]);
    assert_eq!(client.query("SHOW timezone").await[1], "D UTC");
    // A query string that fails is one transaction: what it set is taken back.
    client.query("SET TimeZone = 'Asia/Tokyo'; SELECT nope").await;
    assert_eq!(client.query("SHOW timezone").await[1], "D UTC");
    // The same goes for a pipeline up to its Sync.
    let set = [parse("", "SET TimeZone = 'Asia/Tokyo'", &[]), bind("", "", &[], &[]), execute("", 0)].concat();
    client.ask(&[set.clone(), parse("", "SELECT nope", &[]), sync()]).await;
    assert_eq!(client.query("SHOW timezone").await[1], "D UTC");
    assert_eq!(client.ask(&[set, sync()]).await[3], "S TimeZone=Asia/Tokyo");
}

#[tokio::test]
async fn blocks_fail_end_and_chain_as_in_postgres() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    assert_eq!(client.query("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY").await, ["C BEGIN", "Z T"]);
    assert_eq!(states(&client.query("BEGIN").await), ["WARNING 25001", "C BEGIN", "Z T"]);
    assert_eq!(client.query("SHOW transaction_read_only").await[1], "D on");
    assert_eq!(states(&client.query("CREATE VIEW v AS SELECT 1").await), ["ERROR 25006", "Z E"]);
    assert_eq!(states(&client.query("SELECT 1").await), ["ERROR 25P02", "Z E"]);
    let parse_one = [parse("", "SELECT 1", &[]), sync()];
    assert_eq!(states(&client.ask(&parse_one).await), ["ERROR 25P02", "Z E"]);
    assert_eq!(client.query("COMMIT").await, ["C ROLLBACK", "Z I"]);
    assert_eq!(states(&client.query("COMMIT").await), ["WARNING 25P01", "C COMMIT", "Z I"]);
    assert_eq!(states(&client.query("ABORT").await), ["WARNING 25P01", "C ROLLBACK", "Z I"]);
    assert_eq!(states(&client.query("SAVEPOINT s").await), ["ERROR 25P01", "Z I"]);

    let tags = states(&client.query("START TRANSACTION READ WRITE; SAVEPOINT s; SELECT nope").await);
    assert_eq!(tags, ["C START TRANSACTION", "C SAVEPOINT", "ERROR 42703", "Z E"]);
    assert_eq!(states(&client.query("ROLLBACK TO SAVEPOINT t").await), ["ERROR 3B001", "Z E"]);
    let tags = states(&client.query("ROLLBACK TO s; RELEASE s; COMMIT AND CHAIN").await);
    assert_eq!(tags, ["C ROLLBACK", "C RELEASE", "C COMMIT", "Z T"]);
    assert_eq!(states(&client.query("END").await), ["C COMMIT", "Z I"]);
    assert_eq!(states(&client.query("SET TRANSACTION READ ONLY").await), ["WARNING 25P01", "C SET", "Z I"]);
    let characteristics = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, READ ONLY";
    let replies = client.query(characteristics).await;
    assert_eq!(replies, ["C SET", "S default_transaction_read_only=on", "Z I"]);
    assert_eq!(client.query("SHOW transaction_isolation").await[1], "D read uncommitted");
    assert_eq!(states(&client.query("CREATE VIEW v AS SELECT 1").await), ["ERROR 25006", "Z I"]);
    // A block that failed in the extended protocol reports E, and its end is heard.
    client.query("BEGIN").await;
    client.ask(&[parse("", "SELECT nope", &[]), sync()]).await;
    let rollback = [parse("", "ROLLBACK", &[]), bind("", "", &[], &[]), execute("", 0), sync()];
    assert_eq!(client.ask(&rollback).await, ["1", "2", "C ROLLBACK", "Z I"]);
    assert_eq!(states(&client.query("SELECT 1").await), ["C SELECT 1", "Z I"]);
}

#[tokio::test]
async fn a_transaction_reads_at_one_tick_and_sees_what_it_created() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let tick = "SELECT current_tick() AS t";
    assert_eq!(client.query(tick).await[1], "D 1");
    client.query("BEGIN").await;
    server.backend.advance();
    // The first read fixes the tick, not BEGIN; neither SHOW nor a parse does.
    client.query("SHOW timezone").await;
    client.ask(&[parse("early", tick, &[]), sync()]).await;
    server.backend.advance();
    assert_eq!(client.query(tick).await[1], "D 3");
    server.backend.advance();
    assert_eq!(client.query(tick).await[1], "D 3");
    let bound = [bind("", "early", &[], &[]), execute("", 0), sync()];
    assert_eq!(client.ask(&bound).await[1], "D 3");
    client.query("COMMIT").await;
    assert_eq!(client.query(tick).await[1], "D 4");
    // One query string is one transaction too.
    let replies = client.query(&format!("{tick}; {tick}")).await;
    assert_eq!(replies[1], replies[4]);
    // What a transaction creates it can read; a rollback says that it stays.
    client.query("BEGIN").await;
    client.query(tick).await;
    assert_eq!(client.query("CREATE VIEW made AS SELECT 7 AS a").await, ["C CREATE VIEW", "Z T"]);
    assert_eq!(client.query("SELECT a FROM made").await[1], "D 7");
    assert_eq!(client.query(tick).await[1], "D 5");
    assert_eq!(states(&client.query("ROLLBACK").await), ["WARNING 01000", "C ROLLBACK", "Z I"]);
}

#[tokio::test]
async fn cursors_are_portals() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let declare = "DECLARE c CURSOR FOR SELECT value AS v FROM generate_series(1, 6)";
    assert_eq!(states(&client.query(declare).await), ["ERROR 25P01", "Z I"]);
    assert_eq!(states(&client.query("FETCH ALL FROM c").await), ["ERROR 34000", "Z I"]);
    client.query("BEGIN").await;
    assert_eq!(client.query(declare).await, ["C DECLARE CURSOR", "Z T"]);
    assert_eq!(client.query("FETCH FORWARD 2 FROM c").await, ["T v:20:0", "D 1", "D 2", "C FETCH 2", "Z T"]);
    assert_eq!(client.query("FETCH NEXT FROM c").await, ["T v:20:0", "D 3", "C FETCH 1", "Z T"]);
    assert_eq!(client.query("MOVE 1 IN c").await, ["C MOVE 1", "Z T"]);
    assert_eq!(client.query("FETCH 0 FROM c").await, ["T v:20:0", "C FETCH 0", "Z T"]);
    assert_eq!(client.query("FETCH RELATIVE 2 FROM c").await, ["T v:20:0", "D 6", "C FETCH 1", "Z T"]);
    assert_eq!(client.query("FETCH ALL FROM c").await, ["T v:20:0", "C FETCH 0", "Z T"]);
    assert_eq!(client.query("MOVE ALL FROM c").await, ["C MOVE 0", "Z T"]);
    assert_eq!(client.query("CLOSE c").await, ["C CLOSE CURSOR", "Z T"]);
    assert_eq!(states(&client.query("CLOSE c").await), ["ERROR 34000", "Z E"]);
    client.query("ROLLBACK").await;

    client.query("BEGIN").await;
    client.query(declare).await;
    assert_eq!(states(&client.query(declare).await), ["ERROR 42P03", "Z E"]);
    client.query("ROLLBACK; BEGIN").await;
    client.query(declare).await;
    assert_eq!(states(&client.query("FETCH BACKWARD 1 FROM c").await), ["ERROR 0A000", "Z E"]);
    client.query("ROLLBACK").await;
    assert_eq!(states(&client.query("FETCH 1 FROM c").await), ["ERROR 34000", "Z I"]);
    // In one query string a cursor needs no block.
    let tags = states(&client.query(&format!("{declare}; FETCH 1 FROM c; CLOSE ALL")).await);
    assert_eq!(tags, ["C DECLARE CURSOR", "C FETCH 1", "C CLOSE CURSOR ALL", "Z I"]);
}

#[tokio::test]
async fn held_cursors_outlive_their_transaction_and_savepoints_take_theirs_along() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let of = |name: &str, hold: &str| {
        format!("DECLARE {name} CURSOR {hold} FOR SELECT value AS v FROM generate_series(1, 3)")
    };
    assert_eq!(client.query(&of("h", "WITH HOLD")).await, ["C DECLARE CURSOR", "Z I"]);
    assert_eq!(client.query("FETCH 1 FROM h").await[1], "D 1");
    client.query("BEGIN").await;
    assert_eq!(client.query("FETCH 1 FROM h").await[1], "D 2");
    client.query(&of("g", "WITH HOLD")).await;
    client.query("ROLLBACK").await;
    assert_eq!(states(&client.query("FETCH 1 FROM g").await), ["ERROR 34000", "Z I"]);
    assert_eq!(client.query("FETCH ALL FROM h").await[1], "D 3");

    client.query("BEGIN").await;
    client.query(&of("a", "")).await;
    client.query("SAVEPOINT s").await;
    client.query(&of("b", "")).await;
    client.query("ROLLBACK TO s").await;
    assert_eq!(client.query("FETCH 1 FROM a").await[1], "D 1");
    assert_eq!(states(&client.query("FETCH 1 FROM b").await), ["ERROR 34000", "Z E"]);
    client.query("ROLLBACK").await;
}

#[tokio::test]
async fn cursors_take_parameters_and_can_be_described_through_the_protocol() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.query("BEGIN").await;
    let text = "DECLARE \"named\" CURSOR FOR SELECT value AS v FROM generate_series(1, 6) WHERE value > $1";
    let replies = client.ask(&[parse("", text, &[21]), describe('S', ""), sync()]).await;
    assert_eq!(replies, ["1", "t 21", "n", "Z T"]);
    let binding = [bind_raw("", "", &[1], &[Some(&3i16.to_be_bytes())], &[]), execute("", 0), sync()];
    assert_eq!(client.ask(&binding).await, ["2", "C DECLARE CURSOR", "Z T"]);
    assert_eq!(client.ask(&[describe('P', "named"), sync()]).await, ["T v:20:0", "Z T"]);
    assert_eq!(client.query("FETCH 1 FROM \"named\"").await[1], "D 4");
    // FETCH has a shape of its own in the extended protocol, and a row limit suspends it.
    let fetch = [parse("f", "FETCH FORWARD 2 FROM named", &[]), describe('S', "f"), sync()];
    assert_eq!(client.ask(&fetch).await, ["1", "t", "T v:20:0", "Z T"]);
    let run = [bind("p", "f", &[], &[]), execute("p", 1), execute("p", 0), sync()];
    assert_eq!(client.ask(&run).await, ["2", "D 5", "s", "D 6", "C FETCH 1", "Z T"]);
    // The cursor is a portal of the protocol.
    assert_eq!(client.ask(&[execute("named", 0), sync()]).await, ["C SELECT 0", "Z T"]);
    client.query("COMMIT").await;
    client.query("BEGIN").await;
    client.query("DECLARE b BINARY CURSOR FOR SELECT value AS v FROM generate_series(1, 2)").await;
    let replies = client.query("FETCH 1 FROM b").await;
    assert_eq!(replies, ["T v:20:1", "D \0\0\0\0\0\0\0\u{1}", "C FETCH 1", "Z T"]);
}

#[tokio::test]
async fn statements_are_prepared_and_executed_in_sql() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let prepare = "PREPARE p (bigint) AS SELECT value AS v FROM generate_series(1, 4) WHERE value > $1";
    assert_eq!(client.query(prepare).await, ["C PREPARE", "Z I"]);
    assert_eq!(states(&client.query(prepare).await), ["ERROR 42P05", "Z I"]);
    assert_eq!(client.query("EXECUTE p(1 + 1)").await, ["T v:20:0", "D 3", "D 4", "C SELECT 2", "Z I"]);
    assert_eq!(client.query("EXECUTE p('3')").await, ["T v:20:0", "D 4", "C SELECT 1", "Z I"]);
    assert_eq!(states(&client.query("EXECUTE p").await), ["ERROR 42601", "Z I"]);
    let replies = client.ask(&[parse("", "EXECUTE p(2)", &[]), describe('S', ""), sync()]).await;
    assert_eq!(replies, ["1", "t", "T v:20:0", "Z I"]);
    // One made through the protocol is the same thing.
    client.ask(&[parse("q", "SELECT $1 AS a", &[25]), sync()]).await;
    assert_eq!(client.query("EXECUTE q('x')").await[1], "D x");
    assert_eq!(client.query("DEALLOCATE p").await, ["C DEALLOCATE", "Z I"]);
    assert_eq!(states(&client.query("EXECUTE p(1)").await), ["ERROR 26000", "Z I"]);
    assert_eq!(states(&client.query("DEALLOCATE p").await), ["ERROR 26000", "Z I"]);
    assert_eq!(client.query("DEALLOCATE ALL").await, ["C DEALLOCATE ALL", "Z I"]);
    assert_eq!(states(&client.query("BEGIN; DISCARD ALL").await), ["C BEGIN", "ERROR 25001", "Z E"]);
    client.query("ROLLBACK").await;
    // What pools send when a connection comes back.
    let reset = "CLOSE ALL; UNLISTEN *; RESET ALL";
    assert_eq!(states(&client.query(reset).await), ["C CLOSE CURSOR ALL", "C UNLISTEN", "C RESET", "Z I"]);
}

#[tokio::test]
async fn notices_come_before_the_answer_and_can_be_silenced() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    let create = "CREATE VIEW IF NOT EXISTS v AS SELECT 1 AS a";
    let notice = "N NOTICE 00000 relation \"v\" already exists, skipping";
    assert_eq!(client.query(create).await, [notice, "C CREATE VIEW", "Z I"]);
    client.query("SET client_min_messages = warning").await;
    assert_eq!(client.query(create).await, ["C CREATE VIEW", "Z I"]);
}

#[tokio::test]
async fn positions_count_from_the_start_of_the_query_string() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.send(&query("SELECT 1;  SELECT nope")).await;
    let replies = client.until_ready().await;
    let error = replies.iter().find(|reply| reply.tag == b'E').expect("an error");
    // The backend says 15 of its own statement, which starts behind eleven characters.
    assert_eq!(error_field(error, b'P').as_deref(), Some("26"));
    assert_eq!(error_field(error, b'V').as_deref(), Some("ERROR"));
}

#[tokio::test]
async fn idle_sessions_end_when_their_time_is_up() {
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.query("SET idle_in_transaction_session_timeout = 30").await;
    client.query("BEGIN").await;
    let told = "E FATAL 25P03 terminating connection due to idle-in-transaction timeout";
    assert_eq!(show(&client.until_ready().await), [told]);
    let mut client = server.client().await;
    client.query("SET idle_session_timeout = 30").await;
    assert_eq!(show(&client.until_ready().await), ["E FATAL 57P05 terminating connection due to idle-session timeout"]);
}

#[tokio::test]
async fn the_list_of_sessions_shows_what_they_do() {
    use crate::pg::ActivityState;
    let server = TestServer::start().await;
    let mut client = server.client().await;
    client.query("SET application_name = 'shown'").await;
    client.query("BEGIN").await;
    let info = server.config.sessions.list().remove(0);
    assert_eq!((info.application_name.as_str(), info.query.as_str()), ("shown", "BEGIN"));
    assert_eq!(info.state, ActivityState::IdleInTransaction);
    assert!(info.transaction_started_at.is_some());
    let counters = server.config.sessions.counters();
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    client.query("SELECT 1").await;
    client.query("SELECT nope").await;
    assert_eq!((read(&counters.sessions), read(&counters.statements), read(&counters.errors)), (1, 4, 1));
    assert_eq!(read(&counters.rows), 1);
    assert!(read(&counters.bytes) > 100);
}
