//! Rows held back until their window has closed: EMIT ON WINDOW CLOSE where rows are accepted that come later.
//!
//! ```text
//! changed rows -> window still open? kept, until the closing watermark has passed it -> put out
//!              -> closed already? put out at once: the window is corrected
//! ```
//! Below it the answer is maintained as it changes, and dropped when no accepted row can change it any more. What has been put out
//! is not kept here: a correction carries the row it takes back.
//!
//! So what has been put out so far is the part of the input's rows whose windows have closed, as they are now. Of a row the gate
//! keeps how often it is there while its window is open; when that closes, as many are put out and the row is forgotten. From
//! then on each change of it is a change of what was put out, and goes through.
//!
//! ```text
//! (window_end, n)       closing bound     kept        out
//! +(:10, 1)             :10               (:10, 1)    nothing
//! -(:10, 1) +(:10, 2)   :10               (:10, 2)    nothing: what moves before it closes is not told
//! no input              :20               nothing     +(:10, 2)
//! -(:10, 2) +(:10, 3)   :20               nothing     -(:10, 2) +(:10, 3): a row that came late, and is accepted
//! ```
//! The bound is that of the column, and what is below it is closed: with windows of ten seconds and a closing watermark of :10, the
//! least end of a window that anybody still waits for is :20, so the window that ends at :10 comes.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::state_bound::{Growth, Held, StateBound};
use super::temporal_filter::{Comparison, Condition, Limit, TemporalFilterOperator, TemporalFilterSpec};
use super::{Operator, SavedState, TickContext};
use crate::delta::Delta;
use crate::error::Result;

/// The closing watermark itself.
#[derive(Debug)]
struct ClosingWatermark;

impl Limit for ClosingWatermark {
    fn at(&self, closing_micros: i64) -> Result<i64> {
        Ok(closing_micros)
    }
}

/// What a gate is told.
#[derive(Debug, Clone)]
pub struct WindowGateSpec {
    /// The input's columns, without the weight column; the output has the same.
    pub input: SchemaRef,
    /// The column by which windows close: a row comes when [`TickContext::closing_below`] is above its value. NULL never is.
    pub column: usize,
}

impl WindowGateSpec {
    /// One line: what a tick costs, and what is kept.
    pub fn explain(&self) -> String {
        "window gate: cost: changed rows and those whose window closes, keeps: rows of open windows".to_owned()
    }
}

/// Rows of closed windows. A filter by time whose clock is the closing watermark.
#[derive(Debug)]
pub struct WindowGateOperator {
    rows: TemporalFilterOperator,
    closing_below: i64,
}

impl WindowGateOperator {
    /// A gate without input so far.
    ///
    /// # Errors
    /// `Internal` if the column is not a time; `Unsupported` if a column's type has no row format.
    pub fn try_new(spec: WindowGateSpec) -> Result<Self> {
        let limit = Arc::new(ClosingWatermark);
        let condition = Condition { column: spec.column, comparison: Comparison::Before, limit };
        let rows =
            TemporalFilterOperator::try_new(TemporalFilterSpec { input: spec.input, conditions: vec![condition] })?;
        Ok(Self { rows, closing_below: i64::MIN })
    }

    /// What is kept where the input's rows grow like `input`: those of open windows.
    pub fn state_bound(&self, input: Growth) -> StateBound {
        self.rows.state_bound(input)
    }
}

impl Operator for WindowGateOperator {
    fn step(&mut self, inputs: Vec<Vec<Delta>>, tick: &TickContext) -> Result<Vec<Delta>> {
        // A tick that knows no watermark does not open windows again.
        self.closing_below = self.closing_below.max(tick.closing_below.unwrap_or(i64::MIN));
        self.rows.step(inputs, &TickContext { now_micros: self.closing_below, ..*tick })
    }

    fn output_schema(&self) -> SchemaRef {
        self.rows.output_schema()
    }

    fn save(&mut self) -> Result<SavedState> {
        self.rows.save()
    }

    fn restore(&mut self, state: SavedState) -> Result<()> {
        self.rows.restore(state)
    }

    fn state_bytes(&self) -> usize {
        self.rows.state_bytes()
    }

    fn state_keys(&self) -> usize {
        self.rows.state_keys()
    }

    fn held(&self) -> Vec<Held> {
        self.rows.held()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

    use super::*;
    use crate::delta::Weights;

    fn schema() -> SchemaRef {
        let time = Field::new("window_end", DataType::Timestamp(TimeUnit::Microsecond, None), true);
        Arc::new(Schema::new(vec![time, Field::new("n", DataType::Int64, true)]))
    }

    fn gate() -> WindowGateOperator {
        WindowGateOperator::try_new(WindowGateSpec { input: schema(), column: 0 }).expect("a valid spec")
    }

    /// Steps over rows of (end, n, weight); returns what comes out, sorted.
    fn step(
        gate: &mut WindowGateOperator,
        rows: &[(Option<i64>, i64, i64)],
        closing: Option<i64>,
    ) -> Vec<(i64, i64, i64)> {
        let ends: TimestampMicrosecondArray = rows.iter().map(|row| row.0).collect();
        let counts = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
        let batch = RecordBatch::try_new(schema(), vec![Arc::new(ends), Arc::new(counts)]).expect("a batch");
        let weights = Weights::Signed(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
        let tick = TickContext { closing_below: closing, ..TickContext::default() };
        let out = gate.step(vec![vec![Delta { rows: batch, weights }]], &tick).expect("a step");
        let mut found = Vec::new();
        for delta in out {
            let columns = delta.rows.columns();
            let end = columns[0].as_any().downcast_ref::<TimestampMicrosecondArray>().expect("times");
            let n = columns[1].as_any().downcast_ref::<Int64Array>().expect("counts");
            found.extend((0..delta.num_rows()).map(|row| (end.value(row), n.value(row), delta.weight(row))));
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn a_window_comes_when_it_closes_and_is_corrected_after() {
        let mut gate = gate();
        assert_eq!(step(&mut gate, &[(Some(10), 1, 1), (Some(20), 1, 1), (None, 9, 1)], None), []);
        // What changes before it closes is not told.
        assert_eq!(step(&mut gate, &[(Some(10), 1, -1), (Some(10), 2, 1)], Some(10)), []);
        assert_eq!(step(&mut gate, &[], Some(11)), [(10, 2, 1)]);
        assert_eq!(gate.state_keys(), 1);
        // A tick without a watermark opens nothing again.
        assert_eq!(step(&mut gate, &[(Some(10), 2, -1), (Some(10), 3, 1)], None), [(10, 2, -1), (10, 3, 1)]);
        assert_eq!(step(&mut gate, &[(None, 9, -1)], Some(11)), []);
        // Closed and changed in one tick.
        assert_eq!(step(&mut gate, &[(Some(20), 1, -1), (Some(20), 2, 1)], Some(30)), [(20, 2, 1)]);
        assert_eq!(gate.state_keys(), 0);
    }

    #[test]
    fn what_waits_is_saved_and_comes_after_a_restart() {
        let mut before = gate();
        assert_eq!(step(&mut before, &[(Some(10), 1, 1), (Some(20), 1, 1)], Some(15)), [(10, 1, 1)]);
        let mut after = gate();
        after.restore(before.save().expect("a state")).expect("its own state");
        assert_eq!(step(&mut after, &[(Some(10), 1, -1)], Some(15)), [(10, 1, -1)]);
        assert_eq!(step(&mut after, &[], Some(21)), [(20, 1, 1)]);
    }
}
