//! Random ticks against the model: contents, changelogs, refusals, and old snapshots read again much later.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::rows::{Pool, all_types_schema, keyed_rows, keyed_schema};
use super::{Multiset, row_texts, weighted};
use crate::delta::{Delta, Weights};
use crate::error::ErrorKind;
use crate::time::TickId;
use crate::view::{MaterializedView, ViewSnapshot};

/// A view, its model, and snapshots taken on the way with what they must show for ever.
struct Run {
    seed: u64,
    rng: ChaCha8Rng,
    view: MaterializedView,
    model: Multiset,
    /// The changelogs added up.
    followed: Multiset,
    kept: Vec<(ViewSnapshot, Multiset)>,
    tick: TickId,
}

impl Run {
    fn new(seed: u64, view: MaterializedView) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (model, followed) = (Multiset::default(), Multiset::default());
        Self { seed, rng, view, model, followed, kept: Vec::new(), tick: TickId::default() }
    }

    /// Applies a change that must succeed; the model has it already.
    fn apply(&mut self, deltas: Vec<Delta>) {
        self.tick = self.tick.next();
        let before = self.view.num_rows();
        let applied = self.view.apply(self.tick, deltas).unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        applied.changelog.iter().for_each(|delta| self.followed.add_delta(delta));
        assert_eq!(self.view.num_rows(), before + applied.inserted - applied.deleted, "seed {}", self.seed);
    }

    /// Looks at the view, keeps a snapshot now and then, and looks at old ones again.
    fn look(&mut self) {
        if self.rng.random_bool(0.2) {
            self.view.check();
            let snapshot = self.view.snapshot();
            assert_eq!(self.followed, self.model, "seed {}: changelogs do not add up, tick {}", self.seed, self.tick);
            assert_eq!(Multiset::of(&snapshot), self.model, "seed {}, tick {}", self.seed, self.tick);
            self.kept.push((snapshot, self.model.clone()));
        }
        if self.kept.len() > 8 {
            let (snapshot, expected) = self.kept.swap_remove(self.rng.random_range(0..8));
            assert_eq!(Multiset::of(&snapshot), expected, "seed {}: an old snapshot changed", self.seed);
        }
    }

    fn finish(self) {
        self.view.check();
        assert_eq!(Multiset::of(&self.view.snapshot()), self.model, "seed {}", self.seed);
        for (snapshot, expected) in &self.kept {
            assert_eq!(&Multiset::of(snapshot), expected, "seed {}: an old snapshot changed", self.seed);
        }
    }
}

/// Checks that a changelog is consolidated: rows distinct, no zero, retractions first.
fn check_consolidated(changelog: &Delta) {
    let mut texts = row_texts(&changelog.rows);
    texts.sort();
    assert!(texts.windows(2).all(|pair| pair[0] != pair[1]), "a row twice in {texts:?}");
    let weights: Vec<i64> = (0..changelog.num_rows()).map(|row| changelog.weight(row)).collect();
    assert!(weights.iter().all(|weight| *weight != 0));
    assert!(weights.is_sorted_by_key(|weight| *weight > 0), "an insert before a retraction: {weights:?}");
}

/// Rows of the pool by index, each from the canonical or the odd half, in one to three deltas.
fn deltas_of(rng: &mut ChaCha8Rng, pool: &Pool, changes: &[(usize, i64)]) -> Vec<Delta> {
    let mut deltas = vec![Delta::empty(pool.canonical.schema())];
    for part in changes.chunks(changes.len().div_ceil(rng.random_range(1..4)).max(1)) {
        let picks: Vec<_> = part.iter().map(|(row, _)| (rng.random_range(0..2), *row)).collect();
        let rows = interleave_record_batch(&[&pool.canonical, &pool.odd], &picks).expect("picks are inside the pool");
        let weights: Vec<i64> = part.iter().map(|(_, weight)| *weight).collect();
        deltas.push(match weights.iter().all(|weight| *weight == 1) {
            true => Delta::inserts(rows),
            false => weighted(rows, weights),
        });
    }
    deltas
}

