//! Hopping windows from slices.
//!
//! Each row is folded once, into its slice. A slice then goes whole into every window that holds it, so a row costs one touch
//! where the plain expansion costs `size / slide`.
//!
//! ```text
//! slices    |--a--|--b--|--c--|--d--|        size = 3 slices, slide = 2 slices
//! windows   [     a,    b,    c    )
//!                       [     c,    d,    e    )
//! ```

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
    /// The output keys that tell windows apart.
    told: Vec<usize>,
    windows: Interner,
}

impl Hopper {
    pub fn try_new(spec: HopSpec, output_keys: &[FieldRef]) -> Result<Self> {
        // A window's end says nothing that its start does not, unless the start is not asked for.
        let start = spec.output_keys.iter().position(|key| matches!(key, HopKey::WindowStart(_)));
        let is_told = |(index, key): &(usize, &HopKey)| match key {
            HopKey::WindowStart(_) => Some(*index) == start,
            HopKey::WindowEnd(_) => start.is_none(),
            HopKey::Column(_) => true,
        };
        let told: Vec<usize> = spec.output_keys.iter().enumerate().filter(is_told).map(|(index, _)| index).collect();
        let fields: Vec<FieldRef> = told.iter().map(|index| output_keys[*index].clone()).collect();
        Ok(Self { spec, told, windows: Interner::try_new(&fields)? })
    }

    /// Expands tick groups keyed by `slices` (the input's key columns) to windows: how, and the windows' key columns.
    pub fn expand(&mut self, slices: &[ArrayRef]) -> Result<(Expansion, Vec<ArrayRef>)> {
        let column = &slices[self.spec.slice_key];
        let DataType::Timestamp(unit, _) = column.data_type() else {
            return Err(Error::internal("a slice is not a timestamp"));
        };
        let (per_micro, per_unit) = unit_scale(*unit);
        let mut parents = Vec::new();
        let mut window_starts = Vec::new();
        let mut starts = vec![0];
        for (slice, value) in native_values::<i64>(&column.to_data()).iter().enumerate() {
            let micros = value.div_euclid(per_micro).checked_mul(per_unit).ok_or_else(out_of_range)?;
            for start in self.starts_holding(micros)? {
                parents.push(slice as u32);
                window_starts.push(start);
            }
            starts.push(parents.len());
        }
        let bound = |starts: &[i64], offset: i64| -> Result<ArrayRef> {
            let bound = |start: &i64| start.checked_add(offset)?.checked_mul(per_micro)?.checked_div_euclid(per_unit);
            let bounds: Option<Vec<i64>> = starts.iter().map(bound).collect();
            native_array(column.data_type(), bounds.ok_or_else(out_of_range)?.into_iter().map(Some))
        };
        let parents = UInt32Array::from(parents);
        let size = self.spec.size_micros;
        let keys = self.told.iter().map(|key| match &self.spec.output_keys[*key] {
            HopKey::WindowStart(_) => bound(&window_starts, 0),
            HopKey::WindowEnd(_) => bound(&window_starts, size),
            HopKey::Column(column) => Ok(take(&slices[*column], &parents, None)?),
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let mut ids = Vec::new();
        self.windows.intern(&keys, parents.len(), &mut ids)?;
        let groups_total = self.windows.len();
        // The start of each window, from the first slice in it.
        let mut starts_of_windows = vec![0; groups_total];
        ids.iter().zip(&window_starts).for_each(|(id, start)| starts_of_windows[*id] = *start);
        let mut told = self.told.iter().zip(self.windows.finish()?).peekable();
        let keys = self.spec.output_keys.iter().enumerate().map(|(index, key)| {
            match told.next_if(|(told, _)| **told == index) {
                Some((_, column)) => Ok(column),
                None => bound(&starts_of_windows, if matches!(key, HopKey::WindowEnd(_)) { size } else { 0 }),
            }
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let windows = ids.into_iter().map(|id| id as u32).collect();
        Ok((Expansion { starts, windows, groups_total }, keys))
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
        self.windows.bytes()
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

    fn starts(slide: i64, size: i64, origin: i64, at: i64) -> Vec<i64> {
        let spec = HopSpec {
            slide_micros: slide,
            size_micros: size,
            origin_micros: origin,
            slice_key: 0,
            output_keys: Vec::new(),
        };
        let hopper = Hopper::try_new(spec, &[]).expect("no keys");
        hopper.starts_holding(at).expect("in range").collect()
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
