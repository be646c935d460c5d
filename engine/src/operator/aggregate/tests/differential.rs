//! After every tick the operator's accumulated output is DataFusion's batch answer over the rows there are.

use rand::RngExt;

use super::input::Input;
use super::oracle::{Same, View, batch_answer};
use super::plan::{Planned, select};
use super::replay::Cluster;

const KEYS: [&str; 8] = [
    "k_int",
    "",
    "k_text",
    "k_float",
    "k_time, k_int",
    "k_int, k_text",
    "k_bool, k_float, k_day",
    "k_text, k_time, k_int, k_bool",
];

const TYPED: [&str; 48] = [
    "count(*)",
    "count(i64)",
    "count(*) FILTER (WHERE c1)",
    "count(text) FILTER (WHERE c2)",
    "sum(i16)",
    "sum(i32)",
    "sum(i64)",
    "sum(u32)",
    "sum(u64)",
    "sum(f32)",
    "sum(g)",
    "sum(f64)",
    "sum(dec)",
    "sum(big)",
    "sum(i64) FILTER (WHERE c1)",
    "sum(g) FILTER (WHERE g > 0)",
    "avg(i16)",
    "avg(i64)",
    "avg(u64)",
    "avg(f32)",
    "avg(g)",
    "avg(f64)",
    "avg(dec)",
    "avg(dec) FILTER (WHERE c2)",
    "min(i16)",
    "max(i32)",
    "min(i64)",
    "max(i64)",
    "min(u32)",
    "max(u64)",
    "max(g)",
    "min(f32)",
    "min(dec)",
    "max(big)",
    "min(text)",
    "max(view)",
    "min(view)",
    "max(bin)",
    "max(ts)",
    "min(k_time)",
    "max(day)",
    "max(view) FILTER (WHERE c2)",
    "min(small) FILTER (WHERE c1)",
    "bool_and(b)",
    "bool_or(b) FILTER (WHERE c2)",
    "sum(small) FILTER (WHERE small <> 0)",
    "avg(small)",
    "count(DISTINCT small)",
];

const GENERAL: [&str; 54] = [
    "stddev(g)",
    "stddev_pop(g)",
    "var(g)",
    "var_pop(small)",
    "corr(g, h)",
    "covar_samp(g, h)",
    "covar_pop(g, h)",
    "regr_slope(g, h)",
    "regr_intercept(g, h)",
    "regr_count(g, h)",
    "regr_r2(g, h)",
    "regr_avgx(g, h)",
    "regr_avgy(g, h)",
    "regr_sxx(g, h)",
    "regr_syy(g, h)",
    "regr_sxy(g, h)",
    "median(g)",
    "median(i64)",
    "percentile_cont(0.3) WITHIN GROUP (ORDER BY g)",
    "approx_distinct(i64)",
    "approx_distinct(text)",
    "approx_median(g)",
    "approx_percentile_cont(0.9) WITHIN GROUP (ORDER BY g)",
    "bit_and(i64)",
    "bit_or(i64)",
    "bit_xor(i64)",
    "array_agg(small)",
    "array_agg(view ORDER BY view DESC NULLS LAST)",
    "array_agg(i64 ORDER BY small, i64)",
    "array_agg(DISTINCT small)",
    "array_agg(DISTINCT text ORDER BY text)",
    "array_agg(f64)",
    "string_agg(text, ',' ORDER BY text)",
    "string_agg(text, '; ' ORDER BY small DESC, text) FILTER (WHERE c1)",
    "first_value(i64 ORDER BY small, i64)",
    "first_value(text ORDER BY g DESC, text)",
    "last_value(i64 ORDER BY small, i64)",
    "last_value(view ORDER BY view)",
    "nth_value(i64, 2 ORDER BY small, i64)",
    "nth_value(i64, 1 ORDER BY i64 DESC)",
    "first_value(i64 ORDER BY i64) IGNORE NULLS",
    "count(DISTINCT i64)",
    "count(DISTINCT f64)",
    "count(DISTINCT text) FILTER (WHERE c1)",
    "count(DISTINCT text) FILTER (WHERE c2)",
    "count(DISTINCT text)",
    "sum(DISTINCT small)",
    "sum(DISTINCT small) FILTER (WHERE c1)",
    "sum(DISTINCT dec)",
    "avg(DISTINCT g)",
    "stddev(g) FILTER (WHERE c2)",
    "median(g) FILTER (WHERE c1)",
    "bit_xor(DISTINCT small)",
    "max(i64) FILTER (WHERE false)",
];

/// `max` and `min` of floats take NaN for the greatest value, as Postgres and Arrow's total order do. DataFusion's grouped
/// ones depend on the order of rows when there are NaNs, so the oracle asks another way.
const FLOAT_EXTREMES: [(&str, &str); 2] = [
    ("max(f64)", "first_value(f64 ORDER BY f64 DESC NULLS LAST)"),
    ("min(f64)", "first_value(f64 ORDER BY f64 NULLS LAST)"),
];

fn check(seed: u64, keys: &str, calls: &[&str], oracle: &[&str], weighted: bool) {
    let mut input = Input::new(seed, weighted);
    let planned = Planned::new(keys, calls, &input.pool.schema(), weighted);
    let mut cluster = Cluster::new(&planned.spec);
    let mut view = View { keys: planned.spec.keys, ..View::default() };
    let same: Vec<_> = calls.iter().map(|call| Same::of(call)).collect();
    for tick in 0..9 {
        if planned.spec.keys > 0 && input.random.random_bool(0.3) {
            let partitions = [1, 2, 7][input.random.random_range(0..3)];
            cluster.rescale(partitions);
        } else if input.random.random_bool(0.2) {
            cluster.rescale(1);
        }
        let deltas = input.tick().iter().map(|delta| planned.project(delta)).collect();
        view.apply(&cluster.step(deltas));
        let expected = batch_answer(keys, oracle, planned.spec.keys, input.all());
        let context = format!("seed {seed}, weighted {weighted}, tick {tick}: {}", select(keys, calls));
        view.check(&expected, &same, &context);
        assert_eq!(cluster.keys(), expected.len(), "{context}: groups kept");
        if weighted && input.present.is_empty() && planned.spec.keys > 0 {
            assert_eq!(cluster.keys(), 0, "{context}: groups kept without rows");
        }
    }
}

fn check_all(calls: &[&str], seeds: std::ops::Range<u64>) {
    for seed in seeds {
        for (chunk, calls) in calls.chunks(6).enumerate() {
            for weighted in [false, true] {
                // Every chunk meets every kind of key in some seed.
                let keys = KEYS[(seed as usize * 3 + chunk + usize::from(weighted)) % KEYS.len()];
                check(seed * 100 + chunk as u64, keys, calls, calls, weighted);
            }
        }
    }
}

#[test]
fn typed_calls_equal_the_batch_at_every_tick() {
    check_all(&TYPED, 0..4);
}

#[test]
fn general_calls_equal_the_batch_at_every_tick() {
    check_all(&GENERAL, 0..4);
}

#[test]
fn extremes_of_floats_take_nan_for_the_greatest() {
    let (calls, oracle): (Vec<_>, Vec<_>) = FLOAT_EXTREMES.into_iter().unzip();
    for seed in 0..4 {
        for weighted in [false, true] {
            check(seed, ["", "k_int"][seed as usize % 2], &calls, &oracle, weighted);
        }
    }
}

#[test]
fn the_distinct_rows_need_no_calls() {
    for (seed, keys) in KEYS.iter().enumerate().filter(|(_, keys)| !keys.is_empty()) {
        check(seed as u64, keys, &["count(*)"], &["count(*)"], true);
    }
}
