//! PostgreSQL's types: which Arrow type stands for each in a catalog table, which type an Arrow column is, and how a
//! type is written.
//!
//! Arrow has fewer types than PostgreSQL, so a field of a catalog table, and of a function's result, says which one it
//! means in its metadata under [`PG_TYPE`]; the value is the type's `typname`, for instance `oid`, `name`, `char`,
//! `regclass`, `int2vector` or `_text`, and for a string with a limit `varchar(20)`. Whoever writes rows to a client asks [`type_of`] and needs to know no more:
//!
//! | PostgreSQL | Arrow | note |
//! |---|---|---|
//! | oid, xid, cid, regclass, regtype, regproc, … | UInt32 | so that keys join and compare as numbers |
//! | name, text, varchar, "char", inet, aclitem, pg_node_tree, … | Utf8 | "char" is one character or empty |
//! | int2vector, oidvector | List of Int16, List of UInt32 | in text `1 2`, without braces |
//! | T\[\] | List of T | |
//! | timestamptz | Timestamp(µs, UTC) | |
//!
//! A `reg…` value reaches a client as its object's name: [`super::PgCatalog::present`] renders it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};

use super::tsv::TYPES;

/// The key of a field's metadata that names its PostgreSQL type.
pub const PG_TYPE: &str = "tidemark.pg_type";

/// OID of `text`.
pub const TEXT: u32 = 25;
/// OID of `numeric`.
const NUMERIC: u32 = 1700;
/// OID of `record`.
const RECORD: u32 = 2249;
/// OID of `jsonb`.
const JSONB: u32 = 3802;
/// OID of `uuid`.
const UUID: u32 = 2950;

/// One built-in type, as `pg_type` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeRow {
    /// Its OID.
    pub oid: u32,
    /// `typname`: `int4`, `_text`, …
    pub name: &'static str,
    /// `typlen`: bytes, or -1 where the length varies.
    pub length: i16,
    /// `typbyval`.
    pub by_value: bool,
    /// `typalign`: c, s, i or d.
    pub align: &'static str,
    /// `typstorage`: p or x (or m).
    pub storage: &'static str,
    /// `typcollation`, 0 where the type has none.
    pub collation: u32,
    /// The element type of an array, else 0.
    pub element: u32,
    /// The array over this type, else 0.
    pub array: u32,
}

struct Types {
    rows: Vec<TypeRow>,
    by_oid: HashMap<u32, usize>,
    by_name: HashMap<&'static str, usize>,
}

static ROWS: LazyLock<Types> = LazyLock::new(|| {
    let column = |name| TYPES.column(name).expect("pg_type.tsv has the column");
    let [oid, name, length, by_value] = ["oid", "typname", "typlen", "typbyval"].map(column);
    let [align, storage, collation] = ["typalign", "typstorage", "typcollation"].map(column);
    let [element, array] = ["typelem", "typarray"].map(column);
    let rows: Vec<TypeRow> = TYPES
        .rows
        .iter()
        .map(|row| {
            let text = |at: usize| row[at].unwrap_or_default();
            let number = |at: usize| text(at).parse::<u32>().unwrap_or_default();
            TypeRow {
                oid: number(oid),
                name: text(name),
                length: text(length).parse().unwrap_or(-1),
                by_value: text(by_value) == "t",
                align: text(align),
                storage: text(storage),
                collation: number(collation),
                element: number(element),
                array: number(array),
            }
        })
        .collect();
    let by_oid = rows.iter().enumerate().map(|(at, row)| (row.oid, at)).collect();
    let by_name = rows.iter().enumerate().map(|(at, row)| (row.name, at)).collect();
    Types { rows, by_oid, by_name }
});

/// The built-in type with this OID.
pub fn by_oid(oid: u32) -> Option<&'static TypeRow> {
    ROWS.by_oid.get(&oid).map(|at| &ROWS.rows[*at])
}

/// The built-in type with this `typname`.
pub fn by_name(name: &str) -> Option<&'static TypeRow> {
    ROWS.by_name.get(name).map(|at| &ROWS.rows[*at])
}

