//! Sessions: every row gets the bounds of the session it lies in.
//!
//! ```text
//! input rows -> keys: slots -> rows of each key in order of time -> sessions -> rows whose session moved, -old +new
//! ```
//!
//! Two rows of a key are of one session if they are at most the gap apart, or rows between them make the steps that small.
//! A session ends the gap after its last row; a row right at that end still belongs to it. Whatever is computed of sessions is
//! computed above, by an aggregate whose keys are the session's bounds. Rows without a time are in no session: they come out
//! with bounds that are NULL, and never when sessions are answered as they close.
//!
//! # The rule
//! A row's bounds are columns of it. So a row whose session keeps its bounds comes out only if the row itself changed; where the
//! bounds move, each row of the session is taken back with the old ones and put out with the new. Which sessions a tick can move
//! is seen close by: a time that is new can only join what is within the gap of it, one that is gone can only shorten or split
//! the session it was in ([`sessions`]).
//!
//! ```text
//! gap 5 s, one key         sessions              out
//! tick 1   +00 +11         [00] [11]             +(00, 00–05) +(11, 11–16)
//! tick 2   +05             [00 05] [11]          -(00, 00–05) +(00, 00–10) +(05, 00–10)
//! tick 3   +08             [00 05 08 11]         each of the three again, with 00–16, and +(08, 00–16)
//! tick 4   -05             [00] [08 11]          -4 rows of 00–16, +(00, 00–05) +(08, 08–16) +(11, 08–16): 00 and 08 are 8 apart
//! ```
//! # What is kept, and when it goes
//! The rows of sessions that can still move. A row at [`closed_below`](TickContext::closed_below) or later reaches back by the gap
//! and no farther, whether it comes or goes. So a session whose last row is more than the gap before that bound stays as
//! it is, and its rows are forgotten; on close they are put out then, once. A session that ends right at the bound still waits:
//! a row of that very time would belong to it.

mod sessions;
mod spec;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
pub use spec::SessionSpec;

use self::sessions::{Change, Sessions};
use super::aggregate::Emit;
use super::keyed::{Keys, SavedRow, save_rows, saved_rows, unexpected_retraction};
use super::row_layout::RowLayout;
use super::state_bound::{Growth, Held, StateBound, StatePart};
use super::{Operator, SavedState, TickContext};
use crate::delta::{Delta, Weights};
use crate::error::{Error, Result};

/// Assigns rows to sessions.
#[derive(Debug)]
pub struct SessionOperator {
    spec: SessionSpec,
    output: SchemaRef,
    layout: RowLayout,
    keys: Keys,
    sessions: Sessions,
    /// What earlier ticks said of later rows' times.
    closed_below: Option<i64>,
}

impl SessionOperator {
    /// An operator without input so far.
    ///
    /// # Errors
    /// `Internal` if `spec` contradicts itself; `Unsupported` if a column's type has no row format.
    pub fn try_new(spec: SessionSpec) -> Result<Self> {
        spec.check()?;
        let fields: Vec<_> = spec.keys.iter().map(|key| spec.input.fields()[*key].clone()).collect();
        Ok(Self {
            output: spec.output_schema(),
            layout: RowLayout::try_new(&spec.input, &spec.keys, &[])?,
            keys: Keys::try_new(&fields, None)?,
            sessions: Sessions::new(spec.gap_micros),
            closed_below: None,
            spec,
        })
    }

    /// What is kept where the input's rows grow like `input`: keys, sessions and their rows.
    pub fn state_bound(&self, input: Growth) -> StateBound {
        let ended = self.spec.time_is_bounded;
        let growth = input.ended(ended);
        let of = |what: &str| if ended { format!("{what} of open sessions") } else { what.to_owned() };
        let keys = if self.spec.keys.is_empty() { Growth::Constant } else { growth };
        let sessions = if ended { "open sessions" } else { "sessions" };
        let parts = vec![
            StatePart::new("a key", of("keys"), keys, self.keys.bytes_each()),
            StatePart::new("a session", sessions, growth, Sessions::session_bytes_each()),
            StatePart::new("a row", of("rows"), growth, Sessions::row_bytes_each(self.layout.codec())),
        ];
        StateBound { parts, output: input }
    }

