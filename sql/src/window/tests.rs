//! Every spelling of a window gives the same rows.

use crate::binder::tests::{bind, run};
use crate::window::{Window, hop_of, tumble_of};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;

/// The rows of a result's table, without its frame and head.
fn rows(text: &str) -> Vec<String> {
    let table = run(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let lines = table.lines().skip(3).filter(|line| line.starts_with('|'));
    lines.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>().join(" ").trim().to_string()).collect()
}

#[test]
fn every_tumble_is_the_same() {
    let expected = [
        "1970-01-01T00:00:00 1970-01-01T00:01:00 2 30",
        "1970-01-01T00:01:00 1970-01-01T00:02:00 1 30",
        "1970-01-01T00:02:00 1970-01-01T00:03:00 1",
        "1 50",
    ];
    for text in [
        "SELECT window_start, window_end, count(*), sum(price) FROM tumble(bids, ts, INTERVAL '1 minute') GROUP BY 1, 2 ORDER BY 1",
        "SELECT window_start, window_end, count(*), sum(price) FROM tumble(bids, ts, '1 minute') GROUP BY 1, 2 ORDER BY 1",
        "SELECT window_start, window_end, count(*), sum(price) FROM Tumble(public.bids, ts, '60 s'::interval) GROUP BY 1, 2 ORDER BY 1",
        "SELECT b.window_start, b.window_end, count(*), sum(b.price) FROM tumble(bids, ts, '1 minute', '0 s') AS b GROUP BY 1, 2 ORDER BY 1",
        "SELECT bids.window_start, bids.window_end, count(*), sum(bids.price) FROM tumble(bids, bids.ts, '1 minute') GROUP BY 1, 2 ORDER BY 1",
        "SELECT window_start, window_end, count(*), sum(price) FROM tumble((SELECT ts, price FROM bids), ts, '1 minute') GROUP BY 1, 2 ORDER BY 1",
        "WITH x AS (SELECT ts AS t, price FROM bids) SELECT window_start, window_end, count(*), sum(price) FROM tumble(x, t, '1 minute') GROUP BY 1, 2 ORDER BY 1",
        "SELECT window_start, window_end, count(*), sum(price) FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' MINUTE)) GROUP BY window_start, window_end ORDER BY 1",
        "SELECT window_start, window_end, count(*), sum(price) FROM TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' MINUTES) GROUP BY window_start, window_end ORDER BY 1",
        "SELECT window_start, window_end, count(*), sum(price) FROM TABLE(TUMBLE(DATA => TABLE bids, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' MINUTE)) GROUP BY 1, 2 ORDER BY 1",
        "SELECT window_start, window_end, count(*), sum(price) FROM tumble(bids, ts, size => '1 minute') GROUP BY 1, 2 ORDER BY 1",
        "SELECT TUMBLE_START(ts, INTERVAL '1' MINUTE), TUMBLE_END(ts, INTERVAL '1' MINUTE), count(*), sum(price) FROM bids GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE) ORDER BY 1",
        "SELECT tumble_start(b.ts, '1 minute') AS s, tumble_end(ts, '60 s'), count(*), sum(price) FROM bids AS b WHERE auction > 0 GROUP BY tumble(ts, '1 minute') HAVING count(*) > 0 ORDER BY s",
        "SELECT tumble(ts, '1 minute') AS s, tumble_end(ts, '1 minute'), count(*), sum(price) FROM bids GROUP BY s ORDER BY 1",
        "SELECT window.start, window.end, count(*), sum(price) FROM bids GROUP BY window(ts, '1 minute') ORDER BY window.start",
        "SELECT w.start, w.end, n, s FROM (SELECT window(ts, '1 minute') AS w, count(*) AS n, sum(price) AS s FROM bids GROUP BY 1) x ORDER BY 1",
        "SELECT date_bin('1 minute', ts), date_bin('1 minute', ts) + INTERVAL '1 minute', count(*), sum(price) FROM bids GROUP BY 1, 2 ORDER BY 1",
        "SELECT date_trunc('minute', ts), date_trunc('minute', ts) + INTERVAL '1 minute', count(*), sum(price) FROM bids GROUP BY 1, 2 ORDER BY 1",
    ] {
        assert_eq!(rows(text), expected, "{text}");
    }
}

