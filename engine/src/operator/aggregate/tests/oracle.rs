//! DataFusion's batch answer, and a view that follows an operator's deltas.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::plan::select;
use crate::delta::Delta;

/// Rows by key: what a view holds, or what a batch answers.
pub type Rows = BTreeMap<String, Vec<ScalarValue>>;

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

pub fn table(rows: RecordBatch) -> Arc<MemTable> {
    Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]]).expect("a table of one batch"))
}

/// The batch answer of `SELECT keys, calls FROM t GROUP BY keys`, which has `key_columns` keys. Calls are asked one by one.
pub fn batch_answer(keys: &str, calls: &[&str], key_columns: usize, rows: RecordBatch) -> Rows {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    context.register_table("t", table(rows)).expect("a fresh name");
    let mut answer = Rows::new();
    for (index, call) in calls.iter().enumerate() {
        let sql = select(keys, &[&oracle_call(call)]);
        let batches = block_on(async { context.sql(&sql).await?.collect().await });
        for batch in batches.unwrap_or_else(|e| panic!("{sql}: {e}")) {
            for row in 0..batch.num_rows() {
                let (key, values) = split(&batch, row, key_columns);
                let answers = answer.entry(key).or_default();
                answers.extend(values);
                assert_eq!(answers.len(), index + 1, "{sql}: a key twice, or not in every query");
            }
        }
    }
    answer
}

fn split(batch: &RecordBatch, row: usize, keys: usize) -> (String, Vec<ScalarValue>) {
    let value = |column: &ArrayRef| ScalarValue::try_from_array(column, row).expect("a scalar");
    let key: Vec<_> = batch.columns()[..keys].iter().map(value).collect();
    (format!("{key:?}"), batch.columns()[keys..].iter().map(value).collect())
}

/// A view kept by applying deltas, strictly.
#[derive(Debug, Clone, Default)]
pub struct View {
    pub keys: usize,
    pub rows: Rows,
}

impl View {
    /// Applies one tick's deltas. Retractions must be of the very row that is there, inserts of a key that is not, and a
    /// row must not be replaced by itself.
    pub fn apply(&mut self, deltas: &[Delta]) {
        let mut retracted = Rows::new();
        for (key, values) in rows_of(deltas, self.keys, -1) {
            let present = self.rows.remove(&key);
            assert!(present.as_ref() == Some(&values), "{key}: retracted {values:?} where {present:?} was");
            retracted.insert(key, values);
        }
        for (key, values) in rows_of(deltas, self.keys, 1) {
            assert!(retracted.get(&key) != Some(&values), "{key}: {values:?} was retracted and inserted");
            let present = self.rows.insert(key.clone(), values);
            assert!(present.is_none(), "{key}: inserted where {present:?} was");
        }
    }

    /// Compares with a batch answer, columns by their own way of being equal.
    pub fn check(&self, expected: &Rows, same: &[Same], context: &str) {
        let keys = |rows: &Rows| rows.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&self.rows), keys(expected), "{context}: the view's keys (left), the batch's (right)");
        for (key, values) in &self.rows {
            for (column, (ours, theirs)) in values.iter().zip(&expected[key]).enumerate() {
                let type_of = ScalarValue::data_type;
                assert_eq!(type_of(ours), type_of(theirs), "{context}: the type of call {column}");
                assert!(
                    same[column].holds(ours, theirs),
                    "{context}: {key}, call {column}: {ours:?}, batch {theirs:?}"
                );
            }
        }
    }
}

/// The rows of weight `weight`; other weights than one row's are not allowed.
pub fn rows_of(deltas: &[Delta], keys: usize, weight: i64) -> Vec<(String, Vec<ScalarValue>)> {
    let mut rows = Vec::new();
    for delta in deltas {
        for row in 0..delta.num_rows() {
            assert!(delta.weight(row).abs() == 1, "a weight of {}", delta.weight(row));
            if delta.weight(row) == weight {
                rows.push(split(&delta.rows, row, keys));
            }
        }
    }
    rows
}

/// How a call's answer equals the batch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Same {
    /// Equal; floats to 1e-9.
    Exact,
    /// Lists with the same elements in any order.
    Unordered,
    /// Within a tenth of the values' range: sketches.
    Roughly,
    /// Equal unless the batch says NULL, which the oracle does where DataFusion's own answer is rounding noise.
    WhereKnown,
}

/// The call as the oracle asks it. A slope or a correlation is a quotient of differences of sums; where all values are equal
/// the true quotient is 0 / 0 and DataFusion's is whatever rounding leaves, so it is not asked there.
pub fn oracle_call(call: &str) -> String {
    let quotient = ["corr", "regr_slope", "regr_intercept", "regr_r2"];
    if quotient.iter().any(|function| call.starts_with(&format!("{function}(g, h)"))) {
        let several = |a, b| format!("count(DISTINCT {a}) FILTER (WHERE {b} IS NOT NULL) > 1");
        return format!("CASE WHEN {} AND {} THEN {call} END", several("g", "h"), several("h", "g"));
    }
    call.to_owned()
}

impl Same {
    /// How the answers of `call` are compared.
    pub fn of(call: &str) -> Self {
        if call.starts_with("approx_percentile") || call.starts_with("approx_median") {
            Self::Roughly
        } else if call.starts_with("array_agg") && !call.contains("ORDER BY") {
            Self::Unordered
        } else if oracle_call(call) != call {
            Self::WhereKnown
        } else {
            Self::Exact
        }
    }

    fn holds(self, ours: &ScalarValue, theirs: &ScalarValue) -> bool {
        match self {
            Self::Exact => close(ours, theirs, 1e-9),
            Self::WhereKnown => theirs.is_null() || close(ours, theirs, 1e-9),
            Self::Roughly => close(ours, theirs, 0.1),
            Self::Unordered => {
                let (mut ours, mut theirs) = (elements(ours), elements(theirs));
                // The oracle's input has one zero; kept rows are as they came.
                let by = |value: &ScalarValue| format!("{value:?}").replace("(-0)", "(0)");
                ours.sort_by_key(by);
                theirs.sort_by_key(by);
                ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| close(a, b, 1e-9))
            }
        }
    }
}

fn elements(list: &ScalarValue) -> Vec<ScalarValue> {
    match list {
        ScalarValue::List(list) if list.is_valid(0) => {
            let values = list.value(0);
            (0..values.len()).map(|row| ScalarValue::try_from_array(&values, row).expect("a scalar")).collect()
        }
        _ => Vec::new(),
    }
}

fn close(a: &ScalarValue, b: &ScalarValue, tolerance: f64) -> bool {
    let float = |value: &ScalarValue| match value {
        ScalarValue::Float64(value) => *value,
        ScalarValue::Float32(value) => value.map(f64::from),
        _ => None,
    };
    match (float(a), float(b)) {
        // Sums of the test's values, up to about a thousand in size, may cancel to nearly nothing.
        (Some(a), Some(b)) => {
            a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * (1e3 + a.abs().max(b.abs()))
        }
        (None, None) if matches!(a, ScalarValue::List(_)) && a.is_null() == b.is_null() => {
            let (a, b) = (elements(a), elements(b));
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| close(a, b, tolerance))
        }
        _ => a == b,
    }
}
