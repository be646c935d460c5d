//! SUBSCRIBE alone and inside others, AS OF TICK, WAIT.

use std::time::Duration;

use super::*;
use crate::statement::{Followed, Subscribe, Wait};

fn subscribe(text: &str) -> Subscribe {
    match one(text) {
        Statement::Subscribe(subscribe) => *subscribe,
        Statement::OfSubscription { subscribe, .. } => match subscribe.statement {
            Statement::Subscribe(subscribe) => *subscribe,
            other => panic!("{text}\n{other:?}"),
        },
        other => panic!("{text}\n{other:?}"),
    }
}

fn view(text: &str) -> String {
    match subscribe(text).followed {
        Followed::Relation(place) => place.name,
        Followed::Query(query) => panic!("{text}\n{query}"),
    }
}

#[test]
fn subscriptions() {
    let plain = subscribe("SUBSCRIBE v");
    assert_eq!((plain.snapshot, plain.progress, plain.as_of), (true, false, None));
    assert_eq!(view("SUBSCRIBE v"), "v");
    assert_eq!(view("subscribe to public.\"V\""), "V");
    assert_eq!(view("SUBSCRIBE to"), "to");
    assert_eq!(view("SUBSCRIBE to WITH (PROGRESS)"), "to");
    let full = subscribe("SUBSCRIBE v WITH (SNAPSHOT = false, PROGRESS) AS OF TICK 42 UP TO 50");
    assert_eq!((full.snapshot, full.progress, full.as_of, full.up_to), (false, true, Some(42), Some(50)));
    let copied = subscribe("COPY (SUBSCRIBE v WITH (PROGRESS = on)) TO STDOUT WITH (FORMAT csv)");
    assert!(copied.progress);
    assert_eq!(subscribe("DECLARE c BINARY CURSOR FOR SUBSCRIBE v UP TO TICK 7").up_to, Some(7));
    check_refusals(&[
        ("SUBSCRIBE (SELECT 1", "42601", "syntax error at end of input", ""),
        ("SUBSCRIBE (SELECT 1) SELECT", "42601", "syntax error at or near \"SELECT\"", "SELECT"),
        ("SUBSCRIBE (v)", "42601", "syntax error at or near \"v\"", "v"),
        ("SUBSCRIBE v ENVELOPE UPSERT (KEY (k))", "0A000", "ENVELOPE in SUBSCRIBE is not supported", "ENVELOPE"),
        ("SUBSCRIBE v AS OF TICK x", "42601", "syntax error at or near \"x\"", "x"),
        ("SUBSCRIBE v UP TO 1 UP TO 2", "42601", "clause of SUBSCRIBE given twice", "UP TO 2"),
        ("SUBSCRIBE v WITH (SPEED)", "42601", "unrecognized SUBSCRIBE option \"speed\"", "SPEED"),
        ("SUBSCRIBE v WHERE x", "42601", "syntax error at or near \"WHERE\"", "WHERE"),
        ("SUBSCRIBE", "42601", "syntax error at end of input", ""),
    ]);
    assert_eq!(error("COPY (SUBSCRIBE v) TO '/tmp/x'").state.0, "0A000");
}

#[test]
fn subscriptions_to_queries() {
    let query = |text: &str| match subscribe(text).followed {
        Followed::Query(query) => query.to_string(),
        Followed::Relation(place) => panic!("{text}\n{place:?}"),
    };
    for text in [
        "SUBSCRIBE (SELECT a, (b + 1) AS c FROM v WHERE a > 1)",
        "subscribe to (SELECT a, (b + 1) AS c FROM v WHERE a > 1) AS OF TICK 3 WITH (PROGRESS) UP TO 9",
        "COPY (SUBSCRIBE (SELECT a, (b + 1) AS c FROM v WHERE a > 1) WITH (SNAPSHOT = false)) TO STDOUT",
        "DECLARE c CURSOR FOR SUBSCRIBE TO (SELECT a, (b + 1) AS c FROM v WHERE a > 1)",
    ] {
        assert_eq!(query(text), "SELECT a, (b + 1) AS c FROM v WHERE a > 1", "{text}");
    }
    assert_eq!(query("SUBSCRIBE ((SELECT 1) UNION (SELECT 2))"), "(SELECT 1) UNION (SELECT 2)");
    assert_eq!(query("SUBSCRIBE (VALUES (1), (2))"), "VALUES (1), (2)");
}

