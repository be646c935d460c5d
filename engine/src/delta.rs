//! Changed rows with weights: the unit every operator reads and writes.
//!
//! A delta is a Z-set (Budiu et al., "DBSP", PVLDB 16(7), 2023): rows with integer weights, +1 an insert, -1 a
//! retraction, in no particular order. Append-only deltas carry no weights at all. Between DataFusion's plan nodes the
//! weights travel as a last column named [`WEIGHT_COLUMN`], and only on edges that can retract.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::{Error, Result};

/// Name of the weight column on plan edges that can retract: Int64, not null, always last.
pub const WEIGHT_COLUMN: &str = "__weight";

/// The weights of a delta's rows.
#[derive(Debug, Clone)]
pub enum Weights {
    /// Every row is an insert of weight +1.
    Ones,
    /// One weight a row; never null, may be any integer.
    Signed(Int64Array),
}

/// Changed rows and their weights.
#[derive(Debug, Clone)]
pub struct Delta {
    /// The rows, without a weight column.
    pub rows: RecordBatch,
    /// As many weights as rows.
    pub weights: Weights,
}

impl Delta {
    /// A delta of inserts.
    pub fn inserts(rows: RecordBatch) -> Self {
        Self { rows, weights: Weights::Ones }
    }

    /// No change to rows of `schema`.
    pub fn empty(schema: SchemaRef) -> Self {
        Self::inserts(RecordBatch::new_empty(schema))
    }

    /// How many rows changed (rows, not the sum of weights).
    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }

    /// True where nothing changed.
    pub fn is_empty(&self) -> bool {
        self.rows.num_rows() == 0
    }

    /// The weight of row `index`.
    pub fn weight(&self, index: usize) -> i64 {
        match &self.weights {
            Weights::Ones => 1,
            Weights::Signed(weights) => weights.value(index),
        }
    }

    /// What takes this delta back.
    ///
    /// # Errors
    /// `Data` for a weight whose negative is no i64.
    pub fn negated(&self) -> Result<Self> {
        let negated = (0..self.num_rows()).map(|row| self.weight(row).checked_neg());
        let weights = negated.collect::<Option<Vec<i64>>>().ok_or_else(|| Error::data("a weight does not fit"))?;
        Ok(Self { rows: self.rows.clone(), weights: Weights::Signed(Int64Array::from(weights)) })
    }

    /// Splits a batch from a plan edge into rows and weights; a batch without a weight column is all inserts.
    ///
    /// # Errors
    /// `Internal` if the weight column is not Int64.
    pub fn from_edge(batch: RecordBatch) -> Result<Self> {
        let Some(last) = batch.num_columns().checked_sub(1) else { return Ok(Self::inserts(batch)) };
        if batch.schema().field(last).name() != WEIGHT_COLUMN {
            return Ok(Self::inserts(batch));
        }
        let weights = batch.column(last).as_any().downcast_ref::<Int64Array>();
        let weights = weights.ok_or_else(|| Error::internal("the weight column is not Int64"))?.clone();
        let rows = batch.project(&(0..last).collect::<Vec<_>>())?;
        Ok(Self { rows, weights: Weights::Signed(weights) })
    }

    /// The batch that travels on a plan edge of `schema`, which ends with the weight column where the edge can retract.
    ///
    /// # Errors
    /// `Internal` if the edge is append-only and this delta retracts.
    pub fn into_edge(self, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = self.rows.columns().to_vec();
        if is_weighted(schema) {
            columns.push(match self.weights {
                Weights::Ones => Arc::new(Int64Array::from_value(1, self.rows.num_rows())),
                Weights::Signed(weights) => Arc::new(weights),
            });
        } else if let Weights::Signed(weights) = &self.weights
            && weights.values().iter().any(|w| *w != 1)
        {
            return Err(Error::internal("a retraction on an append-only edge"));
        }
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.rows.num_rows()));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    }
}

/// True if `schema` is that of an edge that can retract.
pub fn is_weighted(schema: &Schema) -> bool {
    schema.fields().last().is_some_and(|f| f.name() == WEIGHT_COLUMN)
}

/// `schema` with the weight column added.
pub fn weighted(schema: &Schema) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(WEIGHT_COLUMN, DataType::Int64, false)));
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The columns of an edge without the weight, which is last where there is one.
pub fn without_weight(schema: &Schema) -> SchemaRef {
    let columns = schema.fields().len() - usize::from(is_weighted(schema));
    let fields: Vec<_> = schema.fields().iter().take(columns).cloned().collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}
