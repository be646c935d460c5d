//! The oracle: random views over random topics, each equal to DataFusion's batch answer at every tick.
//!
//! `TIDEMARK_ORACLE_CASES` says how many (default 600), `TIDEMARK_ORACLE_SEED` where to begin, so one failing seed is
//! run again with both set: `TIDEMARK_ORACLE_SEED=17 TIDEMARK_ORACLE_CASES=1 cargo test --test oracle`.
//! `TIDEMARK_ORACLE_FAILURES` says after how many failures to stop (default 1), `TIDEMARK_ORACLE_ONLY` gives a text that the
//! views to be run have in them.

use harness::case::Case;
use harness::compare;
use harness::sabotage::Bug;
use harness::sabotage::stack::StackBug;
use harness::stack::Stack;
use harness::ternary::Ternary;

/// Within so many cases every seeded bug must be caught.
const SABOTAGED_CASES_MAX: u64 = 5_000;

/// A long run says how far it is.
const PROGRESS_EVERY: u64 = 1_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime")
}

#[test]
fn every_view_equals_the_batch_answer_at_every_tick() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let first = setting("TIDEMARK_ORACLE_SEED", 1);
    let cases = setting("TIDEMARK_ORACLE_CASES", 600);
    let only = std::env::var("TIDEMARK_ORACLE_ONLY").unwrap_or_default();
    let (mut failures, mut closing) = (Vec::new(), 0);
    for seed in first..first + cases {
        if seed > first && (seed - first).is_multiple_of(PROGRESS_EVERY) {
            println!("{} cases, {} failures", seed - first, failures.len());
        }
        let case = Case::of(seed);
        if !case.query.create_text().contains(&only) {
            continue;
        }
        let rows = match case.run() {
            Ok(rows) => rows,
            Err(error) => {
                failures.push((seed, case, error));
                if failures.len() >= setting("TIDEMARK_ORACLE_FAILURES", 1) as usize {
                    break;
                }
                continue;
            }
        };
        if case.query.emit_on_close {
            closing += 1;
            let other = case.recut(seed).run();
            let same = other.and_then(|other| compare::equal(&rows, &other));
            assert_eq!(same, Ok(()), "seed {seed}: emit on close depends on the cuts");
        }
    }
    println!("{cases} cases from seed {first}, {closing} of them emit on close: {} failures", failures.len());
    for (seed, case, error) in &failures {
        eprintln!("seed {seed}: {error}\n  {}", case.query.create_text());
    }
    if let Some((seed, case, _)) = failures.into_iter().next() {
        let small = case.shrink();
        let error = small.run().err().unwrap_or_default();
        panic!("seed {seed} fails; the smallest case, as a golden script of ticks:\n\n{}", small.golden(&error));
    }
}

#[test]
fn eviction_changes_no_answer() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let first = setting("TIDEMARK_ORACLE_SEED", 1);
    let (mut kept, mut evicted, mut cases) = (0, 0, 0);
    for seed in first..first + setting("TIDEMARK_ORACLE_CASES", 600) / 2 {
        let case = Case { evict: true, ..Case::of(seed) };
        let Some((with, without)) = rows_with_and_without_eviction(seed, &case) else { continue };
        (evicted, kept, cases) = (evicted + with, kept + without, cases + 1);
    }
    println!("{cases} cases from seed {first} kept at most {kept} groups without eviction, {evicted} with it");
    assert!(evicted < kept || cases < 50, "nothing was ever evicted");
}

/// The most groups a view kept with eviction and without; `None` for a case that fails both ways.
fn rows_with_and_without_eviction(seed: u64, case: &Case) -> Option<(usize, usize)> {
    let kept = Case { evict: false, ..case.clone() };
    let (with, without) = (case.rows_at_every_tick(), kept.rows_at_every_tick());
    if let (Err(_), Err(_)) = (&with, &without) {
        return None;
    }
    let with = with.unwrap_or_else(|error| panic!("seed {seed} fails with eviction only: {error}"));
    let without = without.unwrap_or_else(|error| panic!("seed {seed} fails without eviction only: {error}"));
    for (tick, (with, without)) in with.0.iter().zip(&without.0).enumerate() {
        // Partitions exchange rows in no order, so floats that DataFusion's own functions merge may differ in a last digit.
        let same = compare::equal(without, with);
        assert_eq!(same, Ok(()), "seed {seed}: tick {} depends on eviction\n{}", tick + 1, case.query.create_text());
    }
    Some((with.1, without.1))
}

