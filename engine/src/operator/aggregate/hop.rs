//! Hopping and cumulating windows from slices.
//!
//! Each row is folded once, into its slice. A slice then goes whole into every window that holds it, so a row costs one touch
//! where the plain expansion costs `size / slide`.
//!
//! ```text
//! slices    |--a--|--b--|--c--|--d--|        size = 3 slices, slide = 2 slices
//! windows   [     a,    b,    c    )
//!                       [     c,    d,    e    )
//! ```
//! Cumulating windows share their starts and grow by a step, which is their slice:
//! ```text
//! slices    |--a--|--b--|--c--|--d--|        size = 3 steps
//! windows   [  a  )           [  d  )
//!           [  a,    b  )     [  d, …
//!           [  a,    b,    c  )
//! ```
//! A window is known by its start where windows hop and by its end where they cumulate: its mark.
//!
//! No start or end of a window divides a slice, so a window's rows are the rows of its slices, each of them whole. A tick's
//! partials of its slices, added up by window, are then the partials that folding each row into each of its windows would have
//! given; from there on a window is a group like any other. Slices are forgotten with the tick: only windows are kept.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef};

use super::interner::Interner;
use super::spec::{HopKey, HopSpec, unit_scale};
use super::typed::native::{native_array, native_values};
use crate::error::{Error, Result};

/// Which windows (tick groups of the output) each slice (tick group of the input) goes into.
#[derive(Debug)]
pub(super) struct Expansion {
    /// Where the windows of each slice start in `windows`; one more than slices.
    starts: Vec<usize>,
    windows: Vec<u32>,
    groups_total: usize,
}

impl Expansion {
    /// The windows of a slice.
    pub fn windows(&self, slice: usize) -> &[u32] {
        &self.windows[self.starts[slice]..self.starts[slice + 1]]
    }

    /// Where each slice's windows start, one more than slices; and all slices' windows.
    pub fn to_parts(&self) -> (Vec<usize>, Vec<u32>) {
        (self.starts.clone(), self.windows.clone())
    }

    /// How many windows there are.
    pub fn groups_total(&self) -> usize {
        self.groups_total
    }
}

/// Finds the windows of slices.
#[derive(Debug)]
pub(super) struct Hopper {
    spec: HopSpec,
    /// Whether the output tells windows apart; else rows with equal other keys are one group, whatever their window.
    tells_windows: bool,
    /// The input key columns in the output.
    others: Vec<usize>,
    other_keys: Interner,
}

impl Hopper {
    pub fn try_new(spec: HopSpec, output_keys: &[FieldRef]) -> Result<Self> {
        let mut others = Vec::new();
        let mut fields = Vec::new();
        for (key, field) in spec.output_keys.iter().zip(output_keys) {
            if let HopKey::Column(column) = key {
                others.push(*column);
                fields.push(field.clone());
            }
        }
        let tells_windows = others.len() < spec.output_keys.len();
        Ok(Self { spec, tells_windows, others, other_keys: Interner::try_new(&fields)? })
    }

