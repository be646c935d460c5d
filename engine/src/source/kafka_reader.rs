//! Reads a Kafka topic: batches out of the client, positions and ends of the partitions, and what goes wrong.
//!
//! What is lost is said: a position that retention has overtaken, a topic made anew under the old name, records that
//! fail their checksum halt the reader with the exact place. What merely waits (a broker away, a partition between two
//! leaders) shows as [`Source::trouble`] and mends itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::kafka_client::Connection;
use super::kafka_options::{Isolation, KafkaOptions};
use super::librdkafka::consume_batch::{BatchConsumer, Event, Trouble, TroubleSort};
use super::librdkafka::topic_lookup::{Answer, ListedOffsets, LookupError, OffsetOf, Ticket, Topic, TopicId};
use super::{Offsets, PartitionStatus, PollBudget, RawRecord, Source};
use crate::error::{Error, ErrorKind, Result};

/// Records handed over in one slice, at most.
const SLICE_RECORDS_MAX: usize = 4096;
/// How often the topic is looked at: new partitions, its identity, leaders.
const TOPIC_PACE: Duration = Duration::from_secs(2);
/// How often the last stable offset is asked for while the high watermark lies beyond the end reached.
const STABLE_END_PACE: Duration = Duration::from_millis(500);
/// How often a topic that is not there is looked for.
const MISSING_PACE: Duration = Duration::from_millis(250);
/// How long a last stable offset is believed.
const STABLE_END_AGE_MAX: Duration = Duration::from_secs(2);
/// The longest single wait for records, so that the client's events and answers are served meanwhile.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// A partition as the reader knows it.
#[derive(Debug, Clone, Default)]
struct Partition {
    /// Next offset to be handed out.
    position: i64,
    /// The end the broker announced, while the position stands there.
    end_reached: Option<i64>,
    /// The last stable offset when asked for, and when that was.
    stable_end: Option<(i64, Instant)>,
    /// What keeps it waiting.
    trouble: Option<String>,
}

/// The question that is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Topic,
    /// The oldest offsets of partitions added to the topic.
    Starts,
    /// Last stable offsets, asked at this moment.
    StableEnds(Instant),
}

/// Why the source stands still for good.
#[derive(Debug, Clone)]
struct Halt {
    kind: ErrorKind,
    reason: String,
}

/// Reads one Kafka topic.
pub(super) struct KafkaReader {
    // Dropped before the connection it reads through.
    batches: BatchConsumer,
    /// The buffer of a slice's records between polls, when it is empty.
    slots: Vec<Slot>,
    connection: Connection,
    name: Arc<str>,
    bootstrap: Arc<str>,
    isolation: Isolation,
    topic_id: Option<TopicId>,
    partitions: BTreeMap<i32, Partition>,
    /// Added to the topic, not started yet.
    added: Vec<i32>,
    asked: Option<(Ticket, Question)>,
    topic_due: Instant,
    stable_ends_due: Instant,
    /// Looks at the topic that no broker answered, one after the other.
    unanswered: usize,
    /// The topic was not there at the last look. Nothing is handed out until it is known to be the same one.
    missing: bool,
    /// What the last look at the topic found wrong.
    topic_trouble: Option<String>,
    halt: Option<Halt>,
}

impl KafkaReader {
    pub(super) fn new(options: &KafkaOptions, connection: Connection, topic: Topic, from: Offsets) -> Result<Self> {
        let now = Instant::now();
        let mut source = Self {
            batches: BatchConsumer::new(Arc::clone(&connection.consumer), options.topic())?,
            slots: Vec::new(),
            connection,
            name: options.topic().into(),
            bootstrap: options.bootstrap().into(),
            isolation: options.isolation(),
            topic_id: topic.id,
            partitions: BTreeMap::new(),
            added: Vec::new(),
            asked: None,
            topic_due: now + TOPIC_PACE,
            stable_ends_due: now,
            unanswered: 0,
            missing: false,
            topic_trouble: None,
            halt: None,
        };
        for (partition, offset) in from {
            source.start(partition, offset)?;
        }
        Ok(source)
    }

