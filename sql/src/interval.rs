//! Interval literals, as Postgres reads them.
//!
//! `'1 minute'`, `'1 day 02:03:04.5'`, `'-5 s'`, `'1 hour ago'`, `'90'` (seconds), ISO 8601 `'P1DT2H'`, and the SQL form
//! `INTERVAL '10' MINUTE`. DataFusion's own reader knows neither clock times nor ISO, so literals of queries are rewritten
//! from here too.

use std::time::Duration;

use std::fmt;

use datafusion::sql::sqlparser::ast::{DataType, DateTimeField, Expr, UnaryOperator, Value};

use crate::{SqlError, SqlState};

const MICROS_PER_SECOND: i128 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Months, days and microseconds, each with its own sign, as Postgres keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interval {
    /// Months; years are twelve.
    pub months: i32,
    /// Days; weeks are seven.
    pub days: i32,
    /// Everything from hours down, µs.
    pub micros: i64,
}

impl Interval {
    /// The length in µs with days of 24 hours; `None` if it has months, whose length varies, or overflows.
    pub fn fixed_micros(self) -> Option<i64> {
        if self.months != 0 {
            return None;
        }
        i64::from(self.days).checked_mul(MICROS_PER_DAY)?.checked_add(self.micros)
    }

    /// The length as a duration; `what` names in messages what is that long.
    ///
    /// # Errors
    /// 22023 if it varies or is negative.
    pub fn duration(self, what: &str) -> Result<Duration, SqlError> {
        let invalid = |message: String| Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        match self.fixed_micros() {
            None => invalid(format!("{what} must have a fixed length, without months or years")),
            Some(micros) => match u64::try_from(micros) {
                Ok(micros) => Ok(Duration::from_micros(micros)),
                Err(_) => invalid(format!("{what} must not be negative")),
            },
        }
    }

    /// Reads the text of a literal; `field` is the unit behind it, as in `INTERVAL '10' MINUTE`.
    ///
    /// # Errors
    /// 22007 if it cannot be read, 22015 if it is too long.
    pub fn parse(text: &str, field: Option<&DateTimeField>) -> Result<Self, SqlError> {
        let unit = match field {
            None => Unit::Second,
            Some(field) => Unit::named(&field.to_string().to_ascii_lowercase())
                .ok_or_else(|| syntax(&format!("{text} {field}")))?,
        };
        let mut sum = Sum::default();
        let trimmed = text.trim();
        if trimmed.starts_with(['P', 'p']) { sum.iso(trimmed) } else { sum.words(trimmed, unit) }
            .ok_or_else(|| syntax(text))?;
        sum.finish().ok_or_else(|| {
            SqlError::new(SqlState::INTERVAL_FIELD_OVERFLOW, format!("interval field value out of range: \"{text}\""))
        })
    }

    /// The constant interval an expression is: a literal, a bare string, a string cast to interval, or one of these negated.
    /// `None` if it is something else.
    pub fn of(expr: &Expr) -> Option<Result<Self, SqlError>> {
        match expr {
            Expr::Interval(interval) if interval.last_field.is_none() => {
                let text = literal(&interval.value)?;
                Some(Self::parse(&text, interval.leading_field.as_ref()))
            }
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(Self::parse(text, None)),
                _ => None,
            },
            Expr::TypedString(typed) if is_interval(&typed.data_type) => match &typed.value.value {
                Value::SingleQuotedString(text) => Some(Self::parse(text, None)),
                _ => None,
            },
            Expr::Cast { expr, data_type, .. } if is_interval(data_type) => Self::of(expr),
            Expr::Nested(expr) => Self::of(expr),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Some(Self::of(expr)?.map(Self::negated)),
            _ => None,
        }
    }

    fn negated(self) -> Self {
        Self {
            months: self.months.saturating_neg(),
            days: self.days.saturating_neg(),
            micros: self.micros.saturating_neg(),
        }
    }
}

impl fmt::Display for Interval {
    /// Units in words, which every reader of intervals understands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} months {} days {} microseconds", self.months, self.days, self.micros)
    }
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval { .. })
}

fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text.clone()),
            Value::Number(number, _) => Some(number.clone()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => literal(expr).map(|text| format!("-{text}")),
        _ => None,
    }
}

fn syntax(text: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_DATETIME_FORMAT, format!("invalid input syntax for type interval: \"{text}\""))
}

#[derive(Clone, Copy)]
enum Unit {
    Month,
    Year,
    Decade,
    Century,
    Millennium,
    Day,
    Week,
    Hour,
    Minute,
    Second,
    Millisecond,
    Microsecond,
}

