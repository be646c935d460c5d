//! After every tick the summed output is what sorting all rows gives.

use std::collections::BTreeMap;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef};

use super::{Rank, TopNOperator, TopNSpec};
use crate::delta::{Delta, Weights};
use crate::error::ErrorKind;
use crate::operator::aggregate::Emit;
use crate::operator::naive::{Answer, Cluster, History, Row, Rows, delta, schema, text};
use crate::operator::{Operator, TickContext};
use crate::time::TickId;

fn spec(rank: Rank, from: u64, to: Option<u64>, shown: bool, weighted: bool) -> TopNSpec {
    TopNSpec {
        input: schema(),
        keys: vec![0, 1],
        order: vec![(2, SortOptions { descending: true, nulls_first: false })],
        rank,
        from,
        to,
        rank_column: shown.then(|| FieldRef::from(Field::new("rank", DataType::UInt64, false))),
        input_weighted: weighted,
        monotone_key: None,
        emit: Emit::OnUpdate,
    }
}

fn maker(spec: TopNSpec) -> impl Fn() -> Box<dyn Operator> {
    move || Box::new(TopNOperator::try_new(spec.clone()).expect("a sound spec"))
}

/// The answer by sorting every group.
fn sorted(rows: &Rows, spec: &TopNSpec) -> Answer {
    let mut groups: BTreeMap<Vec<String>, Vec<&Row>> = BTreeMap::new();
    for (row, weight) in rows {
        let key = if spec.keys.is_empty() { vec![] } else { text(row, &[])[..2].to_vec() };
        groups.entry(key).or_default().extend(std::iter::repeat_n(row, *weight as usize));
    }
    let mut answer = Answer::new();
    for rows in groups.values_mut() {
        // `o` descending, NULL last; then the others ascending, NULL last.
        let last = |value: Option<i64>| value.map_or((1, 0), |value| (0, value));
        rows.sort_by_key(|row| {
            let order = row.2.map_or((1, 0), |order| (0, -order));
            let text = row.3.as_ref().map_or((1, ""), |text| (0, text.as_str()));
            (order, row.0, last(row.1), text)
        });
        let (mut rank, mut dense, mut previous) = (0, 0, None);
        for (index, row) in rows.iter().enumerate() {
            if previous != Some(row.2) {
                (rank, dense, previous) = (index as u64 + 1, dense + 1, Some(row.2));
            }
            let rank = match spec.rank {
                Rank::RowNumber => index as u64 + 1,
                Rank::Rank => rank,
                Rank::DenseRank => dense,
            };
            if rank >= spec.from && spec.to.is_none_or(|to| rank <= to) {
                let shown: Vec<String> = spec.rank_column.iter().map(|_| rank.to_string()).collect();
                *answer.entry(text(row, &shown)).or_default() += 1;
            }
        }
    }
    answer
}

#[test]
fn the_output_adds_up_to_the_first_rows_of_the_sorted_groups() {
    for seed in 0..120 {
        let ranks = [Rank::RowNumber, Rank::RowNumber, Rank::Rank, Rank::DenseRank];
        let (weighted, shown) = (seed % 2 == 0, seed / 2 % 2 == 0);
        let (from, to) = [(1, Some(1)), (1, Some(3)), (2, Some(4)), (3, None), (1, Some(0))][seed as usize % 5];
        let mut spec = spec(ranks[seed as usize / 4 % 4], from, to, shown, weighted);
        if seed % 7 == 0 {
            spec.keys = vec![];
        }
        let mut history = History::new(seed, weighted);
        let mut cluster = Cluster::new(maker(spec.clone()), &spec.keys);
        for tick in 0..14 {
            let changes = history.tick();
            cluster.step(&[changes], None);
            assert_eq!(cluster.answer, sorted(&history.rows, &spec), "seed {seed}, tick {tick}: {spec:?}");
            if tick % 4 == 3 {
                cluster.restart(if spec.keys.is_empty() { 1 } else { tick % 3 + 1 });
            }
        }
    }
}

