//! One declared column: checks each record's value against its type and, where some view uses it, keeps it.
//!
//! In: a [`Value`] of the record. Out, a batch at a time: an Arrow array. A record that fails in its last column must
//! leave no trace in the first: columns of fixed width and bytes are appended to as they are checked, and cut back after
//! a failure; texts, lists and objects are only checked then, and appended once nothing can fail any more.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, BooleanBufferBuilder, ListArray, NullBufferBuilder,
    PrimitiveArray, StructArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, FieldRef, Fields, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, i256,
};

use super::convert::{self, Record};
use super::inside::Inside;
use super::mismatch::{Mismatch, Trouble};
use super::scan::{Kind, Scanner, Value};
use super::text::{Texts, compact, escapes_nul, take, unescape};
use super::time::LastMinute;
use super::types::{EpochUnit, SqlType, is_json};
use crate::error::{Error, Result};

/// One declared column, or the element of a list, or a field of an object.
#[derive(Debug)]
pub(super) struct Column {
    field: FieldRef,
    /// Whether it may be NULL; an event time may not, whatever its declaration says.
    nullable: bool,
    /// Whether values are kept as they are checked, or later, or not at all.
    keep: Keep,
    /// The kinds of value, as a set, that need no check: all of them fit, and nothing is kept of them then.
    settled: u16,
    values: Values,
    nulls: NullBufferBuilder,
}

/// When a column's values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Never,
    AtOnce,
    Late,
}

/// The values of a column, by its type; an unspecified one stands under each NULL.
#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    Decimal128(Vec<i128>, u8, i8),
    Decimal256(Vec<i256>, u8, i8),
    Text(Texts),
    Json(Texts),
    Timestamp {
        micros: Vec<i64>,
        unit: EpochUnit,
        last: LastMinute,
    },
    Date(Vec<i32>),
    Time(Vec<i64>),
    Binary {
        offsets: Vec<i32>,
        bytes: Vec<u8>,
    },
    List {
        offsets: Vec<i32>,
        element: Box<Column>,
    },
    /// The fields of an object, and where the record at hand has them.
    Struct {
        columns: Vec<Column>,
        found: Vec<Value>,
    },
}

impl Values {
    /// The kinds of value, as a set, of which every one fits the type.
    fn fitting_kinds(&self) -> u16 {
        const NUMBERS: u16 = Kind::INTEGER.set() | Kind::NUMBER.set();
        const SIMPLE: u16 = Kind::TRUE.set() | Kind::FALSE.set() | NUMBERS | Kind::STRING.set();
        match self {
            Self::Boolean(_) => Kind::TRUE.set() | Kind::FALSE.set(),
            Self::Int64(_) => Kind::INTEGER.set(),
            Self::Float64(_) => NUMBERS,
            Self::Text(_) => SIMPLE | Kind::OBJECT.set() | Kind::ARRAY.set(),
            Self::Json(_) => SIMPLE,
            _ => 0,
        }
    }
}

