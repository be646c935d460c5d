//! Joins against their definition: nested loops over everything that is there.

mod edges;
mod naive;
mod random;
mod speed;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::JoinType;
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, lit};
use datafusion::scalar::ScalarValue;

use super::{JoinInput, JoinOperator, JoinSpec, NESTED_ROWS_MAX};
use crate::delta::{Delta, Weights};
use crate::operator::{Operator, SavedState, TickContext};
use crate::state::key_group::key_groups;

/// A row: key, value, time; of a pair: six of them; a mark is 0 or 1.
pub type Row = Vec<Option<i64>>;

/// How far apart the times of a pair may be in an interval join.
pub const REACH: i64 = 5;

/// A join under test, by what it is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    pub kind: JoinType,
    /// The columns that are keys: 0 is the key, 1 the value, 2 the time.
    pub keys: Vec<usize>,
    pub nulls_match: bool,
    pub null_aware: bool,
    /// The left value is below the right one.
    pub compares: bool,
    /// The times are at most [`REACH`] apart.
    pub near: bool,
    pub timed: [bool; 2],
    pub weighted: [bool; 2],
}

impl Plan {
    pub fn new(kind: JoinType) -> Self {
        Self {
            kind,
            keys: vec![0],
            nulls_match: false,
            null_aware: false,
            compares: false,
            near: false,
            timed: [false; 2],
            weighted: [true; 2],
        }
    }

    fn field(column: usize, name: &str) -> Field {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        Field::new(name, if column == 2 { time } else { DataType::Int64 }, true)
    }

    fn columns(&self, side: usize) -> Vec<usize> {
        self.keys.iter().copied().chain(self.timed[side].then_some(2)).chain(0..3).collect()
    }

    fn schema(&self, side: usize) -> SchemaRef {
        let columns = self.columns(side).into_iter().enumerate();
        Arc::new(Schema::new(columns.map(|(i, column)| Self::field(column, &format!("c{i}"))).collect::<Vec<_>>()))
    }

    fn residual(&self) -> Option<Arc<dyn PhysicalExpr>> {
        let column = |index: usize| Arc::new(Column::new("c", index)) as Arc<dyn PhysicalExpr>;
        let binary = |left, op, right| Arc::new(BinaryExpr::new(left, op, right)) as Arc<dyn PhysicalExpr>;
        let reach = || lit(ScalarValue::DurationMicrosecond(Some(REACH)));
        let mut all = Vec::new();
        if self.compares {
            all.push(binary(column(1), Op::Lt, column(4)));
        }
        if self.near {
            all.push(binary(column(2), Op::GtEq, binary(column(5), Op::Minus, reach())));
            all.push(binary(column(2), Op::LtEq, binary(column(5), Op::Plus, reach())));
        }
        all.into_iter().reduce(|all, one| binary(all, Op::And, one))
    }

    pub fn spec(&self) -> JoinSpec {
        let input = |side: usize| JoinInput {
            schema: self.schema(side),
            keys: self.keys.len(),
            timed: self.timed[side],
            weighted: self.weighted[side],
        };
        let inputs = [input(0), input(1)];
        let both = matches!(self.kind, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
        let mut fields: Vec<Field> =
            (0..if both { 6 } else { 3 }).map(|i| Self::field(i % 3, &format!("o{i}"))).collect();
        if matches!(self.kind, JoinType::LeftMark | JoinType::RightMark) {
            fields.push(Field::new("mark", DataType::Boolean, false));
        }
        JoinSpec {
            kind: self.kind,
            inputs,
            nulls_match: self.nulls_match,
            null_aware: self.null_aware,
            residual: self.residual(),
            leaves_out_failures: None,
            output: Arc::new(Schema::new(fields)),
            nested_rows_max: NESTED_ROWS_MAX,
        }
    }
}

fn array(column: usize, values: Vec<Option<i64>>) -> ArrayRef {
    match column {
        2 => Arc::new(TimestampMicrosecondArray::from(values)),
        _ => Arc::new(Int64Array::from(values)),
    }
}

/// Changed rows of one side, as the plan's input wants them.
pub fn delta(plan: &Plan, side: usize, rows: &[(Row, i64)]) -> Delta {
    let values = |column: usize| rows.iter().map(|(row, _)| row[column]).collect();
    let columns = plan.columns(side).into_iter().map(|column| array(column, values(column))).collect();
    let batch = RecordBatch::try_new(plan.schema(side), columns).expect("columns of their types");
    if plan.weighted[side] {
        let weights = Int64Array::from_iter_values(rows.iter().map(|(_, weight)| *weight));
        return Delta { rows: batch, weights: Weights::Signed(weights) };
    }
    Delta::inserts(batch)
}

fn value(array: &ArrayRef, row: usize) -> Option<i64> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => i64::from(array.as_boolean().value(row)),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row),
        _ => array.as_primitive::<TimestampMicrosecondType>().value(row),
    })
}

