//! What arrays hold and what they need, and copies of those that hold much more than they need.
//!
//! A slice, or a text column whose values point into a decoder's buffer, keeps the whole buffer alive however few of
//! its bytes are still referenced. Rows stay in a view for long, so what a chunk stores is copied out of such buffers.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, GenericListArray, MutableArrayData, OffsetSizeTrait, StructArray, make_array,
};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

use crate::error::Result;

/// Bytes an array may hold beyond five quarters of what it needs before it is copied.
const SLACK_BYTES: usize = 1024;

/// Data buffers a text column may point into before they are copied into one: each costs an allocation of its own.
const DATA_BUFFERS_MAX: usize = 8;

/// Bytes kept alive by `array`: whole buffers, however little of them it references.
pub(super) fn held_bytes(array: &ArrayRef) -> usize {
    array.get_array_memory_size()
}

/// Bytes a copy of `array` would hold, about.
pub(super) fn needed_bytes(array: &ArrayRef) -> usize {
    let nulls = if array.nulls().is_some() { array.len().div_ceil(8) } else { 0 };
    match array.data_type() {
        DataType::Utf8View => array.len() * 16 + array.as_string_view().total_buffer_bytes_used() + nulls,
        DataType::BinaryView => array.len() * 16 + array.as_binary_view().total_buffer_bytes_used() + nulls,
        DataType::Struct(_) => array.as_struct().columns().iter().map(needed_bytes).sum::<usize>() + nulls,
        DataType::List(_) => needed_bytes(&referenced_values(array.as_list::<i32>())) + array.len() * 4 + nulls,
        DataType::LargeList(_) => needed_bytes(&referenced_values(array.as_list::<i64>())) + array.len() * 8 + nulls,
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| held_bytes(array)),
    }
}

/// `array`, or a copy of it where it keeps much more memory alive than it needs.
///
/// # Errors
/// `Data` if the copy cannot be made; the types a view can have are all supported.
pub(super) fn compact(array: &ArrayRef) -> Result<ArrayRef> {
    let held = held_bytes(array);
    let tight = held <= SLACK_BYTES || held <= needed_bytes(array) / 4 * 5 + SLACK_BYTES;
    if tight && data_buffers(array) <= DATA_BUFFERS_MAX { Ok(array.clone()) } else { copy(array) }
}

/// The most data buffers any text or binary column in `array` points into.
fn data_buffers(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().data_buffers().len(),
        DataType::BinaryView => array.as_binary_view().data_buffers().len(),
        DataType::Struct(_) => array.as_struct().columns().iter().map(data_buffers).max().unwrap_or(0),
        DataType::List(_) => data_buffers(array.as_list::<i32>().values()),
        DataType::LargeList(_) => data_buffers(array.as_list::<i64>().values()),
        _ => 0,
    }
}

fn copy(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::Utf8View => Ok(Arc::new(taken(array)?.as_string_view().gc())),
        DataType::BinaryView => Ok(Arc::new(taken(array)?.as_binary_view().gc())),
        DataType::Struct(fields) => {
            let array = array.as_struct();
            let columns = array.columns().iter().map(copy).collect::<Result<Vec<_>>>()?;
            // The nulls are few bytes, but a slice of them pins its buffer too.
            let nulls = array.nulls().map(|nulls| nulls.iter().collect());
            Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())?))
        }
        DataType::List(_) => copy_list(array.as_list::<i32>()),
        DataType::LargeList(_) => copy_list(array.as_list::<i64>()),
        _ => taken(array),
    }
}

fn copy_list<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> Result<ArrayRef> {
    let values = copy(&referenced_values(array))?;
    let offsets = array.value_offsets();
    let offsets: Vec<O> = offsets.iter().map(|offset| *offset - offsets[0]).collect();
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let nulls = array.nulls().map(|nulls| nulls.iter().collect());
    let field = match array.data_type() {
        DataType::List(field) | DataType::LargeList(field) => field.clone(),
        other => unreachable!("a list array of type {other}"),
    };
    Ok(Arc::new(GenericListArray::try_new(field, offsets, values, nulls)?))
}

/// The slice of the values between the first and the last offset.
fn referenced_values<O: OffsetSizeTrait>(array: &GenericListArray<O>) -> ArrayRef {
    let offsets = array.value_offsets();
    let first = offsets[0].as_usize();
    array.values().slice(first, offsets[array.len()].as_usize() - first)
}

/// A copy of the array's own buffers; text views still share their data buffers.
fn taken(array: &ArrayRef) -> Result<ArrayRef> {
    let data = array.to_data();
    let mut copy = MutableArrayData::new(vec![&data], false, array.len());
    copy.try_extend(0, 0, array.len())?;
    Ok(make_array(copy.freeze()))
}
