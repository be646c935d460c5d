//! Figures, printed by `cargo test -- --ignored --nocapture`; nothing here fails on time.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::rows::{keyed_rows, keyed_schema};
use super::weighted;
use crate::delta::Delta;
use crate::time::TickId;
use crate::view::MaterializedView;

#[test]
#[ignore = "prints figures"]
fn applying_to_a_view_of_a_million_rows() {
    for keys in [10_000, 1_000_000] {
        for changed in [10, 1_000, 10_000] {
            updates(keys, changed, 400);
        }
    }
}

fn updates(keys: usize, changed: usize, ticks: usize) {
    let mut view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    let mut versions = vec![0i64; keys];
    for start in (0..keys).step_by(100_000) {
        let rows = keyed_rows((start..keys.min(start + 100_000)).map(|key| (key as i64, 0)));
        view.apply(TickId(0), vec![Delta::inserts(rows)]).expect("inserts only");
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // A view fresh from its load has no garbage yet: the first half only wears it in.
    for measured in [false, true] {
        let deltas: Vec<_> = (0..ticks).map(|_| update(&mut rng, &mut versions, changed)).collect();
        let cpu = cpu_time();
        let mut spent = Vec::with_capacity(ticks);
        // The last snapshot is always held, as by the engine.
        let mut held = view.snapshot();
        for delta in deltas {
            let start = Instant::now();
            view.apply(TickId(1), vec![delta]).expect("the rows are there");
            held = view.snapshot();
            spent.push(start.elapsed());
        }
        let cpu = cpu_time().zip(cpu).map(|(after, before)| (after - before) / ticks as u32);
        spent.sort();
        if measured {
            println!(
                "{changed} of {keys} rows updated: CPU {cpu:?} a tick; wall p50 {:?}, p99 {:?}, max {:?}; {} chunks, \
                 {} bytes a row",
                spent[ticks / 2],
                spent[ticks * 99 / 100],
                spent[ticks - 1],
                view.num_chunks(),
                view.bytes() / held.num_rows() as usize,
            );
        }
    }
    view.check();
}

fn update(rng: &mut ChaCha8Rng, versions: &mut [i64], changed: usize) -> Delta {
    let mut touched: Vec<usize> = (0..changed).map(|_| rng.random_range(0..versions.len())).collect();
    touched.sort_unstable();
    touched.dedup();
    let gone: Vec<_> = touched.iter().map(|key| (*key as i64, versions[*key])).collect();
    touched.iter().for_each(|key| versions[*key] += 1);
    let come = touched.iter().map(|key| (*key as i64, versions[*key]));
    let weights = std::iter::repeat_n(-1, gone.len()).chain(std::iter::repeat_n(1, gone.len())).collect();
    weighted(keyed_rows(gone.iter().copied().chain(come)), weights)
}

/// Time this thread spent on a processor, where Linux tells; a busy machine leaves it alone.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
