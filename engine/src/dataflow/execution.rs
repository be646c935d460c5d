//! A view's plan at work: one execution a tick.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::TaskContext;
use datafusion::execution::config::SessionConfig;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use futures::StreamExt;

use super::Dataflow;
use super::exec::OperatorExec;
use super::planner;
use super::runtime::{OperatorId, TickInput, TickRuntime};
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::operator::SavedState;
use crate::operator::state_bound::Held;
use crate::row_error::RowErrors;
use crate::state::key_group::KEY_GROUPS;
use crate::time::{TickId, Watermark};

/// How plans are executed.
#[derive(Debug, Clone)]
pub struct ExecutionConfig {
    /// Partitions a plan's stateful nodes are dealt to. With 1 a tick runs on the calling thread alone.
    pub parallelism: usize,
    /// Where the tasks of parallel plans run; not needed at parallelism 1.
    pub tasks: Option<tokio::runtime::Handle>,
}

impl Default for ExecutionConfig {
    fn default() -> Self {
        Self { parallelism: 1, tasks: None }
    }
}

/// The saved state of a view: every operator's rows, by operator id.
pub type SavedView = Vec<(OperatorId, SavedState)>;

/// A source's watermark, and the one by which windows close, where they are known.
type Clocks = (Option<Watermark>, Option<Watermark>);

fn clocks(input: &TickInput, source: &str) -> Clocks {
    (input.watermarks.get(source).copied(), input.closing.get(source).copied())
}

/// One view's physical plan, its operators, and the means to run a tick.
#[derive(Debug)]
pub struct Execution {
    plan: Arc<dyn ExecutionPlan>,
    runtime: Arc<TickRuntime>,
    errors: Option<Arc<RowErrors>>,
    context: Arc<TaskContext>,
    config: ExecutionConfig,
    /// The relations it reads, and the sources whose watermarks it follows.
    relations: Vec<String>,
    sources: Vec<String>,
    /// What relations are called in the plan that have another name by now, by that name.
    planned_names: HashMap<String, String>,
    schema: SchemaRef,
    watermarks: HashMap<String, Clocks>,
    stepped: bool,
    /// The tick in which it last took a step.
    stepped_at: TickId,
    /// Whether an operator reads the tick's time, and when that alone changes the answer next.
    reads_clock: bool,
    due_micros: Option<i64>,
}

impl Execution {
    /// Plans `dataflow`. State is empty; the first step emits what an empty input answers.
    ///
    /// # Errors
    /// `Unsupported` for what DataFusion or an operator cannot plan.
    pub fn try_new(dataflow: &Dataflow, config: ExecutionConfig) -> Result<Self> {
        let plan = planner::plan(&dataflow.plan, config.parallelism)?;
        let runtime = Arc::new(TickRuntime::default());
        let mut session =
            SessionConfig::new().with_target_partitions(config.parallelism).with_extension(runtime.clone());
        let errors = dataflow.diagnose.map(|diagnose| Arc::new(RowErrors::new(diagnose)));
        if let Some(errors) = &errors {
            session.set_extension(errors.clone());
        }
        let none = (HashMap::new(), HashMap::new(), HashMap::new(), HashMap::new());
        let environment = Arc::new(RuntimeEnv::default());
        let context = TaskContext::new(None, "tick".into(), session, none.0, none.1, none.2, none.3, environment);
        let mut operators = Vec::new();
        collect_operators(&plan, &mut operators);
        let maker =
            |node: &Arc<dyn ExecutionPlan>| node.downcast_ref::<OperatorExec>().map(|node| node.maker().clone());
        let reads_clock = operators.iter().filter_map(maker).any(|maker| maker.reads_clock());
        Ok(Self {
            plan,
            runtime,
            errors,
            context: Arc::new(context),
            config,
            relations: dataflow.inputs.keys().chain(&dataflow.relations).cloned().collect(),
            sources: dataflow.sources.iter().cloned().collect(),
            planned_names: HashMap::new(),
            schema: dataflow.schema.clone(),
            watermarks: HashMap::new(),
            stepped: false,
            stepped_at: TickId::default(),
            reads_clock,
            due_micros: None,
        })
    }

