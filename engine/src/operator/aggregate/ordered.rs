//! `min` and `max` where values can be taken back: the group's values in order, counted.
//!
//! One ordered map holds the values of all groups, keyed (slot, value), so a small group costs an entry and not a tree.
//! The answer is the first or the last key of a slot. All values are kept, for any of them is the answer once those before it
//! have gone: of 3, 7, 9 the greatest is 9; `-9` makes it 7, `-7` in the same tick makes it 3.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};

use super::batch::TickBatch;
use super::call::{CallPlan, CallState, KeptValues, TouchedGroups, retraction_without_insert};
use super::hop::Expansion;
use super::typed::native::{Native, native_array, native_values};
use super::typed::{byte_array, byte_column};
use crate::error::Result;
use crate::operator::state_bound::Held;
use crate::state::size::{TEXT_BYTES_GUESS, UnitBytes, grown};

/// Values that can be read from a column, ordered, and made a column again.
pub(super) trait Domain: Debug + Send + 'static {
    /// A value; its default is the least there is.
    type Value: Ord + Clone + Debug + Send;

    /// The least value.
    fn least() -> Self::Value;

    /// Calls `take(value)` for each of `rows` (row numbers) of `column`.
    fn read(column: &ArrayRef, rows: impl Iterator<Item = usize>, take: impl FnMut(usize, Self::Value)) -> Result<()>;

    /// A column of `data_type`.
    fn array<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a Self::Value>>) -> Result<ArrayRef>;

    /// Bytes that a value owns elsewhere.
    fn heap_bytes(value: &Self::Value) -> usize;

    /// The same of a value of the size that values are taken to have.
    fn heap_bytes_each() -> usize {
        0
    }
}

/// Columns of machine number `N`.
#[derive(Debug)]
pub(super) struct Numbers<N>(PhantomData<fn() -> N>);

impl<N: Native> Domain for Numbers<N> {
    type Value = N::Ordinal;

    fn least() -> N::Ordinal {
        N::LEAST
    }

    fn read(
        column: &ArrayRef,
        rows: impl Iterator<Item = usize>,
        mut take: impl FnMut(usize, N::Ordinal),
    ) -> Result<()> {
        let data = column.to_data();
        let values = native_values::<N>(&data);
        rows.for_each(|row| take(row, values[row].ordinal()));
        Ok(())
    }

    fn array<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a N::Ordinal>>) -> Result<ArrayRef> {
        native_array(data_type, values.map(|value| value.map(|ordinal| N::from_ordinal(*ordinal))))
    }

    fn heap_bytes(_: &N::Ordinal) -> usize {
        0
    }
}

/// Columns of strings or byte strings.
#[derive(Debug)]
pub(super) struct Bytes;

impl Domain for Bytes {
    type Value = Box<[u8]>;

    fn least() -> Box<[u8]> {
        Box::default()
    }

    fn read(
        column: &ArrayRef,
        rows: impl Iterator<Item = usize>,
        mut take: impl FnMut(usize, Box<[u8]>),
    ) -> Result<()> {
        let value = byte_column(column)?;
        rows.for_each(|row| take(row, value(row).into()));
        Ok(())
    }

    fn array<'a>(data_type: &DataType, values: impl Iterator<Item = Option<&'a Box<[u8]>>>) -> Result<ArrayRef> {
        byte_array(data_type, values.map(|value| value.map(|bytes| &**bytes)))
    }

    fn heap_bytes(value: &Box<[u8]>) -> usize {
        value.len()
    }

    fn heap_bytes_each() -> usize {
        TEXT_BYTES_GUESS
    }
}

/// One `min` or `max` call over retracting input.
#[derive(Debug)]
pub(super) struct OrderedState<D: Domain> {
    name: String,
    argument: usize,
    filter: Option<usize>,
    data_type: DataType,
    is_max: bool,
    /// (slot, value) to how often it is there.
    values: BTreeMap<(u32, D::Value), i64>,
    /// The tick's changes: (tick group, value, weight).
    pending: Vec<(u32, D::Value, i64)>,
    /// The answer of each slot.
    answers: Vec<Option<D::Value>>,
    /// The answer that each tick group had before.
    before: Vec<Option<D::Value>>,
    heap_bytes: usize,
}

