//! `bytea(text)`: the bytes a text spells, which is what a cast to bytea means.
//!
//! Arrow's own cast takes the text's UTF-8 for the bytes, so that `'\x00ff'::bytea` would be six letters.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BinaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::{SqlError, SqlState};

/// The function's name.
pub const NAME: &str = "bytea";

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Bytea {
    signature: Signature,
}

impl Default for Bytea {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Bytea {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [of] if of.is_string() || of.is_binary() || *of == DataType::Null => Ok(DataType::Binary),
            [other] => plan_err!("Unsupported CAST from {other} to Binary"),
            _ => plan_err!("{NAME} takes one value"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return exec_err!("{NAME} takes one value");
        };
        let values = value.to_array(args.number_rows)?;
        if !values.data_type().is_string() {
            return Ok(ColumnarValue::Array(cast(&values, &DataType::Binary)?));
        }
        let texts = cast(&values, &DataType::Utf8View)?;
        let mut bytes = BinaryBuilder::with_capacity(texts.len(), 0);
        for text in texts.as_string_view() {
            match text {
                Some(text) => bytes.append_value(decode(text).map_err(|e| DataFusionError::External(Box::new(e)))?),
                None => bytes.append_null(),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(bytes.finish()) as ArrayRef))
    }
}

/// Reads `\x0a1b`, or the escape form: `\\`, `\ooo`, and every other byte for itself (PostgreSQL documentation, 8.4).
///
/// # Errors
/// 22P02 for the escape form, 22023 for hexadecimal digits, as Postgres has them.
pub fn decode(text: &str) -> Result<Vec<u8>, SqlError> {
    match text.strip_prefix("\\x") {
        Some(digits) => from_hex(digits),
        None => from_escapes(text.as_bytes())
            .ok_or_else(|| SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea")),
    }
}

/// Pairs of digits, with white space between them but not inside.
fn from_hex(text: &str) -> Result<Vec<u8>, SqlError> {
    let invalid = |message: String| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let digit = |c: char| {
        let value = c.to_digit(16).and_then(|value| u8::try_from(value).ok());
        value.ok_or_else(|| invalid(format!("invalid hexadecimal digit: \"{c}\"")))
    };
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let mut chars = text.chars();
    while let Some(first) = chars.next() {
        if matches!(first, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = digit(first)?;
        let Some(second) = chars.next() else {
            return Err(invalid("invalid hexadecimal data: odd number of digits".into()));
        };
        bytes.push(high << 4 | digit(second)?);
    }
    Ok(bytes)
}

fn from_escapes(text: &[u8]) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((first, tail)) = rest.split_first() {
        rest = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            (b'\\', _) => return None,
            (byte, tail) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        assert_eq!(decode("\\x00Ff 10"), Ok(vec![0, 255, 16]));
        assert_eq!(decode("\\xDEADBEEF"), Ok(vec![0xde, 0xad, 0xbe, 0xef]));
        assert_eq!(decode("\\x"), Ok(vec![]));
        assert_eq!(decode("a\\\\b\\001é"), Ok(vec![b'a', b'\\', b'b', 1, 0xc3, 0xa9]));
    }

    #[test]
    fn what_is_neither_is_told_as_postgres_tells_it() {
        for (text, state, message) in [
            ("\\x0", "22023", "invalid hexadecimal data: odd number of digits"),
            ("\\x0g", "22023", "invalid hexadecimal digit: \"g\""),
            ("\\x0 0", "22023", "invalid hexadecimal digit: \" \""),
            ("\\X00", "22P02", "invalid input syntax for type bytea"),
            ("\\9", "22P02", "invalid input syntax for type bytea"),
            ("a\\", "22P02", "invalid input syntax for type bytea"),
        ] {
            let error = decode(text).expect_err(text);
            assert_eq!((error.state.0, error.message.as_str()), (state, message), "{text}");
        }
    }
}
