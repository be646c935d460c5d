//! `tidemark demo`: everything at once, with nothing else installed.
//!
//! It starts a broker inside this process ([`engine::source::embedded_broker`]), a server, and a generator of auction
//! events; registers three sources and three views; says how to connect; and shows what happens. With `--events` or
//! `--exit-after` it ends by itself with a summary, after checking that every event was accounted for.

mod display;
mod generator;
mod script;
mod summary;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use engine::source::embedded_broker::EmbeddedBroker;

use crate::config::Config;
use crate::server::Server;
use generator::Generator;

/// How long a finished run waits for the views to catch up.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

/// The flags of `tidemark demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Produce this many events as fast as the views take them, print a summary and exit
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,

    /// Print a summary and exit after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub exit_after: Option<u64>,

    /// Events a second [default: 10000; with --events: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,

    /// Where Postgres clients connect; a free port is taken if this one is in use
    #[arg(long, default_value = "127.0.0.1:5433", value_name = "ADDR")]
    pub pg_addr: SocketAddr,

    /// Where /healthz, /readyz and /metrics are served; a free port is taken if this one is in use
    #[arg(long, default_value = "127.0.0.1:8633", value_name = "ADDR")]
    pub http_addr: SocketAddr,

    /// Plain lines instead of the live display, as when the output is not a terminal
    #[arg(long)]
    pub plain: bool,

    /// What is logged to standard error
    #[arg(long, env = "TIDEMARK_LOG", default_value = "warn", value_name = "LEVEL")]
    pub log: String,
}

/// Runs the demo until it is done or a signal comes.
///
/// # Errors
/// One sentence: what could not be started, or which events are not accounted for.
pub async fn run(args: DemoArgs) -> Result<(), String> {
    crate::start_logging(&args.log)?;
    let broker = Arc::new(EmbeddedBroker::start().map_err(|e| e.to_string())?);
    for (topic, partitions) in script::TOPICS {
        broker.create_topic(topic, partitions).map_err(|e| e.to_string())?;
    }
    let config = Config {
        pg_addr: free_or_other(args.pg_addr).await,
        http_addr: free_or_other(args.http_addr).await,
        ..Config::default()
    };
    let server = Server::start(config).await?;
    server.database.run(&script::statements(broker.bootstrap())).await.map_err(|e| e.to_string())?;
    println!("{}", script::greeting(&server, broker.bootstrap()));
    let generator = Generator::start(&args, broker.bootstrap(), server.database.engine().clone())?;
    let started = Instant::now();
    let live = std::io::stdout().is_terminal() && !args.plain;
    let ended = show_until_done(&args, &server, &generator, live).await;
    generator.stop();
    let produced = generator.join()?;
    let result = match ended {
        Ok(()) => finish(&server, produced, started).await,
        Err(message) => Err(message),
    };
    server.stop().await;
    result
}

/// Shows what happens until the events are out, the time is up, or a signal comes.
async fn show_until_done(args: &DemoArgs, server: &Server, generator: &Generator, live: bool) -> Result<(), String> {
    let mut display = display::Display::new(live);
    let deadline = args.exit_after.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let signal = crate::stop_signal();
    tokio::pin!(signal);
    loop {
        tokio::select! {
            stopped = &mut signal => return stopped,
            () = tokio::time::sleep(Duration::from_millis(if live { 250 } else { 1000 })) => {}
            () = generator.done() => return Ok(()),
        }
        display.show(server, generator).await;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(());
        }
    }
}

/// Waits until every event is in the views, prints the summary, and checks it.
async fn finish(server: &Server, produced: generator::Produced, started: Instant) -> Result<(), String> {
    let deadline = Instant::now() + CATCH_UP_MAX;
    let engine = server.database.engine().clone();
    let flush = tokio::task::spawn_blocking(move || engine.flush(&|| Instant::now() >= deadline));
    let flushed = flush.await.map_err(|e| e.to_string())?;
    summary::print_and_check(server, &produced, started.elapsed()).await?;
    flushed.map_err(|e| format!("the views did not catch up: {e}"))
}

/// The address, or one with a free port if it is taken.
async fn free_or_other(address: SocketAddr) -> SocketAddr {
    match tokio::net::TcpListener::bind(address).await {
        Ok(_) => address,
        Err(_) => SocketAddr::new(address.ip(), 0),
    }
}
