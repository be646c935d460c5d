//! Text: quoting, `format`, LIKE patterns with another escape character, JSON objects.

use datafusion::error::Result;
use sql::error::SqlState;

use super::{Call, Definition, stable};
use crate::pg_catalog::names::{parse_identifier, quote_identifier, quote_literal, refuse};
use crate::pg_catalog::rows::Cell;

pub(super) static LIST: [Definition; 7] = [
    stable("quote_ident", "text", |call| Ok(call.argument(0).render().map(|name| quote_identifier(&name)).into())),
    stable("quote_literal", "text", |call| Ok(call.argument(0).render().map(|value| quote_literal(&value)).into())),
    stable("quote_nullable", "text", |call| {
        Ok(call.argument(0).render().map_or_else(|| "NULL".to_string(), |value| quote_literal(&value)).into())
    })
    .with_nulls(),
    stable("format", "text", format_text).with_nulls(),
    stable("like_escape", "text", |call| Ok(like_escape(call.text(0), call.text(1))?.into())),
    stable("parse_ident", "_text", |call| {
        let name = call.text(0);
        let invalid =
            || refuse(SqlState::INVALID_PARAMETER_VALUE, format!("string is not a valid identifier: \"{name}\""));
        Ok(parse_identifier(name).ok_or_else(invalid)?.into())
    }),
    stable("json_build_object", "json", json_build_object).with_nulls(),
];

/// `format(text, …)` with `%s`, `%I`, `%L`, `%%`, positions (`%2$s`) and widths (`%-10s`).
fn format_text(call: &Call) -> Result<Cell> {
    let Some(template) = call.argument(0).text() else { return Ok(Cell::Null) };
    let mut out = String::new();
    let mut next = 1;
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.find(|c: char| c.is_ascii_alphabetic() || c == '%');
        let Some(end) = end else {
            return Err(refuse(SqlState::INVALID_PARAMETER_VALUE, "unterminated format() type specifier"));
        };
        let (options, kind) = (&rest[..end], &rest[end..end + 1]);
        rest = &rest[end + 1..];
        if kind == "%" {
            out.push('%');
            continue;
        }
        let (position, width) = match options.split_once('$') {
            Some((position, width)) => (position.parse().ok(), width),
            None => (None, options),
        };
        let position = position.unwrap_or(next);
        next = position + 1;
        if position == 0 || position >= call.arguments.len() {
            return Err(refuse(SqlState::INVALID_PARAMETER_VALUE, "too few arguments for format()"));
        }
        let value = call.argument(position).render();
        let piece = match kind {
            "s" => value.unwrap_or_default(),
            "I" => value
                .map(|value| quote_identifier(&value))
                .ok_or_else(|| refuse(SqlState("22004"), "null values cannot be formatted as an SQL identifier"))?,
            "L" => value.map_or_else(|| "NULL".to_string(), |value| quote_literal(&value)),
            other => {
                let message = format!("unrecognized format() type specifier \"{other}\"");
                return Err(refuse(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        };
        match (width.strip_prefix('-'), width.parse::<usize>()) {
            (Some(left), _) => out.push_str(&format!("{piece:<0$}", left.parse::<usize>().unwrap_or(0))),
            (None, Ok(width)) => out.push_str(&format!("{piece:>width$}")),
            (None, Err(_)) => out.push_str(&piece),
        }
    }
    out.push_str(rest);
    Ok(out.into())
}

/// A LIKE pattern that uses `escape` (nothing, or one character) as one that uses the backslash.
///
/// # Errors
/// 22025 if `escape` is longer.
pub(in crate::pg_catalog) fn like_escape(pattern: &str, escape: &str) -> Result<String> {
    let mut characters = escape.chars();
    let (escape, more) = (characters.next(), characters.next());
    if more.is_some() {
        return Err(refuse(SqlState("22025"), "invalid escape string").context("escape string must be one character"));
    }
    let mut out = String::with_capacity(pattern.len());
    let mut escaped = false;
    for c in pattern.chars() {
        if !escaped && Some(c) == escape {
            escaped = true;
            continue;
        }
        // What was escaped stays so; a backslash that meant itself must now be escaped to go on doing so.
        if escaped || (c == '\\' && escape != Some('\\')) {
            out.push('\\');
        }
        out.push(c);
        escaped = false;
    }
    Ok(out)
}

/// `json_build_object(name, value, …)`.
fn json_build_object(call: &Call) -> Result<Cell> {
    if !call.arguments.len().is_multiple_of(2) {
        return Err(refuse(SqlState::INVALID_PARAMETER_VALUE, "argument list must have even number of elements"));
    }
    let mut members = Vec::with_capacity(call.arguments.len() / 2);
    for pair in call.arguments.chunks_exact(2) {
        let Some(name) = pair[0].render() else {
            return Err(refuse(SqlState::INVALID_PARAMETER_VALUE, "argument 1 cannot be null"));
        };
        members.push(format!("{} : {}", json_string(&name), json(&pair[1])));
    }
    Ok(format!("{{{}}}", members.join(", ")).into())
}

fn json(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_string(),
        Cell::Text(text) => json_string(text),
        Cell::List(items) => format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(",")),
        other => other.render().unwrap_or_default(),
    }
}

/// `text` as a JSON string (RFC 8259, section 7).
fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::{json_string, like_escape};

    #[test]
    fn a_pattern_keeps_its_meaning_under_another_escape() {
        for (pattern, escape, expected) in [
            ("pg/_%", "/", r"pg\_%"),
            ("a//b", "/", r"a\/b"),
            (r"a\b", "/", r"a\\b"),
            (r"a\_b", r"\", r"a\_b"),
            (r"a\b", "", r"a\\b"),
        ] {
            assert_eq!(like_escape(pattern, escape).expect("valid"), expected);
        }
        assert!(like_escape("a", "ab").is_err());
    }

    #[test]
    fn json_strings_are_escaped() {
        assert_eq!(json_string("a\"\\\n\u{1}é"), r#""a\"\\\n\u0001é""#);
    }
}
