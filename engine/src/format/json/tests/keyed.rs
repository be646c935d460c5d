//! Records with keys, and Debezium's change events.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;

use super::{column, not_null, spec, timestamp};
use crate::format::json::keyed::{Envelope, JsonKeyedDecoder};
use crate::format::{DecodeError, Decoded, Decoder, ErrorReason};

type Outcome = Result<Decoded, (ErrorReason, String)>;

fn decoder(key: &[usize], envelope: Envelope) -> JsonKeyedDecoder {
    let columns = [
        not_null("id", DataType::Int64),
        not_null("region", DataType::Utf8View),
        not_null("name", DataType::Utf8View),
        column("price", DataType::Decimal128(10, 2)),
        column("at", timestamp()),
    ];
    let columns = columns.map(|field| match field.name().as_str() {
        // Only what is in the key, and the name, is NOT NULL.
        "id" if !key.contains(&0) => column("id", DataType::Int64),
        "region" if !key.contains(&1) => column("region", DataType::Utf8View),
        _ => field,
    });
    JsonKeyedDecoder::new(spec(&columns, &[0, 1, 2, 3, 4]), key, envelope).expect("a valid spec")
}

fn decode(decoder: &mut JsonKeyedDecoder, key: Option<&str>, payload: Option<&str>) -> Outcome {
    let decoded = decoder.decode_record(key.map(str::as_bytes), payload.map(str::as_bytes));
    decoded.map_err(|DecodeError { reason, detail }| (reason, detail))
}

/// The rows as text, a deletion's with a minus.
fn rows(decoder: &mut JsonKeyedDecoder) -> Vec<String> {
    let columns = decoder.finish().expect("arrays");
    let (deleted, columns) = columns.split_last().expect("the deletions are last");
    let line = |row: usize| {
        let cells = columns.iter().map(|column| array_value_to_string(column, row).expect("a shown type"));
        let sign = if deleted.as_boolean().value(row) { "-" } else { "+" };
        format!("{sign}{}", cells.collect::<Vec<_>>().join("|"))
    };
    (0..deleted.len()).map(line).collect()
}

