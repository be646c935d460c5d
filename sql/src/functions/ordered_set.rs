//! Ordered-set aggregates whose answer is one of their values (PostgreSQL documentation, 9.21):
//!
//! - `mode() WITHIN GROUP (ORDER BY x)`: the value there is most of; of several the first in the order.
//! - `percentile_disc(f) WITHIN GROUP (ORDER BY x)`: the first value in the order at or behind the fraction `f` of them all.
//!
//! NULLs do not count; of no values the answer is NULL. All values are kept and sorted for each answer.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, make_comparator};
use arrow::compute::{SortOptions, concat, is_not_null, sort_to_indices, take};
use arrow::datatypes::{DataType, Field, FieldRef};

use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, internal_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, TypeSignature, Volatility};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Literal};

use crate::{SqlError, SqlState};

/// One of the two.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct OrderedSet {
    name: &'static str,
    signature: Signature,
}

impl OrderedSet {
    /// `mode`.
    pub fn mode() -> Self {
        Self { name: "mode", signature: Signature::any(1, Volatility::Immutable) }
    }

    /// `percentile_disc`.
    pub fn percentile_disc() -> Self {
        let signature = Signature::new(TypeSignature::UserDefined, Volatility::Immutable);
        Self { name: "percentile_disc", signature }
    }
}

/// Which value is the answer.
#[derive(Debug, Clone, Copy)]
enum Choice {
    Mode,
    /// The fraction, within 0 and 1; `None` if it is NULL.
    Percentile(Option<f64>),
}

impl AggregateUDFImpl for OrderedSet {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        match arguments {
            [value, fraction] if fraction.is_numeric() || fraction.is_null() => {
                Ok(vec![value.clone(), DataType::Float64])
            }
            _ => plan_err!("{} takes a fraction and WITHIN GROUP (ORDER BY …)", self.name),
        }
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments.first() {
            Some(value) => Ok(value.clone()),
            None => plan_err!("{} needs WITHIN GROUP (ORDER BY …)", self.name),
        }
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        match arguments.first() {
            // What kind of value it is (json, uuid) stays.
            Some(value) => Ok(Arc::new(value.as_ref().clone().with_name(self.name).with_nullable(true))),
            None => plan_err!("{} needs WITHIN GROUP (ORDER BY …)", self.name),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let choice = match args.exprs {
            [_, fraction] => Choice::Percentile(percentile(fraction.as_ref())?),
            _ => Choice::Mode,
        };
        let options = args.order_bys.first().map(|sort| sort.options).unwrap_or_default();
        let options = SortOptions { descending: options.descending, nulls_first: false };
        let Some(field) = args.expr_fields.first() else {
            return internal_err!("{} without a value", self.name);
        };
        Ok(Box::new(Values { choice, options, data_type: field.data_type().clone(), values: Vec::new() }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(field) = args.input_fields.first() else {
            return internal_err!("{} without a value", self.name);
        };
        let item = Field::new_list_field(field.data_type().clone(), true);
        let name = format_state_name(args.name, self.name);
        Ok(vec![Arc::new(Field::new(name, DataType::List(Arc::new(item)), true))])
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

/// The constant fraction.
fn percentile(expr: &dyn PhysicalExpr) -> Result<Option<f64>> {
    let refused = |error: SqlError| Err(DataFusionError::External(Box::new(error)));
    let any: &dyn std::any::Any = expr;
    if let Some(cast) = any.downcast_ref::<CastExpr>() {
        return percentile(cast.expr().as_ref());
    }
    let Some(literal) = any.downcast_ref::<Literal>() else {
        return refused(SqlError::unsupported("percentile_disc of a fraction that is no constant is not supported"));
    };
    let ScalarValue::Float64(fraction) = literal.value().cast_to(&DataType::Float64)? else { return Ok(None) };
    match fraction {
        Some(fraction) if !(0.0..=1.0).contains(&fraction) => {
            let message = format!("percentile value {fraction} is not between 0 and 1");
            refused(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, message))
        }
        fraction => Ok(fraction),
    }
}

/// The values so far, without NULLs.
#[derive(Debug)]
struct Values {
    choice: Choice,
    options: SortOptions,
    data_type: DataType,
    values: Vec<ArrayRef>,
}

impl Values {
    fn all(&self) -> Result<ArrayRef> {
        let parts: Vec<&dyn Array> = self.values.iter().map(|part| part.as_ref()).collect();
        if parts.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.data_type));
        }
        Ok(concat(&parts)?)
    }

