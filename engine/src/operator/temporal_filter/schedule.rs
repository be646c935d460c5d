//! When rows come and go: one time column of a temporal filter, its limits, and the rows in the order of that time.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::spec::{Comparison, Condition, Limit};
use crate::error::Result;

/// The first step of the search for a time, µs.
const STEP_MICROS: i64 = 1_000_000;
/// No row's time is looked for beyond this many µs from now: some 36,000 years.
const HORIZON_MICROS: i64 = 1 << 60;
/// What an entry of a tree costs, estimated.
const ENTRY_BYTES: usize = 24;

/// Limits on one side of a time: of several the tightest holds.
#[derive(Debug, Default)]
struct Limits {
    all: Vec<(Arc<dyn Limit>, i64)>,
    /// The least time that is kept out of those who go, or the greatest of those who may come, at the last tick.
    now: Option<i64>,
    /// The time last asked for, and when the limits reach it.
    asked: Option<(i64, Option<i64>)>,
}

/// A time column. Rows whose time is below the floor have gone for good; those above the ceiling are still to come.
#[derive(Debug)]
pub(super) struct Schedule {
    /// The input column.
    pub column: usize,
    floors: Limits,
    ceilings: Limits,
    /// Rows that will go, by time and number.
    going: BTreeSet<(i64, u32)>,
    /// Rows that are still to come.
    coming: BTreeSet<(i64, u32)>,
}

impl Schedule {
    /// The schedules of some conditions, one for each column.
    pub fn of(conditions: &[Condition]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for Condition { column, comparison, limit } in conditions {
            let known = all.iter().position(|schedule| schedule.column == *column).unwrap_or_else(|| {
                let (going, coming) = (BTreeSet::new(), BTreeSet::new());
                let (floors, ceilings) = (Limits::default(), Limits::default());
                all.push(Self { column: *column, floors, ceilings, going, coming });
                all.len() - 1
            });
            let schedule = &mut all[known];
            let limits = if comparison.ends() { &mut schedule.floors } else { &mut schedule.ceilings };
            let beyond = match comparison {
                Comparison::After => 1,
                Comparison::Before => -1,
                Comparison::AtOrAfter | Comparison::AtOrBefore => 0,
            };
            limits.all.push((limit.clone(), beyond));
        }
        all
    }

    /// True if rows go by this time.
    pub fn ends(&self) -> bool {
        !self.floors.all.is_empty()
    }

    /// Moves the limits to a tick's time.
    pub fn advance(&mut self, now_micros: i64) -> Result<()> {
        self.floors.now = self.floors.at(now_micros)?.into_iter().max();
        self.ceilings.now = self.ceilings.at(now_micros)?.into_iter().min();
        Ok(())
    }

    /// True if rows of this time have gone for good.
    pub fn is_over(&self, time: i64) -> bool {
        self.floors.now.is_some_and(|floor| time < floor)
    }

    /// True if rows of this time are still to come.
    pub fn is_ahead(&self, time: i64) -> bool {
        self.ceilings.now.is_some_and(|ceiling| time > ceiling)
    }

    /// True if rows can be still to come by this time.
    pub fn begins(&self) -> bool {
        !self.ceilings.all.is_empty()
    }

    /// Puts a row in its places.
    pub fn add(&mut self, time: i64, row: u32, is_ahead: bool) {
        if self.ends() {
            self.going.insert((time, row));
        }
        if is_ahead {
            self.coming.insert((time, row));
        }
    }

    /// Takes a row out again.
    pub fn remove(&mut self, time: i64, row: u32) {
        self.going.remove(&(time, row));
        self.coming.remove(&(time, row));
    }

    /// The next row that has gone by now. It has to be removed.
    pub fn next_gone(&self) -> Option<u32> {
        self.going.first().filter(|(time, _)| self.is_over(*time)).map(|(_, row)| *row)
    }

    /// The next row that has come by now, which is asked for once.
    pub fn take_come(&mut self) -> Option<u32> {
        let (time, row) = *self.coming.first()?;
        (!self.is_ahead(time)).then(|| {
            self.coming.remove(&(time, row));
            row
        })
    }

