//! What `WITH (…)` may say about a Kafka source: text in, a typed and vetted [`KafkaOptions`] out.
//!
//! librdkafka's own options pass only by name from the list below. Some of those left out run code (a shell command, a
//! shared library) or open files and addresses on the server, and a SQL user must not reach either; others would take
//! the decision about offsets away from the engine.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use datafusion::common::utils::datafusion_strsim::levenshtein;
use rdkafka::ClientConfig;

use super::kafka_option_list::Kind::{Flag, Hidden, Number, OneOf, Text};
use super::kafka_option_list::{ALIASES, DEFAULTS, FIXED, PASSED_ON, REFUSED};
use crate::error::{Error, Result};

/// Text that must never be shown: a password, a private key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` out of sight.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the client's configuration and for nothing else.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Records of committed transactions, up to the last stable offset.
    ReadCommitted,
    /// Everything up to the high watermark, aborted or not.
    ReadUncommitted,
}

/// A Kafka source's connector options, vetted.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    bootstrap: String,
    topic: String,
    isolation: Isolation,
    broker_timeout: Duration,
    settings: BTreeMap<&'static str, Setting>,
}

#[derive(Debug, Clone)]
enum Setting {
    Plain(String),
    Secret(Secret),
}

/// Options of the statement that others read: accepted and passed over.
const READ_ELSEWHERE: &[&str] = &["connector", "start", "start_offsets", "start_timestamp"];

/// The connector's own options.
const OWN: &[&str] = &["bootstrap", "topic", "broker_timeout_ms"];

const BROKER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

impl KafkaOptions {
    /// Reads a statement's `WITH` options.
    ///
    /// `bootstrap` and `topic` are required, `broker_timeout_ms` (how long opening may wait for a broker) is ours;
    /// everything else is a librdkafka option, bare or after `properties.`.
    ///
    /// # Errors
    /// `Input` for an option that is missing, unknown, refused, given twice or out of range. No message ever shows the
    /// value of a secret.
    pub fn parse(options: &[(String, String)]) -> Result<Self> {
        let mut own: BTreeMap<&'static str, String> = BTreeMap::new();
        let mut settings = BTreeMap::new();
        for (given, value) in options {
            let name = canonical(given);
            if READ_ELSEWHERE.contains(&name.as_str()) {
                continue;
            }
            let known_already = if let Some(name) = OWN.iter().find(|own| **own == name) {
                own.insert(name, value.trim().to_owned()).is_some()
            } else {
                let (name, setting) = vet(given, &name, value)?;
                settings.insert(name, setting).is_some()
            };
            if known_already {
                return Err(Error::input(format!("option \"{given}\" is given twice")));
            }
        }
        let isolation = match settings.get("isolation.level") {
            Some(Setting::Plain(level)) if level == "read_uncommitted" => Isolation::ReadUncommitted,
            _ => Isolation::ReadCommitted,
        };
        Ok(Self {
            bootstrap: bootstrap_of(own.remove("bootstrap"))?,
            topic: topic_of(own.remove("topic"))?,
            isolation,
            broker_timeout: broker_timeout_of(own.get("broker_timeout_ms"))?,
            settings,
        })
    }

    /// The brokers to ask first, `host:port` separated by commas.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Which records are seen.
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// How long opening may wait for a broker's answer.
    pub fn broker_timeout(&self) -> Duration {
        self.broker_timeout
    }

    /// Every secret given, for scrubbing what the client says.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        self.settings
            .values()
            .filter_map(|setting| match setting {
                Setting::Secret(secret) => Some(secret.clone()),
                Setting::Plain(_) => None,
            })
            .collect()
    }

    /// The consumer's configuration: our defaults, the statement's settings, then what the engine rests on.
    pub(super) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS {
            config.set(*name, *value);
        }
        for (name, setting) in &self.settings {
            let value = match setting {
                Setting::Plain(value) => value.as_str(),
                Setting::Secret(secret) => secret.expose(),
            };
            config.set(*name, value);
        }
        for (name, value) in FIXED {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }
}

/// An option's one name: lower case, without `properties.`, aliases resolved.
fn canonical(given: &str) -> String {
    let lower = given.trim().to_ascii_lowercase();
    let bare = lower.strip_prefix("properties.").unwrap_or(&lower);
    ALIASES.iter().find(|(alias, _)| *alias == bare).map_or(bare, |(_, name)| name).to_owned()
}

