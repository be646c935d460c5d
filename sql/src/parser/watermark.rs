//! `WATERMARK FOR column AS column [- INTERVAL '…'] [ACCEPT LATE INTERVAL '…'] [IDLE TIMEOUT INTERVAL '…' | IDLE TIMEOUT NEVER]`.

use std::time::Duration;

use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};
use datafusion::sql::sqlparser::parser::Parser;

use super::cursor::{Cursor, fold};
use crate::interval::Interval;
use crate::statement::WatermarkDefinition;
use crate::{SqlError, SqlState, types};

/// How long a quiet partition holds the watermark back unless the definition says otherwise.
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Longest delay: a window stays open, and its state kept, at least this long.
const DELAY_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A watermark as written, its column not looked up yet.
pub(crate) struct Watermark {
    definition: WatermarkDefinition,
    column_position: usize,
}

/// Reads what follows WATERMARK FOR.
pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Watermark, SqlError> {
    let (column, column_position) = cursor.identifier()?;
    cursor.expect_word("as")?;
    let position = cursor.position();
    let expr = cursor.sql(Parser::parse_expr)?;
    let delay = delay(&expr, &column, position)?;
    let (mut accepted, mut idle) = (None, None);
    loop {
        let position = cursor.position();
        let twice = |what: &str| SqlError::new(SqlState::SYNTAX_ERROR, format!("{what} given twice")).at(position);
        if cursor.words(&["accept", "late"]) {
            if accepted.replace(accept_late(cursor, delay)?).is_some() {
                return Err(twice("ACCEPT LATE"));
            }
        } else if cursor.words(&["idle", "timeout"]) {
            let timeout = if cursor.word("never") { None } else { Some(idle_timeout(cursor)?) };
            if idle.replace(timeout).is_some() {
                return Err(twice("IDLE TIMEOUT"));
            }
        } else {
            break;
        }
    }
    let idle_timeout = idle.unwrap_or(Some(IDLE_TIMEOUT_DEFAULT));
    let definition = WatermarkDefinition { column, delay, accept_late: accepted, idle_timeout };
    Ok(Watermark { definition, column_position })
}

fn delay(expr: &Expr, column: &str, position: usize) -> Result<Duration, SqlError> {
    let is_column = |expr: &Expr| matches!(expr, Expr::Identifier(ident) if fold(ident) == column);
    let interval = match expr {
        Expr::Nested(inner) => return delay(inner, column, position),
        expr if is_column(expr) => return Ok(Duration::ZERO),
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(left) => Interval::of(right),
        _ => None,
    };
    let Some(interval) = interval else {
        return Err(SqlError::unsupported("a watermark must be its column minus a constant interval")
            .hint(format!("For example: WATERMARK FOR {column} AS {column} - INTERVAL '5 seconds'."))
            .at(position));
    };
    span(interval, "watermark delay").map_err(|e| e.at(position))
}

/// A span that rows may be behind.
fn span(interval: Result<Interval, SqlError>, what: &str) -> Result<Duration, SqlError> {
    let span = interval.and_then(|interval| interval.duration(what))?;
    if span > DELAY_MAX {
        let message = format!("{what} must not exceed {} days", DELAY_MAX.as_secs() / 86_400);
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(span)
}

fn accept_late(cursor: &mut Cursor<'_>, delay: Duration) -> Result<Duration, SqlError> {
    let position = cursor.position();
    let expr = cursor.sql(Parser::parse_expr)?;
    let Some(interval) = Interval::of(&expr) else {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "ACCEPT LATE must be a constant interval").at(position));
    };
    let accepted = span(interval, "accepted lateness").map_err(|e| e.at(position))?;
    if accepted < delay {
        let message = "accepted lateness must not be less than the watermark delay";
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
            .hint("Both are counted from the newest row: windows close the delay behind it, and are corrected up to ACCEPT LATE behind it.")
            .at(position));
    }
    Ok(accepted)
}

fn idle_timeout(cursor: &mut Cursor<'_>) -> Result<Duration, SqlError> {
    let position = cursor.position();
    let expr = cursor.sql(Parser::parse_expr)?;
    let Some(interval) = Interval::of(&expr) else {
        return Err(
            SqlError::new(SqlState::SYNTAX_ERROR, "IDLE TIMEOUT must be a constant interval or NEVER").at(position)
        );
    };
    let timeout = interval.and_then(|interval| interval.duration("idle timeout")).map_err(|e| e.at(position))?;
    if timeout.is_zero() {
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "idle timeout must be positive")
            .hint("Write IDLE TIMEOUT NEVER to let a quiet partition hold the watermark back for good.")
            .at(position));
    }
    Ok(timeout)
}

impl Watermark {
    /// Looks the column up among the declared ones.
    ///
    /// # Errors
    /// 42703 if it is not there, 42804 if it is no timestamp.
    pub fn resolve(self, columns: &[FieldRef]) -> Result<WatermarkDefinition, SqlError> {
        let column = &self.definition.column;
        let Some(field) = columns.iter().find(|field| field.name() == column) else {
            return Err(SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{column}\" does not exist"))
                .hint("A watermark is declared on one of the source's own columns.")
                .at(self.column_position));
        };
        match field.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(self.definition),
            _ => Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!(
                    "watermark column \"{column}\" must be timestamp or timestamptz, but is {}",
                    types::display(field)
                ),
            )
            .at(self.column_position)),
        }
    }
}
