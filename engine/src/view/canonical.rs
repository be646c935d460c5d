//! One representation for equal values: -0.0 is stored as 0.0, and every NaN as the same NaN.
//!
//! Equal rows then have equal bytes, which is what rows are compared by.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeListArray, GenericListArray, MapArray, OffsetSizeTrait,
    PrimitiveArray, RecordBatch, StructArray,
};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type, SchemaRef};

use crate::error::Result;
use crate::view::batch::batch_of;

type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// `rows` with canonical floats, as a batch of `schema`, whose types must be those of `rows`.
///
/// # Errors
/// `Data` if the columns are not of `schema`, or a column that must not be null has nulls.
pub(super) fn canonical_rows(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = rows.columns().iter().map(canonical).collect::<Result<Vec<_>>>()?;
    batch_of(schema, columns, rows.num_rows())
}

/// `array` with canonical floats at every depth; the same array where they are canonical already.
fn canonical(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Float16 => canonical_floats::<Float16Type>(
            array,
            |v| v.to_bits() == 0x8000 || v.is_nan(),
            |v| {
                if v.is_nan() { Half::NAN } else { v + Half::ZERO }
            },
        ),
        DataType::Float32 => {
            canonical_floats::<Float32Type>(array, needs_f32, |v| if v.is_nan() { f32::NAN } else { v + 0.0 })
        }
        DataType::Float64 => {
            canonical_floats::<Float64Type>(array, needs_f64, |v| if v.is_nan() { f64::NAN } else { v + 0.0 })
        }
        DataType::Struct(_) => canonical_struct(array)?,
        DataType::List(_) => canonical_list::<i32>(array)?,
        DataType::LargeList(_) => canonical_list::<i64>(array)?,
        DataType::FixedSizeList(field, size) => {
            let list = array.as_fixed_size_list();
            let values = canonical(list.values())?;
            if Arc::ptr_eq(&values, list.values()) {
                return Ok(array.clone());
            }
            let nulls = list.nulls().cloned();
            Arc::new(FixedSizeListArray::try_new_with_length(field.clone(), *size, values, nulls, list.len())?)
        }
        DataType::Map(field, ordered) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let canonical_entries = canonical_struct(&entries)?;
            if Arc::ptr_eq(&entries, &canonical_entries) {
                return Ok(array.clone());
            }
            let entries = canonical_entries.as_struct().clone();
            let nulls = map.nulls().cloned();
            Arc::new(MapArray::try_new(field.clone(), map.offsets().clone(), entries, nulls, *ordered)?)
        }
        _ => array.clone(),
    })
}

fn needs_f32(value: f32) -> bool {
    value.to_bits() == (-0.0f32).to_bits() || value.is_nan()
}

fn needs_f64(value: f64) -> bool {
    value.to_bits() == (-0.0f64).to_bits() || value.is_nan()
}

/// Rewrites a float column if some value in it might not be canonical.
fn canonical_floats<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    needs: impl Fn(T::Native) -> bool,
    rewrite: impl Fn(T::Native) -> T::Native,
) -> ArrayRef {
    let floats: &PrimitiveArray<T> = array.as_primitive();
    if floats.values().iter().any(|value| needs(*value)) {
        Arc::new(floats.unary::<_, T>(rewrite))
    } else {
        array.clone()
    }
}

fn canonical_struct(array: &ArrayRef) -> Result<ArrayRef> {
    let rows = array.as_struct();
    let columns = rows.columns().iter().map(canonical).collect::<Result<Vec<_>>>()?;
    if columns.iter().zip(rows.columns()).all(|(new, old)| Arc::ptr_eq(new, old)) {
        return Ok(array.clone());
    }
    let fields = rows.fields().clone();
    Ok(Arc::new(StructArray::try_new_with_length(fields, columns, rows.nulls().cloned(), rows.len())?))
}

fn canonical_list<O: OffsetSizeTrait>(array: &ArrayRef) -> Result<ArrayRef> {
    let list = array.as_list::<O>();
    let values = canonical(list.values())?;
    if Arc::ptr_eq(&values, list.values()) {
        return Ok(array.clone());
    }
    let field = match list.data_type() {
        DataType::List(field) | DataType::LargeList(field) => field.clone(),
        other => unreachable!("a list array of type {other}"),
    };
    let nulls = list.nulls().cloned();
    Ok(Arc::new(GenericListArray::<O>::try_new(field, list.offsets().clone(), values, nulls)?))
}
