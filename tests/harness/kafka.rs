//! A real Apache Kafka for tests, run by `tests/services/kafka` on free ports of the loopback interface.
//!
//! The broker and its data go away with the test process, even when that is killed. Where Java or Maven is missing the
//! tests that need a broker say so on stderr, uncaptured, and pass.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use tempfile::TempDir;

/// The ports one node takes, from its client port on.
const PORTS_OF_A_NODE: u16 = 5;
/// Where free ports are looked for: below the range from which the system gives ports to outgoing connections, so that
/// nothing takes a broker's port while it is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The user of a secure broker, and the password.
pub const USER: (&str, &str) = ("alice", "alice-secret");

/// How a broker is run.
#[derive(Debug, Clone, Default)]
pub struct RealKafkaSettings {
    /// Listeners with SASL and TLS as well.
    pub secure: bool,
    /// Broker properties, `name=value`.
    pub properties: Vec<String>,
}

/// A running broker; dropping it stops it and deletes its data.
#[derive(Debug)]
pub struct RealKafka {
    directory: TempDir,
    port: u16,
    settings: RealKafkaSettings,
}

impl RealKafka {
    /// Starts a broker; `None`, after a line on stderr, where Java or Maven is missing.
    ///
    /// # Panics
    /// If the broker does not start.
    pub fn start(settings: RealKafkaSettings) -> Option<Self> {
        if let Some(missing) = ["java", "mvn"].into_iter().find(|tool| !is_installed(tool)) {
            let line =
                format!("\n*** SKIPPED: {missing} is not installed, so nothing was tested against a real Kafka ***\n");
            // Straight to the descriptor: the test runner swallows what `eprintln!` prints.
            std::io::stderr().write_all(line.as_bytes()).expect("stderr can be written to");
            return None;
        }
        let directory = TempDir::with_prefix("tidemark-kafka-").expect("a temporary directory");
        let kafka = Self { directory, port: free_ports(), settings };
        kafka.restart();
        Some(kafka)
    }

    /// The one broker, a secure one, that this process's tests share. Each uses topics of its own and leaves the broker
    /// running.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<RealKafka>> = OnceLock::new();
        let settings = RealKafkaSettings { secure: true, ..RealKafkaSettings::default() };
        SHARED.get_or_init(|| Self::start(settings)).as_ref()
    }

    /// Where clients find it.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where clients find a secure broker's SASL_SSL listener.
    pub fn bootstrap_sasl_ssl(&self) -> String {
        format!("localhost:{}", self.port + 4)
    }

    /// A secure broker's CA certificate, as PEM.
    pub fn ca_pem(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("tls/ca.pem")).expect("a secure broker has a certificate")
    }

    /// Shuts the broker down cleanly; its data stays.
    pub fn stop(&self) {
        self.run(&["stop"]);
    }

    /// Kills the broker with SIGKILL; its data stays.
    pub fn kill(&self) {
        self.run(&["kill", "all"]);
    }

    /// Starts the broker on its data, if it is not running. Returns when it is ready.
    pub fn restart(&self) {
        self.run(&["start"]);
    }

    /// The file of a partition's first segment.
    pub fn log_file(&self, topic: &str, partition: i32) -> PathBuf {
        self.directory.path().join(format!("1/log/{topic}-{partition}/00000000000000000000.log"))
    }

    /// Runs one of Kafka's command line tools (see the script) and returns what it prints.
    pub fn tool(&self, arguments: &[&str]) -> String {
        self.run(&[&["tool"], arguments].concat())
    }

    /// Creates a topic and waits until it is there.
    pub fn create_topic(&self, topic: &str, partitions: i32) {
        self.create_topic_with(topic, partitions, &[]);
    }

    /// Creates a topic with properties of its own.
    pub fn create_topic_with(&self, topic: &str, partitions: i32, properties: &[(&str, &str)]) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = properties.iter().fold(new, |new, (name, value)| new.set(name, value));
        let done = block_on(self.admin().create_topics(&[new], &admin_options())).expect("topics can be created");
        done[0].as_ref().expect("the topic is new");
    }

    /// Raises a topic's partitions to `partitions`.
    pub fn set_partitions(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let done = block_on(self.admin().create_partitions(&[new], &admin_options())).expect("partitions can be added");
        done[0].as_ref().expect("more partitions than before");
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, topic: &str) {
        let done = block_on(self.admin().delete_topics(&[topic], &admin_options())).expect("topics can be deleted");
        done[0].as_ref().expect("the topic exists");
    }

    /// Deletes a partition's records before `offset`, as retention would.
    pub fn delete_records_before(&self, topic: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("an offset");
        let done = block_on(self.admin().delete_records(&before, &admin_options())).expect("records can be deleted");
        done.elements()[0].error().expect("the offset is in the log");
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.bootstrap()).create().expect("an admin client")
    }

    fn run(&self, arguments: &[&str]) -> String {
        let script = script();
        let done = Command::new(&script)
            .args(arguments)
            .env("KAFKA_DATA", self.directory.path())
            .env("KAFKA_PORT", self.port.to_string())
            .env("KAFKA_NODES", "1")
            .env("KAFKA_SECURE", if self.settings.secure { "1" } else { "0" })
            .env("KAFKA_EXTRA", self.settings.properties.join(" "))
            .env("KAFKA_JVM", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1")
            .env("KAFKA_OWNER", std::process::id().to_string())
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "kafka {arguments:?}: {}\n{said}", done.status);
        String::from_utf8_lossy(&done.stdout).into_owned()
    }
}

impl Drop for RealKafka {
    fn drop(&mut self) {
        self.run(&["wipe"]);
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("services/kafka")
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)))
}

fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(tool).is_file())
}

/// The first of a node's ports, all free at the moment.
fn free_ports() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time begin at different places.
    let places = PORTS.len() as u32 / u32::from(PORTS_OF_A_NODE);
    for _ in 0..places {
        let place = (std::process::id().wrapping_mul(8) + u32::from(TAKEN.fetch_add(1, Ordering::Relaxed))) % places;
        let first = PORTS.start + place as u16 * PORTS_OF_A_NODE;
        if (first..first + PORTS_OF_A_NODE).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no free ports in {PORTS:?}");
}
