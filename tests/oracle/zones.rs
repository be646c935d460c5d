//! Days in a zone, as views cut them, against the days PostgreSQL found for the same times: across the switches of clocks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use harness::stream::Record;
use harness::workload::{Drive, Produced};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::runtime;

/// What PostgreSQL said, and how it was asked, is in the file's first line.
const POSTGRES: &str = "../sql/src/functions/date_trunc_in_zone/postgres.txt";

/// How long the watermark waits, µs, and so how far rows stray.
const DELAY_MICROS: i64 = 3 * 3_600_000_000;

/// A day that follows another begins within so many µs.
const DAY_MICROS_MAX: i64 = 30 * 3_600_000_000;

/// Of a zone: each time PostgreSQL was asked about, and when its day began.
type Days = BTreeMap<i64, i64>;

fn days() -> BTreeMap<String, Days> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(POSTGRES);
    let text = std::fs::read_to_string(path).expect("PostgreSQL's answers are beside the function");
    let mut zones = BTreeMap::<String, Days>::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('|').collect();
        let [zone, unit, time, start] = fields[..] else { panic!("{line}") };
        if unit == "day" {
            zones.entry(zone.to_owned()).or_default().insert(micros(time), micros(start));
        }
    }
    zones
}

fn micros(text: &str) -> i64 {
    let parsed = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text);
    parsed.expect("a time as PostgreSQL writes it") / 1_000
}

#[test]
fn daily_windows_across_switches_of_clocks_are_postgresqls() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let zones = days();
    let switching = ["Europe/Berlin", "Africa/Cairo", "America/Havana", "America/Sao_Paulo", "Australia/Lord_Howe"];
    assert!(switching.iter().all(|zone| zones.contains_key(*zone)), "a zone is gone from PostgreSQL's answers");
    let mut lengths = BTreeMap::<&str, BTreeSet<i64>>::new();
    for (seed, (zone, days)) in zones.iter().enumerate() {
        let windows = windows(zone, days, seed as u64);
        let mut expected = BTreeMap::<i64, i64>::new();
        days.values().for_each(|start| *expected.entry(*start).or_default() += 1);
        for (view, windows) in &windows {
            let found: BTreeMap<i64, i64> = windows.iter().map(|(start, _, count)| (*start, *count)).collect();
            assert_eq!(found, expected, "{zone}: {view}");
            for (start, end, _) in windows {
                let next = expected.range(start + 1..start + DAY_MICROS_MAX).next();
                assert!(next.is_none_or(|(next, _)| next == end), "{zone}: {view}: the day of {start} ends at {end}");
                lengths.entry(zone).or_default().insert((end - start) / 60_000_000);
            }
        }
    }
    // In minutes: both switches of each zone were there.
    for zone in switching {
        let lengths: Vec<i64> = lengths[zone].iter().copied().collect();
        let switch = if zone == "Australia/Lord_Howe" { 30 } else { 60 };
        assert_eq!(lengths, [1_440 - switch, 1_440, 1_440 + switch], "{zone}");
    }
}

/// Start, end and rows of each window, of the view that is updated and of the one that shows what is over.
fn windows(zone: &str, days: &Days, seed: u64) -> BTreeMap<String, Vec<(i64, i64, i64)>> {
    let select = format!(
        "SELECT window_start, window_end, count(*) AS n \
         FROM tumble(s, ts, INTERVAL '1 day', timezone => '{zone}') GROUP BY window_start, window_end"
    );
    let script = format!(
        "CREATE SOURCE s (ts timestamptz, WATERMARK FOR ts AS ts - INTERVAL '3 hours' IDLE TIMEOUT NEVER) \
         WITH (connector = 'kafka', bootstrap = 'localhost:1', topic = 't', max_future_skew = 'off') FORMAT JSON; \
         CREATE MATERIALIZED VIEW updated AS {select}; \
         CREATE MATERIALIZED VIEW closed AS {select} EMIT ON WINDOW CLOSE;"
    );
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut times: Vec<i64> = days.keys().copied().collect();
    times.sort_by_cached_key(|time| time + rng.random_range(0..DELAY_MICROS));
    let mut records: Vec<Produced> = times.into_iter().map(|time| record(time, rng.random_range(0..2))).collect();
    // Long after: on both partitions, so that every day is over. They are a day of their own.
    let last = 4_102_444_800_000_000;
    records.extend([record(last, 0), record(last, 1)]);
    let drive = Drive { seed, partitions: 2, ticks: 12, compared: 2, evict: None };
    let report = drive.run(&script, &records).unwrap_or_else(|error| panic!("{zone}: {error}"));
    assert!(report.refused.is_empty() && report.wrong.is_empty(), "{zone}: {:?} {:?}", report.refused, report.wrong);
    assert_eq!(report.late["s"], 0, "{zone}: rows were late");
    let read = |(view, batches): (&String, &Vec<RecordBatch>)| {
        let rows = batches.iter().flat_map(triples).filter(|(start, ..)| *start < last - 2 * DAY_MICROS_MAX);
        (view.clone(), rows.collect())
    };
    report.rows.iter().map(read).collect()
}

fn triples(batch: &RecordBatch) -> Vec<(i64, i64, i64)> {
    let time = |column: usize| batch.column(column).as_primitive::<TimestampMicrosecondType>();
    let counts = batch.column(2).as_primitive::<Int64Type>();
    (0..batch.num_rows()).map(|row| (time(0).value(row), time(1).value(row), counts.value(row))).collect()
}

fn record(micros: i64, partition: i32) -> Produced {
    let time = arrow::temporal_conversions::timestamp_us_to_datetime(micros).expect("within chrono's range");
    let payload = format!("{{\"ts\": \"{}Z\"}}", time.format("%Y-%m-%dT%H:%M:%S%.6f"));
    ("s", Record { of_other: false, partition, skipped: 0, key: None, payload: Some(payload), time_shift: 0 })
}
