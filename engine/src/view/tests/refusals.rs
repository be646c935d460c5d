//! What a view refuses, and that it is unharmed afterwards.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use super::rows::{keyed_rows, keyed_schema};
use super::{Multiset, weighted};
use crate::delta::Delta;
use crate::error::{Error, ErrorKind};
use crate::time::TickId;
use crate::view::MaterializedView;

fn view_of_two(append_only: bool) -> MaterializedView {
    let mut view = MaterializedView::new(keyed_schema(), append_only).expect("a plain schema");
    view.apply(TickId(5), vec![Delta::inserts(keyed_rows([(1, 0), (2, 0)]))]).expect("inserts only");
    view
}

fn refused(view: &mut MaterializedView, tick: u64, delta: Delta) -> Error {
    let before = (Multiset::of(&view.snapshot()), view.bytes(), view.tick());
    let error = view.apply(TickId(tick), vec![delta]).expect_err("this change must be refused");
    assert_eq!((Multiset::of(&view.snapshot()), view.bytes(), view.tick()), before);
    view.check();
    error
}

#[test]
fn a_retraction_of_an_absent_row_names_the_row() {
    let mut view = view_of_two(false);
    let delta = weighted(keyed_rows([(1, 0), (9, 3)]), vec![-1, -2]);
    let error = refused(&mut view, 6, delta);
    assert_eq!(error.kind(), ErrorKind::Data);
    assert_eq!(
        error.to_string(),
        "the view holds (9, text of key 9, version 3, 9003.0, 1970-01-01T00:00:00.000003) 0 times \
         and is to change that by -2"
    );
}

#[test]
fn a_retraction_in_an_append_only_view_is_refused() {
    let mut view = view_of_two(true);
    assert_eq!(refused(&mut view, 6, weighted(keyed_rows([(1, 0)]), vec![-1])).kind(), ErrorKind::Internal);
}

#[test]
fn ticks_do_not_go_back() {
    let mut view = view_of_two(false);
    assert_eq!(refused(&mut view, 4, Delta::inserts(keyed_rows([(3, 0)]))).kind(), ErrorKind::Internal);
}

#[test]
fn rows_of_another_schema_are_refused() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let schema = Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, false)]));
    let rows = RecordBatch::try_new(schema, vec![column]).expect("one column");
    for append_only in [true, false] {
        let mut view = view_of_two(append_only);
        assert_eq!(refused(&mut view, 6, Delta::inserts(rows.clone())).kind(), ErrorKind::Data);
    }
}

#[test]
fn weights_beyond_counting_are_refused() {
    for append_only in [true, false] {
        let mut view = view_of_two(append_only);
        let error = refused(&mut view, 6, weighted(keyed_rows([(7, 0), (8, 0)]), vec![i64::MAX, 1]));
        assert_eq!(error.kind(), ErrorKind::Data);
        view.apply(TickId(6), vec![weighted(keyed_rows([(7, 0)]), vec![i64::MAX - 2])]).expect("that can be counted");
        assert_eq!(view.num_rows(), i64::MAX as u64);
    }
    let mut view = view_of_two(false);
    let error = refused(&mut view, 6, weighted(keyed_rows([(7, 0), (7, 0)]), vec![i64::MAX, 1]));
    assert_eq!(error.kind(), ErrorKind::Data);
    let error = refused(&mut view, 6, weighted(keyed_rows([(7, 0)]), vec![i64::MIN]));
    assert_eq!(error.kind(), ErrorKind::Data);
}

#[test]
fn as_many_weights_as_rows() {
    let mut view = view_of_two(false);
    let delta = Delta { rows: keyed_rows([(1, 0)]), weights: crate::delta::Weights::Signed(vec![1, 1].into()) };
    assert_eq!(refused(&mut view, 6, delta).kind(), ErrorKind::Internal);
}

#[test]
fn a_scan_of_a_column_that_is_not_there_is_one_error() {
    let snapshot = view_of_two(false).snapshot();
    let mut scan = snapshot.scan(Some(&[0, 9]));
    assert_eq!(scan.next().expect("an error").expect_err("no column 9").kind(), ErrorKind::Internal);
    assert!(scan.next().is_none());
}

#[test]
fn projections_come_in_the_order_asked_for() {
    let snapshot = view_of_two(false).snapshot();
    let batch = snapshot.scan(Some(&[2, 0])).next().expect("two rows").expect("both columns are there");
    assert_eq!(batch.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["value", "key"]);
    let none = snapshot.scan(Some(&[])).next().expect("two rows").expect("no column asked for");
    assert_eq!((none.num_columns(), none.num_rows()), (0, 2));
}