#[test]
fn one_key_column_is_spelled_in_many_ways() {
    for key in ["7", "\"7\"", " 7 ", "7.0", "{\"id\":7}", "{ \"x\": [1], \"id\" : \"7\" }"] {
        let mut decoder = decoder(&[0], Envelope::Upsert);
        assert_eq!(decode(&mut decoder, Some(key), Some(r#"{"name": "a"}"#)), Ok(Decoded::Row), "{key}");
        assert_eq!(decode(&mut decoder, Some(key), Some(r#"{"id": 7, "name": "b"}"#)), Ok(Decoded::Row), "{key}");
        assert_eq!(decode(&mut decoder, Some(key), None), Ok(Decoded::Deletion), "{key}");
        assert_eq!(rows(&mut decoder), ["+7||a||", "+7||b||", "-7||||"], "{key}");
    }
    for key in [r#"{"schema": {"type": "int64"}, "payload": 7}"#, r#"{"schema": null, "payload": {"id": 7}}"#] {
        let mut decoder = decoder(&[0], Envelope::Upsert);
        assert_eq!(decode(&mut decoder, Some(key), Some(r#"{"name": "a"}"#)), Ok(Decoded::Row), "{key}");
        assert_eq!(rows(&mut decoder), ["+7||a||"], "{key}");
    }
}

#[test]
fn a_text_key_may_be_bare() {
    let cases = [
        ("eu", "eu"),
        ("\"eu\"", "eu"),
        ("7", "7"),
        ("true", "true"),
        ("a \\ b", "a \\ b"),
        ("say \"hi\"", "say \"hi\""),
        ("[1]", "[1]"),
        ("ä", "ä"),
        (r#"{"region": "eu"}"#, "eu"),
    ];
    for (key, expected) in cases {
        let mut decoder = decoder(&[1], Envelope::Upsert);
        assert_eq!(decode(&mut decoder, Some(key), Some(r#"{"id": 1, "name": "a"}"#)), Ok(Decoded::Row), "{key}");
        assert_eq!(rows(&mut decoder), [format!("+1|{expected}|a||")], "{key}");
    }
}

#[test]
fn composite_keys_are_objects() {
    let mut decoder = decoder(&[1, 0], Envelope::Upsert);
    let key = Some(r#"{"id": 1, "region": "eu"}"#);
    assert_eq!(decode(&mut decoder, key, Some(r#"{"name": "a", "region": "eu"}"#)), Ok(Decoded::Row));
    assert_eq!(decode(&mut decoder, key, Some("{\"name\": \"b\"} \n")), Ok(Decoded::Row));
    assert_eq!(decode(&mut decoder, None, Some(r#"{"id": 2, "region": "us", "name": "c"}"#)), Ok(Decoded::Row));
    assert_eq!(decode(&mut decoder, key, None), Ok(Decoded::Deletion));
    for (key, reason, detail) in [
        (
            "1",
            ErrorReason::WrongType,
            "the record's key: expected an object with 2 columns of the primary key, found 1",
        ),
        (
            r#"{"id": 1}"#,
            ErrorReason::NullValue,
            "the record's key: column \"region\": null or absent, where a value is needed",
        ),
        ("{", ErrorReason::Malformed, "the record's key: the record is cut short at byte 1"),
    ] {
        let expected = Err((reason, detail.to_owned()));
        assert_eq!(decode(&mut decoder, Some(key), Some(r#"{"id": 1, "region": "eu", "name": "a"}"#)), expected);
        assert_eq!(decode(&mut decoder, Some(key), None), expected);
    }
    assert_eq!(rows(&mut decoder), ["+1|eu|a||", "+1|eu|b||", "+2|us|c||", "-1|eu|||"]);
}

#[test]
fn keys_that_are_none_and_payloads_that_contradict_them_are_errors() {
    let mut decoder = decoder(&[0], Envelope::Upsert);
    let wrong = |reason, detail: &str| Err((reason, detail.to_owned()));
    let row = Some(r#"{"id": 7, "name": "a"}"#);
    assert_eq!(
        decode(&mut decoder, Some("8"), row),
        wrong(ErrorReason::KeyMismatch, "the record's key has \"id\":8, its payload \"id\":7")
    );
    assert_eq!(
        decode(&mut decoder, Some("abc"), row),
        wrong(ErrorReason::WrongType, "the record's key: column \"id\": expected bigint, found \"abc\" at byte 6")
    );
    assert!(decode(&mut decoder, Some("7,\"id\":7"), row).is_err(), "that is no single value");
    assert!(decode(&mut decoder, Some(""), row).is_err(), "an empty key is no number");
    assert!(decode(&mut decoder, Some("null"), row).is_err(), "no key is NULL");
    assert_eq!(
        decode(&mut decoder, None, Some(r#"{"name": "a"}"#)),
        wrong(ErrorReason::NullValue, "column \"id\": null or absent, where a value is needed")
    );
    assert_eq!(
        decode(&mut decoder, None, None),
        wrong(ErrorReason::NullValue, "a record without key and without payload: which row it deletes is not known")
    );
    // The payload's own faults are what they are without a key, and leave no trace.
    assert_eq!(
        decode(&mut decoder, Some("7"), Some(r#"{"id": 7}"#)),
        wrong(ErrorReason::NullValue, "column \"name\": null or absent, where a value is needed")
    );
    assert_eq!(
        decode(&mut decoder, Some("7"), Some(r#"{"id": "x", "name": "a"}"#)),
        wrong(ErrorReason::WrongType, "column \"id\": expected bigint, found \"x\" at byte 7")
    );
    assert_eq!(
        decode(&mut decoder, Some("7"), Some(r#"{"name": "a", "price": "x"}"#)),
        wrong(ErrorReason::WrongType, "column \"price\": expected numeric(10,2), found \"x\" at byte 23")
    );
    assert_eq!(decode(&mut decoder, Some("7"), Some("[]")).map_err(|(reason, _)| reason), Err(ErrorReason::WrongType));
    assert_eq!(decode(&mut decoder, Some("7"), Some(r#"{"name": "ok"}"#)), Ok(Decoded::Row));
    assert_eq!(rows(&mut decoder), ["+7||ok||"]);
}

#[test]
fn debezium_events_change_rows() {
    let wrap = |event: &str| format!(r#"{{"schema": {{"type": "struct"}}, "payload": {event}}}"#);
    let events = [
        (r#"{"before": null, "after": {"id": 1, "name": "a"}, "op": "r"}"#, Decoded::Row),
        (r#"{"before": null, "after": {"id": 1, "name": "b"}, "op": "c", "source": {"op": "d"}}"#, Decoded::Row),
        (r#"{"op": "u", "ts_ms": 1, "after": {"name": "c", "price": 1.5}, "before": {"id": 1}}"#, Decoded::Row),
        (r#"{"before": {"id": 1}, "after": null, "op": "d"}"#, Decoded::Row),
    ];
    for wrapped in [false, true] {
        let mut decoder = decoder(&[0], Envelope::Debezium);
        for (event, decoded) in events {
            let event = if wrapped { wrap(event) } else { event.to_owned() };
            assert_eq!(decode(&mut decoder, Some(r#"{"id":1}"#), Some(&event)), Ok(decoded), "{event}");
        }
        assert_eq!(decode(&mut decoder, Some(r#"{"id":1}"#), None), Ok(Decoded::Nothing));
        assert_eq!(rows(&mut decoder), ["+1||a||", "+1||b||", "+1||c|1.50|", "-1||||"]);
    }
}

#[test]
fn debezium_deletions_without_key_need_what_was_before() {
    let mut decoder = decoder(&[0], Envelope::Debezium);
    assert_eq!(decode(&mut decoder, None, Some(r#"{"op": "d", "before": {"id": 3, "name": null}}"#)), Ok(Decoded::Row));
    let error = decode(&mut decoder, None, Some(r#"{"op": "d", "before": null}"#));
    assert_eq!(error.map_err(|(reason, _)| reason), Err(ErrorReason::NullValue));
    assert_eq!(rows(&mut decoder), ["-3||||"]);
}

#[test]
fn what_is_no_change_of_a_row_is_an_error() {
    let mut decoder = decoder(&[0], Envelope::Debezium);
    for (event, reason, detail) in [
        (r#"{"op": "t"}"#, ErrorReason::Operation, "expected the op c, r, u or d, found \"t\""),
        (r#"{"op": null}"#, ErrorReason::Operation, "expected the op c, r, u or d, found null"),
        (r#"{"id": 1, "name": "a"}"#, ErrorReason::Operation, "not a change event: it has no op"),
        (
            r#"{"op": "u", "after": null}"#,
            ErrorReason::NullValue,
            "a change event without the row after it, found null",
        ),
        (r#"{"op": "c"}"#, ErrorReason::NullValue, "a change event without the row after it"),
        (
            r#"{"op": "c", "after": {"id": 2, "name": "a"}}"#,
            ErrorReason::KeyMismatch,
            "the record's key has \"id\":1, its payload \"id\":2",
        ),
        (r#"{"op": "c", "after": "#, ErrorReason::Malformed, "the record is cut short at byte 20"),
    ] {
        assert_eq!(decode(&mut decoder, Some("1"), Some(event)), Err((reason, detail.to_owned())), "{event}");
    }
    assert_eq!(rows(&mut decoder), [""; 0]);
}

#[test]
fn a_schema_says_what_integers_count_and_which_numbers_are_base64() {
    let mut decoder = decoder(&[0], Envelope::Debezium);
    let schema = |time: &str| {
        format!(
            r#"{{"type": "struct", "fields": [
                {{"type": "struct", "field": "before", "fields": [{{"type": "int64", "field": "at", "name": "x"}}]}},
                {{"type": "struct", "field": "after", "fields": [
                    {{"type": "int64", "optional": false, "field": "id"}},
                    {{"type": "bytes", "field": "price", "name": "org.apache.kafka.connect.data.Decimal"}},
                    {{"type": "int64", "field": "at", "name": "io.debezium.time.{time}"}}]}}]}}"#
        )
    };
    let event = |schema: &str, row: &str| {
        format!(r#"{{"schema": {schema}, "payload": {{"op": "c", "after": {{"id": 1, "name": "a", {row}}}}}}}"#)
    };
    for (time, count) in [
        ("MicroTimestamp", "1700000000123456"),
        ("Timestamp", "1700000000123"),
        ("NanoTimestamp", "1700000000123456789"),
    ] {
        let event = event(&schema(time), &format!("\"at\": {count}, \"price\": null"));
        assert_eq!(decode(&mut decoder, Some("1"), Some(&event)), Ok(Decoded::Row), "{time}");
    }
    let plain = r#"{"op": "c", "after": {"id": 1, "name": "a", "at": "2023-11-14T22:13:20Z"}}"#;
    assert_eq!(decode(&mut decoder, Some("1"), Some(plain)), Ok(Decoded::Row));
    let (reason, detail) =
        decode(&mut decoder, Some("1"), Some(&event(&schema("Timestamp"), "\"price\": \"1234\""))).expect_err("base64");
    assert_eq!(reason, ErrorReason::WrongType);
    assert!(detail.starts_with("column \"price\": the number is written as base64"), "{detail}");
    let columns = decoder.finish().expect("arrays");
    let times = columns[4].as_primitive::<TimestampMicrosecondType>();
    assert_eq!(
        times.values(),
        &[1_700_000_000_123_456, 1_700_000_000_123_000, 1_700_000_000_123_456, 1_700_000_000_000_000]
    );
    assert_eq!(columns[0].as_primitive::<Int64Type>().null_count(), 0);
}