/// All types, retractions, duplicates, cancelling changes and refused ticks, with any hash.
fn all_types(seed: u64, ticks: usize, changes_max: usize, hasher: Option<fn(&[u8]) -> u32>) {
    let schema = all_types_schema();
    let view = match hasher {
        None => MaterializedView::new(schema, false),
        Some(hasher) => MaterializedView::with_hasher(schema, false, hasher),
    };
    let mut run = Run::new(seed, view.expect("every type can be in a view"));
    let pool = Pool::new(seed, 200);
    let texts = row_texts(&pool.canonical);
    for _ in 0..ticks {
        let mut changes = Vec::new();
        for _ in 0..run.rng.random_range(0..=changes_max) {
            let row = run.rng.random_range(0..texts.len());
            let held = run.model.count(&texts[row]);
            let weight = match run.rng.random_range(0..10) {
                0..5 => 1,
                5 => run.rng.random_range(2..5),
                6 => 0,
                7 => -held,
                _ => -held.min(1),
            };
            run.model.add(&texts[row], weight);
            changes.push((row, weight));
        }
        let deltas = deltas_of(&mut run.rng, &pool, &changes);
        if run.rng.random_bool(0.1) {
            refuse(&mut run, &pool, &texts, &changes);
        }
        run.apply(deltas);
        run.look();
    }
    run.finish();
}

/// The same change with one retraction too many is refused whole.
fn refuse(run: &mut Run, pool: &Pool, texts: &[String], changes: &[(usize, i64)]) {
    let row = run.rng.random_range(0..texts.len());
    let mut changes = changes.to_vec();
    changes.push((row, -run.model.count(&texts[row]) - 1));
    let deltas = deltas_of(&mut run.rng, pool, &changes);
    let error = run.view.apply(run.tick.next(), deltas).expect_err("a row cannot be held fewer than zero times");
    assert_eq!(error.kind(), ErrorKind::Data);
    assert_eq!(run.view.tick(), run.tick);
    run.view.check();
}

#[test]
fn equals_the_multiset_over_all_types() {
    for seed in 0..6 {
        all_types(seed, 150, 60, None);
    }
}

#[test]
fn equals_the_multiset_when_every_hash_collides() {
    all_types(100, 40, 30, Some(|_| 0));
    all_types(101, 60, 40, Some(|bytes| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 5));
}

/// More collisions than are compared at once.
#[test]
fn finds_rows_among_thousands_of_collisions() {
    let mut view = MaterializedView::with_hasher(keyed_schema(), false, |_| 7).expect("a plain schema");
    let rows = |keys: std::ops::Range<i64>| keyed_rows(keys.map(|key| (key, 0)));
    view.apply(TickId(1), vec![Delta::inserts(rows(0..3_000))]).expect("inserts only");
    let gone = weighted(rows(2_990..3_000), vec![-1; 10]);
    view.apply(TickId(2), vec![gone]).expect("the rows are there");
    view.check();
    let mut expected = Multiset::default();
    expected.add_delta(&Delta::inserts(rows(0..2_990)));
    assert_eq!(Multiset::of(&view.snapshot()), expected);
}

/// Many distinct rows over many chunks: bulk loads, updates, bulk deletes, and small ticks between.
#[test]
fn equals_the_multiset_over_many_chunks() {
    for seed in 200..203 {
        let view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
        let mut run = Run::new(seed, view);
        let mut versions: Vec<(i64, i64)> = Vec::new();
        for _ in 0..60 {
            let before = versions.len();
            let (mut gone, mut come) = (Vec::new(), Vec::new());
            match run.rng.random_range(0..10) {
                0 => come.extend((0..run.rng.random_range(1..30_000)).map(|key| (before as i64 * 40_000 + key, 0))),
                1 if before > 0 => gone.extend(versions.drain(run.rng.random_range(0..before)..)),
                _ => {
                    for _ in 0..run.rng.random_range(0..200) {
                        if !versions.is_empty() && run.rng.random_bool(0.8) {
                            let (key, version) = versions.swap_remove(run.rng.random_range(0..versions.len()));
                            gone.push((key, version));
                            come.push((key, version + 1));
                        } else {
                            come.push((-run.rng.random_range(0..1_000_000_000_000i64), 0));
                        }
                    }
                }
            }
            versions.extend(&come);
            let weights = std::iter::repeat_n(-1, gone.len()).chain(std::iter::repeat_n(1, come.len())).collect();
            let delta = weighted(keyed_rows(gone.into_iter().chain(come)), weights);
            run.model.add_delta(&delta);
            run.apply(vec![delta]);
            run.look();
        }
        run.finish();
    }
}

#[test]
fn changelogs_are_consolidated() {
    let pool = Pool::new(300, 50);
    let texts = row_texts(&pool.canonical);
    let mut rng = ChaCha8Rng::seed_from_u64(300);
    let mut view = MaterializedView::new(all_types_schema(), false).expect("every type can be in a view");
    let mut model = Multiset::default();
    for tick in 1..100 {
        let mut changes: Vec<(usize, i64)> = Vec::new();
        for _ in 0..20 {
            let row = rng.random_range(0..texts.len());
            let weight = if model.count(&texts[row]) > 0 && rng.random_bool(0.5) { -1 } else { 1 };
            model.add(&texts[row], weight);
            changes.push((row, weight));
        }
        let deltas = deltas_of(&mut rng, &pool, &changes);
        let changelog = view.apply(TickId(tick), deltas).expect("no count falls below zero").changelog;
        assert!(changelog.len() <= 1);
        changelog.iter().for_each(check_consolidated);
    }
}