#[test]
fn every_hop_is_the_same() {
    let expected = [
        "1969-12-31T23:59:30 1970-01-01T00:00:30 1 10",
        "1970-01-01T00:00:00 1970-01-01T00:01:00 2 30",
        "1970-01-01T00:00:30 1970-01-01T00:01:30 2 50",
        "1970-01-01T00:01:00 1970-01-01T00:02:00 1 30",
        "1970-01-01T00:01:30 1970-01-01T00:02:30 1",
        "1970-01-01T00:02:00 1970-01-01T00:03:00 1",
        "1 50",
    ];
    for text in [
        "SELECT window_start, window_end, count(*), sum(price) FROM hop(bids, ts, INTERVAL '30 seconds', INTERVAL '1 minute') GROUP BY 1, 2 ORDER BY 1",
        "SELECT b.window_start, b.window_end, count(*), sum(price) FROM hop((TABLE bids), ts, '30 s', '1 minute', '1 hour') b GROUP BY 1, 2 ORDER BY 1",
        "SELECT window_start, window_end, count(*), sum(price) FROM TABLE(HOP(TABLE bids, DESCRIPTOR(ts), INTERVAL '30' SECOND, INTERVAL '1' MINUTE)) GROUP BY window_start, window_end ORDER BY 1",
        "SELECT window_start, window_end, count(*), sum(price) FROM HOP(DATA => TABLE bids, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' MINUTE, SLIDE => INTERVAL '30' SECOND) GROUP BY 1, 2 ORDER BY 1",
        "SELECT HOP_START(ts, INTERVAL '30' SECOND, INTERVAL '1' MINUTE), HOP_END(ts, INTERVAL '30' SECOND, INTERVAL '1' MINUTE), count(*), sum(price) FROM bids GROUP BY HOP(ts, INTERVAL '30' SECOND, INTERVAL '1' MINUTE) ORDER BY 1",
        "SELECT window.start, window.end, count(*), sum(price) FROM bids GROUP BY window(ts, '1 minute', '30 seconds') ORDER BY 1",
        "SELECT s, s + INTERVAL '1 minute', count(*), sum(price) FROM (SELECT unnest(hop_starts(ts, INTERVAL '30 s', INTERVAL '1 minute')) AS s, price FROM bids) GROUP BY 1, 2 ORDER BY 1",
    ] {
        assert_eq!(rows(text), expected, "{text}");
    }
}

#[test]
fn offsets_gaps_zones_and_joins() {
    assert_eq!(
        rows("SELECT window_start, auction FROM tumble(bids, at, '1 minute', '10 seconds') ORDER BY 1, 2"),
        ["1969-12-31T23:59:10Z 1", "1970-01-01T00:00:10Z 1", "1970-01-01T00:00:10Z 2", "1970-01-01T00:01:10Z 2", "3"]
    );
    // Windows shorter than the slide leave 00:01:05 in none.
    assert_eq!(
        rows("SELECT window_start, count(*) FROM hop(bids, at, '2 minutes', '1 minute') GROUP BY 1 ORDER BY 1"),
        ["1970-01-01T00:00:00Z 2", "1970-01-01T00:02:00Z 1", "1"]
    );
    let joined = ["1970-01-01T00:00:00 ann 2", "1970-01-01T00:01:00 bob 1", "1970-01-01T00:02:00 bob 1"];
    for text in [
        "SELECT window_start, u.name, count(*) FROM tumble(bids, ts, '1 minute') b JOIN users u ON b.auction = u.id GROUP BY 1, 2 ORDER BY 1",
        "SELECT tumble_start(ts, '1 minute'), u.name, count(*) FROM bids b JOIN users u ON b.auction = u.id GROUP BY tumble(b.ts, '1 minute'), u.name ORDER BY 1",
        "SELECT tumble_start(ts, '1 minute'), u.name, count(*) FROM bids b, users u WHERE b.auction = u.id GROUP BY 2, tumble(ts, '1 minute') ORDER BY 1",
        "SELECT tumble_start(ts, '1 minute'), u.name, count(*) FROM users u, (bids b JOIN users x ON b.auction = x.id) WHERE b.auction = u.id GROUP BY 2, tumble(ts, '1 minute') ORDER BY 1",
    ] {
        assert_eq!(rows(text), joined, "{text}");
    }
    assert_eq!(
        rows(
            "SELECT a.window_start, count(*) FROM tumble(bids, ts, '1 minute') a JOIN tumble(bids, ts, '1 minute') b \
              ON a.window_start = b.window_start AND a.auction = b.auction GROUP BY 1 ORDER BY 1"
        ),
        ["1970-01-01T00:00:00 4", "1970-01-01T00:01:00 1", "1970-01-01T00:02:00 1"]
    );
    // A group window inside a subquery is its own; ranking works over one.
    assert_eq!(
        rows(
            "SELECT rank() OVER (ORDER BY count(*) DESC), hop_start(ts, '1 minute', '2 minutes') FROM bids \
              WHERE auction IN (SELECT max(auction) FROM bids GROUP BY tumble(ts, '1 day')) \
              GROUP BY hop(ts, '1 minute', '2 minutes') ORDER BY 1, 2"
        )
        .len(),
        4
    );
}

