//! A source read into memory, with the checks every read must pass.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use engine::Result;
use engine::source::{PollBudget, RawRecord, Source};

/// How long a read may take before it counts as hung. No test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// One record, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Offset within its partition.
    pub offset: i64,
    /// ms since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub payload: Option<Vec<u8>>,
    /// Names and values in log order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl From<&RawRecord<'_>> for OwnedRecord {
    fn from(record: &RawRecord<'_>) -> Self {
        let mut headers = Vec::new();
        if let Some(read) = record.headers.0 {
            read.for_each(&mut |name, value| headers.push((name.to_owned(), value.map(<[u8]>::to_vec))));
        }
        Self {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            payload: record.payload.map(<[u8]>::to_vec),
            headers,
        }
    }
}

/// Reads a source into memory.
pub struct LogReader {
    /// The source, for its status.
    pub source: Box<dyn Source>,
    /// What was read, by partition, in the order it came.
    pub records: BTreeMap<i32, Vec<OwnedRecord>>,
    /// Every different trouble shown on the way.
    pub troubles: Vec<String>,
}

impl LogReader {
    /// A reader of `source`.
    pub fn new(source: Box<dyn Source>) -> Self {
        Self { source, records: BTreeMap::new(), troubles: Vec::new() }
    }

    /// Polls once. Checks the count, the order within each partition and the positions.
    ///
    /// # Errors
    /// The source's own.
    ///
    /// # Panics
    /// If a check fails.
    pub fn poll(&mut self) -> Result<usize> {
        let budget = PollBudget { records_max: 5_000, wait: Duration::from_millis(20) };
        let (records, mut handed) = (&mut self.records, 0);
        let polled = self.source.poll(budget, &mut |slice| {
            handed += slice.len();
            for record in slice {
                let partition: &mut Vec<OwnedRecord> = records.entry(record.partition).or_default();
                if let Some(last) = partition.last() {
                    assert!(record.offset > last.offset, "{record:?} came after offset {}", last.offset);
                }
                partition.push(record.into());
            }
        });
        if let Some(trouble) = self.source.trouble().filter(|trouble| !self.troubles.contains(trouble)) {
            self.troubles.push(trouble);
        }
        let polled = polled?;
        assert_eq!(polled, handed, "the count returned is the count handed over");
        assert!(polled <= budget.records_max);
        let status = self.source.partitions();
        for (partition, records) in &self.records {
            let last = records.last().expect("an entry holds a record").offset;
            assert!(status[partition].position > last, "partition {partition}: {:?} after {last}", status[partition]);
        }
        Ok(polled)
    }

    /// Polls until `done`.
    ///
    /// # Panics
    /// If the source fails, or `done` never comes true.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let given_up = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(
                Instant::now() < given_up,
                "never saw: {what}; read {} records, {:?}, trouble {:?}",
                self.count(),
                self.source.partitions(),
                self.source.trouble()
            );
            self.poll().unwrap_or_else(|error| panic!("while waiting for: {what}: {error}"));
        }
    }

    /// Polls until the source fails, and returns the error.
    ///
    /// # Panics
    /// If it never does.
    pub fn until_error(&mut self) -> engine::Error {
        let given_up = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < given_up, "never failed: {:?}", self.source.partitions());
            if let Err(error) = self.poll() {
                return error;
            }
        }
    }

    /// Polls until every partition is caught up.
    ///
    /// # Panics
    /// As [`until`](Self::until).
    pub fn until_caught_up(&mut self) {
        self.until("every partition caught up", Self::is_caught_up);
    }

    /// True if every partition is caught up.
    pub fn is_caught_up(&self) -> bool {
        self.source.partitions().values().all(|status| status.caught_up())
    }

    /// Records read so far.
    pub fn count(&self) -> usize {
        self.records.values().map(Vec::len).sum()
    }

    /// The values read so far, as text, by partition.
    pub fn texts(&self) -> BTreeMap<i32, Vec<String>> {
        let text =
            |record: &OwnedRecord| String::from_utf8_lossy(record.payload.as_deref().unwrap_or(b"-")).into_owned();
        self.records.iter().map(|(partition, records)| (*partition, records.iter().map(text).collect())).collect()
    }
}
