//! What a view keeps, as users see it: `EXPLAIN (STATE)`, the NOTICE and the refusal of state that never shrinks, and the
//! budget that a session gives the views it creates.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use engine::dataflow::state::PlanState;
use engine::operator::state_bound::{Growth, Held, StatePart};
use engine::row_error::row_errors_schema;
use engine::state::size::UnitBytes;
use engine::view::{MaterializedView, ViewReading};
use sql::binder::visible_text;
use sql::parser::{option_places, parse, with_option};
use sql::state_budget::StateBudget;
use sql::statement::{CreateMaterializedView, Parsed, Statement};
use sql::{SqlError, SqlState};

use super::system::Columns;
use super::view::PlannedView;
use crate::backend::Notice;
use crate::session::settings::Settings;

/// The option of a view, and the setting for views without it.
const MAX_STATE: &str = "max_state";
pub(super) const MAX_VIEW_STATE: &str = "max_view_state";

/// A line of `EXPLAIN (STATE)`.
struct Line {
    operator: String,
    unit: Option<String>,
    state: String,
    growth: Option<Growth>,
    bytes_each: Option<usize>,
    held: Option<Held>,
    estimate: Option<usize>,
}

impl Line {
    fn of_part(operator: String, part: &StatePart, held: Option<Held>) -> Self {
        Self {
            operator,
            unit: Some(part.unit.clone()),
            state: part.count.clone(),
            growth: Some(part.growth),
            bytes_each: Some(part.bytes_each),
            held,
            estimate: held.map(|held| part.estimate(held)),
        }
    }
}

/// A view at work: its rows, and those it left out.
pub(super) struct Running<'a> {
    pub view: &'a ViewReading,
    pub errors: Option<&'a ViewReading>,
}

/// The rows of `EXPLAIN (STATE)`: each part of each operator's state, the view's rows, what they come to, and the budget.
pub(super) fn explain(state: &PlanState, running: Option<&Running<'_>>, budget: Option<StateBudget>) -> RecordBatch {
    let mut lines = Vec::new();
    for operator in &state.operators {
        let held = running.and_then(|r| Some(&r.view.held.iter().find(|(id, _)| *id == operator.id.0)?.1));
        for (place, part) in operator.parts.iter().enumerate() {
            // An operator that has not stepped yet holds nothing.
            let held = running.map(|_| held.and_then(|held| held.get(place).copied()).unwrap_or_default());
            let name = visible_text(&format!("{} {}", operator.id, operator.name));
            lines.push(Line::of_part(name, part, held));
        }
    }
    let of_rows =
        |view: &ViewReading| Held::exactly(usize::try_from(view.num_rows()).unwrap_or(usize::MAX), view.view_bytes);
    lines.push(Line::of_part("View".into(), &state.rows, running.map(|running| of_rows(running.view))));
    if let Some(errors) = running.and_then(|running| running.errors) {
        let bytes_each = MaterializedView::row_bytes_each(&row_errors_schema(), false);
        let part = StatePart::new("a row left out", "rows left out", state.rows.growth, UnitBytes::passing(bytes_each));
        lines.push(Line::of_part("Errors".into(), &part, Some(of_rows(errors))));
    }
    let held = lines.iter().filter_map(|line| line.held).map(|held| held.bytes).sum();
    let total = Line {
        operator: "Total".into(),
        unit: None,
        state: state.formula(),
        growth: lines.iter().filter_map(|line| line.growth).max(),
        bytes_each: None,
        held: running.map(|_| Held { bytes: held, ..Held::default() }),
        estimate: running.map(|_| lines.iter().filter_map(|line| line.estimate).sum()),
    };
    lines.push(total);
    if let Some(bytes) = budget.and_then(StateBudget::bytes) {
        let state = budget.unwrap_or_default().to_string();
        let held = Some(Held { bytes, ..Held::default() });
        let operator = "Budget".into();
        lines.push(Line { operator, unit: None, state, growth: None, bytes_each: None, held, estimate: None });
    }
    table(&lines)
}

/// The columns of [`explain`], without rows.
pub(super) fn columns() -> RecordBatch {
    table(&[])
}

