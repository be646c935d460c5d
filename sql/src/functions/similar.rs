//! `similar_to_escape(pattern [, escape])`: a SIMILAR TO pattern as the regular expression that means the same.
//!
//! `a SIMILAR TO p` is `a ~ similar_to_escape(p)`: the pattern must match the whole text, `%` is any text and `_` any
//! character, and `| * + ? {m,n} ( )` and brackets are those of regular expressions (PostgreSQL documentation, 9.7.2).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::{SqlError, SqlState};

/// The function's name.
pub const NAME: &str = "similar_to_escape";

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SimilarToEscape {
    signature: Signature,
}

impl Default for SimilarToEscape {
    fn default() -> Self {
        Self { signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for SimilarToEscape {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [_] | [_, _] if arguments.iter().all(|of| of.is_string() || *of == DataType::Null) => {
                Ok(DataType::Utf8View)
            }
            _ => plan_err!("{NAME} takes a pattern and an escape, both text"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = |value: &ColumnarValue| {
            Ok::<_, DataFusionError>(cast(&value.to_array(args.number_rows)?, &DataType::Utf8View)?)
        };
        let arrays = args.args.iter().map(texts).collect::<Result<Vec<ArrayRef>>>()?;
        let (patterns, escapes) = (arrays[0].as_string_view(), arrays.get(1).map(|array| array.as_string_view()));
        let mut expressions = StringViewBuilder::with_capacity(patterns.len());
        for row in 0..patterns.len() {
            let escape = escapes.map_or(Some("\\"), |escapes| escapes.is_valid(row).then(|| escapes.value(row)));
            match (patterns.is_valid(row).then(|| patterns.value(row)), escape) {
                (Some(pattern), Some(escape)) => {
                    let expression = expression(pattern, escape).map_err(|e| DataFusionError::External(Box::new(e)))?;
                    expressions.append_value(expression);
                }
                _ => expressions.append_null(),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(expressions.finish())))
    }
}

/// The regular expression of a pattern.
///
/// # Errors
/// 22025 for an escape of more than one character.
fn expression(pattern: &str, escape: &str) -> Result<String, SqlError> {
    let mut escapes = escape.chars();
    let (escape, more) = (escapes.next(), escapes.next());
    if more.is_some() {
        return Err(SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
            .hint("Escape string must be empty or one character."));
    }
    let mut expression = String::with_capacity(pattern.len() + 8);
    expression.push_str("^(?:");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => match chars.next() {
                Some(escaped) => push_literal(&mut expression, escaped),
                None => push_literal(&mut expression, c),
            },
            '[' => bracket(&mut expression, &mut chars, escape),
            '%' => expression.push_str("(?s:.)*"),
            '_' => expression.push_str("(?s:.)"),
            '(' => expression.push_str("(?:"),
            '|' | '*' | '+' | '?' | '{' | '}' | ')' => expression.push(c),
            c => push_literal(&mut expression, c),
        }
    }
    expression.push_str(")$");
    Ok(expression)
}

/// A set of characters, its `[` read. What only our regular expressions take for an operator in a set is escaped.
fn bracket(expression: &mut String, chars: &mut std::iter::Peekable<std::str::Chars<'_>>, escape: Option<char>) {
    expression.push('[');
    if let Some(negation) = chars.next_if(|c| *c == '^') {
        expression.push(negation);
    }
    // The first one is a member.
    if chars.next_if(|c| *c == ']').is_some() {
        expression.push_str("\\]");
    }
    while let Some(c) = chars.next() {
        match c {
            ']' => return expression.push(']'),
            '[' if chars.peek() == Some(&':') => {
                expression.push('[');
                for c in chars.by_ref() {
                    expression.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            c if Some(c) == escape => push_member(expression, chars.next().unwrap_or(c)),
            '-' => expression.push('-'),
            c => push_member(expression, c),
        }
    }
}

fn push_member(expression: &mut String, c: char) {
    if matches!(c, '[' | ']' | '\\' | '^' | '&' | '~' | '-') {
        expression.push('\\');
    }
    expression.push(c);
}

fn push_literal(expression: &mut String, c: char) {
    if matches!(c, '\\' | '.' | '^' | '$' | '|' | '*' | '+' | '?' | '{' | '}' | '(' | ')' | '[' | ']') {
        expression.push('\\');
    }
    expression.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_expressions() {
        let of = |pattern: &str| expression(pattern, "\\").expect("a sound escape");
        assert_eq!(of("a%_"), "^(?:a(?s:.)*(?s:.))$");
        assert_eq!(of("(a|b.)+"), "^(?:(?:a|b\\.)+)$");
        assert_eq!(of("\\%[a-c%]{2}"), "^(?:%[a-c%]{2})$");
        assert_eq!(of("[[:alpha:]_&]"), "^(?:[[:alpha:]_\\&])$");
        assert_eq!(of("[^]^]$"), "^(?:[^\\]\\^]\\$)$");
        assert_eq!(expression("a#%", "#").expect("a sound escape"), "^(?:a%)$");
        assert_eq!(expression("a\\", "").expect("no escape"), "^(?:a\\\\)$");
        assert!(expression("a", "##").is_err());
    }
}
