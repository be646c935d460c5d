//! After every tick the summed output is what counting both sides gives.

use super::{SetOperationOperator, SetOperationSpec, SetRule};
use crate::delta::{Delta, Weights};
use crate::error::ErrorKind;
use crate::operator::naive::{Answer, Cluster, History, Rows, delta, schema, text};
use crate::operator::{Operator, TickContext};
use crate::time::TickId;

const RULES: [SetRule; 4] = [SetRule::Intersect, SetRule::IntersectAll, SetRule::Except, SetRule::ExceptAll];

fn spec(rule: SetRule, monotone_column: Option<usize>) -> SetOperationSpec {
    SetOperationSpec { input: schema(), rule, monotone_column }
}

fn maker(spec: SetOperationSpec) -> impl Fn() -> Box<dyn Operator> {
    move || Box::new(SetOperationOperator::try_new(spec.clone()).expect("a sound spec"))
}

fn counted(left: &Rows, right: &Rows, rule: SetRule) -> Answer {
    let count = |rows: &Rows, row| rows.get(row).copied().unwrap_or_default();
    let weight = |row| {
        let (left, right) = (count(left, row), count(right, row));
        match rule {
            SetRule::Intersect => left.min(right).min(1),
            SetRule::IntersectAll => left.min(right),
            SetRule::Except if right > 0 => 0,
            SetRule::Except => left.min(1),
            SetRule::ExceptAll => (left - right).max(0),
        }
    };
    left.keys().map(|row| (text(row, &[]), weight(row))).filter(|(_, weight)| *weight != 0).collect()
}

#[test]
fn the_output_adds_up_to_the_counts_of_both_sides() {
    for seed in 0..80 {
        let rule = RULES[seed as usize % 4];
        let (mut left, mut right) = (History::new(seed, seed % 3 != 0), History::new(seed + 1000, seed % 5 != 0));
        let mut cluster = Cluster::new(maker(spec(rule, None)), &[0, 1, 2, 3]);
        for tick in 0..14 {
            let changes = [left.tick(), right.tick()];
            cluster.step(&changes, None);
            assert_eq!(cluster.answer, counted(&left.rows, &right.rows, rule), "seed {seed}, tick {tick}: {rule:?}");
            if tick % 4 == 3 {
                cluster.restart(tick % 3 + 1);
            }
        }
    }
}

#[test]
fn eviction_changes_no_answer() {
    for seed in 0..20 {
        let rule = RULES[seed as usize % 4];
        let (mut left, mut right) = (History::new(seed, true), History::new(seed + 1000, true));
        let mut evicting = Cluster::new(maker(spec(rule, Some(0))), &[0, 1, 2, 3]);
        let mut keeping = Cluster::new(maker(spec(rule, Some(0))), &[0, 1, 2, 3]);
        keeping.evict = false;
        for tick in 0..20 {
            let changes = [left.tick(), right.tick()];
            evicting.step(&changes, Some(left.closed_below));
            keeping.step(&changes, Some(left.closed_below));
            assert_eq!(evicting.answer, keeping.answer, "seed {seed}, tick {tick}");
            assert_eq!(evicting.answer, counted(&left.rows, &right.rows, rule), "seed {seed}, tick {tick}");
            left.closed_below += i64::from(tick % 2 == 0);
            right.closed_below = left.closed_below;
        }
        assert!(evicting.keys() < keeping.keys(), "seed {seed}: nothing was evicted");
    }
}

#[test]
fn a_retraction_without_an_insert_is_an_error() {
    let tick =
        TickContext { tick: TickId(1), now_micros: 0, closed_below: None, evict: true, ..TickContext::default() };
    let row = delta(&[((0, Some(1), Some(2), None), -1)]);
    assert!(matches!(row.weights, Weights::Signed(_)));
    let inputs: Vec<Vec<Delta>> = vec![vec![], vec![row]];
    let error = maker(spec(SetRule::ExceptAll, None))().step(inputs, &tick).expect_err("no such row");
    assert_eq!(error.kind(), ErrorKind::Data);
}