#[test]
fn every_cumulate_is_the_same() {
    let expected = [
        "1970-01-01T00:00:00 1970-01-01T00:00:30 1 10",
        "1970-01-01T00:00:00 1970-01-01T00:01:00 2 30",
        "1970-01-01T00:01:00 1970-01-01T00:01:30 1 30",
        "1970-01-01T00:01:00 1970-01-01T00:02:00 1 30",
        "1970-01-01T00:02:00 1970-01-01T00:02:30 1",
        "1970-01-01T00:02:00 1970-01-01T00:03:00 1",
        "1 50",
    ];
    for text in [
        "SELECT window_start, window_end, count(*), sum(price) FROM cumulate(bids, ts, '30 s', '1 minute') GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT window_start, window_end, count(*), sum(price) FROM cumulate(bids, ts, size => '60 s', step => '30 s', offset => '3 minutes') GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT window_start, window_end, count(*), sum(price) FROM TABLE(CUMULATE(TABLE bids, DESCRIPTOR(ts), INTERVAL '30' SECONDS, INTERVAL '1' MINUTE)) GROUP BY window_start, window_end ORDER BY 1, 2",
        "SELECT cumulate_start(ts, '30 s', '1 minute'), cumulate_end(ts, '30 s', '1 minute'), count(*), sum(price) FROM bids GROUP BY cumulate(ts, '30 s', '1 minute') ORDER BY 1, 2",
    ] {
        assert_eq!(rows(text), expected, "{text}");
    }
}

