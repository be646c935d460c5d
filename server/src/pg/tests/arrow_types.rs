//! Every Arrow type a plan can give, against the bytes Postgres clients expect; NULL in each of them.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use bytes::BytesMut;

use super::super::encode::{Format, RowEncoder, Style};
use super::types::{cell, field, hex};
use crate::session::settings::Settings;

fn text(array: &ArrayRef, row: usize) -> Option<String> {
    let style = Style::of(&Settings::default());
    let bytes = cell(array, row, &field(array.data_type().clone(), None), Format::Text, style)?;
    Some(String::from_utf8(bytes).expect("UTF-8"))
}

fn binary(array: &ArrayRef, row: usize) -> Option<String> {
    let style = Style::of(&Settings::default());
    cell(array, row, &field(array.data_type().clone(), None), Format::Binary, style).map(|bytes| hex(&bytes))
}

fn array<T: Array + 'static>(array: T) -> ArrayRef {
    Arc::new(array)
}

/// An array of each Arrow type with a value, then NULL; the value's text and its binary form.
fn one_of_each() -> Vec<(ArrayRef, &'static str, &'static str)> {
    let int4s = || {
        let mut list = ListBuilder::new(Int32Builder::new());
        list.append_value([Some(1), None]);
        list.append_null();
        list.finish()
    };
    let item: FieldRef = Arc::new(Field::new_list_field(DataType::Int32, true));
    let array_of_int4 = "00000001000000010000001700000002000000010000000400000001ffffffff";
    let list_as = |data_type: DataType| arrow::compute::cast(&int4s(), &data_type).expect("a list of another layout");
    let pair = {
        let fields = Fields::from(vec![
            Field::new("a", DataType::Int32, true),
            Field::new("b", DataType::Utf8, true),
            Field::new("c", DataType::Int32, true),
            Field::new("d", DataType::Utf8, true),
            Field::new("e", DataType::Float64, true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            array(Int32Array::from(vec![1, 1])),
            array(StringArray::from(vec!["a b", ""])),
            array(Int32Array::from(vec![None, Some(1)])),
            array(StringArray::from(vec!["", ""])),
            array(Float64Array::from(vec![1.5, 1.5])),
        ];
        StructArray::new(fields, columns, Some(vec![true, false].into()))
    };
    let map = {
        let mut map = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
        map.keys().append_value("a");
        map.values().append_value(1.5);
        map.keys().append_value("q\"");
        map.values().append_null();
        map.append(true).expect("two entries");
        map.append(false).expect("NULL");
        map.finish()
    };
    let runs =
        RunArray::<Int32Type>::try_new(&Int32Array::from(vec![1, 2]), &StringArray::from(vec![Some("ab"), None]))
            .expect("two runs");
    let half = arrow::compute::cast(&Float32Array::from(vec![Some(1.5), None]), &DataType::Float16).expect("a half");
    vec![
        (array(BooleanArray::from(vec![Some(true), None])), "t", "01"),
        (array(Int8Array::from(vec![Some(-5), None])), "-5", "fffb"),
        (array(Int16Array::from(vec![Some(-5), None])), "-5", "fffb"),
        (array(Int32Array::from(vec![Some(-5), None])), "-5", "fffffffb"),
        (array(Int64Array::from(vec![Some(-5), None])), "-5", "fffffffffffffffb"),
        (array(UInt8Array::from(vec![Some(255), None])), "255", "00ff"),
        (array(UInt16Array::from(vec![Some(65535), None])), "65535", "0000ffff"),
        (array(UInt32Array::from(vec![Some(u32::MAX), None])), "4294967295", "00000000ffffffff"),
        (
            array(UInt64Array::from(vec![Some(u64::MAX), None])),
            "18446744073709551615",
            "000500040000000007341a5802e103bb064f",
        ),
        (half, "1.5", "3fc00000"),
        (array(Float32Array::from(vec![Some(1.5), None])), "1.5", "3fc00000"),
        (array(Float64Array::from(vec![Some(1.5), None])), "1.5", "3ff8000000000000"),
        (
            array(Decimal32Array::from(vec![Some(150), None]).with_precision_and_scale(9, 2).expect("fits")),
            "1.50",
            "000200000000000200011388",
        ),
        (
            array(Decimal64Array::from(vec![Some(150), None]).with_precision_and_scale(18, 2).expect("fits")),
            "1.50",
            "000200000000000200011388",
        ),
        (
            array(Decimal128Array::from(vec![Some(150), None]).with_precision_and_scale(10, 2).expect("fits")),
            "1.50",
            "000200000000000200011388",
        ),
        (
            array(Decimal128Array::from(vec![Some(15), None]).with_precision_and_scale(10, -3).expect("fits")),
            "15000",
            "000200010000000000011388",
        ),
        (
            array(
                Decimal256Array::from(vec![Some(i256::from_i128(-150)), None])
                    .with_precision_and_scale(50, 2)
                    .expect("fits"),
            ),
            "-1.50",
            "000200004000000200011388",
        ),
        (array(StringArray::from(vec![Some("ab"), None])), "ab", "6162"),
        (array(LargeStringArray::from(vec![Some("ab"), None])), "ab", "6162"),
        (array(StringViewArray::from(vec![Some("ab"), None])), "ab", "6162"),
        (array(BinaryArray::from(vec![Some(&b"ab"[..]), None])), "\\x6162", "6162"),
        (array(LargeBinaryArray::from(vec![Some(&b"ab"[..]), None])), "\\x6162", "6162"),
        (array(BinaryViewArray::from(vec![Some(&b"ab"[..]), None])), "\\x6162", "6162"),
        (
            array(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some(b"ab"), None].into_iter(), 2)
                    .expect("two bytes"),
            ),
            "\\x6162",
            "6162",
        ),
        (array(Date32Array::from(vec![Some(-1), None])), "1969-12-31", "ffffd532"),
        (array(Date64Array::from(vec![Some(-1), None])), "1969-12-31", "ffffd532"),
        (array(Time32SecondArray::from(vec![Some(1), None])), "00:00:01", "00000000000f4240"),
        (array(Time32MillisecondArray::from(vec![Some(1500), None])), "00:00:01.5", "000000000016e360"),
        (array(Time64MicrosecondArray::from(vec![Some(1), None])), "00:00:00.000001", "0000000000000001"),
        (array(Time64NanosecondArray::from(vec![Some(1999), None])), "00:00:00.000001", "0000000000000001"),
        (array(TimestampSecondArray::from(vec![Some(-1), None])), "1969-12-31 23:59:59", "fffca2fec4b8ddc0"),
        (array(TimestampMillisecondArray::from(vec![Some(-1), None])), "1969-12-31 23:59:59.999", "fffca2fec4c81c18"),
        (
            array(TimestampMicrosecondArray::from(vec![Some(-1), None])),
            "1969-12-31 23:59:59.999999",
            "fffca2fec4c81fff",
        ),
        // One nanosecond before 1970 is in the microsecond before it, not in the one after.
        (array(TimestampNanosecondArray::from(vec![Some(-1), None])), "1969-12-31 23:59:59.999999", "fffca2fec4c81fff"),
        (
            array(TimestampSecondArray::from(vec![Some(-1), None]).with_timezone("Asia/Tokyo")),
            "1969-12-31 23:59:59+00",
            "fffca2fec4b8ddc0",
        ),
        (
            array(IntervalYearMonthArray::from(vec![Some(14), None])),
            "1 year 2 mons",
            "0000000000000000000000000000000e",
        ),
        (
            array(IntervalDayTimeArray::from(vec![Some(IntervalDayTime::new(1, -500)), None])),
            "1 day -00:00:00.5",
            "fffffffffff85ee00000000100000000",
        ),
        (
            array(IntervalMonthDayNanoArray::from(vec![Some(IntervalMonthDayNano::new(1, 2, 3000)), None])),
            "1 mon 2 days 00:00:00.000003",
            "00000000000000030000000200000001",
        ),
        (
            array(DurationSecondArray::from(vec![Some(90_000), None])),
            "1 day 01:00:00",
            "00000000d693a4000000000100000000",
        ),
        (
            array(DurationMillisecondArray::from(vec![Some(500), None])),
            "00:00:00.5",
            "000000000007a1200000000000000000",
        ),
        (
            array(DurationMicrosecondArray::from(vec![Some(1), None])),
            "00:00:00.000001",
            "00000000000000010000000000000000",
        ),
        (
            array(DurationNanosecondArray::from(vec![Some(1000), None])),
            "00:00:00.000001",
            "00000000000000010000000000000000",
        ),
        (array(int4s()), "{1,NULL}", array_of_int4),
        (list_as(DataType::LargeList(item.clone())), "{1,NULL}", array_of_int4),
        (list_as(DataType::FixedSizeList(item.clone(), 2)), "{1,NULL}", array_of_int4),
        (list_as(DataType::ListView(item.clone())), "{1,NULL}", array_of_int4),
        (list_as(DataType::LargeListView(item)), "{1,NULL}", array_of_int4),
        (
            array(pair),
            "(1,\"a b\",,\"\",1.5)",
            "00000005000000170000000400000001000000190000000361206200000017ffffffff0000001900000000\
             000002bd000000083ff8000000000000",
        ),
        (array(map), "{\"a\": 1.5, \"q\\\"\": null}", "017b2261223a20312e352c2022715c22223a206e756c6c7d"),
        (
            arrow::compute::cast(
                &StringArray::from(vec![Some("ab"), None]),
                &DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8)),
            )
            .expect("a dictionary"),
            "ab",
            "6162",
        ),
        (array(runs), "ab", "6162"),
    ]
}

