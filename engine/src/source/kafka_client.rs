//! One client of a Kafka cluster: its connection, what it says about itself, and the questions asked before reading.
//!
//! librdkafka's log lines and errors come in here, are scrubbed of secrets, and go on to `tracing` and to the
//! condition a source shows. Nothing else listens to the client.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataBroker;

use super::Offsets;
use super::kafka_options::{Isolation, KafkaOptions, Secret};
use super::librdkafka::topic_lookup::{Answer, LookupError, OffsetOf, Ticket, Topic, TopicLookup};
use crate::error::{Error, Result};

/// How long a topic just created may take to be known to the broker asked.
const CREATION_GRACE: Duration = Duration::from_millis(500);
/// Pause before a question is asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How often the client's own events are looked at while an answer is awaited.
const EVENT_PACE: Duration = Duration::from_millis(20);
/// How long the first question for brokers may take; the later ones may take longer.
const METADATA_WAIT_MIN: Duration = Duration::from_millis(250);
/// Events of the client served in one go; the rest waits for the next.
const EVENTS_A_TURN: usize = 8;

/// Takes secrets and control characters out of what the client says.
#[derive(Debug, Default)]
pub(super) struct Scrubber(Vec<Secret>);

impl Scrubber {
    pub(super) fn new(secrets: Vec<Secret>) -> Self {
        Self(secrets.into_iter().filter(|secret| !secret.expose().is_empty()).collect())
    }

    /// `text`, fit to be shown.
    pub(super) fn scrub(&self, text: &str) -> String {
        let clean = self.0.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose(), "***"));
        clean.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

/// Where librdkafka's log lines and errors arrive.
#[derive(Debug, Default)]
pub(super) struct ClientEvents {
    scrubber: Scrubber,
    condition: Mutex<Condition>,
}

/// What the client last said about its connection, since a broker answered.
#[derive(Debug, Clone, Default)]
struct Condition {
    /// The last error.
    reason: Option<String>,
    /// No broker known can be reached.
    all_away: bool,
    /// The error that no waiting will mend: a refused login.
    refusal: Option<String>,
    /// The last error was a failed TLS handshake.
    handshake: bool,
}

impl ClientEvents {
    pub(super) fn new(scrubber: Scrubber) -> Self {
        Self { scrubber, condition: Mutex::default() }
    }

    pub(super) fn scrub(&self, text: &str) -> String {
        self.scrubber.scrub(text)
    }

    /// The last connection error, until a broker answers; others may be there.
    pub(super) fn last_error(&self) -> Option<String> {
        self.condition.lock().reason.clone()
    }

    /// Why no broker can be reached, until one answers.
    pub(super) fn away(&self) -> Option<String> {
        let condition = self.condition.lock();
        condition.reason.clone().filter(|_| condition.all_away || condition.refusal.is_some())
    }

    fn refusal(&self) -> Option<String> {
        self.condition.lock().refusal.clone()
    }

    /// A broker answered: whatever was said before is over.
    pub(super) fn answered(&self) {
        *self.condition.lock() = Condition::default();
    }
}

impl ClientContext for ClientEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let message = self.scrub(message);
        match level {
            // To the client an unreachable broker is an error; here it is a condition that is shown and waited out.
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = self.scrub(reason);
        tracing::debug!(target: "librdkafka", "{error}: {reason}");
        let mut condition = self.condition.lock();
        let code = error.rdkafka_error_code();
        match code {
            Some(RDKafkaErrorCode::Authentication) => condition.refusal = Some(reason.clone()),
            Some(RDKafkaErrorCode::AllBrokersDown) => {}
            // Also what a broker in the middle of its start looks like, so it is given its time. Depending on the moment,
            // the client calls it a transport failure, with OpenSSL's words.
            code => condition.handshake = code == Some(RDKafkaErrorCode::SSL) || reason.contains("SSL routines"),
        }
        condition.all_away |= code == Some(RDKafkaErrorCode::AllBrokersDown);
        // "1/1 brokers are down" says less than the reason that came before it.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) || condition.reason.is_none() {
            condition.reason = Some(reason);
        }
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for ClientEvents {}

/// A consumer client with its line for questions.
pub(super) struct Connection {
    pub(super) consumer: Arc<BaseConsumer<ClientEvents>>,
    pub(super) lookup: TopicLookup,
    /// Broker ids to ask about the topic, the next one first.
    brokers: Mutex<VecDeque<i32>>,
    bootstrap: String,
    topic: String,
    isolation: Isolation,
    timeout: Duration,
}

