//! SQL type names to Arrow types and back.
//!
//! | SQL | Arrow |
//! |---|---|
//! | `boolean` | Boolean |
//! | `smallint`, `integer`, `bigint` | Int16, Int32, Int64 |
//! | `real`, `double precision` (also `float`) | Float32, Float64 |
//! | `numeric(p, s)`, `numeric(p)`, `numeric` | Decimal128(p, s), (p, 0), (38, 9) |
//! | `text`, `varchar(n)`, `char(n)` | Utf8View; the length is not enforced |
//! | `timestamp`, `timestamptz` | Timestamp(µs), Timestamp(µs, "+00:00"); a precision up to 6 is accepted, and µs kept |
//! | `date`, `time`, `interval` | Date32, Time64(µs), Interval(MonthDayNano) |
//! | `bytea` | Binary |
//! | `jsonb`, `json` | Utf8View, with the extension name `arrow.json` |
//! | `uuid` | Utf8View, with the extension name [`UUID`]; compared as text |
//! | `T[]`, `ARRAY<T>` | List(T) |
//! | `STRUCT<a T, …>`, `ROW(a T, …)` | Struct |
//!
//! Plain `numeric` has no bound in Postgres; 29 digits before the point and 9 behind it is what 128 bits leave to both
//! money and rates.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::DataFusionError;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo, StructField, TimezoneInfo,
};

use crate::parser::object_name_parts;
use crate::{SqlError, SqlState};

/// The key under which Arrow keeps a field's extension name.
pub const EXTENSION: &str = "ARROW:extension:name";
/// Extension name of `jsonb` and `json`.
pub const JSON: &str = "arrow.json";
/// Extension name of `uuid`. Not Arrow's own, which asks for 16-byte storage.
pub const UUID: &str = "tidemark.uuid";
/// Precision and scale of plain `numeric`.
pub const NUMERIC: (u8, i8) = (38, 9);

const DECIMAL_PRECISION_MAX: u64 = 38;

/// `timestamp`: µs without zone.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// `timestamptz`: µs in UTC.
pub fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}

/// The nullable, nameless field an SQL type stands for.
///
/// # Errors
/// 42704 for a type nobody knows, 0A000 for one we do not have, 22023 for a precision out of range.
pub fn field(sql_type: &SqlType) -> Result<FieldRef, SqlError> {
    let data_type = match sql_type {
        SqlType::Bool | SqlType::Boolean => DataType::Boolean,
        SqlType::TinyInt(_) | SqlType::SmallInt(_) | SqlType::Int2(_) => DataType::Int16,
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) => DataType::Int32,
        SqlType::BigInt(_) | SqlType::Int8(_) => DataType::Int64,
        SqlType::Real | SqlType::Float4 => DataType::Float32,
        SqlType::Float(ExactNumberInfo::Precision(bits)) => float(*bits)?,
        SqlType::Float(_) | SqlType::Double(_) | SqlType::DoublePrecision | SqlType::Float8 => DataType::Float64,
        SqlType::Numeric(info) | SqlType::Decimal(info) | SqlType::Dec(info) => numeric(*info)?,
        SqlType::Text
        | SqlType::String(_)
        | SqlType::Varchar(_)
        | SqlType::CharVarying(_)
        | SqlType::CharacterVarying(_)
        | SqlType::Char(_)
        | SqlType::Character(_) => DataType::Utf8View,
        SqlType::Bytea | SqlType::Bytes(_) | SqlType::Varbinary(_) => DataType::Binary,
        SqlType::Date => DataType::Date32,
        SqlType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => DataType::Time64(TimeUnit::Microsecond),
        SqlType::Timestamp(precision, zone) => {
            check_time_precision(*precision)?;
            match zone {
                TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => timestamp(),
                TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => timestamptz(),
            }
        }
        SqlType::Datetime(precision) | SqlType::TimestampNtz(precision) => {
            check_time_precision(*precision)?;
            timestamp()
        }
        SqlType::Interval { .. } => DataType::Interval(IntervalUnit::MonthDayNano),
        SqlType::JSON | SqlType::JSONB => return Ok(extension(JSON)),
        SqlType::Uuid => return Ok(extension(UUID)),
        SqlType::Array(ArrayElemTypeDef::AngleBracket(of) | ArrayElemTypeDef::SquareBracket(of, _)) => {
            DataType::List(Arc::new(field(of)?.as_ref().clone().with_name("item")))
        }
        SqlType::Struct(fields, _) => structure(fields)?,
        SqlType::Custom(name, modifiers) => return custom(&object_name_parts(name).unwrap_or_default(), modifiers),
        SqlType::Time(..)
        | SqlType::Map(..)
        | SqlType::Enum(..)
        | SqlType::Bit(_)
        | SqlType::BitVarying(_)
        | SqlType::VarBit(_)
        | SqlType::GeometricType(_)
        | SqlType::TsVector
        | SqlType::TsQuery => return Err(unsupported(sql_type)),
        _ => return Err(unknown(&sql_type.to_string().to_ascii_lowercase())),
    };
    Ok(Arc::new(Field::new("", data_type, true)))
}

