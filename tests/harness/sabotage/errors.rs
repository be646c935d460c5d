//! Bugs in what becomes of rows that fail, put in where the view is read.

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use std::sync::Arc;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorBug {
    /// One of the rows left out is not told.
    ErrorLost,
    /// One of them is told twice.
    ErrorTwice,
    /// All of them are told under one SQLSTATE.
    StatesMixed,
    /// A row that fails takes one that does not with it.
    NeighbourLost,
}

impl ErrorBug {
    /// Every bug.
    pub const ALL: [Self; 4] = [Self::ErrorLost, Self::ErrorTwice, Self::StatesMixed, Self::NeighbourLost];

    /// Changes what a view holds and leaves out; whether there was something to change.
    pub fn tamper(self, rows: &mut Vec<RecordBatch>, errors: &mut Vec<RecordBatch>) -> bool {
        let Some(at) = errors.iter().position(|batch| batch.num_rows() > 0) else { return false };
        match self {
            Self::ErrorLost => errors[at] = errors[at].slice(1, errors[at].num_rows() - 1),
            Self::ErrorTwice => errors.push(errors[at].slice(0, 1)),
            Self::StatesMixed => {
                let mut columns = errors[at].columns().to_vec();
                columns[2] = Arc::new(StringArray::from(vec!["XX000"; errors[at].num_rows()])) as ArrayRef;
                errors[at] = RecordBatch::try_new(errors[at].schema(), columns).expect("five columns of text");
            }
            Self::NeighbourLost => match rows.iter().position(|batch| batch.num_rows() > 0) {
                Some(at) => rows[at] = rows[at].slice(1, rows[at].num_rows() - 1),
                None => return false,
            },
        }
        true
    }
}
