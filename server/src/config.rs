//! How `tidemark serve` is configured: flags first, then `TIDEMARK_…` variables, then the file of `--config`, then
//! defaults. Each setting has the same name in all three: `--pg-addr`, `TIDEMARK_PG_ADDR`, `pg_addr = "…"`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use engine::tick::durability::CheckpointPace;
use engine::tick::history::Retention;
use engine::tick::interval::{TickInterval, parse_duration};
use serde::Deserialize;
pub use sql::secret::Secret;
use sql::state_budget::StateBudget;

/// How long a server may be silent before another takes over.
const LEASE: Duration = Duration::from_secs(10);
const LEASE_MIN: Duration = Duration::from_secs(1);
const LEASE_MAX: Duration = Duration::from_secs(600);

/// The flags of `tidemark serve`.
#[derive(Debug, Clone, Default, Args)]
pub struct ServeArgs {
    /// Where Postgres clients connect. Binding to another address than loopback needs a password
    /// [default: 127.0.0.1:5433]
    #[arg(long, env = "TIDEMARK_PG_ADDR", value_name = "ADDR")]
    pub pg_addr: Option<SocketAddr>,

    /// Where /healthz, /readyz and /metrics are served [default: 127.0.0.1:8633]
    #[arg(long, env = "TIDEMARK_HTTP_ADDR", value_name = "ADDR")]
    pub http_addr: Option<SocketAddr>,

    /// Where definitions, the rows of tables and checkpoints of all state are kept, a directory or a file:// URL; without it a
    /// restart begins with nothing
    #[arg(long, env = "TIDEMARK_DATA_DIR", value_name = "DIR|URL")]
    pub data_dir: Option<String>,

    /// A TOML file with these settings; flags and variables win over it
    #[arg(long, env = "TIDEMARK_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A file of SQL statements to run at the start, before clients are let in; write them with IF NOT EXISTS
    #[arg(long, env = "TIDEMARK_INIT", value_name = "FILE.sql")]
    pub init: Option<PathBuf>,

    /// The pace of ticks: `adaptive`, or an interval such as 100ms [default: adaptive]
    #[arg(long, env = "TIDEMARK_TICK_INTERVAL", value_name = "INTERVAL")]
    pub tick_interval: Option<TickInterval>,

    /// How long AS OF TICK can read a tick after it was published: a time such as 1min, or `off`. What is kept holds old
    /// rows in memory [default: off]
    #[arg(long, env = "TIDEMARK_HISTORY_RETENTION", value_name = "TIME")]
    pub history_retention: Option<Retention>,

    /// How often a checkpoint of all state is written to the data directory: a time such as 10s [default: 10s]
    #[arg(long, env = "TIDEMARK_CHECKPOINT_INTERVAL", value_name = "TIME")]
    pub checkpoint_interval: Option<String>,

    /// Wait until the server that is at work on the data in the bucket ends or falls silent, then take over
    #[arg(long, env = "TIDEMARK_STANDBY", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub standby: Option<bool>,

    /// How long the server at work on a bucket may be silent before another takes over [default: 10s]
    #[arg(long, env = "TIDEMARK_LEASE", value_name = "TIME")]
    pub lease: Option<String>,

    /// Partitions a view's state is dealt to; more than 1 helps only when single ticks are large [default: 1]
    #[arg(long, env = "TIDEMARK_PARALLELISM", value_name = "N")]
    pub parallelism: Option<usize>,

    /// Rows that <source>_errors and <source>_late keep, each; older rows go, counts stay exact [default: 10000]
    #[arg(long, env = "TIDEMARK_QUARANTINE_ROWS_MAX", value_name = "ROWS")]
    pub quarantine_rows_max: Option<usize>,

    /// What a view's state and rows may take that says nothing of it, unless its session does: an amount of memory such as
    /// 2GB, `bounded` to refuse state that never shrinks, or 0 [default: 0]
    #[arg(long, env = "TIDEMARK_MAX_VIEW_STATE", value_name = "MEMORY")]
    pub max_view_state: Option<String>,

    /// Clients at most at a time [default: 500]
    #[arg(long, env = "TIDEMARK_CONNECTIONS_MAX", value_name = "N")]
    pub connections_max: Option<usize>,

    /// Password of the user `tidemark`; once set, every client must log in with SCRAM-SHA-256. Prefer the variable to
    /// the flag: other users of the machine can read a command line
    #[arg(long, env = "TIDEMARK_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub password: Option<Secret>,

    /// The server's certificate chain, a PEM file; with it clients can use TLS. Read again on SIGHUP
    #[arg(long, env = "TIDEMARK_TLS_CERT", value_name = "FILE.pem")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's key, a PEM file
    #[arg(long, env = "TIDEMARK_TLS_KEY", value_name = "FILE.pem")]
    pub tls_key: Option<PathBuf>,

    /// Refuse clients of other machines that do not use TLS [default: false]
    #[arg(long, env = "TIDEMARK_TLS_REQUIRED", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub tls_required: Option<bool>,