fn table(lines: &[Line]) -> RecordBatch {
    let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let units = |line: &Line, of: fn(&Held) -> usize| line.unit.as_ref().and(line.held.as_ref()).map(of).map(count);
    Columns::default()
        .text("operator", lines.iter().map(|line| Some(line.operator.as_str())))
        .text("unit", lines.iter().map(|line| line.unit.as_deref()))
        .text("state", lines.iter().map(|line| Some(line.state.as_str())))
        .text("growth", lines.iter().map(|line| line.growth.map(Growth::name)))
        .bigint("bytes_per_unit", lines.iter().map(|line| line.bytes_each.map(count)))
        .bigint("units", lines.iter().map(|line| units(line, |held| held.units)))
        .bigint("room", lines.iter().map(|line| units(line, |held| held.room)))
        .bigint("bytes", lines.iter().map(|line| line.held.map(|held| count(held.bytes))))
        .bigint("estimate", lines.iter().map(|line| line.estimate.map(count)))
        .batch()
}

/// What is said of a view whose state never shrinks, unless its author gave it a budget.
///
/// # Errors
/// 53400 where such state was not to be.
pub(super) fn notice(create: &CreateMaterializedView, planned: &PlannedView) -> Result<Option<Notice>, SqlError> {
    let Some((operator, part)) = planned.state.unbounded() else { return Ok(None) };
    let (view, operator) = (&create.name, visible_text(&operator.name));
    let detail = format!(
        "It grows with {} ({} each), which come with rows that are never taken back, and which no time ends.",
        part.count, part.unit
    );
    let ways = "group by a window of the event time, end rows by a condition on now()";
    match create.max_state {
        Some(StateBudget::Bounded) => {
            let message = format!("the state of materialized view \"{view}\" would never shrink: {operator}");
            let error = SqlError::new(SqlState::CONFIGURATION_LIMIT_EXCEEDED, message).detail(detail);
            Err(error.hint(format!("{ways}, or give the view a budget: WITH (max_state = '512MB')")))
        }
        Some(StateBudget::Bytes(_)) => Ok(None),
        Some(StateBudget::Unlimited) | None => {
            let message = format!("the state of materialized view \"{view}\" never shrinks: {operator}");
            let mut notice = Notice::new(message);
            notice.message.detail = Some(detail);
            notice.message.hint = Some(format!("{ways}, or give the view a budget: WITH (max_state = '512MB')"));
            Ok(Some(notice))
        }
    }
}

/// A statement as a session runs it: a view that says nothing of its budget has the session's.
pub(super) fn with_budget<'a>(parsed: &'a Parsed, settings: &Settings) -> Result<Cow<'a, Parsed>, SqlError> {
    let Statement::CreateMaterializedView(create) = &parsed.statement else { return Ok(Cow::Borrowed(parsed)) };
    let budget = settings.value(MAX_VIEW_STATE).unwrap_or_default().parse::<StateBudget>()?;
    Ok(with_default(parsed, create, budget))
}

/// The same with a budget for views that say nothing of theirs.
pub(super) fn with_default<'a>(
    parsed: &'a Parsed,
    create: &CreateMaterializedView,
    budget: StateBudget,
) -> Cow<'a, Parsed> {
    if create.max_state.is_some() || budget == StateBudget::Unlimited {
        return Cow::Borrowed(parsed);
    }
    let create = CreateMaterializedView { max_state: Some(budget), ..create.clone() };
    Cow::Owned(Parsed { statement: Statement::CreateMaterializedView(Box::new(create)), ..parsed.clone() })
}

/// A view's definition as it is kept: its text says what its budget is, wherever that came from.
///
/// # Errors
/// None that its first parsing did not give.
pub(super) fn kept<'a>(
    create: &'a CreateMaterializedView,
    text: &'a str,
) -> Result<(Cow<'a, CreateMaterializedView>, Cow<'a, str>), SqlError> {
    let is_said = || option_places(text).iter().any(|(name, _)| name == MAX_STATE);
    let Some(budget) = create.max_state.filter(|_| !is_said()) else {
        return Ok((Cow::Borrowed(create), Cow::Borrowed(text)));
    };
    let text = with_option(text, MAX_STATE, &budget.to_string())?;
    match parse(&text)?.into_iter().next().map(|parsed| parsed.statement) {
        Some(Statement::CreateMaterializedView(create)) => Ok((Cow::Owned(*create), Cow::Owned(text))),
        _ => Err(SqlError::new(SqlState::INTERNAL_ERROR, "a view with a budget is no view any more")),
    }
}
