//! Rows that the text of a view names: VALUES, and the one row of a SELECT without FROM.
//!
//! They come with the operator's first tick and stay. All of its state is whether they came.
//!
//! Its answer is the same at every tick, so the first one's change is all of it and every other's is nothing. Whether they came is
//! saved as a row or none, so that they do not come again after a restart. One partition runs it, or they would come once in each.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt16Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::state_bound::{Growth, Held, StateBound, StatePart};
use super::{KEY_GROUP_COLUMN, Operator, SavedState, TickContext};
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::state::size::UnitBytes;

/// The table that says that the rows came, by having a row.
const CAME_TABLE: &str = "came";

/// Inserts its rows once.
#[derive(Debug)]
pub struct ConstantOperator {
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
    came: bool,
}

impl ConstantOperator {
    /// An operator whose rows have not come yet; they have the columns `schema`.
    pub fn new(schema: SchemaRef, rows: Vec<RecordBatch>) -> Self {
        Self { schema, rows, came: false }
    }

    /// What is kept: the rows, which are known.
    pub fn state_bound(&self) -> StateBound {
        let rows: usize = self.rows.iter().map(RecordBatch::num_rows).sum();
        let bytes_each = self.state_bytes() / rows.max(1);
        let part = StatePart::new("a row", format!("{rows}"), Growth::Constant, UnitBytes::lasting(bytes_each));
        StateBound { parts: vec![part], output: Growth::Constant }
    }
}

impl Operator for ConstantOperator {
    fn step(&mut self, _inputs: Vec<Vec<Delta>>, _tick: &TickContext) -> Result<Vec<Delta>> {
        if std::mem::replace(&mut self.came, true) {
            return Ok(Vec::new());
        }
        Ok(self.rows.iter().cloned().map(Delta::inserts).collect())
    }

    fn output_schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn save(&mut self) -> Result<SavedState> {
        let schema = Schema::new(vec![Field::new(KEY_GROUP_COLUMN, DataType::UInt16, false)]);
        // Key group 0: a single partition has them all.
        let groups = UInt16Array::from(vec![0; usize::from(self.came)]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(groups)])?;
        Ok(SavedState { tables: vec![(CAME_TABLE.to_owned(), vec![batch])] })
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        for (name, batches) in state.tables {
            if name != CAME_TABLE {
                return Err(Error::data(format!("saved state has an unknown table {name}")));
            }
            self.came |= batches.iter().any(|batch| batch.num_rows() > 0);
        }
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        self.rows.iter().map(RecordBatch::get_array_memory_size).sum()
    }

    fn state_keys(&self) -> usize {
        0
    }

    fn held(&self) -> Vec<Held> {
        let rows = self.rows.iter().map(RecordBatch::num_rows).sum();
        vec![Held::exactly(rows, self.state_bytes())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator() -> ConstantOperator {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::UInt16, true)]));
        let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(UInt16Array::from(vec![7, 7]))]);
        ConstantOperator::new(schema, vec![rows.expect("one column of its type")])
    }

    fn rows_of_a_step(operator: &mut ConstantOperator) -> usize {
        let deltas = operator.step(vec![], &TickContext::default()).expect("it cannot fail");
        deltas.iter().map(Delta::num_rows).sum()
    }

    #[test]
    fn its_rows_come_once_over_restarts_too() {
        let mut first = operator();
        let unborn = first.save().expect("state");
        assert_eq!((rows_of_a_step(&mut first), rows_of_a_step(&mut first)), (2, 0));
        let mut second = operator();
        second.restore(first.save().expect("state")).expect("its own state");
        assert_eq!(rows_of_a_step(&mut second), 0);
        let mut third = operator();
        third.restore(unborn).expect("its own state");
        assert_eq!(rows_of_a_step(&mut third), 2);
    }
}
