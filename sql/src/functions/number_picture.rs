//! Numbers by a picture, as `to_char(number, picture)` writes them (PostgreSQL documentation, 9.8).
//!
//! A picture has places for digits (`9`, `0`), the point (`.`, `D`), group separators (`,`, `G`), signs (`S`, `MI`, `PL`, `SG`, `PR`), the
//! prefix `FM` (no padding), the suffixes `TH` and `th`, and text, in double quotes where it would mean something. A number of
//! more digits than places is written as `#`. `V`, `EEEE`, `RN` and `L` are not known here.

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use datafusion::common::{Result, internal_err};
use datafusion::error::DataFusionError;

use crate::{SqlError, SqlState};

/// Digits of which a double is sure.
const DOUBLE_DIGITS: usize = 15;

/// Numbers, numeric or double precision, by the pictures beside them.
///
/// # Errors
/// Those of reading a picture.
pub(super) fn write_all(values: &ArrayRef, pictures: &StringViewArray) -> Result<StringViewBuilder> {
    let mut builder = StringViewBuilder::with_capacity(values.len());
    let mut known: Option<(String, Picture)> = None;
    for row in 0..values.len() {
        if values.is_null(row) || pictures.is_null(row) {
            builder.append_null();
            continue;
        }
        let text = pictures.value(row);
        let picture = match &known {
            Some((read, picture)) if read == text => picture,
            _ => {
                let picture = read(text).map_err(|error| DataFusionError::External(Box::new(error)))?;
                &known.insert((text.to_owned(), picture)).1
            }
        };
        let (negative, digits) = match values.data_type() {
            DataType::Decimal128(_, scale) => {
                decimal_digits(values.as_primitive::<Decimal128Type>().value(row), *scale, picture.after)
            }
            DataType::Float64 => double_digits(values.as_primitive::<Float64Type>().value(row), picture.after),
            other => return internal_err!("to_char of {other}"),
        };
        builder.append_value(picture.write(negative, &digits));
    }
    Ok(builder)
}

/// Whether a numeric is negative, and its digits with so many behind the point, rounded half away from zero.
fn decimal_digits(value: i128, scale: i8, after: usize) -> (bool, String) {
    let scale = usize::try_from(scale).unwrap_or_default();
    let digits = value.unsigned_abs();
    let rounded = match scale.checked_sub(after) {
        Some(dropped @ 1..) => {
            let unit = 10_u128.pow(u32::try_from(dropped).unwrap_or(u32::MAX));
            digits / unit + u128::from(digits % unit >= unit.div_ceil(2))
        }
        _ => digits,
    };
    let kept = scale.min(after);
    let text = format!("{rounded:0width$}", width = kept + 1);
    let (whole, fraction) = text.split_at(text.len() - kept);
    let negative = value < 0 && rounded > 0;
    (negative, with_point(whole, &format!("{fraction:0<after$}")))
}

/// The same of a double, which has no more digits than it is sure of.
fn double_digits(value: f64, after: usize) -> (bool, String) {
    let size = value.abs();
    let whole = format!("{size:.0}").len();
    let after = after.min(DOUBLE_DIGITS.saturating_sub(whole));
    let digits = format!("{size:.after$}");
    let is_zero = digits.chars().all(|c| matches!(c, '0' | '.'));
    (value < 0.0 && !is_zero, digits)
}

fn with_point(whole: &str, fraction: &str) -> String {
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

/// A picture, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picture {
    pieces: Vec<Piece>,
    /// Places before the point.
    before: usize,
    /// Places behind it.
    pub after: usize,
    has_point: bool,
    /// Places in front of the first `0` before the point.
    zeros_from: Option<usize>,
    /// Places up to the last `0`.
    zeros_to: usize,
    /// `FM`.
    bare: bool,
    sign: Sign,
}

/// Where the sign goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sign {
    /// A blank or a minus right before the number.
    Usual,
    /// `S` in front: a plus or a minus right before the number.
    Before,
    /// `S` at the end: behind the last place.
    Behind,
    /// `PR`: a negative number in angle brackets.
    Brackets,
    /// `PL` alone: a plus where it stands, a minus right before the number.
    Plus,
    /// `MI`, `SG`: only where it stands.
    Placed,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    /// A place for a digit, or for the point; a `0` keeps zeros at the end.
    Place {
        zero: bool,
    },
    Separator,
    Minus,
    Plus,
    EitherSign,
    Ordinal {
        upper: bool,
    },
    Text(char),
}

const TOKENS: [&str; 15] = ["FM", "MI", "PL", "SG", "PR", "TH", "RN", "EEEE", "V", "L", "S", "9", "0", ".", "D"];

