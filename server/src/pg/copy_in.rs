//! COPY … FROM STDIN: the client's data, as text, CSV or binary, into a table.
//!
//! All of it is one INSERT: the rows are there when the tick that has them is published, or none is. An error is told at once,
//! and what the client still sends is passed over.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use sql::{SqlError, SqlState};

use super::connection::Connection;
use super::copy_record::{Record, RecordReader};
use super::decode::{parameter, utf8};
use super::encode::Format;
use super::failure::Failure;
use super::frontend::violation;
use super::reply;
use super::stream::{attend, flush, stop};
use super::wire::{Frame, MESSAGE_BYTES_MAX};
use super::wire_type::WireType;
use crate::session::copy_options::CopyFormat;
use crate::session::portal::CopyIn;
use crate::session::registry::StatementControl;
use crate::session::time_zone::TimeZone;

/// Rows in a batch.
const ROWS_AT_ONCE: usize = 8192;

impl Connection {
    /// Takes COPY data in until the client says that it is all, and inserts it.
    ///
    /// # Errors
    /// 22P04 for data that is none, those of the values' types, 57014 for a client that gives up, 08P01 for a message that has
    /// no place here, and the INSERT's.
    pub(super) async fn copy_in(&mut self, copy: CopyIn, control: &StatementControl) -> Result<(), Failure> {
        let format = if copy.options.format == CopyFormat::Binary { Format::Binary } else { Format::Text };
        let terminate = self.entry.terminate().clone();
        reply::copy_in(&mut self.wire.out, format, copy.columns.len());
        flush(&mut self.wire, control, &terminate).await?;
        let names: Vec<&str> = copy.columns.iter().map(|column| column.name().as_str()).collect();
        let mut reader = RecordReader::new(&copy.options, &names)?;
        let mut rows = Rows::new(&copy, format, self.session.settings.time_zone());
        loop {
            let frame = tokio::select! {
                biased;
                reason = control.stopped(&terminate) => return Err(stop(reason)),
                frame = self.wire.read_frame(MESSAGE_BYTES_MAX) => frame?,
            };
            let Frame::Message(tag, body) = frame else {
                return Err(violation("unexpected message during COPY from stdin").into());
            };
            match tag {
                b'd' => reader.push(&body),
                b'c' => break,
                b'f' => {
                    let reason = body.strip_suffix(b"\0").unwrap_or(&body);
                    let message = format!("COPY from stdin failed: {}", utf8(reason)?);
                    return Err(SqlError::new(SqlState::QUERY_CANCELED, message).into());
                }
                // A client that does not know that this is a COPY sends these behind Execute.
                b'H' | b'S' => {}
                tag => {
                    let message = format!("unexpected message type 0x{tag:02X} during COPY from stdin");
                    return Err(Failure::Fatal(violation(message)));
                }
            }
            while let Some(record) = reader.next(false)? {
                rows.add(record, reader.line())?;
            }
        }
        while let Some(record) = reader.next(true)? {
            rows.add(record, reader.line())?;
        }
        let (count, schema, batches) = rows.finish()?;
        let insert = self.session.insert_copied(&copy.insert, batches, schema, control.token());
        attend(&mut self.wire, control, &terminate, false, insert).await?;
        self.send_notices();
        reply::command_complete(&mut self.wire.out, &format!("COPY {count}"));
        Ok(())
    }
}

/// Records becoming batches.
struct Rows<'c> {
    copy: &'c CopyIn,
    format: Format,
    zone: TimeZone,
    oids: Vec<u32>,
    schema: SchemaRef,
    /// By column, the values of the batch to come.
    values: Vec<Vec<ScalarValue>>,
    batches: Vec<RecordBatch>,
    count: usize,
}

impl<'c> Rows<'c> {
    fn new(copy: &'c CopyIn, format: Format, zone: TimeZone) -> Self {
        let nullable = |column: &FieldRef| column.as_ref().clone().with_nullable(true);
        let schema = Arc::new(Schema::new(copy.columns.iter().map(nullable).collect::<Vec<_>>()));
        let oids = copy.columns.iter().map(|column| WireType::of(column).oid).collect();
        let values = vec![Vec::new(); copy.columns.len()];
        Self { copy, format, zone, oids, schema, values, batches: Vec::new(), count: 0 }
    }

    fn add(&mut self, record: Record, line: u64) -> Result<(), SqlError> {
        let columns = &self.copy.columns;
        if record.len() > columns.len() {
            return Err(self.placed(bad("extra data after last expected column"), line, None));
        }
        if let Some(column) = columns.get(record.len()) {
            return Err(self.placed(bad(format!("missing data for column \"{}\"", column.name())), line, None));
        }
        for (n, value) in record.into_iter().enumerate() {
            let value = self.value(n, value.as_deref()).map_err(|error| {
                let text = value.filter(|_| self.format == Format::Text);
                self.placed(error, line, Some((n, text)))
            })?;
            self.values[n].push(value);
        }
        self.count += 1;
        if self.count.is_multiple_of(ROWS_AT_ONCE) { self.end_batch(ROWS_AT_ONCE) } else { Ok(()) }
    }

    fn value(&self, column: usize, bytes: Option<&[u8]>) -> Result<ScalarValue, SqlError> {
        let data_type = self.copy.columns[column].data_type();
        let value = parameter(bytes, self.format, data_type, self.oids[column], self.zone)?;
        if value.data_type() == *data_type {
            return Ok(value);
        }
        // A numeric comes with the scale it was written with.
        value
            .cast_to(data_type)
            .map_err(|_| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow"))
    }

    fn end_batch(&mut self, rows: usize) -> Result<(), SqlError> {
        let columns = self.values.iter_mut().map(std::mem::take).map(ScalarValue::iter_to_array);
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options);
        self.batches.push(batch.map_err(engine::Error::from)?);
        Ok(())
    }

    fn finish(mut self) -> Result<(usize, SchemaRef, Vec<RecordBatch>), SqlError> {
        if self.count % ROWS_AT_ONCE > 0 {
            self.end_batch(self.count % ROWS_AT_ONCE)?;
        }
        Ok((self.count, self.schema, self.batches))
    }

    /// The error with the place in the data.
    fn placed(&self, error: SqlError, line: u64, value: Option<(usize, Option<Vec<u8>>)>) -> SqlError {
        let mut place = format!("COPY {}, line {line}", self.copy.table);
        if let Some((column, text)) = value {
            place.push_str(&format!(", column {}", self.copy.columns[column].name()));
            if let Some(text) = text {
                let text: String = String::from_utf8_lossy(&text).chars().take(100).collect();
                place.push_str(&format!(": \"{text}\""));
            }
        }
        let detail = error.detail.clone().map_or(place.clone(), |detail| format!("{detail} {place}"));
        error.detail(detail)
    }
}

fn bad(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message)
}