    fn start(&mut self, partition: i32, offset: i64) -> Result<()> {
        self.batches.start(partition, offset)?;
        self.partitions.insert(partition, Partition { position: offset, ..Partition::default() });
        Ok(())
    }

    /// Serves the client, takes an answer if one comes within `wait`, sends the next question.
    fn attend(&mut self, wait: Duration) -> Result<()> {
        self.connection.serve();
        if let Some((ticket, answer)) = self.connection.lookup.answer(wait)? {
            let asked = self.asked.take_if(|(asked, _)| *asked == ticket).map(|(_, question)| question);
            match (asked, answer) {
                (Some(Question::Topic), Answer::Topic(topic)) => self.look_at(topic),
                (Some(Question::Starts), Answer::Offsets(starts)) => self.start_added(starts)?,
                (Some(Question::StableEnds(asked)), Answer::Offsets(ends)) => self.note_stable_ends(ends, asked),
                (question, answer) => {
                    return Err(Error::internal(format!("{question:?} was answered with {answer:?}")));
                }
            }
        }
        if self.asked.is_none() {
            self.ask()?;
        }
        Ok(())
    }

    fn ask(&mut self) -> Result<()> {
        let now = Instant::now();
        if now >= self.topic_due {
            self.asked = Some((self.connection.ask_topic()?, Question::Topic));
            self.topic_due = now + if self.missing { MISSING_PACE } else { TOPIC_PACE };
        } else if !self.added.is_empty() {
            self.asked = Some((self.connection.ask_offsets(&self.added, OffsetOf::Start)?, Question::Starts));
        } else if self.isolation == Isolation::ReadCommitted && now >= self.stable_ends_due {
            self.stable_ends_due = now + STABLE_END_PACE;
            let in_doubt: Vec<i32> =
                self.partitions.iter().filter(|(n, p)| self.in_doubt(**n, p)).map(|(n, _)| *n).collect();
            if !in_doubt.is_empty() {
                let ticket = self.connection.ask_offsets(&in_doubt, OffsetOf::End)?;
                self.asked = Some((ticket, Question::StableEnds(now)));
            }
        }
        Ok(())
    }

    /// True if the position stands at the announced end though the log goes on: records of an open transaction, or
    /// records fetched and not handed out yet.
    fn in_doubt(&self, number: i32, partition: &Partition) -> bool {
        let (_, high) = self.batches.watermarks(number);
        partition.end_reached.is_some_and(|end| high.is_some_and(|high| high > end))
    }

    fn look_at(&mut self, topic: Result<Topic, LookupError>) {
        let topic = match topic {
            Ok(topic) => topic,
            Err(error) => {
                self.note_failed_look(&error);
                return;
            }
        };
        self.unanswered = 0;
        self.missing = false;
        self.connection.note_brokers(&topic.brokers);
        self.connection.events().answered();
        let count = topic.leaderless.len();
        self.topic_trouble = (count > 0).then(|| {
            format!("{count} of the partitions of topic \"{}\" have no leader: {:?}", self.name, topic.leaderless)
        });
        match self.topic_id {
            Some(id) if topic.id.is_some_and(|now| now != id) => {
                let reason = format!(
                    "topic \"{}\" was deleted and created again: its records are not those that were being read",
                    self.name
                );
                self.halt = Some(Halt { kind: ErrorKind::Data, reason });
                return;
            }
            _ => self.topic_id = self.topic_id.or(topic.id),
        }
        self.added = topic.partitions.into_iter().filter(|number| !self.partitions.contains_key(number)).collect();
    }

