//! A whole server in this process, asked over the Postgres protocol as any client would.

use std::time::{Duration, Instant};

use server::config::Config;
use server::server::Server;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long to wait before asking again.
const PACE: Duration = Duration::from_millis(20);

/// A server and a client of it.
pub struct Served {
    server: Option<Server>,
    client: Client,
    runtime: Runtime,
}

impl Served {
    /// A server on free ports of the loopback interface.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Self {
        let runtime = server::runtime().worker_threads(2).build();
        let runtime = runtime.expect("a runtime");
        let local = "127.0.0.1:0".parse().expect("an address");
        let config = Config { pg_addr: local, http_addr: local, ..Config::default() };
        let server = runtime.block_on(Server::start(config)).expect("the server starts");
        let client = runtime.block_on(connect(server.pg_addr.port()));
        Self { server: Some(server), client, runtime }
    }

    /// Where Postgres clients connect.
    pub fn port(&self) -> u16 {
        self.server.as_ref().expect("running until dropped").pg_addr.port()
    }

    /// The views that the engine maintains, temporary ones too.
    pub fn running_views(&self) -> Vec<String> {
        let server = self.server.as_ref().expect("running until dropped");
        let mut names: Vec<_> = server.database.engine().snapshot().views.keys().cloned().collect();
        names.sort();
        names
    }

    /// Runs statements.
    ///
    /// # Panics
    /// If one fails.
    pub fn run(&self, statements: &str) {
        self.try_rows(statements).unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// The rows of a query, each with its columns as text, divided by ` | `.
    ///
    /// # Panics
    /// If it fails.
    pub fn rows(&self, query: &str) -> Vec<String> {
        self.try_rows(query).unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// A query's only value.
    ///
    /// # Panics
    /// If it fails or has another number of rows.
    pub fn value(&self, query: &str) -> String {
        let rows = self.rows(query);
        assert_eq!(rows.len(), 1, "{query}: {rows:?}");
        rows.into_iter().next().unwrap_or_default()
    }

    fn try_rows(&self, query: &str) -> Result<Vec<String>, String> {
        let messages = self.runtime.block_on(self.client.simple_query(query));
        let messages = messages.map_err(|error| match error.as_db_error() {
            Some(error) => format!("{}: {} {:?}", error.code().code(), error.message(), error.detail()),
            None => error.to_string(),
        })?;
        let row = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => {
                let cells: Vec<_> = (0..row.len()).map(|column| row.get(column).unwrap_or("NULL")).collect();
                Some(cells.join(" | "))
            }
            _ => None,
        };
        Ok(messages.iter().filter_map(row).collect())
    }

    /// What a statement fails with: SQLSTATE and message.
    ///
    /// # Panics
    /// If it succeeds.
    pub fn error(&self, statement: &str) -> String {
        match self.runtime.block_on(self.client.simple_query(statement)) {
            Ok(_) => panic!("{statement} succeeded"),
            Err(error) => match error.as_db_error() {
                Some(error) => format!("{}: {}", error.code().code(), error.message()),
                None => panic!("{statement}: {error}"),
            },
        }
    }

    /// Runs statements in a session of their own.
    ///
    /// # Panics
    /// If one fails.
    pub fn run_beside(&self, statements: &str) {
        let port = self.port();
        let run = async { connect(port).await.batch_execute(statements).await };
        self.runtime.block_on(run).unwrap_or_else(|error| panic!("{statements}: {error:?}"));
    }

    /// The rows of a query over the extended protocol, values in binary.
    ///
    /// # Panics
    /// If it fails.
    pub fn typed<T>(&self, query: &str, read: impl Fn(&tokio_postgres::Row) -> T) -> Vec<T> {
        let rows = self.runtime.block_on(self.client.query(query, &[]));
        rows.unwrap_or_else(|error| panic!("{query}: {error:?}")).iter().map(read).collect()
    }

    /// The lines of a COPY … TO STDOUT.
    ///
    /// # Panics
    /// If it fails.
    pub fn copied(&self, copy: &str) -> Vec<String> {
        let read = async {
            let stream = self.client.copy_out(copy).await?;
            let pieces: Vec<bytes::Bytes> = futures::TryStreamExt::try_collect(stream).await?;
            Ok::<_, tokio_postgres::Error>(pieces.concat())
        };
        let text = self.runtime.block_on(read).unwrap_or_else(|error| panic!("{copy}: {error:?}"));
        String::from_utf8(text).expect("UTF-8").lines().map(str::to_owned).collect()
    }

    /// Asks again and again until a query's rows are as wanted; returns them.
    ///
    /// # Panics
    /// If they never are.
    pub fn until(&self, query: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.rows(query);
            if wanted(&rows) {
                return rows;
            }
            assert!(Instant::now() < deadline, "{query}: still {rows:?}\n{}", self.state());
            std::thread::sleep(PACE);
        }
    }

    /// Asks until a query's only value is `wanted`.
    ///
    /// # Panics
    /// If it never is.
    pub fn until_value(&self, query: &str, wanted: &str) {
        self.until(query, |rows| rows == [wanted]);
    }

    /// How sources and views stand, for messages.
    fn state(&self) -> String {
        let tables = ["tidemark.source_partitions", "tidemark.sources", "tidemark.materialized_views"];
        let all = tables.map(|table| self.rows(&format!("SELECT * FROM {table}")).join("\n"));
        all.join("\n")
    }
}

async fn connect(port: u16) -> Client {
    let config = format!("host=127.0.0.1 port={port} user=tidemark dbname=tidemark");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("the server lets us in");
    tokio::spawn(connection);
    client
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}
