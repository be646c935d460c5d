//! How much memory a view may take: `WITH (max_state = …)` and the setting `max_view_state`.

use std::fmt;
use std::str::FromStr;

use crate::{SqlError, SqlState};

/// Units as PostgreSQL writes them, from the largest.
const UNITS: [(&str, u64); 5] = [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];

/// The unit of a number without one, as in PostgreSQL's settings of memory.
const UNIT_BYTES: u64 = 1 << 10;

/// What a view may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateBudget {
    /// `0` or `none`: what there is.
    #[default]
    Unlimited,
    /// `bounded`: what there is, but the plan may have no operator whose state provably never shrinks.
    Bounded,
    /// `512MB`: its operators' state and its rows together at most these bytes; beyond, the view fails.
    Bytes(u64),
}

impl StateBudget {
    /// The bytes, if it is a number of them.
    pub fn bytes(self) -> Option<usize> {
        match self {
            Self::Bytes(bytes) => Some(usize::try_from(bytes).unwrap_or(usize::MAX)),
            Self::Unlimited | Self::Bounded => None,
        }
    }
}

impl FromStr for StateBudget {
    type Err = SqlError;

    /// # Errors
    /// 22023.
    fn from_str(text: &str) -> Result<Self, SqlError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("bounded") {
            return Ok(Self::Bounded);
        }
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self::Unlimited);
        }
        match bytes(text) {
            Some(0) => Ok(Self::Unlimited),
            Some(bytes) => Ok(Self::Bytes(bytes)),
            None => {
                let message = format!("invalid amount of memory: \"{text}\"");
                let hint = "Write a number with B, kB, MB, GB or TB, 0 or none for no limit, or bounded to refuse state that never \
                            shrinks.";
                Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).hint(hint))
            }
        }
    }
}

/// The bytes of `1.5 GB`; kilobytes where there is no unit.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = (text[..end].trim(), &text[end..]);
    let factor = match unit {
        "" => UNIT_BYTES,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(factor);
    }
    if !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    (bytes < (1_u64 << 60) as f64).then_some(bytes.round() as u64)
}

impl fmt::Display for StateBudget {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("0"),
            Self::Bounded => f.write_str("bounded"),
            Self::Bytes(bytes) => {
                let (unit, factor) = UNITS.iter().find(|(_, factor)| bytes % factor == 0).unwrap_or(&("B", 1));
                write!(f, "{}{unit}", bytes / factor)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_as_postgresql_does() {
        for (given, shown) in [
            ("512MB", "512MB"),
            ("1.5 GB", "1536MB"),
            ("1024", "1MB"),
            ("2048 kB", "2MB"),
            ("100B", "100B"),
            ("1TB", "1TB"),
            ("0", "0"),
            ("0MB", "0"),
            ("none", "0"),
            (" Bounded ", "bounded"),
        ] {
            assert_eq!(given.parse::<StateBudget>().expect(given).to_string(), shown, "{given}");
        }
        for wrong in ["", "MB", "-1", "1 PB", "1mb", "1e3MB", "1.2.3MB", "99999999999999TB", "unbounded"] {
            assert_eq!(wrong.parse::<StateBudget>().expect_err(wrong).state, SqlState::INVALID_PARAMETER_VALUE);
        }
    }
}
