//! ASOF join: each left row with the right row of its keys that is closest to it in time.
//!
//! ```text
//! left rows  -> keys: slots -> rows in order of time --.
//! right rows -> keys: slots -> rows in order of time ---+-> left rows that a change reaches: -old pair +new pair
//!                                  both watermarks -> rows that no change to come can reach are dropped
//! ```
//! A tick looks again at the left rows that changed, and at those between a right row that came or went and the next one: no
//! other can have another right row now. Of right rows at one time the first by their columns counts, so there is one answer.
//!
//! Looking back (`>=`, `>`), a left row before everything that can still change on the right has its right row for good and is
//! not kept; should it be retracted, its right row is found again, for of the right side the last row before everything
//! that can still come on the left is kept, and all after it.
//!
//! ```text
//! l ASOF JOIN r ON l.ts >= r.ts     r: 00 'a'    l: 10, 12
//! tick 1                            out: +(10, 'a') +(12, 'a')
//! tick 2   r +10 'b'                reaches the left rows from 10 to the next right row, which there is none of:
//!                                   -(10, 'a') +(10, 'b') -(12, 'a') +(12, 'b')
//! tick 3   r +12 'c', l -10         reaches 12, and 10 changed itself: -(10, 'b') -(12, 'b') +(12, 'c')
//! ```
//! Each row looked at again gives back the pair it had, as often as it was there, and puts out the pair it has, as often as it is
//! there; if both are one pair, they cancel. That is the whole difference: a left row that is not reached has the same copies and
//! the same right row in both answers.
//!
//! Looking forward (`<=`, `<`) no row is dropped.

mod spec;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt16Array, new_null_array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
pub use spec::{AsofJoinSpec, Closest, is_supported};

use self::spec::{placed, values};
use self::timeline::{Timeline, When};
use super::keyed::{Keys, ROWS_TABLE, SavedRow, retraction_without_insert, save_rows, saved_rows};
use super::state_bound::{Growth, Held, StateBound, StatePart};
use super::{KEY_GROUP_COLUMN, Operator, SavedState, TickContext};
use crate::delta::{Delta, Weights};
use crate::error::{Error, Result};
use crate::state::canonical::canonical_columns;
use crate::state::key_group::KEY_GROUPS;
use crate::state::row_codec::RowCodec;
use crate::state::size::{UnitBytes, grown};

/// The tables that the sides' rows are saved in.
const TABLES: [&str; 2] = ["rows_left", "rows_right"];
/// Ascending, NULL last: how rows of one time are ordered.
const ORDER: SortOptions = SortOptions { descending: false, nulls_first: false };

/// The table with the time before which left rows have their right row for good.
const FINAL_TABLE: &str = "final";

/// What a tick touches.
#[derive(Debug, Default)]
struct Touched {
    slots: BTreeSet<u32>,
    /// Left rows that are not kept: their slot, when they are looked up, if they can be, and their weight.
    passing: Vec<(u32, Option<i64>, Box<[u8]>, i64)>,
}

/// A left row and its right one, if it has one.
type Pair = (Box<[u8]>, Option<Box<[u8]>>);

/// Joins by the closest time.
#[derive(Debug)]
pub struct AsofJoinOperator {
    spec: AsofJoinSpec,
    keys: Keys,
    /// For each side: the time and the columns that are put out, as bytes.
    codecs: [RowCodec; 2],
    /// A right row of NULLs.
    nulls: Box<[u8]>,
    /// By slot.
    timelines: Vec<Timeline>,
    /// Of each side, the different rows of all timelines and their bytes.
    held: [(usize, usize); 2],
    /// Left rows before this have their right row for good.
    final_before: i64,
}

impl AsofJoinOperator {
    /// An operator without input so far.
    ///
    /// # Errors
    /// `Internal` if `spec` contradicts itself; `Unsupported` if a column's type has no row format.
    pub fn try_new(spec: AsofJoinSpec) -> Result<Self> {
        spec.check()?;
        let codec = |input: &SchemaRef| {
            let columns = input.fields().iter().skip(spec.keys);
            RowCodec::try_ordered(columns.map(|field| (field.data_type().clone(), ORDER)).collect())
        };
        let codecs = [codec(&spec.inputs[0])?, codec(&spec.inputs[1])?];
        let nulls: Vec<ArrayRef> = codecs[1].types().iter().map(|data_type| new_null_array(data_type, 1)).collect();
        let nulls = codecs[1].encode(&nulls, 1)?.row(0).data().into();
        let keys: Vec<_> = spec.inputs[0].fields().iter().take(spec.keys).cloned().collect();
        let keys = Keys::try_new(&keys, None)?;
        Ok(Self { spec, keys, codecs, nulls, timelines: Vec::new(), held: [(0, 0); 2], final_before: i64::MIN })
    }