#[test]
fn eviction_changes_no_answer_and_frees_closed_windows() {
    for seed in 0..20 {
        let weighted = seed % 2 == 0;
        let spec = TopNSpec { monotone_key: Some(0), ..spec(Rank::RowNumber, 1, Some(1 + seed % 2), true, weighted) };
        let mut history = History::new(seed, weighted);
        let mut evicting = Cluster::new(maker(spec.clone()), &spec.keys);
        let mut keeping = Cluster::new(maker(spec.clone()), &spec.keys);
        keeping.evict = false;
        for tick in 0..20 {
            let changes = history.tick();
            evicting.step(&[changes.clone()], Some(history.closed_below));
            keeping.step(&[changes], Some(history.closed_below));
            assert_eq!(evicting.answer, keeping.answer, "seed {seed}, tick {tick}");
            assert_eq!(evicting.answer, sorted(&history.rows, &spec), "seed {seed}, tick {tick}");
            history.closed_below += i64::from(tick % 2 == 0);
            if tick % 5 == 4 {
                evicting.restart(2);
            }
        }
        assert!(evicting.keys() < keeping.keys(), "seed {seed}: nothing was evicted");
    }
}

#[test]
fn a_closed_window_is_answered_once() {
    for seed in 0..20 {
        let base = spec(Rank::Rank, 1, Some(2), false, false);
        let spec = TopNSpec { monotone_key: Some(0), emit: Emit::OnClose, ..base };
        let mut history = History::new(seed, false);
        let mut cluster = Cluster::new(maker(spec.clone()), &spec.keys);
        cluster.evict = seed % 2 == 0;
        for tick in 0..20 {
            let changes = history.tick();
            let closed_below = history.closed_below + i64::from(tick % 2 == 0);
            cluster.append_only = true;
            cluster.step(&[changes], Some(closed_below));
            history.closed_below = closed_below;
            let final_rows = history.rows.iter().filter(|(row, _)| row.0 < closed_below);
            let final_rows: Rows = final_rows.map(|(row, weight)| (row.clone(), *weight)).collect();
            assert_eq!(cluster.answer, sorted(&final_rows, &spec), "seed {seed}, tick {tick}");
            if tick % 5 == 4 {
                cluster.restart(tick % 3 + 1);
            }
        }
    }
}

#[test]
fn only_moved_rows_are_emitted() {
    let row = |order: i64| ((0, Some(1), Some(order), None), 1);
    let hidden = spec(Rank::RowNumber, 1, Some(3), false, false);
    let mut cluster = Cluster::new(maker(hidden), &[0, 1]);
    let inserts = |rows: &[(Row, i64)]| vec![Delta { weights: Weights::Ones, ..delta(rows) }];
    assert_eq!(cluster.step(&[inserts(&[row(1), row(3), row(5)])], None), 3);
    assert_eq!(cluster.step(&[inserts(&[row(4)])], None), 2, "one in, one out");
    assert_eq!(cluster.step(&[inserts(&[row(0)])], None), 0, "behind the last");
    let shown = spec(Rank::RowNumber, 1, Some(3), true, false);
    let mut cluster = Cluster::new(maker(shown), &[0, 1]);
    assert_eq!(cluster.step(&[inserts(&[row(1), row(3), row(5)])], None), 3);
    assert_eq!(cluster.step(&[inserts(&[row(4)])], None), 4, "4 pushes 3 down and 1 out");
}

#[test]
fn an_append_only_group_keeps_no_more_than_it_answers_with() {
    let mut operator = TopNOperator::try_new(spec(Rank::RowNumber, 1, Some(2), false, false)).expect("a sound spec");
    let tick =
        TickContext { tick: TickId(1), now_micros: 0, closed_below: None, evict: true, ..TickContext::default() };
    let rows: Vec<(Row, i64)> = (0..1000).map(|order| ((0, Some(1), Some(order), None), 1)).collect();
    operator.step(vec![vec![Delta { weights: Weights::Ones, ..delta(&rows) }]], &tick).expect("a legal tick");
    let saved = operator.save().expect("rows that can be saved");
    assert_eq!(saved.tables[0].1.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
}

#[test]
fn what_cannot_be_is_an_error() {
    let tick =
        TickContext { tick: TickId(1), now_micros: 0, closed_below: None, evict: true, ..TickContext::default() };
    let retraction = || vec![vec![delta(&[((0, Some(1), Some(2), None), -1)])]];
    for (weighted, kind) in [(false, ErrorKind::Internal), (true, ErrorKind::Data)] {
        let mut operator = maker(spec(Rank::RowNumber, 1, Some(1), false, weighted))();
        assert_eq!(operator.step(retraction(), &tick).expect_err("no such row").kind(), kind);
    }
    let closing = TopNSpec { emit: Emit::OnClose, ..spec(Rank::Rank, 1, None, false, false) };
    assert!(TopNOperator::try_new(closing).is_err());
}
