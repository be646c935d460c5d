//! `sum` and `avg` of integers, durations and decimals.
//!
//! Totals are kept wider than any sum that can be answered and wrap on overflow, which addition undoes exactly; so a total is
//! right whenever the true one fits, in whatever order rows came and went. Only the answer is checked against its type.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::{DataType, Int64Type, i256};
use arrow::error::ArrowError;

use super::Kernel;
use super::native::{Native, native_array, native_values};
use crate::error::{Error, Result};
use crate::operator::aggregate::batch::TickBatch;

/// A total of integers, modulo its width.
pub(in super::super) trait Total: Copy + Default + PartialEq + Debug + Send + 'static {
    /// Bytes of a saved total.
    const BYTES: i32;

    /// Adds `weight` times `value`.
    fn add(&mut self, value: i128, weight: i64);

    /// Adds another total.
    fn absorb(&mut self, other: &Self);

    /// The total.
    fn value(self) -> i256;

    /// Little-endian bytes.
    fn to_bytes(self) -> Vec<u8>;

    /// From little-endian bytes, as many as [`BYTES`](Self::BYTES).
    fn from_bytes(bytes: &[u8]) -> Self;
}

/// 128 bits: enough for values below 2^63 in size, whatever their weights. Two halves, so that a cell takes 24 bytes, not 32.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in super::super) struct Narrow {
    low: u64,
    high: i64,
}

impl Narrow {
    fn get(self) -> i128 {
        i128::from(self.high) << 64 | i128::from(self.low)
    }

    fn set(&mut self, value: i128) {
        (self.low, self.high) = (value as u64, (value >> 64) as i64);
    }
}

impl Total for Narrow {
    const BYTES: i32 = 16;

    #[inline]
    fn add(&mut self, value: i128, weight: i64) {
        self.set(self.get().wrapping_add(value.wrapping_mul(i128::from(weight))));
    }

    fn absorb(&mut self, other: &Self) {
        self.set(self.get().wrapping_add(other.get()));
    }

    fn value(self) -> i256 {
        i256::from_i128(self.get())
    }

    fn to_bytes(self) -> Vec<u8> {
        self.get().to_le_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut total = Self::default();
        total.set(i128::from_le_bytes(bytes.try_into().expect("the column's width was checked")));
        total
    }
}

/// 256 bits: enough for decimals of 38 digits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in super::super) struct Wide(i256);

impl Total for Wide {
    const BYTES: i32 = 32;

    #[inline]
    fn add(&mut self, value: i128, weight: i64) {
        let value = i256::from_i128(value);
        let value = if weight == 1 { value } else { value.wrapping_mul(i256::from(weight)) };
        self.0 = self.0.wrapping_add(value);
    }

    fn absorb(&mut self, other: &Self) {
        self.0 = self.0.wrapping_add(other.0);
    }

    fn value(self) -> i256 {
        self.0
    }

    fn to_bytes(self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Self(i256::from_le_bytes(bytes.try_into().expect("the column's width was checked")))
    }
}

/// Sums values of machine number `N` into totals of `T`.
#[derive(Debug)]
pub(in super::super) struct SumKernel<N, T> {
    argument: [usize; 1],
    output: DataType,
    is_average: bool,
    /// Decimal places that the answer has more than the argument.
    scale_up: u32,
    types: PhantomData<fn() -> (N, T)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in super::super) struct SumCell<T> {
    total: T,
    count: i64,
}

impl<N: Native + Into<i128>, T: Total> SumKernel<N, T> {
    /// `N` must be the machine number of `input`; `output` is a type that [`needs_wide`] allows.
    pub fn new(argument: usize, input: &DataType, output: DataType, is_average: bool) -> Self {
        let scale = |data_type: &DataType| match data_type {
            DataType::Decimal32(_, s) | DataType::Decimal64(_, s) | DataType::Decimal128(_, s) => i32::from(*s),
            _ => 0,
        };
        let scale_up = (scale(&output) - scale(input)).max(0) as u32;
        Self { argument: [argument], output, is_average, scale_up, types: PhantomData }
    }

    fn exact(&self, cell: &SumCell<T>) -> Result<Option<i256>> {
        if cell.count == 0 {
            return Ok(None);
        }
        let total = cell.total.value();
        if !self.is_average {
            return Ok(Some(total));
        }
        // As DataFusion's batch average: scaled up, then divided towards zero.
        let scaled = i256::from_i128(10).checked_pow(self.scale_up).and_then(|factor| total.checked_mul(factor));
        Ok(Some(scaled.ok_or_else(out_of_range)?.wrapping_div(i256::from(cell.count))))
    }

    fn numbers<'a, O: Native + TryFrom<i128>>(&self, cells: impl Iterator<Item = &'a SumCell<T>>) -> Result<ArrayRef> {
        let limit = decimal_limit(&self.output);
        let number = |cell: &SumCell<T>| -> Result<Option<O>> {
            let Some(exact) = self.exact(cell)? else { return Ok(None) };
            let exact = exact.to_i128().filter(|v| limit.is_none_or(|limit| v.unsigned_abs() < limit));
            Ok(Some(exact.and_then(|v| O::try_from(v).ok()).ok_or_else(out_of_range)?))
        };
        let numbers = cells.map(number).collect::<Result<Vec<_>>>()?;
        native_array(&self.output, numbers.into_iter())
    }

    fn averages<'a>(&self, cells: impl Iterator<Item = &'a SumCell<T>>) -> Result<ArrayRef> {
        native_array(&self.output, cells.map(average))
    }
}

