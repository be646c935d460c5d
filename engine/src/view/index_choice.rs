//! Which index answers a query's conditions, and what to look up in it.
//!
//! In: the conditions that a table's rows must fulfil, as DataFusion hands them to the table, and the indexes there are. Out: at
//! most one [`Lookup`], which finds at least the rows that fulfil them.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

use crate::view::column_index::{End, IndexColumns, Lookup};

/// Keys looked up at most.
const KEYS_MAX: usize = 1000;

/// An index under the name that users know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedIndex {
    /// Its name.
    pub name: String,
    /// Its columns, by their place in the view's schema.
    pub columns: Vec<usize>,
}

/// What is known of a column.
#[derive(Debug, Clone, Default)]
struct Known {
    /// It has one of these values.
    values: Option<Vec<ScalarValue>>,
    lower: Option<(ScalarValue, bool)>,
    upper: Option<(ScalarValue, bool)>,
}

/// True if a condition says something about an indexed column.
pub(super) fn is_usable(condition: &Expr, schema: &Schema, indexes: &[NamedIndex]) -> bool {
    let mut known = BTreeMap::new();
    learn(condition, schema, &mut known);
    let is_known = |known: &Known| known.values.is_some() || known.lower.is_some() || known.upper.is_some();
    let mut told = known.iter().filter(|(_, known)| is_known(known)).map(|(column, _)| column);
    told.any(|column| indexes.iter().any(|index| index.columns.contains(column)))
}

/// The look-up that finds the fewest rows, as far as the conditions' form tells; `None` if no index helps.
pub(super) fn choose(conditions: &[Expr], schema: &Schema, indexes: &[NamedIndex]) -> Option<Lookup> {
    let mut known = BTreeMap::new();
    conditions.iter().for_each(|condition| learn(condition, schema, &mut known));
    let rated = indexes.iter().map(|index| (rate(index, &known), index)).filter(|(rate, _)| *rate > (0, false));
    // The first of the best ones.
    let (_, index) = rated.rev().max_by_key(|(rate, _)| *rate)?;
    lookup(index, &known, schema)
}

/// How many of the index's first columns have values, and whether the next has a bound.
fn rate(index: &NamedIndex, known: &BTreeMap<usize, Known>) -> (usize, bool) {
    let mut keys = 1_usize;
    let mut columns = index.columns.iter();
    let has_values = |column: &usize| {
        let values = known.get(column).and_then(|known| known.values.as_ref())?;
        keys = keys.saturating_mul(values.len());
        (keys <= KEYS_MAX).then_some(())
    };
    let equal = columns.by_ref().map_while(has_values).count();
    let next = index.columns.get(equal).and_then(|column| known.get(column));
    (equal, next.is_some_and(|next| next.lower.is_some() || next.upper.is_some()))
}

fn lookup(index: &NamedIndex, known: &BTreeMap<usize, Known>, schema: &Schema) -> Option<Lookup> {
    let (equal, is_ranged) = rate(index, known);
    let name = |column: usize| schema.field(column).name();
    let mut texts = Vec::new();
    let mut keys: Vec<Vec<ScalarValue>> = vec![Vec::new()];
    for column in &index.columns[..equal] {
        let values = known.get(column)?.values.as_ref()?;
        texts.push(match values.as_slice() {
            [value] => format!("{} = {value}", name(*column)),
            values => format!("{} in {} values", name(*column), values.len()),
        });
        let with = |key: &Vec<ScalarValue>, value: &ScalarValue| key.iter().chain([value]).cloned().collect();
        keys = keys.iter().flat_map(|key| values.iter().map(|value| with(key, value)).collect::<Vec<_>>()).collect();
    }
    let (mut lower, mut upper) = (None, None);
    if is_ranged {
        let column = index.columns[equal];
        let known = known.get(&column)?;
        let mut end = |bound: &Option<(ScalarValue, bool)>, sign: &str| -> Option<End> {
            let (value, inclusive) = bound.as_ref()?;
            texts.push(format!("{} {sign}{} {value}", name(column), if *inclusive { "=" } else { "" }));
            Some(End { value: value.to_array().ok()?, inclusive: *inclusive })
        };
        (lower, upper) = (end(&known.lower, ">"), end(&known.upper, "<"));
    }
    let column = |n: usize| ScalarValue::iter_to_array(keys.iter().map(|key| key[n].clone()));
    let arrays: Vec<ArrayRef> = match keys.is_empty() {
        true => {
            index.columns[..equal].iter().map(|c| arrow::array::new_empty_array(schema.field(*c).data_type())).collect()
        }
        false => (0..equal).map(column).collect::<Result<_, _>>().ok()?,
    };
    let columns: IndexColumns = index.columns.as_slice().into();
    let text = format!("{} ({})", index.name, texts.join(", "));
    Some(Lookup { columns, num_keys: keys.len(), keys: arrays, lower, upper, text })
}

