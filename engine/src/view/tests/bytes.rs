//! Memory: what a view holds stays in proportion to its live rows, and is counted.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListBuilder, RecordBatch, StringViewBuilder, StructArray};
use arrow::datatypes::{Field, Schema};

use super::rows::{keyed_rows, keyed_schema};
use super::weighted;
use crate::delta::Delta;
use crate::time::TickId;
use crate::view::MaterializedView;

/// The bytes of a fresh view of `keys` rows.
fn fresh_bytes(keys: i64) -> usize {
    let mut view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    view.apply(TickId(1), vec![Delta::inserts(keyed_rows((0..keys).map(|key| (key, 0))))]).expect("inserts only");
    view.bytes()
}

/// From `(key, version)` to `(key, version + 1)` for each.
fn update(rows: &mut [(i64, i64)]) -> Delta {
    let gone: Vec<_> = rows.to_vec();
    rows.iter_mut().for_each(|row| row.1 += 1);
    let weights = std::iter::repeat_n(-1, gone.len()).chain(std::iter::repeat_n(1, gone.len())).collect();
    weighted(keyed_rows(gone.into_iter().chain(rows.iter().copied())), weights)
}

#[test]
fn a_hundred_thousand_updates_of_a_thousand_keys_stay_small() {
    let mut view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    let mut rows: Vec<(i64, i64)> = (0..1_000).map(|key| (key, 0)).collect();
    view.apply(TickId(1), vec![Delta::inserts(keyed_rows(rows.iter().copied()))]).expect("inserts only");
    let fresh = fresh_bytes(1_000);
    let (mut bytes_max, mut chunks_max) = (0, 0);
    let mut tick = TickId(1);
    for round in 0..2_000 {
        tick = tick.next();
        let start = round * 50 % 1_000;
        view.apply(tick, vec![update(&mut rows[start..start + 50])]).expect("the rows are there");
        bytes_max = bytes_max.max(view.bytes());
        chunks_max = chunks_max.max(view.num_chunks());
    }
    view.check();
    assert_eq!(view.num_rows(), 1_000);
    assert!(bytes_max < 4 * fresh, "{bytes_max} bytes at most, {fresh} when fresh");
    assert!(chunks_max <= 32, "{chunks_max} chunks");
}

/// One row a tick makes the smallest chunks; they are merged as they come.
#[test]
fn small_ticks_do_not_leave_small_chunks() {
    for append_only in [true, false] {
        let mut view = MaterializedView::new(keyed_schema(), append_only).expect("a plain schema");
        let mut chunks_max = 0;
        for key in 0..10_000 {
            let delta = Delta::inserts(keyed_rows([(key, 0)]));
            view.apply(TickId(key as u64 + 1), vec![delta]).expect("inserts only");
            chunks_max = chunks_max.max(view.num_chunks());
        }
        view.check();
        assert!(chunks_max <= 32, "{chunks_max} chunks, append_only={append_only}");
        assert!(view.bytes() < 2 * fresh_bytes(10_000), "{} bytes", view.bytes());
    }
}

/// Updates spread over a large view make all its chunks sparse at about the same time.
#[test]
fn spread_updates_keep_a_large_view_dense() {
    let keys = 100_000;
    let mut view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    let mut rows: Vec<(i64, i64)> = (0..keys).map(|key| (key, 0)).collect();
    view.apply(TickId(1), vec![Delta::inserts(keyed_rows(rows.iter().copied()))]).expect("inserts only");
    let fresh = view.bytes();
    let (mut bytes_max, mut moved_max) = (0, 0);
    for round in 0..300 {
        // A stride that is prime to the number of keys touches every chunk in every tick.
        let mut touched: Vec<_> = (0..1_000).map(|k| rows[(round * 1_000 + k) * 7_919 % keys as usize]).collect();
        let delta = update(&mut touched);
        for row in touched {
            rows[row.0 as usize] = row;
        }
        let moved = view.entries_moved();
        view.apply(TickId(round as u64 + 2), vec![delta]).expect("the rows are there");
        moved_max = moved_max.max(view.entries_moved() - moved);
        bytes_max = bytes_max.max(view.bytes());
    }
    view.check();
    assert!(bytes_max < 2 * fresh, "{bytes_max} bytes at most, {fresh} when fresh");
    // 1,000 retractions and as many inserts a tick: at most one chunk's worth of upkeep beside twice that.
    assert!(moved_max <= 2 * 2_000 + 8_192, "{moved_max} entries moved in one tick");
    assert!(view.entries_moved() <= 300 * 2_000 * 2, "{} entries moved for 600,000 changes", view.entries_moved());
}

