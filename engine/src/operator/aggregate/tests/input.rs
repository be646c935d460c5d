//! Random input: a pool of rows with everything that is awkward in it, and ticks that insert and delete rows of the pool.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::compute::take_record_batch;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::delta::{Delta, Weights};
use crate::state::canonical::canonical_columns;

/// A source of ticks.
pub struct Input {
    pub random: ChaCha8Rng,
    /// The rows there can be.
    pub pool: RecordBatch,
    /// The rows there are, as numbers of the pool; duplicates allowed.
    pub present: Vec<u32>,
    weighted: bool,
}

impl Input {
    pub fn new(seed: u64, weighted: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let pool = pool(&mut random, 70);
        Self { random, pool, present: Vec::new(), weighted }
    }

    /// A tick's deltas: a few batches, rows in any order, retractions of rows that are or come this very tick.
    pub fn tick(&mut self) -> Vec<Delta> {
        let inserts = if self.random.random_bool(0.1) { 0 } else { self.random.random_range(0..40) };
        let mut changes: Vec<(u32, i64)> = Vec::new();
        for _ in 0..inserts {
            // A few rows are hot, so that weights above one happen.
            let hot = self.random.random_bool(0.3);
            let row = self.random.random_range(0..if hot { 4 } else { self.pool.num_rows() as u32 });
            self.present.push(row);
            changes.push((row, 1));
        }
        if self.weighted {
            let share = if self.random.random_bool(0.15) { 1.0 } else { self.random.random_range(0.0..0.7) };
            let deletes = (self.present.len() as f64 * share) as usize;
            for _ in 0..deletes {
                let victim = self.random.random_range(0..self.present.len());
                changes.push((self.present.swap_remove(victim), -1));
            }
            for _ in 0..self.random.random_range(0..4) {
                let row = self.random.random_range(0..self.pool.num_rows() as u32);
                changes.extend([(row, -2), (row, 2), (row, 0)]);
            }
        }
        self.deltas(changes)
    }

    /// `changes` in random order and random batches.
    pub fn deltas(&mut self, mut changes: Vec<(u32, i64)>) -> Vec<Delta> {
        shuffle(&mut changes, &mut self.random);
        let mut deltas = Vec::new();
        while !changes.is_empty() {
            let cut = self.random.random_range(1..=changes.len());
            let part: Vec<_> = changes.drain(..cut).collect();
            deltas.push(self.delta(&part));
        }
        if self.random.random_bool(0.2) {
            deltas.push(self.delta(&[]));
        }
        deltas
    }

    fn delta(&self, changes: &[(u32, i64)]) -> Delta {
        let rows = self.rows(changes.iter().map(|(row, _)| *row));
        if !self.weighted {
            return Delta::inserts(rows);
        }
        let weights = Int64Array::from_iter_values(changes.iter().map(|(_, weight)| *weight));
        Delta { rows, weights: Weights::Signed(weights) }
    }

    pub fn rows(&self, rows: impl Iterator<Item = u32>) -> RecordBatch {
        take_record_batch(&self.pool, &UInt32Array::from_iter_values(rows)).expect("rows of the pool")
    }

    /// All rows there are, floats canonical as the oracle needs them.
    pub fn all(&self) -> RecordBatch {
        let rows = self.rows(self.present.iter().copied());
        let columns = canonical_columns(rows.columns()).expect("columns");
        RecordBatch::try_new(rows.schema(), columns).expect("the same columns")
    }
}

pub fn shuffle<T>(items: &mut [T], random: &mut impl Rng) {
    for index in (1..items.len()).rev() {
        items.swap(index, random.random_range(0..=index));
    }
}

/// `rows` random values, some of them NULL.
fn column<T>(random: &mut ChaCha8Rng, rows: usize, mut value: impl FnMut(&mut ChaCha8Rng) -> T) -> Vec<Option<T>> {
    (0..rows).map(|_| (!random.random_bool(0.15)).then(|| value(random))).collect()
}