/// Reads a picture.
///
/// # Errors
/// 42601 for a picture that contradicts itself, 0A000 for what is not known here.
pub(super) fn read(text: &str) -> Result<Picture, SqlError> {
    let mut picture = Picture {
        pieces: Vec::new(),
        before: 0,
        after: 0,
        has_point: false,
        zeros_from: None,
        zeros_to: 0,
        bare: false,
        sign: Sign::Usual,
    };
    let (mut rest, mut signed_at, mut brackets) = (text, None, false);
    let (mut minus, mut plus) = (false, false);
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let quoted = &rest[1..];
            let end = quoted.find('"').unwrap_or(quoted.len());
            picture.pieces.extend(quoted[..end].chars().map(Piece::Text));
            rest = quoted.get(end + 1..).unwrap_or("");
            continue;
        }
        let starts = |token: &&str| rest.get(..token.len()).is_some_and(|start| start.eq_ignore_ascii_case(token));
        let token = TOKENS.into_iter().find(starts).unwrap_or(&rest[..first.len_utf8()]);
        let written = &rest[..token.len()];
        rest = &rest[token.len()..];
        match token {
            "9" | "0" => picture.place(token == "0", brackets)?,
            "." | "D" => {
                if std::mem::replace(&mut picture.has_point, true) {
                    return Err(wrong("multiple decimal points"));
                }
                picture.pieces.push(Piece::Place { zero: false });
            }
            "," | "G" | "g" => picture.pieces.push(Piece::Separator),
            "FM" => picture.bare = true,
            "S" => {
                if signed_at.is_some() {
                    return Err(wrong("cannot use \"S\" twice"));
                }
                if minus || plus || brackets {
                    return Err(wrong("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together"));
                }
                signed_at = Some((picture.has_point, picture.before));
            }
            "MI" | "PL" | "SG" | "PR" if signed_at.is_some() => {
                return Err(wrong(&format!("cannot use \"S\" and \"{token}\" together")));
            }
            "MI" => {
                minus = true;
                picture.pieces.push(Piece::Minus);
            }
            "PL" => {
                plus = true;
                picture.pieces.push(Piece::Plus);
            }
            "SG" => {
                (minus, plus) = (true, true);
                picture.pieces.push(Piece::EitherSign);
            }
            "PR" => {
                if minus || plus {
                    return Err(wrong("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together"));
                }
                brackets = true;
            }
            "TH" => picture.pieces.push(Piece::Ordinal { upper: written.starts_with('T') }),
            "RN" | "EEEE" | "V" | "L" => {
                return Err(SqlError::unsupported(format!("\"{token}\" in a picture of to_char is not supported")));
            }
            _ => picture.pieces.push(Piece::Text(first)),
        }
    }
    picture.sign = match signed_at {
        // Behind every place before the point it is as good as at the end.
        Some((false, before)) if before < picture.before => Sign::Before,
        Some(_) => Sign::Behind,
        None if brackets => Sign::Brackets,
        None if minus => Sign::Placed,
        None if plus => Sign::Plus,
        None => Sign::Usual,
    };
    Ok(picture)
}

fn wrong(what: &str) -> SqlError {
    SqlError::new(SqlState::SYNTAX_ERROR, what)
}

impl Picture {
    fn place(&mut self, zero: bool, brackets: bool) -> Result<(), SqlError> {
        if brackets {
            return Err(wrong("\"9\" must be ahead of \"PR\""));
        }
        match self.has_point {
            true => self.after += 1,
            false => {
                if zero && self.zeros_from.is_none() {
                    self.zeros_from = Some(self.before);
                }
                self.before += 1;
            }
        }
        if zero {
            self.zeros_to = self.before + self.after;
        }
        self.pieces.push(Piece::Place { zero });
        Ok(())
    }

    /// Writes a number: its digits, with [`after`](Self::after) of them behind the point.
    pub fn write(&self, negative: bool, digits: &str) -> String {
        let whole = digits.find('.').unwrap_or(digits.len());
        let fits = whole <= self.before;
        let digits = match fits {
            true => digits.to_owned(),
            false => {
                let point = if self.after > 0 { "." } else { "" };
                format!("{}{point}{}", "#".repeat(self.before), "#".repeat(self.after))
            }
        };
        Writer::new(self, negative, digits.chars().collect(), self.before.saturating_sub(whole)).text()
    }
}

/// One number on its way into a picture.
struct Writer<'a> {
    picture: &'a Picture,
    negative: bool,
    /// Digits and the point.
    digits: Vec<char>,
    /// Places in front of the first digit.
    spare: usize,
    /// The last of them that is written, without padding; the point itself if there is nothing behind it.
    last: Option<usize>,
    /// The next of them.
    next: usize,
    /// Places so far, that of the point among them.
    places: usize,
    /// Whether a digit stands right before.
    in_number: bool,
    sign_due: bool,
    text: String,
}