/// The average of integers, whose total fits 128 bits.
fn average<T: Total>(cell: &SumCell<T>) -> Option<f64> {
    (cell.count != 0).then(|| cell.total.value().as_i128() as f64 / cell.count as f64)
}

/// Whether a sum or average of `input` can be answered as `output`, and if so whether totals must be [`Wide`].
pub(in super::super) fn needs_wide(input: &DataType, output: &DataType, is_average: bool) -> Option<bool> {
    use DataType::{Decimal32, Decimal64, Decimal128, Duration, Float64, Int64, UInt64};
    match (input, output) {
        (input, Float64) if input.is_integer() => is_average.then_some(false),
        (input, Int64 | UInt64) if input.is_integer() => (!is_average).then_some(false),
        (Duration(input), Duration(output)) if input == output => Some(false),
        // Below 10^19 a value is below 2^63.2, and weights add up to less than 2^63.
        (
            Decimal32(digits, from) | Decimal64(digits, from) | Decimal128(digits, from),
            Decimal32(_, to) | Decimal64(_, to) | Decimal128(_, to),
        ) if to >= from && (is_average || from == to) => Some(*digits > 19),
        _ => None,
    }
}

fn out_of_range() -> Error {
    let message = "the sum of a group is out of the output type's range";
    Error::data(message).with_source(ArrowError::ArithmeticOverflow(message.into()))
}

fn decimal_limit(data_type: &DataType) -> Option<u128> {
    match data_type {
        DataType::Decimal32(digits, _) | DataType::Decimal64(digits, _) | DataType::Decimal128(digits, _) => {
            10u128.checked_pow(u32::from(*digits))
        }
        _ => None,
    }
}

impl<N: Native + Into<i128>, T: Total> Kernel for SumKernel<N, T> {
    type Cell = SumCell<T>;

    fn arguments(&self) -> &[usize] {
        &self.argument
    }

    fn fold(&self, batch: &TickBatch<'_>, selection: Option<&BooleanBuffer>, cells: &mut [Self::Cell]) -> Result<()> {
        let data = batch.rows.column(self.argument[0]).to_data();
        let values = native_values::<N>(&data);
        batch.each(selection, |row, group, weight| {
            let cell = &mut cells[group];
            cell.total.add(values[row].into(), weight);
            cell.count = cell.count.wrapping_add(weight);
        });
        Ok(())
    }

    fn absorb(&self, cell: &mut Self::Cell, other: &Self::Cell) {
        cell.total.absorb(&other.total);
        cell.count = cell.count.wrapping_add(other.count);
    }

    fn same_answer(&self, a: &Self::Cell, b: &Self::Cell) -> bool {
        if a == b {
            return true;
        }
        if (a.count == 0) != (b.count == 0) {
            return false;
        }
        match self.output {
            _ if !self.is_average => a.total == b.total,
            DataType::Float64 => average(a) == average(b),
            _ => matches!((self.exact(a), self.exact(b)), (Ok(a), Ok(b)) if a == b),
        }
    }

    fn is_legal(&self, cell: &Self::Cell, rows: i64) -> bool {
        (0..=rows).contains(&cell.count) && (cell.count > 0 || cell.total == T::default())
    }

    fn answers<'a>(&self, cells: impl Iterator<Item = &'a Self::Cell>) -> Result<ArrayRef> {
        match &self.output {
            DataType::Float64 => self.averages(cells),
            DataType::UInt64 => self.numbers::<u64>(cells),
            DataType::Decimal32(..) => self.numbers::<i32>(cells),
            DataType::Decimal128(..) => self.numbers::<i128>(cells),
            _ => self.numbers::<i64>(cells),
        }
    }

    fn saved(&self) -> Vec<(&'static str, DataType)> {
        vec![("total", DataType::FixedSizeBinary(T::BYTES)), ("count", DataType::Int64)]
    }

    fn save<'a>(&self, cells: impl Iterator<Item = &'a Self::Cell>) -> Result<Vec<ArrayRef>> {
        let (totals, counts): (Vec<_>, Vec<_>) = cells.map(|cell| (cell.total.to_bytes(), cell.count)).unzip();
        let totals = FixedSizeBinaryArray::try_from_sparse_iter_with_size(totals.into_iter().map(Some), T::BYTES)?;
        Ok(vec![Arc::new(totals), Arc::new(Int64Array::from(counts))])
    }

    fn restore(&self, columns: &[ArrayRef]) -> Result<Vec<Self::Cell>> {
        let (totals, counts) = (columns[0].as_fixed_size_binary(), columns[1].as_primitive::<Int64Type>());
        let cell = |row| SumCell { total: T::from_bytes(totals.value(row)), count: counts.value(row) };
        Ok((0..totals.len()).map(cell).collect())
    }
}
