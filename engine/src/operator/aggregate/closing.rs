//! Which groups the watermark has made final, found without looking at the others.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;

use super::spec::unit_scale;
use super::typed::native::native_values;
use crate::error::{Error, Result};

const NULL_TIME: i64 = i64::MAX;

/// The live slots of groups, by the time in their monotone key.
#[derive(Debug, Default)]
pub(super) struct ClosingIndex {
    buckets: BTreeMap<i64, Vec<u32>>,
    /// Time of each slot, and its place in the time's bucket.
    places: Vec<(i64, u32)>,
}

impl ClosingIndex {
    /// Notes that `slot` closes when the watermark passes `time`.
    pub fn insert(&mut self, slot: u32, time: i64) {
        let bucket = self.buckets.entry(time).or_default();
        if self.places.len() <= slot as usize {
            self.places.resize(slot as usize + 1, (NULL_TIME, 0));
        }
        self.places[slot as usize] = (time, bucket.len() as u32);
        bucket.push(slot);
    }

    /// Forgets `slot`, if it was noted.
    pub fn remove(&mut self, slot: u32) {
        let Some(place) = self.places.get_mut(slot as usize) else { return };
        let (time, position) = std::mem::replace(place, (NULL_TIME, 0));
        let Some(bucket) = self.buckets.get_mut(&time) else { return };
        if bucket.get(position as usize) != Some(&slot) {
            return;
        }
        bucket.swap_remove(position as usize);
        match bucket.get(position as usize) {
            Some(moved) => self.places[*moved as usize].1 = position,
            None if bucket.is_empty() => drop(self.buckets.remove(&time)),
            None => {}
        }
    }

    /// Takes all slots out whose time is below `end`, in the order of time.
    pub fn take_below(&mut self, end: i64) -> Vec<u32> {
        let mut slots = Vec::new();
        while let Some(bucket) = self.buckets.first_entry().filter(|bucket| *bucket.key() < end) {
            slots.extend(bucket.remove());
        }
        // Their places stay as they are: nothing is noted again under a time that is final, so they name no bucket.
        slots
    }

    /// Bytes allocated, tree nodes estimated.
    pub fn bytes(&self) -> usize {
        let slots: usize = self.buckets.values().map(|bucket| bucket.capacity() * size_of::<u32>()).sum();
        slots + self.buckets.len() * 48 + self.places.capacity() * size_of::<(i64, u32)>()
    }
}

/// The times of a monotone key column in the watermark's unit: µs for timestamps, days for dates. `None` for NULL.
pub(super) fn times(column: &ArrayRef) -> Result<Vec<Option<i64>>> {
    let data = column.to_data();
    let valid = |row: usize, time: i64| column.is_valid(row).then_some(time);
    let scaled = |per_unit: i64, units: i64| {
        let times = native_values::<i64>(&data).iter().enumerate();
        // Rounding down keeps "below the watermark" what it was; a time beyond i64 is as good as never.
        times.map(|(row, time)| valid(row, time.div_euclid(units).saturating_mul(per_unit))).collect()
    };
    Ok(match column.data_type() {
        DataType::Timestamp(unit, _) => {
            let (per_micro, per_unit) = unit_scale(*unit);
            scaled(per_unit, per_micro)
        }
        DataType::Date64 => scaled(1, 86_400_000),
        DataType::Date32 => {
            native_values::<i32>(&data).iter().enumerate().map(|(row, day)| valid(row, i64::from(*day))).collect()
        }
        other => return Err(Error::internal(format!("a monotone key of type {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, TimestampNanosecondArray, TimestampSecondArray};

    use super::*;

    #[test]
    fn slots_close_once_and_in_order() {
        let mut index = ClosingIndex::default();
        for (slot, time) in [(0, 30), (1, 10), (2, 20), (3, 10), (4, 10)] {
            index.insert(slot, time);
        }
        index.remove(1);
        index.remove(1);
        assert!(index.take_below(10).is_empty());
        assert_eq!(index.take_below(21), [4, 3, 2]);
        index.insert(1, 5);
        index.remove(3);
        assert_eq!(index.take_below(100), [1, 0]);
        assert!(index.take_below(i64::MAX).is_empty());
    }

    #[test]
    fn times_are_micros_and_days() {
        let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![Some(-1), None, Some(1_999)]));
        assert_eq!(times(&nanos).expect("times"), [Some(-1), None, Some(1)]);
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![2, i64::MAX]));
        assert_eq!(times(&seconds).expect("times"), [Some(2_000_000), Some(i64::MAX)]);
        let days: ArrayRef = Arc::new(Date32Array::from(vec![-3]));
        assert_eq!(times(&days).expect("times"), [Some(-3)]);
    }
}
