//! Dropping state that nothing can change or ask for any more.

use super::JoinOperator;
use super::spec::{LEFT, RIGHT};
use crate::operator::TickContext;

impl JoinOperator {
    /// Drops what is past, after the tick was answered.
    pub(super) fn drop_past(&mut self, tick: &TickContext) {
        if self.spec.drops_keys() {
            // How many rows are under a key still matters to the side that can change: both must be past it.
            if let (Some(left), Some(right)) = (tick.matched_below[LEFT], tick.matched_below[RIGHT]) {
                self.drop_keys(left.min(right));
            }
            return;
        }
        for side in [LEFT, RIGHT] {
            if let Some(end) = tick.matched_below[side].filter(|_| self.spec.inputs[side].timed) {
                self.drop_rows(side, end);
            }
        }
    }

    fn drop_keys(&mut self, end: i64) {
        for slot in self.keys.past.take_below(end) {
            let (_, totals) = self.keys.totals(slot);
            for (side, total) in self.sides.iter_mut().zip(totals) {
                side.rows.remove_owner(slot);
                side.total = side.total.wrapping_sub(total);
            }
            self.keys.drop_key(slot);
        }
    }

    fn drop_rows(&mut self, side: usize, end: i64) {
        for entry in self.sides[side].past.take_below(end) {
            let rows = &mut self.sides[side];
            let (slot, weight) = (rows.rows.owner(entry), rows.weight(entry));
            rows.rows.remove(entry);
            rows.total = rows.total.wrapping_sub(weight);
            let has_rows = self.sides.iter().any(|side| side.has_rows(slot));
            self.keys.take_away(slot, side, weight, has_rows);
        }
    }
}