/// Puts down what a condition says about single columns. What it says besides is for the filter above.
fn learn(condition: &Expr, schema: &Schema, known: &mut BTreeMap<usize, Known>) {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            learn(left, schema, known);
            learn(right, schema, known);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            if let Some((column, values)) = values_of(condition, schema) {
                return learn_values(known.entry(column).or_default(), values);
            }
            let (column, op, value) = match (column_of(left, schema), column_of(right, schema)) {
                (Some(column), None) => (column, Some(*op), value_of(right, column, schema)),
                (None, Some(column)) => (column, op.swap(), value_of(left, column, schema)),
                _ => return,
            };
            let Some(value) = value else { return };
            let known = known.entry(column).or_default();
            match op {
                Some(Operator::Gt) => raise(&mut known.lower, value, false),
                Some(Operator::GtEq) => raise(&mut known.lower, value, true),
                Some(Operator::Lt) => lower(&mut known.upper, value, false),
                Some(Operator::LtEq) => lower(&mut known.upper, value, true),
                _ => {}
            }
        }
        Expr::InList(_) => {
            if let Some((column, values)) = values_of(condition, schema) {
                learn_values(known.entry(column).or_default(), values);
            }
        }
        Expr::Between(Between { expr, negated: false, low, high }) => {
            let Some(column) = column_of(expr, schema) else { return };
            let (low, high) = (value_of(low, column, schema), value_of(high, column, schema));
            let known = known.entry(column).or_default();
            low.into_iter().for_each(|low| raise(&mut known.lower, low, true));
            high.into_iter().for_each(|high| lower(&mut known.upper, high, true));
        }
        _ => {}
    }
}

/// The values that a condition leaves a column: of `=`, IN, and several of them with OR between.
fn values_of(condition: &Expr, schema: &Schema) -> Option<(usize, Vec<ScalarValue>)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            let (column, value) = match (column_of(left, schema), column_of(right, schema)) {
                (Some(column), None) => (column, right),
                (None, Some(column)) => (column, left),
                _ => return None,
            };
            Some((column, vec![value_of(value, column, schema)?]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((column, mut values), (other, more)) = (values_of(left, schema)?, values_of(right, schema)?);
            values.extend(more);
            (column == other).then_some((column, values))
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let column = column_of(expr, schema)?;
            let is_null = |item: &&Expr| matches!(item, Expr::Literal(value, _) if value.is_null());
            // No row equals NULL.
            let values = list.iter().filter(|item| !is_null(item)).map(|item| value_of(item, column, schema));
            Some((column, values.collect::<Option<_>>()?))
        }
        _ => None,
    }
}

/// Of two lists the shorter: what is in both is in it.
fn learn_values(known: &mut Known, mut values: Vec<ScalarValue>) {
    let mut seen = std::collections::HashSet::new();
    values.retain(|value| seen.insert(value.clone()));
    if known.values.as_ref().is_none_or(|known| values.len() < known.len()) {
        known.values = Some(values);
    }
}

fn raise(bound: &mut Option<(ScalarValue, bool)>, value: ScalarValue, inclusive: bool) {
    if bound.as_ref().is_none_or(|(known, _)| value > *known) {
        *bound = Some((value, inclusive));
    }
}

fn lower(bound: &mut Option<(ScalarValue, bool)>, value: ScalarValue, inclusive: bool) {
    if bound.as_ref().is_none_or(|(known, _)| value < *known) {
        *bound = Some((value, inclusive));
    }
}

fn column_of(expr: &Expr, schema: &Schema) -> Option<usize> {
    match expr {
        Expr::Column(column) => schema.index_of(&column.name).ok(),
        _ => None,
    }
}

/// A literal as a value of the column's type; `None` if it is NULL or of another type.
fn value_of(expr: &Expr, column: usize, schema: &Schema) -> Option<ScalarValue> {
    let Expr::Literal(value, _) = expr else { return None };
    let wanted = schema.field(column).data_type();
    if value.is_null() {
        return None;
    }
    let given = value.data_type();
    let same = given == *wanted
        || matches!((&given, wanted), (DataType::Timestamp(a, Some(_)), DataType::Timestamp(b, Some(_))) if a == b);
    let value = match same || (is_text(&given) && is_text(wanted)) {
        true => value.cast_to(wanted).ok()?,
        false => return None,
    };
    // As stored: there is no negative zero.
    Some(match value {
        ScalarValue::Float32(Some(value)) => {
            ScalarValue::Float32(Some(if value.is_nan() { f32::NAN } else { value + 0.0 }))
        }
        ScalarValue::Float64(Some(value)) => {
            ScalarValue::Float64(Some(if value.is_nan() { f64::NAN } else { value + 0.0 }))
        }
        value => value,
    })
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}
