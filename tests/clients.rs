//! Clients as their users run them: psql, a Python program, a Java program.
//!
//! Where a client is not installed or cannot be fetched, its tests say so on stderr, uncaptured, and pass.

#[path = "clients/bank.rs"]
mod bank;
#[path = "clients/jdbc.rs"]
mod jdbc;
#[path = "clients/psql.rs"]
mod psql;
#[path = "clients/psycopg.rs"]
mod psycopg;
#[path = "clients/subscribe.rs"]
mod subscribe;
#[path = "clients/tls.rs"]
mod tls;
#[path = "clients/tutorial.rs"]
mod tutorial;
#[path = "clients/workloads.rs"]
mod workloads;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says that a test did nothing, straight to the descriptor: the test runner swallows what `eprintln!` prints.
fn skip(why: &str) {
    let line = format!("\n*** SKIPPED: {why} ***\n");
    std::io::stderr().write_all(line.as_bytes()).expect("stderr can be written to");
}

/// Whether these programs are installed; says so if one is not.
fn are_installed(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &&str| std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    let missing = programs.iter().find(|program| !found(program));
    if let Some(missing) = missing {
        skip(&format!("{missing} is not installed, so nothing was tested with it"));
    }
    missing.is_none()
}

/// A directory that outlives the tests, for what is fetched once.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A file beside the tests.
fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs a command; what it wrote to standard output, or everything it said if it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let done = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let (out, error) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    if done.status.success() {
        Ok(out.into_owned())
    } else {
        Err(format!("{command:?}: {}\n{out}\n{error}", done.status))
    }
}
