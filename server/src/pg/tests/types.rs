//! Every type, text and binary, against what PostgreSQL itself wrote (`golden/record.sh`).

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, Schema, TimeUnit};
use bytes::BytesMut;

use super::super::decode::parameter;
use super::super::encode::{Format, RowEncoder, Style};
use super::super::wire_type::WireType;
use crate::backend::PG_TYPE;
use crate::session::settings::Settings;
use crate::session::time_zone::TimeZone;

/// The Arrow type that stands for a Postgres type, and the name its field carries.
fn arrow_type(name: &str) -> (DataType, Option<&str>) {
    if let Some(element) = name.strip_prefix('_') {
        let (element, declared) = arrow_type(element);
        return (DataType::new_list(element, true), declared.map(|_| name));
    }
    let data_type = match name {
        "bool" => DataType::Boolean,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "numeric" => DataType::Decimal128(38, 10),
        "text" => DataType::Utf8,
        "bytea" => DataType::Binary,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
        "oid" => return (DataType::UInt32, Some(name)),
        name => return (DataType::Utf8, Some(name)),
    };
    (data_type, None)
}

pub(super) fn field(data_type: DataType, declared: Option<&str>) -> FieldRef {
    let metadata = declared.map(|name| (PG_TYPE.to_owned(), name.to_owned()));
    Arc::new(Field::new("c", data_type, true).with_metadata(metadata.into_iter().collect()))
}

/// One cell as it goes on the wire; `None` is NULL.
pub(super) fn cell(array: &ArrayRef, row: usize, field: &FieldRef, format: Format, style: Style) -> Option<Vec<u8>> {
    let encoder = RowEncoder::new(std::slice::from_ref(field), &[format], style);
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let batch = RecordBatch::try_new(schema, vec![array.clone()]).expect("one column");
    let mut out = BytesMut::new();
    encoder.batch(&batch).expect("encodes").write_data_row(row, &mut out).expect("a row");
    // D, length, one column, the cell's length.
    assert_eq!((out[0], &out[5..7]), (b'D', &[0, 1][..]));
    let length = i32::from_be_bytes(out[7..11].try_into().expect("four bytes"));
    usize::try_from(length).ok().map(|length| {
        assert_eq!(out.len(), 11 + length);
        out[11..].to_vec()
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(pair).collect()
}

#[test]
fn every_type_is_read_and_written_as_postgres_does() {
    let style = Style::of(&Settings::default());
    for line in include_str!("../golden/types.tsv").lines() {
        let columns: Vec<_> = line.split('\t').collect();
        let [name, input, expected_text, expected_binary] = columns[..] else { panic!("four columns: {line}") };
        let (data_type, declared) = arrow_type(name);
        let value = parameter(Some(input.as_bytes()), Format::Text, &data_type, 0, TimeZone::UTC).expect(line);
        let array = value.to_array().expect(line);
        let field = field(array.data_type().clone(), declared);
        let written = cell(&array, 0, &field, Format::Text, style).expect("not NULL");
        assert_eq!(String::from_utf8_lossy(&written), expected_text, "{line}");
        let written = cell(&array, 0, &field, Format::Binary, style).expect("not NULL");
        assert_eq!(hex(&written), expected_binary, "{line}");

        // The client names the oid where Arrow's type says too little.
        let oid = if declared.is_some() { WireType::of(&field).oid } else { 0 };
        let back = parameter(Some(&unhex(expected_binary)), Format::Binary, &data_type, oid, TimeZone::UTC);
        let back = back.expect(line).to_array().expect(line);
        let again = cell(&back, 0, &field_like(&field, &back), Format::Text, style).expect("not NULL");
        assert_eq!(String::from_utf8_lossy(&again), expected_text, "{line}");
    }
}

fn field_like(field: &FieldRef, array: &ArrayRef) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(array.data_type().clone()))
}

#[test]
fn texts_follow_the_settings_as_in_postgres() {
    for line in include_str!("../golden/styles.tsv").lines() {
        let columns: Vec<_> = line.split('\t').collect();
        let [setting, set_to, name, input, expected] = columns[..] else { panic!("five columns: {line}") };
        let settings = Settings::default();
        settings.set(setting, set_to, false).expect(line);
        let (data_type, declared) = arrow_type(name);
        let value = parameter(Some(input.as_bytes()), Format::Text, &data_type, 0, TimeZone::UTC).expect(line);
        let array = value.to_array().expect(line);
        let field = field(array.data_type().clone(), declared);
        let written = cell(&array, 0, &field, Format::Text, Style::of(&settings)).expect("not NULL");
        assert_eq!(String::from_utf8_lossy(&written), expected, "{line}");
    }
}

#[test]
fn parameters_take_the_very_type_that_was_inferred() {
    let cases: &[(DataType, &str, &str)] = &[
        (DataType::Int8, "-5", "-5"),
        (DataType::UInt64, "18446744073709551615", "18446744073709551615"),
        (DataType::Float16, "1.5", "1.5"),
        (DataType::LargeUtf8, "ab", "ab"),
        (DataType::Utf8View, "ab", "ab"),
        (DataType::LargeBinary, "\\x6162", "\\x6162"),
        (DataType::FixedSizeBinary(2), "\\x6162", "\\x6162"),
        (DataType::FixedSizeBinary(16), "a0eebc999c0b4ef8bb6d6bb9bd380a11", "\\xa0eebc999c0b4ef8bb6d6bb9bd380a11"),
        (DataType::Date64, "2023-01-02", "2023-01-02"),
        (DataType::Time32(TimeUnit::Second), "04:05:06", "04:05:06"),
        (DataType::Timestamp(TimeUnit::Nanosecond, None), "1969-12-31 23:59:59.9", "1969-12-31 23:59:59.9"),
        (DataType::Timestamp(TimeUnit::Second, Some("UTC".into())), "2023-01-02 01:00+01", "2023-01-02 00:00:00+00"),
        (DataType::Interval(IntervalUnit::MonthDayNano), "1 mon", "1 mon"),
        (DataType::Duration(TimeUnit::Millisecond), "24:00:01.5", "1 day 00:00:01.5"),
        (DataType::LargeList(Arc::new(Field::new_list_field(DataType::Int32, true))), "{1,NULL}", "{1,NULL}"),
        (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), "ab", "ab"),
    ];
    let style = Style::of(&Settings::default());
    for (data_type, input, expected) in cases {
        let value = parameter(Some(input.as_bytes()), Format::Text, data_type, 0, TimeZone::UTC).expect(input);
        assert_eq!(value.data_type(), *data_type, "{input}");
        let array = value.to_array().expect(input);
        let written = cell(&array, 0, &field(data_type.clone(), None), Format::Text, style).expect("not NULL");
        assert_eq!(String::from_utf8_lossy(&written), *expected, "{data_type}");
        let null = parameter(None, Format::Text, data_type, 0, TimeZone::UTC).expect(input);
        assert!(null.is_null() && null.data_type() == *data_type, "{data_type}");
    }
}
