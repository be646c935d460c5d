//! A view that begins at an earlier tick: its relations' rows there, then each tick's changes, from the history.
//!
//! ```text
//! history   rows of the relations at tick n ─┐
//!           changes of tick n+1, n+2, …     ─┴─> the view's own change in each of them, until it is at the newest tick
//! ```
//! It is brought near the newest tick beside the main line; the rest is done between two ticks, where it joins.

use std::collections::HashMap;
use std::sync::Arc;

use super::core::RunningView;
use super::history::{History, PastTick};
use super::pin::Pin;
use crate::dataflow::runtime::TickInput;
use crate::delta::Delta;
use crate::error::{Error, ErrorKind, Result};
use crate::time::TickId;
use crate::view::{Snapshot, ViewSnapshot};

/// See the module.
#[derive(Debug)]
pub struct Replay {
    /// The view, at the tick it was brought to so far.
    pub view: RunningView,
    /// The tick it began at.
    pub start: Arc<Snapshot>,
    /// Its rows there.
    pub rows: ViewSnapshot,
    /// What changed in it since, quiet ticks left out.
    pub missed: Vec<(TickId, Vec<Delta>)>,
    template: TickInput,
    reached: TickId,
}

impl Replay {
    /// A view over relations alone, with their rows as of `tick`. `template` says how steps are run.
    ///
    /// # Errors
    /// `Input` if the tick is not kept, or one of the relations is younger; `Conflict` if one has failed; `Cancelled`; `Data`
    /// when the view's plan fails on a row.
    pub fn begin(
        mut view: RunningView,
        history: &History,
        tick: TickId,
        template: &TickInput,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Self> {
        let start = history.at(tick)?;
        let mut pin = Pin {
            template: TickInput { tick, now_micros: start.now_micros, deltas: HashMap::new(), ..template.clone() },
            rows: Default::default(),
            changes: None,
            positions: Default::default(),
        };
        for name in &view.relations {
            let young = || Error::input(format!("view \"{name}\" was created after tick {tick}"));
            let reading = start.view(name).ok_or_else(young)?;
            if let Some(cause) = &reading.error {
                return Err(Error::conflict(format!("materialized view \"{name}\" has failed: {cause}")));
            }
            pin.rows.insert(name.clone(), reading.rows.clone());
        }
        pin.feed(&mut view, cancelled)?;
        // A query without relations has its rows from a step without input.
        step(&mut view, pin.template.clone())?;
        let rows = view.view.snapshot();
        let mut replay = Self { view, start, rows, missed: Vec::new(), template: pin.template, reached: tick };
        replay.go_on(history, cancelled)?;
        Ok(replay)
    }

    /// Goes through the ticks that came meanwhile.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin).
    pub fn go_on(&mut self, history: &History, cancelled: &dyn Fn() -> bool) -> Result<()> {
        for PastTick { tick, now_micros, deltas } in history.ticks_since(self.reached, &self.view.relations)? {
            if cancelled() {
                return Err(Error::new(ErrorKind::Cancelled, "the statement was cancelled"));
            }
            let changes = step(&mut self.view, TickInput { tick, now_micros, deltas, ..self.template.clone() })?;
            if !changes.is_empty() {
                self.missed.push((tick, changes));
            }
            self.reached = tick;
        }
        Ok(())
    }
}

fn step(view: &mut RunningView, input: TickInput) -> Result<Vec<Delta>> {
    let changes = view.tick(&Arc::new(input));
    view.check().map(|()| changes)
}