    /// Takes in the rows that have a time; those that have none are returned.
    fn fold(&mut self, delta: Delta) -> Result<Option<Delta>> {
        if !self.spec.input_weighted && (0..delta.num_rows()).any(|row| delta.weight(row) != 1) {
            return Err(unexpected_retraction());
        }
        let (timed, timeless) = split(delta, self.spec.time)?;
        let columns = timed.rows.columns();
        let slots = self.keys.slots(&self.layout.keys(columns), timed.num_rows())?;
        let encoded = self.layout.encode(columns, timed.num_rows(), false)?;
        let times = columns[self.spec.time].as_primitive::<TimestampMicrosecondType>().values();
        let end = self.closed_below.unwrap_or(i64::MIN);
        for (row, slot) in slots.into_iter().enumerate() {
            if times[row] < end {
                return Err(Error::internal("a row came for a session that was final"));
            }
            self.sessions.add(slot, times[row], encoded.row(row), timed.weight(row));
        }
        Ok(timeless)
    }

    /// The rows of the sessions that are final, each copy by itself, as they go over an edge without weights.
    fn close(&mut self, tick: &TickContext, empty: &mut BTreeSet<u32>) -> Vec<Change> {
        let end = tick.closed_below.filter(|_| self.spec.time_is_bounded);
        let closes = self.spec.emit == Emit::OnClose;
        let Some(end) = end.filter(|_| closes || tick.evict) else { return Vec::new() };
        let mut answered = Vec::new();
        for (slot, span) in self.sessions.final_before(end) {
            if closes {
                for change in self.sessions.rows_of(slot, span) {
                    let copies = usize::try_from(change.weight).unwrap_or_default();
                    let copy = |_| Change { row: change.row.clone(), weight: 1, ..change };
                    answered.extend((0..copies).map(copy));
                }
            }
            if !tick.evict {
                self.sessions.close(slot, span);
            } else if self.sessions.remove(slot, span) {
                empty.insert(slot);
            }
        }
        answered
    }

    fn delta(&self, changes: &[Change]) -> Result<Option<Delta>> {
        if changes.is_empty() {
            return Ok(None);
        }
        let slots = changes.iter().map(|change| change.slot);
        let mut columns = self.layout.decode(&self.keys, slots, changes.iter().map(|change| change.row.as_ref()))?;
        let zone = columns[self.spec.time].as_primitive::<TimestampMicrosecondType>().timezone().map(Arc::from);
        let starts = changes.iter().map(|change| Some(change.span.start));
        let ends = changes.iter().map(|change| change.span.last.checked_add(self.spec.gap_micros));
        if ends.clone().any(|end| end.is_none()) {
            return Err(Error::data("a session's end is beyond the range of timestamps"));
        }
        let bounds = [starts.collect::<TimestampMicrosecondArray>(), ends.collect::<TimestampMicrosecondArray>()];
        columns.extend(bounds.map(|bound| Arc::new(bound.with_timezone_opt(zone.clone())) as ArrayRef));
        let weights = Int64Array::from_iter_values(changes.iter().map(|change| change.weight));
        Ok(Some(Delta { rows: self.rows(columns)?, weights: Weights::Signed(weights) }))
    }

    /// Rows without a time, with bounds that are NULL.
    fn timeless(&self, delta: Delta) -> Result<Delta> {
        let mut columns = delta.rows.columns().to_vec();
        let bounds = self.spec.bounds.iter().map(|field| new_null_array(field.data_type(), delta.num_rows()));
        columns.extend(bounds);
        Ok(Delta { rows: self.rows(columns)?, weights: delta.weights })
    }

