//! The standard workloads, each query a materialized view: equal to the batch answer at every tick that is compared.
//!
//! `TIDEMARK_NEXMARK_EVENTS` and `TIDEMARK_TPCH_CHANGES` say how many records there are, `TIDEMARK_WORKLOAD_TICKS` in
//! about how many ticks, `TIDEMARK_WORKLOAD_COMPARED` how many of these are compared, `TIDEMARK_WORKLOAD_SEED` and
//! `TIDEMARK_WORKLOAD_SEEDS` which run is the first, and how many there are; `TIDEMARK_WORKLOAD_ONLY` names the one view
//! to be run.

use std::collections::BTreeMap;

use harness::workload::{Drive, Produced};
use harness::{compare, nexmark, tpch, workload};

use super::{runtime, setting};

/// A script's text, with one of its views or all.
fn script_with(script: &str, only: Option<&str>) -> String {
    let text = workload::script(script);
    let is_view = |statement: &str| statement.contains("CREATE MATERIALIZED VIEW ");
    let is_wanted = |statement: &&str| match only {
        Some(only) => !is_view(statement) || statement.contains(&format!("VIEW {only} AS")),
        None => true,
    };
    text.split_inclusive(";\n").filter(is_wanted).collect()
}

/// Every view of a script over the records of some seeds.
fn run(script: &str, ticks: u64, compared: u64, records: impl Fn(u64, i32) -> Vec<Produced>) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let text = script_with(script, std::env::var("TIDEMARK_WORKLOAD_ONLY").ok().as_deref());
    let first = setting("TIDEMARK_WORKLOAD_SEED", 1);
    let mut rows_max = BTreeMap::<String, usize>::new();
    for seed in first..first + setting("TIDEMARK_WORKLOAD_SEEDS", 1) {
        let partitions = [1, 3, 2][seed as usize % 3];
        let drive = Drive {
            seed,
            partitions,
            ticks: setting("TIDEMARK_WORKLOAD_TICKS", ticks) as usize,
            compared: setting("TIDEMARK_WORKLOAD_COMPARED", compared) as usize,
            evict: None,
        };
        let records = records(seed, partitions);
        let report = drive.run(&text, &records).unwrap_or_else(|error| panic!("{script}, seed {seed}: {error}"));
        println!(
            "{script}, seed {seed}: {} records, {} late, {} ticks, {} compared; {:.1?} in ticks, {:.1?} in batches",
            records.len(),
            report.late.values().sum::<u64>(),
            report.ticks.0,
            report.ticks.1,
            report.spent.0,
            report.spent.1
        );
        println!("  bytes of state at the end: {:?}", report.state_bytes);
        for (view, error) in report.refused.iter().chain(&report.wrong) {
            println!("  {view}: {error}");
        }
        assert!(report.refused.is_empty() && report.wrong.is_empty(), "{script}, seed {seed}: see above");
        for (view, rows) in report.rows_max {
            let most = rows_max.entry(view).or_default();
            *most = rows.max(*most);
        }
    }
    println!("  at most so many rows: {rows_max:?}");
    let empty: Vec<_> = rows_max.iter().filter(|(_, rows)| **rows == 0).map(|(view, _)| view).collect();
    assert!(empty.is_empty(), "{script}: {empty:?} never had a row, so nothing was shown");
}

#[test]
fn every_nexmark_query_equals_the_batch_answer() {
    let events = setting("TIDEMARK_NEXMARK_EVENTS", 2_500) as usize;
    run("nexmark.sql", 40, 8, |seed, partitions| nexmark::events(seed, events, partitions));
}

#[test]
fn every_tpc_h_query_over_changing_tables_equals_the_batch_answer() {
    let changes = setting("TIDEMARK_TPCH_CHANGES", 3_000) as usize;
    run("tpch.sql", 40, 8, |seed, partitions| tpch::changes(seed, changes, partitions));
}

