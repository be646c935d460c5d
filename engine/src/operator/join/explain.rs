//! What EXPLAIN says of a join: at what cost it runs, what it keeps, and what bounds that.

use datafusion::common::JoinType;

use super::JoinOperator;
use super::side::Degrees;
use super::spec::{JoinSpec, LEFT, RIGHT};
use crate::operator::state_bound::{Growth, Held, StateBound, StatePart};
use crate::state::size::UnitBytes;

impl JoinOperator {
    /// One line for the join, then one for each side. `bounded` says which sides' rows the watermarks let go.
    pub fn explain(&self, bounded: [bool; 2]) -> String {
        let spec = &self.spec;
        let cost = match (spec.inputs[LEFT].keys, spec.visits_pairs()) {
            (0, true) => {
                format!("delta times the other side, of which the smaller may hold {} rows", spec.nested_rows_max)
            }
            (0, false) => "delta, and a whole side when the other becomes empty or ceases to be".into(),
            (_, true) if spec.residual.is_some() => "delta + rows of the same key".into(),
            (_, true) => "delta + matches".into(),
            (_, false) => "delta + rows of keys that begin or cease to match".into(),
        };
        let output = if spec.retracts() { "retracting" } else { "append-only" };
        format!("join: cost: {cost}, output {output}\n{}\n{}", side(spec, LEFT, bounded), side(spec, RIGHT, bounded))
    }

    /// What is kept where the inputs' rows grow like `inputs`: keys, then the rows of the sides of which rows are kept.
    pub fn state_bound(&self, inputs: [Growth; 2]) -> StateBound {
        let spec = &self.spec;
        let timed = |side: usize| spec.inputs[side].timed;
        let ended = |side: usize| if spec.drops_keys() { timed(LEFT) && timed(RIGHT) } else { timed(side) };
        let keeps = |side: usize| spec.keeps_rows(side);
        let growth = |side: usize| inputs[side].ended(ended(side));
        let keys = match spec.inputs[LEFT].keys {
            0 => Growth::Constant,
            _ => growth(LEFT).max(growth(RIGHT)),
        };
        let count = if spec.inputs[LEFT].keys == 0 { "1" } else { "keys of either side" };
        let past = spec.drops_keys();
        let of_keys = self.keys.bytes_each(past && timed(LEFT) && timed(RIGHT));
        let mut parts = vec![StatePart::new("a key", count, keys, of_keys)];
        for side in [LEFT, RIGHT].into_iter().filter(|side| keeps(*side)) {
            let name = if side == LEFT { "left" } else { "right" };
            let count = match ended(side) {
                true => format!("{name} rows within reach"),
                false => format!("{name} rows"),
            };
            let degrees = if self.degrees[side].is_some() { Degrees::bytes_each() } else { UnitBytes::default() };
            let bytes_each = self.sides[side].bytes_each(!past && timed(side)) + degrees;
            parts.push(StatePart::new(format!("a row of the {name} side"), count, growth(side), bytes_each));
        }
        let output = match spec.kind {
            JoinType::Inner => inputs[LEFT].paired(inputs[RIGHT]),
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => inputs[LEFT],
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => inputs[RIGHT],
            JoinType::Left => inputs[LEFT].max(inputs[LEFT].paired(inputs[RIGHT])),
            JoinType::Right => inputs[RIGHT].max(inputs[LEFT].paired(inputs[RIGHT])),
            JoinType::Full => inputs[LEFT].max(inputs[RIGHT]),
        };
        StateBound { parts, output }
    }

    pub(super) fn held_parts(&self) -> Vec<Held> {
        let unkept = [LEFT, RIGHT].into_iter().filter(|side| !self.spec.keeps_rows(*side));
        let keys = Held {
            units: self.keys.index.len(),
            room: self.keys.index.slots_end(),
            bytes: self.keys.bytes() + unkept.map(|side| self.sides[side].bytes()).sum::<usize>(),
        };
        let kept = [LEFT, RIGHT].into_iter().filter(|side| self.spec.keeps_rows(*side));
        let rows = kept.map(|side| {
            let rows = &self.sides[side].rows;
            let degrees = self.degrees[side].as_ref().map_or(0, Degrees::bytes);
            Held { units: rows.len(), room: rows.entries_end(), bytes: self.sides[side].bytes() + degrees }
        });
        [keys].into_iter().chain(rows).collect()
    }
}

fn side(spec: &JoinSpec, side: usize, bounded: [bool; 2]) -> String {
    let name = if side == LEFT { "left" } else { "right" };
    let input = if spec.inputs[side].weighted { "retracting" } else { "append-only" };
    let keeps = match (spec.keeps_rows(side), spec.counts_matches(side)) {
        (false, _) => "how many rows each key has",
        (true, true) => "rows, and how many each matches",
        (true, false) => "rows",
    };
    let past = if spec.drops_keys() { bounded == [true, true] } else { bounded[side] };
    let bound = match (spec.drops_keys(), past) {
        (_, false) => "by its rows",
        (true, true) => "by keys that either side can still change",
        (false, true) => "by rows that later rows of the other side can match",
    };
    format!("  {name}: input {input}, keeps: {keeps}, state bounded {bound}")
}
