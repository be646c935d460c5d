//! After every tick the summed output is what sorting all rows and counting them off gives.

use std::collections::BTreeMap;

use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, FieldRef};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{CountWindowOperator, CountWindowSpec};
use crate::delta::{Delta, Weights};
use crate::error::ErrorKind;
use crate::operator::aggregate::Emit;
use crate::operator::naive::{Answer, Cluster, Row, delta, schema, text};
use crate::operator::{Operator, TickContext};

fn spec(rows: i64, emit: Emit) -> CountWindowSpec {
    let bound = |name: &str| FieldRef::from(schema().field(0).clone().with_name(name));
    let ascending = SortOptions { descending: false, nulls_first: false };
    CountWindowSpec {
        input: schema(),
        keys: vec![1],
        order: vec![(0, ascending), (2, ascending)],
        rows,
        added: [bound("start"), bound("end"), FieldRef::from(Field::new("number", DataType::Int64, false))],
        emit,
    }
}

fn maker(spec: CountWindowSpec) -> impl Fn() -> Box<dyn Operator> {
    move || Box::new(CountWindowOperator::try_new(spec.clone()).expect("a sound spec"))
}

/// Every row with its window; with `below`, only of windows that are full and end before.
fn counted(rows: &[Row], each: usize, below: Option<i64>) -> Answer {
    let mut keys: BTreeMap<Option<i64>, Vec<&Row>> = BTreeMap::new();
    rows.iter().for_each(|row| keys.entry(row.1).or_default().push(row));
    let mut answer = Answer::new();
    for rows in keys.values_mut() {
        rows.sort_by_key(|row| (row.0, row.2.is_none(), row.2));
        for (number, window) in rows.chunks(each).enumerate() {
            let (start, end) = (window[0].0, window[window.len() - 1].0);
            if below.is_none_or(|below| window.len() == each && end < below) {
                let time = |micros: i64| text(&(micros, None, None, None), &[]).remove(0);
                let more = [time(start), time(end), (number + 1).to_string()];
                window.iter().for_each(|row| *answer.entry(text(row, &more)).or_default() += 1);
            }
        }
    }
    answer
}

struct Arrivals {
    random: ChaCha8Rng,
    rows: Vec<Row>,
    closed_below: i64,
}

impl Arrivals {
    fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), rows: Vec::new(), closed_below: 0 }
    }

    fn tick(&mut self) -> Vec<Delta> {
        let mut new: Vec<(Row, i64)> = Vec::new();
        for _ in 0..self.random.random_range(0..15) {
            let time = self.closed_below + self.random.random_range(0..12);
            let key = self.random.random_bool(0.8).then(|| self.random.random_range(0..3));
            let order = self.random.random_bool(0.8).then(|| self.random.random_range(0..3));
            new.push(((time, key, order, None), 1));
        }
        self.rows.extend(new.iter().map(|(row, _)| row.clone()));
        let cut = self.random.random_range(0..=new.len());
        [&new[..cut], &new[cut..]].map(|rows| Delta { weights: Weights::Ones, ..delta(rows) }).into()
    }
}

#[test]
fn the_output_adds_up_to_all_rows_counted_off() {
    for seed in 0..80 {
        let each = 1 + seed as usize % 5;
        let mut arrivals = Arrivals::new(seed);
        let mut cluster = Cluster::new(maker(spec(each as i64, Emit::OnUpdate)), &[1]);
        cluster.evict = seed % 3 != 0;
        for tick in 0..20 {
            let deltas = arrivals.tick();
            cluster.step(&[deltas], Some(arrivals.closed_below));
            assert_eq!(cluster.answer, counted(&arrivals.rows, each, None), "seed {seed}, tick {tick}, {each} rows");
            arrivals.closed_below += arrivals.random.random_range(0..6);
            if tick % 4 == 3 {
                cluster.restart(tick % 3 + 1);
            }
        }
    }
}

#[test]
fn a_full_window_behind_the_watermark_is_answered_once() {
    for seed in 0..80 {
        let each = 1 + seed as usize % 5;
        let mut arrivals = Arrivals::new(seed);
        let mut cluster = Cluster::new(maker(spec(each as i64, Emit::OnClose)), &[1]);
        (cluster.evict, cluster.append_only) = (seed % 3 != 0, true);
        for tick in 0..20 {
            let deltas = arrivals.tick();
            arrivals.closed_below += arrivals.random.random_range(0..6);
            cluster.step(&[deltas], Some(arrivals.closed_below));
            let expected = counted(&arrivals.rows, each, Some(arrivals.closed_below));
            assert_eq!(cluster.answer, expected, "seed {seed}, tick {tick}, {each} rows");
            if tick % 4 == 3 {
                cluster.restart(tick % 3 + 1);
            }
        }
    }
}

#[test]
fn final_windows_are_dropped() {
    let mut operator = CountWindowOperator::try_new(spec(2, Emit::OnUpdate)).expect("a sound spec");
    let rows: Vec<(Row, i64)> = (0..1001).map(|time| ((time, Some(1), None, None), 1)).collect();
    let tick = TickContext { closed_below: Some(1001), evict: true, ..TickContext::default() };
    operator.step(vec![vec![Delta { weights: Weights::Ones, ..delta(&rows) }]], &tick).expect("a legal tick");
    // One row of the window that is not full, and the key's count.
    assert_eq!(operator.state_keys(), 2);
}

#[test]
fn what_cannot_be_is_an_error() {
    let step = |rows: &[(Row, i64)]| {
        let mut operator = maker(spec(2, Emit::OnUpdate))();
        let tick = TickContext { closed_below: Some(5), evict: true, ..TickContext::default() };
        operator.step(Vec::new(), &tick).expect("nothing");
        operator.step(vec![vec![delta(rows)]], &tick).expect_err("not possible").kind()
    };
    assert_eq!(step(&[((9, Some(1), None, None), -1)]), ErrorKind::Internal);
    assert_eq!(step(&[((4, Some(1), None, None), 1)]), ErrorKind::Internal);
    assert!(CountWindowOperator::try_new(spec(0, Emit::OnUpdate)).is_err());
}
