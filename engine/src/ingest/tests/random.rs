//! Random logs, polls and ticks against the model.

use std::collections::BTreeMap;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::model::{Fate, Model};
use super::{Ingest, IngestSpec, Line, accepted, late, line, line_decoder, line_spec, push};
use crate::source::PartitionStatus;

/// A topic's whole log, and how far it was read.
pub(super) struct Log {
    partitions: Vec<Vec<Line>>,
    /// Where each partition's next record lies.
    read: Vec<usize>,
    /// The offset after the last, which may be beyond the last record.
    ends: Vec<i64>,
}

impl Log {
    /// Disorder, broken records, tombstones, NULL and future times, skipped offsets.
    pub(super) fn random(rng: &mut impl Rng, partitions: i32, records: i64) -> Self {
        let lines: Vec<Vec<Line>> = (0..partitions).map(|number| random_partition(rng, number, records)).collect();
        let ends = lines.iter().map(|lines| lines.last().map_or(0, |last| last.offset + 1) + rng.random_range(0..3));
        Self { read: vec![0; lines.len()], ends: ends.collect(), partitions: lines }
    }

    /// Some records of some partitions, as one poll hands them over.
    pub(super) fn poll(&mut self, rng: &mut impl Rng, records_max: usize) -> Vec<&Line> {
        let mut taken = vec![0; self.read.len()];
        let mut order = Vec::new();
        for _ in 0..rng.random_range(0..4) {
            let number = rng.random_range(0..self.read.len());
            let left = self.partitions[number].len() - self.read[number] - taken[number];
            let count = rng.random_range(0..=records_max).min(left);
            order.extend((0..count).map(|index| (number, self.read[number] + taken[number] + index)));
            taken[number] += count;
        }
        self.read.iter_mut().zip(taken).for_each(|(read, taken)| *read += taken);
        order.into_iter().map(|(number, at)| &self.partitions[number][at]).collect()
    }

    pub(super) fn seek(&mut self, offsets: &BTreeMap<i32, i64>) {
        for (number, offset) in offsets {
            let lines = &self.partitions[*number as usize];
            self.read[*number as usize] = lines.partition_point(|line| line.offset < *offset);
        }
    }

    pub(super) fn rewind(&mut self) {
        self.read.fill(0);
    }

    pub(super) fn is_read(&self) -> bool {
        self.read.iter().zip(&self.partitions).all(|(read, lines)| *read == lines.len())
    }

    /// What a source would say now.
    pub(super) fn status(&self) -> BTreeMap<i32, PartitionStatus> {
        let status = self.partitions.iter().zip(&self.read).zip(&self.ends).map(|((lines, read), end)| {
            let after_last = read.checked_sub(1).map_or(0, |last| lines[last].offset + 1);
            let position = if *read == lines.len() { *end } else { after_last };
            PartitionStatus { position, end: Some(*end) }
        });
        (0..).zip(status).collect()
    }
}

fn random_partition(rng: &mut impl Rng, partition: i32, records: i64) -> Vec<Line> {
    let mut offset = rng.random_range(0..2);
    let mut lines = Vec::new();
    for index in 0..rng.random_range(0..=records) {
        let record_ms = 1_000 + index * 10;
        let event_time = record_ms * 1000 - rng.random_range(0..80_000);
        let mut next = line(partition, offset, event_time);
        next.timestamp_ms = (rng.random_range(0..10) > 0).then_some(record_ms);
        let ahead = record_ms * 1000 + 100_001 + rng.random_range(0..100_000);
        match rng.random_range(0..40) {
            0 => next.payload = None,
            1 => next.payload = Some("broken".into()),
            2 => next.payload = Some(",1,no time".into()),
            3 => next.payload = Some(format!("{event_time},x,a is no number")),
            4 if next.timestamp_ms.is_some() => next.payload = line(partition, offset, ahead).payload,
            _ => {}
        }
        lines.push(next);
        offset += 1 + i64::from(rng.random_range(0..20) == 0) * rng.random_range(1..4);
    }
    lines
}

pub(super) fn random_spec(rng: &mut impl Rng) -> IngestSpec {
    let delay_micros = rng.random_range(0..60_000);
    IngestSpec {
        delay_micros,
        accept_late_micros: rng.random_bool(0.5).then(|| delay_micros + rng.random_range(0..40_000)),
        max_future_skew_micros: Some(100_000),
        idle_timeout_micros: None,
        batch_rows_max: rng.random_range(1..40),
        ..line_spec()
    }
}

/// Reads `log` to its end in random polls and ticks, and checks each tick against the model.
fn run(rng: &mut impl Rng, spec: &IngestSpec, log: &mut Log) -> Model {
    let mut ingest = Ingest::new(spec.clone(), line_decoder()).expect("a valid spec");
    let mut model = Model::new(spec);
    let mut now = 0;
    log.rewind();
    let mut done = false;
    while !done {
        for _ in 0..rng.random_range(0..4) {
            let lines = log.poll(rng, 30);
            push(&mut ingest, &lines);
            lines.iter().for_each(|line| model.push(line));
        }
        done = log.is_read();
        now += rng.random_range(-2_000..20_000);
        let mut status = log.status();
        for partition in status.values_mut() {
            partition.end = partition.end.filter(|_| rng.random_range(0..20) > 0);
        }
        let tick = ingest.take(now, &status).expect("a tick");
        model.check(&tick, &status);
        assert_eq!((ingest.pending_rows(), ingest.watermark()), (0, tick.watermark));
    }
    model
}

