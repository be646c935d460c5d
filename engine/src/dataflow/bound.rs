//! Lower bounds on a column's future values, derived from watermarks.
//!
//! A monotone expression `f` of a source's event time never falls below `f(watermark)` again. Carried through a plan,
//! that is the only reason for which windows close and state is dropped; nothing here is a guess or a timeout.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::error::{Error, Result};
use crate::operator::aggregate::closing::times;
use crate::time::Watermark;

/// Name of the column that stands for the source's event time in a [`BoundTerm`].
pub const EVENT_TIME: &str = "event_time";

/// The source by whose name a [`BoundTerm`] speaks of the tick's time; no relation can have it.
pub const TICK_TIME: &str = "now()";

/// The least of its terms bounds a column from below.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct Bound {
    /// At least one.
    pub terms: Vec<BoundTerm>,
}

/// A monotone expression of one source's event time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct BoundTerm {
    /// The source.
    pub source: String,
    /// Non-decreasing in its only column, [`EVENT_TIME`].
    pub expr: Expr,
    /// The event time column's time zone, if it has one.
    pub zone: Option<Arc<str>>,
}

impl Bound {
    /// The bound of a source's own event time column.
    pub fn event_time(source: &str, data_type: &DataType) -> Option<Self> {
        let DataType::Timestamp(TimeUnit::Microsecond, zone) = data_type else { return None };
        let expr = Expr::Column(Column::from_name(EVENT_TIME));
        Some(Self { terms: vec![BoundTerm { source: source.into(), expr, zone: zone.clone() }] })
    }

    /// The tick's time itself, a timestamp of `zone`.
    pub fn tick_time(zone: Option<Arc<str>>) -> Self {
        let expr = Expr::Column(Column::from_name(EVENT_TIME));
        Self { terms: vec![BoundTerm { source: TICK_TIME.into(), expr, zone }] }
    }

    /// Applies a monotone step to every term; `step` builds the new expression around the old one.
    ///
    /// # Errors
    /// Whatever `step` returns.
    pub fn map<E>(&self, mut step: impl FnMut(Expr) -> Result<Expr, E>) -> Result<Self, E> {
        let terms = self.terms.iter().map(|term| Ok(BoundTerm { expr: step(term.expr.clone())?, ..term.clone() }));
        Ok(Self { terms: terms.collect::<Result<_, E>>()? })
    }

    /// The bound of rows that come from either side.
    #[must_use]
    pub fn least(mut self, other: Self) -> Self {
        for term in other.terms {
            if !self.terms.contains(&term) {
                self.terms.push(term);
            }
        }
        self
    }
}

/// A [`Bound`] ready to be evaluated every tick.
#[derive(Debug, Clone)]
pub struct PhysicalBound {
    terms: Vec<(String, Arc<dyn PhysicalExpr>, SchemaRef)>,
}

impl PhysicalBound {
    /// Compiles a bound.
    ///
    /// # Errors
    /// `Internal` if an expression does not type-check, which the rewriter that made it should have seen.
    pub fn try_new(bound: &Bound) -> Result<Self> {
        let compile = |term: &BoundTerm| {
            let data_type = DataType::Timestamp(TimeUnit::Microsecond, term.zone.clone());
            let schema = Arc::new(Schema::new(vec![Field::new(EVENT_TIME, data_type, false)]));
            let df_schema = DFSchema::try_from(schema.as_ref().clone())?;
            let expr = create_physical_expr(
                &term.expr,
                &df_schema,
                &ExecutionProps::new(),
                &PhysicalPlanningContext::default(),
            )?;
            Ok((term.source.clone(), expr, schema))
        };
        Ok(Self { terms: bound.terms.iter().map(compile).collect::<Result<_>>()? })
    }

    /// The bound at these watermarks, µs for a timestamp of any unit and days for a date; `None` while a source has no
    /// watermark, or where the expression has no value there (a watermark centuries away: nothing is final yet).
    ///
    /// # Errors
    /// `Internal` if the expression gives something that is not a time.
    pub fn evaluate(&self, watermarks: &HashMap<String, Watermark>) -> Result<Option<i64>> {
        let mut least: Option<i64> = None;
        for (source, expr, schema) in &self.terms {
            let Some(micros) = watermarks.get(source).and_then(|w| w.micros()) else { return Ok(None) };
            let DataType::Timestamp(_, zone) = schema.field(0).data_type() else {
                return Err(Error::internal("an event time that is not a timestamp"));
            };
            let event_time: ArrayRef =
                Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone_opt(zone.clone()));
            let batch = RecordBatch::try_new(schema.clone(), vec![event_time])?;
            let Ok(value) = expr.evaluate(&batch) else { return Ok(None) };
            let value = ScalarValue::try_from_array(&*value.into_array(1)?, 0)?;
            let Some(value) = time_value(&value)? else { return Ok(None) };
            least = Some(least.map_or(value, |l| l.min(value)));
        }
        Ok(least)
    }
}

impl PhysicalBound {
    /// Which values of a column that this bounds no later row can have at these watermarks. NULL is none of them.
    ///
    /// # Errors
    /// As for [`evaluate`](Self::evaluate); `Internal` if the column is not a time.
    pub fn are_final(&self, column: &ArrayRef, watermarks: &HashMap<String, Watermark>) -> Result<BooleanArray> {
        let below = self.evaluate(watermarks)?.unwrap_or(i64::MIN);
        Ok(times(column)?.into_iter().map(|time| Some(time < below)).collect())
    }
}

/// A timestamp in µs, a date in days. Finer units are rounded down: a bound may be too low, never too high.
fn time_value(value: &ScalarValue) -> Result<Option<i64>> {
    Ok(match value {
        ScalarValue::TimestampSecond(v, _) => v.map(|v| v.saturating_mul(1_000_000)),
        ScalarValue::TimestampMillisecond(v, _) => v.map(|v| v.saturating_mul(1_000)),
        ScalarValue::TimestampMicrosecond(v, _) => *v,
        ScalarValue::TimestampNanosecond(v, _) => v.map(|v| v.div_euclid(1_000)),
        ScalarValue::Date64(v) => v.map(|v| v.div_euclid(86_400_000)),
        ScalarValue::Date32(v) => v.map(i64::from),
        other => return Err(Error::internal(format!("a bound of type {}", other.data_type()))),
    })
}
