//! Where a source starts reading, from its options.
//!
//! `start = 'earliest' | 'latest' | '2026-01-01T00:00:00Z'`, `start_timestamp = <time or ms>`,
//! `start_offsets = '0:12,1:40'`. Flink's `scan.startup.*` come here under those names.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use engine::source::{Offsets, StartPosition};

use super::options::{Assignment, take};
use crate::{SqlError, SqlState};

/// Takes the options about the start out of `options`. Without any, reading starts at the oldest record.
///
/// # Errors
/// 22023 for a value that cannot be read, or two that contradict each other.
pub(crate) fn take_start(options: &mut Vec<Assignment>) -> Result<StartPosition, SqlError> {
    let mode = take(options, "start");
    let timestamp = take(options, "start_timestamp");
    let offsets = take(options, "start_offsets");
    match (&mode, &timestamp, &offsets) {
        (None, None, None) => Ok(StartPosition::Earliest),
        (None, Some(timestamp), None) => at_time(timestamp),
        (None, None, Some(offsets)) => at_offsets(offsets),
        (Some(mode), None, None) => match mode.value.to_ascii_lowercase().as_str() {
            "earliest" | "earliest-offset" => Ok(StartPosition::Earliest),
            "latest" | "latest-offset" => Ok(StartPosition::Latest),
            "timestamp" => Err(missing(mode, "start_timestamp")),
            "offsets" | "specific-offsets" => Err(missing(mode, "start_offsets")),
            "group-offsets" => Err(SqlError::unsupported("starting at a consumer group's offsets is not supported")
                .hint("Offsets are kept with the views; give start_offsets for the first start.")
                .at(mode.position)),
            _ => at_time(mode),
        },
        (Some(mode), Some(timestamp), None) if mode.value.eq_ignore_ascii_case("timestamp") => at_time(timestamp),
        (Some(mode), None, Some(offsets)) if matches!(mode.value.as_str(), "offsets" | "specific-offsets") => {
            at_offsets(offsets)
        }
        _ => {
            let last = [&mode, &timestamp, &offsets].into_iter().flatten().map(|o| o.position).max();
            let error =
                invalid("conflicting options start, start_timestamp and start_offsets").hint("Give one of them.");
            Err(SqlError { position: last, ..error })
        }
    }
}

fn missing(mode: &Assignment, option: &str) -> SqlError {
    invalid(format!("start = '{}' needs the option {option}", mode.value)).at(mode.position)
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

fn at_time(option: &Assignment) -> Result<StartPosition, SqlError> {
    let text = option.value.trim();
    let millis = text
        .parse::<i64>()
        .ok()
        .filter(|_| option.name != "start")
        .or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|t| t.timestamp_millis()))
        .or_else(|| {
            ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
                .iter()
                .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
                .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
                .map(|t| t.and_utc().timestamp_millis())
        });
    match millis {
        Some(millis) => Ok(StartPosition::Timestamp(millis)),
        None => Err(invalid(format!("invalid value for option \"{}\": \"{}\"", option.name, option.value))
            .hint("Use 'earliest', 'latest', or a time such as '2026-01-01T00:00:00Z'.")
            .at(option.position)),
    }
}

/// `0:12,1:40`, or Flink's `partition:0,offset:12;partition:1,offset:40`.
fn at_offsets(option: &Assignment) -> Result<StartPosition, SqlError> {
    let text = option.value.replace("partition:", "").replace(",offset:", ":").replace(';', ",");
    let mut offsets = Offsets::new();
    for pair in text.split(',').map(str::trim) {
        let parsed = pair
            .split_once(':')
            .and_then(|(partition, offset)| Some((partition.trim().parse().ok()?, offset.trim().parse().ok()?)))
            .filter(|(partition, offset): &(i32, i64)| *partition >= 0 && *offset >= 0);
        let Some((partition, offset)) = parsed else {
            return Err(invalid(format!("invalid value for option \"{}\": \"{}\"", option.name, option.value))
                .hint("Write partition:offset pairs, such as '0:12,1:40'.")
                .at(option.position));
        };
        if offsets.insert(partition, offset).is_some() {
            return Err(
                invalid(format!("partition {partition} named twice in option \"{}\"", option.name)).at(option.position)
            );
        }
    }
    Ok(StartPosition::Offsets(offsets))
}
