//! Two answers as multisets of rows.
//!
//! Floats are equal within 1e-9 of the larger, because a batch sums them in another order; lists whose order SQL leaves
//! open are compared sorted. Everything else is compared exactly.

use std::cmp::Ordering;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// One value of a row, ready to be compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// A float.
    Float(f64),
    /// Anything else, as text.
    Text(String),
    /// A list, sorted.
    List(Vec<Value>),
}

impl Value {
    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => (a + 0.0).total_cmp(&(b + 0.0)),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::List(a), Self::List(b)) => order(a, b),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Float(_) => 1,
            Self::Text(_) => 2,
            Self::List(_) => 3,
        }
    }

    fn is_near(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => {
                (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
            }
            (Self::List(a), Self::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_near(b)),
            (a, b) => a == b,
        }
    }
}

fn order(a: &[Value], b: &[Value]) -> Ordering {
    let parts = a.iter().zip(b).map(|(a, b)| a.order(b));
    parts.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
}

/// The rows of some batches, sorted.
pub fn rows(batches: &[RecordBatch]) -> Vec<Vec<Value>> {
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            rows.push(batch.columns().iter().map(|column| value(column, row)).collect::<Vec<_>>());
        }
    }
    // Floats that are only nearly equal must not change the order: compare everything else first.
    rows.sort_by(|a, b| order(&without_floats(a), &without_floats(b)).then_with(|| order(a, b)));
    rows
}

fn without_floats(row: &[Value]) -> Vec<Value> {
    row.iter().map(|value| if matches!(value, Value::Float(_)) { Value::Null } else { value.clone() }).collect()
}

fn value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Float64 => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => Value::Float(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let mut items: Vec<_> = (0..items.len()).map(|item| value(&items, item)).collect();
            items.sort_by(Value::order);
            Value::List(items)
        }
        _ => {
            let formatter =
                ArrayFormatter::try_new(array, &FormatOptions::default()).expect("a type that can be shown");
            Value::Text(formatter.value(row).to_string())
        }
    }
}

/// Says how two answers differ, if they do.
///
/// # Errors
/// The first rows that differ.
pub fn equal(expected: &[RecordBatch], found: &[RecordBatch]) -> Result<(), String> {
    let (expected, found) = (rows(expected), rows(found));
    let same = |a: &Vec<Value>, b: &Vec<Value>| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_near(b));
    if expected.len() == found.len() && expected.iter().zip(&found).all(|(a, b)| same(a, b)) {
        return Ok(());
    }
    let missing: Vec<_> = expected.iter().filter(|row| !found.iter().any(|other| same(row, other))).take(5).collect();
    let surplus: Vec<_> = found.iter().filter(|row| !expected.iter().any(|other| same(row, other))).take(5).collect();
    Err(format!(
        "expected {} rows, found {}\n  missing: {missing:?}\n  surplus: {surplus:?}",
        expected.len(),
        found.len()
    ))
}