    fn note_failed_look(&mut self, error: &LookupError) {
        if error.is_timeout() {
            self.unanswered += 1;
            if self.connection.next_broker() > self.unanswered {
                // The next broker may well be there.
                self.topic_due = Instant::now();
                return;
            }
            let reason = self.connection.events().last_error().map(|e| format!(": {e}")).unwrap_or_default();
            self.topic_trouble = Some(format!("no Kafka broker answers at {}{reason}", self.bootstrap));
            return;
        }
        self.unanswered = 0;
        self.connection.events().answered();
        self.missing = error.is_unknown_topic();
        self.topic_trouble = Some(if self.missing {
            format!("topic \"{}\" does not exist any more at {}", self.name, self.bootstrap)
        } else {
            let reason = self.connection.events().scrub(&error.reason);
            format!("topic \"{}\" at {}: {reason}", self.name, self.bootstrap)
        });
    }

    fn start_added(&mut self, starts: Result<ListedOffsets, LookupError>) -> Result<()> {
        // Those that failed stay unknown and are found again by the next look at the topic.
        self.added.clear();
        for (partition, offset) in starts.unwrap_or_default().into_iter().flatten() {
            if !self.partitions.contains_key(&partition) {
                tracing::info!(topic = &*self.name, partition, offset, "reading a partition added to the topic");
                self.start(partition, offset)?;
            }
        }
        Ok(())
    }

    fn note_stable_ends(&mut self, ends: Result<ListedOffsets, LookupError>, asked: Instant) {
        for (partition, end) in ends.unwrap_or_default().into_iter().flatten() {
            if let Some(partition) = self.partitions.get_mut(&partition) {
                partition.stable_end = Some((end, asked));
            }
        }
    }

