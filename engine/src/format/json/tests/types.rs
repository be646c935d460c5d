//! What texts, times and nested types take and make of it.

use super::*;

fn texts(field: &FieldRef, cases: &[(&str, Option<&str>)]) {
    let cases: Vec<_> = cases.iter().map(|(json, value)| (*json, value.map(|text| Cell::Text(text.into())))).collect();
    check(field, &cases);
}

#[test]
fn text_takes_strings_and_the_text_of_everything_else() {
    texts(
        &column("x", DataType::Utf8View),
        &[
            ("\"\"", Some("")),
            ("\"abc\"", Some("abc")),
            ("\"twelve bytes\"", Some("twelve bytes")),
            ("\"thirteen byte\"", Some("thirteen byte")),
            (
                "\"a much longer text, with spaces and, 'quotes'\"",
                Some("a much longer text, with spaces and, 'quotes'"),
            ),
            (r#""\"\\\/\b\f\n\r\t""#, Some("\"\\/\u{8}\u{c}\n\r\t")),
            (r#""a\u00e4\u20AC\ud83d\ude00z""#, Some("aä€😀z")),
            ("\"äöü\u{10ffff}\u{7f}\"", Some("äöü\u{10ffff}\u{7f}")),
            ("1.50", Some("1.50")),
            ("-0", Some("-0")),
            ("true", Some("true")),
            ("{\"a\": [1, 2]}", Some("{\"a\": [1, 2]}")),
            ("[ \"ü\" ]", Some("[ \"ü\" ]")),
            (r#"["\u0000"]"#, Some(r#"["\u0000"]"#)),
            (r#""\u0000""#, None),
            (r#""abc\u0000def""#, None),
            (r#""\\u0000""#, Some("\\u0000")),
        ],
    );
}

#[test]
fn jsonb_is_compact() {
    texts(
        &jsonb("x"),
        &[
            ("\"a b\"", Some("\"a b\"")),
            (r#""a\n\u00e4""#, Some(r#""a\n\u00e4""#)),
            ("1.50", Some("1.50")),
            ("true", Some("true")),
            ("{ \"a b\" : [ 1 ,\n\t2.0 , \"x  \\\" y\" ] , \"b\" : { } }", Some(r#"{"a b":[1,2.0,"x  \" y"],"b":{}}"#)),
            ("[]", Some("[]")),
            ("[ ]", Some("[]")),
            (r#"{"a":[null, "\\"]}"#, Some(r#"{"a":[null,"\\"]}"#)),
            (r#"["\\u0000"]"#, Some(r#"["\\u0000"]"#)),
            (r#"["\u0000"]"#, None),
            (r#"{"\u0000":1}"#, None),
            (r#""\u0000""#, None),
        ],
    );
}

#[test]
fn timestamps() {
    const NOON: i64 = 1_763_812_800_000_000; // 2025-11-22T12:00:00Z
    let cases = [
        ("\"2025-11-22T12:00:00\"", Some(NOON)),
        ("\"2025-11-22 12:00:00\"", Some(NOON)),
        ("\"2025-11-22t12:00:00z\"", Some(NOON)),
        ("\"2025-11-22T12:00:00Z\"", Some(NOON)),
        ("\"2025-11-22T12:00\"", Some(NOON)),
        ("\"2025-11-22T12:00Z\"", Some(NOON)),
        ("\"2025-11-22\"", Some(NOON - 43_200_000_000)),
        ("\"2025-11-22T12:00:00.5\"", Some(NOON + 500_000)),
        ("\"2025-11-22T12:00:00.123Z\"", Some(NOON + 123_000)),
        ("\"2025-11-22T12:00:00.123456Z\"", Some(NOON + 123_456)),
        ("\"2025-11-22T12:00:00.123456789Z\"", Some(NOON + 123_456)),
        ("\"2025-11-22T12:00:59.999999999\"", Some(NOON + 59_999_999)),
        ("\"2025-11-22T14:00:00+02:00\"", Some(NOON)),
        ("\"2025-11-22T14:00:00.25+02\"", Some(NOON + 250_000)),
        ("\"2025-11-22T06:30:00-0530\"", Some(NOON)),
        ("\"2025-11-22T14:00:01+02:00:01\"", Some(NOON)),
        ("\"2025-11-22T11:59:60Z\"", Some(NOON)),
        ("\"2025-11-21T24:00:00Z\"", Some(NOON - 43_200_000_000)),
        ("\"2025\\u002d11-22T12:00:00\"", Some(NOON)),
        ("\"0001-01-01T00:00:00\"", Some(-62_135_596_800_000_000)),
        ("\"9999-12-31T23:59:59.999999\"", Some(253_402_300_799_999_999)),
        ("\"2024-02-29T00:00:00\"", Some(1_709_164_800_000_000)),
        ("\"0001-01-01T00:00:00+01\"", None),
        ("\"9999-12-31T23:00:00-01\"", None),
        ("\"0000-01-01T00:00:00\"", None),
        ("\"2025-02-29T00:00:00\"", None),
        ("\"1900-02-29\"", None),
        ("\"2025-13-01T00:00:00\"", None),
        ("\"2025-00-01T00:00:00\"", None),
        ("\"2025-01-32T00:00:00\"", None),
        ("\"2025-01-00T00:00:00\"", None),
        ("\"2025-11-22T25:00:00\"", None),
        ("\"2025-11-22T24:00:01\"", None),
        ("\"2025-11-22T12:60:00\"", None),
        ("\"2025-11-22T12:00:61\"", None),
        ("\"2025-11-22T12:00:00.\"", None),
        ("\"2025-11-22T12:00:00.1234567890\"", None),
        ("\"2025-11-22T12:00:00+16\"", None),
        ("\"2025-11-22T12:00:00+1\"", None),
        ("\"2025-11-22T12:00:00Zx\"", None),
        ("\"2025-11-22T12:00:00 Z\"", None),
        ("\"2025-11-22x12:00:00\"", None),
        ("\"2025-11-22T\"", None),
        ("\"2025-11-22T12\"", None),
        ("\"2025-1-2\"", None),
        ("\"25-11-22T12:00:00\"", None),
        ("\"+2025-11-22T12:00:00\"", None),
        ("\"2025-11-22T1a:00:00\"", None),
        ("\"2025-11-22T12:00:/0\"", None),
        ("\"2025-11-22T12:00::0\"", None),
        ("\"\"", None),
        ("\"now\"", None),
        ("1763812800000", Some(NOON)),
        ("1.7638128e12", Some(NOON)),
        ("-1", Some(-1_000)),
        ("1763812800000.5", None),
        ("253402300800000", None),
        ("9223372036854775807", None),
        ("\"1763812800000\"", None),
        ("true", None),
    ];
    integers(timestamp(), &cases);
    integers(DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), &cases);
    integers(DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into())), &cases);
}

#[test]
fn epoch_units_are_chosen_by_metadata() {
    for (unit, json) in [("s", "1763812800"), ("ms", "1763812800000"), ("us", "1763812800000000")] {
        let field = with_metadata(&column("x", timestamp()), "tidemark.epoch_unit", unit);
        assert_eq!(decode_one(&field, json), Ok(Cell::Integer(1_763_812_800_000_000)), "{unit}");
    }
    let nanos = with_metadata(&column("x", timestamp()), "tidemark.epoch_unit", "ns");
    assert_eq!(decode_one(&nanos, "1763812800000000999"), Ok(Cell::Integer(1_763_812_800_000_000)));
    assert_eq!(decode_one(&nanos, "-1"), Ok(Cell::Integer(-1)));
    let wrong = with_metadata(&column("x", timestamp()), "tidemark.epoch_unit", "minutes");
    let error = JsonDecoder::new(spec(&[wrong], &[])).expect_err("no such unit");
    assert_eq!(error.kind(), crate::ErrorKind::Input);
}

#[test]
fn timestamps_do_not_depend_on_the_one_before() {
    let column = [column("x", timestamp())];
    let texts = [
        "2025-11-22T12:00:00.5",
        "2025-11-22T12:00:01",
        "2025-11-22T12:00",
        "2025-11-22T12:00:02+01:00",
        "2025-11-22T12:00:03Z",
        "2025-11-22T24:00:00",
        "2025-11-22T24:00:01",
        "2025-11-22T24:00",
        "2025-11-22T12:00:60",
        "2025-11-22T12:00:6",
        "2025-11-22T12:00:004",
        "2025-11-22T12:00:04.1234567",
        "2025-11-22T12:00:04.",
        "2025-11-22T12:00:04.Z",
        "2025-11-22",
        "2025-11-22T12:61:00",
    ];
    for first in texts {
        for second in texts {
            let mut decoder = keeping_all(&column);
            let _ = decoder.decode(format!("{{\"x\":\"{first}\"}}").as_bytes());
            let _ = decoder.finish().expect("arrays");
            let judged = decoder.decode(format!("{{\"x\":\"{second}\"}}").as_bytes());
            let found = judged.map(|()| cell(&decoder.finish().expect("arrays")[0], 0));
            assert_eq!(found, decode_one(&column[0], &format!("\"{second}\"")), "{second} after {first}");
        }
    }
}

#[test]
fn dates() {
    integers(
        DataType::Date32,
        &[
            ("\"1970-01-01\"", Some(0)),
            ("\"1969-12-31\"", Some(-1)),
            ("\"2000-02-29\"", Some(11_016)),
            ("\"0001-01-01\"", Some(-719_162)),
            ("\"9999-12-31\"", Some(2_932_896)),
            ("\"1970-01-02T23:30:00-05\"", Some(1)),
            ("\"1970-01-02 03:04:05.6\"", Some(1)),
            ("20000", Some(20_000)),
            ("2e4", Some(20_000)),
            ("-719162", Some(-719_162)),
            ("-719163", None),
            ("2932897", None),
            ("1.5", None),
            ("\"1970-01-02Tx\"", None),
            ("\"1970-02-30\"", None),
            ("\"19700102\"", None),
            ("false", None),
        ],
    );
}

#[test]
fn times() {
    integers(
        DataType::Time64(TimeUnit::Microsecond),
        &[
            ("\"00:00\"", Some(0)),
            ("\"01:02:03\"", Some(3_723_000_000)),
            ("\"23:59:59.999999999\"", Some(86_399_999_999)),
            ("\"24:00:00\"", None),
            ("\"12:60\"", None),
            ("\"1:00\"", None),
            ("\"12:00:00Z\"", None),
            ("\"12\"", None),
            ("0", None),
        ],
    );
}

#[test]
fn binaries() {
    let bytes = |bytes: &[u8]| Some(Cell::Binary(bytes.to_vec()));
    check(
        &column("x", DataType::Binary),
        &[
            ("\"\"", bytes(b"")),
            (r#""\\x""#, bytes(b"")),
            (r#""\\x00fFa1""#, bytes(&[0, 0xff, 0xa1])),
            (r#""\\x0""#, None),
            (r#""\\x0g""#, None),
            ("\"aGVsbG8=\"", bytes(b"hello")),
            ("\"aGVsbA==\"", bytes(b"hell")),
            ("\"aGVsbG8h\"", bytes(b"hello!")),
            ("\"+/+/\"", bytes(&[0xfb, 0xff, 0xbf])),
            ("\"aGVsbG8\"", None),
            ("\"aGVsbG9=\"", None),
            ("\"aGVsbB==\"", None),
            ("\"a===\"", None),
            ("\"====\"", None),
            ("\"aG==aG==\"", None),
            ("\"-_-_\"", None),
            ("\"aGV bG8=\"", None),
            ("1", None),
        ],
    );
}

#[test]
fn lists_and_objects() {
    let numbers = |numbers: &[i64]| Cell::Many(numbers.iter().map(|&n| Cell::Integer(n)).collect());
    let text = |text: &str| Cell::Text(text.into());
    check(
        &column("x", list(DataType::Int64)),
        &[
            ("[]", Some(numbers(&[]))),
            ("[ ]", Some(numbers(&[]))),
            ("[1]", Some(numbers(&[1]))),
            ("[ 1 , \"2\",3e0 ]", Some(numbers(&[1, 2, 3]))),
            ("[1,null]", Some(Cell::Many(vec![Cell::Integer(1), Cell::Null]))),
            ("[1,\"x\"]", None),
            ("[[1]]", None),
            ("{}", None),
            ("1", None),
        ],
    );
    check(
        &column("x", list(list(DataType::Utf8View))),
        &[(
            r#"[["a", "b\n"], [], null, [{"c": 1}]]"#,
            Some(Cell::Many(vec![
                Cell::Many(vec![text("a"), text("b\n")]),
                Cell::Many(vec![]),
                Cell::Null,
                Cell::Many(vec![text("{\"c\": 1}")]),
            ])),
        )],
    );
    let fields = vec![not_null("a", DataType::Int32), column("b", DataType::Utf8View), jsonb("c")];
    check(
        &column("x", DataType::Struct(fields.into())),
        &[
            (r#"{"a":1}"#, Some(Cell::Many(vec![Cell::Integer(1), Cell::Null, Cell::Null]))),
            (
                r#"{ "c" : [ 1 ], "z":{"a":"x"}, "b":true, "a" : 2 , "a":3}"#,
                Some(Cell::Many(vec![Cell::Integer(3), text("true"), text("[1]")])),
            ),
            (r#"{"\u0061":1,"b":"x","c":null}"#, Some(Cell::Many(vec![Cell::Integer(1), text("x"), Cell::Null]))),
            (r#"{"a":"x"}"#, None),
            ("[]", None),
            ("\"a\"", None),
        ],
    );
    let field = column("x", DataType::Struct(vec![not_null("a", DataType::Int32)].into()));
    let error = decode_one(&field, "{}").expect_err("a is NOT NULL");
    assert_eq!(error.reason, ErrorReason::NullValue);
}

#[test]
fn types_that_json_is_not_decoded_to_are_refused() {
    for data_type in [DataType::UInt8, DataType::Utf8, list(DataType::Int8), DataType::Decimal128(39, 0)] {
        assert!(JsonDecoder::new(spec(&[column("x", data_type.clone())], &[])).is_err(), "{data_type}");
    }
}

#[test]
fn an_error_names_the_column_what_was_expected_and_where() {
    let cases = [
        (column("price", DataType::Int64), "\"abc\"", "column \"x\": expected bigint, found \"abc\" at byte 5"),
        (
            column("x", DataType::Int16),
            "70000",
            "column \"x\": expected smallint, found 70000, out of range, at byte 5",
        ),
        (
            column("x", DataType::Decimal128(5, 2)),
            "{\"a\":\n1}",
            "column \"x\": expected numeric(5,2), found {\"a\": 1} at byte 5",
        ),
        (
            column("x", timestamp()),
            "\"yesterday, when all my troubles seemed so far away\"",
            "column \"x\": expected timestamp, found \"yesterday, when all my troubles seemed… at byte 5",
        ),
        (column("x", list(DataType::Int64)), "[1, \"b\"]", "column \"x\": expected bigint[], found \"b\" at byte 9"),
        (
            column("x", DataType::Utf8View),
            r#""\u0000""#,
            "column \"x\": expected text, found \"\\u0000\" with \\u0000 at byte 5",
        ),
        (not_null("x", DataType::Int64), "null", "column \"x\": null or absent, where a value is needed"),
    ];
    for (field, json, detail) in cases {
        assert_eq!(decode_one(&field, json).expect_err(json).detail, detail);
    }
}
