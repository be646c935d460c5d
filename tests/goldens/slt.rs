//! SQL against a whole server, over the simple protocol in text and over the extended one in binary.
//!
//! Each file has a server and a broker of its own. Beside SQL a file may say
//!
//! ```text
//! \topic bids 2                 creates a topic of two partitions
//! \produce                      writes records, one a line as in tick scripts; their time is noon unless given
//! bids 0 {"price": 1}
//! \broker away | back           takes the broker away, or brings it back
//! \notices                      a query: the notices since the last time
//! ```
//! `BOOTSTRAP` stands for the broker's address. Columns are divided by ` | `; NULL is `NULL`, an empty text `(empty)`.
//! An error is its SQLSTATE and message, its position, detail and hint; of a detail that shows a plan, the first line.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::source::embedded_broker::EmbeddedBroker;
use engine::source::producer::{OutgoingRecord, Producer, ProducerOptions};
use futures::StreamExt;
use harness::binary::AsText;
use harness::script;
use server::config::Config;
use server::server::Server;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

/// Noon of the day the scripts are about, ms: the time of records that do not say.
const RECORD_TIME_MS: i64 = 1_767_268_800_000;
const DELIVERY_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
}

#[test]
fn every_file_holds_over_the_simple_protocol() {
    run_all(Protocol::Simple);
}

#[test]
fn every_file_holds_over_the_extended_protocol_in_binary() {
    run_all(Protocol::Extended);
}

/// The answer's columns are known without; running it to find them would run it twice.
#[test]
fn describing_an_explain_runs_nothing() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let local = "127.0.0.1:0".parse().expect("an address");
        let config = Config { pg_addr: local, http_addr: local, ..Config::default() };
        let server = Server::start(config).await.expect("the server starts");
        let broker = Arc::new(EmbeddedBroker::start().expect("a broker"));
        let session = Session::connect(server.pg_addr.port(), broker, Protocol::Extended).await.expect("a session");
        let explain = "EXPLAIN ANALYZE SELECT 1 / column1 FROM (VALUES (0)) AS t";
        let statement = session.client.prepare(explain).await.expect("described without running");
        assert_eq!(statement.columns().iter().map(|column| column.name()).collect::<Vec<_>>(), ["QUERY PLAN"]);
        let error = session.client.query(&statement, &[]).await.expect_err("a division by zero");
        assert_eq!(error.code().map(|code| code.code()), Some("22012"));
        assert!(session.client.prepare("EXPLAIN ANALYZE SELECT nope").await.is_err(), "what cannot be bound");
        drop(session);
        server.stop().await;
    });
}

fn run_all(protocol: Protocol) {
    // Both tests would write the same files; the one that knows types does.
    if super::is_updating() && protocol == Protocol::Simple {
        return;
    }
    let runtime = server::runtime().worker_threads(2).build();
    let runtime = runtime.expect("a runtime");
    let mut wrong = Vec::new();
    for path in super::files("slt", "slt") {
        if let Err(error) = runtime.block_on(run(&path, protocol)) {
            wrong.push(error);
        }
    }
    assert!(wrong.is_empty(), "{protocol:?}\n{}", wrong.join("\n"));
}

async fn run(path: &Path, protocol: Protocol) -> Result<(), String> {
    let broker = Arc::new(EmbeddedBroker::start().expect("a broker"));
    let local = "127.0.0.1:0".parse().expect("an address");
    let server = Server::start(Config { pg_addr: local, http_addr: local, ..Config::default() }).await?;
    let port = server.pg_addr.port();
    let mut runner = Runner::new(|| Session::connect(port, broker.clone(), protocol));
    if protocol == Protocol::Extended {
        runner.with_column_validator(sqllogictest::strict_column_validator);
    }
    runner.with_validator(|_, found, expected| lines(found) == expected);
    let result = if super::is_updating() {
        let normal = |text: &String| text.clone();
        let validator: sqllogictest::Validator = |_, found, expected| lines(found) == expected;
        let updated =
            runner.update_test_file(path, " | ", validator, normal, sqllogictest::strict_column_validator).await;
        updated.map_err(|e| e.to_string())
    } else {
        runner.run_file_async(path).await.map_err(|e| e.to_string())
    };
    runner.shutdown_async().await;
    drop(runner);
    server.stop().await;
    result
}

fn lines(rows: &[Vec<String>]) -> Vec<String> {
    rows.iter().map(|row| row.join(" | ")).collect()
}

/// One connection to a file's server.
struct Session {
    client: Client,
    broker: Arc<EmbeddedBroker>,
    notices: Arc<std::sync::Mutex<Vec<String>>>,
    protocol: Protocol,
}

/// An error as a golden shows it.
#[derive(Debug)]
struct Shown {
    state: Option<String>,
    text: String,
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Shown {}

fn plain(text: impl fmt::Display) -> Shown {
    Shown { state: None, text: text.to_string() }
}

impl Session {
    async fn connect(port: u16, broker: Arc<EmbeddedBroker>, protocol: Protocol) -> Result<Self, Shown> {
        let config = format!("host=127.0.0.1 port={port} user=tidemark dbname=tidemark");
        let (client, mut connection) = tokio_postgres::connect(&config, NoTls).await.map_err(plain)?;
        let notices = Arc::<std::sync::Mutex<Vec<String>>>::default();
        let heard = notices.clone();
        tokio::spawn(async move {
            let mut messages = futures::stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notice(notice) = message {
                    let mut text = format!("{} {}: {}", notice.severity(), notice.code().code(), notice.message());
                    if let Some(detail) = notice.detail() {
                        text.push_str(&format!(" ({})", detail.replace('\n', "; ")));
                    }
                    heard.lock().expect("no holder panics").push(text);
                }
            }
        });
        Ok(Self { client, broker, notices, protocol })
    }

