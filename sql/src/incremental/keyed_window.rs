//! The rewrite of sessions and count windows.
//!
//! ```text
//! KeyedWindow(session by keys)         IncrementalSession(keys, time, gap)
//!   input                      ==>       [Projection(input, time and keys that are no columns)]
//!                                          input
//! ```

use std::sync::Arc;

use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use engine::dataflow::bound::Bound;
use engine::dataflow::count_window::CountWindowNode;
use engine::dataflow::session::SessionNode;

use super::over::{with_columns, without_columns, without_weight};
use super::refusal;
use super::rewrite::{Node, Rewriter, with_weight};
use crate::error::SqlError;
use crate::statement::Emit;
use crate::window::keyed::{KeyedWindow, Shape};

impl Rewriter {
    pub(super) fn keyed_window(&mut self, window: &KeyedWindow, plan: &LogicalPlan) -> Result<Node, SqlError> {
        let input = self.rewrite(&window.input)?;
        let width = input.bounds.len();
        let mut exprs: Vec<Expr> = vec![window.time.clone()];
        exprs.extend(window.keys.iter().chain(&window.ties).cloned());
        let (input, places) = with_columns(input, &exprs)?;
        let extra = width..input.bounds.len();
        let (time, rest) = (places[0], &places[1..]);
        let (keys, ties) = rest.split_at(window.keys.len());
        let bound = input.bounds[time].clone();
        let close = self.emit == Emit::OnWindowClose;
        let output = output(&input, window)?;
        let bounds = bounds(&input, keys, bound.as_ref(), window, close);
        // The end of its window.
        let closing = Some(input.bounds.len() + 1);
        let (input_weighted, id) = (input.weighted, self.next_operator());
        let what = match window.shape {
            Shape::Session { .. } => "sessions",
            Shape::Count { .. } => "a count window",
        };
        if self.gates && matches!(window.shape, Shape::Count { .. }) {
            let what = "EMIT ON WINDOW CLOSE over a count window of rows that are accepted late";
            return Err(refusal::named(what, plan).hint("a late row moves the rows of all windows behind it: let the view emit on update, or declare the source without ACCEPT LATE"));
        }
        if input_weighted && (close || matches!(window.shape, Shape::Count { .. })) {
            let close = if close { "EMIT ON WINDOW CLOSE over " } else { "" };
            return Err(refusal::named(&format!("{close}{what} over rows that can be taken back"), plan));
        }
        let schema = if close { output } else { with_weight(&output)? };
        let input = Arc::new(input.plan);
        let node = match (window.shape, bound) {
            (Shape::Session { .. }, None) if close => {
                return Err(refusal::named(
                    "EMIT ON WINDOW CLOSE over sessions by another time than the event time",
                    plan,
                ));
            }
            (Shape::Session { gap }, bound) => {
                let (keys, emit_on_close) = (keys.to_vec(), close);
                let node = SessionNode {
                    id,
                    input,
                    keys,
                    time,
                    gap_micros: gap,
                    input_weighted,
                    bound,
                    emit_on_close,
                    schema,
                };
                Extension { node: Arc::new(node) }
            }
            (Shape::Count { .. }, None) => {
                return Err(refusal::named("a count window by another time than an event time with a watermark", plan)
                    .hint("declare WATERMARK FOR the time in CREATE SOURCE: rows are counted as it passes them"));
            }
            (Shape::Count { rows }, Some(bound)) => {
                let order = std::iter::once(time).chain(ties.iter().copied()).collect();
                let (keys, emit_on_close) = (keys.to_vec(), close);
                Extension {
                    node: Arc::new(CountWindowNode { id, input, keys, order, rows, bound, emit_on_close, schema }),
                }
            }
        };
        let plan = LogicalPlan::Extension(node);
        let node = self.gated(Node { plan, weighted: !close, bounds, closes: close }, closing)?;
        without_columns(node, extra)
    }
}

/// The columns of the node over `input`, without the weight.
fn output(input: &Node, window: &KeyedWindow) -> Result<DFSchemaRef, SqlError> {
    let own = without_weight(input)?;
    let mut fields: Vec<_> = own.iter().map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
    fields.extend(window.added().iter().map(|field| (None, field.clone())));
    Ok(Arc::new(DFSchema::new_with_metadata(fields, own.metadata().clone())?))
}

/// What is known of later rows: of the node's input columns, and of the window's.
///
/// A row that comes, or goes, at or after the bound can only move sessions whose last row is within the gap before it. These
/// end at the bound or later, before and after. It says nothing of their starts, nor of the other columns of their rows. In
/// a count window it moves the rows behind it, and those before it if their window was not full: which can be as old as they
/// like. Rows answered when their window is final come late, so of their columns only the end is bounded.
fn bounds(input: &Node, keys: &[usize], time: Option<&Bound>, window: &KeyedWindow, close: bool) -> Vec<Option<Bound>> {
    let key = |(column, bound): (usize, &Option<Bound>)| bound.clone().filter(|_| !close && keys.contains(&column));
    let mut bounds: Vec<Option<Bound>> = input.bounds.iter().enumerate().map(key).collect();
    let end = time.filter(|_| close || matches!(window.shape, Shape::Session { .. })).cloned();
    bounds.extend([None, end]);
    bounds.resize(input.bounds.len() + window.added().len(), None);
    bounds
}
