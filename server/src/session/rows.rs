//! A result's rows as a session hands them out: some now, the rest later.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use sql::SqlError;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Rows that have not been sent yet. Dropping it tells the backend that they are no longer wanted.
pub(crate) struct RowSource {
    stream: Option<SendableRecordBatchStream>,
    pending: Option<RecordBatch>,
    _wanted: DropGuard,
}

impl RowSource {
    /// The rows of `stream`, which runs under `token`.
    pub(crate) fn new(stream: SendableRecordBatchStream, token: CancellationToken) -> Self {
        Self { stream: Some(stream), pending: None, _wanted: token.drop_guard() }
    }

    /// The next rows, at most `rows_max` (at least one) of them; `None` after the last. May be dropped while waiting.
    ///
    /// # Errors
    /// The statement's; afterwards there are no more rows.
    pub(crate) async fn next(&mut self, rows_max: usize) -> Result<Option<RecordBatch>, SqlError> {
        while self.pending.is_none() {
            let Some(stream) = &mut self.stream else { return Ok(None) };
            match stream.next().await {
                Some(Ok(batch)) => self.pending = Some(batch).filter(|batch| batch.num_rows() > 0),
                Some(Err(error)) => {
                    self.stream = None;
                    return Err(sql_error(error));
                }
                None => self.stream = None,
            }
        }
        let Some(batch) = self.pending.take() else { return Ok(None) };
        let taken = rows_max.min(batch.num_rows());
        if taken < batch.num_rows() {
            self.pending = Some(batch.slice(taken, batch.num_rows() - taken));
        }
        Ok(Some(batch.slice(0, taken)))
    }
}

/// Rows of text that the session itself knows: what SHOW answers.
pub(crate) fn text_rows(names: &[&str], rows: &[Vec<String>]) -> (Vec<FieldRef>, SendableRecordBatchStream) {
    let fields: Vec<FieldRef> = names.iter().map(|name| Arc::new(Field::new(*name, DataType::Utf8, false))).collect();
    let schema = Arc::new(Schema::new(fields.clone()));
    let column = |index: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.get(index).map(String::as_str)).collect::<StringArray>())
    };
    let columns = (0..names.len()).map(column).collect();
    let batch = RecordBatch::try_new(schema.clone(), columns).map_err(DataFusionError::from);
    let stream = RecordBatchStreamAdapter::new(schema, futures::stream::iter([batch]));
    (fields, Box::pin(stream))
}

/// What a failed execution is to the client.
pub(crate) fn sql_error(error: DataFusionError) -> SqlError {
    SqlError::from(error)
}
