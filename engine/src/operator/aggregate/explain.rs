//! What EXPLAIN says of an aggregate: how each call is computed, at what cost, and what bounds the state.

use std::fmt::Write;

use super::{AggregateOperator, Emit};

impl AggregateOperator {
    /// One line for the state, then one a call: how it is computed, whether a tick costs as much as its delta or as the
    /// groups it touches, and what is kept.
    pub fn explain(&self) -> String {
        let spec = &self.spec;
        let groups = match (spec.monotone_key, spec.keys) {
            (Some(_), _) => "open windows",
            (None, 0) => "one group",
            (None, _) => "groups",
        };
        let emit = match spec.emit {
            Emit::OnUpdate => "on update",
            Emit::OnClose => "on window close",
        };
        let input = if spec.input_weighted { "retracting" } else { "append-only" };
        let mut text = format!("aggregate: emit {emit}, input {input}, state bounded by {groups}");
        if let Some(hop) = &spec.hop {
            let windows = hop.size_micros.div_euclid(hop.slide_micros).max(1);
            let _ = write!(text, ", slices of {} µs in up to {windows} windows", hop.slice_micros());
        }
        let mut plans: Vec<_> =
            self.calls.iter().flat_map(|(call, answered)| answered.iter().copied().zip(call.explain())).collect();
        plans.sort_unstable_by_key(|(index, _)| *index);
        for (index, plan) in plans {
            let name = spec.calls[index].field.name();
            let keeps = match plan.keeps {
                kept @ ("input rows" | "distinct values") => format!("{kept} of {groups}"),
                kept => format!("{kept} for each of {groups}"),
            };
            let _ = write!(text, "\n  {name}: {}, cost: {}, keeps: {keeps}", plan.path, plan.cost);
        }
        text
    }
}
