//! What EXPLAIN says of an aggregate: how each call is computed, at what cost, what bounds the state, and what it holds.

use std::fmt::Write;

use super::call::CallState;
use super::hop::Hopper;
use super::interner::Interner;
use super::{AggregateOperator, Emit};
use crate::operator::state_bound::{Growth, Held, StateBound, StatePart};
use crate::state::size::UnitBytes;

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

    /// What is kept where the input's rows grow like `input`: the groups, the values kept under them call by call, and the
    /// memory that a tick works in.
    pub fn state_bound(&self, input: Growth) -> StateBound {
        let spec = &self.spec;
        let ended = spec.monotone_key.is_some();
        let few = spec.keys == 0 || (spec.hop.is_none() && self.groups.are_few());
        let groups = match (ended, spec.keys) {
            (true, _) if spec.hop.is_some() => "keys x open windows".to_owned(),
            (true, _) => "keys of open windows".into(),
            (false, 0) => "1".into(),
            (false, _) if few => format!("at most {}", 3_usize.pow(u32::try_from(spec.keys).unwrap_or(u32::MAX))),
            (false, _) => "keys".into(),
        };
        let growth = if few { Growth::Constant } else { input };
        let each_call: UnitBytes = self.calls.iter().map(|(call, _)| call.bytes_each_group()).sum();
        let bytes_each = self.groups.bytes_each() + each_call;
        let mut parts = vec![StatePart::new("a group", groups, growth.ended(ended), bytes_each)];
        for (call, answered) in &self.calls {
            let Some(kept) = call.kept_values() else { continue };
            let names = answered.iter().map(|index| spec.calls[*index].field.name().as_str()).collect::<Vec<_>>();
            let what = if kept.unit == "an input row" { "input rows" } else { "distinct values" };
            let count = if ended { format!("{what} of open windows") } else { what.to_owned() };
            let unit = format!("{} of {}", kept.unit, names.join(", "));
            parts.push(StatePart::new(unit, count, input.ended(ended), kept.bytes_each));
        }
        let each: usize = self.interners().map(Interner::bytes_each).max().unwrap_or_default();
        parts.push(StatePart::new("a group at work", "groups of a tick", Growth::Constant, UnitBytes::lasting(each)));
        // The rows that came out stay when their groups' state goes.
        StateBound { parts, output: growth }
    }

    pub(super) fn held_parts(&self) -> Vec<Held> {
        let kept = |call: &dyn CallState| call.kept_values().map(|kept| kept.held);
        let calls = || self.calls.iter().map(|(call, _)| call.as_ref());
        let outside: usize = calls().map(|call| call.bytes() - kept(call).map_or(0, |held| held.bytes)).sum();
        let groups =
            Held { units: self.groups.len(), room: self.groups.len_max(), bytes: self.groups.bytes() + outside };
        let room = self.interners().map(Interner::groups_kept).sum();
        let bytes = self.interners().map(Interner::bytes).sum::<usize>() + self.tick_rows.bytes();
        let work = Held { units: 0, room, bytes };
        [groups].into_iter().chain(calls().filter_map(kept)).chain([work]).collect()
    }

    fn interners(&self) -> impl Iterator<Item = &Interner> {
        [&self.interner].into_iter().chain(self.hopper.as_ref().map(Hopper::other_keys))
    }
}