#[test]
fn every_tick_is_the_models() {
    for seed in 0..150 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let partitions = rng.random_range(1..5);
        let mut log = Log::random(&mut rng, partitions, 150);
        let spec = random_spec(&mut rng);
        run(&mut rng, &spec, &mut log);
    }
}

#[test]
fn every_tick_is_the_models_also_with_idle_partitions() {
    let (mut late, mut accepted) = (0, 0);
    for seed in 0..300 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let partitions = rng.random_range(1..5);
        let mut log = Log::random(&mut rng, partitions, 150);
        let idle_timeout_micros = Some(rng.random_range(0..50_000));
        let spec = IngestSpec { idle_timeout_micros, ..random_spec(&mut rng) };
        let model = run_with_growing_log(&mut rng, &spec, &mut log);
        for fate in model.fates().values() {
            late += usize::from(matches!(fate, Fate::Late(..)));
            accepted += usize::from(matches!(fate, Fate::Accepted(_)));
        }
    }
    assert!(late > 1000 && accepted > 1000, "{late} late, {accepted} accepted: the test tests too little");
}

/// As [`run`], but the log's end is only heard of as it is read, so partitions are caught up now and then.
fn run_with_growing_log(rng: &mut impl Rng, spec: &IngestSpec, log: &mut Log) -> Model {
    let mut ingest = Ingest::new(spec.clone(), line_decoder()).expect("a valid spec");
    let mut model = Model::new(spec);
    let mut now = 1_000_000;
    for _ in 0..rng.random_range(5..60) {
        for _ in 0..rng.random_range(0..3) {
            let lines = log.poll(rng, 10);
            push(&mut ingest, &lines);
            lines.iter().for_each(|line| model.push(line));
        }
        now += rng.random_range(0..20_000);
        let status = hide_the_rest(rng, log.status());
        let tick = ingest.take(now, &status).expect("a tick");
        model.check(&tick, &status);
    }
    model
}

/// Mostly, what was not read was not written yet; some partitions are not there at first.
pub(super) fn hide_the_rest(
    rng: &mut impl Rng,
    mut status: BTreeMap<i32, PartitionStatus>,
) -> BTreeMap<i32, PartitionStatus> {
    status.retain(|_, partition| partition.position > 0 || rng.random_range(0..3) == 0);
    for partition in status.values_mut() {
        partition.end = match rng.random_range(0..10) {
            0 => None,
            1 => partition.end,
            _ => Some(partition.position),
        };
    }
    status
}

#[test]
fn what_becomes_of_a_record_does_not_depend_on_polls_and_ticks() {
    for seed in 0..60 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut log = Log::random(&mut rng, 3, 120);
        let spec = random_spec(&mut rng);
        let first = run(&mut rng, &spec, &mut log).fates();
        for _ in 0..3 {
            assert_eq!(run(&mut rng, &spec, &mut log).fates(), first);
        }
    }
}

#[test]
fn an_ingest_restored_from_tables_goes_on_as_if_nothing_had_happened() {
    for seed in 0..100 {
        println!("seed {seed}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut log = Log::random(&mut rng, 3, 120);
        let spec = IngestSpec { idle_timeout_micros: Some(30_000), ..random_spec(&mut rng) };
        let mut ingest = Ingest::new(spec.clone(), line_decoder()).expect("a valid spec");
        let mut now = 1_000_000;
        for _ in 0..20 {
            push(&mut ingest, &log.poll(&mut rng, 10));
            now += rng.random_range(0..20_000);
            let status = hide_the_rest(&mut rng, log.status());
            ingest.take(now, &status).expect("a tick");
            // Rows read ahead are not in the state: they are read again.
            let state = ingest.save();
            push(&mut ingest, &log.poll(&mut rng, 10));
            assert_eq!(ingest.save(), state);
            let tables = state.to_tables().expect("saves");
            let read = super::IngestState::from_tables(&tables).expect("reads what it saved");
            assert_eq!(read, state);
            let mut twin = Ingest::restore(spec.clone(), line_decoder(), read).expect("a valid spec");
            assert_eq!(twin.save(), state);
            let ahead = log.read.clone();
            log.rewind();
            log.seek(&twin.offsets());
            while log.read != ahead {
                let mut lines = Vec::new();
                for (number, upto) in ahead.iter().enumerate() {
                    let from = log.read[number];
                    let to = rng.random_range(from..=*upto);
                    lines.extend(&log.partitions[number][from..to]);
                    log.read[number] = to;
                }
                push(&mut twin, &lines);
            }
            now += rng.random_range(0..20_000);
            let status = hide_the_rest(&mut rng, log.status());
            let (left, right) = (ingest.take(now, &status).expect("a tick"), twin.take(now, &status).expect("a tick"));
            assert_eq!(left.watermark, right.watermark);
            assert_eq!((&left.offsets, &left.counts), (&right.offsets, &right.counts));
            assert_eq!(left.exclusions, right.exclusions);
            let sorted = |mut rows: Vec<(i32, i64, i64)>| {
                rows.sort_unstable();
                rows
            };
            assert_eq!(sorted(accepted(&left)), sorted(accepted(&right)));
            assert_eq!(late(&left).len(), late(&right).len());
            assert_eq!(ingest.save(), twin.save());
        }
    }
}