#[test]
fn every_session_is_the_same() {
    // Exactly the gap apart is of one session; rows without a time are of one that has no bounds.
    let expected = [
        "1 1970-01-01T00:00:00 1970-01-01T00:01:00 2 30",
        "2 1970-01-01T00:01:05 1970-01-01T00:01:35 1 30",
        "2 1970-01-01T00:02:05 1970-01-01T00:02:35 1",
        "3   1 50",
    ];
    for text in [
        "SELECT auction, window_start, window_end, count(*), sum(price) FROM session(bids, ts, '30 s', auction) GROUP BY 1, 2, 3 ORDER BY 1, 2",
        "SELECT b.auction, b.window_start, b.window_end, count(*), sum(b.price) FROM session(bids, ts, INTERVAL '30 s', auction, bids.auction % 5) AS b GROUP BY 1, 2, 3 ORDER BY 1, 2",
        "SELECT auction, window_start, window_end, count(*), sum(price) FROM session(bids, key => auction, gap => '30 s', timecol => ts) GROUP BY 1, 2, 3 ORDER BY 1, 2",
        "SELECT auction, window_start, window_end, count(*), sum(price) FROM session((SELECT auction, ts, price FROM bids), ts, '30 s', (auction, 1)) GROUP BY 1, 2, 3 ORDER BY 1, 2",
        "SELECT auction, window_start, window_end, count(*), sum(price) FROM TABLE(SESSION(TABLE bids PARTITION BY auction, DESCRIPTOR(ts), INTERVAL '30' SECONDS)) GROUP BY window_start, window_end, auction ORDER BY 1, 2",
        "SELECT auction, window_start, window_end, count(*), sum(price) FROM SESSION(TABLE bids PARTITION BY (auction), DESCRIPTOR(ts), INTERVAL '30' SECONDS) GROUP BY window_start, window_end, auction ORDER BY 1, 2",
        "SELECT auction, window_start, window_end, count(*), sum(price) FROM SESSION(DATA => TABLE public.bids PARTITION BY auction, auction + 1, TIMECOL => DESCRIPTOR(ts), GAP => INTERVAL '30' SECONDS) GROUP BY window_start, window_end, auction ORDER BY 1, 2",
        "SELECT auction, session_start(ts, '30 s'), session_end(ts, '30 s'), count(*), sum(price) FROM bids GROUP BY session(ts, '30 s'), auction ORDER BY 1, 2",
        "SELECT auction AS a, SESSION_START(ts, INTERVAL '30' SECOND) AS s, SESSION_END(ts, INTERVAL '30' SECOND), count(*), sum(price) FROM bids GROUP BY a, SESSION(ts, INTERVAL '30' SECOND) ORDER BY 1, s",
        "SELECT auction, session_window.start, session_window.end, count(*), sum(price) FROM bids GROUP BY session_window(ts, '30 s'), 1 ORDER BY 1, 2",
    ] {
        assert_eq!(rows(text), expected, "{text}");
    }
    // Without a key, all rows are of one.
    let all = ["1970-01-01T00:00:00 1970-01-01T00:01:40 3", "1970-01-01T00:02:05 1970-01-01T00:02:40 1", "1"];
    for text in [
        "SELECT window_start, window_end, count(*) FROM session(bids, ts, '35 s', 1) GROUP BY 1, 2 ORDER BY 1",
        "SELECT session_start(ts, '35 s'), session_end(ts, '35 s'), count(*) FROM bids GROUP BY session(ts, '35 s') ORDER BY 1",
    ] {
        assert_eq!(rows(text), all, "{text}");
    }
    assert_eq!(
        rows(
            "SELECT count(*) FROM session(bids, ts, '30 s', auction) WHERE auction = 2 AND window_start > '1970-01-01 00:02:00'"
        ),
        ["1"]
    );
}

#[test]
fn every_count_window_is_the_same() {
    let expected = [
        "1 1 1970-01-01T00:00:00 1970-01-01T00:00:30 2 30",
        "2 1 1970-01-01T00:01:05 1970-01-01T00:02:05 2 30",
        "3 1   1 50",
    ];
    for text in [
        "SELECT auction, window_number, window_start, window_end, count(*), sum(price) FROM count_window(bids, ts, 2, auction) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2",
        "SELECT auction, window_number, window_start, window_end, count(*), sum(price) FROM count_window(bids, ts, key => auction, rows => 2) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2",
        "SELECT auction, window_number, window_start, window_end, count(*), sum(price) FROM COUNT_WINDOW(TABLE bids PARTITION BY auction, DESCRIPTOR(ts), 2) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2",
    ] {
        assert_eq!(rows(text), expected, "{text}");
    }
    assert_eq!(
        rows("SELECT window_number, price FROM count_window(bids, ts, 3, 0) ORDER BY 1, price"),
        ["1 10", "1 20", "1 30", "2 50", "2"]
    );
}

