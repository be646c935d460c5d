//! A Kafka topic as a [`Source`]: where its readers start, and what of it is there.
//!
//! Every partition is read from an exact offset of the engine's own, without a consumer group. An offset that is not in
//! the log is refused with the gap named; nothing is ever read in its place.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::kafka_client::Connection;
use super::kafka_options::{Isolation, KafkaOptions};
use super::kafka_reader::{KafkaReader, gap};
use super::librdkafka::topic_lookup::OffsetOf;
use super::{Offsets, Source, SourceOpener, StartPosition};
use crate::error::{Error, ErrorKind, Result};

/// Opens readers of one Kafka topic.
#[derive(Debug)]
pub struct KafkaOpener {
    options: KafkaOptions,
    start: StartPosition,
    /// What a start by time or at the end came to, the first time it was needed: every reader starts at the same
    /// records.
    resolved: OnceLock<Offsets>,
}

impl KafkaOpener {
    /// An opener of the topic in `options`; readers that are given no offsets start at `start`.
    pub fn new(options: KafkaOptions, start: StartPosition) -> Self {
        Self { options, start, resolved: OnceLock::new() }
    }

    /// The offsets to start at: one for every partition of the topic.
    ///
    /// Partitions that `given` does not name were added since it was written, so they start at the oldest record.
    fn starting_offsets(&self, connection: &Connection, partitions: &[i32], given: &Offsets) -> Result<Offsets> {
        let earliest = connection.offsets(partitions, OffsetOf::Start)?;
        if !given.is_empty() {
            return self.checked(connection, earliest, given, ErrorKind::Data);
        }
        let chosen = match &self.start {
            StartPosition::Earliest => return Ok(earliest),
            StartPosition::Offsets(offsets) => return self.checked(connection, earliest, offsets, ErrorKind::Input),
            StartPosition::Latest | StartPosition::Timestamp(_) => self.resolved_start(connection, partitions)?,
        };
        // A start resolved earlier may have been overtaken by retention; a partition added since is read whole.
        Ok(earliest
            .into_iter()
            .map(|(partition, start)| match chosen.get(&partition) {
                Some(offset) => (partition, start.max(*offset)),
                None => (partition, start),
            })
            .collect())
    }

    fn resolved_start(&self, connection: &Connection, partitions: &[i32]) -> Result<Offsets> {
        if let Some(resolved) = self.resolved.get() {
            return Ok(resolved.clone());
        }
        let end = connection.offsets(partitions, OffsetOf::End)?;
        let resolved = match self.start {
            StartPosition::Timestamp(millis) => {
                let found = connection.offsets(partitions, OffsetOf::Time(millis))?;
                // No record so late yet: the next one written is the first.
                end.into_iter().map(|(p, end)| (p, found.get(&p).copied().filter(|o| *o >= 0).unwrap_or(end))).collect()
            }
            _ => end,
        };
        Ok(self.resolved.get_or_init(|| resolved).clone())
    }

    /// `wanted` where it names a partition, `earliest` elsewhere.
    ///
    /// # Errors
    /// Of `kind`, if a partition named is not in the topic or an offset is not in its log.
    fn checked(
        &self,
        connection: &Connection,
        earliest: Offsets,
        wanted: &Offsets,
        kind: ErrorKind,
    ) -> Result<Offsets> {
        let topic = self.options.topic();
        if let Some(partition) = wanted.keys().find(|partition| !earliest.contains_key(partition)) {
            let count = earliest.len();
            return Err(Error::new(
                kind,
                format!("topic \"{topic}\" has {count} partitions; reading was to go on in partition {partition}"),
            ));
        }
        // The end of the log itself: offsets saved under another isolation may lie beyond the last stable one.
        let named: Vec<i32> = wanted.keys().copied().collect();
        let end = connection.offsets_seen_by(Isolation::ReadUncommitted, &named, OffsetOf::End)?;
        for (partition, offset) in wanted {
            let (start, end) = (earliest[partition], end[partition]);
            if *offset < start || *offset > end {
                return Err(Error::new(kind, gap(topic, *partition, *offset, start, end)));
            }
        }
        Ok(earliest.into_iter().map(|(p, start)| (p, wanted.get(&p).copied().unwrap_or(start))).collect())
    }
}

impl SourceOpener for KafkaOpener {
    fn open(&self, offsets: &Offsets) -> Result<Box<dyn Source>> {
        let connection = Connection::new(&self.options)?;
        let topic = connection.topic()?;
        let from = self.starting_offsets(&connection, &topic.partitions, offsets)?;
        Ok(Box::new(KafkaReader::new(&self.options, connection, topic, from)?))
    }

    fn bounds(&self) -> Result<BTreeMap<i32, (i64, i64)>> {
        let connection = Connection::new(&self.options)?;
        let partitions = connection.topic()?.partitions;
        let start = connection.offsets(&partitions, OffsetOf::Start)?;
        let end = connection.offsets(&partitions, OffsetOf::End)?;
        Ok(start.into_iter().map(|(partition, start)| (partition, (start, end[&partition]))).collect())
    }

    fn topic(&self) -> &str {
        self.options.topic()
    }
}
