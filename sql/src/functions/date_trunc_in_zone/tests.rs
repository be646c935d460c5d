//! What Postgres computed, computed again.

use chrono::NaiveDateTime;

use super::*;

fn micros(text: &str) -> i64 {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f");
    time.expect("a time").and_utc().timestamp_micros()
}

#[test]
fn times_are_cut_as_postgres_cuts_them() {
    let (mut lines, mut wrong) = (0, Vec::new());
    for line in include_str!("postgres.txt").lines().filter(|line| !line.starts_with('#')) {
        let [zone, unit, time, start] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("not four parts: {line}")
        };
        let zone = Zone::named(zone).expect("known");
        let found = Unit::named(unit).expect("known").start(micros(time), zone, &Calendar::new(zone));
        if found != Some(micros(start)) {
            wrong.push(format!("{line}, found {:?}", found.and_then(chrono::DateTime::from_timestamp_micros)));
        }
        lines += 1;
    }
    assert!(lines > 1_000, "only {lines} lines");
    assert!(wrong.is_empty(), "{} of {lines} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn units_that_hours_are_part_of_are_monotone() {
    assert!(is_monotone("day") && is_monotone("WEEK") && is_monotone("quarter"));
    assert!(!is_monotone("hour") && !is_monotone("decade"));
}
