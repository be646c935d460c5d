//! Checks a setting's new value and brings it into the form SHOW prints.

use sql::state_budget::StateBudget;
use sql::{SqlError, SqlState};

use super::setting_list::{Definition, Kind, Unit};
use super::time_zone::TimeZone;

/// Bytes an application's name keeps (NAMEDATALEN - 1 of PostgreSQL).
const NAME_BYTES_MAX: usize = 63;

/// The value in the form SHOW prints.
///
/// # Errors
/// 22023 for a value the setting cannot have; 0A000 for one that is only known, not written.
pub(super) fn canonical(definition: &Definition, value: &str) -> Result<String, SqlError> {
    let name = definition.name;
    let invalid = || invalid(name, value);
    match definition.kind {
        Kind::Bool => {
            let on = boolean(value).ok_or_else(|| {
                let message = format!("parameter \"{name}\" requires a Boolean value");
                SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
            })?;
            Ok(if on { "on" } else { "off" }.to_owned())
        }
        Kind::Integer(low, high, unit) => {
            let number = integer(value, unit).ok_or_else(|| {
                let error = invalid();
                match unit {
                    Unit::Milliseconds => error
                        .hint("Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\"."),
                    Unit::Kilobytes => {
                        error.hint("Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".")
                    }
                    Unit::None => error,
                }
            })?;
            if !(low..=high).contains(&number) {
                let message = format!("{number} is outside the valid range for parameter \"{name}\" ({low} .. {high})");
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
            Ok(shown(number, unit))
        }
        Kind::Real(low, high) => {
            let number: f64 = value.trim().parse().map_err(|_| invalid())?;
            if !(low..=high).contains(&number) {
                let message = format!("{value} is outside the valid range for parameter \"{name}\"");
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
            Ok(number.to_string())
        }
        Kind::Word(words) => word(definition, words, value),
        Kind::Text => Ok(value.to_owned()),
        Kind::Name => Ok(ascii_name(value)),
        Kind::DateStyle => date_style(value).ok_or_else(invalid)?,
        Kind::TimeZone => TimeZone::parse(value).map(|zone| zone.to_string()).ok_or_else(invalid),
        Kind::Encoding => encoding(value),
        Kind::SearchPath => Ok(value.to_owned()),
        Kind::StateBudget => {
            let budget = value.parse::<StateBudget>();
            Ok(budget.map_err(|error| SqlError { hint: error.hint, ..invalid() })?.to_string())
        }
        Kind::Isolation => isolation(value).map(str::to_owned).ok_or_else(invalid),
    }
}

pub(super) fn invalid(name: &str, value: &str) -> SqlError {
    let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// A truth value, in every spelling PostgreSQL reads.
pub(super) fn boolean(value: &str) -> Option<bool> {
    let value = value.trim().to_ascii_lowercase();
    match value.as_str() {
        "1" | "on" => Some(true),
        "0" | "of" | "off" => Some(false),
        "" => None,
        value if "true".starts_with(value) || "yes".starts_with(value) => Some(true),
        value if "false".starts_with(value) || "no".starts_with(value) => Some(false),
        _ => None,
    }
}

fn word(definition: &Definition, words: &[&str], value: &str) -> Result<String, SqlError> {
    let name = definition.name;
    let Some(found) = words.iter().find(|word| word.eq_ignore_ascii_case(value.trim())) else {
        // off and on may be spelled as any truth value where they are among the words.
        let spelled = boolean(value).map(|on| if on { "on" } else { "off" });
        if let Some(found) = spelled.filter(|found| words.contains(found)) {
            return Ok(found.to_owned());
        }
        let hint = format!("Available values: {}.", words.join(", "));
        return Err(invalid(name, value).hint(hint));
    };
    if name == "IntervalStyle" && !matches!(*found, "postgres" | "iso_8601") {
        return Err(SqlError::unsupported(format!("IntervalStyle \"{found}\" is not supported"))
            .hint("Use postgres or iso_8601."));
    }
    Ok((*found).to_owned())
}

/// A number with its unit, in ms or in kB.
pub(super) fn integer(value: &str, unit: Unit) -> Option<i64> {
    let value = value.trim();
    let end = value.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(value.len());
    let (number, suffix) = (value[..end].trim(), &value[end..]);
    let factor = match (unit, suffix) {
        (_, "") => 1.0,
        (Unit::Milliseconds, "us") => 0.001,
        (Unit::Milliseconds, "ms") => 1.0,
        (Unit::Milliseconds, "s") => 1000.0,
        (Unit::Milliseconds, "min") => 60_000.0,
        (Unit::Milliseconds, "h") => 3_600_000.0,
        (Unit::Milliseconds, "d") => 86_400_000.0,
        (Unit::Kilobytes, "B") => 1.0 / 1024.0,
        (Unit::Kilobytes, "kB") => 1.0,
        (Unit::Kilobytes, "MB") => 1024.0,
        (Unit::Kilobytes, "GB") => 1_048_576.0,
        (Unit::Kilobytes, "TB") => 1_073_741_824.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    let scaled = (number * factor).round();
    // Within 2^53 every whole number is exact.
    #[allow(clippy::cast_possible_truncation)]
    (scaled.abs() < 9e15).then_some(scaled as i64)
}

/// The largest unit that divides the number evenly.
fn shown(number: i64, unit: Unit) -> String {
    let units: &[(i64, &str)] = match unit {
        Unit::None => &[],
        Unit::Milliseconds => &[(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")],
        Unit::Kilobytes => &[(1_073_741_824, "TB"), (1_048_576, "GB"), (1024, "MB"), (1, "kB")],
    };
    match units.iter().find(|(size, _)| number > 0 && number % size == 0) {
        Some((size, name)) => format!("{}{name}", number / size),
        None => number.to_string(),
    }
}

/// What is not printable ASCII becomes `?`, as PostgreSQL has it in names that go into logs.
fn ascii_name(value: &str) -> String {
    let cleaned = value.bytes().map(|byte| if (32..127).contains(&byte) { char::from(byte) } else { '?' });
    cleaned.take(NAME_BYTES_MAX).collect()
}

/// `ISO, MDY`: a style and the order of day and month; either may be left out. `None` for words that are neither.
fn date_style(value: &str) -> Option<Result<String, SqlError>> {
    let mut order = "MDY";
    for part in value.split(',') {
        match part.trim().to_ascii_lowercase().as_str() {
            "iso" | "default" => {}
            "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY",
            "dmy" | "euro" | "european" => order = "DMY",
            "ymd" => order = "YMD",
            style @ ("sql" | "postgres" | "german") => {
                let message = format!("DateStyle \"{style}\" is not supported");
                return Some(Err(SqlError::unsupported(message).hint("Dates are written in style ISO.")));
            }
            _ => return None,
        }
    }
    Some(Ok(format!("ISO, {order}")))
}

/// UTF8 under any of its names; SQL_ASCII asks for no conversion, so it is UTF8 as well.
fn encoding(value: &str) -> Result<String, SqlError> {
    let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    match plain.as_str() {
        "utf8" | "unicode" | "default" => Ok("UTF8".to_owned()),
        "sqlascii" => Ok("SQL_ASCII".to_owned()),
        _ => {
            let known = plain.starts_with("latin") || plain.starts_with("win") || plain.starts_with("iso8859");
            if known || matches!(plain.as_str(), "eucjp" | "euccn" | "euckr" | "sjis" | "big5" | "gbk" | "gb18030") {
                let message = format!("conversion between {value} and UTF8 is not supported");
                return Err(SqlError::unsupported(message).hint("Use client_encoding UTF8."));
            }
            Err(invalid("client_encoding", value))
        }
    }
}

fn isolation(value: &str) -> Option<&'static str> {
    let levels = ["serializable", "repeatable read", "read committed", "read uncommitted"];
    levels.into_iter().find(|level| level.eq_ignore_ascii_case(value.trim()))
}

#[cfg(test)]
mod tests {
    use super::super::setting_list::find;
    use super::*;

    fn set(name: &str, value: &str) -> Result<String, &'static str> {
        canonical(find(name).expect("a setting"), value).map_err(|error| error.state.0)
    }

    #[test]
    fn times_are_shown_in_their_largest_unit() {
        for (given, shown) in [("0", "0"), ("1500", "1500ms"), ("5000", "5s"), ("2min", "2min"), ("1.5 h", "90min")] {
            assert_eq!(set("statement_timeout", given), Ok(shown.to_owned()));
        }
        assert_eq!(set("statement_timeout", "5 parsecs"), Err("22023"));
        assert_eq!(set("statement_timeout", "-1"), Err("22023"));
        assert_eq!(set("work_mem", "65536"), Ok("64MB".to_owned()));
        assert_eq!(set("max_view_state", "2048MB"), Ok("2GB".to_owned()));
        assert_eq!(set("max_view_state", "Bounded"), Ok("bounded".to_owned()));
        assert_eq!(set("max_view_state", "none"), Ok("0".to_owned()));
        assert_eq!(set("max_view_state", "some"), Err("22023"));
    }

    #[test]
    fn values_are_checked_and_brought_to_one_form() {
        assert_eq!(set("datestyle", "dmy"), Ok("ISO, DMY".to_owned()));
        assert_eq!(set("datestyle", "German"), Err("0A000"));
        assert_eq!(set("client_encoding", "'utf-8'"), Ok("UTF8".to_owned()));
        assert_eq!(set("client_encoding", "LATIN1"), Err("0A000"));
        assert_eq!(set("timezone", "nowhere"), Err("22023"));
        assert_eq!(set("jit", "T"), Ok("on".to_owned()));
        assert_eq!(set("extra_float_digits", "4"), Err("22023"));
        assert_eq!(set("default_transaction_isolation", "READ COMMITTED"), Ok("read committed".to_owned()));
        assert_eq!(set("application_name", "naïve\n"), Ok("na??ve?".to_owned()));
    }
}