    /// Anything that is not SQL.
    fn meta(&self, text: &str) -> Result<DBOutput<DefaultColumnType>, Shown> {
        let (first, lines) = text.split_once('\n').unwrap_or((text, ""));
        match first.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["\\topic", name, partitions] => {
                let partitions = partitions.parse().map_err(plain)?;
                self.broker.create_topic(name, partitions).map_err(plain)?;
            }
            ["\\produce"] => self.produce(lines)?,
            ["\\broker", state] => self.broker.set_away(*state == "away").map_err(plain)?,
            ["\\notices"] => {
                let said = std::mem::take(&mut *self.notices.lock().expect("no holder panics"));
                let rows = said.into_iter().map(|notice| vec![notice]).collect();
                return Ok(DBOutput::Rows { types: vec![DefaultColumnType::Text], rows });
            }
            _ => return Err(plain(format!("unknown: {first}"))),
        }
        Ok(DBOutput::StatementComplete(0))
    }

    fn produce(&self, lines: &str) -> Result<(), Shown> {
        let producer = Producer::new(self.broker.bootstrap(), &ProducerOptions::default()).map_err(plain)?;
        for line in lines.lines() {
            let record = script::record(line).map_err(|e| plain(format!("{e}: {line}")))?;
            let outgoing = OutgoingRecord {
                partition: Some(record.partition),
                key: record.key.as_deref(),
                payload: record.payload.as_deref(),
                timestamp_ms: Some(record.time_micros.map_or(RECORD_TIME_MS, |micros| micros / 1000)),
                headers: &[],
            };
            producer.produce(&record.source, outgoing).map_err(plain)?;
        }
        producer.flush(DELIVERY_PATIENCE).map_err(plain)
    }

    async fn simple(&self, text: &str) -> Result<DBOutput<DefaultColumnType>, tokio_postgres::Error> {
        let (mut rows, mut types, mut count) = (Vec::new(), None, 0);
        for message in self.client.simple_query(text).await? {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    types = Some(vec![DefaultColumnType::Any; columns.len()]);
                }
                SimpleQueryMessage::Row(row) => {
                    rows.push((0..row.len()).map(|column| self.shown(row.get(column))).collect());
                }
                SimpleQueryMessage::CommandComplete(affected) => count = affected,
                _ => {}
            }
        }
        Ok(types.map_or(DBOutput::StatementComplete(count), |types| DBOutput::Rows { types, rows }))
    }

    async fn extended(&self, text: &str) -> Result<DBOutput<DefaultColumnType>, tokio_postgres::Error> {
        let statement = self.client.prepare(text).await?;
        if statement.columns().is_empty() {
            return Ok(DBOutput::StatementComplete(self.client.execute(&statement, &[]).await?));
        }
        let mut rows = Vec::new();
        for row in self.client.query(&statement, &[]).await? {
            let cell = |column| Ok(self.shown(row.try_get::<_, AsText>(column)?.0.as_deref()));
            rows.push((0..row.len()).map(cell).collect::<Result<Vec<_>, tokio_postgres::Error>>()?);
        }
        Ok(DBOutput::Rows { types: statement.columns().iter().map(|c| column_type(c.type_())).collect(), rows })
    }

    fn shown(&self, value: Option<&str>) -> String {
        match value {
            None => "NULL".into(),
            Some("") => "(empty)".into(),
            Some(text) => text.replace('\n', "\\n").replace(self.broker.bootstrap(), "BOOTSTRAP"),
        }
    }

    fn error(&self, error: &tokio_postgres::Error) -> Shown {
        let Some(error) = error.as_db_error() else {
            let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
            return plain(format!("{error}{source}"));
        };
        let mut text = format!("{}: {}", error.code().code(), error.message());
        if let Some(position) = error.position() {
            text.push_str(&match position {
                tokio_postgres::error::ErrorPosition::Original(position) => format!("\nat {position}"),
                tokio_postgres::error::ErrorPosition::Internal { position, .. } => format!("\nwithin, at {position}"),
            });
        }
        for (name, said) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
            let Some(said) = said else { continue };
            let plan = said.starts_with("Plan fragment:");
            let lines: Vec<&str> = said.lines().take(if plan { 1 } else { usize::MAX }).collect();
            text.push_str(&format!("\n{name}: {}", lines.join("; ")));
        }
        Shown { state: Some(error.code().code().to_owned()), text: text.replace(self.broker.bootstrap(), "BOOTSTRAP") }
    }
}

fn column_type(of: &Type) -> DefaultColumnType {
    match *of {
        Type::INT2 | Type::INT4 | Type::INT8 => DefaultColumnType::Integer,
        Type::FLOAT4 | Type::FLOAT8 => DefaultColumnType::FloatingPoint,
        Type::TEXT | Type::VARCHAR | Type::NAME => DefaultColumnType::Text,
        _ => DefaultColumnType::Any,
    }
}

#[async_trait]
impl AsyncDB for Session {
    type Error = Shown;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, text: &str) -> Result<DBOutput<DefaultColumnType>, Shown> {
        if text.starts_with('\\') {
            return self.meta(text);
        }
        let text = text.replace("BOOTSTRAP", self.broker.bootstrap());
        let done = match self.protocol {
            Protocol::Simple => self.simple(&text).await,
            Protocol::Extended => self.extended(&text).await,
        };
        done.map_err(|error| self.error(&error))
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        match self.protocol {
            Protocol::Simple => "simple",
            Protocol::Extended => "extended",
        }
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Shown) -> Option<String> {
        error.state.clone()
    }
}