fn float(bits: u64) -> Result<DataType, SqlError> {
    match bits {
        1..=24 => Ok(DataType::Float32),
        25..=53 => Ok(DataType::Float64),
        0 => Err(invalid("precision for type float must be at least 1 bit")),
        _ => Err(invalid("precision for type float must be less than 54 bits")),
    }
}

fn numeric(info: ExactNumberInfo) -> Result<DataType, SqlError> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(DataType::Decimal128(NUMERIC.0, NUMERIC.1)),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let fits = u8::try_from(precision).ok().filter(|p| (1..=DECIMAL_PRECISION_MAX).contains(&u64::from(*p)));
    let Some(fits) = fits else {
        return Err(invalid(format!("NUMERIC precision {precision} must be between 1 and {DECIMAL_PRECISION_MAX}")));
    };
    match i8::try_from(scale) {
        Ok(scale) if (0..=i64::from(fits)).contains(&i64::from(scale)) => Ok(DataType::Decimal128(fits, scale)),
        _ => Err(invalid(format!("NUMERIC scale {scale} must be between 0 and precision {precision}"))),
    }
}

fn check_time_precision(precision: Option<u64>) -> Result<(), SqlError> {
    match precision {
        Some(digits) if digits > 9 => Err(invalid(format!("TIMESTAMP({digits}) precision must be between 0 and 9"))),
        _ => Ok(()),
    }
}

fn structure(fields: &[StructField]) -> Result<DataType, SqlError> {
    let mut arrow = Vec::with_capacity(fields.len());
    for (n, of) in fields.iter().enumerate() {
        let name = of.field_name.as_ref().map_or_else(|| format!("f{}", n + 1), crate::parser::fold);
        if arrow.iter().any(|f: &Field| *f.name() == name) {
            return Err(SqlError::new(
                SqlState::DUPLICATE_COLUMN,
                format!("attribute \"{name}\" specified more than once"),
            ));
        }
        arrow.push(field(&of.field_type)?.as_ref().clone().with_name(name));
    }
    Ok(DataType::Struct(arrow.into()))
}

/// Names sqlparser has no word for.
fn custom(name: &[String], modifiers: &[String]) -> Result<FieldRef, SqlError> {
    let (schema, name) = match name {
        [name] => (None, name.as_str()),
        [schema, name] => (Some(schema.as_str()), name.as_str()),
        _ => return Err(unknown(&name.join("."))),
    };
    if schema.is_some_and(|s| s != "pg_catalog" && s != "public") {
        return Err(unknown(&format!("{}.{name}", schema.unwrap_or_default())));
    }
    let nullable = |data_type| Ok(Arc::new(Field::new("", data_type, true)));
    match name {
        "bool" => nullable(DataType::Boolean),
        "int2" => nullable(DataType::Int16),
        "int4" => nullable(DataType::Int32),
        "int8" => nullable(DataType::Int64),
        "float4" => nullable(DataType::Float32),
        "float8" => nullable(DataType::Float64),
        "text" | "varchar" | "bpchar" | "name" | "char" | "citext" => nullable(DataType::Utf8View),
        "timestamp" | "timestamp_ntz" => nullable(timestamp()),
        "timestamptz" | "timestamp_ltz" => nullable(timestamptz()),
        "date" => nullable(DataType::Date32),
        "bytea" => nullable(DataType::Binary),
        "interval" => nullable(DataType::Interval(IntervalUnit::MonthDayNano)),
        "numeric" if modifiers.is_empty() => nullable(DataType::Decimal128(NUMERIC.0, NUMERIC.1)),
        "json" | "jsonb" => Ok(extension(JSON)),
        "uuid" => Ok(extension(UUID)),
        "timetz" | "money" | "xml" | "inet" | "cidr" | "macaddr" | "hstore" | "smallserial" | "serial"
        | "bigserial" | "variant" | "map" | "multiset" => {
            Err(SqlError::unsupported(format!("type {name} is not supported")))
        }
        _ => Err(unknown(name)),
    }
}

fn extension(name: &str) -> FieldRef {
    let metadata = [(EXTENSION.to_string(), name.to_string())].into();
    Arc::new(Field::new("", DataType::Utf8View, true).with_metadata(metadata))
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}

