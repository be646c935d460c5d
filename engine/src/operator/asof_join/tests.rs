//! Random rows on both sides against a search through all of them.

use std::collections::BTreeMap;

use arrow::array::{StringArray, TimestampMicrosecondArray};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::operator::naive::{Answer, Cluster};

/// A key, a time, a text.
type Row = (Option<i64>, Option<i64>, Option<&'static str>);

fn delta(rows: &[(Row, i64)]) -> Delta {
    let keys: Int64Array = rows.iter().map(|(row, _)| row.0).collect();
    let times: TimestampMicrosecondArray = rows.iter().map(|(row, _)| row.1).collect();
    let texts: StringArray = rows.iter().map(|(row, _)| row.2).collect();
    let columns =
        [("k", Arc::new(keys) as ArrayRef, true), ("t", Arc::new(times) as _, true), ("x", Arc::new(texts) as _, true)];
    let rows_of = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length");
    Delta { rows: rows_of, weights: Weights::Signed(rows.iter().map(|(_, weight)| Some(*weight)).collect()) }
}

fn spec(closest: Closest, outer: bool) -> AsofJoinSpec {
    let input = delta(&[]).rows.schema();
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let output = Arc::new(Schema::new(vec![text("x"), text("y")]));
    AsofJoinSpec { inputs: [input.clone(), input], keys: 1, closest, outer, output }
}

/// Sorted by text ascending, NULL last.
fn order(text: Option<&'static str>) -> (bool, Option<&'static str>) {
    (text.is_none(), text)
}

fn expected(sides: &[BTreeMap<Row, i64>; 2], closest: Closest, outer: bool) -> Answer {
    let mut answer = Answer::new();
    for ((key, time, text), weight) in &sides[0] {
        let matches = |row: &&Row| {
            let (Some(key), Some(time), Some(other)) = (key, time, row.1) else { return false };
            row.0 == Some(*key)
                && match closest {
                    Closest::AtOrBefore => other <= *time,
                    Closest::Before => other < *time,
                    Closest::AtOrAfter => other >= *time,
                    Closest::After => other > *time,
                }
        };
        let distance = |row: &&Row| {
            let other = row.1.expect("a row that matches has a time");
            (if closest.looks_back() { -other } else { other }, order(row.2))
        };
        let found = sides[1].keys().filter(matches).min_by_key(distance);
        if found.is_some() || outer {
            let show = |text: Option<&str>| text.unwrap_or("NULL").to_owned();
            let row = vec![show(*text), found.map_or_else(|| show(None), |row| show(row.2))];
            *answer.entry(row).or_default() += weight;
        }
    }
    answer
}

#[test]
fn each_left_row_has_the_closest_right_one() {
    for seed in 0..300 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let closest = [Closest::AtOrBefore, Closest::Before, Closest::AtOrAfter, Closest::After][seed as usize % 4];
        let (outer, retracts, bounded) = (seed % 3 == 0, seed % 2 == 0, seed % 5 < 3);
        let make = || Box::new(AsofJoinOperator::try_new(spec(closest, outer)).expect("a spec")) as Box<dyn Operator>;
        let mut cluster = Cluster::new(make, &[0]);
        cluster.evict = seed % 7 > 0;
        let mut sides: [BTreeMap<Row, i64>; 2] = Default::default();
        // Later rows of a side are at this or later.
        let mut bounds = [0, 0];
        for tick in 0..25 {
            let mut inputs = [Vec::new(), Vec::new()];
            for side in 0..2 {
                let mut changes = Vec::new();
                for _ in 0..random.random_range(0..8) {
                    let open = |row: &&Row| row.1.is_none_or(|time| time >= bounds[side]);
                    let known: Vec<Row> = sides[side].keys().filter(open).copied().collect();
                    if retracts && !known.is_empty() && random.random_bool(0.4) {
                        let row = known[random.random_range(0..known.len())];
                        changes.push((row, -random.random_range(1..=sides[side][&row])));
                    } else {
                        let key = (random.random_range(0..8) > 0).then(|| random.random_range(0..3));
                        let time = (random.random_range(0..8) > 0).then(|| bounds[side] + random.random_range(0..7));
                        let text = [Some("a"), Some("b"), Some("c"), None][random.random_range(0..4)];
                        changes.push(((key, time, text), random.random_range(1..3)));
                    }
                    let (row, weight) = *changes.last().expect("pushed just now");
                    *sides[side].entry(row).or_default() += weight;
                    sides[side].retain(|_, weight| *weight != 0);
                }
                let middle = random.random_range(0..=changes.len());
                inputs[side] = vec![delta(&changes[middle..]), delta(&changes[..middle])];
            }
            for bound in &mut bounds {
                *bound += if bounded { random.random_range(0..3) } else { 0 };
            }
            if bounded {
                // What is to come on the right says what is past on the left, and the other way round.
                cluster.matched_below = [Some(bounds[1]), Some(bounds[0])];
            }
            cluster.step(&inputs, None);
            assert_eq!(cluster.answer, expected(&sides, closest, outer), "seed {seed}, tick {tick}");
            if random.random_range(0..6) == 0 {
                cluster.restart(random.random_range(1..4));
            }
        }
    }
}

#[test]
fn the_first_and_the_last_of_all_times_are_times() {
    let ends = [i64::MIN, i64::MIN + 1, 0, i64::MAX - 1, i64::MAX];
    for closest in [Closest::AtOrBefore, Closest::Before, Closest::AtOrAfter, Closest::After] {
        let make = || Box::new(AsofJoinOperator::try_new(spec(closest, true)).expect("a spec")) as Box<dyn Operator>;
        for (left, right) in ends.into_iter().flat_map(|left| ends.map(|right| (left, right))) {
            let matches = match closest {
                Closest::AtOrBefore => right <= left,
                Closest::Before => right < left,
                Closest::AtOrAfter => right >= left,
                Closest::After => right > left,
            };
            let mut cluster = Cluster::new(make, &[0]);
            let row = |time, text, weight| vec![delta(&[((Some(1), Some(time), Some(text)), weight)])];
            let paired =
                |matches: bool| Answer::from([(vec!["l".into(), if matches { "r" } else { "NULL" }.into()], 1)]);
            cluster.step(&[row(left, "l", 1), row(right, "r", 1)], None);
            assert_eq!(cluster.answer, paired(matches), "{left} {} {right}", closest.symbol());
            cluster.step(&[vec![], row(right, "r", -1)], None);
            assert_eq!(cluster.answer, paired(false), "{left} {} {right}, taken back", closest.symbol());
            cluster.step(&[vec![], row(right, "r", 1)], None);
            assert_eq!(cluster.answer, paired(matches), "{left} {} {right}, and come again", closest.symbol());
            cluster.step(&[row(left, "l", -1), vec![]], None);
            assert_eq!(cluster.answer, Answer::new(), "{left} {} {right}, without the left row", closest.symbol());
        }
    }
}

#[test]
fn rows_out_of_reach_are_dropped() {
    let make =
        || Box::new(AsofJoinOperator::try_new(spec(Closest::AtOrBefore, true)).expect("a spec")) as Box<dyn Operator>;
    let mut cluster = Cluster::new(make, &[0]);
    for time in 0..1_000 {
        cluster.matched_below = [Some(time - 5), Some(time - 5)];
        let row = |text| vec![delta(&[((Some(1), Some(time), Some(text)), 1)])];
        cluster.step(&[row("l"), row("r")], None);
        assert!(cluster.keys() < 30, "{} rows kept at {time}", cluster.keys());
    }
    assert_eq!(cluster.answer.values().sum::<i64>(), 1_000);
}
