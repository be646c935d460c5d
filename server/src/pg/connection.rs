//! One connection: lets the client in, then takes its messages one by one.
//!
//! Whatever happens to a message stays with it: an error is reported and the session goes on, a panic is an XX000, a
//! breach of the protocol is told and closes the connection. After an error in the extended protocol everything up to
//! the next Sync is passed over.

use std::any::Any;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use sql::secret::Secret;
use sql::{SqlError, SqlState};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Server;
use super::failure::Failure;
use super::frontend::{Message, message};
use super::reply;
use super::startup::{Admitted, Greeting, admit, greet, welcome};
use super::wire::{Frame, MESSAGE_BYTES_MAX, STATEMENT_BYTES_MAX, Wire};
use crate::backend::Severity;
use crate::session::Session;
use crate::session::registry::{ActivityState, Limits, SessionEntry, terminated};
use crate::session::transaction::State;

/// How long the last words to a client may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// One client's connection, let in.
pub(super) struct Connection {
    pub(super) wire: Wire,
    pub(super) session: Session,
    pub(super) entry: Arc<SessionEntry>,
    pub(super) server: Arc<Server>,
    /// An error came in the extended protocol: nothing is heard until Sync.
    skipping: bool,
    /// What stood in the last query string and is to be said to nobody.
    secrets: Vec<Secret>,
    /// What ParameterStatus last said, and the settings' version then.
    reported: HashMap<&'static str, String>,
    reported_version: u64,
}

/// What to do after a message.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Continue,
    Close,
}

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, server: Arc<Server>) {
    let mut wire = Wire::new(stream);
    let entering = AssertUnwindSafe(enter(&mut wire, &server, peer)).catch_unwind();
    let entered = tokio::select! {
        entered = tokio::time::timeout(server.config.startup_timeout, entering) => entered,
        () = server.shutdown.cancelled() => Ok(Ok(Err(Failure::Fatal(shutting_down())))),
    };
    let admitted = match entered {
        // A client that says nothing in time is told nothing, as PostgreSQL has it.
        Err(_) => return,
        Ok(Err(panic)) => Err(Failure::Fatal(panicked(panic.as_ref()))),
        Ok(Ok(entered)) => entered,
    };
    match admitted {
        Ok(Some(admitted)) => Connection::run(wire, peer, admitted, server).await,
        Ok(None) | Err(Failure::Gone) => {}
        Err(Failure::Error(error) | Failure::Fatal(error)) => {
            let counters = server.sessions.counters();
            counters.errors.fetch_add(1, Ordering::Relaxed);
            if matches!(error.state.0, "28P01" | "28000") {
                counters.logins_refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%peer, error = ?error.message, "login refused");
            }
            say_farewell(&mut wire, &server, &error).await;
        }
    }
}

/// Lets the client in; `None` where it only came to cancel.
async fn enter(wire: &mut Wire, server: &Server, peer: SocketAddr) -> Result<Option<Admitted>, Failure> {
    match greet(wire, server).await? {
        Greeting::Session(startup) => admit(wire, server, startup, peer).await.map(Some),
        Greeting::Cancel { pid, secret } => {
            server.sessions.cancel_with_secret(pid, &secret);
            Ok(None)
        }
    }
}

async fn say_farewell(wire: &mut Wire, server: &Server, error: &SqlError) {
    if error.state == SqlState::PROTOCOL_VIOLATION {
        server.sessions.counters().protocol_errors.fetch_add(1, Ordering::Relaxed);
    }
    reply::error(&mut wire.out, error, true);
    // A client that does not listen any more cannot be told; the connection closes either way.
    let _ = tokio::time::timeout(FAREWELL, async {
        if wire.flush().await.is_ok() {
            wire.close().await;
        }
    })
    .await;
}

