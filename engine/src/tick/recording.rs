//! The changes of maintained relations from one tick on, kept for a new view that is still taking in their rows.
//!
//! A new view begins with its relations' rows as of one tick, pinned, which it reads beside the main line. What changes
//! meanwhile is put down here, tick by tick, and taken in before the view joins.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::budget;
use crate::dataflow::runtime::RelationDelta;
use crate::delta::Delta;
use crate::error::{Error, Result};

/// Changed rows that are kept at most: relations that change faster than their rows can be read leave no room for a new
/// view.
const ROWS_MAX: usize = 16 << 20;

/// See the module.
#[derive(Debug)]
pub struct Recording {
    changes: BTreeMap<String, Vec<Delta>>,
    rows: usize,
    failed: Option<Error>,
}

impl Recording {
    /// Of these relations, nothing yet.
    pub fn new(relations: impl IntoIterator<Item = String>) -> Self {
        let changes = relations.into_iter().map(|name| (name, Vec::new())).collect();
        Self { changes, rows: 0, failed: None }
    }

    /// Changed rows kept.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Puts down a tick's changes. `failure` tells why a relation stands still, if it does.
    pub fn take(&mut self, deltas: &HashMap<String, RelationDelta>, failure: impl Fn(&String) -> Option<String>) {
        if self.failed.is_some() {
            return;
        }
        for (name, changes) in &mut self.changes {
            if let Some(cause) = failure(name) {
                let message = format!("the materialized view \"{name}\" that it reads has failed: {cause}");
                self.failed = Some(budget::failure(message));
                return;
            }
            for delta in deltas.get(name).into_iter().flat_map(|deltas| deltas.iter()) {
                self.rows += delta.num_rows();
                changes.push(delta.clone());
            }
        }
        if self.rows > ROWS_MAX {
            self.changes.values_mut().for_each(Vec::clear);
            self.failed = Some(Error::unavailable(format!(
                "the views that it reads changed {} rows before their rows were read",
                self.rows
            )));
        }
    }

    /// Hands out what was put down since the last time.
    ///
    /// # Errors
    /// `Data` if a relation has failed meanwhile, `Unavailable` if it changed too fast.
    pub fn hand_out(&mut self) -> Result<HashMap<String, RelationDelta>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.rows = 0;
        let out = self.changes.iter_mut().map(|(name, changes)| (name.clone(), Arc::new(std::mem::take(changes))));
        Ok(out.collect())
    }
}