fn unsupported(sql_type: &SqlType) -> SqlError {
    SqlError::unsupported(format!("type {} is not supported", sql_type.to_string().to_ascii_lowercase()))
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// The name Postgres gives a field's type: `timestamp without time zone`, `bigint`, `text[]`, `jsonb`.
pub fn display(field: &Field) -> String {
    match (field.metadata().get(EXTENSION).map(String::as_str), field.data_type()) {
        (Some(JSON), _) => "jsonb".into(),
        (Some(UUID), _) => "uuid".into(),
        (_, DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _)) => {
            format!("{}[]", display(of))
        }
        (_, data_type) => display_type(data_type),
    }
}

/// The name Postgres gives an Arrow type, as far as the type alone tells.
pub fn display_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".into(),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => "smallint".into(),
        DataType::UInt16 | DataType::Int32 => "integer".into(),
        DataType::UInt32 | DataType::Int64 => "bigint".into(),
        DataType::UInt64 => "numeric(20,0)".into(),
        DataType::Float16 | DataType::Float32 => "real".into(),
        DataType::Float64 => "double precision".into(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => format!("numeric({p},{s})"),
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea".into()
        }
        DataType::Date32 => "date".into(),
        DataType::Date64 | DataType::Timestamp(_, None) => "timestamp without time zone".into(),
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone".into(),
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone".into(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".into(),
        DataType::Dictionary(_, of) => display_type(of),
        DataType::RunEndEncoded(_, of) => display(of),
        DataType::List(of)
        | DataType::LargeList(of)
        | DataType::FixedSizeList(of, _)
        | DataType::ListView(of)
        | DataType::LargeListView(of) => format!("{}[]", display(of)),
        DataType::Struct(_) | DataType::Union(..) => "record".into(),
        DataType::Map(..) => "record[]".into(),
    }
}

/// Gives DataFusion's SQL planner our types in casts and typed literals.
#[derive(Debug, Default)]
pub struct PostgresTypes;

impl TypePlanner for PostgresTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>, DataFusionError> {
        field(sql_type).map(Some).map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn parsed(text: &str) -> Result<FieldRef, SqlError> {
        let mut parser = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).expect("tokens");
        field(&parser.parse_data_type().expect("a type"))
    }

    #[test]
    fn names_map_to_arrow_and_back() {
        for (sql, shown) in [
            ("boolean", "boolean"),
            ("bool", "boolean"),
            ("smallint", "smallint"),
            ("int2", "smallint"),
            ("int", "integer"),
            ("int4", "integer"),
            ("bigint", "bigint"),
            ("int8", "bigint"),
            ("real", "real"),
            ("float4", "real"),
            ("float(24)", "real"),
            ("float", "double precision"),
            ("float8", "double precision"),
            ("double precision", "double precision"),
            ("DOUBLE", "double precision"),
            ("numeric", "numeric(38,9)"),
            ("decimal(12, 2)", "numeric(12,2)"),
            ("numeric(5)", "numeric(5,0)"),
            ("text", "text"),
            ("STRING", "text"),
            ("varchar(20)", "text"),
            ("character varying(20)", "text"),
            ("char(3)", "text"),
            ("timestamp", "timestamp without time zone"),
            ("timestamp(3)", "timestamp without time zone"),
            ("timestamp without time zone", "timestamp without time zone"),
            ("timestamptz", "timestamp with time zone"),
            ("timestamp(6) with time zone", "timestamp with time zone"),
            ("TIMESTAMP_LTZ(3)", "timestamp with time zone"),
            ("date", "date"),
            ("time", "time without time zone"),
            ("interval", "interval"),
            ("bytea", "bytea"),
            ("jsonb", "jsonb"),
            ("json", "jsonb"),
            ("uuid", "uuid"),
            ("text[]", "text[]"),
            ("bigint[][]", "bigint[][]"),
            ("jsonb[]", "jsonb[]"),
            ("pg_catalog.int4", "integer"),
        ] {
            assert_eq!(display(&parsed(sql).unwrap_or_else(|e| panic!("{sql}: {e}"))), shown, "{sql}");
        }
    }

    #[test]
    fn what_we_lack_is_refused_by_name() {
        for (sql, state, message) in [
            ("money", "0A000", "type money is not supported"),
            ("time with time zone", "0A000", "type time with time zone is not supported"),
            ("wibble", "42704", "type \"wibble\" does not exist"),
            ("s.wibble", "42704", "type \"s.wibble\" does not exist"),
            ("numeric(39)", "22023", "NUMERIC precision 39 must be between 1 and 38"),
            ("numeric(5, 6)", "22023", "NUMERIC scale 6 must be between 0 and precision 5"),
            ("float(54)", "22023", "precision for type float must be less than 54 bits"),
        ] {
            let error = parsed(sql).expect_err(sql);
            assert_eq!((error.state.0, error.message.as_str()), (state, message), "{sql}");
        }
    }
}
