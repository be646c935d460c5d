//! Random changes to random joins; after every tick the sum of what came out is the join of what is there.

use std::collections::BTreeMap;

use datafusion::common::JoinType;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Cluster, Plan, REACH, Row, add, naive};
use crate::operator::TickContext;
use crate::time::TickId;

const KINDS: [JoinType; 10] = [
    JoinType::Inner,
    JoinType::Left,
    JoinType::Right,
    JoinType::Full,
    JoinType::LeftSemi,
    JoinType::RightSemi,
    JoinType::LeftAnti,
    JoinType::RightAnti,
    JoinType::LeftMark,
    JoinType::RightMark,
];

fn plan(rng: &mut impl Rng) -> Plan {
    let mut plan = Plan::new(*KINDS.choose(rng).expect("not empty"));
    plan.weighted = [rng.random_bool(0.5), rng.random_bool(0.5)];
    if rng.random_range(0..8) == 0 {
        (plan.kind, plan.null_aware) = (JoinType::LeftAnti, true);
        return plan;
    }
    plan.keys = [vec![], vec![0], vec![0], vec![0, 1], vec![0, 2], vec![2]].choose(rng).expect("not empty").clone();
    plan.nulls_match = rng.random_range(0..4) == 0;
    plan.compares = rng.random_range(0..3) == 0;
    plan.near = rng.random_range(0..3) == 0;
    let timed = plan.near || plan.keys.contains(&2);
    if timed && plan.spec().drops_keys() {
        plan.timed = [rng.random_bool(0.8); 2];
    } else if timed {
        plan.timed = [rng.random_bool(0.7), rng.random_bool(0.7)];
    }
    plan
}

/// One side's rows, and how far its watermark has come.
struct Stream {
    rows: BTreeMap<Row, i64>,
    watermark: i64,
    weighted: bool,
    keys: i64,
}

impl Stream {
    fn row(&self, rng: &mut impl Rng) -> Row {
        let mut maybe = |value: i64, often: u32| (rng.random_range(0..often) > 0).then_some(value);
        let (key, value) = (maybe(0, 6), maybe(0, 6));
        let time = maybe(0, 12).map(|_| self.watermark + rng.random_range(0..14));
        vec![key.map(|_| rng.random_range(0..self.keys)), value.map(|_| rng.random_range(0..4)), time]
    }

    /// Changes of one tick: inserts, and retractions of rows that the watermark has not passed.
    fn changes(&mut self, rng: &mut impl Rng) -> Vec<(Row, i64)> {
        let mut changes: Vec<(Row, i64)> = Vec::new();
        for _ in 0..rng.random_range(0..7) {
            let open = self.rows.keys().filter(|row| row[2].is_none_or(|time| time >= self.watermark));
            let open: Vec<Row> = open.cloned().collect();
            match open.choose(rng) {
                Some(row) if self.weighted && rng.random_bool(0.5) => changes.push((row.clone(), -1)),
                _ if self.weighted => changes.push((self.row(rng), rng.random_range(1..3))),
                _ => changes.push((self.row(rng), 1)),
            }
            add(&mut self.rows, changes.last().cloned());
        }
        // Within a tick a row may be taken before it is given.
        let mut shuffled = Vec::with_capacity(changes.len());
        while !changes.is_empty() {
            shuffled.push(changes.swap_remove(rng.random_range(0..changes.len())));
        }
        shuffled
    }
}

#[test]
fn every_join_equals_nested_loops() {
    let (mut kept, mut dropped) = (0, 0);
    for seed in 0..1500 {
        let (evicting, keeping) = run(seed, 12);
        dropped += keeping - evicting.min(keeping);
        kept += keeping;
    }
    assert!(dropped * 20 > kept, "almost nothing was ever dropped: {dropped} of {kept}");
}

/// Runs a random join with and without dropping; returns how many rows each kept.
fn run(seed: u64, ticks: u64) -> (usize, usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let plan = plan(&mut rng);
    let partitions = |rng: &mut ChaCha8Rng| *[1, 2, 7].choose(rng).expect("not empty");
    let keys = *[1, 3, 10].choose(&mut rng).expect("not empty");
    let mut streams = plan.weighted.map(|weighted| Stream { rows: BTreeMap::new(), watermark: 0, weighted, keys });
    let mut evicting = Cluster::new(&plan, partitions(&mut rng));
    let mut keeping = Cluster::new(&plan, 1);
    let (mut sum, mut sum_kept) = (BTreeMap::new(), BTreeMap::new());
    for tick in 1..=ticks {
        let changes = [streams[0].changes(&mut rng), streams[1].changes(&mut rng)];
        for stream in &mut streams {
            stream.watermark += rng.random_range(0..6) * rng.random_range(0..2);
        }
        let reach = if plan.keys.contains(&2) { 0 } else { REACH };
        let below = |side: usize| plan.timed[side].then(|| streams[1 - side].watermark - reach);
        let context = |evict| TickContext {
            tick: TickId(tick),
            matched_below: [below(0), below(1)],
            evict,
            ..TickContext::default()
        };
        let changed = evicting.step([&changes[0], &changes[1]], &context(true));
        check_net(&plan, &changed, seed, tick);
        add(&mut sum, changed);
        add(&mut sum_kept, keeping.step([&changes[0], &changes[1]], &context(false)));
        let expected = naive::answer(&plan, &streams[0].rows, &streams[1].rows);
        assert_eq!(sum_kept, expected, "seed {seed}, tick {tick}, nothing dropped: {plan:?}");
        assert_eq!(sum, expected, "seed {seed}, tick {tick}: {plan:?}");
        if rng.random_range(0..5) == 0 {
            evicting.restart(partitions(&mut rng));
            keeping.restart(1);
        }
    }
    (evicting.state_keys(), keeping.state_keys())
}

/// What comes out is the net change: no row comes and goes in one tick.
fn check_net(plan: &Plan, changed: &[(Row, i64)], seed: u64, tick: u64) {
    let retracts = plan.spec().retracts();
    let mut seen: BTreeMap<&Row, i64> = BTreeMap::new();
    for (row, weight) in changed {
        assert!(retracts || *weight == 1, "seed {seed}, tick {tick}: {plan:?}");
        // A row with a NULL key passes through as it came; an all-NULL match looks like none.
        let passes = row.iter().any(Option::is_none);
        let sign = seen.entry(row).or_insert(weight.signum());
        assert!(passes || *sign == weight.signum(), "seed {seed}, tick {tick}, {row:?}: {plan:?}");
    }
}