/// Append-only views: rows keep coming in any size; weights above one are duplicates.
#[test]
fn append_only_views_hold_every_row_in_order() {
    for seed in 400..403 {
        let view = MaterializedView::new(keyed_schema(), true).expect("a plain schema");
        let mut run = Run::new(seed, view);
        let mut next = 0;
        for _ in 0..80 {
            let rows = match run.rng.random_range(0..20) {
                0 => run.rng.random_range(1..18_000),
                1..5 => run.rng.random_range(1..1_000),
                5 => 0,
                _ => run.rng.random_range(1..10),
            };
            let batch = keyed_rows((next..next + rows).map(|key| (key, 0)));
            next += rows;
            let delta = Delta::inserts(batch);
            run.model.add_delta(&delta);
            let middle = delta.num_rows() / 2;
            let halves = [delta.rows.slice(0, middle), delta.rows.slice(middle, delta.num_rows() - middle)];
            run.apply(halves.map(Delta::inserts).into());
            run.look();
        }
        assert!(keys_in_order(&run.view.snapshot()), "seed {seed}");
        run.finish();
    }
}

fn keys_in_order(snapshot: &ViewSnapshot) -> bool {
    let keys = snapshot.scan(Some(&[0])).map(|batch| batch.expect("column 0 is there"));
    let keys = keys.flat_map(|batch: RecordBatch| {
        use arrow::array::AsArray;
        batch.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
    });
    keys.is_sorted()
}

#[test]
fn append_only_views_take_weights_that_cancel() {
    let mut view = MaterializedView::new(keyed_schema(), true).expect("a plain schema");
    let rows = keyed_rows([(1, 0), (2, 0), (1, 0), (3, 0)]);
    let applied = view.apply(TickId(1), vec![weighted(rows, vec![1, 3, -1, 1])]).expect("no row falls below zero");
    assert_eq!((applied.inserted, applied.deleted), (4, 0));
    let mut expected = Multiset::default();
    expected.add_delta(&weighted(keyed_rows([(2, 0), (3, 0)]), vec![3, 1]));
    assert_eq!(Multiset::of(&view.snapshot()), expected);
}

/// A view without columns is a count.
#[test]
fn a_view_without_columns_holds_rows() {
    let schema = Arc::new(Schema::new(Vec::<Field>::new()));
    let rows = |rows: usize| {
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &options).expect("no columns")
    };
    for append_only in [true, false] {
        let mut view = MaterializedView::new(schema.clone(), append_only).expect("no columns");
        let deltas = vec![Delta::inserts(rows(3)), Delta::inserts(rows(20_000))];
        view.apply(TickId(1), deltas).expect("inserts only");
        assert_eq!(view.num_rows(), 20_003);
        let read: usize = view.snapshot().scan(None).map(|batch| batch.expect("no columns").num_rows()).sum();
        assert_eq!(read, 20_003);
    }
    let mut view = MaterializedView::new(schema.clone(), false).expect("no columns");
    view.apply(TickId(1), vec![Delta::inserts(rows(5))]).expect("inserts only");
    let gone = Delta { rows: rows(2), weights: Weights::Signed(vec![-1, -1].into()) };
    view.apply(TickId(2), vec![gone]).expect("five rows are there");
    assert_eq!(view.num_rows(), 3);
}

/// A row held a million times is one entry, and a scan still gives it a million times.
#[test]
fn many_equal_rows_cost_one_entry() {
    let schema = Arc::new(Schema::new(vec![Field::new("one", DataType::Int64, false)]));
    let one: arrow::array::ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1]));
    let row = RecordBatch::try_new(schema.clone(), vec![one]).expect("one column");
    let mut view = MaterializedView::new(schema, false).expect("a plain schema");
    for tick in 1..=100 {
        view.apply(TickId(tick), vec![weighted(row.clone(), vec![10_000])]).expect("inserts only");
    }
    assert_eq!(view.num_rows(), 1_000_000);
    assert_eq!(view.num_chunks(), 1);
    let batches: Vec<_> = view.snapshot().scan(None).map(|batch| batch.expect("all columns").num_rows()).collect();
    assert_eq!(batches.iter().sum::<usize>(), 1_000_000);
    assert!(batches.iter().all(|rows| *rows <= 8192));
    view.apply(TickId(101), vec![weighted(row, vec![-999_999])]).expect("the rows are there");
    assert_eq!(view.num_rows(), 1);
}
