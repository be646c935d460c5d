//! A second reading of the same log, with the exclusions of the first.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::random::{Log, hide_the_rest, random_spec};
use super::*;

type Fates = BTreeMap<(i32, i64), Option<i64>>;

/// Accepted rows map to nothing, late ones to their bound.
fn keep_fates(fates: &mut Fates, tick: &IngestedTick) {
    fates.extend(accepted(tick).into_iter().map(|(partition, offset, _)| ((partition, offset), None)));
    fates.extend(late(tick).into_iter().map(|(partition, offset, _, bound)| ((partition, offset), Some(bound))));
}

struct FirstRun {
    spec: IngestSpec,
    fates: Fates,
    ingest: Ingest,
    /// State, exclusions that followed, and fates until then, at some ticks.
    checkpoints: Vec<(IngestState, Vec<Exclusion>, Fates)>,
}

fn first_run(rng: &mut ChaCha8Rng, log: &mut Log) -> FirstRun {
    let spec = IngestSpec { idle_timeout_micros: Some(rng.random_range(1_000..40_000)), ..random_spec(rng) };
    let mut ingest = Ingest::new(spec.clone(), line_decoder()).expect("a valid spec");
    let mut run = FirstRun {
        fates: Fates::new(),
        checkpoints: Vec::new(),
        ingest: Ingest::new(spec.clone(), line_decoder()).expect("a valid spec"),
        spec,
    };
    let mut now = 1_000_000;
    for _ in 0..rng.random_range(5..80) {
        push(&mut ingest, &log.poll(rng, 10));
        now += rng.random_range(0..20_000);
        let tick = ingest.take(now, &hide_the_rest(rng, log.status())).expect("a tick");
        run.checkpoints.iter_mut().for_each(|(_, after, _)| after.extend(&tick.exclusions));
        keep_fates(&mut run.fates, &tick);
        if rng.random_range(0..10) == 0 {
            run.checkpoints.push((ingest.save(), Vec::new(), run.fates.clone()));
        }
    }
    run.ingest = ingest;
    run
}

/// Reads on to the first run's end in new polls and ticks.
fn read_again(rng: &mut ChaCha8Rng, log: &mut Log, run: &FirstRun, mut ingest: Ingest, mut fates: Fates) -> Ingest {
    let end = run.ingest.offsets();
    ingest.set_until(Some(end.clone()));
    log.seek(&ingest.offsets());
    let mut published = ingest.watermark();
    let mut now = 9_000_000;
    let mut status = log.status();
    // A second reader knows every partition from the start.
    ingest.take(now, &log.status()).expect("a tick");
    while !ingest.reached_until() {
        push(&mut ingest, &log.poll(rng, 30));
        if rng.random_range(0..3) == 0 {
            now += 1_000_000;
            status = log.status();
            let tick = ingest.take(now, &status).expect("a tick");
            assert_accounted(&tick);
            assert!(accepted(&tick).iter().all(|(_, _, time)| *time >= published.0), "below a published watermark");
            assert_eq!(tick.exclusions, []);
            published = tick.watermark;
            keep_fates(&mut fates, &tick);
        }
    }
    let tick = ingest.take(now, &status).expect("a tick");
    keep_fates(&mut fates, &tick);
    assert_eq!(ingest.offsets(), end);
    assert_eq!(fates, run.fates);
    assert_eq!((tick.watermark, tick.closing), (run.ingest.watermark(), run.ingest.closing()));
    ingest
}

#[test]
fn a_replay_accepts_the_same_rows_and_reaches_the_same_watermark() {
    let mut exclusions = 0;
    for seed in 0..200 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let partitions = rng.random_range(1..5);
        let mut log = Log::random(&mut rng, partitions, 150);
        let run = first_run(&mut rng, &mut log);
        let known = run.ingest.exclusions();
        exclusions += known.len();
        log.rewind();
        let again = Ingest::replay(run.spec.clone(), line_decoder(), &known).expect("a valid spec");
        let again = read_again(&mut rng, &mut log, &run, again, Fates::new());
        assert_eq!(again.exclusions(), known);
    }
    assert!(exclusions > 500, "{exclusions} exclusions: the test tests too little");
}

#[test]
fn a_checkpoint_with_the_exclusions_since_catches_up_to_the_same_rows() {
    for seed in 0..200 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let partitions = rng.random_range(1..5);
        let mut log = Log::random(&mut rng, partitions, 150);
        let run = first_run(&mut rng, &mut log);
        for (state, after, fates) in &run.checkpoints {
            let mut again = Ingest::restore(run.spec.clone(), line_decoder(), state.clone()).expect("a valid spec");
            again.plan(after);
            log.rewind();
            read_again(&mut rng, &mut log, &run, again, fates.clone());
        }
    }
}
