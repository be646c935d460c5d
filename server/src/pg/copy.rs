//! COPY … TO STDOUT: rows as text, CSV or binary, one CopyData a row.
//!
//! An error in the middle ends the data with an ErrorResponse and nothing else: CopyFail is the client's word.

use std::sync::atomic::Ordering;

use arrow::datatypes::FieldRef;
use bytes::{BufMut, BytesMut};
use sql::{SqlError, SqlState};

use super::connection::Connection;
use super::encode::{EncodedBatch, Format, RowEncoder, Style};
use super::failure::Failure;
use super::reply;
use super::stream::{attend, flush, is_due};
use super::wire::FLUSH_BYTES;
use crate::session::copy_options::{CopyFormat, CopyOptions};
use crate::session::registry::StatementControl;
use crate::session::rows::RowSource;

/// What a binary COPY starts with: signature, flags, length of the header's extension.
pub(super) const BINARY_HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Rows taken at a time.
const ROWS_AT_ONCE: usize = 8192;

impl Connection {
    /// Sends every row as COPY data, then the tag.
    ///
    /// # Errors
    /// As [`attend`].
    pub(super) async fn copy_out(
        &mut self,
        mut source: RowSource,
        columns: &[FieldRef],
        options: &CopyOptions,
        control: &StatementControl,
    ) -> Result<(), Failure> {
        let format = if options.format == CopyFormat::Binary { Format::Binary } else { Format::Text };
        let encoder = RowEncoder::new(columns, &vec![format; columns.len()], Style::of(&self.session.settings));
        let layout = Layout::new(columns, options)?;
        let terminate = self.entry.terminate().clone();
        reply::copy_out(&mut self.wire.out, format, columns.len());
        let mut count = 0u64;
        let mut line = BytesMut::new();
        layout.write_lead(columns, &mut line);
        if options.header {
            put_copy_data(&mut self.wire.out, &line.split())?;
        }
        while let Some(batch) = attend(&mut self.wire, control, &terminate, true, source.next(ROWS_AT_ONCE)).await? {
            let encoded = encoder.batch(&batch)?;
            for row in 0..encoded.num_rows() {
                layout.write_row(&encoded, row, &mut line)?;
                put_copy_data(&mut self.wire.out, &line)?;
                line.clear();
                if self.wire.out.len() >= FLUSH_BYTES {
                    flush(&mut self.wire, control, &terminate).await?;
                }
            }
            count += u64::try_from(encoded.num_rows()).unwrap_or(0);
            if is_due(&self.wire) {
                flush(&mut self.wire, control, &terminate).await?;
            }
        }
        if options.format == CopyFormat::Binary {
            line.put_i16(-1);
            put_copy_data(&mut self.wire.out, &line)?;
        }
        reply::copy_done(&mut self.wire.out);
        reply::command_complete(&mut self.wire.out, &format!("COPY {count}"));
        self.server.sessions.counters().rows.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }
}

fn put_copy_data(out: &mut BytesMut, data: &[u8]) -> Result<(), SqlError> {
    let length = i32::try_from(data.len() + 4)
        .map_err(|_| SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "a row is longer than a message may be"))?;
    out.put_u8(b'd');
    out.put_i32(length);
    out.put_slice(data);
    Ok(())
}

/// How rows are written.
struct Layout<'a> {
    options: &'a CopyOptions,
    /// Per column: quoted even where it need not be.
    forced: Vec<bool>,
}

impl<'a> Layout<'a> {
    /// # Errors
    /// 42703 if FORCE_QUOTE names a column there is not.
    fn new(columns: &[FieldRef], options: &'a CopyOptions) -> Result<Self, SqlError> {
        let names: Vec<&str> = columns.iter().map(|column| column.name().as_str()).collect();
        let forced = options.force_quote.among(&names)?;
        Ok(Self { options, forced })
    }

    /// What comes before the first row. The binary header shares a message with what follows it, as drivers expect.
    fn write_lead(&self, columns: &[FieldRef], out: &mut BytesMut) {
        match self.options.format {
            CopyFormat::Binary => out.put_slice(BINARY_HEADER),
            CopyFormat::Csv if self.options.header => {
                for (index, column) in columns.iter().enumerate() {
                    self.delimit(index, out);
                    self.put_csv(column.name().as_bytes(), false, columns.len() == 1, out);
                }
                out.put_u8(b'\n');
            }
            CopyFormat::Csv | CopyFormat::Text => {}
        }
    }

    fn write_row(&self, batch: &EncodedBatch<'_>, row: usize, out: &mut BytesMut) -> Result<(), SqlError> {
        if self.options.format == CopyFormat::Binary {
            return batch.write_tuple(row, out);
        }
        let mut cell = BytesMut::new();
        for (column, forced) in self.forced.iter().enumerate() {
            self.delimit(column, out);
            cell.clear();
            if !batch.write_cell_text(column, row, &mut cell)? {
                out.put_slice(self.options.null.as_bytes());
            } else if self.options.format == CopyFormat::Csv {
                self.put_csv(&cell, *forced, self.forced.len() == 1, out);
            } else {
                self.put_text(&cell, out);
            }
        }
        out.put_u8(b'\n');
        Ok(())
    }

    fn delimit(&self, index: usize, out: &mut BytesMut) {
        if index > 0 {
            out.put_u8(self.options.delimiter);
        }
    }

    /// Backslashes in front of what the reader would take for something else.
    fn put_text(&self, cell: &[u8], out: &mut BytesMut) {
        for byte in cell {
            match byte {
                b'\\' => out.put_slice(b"\\\\"),
                0x08 => out.put_slice(b"\\b"),
                0x0c => out.put_slice(b"\\f"),
                b'\n' => out.put_slice(b"\\n"),
                b'\r' => out.put_slice(b"\\r"),
                b'\t' => out.put_slice(b"\\t"),
                0x0b => out.put_slice(b"\\v"),
                byte if *byte == self.options.delimiter => out.put_slice(&[b'\\', *byte]),
                byte => out.put_u8(*byte),
            }
        }
    }

    /// Quotes where they are needed: around the NULL text (an empty cell is not NULL), the end-of-data mark, and
    /// whatever holds a delimiter, a quote or a line's end.
    fn put_csv(&self, cell: &[u8], forced: bool, alone: bool, out: &mut BytesMut) {
        let CopyOptions { delimiter, quote, escape, null, .. } = self.options;
        let special = |byte: &u8| byte == delimiter || byte == quote || matches!(byte, b'\n' | b'\r');
        let needed = cell == null.as_bytes() || (alone && cell == b"\\.") || cell.iter().any(special);
        if !forced && !needed {
            return out.put_slice(cell);
        }
        out.put_u8(*quote);
        for byte in cell {
            if byte == quote || byte == escape {
                out.put_u8(*escape);
            }
            out.put_u8(*byte);
        }
        out.put_u8(*quote);
    }
}