/// Checks one librdkafka option. `given` is its name as written, for messages.
fn vet(given: &str, name: &str, value: &str) -> Result<(&'static str, Setting)> {
    let Some((name, kind)) = PASSED_ON.iter().find(|(known, _)| *known == name) else {
        return Err(refusal(given, name));
    };
    let value = value.trim();
    let expected = match kind {
        Hidden => return Ok((name, Setting::Secret(Secret::new(value)))),
        Text if !value.is_empty() => return Ok((name, Setting::Plain(value.to_owned()))),
        Text => "some text".to_owned(),
        Flag if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") => {
            return Ok((name, Setting::Plain(value.to_ascii_lowercase())));
        }
        Flag => "true or false".to_owned(),
        Number(min, max) => match value.parse::<i64>() {
            Ok(number) if (*min..=*max).contains(&number) => return Ok((name, Setting::Plain(number.to_string()))),
            _ => format!("a whole number from {min} to {max}"),
        },
        OneOf(allowed) => match allowed.iter().find(|allowed| allowed.eq_ignore_ascii_case(value)) {
            Some(allowed) => return Ok((name, Setting::Plain((*allowed).to_owned()))),
            None => format!("one of {}", allowed.join(", ")),
        },
    };
    let hint = match *name {
        "ssl.ca.location" => "; a statement must not open files on the server, give the text as ssl.ca.pem",
        _ => "",
    };
    Err(Error::input(format!("option \"{given}\": expected {expected}, found \"{value}\"{hint}")))
}

/// Why `name` is not accepted, with the nearest name that is.
fn refusal(given: &str, name: &str) -> Error {
    let stands_for = |refused: &str| if refused.ends_with('.') { name.starts_with(refused) } else { name == refused };
    if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| stands_for(refused)) {
        return Error::input(format!("option \"{given}\" is refused: {reason}"));
    }
    let known = OWN.iter().copied().chain(PASSED_ON.iter().map(|(name, _)| *name));
    let nearest = known.min_by_key(|known| levenshtein(known, name)).expect("the list of options is not empty");
    Error::input(format!("unknown option \"{given}\" for connector kafka; the nearest is \"{nearest}\""))
}

fn bootstrap_of(given: Option<String>) -> Result<String> {
    let Some(list) = given.filter(|list| !list.is_empty()) else {
        return Err(Error::input("connector kafka needs the option bootstrap, e.g. bootstrap = 'localhost:9092'"));
    };
    let brokers: Vec<&str> = list.split(',').map(str::trim).collect();
    let acceptable = |broker: &&str| !broker.is_empty() && broker.chars().all(|c| c.is_ascii_graphic());
    match brokers.iter().find(|broker| !acceptable(broker)) {
        Some(broker) => Err(Error::input(format!(
            "option \"bootstrap\": expected host:port separated by commas, found \"{}\"",
            broker.escape_debug()
        ))),
        None => Ok(brokers.join(",")),
    }
}

