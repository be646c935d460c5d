//! Rows that come out alone, because they match something or because they match nothing.
//!
//! A row's answer changes with its own weight, and with whether it matches: by its key where keys alone decide, else by the
//! number of rows it matches. Only rows of touched keys, or rows whose number was touched, are looked at.
//!
//! A row of weight `w` before and `w'` now is put out with the difference of what it was in the old answer and is in the new one.
//! Of those that match nothing that is
//!
//! ```text
//! (0 if it matches, else w') - (0 if it matched, else w)
//! ```
//! so a row that stays unmatched costs `w' - w`, one that finds its first match is taken back with `-w`, and one that loses its
//! last comes with `w'`. Of those that match something it is the same the other way round.

use super::JoinOperator;
use super::keys::Keys;
use super::output::Output;
use super::side::{Degrees, Side};
use super::spec::{JoinSpec, LEFT, RIGHT};
use crate::error::Result;

/// Whether a row matches: before the tick, and now.
type Matches = (bool, bool);

struct Visitor<'a, 'o> {
    sides: &'a [Side; 2],
    side: usize,
    spec: &'a JoinSpec,
    output: &'a mut Output<'o>,
}

impl Visitor<'_, '_> {
    fn visit(&mut self, entry: u32, (had, has): Matches) -> Result<()> {
        let rows = &self.sides[self.side];
        let (before, now) = (rows.weight_before(entry), rows.weight(entry));
        let presence = self.spec.presence(self.side);
        if presence.unmatched {
            let change = if has { 0 } else { now } - if had { 0 } else { before };
            self.output.alone(self.sides, self.side, entry, false, change)?;
        }
        if presence.matched {
            let change = if has { now } else { 0 } - if had { before } else { 0 };
            self.output.alone(self.sides, self.side, entry, true, change)?;
        }
        Ok(())
    }

    /// By the numbers that the pairs visited have changed.
    fn by_degree(&mut self, degrees: &Degrees) -> Result<()> {
        let rows = &self.sides[self.side];
        let of = |entry: u32| (degrees.before(entry) > 0, degrees.now(entry) > 0);
        for changed in rows.changed() {
            self.visit(changed.entry, of(changed.entry))?;
        }
        for entry in degrees.touched() {
            if !rows.has_changed(entry) {
                self.visit(entry, of(entry))?;
            }
        }
        Ok(())
    }

    /// By what is under the key on the other side.
    fn by_key(&mut self, keys: &Keys, of: impl Fn(u32) -> Matches, all: bool) -> Result<()> {
        let rows = &self.sides[self.side];
        let flips = |slot: u32| {
            let (had, has) = of(slot);
            had != has
        };
        // Under a key that flips all rows are visited below, those that changed among them; under another only these.
        for changed in rows.changed() {
            let slot = rows.rows.owner(changed.entry);
            if !flips(slot) {
                self.visit(changed.entry, of(slot))?;
            }
        }
        let slots = if all { keys.index.live() } else { keys.touched().iter().map(|touched| touched.slot).collect() };
        for slot in slots.into_iter().filter(|slot| flips(*slot)) {
            for entry in rows.rows.entries(slot) {
                self.visit(entry, of(slot))?;
            }
        }
        Ok(())
    }
}

impl JoinOperator {
    /// Puts out the change of rows that come out alone.
    pub(super) fn visit_presence(&self, output: &mut Output<'_>) -> Result<()> {
        for side in [LEFT, RIGHT] {
            if !self.spec.presence(side).any() {
                continue;
            }
            let mut visitor = Visitor { sides: &self.sides, side, spec: &self.spec, output: &mut *output };
            match &self.degrees[side] {
                Some(degrees) => visitor.by_degree(degrees)?,
                None if self.spec.null_aware => self.visit_not_in(&mut visitor)?,
                None => {
                    let of = |slot: u32| {
                        let (before, now) = self.keys.totals(slot);
                        (before[1 - side] > 0, now[1 - side] > 0)
                    };
                    visitor.by_key(&self.keys, of, false)?;
                }
            }
            output.finish_alone(&self.sides, side)?;
        }
        Ok(())
    }

    /// NOT IN: a NULL on the right matches every row, and a row with a NULL key matches whatever is on the right.
    ///
    /// That is SQL's three-valued logic, where a comparison with NULL is neither true nor false and `NOT IN` keeps what is
    /// certainly not in the list. So the first NULL on the right takes all rows away and the last to go brings them back, and
    /// the first row of any kind on the right takes those with a NULL key: then all keys have to be looked at, not the touched.
    fn visit_not_in(&self, visitor: &mut Visitor<'_, '_>) -> Result<()> {
        let null = self.keys.null();
        let nulls = null.map_or((0, 0), |slot| {
            let (before, now) = self.keys.totals(slot);
            (before[RIGHT], now[RIGHT])
        });
        let had_and_has = |slot: u32| {
            if null == Some(slot) {
                return (self.right_total_before > 0, self.sides[RIGHT].total > 0);
            }
            let (before, now) = self.keys.totals(slot);
            (nulls.0 > 0 || before[RIGHT] > 0, nulls.1 > 0 || now[RIGHT] > 0)
        };
        let flips = (nulls.0 > 0) != (nulls.1 > 0);
        let fills = (self.right_total_before > 0) != (self.sides[RIGHT].total > 0);
        visitor.by_key(&self.keys, had_and_has, flips || fills)
    }
}
