//! Where records come from: a partitioned log with offsets.
//!
//! A [`Source`] reads one topic by assignment, without a consumer group: the engine alone decides which offsets a tick
//! holds. It hands out records borrowed from the client's own buffers, a slice at a time, so that no record is copied
//! or allocated for before it is decoded.

pub mod connector;
pub mod embedded_broker;
pub mod kafka;
mod kafka_client;
mod kafka_option_list;
pub mod kafka_options;
mod kafka_reader;
mod librdkafka;
pub mod memory;
pub mod nexmark;
pub mod producer;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::Result;

/// Partition to the next offset to read.
pub type Offsets = BTreeMap<i32, i64>;

/// One record of the log, borrowed from the client's buffer for the length of one [`Source::poll`] callback.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// Partition number.
    pub partition: i32,
    /// Offset within the partition.
    pub offset: i64,
    /// The record's timestamp in the log, ms since the Unix epoch, where it has one.
    pub timestamp_ms: Option<i64>,
    /// The record's key.
    pub key: Option<&'a [u8]>,
    /// The record's value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// The record's headers.
    pub headers: Headers<'a>,
}

/// A record's headers, read only where a source includes them.
#[derive(Clone, Copy, Default)]
pub struct Headers<'a>(pub Option<&'a dyn ReadHeaders>);

/// Reads a record's headers in log order.
pub trait ReadHeaders {
    /// Calls `each` with every header's name and value.
    fn for_each(&self, each: &mut dyn FnMut(&str, Option<&[u8]>));
}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut list = f.debug_list();
        if let Some(headers) = self.0 {
            headers.for_each(&mut |name, value| {
                list.entry(&(name, value.map(<[u8]>::len)));
            });
        }
        list.finish()
    }
}

/// Where reading starts when no offset is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartPosition {
    /// The oldest record kept.
    Earliest,
    /// The end of the log when the source was created.
    Latest,
    /// The first record at or after this time, ms since the Unix epoch.
    Timestamp(i64),
    /// These offsets; partitions not named start at the oldest record.
    Offsets(Offsets),
}

/// What one partition looks like from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartitionStatus {
    /// Next offset to read.
    pub position: i64,
    /// End of the log as last heard from the broker (under read_committed, the last stable offset); `None` before any word.
    pub end: Option<i64>,
}

impl PartitionStatus {
    /// Records not read yet, as far as known.
    pub fn lag(&self) -> Option<u64> {
        self.end.map(|end| u64::try_from(end - self.position).unwrap_or(0))
    }

    /// True if everything the broker has was read.
    pub fn caught_up(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }
}

/// How much one poll may return, and how long it may wait for the first record.
#[derive(Debug, Clone, Copy)]
pub struct PollBudget {
    /// Records at most.
    pub records_max: usize,
    /// How long to wait when there is nothing to read.
    pub wait: Duration,
}

/// A partitioned log being read. One reader thread owns it; no method is called from two threads.
pub trait Source: Send {
    /// Hands the next records to `sink`, in offset order within each partition, in as few slices as it can.
    /// Returns how many records it handed over; 0 when `budget.wait` passed with nothing to read.
    ///
    /// # Errors
    /// `Unavailable` when the broker is away (the caller backs off and polls again: nothing is lost),
    /// `Data` when offsets asked for are gone, with the gap in the message.
    fn poll(&mut self, budget: PollBudget, sink: &mut dyn FnMut(&[RawRecord<'_>])) -> Result<usize>;

    /// Every partition known, with its position and end. Partitions added to the topic appear here by themselves.
    fn partitions(&self) -> BTreeMap<i32, PartitionStatus>;

    /// A condition worth showing to the user, such as a broker that does not answer; `None` when all is well.
    fn trouble(&self) -> Option<String>;
}

/// Opens readers of one log: the live one, others for a view's backfill or a bounded SELECT.
pub trait SourceOpener: Send + Sync + std::fmt::Debug {
    /// A reader that starts at `offsets`. Partitions not named were added since these were written, and start at the
    /// oldest record; if none is named, all start at the opener's own start position.
    ///
    /// # Errors
    /// `Input` for a topic that does not exist or options the client refuses, `Unavailable` if no broker answers in time,
    /// `Data` if one of `offsets` is not in the log any more.
    fn open(&self, offsets: &Offsets) -> Result<Box<dyn Source>>;

    /// The start and end of every partition now. The end is what a reader comes to: the next offset to be written, or
    /// under read_committed the last stable offset.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    fn bounds(&self) -> Result<BTreeMap<i32, (i64, i64)>>;

    /// The topic's name, for error rows and messages.
    fn topic(&self) -> &str;
}
