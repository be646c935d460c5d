//! The bounded table of the newest rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::rows::{keyed_rows, keyed_schema};
use crate::error::ErrorKind;
use crate::view::{RingTable, ViewSnapshot};

fn keys(snapshot: &ViewSnapshot) -> Vec<i64> {
    let batches = snapshot.scan(Some(&[0])).map(|batch| batch.expect("column 0 is there"));
    batches.flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
}

#[test]
fn keeps_the_newest_rows_in_order_and_counts_all() {
    for seed in 0..8 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut rows_max = rng.random_range(0..30_000);
        let mut ring = RingTable::new(keyed_schema(), rows_max, usize::MAX);
        let mut next = 0i64;
        let mut first = 0i64;
        let mut kept: Vec<(ViewSnapshot, std::ops::Range<i64>)> = Vec::new();
        for _ in 0..300 {
            if rng.random_bool(0.02) {
                rows_max = rng.random_range(0..30_000);
                ring.set_rows_max(rows_max).expect("rows can be dropped");
            } else {
                let rows = if rng.random_bool(0.05) { rng.random_range(0..40_000) } else { rng.random_range(0..40) };
                ring.append(&keyed_rows((next..next + rows).map(|key| (key, 0)))).expect("rows of the schema");
                next += rows;
            }
            first = first.max(next - rows_max as i64);
            assert_eq!(ring.total_rows(), next as u64, "seed {seed}");
            assert_eq!(ring.num_rows(), (next - first) as u64, "seed {seed}");
            if rng.random_bool(0.05) {
                assert_eq!(keys(&ring.snapshot()), (first..next).collect::<Vec<_>>(), "seed {seed}");
                kept.push((ring.snapshot(), first..next));
            }
        }
        for (snapshot, range) in kept {
            assert_eq!(keys(&snapshot), range.collect::<Vec<_>>(), "seed {seed}: an old snapshot changed");
        }
    }
}

#[test]
fn memory_stays_in_proportion_to_the_bound() {
    let mut ring = RingTable::new(keyed_schema(), 1_000, usize::MAX);
    let mut bytes_max = 0;
    for start in 0..20_000 {
        ring.append(&keyed_rows((start * 3..start * 3 + 3).map(|key| (key, 0)))).expect("rows of the schema");
        bytes_max = bytes_max.max(ring.bytes());
    }
    assert_eq!((ring.num_rows(), ring.total_rows()), (1_000, 60_000));
    assert!(bytes_max < 1_000 * 100 * 10, "{bytes_max} bytes for 1,000 rows");
}

#[test]
fn long_rows_are_bounded_in_bytes_and_all_are_counted() {
    const BYTES_MAX: usize = 1 << 20;
    let fields = vec![Field::new("key", DataType::Int64, false), Field::new("text", DataType::Utf8View, false)];
    let schema = Arc::new(Schema::new(fields));
    for seed in 0..8 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut ring = RingTable::new(schema.clone(), 1_000, BYTES_MAX);
        let mut lengths: Vec<usize> = Vec::new();
        let mut bytes_most = 0;
        for _ in 0..200 {
            let first = lengths.len();
            for _ in 0..rng.random_range(1..20) {
                // Now and then a row that no bound has room for.
                lengths.push(if rng.random_bool(0.01) { BYTES_MAX } else { rng.random_range(0..50_000) });
            }
            let keys = Int64Array::from_iter_values(first as i64..lengths.len() as i64);
            let texts = StringViewArray::from_iter_values(lengths[first..].iter().map(|length| "x".repeat(*length)));
            let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(texts)];
            ring.append(&RecordBatch::try_new(schema.clone(), columns).expect("equal lengths")).expect("of the schema");
            bytes_most = bytes_most.max(ring.bytes());
            assert_eq!(ring.total_rows(), lengths.len() as u64, "seed {seed}");
        }
        // The newest that fit: what is kept is whole up to the newest row, and the next older one would be too much.
        let fits: Vec<usize> = (0..lengths.len()).filter(|row| lengths[*row] < BYTES_MAX).collect();
        let kept = keys(&ring.snapshot());
        let newest: Vec<i64> = fits[fits.len() - kept.len()..].iter().map(|row| *row as i64).collect();
        assert_eq!(kept, newest, "seed {seed}");
        let text = |rows: &[usize]| rows.iter().map(|row| lengths[*row]).sum::<usize>();
        assert!(text(&fits[fits.len() - kept.len()..]) <= BYTES_MAX, "seed {seed}");
        let one_more = &fits[fits.len() - kept.len() - 1..];
        assert!(text(one_more) + 64 * one_more.len() > BYTES_MAX, "seed {seed}: {} rows kept", kept.len());
        assert!(bytes_most < 4 * BYTES_MAX, "seed {seed}: {bytes_most} bytes");
    }
}

#[test]
fn a_wrong_row_changes_nothing() {
    let mut ring = RingTable::new(keyed_schema(), 10, usize::MAX);
    ring.append(&keyed_rows([(1, 0)])).expect("rows of the schema");
    let wrong = keyed_rows([(2, 0)]).project(&[0]).expect("column 0 is there");
    assert_eq!(ring.append(&wrong).expect_err("three columns are missing").kind(), ErrorKind::Data);
    assert_eq!((keys(&ring.snapshot()), ring.total_rows()), (vec![1], 1));
}
