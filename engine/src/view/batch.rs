//! Record batches whose row count does not hang on their columns: a view may have rows and no columns.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};

/// A batch of `rows` rows.
///
/// # Errors
/// `Data` if the columns are not of `schema` or not `rows` long.
pub(crate) fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options);
    batch.map_err(|e| Error::data("the columns are others than they should be").with_source(e))
}

/// The rows of `batch` at `indices`, in that order.
///
/// # Errors
/// `Data` if an index is outside the batch or a column cannot be copied.
pub(super) fn take_rows(batch: &RecordBatch, indices: Vec<u32>) -> Result<RecordBatch> {
    let rows = indices.len();
    let indices = UInt32Array::from(indices);
    let columns = batch.columns().iter().map(|column| take(column, &indices, None)).collect::<Result<Vec<_>, _>>()?;
    batch_of(&batch.schema(), columns, rows)
}

/// The rows at `picks`, each a source and a row of it, in that order.
///
/// # Errors
/// `Data` if a pick is outside its source or a column cannot be copied.
pub(super) fn interleave_rows(
    schema: &SchemaRef,
    sources: &[&RecordBatch],
    picks: &[(usize, usize)],
) -> Result<RecordBatch> {
    let column = |index: usize| {
        let columns: Vec<&dyn Array> = sources.iter().map(|batch| batch.column(index).as_ref()).collect();
        interleave(&columns, picks)
    };
    let columns = (0..schema.fields().len()).map(column).collect::<Result<Vec<_>, _>>()?;
    batch_of(schema, columns, picks.len())
}