    fn rows(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        let rows = RecordBatch::try_new(self.output.clone(), columns);
        rows.map_err(|e| Error::internal("a session's rows do not fit its output").with_source(e))
    }
}

/// The rows that have a time, and those that have none, if there are some.
fn split(delta: Delta, time: usize) -> Result<(Delta, Option<Delta>)> {
    let times = delta.rows.column(time);
    if times.null_count() == 0 {
        return Ok((delta, None));
    }
    let timed: BooleanArray = (0..delta.num_rows()).map(|row| Some(times.is_valid(row))).collect();
    let of = |kept: &BooleanArray| -> Result<Delta> {
        let weights = (0..delta.num_rows()).filter(|row| kept.value(*row)).map(|row| delta.weight(row));
        let weights = match &delta.weights {
            Weights::Ones => Weights::Ones,
            Weights::Signed(_) => Weights::Signed(Int64Array::from_iter_values(weights)),
        };
        Ok(Delta { rows: filter_record_batch(&delta.rows, kept)?, weights })
    };
    Ok((of(&timed)?, Some(of(&arrow::compute::not(&timed)?)?)))
}

impl Operator for SessionOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, tick: &TickContext) -> Result<Vec<Delta>> {
        let closes = self.spec.emit == Emit::OnClose;
        let mut output = Vec::new();
        for delta in inputs.into_iter().flatten() {
            let timeless = self.fold(delta)?.filter(|_| !closes);
            output.extend(timeless.map(|delta| self.timeless(delta)).transpose()?);
        }
        let (mut changes, empty) = self.sessions.end_tick()?;
        let mut empty: BTreeSet<u32> = empty.into_iter().collect();
        let answered = self.close(tick, &mut empty);
        if closes {
            changes = answered;
        }
        // Before slots are given up: their keys are read here.
        output.extend(self.delta(&changes)?);
        empty.into_iter().for_each(|slot| self.keys.remove(slot));
        self.closed_below = self.closed_below.max(tick.closed_below.filter(|_| self.spec.time_is_bounded));
        Ok(output)
    }

    fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }

    fn save(&mut self) -> Result<SavedState> {
        let kept: Vec<_> = self.sessions.rows().collect();
        let saved = kept.iter().map(|row| SavedRow { slot: row.slot, weight: row.weight, closed: row.closed });
        let columns = |range: std::ops::Range<usize>| {
            let of = &kept[range];
            self.layout.decode(&self.keys, of.iter().map(|row| row.slot), of.iter().map(|row| row.row))
        };
        save_rows(&self.spec.keys, &self.spec.input, &saved.collect::<Vec<_>>(), columns)
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        let mut all = Vec::new();
        for saved in saved_rows(state, &self.spec.input)? {
            let slots = self.keys.slots(&self.layout.keys(&saved.columns), saved.closed.len())?;
            let encoded = self.layout.encode(&saved.columns, slots.len(), false)?;
            let times = saved.columns[self.spec.time].as_primitive::<TimestampMicrosecondType>();
            for (row, slot) in slots.into_iter().enumerate() {
                let (weight, closed) = (saved.weights.value(row), saved.closed.value(row));
                all.push((slot, times.value(row), encoded.row(row).into(), weight, closed));
            }
        }
        self.sessions.restore(all.into_iter());
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.keys.bytes() + self.sessions.bytes()
    }

    fn state_keys(&self) -> usize {
        self.sessions.len()
    }

    fn held(&self) -> Vec<Held> {
        let (rows, bytes) = self.sessions.rows_held();
        vec![
            Held { units: self.keys.len(), room: self.keys.len_max(), bytes: self.keys.bytes() },
            Held::exactly(self.sessions.len(), self.sessions.bytes() - bytes),
            Held::exactly(rows, bytes),
        ]
    }
}