    /// Hands over one batch. Returns how many messages were taken and how many of them were records.
    fn hand_over(&mut self, max: usize, wait: Duration, sink: &mut dyn FnMut(&[RawRecord<'_>])) -> (usize, usize) {
        let mut records: Vec<RawRecord<'_>> = emptied(std::mem::take(&mut self.slots));
        let mut stopped = None;
        let messages = self.batches.take(max, wait);
        let taken = messages.len();
        for message in messages {
            match advance(&mut self.partitions, message.event()) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => {}
                Err(trouble) if trouble.sort == TroubleSort::Waiting => {
                    let reason = self.connection.events().scrub(&trouble.reason);
                    tracing::warn!(topic = &*self.name, partition = trouble.partition, "{reason}");
                    self.partitions.entry(trouble.partition).and_modify(|partition| partition.trouble = Some(reason));
                }
                // What follows in the batch must not be handed out past the place.
                Err(trouble) => {
                    stopped = Some(trouble);
                    break;
                }
            }
        }
        let handed = records.len();
        if handed > 0 {
            sink(&records);
        }
        self.slots = emptied(records);
        self.batches.release();
        if let Some(trouble) = stopped {
            self.halt = Some(self.halted_by(&trouble));
        }
        (taken, handed)
    }

    /// Puts trouble that loses records into words, with the log's bounds where they matter.
    fn halted_by(&self, trouble: &Trouble) -> Halt {
        let (topic, partition) = (&self.name, trouble.partition);
        let reason = self.connection.events().scrub(&trouble.reason);
        let position = self.partitions.get(&partition).map_or(trouble.offset, |p| p.position);
        let reason = match trouble.sort {
            TroubleSort::PositionGone => {
                let bound = |what| {
                    let found = self.connection.offsets_seen_by(Isolation::ReadUncommitted, &[partition], what);
                    found.ok()?.get(&partition).copied()
                };
                match (bound(OffsetOf::Start), bound(OffsetOf::End)) {
                    (Some(start), Some(end)) if position < start || position > end => {
                        gap(topic, partition, position, start, end)
                    }
                    _ => format!(
                        "topic \"{topic}\" partition {partition}: reading cannot go on at offset {position}: {reason}"
                    ),
                }
            }
            _ => format!("topic \"{topic}\" partition {partition} offset {}: {reason}", trouble.offset),
        };
        Halt { kind: ErrorKind::Data, reason }
    }

    fn check_halt(&self) -> Result<()> {
        match &self.halt {
            Some(halt) => Err(Error::new(halt.kind, halt.reason.clone())),
            None => Ok(()),
        }
    }

    /// A partition's end, as far as the broker has told.
    fn end(&self, number: i32, partition: &Partition) -> Option<i64> {
        let (_, high) = self.batches.watermarks(number);
        let high = high.map(|high| high.max(partition.position));
        match (partition.end_reached, high, partition.stable_end) {
            (Some(end), Some(high), _) if high <= end => Some(end),
            // The log goes on behind the end reached. Only the last stable offset tells an open transaction from
            // records that wait in the queue, and only while it is fresh.
            (Some(end), Some(_), Some((stable, asked))) if stable <= end && asked.elapsed() <= STABLE_END_AGE_MAX => {
                Some(end)
            }
            (end, high, _) => high.or(end),
        }
    }
}

impl Source for KafkaReader {
    fn poll(&mut self, budget: PollBudget, sink: &mut dyn FnMut(&[RawRecord<'_>])) -> Result<usize> {
        let deadline = Instant::now() + budget.wait;
        let mut total = 0;
        while total < budget.records_max {
            self.check_halt()?;
            if total == 0 {
                self.attend(Duration::ZERO)?;
                self.check_halt()?;
            }
            let wait = if total == 0 { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            let wait = wait.min(WAIT_MAX);
            if self.missing {
                self.attend(wait)?;
                if wait.is_zero() {
                    break;
                }
                continue;
            }
            let max = SLICE_RECORDS_MAX.min(budget.records_max - total);
            let (taken, handed) = self.hand_over(max, wait, sink);
            total += handed;
            let drained = taken < max;
            if self.halt.is_some() && total > 0 {
                break;
            }
            if drained && (total > 0 || Instant::now() >= deadline) {
                break;
            }
        }
        Ok(total)
    }

    fn partitions(&self) -> BTreeMap<i32, PartitionStatus> {
        let status = |number: i32, p: &Partition| PartitionStatus { position: p.position, end: self.end(number, p) };
        self.partitions.iter().map(|(number, partition)| (*number, status(*number, partition))).collect()
    }

    fn trouble(&self) -> Option<String> {
        if let Some(halt) = &self.halt {
            return Some(halt.reason.clone());
        }
        let away = || Some(format!("Kafka at {}: {}", self.bootstrap, self.connection.events().away()?));
        let waiting = || {
            let (number, reason) = self.partitions.iter().find_map(|(n, p)| Some((n, p.trouble.as_ref()?)))?;
            Some(format!("topic \"{}\" partition {number}: {reason}", self.name))
        };
        self.topic_trouble.clone().or_else(away).or_else(waiting)
    }
}

/// Moves a partition's position past `event`, and returns the record if it is one.
///
/// # Errors
/// The trouble the event tells of, or that the record lies before the position: it was handed out already.
fn advance<'a>(
    partitions: &mut BTreeMap<i32, Partition>,
    event: Event<'a>,
) -> std::result::Result<Option<RawRecord<'a>>, Trouble> {
    match event {
        Event::Record(record) => {
            let trouble = |reason: String| {
                let sort = TroubleSort::Unreadable;
                Trouble { partition: record.partition, offset: record.offset, sort, reason }
            };
            let Some(partition) = partitions.get_mut(&record.partition) else {
                return Err(trouble("the client sent a record of a partition that is not read".to_owned()));
            };
            if record.offset < partition.position {
                return Err(trouble(format!(
                    "the client sent the record again; reading stood at {}",
                    partition.position
                )));
            }
            partition.position = record.offset + 1;
            partition.end_reached = None;
            partition.trouble = None;
            Ok(Some(record))
        }
        Event::End { partition, offset } => {
            if let Some(partition) = partitions.get_mut(&partition) {
                // Control records and aborted ones before the end were passed over without a word.
                partition.position = partition.position.max(offset);
                partition.end_reached = Some(offset);
                partition.trouble = None;
            }
            Ok(None)
        }
        Event::Trouble(trouble) => Err(trouble),
    }
}

/// Room for one record, free of its lifetime and of its ties to a thread.
type Slot = [usize; size_of::<RawRecord<'static>>() / size_of::<usize>()];

/// An empty vector with the buffer of `vector`.
fn emptied<T, U>(mut vector: Vec<T>) -> Vec<U> {
    vector.clear();
    // Collecting from a vector's own iterator into elements of the same layout reuses its buffer.
    vector.into_iter().map(|_| unreachable!("the vector was cleared")).collect()
}

/// Says what is missing between `position` and a log that holds `start..end`.
pub(super) fn gap(topic: &str, partition: i32, position: i64, start: i64, end: i64) -> String {
    if position < start {
        let lost = start - position;
        format!(
            "topic \"{topic}\" partition {partition}: reading stood at offset {position}, but the log starts at {start}: \
             {lost} offsets are gone (retention, or records deleted)"
        )
    } else {
        format!(
            "topic \"{topic}\" partition {partition}: reading stood at offset {position}, but the log ends at {end}: \
             the topic was deleted and created again, or its log was cut back"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Headers;

    fn record(partition: i32, offset: i64) -> RawRecord<'static> {
        RawRecord { partition, offset, timestamp_ms: None, key: None, payload: None, headers: Headers::default() }
    }

    #[test]
    fn the_gap_is_named() {
        let lost = gap("bids", 3, 120, 450, 900);
        for part in ["\"bids\"", "partition 3", "offset 120", "starts at 450", "330 offsets"] {
            assert!(lost.contains(part), "{part} is not in {lost}");
        }
        let cut = gap("bids", 3, 120, 0, 20);
        assert!(cut.contains("ends at 20") && cut.contains("created again"), "{cut}");
    }

    #[test]
    fn an_emptied_vector_keeps_its_buffer() {
        let slots: Vec<Slot> = Vec::with_capacity(100);
        let before = (slots.as_ptr() as usize, slots.capacity());
        let mut records: Vec<RawRecord<'_>> = emptied(slots);
        assert_eq!((records.as_ptr() as usize, records.capacity()), before);
        records.push(record(0, 0));
        let slots: Vec<Slot> = emptied(records);
        assert_eq!((slots.as_ptr() as usize, slots.capacity(), slots.len()), (before.0, before.1, 0));
    }

    #[test]
    fn no_record_is_handed_out_twice() {
        let mut partitions = BTreeMap::from([(0, Partition { position: 10, ..Partition::default() })]);
        assert!(advance(&mut partitions, Event::Record(record(0, 9))).is_err());
        let hole = advance(&mut partitions, Event::Record(record(0, 12)));
        assert!(hole.is_ok_and(|handed| handed.is_some()), "compaction and control records leave holes");
        assert_eq!(partitions[&0].position, 13);
        assert!(advance(&mut partitions, Event::Record(record(0, 12))).is_err());
        assert!(advance(&mut partitions, Event::Record(record(1, 0))).is_err());
    }

    #[test]
    fn the_end_moves_the_position_over_what_is_not_handed_out() {
        let mut partitions = BTreeMap::from([(0, Partition { position: 10, ..Partition::default() })]);
        let end = advance(&mut partitions, Event::End { partition: 0, offset: 14 });
        assert!(end.is_ok_and(|handed| handed.is_none()));
        assert_eq!((partitions[&0].position, partitions[&0].end_reached), (14, Some(14)));
        assert!(advance(&mut partitions, Event::Record(record(0, 14))).is_ok());
        assert_eq!((partitions[&0].position, partitions[&0].end_reached), (15, None));
    }
}
