//! Values that do not fit: what Arrow's kernels say, in Postgres' words.

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;

use super::words::{arrow_type, between};
use super::{borrowed, worded};
use crate::{SqlError, SqlState};

/// Arrow's errors: what values cannot be.
pub(super) fn arrow_error(error: &ArrowError) -> SqlError {
    match error {
        ArrowError::DivideByZero => SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero"),
        ArrowError::ArithmeticOverflow(message) => {
            SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range").detail(message.clone())
        }
        ArrowError::CastError(message)
        | ArrowError::ParseError(message)
        | ArrowError::ComputeError(message)
        | ArrowError::InvalidArgumentError(message) => value_error(message),
        ArrowError::ExternalError(inner) => {
            // A boxed error may be DataFusion's own.
            match inner.downcast_ref::<DataFusionError>() {
                Some(error) => match error.find_root() {
                    DataFusionError::ArrowError(error, _) => arrow_error(error),
                    DataFusionError::External(inner) => borrowed(inner.as_ref()),
                    root => worded(root, None),
                },
                None => borrowed(inner.as_ref()),
            }
        }
        ArrowError::NotYetImplemented(message) => SqlError::unsupported(message.clone()),
        ArrowError::MemoryError(message) => SqlError::new(SqlState::OUT_OF_MEMORY, message.clone()),
        other => SqlError::new(SqlState::INTERNAL_ERROR, other.to_string()),
    }
}

/// Messages about values that do not fit: `Cannot cast string 'x' to value of Int64 type` and its like.
pub(crate) fn value_error(message: &str) -> SqlError {
    let unread = between(message, "Cannot cast string '", "' to value of ");
    if let Some((value, rest)) = unread.or_else(|| between(message, "Cannot cast value '", "' to value of ")) {
        let sql_type = arrow_type(rest.trim_end_matches(" type"));
        if value.chars().filter(char::is_ascii_digit).count() > 18 && value.trim().parse::<i128>().is_ok() {
            return SqlError::new(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                format!("value \"{value}\" is out of range for type {sql_type}"),
            );
        }
        return invalid_text(&sql_type, value);
    }
    if let Some((value, _)) = between(message, "Error parsing timestamp from '", "'") {
        return SqlError::new(
            SqlState::INVALID_DATETIME_FORMAT,
            format!("invalid input syntax for type timestamp: \"{value}\""),
        );
    }
    if let Some((value, rest)) = between(message, "Can't cast value ", " to type ") {
        return SqlError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("value \"{value}\" is out of range for type {}", arrow_type(rest)),
        );
    }
    let lower = message.to_ascii_lowercase();
    if lower.contains("divide by zero") {
        return SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero");
    }
    if lower.contains("overflow") || lower.contains("too large") || lower.contains("out of range") {
        return SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range").detail(message);
    }
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
}

fn invalid_text(sql_type: &str, value: &str) -> SqlError {
    let state = match sql_type {
        "date" | "timestamp without time zone" | "timestamp with time zone" | "time without time zone" | "interval" => {
            SqlState::INVALID_DATETIME_FORMAT
        }
        _ => SqlState::INVALID_TEXT_REPRESENTATION,
    };
    // Postgres leaves the zone out here.
    let sql_type = sql_type.strip_suffix(" without time zone").unwrap_or(sql_type);
    SqlError::new(state, format!("invalid input syntax for type {sql_type}: \"{value}\""))
}