impl Unit {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "microsecond" | "microseconds" | "us" | "usec" | "usecs" | "usecond" | "useconds" => Self::Microsecond,
            "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" | "msecond" | "mseconds" => Self::Millisecond,
            "second" | "seconds" | "s" | "sec" | "secs" => Self::Second,
            "minute" | "minutes" | "m" | "min" | "mins" => Self::Minute,
            "hour" | "hours" | "h" | "hr" | "hrs" => Self::Hour,
            "day" | "days" | "d" => Self::Day,
            "week" | "weeks" | "w" => Self::Week,
            "month" | "months" | "mon" | "mons" => Self::Month,
            "year" | "years" | "y" | "yr" | "yrs" => Self::Year,
            "decade" | "decades" | "dec" | "decs" => Self::Decade,
            "century" | "centuries" | "c" | "cent" => Self::Century,
            "millennium" | "millennia" | "mil" | "mils" => Self::Millennium,
            _ => return None,
        })
    }
}

/// A decimal number: `micros` is its value times a million, cut off behind the sixth digit.
fn number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !plain(whole) || !plain(fraction) || whole.len() > 18 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: i128 = format!("{:0<6}", &fraction[..fraction.len().min(6)]).parse().ok()?;
    let millionths = whole * MICROS_PER_SECOND + fraction;
    Some(if negative { -millionths } else { millionths })
}

/// Months, days and µs while they are added up, wide enough never to wrap.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
}

impl Sum {
    /// Adds `amount` millionths of `unit`; fractions spill into the next smaller field, as in Postgres.
    fn add(&mut self, amount: i128, unit: Unit) {
        match unit {
            Unit::Millennium => self.add(amount * 1000, Unit::Year),
            Unit::Century => self.add(amount * 100, Unit::Year),
            Unit::Decade => self.add(amount * 10, Unit::Year),
            Unit::Year => self.months += amount * 12 / MICROS_PER_SECOND,
            Unit::Month => {
                self.months += amount / MICROS_PER_SECOND;
                self.add(amount % MICROS_PER_SECOND * 30, Unit::Day);
            }
            Unit::Week => self.add(amount * 7, Unit::Day),
            Unit::Day => {
                self.days += amount / MICROS_PER_SECOND;
                self.micros += amount % MICROS_PER_SECOND * 86_400;
            }
            Unit::Hour => self.micros += amount * 3600,
            Unit::Minute => self.micros += amount * 60,
            Unit::Second => self.micros += amount,
            Unit::Millisecond => self.micros += amount / 1000,
            Unit::Microsecond => self.micros += amount / MICROS_PER_SECOND,
        }
    }

    /// `1 day 2 hours`, `1day`, `02:03:04`, `1 hour ago`; a number without unit counts as `last`.
    fn words(&mut self, text: &str, last: Unit) -> Option<()> {
        let lower = text.to_ascii_lowercase();
        let (body, ago) = match lower.strip_suffix("ago") {
            Some(body) => (body, true),
            None => (lower.as_str(), false),
        };
        let mut words = split_units(body.trim_start_matches('@')).into_iter().peekable();
        words.peek()?;
        while let Some(word) = words.next() {
            if word.contains(':') {
                self.micros += clock(word)?;
                continue;
            }
            let amount = number(word)?;
            let unit = match words.next() {
                Some(name) => Unit::named(name)?,
                None => last,
            };
            self.add(amount, unit);
        }
        if ago {
            (self.months, self.days, self.micros) = (-self.months, -self.days, -self.micros);
        }
        Some(())
    }

    /// `P1Y2M3DT4H5M6.7S`, `P1W`.
    fn iso(&mut self, text: &str) -> Option<()> {
        let mut in_time = false;
        let mut amount = String::new();
        let mut any = false;
        for c in text.chars().skip(1) {
            let unit = match (c.to_ascii_uppercase(), in_time) {
                ('T', false) if amount.is_empty() => {
                    in_time = true;
                    continue;
                }
                ('Y', false) => Unit::Year,
                ('M', false) => Unit::Month,
                ('W', false) => Unit::Week,
                ('D', false) => Unit::Day,
                ('H', true) => Unit::Hour,
                ('M', true) => Unit::Minute,
                ('S', true) => Unit::Second,
                ('0'..='9' | '.' | '-' | '+', _) => {
                    amount.push(c);
                    continue;
                }
                _ => return None,
            };
            self.add(number(&amount)?, unit);
            amount.clear();
            any = true;
        }
        (any && amount.is_empty()).then_some(())
    }