#[test]
fn queries_at_a_tick() {
    let tick = |text: &str| match parse(text).expect(text).remove(0) {
        Parsed { statement: Statement::Query(_), as_of_tick, .. } => as_of_tick,
        other => panic!("{other:?}"),
    };
    assert_eq!(tick("SELECT * FROM v AS OF TICK 42"), Some(42));
    assert_eq!(tick("TABLE v as of tick 0"), Some(0));
    assert_eq!(tick("SELECT * FROM v"), None);
    assert_eq!(tick("SELECT 1 AS of"), None);
    error("CREATE VIEW w AS SELECT * FROM v AS OF TICK 42");
    error("CREATE MATERIALIZED VIEW w AS SELECT * FROM v AS OF TICK 42");
    parse_query("SELECT 1 AS OF TICK 3").expect_err("a view's body has no tick");
}

#[test]
fn verifications() {
    let verify = |text: &str| match one(text) {
        Statement::Verify(verify) => (verify.view, verify.tick),
        other => panic!("{text}\n{other:?}"),
    };
    assert_eq!(verify("VERIFY MATERIALIZED VIEW v"), ("v".into(), None));
    assert_eq!(verify("verify materialized view public.v at tick 42"), ("v".into(), Some(42)));
    check_refusals(&[
        ("VERIFY VIEW v", "42601", "syntax error at or near \"VIEW\"", "VIEW"),
        ("VERIFY MATERIALIZED VIEW v AT noon", "42601", "syntax error at or near \"noon\"", "noon"),
    ]);
}

#[test]
fn waits_and_timeouts() {
    let wait = |text: &str| match one(text) {
        Statement::Wait(wait) => wait,
        other => panic!("{text}\n{other:?}"),
    };
    assert_eq!(wait("WAIT FOR TICK 7"), Wait::Tick { tick: 7, timeout: None });
    let timeout = Some(Duration::from_secs(5));
    assert_eq!(wait("WAIT FOR TICK 7 TIMEOUT '5s'"), Wait::Tick { tick: 7, timeout });
    assert_eq!(
        wait("WAIT FOR orders PARTITION 3 OFFSET 99 TIMEOUT INTERVAL '5 seconds'"),
        Wait::Offset { source: "orders".into(), position: 10, partition: 3, offset: 99, timeout }
    );
    assert!(matches!(wait("wait for tick partition 0 offset 1"), Wait::Offset { .. }));
    let fetch = |text: &str| match one(text) {
        Statement::FetchWithin { fetch, timeout } => (fetch.to_string(), timeout),
        other => panic!("{text}\n{other:?}"),
    };
    let half = Duration::from_millis(500);
    assert_eq!(fetch("FETCH ALL c WITH (timeout = '500ms')"), ("FETCH ALL FROM \"c\"".into(), half));
    assert_eq!(fetch("FETCH c WITH (timeout '0.5s')"), ("FETCH NEXT FROM \"c\"".into(), half));
    check_refusals(&[
        ("WAIT FOR s OFFSET 1", "42601", "syntax error at or near \"OFFSET\"", "OFFSET"),
        ("WAIT FOR TICK 1 TIMEOUT '-1s'", "22023", "a timeout must not be negative", "'-1s'"),
        (
            "FETCH c WITH (timeout = '1 month')",
            "22023",
            "a timeout must have a fixed length, without months or years",
            "'1 month'",
        ),
        ("FETCH c WITH (speed = 1)", "42601", "syntax error at or near \"speed\"", "speed"),
        ("MOVE c WITH (timeout = '1s')", "42601", "syntax error at or near \"WITH\"", "WITH"),
    ]);
}
