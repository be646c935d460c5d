//! The audit log: one line for each login, definition, change of rights, and refusal for want of a right.
//!
//! A line says when, which session and role, from where, what kind of statement, on what, and how it ended. It never
//! holds a statement's text or a value of the data, and every text in it is quoted with its control characters escaped,
//! so that nobody forges a line.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use chrono::{SecondsFormat, Utc};
use parking_lot::Mutex;
use sql::SqlError;

use crate::backend::Identity;

/// Where audit lines go.
#[derive(Debug, Default)]
pub struct Audit(Option<Sink>);

#[derive(Debug)]
enum Sink {
    /// The log, at target `audit`.
    Log,
    /// A file, appended to.
    File(Mutex<File>),
}

impl Audit {
    /// By the setting `audit`: `off`, `log`, or a file's path.
    ///
    /// # Errors
    /// One sentence: the file cannot be opened.
    pub fn open(setting: &str) -> Result<Self, String> {
        match setting {
            "" | "off" => Ok(Self(None)),
            "log" => Ok(Self(Some(Sink::Log))),
            path => {
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(Path::new(path));
                let file = file.map_err(|e| format!("cannot open the audit log {path}: {e}"))?;
                Ok(Self(Some(Sink::File(Mutex::new(file)))))
            }
        }
    }

    /// A client came in, or was refused.
    pub fn login(&self, session: Option<i32>, user: &str, peer: SocketAddr, result: Result<(), &SqlError>) {
        if self.0.is_none() {
            return;
        }
        let session = session.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        self.write(&format!("session={session} user={user:?} client={peer} action=LOGIN {}", shown(result)));
    }

    /// A statement was run, as `role`, or refused.
    pub fn statement(
        &self,
        identity: &Identity,
        role: &str,
        (action, objects): (&str, &[String]),
        result: Result<(), &SqlError>,
    ) {
        if self.0.is_none() {
            return;
        }
        let client = identity.client.map_or_else(|| "-".to_owned(), |client| SocketAddr::from(client).to_string());
        self.write(&format!(
            "session={} user={:?} role={role:?} client={client} action={action:?} objects={objects:?} {}",
            identity.pid,
            identity.user,
            shown(result)
        ));
    }

    fn write(&self, line: &str) {
        match &self.0 {
            None => {}
            Some(Sink::Log) => tracing::info!(target: "audit", "{line}"),
            Some(Sink::File(file)) => {
                let time = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
                // One write a line, so that lines of several sessions do not mix.
                if let Err(error) = file.lock().write_all(format!("time={time} {line}\n").as_bytes()) {
                    tracing::error!(%error, "the audit log cannot be written");
                }
            }
        }
    }
}

/// How it ended: the SQLSTATE, without the message, which may hold values.
fn shown(result: Result<(), &SqlError>) -> String {
    match result {
        Ok(()) => "result=ok".to_owned(),
        Err(error) => format!("result=error sqlstate={}", error.state.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sql::SqlState;

    #[test]
    fn a_line_says_who_did_what_and_cannot_be_forged() {
        let path = std::env::temp_dir().join(format!("tidemark-audit-{}", std::process::id()));
        let audit = Audit::open(&path.display().to_string()).expect("a file that can be made");
        let peer = "127.0.0.1:7".parse().expect("an address");
        let refused = SqlError::new(SqlState("28P01"), "password authentication failed for user \"x\"");
        audit.login(None, "x\ntime=forged", peer, Err(&refused));
        audit.login(Some(3), "alice", peer, Ok(()));
        let text = std::fs::read_to_string(&path).expect("written above");
        let lines: Vec<_> = text.lines().map(|line| line.split_once(' ').map_or("", |(_, rest)| rest)).collect();
        assert_eq!(
            lines,
            [
                "session=- user=\"x\\ntime=forged\" client=127.0.0.1:7 action=LOGIN result=error sqlstate=28P01",
                "session=3 user=\"alice\" client=127.0.0.1:7 action=LOGIN result=ok",
            ]
        );
        std::fs::remove_file(&path).expect("made above");
        Audit::open("/nowhere/at/all").expect_err("no such directory");
    }
}