    /// The next time after `now_micros` at which a row comes or goes.
    pub fn due_micros(&mut self, now_micros: i64) -> Result<Option<i64>> {
        // A row goes as soon as a floor is above its time.
        let goes = match self.going.first() {
            Some((time, _)) => self.floors.reach(time.saturating_add(1), now_micros, earliest)?,
            None => None,
        };
        // It comes when every ceiling has reached its time.
        let comes = match self.coming.first() {
            Some((time, _)) => self.ceilings.reach(*time, now_micros, latest)?,
            None => None,
        };
        Ok([goes, comes].into_iter().flatten().min())
    }

    /// What a row comes to in it.
    pub fn bytes_each() -> usize {
        ENTRY_BYTES
    }

    /// Bytes of state.
    pub fn bytes(&self) -> usize {
        (self.going.len() + self.coming.len()) * ENTRY_BYTES
    }
}

/// The first of some times, of which `None` is never.
fn earliest(times: &[Option<i64>]) -> Option<i64> {
    times.iter().copied().flatten().min()
}

/// The last of them.
fn latest(times: &[Option<i64>]) -> Option<i64> {
    times.iter().copied().collect::<Option<Vec<_>>>()?.into_iter().max()
}

impl Limits {
    fn at(&self, now_micros: i64) -> Result<Vec<i64>> {
        self.all.iter().map(|(limit, beyond)| Ok(limit.at(now_micros)?.saturating_add(*beyond))).collect()
    }

    /// When the limits reach `time`, one or all of them as `which` says. Asked again it knows.
    fn reach(
        &mut self,
        time: i64,
        now_micros: i64,
        which: impl Fn(&[Option<i64>]) -> Option<i64>,
    ) -> Result<Option<i64>> {
        if let Some((asked, found)) = self.asked
            && asked == time
        {
            return Ok(found);
        }
        let reached = |(limit, beyond): &(Arc<dyn Limit>, i64)| {
            first_at_least(limit.as_ref(), time.saturating_sub(*beyond), now_micros)
        };
        let found = which(&self.all.iter().map(reached).collect::<Result<Vec<_>>>()?);
        self.asked = Some((time, found));
        Ok(found)
    }
}

/// The first time after `now_micros` at which `limit` is at least `time`; `None` if that is out of sight.
fn first_at_least(limit: &dyn Limit, time: i64, now_micros: i64) -> Result<Option<i64>> {
    // Most limits are the clock, moved by some length.
    let guess = now_micros.saturating_add(time.saturating_sub(limit.at(now_micros)?));
    if guess > now_micros
        && guess - now_micros < HORIZON_MICROS
        && limit.at(guess).is_ok_and(|at| at >= time)
        && limit.at(guess - 1).is_ok_and(|at| at < time)
    {
        return Ok(Some(guess));
    }
    let (mut below, mut step) = (now_micros, STEP_MICROS);
    let mut reached = loop {
        let ahead = now_micros.saturating_add(step);
        // Where the limit has no value the calendar ends, and so do the rows' times.
        match limit.at(ahead) {
            Ok(at) if at >= time => break ahead,
            Ok(_) if step < HORIZON_MICROS => (below, step) = (ahead, step * 2),
            _ => return Ok(None),
        }
    };
    while reached - below > 1 {
        let middle = below + (reached - below) / 2;
        if limit.at(middle)? >= time { reached = middle } else { below = middle }
    }
    Ok(Some(reached))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Days;

    impl Limit for Days {
        fn at(&self, now_micros: i64) -> Result<i64> {
            Ok(now_micros.div_euclid(86_400_000_000))
        }
    }

    #[derive(Debug)]
    struct Shifted(i64);

    impl Limit for Shifted {
        fn at(&self, now_micros: i64) -> Result<i64> {
            Ok(now_micros + self.0)
        }
    }

    #[test]
    fn the_time_a_limit_is_reached_is_found_to_the_microsecond() {
        let day = 86_400_000_000;
        assert_eq!(first_at_least(&Days, 3, 5).expect("days"), Some(3 * day));
        assert_eq!(first_at_least(&Days, 1, day - 1).expect("days"), Some(day));
        assert_eq!(first_at_least(&Days, i64::MAX, 0).expect("days"), None);
        assert_eq!(first_at_least(&Shifted(-300), 1_000, 7).expect("a shift"), Some(1_300));
        assert_eq!(first_at_least(&Shifted(0), 8, 7).expect("a shift"), Some(8));
    }
}
