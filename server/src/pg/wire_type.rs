//! Which Postgres type an Arrow field is on the wire: oid, size, modifier and how its cells are written.

use arrow::datatypes::{DataType, Field, FieldRef};
use sql::{SqlError, SqlState};

use crate::backend::PG_TYPE;

/// A column's type as RowDescription reports it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WireType {
    /// pg_type.oid.
    pub oid: u32,
    /// pg_type.typlen: bytes, or -1 for a variable length.
    pub size: i16,
    /// The type modifier, -1 for none.
    pub modifier: i32,
    /// How a cell is written.
    pub kind: Kind,
}

/// How a cell is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    /// An unsigned number of four bytes: oid, xid, regclass by number.
    Oid,
    Float4,
    Float8,
    Numeric,
    /// Any type whose text and binary form are its characters.
    Text,
    /// jsonb: its binary form starts with a version byte.
    Jsonb,
    /// A type of four bytes that is held as text: regproc, regtype.
    NamedOid,
    Uuid,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Array(Box<WireType>),
    /// int2vector and oidvector: an array whose text is spaced, not braced.
    Vector(Box<WireType>),
    Record(Vec<WireType>),
}

/// A built-in type: name, oid, oid of its array, size.
struct Builtin(&'static str, u32, u32, i16);

/// Every built-in type a column or a parameter may have (src/include/catalog/pg_type.dat of PostgreSQL).
const BUILTINS: &[Builtin] = &[
    Builtin("bool", 16, 1000, 1),
    Builtin("bytea", 17, 1001, -1),
    Builtin("char", 18, 1002, 1),
    Builtin("name", 19, 1003, 64),
    Builtin("int8", 20, 1016, 8),
    Builtin("int2", 21, 1005, 2),
    Builtin("int2vector", 22, 1006, -1),
    Builtin("int4", 23, 1007, 4),
    Builtin("regproc", 24, 1008, 4),
    Builtin("text", 25, 1009, -1),
    Builtin("oid", 26, 1028, 4),
    Builtin("xid", 28, 1011, 4),
    Builtin("cid", 29, 1012, 4),
    Builtin("oidvector", 30, 1013, -1),
    Builtin("json", 114, 199, -1),
    Builtin("xml", 142, 143, -1),
    Builtin("pg_node_tree", 194, 1009, -1),
    Builtin("float4", 700, 1021, 4),
    Builtin("float8", 701, 1022, 8),
    Builtin("unknown", 705, 1009, -2),
    Builtin("aclitem", 1033, 1034, 12),
    Builtin("bpchar", 1042, 1014, -1),
    Builtin("varchar", 1043, 1015, -1),
    Builtin("date", 1082, 1182, 4),
    Builtin("time", 1083, 1183, 8),
    Builtin("timestamp", 1114, 1115, 8),
    Builtin("timestamptz", 1184, 1185, 8),
    Builtin("interval", 1186, 1187, 16),
    Builtin("numeric", 1700, 1231, -1),
    Builtin("regprocedure", 2202, 2207, 4),
    Builtin("regoper", 2203, 2208, 4),
    Builtin("regoperator", 2204, 2209, 4),
    Builtin("regclass", 2205, 2210, 4),
    Builtin("regtype", 2206, 2211, 4),
    Builtin("record", 2249, 2287, -1),
    Builtin("uuid", 2950, 2951, 16),
    Builtin("jsonb", 3802, 3807, -1),
    Builtin("regnamespace", 4089, 4090, 4),
    Builtin("regrole", 4096, 4097, 4),
];

/// The oid of `text`.
pub(crate) const TEXT: u32 = 25;
/// The oid of `unknown`: what a client says that wants a parameter's type inferred.
pub(crate) const UNKNOWN: u32 = 705;

impl WireType {
    /// The wire type of a result column.
    pub(crate) fn of(field: &Field) -> Self {
        let declared = field.metadata().get(PG_TYPE).map(String::as_str);
        match (field.data_type(), declared.or_else(|| extension_type(field))) {
            (data_type, Some(declared)) => {
                Self::declared(data_type, declared).unwrap_or_else(|| Self::natural(data_type))
            }
            (data_type, None) => Self::natural(data_type),
        }
    }

    /// The wire type of a parameter.
    pub(crate) fn of_data_type(data_type: &DataType) -> Self {
        Self::natural(data_type)
    }

    /// The type an Arrow type stands for where nothing else is said.
    fn natural(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::builtin("bool", Kind::Bool),
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => Self::builtin("int2", Kind::Int2),
            DataType::Int32 | DataType::UInt16 => Self::builtin("int4", Kind::Int4),
            DataType::Int64 | DataType::UInt32 => Self::builtin("int8", Kind::Int8),
            DataType::UInt64 => Self::builtin("numeric", Kind::Numeric),
            DataType::Float16 | DataType::Float32 => Self::builtin("float4", Kind::Float4),
            DataType::Float64 => Self::builtin("float8", Kind::Float8),
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => {
                // A negative scale has no typmod before PostgreSQL 15; such a column is an unconstrained numeric.
                let modifier = if *s < 0 { -1 } else { ((i32::from(*p) << 16) | i32::from(*s)) + 4 };
                Self { modifier, ..Self::builtin("numeric", Kind::Numeric) }
            }
            DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                Self::builtin("text", Kind::Text)
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::builtin("bytea", Kind::Bytea)
            }
            DataType::Date32 | DataType::Date64 => Self::builtin("date", Kind::Date),
            DataType::Time32(_) | DataType::Time64(_) => Self::builtin("time", Kind::Time),
            DataType::Timestamp(_, None) => Self::builtin("timestamp", Kind::Timestamp),
            DataType::Timestamp(_, Some(_)) => Self::builtin("timestamptz", Kind::Timestamptz),
            DataType::Interval(_) | DataType::Duration(_) => Self::builtin("interval", Kind::Interval),
            DataType::List(element)
            | DataType::LargeList(element)
            | DataType::FixedSizeList(element, _)
            | DataType::ListView(element)
            | DataType::LargeListView(element) => Self::array_of(Self::of(element)),
            DataType::Struct(fields) => {
                Self::builtin("record", Kind::Record(fields.iter().map(|field| Self::of(field)).collect()))
            }
            DataType::Map(..) | DataType::Union(..) => Self::builtin("jsonb", Kind::Jsonb),
            DataType::Dictionary(_, value) => Self::natural(value),
            DataType::RunEndEncoded(_, values) => Self::of(values),
        }
    }

    /// The type a field's metadata names, if the Arrow type can carry it.
    fn declared(data_type: &DataType, declared: &str) -> Option<Self> {
        let (name, modifier) = split_modifier(declared);
        if let DataType::Dictionary(_, value) = data_type {
            return Self::declared(value, declared);
        }
        let builtin = BUILTINS.iter().find(|b| b.0 == name);
        let kind = match (data_type, name) {
            (DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt32 | DataType::UInt64, "oid")
            | (
                DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt32 | DataType::UInt64,
                "xid" | "cid",
            )
            | (DataType::Int32 | DataType::Int64 | DataType::UInt32, _)
                if builtin.is_some_and(|b| b.3 == 4 && !matches!(b.0, "int4" | "float4" | "date")) =>
            {
                Kind::Oid
            }
            (data_type, "int2") if data_type.is_integer() => Kind::Int2,
            (data_type, "int4") if data_type.is_integer() => Kind::Int4,
            (data_type, "int8") if data_type.is_integer() => Kind::Int8,
            (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, name) => match name {
                "jsonb" => Kind::Jsonb,
                "uuid" => Kind::Uuid,
                "text" | "name" | "char" | "json" | "xml" | "pg_node_tree" | "aclitem" | "bpchar" | "varchar"
                | "unknown" => Kind::Text,
                _ if name.starts_with("reg") => Kind::NamedOid,
                _ => return None,
            },
            (DataType::FixedSizeBinary(16), "uuid") => Kind::Uuid,
            (DataType::List(element) | DataType::LargeList(element), "int2vector" | "oidvector") => {
                let element_name = if name == "int2vector" { "int2" } else { "oid" };
                Kind::Vector(Box::new(Self::declared(element.data_type(), element_name)?))
            }
            (DataType::List(element) | DataType::LargeList(element), _) => {
                let element_name = declared.strip_prefix('_').or_else(|| declared.strip_suffix("[]"))?;
                return Some(Self::array_of(Self::declared(element.data_type(), element_name)?));
            }
            _ => return None,
        };
        let builtin = builtin?;
        Some(Self { oid: builtin.1, size: builtin.3, modifier, kind })
    }

    fn builtin(name: &str, kind: Kind) -> Self {
        let builtin = BUILTINS.iter().find(|b| b.0 == name).expect("every name used here is in the list");
        Self { oid: builtin.1, size: builtin.3, modifier: -1, kind }
    }

    /// The array of `element`; a list of lists is one array of more dimensions.
    fn array_of(element: Self) -> Self {
        let oid = match &element.kind {
            Kind::Array(_) => element.oid,
            _ => BUILTINS.iter().find(|b| b.1 == element.oid).map_or(1009, |b| b.2),
        };
        let modifier = element.modifier;
        Self { oid, size: -1, modifier, kind: Kind::Array(Box::new(element)) }
    }
}