/// The type written as SQL writes it (`integer`, `double precision[]`, `character varying(10)`, `"char"`) or by its
/// `typname`. A length or precision in parentheses is read over.
pub fn by_sql_name(text: &str) -> Option<&'static TypeRow> {
    let text = text.trim();
    let (base, is_array) = match text.strip_suffix("[]") {
        Some(base) => (base, true),
        None => (text, false),
    };
    let bare = base.strip_prefix("pg_catalog.").unwrap_or(base);
    let bare = match (bare.find('('), bare.find(')')) {
        (Some(open), Some(close)) if open < close => format!("{}{}", &bare[..open], &bare[close + 1..]),
        _ => bare.to_string(),
    };
    let bare = bare.trim().to_ascii_lowercase();
    let name = SQL_NAMES.iter().find(|(_, sql)| *sql == bare).map_or(bare.trim_matches('"'), |(name, _)| name);
    let name = if bare == "char" { "bpchar" } else { name };
    let row = by_name(ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name))?;
    if is_array { by_oid(row.array) } else { Some(row) }
}

/// Types whose SQL name is not their `typname`.
const SQL_NAMES: [(&str, &str); 16] = [
    ("bool", "boolean"),
    ("int2", "smallint"),
    ("int4", "integer"),
    ("int8", "bigint"),
    ("float4", "real"),
    ("float8", "double precision"),
    ("bpchar", "character"),
    ("varchar", "character varying"),
    ("time", "time without time zone"),
    ("timetz", "time with time zone"),
    ("timestamp", "timestamp without time zone"),
    ("timestamptz", "timestamp with time zone"),
    ("varbit", "bit varying"),
    ("char", "\"char\""),
    ("any", "\"any\""),
    ("numeric", "numeric"),
];

/// Shorter spellings that SQL also takes.
const ALIASES: [(&str, &str); 5] =
    [("int", "int4"), ("float", "float8"), ("decimal", "numeric"), ("dec", "numeric"), ("bigserial", "int8")];

/// The type as SQL writes it, as `format_type(oid, typmod)` does; `???` for an OID that is no type's.
pub fn format_type(oid: u32, typmod: i32) -> String {
    let Some(row) = by_oid(oid) else { return if oid == 0 { "-".into() } else { "???".into() } };
    if row.name.starts_with('_') && row.element != 0 {
        return format!("{}[]", format_type(row.element, typmod));
    }
    let name = SQL_NAMES.iter().find(|(name, _)| *name == row.name).map_or(row.name, |(_, sql)| sql);
    if typmod < 0 {
        return name.to_string();
    }
    match row.name {
        "varchar" | "bpchar" if typmod > 4 => format!("{name}({})", typmod - 4),
        "bit" | "varbit" => format!("{name}({typmod})"),
        "numeric" if typmod > 4 => format!("numeric({},{})", (typmod - 4) >> 16, (typmod - 4) & 0xffff),
        "time" | "timetz" | "timestamp" | "timestamptz" => match name.split_once(' ') {
            Some((first, rest)) => format!("{first}({typmod}) {rest}"),
            None => name.to_string(),
        },
        _ => name.to_string(),
    }
}

/// What a column is to a PostgreSQL client: the OID of its type, and its type modifier (-1 where it has none).
///
/// A field's [`PG_TYPE`] decides first, then the canonical Arrow extension it names, then its Arrow type.
pub fn type_of(field: &Field) -> (u32, i32) {
    if let Some(declared) = field.metadata().get(PG_TYPE) {
        let (name, length) = match declared.split_once('(') {
            Some((name, rest)) => (name, rest.trim_end_matches(')').parse::<i32>().ok()),
            None => (declared.as_str(), None),
        };
        if let Some(row) = by_name(name) {
            // A string's modifier is its length and the four bytes before it.
            return (row.oid, length.map_or(-1, |length| length + 4));
        }
    }
    match field.metadata().get("ARROW:extension:name").map(String::as_str) {
        Some("arrow.json") => (JSONB, -1),
        Some("arrow.uuid") => (UUID, -1),
        _ => type_of_data(field.data_type()),
    }
}

fn type_of_data(data: &DataType) -> (u32, i32) {
    let numeric =
        |precision: u8, scale: i8| (NUMERIC, ((i32::from(precision) << 16) | (i32::from(scale) & 0xffff)) + 4);
    let named = |name: &str| (by_name(name).map_or(TEXT, |row| row.oid), -1);
    match data {
        DataType::Boolean => named("bool"),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => named("int2"),
        DataType::UInt16 | DataType::Int32 => named("int4"),
        DataType::UInt32 | DataType::Int64 => named("int8"),
        DataType::UInt64 => (NUMERIC, -1),
        DataType::Float16 | DataType::Float32 => named("float4"),
        DataType::Float64 => named("float8"),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => numeric(*p, *s),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => numeric(*p, *s),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            named("bytea")
        }
        DataType::Date32 | DataType::Date64 => named("date"),
        DataType::Time32(_) | DataType::Time64(_) => named("time"),
        DataType::Timestamp(_, None) => named("timestamp"),
        DataType::Timestamp(_, Some(_)) => named("timestamptz"),
        DataType::Interval(_) | DataType::Duration(_) => named("interval"),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => array_of(item),
        DataType::ListView(item) | DataType::LargeListView(item) => array_of(item),
        DataType::Struct(_) => (RECORD, -1),
        DataType::Map(..) | DataType::Union(..) => (JSONB, -1),
        DataType::Dictionary(_, value) => type_of_data(value),
        DataType::RunEndEncoded(_, values) => type_of(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => (TEXT, -1),
    }
}

