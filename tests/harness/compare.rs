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
        let mut columns: Vec<_> = batch.columns().iter().map(|column| values(column).into_iter()).collect();
        let row = |_| columns.iter_mut().map(|column| column.next().expect("a value for each row")).collect::<Vec<_>>();
        rows.extend((0..batch.num_rows()).map(row));
    }
    // Floats that are only nearly equal must not change the order: compare everything else first.
    rows.sort_by(|a, b| order_but_for_floats(a, b).then_with(|| order(a, b)));
    rows
}

fn order_but_for_floats(a: &[Value], b: &[Value]) -> Ordering {
    let value = |pair: (&Value, &Value)| match pair {
        (Value::Float(_), Value::Float(_)) => Ordering::Equal,
        // A float stands with the NULLs.
        (Value::Float(_), other) => Value::Null.order(other),
        (other, Value::Float(_)) => other.order(&Value::Null),
        (a, b) => a.order(b),
    };
    a.iter().zip(b).map(value).fold(Ordering::Equal, Ordering::then)
}

fn values(array: &dyn Array) -> Vec<Value> {
    let values = |value: &dyn Fn(usize) -> Value| {
        let value = |row: usize| if array.is_null(row) { Value::Null } else { value(row) };
        (0..array.len()).map(value).collect()
    };
    match array.data_type() {
        DataType::Float64 => values(&|row| Value::Float(array.as_primitive::<Float64Type>().value(row))),
        DataType::Float32 => values(&|row| Value::Float(f64::from(array.as_primitive::<Float32Type>().value(row)))),
        DataType::List(_) => values(&|row| {
            let mut items = self::values(&array.as_list::<i32>().value(row));
            items.sort_by(Value::order);
            Value::List(items)
        }),
        _ => {
            let shown = ArrayFormatter::try_new(array, &FormatOptions::default()).expect("a type that can be shown");
            values(&|row| Value::Text(shown.value(row).to_string()))
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
