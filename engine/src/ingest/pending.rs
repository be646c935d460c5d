//! Decoded rows that no tick has taken yet.

use arrow::array::{Array, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use arrow::compute::filter;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::format::Decoder;
use crate::ingest::metadata::MetadataBuilder;
use crate::ingest::spec::{DecoderFactory, IngestSpec};

/// Rows being built, and batches already sealed. Rows found to be late or erroneous after they were decoded are dropped
/// when their batch is sealed, so that accepting a row costs nothing.
pub(super) struct PendingRows {
    pub(super) decoder: Box<dyn Decoder>,
    pub(super) metadata: MetadataBuilder,
    /// Ascending indexes of rows in the builders that are not accepted.
    pub(super) dropped: Vec<usize>,
    sealed: Vec<RecordBatch>,
    sealed_rows: usize,
    sealed_bytes: usize,
    schema: SchemaRef,
}

impl PendingRows {
    pub(super) fn new(spec: &IngestSpec, factory: &DecoderFactory) -> Result<Self> {
        Ok(Self {
            decoder: factory(spec.decode.clone())?,
            metadata: MetadataBuilder::new(&spec.topic, &spec.metadata),
            dropped: Vec::new(),
            sealed: Vec::new(),
            sealed_rows: 0,
            sealed_bytes: 0,
            schema: spec.output_schema(),
        })
    }

    /// Rows held, dropped ones not counted.
    pub(super) fn rows(&self) -> usize {
        self.sealed_rows + self.decoder.rows() - self.dropped.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.sealed_bytes + self.decoder.bytes() + self.metadata.bytes()
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Makes one batch of the rows in the builders.
    pub(super) fn seal(&mut self) -> Result<()> {
        let decoded = self.decoder.rows();
        if decoded == 0 {
            return Ok(());
        }
        let mut columns = self.decoder.finish()?;
        columns.extend(self.metadata.finish(decoded)?);
        let dropped = std::mem::take(&mut self.dropped);
        let rows = decoded - dropped.len();
        if rows == 0 {
            return Ok(());
        }
        if !dropped.is_empty() {
            let mut kept = BooleanBufferBuilder::new(decoded);
            kept.append_n(decoded, true);
            dropped.iter().for_each(|&row| kept.set_bit(row, false));
            let kept = BooleanArray::new(kept.finish(), None);
            columns = columns.iter().map(|column| filter(column, &kept)).collect::<Result<_, _>>()?;
        }
        self.sealed_bytes += columns.iter().map(|column| column.get_array_memory_size()).sum::<usize>();
        self.sealed_rows += rows;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        self.sealed.push(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?);
        Ok(())
    }

    /// Every row held, as batches in the order they were read.
    pub(super) fn take(&mut self) -> Result<Vec<RecordBatch>> {
        self.seal()?;
        (self.sealed_rows, self.sealed_bytes) = (0, 0);
        Ok(std::mem::take(&mut self.sealed))
    }
}
