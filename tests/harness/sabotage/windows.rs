//! Bugs in sessions, count windows, and windows in a time zone.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::logical_expr::{Expr, Extension, Filter, LogicalPlan, lit};
use engine::dataflow::checked::CheckedNode;
use engine::dataflow::count_window::CountWindowNode;
use engine::dataflow::session::SessionNode;

use super::{Bug, later};

/// Changes every node that the bug can be put into; says whether there was one.
///
/// # Errors
/// DataFusion's, if a changed plan does not type-check.
pub fn tamper(bug: Bug, plan: &mut LogicalPlan) -> Result<bool> {
    let changed = plan.clone().transform_up(|node| {
        if bug == Bug::SummerTimeIgnored {
            return match &node {
                LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<CheckedNode>() {
                    Some(checked) => without_summer_time_in(checked),
                    None => Ok(Transformed::no(node)),
                },
                _ => node.map_expressions(|expr| expr.transform_up(without_summer_time)),
            };
        }
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        let any = extension.node.as_any();
        let tampered = if let Some(session) = any.downcast_ref::<SessionNode>() {
            tampered_session(bug, session)?.map(|node| Extension { node: Arc::new(node) })
        } else if let Some(window) = any.downcast_ref::<CountWindowNode>() {
            count_window(bug, window).map(|node| Extension { node: Arc::new(node) })
        } else {
            None
        };
        Ok(tampered.map_or_else(|| Transformed::no(node), |node| Transformed::yes(LogicalPlan::Extension(node))))
    })?;
    *plan = changed.data;
    Ok(changed.transformed)
}

fn tampered_session(bug: Bug, node: &SessionNode) -> Result<Option<SessionNode>> {
    let mut changed = node.clone();
    match bug {
        Bug::SessionGapShort => changed.gap_micros -= 1,
        Bug::SessionsEvictedEarly => match &node.bound {
            Some(bound) => changed.bound = Some(later(bound, 0, node.gap_micros * 1_000)),
            None => return Ok(None),
        },
        Bug::SessionNotSplit if node.input_weighted => {
            let schema = node.input.schema();
            let weight = Column::from(schema.qualified_field(schema.fields().len() - 1));
            let stays = Expr::Column(weight).gt(lit(0i64));
            changed.input = Arc::new(LogicalPlan::Filter(Filter::try_new(stays, node.input.clone())?));
        }
        _ => return Ok(None),
    }
    Ok(Some(changed))
}

fn count_window(bug: Bug, node: &CountWindowNode) -> Option<CountWindowNode> {
    let mut changed = node.clone();
    match bug {
        Bug::OneRowMore => changed.rows += 1,
        Bug::CountedEarly => changed.bound = later(&node.bound, 0, 10_000_000_000),
        _ => return None,
    }
    Some(changed)
}

/// The same in a node that shows no expressions.
fn without_summer_time_in(node: &CheckedNode) -> Result<Transformed<LogicalPlan>> {
    let mut changed = node.clone();
    let mut acted = false;
    for (expr, _) in &mut changed.exprs {
        let put = std::mem::take(expr).transform_up(without_summer_time)?;
        acted |= put.transformed;
        *expr = put.data;
    }
    let node = LogicalPlan::Extension(Extension { node: Arc::new(changed) });
    Ok(if acted { Transformed::yes(node) } else { Transformed::no(node) })
}

/// Puts a zone without summer time, as far from UTC in winter, in the place of one that has it.
fn without_summer_time(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::Literal(ScalarValue::Utf8(Some(zone)), metadata) = &expr else { return Ok(Transformed::no(expr)) };
    let fixed = match zone.as_str() {
        "Europe/Berlin" => "-01:00",
        "America/New_York" => "+05:00",
        "Australia/Lord_Howe" => "-10:30",
        "Africa/Cairo" => "-02:00",
        "America/Sao_Paulo" => "+03:00",
        _ => return Ok(Transformed::no(expr)),
    };
    Ok(Transformed::yes(Expr::Literal(ScalarValue::Utf8(Some(fixed.to_owned())), metadata.clone())))
}
