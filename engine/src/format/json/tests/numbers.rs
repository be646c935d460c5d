//! What booleans and numbers take and make of it.

use super::*;

fn floats(cases: &[(&str, Option<f64>)]) {
    let cases: Vec<_> = cases.iter().map(|(json, value)| (*json, value.map(|v| Cell::Float64(v.to_bits())))).collect();
    check(&column("x", DataType::Float64), &cases);
}

fn decimals(data_type: DataType, cases: &[(&str, Option<&str>)]) {
    let cases: Vec<_> = cases.iter().map(|(json, digits)| (*json, digits.map(|d| Cell::Decimal(d.into())))).collect();
    check(&column("x", data_type), &cases);
}

#[test]
fn booleans() {
    check(
        &column("x", DataType::Boolean),
        &[
            ("true", Some(Cell::Boolean(true))),
            ("false", Some(Cell::Boolean(false))),
            ("1", None),
            ("\"true\"", None),
            ("[]", None),
        ],
    );
}

#[test]
fn bigints() {
    integers(
        DataType::Int64,
        &[
            ("0", Some(0)),
            ("-0", Some(0)),
            ("7", Some(7)),
            ("12345678", Some(12_345_678)),
            ("123456789", Some(123_456_789)),
            ("-1234567890123456", Some(-1_234_567_890_123_456)),
            ("123456789012345", Some(123_456_789_012_345)),
            ("1234567890123456", Some(1_234_567_890_123_456)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("100000000000000000000", None),
            ("1e3", Some(1_000)),
            ("-1E+3", Some(-1_000)),
            ("5.0", Some(5)),
            ("5.000e0", Some(5)),
            ("1.25e2", Some(125)),
            ("12500e-2", Some(125)),
            ("0.5e1", Some(5)),
            ("0e400", Some(0)),
            ("0.000", Some(0)),
            ("9.223372036854775807e18", Some(i64::MAX)),
            ("9.223372036854775808e18", None),
            ("-9.223372036854775808e18", Some(i64::MIN)),
            ("1e300", None),
            ("1.5", None),
            ("1e-300", None),
            ("0.1", None),
            ("\"123\"", Some(123)),
            ("\"-123\"", Some(-123)),
            ("\"+123\"", Some(123)),
            ("\"00000000000000000000000123\"", Some(123)),
            ("\"\\u0031\"", Some(1)),
            ("\"9223372036854775808\"", None),
            ("\"1e3\"", None),
            ("\"1.0\"", None),
            ("\" 1\"", None),
            ("\"\"", None),
            ("\"-\"", None),
            ("true", None),
            ("{}", None),
            ("[1]", None),
        ],
    );
}

#[test]
fn narrow_integers() {
    integers(DataType::Int16, &[("32767", Some(32_767)), ("-32768", Some(-32_768)), ("32768", None), ("1e5", None)]);
    integers(
        DataType::Int32,
        &[("2147483647", Some(2_147_483_647)), ("\"-2147483648\"", Some(-2_147_483_648)), ("2147483648", None)],
    );
}

#[test]
fn doubles() {
    floats(&[
        ("0", Some(0.0)),
        ("-0", Some(0.0)),
        ("-0.0", Some(0.0)),
        ("-0e5", Some(0.0)),
        ("\"-0\"", Some(0.0)),
        ("-1e-400", Some(0.0)),
        ("1.5", Some(1.5)),
        ("0.1", Some(0.1)),
        ("1e308", Some(1e308)),
        ("9007199254740993", Some(9_007_199_254_740_992.0)),
        ("1.7976931348623157e308", Some(f64::MAX)),
        ("4.9e-324", Some(5e-324)),
        ("\"12.25\"", Some(12.25)),
        ("\"1e400\"", None),
        ("\"NaN\"", Some(f64::NAN)),
        ("\"-nan\"", Some(f64::NAN)),
        ("\"Infinity\"", Some(f64::INFINITY)),
        ("\"-Infinity\"", Some(f64::NEG_INFINITY)),
        ("\"\"", None),
        ("\"abc\"", None),
        ("true", None),
        ("{}", None),
    ]);
}

#[test]
fn reals_are_rounded_once() {
    let float = |value: f32| Some(Cell::Float32(value.to_bits()));
    check(
        &column("x", DataType::Float32),
        &[
            ("0.1", float(0.1)),
            ("-0.0", float(0.0)),
            ("16777217", float(16_777_216.0)),
            // By way of a double this would become the number below.
            ("1.00000017881393432617187499", float(1.000_000_1)),
            ("3.5e38", None),
            ("\"Infinity\"", float(f32::INFINITY)),
            ("\"NaN\"", float(f32::NAN)),
        ],
    );
}

#[test]
fn decimals_are_exact_and_round_half_away_from_zero() {
    decimals(
        DataType::Decimal128(5, 2),
        &[
            ("0", Some("0")),
            ("1", Some("100")),
            ("-1.5", Some("-150")),
            ("1.005", Some("101")),
            ("-1.005", Some("-101")),
            ("1.00499999999999999999999999999999", Some("100")),
            ("0.005", Some("1")),
            ("-0.004", Some("0")),
            ("0.0005e1", Some("1")),
            ("999.99", Some("99999")),
            ("999.994", Some("99999")),
            ("999.995", None),
            ("1000", None),
            ("1e2", Some("10000")),
            ("12345e-3", Some("1235")),
            ("1e-300", Some("0")),
            ("1e300", None),
            ("\"12.30\"", Some("1230")),
            ("\".5\"", Some("50")),
            ("\"5.\"", Some("500")),
            ("\"+5e1\"", Some("5000")),
            ("\"1e99999999999999999999\"", None),
            ("\"0e99999999999999999999\"", Some("0")),
            ("\"1e-99999999999999999999\"", Some("0")),
            ("\"NaN\"", None),
            ("\"\"", None),
            ("\".\"", None),
            ("\"1e\"", None),
            ("\"1.2.3\"", None),
            ("true", None),
        ],
    );
    decimals(
        DataType::Decimal128(38, 0),
        &[
            ("99999999999999999999999999999999999999", Some("99999999999999999999999999999999999999")),
            ("99999999999999999999999999999999999999.5", None),
            ("-12345678901234567890123456789012345678", Some("-12345678901234567890123456789012345678")),
        ],
    );
    decimals(DataType::Decimal128(3, -2), &[("1250", Some("13")), ("49", Some("0")), ("99950", None)]);
    let nines = "9".repeat(76);
    decimals(
        DataType::Decimal256(76, 10),
        &[
            (&format!("{}.{}", &nines[..66], &nines[66..]), Some(&nines)),
            (&format!("{}.{}5", &nines[..66], &nines[66..]), None),
            ("99999999999999999999999999999.99999999999", Some("1000000000000000000000000000000000000000")),
            ("-1", Some("-10000000000")),
        ],
    );
    decimals(DataType::Decimal256(20, 3), &[("12.3456", Some("12346")), ("123456789012345678", None)]);
}
