//! Arrow columns as slices of machine numbers, whatever they mean, and back.
//!
//! A timestamp, a duration and a bigint are the same 64 bits to `max`; only the output has to know which it was.

use std::fmt::Debug;

use arrow::array::{ArrayData, ArrayRef, ArrowNativeTypeOp, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};

use crate::error::Result;
use crate::state::canonical::canonical_f64;

/// A machine number that a column can be made of.
pub(in super::super) trait Native: ArrowNativeType + ArrowNativeTypeOp + Debug + Send {
    /// An integer that orders as the number does.
    type Ordinal: Ord + Copy + Debug + Send + Default + 'static;
    /// The least ordinal.
    const LEAST: Self::Ordinal;

    /// The number's ordinal: floats in their total order, with one zero, and NaN the greatest.
    fn ordinal(self) -> Self::Ordinal;

    /// The number with this ordinal.
    fn from_ordinal(ordinal: Self::Ordinal) -> Self;
}

macro_rules! integer {
    ($($native:ty),+) => {$(
        impl Native for $native {
            type Ordinal = $native;
            const LEAST: $native = <$native>::MIN;

            fn ordinal(self) -> $native {
                self
            }

            fn from_ordinal(ordinal: $native) -> Self {
                ordinal
            }
        }
    )+};
}

integer!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

/// A float's bits as a signed integer order right for positive floats; negative ones have to be turned round.
impl Native for f32 {
    type Ordinal = i32;
    const LEAST: i32 = i32::MIN;

    fn ordinal(self) -> i32 {
        let bits = if self.is_nan() { f32::NAN } else { self + 0.0 }.to_bits() as i32;
        bits ^ (((bits >> 31) as u32) >> 1) as i32
    }

    fn from_ordinal(ordinal: i32) -> Self {
        Self::from_bits((ordinal ^ (((ordinal >> 31) as u32) >> 1) as i32) as u32)
    }
}

impl Native for f64 {
    type Ordinal = i64;
    const LEAST: i64 = i64::MIN;

    fn ordinal(self) -> i64 {
        let bits = canonical_f64(self).to_bits() as i64;
        bits ^ (((bits >> 63) as u64) >> 1) as i64
    }

    fn from_ordinal(ordinal: i64) -> Self {
        Self::from_bits((ordinal ^ (((ordinal >> 63) as u64) >> 1) as i64) as u64)
    }
}

/// Evaluates `$body` with `$native` standing for the integer that columns of `$data_type` are made of, or `$otherwise`.
macro_rules! with_integer {
    ($data_type:expr, $native:ident => $body:expr, _ => $otherwise:expr) => {{
        use arrow::datatypes::DataType as T;
        macro_rules! body {
            ($type:ty) => {{
                type $native = $type;
                $body
            }};
        }
        match $data_type {
            T::Int8 => body!(i8),
            T::Int16 => body!(i16),
            T::Int32 | T::Date32 | T::Time32(_) | T::Decimal32(_, _) => body!(i32),
            T::Int64 | T::Date64 | T::Time64(_) | T::Timestamp(_, _) | T::Duration(_) | T::Decimal64(_, _) => {
                body!(i64)
            }
            T::UInt8 => body!(u8),
            T::UInt16 => body!(u16),
            T::UInt32 => body!(u32),
            T::UInt64 => body!(u64),
            T::Decimal128(_, _) => body!(i128),
            _ => $otherwise,
        }
    }};
}
pub(in super::super) use with_integer;

/// The numbers of a column; those of NULL rows mean nothing. `N` must be the column's machine number.
pub(in super::super) fn native_values<N: Native>(data: &ArrayData) -> &[N] {
    &data.buffer::<N>(0)[..data.len()]
}

/// A column of `data_type`, whose machine number is `N`.
///
/// # Errors
/// `Data` if the numbers do not make a column of the type.
pub(in super::super) fn native_array<N: Native>(
    data_type: &DataType,
    values: impl Iterator<Item = Option<N>>,
) -> Result<ArrayRef> {
    let (values, valid): (Vec<N>, Vec<bool>) = values.map(|v| (v.unwrap_or_default(), v.is_some())).unzip();
    let data = ArrayData::builder(data_type.clone())
        .len(values.len())
        .nulls(Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0))
        .add_buffer(Buffer::from_vec(values))
        .build()?;
    Ok(make_array(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn float_ordinals_order_as_sql_does() {
        let ordered =
            [f64::NEG_INFINITY, f64::MIN, -1.5, -f64::MIN_POSITIVE, 0.0, 5e-324, 1.0, f64::INFINITY, f64::NAN];
        for pair in ordered.windows(2) {
            assert!(pair[0].ordinal() < pair[1].ordinal(), "{pair:?}");
        }
        for value in ordered {
            assert_eq!(f64::from_ordinal(value.ordinal()).to_bits(), value.to_bits());
            // A tiny negative double is a negative zero as a float.
            let single = value as f32 + 0.0;
            assert_eq!(f32::from_ordinal(single.ordinal()).to_bits(), single.to_bits());
        }
        assert_eq!((-0.0f64).ordinal(), 0.0f64.ordinal());
        assert_eq!((-f32::NAN).ordinal(), f32::NAN.ordinal());
    }
}