fn awkward_float(random: &mut ChaCha8Rng) -> f64 {
    let odd = [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 1e9, -1e9, 5e-324];
    if random.random_bool(0.3) { odd[random.random_range(0..odd.len())] } else { plain_float(random) }
}

fn plain_float(random: &mut ChaCha8Rng) -> f64 {
    f64::from(random.random_range(-100_000..100_000)) / 97.0
}

fn text(random: &mut ChaCha8Rng) -> String {
    let words = ["", "a", "b", "ab", "längeres Wort", "a text that does not fit into a view", "z"];
    words[random.random_range(0..words.len())].to_owned()
}

fn pool(random: &mut ChaCha8Rng, rows: usize) -> RecordBatch {
    let r = random;
    let key_floats = [0.0, -0.0, f64::NAN, -f64::NAN, 1.5];
    let texts = |r: &mut ChaCha8Rng| column(r, rows, text);
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "k_int",
            Arc::new(Int64Array::from(column(r, rows, |r| if r.random_bool(0.5) { 0 } else { r.random_range(0..9) }))),
        ),
        ("k_text", Arc::new(StringViewArray::from_iter(texts(r)))),
        ("k_float", Arc::new(Float64Array::from(column(r, rows, |r| key_floats[r.random_range(0..5)])))),
        ("k_bool", Arc::new(BooleanArray::from(column(r, rows, |r| r.random())))),
        ("k_time", Arc::new(TimestampMicrosecondArray::from(column(r, rows, |r| r.random_range(-3..6) * 60_000_000)))),
        ("k_day", Arc::new(Date32Array::from(column(r, rows, |r| r.random_range(-2..3))))),
        ("i16", Arc::new(Int16Array::from(column(r, rows, |r| r.random())))),
        ("i32", Arc::new(Int32Array::from(column(r, rows, |r| r.random())))),
        ("i64", Arc::new(Int64Array::from(column(r, rows, |r| r.random_range(-9_000_000_000_000..9_000_000_000_000))))),
        ("small", Arc::new(Int64Array::from(column(r, rows, |r| r.random_range(-3..4))))),
        ("u32", Arc::new(UInt32Array::from(column(r, rows, |r| r.random())))),
        ("u64", Arc::new(UInt64Array::from(column(r, rows, |r| r.random_range(0..1 << 50))))),
        ("f32", Arc::new(Float32Array::from(column(r, rows, |r| plain_float(r) as f32)))),
        ("f64", Arc::new(Float64Array::from(column(r, rows, awkward_float)))),
        ("g", Arc::new(Float64Array::from(column(r, rows, plain_float)))),
        ("h", Arc::new(Float64Array::from(column(r, rows, plain_float)))),
        ("dec", decimals(column(r, rows, |r| i128::from(r.random_range(-999_999_999..999_999_999))), 12, 2)),
        ("big", decimals(column(r, rows, |r| i128::from(r.random::<i64>()) * 1_000_000_000_000), 36, 10)),
        ("text", Arc::new(StringArray::from_iter(texts(r)))),
        ("view", Arc::new(StringViewArray::from_iter(texts(r)))),
        ("bin", Arc::new(texts(r).into_iter().map(|t| t.map(String::into_bytes)).collect::<BinaryArray>())),
        ("b", Arc::new(BooleanArray::from(column(r, rows, |r| r.random_bool(0.7))))),
        ("ts", Arc::new(TimestampNanosecondArray::from(column(r, rows, |r| r.random_range(0..1_000_000))))),
        ("day", Arc::new(Date32Array::from(column(r, rows, |r| r.random_range(-1_000..1_000))))),
        ("c1", Arc::new(BooleanArray::from(column(r, rows, |r| r.random())))),
        ("c2", Arc::new(BooleanArray::from(column(r, rows, |r| r.random_bool(0.2))))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true))).expect("columns")
}

fn decimals(values: Vec<Option<i128>>, precision: u8, scale: i8) -> ArrayRef {
    let decimals = Decimal128Array::from(values).with_precision_and_scale(precision, scale);
    Arc::new(decimals.expect("values within the precision"))
}
