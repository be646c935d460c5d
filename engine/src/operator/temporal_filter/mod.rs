//! Rows for as long as their time lets them be seen: `WHERE ts > now() - INTERVAL '5 minutes'`.
//!
//! ```text
//! input rows -> over by now? dropped
//!            -> rows, each with its copies and those that were put out -> come: put out | go: taken back, and forgotten
//!                  ordered by time: the tick's time decides
//! ```
//! Limits move forward only, so what is over stays over: such rows, inserted or retracted, are let go at once. A row whose
//! time has come is kept until it is over; if it never will be, because no condition ends it, it is not kept at all. A tick
//! touches the rows that changed and those whose time came or ended.
//!
//! # The rule
//! Of each row two numbers are kept: how many copies there are, and how many of them have been put out. The first follows the
//! input. The second ought to be all copies while the row's time lasts, else none: a touched row comes out with what it ought to
//! be less what it is. Rows that no delta and no time touches are right as they are.
//!
//! ```text
//! ts > now() - 5 s AND ts <= now()          a row (ts 12:00:12) that comes at 12:00:10, twice
//! 12:00:10   +2        2 copies, 0 out      nothing: its time is still to come
//! 12:00:12   no input  2 copies, 2 out      +2
//! 12:00:14   -1        1 copy,   1 out      -1
//! 12:00:17   no input  forgotten            -1: its time is over
//! 12:00:18   -1        nothing              nothing: what is over has been taken back, its retraction has nothing to say
//! ```
//! A row is over when **one** of its conditions that end has ended, and has come when **none** that begin is still to begin.
//!
//! Why rows may go: a row that is over counts 0 in every later answer, whatever becomes of it. A row that has come and never
//! ends counts each of its copies in every later answer, so its deltas go through as they are and nothing has to be known of it.

mod schedule;
mod spec;
#[cfg(test)]
mod tests;

use arrow::array::{Array, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::SchemaRef;
pub use spec::{Comparison, Condition, Limit, TemporalFilterSpec};

use self::schedule::Schedule;
use super::aggregate::closing::times;
use super::keyed::{SavedRow, retraction_without_insert, save_rows, saved_rows};
use super::state_bound::{Growth, Held, StateBound, StatePart};
use super::{Operator, SavedState, TickContext};
use crate::delta::{Delta, Weights};
use crate::error::{Error, Result};
use crate::state::canonical::canonical_columns;
use crate::state::multiset::Multiset;
use crate::state::row_codec::RowCodec;
use crate::state::size::{UnitBytes, grown};

/// A row's weights: copies there are, and copies put out.
const COPIES: usize = 0;
const SHOWN: usize = 1;
/// All rows have one owner.
const ALL: u32 = 0;

/// Where a row stands.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    is_scheduled: bool,
    /// How many of its times are still to come.
    ahead: u32,
}

/// A row's copies, and those of them that were put out.
const WEIGHTS: usize = 2;

/// Rows while their time lasts.
#[derive(Debug)]
pub struct TemporalFilterOperator {
    spec: TemporalFilterSpec,
    codec: RowCodec,
    rows: Multiset,
    schedules: Vec<Schedule>,
    /// By row.
    places: Vec<Place>,
    /// By row, a time for each schedule.
    times: Vec<i64>,
    /// True if rows end.
    ends: bool,
    due_micros: Option<i64>,
}

impl TemporalFilterOperator {
    /// What is kept where the input's rows grow like `input`: rows whose time is not over, or, where none is ever over, has
    /// not come.
    pub fn state_bound(&self, input: Growth) -> StateBound {
        let count = if self.ends { "rows until their time is over" } else { "rows until their time comes" };
        let schedules = self.schedules.len();
        let lasting = grown(size_of::<Place>()) + schedules * grown(size_of::<i64>());
        let bytes_each = Multiset::bytes_each(WEIGHTS, &self.codec)
            + UnitBytes::lasting(lasting)
            + UnitBytes::passing(schedules * Schedule::bytes_each());
        let parts = vec![StatePart::new("a row", count, input.ended(true), bytes_each)];
        StateBound { parts, output: input.ended(self.ends) }
    }