#[test]
fn what_is_deleted_is_given_back() {
    let mut view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    let rows = |keys: std::ops::Range<i64>| keyed_rows(keys.map(|key| (key, 0)));
    view.apply(TickId(1), vec![Delta::inserts(rows(0..200_000))]).expect("inserts only");
    let full = view.bytes();
    // Every 20,000th row stays: one in every third chunk.
    let gone: Vec<_> = (0..200_000).filter(|key| key % 20_000 != 0).map(|key| (key, 0)).collect();
    let weights = vec![-1; gone.len()];
    view.apply(TickId(2), vec![weighted(keyed_rows(gone), weights)]).expect("the rows are there");
    view.check();
    assert_eq!((view.num_rows(), view.num_chunks()), (10, 1));
    assert!(view.bytes() < full / 50, "{} of {full} bytes for ten rows", view.bytes());
}

/// Chunks that turned sparse in a tick too small to rewrite them are rewritten in ticks without changes.
#[test]
fn quiet_ticks_finish_the_rewriting() {
    let mut view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    let rows = |keys: &mut dyn Iterator<Item = i64>| keyed_rows(keys.map(|key| (key, 0)));
    view.apply(TickId(1), vec![Delta::inserts(rows(&mut (0..80_000)))]).expect("inserts only");
    let (chunks, full) = (view.num_chunks(), view.bytes());
    assert!(chunks >= 10);
    let half: Vec<i64> = (0..80_000).filter(|key| key % 2 == 0).collect();
    let gone = weighted(rows(&mut half.iter().copied()), vec![-1; half.len()]);
    view.apply(TickId(2), vec![gone]).expect("the rows are there");
    let more: Vec<i64> = (0..80_000).filter(|key| key % 1_000 == 1).collect();
    let gone = weighted(rows(&mut more.iter().copied()), vec![-1; more.len()]);
    view.apply(TickId(3), vec![gone]).expect("the rows are there");
    for tick in 4..20 {
        let applied = view.apply(TickId(tick), Vec::new()).expect("no change");
        assert!(applied.changelog.is_empty());
        view.check();
    }
    assert_eq!(view.num_rows(), 40_000 - more.len() as u64);
    assert!(view.num_chunks() <= chunks, "{} chunks of {chunks}", view.num_chunks());
    assert!(view.bytes() < full * 3 / 4, "{} of {full} bytes for half the rows", view.bytes());
}

/// A batch of `rows` rows that point into buffers of a megabyte: plain, in a list, in a struct.
fn pinning(rows: usize) -> RecordBatch {
    let texts = |rows: usize| (0..rows).map(|row| format!("a text longer than twelve bytes, number {row:08}"));
    let mut plain = StringViewBuilder::new().with_fixed_block_size(1 << 20);
    let mut lists = ListBuilder::new(StringViewBuilder::new().with_fixed_block_size(1 << 20));
    for text in texts(20_000) {
        plain.append_value(&text);
        lists.append_value([Some(&text)]);
    }
    let plain: ArrayRef = Arc::new(plain.finish());
    let lists: ArrayRef = Arc::new(lists.finish());
    let field = Arc::new(Field::new("text", plain.data_type().clone(), true));
    let record: ArrayRef = Arc::new(StructArray::from(vec![(field, plain.clone())]));
    let columns = vec![plain, lists, record];
    let fields: Vec<_> = columns.iter().map(|c| Field::new("c", c.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .expect("columns made for the schema")
        .slice(9_000, rows)
}

#[test]
fn a_chunk_does_not_pin_a_decoders_buffer() {
    let few = pinning(10);
    for append_only in [true, false] {
        let mut view = MaterializedView::new(few.schema(), append_only).expect("texts can be in a view");
        let empty = view.bytes();
        view.apply(TickId(1), vec![Delta::inserts(few.clone())]).expect("inserts only");
        let held = view.bytes() - empty;
        assert!(held < 32 * 1024, "{held} bytes for ten rows, append_only={append_only}");
        let read: Vec<_> = view.snapshot().scan(None).map(|batch| batch.expect("all columns")).collect();
        assert_eq!(super::row_texts(&read[0]), super::row_texts(&few));
    }
}

#[test]
fn large_rows_make_chunks_of_few_rows() {
    let text = "x".repeat(100_000);
    let mut texts = StringViewBuilder::new();
    (0..1_000).for_each(|_| texts.append_value(&text));
    let texts: ArrayRef = Arc::new(texts.finish());
    let schema = Arc::new(Schema::new(vec![Field::new("text", texts.data_type().clone(), true)]));
    let rows = RecordBatch::try_new(schema.clone(), vec![texts]).expect("one column");
    let mut view = MaterializedView::new(schema, true).expect("texts can be in a view");
    view.apply(TickId(1), vec![Delta::inserts(rows)]).expect("inserts only");
    assert!(view.num_chunks() >= 12, "{} chunks for 100 MB", view.num_chunks());
    assert!((100_000_000..130_000_000).contains(&view.bytes()), "{} bytes", view.bytes());
}
