//! JSON made of values, as Postgres writes it (PostgreSQL documentation, 9.16): `to_json(value)`, `json_build_object(key, value, …)`
//! and `json_build_array(value, …)`.
//!
//! `json_agg(x ORDER BY y)` is `json_array_of(array_agg(to_json(x) ORDER BY y))`, and `json_object_agg(k, x)` likewise
//! `json_object_of(array_agg(json_member(k, x)))`: so a view maintains them as it does `array_agg`.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::text;
use crate::types::{EXTENSION, JSON};
use crate::{SqlError, SqlState};

/// One of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Json {
    /// `to_json(value)`; of NULL it is NULL.
    Of,
    /// `json_build_object(key, value, …)`.
    Object,
    /// `json_build_array(value, …)`.
    Array,
    /// `"key" : value`.
    Member,
    /// `[…, …]` of a list of JSON texts.
    ArrayOf,
    /// `{ … }` of a list of members.
    ObjectOf,
}

impl Json {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Of, Self::Object, Self::Array, Self::Member, Self::ArrayOf, Self::ObjectOf];

    /// The function's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Of => "to_json",
            Self::Object => "json_build_object",
            Self::Array => "json_build_array",
            Self::Member => "json_member",
            Self::ArrayOf => "json_array_of",
            Self::ObjectOf => "json_object_of",
        }
    }
}

/// See the module.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonFunction {
    json: Json,
    signature: Signature,
}

impl JsonFunction {
    /// The function that makes this.
    pub fn new(json: Json) -> Self {
        let arguments = match json {
            Json::Of | Json::ArrayOf | Json::ObjectOf => TypeSignature::Any(1),
            Json::Member => TypeSignature::Any(2),
            Json::Object | Json::Array => {
                TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny])
            }
        };
        Self { json, signature: Signature::new(arguments, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for JsonFunction {
    fn name(&self) -> &str {
        self.json.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let metadata = [(EXTENSION.to_owned(), JSON.to_owned())];
        Ok(Arc::new(Field::new(self.name(), DataType::Utf8View, true).with_metadata(metadata.into())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays = args.args.iter().map(|value| value.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let texts = arrays.iter().zip(&args.arg_fields).map(|(values, field)| match self.json {
            Json::ArrayOf | Json::ObjectOf => Ok(Vec::new()),
            _ => json(values, is_json(field)),
        });
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let made: StringViewArray = match self.json {
            Json::Of => texts.into_iter().next().unwrap_or_default().into_iter().collect(),
            Json::Array => (0..rows).map(|row| Some(format!("[{}]", joined(texts.iter().map(|t| &t[row]))))).collect(),
            Json::Object | Json::Member => {
                let keys = keys(&arrays)?;
                let object = |row| members(row, &keys, &texts).map(|members| Some(self.braced(&members)));
                (0..rows).map(object).collect::<Result<_>>()?
            }
            Json::ArrayOf | Json::ObjectOf => {
                let Some(lists) = arrays.first() else { return exec_err!("{} takes a list", self.name()) };
                lists_of(lists)?.into_iter().map(|list| list.map(|list| self.braced(&list))).collect()
            }
        };
        Ok(ColumnarValue::Array(Arc::new(made)))
    }
}

impl JsonFunction {
    fn braced(&self, inner: &str) -> String {
        match self.json {
            Json::Object => format!("{{{inner}}}"),
            Json::ObjectOf => format!("{{ {inner} }}"),
            Json::ArrayOf => format!("[{inner}]"),
            _ => inner.to_owned(),
        }
    }
}

fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION).is_some_and(|name| name == JSON)
}

fn joined<'a>(texts: impl Iterator<Item = &'a Option<String>>) -> String {
    texts.map(|text| text.as_deref().unwrap_or("null")).collect::<Vec<_>>().join(", ")
}

/// Every other argument as text.
fn keys(arrays: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    if arrays.len() % 2 == 1 {
        return refused(
            SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "argument list must have even number of elements")
                .hint("The arguments of json_build_object() must consist of alternating keys and values."),
        );
    }
    arrays.iter().step_by(2).map(|keys| cast_to_text(&text::written(keys)?)).collect()
}

fn members(row: usize, keys: &[ArrayRef], texts: &[Vec<Option<String>>]) -> Result<String> {
    let mut members = Vec::with_capacity(keys.len());
    for (place, key) in keys.iter().enumerate() {
        if key.is_null(row) {
            let error = SqlError::new(SqlState::NULL_VALUE_NOT_ALLOWED, "null value not allowed for object key");
            return refused(error);
        }
        let value = texts[2 * place + 1][row].as_deref().unwrap_or("null");
        members.push(format!("{} : {value}", quoted(key.as_string_view().value(row))));
    }
    Ok(members.join(", "))
}

fn refused<T>(error: SqlError) -> Result<T> {
    Err(DataFusionError::External(Box::new(error)))
}

fn cast_to_text(values: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(values, &DataType::Utf8View)?)
}