    /// What is kept where the inputs' rows grow like `inputs`; `bounded` if both sides' later times are bounded. Also then
    /// each key keeps its newest right row, and what it last had on the left, until it changes again.
    pub fn state_bound(&self, inputs: [Growth; 2], bounded: bool) -> StateBound {
        let spec = &self.spec;
        let (ended, single) = (bounded && spec.closest.looks_back(), spec.keys == 0);
        let growth = |side: usize| inputs[side].ended(ended && single);
        let count = |side: &str| match (ended, single) {
            (false, _) => format!("{side} rows"),
            (true, true) => format!("{side} rows within reach"),
            (true, false) => format!("{side} rows within reach of their key's last change"),
        };
        let keys = if single { Growth::Constant } else { inputs[0].max(inputs[1]) };
        let of_keys = if single { "1" } else { "keys of either side" };
        let row = |side: usize, name: &str| {
            let bytes_each = Timeline::row_bytes_each(&self.codecs[side]);
            StatePart::new(format!("a row of the {name} side"), count(name), growth(side), bytes_each)
        };
        let each_key = self.keys.bytes_each() + UnitBytes::lasting(grown(size_of::<Timeline>()));
        let key = StatePart::new("a key", of_keys, keys, each_key);
        StateBound { parts: vec![key, row(0, "left"), row(1, "right")], output: inputs[0] }
    }

    fn key_bytes(&self) -> usize {
        self.keys.bytes() + self.timelines.capacity() * size_of::<Timeline>()
    }

    /// Adds rows of a side; left rows whose right row is found for good are let pass.
    fn fold(
        &mut self,
        side: usize,
        columns: &[ArrayRef],
        weight: impl Fn(usize) -> i64,
        tick: &mut Touched,
    ) -> Result<()> {
        let columns = canonical_columns(columns)?;
        let (keys, rest) = columns.split_at(self.spec.keys);
        let times = values(&rest[0])?;
        let has_key = |row: usize| keys.iter().all(|key| key.is_valid(row));
        let slots = self.keys.slots(keys, times.len())?;
        let encoded = self.codecs[side].encode(rest, times.len())?;
        for (row, slot) in slots.into_iter().enumerate() {
            if self.timelines.len() <= slot as usize {
                self.timelines.resize_with(slot as usize + 1, Timeline::default);
            }
            tick.slots.insert(slot);
            let (time, weight) = (placed(times[row], self.spec.closest, side), weight(row));
            let bytes: Box<[u8]> = encoded.row(row).data().into();
            match (side, time.filter(|_| has_key(row))) {
                (0, Some(time)) if time >= self.final_before => {
                    self.timelines[slot as usize].left.add((time, bytes), weight);
                }
                // Without a key or a time there is no right row; of a time long past it is the one that is there.
                (0, time) => tick.passing.push((slot, time, bytes, weight)),
                (_, Some(time)) => self.timelines[slot as usize].right.add((time, bytes), weight),
                (_, None) => {}
            }
        }
        Ok(())
    }

    /// What the tick changes about the pairs.
    fn changes(&self, tick: &Touched) -> BTreeMap<Pair, i64> {
        let mut changes: BTreeMap<Pair, i64> = BTreeMap::new();
        let mut put = |left: &[u8], right: Option<&[u8]>, weight: i64| {
            if weight != 0 && (right.is_some() || self.spec.outer) {
                *changes.entry((left.into(), right.map(Into::into))).or_default() += weight;
            }
        };
        for slot in &tick.slots {
            let timeline = &self.timelines[*slot as usize];
            for place in timeline.reached() {
                let copies = timeline.left_copies(place);
                put(&place.1, timeline.closest(place.0, When::Before), -copies.before);
                put(&place.1, timeline.closest(place.0, When::Now), copies.now);
            }
        }
        for (slot, time, row, weight) in &tick.passing {
            let right = time.and_then(|time| self.timelines[*slot as usize].closest(time, When::Now));
            put(row, right, *weight);
        }
        changes.retain(|_, weight| *weight != 0);
        changes
    }

    fn settle(&mut self, touched: BTreeSet<u32>, tick: &TickContext) -> Result<()> {
        // A bound of one side's kept rows is by the other side's watermark: what is to come on the right bounds the left ones.
        let [right_bound, left_bound] = tick.matched_below;
        let bounds = right_bound.zip(left_bound).filter(|_| tick.evict && self.spec.closest.looks_back());
        // Left rows to come are looked up at these times or later; right rows to come are at these or later.
        let bounds = bounds.and_then(|(right, left)| {
            Some((placed(Some(right), self.spec.closest, 1)?, placed(Some(left), self.spec.closest, 0)?))
        });
        if let Some((right, _)) = bounds {
            self.final_before = self.final_before.max(right);
        }
        for slot in touched {
            let timeline = &mut self.timelines[slot as usize];
            let legal = timeline.left.settle() & timeline.right.settle();
            if !legal {
                return Err(retraction_without_insert());
            }
            if let Some((right, left)) = bounds {
                // The right row that stands in for all before it must not go any more: it is before what can come on the right.
                timeline.evict(right, left.min(right.saturating_sub(1)));
            }
            for (total, (before, now)) in self.held.iter_mut().zip(timeline.count()) {
                *total = (total.0 + now.0 - before.0, total.1 + now.1 - before.1);
            }
            if timeline.is_empty() {
                *timeline = Timeline::default();
                self.keys.remove(slot);
            }
        }
        Ok(())
    }