impl<D: Domain> OrderedState<D> {
    /// A tree node has room for 11 entries; inserts in random order leave nodes about two thirds full.
    const ENTRY_BYTES: usize = (size_of::<(u32, D::Value)>() + size_of::<i64>()) * 3 / 2;

    fn value_bytes(&self) -> usize {
        self.values.len() * Self::ENTRY_BYTES + self.heap_bytes
    }

    pub fn new(name: &str, argument: usize, filter: Option<usize>, data_type: DataType, is_max: bool) -> Self {
        Self {
            name: name.to_owned(),
            argument,
            filter,
            data_type,
            is_max,
            values: BTreeMap::new(),
            pending: Vec::new(),
            answers: Vec::new(),
            before: Vec::new(),
            heap_bytes: 0,
        }
    }

    fn best(&self, slot: u32) -> Option<D::Value> {
        let mut values = self.values.range((slot, D::least())..(slot + 1, D::least()));
        let best = if self.is_max { values.next_back() } else { values.next() };
        best.map(|((_, value), _)| value.clone())
    }

    fn change(&mut self, slot: u32, value: D::Value, weight: i64) -> Result<()> {
        use std::collections::btree_map::Entry;
        let bytes = D::heap_bytes(&value);
        let after = match self.values.entry((slot, value)) {
            Entry::Vacant(place) if weight > 0 => {
                place.insert(weight);
                self.heap_bytes += bytes;
                weight
            }
            Entry::Vacant(_) => weight,
            Entry::Occupied(mut count) => {
                let after = count.get().wrapping_add(weight);
                *count.get_mut() = after;
                if after == 0 {
                    count.remove();
                    self.heap_bytes -= bytes;
                }
                after
            }
        };
        if after < 0 { Err(retraction_without_insert(&self.name)) } else { Ok(()) }
    }

    fn reserve(&mut self, slots: usize) {
        if self.answers.len() < slots {
            self.answers.resize(slots, None);
        }
    }
}

impl<D: Domain> CallState for OrderedState<D> {
    fn fold(&mut self, batch: &TickBatch<'_>) -> Result<()> {
        let selection = batch.selection(self.filter, &[self.argument]);
        let mut rows = Vec::new();
        batch.each(selection.as_ref(), |row, group, weight| rows.push((row, group as u32, weight)));
        let mut groups = rows.iter().map(|(_, group, weight)| (*group, *weight));
        let pending = &mut self.pending;
        D::read(batch.rows.column(self.argument), rows.iter().map(|(row, _, _)| *row), |_, value| {
            let (group, weight) = groups.next().expect("as many groups as rows");
            pending.push((group, value, weight));
        })
    }

    fn expand(&mut self, expansion: &Expansion) -> Result<()> {
        let slices = std::mem::take(&mut self.pending);
        for (slice, value, weight) in slices {
            let windows = expansion.windows(slice as usize);
            self.pending.extend(windows.iter().map(|window| (*window, value.clone(), weight)));
        }
        Ok(())
    }

    fn merge(&mut self, touched: &TouchedGroups<'_>, changed: &mut [bool]) -> Result<()> {
        self.reserve(touched.slots_end);
        self.before.extend(touched.slots.iter().map(|slot| self.answers[*slot as usize].clone()));
        let mut pending = std::mem::take(&mut self.pending);
        // Sorted, changes of one value lie together: only their sum has to be legal, and the map is walked in its own order.
        pending.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let mut pending = pending.into_iter().peekable();
        while let Some((group, value, mut weight)) = pending.next() {
            while let Some((_, _, more)) = pending.next_if(|(g, v, _)| *g == group && *v == value) {
                weight = weight.wrapping_add(more);
            }
            if weight != 0 {
                self.change(touched.slots[group as usize], value, weight)?;
            }
        }
        for (group, slot) in touched.slots.iter().enumerate() {
            let best = self.best(*slot);
            changed[group] |= best != self.before[group];
            self.answers[*slot as usize] = best;
        }
        Ok(())
    }

