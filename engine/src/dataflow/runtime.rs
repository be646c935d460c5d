//! What a plan's nodes find at execution: the tick's inputs and the operators' state.
//!
//! One [`TickRuntime`] travels in the `TaskContext` of every execution. The tick sets the inputs before it runs a plan
//! and clears them after; the registry lives as long as the view.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::operator::Operator;
use crate::operator::state_bound::Held;
use crate::time::{TickId, Watermark};

/// One relation's change in a tick. Of a source: its accepted rows, in batches that hold at least the columns the plans
/// read, by name. Of a maintained relation: its consolidated change, all columns.
pub type RelationDelta = Arc<Vec<Delta>>;

/// A tick as the plans see it.
#[derive(Debug, Clone, Default)]
pub struct TickInput {
    /// The tick.
    pub tick: TickId,
    /// Its time, µs since the Unix epoch.
    pub now_micros: i64,
    /// Each relation's change by its name: sources, views, and whatever else keeps rows. One without a change may be
    /// missing.
    pub deltas: HashMap<String, RelationDelta>,
    /// Watermark by source name.
    pub watermarks: HashMap<String, Watermark>,
    /// By source name the watermark by which windows close; never behind the other.
    pub closing: HashMap<String, Watermark>,
    /// Whether final state may be dropped.
    pub evict: bool,
}

impl TickInput {
    /// The same without watermarks: nothing is final, and nothing closes.
    #[must_use]
    pub fn unclocked(self) -> Self {
        Self { watermarks: HashMap::new(), closing: HashMap::new(), ..self }
    }
}

/// Names a stateful node within its view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperatorId(pub u32);

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One operator, locked for the length of its step.
pub type SharedOperator = Arc<Mutex<Box<dyn Operator>>>;

/// The operators of one view in this process, by (operator, partition).
#[derive(Debug, Default)]
pub struct Registry {
    operators: RwLock<HashMap<(OperatorId, usize), SharedOperator>>,
}

impl Registry {
    /// The operator of this id and partition, made by `make` the first time.
    ///
    /// # Errors
    /// Whatever `make` returns.
    pub fn find(
        &self,
        id: OperatorId,
        partition: usize,
        make: impl FnOnce() -> Result<Box<dyn Operator>>,
    ) -> Result<SharedOperator> {
        if let Some(operator) = self.operators.read().get(&(id, partition)) {
            return Ok(operator.clone());
        }
        let operator = Arc::new(Mutex::new(make()?));
        Ok(self.operators.write().entry((id, partition)).or_insert(operator).clone())
    }

    /// Every operator, in order of id and partition.
    pub fn all(&self) -> Vec<(OperatorId, usize, SharedOperator)> {
        let mut all: Vec<_> = self.operators.read().iter().map(|((id, p), o)| (*id, *p, o.clone())).collect();
        all.sort_by_key(|(id, partition, _)| (*id, *partition));
        all
    }

    /// Puts an operator in its place.
    pub fn insert(&self, id: OperatorId, partition: usize, operator: Box<dyn Operator>) {
        self.operators.write().insert((id, partition), Arc::new(Mutex::new(operator)));
    }

    /// The next tick time at which an operator's answer changes by itself.
    pub fn due_micros(&self) -> Option<i64> {
        self.operators.read().values().filter_map(|operator| operator.lock().due_micros()).min()
    }

    /// Bytes of state in all operators.
    pub fn state_bytes(&self) -> usize {
        self.operators.read().values().map(|o| o.lock().state_bytes()).sum()
    }

    /// The state by operator and part, partitions put together.
    pub fn held(&self) -> Vec<(OperatorId, Vec<Held>)> {
        let mut all: Vec<(OperatorId, Vec<Held>)> = Vec::new();
        for (id, _, operator) in self.all() {
            let held = operator.lock().held();
            match all.last_mut().filter(|(last, _)| *last == id) {
                Some((_, sums)) => sums.iter_mut().zip(held).for_each(|(sum, held)| *sum = sum.and(held)),
                None => all.push((id, held)),
            }
        }
        all
    }

    /// Gives all state up.
    pub fn clear(&self) {
        self.operators.write().clear();
    }

    /// Keys of state in all operators.
    pub fn state_keys(&self) -> usize {
        self.operators.read().values().map(|o| o.lock().state_keys()).sum()
    }

    /// Keys touched by all steps of all operators: see [`Operator::touched_keys`].
    pub fn touched_keys(&self) -> u64 {
        self.operators.read().values().map(|o| o.lock().touched_keys()).sum()
    }
}

/// The bridge from a tick to the plan nodes it executes.
#[derive(Debug, Default)]
pub struct TickRuntime {
    input: RwLock<Option<Arc<TickInput>>>,
    /// The view's operators.
    pub registry: Registry,
}

impl TickRuntime {
    /// Sets the tick that executions read, or none between ticks.
    pub fn set(&self, input: Option<Arc<TickInput>>) {
        *self.input.write() = input;
    }

    /// The tick being executed.
    ///
    /// # Errors
    /// `Internal` outside a tick.
    pub fn input(&self) -> Result<Arc<TickInput>> {
        self.input.read().clone().ok_or_else(|| Error::internal("an incremental plan executed outside a tick"))
    }
}
