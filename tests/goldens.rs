//! Scripts with what comes out written behind what goes in: `tests/ticks/*.txt` tick by tick, without a server, and
//! `tests/slt/**/*.slt` statement by statement, over both of Postgres's protocols, against a server with a broker.
//!
//! `UPDATE_GOLDENS=1 cargo test --test goldens` writes the files anew. Read what changed: a golden says what ought to
//! come out, not what did.

#[path = "goldens/slt.rs"]
mod slt;
#[path = "goldens/ticks.rs"]
mod ticks;

use std::path::{Path, PathBuf};

/// Whether goldens are to be written anew.
fn is_updating() -> bool {
    std::env::var_os("UPDATE_GOLDENS").is_some_and(|value| value == "1")
}

/// The files below `directory` that end in `extension`, sorted.
fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("the goldens are beside the tests") {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no *.{extension} in {directory}");
    found
}
