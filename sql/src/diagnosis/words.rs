//! Taking messages apart.

use arrow::datatypes::DataType;

use crate::types::display_type;

/// What follows `start`.
pub(super) fn after<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    message.split_once(start).map(|(_, rest)| rest)
}

/// What stands between `start` and the next `end`, and what follows.
pub(super) fn between<'m>(message: &'m str, start: &str, end: &str) -> Option<(&'m str, &'m str)> {
    let rest = if start.is_empty() { message } else { after(message, start)? };
    rest.split_once(end)
}

/// An Arrow type as printed, by its SQL name.
pub(super) fn arrow_type(printed: &str) -> String {
    let printed = printed.trim();
    match printed.parse::<DataType>() {
        Ok(data_type) => display_type(&data_type),
        Err(_) => printed.to_ascii_lowercase(),
    }
}

/// A list of Arrow types as printed.
pub(super) fn arrow_types(printed: &str) -> String {
    let mut depth = 0_i32;
    let types = printed.split(|c: char| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    types.map(arrow_type).collect::<Vec<_>>().join(", ")
}

/// The first line, without a backtrace.
pub(super) fn clean(message: &str) -> &str {
    message.split("\n\nbacktrace:").next().unwrap_or(message).trim()
}

pub(super) fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match (chars.next(), chars.next()) {
        // An abbreviation stays.
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(std::iter::once(second)).chain(chars).collect()
        }
        _ => message.to_string(),
    }
}
