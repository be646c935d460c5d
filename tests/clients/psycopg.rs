//! A Python program with psycopg 3.

use std::process::Command;

use super::tutorial::Tutorial;
use super::{are_installed, beside, kept, run, skip};

const PSYCOPG: &str = "psycopg[binary]==3.2.12";

/// Python with psycopg, fetched once; `None`, after a line on stderr, where that is not possible.
fn python() -> Option<String> {
    if !are_installed(&["python3"]) {
        return None;
    }
    let directory = kept("psycopg");
    let python = directory.join("bin/python").to_string_lossy().into_owned();
    if run(Command::new(&python).args(["-c", "import psycopg"])).is_ok() {
        return Some(python);
    }
    let made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory));
    let fetched = made.and_then(|_| run(Command::new(&python).args(["-m", "pip", "install", "--quiet", PSYCOPG])));
    match fetched {
        Ok(_) => Some(python),
        Err(error) => {
            skip(&format!("psycopg cannot be installed, so nothing was tested with it: {error}"));
            None
        }
    }
}

#[test]
fn a_program_reads_views() {
    let Some(python) = python() else { return };
    let tutorial = Tutorial::declared();
    let port = tutorial.served.port().to_string();
    let said = run(Command::new(python).arg(beside("clients/read_view.py")).arg(port)).expect("the program succeeds");
    assert!(said.ends_with("done\n"), "{said}");
}