/// `varchar(20)` is `varchar` with modifier 24; a name without parentheses has modifier -1.
fn split_modifier(declared: &str) -> (&str, i32) {
    let Some((name, rest)) = declared.split_once('(') else { return (declared, -1) };
    let length = rest.trim_end_matches(')').parse::<i32>().ok();
    (name, length.filter(|n| (1..=10_485_760).contains(n)).map_or(-1, |n| n + 4))
}

/// Arrow's own extension types that have a Postgres type.
fn extension_type(field: &Field) -> Option<&'static str> {
    match field.extension_type_name()? {
        "arrow.json" => Some("jsonb"),
        "arrow.uuid" => Some("uuid"),
        _ => None,
    }
}

/// The Arrow type of a parameter whose oid the client gave; `None` asks for inference.
///
/// # Errors
/// 42704 for an oid that is no built-in type, 0A000 for one that cannot be a parameter.
pub(crate) fn parameter_type(oid: u32) -> Result<Option<DataType>, SqlError> {
    use arrow::datatypes::{IntervalUnit, TimeUnit};
    Ok(Some(match oid {
        0 | UNKNOWN => return Ok(None),
        16 => DataType::Boolean,
        21 => DataType::Int16,
        23 => DataType::Int32,
        20 => DataType::Int64,
        24 | 26 | 28 | 29 | 2202..=2206 | 4089 | 4096 => DataType::UInt32,
        700 => DataType::Float32,
        701 => DataType::Float64,
        1700 => DataType::Decimal128(38, 10),
        18 | 19 | TEXT | 114 | 142 | 1042 | 1043 | 2950 | 3802 => DataType::Utf8,
        17 => DataType::Binary,
        1082 => DataType::Date32,
        1083 => DataType::Time64(TimeUnit::Microsecond),
        1114 => DataType::Timestamp(TimeUnit::Microsecond, None),
        1184 => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        1186 => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => match BUILTINS.iter().find(|b| b.2 == oid) {
            Some(element) if element.1 != 2249 && !element.0.ends_with("vector") => {
                let element = parameter_type(element.1)?.unwrap_or(DataType::Utf8);
                DataType::List(FieldRef::new(Field::new_list_field(element, true)))
            }
            Some(_) => return Err(SqlError::unsupported(format!("a parameter cannot be of the type with OID {oid}"))),
            None => {
                let message = format!("type with OID {oid} does not exist");
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
            }
        },
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn oid_of(data_type: DataType, declared: Option<&str>) -> (u32, i16, i32) {
        let mut field = Field::new("c", data_type, true);
        if let Some(declared) = declared {
            field = field.with_metadata([(PG_TYPE.to_owned(), declared.to_owned())].into());
        }
        let wire = WireType::of(&field);
        (wire.oid, wire.size, wire.modifier)
    }

    #[test]
    fn arrow_types_have_the_oids_sizes_and_modifiers_of_postgres() {
        assert_eq!(oid_of(DataType::Int8, None), (21, 2, -1));
        assert_eq!(oid_of(DataType::UInt32, None), (20, 8, -1));
        assert_eq!(oid_of(DataType::UInt64, None), (1700, -1, -1));
        assert_eq!(oid_of(DataType::Decimal128(10, 2), None), (1700, -1, ((10 << 16) | 2) + 4));
        assert_eq!(oid_of(DataType::Null, None), (25, -1, -1));
        let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
        assert_eq!(oid_of(list.clone(), None), (1007, -1, -1));
        let nested = DataType::List(Arc::new(Field::new_list_field(list.clone(), true)));
        assert_eq!(oid_of(nested, None), (1007, -1, -1));
        assert_eq!(oid_of(list, Some("int2vector")), (22, -1, -1));
    }

    #[test]
    fn metadata_names_what_arrow_cannot_say() {
        assert_eq!(oid_of(DataType::UInt32, Some("oid")), (26, 4, -1));
        assert_eq!(oid_of(DataType::Int64, Some("oid")), (26, 4, -1));
        assert_eq!(oid_of(DataType::Int32, Some("regclass")), (2205, 4, -1));
        assert_eq!(oid_of(DataType::Int32, Some("int4")), (23, 4, -1));
        assert_eq!(oid_of(DataType::Utf8, Some("varchar(20)")), (1043, -1, 24));
        assert_eq!(oid_of(DataType::Utf8, Some("regtype")), (2206, 4, -1));
        assert_eq!(oid_of(DataType::Utf8View, Some("name")), (19, 64, -1));
        let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        assert_eq!(oid_of(texts, Some("_name")), (1003, -1, -1));
        // A name the data cannot carry is ignored rather than believed.
        assert_eq!(oid_of(DataType::Boolean, Some("oid")), (16, 1, -1));
    }

    #[test]
    fn parameters_of_unknown_oids_are_refused() {
        assert_eq!(parameter_type(0).expect("inferred"), None);
        assert_eq!(parameter_type(705).expect("inferred"), None);
        assert_eq!(parameter_type(99_999).expect_err("no such type").state, SqlState::UNDEFINED_OBJECT);
        assert!(matches!(parameter_type(1007).expect("int4[]"), Some(DataType::List(_))));
    }
}