    fn answers(&self, before: &[u32], slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let before = before.iter().map(|group| self.before[*group as usize].as_ref());
        let present = slots.iter().map(|slot| self.answers[*slot as usize].as_ref());
        Ok(vec![D::array(&self.data_type, before.chain(present))?])
    }

    fn end_tick(&mut self) {
        self.pending.clear();
        self.before.clear();
    }

    fn remove(&mut self, slots: &[u32]) {
        for slot in slots {
            let range = self.values.range((*slot, D::least())..(*slot + 1, D::least()));
            let keys: Vec<_> = range.map(|(key, _)| key.clone()).collect();
            for key in keys {
                self.heap_bytes -= D::heap_bytes(&key.1);
                self.values.remove(&key);
            }
            if let Some(answer) = self.answers.get_mut(*slot as usize) {
                *answer = None;
            }
        }
    }

    fn saved_columns(&self) -> Vec<FieldRef> {
        Vec::new()
    }

    fn save_columns(&self, _: &[u32]) -> Result<Vec<ArrayRef>> {
        Ok(Vec::new())
    }

    fn restore_columns(&mut self, slots: &[u32], _: &[ArrayRef]) -> Result<()> {
        self.reserve(slots.iter().max().map_or(0, |slot| *slot as usize + 1));
        Ok(())
    }

    fn saved_rows(&self) -> Vec<FieldRef> {
        let value = Field::new(format!("{}_value", self.name), self.data_type.clone(), false);
        vec![value.into(), Field::new(format!("{}_weight", self.name), DataType::Int64, false).into()]
    }

    fn save_rows(&self, slots: &[u32]) -> Result<(Vec<u32>, Vec<ArrayRef>)> {
        let ranges = slots.iter().map(|slot| self.values.range((*slot, D::least())..(*slot + 1, D::least())));
        let rows: Vec<_> = ranges.flatten().collect();
        let values = D::array(&self.data_type, rows.iter().map(|((_, value), _)| Some(value)))?;
        let weights = Int64Array::from_iter_values(rows.iter().map(|(_, weight)| **weight));
        Ok((rows.iter().map(|((slot, _), _)| *slot).collect(), vec![values, Arc::new(weights)]))
    }

    fn restore_rows(&mut self, slots: &[u32], columns: &[ArrayRef]) -> Result<()> {
        let weights = columns[1].as_primitive::<Int64Type>();
        let mut values = Vec::with_capacity(slots.len());
        D::read(&columns[0], 0..columns[0].len(), |row, value| values.push((row, value)))?;
        for (row, value) in values {
            self.change(slots[row], value, weights.value(row))?;
        }
        for slot in slots {
            self.answers[*slot as usize] = self.best(*slot);
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        let answers = self.answers.capacity() + self.before.capacity();
        self.value_bytes()
            + answers * size_of::<Option<D::Value>>()
            + self.pending.capacity() * size_of::<(u32, D::Value, i64)>()
    }

    fn bytes_each_group(&self) -> UnitBytes {
        UnitBytes::lasting(grown(size_of::<Option<D::Value>>()))
    }

    fn kept_values(&self) -> Option<KeptValues> {
        let bytes_each = UnitBytes::passing(Self::ENTRY_BYTES + D::heap_bytes_each());
        Some(KeptValues { unit: "a value", bytes_each, held: Held::exactly(self.values.len(), self.value_bytes()) })
    }

    fn explain(&self) -> Vec<CallPlan> {
        vec![CallPlan { path: "ordered values", cost: "delta", keeps: "distinct values" }]
    }
}