    fn finish(self) -> Option<Interval> {
        Some(Interval {
            months: i32::try_from(self.months).ok()?,
            days: i32::try_from(self.days).ok()?,
            micros: i64::try_from(self.micros).ok()?,
        })
    }
}

/// `hours:minutes[:seconds[.fraction]]` in µs.
fn clock(text: &str) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let parts: Vec<&str> = text.split(':').collect();
    let plain = |s: &str| !s.is_empty() && s.len() <= 9 && s.bytes().all(|b| b.is_ascii_digit());
    let (hours, minutes, seconds) = match parts.as_slice() {
        [hours, minutes] => (*hours, *minutes, "0"),
        [hours, minutes, seconds] => (*hours, *minutes, *seconds),
        _ => return None,
    };
    if !plain(hours) || !plain(minutes) || seconds.starts_with(['-', '+']) {
        return None;
    }
    let (hours, minutes): (i128, i128) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = number(seconds)?;
    if minutes > 59 || seconds >= 60 * MICROS_PER_SECOND {
        return None;
    }
    let micros = (hours * 3600 + minutes * 60) * MICROS_PER_SECOND + seconds;
    Some(if negative { -micros } else { micros })
}

/// Cuts at blanks, and between a number and the letters that follow it.
fn split_units(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in text.split_whitespace() {
        match word.find(|c: char| c.is_ascii_alphabetic()) {
            Some(at) if at > 0 && !word.contains(':') => words.extend([&word[..at], &word[at..]]),
            _ => words.push(word),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (i32, i32, i64) {
        let interval = Interval::parse(text, None).unwrap_or_else(|e| panic!("{text}: {e}"));
        (interval.months, interval.days, interval.micros)
    }

    #[test]
    fn texts_are_read_as_postgres_reads_them() {
        // Checked against PostgreSQL 15: extract(year|month|day|epoch) of each.
        assert_eq!(parts("1 minute"), (0, 0, 60_000_000));
        assert_eq!(parts("5 seconds"), (0, 0, 5_000_000));
        assert_eq!(parts("90"), (0, 0, 90_000_000));
        assert_eq!(parts("1.5"), (0, 0, 1_500_000));
        assert_eq!(parts("1 day 02:03:04.5"), (0, 1, 7_384_500_000));
        assert_eq!(parts("1 year 2 mons -3 days"), (14, -3, 0));
        assert_eq!(parts("1 hour ago"), (0, 0, -3_600_000_000));
        assert_eq!(parts("-00:00:30"), (0, 0, -30_000_000));
        assert_eq!(parts("10m"), (0, 0, 600_000_000));
        assert_eq!(parts("100ms"), (0, 0, 100_000));
        assert_eq!(parts("1.5 days"), (0, 1, 43_200_000_000));
        assert_eq!(parts("0.5 mon"), (0, 15, 0));
        assert_eq!(parts("2 weeks"), (0, 14, 0));
        assert_eq!(parts("@ 1 second"), (0, 0, 1_000_000));
        assert_eq!(parts("P1Y2M3DT4H5M6.7S"), (14, 3, 14_706_700_000));
        assert_eq!(parts("PT1M"), (0, 0, 60_000_000));
    }

    #[test]
    fn a_unit_behind_the_literal_is_the_unit_of_a_bare_number() {
        let ten = Interval::parse("10", Some(&DateTimeField::Minute)).expect("valid");
        assert_eq!(ten.micros, 600_000_000);
        let days = Interval::parse("2", Some(&DateTimeField::Days)).expect("valid");
        assert_eq!(days.fixed_micros(), Some(2 * MICROS_PER_DAY));
    }

    #[test]
    fn nonsense_is_an_error_and_never_a_panic() {
        for text in
            ["", " ", "one minute", "1 fortnight", "1:60", "1:2:3:4", "P", "PT", "P1H", "1 2", "--1 s", "- 1 s", "é"]
        {
            let error = Interval::parse(text, None).expect_err(text);
            assert_eq!(error.state.0, "22007", "{text}");
        }
        let error = Interval::parse("999999999999999999 years", None).expect_err("too long");
        assert_eq!(error.state.0, "22015");
    }

    #[test]
    fn a_length_in_months_is_not_fixed() {
        assert_eq!(Interval::parse("1 month", None).expect("valid").fixed_micros(), None);
        assert_eq!(Interval::parse("1 day", None).expect("valid").fixed_micros(), Some(MICROS_PER_DAY));
    }
}