impl<'a> Writer<'a> {
    fn new(picture: &'a Picture, negative: bool, digits: Vec<char>, spare: usize) -> Self {
        let sign_due = match picture.sign {
            Sign::Placed => false,
            Sign::Before | Sign::Behind => true,
            Sign::Plus | Sign::Brackets | Sign::Usual => negative || !picture.bare,
        };
        let last = (picture.bare && picture.has_point).then(|| last_digit(picture, &digits, spare)).flatten();
        Self {
            picture,
            negative,
            digits,
            spare,
            last,
            next: 0,
            places: 0,
            in_number: false,
            sign_due,
            text: String::new(),
        }
    }

    fn text(mut self) -> String {
        let picture = self.picture;
        let places = picture.pieces.iter().filter(|piece| matches!(piece, Piece::Place { .. })).count();
        for piece in &picture.pieces {
            match piece {
                Piece::Place { zero } => {
                    self.place(*zero);
                    self.places += 1;
                    if self.places == places {
                        self.close();
                    }
                }
                Piece::Separator => self.filled(if self.in_number { Some(',') } else { None }),
                Piece::Minus => self.filled(self.negative.then_some('-')),
                Piece::Plus => self.filled((!self.negative).then_some('+')),
                Piece::EitherSign => self.text.push(if self.negative { '-' } else { '+' }),
                Piece::Ordinal { upper } => self.ordinal(*upper),
                Piece::Text(c) => self.text.push(*c),
            }
        }
        self.text
    }

    /// A character, or the blank in its place unless there is no padding.
    fn filled(&mut self, c: Option<char>) {
        match c {
            Some(c) => self.text.push(c),
            None if !self.picture.bare => self.text.push(' '),
            None => {}
        }
    }

    fn place(&mut self, zero: bool) {
        self.in_number = false;
        let picture = self.picture;
        let leading = self.places < self.spare;
        let zero_here = picture.zeros_from.is_some_and(|from| from <= self.places);
        if !leading || zero_here {
            self.sign();
        }
        if leading && zero_here {
            self.text.push('0');
            self.in_number = true;
            return;
        }
        if leading {
            self.filled(None);
            return;
        }
        let Some(digit) = self.digits.get(self.next).copied() else { return };
        if digit == '.' {
            self.text.push('.');
        } else if self.is_bare_zero() {
            // A zero before the point is shown only where nothing else would be.
            match self.last.is_some_and(|last| self.digits[last] == '.') {
                true if picture.bare => self.text.push('0'),
                _ => self.filled(None),
            }
        } else if zero || self.last.is_none_or(|last| self.next <= last) {
            self.text.push(digit);
            self.in_number = true;
        }
        self.next += 1;
    }

    /// True for the only digit before the point if that is a zero which no `0` asks for.
    fn is_bare_zero(&self) -> bool {
        self.picture.zeros_from.is_none() && self.next == 0 && self.digits[0] == '0' && self.picture.after > 0
    }

    /// The sign that goes right before the number.
    fn sign(&mut self) {
        let hidden = self.is_bare_zero_next() && self.last.is_none_or(|last| self.digits[last] != '.');
        if !self.sign_due || hidden || self.picture.sign == Sign::Behind {
            return;
        }
        self.sign_due = false;
        match (self.picture.sign, self.negative) {
            (Sign::Before, false) => self.text.push('+'),
            (Sign::Brackets, true) => self.text.push('<'),
            (_, true) => self.text.push('-'),
            (_, false) => self.filled(None),
        }
    }

    fn is_bare_zero_next(&self) -> bool {
        self.places >= self.spare && self.next == 0 && self.is_bare_zero()
    }

    /// What goes right behind the number.
    fn close(&mut self) {
        match self.picture.sign {
            Sign::Behind => self.text.push(if self.negative { '-' } else { '+' }),
            Sign::Brackets if self.negative => self.text.push('>'),
            Sign::Brackets => self.filled(None),
            _ => {}
        }
    }

    fn ordinal(&mut self, upper: bool) {
        if self.negative || self.picture.has_point || self.digits.first() == Some(&'#') {
            return;
        }
        let digit = |back: usize| self.digits.len().checked_sub(back).map(|at| self.digits[at]);
        let suffix = match (digit(2), digit(1)) {
            (Some('1'), _) => "th",
            (_, Some('1')) => "st",
            (_, Some('2')) => "nd",
            (_, Some('3')) => "rd",
            _ => "th",
        };
        self.text.push_str(&if upper { suffix.to_ascii_uppercase() } else { suffix.to_owned() });
    }
}

/// The last digit behind the point that is no zero or that a `0` asks for; the point if there is none.
fn last_digit(picture: &Picture, digits: &[char], spare: usize) -> Option<usize> {
    let point = digits.iter().position(|c| *c == '.')?;
    let significant = digits.iter().rposition(|c| *c != '0').unwrap_or(point).max(point);
    // Places count the digits alone, positions the point, too: the last `0` lies one further.
    let asked = picture.zeros_to.checked_sub(spare).filter(|to| *to > 0).map(|to| to.min(digits.len() - 1));
    Some(asked.map_or(significant, |asked| significant.max(asked)))
}

#[cfg(test)]
mod tests;
