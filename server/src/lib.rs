//! The server: the only crate that listens. It owns no rule about data.
//!
//! [`server::Server`] starts everything: the [`database`] (engine, catalog and planner), the Postgres front door
//! ([`pg`], with [`session`]s behind it), and [`http`] for health and metrics. [`demo`] and [`client`] are the other
//! commands of the binary.

pub mod audit;
pub mod backend;
pub mod client;
pub mod config;
pub mod database;
pub mod demo;
mod document;
pub mod http;
pub mod pg;
pub mod pg_catalog;
pub mod roles;
pub mod server;
pub mod session;

use config::Config;
use server::Server;

/// A runtime for a server: its threads' stacks hold whatever recurses over the plan of the longest statement accepted, such
/// as cloning and dropping it.
pub fn runtime() -> tokio::runtime::Builder {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_stack_size(engine::engine::STACK_BYTES);
    builder
}

/// Runs a server until SIGTERM or SIGINT, then stops it cleanly. SIGHUP has it read its certificate again.
///
/// # Errors
/// One sentence: why it did not start.
pub async fn serve(config: Config) -> Result<(), String> {
    let server = Server::start(config).await?;
    tracing::info!("ready: Postgres clients on {}, metrics on http://{}/metrics", server.pg_addr, server.http_addr);
    tracing::info!("connect with: psql -h {} -p {} -d tidemark", server.pg_addr.ip(), server.pg_addr.port());
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
        .map_err(|e| format!("cannot listen for signals: {e}"))?;
    let mut stop = std::pin::pin!(stop_signal());
    let halted = loop {
        tokio::select! {
            stopped = &mut stop => break stopped.map(|()| None)?,
            why = server.halted() => break Some(why),
            _ = hangup.recv() => server.reload(),
        }
    };
    tracing::info!("stopping");
    server.stop().await;
    tracing::info!("stopped");
    halted.map_or(Ok(()), Err)
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// If the system refuses a signal handler.
pub async fn stop_signal() -> Result<(), String> {
    use tokio::signal::unix::{SignalKind, signal};
    let refused = |e| format!("cannot listen for signals: {e}");
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Starts logging to standard error.
///
/// # Errors
/// If the directives cannot be read.
pub fn start_logging(directives: &str) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(directives);
    let filter = filter.map_err(|e| format!("log setting \"{directives}\": {e}"))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    subscriber.try_init().map_err(|e| format!("cannot start logging: {e}"))
}
