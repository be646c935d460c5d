//! What is JSON and what is not: every verdict is held against serde_json's.

use super::*;

fn verdict(record: &[u8]) -> Result<(), DecodeError> {
    keeping_all(&[column("a", DataType::Utf8View), jsonb("b")]).decode(record)
}

/// Puts each text where a value belongs, declared or not, top or nested, and compares with serde_json.
fn check(values: &[&[u8]]) {
    for value in values {
        for (before, after) in [
            (&b"{\"a\":"[..], &b"}"[..]),
            (b"{\"unknown\":", b"}"),
            (b"{ \"unknown\" : [ 1 , ", b" ] , \"a\" : 2 }"),
            (b"{\"b\":{\"c\":[", b"]}}"),
            (b"{\"x\":\"\\n\",\"a\":", b"}\n"),
        ] {
            let record = [before, value, after].concat();
            let expected = serde_json::from_slice::<Json>(&record).is_ok();
            let found = verdict(&record);
            let text = String::from_utf8_lossy(&record);
            match found {
                Ok(()) => assert!(expected, "accepted {text}"),
                Err(error) if expected => panic!("refused {text}: {}", error.detail),
                Err(error) => assert_eq!(error.reason, ErrorReason::Malformed, "{text}: {}", error.detail),
            }
        }
    }
}

#[test]
fn numbers() {
    check(&[
        b"0",
        b"-0",
        b"-",
        b"+1",
        b"01",
        b"-01",
        b"00",
        b"0.0",
        b"0.",
        b".5",
        b"1.",
        b"1.e1",
        b"1e",
        b"1e+",
        b"1e-",
        b"1E5",
        b"1e05",
        b"1e+05",
        b"-1.5e-5",
        b"1.5.5",
        b"1e5e5",
        b"1e5.5",
        b"0x10",
        b"1a",
        b"1 2",
        b"--1",
        b"Infinity",
        b"NaN",
        b"-Infinity",
        b"1_000",
        b"12345678",
        b"123456789",
        b"0123456789",
        b"1234567890123456789012345678901",
        b"1e308",
        b"1e309",
        b"-1e309",
        b"1e400",
        b"0e400",
        b"0.0e999999999999999999999",
        b"1e-999999999999999999999",
        b"1e999999999999999999999",
        b"123456789012345.",
        b"1234567890123456.5",
        b"12345678e",
        b"12345678e1",
    ]);
    let digits = "9".repeat(400);
    check(&[digits.as_bytes(), format!("0.{digits}").as_bytes(), format!("-{digits}e-200").as_bytes()]);
    check(&[format!("{digits}.5").as_bytes(), format!("{digits}e0").as_bytes()]);
}

#[test]
fn strings() {
    check(&[
        b"\"\"",
        b"\"a\"",
        b"\"",
        b"\"a",
        b"'a'",
        b"\"\\\"",
        b"\"\\\"\"",
        b"\"\\\\\"",
        b"\"\\a\"",
        b"\"\\u12\"",
        b"\"\\u12g4\"",
        b"\"\\u+123\"",
        b"\"\\u00e4\"",
        b"\"\\U00e4\"",
        b"\"\\ud83d\\ude00\"",
        b"\"\\ud83d\"",
        b"\"\\ude00\"",
        b"\"\\ud83dx\"",
        b"\"\\ud83d\\n\"",
        b"\"\\ud83d\\u0041\"",
        b"\"\\ud83d\\ud83d\\ude00\"",
        b"\"\\ude00\\ud83d\"",
        b"\"\\ud83d\\u\"",
        b"\"\x01\"",
        b"\"\n\"",
        b"\"\t\"",
        b"\"\x1f\"",
        b"\"\x20\"",
        b"\"\x7f\"",
        b"\"\x00\"",
        b"\"\xc3\xa4\"",
        b"\"\xc3\"",
        b"\"\xa4\"",
        b"\"\xff\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xc0\x80\"",
        b"\"\xf0\x9f\x98\x80\"",
        b"\"\xf4\x90\x80\x80\"",
        b"\xc3\xa4",
        b"\xef\xbb\xbf1",
        b"\"a\"\"b\"",
        b"\"a\" \"b\"",
    ]);
}

