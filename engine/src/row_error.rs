//! Rows on which an expression failed: what is known of each, and where a plan puts them.
//!
//! A plan that leaves such rows out ([`checked`](crate::dataflow::checked), and operators for what they compute themselves) puts each
//! into the [`RowErrors`] of its execution, with its weight. A retraction of the row fails as its insert did, so the weights
//! of equal errors add up: the errors are a collection like any other, `<view>_errors`.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::DataFusionError;
use parking_lot::Mutex;

use crate::delta::{Delta, WEIGHT_COLUMN, Weights};
use crate::error::{Error, ErrorKind, Result, is_of_values};

/// Columns of `<view>_errors`, all text: the operator that left the row out, the expression, SQLSTATE and message of its
/// failure, and the row as JSON.
pub fn row_errors_schema() -> SchemaRef {
    let column = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(
        ["operator", "expression", "sqlstate", "message", "row"].map(column).into_iter().collect::<Vec<_>>(),
    ))
}

/// The name of the relation that holds a view's errors.
pub fn errors_name(view: &str) -> String {
    format!("{view}_errors")
}

/// What a failure is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The SQLSTATE.
    pub sqlstate: String,
    /// One line.
    pub message: String,
}

/// Tells what a failure is called.
pub type Diagnose = fn(DataFusionError) -> Diagnosis;

/// One failure of an operator on something it computes itself.
#[derive(Debug)]
pub struct Failure {
    /// What was computed.
    pub expression: String,
    /// Why it could not be.
    pub cause: Error,
    /// What it was computed for, as JSON.
    pub row: String,
    /// How often it failed; less than zero for failures that are no more.
    pub weight: i64,
}

/// The rows that one execution left out since they were last taken.
#[derive(Debug)]
pub struct RowErrors {
    diagnose: Diagnose,
    found: Mutex<Vec<([String; 5], i64)>>,
}

impl RowErrors {
    /// None so far.
    pub fn new(diagnose: Diagnose) -> Self {
        Self { diagnose, found: Mutex::default() }
    }

    /// Adds `weight` rows on which `expression` failed.
    pub fn add(&self, operator: &str, expression: &str, cause: DataFusionError, row: String, weight: i64) {
        let Diagnosis { sqlstate, message } = (self.diagnose)(cause);
        self.found.lock().push(([visible(operator), visible(expression), sqlstate, message, row], weight));
    }

    /// Hands out what was added, in the columns of [`row_errors_schema`]; `None` if nothing was.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn take(&self) -> Result<Option<Delta>> {
        let found = std::mem::take(&mut *self.found.lock());
        if found.is_empty() {
            return Ok(None);
        }
        let column = |index: usize| {
            Arc::new(StringArray::from_iter_values(found.iter().map(|(texts, _)| texts[index].as_str()))) as _
        };
        let rows = RecordBatch::try_new(row_errors_schema(), (0..5).map(column).collect())
            .map_err(|e| Error::internal("errors do not fit their columns").with_source(e))?;
        let weights = Int64Array::from_iter_values(found.iter().map(|(_, weight)| *weight));
        Ok(Some(Delta { rows, weights: Weights::Signed(weights) }))
    }
}

/// Begins what names carry that no query wrote.
const MARK: char = '\u{1}';

/// A text without marks and the numbers behind them.
fn visible(text: &str) -> String {
    let mut marked = false;
    let is_shown = |c: &char| {
        let is_number = marked && c.is_ascii_digit();
        marked = *c == MARK || is_number;
        !marked
    };
    text.chars().filter(is_shown).collect()
}

/// True if `error` says something of a row's values, and not of the plan or of the machine.
pub fn is_of_a_row(error: &DataFusionError) -> bool {
    use arrow::error::ArrowError as A;
    match error.find_root() {
        DataFusionError::Execution(_) => true,
        DataFusionError::ArrowError(error, _) => {
            !matches!(error.as_ref(), A::MemoryError(_) | A::NotYetImplemented(_)) && is_of_values(error)
        }
        DataFusionError::External(error) => {
            error.downcast_ref::<Error>().is_none_or(|error| error.kind() == ErrorKind::Data)
        }
        _ => false,
    }
}

/// A row as a JSON object. Columns whose names begin with two underscores or a mark are the engine's own and are left out.
pub fn row_json(rows: &RecordBatch, row: usize) -> String {
    const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(true);
    let schema = rows.schema();
    let mut text = String::from("{");
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        if field.name().starts_with("__") || field.name().starts_with(MARK) || field.name() == WEIGHT_COLUMN {
            continue;
        }
        if text.len() > 1 {
            text.push_str(", ");
        }
        push_quoted(&mut text, &visible(field.name()));
        text.push_str(": ");
        if column.is_null(row) || column.data_type().is_null() {
            text.push_str("null");
            continue;
        }
        let value = match ArrayFormatter::try_new(column.as_ref(), &OPTIONS) {
            Ok(formatter) => formatter.value(row).to_string(),
            Err(error) => error.to_string(),
        };
        let data_type = column.data_type();
        let is_bare = matches!(data_type, DataType::Boolean) || data_type.is_numeric();
        // JSON has no infinity and no NaN.
        if is_bare && !value.ends_with("inf") && value != "NaN" {
            text.push_str(&value);
        } else {
            push_quoted(&mut text, &value);
        }
    }
    text.push('}');
    text
}

fn push_quoted(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            control if control < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, BooleanArray, Float64Array};

    use super::*;

    #[test]
    fn a_row_is_json() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("k", Arc::new(Int64Array::from(vec![Some(-7), None]))),
            ("t", Arc::new(StringArray::from(vec!["a \"b\"\n\u{1}", "c\\d"]))),
            ("f", Arc::new(Float64Array::from(vec![1.5, f64::NEG_INFINITY]))),
            ("b", Arc::new(BooleanArray::from(vec![true, false]))),
            ("\u{1}key_0", Arc::new(Int64Array::from(vec![1, 2]))),
        ];
        let rows = RecordBatch::try_from_iter(columns).expect("columns of one length");
        let shown: Vec<String> = (0..2).map(|row| row_json(&rows, row)).collect();
        let first: serde_json::Value = serde_json::from_str(&shown[0]).expect("JSON");
        assert_eq!(first, serde_json::json!({"k": -7, "t": "a \"b\"\n\u{1}", "f": 1.5, "b": true}));
        let second: serde_json::Value = serde_json::from_str(&shown[1]).expect("JSON");
        assert_eq!(second, serde_json::json!({"k": null, "t": "c\\d", "f": "-inf", "b": false}));
    }
}
