//! Dropping state that nothing can change or ask for any more.
//!
//! **Row by row**, where no row comes out alone, or a residual decides which do. A kept row is read when a row of the other side
//! that matches it comes or goes. Below [`matched_below`](TickContext::matched_below) none does any more, so the row goes. Its
//! pairs stay in the answer, and rows of the other side go on counting it among their matches.
//!
//! The dropped row itself may still be retracted. It then comes as a row of weight -1 that was not there, which takes back its
//! pairs, and counts itself out, as an insert would have made them. The rows this needs are there: a row of the other side
//! that was dropped is one that no later change matches, this retraction included. What is left is an entry of
//! weight -1, past as the row was: it goes at the end of the same tick, and only such entries may be below zero.
//!
//! ```text
//! a JOIN b ON a.k = b.k AND a.ts >= b.ts       b's watermark 12:00: a's rows before 12:00 match no later row of b
//! kept     a: (1, 11:59)  b: (1, 11:58)        put out: the pair
//! evicted  b: (1, 11:58)                       it is not dropped: a's rows of 12:05 will match it
//! tick     a: -(1, 11:59)                      -(the pair): found by holding the -1 against b
//! ```
//! **Key by key**, where keys alone decide whether a row matches. A row's answer then hangs on how many rows the key has on the
//! other side, and that number is needed as long as either side can change under the key: both have to be past it.

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
