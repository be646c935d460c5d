//! Taking a tick's deltas into the state.

use super::JoinOperator;
use super::keys::null_keys;
use super::output::Output;
use super::spec::{LEFT, RIGHT};
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::operator::TickContext;
use crate::operator::aggregate::closing::times;
use crate::state::key_index::NEVER;

impl JoinOperator {
    /// Takes in one delta of one side. Rows that match nothing, whatever comes, are put out at once and not kept.
    pub(super) fn absorb(&mut self, side: usize, delta: &Delta, deltas: &mut Vec<Delta>) -> Result<()> {
        let input = &self.spec.inputs[side];
        let rows = delta.num_rows();
        if !input.weighted && (0..rows).any(|row| delta.weight(row) != 1) {
            return Err(Error::internal("a retraction reached a join over append-only input"));
        }
        let (keys, rest) = delta.rows.columns().split_at(input.keys);
        let (time, columns) = rest.split_at(usize::from(input.timed));
        let times = time.first().map(times).transpose()?;
        let nulls = null_keys(keys).filter(|_| !self.spec.nulls_match);
        let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        let key_bytes = self.keys.codec.encode(keys, rows)?;
        let keeps = self.spec.keeps_rows(side);
        let row_bytes = if keeps { Some(self.sides[side].codec.encode(columns, rows)?) } else { None };
        let (mut alone, mut weights) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let weight = delta.weight(row);
            if weight == 0 {
                continue;
            }
            if is_null(row) && !self.spec.null_aware {
                alone.push(row as u32);
                weights.push(weight);
                continue;
            }
            let (slot, is_new) = self.keys.touch(key_bytes.row(row).data(), side, weight)?;
            let time = times.as_ref().map(|times| times[row]).filter(|time| *time != NEVER);
            if is_new && is_null(row) {
                self.keys.note_null(slot);
            }
            if let Some(time) = time.filter(|_| is_new && self.spec.drops_keys()) {
                self.keys.past.insert(slot, time);
            }
            let rows = &mut self.sides[side];
            rows.total = rows.total.wrapping_add(weight);
            if let Some(bytes) = &row_bytes {
                let tag = rows.times.len() as u32;
                rows.times.push(time);
                let sum = &mut rows.rows.touch(slot, bytes.row(row).data(), tag)?[0];
                *sum = sum.wrapping_add(weight);
            }
        }
        if self.spec.presence(side).unmatched {
            Output::new(&self.spec, deltas).unmatched(side, columns, &alone, weights)?;
        }
        Ok(())
    }

    /// No row may be there less than zero times, but for one that was dropped as past and is now retracted: see the
    /// module `drop`.
    pub(super) fn check_weights(&self, tick: &TickContext) -> Result<()> {
        for side in [LEFT, RIGHT].into_iter().filter(|side| self.spec.inputs[*side].weighted) {
            let rows = &self.sides[side];
            let past = tick.matched_below[side].filter(|_| tick.evict && !self.spec.drops_keys());
            let is_past = |tag: u32| past.zip(rows.times[tag as usize]).is_some_and(|(end, time)| time < end);
            let below = |touched: &&crate::state::multiset::Touched| rows.weight(touched.entry) < 0;
            if rows.rows.touched().iter().filter(below).any(|touched| !is_past(touched.tag)) {
                return Err(Error::data("a join's input retracts a row that is not there"));
            }
            if !self.spec.keeps_rows(side) {
                let below = |slot: u32| self.keys.totals(slot).1[side] < 0;
                if self.keys.touched().iter().any(|touched| below(touched.slot)) {
                    return Err(Error::data("a join's input retracts a row that is not there"));
                }
            }
        }
        Ok(())
    }
}
