//! Bugs between the views of a stack: in what a view hands to those that read it, and in what they are told of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, TimeUnit};
use engine::dataflow::Dataflow;
use engine::dataflow::bound::Bound;
use engine::dataflow::runtime::TickInput;
use engine::delta::{Delta, Weights};
use engine::tick::core::RunningView;
use engine::tick::pin::Pin;
use engine::time::Watermark;

/// Far enough that windows close too early.
const AHEAD_MICROS: i64 = 20_000_000;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackBug {
    /// A view sees the change of what it reads one tick late.
    OneTickLate,
    /// It sees every change twice.
    Twice,
    /// It sees no retraction.
    RetractionsLost,
    /// Retractions come as inserts.
    SignsLost,
    /// Of each change it sees all but the last row.
    LastRowLost,
    /// It takes every time column for one that follows the event time.
    BoundOfAnyColumn,
    /// It takes a view that retracts for one that does not.
    TakenForAppendOnly,
    /// Its watermark is ahead of that of the changes it sees.
    WatermarkAhead,
    /// A view that is created later starts without the rows there are.
    StartsEmpty,
    /// It starts with these rows twice.
    StartsTwice,
}

impl StackBug {
    /// Every bug.
    pub const ALL: [Self; 10] = [
        Self::OneTickLate,
        Self::Twice,
        Self::RetractionsLost,
        Self::SignsLost,
        Self::LastRowLost,
        Self::BoundOfAnyColumn,
        Self::TakenForAppendOnly,
        Self::WatermarkAhead,
        Self::StartsEmpty,
        Self::StartsTwice,
    ];
}

/// A bug at work.
#[derive(Debug)]
pub struct Tampering {
    bug: StackBug,
    /// Whether it changed anything.
    pub acted: bool,
    /// The changes of the tick before, by view.
    kept: BTreeMap<String, Vec<Delta>>,
}

impl Tampering {
    /// A bug that has done nothing yet.
    pub fn new(bug: StackBug) -> Self {
        Self { bug, acted: false, kept: BTreeMap::new() }
    }

    /// Changes what is told of a view to those that read it.
    pub fn properties(&mut self, dataflow: &mut Dataflow) {
        match self.bug {
            StackBug::TakenForAppendOnly => {
                self.acted |= !dataflow.append_only;
                dataflow.append_only = true;
            }
            StackBug::BoundOfAnyColumn => {
                let Some(source) = dataflow.sources.first() else { return };
                let data_type = DataType::Timestamp(TimeUnit::Microsecond, None);
                for (bound, field) in dataflow.bounds.iter_mut().zip(dataflow.schema.fields()) {
                    if bound.is_none() && *field.data_type() == data_type {
                        *bound = Bound::event_time(source, &data_type);
                        self.acted = true;
                    }
                }
            }
            _ => {}
        }
    }

    /// What a view gets in a tick; `stacked` if it reads views.
    pub fn input(&mut self, honest: &TickInput, stacked: bool) -> TickInput {
        let mut input = honest.clone();
        if self.bug == StackBug::WatermarkAhead && stacked {
            for watermark in input.watermarks.values_mut() {
                if let Some(micros) = watermark.micros() {
                    *watermark = Watermark(micros + AHEAD_MICROS);
                    self.acted = true;
                }
            }
        }
        input
    }

    /// What the others see of a view's change.
    pub fn change(&mut self, view: &str, honest: Vec<Delta>) -> Vec<Delta> {
        let some = honest.iter().any(|delta| !delta.is_empty());
        match self.bug {
            StackBug::OneTickLate => {
                self.acted |= some;
                self.kept.insert(view.to_owned(), honest).unwrap_or_default()
            }
            StackBug::Twice => {
                self.acted |= some;
                honest.iter().chain(&honest).cloned().collect()
            }
            StackBug::RetractionsLost => honest.into_iter().map(|delta| self.without_retractions(delta)).collect(),
            StackBug::SignsLost => honest.into_iter().map(|delta| self.without_signs(delta)).collect(),
            StackBug::LastRowLost => {
                self.acted |= some;
                honest.into_iter().map(|delta| kept(&delta, |row| row + 1 < delta.num_rows())).collect()
            }
            _ => honest,
        }
    }

    /// Has a hand in how a new view starts, once it has the rows of what it reads.
    pub fn joining(&mut self, view: &mut RunningView, pin: &Pin, relations: &BTreeSet<String>) {
        let some = relations.iter().any(|name| pin.rows[name].num_rows() > 0);
        match self.bug {
            StackBug::StartsTwice => {
                self.acted |= some;
                // What becomes of it is seen in the next tick.
                let _ = pin.feed(view, &|| false);
            }
            StackBug::StartsEmpty => {
                self.acted |= some;
                let negated = |name: &String| {
                    let rows = pin.rows[name].scan(None).filter_map(Result::ok);
                    let weights = |rows: usize| Weights::Signed(Int64Array::from_value(-1, rows));
                    let deltas = rows.map(|rows| Delta { weights: weights(rows.num_rows()), rows });
                    (name.clone(), Arc::new(deltas.collect::<Vec<_>>()))
                };
                let deltas = relations.iter().map(negated).collect();
                let _ = engine::tick::pin::feed(view, &pin.template, deltas);
            }
            _ => {}
        }
    }

    fn without_retractions(&mut self, delta: Delta) -> Delta {
        let retracts = (0..delta.num_rows()).any(|row| delta.weight(row) < 0);
        self.acted |= retracts;
        if retracts { kept(&delta, |row| delta.weight(row) > 0) } else { delta }
    }

    fn without_signs(&mut self, delta: Delta) -> Delta {
        let Weights::Signed(weights) = &delta.weights else { return delta };
        self.acted |= weights.values().iter().any(|weight| *weight < 0);
        let weights = Weights::Signed(weights.values().iter().map(|weight| weight.abs()).collect::<Vec<_>>().into());
        Delta { weights, ..delta }
    }
}

/// The rows of a delta of which `keep` is true.
fn kept(delta: &Delta, keep: impl Fn(usize) -> bool) -> Delta {
    let mask: BooleanArray = (0..delta.num_rows()).map(|row| Some(keep(row))).collect();
    let rows = filter_record_batch(&delta.rows, &mask).expect("a mask as long as the rows");
    let weights = match &delta.weights {
        Weights::Ones => Weights::Ones,
        Weights::Signed(weights) => {
            let weights = weights.values().iter().enumerate().filter(|(row, _)| keep(*row)).map(|(_, weight)| *weight);
            Weights::Signed(Int64Array::from_iter_values(weights))
        }
    };
    Delta { rows, weights }
}
