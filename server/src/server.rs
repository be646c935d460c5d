//! Starting and stopping a whole server.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use engine::checkpoint::lease;
use engine::checkpoint::store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::database::Database;
use crate::http::metrics::{Connections, Metrics};
use crate::http::{self, Pages};
use crate::pg::tls::Tls;
use crate::pg::{self, PgConfig, Sessions};

/// How long sessions have to end when the server stops.
const STOP_MAX: Duration = Duration::from_secs(5);

/// A running server.
pub struct Server {
    /// Where Postgres clients connect.
    pub pg_addr: SocketAddr,
    /// Where health and metrics are.
    pub http_addr: SocketAddr,
    /// The database behind both.
    pub database: Arc<Database>,
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
    tls: Option<Arc<Tls>>,
}

/// How often a server looks whether another has taken over its data.
const HALT_LOOK: Duration = Duration::from_millis(200);

impl Server {
    /// Starts a server: definitions of an earlier run first, then the file of `--init`, then clients are let in.
    ///
    /// # Errors
    /// One sentence: an address in use, a data directory that cannot be used, a statement that fails.
    pub async fn start(config: Config) -> Result<Self, String> {
        let pg_listener = bind("pg_addr", config.pg_addr).await?;
        let http_listener = bind("http_addr", config.http_addr).await?;
        let (pg_addr, http_addr) = (local(&pg_listener)?, local(&http_listener)?);
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(certificate), Some(key)) => Some(Tls::open(certificate, key)?),
            _ => None,
        };
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let unready = Arc::new(ArcSwap::from_pointee("starting".to_owned()));
        let shown: Arc<OnceLock<Arc<Metrics>>> = Arc::default();
        let render = shown.clone();
        let metrics_page = Arc::new(move || render.get().map_or_else(String::new, |metrics| metrics.render()));
        let pages = Pages { unready: unready.clone(), metrics: metrics_page };
        let stop = shutdown.clone();
        tasks.spawn(async move {
            if let Err(error) = http::serve(http_listener, pages, stop).await {
                tracing::error!(%error, "the HTTP server stopped");
            }
        });
        let started = start_database(&config, unready.clone()).await;
        let database = started.inspect_err(|_| shutdown.cancel())?;
        let progress = unready.clone();
        let front = PgConfig {
            connections_max: config.connections_max,
            max_view_state: config.max_view_state,
            sessions: database.sessions().clone(),
            tls: tls.clone(),
            tls_required: config.tls_required,
            ..PgConfig::default()
        };
        let metrics = metrics(&database, front.sessions.clone());
        follow_ticks(&mut tasks, &database, metrics.clone(), shutdown.clone());
        // Nobody has set it before.
        let _ = shown.set(metrics);
        let started = async {
            let progress = move |what: String| progress.store(Arc::new(format!("starting: {what}")));
            database.recover(&progress, &shutdown).await.map_err(|e| told(&e))?;
            match &config.init {
                Some(path) => database.run_file(path).await,
                None => Ok(()),
            }
        };
        if let Err(message) = started.await {
            shutdown.cancel();
            return Err(message);
        }
        let stop = shutdown.clone();
        let backend = database.clone();
        tasks.spawn(async move {
            if let Err(error) = pg::serve(pg_listener, backend, front, stop).await {
                tracing::error!(%error, "the Postgres server stopped");
            }
        });
        unready.store(Arc::default());
        Ok(Self { pg_addr, http_addr, database, shutdown, tasks, tls })
    }

    /// Reads the certificate and its key again; what was read before stays in use if that fails.
    pub fn reload(&self) {
        match self.tls.as_ref().map(|tls| tls.reload()) {
            None => tracing::info!("there is nothing to read again"),
            Some(Ok(())) => tracing::info!("the certificate was read again"),
            Some(Err(error)) => tracing::error!(%error, "the certificate is the one it was"),
        }
    }

    /// Ends when another server has taken over the data, with one sentence that says so.
    pub async fn halted(&self) -> String {
        loop {
            if let Some(why) = self.database.engine().durability().halted() {
                return why;
            }
            tokio::time::sleep(HALT_LOOK).await;
        }
    }

    /// Stops: no new clients, sessions are told and ended, the tick at hand is finished.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(STOP_MAX, async { while self.tasks.join_next().await.is_some() {} });
        if ended.await.is_err() {
            tracing::warn!("some sessions did not end in time");
            self.tasks.abort_all();
        }
        if tokio::time::timeout(STOP_MAX, self.database.changes_made()).await.is_err() {
            tracing::warn!("a definition that was being changed is as it was before");
        }
        let database = self.database.clone();
        // The tick thread is joined: not on a thread that serves others.
        if tokio::task::spawn_blocking(move || database.stop()).await.is_err() {
            tracing::error!("stopping the engine failed");
        }
    }
}

/// Opens the data, waits until nobody else is at work on it, and starts the engine.
async fn start_database(config: &Config, unready: Arc<ArcSwap<String>>) -> Result<Arc<Database>, String> {
    let store = config.data_dir.as_deref().map(Store::open).transpose().map_err(|e| e.to_string())?;
    if let Some(store) = store.as_ref().filter(|store| store.is_shared()) {
        let (storage, standby) = (store.storage().clone(), config.standby);
        let progress = move |what: String| {
            if unready.load().as_str() != what {
                tracing::info!("{what}");
                unready.store(Arc::new(what));
            }
        };
        let wait = move || lease::wait_until_free(storage.as_ref(), standby, &progress, &|| false);
        let waited = tokio::task::spawn_blocking(wait).await.map_err(|e| format!("the start ended: {e}"))?;
        waited.map_err(|e| e.to_string())?;
    }
    Database::start(config, store).await.map_err(|e| e.to_string())
}

/// An error with what it says besides.
fn told(error: &sql::SqlError) -> String {
    match &error.detail {
        Some(detail) => format!("{error} ({detail})"),
        None => error.to_string(),
    }
}

async fn bind(name: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|e| format!("cannot listen on {name} {address}: {e}"))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener.local_addr().map_err(|e| format!("cannot tell the address listened on: {e}"))
}

fn metrics(database: &Arc<Database>, sessions: Arc<Sessions>) -> Arc<Metrics> {
    let connections = move || Connections {
        sessions: sessions.count() as u64,
        statements: sessions.counters().statements.load(Relaxed),
        errors: sessions.counters().errors.load(Relaxed),
    };
    Arc::new(Metrics::new(database.engine().clone(), Box::new(connections)))
}

/// Observes every tick once, as it is published.
fn follow_ticks(tasks: &mut JoinSet<()>, database: &Arc<Database>, metrics: Arc<Metrics>, shutdown: CancellationToken) {
    let store = database.engine().store().clone();
    tasks.spawn(async move {
        let mut seen = store.newest().tick;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                waited = store.wait_for(seen.next()) => if waited.is_err() { return },
            }
            for tick in store.recent_ticks() {
                if tick.tick > seen {
                    seen = tick.tick;
                    metrics.observe(&tick);
                }
            }
            // Many small ticks are observed together.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}