    /// Expands tick groups keyed by `slices` (the input's key columns) to windows: how, and the windows' key columns.
    ///
    /// Only slices are looked up by their keys: a window is then the number of its other keys and its place in time.
    pub fn expand(&mut self, slices: &[ArrayRef]) -> Result<(Expansion, Vec<ArrayRef>)> {
        let column = &slices[self.spec.slice_key];
        let DataType::Timestamp(unit, _) = column.data_type() else {
            return Err(Error::internal("a slice is not a timestamp"));
        };
        let (per_micro, per_unit) = unit_scale(*unit);
        let other_columns: Vec<ArrayRef> = self.others.iter().map(|other| slices[*other].clone()).collect();
        let mut others = Vec::new();
        self.other_keys.intern(&other_columns, column.len(), &mut others)?;
        let others_total = self.other_keys.len();
        self.other_keys.finish()?;

        let mut marks = Vec::new();
        let mut starts = vec![0];
        for value in native_values::<i64>(&column.to_data()) {
            let micros = value.div_euclid(per_micro).checked_mul(per_unit).ok_or_else(out_of_range)?;
            self.marks_holding(micros, &mut marks)?;
            starts.push(marks.len());
        }
        let mut numbers = WindowNumbers::new(&marks, self.spec.slide_micros, others_total);
        let mut windows = Vec::with_capacity(marks.len());
        // The slice and the mark that each window was first seen with.
        let (mut first_slices, mut first_marks) = (Vec::new(), Vec::new());
        for (slice, other) in others.iter().enumerate() {
            for mark in &marks[starts[slice]..starts[slice + 1]] {
                let next = first_slices.len() as u32;
                let window = numbers.number(*other, if self.tells_windows { *mark } else { numbers.least }, next);
                if window == next {
                    first_slices.push(slice as u32);
                    first_marks.push(*mark);
                }
                windows.push(window);
            }
        }
        let groups_total = first_slices.len();
        let first_slices = UInt32Array::from(first_slices);
        let bound = |of: fn(&HopSpec, i64) -> Option<i64>| -> Result<ArrayRef> {
            let bound = |mark: &i64| of(&self.spec, *mark)?.checked_mul(per_micro)?.checked_div_euclid(per_unit);
            let bounds: Option<Vec<i64>> = first_marks.iter().map(bound).collect();
            native_array(column.data_type(), bounds.ok_or_else(out_of_range)?.into_iter().map(Some))
        };
        let keys = self.spec.output_keys.iter().map(|key| match key {
            HopKey::WindowStart(_) => bound(HopSpec::start),
            HopKey::WindowEnd(_) => bound(HopSpec::end),
            HopKey::Column(column) => Ok(take(&slices[*column], &first_slices, None)?),
        });
        Ok((Expansion { starts, windows, groups_total }, keys.collect::<Result<Vec<_>>>()?))
    }

    /// Appends the marks of all windows that hold the instant.
    fn marks_holding(&self, micros: i64, marks: &mut Vec<i64>) -> Result<()> {
        if !self.spec.cumulative {
            marks.extend(self.starts_holding(micros)?);
            return Ok(());
        }
        let HopSpec { slide_micros, size_micros, origin_micros, .. } = self.spec;
        let since_origin = micros.checked_sub(origin_micros).ok_or_else(out_of_range)?;
        let start = micros.checked_sub(since_origin.rem_euclid(size_micros)).ok_or_else(out_of_range)?;
        let last = start.checked_add(size_micros).ok_or_else(out_of_range)?;
        let first = micros - since_origin.rem_euclid(slide_micros) + slide_micros;
        marks.extend(std::iter::successors(Some(first), |end| (*end < last).then(|| end + slide_micros)));
        Ok(())
    }

    /// The starts of all windows `[start, start + size)` that hold the instant, from the last to the first.
    fn starts_holding(&self, micros: i64) -> Result<impl Iterator<Item = i64> + use<>> {
        let HopSpec { slide_micros, size_micros, origin_micros, .. } = self.spec;
        let since_origin = micros.checked_sub(origin_micros).ok_or_else(out_of_range)?;
        let last = micros.checked_sub(since_origin.rem_euclid(slide_micros)).ok_or_else(out_of_range)?;
        let before_first = micros.checked_sub(size_micros).ok_or_else(out_of_range)?;
        let starts = std::iter::successors(Some(last), move |start| start.checked_sub(slide_micros));
        Ok(starts.take_while(move |start| *start > before_first))
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.other_keys.bytes()
    }

    /// The memory kept from one tick to the next.
    pub fn other_keys(&self) -> &Interner {
        &self.other_keys
    }
}

impl HopSpec {
    /// The start of the window with a mark.
    fn start(&self, mark: i64) -> Option<i64> {
        if !self.cumulative {
            return Some(mark);
        }
        // The end is not within the window.
        let within = mark.checked_sub(1)?;
        within.checked_sub(within.checked_sub(self.origin_micros)?.rem_euclid(self.size_micros))
    }

    /// The end of the window with a mark.
    fn end(&self, mark: i64) -> Option<i64> {
        if self.cumulative { Some(mark) } else { mark.checked_add(self.size_micros) }
    }
}

