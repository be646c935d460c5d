//! Time zones as `SET TimeZone` takes them: names of the IANA database, `UTC`, hours, `±hh:mm`, POSIX `GMT+5`.

use std::fmt;

use chrono::{DateTime, NaiveDateTime, Offset, TimeZone as _};
use chrono_tz::Tz;

/// A time zone. Its offsets are seconds east of Greenwich.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeZone {
    /// Of the IANA database.
    Named(Tz),
    /// The same offset always.
    Fixed(i32),
}

impl TimeZone {
    /// Coordinated universal time.
    pub const UTC: Self = Self::Named(Tz::UTC);

    /// Reads a time zone's name as PostgreSQL does: `Europe/Berlin` in any case, `-7.5` (hours east), `+05:30` (east),
    /// `GMT+5` and `<+05>-5` (POSIX: west is positive).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(hours) = text.parse::<f64>() {
            return (hours.abs() <= 15.99).then(|| Self::fixed((hours * 3600.0).round()));
        }
        if let Some(zone) = chrono_tz::TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(text)) {
            return Some(Self::Named(*zone));
        }
        if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("zulu") {
            return Some(Self::UTC);
        }
        if text.starts_with(['+', '-']) {
            return parse_offset(text).map(Self::Fixed);
        }
        posix(text)
    }

    fn fixed(seconds: f64) -> Self {
        // The caller has bounded the hours, so the number is small and whole.
        #[allow(clippy::cast_possible_truncation)]
        Self::Fixed(seconds as i32)
    }

    /// The offset in force at an instant, given in µs since the Unix epoch.
    pub fn offset_at(self, utc_micros: i64) -> i32 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::Named(Tz::UTC) => 0,
            Self::Named(zone) => zone.offset_from_utc_datetime(&naive(utc_micros)).fix().local_minus_utc(),
        }
    }

    /// The offset of a wall clock reading, given in µs as if it were UTC. A reading that comes twice takes the first;
    /// one that never comes takes the offset before the gap.
    pub fn offset_of_local(self, local_micros: i64) -> i32 {
        match self {
            Self::Fixed(seconds) => seconds,
            Self::Named(Tz::UTC) => 0,
            Self::Named(zone) => {
                let local = naive(local_micros);
                match zone.offset_from_local_datetime(&local).earliest() {
                    Some(offset) => offset.fix().local_minus_utc(),
                    None => self.offset_at(local_micros.saturating_sub(86_400_000_000)),
                }
            }
        }
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(zone) => f.write_str(zone.name()),
            Self::Fixed(seconds) => {
                // PostgreSQL shows a fixed offset as a POSIX zone, whose sign is turned around.
                let (sign, turned) = if *seconds < 0 { ('-', '+') } else { ('+', '-') };
                let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
                match minutes {
                    0 => write!(f, "<{sign}{hours:02}>{turned}{hours:02}"),
                    _ => write!(f, "<{sign}{hours:02}:{minutes:02}>{turned}{hours:02}:{minutes:02}"),
                }
            }
        }
    }
}

/// The nearest date chrono can hold; zones have no rules that far out anyway.
fn naive(micros: i64) -> NaiveDateTime {
    let bound = if micros < 0 { DateTime::<chrono::Utc>::MIN_UTC } else { DateTime::<chrono::Utc>::MAX_UTC };
    DateTime::from_timestamp_micros(micros).unwrap_or(bound).naive_utc()
}

/// `±h`, `±hh`, `±hhmm`, `±hh:mm` or `±hh:mm:ss` to seconds, the sign as written.
pub fn parse_offset(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let parts: Vec<&str> = match digits.len() {
        _ if digits.contains(':') => digits.split(':').collect(),
        1 | 2 => vec![digits],
        3 => vec![digits.get(..1)?, digits.get(1..)?],
        4 => vec![digits.get(..2)?, digits.get(2..)?],
        _ => return None,
    };
    let mut seconds = 0;
    for (part, (unit, max)) in parts.iter().zip([(3600, 15), (60, 59), (1, 59)]) {
        let value = part.parse::<u8>().ok().filter(|v| *v <= max)?;
        if part.starts_with('+') {
            return None;
        }
        seconds += i32::from(value) * unit;
    }
    (parts.len() <= 3).then_some(sign * seconds)
}

/// `GMT+5`, `EST5`, `<+05>-05`: a name, then the offset west. Rules for summer time are not read.
fn posix(text: &str) -> Option<TimeZone> {
    let rest = match text.strip_prefix('<') {
        Some(rest) => rest.split_once('>')?.1,
        None => {
            let name = text.find(|c: char| !c.is_ascii_alphabetic())?;
            (name >= 3).then(|| &text[name..])?
        }
    };
    let west = if rest.starts_with(['+', '-']) { parse_offset(rest) } else { parse_offset(&format!("+{rest}")) };
    west.map(|seconds| TimeZone::Fixed(-seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_offsets_and_posix_zones_are_read() {
        let show = |text: &str| TimeZone::parse(text).map(|zone| zone.to_string());
        assert_eq!(show("europe/berlin").as_deref(), Some("Europe/Berlin"));
        assert_eq!(show("utc").as_deref(), Some("UTC"));
        assert_eq!(show("+05:30").as_deref(), Some("<+05:30>-05:30"));
        assert_eq!(show("-3").as_deref(), Some("<-03>+03"));
        assert_eq!(TimeZone::parse("GMT+5"), Some(TimeZone::Fixed(-18_000)));
        assert_eq!(TimeZone::parse("<+05>-05"), Some(TimeZone::Fixed(18_000)));
        assert_eq!(show("nowhere"), None);
        assert_eq!(show("+99"), None);
        assert_eq!(show("é+5"), None);
    }

    #[test]
    fn a_reading_in_the_spring_gap_takes_the_offset_before_it() {
        let berlin = TimeZone::parse("Europe/Berlin").expect("a zone");
        // 2023-03-26 02:30 does not exist; 2023-10-29 02:30 comes twice.
        assert_eq!(berlin.offset_of_local(1_679_797_800_000_000), 3600);
        assert_eq!(berlin.offset_of_local(1_698_546_600_000_000), 7200);
        assert_eq!(berlin.offset_at(i64::MAX), 3600);
    }
}