/// The rows of deltas, in order.
pub fn rows(deltas: &[Delta]) -> Vec<(Row, i64)> {
    let of = |delta: &Delta| {
        let row = |row: usize| delta.rows.columns().iter().map(|column| value(column, row)).collect();
        (0..delta.num_rows()).map(|i| (row(i), delta.weight(i))).collect::<Vec<_>>()
    };
    deltas.iter().flat_map(of).collect()
}

/// The operators of all partitions.
pub struct Cluster {
    pub plan: Plan,
    pub operators: Vec<JoinOperator>,
}

impl Cluster {
    pub fn new(plan: &Plan, partitions: usize) -> Self {
        let partitions = if plan.spec().is_single() { 1 } else { partitions };
        let make = |_| JoinOperator::try_new(plan.spec()).expect("a sound plan");
        Self { plan: plan.clone(), operators: (0..partitions).map(make).collect() }
    }

    pub fn step(&mut self, changes: [&[(Row, i64)]; 2], tick: &TickContext) -> Vec<(Row, i64)> {
        let partitions = self.operators.len();
        let mut out = Vec::new();
        for (partition, operator) in self.operators.iter_mut().enumerate() {
            let inputs = [0, 1].map(|side| {
                let all = changes[side];
                let keys = self.plan.keys.iter().map(|key| array(*key, all.iter().map(|(row, _)| row[*key]).collect()));
                let groups = key_groups(&keys.collect::<Vec<_>>(), all.len()).expect("keys that can be hashed");
                let own = all
                    .iter()
                    .zip(groups.values())
                    .filter(|(_, group)| partitions == 1 || usize::from(**group) % partitions == partition);
                let own: Vec<_> = own.map(|(row, _)| row.clone()).collect();
                // Several batches, and sometimes none.
                own.chunks(3).map(|rows| delta(&self.plan, side, rows)).collect::<Vec<_>>()
            });
            let deltas = operator.step(inputs.into(), tick).expect("sound input");
            for delta in &deltas {
                assert_eq!(delta.rows.schema(), operator.output_schema());
            }
            out.extend(rows(&deltas));
        }
        out
    }

    /// Saves everything and goes on at another number of partitions.
    pub fn restart(&mut self, partitions: usize) {
        let mut saved = SavedState::default();
        for operator in &mut self.operators {
            saved.merge(operator.save().expect("state that can be saved"));
        }
        *self = Self::new(&self.plan, partitions);
        let dealt = saved.split(self.operators.len(), |group, partitions| usize::from(group) % partitions);
        for (operator, state) in self.operators.iter_mut().zip(dealt.expect("key groups")) {
            operator.restore(state).expect("state of this operator");
        }
    }

    pub fn state_keys(&self) -> usize {
        self.operators.iter().map(|operator| operator.state_keys()).sum()
    }
}

/// Adds weights.
pub fn add(sum: &mut BTreeMap<Row, i64>, changes: impl IntoIterator<Item = (Row, i64)>) {
    for (row, weight) in changes {
        *sum.entry(row).or_default() += weight;
    }
    sum.retain(|_, weight| *weight != 0);
}