#[test]
fn every_tpc_h_query_over_changed_tables_has_postgresqls_rows() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let drive = Drive { seed: 1, partitions: 3, ticks: 10, compared: 0, evict: None };
    let records = tpch::changes(drive.seed, 3_000, drive.partitions);
    let report = drive.run(&workload::script("tpch.sql"), &records).expect("a run");
    let mut expected = BTreeMap::<&str, Vec<Vec<&str>>>::new();
    let text = workload::script("tpch.postgres.txt");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (view, row) = line.split_once('|').expect("the view's name, then its row");
        expected.entry(view).or_default().push(row.split('|').collect());
    }
    assert_eq!((report.rows.len(), report.refused.len()), (22, 0));
    for (view, rows) in &report.rows {
        let (expected, found) = (expected.remove(view.as_str()).unwrap_or_default(), compare::rows(rows));
        let missing: Vec<_> = expected.iter().filter(|row| !found.iter().any(|other| is_same(row, other))).collect();
        assert!(missing.is_empty(), "{view}: missing {missing:?} in {found:?}");
        assert_eq!(expected.len(), found.len(), "{view}: {found:?}");
    }
    assert!(expected.is_empty(), "no views: {expected:?}");
}

/// Whether a row is PostgreSQL's, whose quotients have more digits.
fn is_same(expected: &[&str], found: &[compare::Value]) -> bool {
    let is_same = |(expected, found): (&&str, &compare::Value)| {
        let found = match found {
            compare::Value::Null => "NULL".to_owned(),
            compare::Value::Float(value) => value.to_string(),
            compare::Value::Text(text) => text.clone(),
            compare::Value::List(_) => return false,
        };
        match (expected.parse::<f64>(), found.parse::<f64>()) {
            (Ok(expected), Ok(found)) => (expected - found).abs() <= 1e-6 * expected.abs().max(1.0),
            _ => *expected == found,
        }
    };
    expected.len() == found.len() && expected.iter().zip(found).all(is_same)
}

/// The windowed queries; the others keep what any event to come may still meet.
const BOUNDED: [&str; 7] = ["q5", "q5_final", "q7", "q8", "q8_final", "q11", "q11_final"];

#[test]
fn nexmark_s_windows_keep_no_more_for_a_longer_stream() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let bytes = |events: usize| {
        let records = nexmark::events(3, events, 2);
        let drive = Drive { seed: 3, partitions: 2, ticks: events / 100, compared: 0, evict: Some(true) };
        let script: String = workload::script("nexmark.sql")
            .split_inclusive(";\n")
            .filter(|text| {
                text.contains("SOURCE") || BOUNDED.iter().any(|view| text.contains(&format!("VIEW {view} AS")))
            })
            .collect();
        let report = drive.run(&script, &records).expect("a run");
        assert!(report.refused.is_empty() && report.wrong.is_empty(), "{:?} {:?}", report.refused, report.wrong);
        report.state_bytes
    };
    let (short, long) = (bytes(3_000), bytes(12_000));
    assert_eq!(short.len(), BOUNDED.len());
    for (view, bytes) in &long {
        assert!(*bytes < short[view] * 2, "{view}: {} bytes after 3,000 events, {bytes} after 12,000", short[view]);
    }
}

/// Rows with texts that are replaced, or that go while others stay: what they leave stays allocated until a chunk of it is three
/// quarters dead, and nothing tells beforehand how many that will be.
const RESTLESS: [&str; 3] = ["q7", "q9", "q18"];

/// The least state that is compared: below it, what tables keep at the least decides.
const RECKONED_BYTES_MIN: usize = 64 << 10;

#[test]
fn nexmark_s_state_is_about_what_was_reckoned() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let records = nexmark::events(5, setting("TIDEMARK_NEXMARK_STATE_EVENTS", 15_000) as usize, 2);
    let drive = Drive { seed: 5, partitions: 2, ticks: 30, compared: 0, evict: Some(true) };
    let report = drive.run(&workload::script("nexmark.sql"), &records).expect("a run");
    let (mut compared, mut wrong) = (0, Vec::new());
    for (view, (reckoned, counted)) in &report.reckoned {
        println!("  {view}: {reckoned} bytes reckoned, {counted} counted");
        if *counted < RECKONED_BYTES_MIN {
            continue;
        }
        compared += 1;
        let times = if RESTLESS.contains(&view.as_str()) { 5 } else { 2 };
        if *reckoned > 2 * counted || *counted > times * reckoned {
            wrong.push(format!("{view}: {reckoned} bytes reckoned, {counted} counted"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 10, "{compared} views with state enough");
}
