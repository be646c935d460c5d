//! A log in memory, for tests and benches: the whole contract of a source without a broker.
//!
//! Each partition is a list of segments, each one buffer of bytes. Reading seals the segment being written and hands
//! out slices of it without copying or holding a lock, so appending goes on while records are decoded.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::error::{Error, Result};
use crate::source::{
    Headers, Offsets, PartitionStatus, PollBudget, RawRecord, ReadHeaders, Source, SourceOpener, StartPosition,
};

/// Bytes of one segment, unless reading seals it earlier.
const SEGMENT_BYTES: usize = 64 << 20;

/// A shared handle on a log of one topic. As a [`SourceOpener`] it starts at the oldest record unless told otherwise.
#[derive(Clone)]
pub struct MemoryLog {
    topic: Arc<Topic>,
    start: StartPosition,
}

struct Topic {
    name: String,
    state: Mutex<State>,
    appended: Condvar,
}

#[derive(Default)]
struct State {
    /// By number.
    partitions: Vec<Partition>,
    /// How many more polls fail.
    failing_polls: usize,
}

#[derive(Default)]
struct Partition {
    /// The oldest offset kept.
    start: i64,
    /// The next offset to be written.
    end: i64,
    sealed: VecDeque<Arc<Segment>>,
    open: Segment,
}

#[derive(Default)]
struct Segment {
    bytes: Vec<u8>,
    records: Vec<Record>,
    headers: Vec<MemoryHeaders>,
}

/// Where one record lies in its segment: key, then payload.
struct Record {
    offset: i64,
    timestamp_ms: Option<i64>,
    position: usize,
    key_bytes: Option<u32>,
    payload_bytes: Option<u32>,
    headers: Option<u32>,
}

/// One record's headers: names and values in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryHeaders(pub Vec<(String, Option<Vec<u8>>)>);

impl ReadHeaders for MemoryHeaders {
    fn for_each(&self, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        for (name, value) in &self.0 {
            each(name, value.as_deref());
        }
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").field("topic", &self.topic.name).field("start", &self.start).finish()
    }
}

impl MemoryLog {
    /// A log of `partitions` empty partitions.
    pub fn new(topic: impl Into<String>, partitions: usize) -> Self {
        let state = State { partitions: (0..partitions).map(|_| Partition::default()).collect(), failing_polls: 0 };
        let topic = Topic { name: topic.into(), state: Mutex::new(state), appended: Condvar::new() };
        Self { topic: Arc::new(topic), start: StartPosition::Earliest }
    }

    /// The same log, opened from elsewhere. `Latest` means its ends now.
    #[must_use]
    pub fn starting_at(&self, start: StartPosition) -> Self {
        let start = match start {
            StartPosition::Latest => {
                let state = self.topic.state.lock();
                StartPosition::Offsets((0..).zip(state.partitions.iter().map(|partition| partition.end)).collect())
            }
            other => other,
        };
        Self { topic: self.topic.clone(), start }
    }

    /// Appends a record without headers. Returns its offset.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn append(&self, partition: i32, key: Option<&[u8]>, payload: Option<&[u8]>, timestamp_ms: Option<i64>) -> i64 {
        self.append_with_headers(partition, key, payload, timestamp_ms, None)
    }

    /// Appends a record. Returns its offset.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn append_with_headers(
        &self,
        partition: i32,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        timestamp_ms: Option<i64>,
        headers: Option<MemoryHeaders>,
    ) -> i64 {
        let mut state = self.topic.state.lock();
        let offset = state.partitions[partition as usize].append(key, payload, timestamp_ms, headers);
        drop(state);
        self.topic.appended.notify_all();
        offset
    }

    /// Appends many payloads at once, waking readers once.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn append_all<'a>(&self, partition: i32, records: impl IntoIterator<Item = (&'a [u8], i64)>) {
        let mut state = self.topic.state.lock();
        for (payload, timestamp_ms) in records {
            state.partitions[partition as usize].append(None, Some(payload), Some(timestamp_ms), None);
        }
        drop(state);
        self.topic.appended.notify_all();
    }

    /// Passes `offsets` offsets that hold no record, as control records and compaction do.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn skip(&self, partition: i32, offsets: i64) {
        self.topic.state.lock().partitions[partition as usize].end += offsets;
        self.topic.appended.notify_all();
    }

    /// Adds an empty partition. Returns its number.
    pub fn add_partition(&self) -> i32 {
        let mut state = self.topic.state.lock();
        state.partitions.push(Partition::default());
        let number = state.partitions.len() - 1;
        drop(state);
        self.topic.appended.notify_all();
        number as i32
    }

    /// Drops the records before `offset`, as retention does.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn trim(&self, partition: i32, offset: i64) {
        let partition = &mut self.topic.state.lock().partitions[partition as usize];
        partition.start = partition.start.max(offset.min(partition.end));
        let start = partition.start;
        partition.sealed.retain(|segment| segment.records.last().is_some_and(|last| last.offset >= start));
    }

    /// Makes the next `polls` polls of any reader fail as if the broker were away.
    pub fn fail_polls(&self, polls: usize) {
        self.topic.state.lock().failing_polls = polls;
        self.topic.appended.notify_all();
    }
}

