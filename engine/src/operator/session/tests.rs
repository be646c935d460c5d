//! After every tick the summed output is what sorting all rows and cutting them at wide steps gives.

use std::collections::BTreeMap;

use arrow::datatypes::FieldRef;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{SessionOperator, SessionSpec};
use crate::delta::{Delta, Weights};
use crate::error::ErrorKind;
use crate::operator::aggregate::Emit;
use crate::operator::naive::{Answer, Cluster, Row, Rows, delta, schema, text};
use crate::operator::{Operator, TickContext};
use crate::time::TickId;

fn spec(gap: i64, weighted: bool) -> SessionSpec {
    let bound = |name: &str| FieldRef::from(schema().field(0).clone().with_name(name));
    SessionSpec {
        input: schema(),
        keys: vec![1],
        time: 0,
        gap_micros: gap,
        bounds: [bound("start"), bound("end")],
        input_weighted: weighted,
        time_is_bounded: true,
        emit: Emit::OnUpdate,
    }
}

fn maker(spec: SessionSpec) -> impl Fn() -> Box<dyn Operator> {
    move || Box::new(SessionOperator::try_new(spec.clone()).expect("a sound spec"))
}

fn time(micros: i64) -> String {
    text(&(micros, None, None, None), &[]).remove(0)
}

/// Every row with its session's bounds; with `below`, only of sessions that end before.
fn sessions(rows: &Rows, gap: i64, below: Option<i64>) -> Answer {
    let mut keys: BTreeMap<Option<i64>, Vec<(&Row, i64)>> = BTreeMap::new();
    rows.iter().for_each(|(row, weight)| keys.entry(row.1).or_default().push((row, *weight)));
    let mut answer = Answer::new();
    for rows in keys.values_mut() {
        rows.sort();
        let mut runs: Vec<Vec<(&Row, i64)>> = Vec::new();
        for (row, weight) in rows.iter() {
            match runs.last_mut() {
                Some(run) if run.last().is_some_and(|(last, _)| row.0 - last.0 <= gap) => run.push((row, *weight)),
                _ => runs.push(vec![(row, *weight)]),
            }
        }
        for run in runs {
            let (start, end) = (run[0].0.0, run[run.len() - 1].0.0 + gap);
            if below.is_none_or(|below| end < below) {
                let rows = run.into_iter().map(|(row, weight)| (text(row, &[time(start), time(end)]), weight));
                rows.for_each(|(row, weight)| *answer.entry(row).or_default() += weight);
            }
        }
    }
    answer
}

/// Random changes of rows whose time is not below a growing bound.
struct Changes {
    random: ChaCha8Rng,
    rows: Rows,
    weighted: bool,
    closed_below: i64,
}

impl Changes {
    fn new(seed: u64, weighted: bool) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), rows: Rows::new(), weighted, closed_below: 0 }
    }

    fn tick(&mut self) -> Vec<Delta> {
        let mut changes: Vec<(Row, i64)> = Vec::new();
        for _ in 0..self.random.random_range(0..12) {
            let open: Vec<Row> = self.rows.keys().filter(|row| row.0 >= self.closed_below).cloned().collect();
            if self.weighted && !open.is_empty() && self.random.random_bool(0.5) {
                let row = open[self.random.random_range(0..open.len())].clone();
                let weight = self.random.random_range(1..=self.rows[&row]);
                changes.push((row, -weight));
            } else {
                let time = self.closed_below + self.random.random_range(0..40);
                let key = self.random.random_bool(0.8).then(|| self.random.random_range(0..2));
                let row = (time, key, Some(self.random.random_range(0..2)), None);
                changes.push((row, if self.weighted { self.random.random_range(1..3) } else { 1 }));
            }
            let (row, weight) = changes.last().expect("pushed just now").clone();
            *self.rows.entry(row).or_default() += weight;
            self.rows.retain(|_, weight| *weight != 0);
        }
        let middle = self.random.random_range(0..=changes.len());
        changes.rotate_left(middle);
        let cut = self.random.random_range(0..=changes.len());
        let plain = |delta: Delta| if self.weighted { delta } else { Delta { weights: Weights::Ones, ..delta } };
        vec![plain(delta(&changes[..cut])), plain(delta(&changes[cut..]))]
    }

    fn advance(&mut self) {
        self.closed_below += self.random.random_range(0..8);
    }
}

#[test]
fn the_output_adds_up_to_the_sessions_of_all_rows() {
    for seed in 0..200 {
        let (weighted, gap) = (seed % 2 == 0, [0, 1, 3, 6][seed as usize / 2 % 4]);
        let mut changes = Changes::new(seed, weighted);
        let mut cluster = Cluster::new(maker(spec(gap, weighted)), &[1]);
        cluster.evict = seed % 5 != 0;
        for tick in 0..25 {
            let deltas = changes.tick();
            cluster.step(&[deltas], Some(changes.closed_below));
            assert_eq!(cluster.answer, sessions(&changes.rows, gap, None), "seed {seed}, tick {tick}, gap {gap}");
            changes.advance();
            if tick % 4 == 3 {
                cluster.restart(tick % 3 + 1);
            }
        }
    }
}

