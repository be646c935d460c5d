//! What a new view over other views begins with: their rows as of one tick, their changes from then on, and where the
//! sources it reads stood at that tick.
//!
//! ```text
//! pin at tick P    rows of the relations as of P ─┐
//! beside           sources, again, up to P       ─┼─> the view holds the answer of tick P
//! beside           sources, again, beyond P      ─┐   without watermarks: the relations' changes are still to come
//! join at tick J   sources up to J, changes P..J ─┴─> then the watermarks of J: it holds the answer of tick J
//! ```
//! A watermark says that nothing below it changes any more, in any input. That holds for the sources' own watermarks up to
//! P, because all rows of the relations as of P went in before; and for those of J once all changes up to J are in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use super::backfill::Position;
use super::core::RunningView;
use super::recording::Recording;
use crate::dataflow::runtime::{RelationDelta, TickInput};
use crate::delta::Delta;
use crate::error::{Error, ErrorKind, Result};
use crate::view::ViewSnapshot;

/// Rows that go into one step.
const STEP_ROWS_MAX: u64 = 256 * 1024;

/// Relations pinned at one tick, with the sources' positions at that tick.
#[derive(Debug)]
pub struct Pin {
    /// The tick and its time, without input.
    pub template: TickInput,
    /// The relations' rows.
    pub rows: BTreeMap<String, ViewSnapshot>,
    /// Their changes since; `None` where there are no relations.
    pub changes: Option<Arc<Mutex<Recording>>>,
    /// Where each source is; `None` for one that is not read yet.
    pub positions: BTreeMap<String, Option<Position>>,
}

impl Pin {
    /// Feeds the relations' rows to a view, as inserts, without any watermark.
    ///
    /// # Errors
    /// `Cancelled` when `cancelled` says so, `Data` when the view's plan fails on a row.
    pub fn feed(&self, view: &mut RunningView, cancelled: &dyn Fn() -> bool) -> Result<()> {
        for (name, rows) in &self.rows {
            view.progress.note(name, 0, rows.num_rows());
        }
        for (name, rows) in &self.rows {
            let (mut step, mut step_rows, mut read) = (Vec::new(), 0, 0);
            for batch in rows.scan(None) {
                let batch = batch?;
                step_rows += batch.num_rows() as u64;
                read += batch.num_rows() as u64;
                view.progress.note(name, read, rows.num_rows());
                step.push(Delta::inserts(batch));
                if step_rows >= STEP_ROWS_MAX {
                    feed(view, &self.template, HashMap::from([(name.clone(), Arc::new(std::mem::take(&mut step)))]))?;
                    step_rows = 0;
                }
                if cancelled() {
                    return Err(Error::new(ErrorKind::Cancelled, "the view's creation was cancelled"));
                }
            }
            feed(view, &self.template, HashMap::from([(name.clone(), Arc::new(step))]))?;
        }
        Ok(())
    }
}

/// Steps a view that has not joined yet through changes of relations, without any watermark.
///
/// # Errors
/// `Data` when the view's plan fails on a row, `Limit` when it takes more memory than its budget.
pub fn feed(view: &mut RunningView, template: &TickInput, deltas: HashMap<String, RelationDelta>) -> Result<()> {
    let input = TickInput { deltas, ..template.clone().unclocked() };
    view.tick(&Arc::new(input));
    view.check()
}