impl Column {
    /// A column for `field`, whose values are kept if `keep` and may be NULL if `nullable`.
    ///
    /// # Errors
    /// `Unsupported` for a type JSON is not decoded to, `Input` for options that make no sense.
    pub fn new(field: &FieldRef, keep: bool, nullable: bool) -> Result<Self> {
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            &DataType::Decimal128(precision, scale) => {
                PrimitiveArray::<Decimal128Type>::new_null(0).with_precision_and_scale(precision, scale)?;
                Values::Decimal128(Vec::new(), precision, scale)
            }
            &DataType::Decimal256(precision, scale) => {
                PrimitiveArray::<Decimal256Type>::new_null(0).with_precision_and_scale(precision, scale)?;
                Values::Decimal256(Vec::new(), precision, scale)
            }
            DataType::Utf8View if is_json(field) => Values::Json(Texts::default()),
            DataType::Utf8View => Values::Text(Texts::default()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Values::Timestamp { micros: Vec::new(), unit: EpochUnit::of(field)?, last: LastMinute::default() }
            }
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Time64(TimeUnit::Microsecond) => Values::Time(Vec::new()),
            DataType::Binary => Values::Binary { offsets: vec![0], bytes: Vec::new() },
            DataType::List(element) => {
                Values::List { offsets: vec![0], element: Box::new(Self::new(element, keep, element.is_nullable())?) }
            }
            DataType::Struct(fields) => {
                let columns = fields
                    .iter()
                    .map(|field| Self::new(field, keep, field.is_nullable()))
                    .collect::<Result<Vec<_>>>()?;
                Values::Struct { found: vec![Value::default(); columns.len()], columns }
            }
            _ => {
                let (name, sql_type) = (field.name(), SqlType(field));
                return Err(Error::unsupported(format!("column \"{name}\": JSON is not decoded to {sql_type}")));
            }
        };
        let late = matches!(values, Values::Text(_) | Values::Json(_) | Values::List { .. } | Values::Struct { .. });
        let keep = match (keep, late) {
            (false, _) => Keep::Never,
            (true, false) => Keep::AtOnce,
            (true, true) => Keep::Late,
        };
        let settled = if keep == Keep::AtOnce {
            0
        } else {
            values.fitting_kinds() | if nullable { Kind::MISSING.set() | Kind::NULL.set() } else { 0 }
        };
        Ok(Self { field: Arc::clone(field), nullable, keep, settled, values, nulls: NullBufferBuilder::new(0) })
    }

    /// The declaration.
    pub fn field(&self) -> &FieldRef {
        &self.field
    }

    /// Whether values are kept.
    pub fn keeps(&self) -> bool {
        self.keep != Keep::Never
    }

    /// Whether values are kept late: by [`append`](Self::append), after all columns have checked theirs.
    pub fn keeps_late(&self) -> bool {
        self.keep == Keep::Late
    }

    /// The values of a timestamp column, one a row.
    pub fn micros(&self) -> &[i64] {
        match &self.values {
            Values::Timestamp { micros, .. } => micros,
            _ => &[],
        }
    }

    /// Checks `value`, and appends it unless values are kept late or not at all. After an error the column must be cut
    /// back.
    #[inline(always)]
    pub fn check(&mut self, value: Value, record: &mut Record<'_>) -> Result<(), Mismatch> {
        if value.is_in(self.settled) { Ok(()) } else { self.take(value, record, self.keep == Keep::AtOnce) }
    }

    /// Appends `value`, which was checked before.
    pub fn append(&mut self, value: Value, record: &mut Record<'_>) {
        self.take(value, record, true).expect("a value that was checked fits");
    }

    /// Appends NULL, also where the column is NOT NULL, if its values are kept.
    pub fn append_missing(&mut self) {
        if self.keeps() {
            self.push_null();
        }
    }

    /// Says what integers of a timestamp column count from now on. Other columns have none.
    pub fn set_epoch_unit(&mut self, epoch_unit: EpochUnit) {
        if let Values::Timestamp { unit, .. } = &mut self.values {
            *unit = epoch_unit;
        }
    }

    /// Checks `value` and, if `keep`, appends it.
    #[inline(always)]
    fn take(&mut self, value: Value, record: &mut Record<'_>, keep: bool) -> Result<(), Mismatch> {
        if value.kind().is_null() {
            return self.take_null(value, keep);
        }
        match &mut self.values {
            Values::Int64(values) => push(values, convert::integer(value, record)?, keep),
            Values::Timestamp { micros, unit, last } => {
                push(micros, convert::timestamp(value, record, *unit, last)?, keep);
            }
            Values::Text(texts) => text(texts, value, record, keep)?,
            _ => self.take_other_types(value, record, keep)?,
        }
        if keep {
            self.nulls.append_non_null();
        }
        Ok(())
    }

    /// [`take`](Self::take) for a value inside another; it recurses as deep as the column's type does.
    #[inline(never)]
    fn take_nested(&mut self, value: Value, record: &mut Record<'_>, keep: bool) -> Result<(), Mismatch> {
        self.take(value, record, keep)
    }

    #[inline(never)]
    fn take_other_types(&mut self, value: Value, record: &mut Record<'_>, keep: bool) -> Result<(), Mismatch> {
        match &mut self.values {
            Values::Boolean(values) => {
                let value = convert::boolean(value)?;
                if keep {
                    values.append(value);
                }
            }
            Values::Int16(values) => push(values, convert::narrow_integer(value, record)?, keep),
            Values::Int32(values) => push(values, convert::narrow_integer(value, record)?, keep),
            Values::Float32(values) => push(values, convert::float32(value, record)?, keep),
            Values::Float64(values) => push(values, convert::float64(value, record)?, keep),
            Values::Decimal128(values, precision, scale) => {
                push(values, convert::decimal128(value, record, *precision, *scale)?, keep);
            }
            Values::Decimal256(values, precision, scale) => {
                push(values, convert::decimal256(value, record, *precision, *scale)?, keep);
            }
            Values::Json(texts) => json(texts, value, record, keep)?,
            Values::Date(values) => push(values, convert::date(value, record)?, keep),
            Values::Time(values) => push(values, convert::time(value, record)?, keep),
            Values::Binary { offsets, bytes } => {
                let length = bytes.len();
                convert::binary(value, record, bytes)?;
                if keep {
                    offsets.push(offset(bytes.len()));
                } else {
                    bytes.truncate(length);
                }
            }
            Values::List { offsets, element } => {
                list(element, value, record, keep)?;
                push(offsets, offset(element.nulls.len()), keep);
            }
            Values::Struct { columns, found } => object(columns, found, value, record, keep)?,
            Values::Int64(_) | Values::Timestamp { .. } | Values::Text(_) => {}
        }
        Ok(())
    }

    fn take_null(&mut self, value: Value, keep: bool) -> Result<(), Mismatch> {
        if !self.nullable {
            return Err(Trouble::Null.with(value));
        }
        if keep {
            self.push_null();
        }
        Ok(())
    }

    /// Appends NULL, which under a NULL object even a NOT NULL field may be.
    fn push_null(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date(values) => values.push(0),
            Values::Int64(values) | Values::Time(values) | Values::Timestamp { micros: values, .. } => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal128(values, ..) => values.push(0),
            Values::Decimal256(values, ..) => values.push(i256::ZERO),
            Values::Text(texts) | Values::Json(texts) => texts.push_null(),
            Values::Binary { offsets, bytes } => offsets.push(offset(bytes.len())),
            Values::List { offsets, element } => offsets.push(offset(element.nulls.len())),
            Values::Struct { columns, .. } => columns.iter_mut().for_each(Self::push_null),
        }
        self.nulls.append_null();
    }

    /// Drops all values from the `len`th on; those kept late have not come yet.
    pub fn truncate(&mut self, len: usize) {
        match &mut self.values {
            Values::Boolean(values) => values.truncate(len),
            Values::Int16(values) => values.truncate(len),
            Values::Int32(values) | Values::Date(values) => values.truncate(len),
            Values::Int64(values) | Values::Time(values) | Values::Timestamp { micros: values, .. } => {
                values.truncate(len);
            }
            Values::Float32(values) => values.truncate(len),
            Values::Float64(values) => values.truncate(len),
            Values::Decimal128(values, ..) => values.truncate(len),
            Values::Decimal256(values, ..) => values.truncate(len),
            Values::Binary { offsets, bytes } => {
                offsets.truncate(len + 1);
                bytes.truncate(offsets.last().map_or(0, |&last| last as usize));
            }
            Values::Text(_) | Values::Json(_) | Values::List { .. } | Values::Struct { .. } => return,
        }
        self.nulls.truncate(len);
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Boolean(values) => values.len() / 8,
            Values::Int16(values) => size_of_val(values.as_slice()),
            Values::Int32(values) | Values::Date(values) => size_of_val(values.as_slice()),
            Values::Int64(values) | Values::Time(values) | Values::Timestamp { micros: values, .. } => {
                size_of_val(values.as_slice())
            }
            Values::Float32(values) => size_of_val(values.as_slice()),
            Values::Float64(values) => size_of_val(values.as_slice()),
            Values::Decimal128(values, ..) => size_of_val(values.as_slice()),
            Values::Decimal256(values, ..) => size_of_val(values.as_slice()),
            Values::Text(texts) | Values::Json(texts) => texts.bytes(),
            Values::Binary { offsets, bytes } => size_of_val(offsets.as_slice()) + bytes.len(),
            Values::List { offsets, element } => size_of_val(offsets.as_slice()) + element.bytes(),
            Values::Struct { columns, .. } => columns.iter().map(Self::bytes).sum(),
        };
        values + self.nulls.len() / 8
    }

    /// The values as an array; the column starts anew.
    ///
    /// # Errors
    /// `Internal` if the parts do not make an array.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        let len = self.nulls.len();
        let nulls = self.nulls.finish().filter(|nulls| nulls.null_count() > 0);
        Ok(match &mut self.values {
            Values::Boolean(values) => {
                let bits = values.finish();
                values.reserve(len);
                Arc::new(BooleanArray::new(bits, nulls))
            }
            Values::Int16(values) => Arc::new(primitive::<Int16Type>(values, nulls)),
            Values::Int32(values) => Arc::new(primitive::<Int32Type>(values, nulls)),
            Values::Int64(values) => Arc::new(primitive::<Int64Type>(values, nulls)),
            Values::Float32(values) => Arc::new(primitive::<Float32Type>(values, nulls)),
            Values::Float64(values) => Arc::new(primitive::<Float64Type>(values, nulls)),
            &mut Values::Decimal128(ref mut values, precision, scale) => {
                Arc::new(primitive::<Decimal128Type>(values, nulls).with_precision_and_scale(precision, scale)?)
            }
            &mut Values::Decimal256(ref mut values, precision, scale) => {
                Arc::new(primitive::<Decimal256Type>(values, nulls).with_precision_and_scale(precision, scale)?)
            }
            Values::Text(texts) | Values::Json(texts) => texts.finish(),
            Values::Timestamp { micros, .. } => {
                let array = primitive::<TimestampMicrosecondType>(micros, nulls);
                Arc::new(array.with_data_type(self.field.data_type().clone()))
            }
            Values::Date(values) => Arc::new(primitive::<Date32Type>(values, nulls)),
            Values::Time(values) => Arc::new(primitive::<Time64MicrosecondType>(values, nulls)),
            Values::Binary { offsets, bytes } => {
                let bytes = take(bytes);
                let offsets = take_offsets(offsets, bytes.len())?;
                Arc::new(BinaryArray::try_new(offsets, Buffer::from_vec(bytes), nulls)?)
            }
            Values::List { offsets, element } => {
                let elements = element.finish()?;
                let offsets = take_offsets(offsets, elements.len())?;
                Arc::new(ListArray::try_new(Arc::clone(&element.field), offsets, elements, nulls)?)
            }
            Values::Struct { columns, .. } => {
                let fields: Fields = columns.iter().map(|column| Arc::clone(&column.field)).collect();
                let arrays = columns.iter_mut().map(Self::finish).collect::<Result<Vec<_>>>()?;
                Arc::new(StructArray::try_new_with_length(fields, arrays, nulls, len)?)
            }
        })
    }
}