impl Connection {
    async fn run(mut wire: Wire, peer: SocketAddr, admitted: Admitted, server: Arc<Server>) {
        let terminate = server.shutdown.child_token();
        let Admitted { connection_limit: of_role, superuser, .. } = admitted;
        let limits = Limits { connections_max: server.config.connections_max, of_role, superuser };
        let pid = admitted.identity.pid;
        let added = server.sessions.add(admitted.identity.clone(), admitted.secret.clone(), terminate, limits);
        let told = |result| {
            let peer = admitted.identity.client.map_or(peer, SocketAddr::from);
            server.backend.audit().login(Some(pid), &admitted.identity.user, peer, result);
        };
        let registration = match added {
            Ok(registration) => registration,
            Err(error) => {
                told(Err(&error));
                return say_farewell(&mut wire, &server, &error).await;
            }
        };
        told(Ok(()));
        let entry = registration.entry().clone();
        tracing::debug!(pid, user = ?admitted.identity.user, database = ?admitted.identity.database, "session started");
        welcome(&mut wire, &admitted);
        let reported = admitted.settings.reported().into_iter().collect();
        let session = Session::new(server.backend.clone(), admitted.identity, admitted.settings);
        entry.show_application_name(&session.settings.value("application_name").unwrap_or_default());
        let reported_version = session.settings.version();
        let mut connection =
            Self { wire, session, entry, server, skipping: false, secrets: Vec::new(), reported, reported_version };
        let ended = connection.serve_messages().await;
        drop(registration);
        tracing::debug!(pid, "session ended");
        connection.count_bytes();
        if let Err(Failure::Fatal(error)) = ended {
            connection.count_error();
            say_farewell(&mut connection.wire, &connection.server, &error).await;
        }
    }

    async fn serve_messages(&mut self) -> Result<(), Failure> {
        self.ready().await?;
        loop {
            let frame = self.next_frame().await?;
            let tag = match &frame {
                Frame::Message(tag, _) | Frame::TooLong(tag, _) => *tag,
            };
            let handled = match AssertUnwindSafe(self.handle(frame)).catch_unwind().await {
                Ok(handled) => handled,
                Err(panic) => Err(Failure::Error(panicked(panic.as_ref()))),
            };
            self.entry.end_statement();
            match handled {
                Ok(Next::Continue) => {}
                Ok(Next::Close) => return Ok(()),
                Err(Failure::Error(error)) => self.report(tag, &error).await?,
                Err(failure) => return Err(failure),
            }
            self.count_bytes();
        }
    }

