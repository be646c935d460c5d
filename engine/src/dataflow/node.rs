//! Our nodes in a logical plan.

use std::sync::Arc;

use datafusion::common::{DFSchemaRef, ScalarValue};
use datafusion::logical_expr::{AggregateUDF, LogicalPlan};

use super::bound::Bound;
use super::operator_node::{emitting, operator_node};
use super::runtime::OperatorId;

/// A group aggregate maintained incrementally.
///
/// Its input is a projection with columns: `key_count` group keys, then the calls' arguments and filters, then the weight
/// where `input_weighted`. Its output: the keys, one column a call, and the weight unless it emits on close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateNode {
    /// Its id within the view.
    pub id: OperatorId,
    /// What it aggregates.
    pub input: Arc<LogicalPlan>,
    /// How many leading input columns are group keys.
    pub key_count: usize,
    /// How many leading output columns are group keys; differs from `key_count` only with `hop`.
    pub output_key_count: usize,
    /// The aggregate calls.
    pub calls: Vec<LogicalCall>,
    /// True if the input can retract.
    pub input_weighted: bool,
    /// The key that is monotone in event time, with the bound that makes its values final.
    pub monotone_key: Option<(usize, Bound)>,
    /// True if each group is emitted once, when final.
    pub emit_on_close: bool,
    /// Set if one key is a slice that stands for the hopping windows it belongs to.
    pub hop: Option<HopWindows>,
    /// Whether groups whose answer cannot be computed are left out.
    pub leaves_out_failures: bool,
    /// The output's columns.
    pub schema: DFSchemaRef,
}

/// Hopping or cumulating windows that an aggregate computes from slices of event time, so that a row is touched once however many
/// windows hold it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HopWindows {
    /// Distance of window starts, µs; of window ends, where windows cumulate.
    pub slide_micros: i64,
    /// Length of a window, µs; of the longest, where windows cumulate.
    pub size_micros: i64,
    /// A window start, µs since the Unix epoch.
    pub origin_micros: i64,
    /// Whether windows grow by the slide from one start until they are of full size.
    pub cumulative: bool,
    /// The key column of the input that holds the event time's slice.
    pub slice_key: usize,
    /// What each output key is.
    pub output_keys: Vec<HopKey>,
}

/// One output key of an aggregate over hopping windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HopKey {
    /// The window's first instant.
    WindowStart,
    /// The instant after the window's last.
    WindowEnd,
    /// A key column of the input.
    Column(usize),
}

/// One aggregate call over columns of the input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LogicalCall {
    /// The function.
    pub function: Arc<AggregateUDF>,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// True after DISTINCT.
    pub distinct: bool,
    /// The Boolean input column of FILTER.
    pub filter: Option<usize>,
    /// ORDER BY: input column, ascending, nulls first.
    pub order_by: Vec<(usize, bool, bool)>,
    /// True after IGNORE NULLS.
    pub ignore_nulls: bool,
    /// The output column's name.
    pub name: String,
}

/// An argument of a call. Some functions read constants when they are made, so constants stay what they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Argument {
    /// The input column that holds it.
    pub column: usize,
    /// Its value, if it is a constant.
    pub literal: Option<ScalarValue>,
}

impl AggregateNode {
    fn text(&self) -> String {
        let fields = self.schema.fields();
        let keys: Vec<_> = fields.iter().take(self.output_key_count).map(|field| field.name().as_str()).collect();
        let calls: Vec<_> = self.calls.iter().map(|call| call.name.as_str()).collect();
        emitting(format!("keys=[{}], calls=[{}]", keys.join(", "), calls.join(", ")), self.emit_on_close)
    }
}

operator_node!(AggregateNode, "IncrementalAggregate", [input]);
