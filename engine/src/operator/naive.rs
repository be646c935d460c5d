//! What the tests of operators that keep rows share: random weighted changes, partitions that are saved and dealt out anew,
//! and the sum of what came out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Operator, SavedState, TickContext};
use crate::delta::{Delta, Weights};
use crate::state::canonical::canonical_columns;
use crate::state::key_group::key_groups;
use crate::time::TickId;

/// A row: window, key, order, text.
pub(super) type Row = (i64, Option<i64>, Option<i64>, Option<String>);

/// Rows with how often they are there.
pub(super) type Rows = BTreeMap<Row, i64>;

/// An answer: rows as text with how often they are there.
pub(super) type Answer = BTreeMap<Vec<String>, i64>;

/// The columns `w`, `k`, `o`, `g` of some rows, with weights.
pub(super) fn delta(rows: &[(Row, i64)]) -> Delta {
    let windows = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(row, _)| row.0));
    let keys: Int64Array = rows.iter().map(|(row, _)| row.1).collect();
    let orders: Int64Array = rows.iter().map(|(row, _)| row.2).collect();
    let texts: StringArray = rows.iter().map(|(row, _)| row.3.clone()).collect();
    let columns = [
        ("w", Arc::new(windows) as Arc<dyn Array>, true),
        ("k", Arc::new(keys) as _, true),
        ("o", Arc::new(orders) as _, true),
        ("g", Arc::new(texts) as _, true),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length");
    Delta { rows: batch, weights: Weights::Signed(rows.iter().map(|(_, weight)| Some(*weight)).collect()) }
}

/// The schema of [`delta`].
pub(super) fn schema() -> SchemaRef {
    delta(&[]).rows.schema()
}

/// Random changes, and the rows they leave.
pub(super) struct History {
    /// The source of chance.
    pub random: ChaCha8Rng,
    /// The rows there are.
    pub rows: Rows,
    weighted: bool,
    /// No later row has a window below this.
    pub closed_below: i64,
}

impl History {
    /// Nothing yet; with `weighted`, rows will go, too.
    pub fn new(seed: u64, weighted: bool) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), rows: Rows::new(), weighted, closed_below: 0 }
    }

    /// One tick's changes.
    pub fn tick(&mut self) -> Vec<Delta> {
        let mut changes: Vec<(Row, i64)> = Vec::new();
        for _ in 0..self.random.random_range(0..25) {
            let open: Vec<Row> = self.rows.keys().filter(|row| row.0 >= self.closed_below).cloned().collect();
            if self.weighted && !open.is_empty() && self.random.random_bool(0.45) {
                let row = open[self.random.random_range(0..open.len())].clone();
                let weight = self.random.random_range(1..=self.rows[&row]);
                changes.push((row, -weight));
            } else {
                let row = self.row();
                changes.push((row, if self.weighted { self.random.random_range(1..4) } else { 1 }));
            }
            let (row, weight) = changes.last().expect("pushed just now").clone();
            *self.rows.entry(row).or_default() += weight;
            self.rows.retain(|_, weight| *weight != 0);
        }
        if self.random.random_bool(0.1) && self.weighted {
            let row = self.row();
            changes.extend([(row.clone(), 2), (row, -2)]);
        }
        // Within a tick the order says nothing: a retraction may come first.
        let middle = self.random.random_range(0..=changes.len());
        changes.rotate_left(middle);
        let cut = self.random.random_range(0..=changes.len());
        let plain = |mut delta: Delta| {
            if !self.weighted {
                delta.weights = Weights::Ones;
            }
            delta
        };
        vec![plain(delta(&changes[..cut])), plain(delta(&changes[cut..]))]
    }

    fn row(&mut self) -> Row {
        let random = &mut self.random;
        let maybe = |random: &mut ChaCha8Rng, to| random.random_bool(0.85).then(|| random.random_range(0..to));
        let text = maybe(random, 3).map(|n: i64| ["", "a", "bc"][n as usize].to_owned());
        (self.closed_below + random.random_range(0..3), maybe(random, 3), maybe(random, 4), text)
    }
}

/// Partitions of one operator, and the sum of their output.
pub(super) struct Cluster<M> {
    make: M,
    keys: Vec<usize>,
    operators: Vec<Box<dyn Operator>>,
    tick: u64,
    /// The ticks' time.
    pub now_micros: i64,
    /// Below this rows of either input match no later one of the other.
    pub matched_below: [Option<i64>; 2],
    /// Whether final state is dropped.
    pub evict: bool,
    /// Whether what comes out goes over an edge without weights.
    pub append_only: bool,
    /// What came out, summed.
    pub answer: Answer,
}

