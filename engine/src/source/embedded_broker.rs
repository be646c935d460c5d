//! A Kafka broker inside the process, for the demo, tests and benchmarks: librdkafka's mock cluster on loopback.
//!
//! Ready in milliseconds, speaks the real protocol to any client on this machine, and forgets everything when dropped.
//! It is no store. Each partition keeps about [`PARTITION_BYTES_KEPT`] (batches as they were sent, so compressed ones
//! count less) and drops the oldest beyond that without a word; the limit is fixed in librdkafka. A reader that falls
//! behind it halts with the gap named, so whoever writes must pace itself by the reader's lag. Transactions are
//! accepted but not isolated, a start by time finds the end, and a fetch that finds nothing sleeps its whole wait.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, Producer as _};

use super::producer::DeliveryCount;
use crate::error::{Error, Result};

/// What a partition keeps, bytes: `max_size` of a partition in librdkafka's `rdkafka_mock.c`.
pub const PARTITION_BYTES_KEPT: usize = 5 * 1024 * 1024;

/// A running broker; dropping it stops it.
pub struct EmbeddedBroker {
    /// The client that owns the cluster; its own bootstrap is the cluster.
    client: BaseProducer<DeliveryCount>,
    bootstrap: String,
}

impl EmbeddedBroker {
    /// Starts a broker on a free port of the loopback interface.
    ///
    /// # Errors
    /// `Unavailable` if no port can be had.
    pub fn start() -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("test.mock.num.brokers", "1").set("client.id", "tidemark-embedded-broker");
        let unavailable =
            |error: KafkaError| Error::unavailable("the embedded broker did not start").with_source(error);
        let client: BaseProducer<DeliveryCount> =
            config.create_with_context(DeliveryCount::default()).map_err(unavailable)?;
        let bootstrap = client
            .client()
            .mock_cluster()
            .ok_or_else(|| Error::internal("the client has no mock cluster"))?
            .bootstrap_servers();
        Ok(Self { client, bootstrap })
    }

    /// Where clients find it, `host:port`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// `Conflict` if it exists.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        match self.cluster()?.create_topic(topic, partitions, 1) {
            Ok(()) => Ok(()),
            Err(KafkaError::MockCluster(RDKafkaErrorCode::TopicAlreadyExists)) => {
                Err(Error::conflict(format!("topic \"{topic}\" exists already")))
            }
            Err(error) => {
                Err(Error::input(format!("topic \"{topic}\" with {partitions} partitions")).with_source(error))
            }
        }
    }

    /// Closes every connection and takes no new one, or takes them again: what clients see of a broker that is away.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn set_away(&self, away: bool) -> Result<()> {
        const EVERY_BROKER: i32 = -1;
        let cluster = self.cluster()?;
        let done = if away { cluster.broker_down(EVERY_BROKER) } else { cluster.broker_up(EVERY_BROKER) };
        done.map_err(|error| Error::internal("the embedded broker took no order").with_source(error))
    }

    /// Delays every answer by `delay`, as a slow network would.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn set_delay(&self, delay: Duration) -> Result<()> {
        const EVERY_BROKER: i32 = -1;
        let done = self.cluster()?.broker_round_trip_time(EVERY_BROKER, delay);
        done.map_err(|error| Error::internal("the embedded broker took no order").with_source(error))
    }

    fn cluster(&self) -> Result<MockCluster<'_, DeliveryCount>> {
        self.client.client().mock_cluster().ok_or_else(|| Error::internal("the client has no mock cluster"))
    }
}

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedBroker").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}
