//! librdkafka's options by name: those a statement may set, those it may not and why, and what a source begins with.

/// What a value may look like.
pub(super) enum Kind {
    /// Any text that is not empty.
    Text,
    /// A secret.
    Hidden,
    /// `true` or `false`.
    Flag,
    /// A whole number between these.
    Number(i64, i64),
    /// One of these.
    OneOf(&'static [&'static str]),
}

use Kind::{Flag, Hidden, Number, OneOf, Text};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// librdkafka options that may be set, with what each may hold.
/// None of them names a file, a command or another address, and none changes which records are read in which order.
pub(super) const PASSED_ON: &[(&str, Kind)] = &[
    ("broker.address.family", OneOf(&["any", "v4", "v6"])),
    ("broker.address.ttl", Number(0, 86_400_000)),
    ("check.crcs", Flag),
    ("client.dns.lookup", OneOf(&["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"])),
    ("client.id", Text),
    ("client.rack", Text),
    ("connections.max.idle.ms", Number(0, i32::MAX as i64)),
    ("enable.ssl.certificate.verification", Flag),
    ("fetch.error.backoff.ms", Number(0, 300_000)),
    ("fetch.max.bytes", Number(1_000, 2_147_483_135)),
    ("fetch.message.max.bytes", Number(1, 1_000_000_000)),
    ("fetch.min.bytes", Number(1, 100_000_000)),
    ("fetch.queue.backoff.ms", Number(1, 300_000)),
    ("fetch.wait.max.ms", Number(1, 300_000)),
    ("isolation.level", OneOf(&["read_committed", "read_uncommitted"])),
    ("message.max.bytes", Number(1_000, 1_000_000_000)),
    ("metadata.max.age.ms", Number(1, 86_400_000)),
    ("metadata.recovery.rebootstrap.trigger.ms", Number(0, i32::MAX as i64)),
    ("metadata.recovery.strategy", OneOf(&["none", "rebootstrap"])),
    ("queued.max.messages.kbytes", Number(1, 2_097_151)),
    ("queued.min.messages", Number(1, 10_000_000)),
    ("receive.message.max.bytes", Number(1_000, i32::MAX as i64)),
    ("reconnect.backoff.max.ms", Number(0, HOUR_MS)),
    ("reconnect.backoff.ms", Number(0, HOUR_MS)),
    ("retry.backoff.max.ms", Number(1, 300_000)),
    ("retry.backoff.ms", Number(1, 300_000)),
    ("sasl.mechanisms", OneOf(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])),
    ("sasl.password", Hidden),
    ("sasl.username", Text),
    ("security.protocol", OneOf(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"])),
    ("socket.connection.setup.timeout.ms", Number(1_000, i32::MAX as i64)),
    ("socket.keepalive.enable", Flag),
    ("socket.max.fails", Number(0, 1_000_000)),
    ("socket.nagle.disable", Flag),
    ("socket.receive.buffer.bytes", Number(0, 100_000_000)),
    ("socket.send.buffer.bytes", Number(0, 100_000_000)),
    ("socket.timeout.ms", Number(10, 300_000)),
    // Verification against the system's store; a path of the user's choosing is refused below.
    ("ssl.ca.location", OneOf(&["probe"])),
    ("ssl.ca.pem", Text),
    ("ssl.certificate.pem", Text),
    ("ssl.cipher.suites", Text),
    ("ssl.curves.list", Text),
    ("ssl.endpoint.identification.algorithm", OneOf(&["none", "https"])),
    ("ssl.key.password", Hidden),
    ("ssl.key.pem", Hidden),
    ("ssl.sigalgs.list", Text),
    ("topic.metadata.refresh.interval.ms", Number(100, HOUR_MS)),
];

/// Other names for the same things: ours, Flink's and RisingWave's, the Java client's.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("bootstrap.server", "bootstrap"),
    ("bootstrap.servers", "bootstrap"),
    ("bootstrap_servers", "bootstrap"),
    ("metadata.broker.list", "bootstrap"),
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("sasl.mechanism", "sasl.mechanisms"),
];

/// Names refused with a reason, and the families they stand for where they end in a dot.
pub(super) const REFUSED: &[(&str, &str)] = &[
    (
        "auto.offset.reset",
        "a position that is gone is an error here, never a silent jump; say where to begin with start = 'earliest' or 'latest'",
    ),
    ("auto.commit.", OFFSETS_ARE_OURS),
    ("enable.auto.commit", OFFSETS_ARE_OURS),
    ("enable.auto.offset.store", OFFSETS_ARE_OURS),
    ("offset.store.", OFFSETS_ARE_OURS),
    ("group.", NO_GROUP),
    ("heartbeat.interval.ms", NO_GROUP),
    ("max.poll.", NO_GROUP),
    ("partition.assignment.strategy", NO_GROUP),
    ("session.timeout.ms", NO_GROUP),
    ("allow.auto.create.topics", "reading must not create topics"),
    ("enable.partition.eof", "the engine sets it"),
    ("plugin.library.paths", RUNS_CODE),
    ("interceptors", RUNS_CODE),
    ("sasl.kerberos.", "Kerberos is not built in, and its kinit option is a shell command run on the server"),
    ("sasl.oauthbearer.", "OAUTHBEARER is not built in; use PLAIN or SCRAM"),
    ("sasl.jaas.config", "that is the Java client's form; use sasl.mechanism, sasl.username and sasl.password"),
    ("ssl.engine.", RUNS_CODE),
    ("ssl.providers", RUNS_CODE),
    ("ssl.truststore.", "that is the Java client's form; give the certificate's text as ssl.ca.pem"),
    ("ssl.keystore.", "give the key and the certificate as text: ssl.key.pem and ssl.certificate.pem"),
    ("ssl.key.location", "a statement must not open files on the server; give the key's text as ssl.key.pem"),
    ("ssl.certificate.location", "a statement must not open files on the server; give the text as ssl.certificate.pem"),
    ("ssl.crl.location", "a statement must not open files on the server"),
    ("https.ca.", "no HTTPS endpoint is used"),
    ("debug", "the client's debug lines can hold credentials"),
    ("test.mock.", "it would open a listener on the server"),
];

const OFFSETS_ARE_OURS: &str = "the engine keeps the offsets itself, exactly, with its own state";
const NO_GROUP: &str = "the engine reads without a consumer group: it alone decides which offsets a tick holds";
const RUNS_CODE: &str = "it would run code on the server";

/// What a source starts from; each may be set otherwise.
pub(super) const DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "tidemark"),
    // A broker answers a waiting fetch as soon as there is data; the wait bounds only how late the end of a
    // partition is heard of.
    ("fetch.wait.max.ms", "10"),
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.error.backoff.ms", "100"),
    ("queued.min.messages", "100000"),
    ("queued.max.messages.kbytes", "65536"),
    ("check.crcs", "true"),
    ("isolation.level", "read_committed"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.keepalive.enable", "true"),
];

/// What the engine's promises rest on.
pub(super) const FIXED: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "false"),
    // librdkafka's default, `largest`, skips silently whatever was lost.
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("log.connection.close", "false"),
];