fn array_of(item: &FieldRef) -> (u32, i32) {
    let (element, typmod) = type_of(item);
    match by_oid(element) {
        // PostgreSQL has one array type for any number of dimensions.
        Some(row) if row.array == 0 => (element, typmod),
        Some(row) => (row.array, typmod),
        None => (TEXT, -1),
    }
}

/// The Arrow type that stands for `typname` in a catalog table.
pub fn arrow_type(typname: &str) -> DataType {
    if let Some(element) = typname.strip_prefix('_') {
        return list_of(element);
    }
    match typname {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" | "xid8" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "oid" | "xid" | "cid" => DataType::UInt32,
        name if name.starts_with("reg") && name != "regexp" => DataType::UInt32,
        "bytea" => DataType::Binary,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "int2vector" => list_of("int2"),
        "oidvector" => list_of("oid"),
        "anyarray" => list_of("text"),
        _ => DataType::Utf8,
    }
}

/// The elements are not marked: the field that holds the list says what they are.
fn list_of(element: &str) -> DataType {
    DataType::List(Arc::new(Field::new("item", arrow_type(element), true)))
}

/// A nullable field `name` of PostgreSQL type `typname`, marked with [`PG_TYPE`] where its Arrow type says too little.
pub fn typed_field(name: impl Into<String>, typname: &str) -> Field {
    let data = arrow_type(typname);
    let says_enough = by_name(typname).is_some_and(|row| type_of_data(&data).0 == row.oid);
    let field = Field::new(name, data, true);
    if says_enough { field } else { field.with_metadata(HashMap::from([(PG_TYPE.to_string(), typname.to_string())])) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_written_as_sql_writes_them() {
        for (name, typmod, expected) in [
            ("int8", -1, "bigint"),
            ("numeric", ((10 << 16) | 2) + 4, "numeric(10,2)"),
            ("_text", -1, "text[]"),
            ("_varchar", 24, "character varying(20)[]"),
            ("timestamp", 3, "timestamp(3) without time zone"),
            ("char", -1, "\"char\""),
            ("any", -1, "\"any\""),
            ("int2vector", -1, "int2vector"),
        ] {
            let row = by_name(name).expect("a built-in type");
            assert_eq!(format_type(row.oid, typmod), expected);
            assert_eq!(by_sql_name(expected).map(|row| row.name), Some(name));
        }
        assert_eq!(format_type(0, -1), "-");
        assert_eq!(format_type(99_999, -1), "???");
        assert_eq!(by_sql_name("int").map(|row| row.name), Some("int4"));
        assert_eq!(by_sql_name("pg_catalog.float8").map(|row| row.name), Some("float8"));
        assert_eq!(by_sql_name("nonsense"), None);
    }

    #[test]
    fn a_column_is_what_its_metadata_says_before_what_its_arrow_type_says() {
        let of = |data: DataType| type_of(&Field::new("c", data, true));
        assert_eq!(of(DataType::Utf8View), (25, -1));
        assert_eq!(of(DataType::Decimal128(10, 2)), (1700, ((10 << 16) | 2) + 4));
        assert_eq!(of(DataType::List(Arc::new(Field::new("item", DataType::Int32, true)))), (1007, -1));
        assert_eq!(of(DataType::UInt32), (20, -1));
        assert_eq!(type_of(&typed_field("c", "oid")), (26, -1));
        assert_eq!(type_of(&typed_field("c", "_oid")), (1028, -1));
        assert_eq!(type_of(&typed_field("c", "int2vector")), (22, -1));
        assert_eq!(type_of(&typed_field("c", "char")), (18, -1));
        assert!(typed_field("c", "int4").metadata().is_empty());
        let limited = Field::new("c", DataType::Utf8, true);
        let limited = limited.with_metadata(HashMap::from([(PG_TYPE.to_string(), "varchar(20)".to_string())]));
        assert_eq!(type_of(&limited), (1043, 24));
    }
}
