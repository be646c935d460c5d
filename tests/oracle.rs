//! The oracle: random views over random topics, each equal to DataFusion's batch answer at every tick.
//!
//! `TIDEMARK_ORACLE_CASES` says how many (default 600), `TIDEMARK_ORACLE_SEED` where to begin, so one failing seed is
//! run again with both set: `TIDEMARK_ORACLE_SEED=17 TIDEMARK_ORACLE_CASES=1 cargo test --test oracle`.

use harness::case::Case;
use harness::compare;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_view_equals_the_batch_answer_at_every_tick() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    let _entered = runtime.enter();
    let first = setting("TIDEMARK_ORACLE_SEED", 1);
    let cases = setting("TIDEMARK_ORACLE_CASES", 600);
    let (mut failures, mut closing) = (Vec::new(), 0);
    for seed in first..first + cases {
        let case = Case::of(seed);
        let ran = std::panic::catch_unwind(|| case.run());
        let rows = match ran.unwrap_or_else(|_| Err("tick: a panic".into())) {
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
        panic!(
            "seed {seed} fails: {}\nsmallest: {small:#?}\n{}",
            small.run().err().unwrap_or_default(),
            small.query.create_text()
        );
    }
}
