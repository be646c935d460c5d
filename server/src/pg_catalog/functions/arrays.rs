//! Arrays: their bounds and their subscripts.

use super::{Call, Definition, stable, volatile};
use crate::pg_catalog::rows::Cell;
use crate::pg_catalog::types::PG_TYPE;

pub(super) static LIST: [Definition; 5] = [
    stable("array_lower", "int4", |call| Ok(bounds(call).map(|(lower, _)| lower).into())),
    stable("array_upper", "int4", |call| Ok(bounds(call).map(|(_, upper)| upper).into())),
    stable("generate_subscripts", "_int4", |call| {
        Ok(bounds(call).map_or_else(Vec::new, |(lower, upper)| (lower..=upper).collect()).into())
    }),
    // What `array(SELECT …)` is: an array without elements where the query has no rows, never NULL.
    stable("__array_or_empty", "text", |call| {
        Ok(if call.argument(0) == &Cell::Null { Cell::List(Vec::new()) } else { call.argument(0).clone() })
    })
    .with_nulls()
    .returning_first(),
    // Its argument, which may be NULL for all that is known before the query runs.
    volatile("__nullable", "text", |call| Ok(call.argument(0).clone())).with_nulls().returning_first(),
];

/// The first and last subscript; `None` for an empty array, or a dimension it does not have. The vector types count
/// from 0, arrays from 1.
fn bounds(call: &Call) -> Option<(i32, i32)> {
    let Cell::List(items) = call.argument(0) else { return None };
    let dimension = call.argument(1).int().unwrap_or(1);
    let type_name = call.fields.first().and_then(|field| field.metadata().get(PG_TYPE));
    let lower = if type_name.is_some_and(|name| name.ends_with("vector")) { 0 } else { 1 };
    (dimension == 1 && !items.is_empty()).then_some((lower, items.len() as i32 - 1 + lower))
}