impl Connection {
    /// A client with these options. It connects by itself, in the background.
    ///
    /// # Errors
    /// `Input` for options the client refuses.
    pub(super) fn new(options: &KafkaOptions) -> Result<Self> {
        let scrubber = Scrubber::new(options.secrets());
        let mut config = options.client_config();
        config.set_log_level(RDKafkaLogLevel::Info);
        let refused = |error: KafkaError| {
            let reason = Scrubber::new(options.secrets()).scrub(&error.to_string());
            Error::input(format!("the Kafka client refuses these options: {reason}"))
        };
        let consumer: BaseConsumer<ClientEvents> =
            config.create_with_context(ClientEvents::new(scrubber)).map_err(refused)?;
        let consumer = Arc::new(consumer);
        Ok(Self {
            lookup: TopicLookup::new(Arc::clone(&consumer))?,
            consumer,
            brokers: Mutex::default(),
            bootstrap: options.bootstrap().to_owned(),
            topic: options.topic().to_owned(),
            isolation: options.isolation(),
            timeout: options.broker_timeout(),
        })
    }

    /// What the client says.
    pub(super) fn events(&self) -> &ClientEvents {
        self.consumer.context()
    }

    /// Hands the client's waiting log lines and errors on.
    pub(super) fn serve(&self) {
        for _ in 0..EVENTS_A_TURN {
            // What comes back does not tell an empty queue from an event served.
            self.consumer.poll(Duration::ZERO);
        }
    }

    /// Asks for the topic's description; [`TopicLookup::answer`] brings it.
    pub(super) fn ask_topic(&self) -> Result<Ticket> {
        let broker = self.brokers.lock().front().copied();
        self.lookup.describe(&self.topic, broker, self.timeout)
    }

    /// Notes which brokers there are, from a topic's description.
    pub(super) fn note_brokers(&self, brokers: &[i32]) {
        if !brokers.is_empty() {
            *self.brokers.lock() = brokers.iter().copied().collect();
        }
    }

    /// The broker asked gave no answer: the next one is asked from now on. Returns how many there are.
    pub(super) fn next_broker(&self) -> usize {
        let mut brokers = self.brokers.lock();
        if !brokers.is_empty() {
            brokers.rotate_left(1);
        }
        brokers.len()
    }

    /// Asks for offsets; [`TopicLookup::answer`] brings them.
    pub(super) fn ask_offsets(&self, partitions: &[i32], what: OffsetOf) -> Result<Ticket> {
        self.lookup.offsets(&self.topic, partitions, what, self.isolation, self.timeout)
    }