#[test]
fn eviction_frees_sessions_that_nothing_can_touch() {
    for seed in 0..10 {
        let mut changes = Changes::new(seed, false);
        let mut evicting = Cluster::new(maker(spec(3, false)), &[1]);
        let mut keeping = Cluster::new(maker(spec(3, false)), &[1]);
        keeping.evict = false;
        for _ in 0..30 {
            let deltas = changes.tick();
            evicting.step(std::slice::from_ref(&deltas), Some(changes.closed_below));
            keeping.step(&[deltas], Some(changes.closed_below));
            assert_eq!(evicting.answer, keeping.answer, "seed {seed}");
            changes.advance();
        }
        assert!(evicting.keys() < keeping.keys(), "seed {seed}: nothing was evicted");
    }
}

#[test]
fn a_final_session_is_answered_once() {
    for seed in 0..60 {
        let gap = [0, 2, 5][seed as usize % 3];
        let mut changes = Changes::new(seed, false);
        let mut cluster = Cluster::new(maker(SessionSpec { emit: Emit::OnClose, ..spec(gap, false) }), &[1]);
        cluster.evict = seed % 2 == 0;
        cluster.append_only = true;
        for tick in 0..25 {
            let deltas = changes.tick();
            changes.advance();
            cluster.step(&[deltas], Some(changes.closed_below));
            let expected = sessions(&changes.rows, gap, Some(changes.closed_below));
            assert_eq!(cluster.answer, expected, "seed {seed}, tick {tick}, gap {gap}");
            if tick % 5 == 4 {
                cluster.restart(tick % 3 + 1);
            }
        }
    }
}

fn step(operator: &mut dyn Operator, rows: &[(Row, i64)]) -> crate::Result<Vec<(Vec<String>, i64)>> {
    let tick =
        TickContext { tick: TickId(1), now_micros: 0, closed_below: None, evict: true, ..TickContext::default() };
    let mut found = Vec::new();
    for delta in operator.step(vec![vec![delta(rows)]], &tick)? {
        let cells = |row: usize| {
            let of = |column: usize| {
                arrow::util::display::array_value_to_string(delta.rows.column(column), row).expect("a plain type")
            };
            (vec![of(0), of(4), of(5)], delta.weight(row))
        };
        found.extend((0..delta.num_rows()).map(cells));
    }
    found.sort();
    Ok(found)
}

fn at(time: i64) -> Row {
    (time, Some(1), None, None)
}

#[test]
fn rows_move_when_sessions_join_and_split() {
    let mut operator = SessionOperator::try_new(spec(5, true)).expect("a sound spec");
    let row = |time_: i64, start: i64, end: i64, weight: i64| (vec![time(time_), time(start), time(end)], weight);
    let change = |operator: &mut SessionOperator, rows: &[(i64, i64)]| {
        let rows: Vec<_> = rows.iter().map(|(time, weight)| (at(*time), *weight)).collect();
        step(operator, &rows).expect("a legal tick")
    };
    assert_eq!(change(&mut operator, &[(0, 1), (11, 1)]), [row(0, 0, 5, 1), row(11, 11, 16, 1)]);
    // Exactly the gap from one and more than it from the other; then the missing link.
    assert_eq!(change(&mut operator, &[(5, 1)]), [row(0, 0, 5, -1), row(0, 0, 10, 1), row(5, 0, 10, 1)]);
    let joined = change(&mut operator, &[(8, 1)]);
    assert_eq!(joined.iter().filter(|(_, weight)| *weight > 0).count(), 4);
    assert_eq!(joined.len(), 7);
    // What is bridged moves nothing but itself; without the bridge the session falls apart.
    assert_eq!(change(&mut operator, &[(6, 1)]), [row(6, 0, 16, 1)]);
    assert_eq!(change(&mut operator, &[(6, -1)]), [row(6, 0, 16, -1)]);
    let split = change(&mut operator, &[(5, -1)]);
    assert!(split.contains(&row(0, 0, 5, 1)) && split.contains(&row(8, 8, 16, 1)), "{split:?}");
    assert_eq!(split.len(), 7);
}

#[test]
fn what_cannot_be_is_an_error() {
    for (weighted, kind) in [(false, ErrorKind::Internal), (true, ErrorKind::Data)] {
        let mut operator = maker(spec(5, weighted))();
        assert_eq!(step(operator.as_mut(), &[(at(0), -1)]).expect_err("no such row").kind(), kind);
    }
    let closing = SessionSpec { emit: Emit::OnClose, time_is_bounded: false, ..spec(5, false) };
    assert!(SessionOperator::try_new(closing).is_err());
    assert!(SessionOperator::try_new(SessionSpec { time: 1, ..spec(5, false) }).is_err());
    let mut far = SessionOperator::try_new(spec(5, false)).expect("a sound spec");
    let rows = [(at(i64::MAX), 1)];
    let tick = TickContext { evict: true, ..TickContext::default() };
    let inserts = Delta { weights: Weights::Ones, ..delta(&rows) };
    assert_eq!(far.step(vec![vec![inserts]], &tick).expect_err("no end").kind(), ErrorKind::Data);
}
