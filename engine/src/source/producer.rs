//! Writes records to Kafka, for the demo, tests and benchmarks. Many records a request, delivery counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::kafka_client::ClientEvents;
use crate::error::{Error, Result};

/// How many records go out between two looks at the client's events.
const EVENT_PACE: u64 = 4096;
/// How often a flush looks whether it is done.
const FLUSH_PACE: Duration = Duration::from_millis(2);
/// How long [`Producer::produce`] waits for room in the buffer.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(30);

/// How records are gathered into requests.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// How long a record waits for others to go with.
    pub linger: Duration,
    /// A request's size at most, bytes before compression.
    pub batch_bytes_max: usize,
    /// How batches are compressed.
    pub compression: Compression,
    /// Whether a batch sent again after a lost answer is kept once only. It costs half a second at the start, and holds
    /// for records whose timestamps are less than a day old (the broker's `producer.id.expiration.ms`).
    pub idempotent: bool,
}

impl Default for ProducerOptions {
    /// A few milliseconds and large batches.
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(5),
            batch_bytes_max: 512 * 1024,
            compression: Compression::None,
            idempotent: true,
        }
    }
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4: cheap.
    Lz4,
    /// Zstandard: small.
    Zstd,
}

/// One record to write.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutgoingRecord<'a> {
    /// Where to; `None` lets the key choose, as Kafka's Java client does, or spreads records without a key.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// ms since the Unix epoch; `None` is now.
    pub timestamp_ms: Option<i64>,
    /// Names and values, in order.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// What became of the records so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProducerStats {
    /// Taken by [`Producer::produce`].
    pub produced: u64,
    /// Acknowledged by the broker.
    pub delivered: u64,
    /// Given up.
    pub failed: u64,
}

/// Counts what could not be delivered and hands on what the client says.
#[derive(Debug, Default)]
pub(super) struct DeliveryCount {
    events: ClientEvents,
    failed: AtomicU64,
    reason: Mutex<Option<String>>,
}

impl ClientContext for DeliveryCount {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(error, reason);
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ProducerContext for DeliveryCount {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = delivery {
            self.failed.fetch_add(1, Ordering::Relaxed);
            *self.reason.lock() = Some(error.to_string());
        }
    }
}

/// Writes to one cluster. May be shared between threads.
pub struct Producer {
    client: BaseProducer<DeliveryCount>,
    bootstrap: String,
    produced: AtomicU64,
}

impl Producer {
    /// A producer to the brokers at `bootstrap`. It connects in the background.
    ///
    /// # Errors
    /// `Input` for options the client refuses.
    pub fn new(bootstrap: &str, options: &ProducerOptions) -> Result<Self> {
        let mut config = ClientConfig::new();
        let compression = match options.compression {
            Compression::None => "none",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        };
        config
            .set("bootstrap.servers", bootstrap)
            .set("client.id", "tidemark")
            .set("enable.idempotence", options.idempotent.to_string())
            .set("partitioner", "murmur2_random")
            .set("linger.ms", options.linger.as_millis().to_string())
            .set("batch.size", options.batch_bytes_max.to_string())
            .set("batch.num.messages", "100000")
            .set("compression.type", compression)
            .set("queue.buffering.max.messages", "500000")
            .set("queue.buffering.max.kbytes", "262144")
            .set("reconnect.backoff.max.ms", "1000")
            .set("log.connection.close", "false")
            // A report for each record would cost more than the record.
            .set("delivery.report.only.error", "true");
        config.set_log_level(RDKafkaLogLevel::Info);
        let refused = |error: KafkaError| Error::input("the Kafka client refuses these options").with_source(error);
        let client = config.create_with_context(DeliveryCount::default()).map_err(refused)?;
        Ok(Self { client, bootstrap: bootstrap.to_owned(), produced: AtomicU64::new(0) })
    }

    /// Takes one record for `topic`, waiting while the buffer is full. Delivery shows in [`stats`](Self::stats).
    ///
    /// # Errors
    /// `Unavailable` if no room comes, `Input` for a record or topic the client refuses.
    pub fn produce(&self, topic: &str, record: OutgoingRecord<'_>) -> Result<()> {
        let mut outgoing: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        outgoing.partition = record.partition;
        outgoing.key = record.key;
        outgoing.payload = record.payload;
        outgoing.timestamp = record.timestamp_ms;
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let add =
                |all: OwnedHeaders, (key, value): &(&str, Option<&[u8]>)| all.insert(Header { key, value: *value });
            outgoing.headers = Some(record.headers.iter().fold(headers, add));
        }
        let deadline = Instant::now() + ROOM_WAIT_MAX;
        loop {
            outgoing = match self.client.send(outgoing) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    self.client.poll(Duration::from_millis(1));
                    back
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    return Err(self.unavailable("the buffer stays full"));
                }
                Err((error, _)) => {
                    return Err(Error::input(format!("a record for topic \"{topic}\"")).with_source(error));
                }
            };
        }
        if self.produced.fetch_add(1, Ordering::Relaxed).is_multiple_of(EVENT_PACE) {
            self.client.poll(Duration::ZERO);
        }
        Ok(())
    }

    /// Waits until every record taken was delivered.
    ///
    /// # Errors
    /// `Unavailable` if some are still on their way after `timeout`, or were given up at any time before.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        // The client's own flush with a timeout sleeps up to 100 ms at a time.
        while self.client.flush(Duration::ZERO).is_err() {
            if Instant::now() >= deadline {
                let waiting = self.client.in_flight_count();
                return Err(self.unavailable(&format!("{waiting} records are still on their way")));
            }
            self.client.poll(FLUSH_PACE);
        }
        match self.stats().failed {
            0 => Ok(()),
            failed => Err(self.unavailable(&format!("{failed} records were given up"))),
        }
    }

    /// Counts so far.
    pub fn stats(&self) -> ProducerStats {
        let produced = self.produced.load(Ordering::Relaxed);
        let failed = self.client.context().failed.load(Ordering::Relaxed);
        let waiting = u64::try_from(self.client.in_flight_count()).unwrap_or(0);
        ProducerStats { produced, delivered: produced.saturating_sub(failed + waiting), failed }
    }

    fn unavailable(&self, what: &str) -> Error {
        let context = self.client.context();
        let reason = context.reason.lock().clone().or_else(|| context.events.last_error());
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        Error::unavailable(format!("Kafka at {}: {what}{reason}", self.bootstrap))
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("bootstrap", &self.bootstrap)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
