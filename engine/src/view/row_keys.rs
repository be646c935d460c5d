//! Rows as bytes: equal rows have equal bytes, and a hash of them finds a stored row.
//!
//! The bytes are arrow-row's, of canonical rows ([`crate::view::canonical`]); they also sort as the columns do.

use std::sync::Arc;

use ahash::RandomState;
use arrow::array::{ArrayRef, NullArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::row::{RowConverter, Rows, SortField};

use crate::error::{Error, Result};

/// Hashes a row's bytes.
pub(super) type RowHasher = fn(&[u8]) -> u32;

/// Turns the rows of one schema into bytes and hashes.
#[derive(Debug)]
pub(super) struct RowKeys {
    converter: RowConverter,
    hasher: RowHasher,
    /// A view without columns still has rows, all of them equal.
    no_columns: bool,
}

/// The bytes and hashes of some rows.
#[derive(Debug)]
pub(super) struct Keys {
    rows: Rows,
    hashes: Vec<u32>,
}

impl RowKeys {
    /// For rows of `schema`.
    ///
    /// # Errors
    /// `Unsupported` if a column's type cannot be compared.
    pub(super) fn new(schema: &Schema) -> Result<Self> {
        Self::with_hasher(schema, hash_bytes)
    }

    /// As [`new`](Self::new), with another hash.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(super) fn with_hasher(schema: &Schema, hasher: RowHasher) -> Result<Self> {
        let no_columns = schema.fields().is_empty();
        let mut fields: Vec<_> = schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
        if no_columns {
            fields.push(SortField::new(DataType::Null));
        }
        let converter = RowConverter::new(fields)
            .map_err(|error| Error::unsupported("a column's type cannot be stored in a view").with_source(error))?;
        Ok(Self { converter, hasher, no_columns })
    }

    /// The keys of `rows`, in order.
    ///
    /// # Errors
    /// `Data` if the rows are not of the schema.
    pub(super) fn encode(&self, rows: &RecordBatch) -> Result<Keys> {
        let nulls: [ArrayRef; 1];
        let columns = if self.no_columns {
            nulls = [Arc::new(NullArray::new(rows.num_rows()))];
            &nulls[..]
        } else {
            rows.columns()
        };
        let rows = self.converter.convert_columns(columns)?;
        let hashes = rows.iter().map(|row| (self.hasher)(row.data())).collect();
        Ok(Keys { rows, hashes })
    }
}

impl Keys {
    /// How many rows.
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The hash of row `index`.
    pub(super) fn hash(&self, index: usize) -> u32 {
        self.hashes[index]
    }

    /// The bytes of row `index`.
    pub(super) fn bytes(&self, index: usize) -> &[u8] {
        self.rows.row(index).data()
    }
}

/// Fixed seeds: two runs of the same input store the same chunks.
fn hash_bytes(bytes: &[u8]) -> u32 {
    const STATE: RandomState = RandomState::with_seeds(0x7469_6465, 0x6d61_726b, 0x7669_6577, 0x726f_7773);
    (STATE.hash_one(bytes) >> 32) as u32
}