impl Partition {
    fn append(
        &mut self,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        timestamp_ms: Option<i64>,
        headers: Option<MemoryHeaders>,
    ) -> i64 {
        if self.open.bytes.len() >= SEGMENT_BYTES {
            self.seal();
        }
        let offset = self.end;
        let position = self.open.bytes.len();
        self.open.bytes.extend_from_slice(key.unwrap_or_default());
        self.open.bytes.extend_from_slice(payload.unwrap_or_default());
        let headers = headers.map(|headers| {
            self.open.headers.push(headers);
            self.open.headers.len() as u32 - 1
        });
        let (key_bytes, payload_bytes) = (key.map(|key| key.len() as u32), payload.map(|payload| payload.len() as u32));
        self.open.records.push(Record { offset, timestamp_ms, position, key_bytes, payload_bytes, headers });
        self.end += 1;
        offset
    }

    fn seal(&mut self) {
        if !self.open.records.is_empty() {
            self.sealed.push_back(Arc::new(std::mem::take(&mut self.open)));
        }
    }

    /// The segment holding the first record at or after `offset`, and that record's index in it.
    fn find(&mut self, offset: i64) -> Option<(Arc<Segment>, usize)> {
        if self.sealed.back().is_none_or(|newest| newest.ends_before(offset)) {
            self.seal();
        }
        let at = self.sealed.partition_point(|segment| segment.ends_before(offset));
        let segment = self.sealed.get(at)?;
        Some((segment.clone(), segment.records.partition_point(|record| record.offset < offset)))
    }

    fn first_at_or_after(&self, timestamp_ms: i64) -> i64 {
        let segments = self.sealed.iter().map(|segment| &segment.records).chain([&self.open.records]);
        let mut kept = segments.flatten().filter(|record| record.offset >= self.start);
        kept.find(|record| record.timestamp_ms >= Some(timestamp_ms)).map_or(self.end, |record| record.offset)
    }
}

impl Segment {
    fn ends_before(&self, offset: i64) -> bool {
        self.records.last().is_none_or(|last| last.offset < offset)
    }

    fn raw(&self, partition: i32, record: &Record) -> RawRecord<'_> {
        let key_end = record.position + record.key_bytes.unwrap_or(0) as usize;
        let payload_end = key_end + record.payload_bytes.unwrap_or(0) as usize;
        let headers = record.headers.map(|index| &self.headers[index as usize] as &dyn ReadHeaders);
        RawRecord {
            partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key_bytes.map(|_| &self.bytes[record.position..key_end]),
            payload: record.payload_bytes.map(|_| &self.bytes[key_end..payload_end]),
            headers: Headers(headers),
        }
    }
}

impl SourceOpener for MemoryLog {
    fn open(&self, offsets: &Offsets) -> Result<Box<dyn Source>> {
        let source =
            MemorySource { log: self.clone(), given: offsets.clone(), positions: Vec::new(), first: 0, trouble: None };
        Ok(Box::new(source))
    }

    fn bounds(&self) -> Result<BTreeMap<i32, (i64, i64)>> {
        let state = self.topic.state.lock();
        Ok((0..).zip(state.partitions.iter().map(|partition| (partition.start, partition.end))).collect())
    }

    fn topic(&self) -> &str {
        &self.topic.name
    }
}

/// A reader of a [`MemoryLog`].
#[derive(Debug)]
pub struct MemorySource {
    log: MemoryLog,
    given: Offsets,
    /// Next offset to read of each partition met so far.
    positions: Vec<i64>,
    /// The partition that is served first next time, so that none starves.
    first: usize,
    trouble: Option<String>,
}

