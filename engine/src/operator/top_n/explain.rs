//! What EXPLAIN says of a Top-N.

use super::{Kept, TopNOperator};
use crate::operator::aggregate::Emit;

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
}
