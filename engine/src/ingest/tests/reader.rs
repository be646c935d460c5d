//! The reader thread over a log in memory. Waits end when the thing waited for happens; ten seconds mean a failure.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::*;
use crate::ingest::reader::{Notify, ReaderOptions, ReaderState, SourceReader, SourceStatus};
use crate::source::memory::MemoryLog;
use crate::source::{PollBudget, Source, SourceOpener};
use crate::time::{Clock, ManualClock};

const PATIENCE: Duration = Duration::from_secs(10);

struct Reading {
    reader: SourceReader,
    woken: Receiver<()>,
    /// Every row taken: partition, offset, event time.
    rows: Vec<(i32, i64, i64)>,
    now: i64,
}

fn options() -> ReaderOptions {
    ReaderOptions { backoff_min: Duration::from_millis(1), ..ReaderOptions::default() }
}

fn start_ingest(source: Box<dyn Source>, ingest: Ingest, options: ReaderOptions) -> Reading {
    let (wake, woken) = channel();
    let notify: Notify = Arc::new(move || wake.send(()).unwrap_or_default());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
    let reader = SourceReader::start(source, ingest, options, clock, notify).expect("a thread");
    Reading { reader, woken, rows: Vec::new(), now: 0 }
}

fn start(log: &MemoryLog, options: ReaderOptions) -> Reading {
    let ingest = Ingest::new(line_spec(), line_decoder()).expect("a valid spec");
    start_ingest(log.open(&Offsets::new()).expect("opens"), ingest, options)
}

fn append(log: &MemoryLog, line: &Line) {
    log.append(line.partition, None, line.payload.as_deref().map(str::as_bytes), line.timestamp_ms);
}

fn append_lines(log: &MemoryLog, partition: i32, offsets: std::ops::Range<i64>) {
    offsets.for_each(|offset| append(log, &line(partition, offset, offset * 1000)));
}

impl Reading {
    fn take(&mut self) -> IngestedTick {
        let tick = self.reader.take(self.now).expect("a tick");
        assert_accounted(&tick);
        self.rows.extend(accepted(&tick));
        tick
    }