#[test]
fn every_arrow_type_is_written_and_its_nulls_are_null() {
    for (array, expected_text, expected_binary) in one_of_each() {
        let name = array.data_type().to_string();
        assert_eq!(text(&array, 0).as_deref(), Some(expected_text), "{name}");
        assert_eq!(binary(&array, 0).as_deref(), Some(expected_binary), "{name}");
        assert_eq!(text(&array, 1), None, "{name}");
        assert_eq!(binary(&array, 1), None, "{name}");
        // A slice is written from where it starts.
        let slice = array.slice(1, 1);
        assert_eq!(text(&slice, 0), None, "{name}");
    }
    let nulls = array(NullArray::new(1));
    assert_eq!((text(&nulls, 0), binary(&nulls, 0)), (None, None));
}

#[test]
fn lists_of_lists_are_arrays_of_more_dimensions() {
    let nested = |rows: &[&[&[i32]]]| {
        let mut list = ListBuilder::new(ListBuilder::new(Int32Builder::new()));
        for row in rows {
            for inner in *row {
                list.values().append_value(inner.iter().map(|value| Some(*value)));
            }
            list.append(true);
        }
        array(list.finish())
    };
    let square = nested(&[&[&[1, 2], &[3, 4]]]);
    assert_eq!(text(&square, 0).as_deref(), Some("{{1,2},{3,4}}"));
    let expected = "00000002000000000000001700000002000000010000000200000001\
                    0000000400000001000000040000000200000004000000030000000400000004";
    assert_eq!(binary(&square, 0).as_deref(), Some(expected));
    let empty = nested(&[&[], &[&[], &[]]]);
    assert_eq!((text(&empty, 0).as_deref(), text(&empty, 1).as_deref()), (Some("{}"), Some("{}")));
    assert_eq!(binary(&empty, 1).as_deref(), Some("000000000000000000000017"));

    let ragged = nested(&[&[&[1], &[2, 3]]]);
    let field = field(ragged.data_type().clone(), None);
    let encoder = RowEncoder::new(std::slice::from_ref(&field), &[Format::Text], Style::of(&Settings::default()));
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![ragged]).expect("one column");
    let mut out = BytesMut::from(&b"before"[..]);
    let error = encoder.batch(&batch).expect("encodes").write_data_row(0, &mut out).expect_err("ragged");
    assert_eq!((error.state.0, &out[..]), ("2202E", &b"before"[..]));
}

