//! Live events: a thread that writes Nexmark's people, auctions and bids to the embedded broker.
//!
//! Event time is the wall clock's, so windows open and close as one watches. The broker keeps little and drops the
//! oldest silently, so the generator waits whenever the engine is behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::engine::Engine;
use engine::source::nexmark::{EventKind, NexmarkConfig, NexmarkGenerator};
use engine::source::producer::{OutgoingRecord, Producer, ProducerOptions};
use engine::time::{Clock, SystemClock};
use tokio::sync::watch;

use super::DemoArgs;

/// Events a second, unless asked otherwise.
const RATE: u64 = 10_000;

/// Bids out of order by up to this much, as real ones are.
const DISORDER_MICROS: i64 = 500_000;

/// The engine may be this many records behind before the generator waits: well below what the broker keeps.
const BEHIND_MAX: u64 = 40_000;

/// How many events are written between two looks at the clock.
const BURST: u64 = 100;

/// The three topics, as the generator counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Produced {
    /// Records written to `person`.
    pub people: u64,
    /// Records written to `auction`.
    pub auctions: u64,
    /// Records written to `bid`.
    pub bids: u64,
}

impl Produced {
    /// Records of all topics.
    pub fn total(self) -> u64 {
        self.people + self.auctions + self.bids
    }
}

/// A running generator.
pub struct Generator {
    stopping: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    done: watch::Receiver<bool>,
    thread: JoinHandle<Result<Produced, String>>,
}

impl Generator {
    /// Starts writing.
    ///
    /// # Errors
    /// One sentence: the producer or the thread could not be made.
    pub fn start(args: &DemoArgs, bootstrap: &str, engine: Arc<Engine>) -> Result<Self, String> {
        let producer = Producer::new(bootstrap, &ProducerOptions::default()).map_err(|e| e.to_string())?;
        let rate = args.rate.or(args.events.is_none().then_some(RATE));
        let (stopping, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (sender, done) = watch::channel(false);
        let writer = Writer {
            producer,
            engine,
            rate,
            limit: args.events.unwrap_or(u64::MAX),
            stopping: stopping.clone(),
            written: written.clone(),
        };
        let run = move || {
            let result = writer.run();
            // Nobody listens any more when the demo was stopped.
            let _ = sender.send(true);
            result
        };
        let thread = std::thread::Builder::new().name("generator".into()).spawn(run).map_err(|e| e.to_string())?;
        Ok(Self { stopping, written, done, thread })
    }

    /// Events written so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Resolves when the last event is written.
    pub async fn done(&self) {
        let mut done = self.done.clone();
        // An error means that the sender is gone: then it is done as well.
        let _ = done.wait_for(|done| *done).await;
    }

    /// Asks it to stop.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Waits for its end and says what it wrote.
    ///
    /// # Errors
    /// The producer's.
    pub fn join(self) -> Result<Produced, String> {
        self.thread.join().unwrap_or_else(|_| Err("the generator panicked".into()))
    }
}

struct Writer {
    producer: Producer,
    engine: Arc<Engine>,
    rate: Option<u64>,
    limit: u64,
    stopping: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Writer {
    fn run(self) -> Result<Produced, String> {
        let config = NexmarkConfig {
            first_event_time_micros: SystemClock.now_micros(),
            events_per_second: self.rate.unwrap_or(RATE),
            disorder_micros: DISORDER_MICROS,
            ..NexmarkConfig::default()
        };
        let mut events = NexmarkGenerator::new(1, config);
        let mut produced = Produced::default();
        let mut text = Vec::with_capacity(1024);
        let started = Instant::now();
        while produced.total() < self.limit && !self.stopping.load(Ordering::Relaxed) {
            let burst = BURST.min(self.limit - produced.total());
            for _ in 0..burst {
                text.clear();
                let (topic, count) = match events.next(&mut text) {
                    EventKind::Person => ("person", &mut produced.people),
                    EventKind::Auction => ("auction", &mut produced.auctions),
                    EventKind::Bid => ("bid", &mut produced.bids),
                };
                *count += 1;
                let record = OutgoingRecord { payload: Some(&text), ..Default::default() };
                self.producer.produce(topic, record).map_err(|e| e.to_string())?;
            }
            self.written.store(produced.total(), Ordering::Relaxed);
            self.pace(produced.total(), started);
        }
        self.producer.flush(Duration::from_secs(30)).map_err(|e| e.to_string())?;
        Ok(produced)
    }

    /// Keeps to the rate, and within what the broker keeps for a reader that is behind.
    fn pace(&self, written: u64, started: Instant) {
        while !self.stopping.load(Ordering::Relaxed) && written.saturating_sub(self.consumed()) > BEHIND_MAX {
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(rate) = self.rate {
            let due = Duration::from_secs_f64(written as f64 / rate as f64);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }

    fn consumed(&self) -> u64 {
        self.engine.snapshot().sources.values().map(|source| source.counts().consumed()).sum()
    }
}