    /// How often the hash of a new password is repeated; 4096 or more [default: 15000]
    #[arg(long, env = "TIDEMARK_SCRAM_ITERATIONS", value_name = "N")]
    pub scram_iterations: Option<u32>,

    /// Where logins, definitions, changes of rights and refusals are written: `off`, `log`, or a file [default: off]
    #[arg(long, env = "TIDEMARK_AUDIT", value_name = "off|log|FILE")]
    pub audit: Option<String>,

    /// What is logged to standard error: error, warn, info, debug, trace, or tracing directives [default: info]
    #[arg(long, env = "TIDEMARK_LOG", value_name = "LEVEL")]
    pub log: Option<String>,
}

/// The file of `--config`: the same settings, none required, unknown ones refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    pg_addr: Option<SocketAddr>,
    http_addr: Option<SocketAddr>,
    data_dir: Option<String>,
    init: Option<PathBuf>,
    tick_interval: Option<String>,
    history_retention: Option<String>,
    checkpoint_interval: Option<String>,
    standby: Option<bool>,
    lease: Option<String>,
    parallelism: Option<usize>,
    quarantine_rows_max: Option<usize>,
    max_view_state: Option<String>,
    connections_max: Option<usize>,
    password: Option<SecretText>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_required: Option<bool>,
    scram_iterations: Option<u32>,
    audit: Option<String>,
    log: Option<String>,
}

/// A secret in the file.
#[derive(Debug, Clone)]
struct SecretText(Secret);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

/// Everything settled.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where Postgres clients connect.
    pub pg_addr: SocketAddr,
    /// Where health and metrics are served.
    pub http_addr: SocketAddr,
    /// Where everything is kept that outlives a restart.
    pub data_dir: Option<String>,
    /// Statements to run at the start.
    pub init: Option<PathBuf>,
    /// The pace of ticks.
    pub tick_interval: TickInterval,
    /// How long ticks can be read.
    pub history_retention: Retention,
    /// When checkpoints are written.
    pub checkpoints: CheckpointPace,
    /// Wait for the server that is at work on the data, and take over from it.
    pub standby: bool,
    /// How long a server may be silent before another takes over.
    pub lease: Duration,
    /// Partitions of a view's state.
    pub parallelism: usize,
    /// Rows the quarantine tables keep.
    pub quarantine_rows_max: usize,
    /// What a view may take that says nothing of it.
    pub max_view_state: StateBudget,
    /// Clients at most.
    pub connections_max: usize,
    /// The password of user `tidemark`.
    pub password: Option<Secret>,
    /// The certificate chain.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// Whether other machines have to use TLS.
    pub tls_required: bool,
    /// How often the hash of a new password is repeated.
    pub scram_iterations: u32,
    /// Where the audit log goes.
    pub audit: String,
    /// What is logged.
    pub log: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pg_addr: SocketAddr::from(([127, 0, 0, 1], 5433)),
            http_addr: SocketAddr::from(([127, 0, 0, 1], 8633)),
            data_dir: None,
            init: None,
            tick_interval: TickInterval::default(),
            history_retention: Retention::default(),
            checkpoints: CheckpointPace::default(),
            standby: false,
            lease: LEASE,
            parallelism: 1,
            quarantine_rows_max: 10_000,
            max_view_state: StateBudget::default(),
            connections_max: 500,
            password: None,
            tls_cert: None,
            tls_key: None,
            tls_required: false,
            scram_iterations: 15_000,
            audit: "off".into(),
            log: "info".into(),
        }
    }
}