/// A part of one segment to hand over.
struct Slice {
    partition: usize,
    segment: Arc<Segment>,
    from: usize,
    to: usize,
}

impl MemorySource {
    fn start_of(&self, number: usize, partition: &Partition) -> i64 {
        let number = number as i32;
        if let Some(given) = self.given.get(&number) {
            return *given;
        }
        match &self.log.start {
            StartPosition::Earliest => partition.start,
            StartPosition::Latest => partition.end,
            StartPosition::Timestamp(ms) => partition.first_at_or_after(*ms),
            StartPosition::Offsets(offsets) => offsets.get(&number).copied().unwrap_or(partition.start),
        }
    }

    fn meet_partitions(&mut self, state: &State) {
        for number in self.positions.len()..state.partitions.len() {
            self.positions.push(self.start_of(number, &state.partitions[number]));
        }
    }

    fn fail_if_told(&mut self, state: &mut State) -> Result<()> {
        self.trouble = (state.failing_polls > 0).then(|| format!("topic \"{}\": the broker is away", self.log.topic()));
        state.failing_polls = state.failing_polls.saturating_sub(1);
        self.trouble.clone().map_or(Ok(()), |trouble| Err(Error::unavailable(trouble)))
    }

    fn check_kept(&self, state: &State) -> Result<()> {
        for (number, (next, partition)) in self.positions.iter().zip(&state.partitions).enumerate() {
            if *next < partition.start {
                let gap = format!("offsets {next} to {} are no longer in the log", partition.start - 1);
                return Err(Error::data(format!("topic \"{}\", partition {number}: {gap}", self.log.topic())));
            }
        }
        Ok(())
    }

    /// What to hand over now: an equal share of the budget for each partition that has records.
    fn choose(&mut self, state: &mut State, records_max: usize) -> Result<Vec<Slice>> {
        self.fail_if_told(state)?;
        self.meet_partitions(state);
        self.check_kept(state)?;
        let count = state.partitions.len();
        let waiting = self.positions.iter().zip(&state.partitions).filter(|(next, partition)| **next < partition.end);
        let share = records_max.div_ceil(waiting.count().max(1)).max(1);
        let mut left = records_max;
        let mut slices = Vec::new();
        for number in (0..count).map(|index| (self.first + index) % count) {
            let (partition, next) = (&mut state.partitions[number], &mut self.positions[number]);
            if left == 0 || *next >= partition.end {
                continue;
            }
            let Some((segment, from)) = partition.find(*next) else {
                // Nothing but offsets without a record up to the end.
                *next = partition.end;
                continue;
            };
            let to = segment.records.len().min(from + share.min(left));
            *next = segment.records[to - 1].offset + 1;
            left -= to - from;
            slices.push(Slice { partition: number, segment, from, to });
        }
        self.first = (self.first + 1) % count.max(1);
        Ok(slices)
    }
}

