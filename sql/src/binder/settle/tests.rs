//! What Postgres answers, compared with what a bound query gives.

use arrow::datatypes::DataType;

use crate::binder::tests::{bind, run};
use crate::types::display_type;

/// The only value of a query with one row, as Arrow prints it, and its type.
fn value(text: &str) -> (String, String) {
    let rows = run(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let line = rows.lines().nth(3).unwrap_or_else(|| panic!("{text}: no row"));
    let bound = bind(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    (line.trim_matches(['|', ' ']).to_string(), display_type(bound.plan.schema().field(0).data_type()))
}

#[test]
fn numbers_meet_as_in_postgres() {
    for (text, expected, data_type) in [
        ("SELECT 1e15::float8", "1000000000000000.0", "double precision"),
        ("SELECT 123456789012345.6789::float8 = '123456789012345.6789'::float8", "true", "boolean"),
        ("SELECT 1e15", "1000000000000000", "numeric(16,0)"),
        ("SELECT 1e3 / 4", "250.0000", "numeric(8,4)"),
        ("SELECT 1e308", "1e308", "double precision"),
        ("SELECT -1e-300", "-1e-300", "double precision"),
        ("SELECT 'infinity'::float8 > 1e308", "true", "boolean"),
        ("SELECT 'NaN'::float8 > 1.5", "true", "boolean"),
        ("SELECT 'NaN'::float8 + 1.5", "NaN", "double precision"),
        ("SELECT coalesce('NaN'::float8, 1.5)", "NaN", "double precision"),
        ("SELECT coalesce('NaN'::float8, 1.5) > 2.5", "true", "boolean"),
        ("SELECT f > 2.5 FROM (SELECT coalesce('NaN'::float8, 1.5) AS f) t", "true", "boolean"),
        ("SELECT greatest(1.5, 2.5::float8)", "2.5", "double precision"),
        ("SELECT CASE WHEN price > 15 THEN 0.5 ELSE 'NaN'::float8 END FROM bids LIMIT 1", "NaN", "double precision"),
        ("SELECT 'NaN'::float8 IN (1.5, 2)", "false", "boolean"),
        ("SELECT 1.5 IN ('NaN'::float8, 1.5::float8)", "true", "boolean"),
        ("SELECT 'NaN'::float8 BETWEEN 1.5 AND 2.5", "false", "boolean"),
        ("SELECT 1.5 NOT BETWEEN 'NaN'::float8 AND 1", "true", "boolean"),
        ("SELECT 1::real + 0.5", "1.5", "double precision"),
        ("SELECT 1::real + 1", "2.0", "double precision"),
        ("SELECT 0.1::real > 0.1", "true", "boolean"),
        ("SELECT sum(x) FROM (SELECT 1.5 AS x UNION ALL SELECT 'NaN'::float8) t", "NaN", "double precision"),
        ("SELECT round(2.5::float8)", "2.0", "double precision"),
        ("SELECT round(-3.5::float8)", "-4.0", "double precision"),
        ("SELECT round(2.5)", "3", "numeric(2,0)"),
        ("SELECT 2.5::float8::int", "2", "integer"),
        ("SELECT 2.7::float8::bigint", "3", "bigint"),
        ("SELECT 2.5::int", "3", "integer"),
        ("SELECT -2.5::numeric(9, 4)::smallint", "-3", "smallint"),
    ] {
        assert_eq!(value(text), (expected.to_string(), data_type.to_string()), "{text}");
    }
}

#[test]
fn literals_take_the_type_of_what_stands_beside_them() {
    for (text, expected, data_type) in [
        ("SELECT 1 + '1'", "2", "bigint"),
        ("SELECT '3' * 2", "6", "bigint"),
        ("SELECT 1.5 + '2.25'", "3.75", "numeric(4,2)"),
        ("SELECT max(price) - '1' FROM bids", "49", "bigint"),
        ("SELECT 1 = '1'", "true", "boolean"),
        ("SELECT true = 't'", "true", "boolean"),
        ("SELECT 3 IN ('3', '4')", "true", "boolean"),
        ("SELECT 2 BETWEEN '1' AND '3'", "true", "boolean"),
        ("SELECT coalesce(NULL, 1, '2')", "1", "bigint"),
        ("SELECT coalesce(1, '2') + 1", "2", "bigint"),
        ("SELECT nullif(1, '1')", "", "bigint"),
        ("SELECT CASE 2 WHEN '2' THEN 'x' ELSE 'y' END", "x", "text"),
        ("SELECT CASE WHEN false THEN 1 ELSE '2' END + 1", "3", "bigint"),
        ("SELECT TIMESTAMP '2026-01-01' + '1 day' = '2026-01-02'", "true", "boolean"),
        ("SELECT '\\x00ff'::bytea = '\\x00FF'", "true", "boolean"),
        ("SELECT '\\x00ff'::bytea", "00ff", "bytea"),
        ("SELECT BYTEA 'a\\001'", "6101", "bytea"),
        ("SELECT '\\x00ff'::bytea::text", "\\x00ff", "text"),
        ("SELECT length(max(name)::bytea::text) FROM bids", "4", "integer"),
    ] {
        assert_eq!(value(text), (expected.to_string(), data_type.to_string()), "{text}");
    }
    for (text, expected, at) in [
        ("SELECT 1 + 'x'", "22P02: invalid input syntax for type bigint: \"x\"", "'x'"),
        ("SELECT 'x'::int", "22P02: invalid input syntax for type integer: \"x\"", "'x'"),
        ("SELECT price FROM bids WHERE price = 'x'", "22P02: invalid input syntax for type bigint: \"x\"", "'x'"),
        ("SELECT price FROM bids WHERE price IN (1, 'x')", "22P02: invalid input syntax for type bigint: \"x\"", "'x'"),
        ("SELECT CASE WHEN true THEN 1 ELSE 'x' END", "22P02: invalid input syntax for type bigint: \"x\"", "'x'"),
        ("SELECT '\\x0'::bytea", "22023: invalid hexadecimal data: odd number of digits", "'\\x0'"),
        ("SELECT ts - '1 day' FROM bids", "22007: invalid input syntax for type timestamp: \"1 day\"", "'1 day'"),
        ("SELECT '1e400'::float8", "22003: \"1e400\" is out of range for type double precision", "'1e400'"),
    ] {
        let error = bind(text).expect_err(text);
        let rest: String = text.chars().skip(error.position.unwrap_or(1) - 1).collect();
        assert_eq!((error.to_string().as_str(), rest.starts_with(at)), (expected, true), "{text}: at {rest:?}");
    }
}

#[test]
fn differences_of_times_are_days_and_a_time() {
    for (text, expected) in [
        ("SELECT (TIMESTAMP '2026-03-01' - TIMESTAMP '2026-02-01')::text", "28 days"),
        ("SELECT (TIMESTAMP '2026-03-01 10:00' - TIMESTAMP '2026-03-02 12:00:00.5')::text", "-1 days -02:00:00.5"),
        ("SELECT extract(hour FROM TIMESTAMP '2026-03-03 10:00' - TIMESTAMP '2026-03-01')", "10"),
        ("SELECT extract(day FROM TIMESTAMP '2026-03-03 10:00' - TIMESTAMP '2026-03-01')", "2"),
        ("SELECT TIMESTAMP '2026-03-03 06:00' - TIMESTAMP '2026-03-02' = INTERVAL '30 hours'", "true"),
        ("SELECT TIMESTAMP '2026-03-03 06:00' - TIMESTAMP '2026-03-02' > INTERVAL '1 day'", "true"),
        ("SELECT max(ts) - min(ts) > '2 minutes' FROM bids", "true"),
        ("SELECT INTERVAL '30 hours' > INTERVAL '1 day'", "true"),
        ("SELECT INTERVAL '1 month' = INTERVAL '30 days'", "true"),
        ("SELECT sum(ts - TIMESTAMP '1970-01-01')::text FROM bids", "00:03:40"),
        ("SELECT INTERVAL '1 year 2 days 03:00'::text", "1 year 2 days 03:00:00"),
    ] {
        assert_eq!(value(text).0, expected, "{text}");
    }
}

#[test]
fn positions_in_a_window_are_bigint() {
    for (call, data_type) in
        [("row_number()", DataType::Int64), ("rank()", DataType::Int64), ("ntile(2)", DataType::Int32)]
    {
        let text = format!("SELECT {call} OVER (ORDER BY price) FROM bids");
        let bound = bind(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(bound.plan.schema().field(0).data_type(), &data_type);
        assert!(run(&text).is_ok());
    }
}

#[test]
fn a_subquery_s_value_is_of_one_row() {
    let error = run("SELECT (SELECT price FROM bids)").expect_err("five rows");
    assert_eq!(error.to_string(), "21000: more than one row returned by a subquery used as an expression");
    assert_eq!(value("SELECT (SELECT price FROM bids WHERE price > 30)").0, "50");
}