    fn delta(&self, changes: BTreeMap<Pair, i64>) -> Result<Option<Delta>> {
        if changes.is_empty() {
            return Ok(None);
        }
        let left = self.codecs[0].decode(changes.keys().map(|(left, _)| left.as_ref()))?;
        let right = changes.keys().map(|(_, right)| right.as_ref().unwrap_or(&self.nulls).as_ref());
        let right = self.codecs[1].decode(right)?;
        let columns = left.into_iter().skip(1).chain(right.into_iter().skip(1)).collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(changes.len()));
        let rows = RecordBatch::try_new_with_options(self.spec.output.clone(), columns, &options);
        let rows = rows.map_err(|e| Error::internal("an ASOF join's rows do not fit its output").with_source(e))?;
        Ok(Some(Delta { rows, weights: Weights::Signed(Int64Array::from_iter_values(changes.into_values())) }))
    }

    fn save_side(&self, side: usize) -> Result<Vec<RecordBatch>> {
        let of = |slot: u32| {
            let timeline = &self.timelines[slot as usize];
            let rows = if side == 0 { &timeline.left } else { &timeline.right };
            rows.rows().map(move |((_, row), copies)| (slot, row.as_ref(), copies))
        };
        let kept: Vec<(u32, &[u8], i64)> = self.keys.live().into_iter().flat_map(of).collect();
        let saved = kept.iter().map(|(slot, _, weight)| SavedRow { slot: *slot, weight: *weight, closed: false });
        let columns = |range: std::ops::Range<usize>| {
            let of = &kept[range];
            let mut columns = self.keys.columns(of.iter().map(|(slot, ..)| *slot))?;
            columns.extend(self.codecs[side].decode(of.iter().map(|(_, row, _)| *row))?);
            Ok(columns)
        };
        let keys: Vec<usize> = (0..self.spec.keys).collect();
        let state = save_rows(&keys, &self.spec.inputs[side], &saved.collect::<Vec<_>>(), columns)?;
        Ok(state.tables.into_iter().flat_map(|(_, batches)| batches).collect())
    }
}

impl Operator for AsofJoinOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, tick: &TickContext) -> Result<Vec<Delta>> {
        let mut touched = Touched::default();
        for (side, deltas) in inputs.iter().enumerate() {
            let mut fold = |delta: &Delta| self.fold(side, delta.rows.columns(), |row| delta.weight(row), &mut touched);
            deltas.iter().try_for_each(&mut fold)?;
        }
        let changes = self.changes(&touched);
        self.settle(touched.slots, tick)?;
        Ok(self.delta(changes)?.into_iter().collect())
    }

    fn output_schema(&self) -> SchemaRef {
        self.spec.output.clone()
    }

    fn save(&mut self) -> Result<SavedState> {
        let mut state = SavedState::default();
        for (side, name) in TABLES.into_iter().enumerate() {
            state.tables.push((name.to_owned(), self.save_side(side)?));
        }
        // Whichever partition a key group goes to has to know it.
        let groups = UInt16Array::from_iter_values(0..KEY_GROUPS);
        let times = Int64Array::from_value(self.final_before, groups.len());
        let batch = RecordBatch::try_new(final_schema(), vec![Arc::new(groups), Arc::new(times)])?;
        state.tables.push((FINAL_TABLE.to_owned(), vec![batch]));
        Ok(state)
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        for (name, batches) in state.tables {
            if name == FINAL_TABLE {
                for batch in &batches {
                    let times = batch.columns().get(1).and_then(|column| column.as_primitive_opt::<Int64Type>());
                    let times = times.ok_or_else(|| Error::data("saved state is not of this operator"))?;
                    self.final_before = times.iter().flatten().fold(self.final_before, i64::max);
                }
                continue;
            }
            let side = TABLES.iter().position(|table| *table == name);
            let side = side.ok_or_else(|| Error::data(format!("saved state has an unknown table {name}")))?;
            let rows = SavedState { tables: vec![(ROWS_TABLE.to_owned(), batches)] };
            let mut touched = Touched::default();
            for saved in saved_rows(rows, &self.spec.inputs[side])? {
                self.fold(side, &saved.columns, |row| saved.weights.value(row), &mut touched)?;
            }
            self.settle(touched.slots, &TickContext::default())?;
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let [left, right] = self.held;
        self.key_bytes() + left.1 + right.1
    }

    fn state_keys(&self) -> usize {
        let [left, right] = self.held;
        self.keys.len() + left.0 + right.0
    }

    fn held(&self) -> Vec<Held> {
        let keys = Held { units: self.keys.len(), room: self.keys.len_max(), bytes: self.key_bytes() };
        [keys].into_iter().chain(self.held.map(|(rows, bytes)| Held::exactly(rows, bytes))).collect()
    }
}

fn final_schema() -> SchemaRef {
    let group = Field::new(KEY_GROUP_COLUMN, DataType::UInt16, false);
    Arc::new(Schema::new(vec![group, Field::new("__final_before", DataType::Int64, false)]))
}