#[test]
fn days_in_a_zone_are_local() {
    // 1970-01-01 00:00 UTC was 1969-12-31 19:00 in New York.
    let expected = ["1969-12-31T05:00:00 1970-01-01T05:00:00 4", "1"];
    for text in [
        "SELECT window_start, window_end, count(*) FROM tumble(bids, ts, '1 day', timezone => 'America/New_York') GROUP BY 1, 2 ORDER BY 1",
        "SELECT window_start, window_end, count(*) FROM hop(bids, ts, '1 day', '1 day', timezone => 'america/new_york') GROUP BY 1, 2 ORDER BY 1",
        "SELECT window_start, window_end, count(*) FROM cumulate(bids, ts, '1 day', '1 day', timezone => 'America/New_York') GROUP BY 1, 2 ORDER BY 1",
        "SELECT tumble_start(ts, '1 day', timezone => 'America/New_York'), tumble_end(ts, '1 day', timezone => 'America/New_York'), count(*) FROM bids GROUP BY tumble(ts, '1 day', timezone => 'America/New_York') ORDER BY 1",
        "SELECT window_start, window_end, count(*) FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' DAY, TIMEZONE => 'America/New_York')) GROUP BY 1, 2 ORDER BY 1",
    ] {
        assert_eq!(rows(text), expected, "{text}");
    }
    assert_eq!(
        rows(
            "SELECT date_trunc('day', at, 'America/New_York'), date_trunc('day', ts, 'Asia/Tokyo'), count(*) FROM bids GROUP BY 1, 2 ORDER BY 1"
        ),
        ["1969-12-31T05:00:00Z 1969-12-31T15:00:00Z 4", "1"]
    );
    assert_eq!(bind("SELECT date_trunc('day', at, 'UTC') FROM bids").expect("valid").output_names, ["date_trunc"]);
    assert_eq!(
        rows(
            "SELECT window_start, window_end FROM hop(bids, at, '1 day', '2 days', timezone => 'Europe/Berlin') WHERE price = 10 ORDER BY 1"
        ),
        ["1969-12-30T23:00:00Z 1970-01-01T23:00:00Z", "1969-12-31T23:00:00Z 1970-01-02T23:00:00Z"]
    );
}

#[test]
fn a_window_s_columns_come_last() {
    let names = bind("SELECT * FROM hop(bids, ts, '1 minute', '2 minutes')").expect("valid").output_names;
    assert_eq!(names, ["auction", "price", "name", "ts", "at", "window_start", "window_end"]);
}

