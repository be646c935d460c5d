//! What EXPLAIN says of a Top-N.

use super::ordered::OrderedRows;
use super::{Kept, TopNOperator};
use crate::operator::aggregate::Emit;
use crate::operator::state_bound::{Growth, Held, StateBound, StatePart};
use crate::state::size::{UnitBytes, grown};

impl TopNOperator {
    /// One line: when it emits, what a tick costs, and what is kept.
    pub fn explain(&self) -> String {
        let spec = &self.spec;
        let emit = if spec.emit == Emit::OnClose { "on window close" } else { "on update" };
        let input = if spec.input_weighted { "retracting" } else { "append-only" };
        let groups = match (spec.monotone_key, spec.keys.as_slice()) {
            (Some(_), _) => "each open window",
            (None, []) => "the one group",
            (None, _) => "each group",
        };
        let (cost, keeps) = match (&self.kept, spec.to) {
            (Kept::First(_), _) => ("delta", "one row".to_owned()),
            (Kept::Ordered(_), Some(to)) if !spec.input_weighted => ("touched groups", format!("the first {to} rows")),
            (Kept::Ordered(_), _) => ("touched groups", "all rows".to_owned()),
        };
        format!("top-n: emit {emit}, input {input}, cost: {cost}, keeps: {keeps} of {groups}")
    }

    /// What is kept where the input's rows grow like `input`: the groups, and rows of theirs.
    pub fn state_bound(&self, input: Growth) -> StateBound {
        let spec = &self.spec;
        let (ended, single) = (spec.monotone_key.is_some(), spec.keys.is_empty());
        let groups = if single { Growth::Constant } else { input.ended(ended) };
        let of = match (ended, single) {
            (true, _) => "keys of open windows",
            (false, true) => "1",
            (false, false) => "keys",
        };
        let mut parts = vec![StatePart::new("a group", of, groups, self.keys.bytes_each() + self.group_bytes_each())];
        let rows = match (&self.kept, spec.to) {
            (Kept::First(_), _) => None,
            (Kept::Ordered(_), Some(to)) if !spec.input_weighted && single => Some((format!("{to}"), groups)),
            (Kept::Ordered(_), Some(to)) if !spec.input_weighted => Some((format!("{to} x {of}"), groups)),
            (Kept::Ordered(_), _) if ended => Some(("input rows of open windows".into(), input.ended(true))),
            (Kept::Ordered(_), _) => Some(("input rows".into(), input)),
        };
        let row =
            |(count, growth)| StatePart::new("a row", count, growth, OrderedRows::bytes_each(self.layout.codec()));
        parts.extend(rows.map(row));
        let output = if single && spec.to.is_some() { Growth::Constant } else { input };
        StateBound { parts, output }
    }

    /// What a group comes to besides its key: its one row, or the number of its rows.
    fn group_bytes_each(&self) -> UnitBytes {
        match &self.kept {
            Kept::First(_) => self.layout.codec().stored_bytes() + UnitBytes::lasting(grown(size_of::<bool>())),
            Kept::Ordered(_) => UnitBytes::lasting(grown(size_of::<i64>())),
        }
    }

    pub(super) fn held_parts(&self) -> Vec<Held> {
        let groups =
            |bytes| Held { units: self.keys.len(), room: self.keys.len_max(), bytes: self.keys.bytes() + bytes };
        match &self.kept {
            Kept::First(first) => vec![groups(first.bytes())],
            Kept::Ordered(ordered) => {
                let rows = ordered.row_bytes();
                vec![groups(ordered.bytes() - rows), Held::exactly(ordered.len(), rows)]
            }
        }
    }
}
