//! The expression by which rows are dealt to partitions: the key group of their keys.
//!
//! Hash partitioning over this expression sends all rows of a key group to one partition, at any partition count.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;

use crate::state::canonical::canonical_column;
use crate::state::key_group::key_groups;

/// The key group (UInt16) of the values of `keys`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyGroupExpr {
    keys: Vec<Arc<dyn PhysicalExpr>>,
}

impl KeyGroupExpr {
    /// The key group of these columns.
    pub fn new(keys: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        Self { keys }
    }
}

impl fmt::Display for KeyGroupExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|k| k.to_string()).collect();
        write!(f, "key_group({})", keys.join(", "))
    }
}

impl PhysicalExpr for KeyGroupExpr {
    fn data_type(&self, _: &Schema) -> Result<DataType> {
        Ok(DataType::UInt16)
    }

    fn nullable(&self, _: &Schema) -> Result<bool> {
        Ok(false)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let rows = batch.num_rows();
        // Equal keys must meet, also those that differ in their bits alone: 0.0 and -0.0.
        let key = |key: &Arc<dyn PhysicalExpr>| Ok(canonical_column(&key.evaluate(batch)?.into_array(rows)?)?);
        let keys = self.keys.iter().map(key).collect::<Result<Vec<_>>>()?;
        Ok(ColumnarValue::Array(Arc::new(key_groups(&keys, rows)?)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.keys.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, keys: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self { keys }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
