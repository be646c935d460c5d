//! Records among records: which fields count, what a failure leaves behind, what a batch is.

use super::*;

fn abc() -> Vec<FieldRef> {
    vec![column("a", DataType::Int64), column("b", DataType::Utf8View), column("c", timestamp())]
}

fn integer(value: i64) -> Cell {
    Cell::Integer(value)
}

fn text(value: &str) -> Cell {
    Cell::Text(value.into())
}

#[test]
fn fields_may_come_in_any_order_and_spacing() {
    let mut decoder = keeping_all(&abc());
    let records = [
        r#"{"a":1,"b":"one","c":1000}"#,
        r#"{"a":2,"b":"two","c":2000}"#,
        r#"{"c":3000,"a":3,"b":"three"}"#,
        r#"{"a":4,"c":4000}"#,
        r#"{"a":5,"b":"five","c":5000}"#,
        r#"{ "a": 6, "b": "six", "c": 6000 }"#,
        r#"{"zzz":[{"a":7}],"b":"seven","yyy":"a","a":7,"xxx":{},"c":7000}"#,
        r#"{"b":"eight"}"#,
        r#"{}"#,
        "{\n  \"a\"  :\t10,\r\n  \"b\":\"a text of more than twelve bytes\"\n,\"c\":null}",
        r#"{"\u0061":11,"\u0062":"eleven","c":11000}"#,
        r#"{"a":12,"b":"twelve","c":12000}"#,
        r#"{"A":13,"B":"x"}"#,
    ];
    for record in records {
        decoder.decode(record.as_bytes()).expect(record);
    }
    let row = |a: i64, b: &str| vec![integer(a), text(b), integer(a * 1_000_000)];
    let expected = vec![
        row(1, "one"),
        row(2, "two"),
        row(3, "three"),
        vec![integer(4), Cell::Null, integer(4_000_000)],
        row(5, "five"),
        row(6, "six"),
        row(7, "seven"),
        vec![Cell::Null, text("eight"), Cell::Null],
        vec![Cell::Null; 3],
        vec![integer(10), text("a text of more than twelve bytes"), Cell::Null],
        row(11, "eleven"),
        row(12, "twelve"),
        vec![Cell::Null; 3],
    ];
    assert_eq!(rows(&decoder.finish().expect("arrays")), expected);
}

#[test]
fn of_fields_with_the_same_name_the_last_counts() {
    let mut decoder = keeping_all(&abc());
    for record in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":"no number","a":3}"#,
        r#"{"b":"\u0000","a":4,"b":"four"}"#,
        r#"{"a":5,"a":null}"#,
        r#"{"a":[],"c":"x","a":6,"c":null,"\u0061":7}"#,
    ] {
        decoder.decode(record.as_bytes()).expect(record);
    }
    let error = decoder.decode(br#"{"a":1,"a":"no number"}"#).expect_err("the last is wrong");
    assert_eq!(error.reason, ErrorReason::WrongType);
    let expected = vec![
        vec![integer(2), Cell::Null, Cell::Null],
        vec![integer(3), Cell::Null, Cell::Null],
        vec![integer(4), text("four"), Cell::Null],
        vec![Cell::Null; 3],
        vec![integer(7), Cell::Null, Cell::Null],
    ];
    assert_eq!(rows(&decoder.finish().expect("arrays")), expected);
}

#[test]
fn a_value_of_one_record_does_not_reach_the_next() {
    let mut decoder = keeping_all(&abc());
    for record in [
        r#"{"a":1,"b":"x","c":1000}"#,
        r#"{}"#,
        r#"{"a":2,"b":"y","c":"wrong"}"#,
        r#"{}"#,
        r#"{"a":3,"b":"z","c":1000"#,
        r#"{}"#,
        r#"[{"a":4}]"#,
        r#"{}"#,
    ] {
        let _ = decoder.decode(record.as_bytes());
    }
    let found = rows(&decoder.finish().expect("arrays"));
    assert_eq!(found.len(), 5);
    assert!(found[1..].iter().all(|row| *row == vec![Cell::Null; 3]), "{found:?}");
}

