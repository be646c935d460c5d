//! Random rows under a clock that moves, against a filter over all rows there are.

use std::sync::Arc;

use rand::RngExt;

use super::*;
use crate::operator::naive::{Answer, Cluster, History, Rows, delta, schema, text};

/// The tick's time, moved by so much.
#[derive(Debug)]
struct Moved(i64);

impl Limit for Moved {
    fn at(&self, now_micros: i64) -> Result<i64> {
        Ok(now_micros + self.0)
    }
}

/// Conditions on the time: from the limit's distance to the clock to how the time is to be to it.
fn spec(conditions: &[(Comparison, i64)]) -> TemporalFilterSpec {
    let condition = |(comparison, by): &(Comparison, i64)| Condition {
        column: 0,
        comparison: *comparison,
        limit: Arc::new(Moved(*by)) as Arc<dyn Limit>,
    };
    TemporalFilterSpec { input: schema(), conditions: conditions.iter().map(condition).collect() }
}

fn holds(time: i64, now: i64, (comparison, by): (Comparison, i64)) -> bool {
    match comparison {
        Comparison::After => time > now + by,
        Comparison::AtOrAfter => time >= now + by,
        Comparison::Before => time < now + by,
        Comparison::AtOrBefore => time <= now + by,
    }
}

fn expected(rows: &Rows, now: i64, conditions: &[(Comparison, i64)]) -> Answer {
    let shown = rows.iter().filter(|(row, _)| conditions.iter().all(|condition| holds(row.0, now, *condition)));
    shown.map(|(row, weight)| (text(row, &[]), *weight)).collect()
}

/// Conditions that are tried: those that end rows, that begin them, and both.
const CONDITIONS: [&[(Comparison, i64)]; 6] = [
    &[(Comparison::After, -3)],
    &[(Comparison::AtOrAfter, 0), (Comparison::After, -2)],
    &[(Comparison::AtOrBefore, -1)],
    &[(Comparison::Before, 1), (Comparison::AtOrBefore, 2)],
    &[(Comparison::AtOrAfter, -4), (Comparison::AtOrBefore, -1)],
    &[(Comparison::After, 1), (Comparison::Before, -1)],
];

#[test]
fn what_is_seen_is_what_meets_the_conditions_now() {
    for seed in 0..240 {
        let conditions = CONDITIONS[seed as usize % CONDITIONS.len()];
        let mut history = History::new(seed, seed % 4 < 2);
        let make =
            || Box::new(TemporalFilterOperator::try_new(spec(conditions)).expect("conditions")) as Box<dyn Operator>;
        let mut cluster = Cluster::new(make, &[0]);
        let mut due = None;
        for tick in 0..30 {
            let before = cluster.answer.clone();
            let input = if history.random.random_range(0..3) == 0 { Vec::new() } else { history.tick() };
            let changed = cluster.step(&[input.clone()], None);
            let now = cluster.now_micros;
            assert_eq!(cluster.answer, expected(&history.rows, now, conditions), "seed {seed}, tick {tick}");
            if input.is_empty() && due.is_none_or(|due| due > now) {
                assert_eq!((changed, &cluster.answer), (0, &before), "seed {seed}, tick {tick}: not due");
            }
            due = cluster.due_micros();
            assert!(due.is_none_or(|due| due > now), "seed {seed}, tick {tick}: due already");
            if history.random.random_range(0..5) == 0 {
                cluster.restart(history.random.random_range(1..4));
                due = Some(i64::MIN);
            }
            cluster.now_micros += history.random.random_range(0..3);
            // Rows before this stay as they are from here on, but for the clock.
            history.closed_below = history.closed_below.max(now - 4);
        }
    }
}

#[test]
fn rows_are_kept_no_longer_than_they_can_change() {
    let kept = |conditions: &[(Comparison, i64)], times: &[i64], now: i64| {
        let make =
            || Box::new(TemporalFilterOperator::try_new(spec(conditions)).expect("conditions")) as Box<dyn Operator>;
        let mut cluster = Cluster::new(make, &[0]);
        cluster.now_micros = now;
        let rows: Vec<_> = times.iter().map(|time| ((*time, None, None, None), 1)).collect();
        cluster.step(&[vec![delta(&rows)]], None);
        (cluster.keys(), cluster.answer.len(), cluster.due_micros())
    };
    // Over on arrival; seen until 16; what begins and never ends is let go once it has begun.
    assert_eq!(kept(&[(Comparison::After, -5)], &[1, 5], 10), (0, 0, None));
    assert_eq!(kept(&[(Comparison::After, -5)], &[1, 11], 10), (1, 1, Some(16)));
    assert_eq!(kept(&[(Comparison::AtOrBefore, 0)], &[1, 10, 12], 10), (1, 2, Some(12)));
    // The last of all times, which stands for infinity, is a time, and no NULL.
    assert_eq!(kept(&[(Comparison::AtOrAfter, 0)], &[i64::MAX], 10), (1, 1, None));
    assert_eq!(kept(&[(Comparison::AtOrBefore, 0), (Comparison::After, -5)], &[4, 7, 12], 10), (2, 1, Some(12)));
}

#[test]
fn a_retraction_of_what_is_not_there_is_an_error() {
    let mut operator = TemporalFilterOperator::try_new(spec(&[(Comparison::After, -5)])).expect("conditions");
    let tick = TickContext { now_micros: 10, ..TickContext::default() };
    let row = (12, Some(1), None, None);
    operator.step(vec![vec![delta(&[(row.clone(), -1), (row.clone(), 1)])]], &tick).expect("nothing, in the end");
    operator.step(vec![vec![delta(&[(row, -1)])]], &tick).expect_err("a row that is not there");
    let mut operator = TemporalFilterOperator::try_new(spec(&[(Comparison::After, -5)])).expect("conditions");
    let over = (5, Some(1), None, None);
    let passed = operator.step(vec![vec![delta(&[(over, -1)])]], &tick).expect("what is over is nobody's business");
    assert!(passed.is_empty());
}
