//! Changelogs as text.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};

use super::weighted;
use crate::delta::Delta;
use crate::view::{changelog, consolidate};

fn rows(values: &[(Option<i64>, Option<&str>, Option<f64>)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8View, true),
        Field::new("c", DataType::Float64, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(values.iter().map(|v| v.0).collect::<Int64Array>()),
        Arc::new(values.iter().map(|v| v.1).collect::<StringViewArray>()),
        Arc::new(values.iter().map(|v| v.2).collect::<Float64Array>()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).expect("columns made for the schema")
}

fn check(delta: &Delta, expected: &str) {
    assert_eq!(changelog::render(delta).expect("plain columns"), expected);
}

#[test]
fn rows_are_sorted_by_value() {
    let delta = Delta::inserts(rows(&[
        (Some(10), Some("x"), Some(1.0)),
        (Some(9), Some("y"), None),
        (None, Some("z"), Some(-0.5)),
        (Some(9), Some("x"), Some(f64::NAN)),
    ]));
    check(&delta, "+1 | NULL | z | -0.5\n+1 | 9 | x | NaN\n+1 | 9 | y | NULL\n+1 | 10 | x | 1.0\n");
}

#[test]
fn equal_rows_are_one_line() {
    let row = (Some(1), Some("a"), Some(0.0));
    let odd = (Some(1), Some("a"), Some(-0.0));
    let other = (Some(2), None, None);
    check(&weighted(rows(&[row, odd, other, other, row]), vec![1, 1, 1, -1, -4]), "-2 | 1 | a | 0.0\n");
}

#[test]
fn text_that_could_mislead_is_quoted() {
    let texts = ["NULL", "", "a | b", "line\nbreak", " end", "\"", "plain text"];
    let values: Vec<_> = texts.iter().map(|text| (Some(1), Some(*text), None)).collect();
    let delta = Delta::inserts(rows(&values));
    let expected = [r#""""#, r#"" end""#, r#""\"""#, r#""NULL""#, r#""a | b""#, r#""line\nbreak""#, "plain text"];
    let expected: String = expected.iter().map(|text| format!("+1 | 1 | {text} | NULL\n")).collect();
    check(&delta, &expected);
}

#[test]
fn nothing_is_no_text() {
    check(&Delta::empty(rows(&[]).schema()), "");
}

#[test]
fn consolidation_puts_retractions_first_and_keeps_order() {
    let [one, two, three] = [1, 2, 3].map(|a| (Some(a), None, None));
    let deltas = [weighted(rows(&[three, one]), vec![1, -1]), Delta::inserts(rows(&[two, three]))];
    let schema = rows(&[]).schema();
    let delta = consolidate(&schema, &deltas).expect("plain columns");
    let weights: Vec<_> = (0..delta.num_rows()).map(|row| delta.weight(row)).collect();
    assert_eq!(weights, [-1, 2, 1]);
    assert_eq!(delta.rows, rows(&[one, three, two]));
}