impl Config {
    /// Settles flags, variables (already in `args`) and the file.
    ///
    /// # Errors
    /// One sentence that names the file or the setting and says what is wrong.
    pub fn load(args: ServeArgs) -> Result<Self, String> {
        let file = args.config.as_deref().map_or_else(|| Ok(ConfigFile::default()), read)?;
        let default = Self::default();
        let from_file = file.tick_interval.map(|text| text.parse::<TickInterval>());
        let from_file = from_file.transpose().map_err(|e| format!("config key tick_interval: {e}"))?;
        let retention = file.history_retention.map(|text| text.parse::<Retention>());
        let retention = retention.transpose().map_err(|e| format!("config key history_retention: {e}"))?;
        let budget = args.max_view_state.or(file.max_view_state).unwrap_or_default();
        let budget = if budget.is_empty() { Ok(default.max_view_state) } else { budget.parse::<StateBudget>() };
        let max_view_state = budget.map_err(|e| format!("max_view_state: {}", e.message))?;
        let interval = args.checkpoint_interval.or(file.checkpoint_interval).map(|text| text.parse::<CheckpointPace>());
        let checkpoints = interval.transpose().map_err(|e| format!("checkpoint_interval: {e}"))?;
        let lease = args.lease.or(file.lease).map(|text| parse_lease(&text)).transpose()?;
        let config = Self {
            pg_addr: args.pg_addr.or(file.pg_addr).unwrap_or(default.pg_addr),
            http_addr: args.http_addr.or(file.http_addr).unwrap_or(default.http_addr),
            data_dir: args.data_dir.or(file.data_dir),
            init: args.init.or(file.init),
            tick_interval: args.tick_interval.or(from_file).unwrap_or_default(),
            history_retention: args.history_retention.or(retention).unwrap_or_default(),
            checkpoints: checkpoints.unwrap_or_default(),
            standby: args.standby.or(file.standby).unwrap_or_default(),
            lease: lease.unwrap_or(default.lease),
            parallelism: args.parallelism.or(file.parallelism).unwrap_or(default.parallelism),
            quarantine_rows_max: args
                .quarantine_rows_max
                .or(file.quarantine_rows_max)
                .unwrap_or(default.quarantine_rows_max),
            max_view_state,
            connections_max: args.connections_max.or(file.connections_max).unwrap_or(default.connections_max),
            password: args.password.or(file.password.map(|text| text.0)),
            tls_cert: args.tls_cert.or(file.tls_cert),
            tls_key: args.tls_key.or(file.tls_key),
            tls_required: args.tls_required.or(file.tls_required).unwrap_or(default.tls_required),
            scram_iterations: args.scram_iterations.or(file.scram_iterations).unwrap_or(default.scram_iterations),
            audit: args.audit.or(file.audit).unwrap_or(default.audit),
            log: args.log.or(file.log).unwrap_or(default.log),
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=256).contains(&self.parallelism) {
            return Err(format!("parallelism is {}, but must be from 1 to 256", self.parallelism));
        }
        if self.standby && self.data_dir.as_ref().is_none_or(|location| !location.contains("://")) {
            return Err(
                "a standby needs a data_dir that both servers reach: a bucket such as s3://bucket/folder".into()
            );
        }
        if self.connections_max == 0 {
            return Err("connections_max is 0: nobody could connect".into());
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err("tls_cert and tls_key belong together: one of them is missing".into());
        }
        if self.tls_required && self.tls_cert.is_none() {
            return Err("tls_required without tls_cert and tls_key: nobody could connect".into());
        }
        if !(4096..=10_000_000).contains(&self.scram_iterations) {
            return Err(format!("scram_iterations is {}, but must be from 4096 to 10000000", self.scram_iterations));
        }
        if !self.pg_addr.ip().is_loopback() && self.password.is_none() {
            return Err(format!(
                "pg_addr {} can be reached from other machines, and no password is set: set TIDEMARK_PASSWORD, or bind \
                 to 127.0.0.1",
                self.pg_addr
            ));
        }
        Ok(())
    }
}

fn parse_lease(text: &str) -> Result<Duration, String> {
    let refuse = || format!("lease: invalid value \"{text}\": write a time from 1s to 10min, such as 10s");
    let lease = parse_duration(&text.trim().to_ascii_lowercase()).ok_or_else(refuse)?;
    if (LEASE_MIN..=LEASE_MAX).contains(&lease) { Ok(lease) } else { Err(refuse()) }
}

fn read(path: &Path) -> Result<ConfigFile, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read config file {}: {e}", path.display()))?;
    // The whole error would show the line at fault, and so perhaps a password.
    toml::from_str(&text).map_err(|e| {
        let line = e.span().map(|span| text[..span.start].lines().count().max(1));
        let line = line.map_or_else(String::new, |line| format!(", line {line}"));
        format!("config file {}{line}: {}", path.display(), e.message())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> ServeArgs {
        let path = std::env::temp_dir().join(format!("tidemark-config-{}-{}.toml", std::process::id(), text.len()));
        std::fs::write(&path, text).expect("the temporary directory is writable");
        ServeArgs { config: Some(path), ..Default::default() }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let mut args = file("pg_addr = \"127.0.0.1:7000\"\ntick_interval = \"100ms\"\nparallelism = 4\n");
        args.parallelism = Some(2);
        let config = Config::load(args).expect("valid");
        assert_eq!(config.pg_addr.port(), 7000);
        assert_eq!(config.tick_interval.to_string(), "100ms");
        assert_eq!(config.parallelism, 2);
        assert_eq!(config.http_addr.port(), 8633);
    }

    #[test]
    fn a_wrong_setting_is_named() {
        for (text, named) in [
            ("port = 1\n", "port"),
            ("tick_interval = \"1ms\"\n", "tick_interval"),
            ("history_retention = \"long\"\n", "history_retention"),
            ("checkpoint_interval = \"1ms\"\n", "checkpoint_interval"),
            ("lease = \"1ms\"\n", "lease"),
            ("standby = true\n", "standby"),
            ("pg_addr = \"0.0.0.0:5433\"\n", "TIDEMARK_PASSWORD"),
            ("parallelism = 0\n", "parallelism"),
            ("scram_iterations = 1\n", "scram_iterations"),
            ("tls_cert = \"x\"\n", "tls_key"),
            ("tls_required = true\n", "tls_cert"),
            ("max_view_state = \"much\"\n", "max_view_state"),
        ] {
            let error = Config::load(file(text)).expect_err(text);
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let config = Config { password: Some(Secret::new("swordfish")), ..Default::default() };
        assert!(!format!("{config:?}").contains("swordfish"));
    }
}
