//! The `tidemark` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use server::client::{self, SqlArgs};
use server::config::{Config, ServeArgs};
use server::demo::{self, DemoArgs};

/// Tidemark: a continuous query engine. Kafka topics are tables, windowed SQL makes materialized views, and Postgres
/// clients read them, all at one tick.
#[derive(Debug, Parser)]
#[command(name = "tidemark", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<ServeArgs>),
    /// See it work: a server, a broker inside this process, and live events
    Demo(DemoArgs),
    /// Run SQL against a server, for machines without psql
    Sql(SqlArgs),
}

/// Batches come and go every tick: the system's allocator gives their pages back each time and faults them in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match server::runtime().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => {
                let config = Config::load(*args)?;
                server::start_logging(&config.log)?;
                server::serve(config).await.map(|()| true)
            }
            Command::Demo(args) => demo::run(args).await.map(|()| true),
            Command::Sql(args) => client::run(args).await,
        }
    });
    // Blocking work that was cancelled must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("tidemark: {message}");
    ExitCode::FAILURE
}