impl Source for MemorySource {
    fn poll(&mut self, budget: PollBudget, sink: &mut dyn FnMut(&[RawRecord<'_>])) -> Result<usize> {
        let topic = self.log.topic.clone();
        let mut state = topic.state.lock();
        let mut slices = self.choose(&mut state, budget.records_max)?;
        if slices.is_empty() && !budget.wait.is_zero() {
            topic.appended.wait_for(&mut state, budget.wait);
            slices = self.choose(&mut state, budget.records_max)?;
        }
        drop(state);
        let mut handed = 0;
        for slice in &slices {
            let records = &slice.segment.records[slice.from..slice.to];
            let raw: Vec<_> = records.iter().map(|record| slice.segment.raw(slice.partition as i32, record)).collect();
            sink(&raw);
            handed += raw.len();
        }
        Ok(handed)
    }

    fn partitions(&self) -> BTreeMap<i32, PartitionStatus> {
        let state = self.log.topic.state.lock();
        let known = state.partitions.iter().enumerate();
        let status = known.map(|(number, partition)| {
            let position = self.positions.get(number).copied().unwrap_or_else(|| self.start_of(number, partition));
            (number as i32, PartitionStatus { position, end: Some(partition.end) })
        });
        status.collect()
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// One poll's records as `partition@offset=payload`, slices divided by `|`.
    fn poll(source: &mut dyn Source, records_max: usize) -> Result<String> {
        let mut slices = Vec::new();
        source.poll(PollBudget { records_max, wait: Duration::ZERO }, &mut |records| {
            let text = |record: &RawRecord<'_>| {
                let payload = record.payload.map_or("-".into(), String::from_utf8_lossy);
                format!("{}@{}={payload}", record.partition, record.offset)
            };
            slices.push(records.iter().map(text).collect::<Vec<_>>().join(" "));
        })?;
        Ok(slices.join(" | "))
    }

    fn log(partitions: usize) -> MemoryLog {
        MemoryLog::new("t", partitions)
    }

    fn put(log: &MemoryLog, partition: i32, payload: &str, ms: i64) {
        log.append(partition, None, Some(payload.as_bytes()), Some(ms));
    }

    #[test]
    fn every_partition_gets_a_share_of_each_poll() {
        let log = log(2);
        ["a", "b", "c", "d"].iter().for_each(|payload| put(&log, 0, payload, 0));
        put(&log, 1, "x", 0);
        let mut source = log.open(&Offsets::new()).expect("opens");
        assert_eq!(poll(&mut *source, 2).expect("polls"), "0@0=a | 1@0=x");
        assert_eq!(poll(&mut *source, 2).expect("polls"), "0@1=b 0@2=c");
        put(&log, 0, "e", 0);
        assert_eq!(poll(&mut *source, 9).expect("polls"), "0@3=d");
        assert_eq!(poll(&mut *source, 9).expect("polls"), "0@4=e");
        assert_eq!(poll(&mut *source, 9).expect("polls"), "");
        assert!(source.partitions().values().all(PartitionStatus::caught_up));
    }

    #[test]
    fn skipped_offsets_are_passed_also_at_the_end() {
        let log = log(1);
        log.skip(0, 2);
        put(&log, 0, "a", 0);
        log.skip(0, 3);
        let mut source = log.open(&Offsets::new()).expect("opens");
        assert_eq!(poll(&mut *source, 9).expect("polls"), "0@2=a");
        assert_eq!(poll(&mut *source, 9).expect("polls"), "");
        assert_eq!(source.partitions()[&0], PartitionStatus { position: 6, end: Some(6) });
    }

    #[test]
    fn reading_before_the_oldest_record_names_the_gap() {
        let log = log(1);
        ["a", "b", "c"].iter().for_each(|payload| put(&log, 0, payload, 0));
        log.trim(0, 2);
        let mut source = log.open(&Offsets::from([(0, 1)])).expect("opens");
        let error = poll(&mut *source, 9).expect_err("a gap");
        assert_eq!(error.to_string(), "topic \"t\", partition 0: offsets 1 to 1 are no longer in the log");
        assert_eq!(poll(&mut *log.open(&Offsets::new()).expect("opens"), 9).expect("polls"), "0@2=c");
    }

    #[test]
    fn start_positions() {
        let log = log(2);
        (0..4).for_each(|ms| put(&log, 0, "a", ms * 10));
        let starts = [
            (StartPosition::Latest, ""),
            (StartPosition::Timestamp(15), "0@2=a 0@3=a"),
            (StartPosition::Offsets(Offsets::from([(0, 3)])), "0@3=a"),
        ];
        for (start, expected) in starts {
            let mut source = log.starting_at(start.clone()).open(&Offsets::new()).expect("opens");
            assert_eq!(poll(&mut *source, 9).expect("polls"), expected, "{start:?}");
        }
    }

    #[test]
    fn failures_are_told_and_lose_nothing() {
        let log = log(1);
        put(&log, 0, "a", 0);
        log.fail_polls(1);
        let mut source = log.open(&Offsets::new()).expect("opens");
        assert_eq!(poll(&mut *source, 9).expect_err("away").kind(), crate::error::ErrorKind::Unavailable);
        assert!(source.trouble().is_some());
        assert_eq!(poll(&mut *source, 9).expect("polls"), "0@0=a");
        assert_eq!(source.trouble(), None);
    }

    #[test]
    fn a_new_partition_appears_by_itself() {
        let log = log(0);
        let mut source = log.open(&Offsets::new()).expect("opens");
        assert!(source.partitions().is_empty());
        assert_eq!(poll(&mut *source, 9).expect("polls"), "");
        assert_eq!(log.add_partition(), 0);
        put(&log, 0, "a", 0);
        assert_eq!(poll(&mut *source, 9).expect("polls"), "0@0=a");
    }
}