#[test]
fn unused_columns_are_checked_and_only_used_ones_kept() {
    for used in [vec![], vec![0], vec![1], vec![0, 2], vec![1, 2]] {
        let mut decoder = decoder(&abc(), &used);
        decoder.decode(br#"{"a":1,"b":"x","c":1000}"#).expect("a good record");
        for bad in [r#"{"a":true}"#, r#"{"b":"\u0000"}"#, r#"{"c":"noon"}"#] {
            assert_eq!(decoder.decode(bad.as_bytes()).expect_err(bad).reason, ErrorReason::WrongType);
        }
        assert_eq!(decoder.rows(), 1);
        let arrays = decoder.finish().expect("arrays");
        let full = [integer(1), text("x"), integer(1_000_000)];
        let expected: Vec<Cell> = used.iter().map(|&index| full[index].clone()).collect();
        assert_eq!(arrays.len(), used.len());
        assert!(arrays.iter().zip(&expected).all(|(array, expected)| cell(array, 0) == *expected));
    }
}

#[test]
fn event_times_are_kept_whether_used_or_not_and_never_null() {
    for used in [vec![0], vec![0, 2]] {
        let spec = DecodeSpec { event_time: Some(2), ..spec(&abc(), &used) };
        let mut decoder = JsonDecoder::new(spec).expect("a valid spec");
        for batch in 0..3 {
            decoder.decode(br#"{"a":1,"c":1000}"#).expect("a good record");
            let missing = [&b"{\"a\":2}"[..], b"{\"c\":null}", b"{\"c\":1,\"c\":null}"];
            for record in missing {
                assert_eq!(decoder.decode(record).expect_err("no event time").reason, ErrorReason::NullValue);
            }
            decoder.decode(br#"{"c":"1970-01-01T00:00:02Z"}"#).expect("a good record");
            assert_eq!(decoder.event_times(), [1_000_000, 2_000_000], "batch {batch}");
            assert_eq!(decoder.rows(), 2);
            let arrays = decoder.finish().expect("arrays");
            assert_eq!(arrays.len(), used.len());
            assert!(arrays.iter().all(|array| array.len() == 2));
            assert!(decoder.event_times().is_empty());
        }
    }
    let decoder = keeping_all(&abc());
    assert!(decoder.event_times().is_empty());
}

#[test]
fn not_null_columns_need_a_value() {
    let columns =
        [not_null("a", DataType::Int64), not_null("b", DataType::Utf8View), not_null("c", list(DataType::Int64))];
    for used in [vec![], vec![0, 1, 2]] {
        let mut decoder = decoder(&columns, &used);
        decoder.decode(br#"{"a":1,"b":"","c":[]}"#).expect("a good record");
        for bad in [r#"{"a":1,"b":""}"#, r#"{"a":null,"b":"","c":[]}"#, r#"{"c":[],"a":2,"b":null}"#, "{}"] {
            assert_eq!(decoder.decode(bad.as_bytes()).expect_err(bad).reason, ErrorReason::NullValue);
        }
        assert_eq!(decoder.rows(), 1);
        assert!(decoder.finish().expect("arrays").iter().all(|array| array.len() == 1));
    }
}

#[test]
fn batches_follow_one_another() {
    let mut decoder = keeping_all(&abc());
    for batch in 0..20i64 {
        let count = [0, 1, 1_000, 3, 64][batch as usize % 5];
        for row in 0..count {
            let long = "x".repeat(row as usize % 40);
            let record = if row % 7 == 6 { "{}".to_string() } else { format!(r#"{{"a":{row},"b":"{long}"}}"#) };
            decoder.decode(record.as_bytes()).expect("a good record");
        }
        assert_eq!(decoder.rows(), count as usize);
        assert_eq!(decoder.bytes() > 0, count > 0);
        let found = rows(&decoder.finish().expect("arrays"));
        assert_eq!((decoder.rows(), decoder.bytes()), (0, 0));
        assert_eq!(found.len(), count as usize);
        for (row, cells) in found.iter().enumerate() {
            let expected = match row % 7 {
                6 => vec![Cell::Null; 3],
                _ => vec![integer(row as i64), text(&"x".repeat(row % 40)), Cell::Null],
            };
            assert_eq!(*cells, expected);
        }
    }
}

#[test]
fn texts_of_all_sizes_survive_block_changes() {
    let mut decoder = keeping_all(&[column("b", DataType::Utf8View)]);
    let sizes = [0, 1, 11, 12, 13, 100, 8_191, 8_192, 8_193, 70_000, 5, 1_000_000, 20];
    for _ in 0..3 {
        for (i, size) in sizes.iter().enumerate() {
            let letter = char::from(b'a' + i as u8).to_string();
            decoder.decode(format!("{{\"b\":\"{}\"}}", letter.repeat(*size)).as_bytes()).expect("a good record");
        }
        let found = rows(&decoder.finish().expect("arrays"));
        for (i, size) in sizes.iter().enumerate() {
            assert_eq!(found[i][0], text(&char::from(b'a' + i as u8).to_string().repeat(*size)));
        }
    }
}

#[test]
fn keys_without_end_are_read_and_forgotten() {
    let mut decoder = keeping_all(&abc());
    for row in 0..5_000i64 {
        let long = "k".repeat(row as usize % 600);
        let record =
            format!(r#"{{"key{row}":1,"a":{row},"{long}{row}":[],"b":"x"{}}}"#, " ".repeat(row as usize % 500));
        decoder.decode(record.as_bytes()).expect("a good record");
    }
    let spaced = format!(r#"{{"a"{}:1,"b":{}"y"}}"#, " ".repeat(1_000), " ".repeat(300));
    decoder.decode(spaced.as_bytes()).expect("a good record");
    let found = rows(&decoder.finish().expect("arrays"));
    assert!(found[..5_000].iter().enumerate().all(|(row, cells)| cells[..2] == [integer(row as i64), text("x")]));
    assert_eq!(found[5_000][..2], [integer(1), text("y")]);
}

#[test]
fn shapes_may_alternate() {
    let columns = [column("id", DataType::Int64), column("kind", DataType::Utf8View), column("n", DataType::Int64)];
    let mut decoder = keeping_all(&columns);
    let records = [
        r#"{"id":1,"kind":"a","n":5}"#,
        r#"{"kind":"b","id":2}"#,
        r#"{"id":3,"extra":"e","n":5,"kind":"c"}"#,
        r#"{"n":5,"kind":"d","id":4,"more":{}}"#,
        r#"{"id": 5, "kind": "e", "n": 5}"#,
    ];
    for turn in 0..50 {
        for step in 0..records.len() {
            decoder.decode(records[(turn * step + step) % records.len()].as_bytes()).expect("a good record");
        }
    }
    for row in rows(&decoder.finish().expect("arrays")) {
        let Cell::Integer(id) = row[0] else { panic!("no id in {row:?}") };
        let kind = char::from(b'a' + id as u8 - 1).to_string();
        let n = if id == 2 { Cell::Null } else { integer(5) };
        assert_eq!(row, [integer(id), text(&kind), n]);
    }
}
