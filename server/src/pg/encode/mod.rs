//! Arrow batches to Postgres rows.
//!
//! A [`RowEncoder`] is made once per result from its fields and format codes. For each batch it brings every column
//! into one Arrow representation per wire type ([`Column`]), which is where casts happen; writing a row then only
//! reads cells. Text follows the session's settings ([`Style`]).

mod array;
mod column;
mod float;
mod interval;
mod json;
mod numeric;
mod scratch;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef};
use bytes::{BufMut, BytesMut};
use sql::{SqlError, SqlState};

use self::column::Column;
use super::wire_type::WireType;
use crate::session::settings::Settings;
use crate::session::time_zone::TimeZone;

/// Bytes one row may have on the wire: the length field is a signed 32-bit number, Postgres stops at 1 GiB.
const ROW_BYTES_MAX: usize = 0x3fff_ffff;

/// How a cell is written: the format codes of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Binary,
}

impl Format {
    /// The code as RowDescription and CopyOutResponse carry it.
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }

    /// One format per column from the codes of a Bind: none is text, one is for all.
    ///
    /// # Errors
    /// 08P01 for a count that is not 0, 1 or `columns`; 22023 for an unknown code.
    pub(crate) fn for_columns(codes: &[i16], columns: usize) -> Result<Vec<Self>, SqlError> {
        let one = |code: &i16| match code {
            0 => Ok(Self::Text),
            1 => Ok(Self::Binary),
            code => {
                let message = format!("unsupported format code: {code}");
                Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
            }
        };
        match codes {
            [] => Ok(vec![Self::Text; columns]),
            [code] => Ok(vec![one(code)?; columns]),
            codes if codes.len() == columns => codes.iter().map(one).collect(),
            codes => {
                let given = codes.len();
                let message = format!("bind message has {given} result formats but query has {columns} columns");
                Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, message))
            }
        }
    }
}

/// IntervalStyle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IntervalStyle {
    Postgres,
    Iso8601,
}

/// What of the settings shows in texts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// TimeZone.
    pub zone: TimeZone,
    /// extra_float_digits.
    pub float_digits: i32,
    /// bytea_output = escape.
    pub bytea_escape: bool,
    /// IntervalStyle.
    pub interval: IntervalStyle,
}

impl Style {
    /// The style of a session.
    pub(crate) fn of(settings: &Settings) -> Self {
        let interval = match settings.value("IntervalStyle").as_deref() {
            Some("iso_8601") => IntervalStyle::Iso8601,
            _ => IntervalStyle::Postgres,
        };
        Self {
            zone: settings.time_zone(),
            float_digits: settings.value("extra_float_digits").and_then(|v| v.parse().ok()).unwrap_or(1),
            bytea_escape: settings.value("bytea_output").as_deref() == Some("escape"),
            interval,
        }
    }
}

/// Writes the rows of one result.
#[derive(Debug)]
pub(crate) struct RowEncoder {
    columns: Vec<(WireType, Format)>,
    style: Style,
}

impl RowEncoder {
    /// An encoder for a result of `fields`, with one format each.
    pub(crate) fn new(fields: &[FieldRef], formats: &[Format], style: Style) -> Self {
        let columns = fields.iter().zip(formats).map(|(field, format)| (WireType::of(field), *format)).collect();
        Self { columns, style }
    }

    /// Brings a batch into the form it is written from.
    ///
    /// # Errors
    /// 22008 for a time out of Postgres's range, 22003 for a number that is; XX000 if the batch does not have the
    /// columns announced.
    pub(crate) fn batch(&self, batch: &RecordBatch) -> Result<EncodedBatch<'_>, SqlError> {
        if batch.num_columns() != self.columns.len() {
            let (given, announced) = (batch.num_columns(), self.columns.len());
            let message = format!("the result has {given} columns where {announced} were announced");
            return Err(SqlError::new(SqlState::INTERNAL_ERROR, message));
        }
        let columns = batch.columns().iter().zip(&self.columns);
        let columns = columns.map(|(array, (wire, _))| Column::new(array, wire)).collect::<Result<_, _>>()?;
        Ok(EncodedBatch { columns, encoder: self, rows: batch.num_rows() })
    }
}