#[test]
fn the_three_parts_of_a_view_are_the_whole() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let first = setting("TIDEMARK_ORACLE_SEED", 1);
    let cases = setting("TIDEMARK_ORACLE_CASES", 600) / 6;
    let mut parted = 0;
    for seed in first..first + cases.max(1) {
        let ternary = Ternary::of(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        if let Some(ternary) = ternary {
            ternary.run().unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", ternary.text()));
            parted += 1;
        }
    }
    println!("{parted} views from seed {first} in three parts");
}

#[test]
fn each_seeded_bug_is_caught() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        match catch_bug(bug) {
            Some(Caught { seed, touched, error }) => {
                let error = error.lines().next().unwrap_or_default();
                println!("{bug:?}: caught at seed {seed}, case {touched} of those it touched: {error}");
                assert_eq!(Case::of(seed).run().map(|_| ()), Ok(()), "seed {seed} fails without {bug:?}, too");
            }
            None => missed.push(bug),
        }
    }
    assert_eq!(missed, vec![], "bugs not caught within {SABOTAGED_CASES_MAX} cases");
}

#[test]
fn a_failing_case_shrinks_to_a_short_golden_script() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let Caught { seed, .. } = catch_bug(Bug::RetractionMissed).expect("a bug that every update shows");
    let small = Case::of(seed).shrink_while(|case| case.run_with(Bug::RetractionMissed).0.is_err());
    let golden = small.golden("A retraction is missed.");
    println!("{golden}");
    // One row of a group, its update in a later tick, and nothing else; an aggregate without keys has its row from the start.
    assert!(small.records.len() <= 2 && small.cuts.len() == 1 && small.partitions == 1, "{golden}");
    assert_eq!(golden.lines().filter(|line| line.contains(" 0 @")).count(), small.records.len(), "{golden}");
    assert!(golden.starts_with("# A retraction is missed.\nCREATE SOURCE s ("), "{golden}");
    assert!(golden.ends_with("\nend\n"), "{golden}");
}

#[test]
fn every_view_of_a_stack_equals_the_batch_answer_at_every_tick() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let first = setting("TIDEMARK_ORACLE_SEED", 1);
    let cases = setting("TIDEMARK_ORACLE_CASES", 600) / 4;
    let (mut views, mut stacked, mut closing, mut joining) = (0, 0, 0, 0);
    for seed in first..first + cases.max(1) {
        let stack = Stack::of(seed);
        let rows = stack.run().unwrap_or_else(|error| panic!("stack {seed}: {error}\n{}", stack.text()));
        let other = stack.clone().evicting(false).run();
        let other = other.unwrap_or_else(|error| panic!("stack {seed} without eviction: {error}\n{}", stack.text()));
        for (tick, (rows, other)) in rows.iter().zip(&other).enumerate() {
            for (view, (rows, other)) in stack.views.iter().zip(rows.iter().zip(other)) {
                let same = compare::equal(other, rows);
                assert_eq!(same, Ok(()), "stack {seed}: {} depends on eviction, tick {}", view.name, tick + 1);
            }
        }
        views += stack.views.len();
        stacked += stack.views.iter().filter(|view| view.select.contains(" v1") || view.select.contains("(v")).count();
        closing += stack.views.iter().filter(|view| view.emit_on_close).count();
        joining += stack.views.iter().filter(|view| view.after > 0).count();
    }
    println!(
        "{cases} stacks from seed {first}: {views} views, {stacked} or more over views, {closing} emit on close, \
         {joining} begun later"
    );
}

#[test]
fn each_seeded_bug_between_views_is_caught() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let caught = |bug: StackBug| {
        (1..=SABOTAGED_CASES_MAX).find_map(|seed| {
            let stack = Stack::of(seed);
            let (ran, acted) = stack.run_with(bug);
            let error = ran.err().filter(|_| acted)?;
            println!("{bug:?}: caught at stack {seed}: {}", error.lines().next().unwrap_or_default());
            stack.run().unwrap_or_else(|error| panic!("stack {seed} fails without {bug:?}, too: {error}"));
            Some(seed)
        })
    };
    let missed: Vec<_> = StackBug::ALL.into_iter().filter(|bug| caught(*bug).is_none()).collect();
    assert_eq!(missed, vec![], "bugs not caught within {SABOTAGED_CASES_MAX} stacks");
}

struct Caught {
    seed: u64,
    touched: u64,
    error: String,
}

fn catch_bug(bug: Bug) -> Option<Caught> {
    let mut touched = 0;
    for seed in 1..=SABOTAGED_CASES_MAX {
        let case = Case::of(seed);
        if !bug.may_touch(&case) {
            continue;
        }
        let (ran, acted) = case.run_with(bug);
        touched += u64::from(acted);
        if let (Err(error), true) = (ran, acted) {
            return Some(Caught { seed, touched, error });
        }
    }
    None
}