/// Kafka's own rule for topic names: 1 to 249 of ASCII letters, digits, `.`, `_` and `-`, and neither `.` nor `..`.
fn topic_of(given: Option<String>) -> Result<String> {
    let Some(topic) = given.filter(|topic| !topic.is_empty()) else {
        return Err(Error::input("connector kafka needs the option topic"));
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if topic.len() > 249 || topic == "." || topic == ".." || !topic.chars().all(legal) {
        return Err(Error::input(format!(
            "option \"topic\": \"{}\" is no topic name (at most 249 letters, digits, dots, underscores and hyphens)",
            topic.escape_debug()
        )));
    }
    Ok(topic)
}

fn broker_timeout_of(given: Option<&String>) -> Result<Duration> {
    let Some(text) = given else { return Ok(BROKER_TIMEOUT_DEFAULT) };
    match text.parse::<u64>() {
        Ok(millis @ 100..=300_000) => Ok(Duration::from_millis(millis)),
        _ => Err(Error::input(format!(
            "option \"broker_timeout_ms\": expected a whole number from 100 to 300000, found \"{text}\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const CANARY: &str = "hunter2-canary";

    fn parse(options: &[(&str, &str)]) -> Result<KafkaOptions> {
        let mut all = vec![("connector", "kafka"), ("bootstrap", "b:9092"), ("topic", "t")];
        all.extend_from_slice(options);
        parse_exactly(&all)
    }

    fn parse_exactly(options: &[(&str, &str)]) -> Result<KafkaOptions> {
        KafkaOptions::parse(&options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>())
    }

    /// Asserts that `options` are an `Input` error whose text holds every one of `parts`.
    fn refused(options: &[(&str, &str)], parts: &[&str]) {
        let error = parse(options).expect_err("should be refused");
        assert_eq!(error.kind(), ErrorKind::Input, "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "{part:?} is not in {error}");
        }
    }

    #[test]
    fn every_spelling_of_bootstrap_is_the_same() {
        for name in [
            "bootstrap",
            "BOOTSTRAP.SERVERS",
            "bootstrap_servers",
            "properties.bootstrap.server",
            "properties.bootstrap.servers",
        ] {
            let options = parse_exactly(&[(name, "a:1, b:2"), ("topic", "t")]).expect("parses");
            assert_eq!((options.bootstrap(), options.topic()), ("a:1,b:2", "t"));
        }
    }

    #[test]
    fn what_is_required_is_named() {
        for (options, name) in [(vec![("topic", "t")], "bootstrap"), (vec![("bootstrap", "b:1")], "topic")] {
            let error = parse_exactly(&options).expect_err("incomplete");
            assert!(error.to_string().contains(name), "{error}");
        }
        for topic in ["", ".", "..", "a b", "a/b", "a'b", &"x".repeat(250)] {
            assert!(parse_exactly(&[("bootstrap", "b:1"), ("topic", topic)]).is_err(), "{topic:?}");
        }
        for bootstrap in ["", " ", "a:1,,b:2", "a\n:1", "a b:1"] {
            assert!(parse_exactly(&[("bootstrap", bootstrap), ("topic", "t")]).is_err(), "{bootstrap:?}");
        }
    }

    #[test]
    fn settings_pass_bare_or_prefixed_and_override_defaults() {
        let options = parse(&[("properties.fetch.wait.max.ms", "7"), ("sasl.mechanism", "scram-sha-256")]);
        let config = options.expect("parses").client_config();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("sasl.mechanisms"), Some("SCRAM-SHA-256"));
        assert_eq!(config.get("auto.offset.reset"), Some("error"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        assert_eq!(config.get("group.id"), None);
    }

    #[test]
    fn every_listed_setting_is_known_to_the_client() {
        for (name, kind) in PASSED_ON {
            let value = match kind {
                Text | Hidden => "x".to_owned(),
                Flag => "true".to_owned(),
                Number(min, _) => min.to_string(),
                OneOf(allowed) => allowed[0].to_owned(),
            };
            let config = parse(&[(name, &value)]).expect("parses").client_config();
            config.create_native_config().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn bounds_of_numbers_are_the_clients_own() {
        for (name, kind) in PASSED_ON {
            let Number(min, max) = kind else { continue };
            for value in [min, max] {
                let mut config = ClientConfig::new();
                config.set(*name, value.to_string());
                config.create_native_config().unwrap_or_else(|error| panic!("{name} = {value}: {error}"));
            }
        }
    }

    #[test]
    fn what_runs_code_or_opens_files_is_refused() {
        refused(&[("sasl.kerberos.kinit.cmd", "touch /tmp/x")], &["refused", "shell command"]);
        refused(&[("plugin.library.paths", "/tmp/x.so")], &["refused", "run code"]);
        refused(&[("properties.ssl.engine.location", "/tmp/x.so")], &["refused", "run code"]);
        refused(&[("ssl.key.location", "/etc/shadow")], &["refused", "ssl.key.pem"]);
        refused(&[("ssl.certificate.location", "/etc/shadow")], &["ssl.certificate.pem"]);
        refused(&[("ssl.keystore.location", "/etc/shadow")], &["ssl.key.pem"]);
        refused(&[("ssl.ca.location", "/etc/shadow")], &["ssl.ca.pem"]);
        refused(&[("test.mock.num.brokers", "3")], &["listener"]);
        assert!(parse(&[("ssl.ca.location", "probe")]).is_ok());
    }

    #[test]
    fn what_belongs_to_a_group_is_refused_with_the_reason() {
        refused(&[("properties.group.id", "g")], &["without a consumer group"]);
        refused(&[("group.instance.id", "g")], &["without a consumer group"]);
        refused(&[("auto.offset.reset", "earliest")], &["start = 'earliest'"]);
        refused(&[("enable.auto.commit", "true")], &["keeps the offsets"]);
    }

    #[test]
    fn an_unknown_option_names_the_nearest() {
        refused(&[("fetch.wait.max", "5")], &["unknown option \"fetch.wait.max\"", "\"fetch.wait.max.ms\""]);
        refused(&[("topics", "5")], &["\"topic\""]);
        refused(&[("sasl.passwort", CANARY)], &["\"sasl.password\""]);
    }

    #[test]
    fn values_are_checked_here() {
        refused(&[("fetch.wait.max.ms", "soon")], &["from 1 to 300000", "soon"]);
        refused(&[("check.crcs", "maybe")], &["true or false"]);
        refused(&[("sasl.mechanism", "GSSAPI")], &["PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"]);
        refused(&[("client.id", " ")], &["some text"]);
        refused(&[("broker_timeout_ms", "1")], &["from 100"]);
        refused(&[("sasl.mechanism", "PLAIN"), ("sasl.mechanisms", "PLAIN")], &["given twice"]);
        refused(&[("bootstrap.servers", "c:1")], &["given twice"]);
    }

    #[test]
    fn secrets_are_never_shown() {
        for name in ["sasl.password", "ssl.key.password", "ssl.key.pem"] {
            let options = parse(&[(name, CANARY)]).expect("parses");
            assert!(!format!("{options:?} {options:#?}").contains(CANARY));
            assert_eq!(options.client_config().get(name), Some(CANARY));
            assert_eq!(options.secrets(), [Secret::new(CANARY)]);
            let twice = parse(&[(name, CANARY), (name, CANARY)]).expect_err("given twice");
            assert!(!format!("{twice} {twice:?}").contains(CANARY));
        }
        let unknown = parse(&[("sasl.passwort", CANARY)]).expect_err("unknown");
        assert!(!format!("{unknown} {unknown:?}").contains(CANARY));
    }
}
