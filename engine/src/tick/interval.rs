//! When the next tick is due.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};

/// The shortest interval a tick may have.
pub const INTERVAL_MIN: Duration = Duration::from_millis(5);

/// The longest interval a tick may have.
pub const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// How ticks are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TickInterval {
    /// As soon as there is data and the tick before is done, but no sooner than this after it began. Under load ticks
    /// grow by themselves; under light load latency is near the minimum.
    Adaptive {
        /// Shortest time between the starts of two ticks.
        min: Duration,
    },
    /// One tick each interval.
    Fixed(Duration),
}

impl Default for TickInterval {
    fn default() -> Self {
        Self::Adaptive { min: INTERVAL_MIN }
    }
}

impl TickInterval {
    /// The shortest time between the starts of two ticks.
    pub fn shortest(self) -> Duration {
        match self {
            Self::Adaptive { min } => min,
            Self::Fixed(interval) => interval,
        }
    }

    /// How long to wait from the start of the last tick, `since_start` ago, before the next; zero when it is due.
    pub fn wait(self, since_start: Duration) -> Duration {
        self.shortest().saturating_sub(since_start)
    }
}

impl fmt::Display for TickInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adaptive { min } if *min == INTERVAL_MIN => f.write_str("adaptive"),
            Self::Adaptive { min } => write!(f, "adaptive({})", Milliseconds(*min)),
            Self::Fixed(interval) => write!(f, "{}", Milliseconds(*interval)),
        }
    }
}

/// A duration as it is written: whole seconds as `5s`, anything else in milliseconds.
pub(super) struct Milliseconds(pub Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        if ms > 0 && ms % 1000 == 0 { write!(f, "{}s", ms / 1000) } else { write!(f, "{ms}ms") }
    }
}

impl FromStr for TickInterval {
    type Err = Error;

    /// `adaptive`, `adaptive(20ms)`, or an interval such as `100ms`, `1s`, `1 second`; a bare number is milliseconds.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text == "adaptive" {
            return Ok(Self::default());
        }
        if let Some(inner) = text.strip_prefix("adaptive(").and_then(|rest| rest.strip_suffix(')')) {
            return Ok(Self::Adaptive { min: duration(inner)? });
        }
        Ok(Self::Fixed(duration(&text)?))
    }
}

fn duration(text: &str) -> Result<Duration> {
    let refuse =
        || Error::input(format!("invalid tick interval \"{text}\": write \"adaptive\", or a time such as 100ms or 1s"));
    let duration = parse_duration(text).ok_or_else(refuse)?;
    if duration < INTERVAL_MIN || duration > INTERVAL_MAX {
        return Err(Error::input(format!("tick interval {text} is out of range: it must be from 5ms to 1h")));
    }
    Ok(duration)
}

/// A time such as `10s`, `100ms` or `5 minutes`; a bare number is milliseconds. `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let value: f64 = text[..digits].parse().ok()?;
    let seconds = match text[digits..].trim() {
        "" | "ms" | "msec" | "millisecond" | "milliseconds" => value / 1e3,
        "s" | "sec" | "second" | "seconds" => value,
        "min" | "minute" | "minutes" => value * 60.0,
        "h" | "hour" | "hours" => value * 3600.0,
        "us" | "µs" => value / 1e6,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_intervals() {
        for (text, shown) in [
            ("adaptive", "adaptive"),
            ("ADAPTIVE(20ms)", "adaptive(20ms)"),
            ("100", "100ms"),
            ("100ms", "100ms"),
            ("1 second", "1s"),
            ("0.5s", "500ms"),
            ("2min", "120s"),
            ("1 hour", "3600s"),
        ] {
            assert_eq!(text.parse::<TickInterval>().expect(text).to_string(), shown);
        }
        for text in ["", "fast", "4ms", "-1s", "2h", "1e99s", "adaptive(1ms)", "nan"] {
            text.parse::<TickInterval>().expect_err(text);
        }
    }
}