    /// The next message, unless the session ends first.
    async fn next_frame(&mut self) -> Result<Frame, Failure> {
        let (name, error) = match self.session.transaction.state() {
            State::Block | State::Failed => (
                "idle_in_transaction_session_timeout",
                SqlError::new(SqlState("25P03"), "terminating connection due to idle-in-transaction timeout"),
            ),
            State::Idle | State::Implicit => (
                "idle_session_timeout",
                SqlError::new(SqlState("57P05"), "terminating connection due to idle-session timeout"),
            ),
        };
        let timeout = self.session.settings.duration(name);
        let idle = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.entry.terminate().cancelled() => Err(Failure::Fatal(terminated())),
            frame = self.wire.read_frame(MESSAGE_BYTES_MAX) => Ok(frame?),
            () = idle => Err(Failure::Fatal(error)),
        }
    }

    async fn handle(&mut self, frame: Frame) -> Result<Next, Failure> {
        let (tag, body) = match frame {
            Frame::Message(tag, body) => (tag, body),
            Frame::TooLong(..) if self.skipping => return Ok(Next::Continue),
            Frame::TooLong(_, length) => return Err(Failure::Error(too_long(length))),
        };
        if self.skipping && !matches!(tag, b'S' | b'X') {
            return Ok(Next::Continue);
        }
        match message(tag, body)? {
            Message::Query(text) => {
                self.simple_query(&text).await?;
                self.session.end_implicit(false);
                self.ready().await?;
            }
            Message::Parse { name, text, oids } => self.parse(&name, &text, oids).await?,
            Message::Bind(bind) => self.bind(bind)?,
            Message::Describe(target) => self.describe(&target)?,
            Message::Execute { portal, rows_max } => self.execute(&portal, rows_max).await?,
            Message::Close(target) => self.close(&target),
            Message::Flush => self.flush().await?,
            Message::Sync => {
                let failed = std::mem::take(&mut self.skipping);
                self.session.end_implicit(failed);
                self.ready().await?;
            }
            Message::Terminate => return Ok(Next::Close),
            Message::CopyLeftover => {}
            Message::FunctionCall => {
                return Err(Failure::Error(SqlError::unsupported("function calls of the protocol are not supported")));
            }
        }
        Ok(Next::Continue)
    }

    /// Tells the client of an error, and leaves the message it came from behind.
    async fn report(&mut self, tag: u8, error: &SqlError) -> Result<(), Failure> {
        self.count_error();
        self.send_notices();
        match self.secrets.is_empty() {
            true => reply::error(&mut self.wire.out, error, false),
            false => reply::error(&mut self.wire.out, &error.clone().without(&self.secrets), false),
        }
        self.session.fail();
        match tag {
            b'Q' | b'F' => {
                self.session.end_implicit(true);
                self.ready().await
            }
            b'S' => self.ready().await,
            _ => {
                self.skipping = true;
                self.flush().await
            }
        }
    }

    /// What changed, then ReadyForQuery; everything is sent.
    async fn ready(&mut self) -> Result<(), Failure> {
        self.send_notices();
        self.report_settings();
        let transaction = &self.session.transaction;
        self.entry.show_idle(match transaction.state() {
            State::Idle | State::Implicit => ActivityState::Idle,
            State::Block => ActivityState::IdleInTransaction,
            State::Failed => ActivityState::IdleInFailedTransaction,
        });
        reply::ready(&mut self.wire.out, transaction.status());
        self.flush().await
    }

    fn report_settings(&mut self) {
        let version = self.session.settings.version();
        if std::mem::replace(&mut self.reported_version, version) == version {
            return;
        }
        for (name, value) in self.session.settings.reported() {
            let known = self.reported.entry(name).or_default();
            if *known != value {
                reply::parameter_status(&mut self.wire.out, name, &value);
                if name == "application_name" {
                    self.entry.show_application_name(&value);
                }
                *known = value;
            }
        }
    }

    /// The notices so far, as far as client_min_messages lets them through.
    pub(super) fn send_notices(&mut self) {
        let notices = self.session.take_notices();
        if notices.is_empty() {
            return;
        }
        let least = match self.session.settings.value("client_min_messages").as_deref() {
            Some("debug5" | "debug4" | "debug3" | "debug2" | "debug1" | "debug") => Severity::Debug,
            Some("log") => Severity::Log,
            Some("warning") => Severity::Warning,
            Some("error" | "fatal" | "panic") => Severity::Info,
            _ => Severity::Notice,
        };
        for notice in notices.iter().filter(|notice| notice.severity >= least) {
            reply::notice(&mut self.wire.out, notice);
        }
    }

    /// Shows a query string as what runs, without the secrets in it.
    pub(super) fn show_active(&mut self, text: &str) {
        self.secrets = sql::parser::secrets_in(text);
        match self.secrets.is_empty() {
            true => self.entry.show_active(text),
            false => self.entry.show_active(&sql::parser::redacted(text)),
        }
    }

    /// Sends what is buffered; a session that is to end waits only a moment for its client to read.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        let terminate = self.entry.terminate().clone();
        tokio::select! {
            biased;
            flushed = self.wire.flush() => Ok(flushed?),
            () = overdue(&terminate) => Err(Failure::Gone),
        }
    }

    fn count_error(&self) {
        self.server.sessions.counters().errors.fetch_add(1, Ordering::Relaxed);
    }

    fn count_bytes(&mut self) {
        let bytes = self.wire.take_bytes_sent();
        self.server.sessions.counters().bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

async fn overdue(terminate: &CancellationToken) {
    terminate.cancelled().await;
    tokio::time::sleep(FAREWELL).await;
}

fn too_long(length: usize) -> SqlError {
    let message = format!("a statement of {length} bytes is longer than the {STATEMENT_BYTES_MAX} allowed");
    SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
}

fn shutting_down() -> SqlError {
    SqlError::new(SqlState::CANNOT_CONNECT_NOW, "the database system is shutting down")
}

/// A panic is our bug; the client hears that much, the log hears the rest.
fn panicked(panic: &(dyn Any + Send)) -> SqlError {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = %text, "a message was abandoned");
    SqlError::new(SqlState::INTERNAL_ERROR, "internal error: the statement was abandoned").detail(text)
}