#[inline(always)]
fn push<T>(values: &mut Vec<T>, value: T, keep: bool) {
    if keep {
        values.push(value);
    }
}

/// An offset as Arrow counts them. Past what it can count the batch is lost anyway: [`take_offsets`] says so.
fn offset(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}

/// The offsets, whose last must be `len`; the builder starts anew.
fn take_offsets(offsets: &mut Vec<i32>, len: usize) -> Result<OffsetBuffer<i32>> {
    let taken = take(offsets);
    offsets.push(0);
    if len > i32::MAX as usize {
        return Err(Error::internal("a batch with more than 2^31 bytes or elements in one column"));
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(taken)))
}

fn primitive<T: ArrowPrimitiveType>(values: &mut Vec<T::Native>, nulls: Option<NullBuffer>) -> PrimitiveArray<T> {
    PrimitiveArray::new(ScalarBuffer::from(take(values)), nulls)
}

/// A string, or the JSON text of anything else.
#[inline(always)]
fn text(texts: &mut Texts, value: Value, record: &mut Record<'_>, keep: bool) -> Result<(), Mismatch> {
    if value.kind() == Kind::ESCAPED_STRING {
        let out = &mut record.scratch.text;
        out.clear();
        if !unescape(value.text(record.bytes), out) {
            return Err(Trouble::Nul.with(value));
        }
        if keep {
            texts.push(str::from_utf8(out).expect("escapes undone leave UTF-8"));
        }
    } else if keep {
        texts.push(piece(record.text, value.start(), value.end()));
    }
    Ok(())
}

