//! The definition of every join, by nested loops.

use std::collections::BTreeMap;

use datafusion::common::JoinType;

use super::{Plan, REACH, Row};

/// The join's rows over all rows of either side.
pub fn answer(plan: &Plan, left: &BTreeMap<Row, i64>, right: &BTreeMap<Row, i64>) -> BTreeMap<Row, i64> {
    let mut all: BTreeMap<Row, i64> = BTreeMap::new();
    let mut put = |row: Row, weight: i64| *all.entry(row).or_default() += weight;
    let nothing = vec![None; 3];
    let pairs = matches!(plan.kind, JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full);
    for (l, lw) in left {
        let matches: i64 = right.iter().filter(|(r, _)| matches(plan, l, r)).map(|(_, rw)| rw).sum();
        if pairs {
            let found = right.iter().filter(|(r, _)| self::matches(plan, l, r));
            found.for_each(|(r, rw)| put([l.clone(), r.clone()].concat(), lw * rw));
        }
        match plan.kind {
            JoinType::Left | JoinType::Full if matches == 0 => put([l.clone(), nothing.clone()].concat(), *lw),
            JoinType::LeftSemi if matches > 0 => put(l.clone(), *lw),
            JoinType::LeftAnti if plan.null_aware => {
                let unknown = right.keys().any(|r| r[0].is_none()) || (l[0].is_none() && !right.is_empty());
                if matches == 0 && !unknown {
                    put(l.clone(), *lw);
                }
            }
            JoinType::LeftAnti if matches == 0 => put(l.clone(), *lw),
            JoinType::LeftMark => put([l.clone(), vec![Some(i64::from(matches > 0))]].concat(), *lw),
            _ => {}
        }
    }
    for (r, rw) in right {
        let matches = left.keys().any(|l| matches(plan, l, r));
        match plan.kind {
            JoinType::Right | JoinType::Full if !matches => put([nothing.clone(), r.clone()].concat(), *rw),
            JoinType::RightSemi if matches => put(r.clone(), *rw),
            JoinType::RightAnti if !matches => put(r.clone(), *rw),
            JoinType::RightMark => put([r.clone(), vec![Some(i64::from(matches))]].concat(), *rw),
            _ => {}
        }
    }
    all.retain(|_, weight| *weight != 0);
    all
}

fn matches(plan: &Plan, left: &Row, right: &Row) -> bool {
    let same = |key: &usize| left[*key] == right[*key] && (plan.nulls_match || left[*key].is_some());
    let below = || left[1].zip(right[1]).is_some_and(|(l, r)| l < r);
    let near = || left[2].zip(right[2]).is_some_and(|(l, r)| (l - r).abs() <= REACH);
    plan.keys.iter().all(same) && (!plan.compares || below()) && (!plan.near || near())
}