#[test]
fn wrong_windows_are_refused_where_they_are_wrong() {
    for (text, state, message, at) in [
        ("SELECT * FROM tumble(bids, ts)", "42883", "wrong arguments for tumble", "tumble"),
        ("SELECT * FROM tumble(bids, ts, '1 s', '0 s', '0 s')", "42883", "wrong arguments for tumble", "tumble"),
        ("SELECT * FROM tumble(bids, ts, '1 s', size => '1 s')", "42883", "wrong arguments for tumble", "tumble"),
        ("SELECT * FROM tumble(5, ts, '1 s')", "42883", "a window's first argument must be a relation", "5"),
        (
            "SELECT * FROM tumble(bids, price, '1 s')",
            "42804",
            "a window's time must be timestamp or timestamptz, but is bigint",
            "price",
        ),
        ("SELECT * FROM tumble(bids, wibble, '1 s')", "42703", "column \"wibble\" does not exist", "wibble"),
        ("SELECT * FROM tumble(wibble, ts, '1 s')", "42P01", "relation \"wibble\" does not exist", "wibble"),
        (
            "SELECT * FROM tumble(bids, ts, '1 month')",
            "0A000",
            "a window size in months or years is not supported",
            "'1 month'",
        ),
        ("SELECT * FROM tumble(bids, ts, '0 s')", "22023", "window size must be positive", "tumble"),
        ("SELECT * FROM tumble(bids, ts, '-1 s')", "22023", "window size must be positive", "tumble"),
        (
            "SELECT * FROM tumble(bids, ts, '101 years')",
            "0A000",
            "a window size in months or years is not supported",
            "'101",
        ),
        ("SELECT * FROM tumble(bids, ts, '99999 days')", "22023", "window size must not exceed 100 years", "tumble"),
        ("SELECT * FROM hop(bids, ts, '0 s', '1 s')", "22023", "window slide must be positive", "hop"),
        (
            "SELECT * FROM hop(bids, ts, '1 ms', '1 day')",
            "54000",
            "each row would fall into more than 10000 hopping windows",
            "hop",
        ),
        ("SELECT * FROM tumble(bids, ts, 5)", "22023", "the size of a window must be a constant interval", "5"),
        ("SELECT * FROM tumble(bids, ts, $1)", "22023", "the size of a window must be a constant interval", "$1"),
        ("SELECT * FROM tumble(bids, ts, 'x')", "22007", "invalid input syntax for type interval: \"x\"", "'x'"),
        (
            "SELECT * FROM tumble(bids, ts, '1 day', timezone => 'Mars')",
            "22023",
            "time zone \"Mars\" not recognized",
            "'Mars'",
        ),
        (
            "SELECT * FROM tumble(bids, ts, '1 hour', timezone => 'UTC')",
            "0A000",
            "a window size in a time zone must be of whole days",
            "'1 hour'",
        ),
        (
            "SELECT * FROM hop(bids, ts, '12 hours', '1 day', timezone => 'UTC')",
            "0A000",
            "a window slide in a time zone must be of whole days",
            "'12 hours'",
        ),
        (
            "SELECT * FROM tumble(bids, ts, '1 day', '1 hour', timezone => 'UTC')",
            "0A000",
            "a window offset in a time zone must be of whole days",
            "'1 hour'",
        ),
        (
            "SELECT * FROM tumble(bids, ts, '1 day', timezone => name)",
            "22023",
            "the time zone of a window must be a constant",
            "name",
        ),
        (
            "SELECT * FROM tumble(bids, ts, '0 days', timezone => 'UTC')",
            "22023",
            "window slide must be positive",
            "tumble",
        ),
        (
            "SELECT * FROM session(bids, ts, '1 s', auction, timezone => 'UTC')",
            "42883",
            "wrong arguments for session",
            "session",
        ),
        ("SELECT * FROM session(bids, ts, '1 s')", "42883", "session needs a key", "session"),
        (
            "SELECT * FROM SESSION(TABLE bids, DESCRIPTOR(ts), INTERVAL '1' MINUTE)",
            "42883",
            "session needs a key",
            "SESSION",
        ),
        ("SELECT * FROM session(bids, ts)", "42883", "wrong arguments for session", "session"),
        ("SELECT * FROM session(bids, ts, '0 s', auction)", "22023", "window gap must be positive", "session"),
        ("SELECT * FROM session(bids, ts, '-1 s', auction)", "22023", "window gap must be positive", "session"),
        (
            "SELECT * FROM session(bids, ts, '1 month', auction)",
            "0A000",
            "a window gap in months or years is not supported",
            "'1 month'",
        ),
        ("SELECT * FROM session(bids, ts, '1 s', wibble)", "42703", "column \"wibble\" does not exist", "wibble"),
        (
            "SELECT * FROM session(bids, price, '1 s', auction)",
            "42804",
            "a window's time must be timestamp or timestamptz, but is bigint",
            "price",
        ),
        ("SELECT * FROM cumulate(bids, ts, '1 s')", "42883", "wrong arguments for cumulate", "cumulate"),
        (
            "SELECT * FROM cumulate(bids, ts, '2 s', '3 s')",
            "22023",
            "the size of cumulating windows must be a multiple of the step",
            "cumulate",
        ),
        (
            "SELECT * FROM cumulate(bids, ts, '1 ms', '1 day')",
            "54000",
            "each row would fall into more than 10000 cumulating windows",
            "cumulate",
        ),
        ("SELECT * FROM count_window(bids, ts, 2)", "42883", "count_window needs a key", "count_window"),
        (
            "SELECT * FROM count_window(bids, ts, 0, auction)",
            "22023",
            "a count window needs at least one row",
            "count_window",
        ),
        (
            "SELECT * FROM count_window(bids, ts, '2 s', auction)",
            "22023",
            "the rows of a window must be a constant number",
            "'2 s'",
        ),
        (
            "SELECT count(*) FROM bids GROUP BY count_window(ts, 2)",
            "0A000",
            "count_window in GROUP BY is not supported",
            "count_window",
        ),
        (
            "SELECT count(*) FROM session_window(bids, ts, '1 s', auction)",
            "0A000",
            "session_window in FROM is not supported",
            "session_window",
        ),
        (
            "SELECT session_start(ts, '2 s') FROM bids GROUP BY session(ts, '1 s'), auction",
            "42803",
            "session_start must repeat the window of the GROUP BY clause",
            "session_start",
        ),
        (
            "SELECT count(*) FROM bids GROUP BY session(ts, '1 s'), ROLLUP (auction)",
            "0A000",
            "a session in GROUP BY with grouping sets is not supported",
            "session",
        ),
        (
            "SELECT tumble_start(ts, '2 s') FROM bids GROUP BY tumble(ts, '1 s')",
            "42803",
            "tumble_start must repeat the window of the GROUP BY clause",
            "tumble_start",
        ),
        (
            "SELECT hop_start(ts, '1 s', '1 s') FROM bids GROUP BY tumble(ts, '1 s')",
            "42803",
            "hop_start must repeat the window of the GROUP BY clause",
            "hop_start",
        ),
        (
            "SELECT tumble_rowtime(ts, '1 s') FROM bids GROUP BY tumble(ts, '1 s')",
            "0A000",
            "tumble_rowtime is not supported",
            "tumble_rowtime",
        ),
        (
            "SELECT 1 FROM bids GROUP BY tumble(ts, '1 s'), tumble(ts, '2 s')",
            "0A000",
            "more than one window in GROUP BY is not supported",
            "tumble(ts, '2",
        ),
        ("SELECT 1 GROUP BY tumble(now(), '1 s')", "42P01", "a window in GROUP BY needs a FROM clause", "tumble"),
        (
            "SELECT * FROM tumble((SELECT * FROM tumble(bids, ts, '1 s')), ts, '1 s')",
            "42701",
            "\"tumble\" already has a column \"window_start\"",
            "tumble((SELECT",
        ),
    ] {
        let error = bind(text).expect_err(text);
        assert_eq!((error.state.0, error.message.as_str()), (state, message), "{text}");
        let position = error.position.unwrap_or_else(|| panic!("{text}: no position"));
        let rest: String = text.chars().skip(position - 1).collect();
        assert!(rest.starts_with(at), "{text}: points at {rest:?}");
    }
}