    fn take_until_rows(&mut self, count: usize) {
        while self.rows.len() < count {
            self.woken.recv_timeout(PATIENCE).expect("rows wake the tick");
            self.take();
        }
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
        let begin = Instant::now();
        loop {
            let status = self.reader.status();
            if holds(&status) {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "{what} never came: {status:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn rows_wake_the_tick_and_the_status_follows_what_was_taken() {
    let log = MemoryLog::new("the topic", 2);
    append_lines(&log, 0, 0..3);
    let mut reading = start(&log, options());
    reading.take_until_rows(3);
    append_lines(&log, 1, 0..2);
    reading.take_until_rows(5);
    assert_eq!(reading.rows, [(0, 0, 0), (0, 1, 1000), (0, 2, 2000), (1, 0, 0), (1, 1, 1000)]);
    let status = reading.wait_for("the end", |status| status.partitions.values().all(|report| report.lag == Some(0)));
    assert_eq!((status.state, status.trouble), (ReaderState::Running, None));
    assert_eq!((status.watermark, status.pending_rows), (Watermark(1000), 0));
    let report = status.partitions[&0];
    assert_eq!((report.position, report.end, report.event_time_max), (3, Some(3), Some(2000)));
    assert_eq!((report.watermark, report.counts.accepted), (Watermark(2000), 3));
}

#[test]
fn reading_pauses_while_too_much_waits_and_goes_on_after_a_take() {
    let log = MemoryLog::new("the topic", 1);
    append_lines(&log, 0, 0..100);
    let limits = ReaderOptions { pending_rows_max: 10, poll_records_max: 4, slice_records_max: 4, ..options() };
    let mut reading = start(&log, limits);
    while reading.rows.len() < 100 {
        let left = 100 - reading.rows.len();
        reading.wait_for("the bound", |status| status.pending_rows >= 10.min(left));
        let rows = reading.take().rows();
        assert!(rows < 10 + 4, "{rows} rows");
    }
    assert!(reading.rows.iter().map(|(_, offset, _)| *offset).eq(0..100));
}

#[test]
fn bytes_bound_what_waits_too() {
    let log = MemoryLog::new("the topic", 1);
    append_lines(&log, 0, 0..50);
    let limits = ReaderOptions { pending_bytes_max: 1, poll_records_max: 4, slice_records_max: 4, ..options() };
    let mut reading = start(&log, limits);
    while reading.rows.len() < 50 {
        reading.wait_for("rows", |status| status.pending_rows > 0);
        assert!(reading.take().rows() <= 4);
    }
}

#[test]
fn a_source_that_is_away_is_asked_again() {
    let log = MemoryLog::new("the topic", 1);
    log.fail_polls(usize::MAX);
    let mut reading = start(&log, options());
    let status = reading.wait_for("trouble", |status| status.state == ReaderState::Retrying);
    assert_eq!(status.trouble.as_deref(), Some("topic \"the topic\": the broker is away"));
    assert!(reading.take().is_empty());
    append_lines(&log, 0, 0..3);
    log.fail_polls(0);
    reading.take_until_rows(3);
    let status = reading.wait_for("recovery", |status| status.state == ReaderState::Running);
    assert_eq!(status.trouble, None);
}

#[test]
fn offsets_that_are_gone_halt_reading_and_what_was_read_can_be_taken() {
    let log = MemoryLog::new("the topic", 1);
    append_lines(&log, 0, 0..2);
    let mut reading = start(&log, options());
    reading.wait_for("two rows", |status| status.pending_rows == 2);
    let stopped = reading.reader.stop();
    append_lines(&log, 0, 2..9);
    log.trim(0, 7);
    let mut source = log.open(&Offsets::from([(0, 2)])).expect("opens");
    let message = "topic \"the topic\", partition 0: offsets 2 to 6 are no longer in the log";
    let budget = PollBudget { records_max: 1, wait: Duration::ZERO };
    assert_eq!(source.poll(budget, &mut |_| ()).expect_err("a gap").to_string(), message);
    reading = start_ingest(source, stopped, options());
    let status = reading.wait_for("the halt", |status| status.state == ReaderState::Halted);
    assert_eq!(status.trouble.as_deref(), Some(message));
    reading.woken.recv_timeout(PATIENCE).expect("a halt wakes the tick");
    assert_eq!(reading.take().rows(), 2);
}

/// Panics when polled.
struct Broken;

impl Source for Broken {
    fn poll(&mut self, _: PollBudget, _: &mut dyn FnMut(&[RawRecord<'_>])) -> Result<usize> {
        panic!("this source panics, as a test of its reader")
    }

    fn partitions(&self) -> BTreeMap<i32, PartitionStatus> {
        BTreeMap::new()
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

#[test]
fn a_panic_halts_the_reader_and_nobody_else() {
    let ingest = Ingest::new(line_spec(), line_decoder()).expect("a valid spec");
    let reading = start_ingest(Box::new(Broken), ingest, options());
    let status = reading.wait_for("the halt", |status| status.state == ReaderState::Halted);
    let message = "the reader of the source failed: this source panics, as a test of its reader";
    assert_eq!(status.trouble.as_deref(), Some(message));
    let refused = reading.reader.take(0).expect_err("the rows may be cut anywhere");
    assert_eq!(refused.to_string(), format!("source \"lines\": {message}"));
}

#[test]
fn silence_while_the_source_is_away_makes_nobody_idle() {
    const SECOND: i64 = 1_000_000;
    let log = MemoryLog::new("the topic", 1);
    append_lines(&log, 0, 0..3);
    let mut reading = start(&log, options());
    reading.take_until_rows(3);
    log.fail_polls(usize::MAX);
    reading.wait_for("trouble", |status| status.state == ReaderState::Retrying);
    for _ in 0..5 {
        reading.now += 100 * SECOND;
        let tick = reading.take();
        assert_eq!((tick.watermark, tick.exclusions), (Watermark(2000), Vec::new()));
    }
    let away_until = reading.now;
    log.fail_polls(0);
    reading.wait_for("recovery", |status| status.state == ReaderState::Running);
    while !reading.reader.status().partitions[&0].excluded {
        reading.now += 10 * SECOND;
        reading.take();
    }
    assert!(reading.now >= away_until + 30 * SECOND);
    assert!(reading.reader.status().watermark > Watermark(2000));
}

#[test]
fn columns_change_between_two_ticks() {
    let log = MemoryLog::new("the topic", 1);
    append_lines(&log, 0, 0..3);
    let reading = start(&log, options());
    reading.wait_for("rows", |status| status.pending_rows == 3);
    let fewer = UsedColumns { columns: vec![1], metadata: vec![] };
    let tick = reading.reader.take_then_use(0, &fewer).expect("a tick");
    assert_eq!((tick.rows(), tick.schema.fields().len()), (3, 9));
    append_lines(&log, 0, 3..5);
    reading.wait_for("rows", |status| status.pending_rows == 2);
    let tick = reading.reader.take(0).expect("a tick");
    assert_eq!((tick.rows(), tick.schema.fields().len()), (2, 1));
}

#[test]
fn stopping_gives_back_what_was_read_and_reading_goes_on_from_there() {
    let log = MemoryLog::new("the topic", 2);
    append_lines(&log, 0, 0..5);
    let reading = start(&log, options());
    reading.wait_for("rows", |status| status.pending_rows == 5);
    let state = reading.reader.save();
    let mut ingest = reading.reader.stop();
    assert_eq!((ingest.pending_rows(), ingest.offsets()), (5, Offsets::new()));
    let tick = ingest.take(0, &BTreeMap::new()).expect("a tick");
    assert_eq!((tick.rows(), ingest.offsets()), (5, Offsets::from([(0, 5), (1, 0)])));
    assert_eq!(state.partitions.len(), 0);
    append_lines(&log, 0, 5..8);
    let source = log.open(&ingest.offsets()).expect("opens");
    let mut reading = start_ingest(source, ingest, options());
    reading.take_until_rows(3);
    assert_eq!(reading.rows, [(0, 5, 5000), (0, 6, 6000), (0, 7, 7000)]);
}

#[test]
fn rows_written_while_ticks_run_are_taken_once_and_in_order() {
    let log = MemoryLog::new("the topic", 3);
    let limits = ReaderOptions { pending_rows_max: 500, slice_records_max: 64, ..options() };
    let mut reading = start(&log, limits);
    let writers: Vec<_> = (0..3)
        .map(|partition| {
            let log = log.clone();
            std::thread::spawn(move || append_lines(&log, partition, 0..4000))
        })
        .collect();
    reading.take_until_rows(12_000);
    writers.into_iter().for_each(|writer| writer.join().expect("it appends"));
    for partition in 0..3 {
        let offsets = reading.rows.iter().filter(|(number, ..)| *number == partition).map(|(_, offset, _)| *offset);
        assert!(offsets.eq(0..4000), "partition {partition}");
    }
    assert_eq!(reading.reader.status().watermark, Watermark(3_999_000));
}
