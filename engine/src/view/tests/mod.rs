//! Tests of the views: a multiset of row texts is the model everything is compared with.

mod bytes;
mod differential;
mod indexes;
mod measure;
mod provider;
mod publishing;
mod refusals;
mod ring;
mod rows;
mod text;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::delta::{Delta, Weights};
use crate::view::ViewSnapshot;

/// Row texts and how often each is there; never zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Multiset(BTreeMap<String, i64>);

impl Multiset {
    fn add(&mut self, row: &str, weight: i64) {
        let count = self.0.entry(row.to_string()).or_default();
        *count += weight;
        if *count == 0 {
            self.0.remove(row);
        }
    }

    fn add_delta(&mut self, delta: &Delta) {
        for (index, row) in row_texts(&delta.rows).iter().enumerate() {
            self.add(row, delta.weight(index));
        }
    }

    fn count(&self, row: &str) -> i64 {
        self.0.get(row).copied().unwrap_or(0)
    }

    fn rows(&self) -> u64 {
        self.0.values().sum::<i64>() as u64
    }

    /// What a scan of `snapshot` gives. Checks the promises about its batches on the way.
    fn of(snapshot: &ViewSnapshot) -> Self {
        let mut read = Self::default();
        for batch in snapshot.scan(None) {
            let batch = batch.expect("a scan without projection cannot fail");
            assert!((1..=8192).contains(&batch.num_rows()), "a batch of {} rows", batch.num_rows());
            assert_eq!(&batch.schema(), snapshot.schema());
            for row in row_texts(&batch) {
                read.add(&row, 1);
            }
        }
        assert_eq!(read.rows(), snapshot.num_rows());
        read
    }
}

/// The text of every row; equal texts are equal rows, for the values these tests use.
fn row_texts(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("∅");
    let columns: Vec<_> = rows
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).expect("every type here can be shown"))
        .collect();
    let text = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("·");
    (0..rows.num_rows()).map(text).collect()
}

/// `rows` with one weight each.
fn weighted(rows: RecordBatch, weights: Vec<i64>) -> Delta {
    assert_eq!(rows.num_rows(), weights.len());
    Delta { rows, weights: Weights::Signed(weights.into()) }
}