    /// An operator without input so far.
    ///
    /// # Errors
    /// `Internal` if `spec` contradicts itself; `Unsupported` if a column's type has no row format.
    pub fn try_new(spec: TemporalFilterSpec) -> Result<Self> {
        spec.check()?;
        let codec = RowCodec::try_new(spec.input.fields().iter().map(|field| field.data_type().clone()).collect())?;
        let schedules = Schedule::of(&spec.conditions);
        Ok(Self {
            rows: Multiset::new(WEIGHTS, codec.fixed_width()),
            ends: schedules.iter().any(Schedule::ends),
            codec,
            schedules,
            places: Vec::new(),
            times: Vec::new(),
            due_micros: None,
            spec,
        })
    }

    /// Takes back the rows that are over, and notes those whose time has come.
    fn pass_time(&mut self) {
        // Those over first, by any of the times: what is taken out of all schedules here does not come below.
        for n in 0..self.schedules.len() {
            while let Some(row) = self.schedules[n].next_gone() {
                self.unschedule(row);
                self.rows.touch_entry(row, 0)[COPIES] = 0;
            }
        }
        for n in 0..self.schedules.len() {
            while let Some(row) = self.schedules[n].take_come() {
                self.places[row as usize].ahead -= 1;
                self.rows.touch_entry(row, 0);
            }
        }
    }

    /// Adds the rows of a delta that are not over.
    fn fold(&mut self, delta: &Delta) -> Result<()> {
        let columns = delta.rows.columns();
        let of = |schedule: &Schedule| times(&columns[schedule.column]);
        let of_column = self.schedules.iter().map(of).collect::<Result<Vec<_>>>()?;
        let is_over = |row: usize| {
            self.schedules
                .iter()
                .zip(&of_column)
                .any(|(s, times)| columns[s.column].is_null(row) || s.is_over(times[row]))
        };
        let kept: Vec<u32> = (0..delta.num_rows()).filter(|row| !is_over(*row)).map(|row| row as u32).collect();
        if kept.is_empty() {
            return Ok(());
        }
        let columns = match kept.len() == delta.num_rows() {
            true => columns.to_vec(),
            false => take_arrays(columns, &UInt32Array::from(kept.clone()), None)?,
        };
        let encoded = self.codec.encode(&canonical_columns(&columns)?, kept.len())?;
        for (n, row) in kept.iter().map(|row| *row as usize).enumerate() {
            let number = self.rows.entry(ALL, encoded.row(n).data())?;
            self.rows.touch_entry(number, 0)[COPIES] += delta.weight(row);
            self.grow(number);
            if !self.places[number as usize].is_scheduled {
                self.note(number, of_column.iter().map(|times| times[row]));
            }
        }
        Ok(())
    }

    /// Writes down a row's times and how many of them are still to come.
    fn note(&mut self, row: u32, times: impl Iterator<Item = i64>) {
        let (start, mut ahead) = (row as usize * self.schedules.len(), 0);
        for (n, time) in times.enumerate() {
            self.times[start + n] = time;
            ahead += u32::from(self.schedules[n].is_ahead(time));
        }
        self.places[row as usize] = Place { is_scheduled: false, ahead };
    }

    fn grow(&mut self, row: u32) {
        if self.places.len() <= row as usize {
            self.places.resize(row as usize + 1, Place::default());
            self.times.resize(self.places.len() * self.schedules.len(), 0);
        }
    }

    fn schedule(&mut self, row: u32, is_ahead: impl Fn(&Schedule, i64) -> bool) {
        let start = row as usize * self.schedules.len();
        for (n, schedule) in self.schedules.iter_mut().enumerate() {
            let time = self.times[start + n];
            let is_ahead = is_ahead(schedule, time);
            schedule.add(time, row, is_ahead);
        }
        self.places[row as usize].is_scheduled = true;
    }

    fn unschedule(&mut self, row: u32) {
        let start = row as usize * self.schedules.len();
        for (n, schedule) in self.schedules.iter_mut().enumerate() {
            schedule.remove(self.times[start + n], row);
        }
        self.places[row as usize].is_scheduled = false;
    }