/// The JSON text of any value, without whitespace between its tokens. As in Postgres its strings hold no U+0000.
fn json(texts: &mut Texts, value: Value, record: &mut Record<'_>, keep: bool) -> Result<(), Mismatch> {
    let raw = value.raw(record.bytes);
    if matches!(value.kind(), Kind::ESCAPED_STRING | Kind::OBJECT | Kind::ARRAY) && escapes_nul(raw) {
        return Err(Trouble::Nul.with(value));
    }
    let spaced = value.kind().is_container() && value.number != 0;
    if keep && spaced {
        let out = &mut record.scratch.text;
        out.clear();
        compact(raw, out);
        texts.push(str::from_utf8(out).expect("whitespace left out leaves UTF-8"));
    } else if keep {
        texts.push(piece(record.text, value.offset(), value.offset() + raw.len()));
    }
    Ok(())
}

/// `text[start..end]`; a value begins and ends where a character does.
#[inline(always)]
fn piece(text: &str, start: usize, end: usize) -> &str {
    text.get(start..end).unwrap_or_default()
}

/// Takes the elements of the array `value`.
fn list(element: &mut Column, value: Value, record: &mut Record<'_>, keep: bool) -> Result<(), Mismatch> {
    if value.kind() != Kind::ARRAY {
        return Err(Trouble::Type.with(value));
    }
    let mut inside = Inside::of(value, Scanner::new(record.bytes, record.stops));
    while let Some(inner) = inside.element(&mut record.scratch.nesting) {
        element.take_nested(inner, record, keep)?;
    }
    Ok(())
}

/// Takes the fields of the object `value`; the last of those with the same name counts.
fn object(
    columns: &mut [Column],
    found: &mut [Value],
    value: Value,
    record: &mut Record<'_>,
    keep: bool,
) -> Result<(), Mismatch> {
    if value.kind() != Kind::OBJECT {
        return Err(Trouble::Type.with(value));
    }
    found.fill(value.missing());
    let mut inside = Inside::of(value, Scanner::new(record.bytes, record.stops));
    let mut expected = 0;
    while let Some((key, inner)) = inside.field(&mut record.scratch.nesting) {
        let name = record.string(key).unwrap_or_default();
        // Fields mostly come in the order declared, so the search begins after the one found last.
        let (after, before) = (expected..columns.len(), 0..expected.min(columns.len()));
        if let Some(index) = after.chain(before).find(|&i| columns[i].field.name().as_bytes() == name) {
            found[index] = inner;
            expected = index + 1;
        }
    }
    columns.iter_mut().zip(found).try_for_each(|(column, inner)| column.take_nested(*inner, record, keep))
}
