//! The Postgres front door: the wire protocol, versions 3.0 and 3.2, from socket to session.
//!
//! [`serve`] accepts connections; each runs in a task of its own: `startup` lets the client in, `connection` reads its
//! messages and hands them to `simple` or `extended`, which run statements in the [`crate::session`] and send rows
//! through `stream`. `encode` and `decode` stand between Arrow and the bytes. No other module names pgwire.
//!
//! ```text
//! socket > wire > frontend > connection > simple | extended > session > backend
//!                                              | rows
//! socket < wire < reply    < stream | copy < encode
//! ```

#![deny(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]

mod auth;
mod connection;
mod copy;
mod copy_in;
mod copy_record;
mod datetime;
mod decode;
mod encode;
mod extended;
mod failure;
mod frontend;
mod reply;
mod simple;
mod startup;
mod stream;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod verifier;
mod wire;
mod wire_type;

pub(crate) use encode::text_of_row;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use sql::state_budget::StateBudget;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::tls::Tls;
use crate::backend::Backend;
pub use crate::session::registry::{ActivityState, Counters, SessionInfo, Sessions};

/// Connections beyond the sessions allowed: they may still cancel a statement or be told that there is no room.
const SPARE_CONNECTIONS: usize = 32;
/// How long a connection may be silent before the kernel asks whether it is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// How often the kernel then asks.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long to wait after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the front door behaves.
#[derive(Debug, Clone)]
pub struct PgConfig {
    /// Sessions at a time.
    pub connections_max: usize,
    /// The setting `max_view_state` that sessions start with.
    pub max_view_state: StateBudget,
    /// How long a client may take from its first byte to the end of authentication.
    pub startup_timeout: Duration,
    /// Where a client lands that names no database.
    pub default_database: String,
    /// How long a wrong password waits for its answer.
    pub login_failure_delay: Duration,
    /// How long sessions may take to end when the server stops.
    pub shutdown_grace: Duration,
    /// The certificate; without one nothing is encrypted.
    pub tls: Option<Arc<Tls>>,
    /// Whether other machines have to encrypt.
    pub tls_required: bool,
    /// The list of sessions, shared with whoever shows it.
    pub sessions: Arc<Sessions>,
}

impl Default for PgConfig {
    fn default() -> Self {
        Self {
            connections_max: 100,
            max_view_state: StateBudget::default(),
            startup_timeout: Duration::from_secs(10),
            default_database: "tidemark".into(),
            login_failure_delay: Duration::from_millis(250),
            shutdown_grace: Duration::from_secs(5),
            tls: None,
            tls_required: false,
            sessions: Sessions::new(),
        }
    }
}

/// What all connections share.
struct Server {
    backend: Arc<dyn Backend>,
    config: PgConfig,
    sessions: Arc<Sessions>,
    shutdown: CancellationToken,
}

/// Serves clients on `listener` until `shutdown` fires; then every session is told so (57P01) and has
/// [`PgConfig::shutdown_grace`] to end.
///
/// # Errors
/// The listener's own, other than those of a single connection.
pub async fn serve(
    listener: TcpListener,
    backend: Arc<dyn Backend>,
    config: PgConfig,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(config.connections_max.saturating_add(SPARE_CONNECTIONS)));
    let grace = config.shutdown_grace;
    let server = Arc::new(Server { backend, sessions: config.sessions.clone(), config, shutdown: shutdown.clone() });
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_connection(&error) => continue,
            Err(error) if is_exhaustion(&error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        // Beyond the spare places nothing is read at all: the connection closes.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, %peer, "cannot set socket options");
        }
        let server = server.clone();
        connections.spawn(async move {
            connection::serve(stream, peer, server).await;
            drop(place);
        });
    }
    connections.close();
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "sessions did not end in time");
    }
    Ok(())
}

/// Answers go out at once; a peer that vanished is noticed.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// The client went away between its connect and our accept.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// EMFILE, ENFILE, ENOBUFS and ENOMEM pass; the listener itself is well.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105)) || error.kind() == io::ErrorKind::OutOfMemory
}
