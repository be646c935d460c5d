//! The standard workloads, each query a materialized view: equal to the batch answer at every tick that is compared.
//!
//! `TIDEMARK_NEXMARK_EVENTS` and `TIDEMARK_TPCH_CHANGES` say how many records there are, `TIDEMARK_WORKLOAD_TICKS` in
//! about how many ticks, `TIDEMARK_WORKLOAD_COMPARED` how many of these are compared, `TIDEMARK_WORKLOAD_SEED` and
//! `TIDEMARK_WORKLOAD_SEEDS` which run is the first, and how many there are; `TIDEMARK_WORKLOAD_ONLY` names the one view
//! to be run.

use std::collections::BTreeMap;

use harness::workload::{Drive, Produced};
use harness::{nexmark, tpch, workload};

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