#[test]
fn strings_of_every_length_and_alignment() {
    for length in 0..150 {
        for special in ["", "\\n", "ä", "\\u00e4", "\u{1}"] {
            for at in [0, length / 2, length] {
                let text = format!("\"{}{special}{}\"", "x".repeat(at), "y".repeat(length - at));
                check(&[text.as_bytes()]);
            }
        }
    }
}

#[test]
fn literals() {
    check(&[
        b"true",
        b"false",
        b"null",
        b"tru",
        b"truex",
        b"TRUE",
        b"True",
        b"nul",
        b"nulll",
        b"fals",
        b"falsee",
        b"undefined",
        b"",
        b" ",
        b"true false",
        b"t",
        b"n",
        b"f",
        b"\x00",
        b"\x0b",
        b"\x0c",
        b"\xc2\xa0",
    ]);
}

#[test]
fn containers() {
    check(&[
        b"[]",
        b"{}",
        b"[ ]",
        b"{ }",
        b"[1]",
        b"[1,]",
        b"[,1]",
        b"[,]",
        b"[1 2]",
        b"[1,2",
        b"[",
        b"]",
        b"{",
        b"}",
        b"[}",
        b"{]",
        b"[1}",
        b"{\"a\":1]",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\" 1}",
        b"{a:1}",
        b"{1:1}",
        b"{\"a\":1,}",
        b"{,}",
        b"{,\"a\":1}",
        b"{\"a\":1 \"b\":2}",
        b"{\"a\":1,,\"b\":2}",
        b"{\"a\"::1}",
        b"{\"a\":1,\"a\":2}",
        b"{null:1}",
        b"[[[]],{\"x\":[{}]}]",
        b"[\r\n\t 1\r\n\t ,\r\n\t 2\r\n\t ]",
        b"[1,\x0b2]",
        b"{\"\":0}",
        b"[\"a\",\"b\"]",
        b"{\"\\ud83d\":1}",
        b"{\"\\u00\":1}",
        b"{\"\xff\":1}",
        b"/**/1",
        b"[1//\n]",
        b"[]]",
        b"{}}",
        b"[]1",
        b"{}\"a\"",
    ]);
}

#[test]
fn a_record_is_one_object() {
    let object: [&[u8]; 9] = [
        b"{}",
        b" { } ",
        b"{\"a\":1}\n",
        b"\r\n\t {\"a\":1}\r\n\t ",
        b"{\"\":1}",
        b"{\"unknown\":null}",
        b"{ }",
        b"{\"a\":1,\"a\":2}",
        b"{ \"a\" : 1 , \"b\" : 2 }",
    ];
    for record in object {
        assert_eq!(verdict(record), Ok(()), "{}", String::from_utf8_lossy(record));
    }
    for record in [&b"1"[..], b"[]", b"null", b"\"{}\"", b" [{\"a\":1}] ", b"true", b"\"\xc3\xa4\""] {
        let error = verdict(record).expect_err("no object");
        assert_eq!(error.reason, ErrorReason::WrongType, "{}", error.detail);
    }
    for record in [
        &b""[..],
        b" ",
        b"{",
        b"}",
        b"{}{}",
        b"{}1",
        b"{},",
        b"{}\0",
        b"hello",
        b"[",
        b"[1",
        b"{\"a\":1",
        b"{\"a\":1,",
        b"{\"a\":1,}",
        b"{\"a\"",
        b"{\"",
        b"{,}",
        b"{,\"a\":1}",
        b"{\"a\":1 \"b\":2}",
        b"{\"a\":1;}",
        b"\xef\xbb\xbf{}",
        b"{\"a\":1}x",
        b"\"\xc3\"",
        b"{\"\xc3\":1}",
        b"\xff",
        &[0xff; 40],
        &[0; 40],
    ] {
        let error = verdict(record).expect_err("malformed");
        assert_eq!(error.reason, ErrorReason::Malformed, "{:?}: {}", String::from_utf8_lossy(record), error.detail);
    }
}