    /// Runs one tick and returns the change of the view's rows, not consolidated.
    ///
    /// A tick that brings the view neither rows nor a newer watermark, nor a time that it waits for, costs nothing.
    ///
    /// # Errors
    /// The first error of an expression or operator. The operators may then have taken in part of the tick: the view
    /// has failed and must be rebuilt.
    pub fn step(&mut self, input: Arc<TickInput>) -> Result<Vec<Delta>> {
        if !self.concerns(&input) {
            return Ok(vec![]);
        }
        self.stepped = true;
        self.stepped_at = input.tick;
        for source in &self.sources {
            let clocks = clocks(&input, source);
            if clocks != Clocks::default() {
                self.watermarks.insert(source.clone(), clocks);
            }
        }
        self.runtime.set(Some(self.as_planned(input)));
        let batches = self.run();
        self.runtime.set(None);
        self.note_due();
        batches?.into_iter().map(Delta::from_edge).collect()
    }

    /// The change of the rows left out, in the columns of [`row_errors_schema`](crate::row_error::row_errors_schema), not
    /// consolidated, since this was last called.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn take_errors(&mut self) -> Result<Option<Delta>> {
        self.errors.as_ref().map_or(Ok(None), |errors| errors.take())
    }

    fn concerns(&self, input: &TickInput) -> bool {
        let changed = |relation: &String| {
            input.deltas.get(relation).is_some_and(|deltas| deltas.iter().any(|delta| !delta.is_empty()))
        };
        !self.stepped
            || self.relations.iter().any(changed)
            || self
                .sources
                .iter()
                .any(|source| clocks(input, source) != self.watermarks.get(source).copied().unwrap_or_default())
            || self.due_micros.is_some_and(|due| due <= input.now_micros)
    }

    fn note_due(&mut self) {
        self.due_micros = if self.reads_clock { self.runtime.registry.due_micros() } else { None };
    }

    /// True if the view's answer depends on the tick's time.
    pub fn reads_clock(&self) -> bool {
        self.reads_clock
    }

    /// The next tick time, µs, at which the answer changes though nothing comes in.
    pub fn due_micros(&self) -> Option<i64> {
        self.due_micros
    }

    /// The tick under the names that relations had when the plan was made.
    fn as_planned(&self, input: Arc<TickInput>) -> Arc<TickInput> {
        if self.planned_names.is_empty() {
            return input;
        }
        let planned = |name: &String| self.planned_names.get(name).unwrap_or(name).clone();
        let deltas = self.relations.iter().filter_map(|name| Some((planned(name), input.deltas.get(name)?.clone())));
        let of = |clocks: &HashMap<String, Watermark>| {
            self.sources.iter().filter_map(|name| Some((planned(name), *clocks.get(name)?))).collect()
        };
        Arc::new(TickInput {
            deltas: deltas.collect(),
            watermarks: of(&input.watermarks),
            closing: of(&input.closing),
            tick: input.tick,
            now_micros: input.now_micros,
            evict: input.evict,
        })
    }

    /// Goes on reading a relation under another name.
    pub fn rename_relation(&mut self, from: &str, to: &str) {
        let mut known = false;
        for name in self.relations.iter_mut().chain(&mut self.sources).filter(|name| *name == from) {
            to.clone_into(name);
            known = true;
        }
        if !known {
            return;
        }
        let planned = self.planned_names.remove(from).unwrap_or_else(|| from.to_owned());
        if planned != to {
            self.planned_names.insert(to.to_owned(), planned);
        }
        if let Some(watermark) = self.watermarks.remove(from) {
            self.watermarks.insert(to.to_owned(), watermark);
        }
    }

    fn run(&self) -> Result<Vec<RecordBatch>> {
        // Each execution registers new metrics, and an exchange can run only once: a tick starts from fresh nodes.
        let plan = reset_plan_states(self.plan.clone())?;
        let _entered = self.config.tasks.as_ref().map(tokio::runtime::Handle::enter);
        futures::executor::block_on(async {
            let mut batches = Vec::new();
            for partition in 0..plan.properties().partitioning.partition_count() {
                let mut stream = plan.execute(partition, self.context.clone())?;
                while let Some(batch) = stream.next().await {
                    let batch = batch?;
                    if batch.num_rows() > 0 {
                        batches.push(batch);
                    }
                }
            }
            Ok(batches)
        })
    }

    /// The view's columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The stateful nodes of the plan, from the root down.
    pub fn operators(&self) -> Vec<Arc<dyn ExecutionPlan>> {
        let mut found = Vec::new();
        collect_operators(&self.plan, &mut found);
        found
    }

    /// The physical plan as indented text.
    pub fn display(&self) -> String {
        displayable(self.plan.as_ref()).indent(false).to_string()
    }

    /// The physical plan.
    pub fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.plan
    }

    /// Bytes of operator state.
    pub fn state_bytes(&self) -> usize {
        self.runtime.registry.state_bytes()
    }

    /// Operator state by operator and part.
    pub fn held(&self) -> Vec<(OperatorId, Vec<Held>)> {
        self.runtime.registry.held()
    }

    /// The tick in which the state last may have changed.
    pub fn stepped_at(&self) -> TickId {
        self.stepped_at
    }

    /// Gives up all operator state; this must not step again.
    pub fn release(&mut self) {
        self.runtime.registry.clear();
        self.due_micros = None;
    }

    /// Keys of operator state.
    pub fn state_keys(&self) -> usize {
        self.runtime.registry.state_keys()
    }

    /// Keys that the steps so far touched: see [`Operator::touched_keys`](crate::operator::Operator::touched_keys).
    pub fn touched_keys(&self) -> u64 {
        self.runtime.registry.touched_keys()
    }

    /// Every operator's state as rows; partitions of one operator are put together.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn save(&self) -> Result<SavedView> {
        let mut saved: SavedView = Vec::new();
        for (id, _, operator) in self.runtime.registry.all() {
            let state = operator.lock().save()?;
            match saved.last_mut().filter(|(last, _)| *last == id) {
                Some((_, all)) => all.merge(state),
                None => saved.push((id, state)),
            }
        }
        Ok(saved)
    }

    /// Takes the state of [`save`](Self::save) as of `tick`, made at any parallelism, into an execution that has not stepped yet.
    ///
    /// # Errors
    /// `Data` if the state is not of this plan.
    pub fn restore(&mut self, saved: SavedView, tick: TickId) -> Result<()> {
        let nodes = self.operators();
        for (id, state) in saved {
            let node = nodes.iter().filter_map(|n| n.downcast_ref::<OperatorExec>()).find(|node| node.id() == id);
            let node =
                node.ok_or_else(|| Error::data(format!("saved state of operator {id}, which the plan lacks")))?;
            for (partition, state) in state.split(node.partitions(), partition_of)?.into_iter().enumerate() {
                let mut operator = node.maker().make()?;
                operator.restore(state)?;
                self.runtime.registry.insert(id, partition, operator);
            }
        }
        self.stepped = true;
        self.stepped_at = tick;
        self.note_due();
        Ok(())
    }
}

/// The partition that DataFusion's hash exchange sends a key group to.
fn partition_of(key_group: u16, partitions: usize) -> usize {
    planner::key_group_partitions(partitions)[usize::from(key_group % KEY_GROUPS)]
}

fn collect_operators(plan: &Arc<dyn ExecutionPlan>, found: &mut Vec<Arc<dyn ExecutionPlan>>) {
    if plan.downcast_ref::<OperatorExec>().is_some() {
        found.push(plan.clone());
    }
    for child in plan.children() {
        collect_operators(child, found);
    }
}