/// One batch, ready to be written row by row.
pub(crate) struct EncodedBatch<'a> {
    columns: Vec<Column>,
    encoder: &'a RowEncoder,
    rows: usize,
}

impl EncodedBatch<'_> {
    /// How many rows there are.
    pub(crate) fn num_rows(&self) -> usize {
        self.rows
    }

    /// Appends row `row` as a DataRow message.
    ///
    /// # Errors
    /// 54000 for a row beyond 1 GiB, 2202E for a ragged list; `out` is then as it was.
    pub(crate) fn write_data_row(&self, row: usize, out: &mut BytesMut) -> Result<(), SqlError> {
        let start = out.len();
        out.put_u8(b'D');
        out.put_i32(0);
        let result = self.write_tuple(row, out).and_then(|()| patch_length(out, start + 1, out.len() - start - 1));
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// Appends the number of columns and every cell with its length: the body of a DataRow, and a row of binary COPY.
    ///
    /// # Errors
    /// As [`Self::write_data_row`].
    pub(crate) fn write_tuple(&self, row: usize, out: &mut BytesMut) -> Result<(), SqlError> {
        out.put_i16(i16::try_from(self.columns.len()).map_err(|_| too_many_columns())?);
        for (column, (wire, format)) in self.columns.iter().zip(&self.encoder.columns) {
            if column.is_null(row) {
                out.put_i32(-1);
                continue;
            }
            let start = out.len();
            out.put_i32(0);
            match format {
                Format::Text => column.write_text(row, &self.encoder.style, out)?,
                Format::Binary => column.write_binary(row, wire, &self.encoder.style, out)?,
            }
            patch_length(out, start, out.len() - start - 4)?;
        }
        Ok(())
    }

    /// Appends the text of one cell; false if it is NULL.
    ///
    /// # Errors
    /// 2202E for a ragged list.
    pub(crate) fn write_cell_text(&self, column: usize, row: usize, out: &mut BytesMut) -> Result<bool, SqlError> {
        let column = &self.columns[column];
        if column.is_null(row) {
            return Ok(false);
        }
        column.write_text(row, &self.encoder.style, out)?;
        Ok(true)
    }
}

/// The cells of a row as text, in the style of a session; `None` for NULL.
///
/// # Errors
/// As for [`RowEncoder::batch`].
pub(crate) fn text_of_row(
    batch: &RecordBatch,
    row: usize,
    settings: &Settings,
) -> Result<Vec<Option<String>>, SqlError> {
    let fields: Vec<FieldRef> = batch.schema().fields().iter().cloned().collect();
    let encoder = RowEncoder::new(&fields, &vec![Format::Text; fields.len()], Style::of(settings));
    let batch = batch.slice(row, 1);
    let encoded = encoder.batch(&batch)?;
    let cell = |column| {
        let mut text = BytesMut::new();
        let there = encoded.write_cell_text(column, 0, &mut text)?;
        Ok(there.then(|| String::from_utf8_lossy(&text).into_owned()))
    };
    (0..fields.len()).map(cell).collect()
}

/// Writes a length over the four bytes at `position`.
fn patch_length(out: &mut BytesMut, position: usize, length: usize) -> Result<(), SqlError> {
    let length = i32::try_from(length).ok().filter(|_| length <= ROW_BYTES_MAX);
    let length = length.ok_or_else(|| {
        SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("a row of more than {ROW_BYTES_MAX} bytes"))
    })?;
    out[position..position + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn too_many_columns() -> SqlError {
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "a result has at most 32767 columns")
}

/// A count as the protocol writes it.
fn wire_count(count: usize) -> Result<i32, SqlError> {
    i32::try_from(count).map_err(|_| SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many elements"))
}

/// True for the types whose arrays are Arrow lists of any layout.
fn is_list(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
    )
}
