//! One bit pattern for each float value that SQL holds equal.
//!
//! SQL groups -0.0 with 0.0 and NaN with NaN; hashes and row bytes tell their bit patterns apart. Columns go in, the same
//! columns with one zero and one NaN come out. Whatever hashes or compares key bytes, the exchange between partitions
//! included, must do it on canonical columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, make_array};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type, ToByteSlice};

use crate::error::Result;

/// `value` with one zero and one NaN.
pub fn canonical_f64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

/// `column` with one zero and one NaN, also inside lists and structs; the column itself where nothing has to change.
///
/// # Errors
/// `Data` if a nested array cannot be rebuilt.
pub fn canonical_column(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Float16 => canonical_floats::<Float16Type>(column, |v| {
            if v.is_nan() {
                <Float16Type as ArrowPrimitiveType>::Native::NAN
            } else if v.to_bits() == 0x8000 {
                <Float16Type as ArrowPrimitiveType>::Native::from_bits(0)
            } else {
                v
            }
        }),
        DataType::Float32 => canonical_floats::<Float32Type>(column, |v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
        DataType::Float64 => canonical_floats::<Float64Type>(column, canonical_f64),
        data_type if has_floats(data_type) => {
            let data = column.to_data();
            let children = data.child_data().iter();
            let children = children.map(|child| Ok(canonical_column(&make_array(child.clone()))?.to_data()));
            let children = children.collect::<Result<Vec<_>>>()?;
            make_array(data.into_builder().child_data(children).build()?)
        }
        _ => Arc::clone(column),
    })
}

/// All of `columns`, canonical.
///
/// # Errors
/// As [`canonical_column`].
pub fn canonical_columns(columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    columns.iter().map(canonical_column).collect()
}

fn canonical_floats<T: ArrowPrimitiveType>(column: &ArrayRef, canonical: impl Fn(T::Native) -> T::Native) -> ArrayRef {
    let floats: &PrimitiveArray<T> = column.as_primitive();
    if floats.values().iter().all(|v| v.to_byte_slice() == canonical(*v).to_byte_slice()) {
        return Arc::clone(column);
    }
    Arc::new(floats.unary::<_, T>(canonical))
}

/// True if values of this type, or within them, can be equal and yet differ in their bits.
pub fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_floats(field.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::Dictionary(_, values) => has_floats(values),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, ListArray};

    use super::*;

    #[test]
    fn one_zero_and_one_nan() {
        let odd = f64::from_bits(0xfff8_0000_0000_0001);
        let column: ArrayRef = Arc::new(Float64Array::from(vec![Some(-0.0), Some(odd), None, Some(1.5)]));
        let bits = |array: &ArrayRef| {
            array.as_primitive::<Float64Type>().iter().map(|v| v.map(f64::to_bits)).collect::<Vec<_>>()
        };
        let expected = vec![Some(0), Some(f64::NAN.to_bits()), None, Some(1.5f64.to_bits())];
        assert_eq!(bits(&canonical_column(&column).expect("floats")), expected);

        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(1.0), Some(-0.0)]),
            None,
            Some(vec![Some(odd)]),
        ]));
        let list = canonical_column(&list.slice(0, 3)).expect("lists");
        assert_eq!(bits(list.as_list::<i32>().values()), [1.0, 0.0, f64::NAN].map(|v| Some(v.to_bits())));
    }

    #[test]
    fn an_unchanged_column_is_not_copied() {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 1.0, f64::NAN]));
        assert!(Arc::ptr_eq(&column, &canonical_column(&column).expect("floats")));
    }
}