    fn push(&mut self, values: &ArrayRef) -> Result<()> {
        let present = match values.null_count() {
            0 => Arc::clone(values),
            _ => arrow::compute::filter(values, &is_not_null(values)?)?,
        };
        if !present.is_empty() {
            self.values.push(present);
        }
        Ok(())
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        match values.first() {
            Some(values) => self.push(values),
            None => Ok(()),
        }
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(lists) = states.first() else { return Ok(()) };
        for list in lists.as_list::<i32>().iter().flatten() {
            self.push(&list)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![SingleRowListArrayBuilder::new(self.all()?).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let values = self.all()?;
        let order = sort_to_indices(&values, Some(self.options), None)?;
        let place = match self.choice {
            Choice::Percentile(None) => None,
            Choice::Percentile(Some(fraction)) => place_of(fraction, order.len()),
            Choice::Mode => longest_run(&take(&values, &order, None)?)?,
        };
        match place {
            Some(place) => ScalarValue::try_from_array(&values, order.value(place) as usize),
            None => ScalarValue::try_from(&self.data_type),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.iter().map(|part| part.get_array_memory_size()).sum::<usize>()
    }
}

/// The place, from 0, of the first of `count` sorted values at or behind a fraction of them all.
fn place_of(fraction: f64, count: usize) -> Option<usize> {
    // Counts are far below 2^53, and the product is at most the count.
    let rank = (fraction * count as f64).ceil() as usize;
    (count > 0).then(|| rank.max(1) - 1)
}

/// Where the longest run of equal values begins, the first of several.
fn longest_run(sorted: &ArrayRef) -> Result<Option<usize>> {
    let compare = make_comparator(sorted.as_ref(), sorted.as_ref(), SortOptions::default())?;
    let (mut best, mut begin) = (None::<(usize, usize)>, 0);
    for place in 1..=sorted.len() {
        if place == sorted.len() || compare(place - 1, place) != Ordering::Equal {
            let length = place - begin;
            if best.is_none_or(|(_, longest)| length > longest) {
                best = Some((begin, length));
            }
            begin = place;
        }
    }
    Ok(best.map(|(begin, _)| begin))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn answer(choice: Choice, descending: bool, values: Vec<Option<i64>>) -> ScalarValue {
        let options = SortOptions { descending, nulls_first: false };
        let mut kept = Values { choice, options, data_type: DataType::Int64, values: Vec::new() };
        let (first, second) = values.split_at(values.len() / 2);
        let mut merged = Values { choice, options, data_type: DataType::Int64, values: Vec::new() };
        for half in [first, second] {
            let mut part = Values { choice, options, data_type: DataType::Int64, values: Vec::new() };
            let half: ArrayRef = Arc::new(Int64Array::from(half.to_vec()));
            kept.update_batch(&[Arc::clone(&half)]).expect("values");
            part.update_batch(&[half]).expect("values");
            let state = part.state().expect("a state").remove(0).to_array().expect("an array");
            merged.merge_batch(&[state]).expect("a state");
        }
        let answer = kept.evaluate().expect("an answer");
        assert_eq!(merged.evaluate().expect("an answer"), answer, "in parts");
        answer
    }

    #[test]
    fn the_answer_is_one_of_the_values() {
        let values = || vec![Some(3), None, Some(1), Some(3), Some(1), Some(7), None];
        let some = |value| ScalarValue::Int64(Some(value));
        assert_eq!(answer(Choice::Mode, false, values()), some(1));
        assert_eq!(answer(Choice::Mode, true, values()), some(3));
        for (fraction, ascending, descending) in [(0.0, 1, 7), (0.4, 1, 3), (0.41, 3, 3), (0.9, 7, 1), (1.0, 7, 1)] {
            let choice = Choice::Percentile(Some(fraction));
            assert_eq!(answer(choice, false, values()), some(ascending), "{fraction}");
            assert_eq!(answer(choice, true, values()), some(descending), "{fraction} descending");
        }
        for choice in [Choice::Mode, Choice::Percentile(Some(0.5))] {
            assert_eq!(answer(choice, false, vec![None, None]), ScalarValue::Int64(None));
        }
        assert_eq!(answer(Choice::Percentile(None), false, values()), ScalarValue::Int64(None));
    }

    #[test]
    fn the_longest_run_is_the_first_of_its_length() {
        let run = |values: Vec<i64>| longest_run(&(Arc::new(Int64Array::from(values)) as ArrayRef)).expect("integers");
        assert_eq!(run(vec![]), None);
        assert_eq!(run(vec![1, 2, 3]), Some(0));
        assert_eq!(run(vec![1, 2, 2, 3, 3]), Some(1));
    }
}