impl<M: Fn() -> Box<dyn Operator>> Cluster<M> {
    /// One partition; rows are dealt by `keys`.
    pub fn new(make: M, keys: &[usize]) -> Self {
        let operators = vec![make()];
        let (tick, now_micros, matched_below, keys) = (0, 0, [None, None], keys.to_vec());
        let (evict, append_only, answer) = (true, false, Answer::new());
        Self { make, keys, operators, tick, now_micros, matched_below, evict, append_only, answer }
    }

    /// One tick. Returns how many rows of output it had.
    pub fn step(&mut self, inputs: &[Vec<Delta>], closed_below: Option<i64>) -> usize {
        self.tick += 1;
        let mut changed = 0;
        for partition in 0..self.operators.len() {
            let dealt = |deltas: &Vec<Delta>| deltas.iter().map(|delta| self.part(delta, partition)).collect();
            let inputs: Vec<Vec<Delta>> = inputs.iter().map(dealt).collect();
            let (tick, now_micros, evict) = (TickId(self.tick), self.now_micros, self.evict);
            let matched_below = self.matched_below;
            let context =
                TickContext { tick, now_micros, closed_below, matched_below, evict, ..TickContext::default() };
            let output = self.operators[partition].step(inputs, &context).expect("a legal tick");
            for delta in output {
                assert_eq!(
                    delta.rows.schema().fields().len(),
                    self.operators[partition].output_schema().fields().len()
                );
                changed += delta.num_rows();
                for (row, text) in texts(&delta.rows).into_iter().enumerate() {
                    assert!(!self.append_only || delta.weight(row) == 1, "a weight on an edge without weights");
                    *self.answer.entry(text).or_default() += delta.weight(row);
                }
            }
        }
        self.answer.retain(|_, weight| *weight != 0);
        assert!(self.answer.values().all(|weight| *weight > 0), "{:?}", self.answer);
        changed
    }

    /// Saves everything and goes on in `partitions` partitions.
    pub fn restart(&mut self, partitions: usize) {
        let mut saved = SavedState::default();
        self.operators.iter_mut().for_each(|operator| saved.merge(operator.save().expect("state that can be saved")));
        let dealt = saved.split(partitions, |group, partitions| usize::from(group) % partitions).expect("key groups");
        let restored = dealt.into_iter().map(|state| {
            let mut operator = (self.make)();
            operator.restore(state).expect("state that was just saved");
            operator
        });
        self.operators = restored.collect();
    }

    /// When time alone changes the answer next.
    pub fn due_micros(&self) -> Option<i64> {
        self.operators.iter().filter_map(|operator| operator.due_micros()).min()
    }

    /// Keys of state.
    pub fn keys(&self) -> usize {
        self.operators.iter().map(|operator| operator.state_keys()).sum()
    }

    fn part(&self, delta: &Delta, partition: usize) -> Delta {
        let keys: Vec<_> = self.keys.iter().map(|key| delta.rows.column(*key).clone()).collect();
        let groups = key_groups(&canonical_columns(&keys).expect("keys"), delta.num_rows()).expect("keys");
        let mine = |group: &u16| usize::from(*group) % self.operators.len() == partition;
        let kept: BooleanArray = groups.values().iter().map(|group| Some(mine(group))).collect();
        let weights = (0..delta.num_rows()).filter(|row| kept.value(*row)).map(|row| Some(delta.weight(row)));
        Delta {
            rows: filter_record_batch(&delta.rows, &kept).expect("a mask as long as the rows"),
            weights: match &delta.weights {
                Weights::Ones => Weights::Ones,
                Weights::Signed(_) => Weights::Signed(weights.collect()),
            },
        }
    }
}

/// Rows as text, column by column.
fn texts(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let formatters =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).expect("a plain type"));
    let formatters: Vec<_> = formatters.collect();
    (0..batch.num_rows()).map(|row| formatters.iter().map(|column| column.value(row).to_string()).collect()).collect()
}

/// A row of an expected answer, as [`Cluster`] writes it; `more` are columns behind the row's.
pub(super) fn text(row: &Row, more: &[String]) -> Vec<String> {
    let batch = delta(&[(row.clone(), 1)]).rows;
    texts(&batch).remove(0).into_iter().chain(more.iter().cloned()).collect()
}
