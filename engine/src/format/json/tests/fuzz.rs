//! Random records, well-formed and broken, against the [`reference`]. Every failure prints its seed.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const RECORDS_IN_STREAM: usize = 120;

fn all_types() -> Vec<FieldRef> {
    let inner = vec![column("a", DataType::Int16), column("b", list(DataType::Utf8View)), jsonb("c")];
    vec![
        column("boolean", DataType::Boolean),
        column("i16", DataType::Int16),
        column("i32", DataType::Int32),
        column("i64", DataType::Int64),
        column("f32", DataType::Float32),
        column("f64", DataType::Float64),
        column("d128", DataType::Decimal128(10, 2)),
        column("d256", DataType::Decimal256(30, 9)),
        column("text", DataType::Utf8View),
        jsonb("jsonb"),
        column("ts", timestamp()),
        column("tstz", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        column("date", DataType::Date32),
        column("time", DataType::Time64(TimeUnit::Microsecond)),
        column("binary", DataType::Binary),
        column("numbers", list(DataType::Int64)),
        column("texts", list(list(DataType::Utf8View))),
        column("object", DataType::Struct(inner.into())),
        not_null("must", DataType::Int32),
    ]
}

/// Writes records: mostly such that they fit their columns, with spaces, orders and spellings at random.
struct Writer {
    random: ChaCha8Rng,
    /// Whether to write only what fits, as most producers do.
    tame: bool,
    spaces: bool,
}

impl Writer {
    fn one_in(&mut self, count: u32) -> bool {
        self.random.random_ratio(1, count)
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices.choose(&mut self.random).expect("choices")
    }

    fn space(&mut self, out: &mut String) {
        if self.spaces && self.one_in(3) {
            out.push_str(self.pick(&[" ", "  ", "\n", "\t", "\r\n"]));
        }
    }

    fn record(&mut self, columns: &[FieldRef]) -> String {
        let mut names: Vec<Option<&FieldRef>> = columns.iter().map(Some).collect();
        if self.one_in(3) {
            names.retain(|name| !self.one_in(8) || name.is_some_and(|field| !field.is_nullable()));
        }
        for _ in 0..self.random.random_range(0..3) {
            let at = self.random.random_range(0..=names.len());
            names.insert(at, if self.one_in(3) { columns.choose(&mut self.random) } else { None });
        }
        if self.one_in(4) && names.len() > 1 {
            let (a, b) = (self.random.random_range(0..names.len()), self.random.random_range(0..names.len()));
            names.swap(a, b);
        }
        let mut out = String::new();
        self.space(&mut out);
        out.push('{');
        for (i, field) in names.into_iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            self.space(&mut out);
            match field {
                Some(field) => self.key(field.name(), &mut out),
                None => self.string(&mut out),
            }
            self.space(&mut out);
            out.push(':');
            self.space(&mut out);
            match field {
                Some(field) if self.tame || !self.one_in(30) => self.fitting(field, &mut out),
                _ => self.anything(0, &mut out),
            }
            self.space(&mut out);
        }
        out.push('}');
        self.space(&mut out);
        out
    }

    fn key(&mut self, name: &str, out: &mut String) {
        let escaped = name.chars().next().filter(|_| self.one_in(50));
        match escaped {
            Some(first) => out.push_str(&format!("\"\\u{:04x}{}\"", first as u32, &name[1..])),
            None => out.push_str(&format!("\"{name}\"")),
        }
    }

    fn string(&mut self, out: &mut String) {
        out.push('"');
        for _ in 0..self.random.random_range(0..4) {
            let piece = match self.random.random_range(0..12) {
                0 => self.pick(&["\\n", "\\\"", "\\\\", "\\/", "\\u00e4", "\\ud83d\\ude00", "\\t", "\\b\\f\\r"]),
                1 => self.pick(&["ä", "€", "😀", "\u{7f}", "\u{80}"]),
                2 if !self.tame && self.one_in(10) => {
                    self.pick(&["\\u0000", "\\\\u0000", "\\ud83d", "\\x", "\u{1}", "\\ude00\\ud83d"])
                }
                3 => "a rather longer piece of text, longer than a view",
                _ => self.pick(&["", "a", "bc", " ", "{", "]", ",", ":", "12", "word", "e", "true"]),
            };
            out.push_str(piece);
        }
        out.push('"');
    }

    fn number(&mut self) -> String {
        let sign = self.pick(&["", "", "", "-"]);
        let digits = self.random.random_range(1..=9);
        let whole = match self.random.random_range(0..4) {
            0 => self.random.random_range(0..10u64),
            1 => self.random.random_range(0..40_000),
            _ => self.random.random_range(0..10u64.pow(digits)),
        };
        let fraction = match self.random.random_range(0..6) {
            0 => format!(".{:0width$}", self.random.random_range(0..1_000u32), width = self.random.random_range(1..6)),
            1 => self.pick(&[".0", ".00", ".5", ".005", ".995"]).to_string(),
            _ => String::new(),
        };
        let exponent = if self.one_in(12) { self.pick(&["e0", "e1", "E+3", "e-2", "e9", "e-9"]) } else { "" };
        format!("{sign}{whole}{fraction}{exponent}")
    }

    fn two_digits(&mut self, limit: u32) -> String {
        let limit = if !self.tame && self.one_in(20) { limit + 3 } else { limit };
        format!("{:02}", self.random.random_range(0..limit))
    }

    fn date(&mut self) -> String {
        let year = match self.random.random_range(0..8) {
            0 if !self.tame => self.pick(&["0000", "0001", "9999", "20", "-001"]).to_string(),
            1 => format!("{:04}", self.random.random_range(1..10_000)),
            _ => "2026".to_string(),
        };
        let day = self.random.random_range(1..if self.tame { 29 } else { 32 });
        format!("{year}-{:02}-{day:02}", self.random.random_range(1..if self.tame { 13 } else { 14 }))
    }

    fn clock(&mut self) -> String {
        let (hour, minute) = (self.two_digits(24), self.two_digits(60));
        match self.random.random_range(0..6) {
            0 => format!("{hour}:{minute}"),
            1 | 2 => format!("{hour}:{minute}:{}", self.two_digits(60)),
            _ => {
                let width = self.random.random_range(if self.tame { 1..10 } else { 0..11 });
                let fraction = format!("{:010}", self.random.random_range(0..10_000_000_000u64));
                format!("{hour}:{minute}:{}.{}", self.two_digits(60), &fraction[..width])
            }
        }
    }

    fn instant(&mut self) -> String {
        let (date, clock) = (self.date(), self.clock());
        let separator = self.pick(&["T", "T", "T", " ", "t"]);
        let zone = match self.random.random_range(0..6) {
            0 => self.pick(&["+01:00", "-0530", "+02", "-00:00", "+15:59:59", "z"]),
            1 if !self.tame => {
                self.pick(&["+1", "Z0", "+16:00", "+01:", "+01:0", "UTC", "+010", "+01:00:0", "+0100:00"])
            }
            2 | 3 => "",
            _ => "Z",
        };
        match self.random.random_range(0..12) {
            0 => date,
            1 if !self.tame => format!("{date}{clock}"),
            _ => format!("{date}{separator}{clock}{zone}"),
        }
    }

    /// A value that mostly fits `field`.
    fn fitting(&mut self, field: &FieldRef, out: &mut String) {
        if field.is_nullable() && self.one_in(12) {
            return out.push_str("null");
        }
        let text = match field.data_type() {
            DataType::Boolean => self.pick(&["true", "false"]).to_string(),
            DataType::Int16 => self.random.random_range(-32_768..if self.tame { 32_768 } else { 33_000 }).to_string(),
            DataType::Int32 | DataType::Int64 if self.one_in(4) => {
                let number = self.random.random::<i32>();
                self.pick(&["N", "N.0", "\"N\"", "Ne0", "\"+N\""]).replace('N', &number.to_string())
            }
            DataType::Int32 | DataType::Int64 => self.random.random::<i32>().to_string(),
            DataType::Float32 | DataType::Float64 if self.one_in(8) => {
                self.pick(&["\"NaN\"", "\"Infinity\"", "\"-Infinity\"", "\"1.5\"", "-0.0"]).to_string()
            }
            DataType::Decimal128(..) | DataType::Decimal256(..) if self.one_in(4) => format!("\"{}\"", self.number()),
            DataType::Decimal128(..) if self.tame => self.random.random_range(-9_999..10_000).to_string(),
            DataType::Float32 | DataType::Float64 | DataType::Decimal128(..) | DataType::Decimal256(..) => {
                self.number()
            }
            DataType::Utf8View if self.one_in(2) => return self.string(out),
            DataType::Utf8View => return self.anything(0, out),
            DataType::Timestamp(..) if self.one_in(4) => {
                self.random.random_range(-1_000_000_000_000..2_000_000_000_000i64).to_string()
            }
            DataType::Timestamp(..) => format!("\"{}\"", self.instant()),
            DataType::Date32 if self.one_in(3) => self.random.random_range(-1_000..30_000).to_string(),
            DataType::Date32 if self.one_in(3) => format!("\"{}\"", self.instant()),
            DataType::Date32 => format!("\"{}\"", self.date()),
            DataType::Time64(_) => format!("\"{}\"", self.clock()),
            DataType::Binary => {
                self.pick(&["\"\"", "\"aGVsbG8=\"", "\"aGVsbA==\"", "\"aGVs\"", r#""\\x00ff""#, r#""\\x""#]).to_string()
            }
            DataType::List(element) => return self.elements(element, out),
            DataType::Struct(fields) => {
                let spaced = self.tame;
                self.tame = true;
                let fields: Vec<FieldRef> = fields.iter().cloned().collect();
                let record = self.record(&fields);
                self.tame = spaced;
                record.trim().to_string()
            }
            other => panic!("nothing fits {other}"),
        };
        out.push_str(&text);
    }

    fn elements(&mut self, element: &FieldRef, out: &mut String) {
        out.push('[');
        for i in 0..self.random.random_range(0..4) {
            if i > 0 {
                out.push(',');
            }
            self.space(out);
            self.fitting(element, out);
            self.space(out);
        }
        out.push(']');
    }

    fn anything(&mut self, depth: u32, out: &mut String) {
        match self.random.random_range(0..if depth < 4 { 9 } else { 7 }) {
            0 => out.push_str(self.pick(&["true", "false", "null"])),
            1..4 => out.push_str(&self.number()),
            4..7 => self.string(out),
            7 => {
                out.push('[');
                for i in 0..self.random.random_range(0..4) {
                    if i > 0 {
                        out.push(',');
                    }
                    self.space(out);
                    self.anything(depth + 1, out);
                    self.space(out);
                }
                out.push(']');
            }
            _ => {
                out.push('{');
                for i in 0..self.random.random_range(0..4) {
                    if i > 0 {
                        out.push(',');
                    }
                    self.space(out);
                    self.string(out);
                    self.space(out);
                    out.push(':');
                    self.space(out);
                    self.anything(depth + 1, out);
                    self.space(out);
                }
                out.push('}');
            }
        }
    }

    /// Breaks a record as wires, disks and people do.
    fn mutate(&mut self, record: &mut Vec<u8>) {
        for _ in 0..self.random.random_range(1..4) {
            let at = self.random.random_range(0..=record.len());
            match self.random.random_range(0..6) {
                0 => record.truncate(at),
                1 if at < record.len() => record[at] ^= 1 << self.random.random_range(0..8),
                2 if at < record.len() => record[at] = self.random.random(),
                3 => record.insert(at, *b"\"\\{}[],:0-.eE+ \n\x00\xff".choose(&mut self.random).expect("bytes")),
                4 if at < record.len() => {
                    record.remove(at);
                }
                _ => {
                    let piece = record[at..record.len().min(at + 9)].to_vec();
                    let to = self.random.random_range(0..=record.len());
                    record.splice(to..to, piece);
                }
            }
        }
    }
}

/// How many records were good, wrongly typed, and malformed.
#[derive(Debug, Default)]
struct Tally {
    good: usize,
    wrong: usize,
    malformed: usize,
}

/// Decodes a stream of random records and compares each verdict, and in the end all rows, with the reference.
fn run(seed: u64, tally: &mut Tally) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let columns = all_types();
    let used: Vec<usize> = (0..columns.len()).filter(|_| random.random_ratio(2, 3)).collect();
    let mut decoder = decoder(&columns, &used);
    let mut writer = Writer { tame: random.random(), spaces: random.random(), random };
    let mut expected = Vec::new();
    for _ in 0..RECORDS_IN_STREAM {
        let mut record = writer.record(&columns).into_bytes();
        if writer.one_in(4) {
            writer.mutate(&mut record);
        }
        let shown = String::from_utf8_lossy(&record);
        let found = decoder.decode(&record);
        let asked = reference::decode(&columns, &record);
        match (&found, &asked) {
            (Ok(()), Ok(cells)) => expected.push((used.iter().map(|&i| cells[i].clone()).collect(), record.clone())),
            (Err(error), Err(reason)) if error.reason == *reason => {}
            // A record may be too deep before it is found to be broken, and have more than one wrong value.
            (Err(error), Err(ErrorReason::Malformed)) if error.reason == ErrorReason::TooDeep => {}
            (Err(error), Err(ErrorReason::WrongType | ErrorReason::NullValue))
                if matches!(error.reason, ErrorReason::WrongType | ErrorReason::NullValue) => {}
            // Where the reference cannot tell numbers apart only the syntax must agree.
            (Ok(()), Err(ErrorReason::WrongType)) if !reference::is_exact(&record) => {
                expected.push((vec![], record.clone()))
            }
            (Err(error), Ok(_)) if !reference::is_exact(&record) && error.reason == ErrorReason::WrongType => {}
            _ => panic!("seed {seed}: found {found:?}, asked for {asked:?} in {shown}"),
        }
        match asked {
            Ok(_) => tally.good += 1,
            Err(ErrorReason::Malformed) => tally.malformed += 1,
            Err(_) => tally.wrong += 1,
        }
        if writer.one_in(40) {
            compare(seed, &mut decoder, &mut expected);
        }
    }
    compare(seed, &mut decoder, &mut expected);
}

fn compare(seed: u64, decoder: &mut JsonDecoder, expected: &mut Vec<(Vec<Cell>, Vec<u8>)>) {
    assert_eq!(decoder.rows(), expected.len(), "seed {seed}");
    let arrays = decoder.finish().expect("arrays");
    assert!(arrays.iter().all(|array| array.len() == expected.len()), "seed {seed}");
    for (row, (asked, record)) in expected.drain(..).enumerate() {
        if !reference::is_exact(&record) {
            continue;
        }
        for (array, asked) in arrays.iter().zip(&asked) {
            let found = cell(array, row);
            let shown = String::from_utf8_lossy(&record);
            assert!(asked.accepts(&found), "seed {seed}: found {found:?}, asked for {asked:?} in {shown}");
        }
    }
}

#[test]
fn random_streams_decode_as_the_reference_says() {
    let mut tally = Tally::default();
    for seed in 0..150 {
        run(seed, &mut tally);
    }
    // A test in which nearly all records fail, or none, would show little.
    let total = tally.good + tally.wrong + tally.malformed;
    assert!(tally.good.min(tally.wrong).min(tally.malformed) * 8 > total, "{tally:?}");
}

#[test]
fn records_that_fail_leave_no_trace() {
    for seed in 0..40 {
        let columns = all_types();
        let mut writer = Writer { random: ChaCha8Rng::seed_from_u64(seed), tame: false, spaces: false };
        let used: Vec<usize> = (0..columns.len()).filter(|_| writer.one_in(2)).collect();
        let (mut mixed, mut good) = (decoder(&columns, &used), decoder(&columns, &used));
        for _ in 0..100 {
            let mut record = writer.record(&columns).into_bytes();
            if writer.one_in(3) {
                writer.mutate(&mut record);
            }
            if mixed.decode(&record).is_ok() {
                good.decode(&record).expect("a record decodes whatever came before");
            }
            assert_eq!((mixed.rows(), mixed.bytes()), (good.rows(), good.bytes()), "seed {seed}");
        }
        assert_eq!(mixed.finish().expect("arrays"), good.finish().expect("arrays"), "seed {seed}");
    }
}

#[test]
fn random_bytes_are_judged_as_serde_json_judges_them() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let alphabet = b"{}[]\",:\\ \n0123456789-+.eEtruefalsnu\xc3\xa4\x00x";
    let mut decoder = decoder(&[column("", DataType::Utf8View), column("e", DataType::Utf8View)], &[0, 1]);
    let mut accepted = 0;
    for turn in 0..60_000 {
        let mut record = b"{\"e\":".to_vec();
        for _ in 0..random.random_range(0..14) {
            record.push(*alphabet.choose(&mut random).expect("bytes"));
        }
        record.push(b'}');
        let asked = serde_json::from_slice::<Json>(&record).is_ok();
        let found = decoder.decode(&record);
        let fits = found.as_ref().map_err(|error| error.reason != ErrorReason::Malformed).map(|()| true);
        assert_eq!(fits.unwrap_or_else(|fits| fits), asked, "turn {turn}: {:?}", String::from_utf8_lossy(&record));
        accepted += u32::from(asked);
    }
    assert!(accepted > 500, "{accepted}");
}

#[test]
fn decimals_are_what_long_arithmetic_makes_of_them() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..20_000 {
        let mut digits = |length: usize| -> String {
            (0..length).map(|_| char::from(b'0' + (random.next_u32() % 10) as u8)).collect()
        };
        let (whole, fraction) = (digits(18), digits(18));
        let whole = &whole[..1 + random.random_range(0..18)];
        let fraction = &fraction[..random.random_range(0..18)];
        let exponent = random.random_range(-20..20);
        let scale = random.random_range(-5..15);
        let dot = if fraction.is_empty() { "" } else { "." };
        let text = format!("\"{whole}{dot}{fraction}e{exponent}\"");
        let asked =
            reference::decode(&[column("x", DataType::Decimal128(38, scale))], format!("{{\"x\":{text}}}").as_bytes());
        let found = decode_one(&column("x", DataType::Decimal128(38, scale)), &text).map_err(|error| error.reason);
        // The reference stops at what an i128 holds.
        if let Ok(asked) = asked {
            assert_eq!(found, Ok(asked[0].clone()), "{text} at scale {scale}");
        }
    }
}
