//! Batches as bytes: Arrow's IPC stream format, uncompressed. Each stream says its own columns.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use crate::error::{Error, Result};

/// Writes batches of one schema.
///
/// # Errors
/// `Internal` for columns that Arrow's format does not have.
pub fn encode(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let cannot = |e| Error::internal("columns cannot be written").with_source(e);
    let mut writer = StreamWriter::try_new(Vec::new(), schema).map_err(cannot)?;
    batches.iter().try_for_each(|batch| writer.write(batch)).map_err(cannot)?;
    writer.into_inner().map_err(cannot)
}

/// Reads what [`encode`] wrote.
///
/// # Errors
/// `Data` for anything else.
pub fn decode(bytes: &[u8]) -> Result<(SchemaRef, Vec<RecordBatch>)> {
    let cannot = |e| Error::data("columns cannot be read").with_source(e);
    let reader = StreamReader::try_new(bytes, None).map_err(cannot)?;
    let schema = reader.schema();
    Ok((schema, reader.collect::<std::result::Result<_, _>>().map_err(cannot)?))
}