    /// Settles the touched rows; returns what is put out of each.
    fn settle(&mut self) -> Result<Option<Delta>> {
        let (mut changed, mut weights) = (Vec::new(), Vec::new());
        for position in 0..self.rows.touched().len() {
            let row = self.rows.touched()[position].entry;
            let (copies, place) = (self.rows.weights(row)[COPIES], self.places[row as usize]);
            let has_come = place.ahead == 0;
            // A row that has come and never ends is not kept, so there is nothing its retraction could be held against: it has
            // no copies here, gets -1, puts out -1, and is forgotten again.
            let is_passing = has_come && !self.ends;
            if copies < 0 && !is_passing {
                return Err(retraction_without_insert());
            }
            let shown = if has_come { copies } else { 0 };
            let change = shown - self.rows.earlier(position)[SHOWN];
            let kept = if is_passing { 0 } else { copies };
            let weight = self.rows.touch_entry(row, 0);
            (weight[COPIES], weight[SHOWN]) = (kept, if is_passing { 0 } else { shown });
            match (kept > 0, place.is_scheduled) {
                (true, false) => self.schedule(row, Schedule::is_ahead),
                (false, true) => self.unschedule(row),
                _ => {}
            }
            if change != 0 {
                changed.push(row);
                weights.push(change);
            }
        }
        let delta = if changed.is_empty() {
            None
        } else {
            let columns = self.codec.decode(changed.iter().map(|row| self.rows.row(*row)))?;
            let rows = RecordBatch::try_new(self.spec.input.clone(), columns);
            let rows = rows.map_err(|e| Error::internal("kept rows do not fit their columns").with_source(e))?;
            Some(Delta { rows, weights: Weights::Signed(Int64Array::from(weights)) })
        };
        self.rows.settle();
        Ok(delta)
    }
}

impl Operator for TemporalFilterOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, tick: &TickContext) -> Result<Vec<Delta>> {
        self.schedules.iter_mut().try_for_each(|schedule| schedule.advance(tick.now_micros))?;
        self.pass_time();
        inputs.iter().flatten().try_for_each(|delta| self.fold(delta))?;
        let delta = self.settle()?;
        let due = self.schedules.iter_mut().map(|schedule| schedule.due_micros(tick.now_micros));
        self.due_micros = due.collect::<Result<Vec<_>>>()?.into_iter().flatten().min();
        Ok(delta.into_iter().collect())
    }

    fn output_schema(&self) -> SchemaRef {
        self.spec.input.clone()
    }

    fn due_micros(&self) -> Option<i64> {
        self.due_micros
    }

    fn save(&mut self) -> Result<SavedState> {
        let rows: Vec<u32> = self.rows.entries(ALL).collect();
        let saved = rows.iter().map(|row| {
            let weights = self.rows.weights(*row);
            SavedRow { slot: *row, weight: weights[COPIES], closed: weights[SHOWN] > 0 }
        });
        let columns =
            |range: std::ops::Range<usize>| self.codec.decode(rows[range].iter().map(|row| self.rows.row(*row)));
        save_rows(&self.spec.partition_columns(), &self.spec.input, &saved.collect::<Vec<_>>(), columns)
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        for saved in saved_rows(state, &self.spec.input)? {
            let of = |schedule: &Schedule| times(&saved.columns[schedule.column]);
            let of_column = self.schedules.iter().map(of).collect::<Result<Vec<_>>>()?;
            let encoded = self.codec.encode(&saved.columns, saved.closed.len())?;
            for row in 0..saved.closed.len() {
                let (copies, has_come) = (saved.weights.value(row), saved.closed.value(row));
                let number = self.rows.entry(ALL, encoded.row(row).data())?;
                let weights = self.rows.touch_entry(number, 0);
                (weights[COPIES], weights[SHOWN]) = (copies, if has_come { copies } else { 0 });
                self.grow(number);
                self.note(number, of_column.iter().map(|times| times[row]));
                // The limits are not known yet, so all of a waiting row's times are still to come.
                self.schedule(number, |schedule, _| !has_come && schedule.begins());
                let begins = self.schedules.iter().filter(|schedule| schedule.begins()).count();
                self.places[number as usize].ahead = if has_come { 0 } else { begins as u32 };
                self.due_micros = Some(i64::MIN);
            }
            self.rows.settle();
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let schedules: usize = self.schedules.iter().map(Schedule::bytes).sum();
        let places = self.places.capacity() * size_of::<Place>() + self.times.capacity() * size_of::<i64>();
        self.rows.bytes() + schedules + places
    }

    fn state_keys(&self) -> usize {
        self.rows.len()
    }

    fn held(&self) -> Vec<Held> {
        vec![Held { units: self.rows.len(), room: self.rows.entries_end(), bytes: self.state_bytes() }]
    }
}
