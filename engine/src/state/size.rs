//! How much memory a unit of state takes, reckoned from its types before there is any.
//!
//! Fixed widths are exact; what a text or a list holds is a stated guess. Memory that grows by doubling is between once and
//! twice what is used of it, so it is reckoned at the root of two, which is off by no more than that factor either way. What grows in
//! pages does so too until its first page is full.

use std::iter::Sum;
use std::ops::Add;
use std::sync::Arc;

use arrow::array::{ArrayRef, GenericListArray, OffsetSizeTrait, StringArray, StructArray, new_null_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, FieldRef, Fields};
use datafusion::common::ScalarValue;

/// Bytes that a text or a byte string is taken to have: what PostgreSQL's planner takes where it has no statistics.
pub const TEXT_BYTES_GUESS: usize = 32;

/// Items that a list is taken to have.
pub const LIST_ITEMS_GUESS: usize = 4;

/// Bytes that a string view has in place; longer texts lie elsewhere.
const VIEW_BYTES_INLINE: usize = 12;

/// What a unit of state takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitBytes {
    /// While it is there.
    pub there: usize,
    /// What of that stays allocated when it has gone, for the next.
    pub gone: usize,
}

impl UnitBytes {
    /// Memory that stays for the next unit.
    pub fn lasting(bytes: usize) -> Self {
        Self { there: bytes, gone: bytes }
    }

    /// Memory that goes with the unit.
    pub fn passing(bytes: usize) -> Self {
        Self { there: bytes, gone: 0 }
    }
}

impl Add for UnitBytes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { there: self.there + other.there, gone: self.gone + other.gone }
    }
}

impl Sum for UnitBytes {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// What `bytes` in a vector that doubles when it is full come to.
pub fn grown(bytes: usize) -> usize {
    bytes * 181 / 128
}

/// What an entry of so many bytes comes to in a hash table: it has a tag byte, and between 7/16 and 7/8 of the places are
/// taken.
pub fn hashed(entry_bytes: usize) -> usize {
    (entry_bytes + 1) * 207 / 128
}

/// One value of a type, of the size that values of it are taken to have.
pub fn sample(data_type: &DataType) -> ArrayRef {
    let text = || -> ArrayRef { Arc::new(StringArray::from(vec!["x".repeat(TEXT_BYTES_GUESS)])) };
    let null = || new_null_array(data_type, 1);
    match data_type {
        DataType::Utf8 => text(),
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            cast(&text(), data_type).unwrap_or_else(|_| null())
        }
        DataType::List(item) => sample_list::<i32>(item).unwrap_or_else(null),
        DataType::LargeList(item) => sample_list::<i64>(item).unwrap_or_else(null),
        DataType::Struct(fields) => sample_struct(fields),
        DataType::Dictionary(_, value) => cast(&sample(value), data_type).unwrap_or_else(|_| null()),
        _ => ScalarValue::new_default(data_type).and_then(|value| value.to_array()).unwrap_or_else(|_| null()),
    }
}

fn sample_list<O: OffsetSizeTrait>(item: &FieldRef) -> Option<ArrayRef> {
    let value = sample(item.data_type());
    let values = concat(&[value.as_ref(); LIST_ITEMS_GUESS]).ok()?;
    let field = Arc::new(item.as_ref().clone().with_nullable(true));
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    Some(Arc::new(GenericListArray::<O>::try_new(field, offsets, values, None).ok()?))
}

fn sample_struct(fields: &Fields) -> ArrayRef {
    let nullable: Fields = fields.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let columns = fields.iter().map(|field| sample(field.data_type())).collect();
    match StructArray::try_new(nullable, columns, None) {
        Ok(one) => Arc::new(one),
        Err(_) => new_null_array(&DataType::Struct(fields.clone()), 1),
    }
}

/// What a value of a type takes in a column.
pub fn column_bytes(data_type: &DataType) -> usize {
    match data_type {
        DataType::Boolean => 1,
        DataType::Utf8View | DataType::BinaryView => {
            16 + if TEXT_BYTES_GUESS > VIEW_BYTES_INLINE { TEXT_BYTES_GUESS } else { 0 }
        }
        DataType::Utf8 | DataType::Binary => 4 + TEXT_BYTES_GUESS,
        DataType::LargeUtf8 | DataType::LargeBinary => 8 + TEXT_BYTES_GUESS,
        DataType::List(item) => 4 + LIST_ITEMS_GUESS * column_bytes(item.data_type()),
        DataType::LargeList(item) => 8 + LIST_ITEMS_GUESS * column_bytes(item.data_type()),
        DataType::FixedSizeList(item, items) => {
            usize::try_from(*items).unwrap_or_default() * column_bytes(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().map(|field| column_bytes(field.data_type())).sum(),
        DataType::Dictionary(key, _) => column_bytes(key),
        DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or_default(),
        // Of the other types nothing is known but that they are there.
        other => other.primitive_width().unwrap_or(16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use arrow::array::Array;
    use arrow::datatypes::{Field, TimeUnit};

    use crate::state::row_codec::RowCodec;

    #[test]
    fn every_type_has_a_sample_of_itself() {
        let text_items = Arc::new(Field::new("item", DataType::Utf8View, true));
        for data_type in [
            DataType::Int64,
            DataType::Boolean,
            DataType::Utf8,
            DataType::Utf8View,
            DataType::Binary,
            DataType::Decimal128(38, 10),
            DataType::Date32,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::List(text_items.clone()),
            DataType::Struct(
                vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)].into(),
            ),
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        ] {
            let one = sample(&data_type);
            assert_eq!(one.len(), 1, "{data_type}");
            assert!(one.data_type().equals_datatype(&data_type), "{data_type}: {}", one.data_type());
            assert!(one.is_valid(0), "{data_type}");
            assert!(column_bytes(&data_type) > 0, "{data_type}");
        }
        let row_bytes = |types: Vec<DataType>| RowCodec::try_new(types).expect("types with a row format").row_bytes();
        assert_eq!(row_bytes(vec![DataType::Int64, DataType::Boolean]), 11);
        assert!(row_bytes(vec![DataType::Utf8View]) > TEXT_BYTES_GUESS);
        assert!(row_bytes(vec![DataType::List(text_items)]) > LIST_ITEMS_GUESS * TEXT_BYTES_GUESS);
    }

    #[test]
    fn what_grows_by_doubling_is_within_the_root_of_two() {
        for used in [100, 1_000, 1_024, 1_025, 40_000] {
            let mut grows: Vec<u64> = Vec::new();
            (0..used).for_each(|n| grows.push(n));
            let (reckoned, held) = (grown(grows.len() * 8), grows.capacity() * 8);
            assert!(reckoned * 10 <= held * 15 && held * 10 <= reckoned * 15, "{used}: {reckoned} for {held}");
        }
    }
}