    /// The topic as it is now.
    ///
    /// # Errors
    /// `Input` if there is no such topic or the broker refuses the login, `Unavailable` if no broker answers in time.
    pub(super) fn topic(&self) -> Result<Topic> {
        let deadline = Instant::now() + self.timeout;
        self.find_brokers(deadline)?;
        let known_by = Instant::now() + CREATION_GRACE.min(self.timeout);
        loop {
            let ticket = self.ask_topic()?;
            let error = match self.answer(ticket, deadline)? {
                Answer::Topic(Ok(topic)) => {
                    self.note_brokers(&topic.brokers);
                    return Ok(topic);
                }
                Answer::Topic(Err(error)) => error,
                Answer::Offsets(_) => return Err(Error::internal("offsets came where a topic was asked for")),
            };
            if !(error.is_unknown_topic() && Instant::now() < known_by) {
                return Err(self.refused(&error));
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// One offset a partition, of all of `partitions`.
    ///
    /// # Errors
    /// As [`topic`](Self::topic).
    pub(super) fn offsets(&self, partitions: &[i32], what: OffsetOf) -> Result<Offsets> {
        self.offsets_seen_by(self.isolation, partitions, what)
    }

    /// As [`offsets`](Self::offsets), whatever the reader's own isolation.
    pub(super) fn offsets_seen_by(&self, isolation: Isolation, partitions: &[i32], what: OffsetOf) -> Result<Offsets> {
        if partitions.is_empty() {
            return Ok(Offsets::new());
        }
        let deadline = Instant::now() + self.timeout;
        loop {
            let ticket = self.lookup.offsets(&self.topic, partitions, what, isolation, self.timeout)?;
            let error = match self.answer(ticket, deadline)? {
                Answer::Offsets(Ok(answers)) => match answers.into_iter().collect::<Result<Offsets, _>>() {
                    Ok(offsets) if partitions.iter().all(|p| offsets.contains_key(p)) => return Ok(offsets),
                    Ok(_) => return Err(Error::internal("a partition asked for is not in the answer")),
                    Err(error) => error,
                },
                Answer::Offsets(Err(error)) => error,
                Answer::Topic(_) => return Err(Error::internal("a topic came where offsets were asked for")),
            };
            if !error.is_passing() || Instant::now() >= deadline {
                return Err(self.refused(&error));
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// Learns which brokers there are from whichever answers first. Left to itself, the client would ask the cluster's
    /// controller about topics, which may be away when the topic's own brokers are there.
    fn find_brokers(&self, deadline: Instant) -> Result<()> {
        let mut wait = METADATA_WAIT_MIN;
        loop {
            if let Ok(metadata) = self.consumer.fetch_metadata(Some(&self.topic), wait) {
                self.note_brokers(&metadata.brokers().iter().map(MetadataBroker::id).collect::<Vec<_>>());
                return Ok(());
            }
            self.check_patience(deadline)?;
            // A slow broker's answer takes longer than the first wait.
            wait = (wait * 2).min(deadline.saturating_duration_since(Instant::now()).max(METADATA_WAIT_MIN));
        }
    }

    /// Serves the client's events; fails where waiting cannot help, or the time is over.
    fn check_patience(&self, deadline: Instant) -> Result<()> {
        self.serve();
        if let Some(refusal) = self.events().refusal() {
            return Err(Error::input(format!("the broker at {} refuses the connection: {refusal}", self.bootstrap)));
        }
        if Instant::now() >= deadline { Err(self.no_answer()) } else { Ok(()) }
    }

    /// Waits for a question's answer, giving up at once where waiting cannot help.
    fn answer(&self, ticket: Ticket, deadline: Instant) -> Result<Answer> {
        loop {
            match self.lookup.answer(EVENT_PACE)? {
                Some((answered, answer)) if answered == ticket => return Ok(answer),
                // To a question that was out before.
                Some(_) => {}
                None => self.check_patience(deadline)?,
            }
        }
    }

    fn no_answer(&self) -> Error {
        let millis = self.timeout.as_millis();
        if self.events().condition.lock().handshake {
            let reason = self.events().last_error().unwrap_or_default();
            return Error::input(format!("the TLS handshake with the broker at {} fails: {reason}", self.bootstrap));
        }
        let reason = self.events().last_error().map(|error| format!(": {error}")).unwrap_or_default();
        Error::unavailable(format!("no Kafka broker answers at {} within {millis} ms{reason}", self.bootstrap))
    }

    fn refused(&self, error: &LookupError) -> Error {
        let (topic, bootstrap) = (&self.topic, &self.bootstrap);
        if error.is_unknown_topic() {
            return Error::input(format!(
                "topic \"{topic}\" does not exist at bootstrap {bootstrap}: create it, or mend the name or the address"
            ));
        }
        if error.is_not_allowed() {
            return Error::input(format!(
                "this user may not describe and read topic \"{topic}\" at {bootstrap}: {}",
                self.events().scrub(&error.reason)
            ));
        }
        if error.is_timeout() {
            return self.no_answer();
        }
        Error::unavailable(format!("topic \"{topic}\" at {bootstrap}: {}", self.events().scrub(&error.reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_says_is_scrubbed() {
        let scrubber = Scrubber::new(vec![Secret::new("s3cret"), Secret::new("")]);
        assert_eq!(scrubber.scrub("login s3cret\nfailed\x1b[31m for s3cret"), "login *** failed [31m for ***");
    }

    #[test]
    fn a_refusal_and_the_first_reason_are_kept_until_a_broker_answers() {
        let events = ClientEvents::new(Scrubber::new(vec![Secret::new("s3cret")]));
        assert_eq!((events.last_error(), events.away()), (None, None));
        events.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "refused s3cret");
        assert_eq!((events.last_error().as_deref(), events.away()), (Some("refused ***"), None));
        events.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(events.away().as_deref(), Some("refused ***"));
        assert_eq!(events.refusal(), None);
        events.error(KafkaError::Global(RDKafkaErrorCode::Authentication), "bad login");
        assert_eq!(events.refusal().as_deref(), Some("bad login"));
        let handshake = "error:0A000086:SSL routines::certificate verify failed (after 6ms in state SSL_HANDSHAKE)";
        events.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), handshake);
        events.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert!(events.condition.lock().handshake);
        events.answered();
        assert_eq!((events.last_error(), events.away(), events.refusal()), (None, None, None));
    }
}