#[test]
fn every_cut_of_a_record_is_cut_short() {
    let record = "{\"a\":\"x\\u00e4ü\",\"u\":[1.5e3,{\"k\":null}],\"b\":{\"c\":[true]},\"n\":-12345678901234567890}";
    assert_eq!(verdict(record.as_bytes()), Ok(()));
    let mut decoder = keeping_all(&[column("a", DataType::Utf8View), jsonb("b")]);
    for end in 0..record.len() {
        decoder.decode(format!("{{\"a\":\"{}\"}}", "\\n".repeat(99)).as_bytes()).expect("a longer record");
        let error = decoder.decode(&record.as_bytes()[..end]).expect_err("cut short");
        assert_eq!(error.reason, ErrorReason::Malformed, "{end}: {}", error.detail);
        // Half an escape, number or literal is told by what is missing, all else by the end.
        let told = error.detail.starts_with("the record is cut short") || error.detail.starts_with("expected a ");
        assert!(told, "{end}: {}", error.detail);
    }
}

#[test]
fn nesting_is_limited_and_costs_no_stack() {
    let nested = |open: &str, close: &str, depth: usize| {
        // The record's own braces are the first level.
        format!("{{\"u\":{}1{}}}", open.repeat(depth - 1), close.repeat(depth - 1)).into_bytes()
    };
    for (open, close) in [("[", "]"), ("{\"k\":", "}"), ("[{\"k\": ", "}]")] {
        let levels = open.matches(['[', '{']).count();
        let fits = (DEPTH_MAX - 1) / levels + 1;
        assert_eq!(verdict(&nested(open, close, fits)), Ok(()), "{open}");
        let error = verdict(&nested(open, close, fits + 1)).expect_err("too deep");
        assert_eq!(error.reason, ErrorReason::TooDeep, "{}", error.detail);
    }
    for bomb in ["[", "{\"a\":", "{\"u\":[", "[[]", "{\"b\":[[["] {
        let record = bomb.repeat((1 << 20) / bomb.len());
        assert!(verdict(record.as_bytes()).is_err(), "{bomb}");
    }
    let deep_spec = DecodeSpec { depth_max: 100_000, ..spec(&[jsonb("b")], &[0]) };
    let mut decoder = JsonDecoder::new(deep_spec).expect("a valid spec");
    let deep = format!("{{\"b\":{}{}}}", "[".repeat(99_999), "]".repeat(99_999));
    assert_eq!(decoder.decode(deep.as_bytes()), Ok(()));
}

#[test]
fn a_record_too_long_is_refused_unread() {
    let mut decoder = JsonDecoder::new(DecodeSpec { record_bytes_max: 10, ..spec(&[], &[]) }).expect("a valid spec");
    assert_eq!(decoder.decode(b"{\"a\":1234}"), Ok(()));
    let error = decoder.decode(b"{\"a\":12345}").expect_err("eleven bytes");
    assert_eq!(error.reason, ErrorReason::Oversized);
    assert_eq!(decoder.rows(), 1);
}

#[test]
fn limits_and_indexes_are_checked() {
    let one = [column("a", DataType::Int64)];
    let wrong = [
        DecodeSpec { record_bytes_max: usize::MAX, ..spec(&one, &[]) },
        DecodeSpec { depth_max: 0, ..spec(&one, &[]) },
        DecodeSpec { event_time: Some(0), ..spec(&one, &[]) },
        spec(&one, &[1]),
        spec(&[one[0].clone(), one[0].clone()], &[]),
        spec(&[one[0].clone(), column("b", DataType::Int64)], &[1, 0]),
    ];
    for spec in wrong {
        assert!(JsonDecoder::new(spec.clone()).is_err(), "{spec:?}");
    }
}

#[test]
fn a_malformed_record_says_where() {
    let cases: [(&[u8], &str); 9] = [
        (b"{\"a\":1", "the record is cut short at byte 6"),
        (b"", "the record is cut short at byte 0"),
        (b"{\"a\":1 x}", "expected ',' or '}', found x} at byte 7"),
        (b"{\"a\" 1}", "expected ':', found 1} at byte 5"),
        (b"{\"a\":x}", "expected a value, found x} at byte 5"),
        (b"{\"a\":01}", "expected a number as JSON writes it, found 01} at byte 5"),
        (b"{\"a\":\"\n\"}", "a control character in a string at byte 6"),
        (b"{\"a\":\"\xff\"}", "not UTF-8 at byte 6"),
        (b"{} {}", "expected the end of the record, found {} at byte 3"),
    ];
    for (record, detail) in cases {
        assert_eq!(verdict(record).expect_err("malformed").detail, detail);
    }
}
