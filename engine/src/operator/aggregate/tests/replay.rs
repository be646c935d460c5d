//! Operators as the engine runs them: several partitions by key group, saved and restored at any number of them.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, RecordBatch, UInt16Array};
use arrow::compute::filter_record_batch;

use crate::delta::{Delta, Weights};
use crate::operator::aggregate::{AggregateOperator, AggregateSpec};
use crate::operator::{KEY_GROUP_COLUMN, Operator, SavedState, TickContext};
use crate::state::canonical::canonical_columns;
use crate::state::key_group::key_groups;
use crate::time::TickId;

/// All partitions of one aggregate.
#[derive(Debug)]
pub struct Cluster {
    spec: AggregateSpec,
    pub operators: Vec<AggregateOperator>,
    tick: TickId,
    pub closed_below: Option<i64>,
    pub evict: bool,
}

impl Cluster {
    pub fn new(spec: &AggregateSpec) -> Self {
        let operator = AggregateOperator::try_new(spec.clone()).expect("an operator");
        let (tick, closed_below) = (TickId::default(), None);
        Self { spec: spec.clone(), operators: vec![operator], tick, closed_below, evict: true }
    }

    /// One tick over all partitions.
    pub fn step(&mut self, deltas: Vec<Delta>) -> Vec<Delta> {
        self.tick = self.tick.next();
        let tick =
            TickContext { tick: self.tick, closed_below: self.closed_below, evict: self.evict, ..Default::default() };
        let partitions = self.operators.len();
        let mut outputs = Vec::new();
        for (partition, operator) in self.operators.iter_mut().enumerate() {
            let own = deltas.iter().map(|delta| part(&self.spec, delta, partition, partitions)).collect();
            let output = operator.step(vec![own], &tick).expect("a tick");
            output.iter().for_each(|delta| assert_eq!(delta.rows.schema(), operator.output_schema()));
            outputs.extend(output);
        }
        outputs
    }

    /// Saves all partitions and restores them as `partitions`.
    pub fn rescale(&mut self, partitions: usize) {
        let mut saved: BTreeMap<String, Vec<RecordBatch>> = BTreeMap::new();
        let keys = self.keys();
        for operator in &mut self.operators {
            for (name, batches) in operator.save().expect("saved").tables {
                saved.entry(name).or_default().extend(batches);
            }
        }
        let restored = (0..partitions).map(|partition| {
            let dealt = saved.iter().map(|(name, batches)| {
                let batches = batches.iter().map(|batch| {
                    assert_eq!(batch.schema().field(0).name(), KEY_GROUP_COLUMN);
                    let groups = batch.column(0).as_any().downcast_ref::<UInt16Array>().expect("key groups");
                    filter_record_batch(batch, &belongs(groups, partition, partitions)).expect("rows")
                });
                (name.clone(), batches.collect())
            });
            let mut operator = AggregateOperator::try_new(self.spec.clone()).expect("an operator");
            operator.restore(SavedState { tables: dealt.collect() }).expect("restored");
            operator
        });
        self.operators = restored.collect();
        assert_eq!(self.keys(), keys, "groups restored");
    }

    pub fn keys(&self) -> usize {
        self.operators.iter().map(Operator::state_keys).sum()
    }

    pub fn bytes(&self) -> usize {
        self.operators.iter().map(Operator::state_bytes).sum()
    }
}

fn belongs(groups: &UInt16Array, partition: usize, partitions: usize) -> BooleanArray {
    BooleanArray::from_unary(groups, |group| group as usize % partitions == partition)
}

fn part(spec: &AggregateSpec, delta: &Delta, partition: usize, partitions: usize) -> Delta {
    if partitions == 1 {
        return delta.clone();
    }
    let columns: Vec<_> = spec.partition_columns().into_iter().map(|c| delta.rows.column(c).clone()).collect();
    let groups = key_groups(&canonical_columns(&columns).expect("keys"), delta.num_rows()).expect("key groups");
    let own = belongs(&groups, partition, partitions);
    let rows = filter_record_batch(&delta.rows, &own).expect("rows");
    let weights = match &delta.weights {
        Weights::Ones => Weights::Ones,
        Weights::Signed(weights) => Weights::Signed(
            weights.iter().zip(own.iter()).filter(|(_, own)| *own == Some(true)).map(|(w, _)| w).collect(),
        ),
    };
    Delta { rows, weights }
}
