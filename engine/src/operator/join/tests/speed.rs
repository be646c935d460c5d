//! Timings, to be run alone and by hand: `cargo test --workspace --lib -- join::tests::speed --ignored --nocapture`.

use std::time::{Duration, Instant};

use datafusion::common::JoinType;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Plan, Row, delta};
use crate::operator::join::JoinOperator;
use crate::operator::{Operator, TickContext};

const TICK_ROWS: usize = 50_000;
const TICKS: usize = 10;

#[test]
#[ignore = "a measurement, not a test"]
fn measure() {
    for keys in [10_000, 500_000] {
        for (kind, compares) in [(JoinType::Inner, false), (JoinType::Inner, true), (JoinType::LeftAnti, false)] {
            let plan = Plan { compares, weighted: [false; 2], ..Plan::new(kind) };
            let mut random = ChaCha8Rng::seed_from_u64(1);
            let mut join = JoinOperator::try_new(plan.spec()).expect("a sound plan");
            let row = |key: i64, value: i64| -> (Row, i64) { (vec![Some(key), Some(value), Some(value)], 1) };
            let all: Vec<_> = (0..keys).map(|key| row(key, 50)).collect();
            let tick = TickContext::default();
            join.step(vec![vec![], vec![delta(&plan, 1, &all)]], &tick).expect("the right side");
            let (mut spent, mut out) = (Duration::ZERO, 0);
            for _ in 0..TICKS {
                let key = |random: &mut ChaCha8Rng| random.random_range(0..keys * 5 / 4);
                let rows: Vec<_> = (0..TICK_ROWS).map(|_| row(key(&mut random), random.random_range(0..100))).collect();
                let input = vec![vec![delta(&plan, 0, &rows)], vec![]];
                let start = Instant::now();
                let deltas = join.step(input, &tick).expect("a tick");
                spent += start.elapsed();
                out += deltas.iter().map(crate::delta::Delta::num_rows).sum::<usize>();
            }
            let rows = TICK_ROWS * TICKS;
            let nanos = spent.as_nanos() as usize / rows;
            let bytes = join.state_bytes() / join.state_keys();
            println!(
                "{kind} of {keys} keys, residual {compares}: {nanos} ns a row, {out} rows out, {bytes} bytes a row"
            );
        }
    }
}