/// The texts of each list, in a row; NULLs are JSON's.
fn lists_of(lists: &ArrayRef) -> Result<Vec<Option<String>>> {
    if lists.data_type().is_null() {
        return Ok(vec![None; lists.len()]);
    }
    let Some(lists) = lists.as_list_opt::<i32>() else { return exec_err!("a list was expected") };
    let one = |list: Option<ArrayRef>| {
        list.map(|list| {
            let texts = cast_to_text(&list)?;
            let texts: Vec<Option<String>> = texts.as_string_view().iter().map(|t| t.map(str::to_owned)).collect();
            Ok(joined(texts.iter()))
        })
        .transpose()
    };
    lists.iter().map(one).collect()
}

/// Each value as JSON; NULL is none. Text that is JSON already stays as it is.
fn json(values: &ArrayRef, is_json: bool) -> Result<Vec<Option<String>>> {
    match values.data_type() {
        DataType::Null => Ok(vec![None; values.len()]),
        DataType::List(item) => {
            let is_json = self::is_json(item);
            let list = |list: Option<ArrayRef>| {
                list.map(|list| {
                    let items = json(&list, is_json)?;
                    let items = items.iter().map(|item| item.as_deref().unwrap_or("null")).collect::<Vec<_>>();
                    Ok(format!("[{}]", items.join(",")))
                })
                .transpose()
            };
            values.as_list::<i32>().iter().map(list).collect()
        }
        DataType::Struct(fields) => {
            let columns = values.as_struct().columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| json(column, self::is_json(field)));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            let row = |row: usize| {
                let member = |(field, column): (&FieldRef, &Vec<Option<String>>)| {
                    format!("{}:{}", quoted(field.name()), column[row].as_deref().unwrap_or("null"))
                };
                let members = fields.iter().zip(&columns).map(member).collect::<Vec<_>>();
                values.is_valid(row).then(|| format!("{{{}}}", members.join(",")))
            };
            Ok((0..values.len()).map(row).collect())
        }
        data_type => {
            let written = cast_to_text(&text::written(values)?)?;
            let texts = written.as_string_view().iter();
            let in_json = |text: &str| match data_type {
                DataType::Boolean => text.to_owned(),
                // JSON has no infinity and no NaN.
                data_type if data_type.is_numeric() => match text.ends_with(|c: char| c.is_ascii_digit()) {
                    true => text.to_owned(),
                    false => quoted(text),
                },
                DataType::Timestamp(_, None) => quoted(&text.replacen(' ', "T", 1)),
                DataType::Timestamp(_, Some(_)) => quoted(&format!("{}:00", text.replacen(' ', "T", 1))),
                _ if is_json => text.to_owned(),
                _ => quoted(text),
            };
            Ok(texts.map(|text| text.map(in_json)).collect())
        }
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            control if control < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