#[test]
fn vectors_of_the_catalog_are_spaced_and_count_from_zero() {
    let mut list = ListBuilder::new(Int16Builder::new());
    list.append_value([Some(1), Some(2)]);
    let list = array(list.finish());
    let field = field(list.data_type().clone(), Some("int2vector"));
    let style = Style::of(&Settings::default());
    assert_eq!(cell(&list, 0, &field, Format::Text, style).as_deref(), Some(&b"1 2"[..]));
    let written = cell(&list, 0, &field, Format::Binary, style).expect("not NULL");
    assert_eq!(hex(&written), "0000000100000000000000150000000200000000000000020001000000020002");
}

#[test]
fn records_quote_what_would_be_read_otherwise() {
    let texts = ["(a)", "q\"b", "c\\d", "x,y", "plain"];
    let fields: Fields = texts.iter().map(|text| Field::new(*text, DataType::Utf8, true)).collect();
    let columns = texts.iter().map(|text| array(StringArray::from(vec![*text]))).collect();
    let record = array(StructArray::new(fields, columns, None));
    // Read off PostgreSQL.
    assert_eq!(text(&record, 0).as_deref(), Some(r#"("(a)","q""b","c\\d","x,y",plain)"#));
}

#[test]
fn what_no_postgres_type_has_room_for_is_an_error_and_no_wrong_value() {
    let state = |array: ArrayRef, format: Format| {
        let field = field(array.data_type().clone(), None);
        let encoder = RowEncoder::new(std::slice::from_ref(&field), &[format], Style::of(&Settings::default()));
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![array]).expect("one column");
        let mut out = BytesMut::new();
        let written = encoder.batch(&batch).and_then(|batch| batch.write_data_row(0, &mut out));
        written.expect_err("refused").state.0
    };
    assert_eq!(state(array(TimestampSecondArray::from(vec![i64::MAX / 2])), Format::Text), "22008");
    assert_eq!(state(array(TimestampMicrosecondArray::from(vec![i64::MIN + 1])), Format::Binary), "22008");
    assert_eq!(state(array(Date32Array::from(vec![i32::MIN + 1])), Format::Binary), "22008");
    assert_eq!(state(array(Date64Array::from(vec![i64::MAX])), Format::Text), "22008");
    assert_eq!(state(array(DurationSecondArray::from(vec![i64::MAX])), Format::Text), "22008");
    assert_eq!(state(array(StringArray::from(vec!["a\0b"])), Format::Text), "22021");
}