/// The windows a plan's expressions are recognised as.
fn recognised(plan: &LogicalPlan) -> Vec<Window> {
    let mut windows = Vec::new();
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            windows.extend(tumble_of(expr).or_else(|| hop_of(expr)).map(|(_, window)| window));
            Ok(TreeNodeRecursion::Continue)
        })
    })
    .expect("the closure does not fail");
    windows
}

#[test]
fn a_plan_s_windows_can_be_recognised() {
    const MINUTE: i64 = 60_000_000;
    for (text, expected) in [
        ("SELECT * FROM tumble(bids, ts, '1 minute')", Window::Tumble { size: MINUTE, offset: 0 }),
        ("SELECT * FROM tumble(bids, at, '1 minute', '70 s')", Window::Tumble { size: MINUTE, offset: 10_000_000 }),
        ("SELECT date_bin('1 minute', ts) FROM bids", Window::Tumble { size: MINUTE, offset: 0 }),
        (
            "SELECT date_bin('1 day', ts, TIMESTAMP '2000-01-01 01:00:00') FROM bids",
            Window::Tumble { size: 1440 * MINUTE, offset: 60 * MINUTE },
        ),
        ("SELECT 1 FROM bids GROUP BY tumble(ts, '1 minute')", Window::Tumble { size: MINUTE, offset: 0 }),
        ("SELECT 1 FROM bids GROUP BY window(ts, '1 minute')", Window::Tumble { size: MINUTE, offset: 0 }),
        (
            "SELECT * FROM hop(bids, ts, '1 minute', '2 minutes')",
            Window::Hop { slide: MINUTE, size: 2 * MINUTE, offset: 0 },
        ),
        (
            "SELECT * FROM hop(bids, at, '1 minute', '2 minutes', '-1 s')",
            Window::Hop { slide: MINUTE, size: 2 * MINUTE, offset: 59_000_000 },
        ),
        (
            "SELECT 1 FROM bids GROUP BY hop(ts, '1 minute', '2 minutes')",
            Window::Hop { slide: MINUTE, size: 2 * MINUTE, offset: 0 },
        ),
    ] {
        let bound = bind(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        // What a user wrote as text is an interval once constants are folded.
        if !text.contains("date_bin") {
            assert_eq!(recognised(&bound.plan), [expected], "{text}");
        }
        let state = crate::binder::tests::state();
        let catalog = crate::binder::tests::Catalog::sample();
        let optimized = crate::binder::Binder::new(&state, &catalog).optimize(&bound.plan, None).expect("optimizes");
        assert_eq!(recognised(&optimized), [expected], "{text}, optimized");
    }
}
