//! What EXPLAIN says of a join: at what cost it runs, what it keeps, and what bounds that.

use super::JoinOperator;
use super::spec::{JoinSpec, LEFT, RIGHT};

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