/// Numbers a tick's windows by other keys and mark.
#[derive(Debug)]
struct WindowNumbers {
    /// The least mark.
    least: i64,
    slide: i64,
    /// Marks a slide apart, from the least to the greatest.
    places: usize,
    /// The number at `other * places + place`, where that takes about as much room as there are windows.
    dense: Vec<u32>,
    sparse: HashMap<(usize, i64), u32>,
}

impl WindowNumbers {
    fn new(marks: &[i64], slide: i64, others: usize) -> Self {
        let (least, most) = (marks.iter().min().copied().unwrap_or(0), marks.iter().max().copied().unwrap_or(0));
        let span = most.checked_sub(least).map(|span| (span / slide) as usize);
        let places = span.and_then(|span| span.checked_add(1)).unwrap_or(usize::MAX);
        let room = others.checked_mul(places).filter(|room| *room <= 8 * marks.len() + 1024);
        let dense = room.map_or_else(Vec::new, |room| vec![u32::MAX; room]);
        Self { least, slide, places, dense, sparse: HashMap::new() }
    }

    /// The window's number: `next` if it has none yet.
    fn number(&mut self, other: usize, mark: i64, next: u32) -> u32 {
        if self.dense.is_empty() {
            return *self.sparse.entry((other, mark)).or_insert(next);
        }
        let place = ((mark - self.least) / self.slide) as usize;
        let number = &mut self.dense[other * self.places + place];
        if *number == u32::MAX {
            *number = next;
        }
        *number
    }
}

fn out_of_range() -> Error {
    Error::data("an event time is too far from 1970 for its windows to have bounds")
}

/// The rows that lie in some window at all: those whose slice is not NULL.
pub(super) fn timed_rows(slices: &ArrayRef) -> Option<BooleanArray> {
    let nulls = slices.logical_nulls().filter(|nulls| nulls.null_count() > 0)?;
    Some(BooleanArray::new(nulls.inner().clone(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hopper(slide: i64, size: i64, origin: i64, cumulative: bool) -> Hopper {
        let (slide_micros, size_micros, origin_micros) = (slide, size, origin);
        let output_keys = Vec::new();
        let spec = HopSpec { slide_micros, size_micros, origin_micros, cumulative, slice_key: 0, output_keys };
        Hopper::try_new(spec, &[]).expect("no keys")
    }

    fn starts(slide: i64, size: i64, origin: i64, at: i64) -> Vec<i64> {
        hopper(slide, size, origin, false).starts_holding(at).expect("in range").collect()
    }

    #[test]
    fn cumulating_windows_hold_every_instant_from_their_start_on() {
        for (step, size, origin) in [(1, 1, 0), (2, 6, 0), (3, 9, 2), (5, 20, -4)] {
            let hopper = hopper(step, size, origin, true);
            for at in -50..50 {
                let mut marks = Vec::new();
                hopper.marks_holding(at, &mut marks).expect("in range");
                let found: Vec<_> =
                    marks.iter().map(|mark| (hopper.spec.start(*mark), hopper.spec.end(*mark))).collect();
                let windows = (-60..60).flat_map(|n| {
                    let start = origin + n * size;
                    (1..=size / step).map(move |steps| (start, start + steps * step))
                });
                let holding = windows.filter(|(start, end)| (*start..*end).contains(&at));
                let expected: Vec<_> = holding.map(|(start, end)| (Some(start), Some(end))).collect();
                assert_eq!(found, expected, "{at}: {step} {size} {origin}");
            }
        }
    }

    #[test]
    fn windows_hold_their_start_and_not_their_end() {
        assert_eq!(starts(2, 10, 0, 10), [10, 8, 6, 4, 2]);
        assert_eq!(starts(2, 10, 0, 11), [10, 8, 6, 4, 2]);
        assert_eq!(starts(4, 6, 0, 9), [8, 4]);
        assert_eq!(starts(4, 6, 1, -3), [-3, -7]);
        // Slides longer than windows leave gaps.
        assert_eq!(starts(10, 3, 0, 2), [0]);
        assert!(starts(10, 3, 0, 3).is_empty());
    }
}
