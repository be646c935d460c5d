//! All sessions of the server: who is connected, what runs, what is counted, and how to stop it.
//!
//! A statement runs under a `StatementControl`: one token for a cancel request, a timeout, a vanished client and a
//! shutdown alike, and the reason why it fired. The reason decides what the client is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use sql::{SqlError, SqlState};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::Identity;

/// Bytes of a statement's text that are kept for pg_stat_activity.
const QUERY_BYTES_MAX: usize = 1024;

/// Every session, and the counters over all of them.
#[derive(Debug, Default)]
pub struct Sessions {
    entries: Mutex<HashMap<i32, Arc<SessionEntry>>>,
    next_pid: AtomicI32,
    counters: Counters,
}

/// Counts since the server started; `connected` is the one that goes down again.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions that got past authentication.
    pub sessions: AtomicU64,
    /// Statements executed.
    pub statements: AtomicU64,
    /// Errors sent.
    pub errors: AtomicU64,
    /// Rows sent.
    pub rows: AtomicU64,
    /// Bytes sent.
    pub bytes: AtomicU64,
    /// Statements stopped by a cancel request.
    pub cancels: AtomicU64,
    /// Logins refused.
    pub logins_refused: AtomicU64,
    /// Connections closed over a breach of the protocol.
    pub protocol_errors: AtomicU64,
}

/// What a session is doing, as pg_stat_activity calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityState {
    /// Running a statement.
    Active,
    /// Waiting for one.
    Idle,
    /// Waiting for one, in a transaction block.
    IdleInTransaction,
    /// Waiting for one, in a failed transaction block.
    IdleInFailedTransaction,
}

impl ActivityState {
    /// The word of pg_stat_activity.state.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::IdleInTransaction => "idle in transaction",
            Self::IdleInFailedTransaction => "idle in transaction (aborted)",
        }
    }
}

/// One session, as pg_stat_activity lists it.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Who it is.
    pub identity: Identity,
    /// application_name.
    pub application_name: String,
    /// What it is doing.
    pub state: ActivityState,
    /// Since when.
    pub state_changed_at: SystemTime,
    /// The running statement, or the last one; its first 1024 bytes.
    pub query: String,
    /// When that statement started.
    pub query_started_at: Option<SystemTime>,
    /// When the transaction block started.
    pub transaction_started_at: Option<SystemTime>,
}

/// One session's place in the list.
#[derive(Debug)]
pub(crate) struct SessionEntry {
    secret: Vec<u8>,
    info: Mutex<SessionInfo>,
    statement: Mutex<Option<Arc<StatementControl>>>,
    terminate: CancellationToken,
}

/// How many sessions there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Of all roles.
    pub connections_max: usize,
    /// Of the session's role; below 0 is any number.
    pub of_role: i32,
    /// The session is a superuser's, for whom places are kept.
    pub superuser: bool,
}

impl Limits {
    /// Places that only superusers take; a small server has none to spare.
    fn reserved(self) -> usize {
        (self.connections_max / 10).min(3)
    }
}

/// Why a statement was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopReason {
    UserRequest,
    Timeout,
    Terminate,
}

/// The handle on one running statement.
#[derive(Debug)]
pub(crate) struct StatementControl {
    token: CancellationToken,
    reason: Mutex<Option<StopReason>>,
    deadline: Option<Instant>,
}

impl Sessions {
    /// An empty list.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.entries.lock().len()
    }

    /// Every session, by pid.
    pub fn list(&self) -> Vec<SessionInfo> {
        let entries: Vec<_> = self.entries.lock().values().cloned().collect();
        let mut list: Vec<_> = entries.iter().map(|entry| entry.info.lock().clone()).collect();
        list.sort_by_key(|info| info.identity.pid);
        list
    }

    /// `pg_cancel_backend(pid)`: stops the session's statement. False if there is no such session.
    pub fn cancel(&self, pid: i32) -> bool {
        let entry = self.entries.lock().get(&pid).cloned();
        entry.is_some_and(|entry| {
            self.cancel_entry(&entry);
            true
        })
    }

    /// `pg_terminate_backend(pid)`: ends the session. False if there is no such session.
    pub fn terminate(&self, pid: i32) -> bool {
        let entry = self.entries.lock().get(&pid).cloned();
        entry.is_some_and(|entry| {
            entry.terminate.cancel();
            true
        })
    }

    /// A cancel request of the protocol: only who knows the secret stops the statement.
    pub(crate) fn cancel_with_secret(&self, pid: i32, secret: &[u8]) {
        let entry = self.entries.lock().get(&pid).cloned();
        if let Some(entry) = entry.filter(|entry| same_bytes(&entry.secret, secret)) {
            self.cancel_entry(&entry);
        }
    }

    fn cancel_entry(&self, entry: &SessionEntry) {
        if let Some(control) = entry.statement.lock().as_ref() {
            self.counters.cancels.fetch_add(1, Ordering::Relaxed);
            control.stop(StopReason::UserRequest);
        }
    }

    /// A number for a new session that no other has.
    pub(crate) fn next_pid(&self) -> i32 {
        let entries = self.entries.lock();
        loop {
            let pid = self.next_pid.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
            if pid != 0 && !entries.contains_key(&pid) {
                return pid;
            }
        }
    }

    /// Adds a session, unless there are as many as may be.
    ///
    /// # Errors
    /// 53300.
    pub(crate) fn add(
        self: &Arc<Self>,
        identity: Identity,
        secret: Vec<u8>,
        terminate: CancellationToken,
        limits: Limits,
    ) -> Result<Registration, SqlError> {
        let (pid, role) = (identity.pid, identity.role);
        let info = SessionInfo {
            state_changed_at: identity.started_at,
            identity,
            application_name: String::new(),
            state: ActivityState::Idle,
            query: String::new(),
            query_started_at: None,
            transaction_started_at: None,
        };
        let entry = Arc::new(SessionEntry { secret, info: Mutex::new(info), statement: Mutex::new(None), terminate });
        let mut entries = self.entries.lock();
        let refuse = |message: String| Err(SqlError::new(SqlState("53300"), message));
        if entries.len() >= limits.connections_max {
            return refuse("sorry, too many clients already".into());
        }
        if !limits.superuser {
            // A superuser has to come in when others fill the server.
            if entries.len() + limits.reserved() >= limits.connections_max {
                return refuse("remaining connection slots are reserved for superuser connections".into());
            }
            let of_role = entries.values().filter(|entry| entry.info.lock().identity.role == role).count();
            if usize::try_from(limits.of_role).is_ok_and(|most| of_role >= most) {
                return refuse(format!("too many connections for role \"{}\"", entry.info.lock().identity.user));
            }
        }
        entries.insert(pid, entry.clone());
        self.counters.sessions.fetch_add(1, Ordering::Relaxed);
        Ok(Registration { sessions: self.clone(), entry })
    }
}

/// A session's place in the list; gone with the value, however the session ended.
#[derive(Debug)]
pub(crate) struct Registration {
    sessions: Arc<Sessions>,
    entry: Arc<SessionEntry>,
}

impl Registration {
    /// What is listed.
    pub(crate) fn entry(&self) -> &Arc<SessionEntry> {
        &self.entry
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let pid = self.entry.info.lock().identity.pid;
        self.sessions.entries.lock().remove(&pid);
    }
}

impl SessionEntry {
    /// Fires when the session is to end.
    pub(crate) fn terminate(&self) -> &CancellationToken {
        &self.terminate
    }

    /// A statement starts; `timeout` bounds it.
    pub(crate) fn start_statement(&self, timeout: Option<Duration>) -> Arc<StatementControl> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let control =
            Arc::new(StatementControl { token: CancellationToken::new(), reason: Mutex::new(None), deadline });
        *self.statement.lock() = Some(control.clone());
        control
    }

    /// The statement is over; what comes for it now is too late.
    pub(crate) fn end_statement(&self) {
        *self.statement.lock() = None;
    }

    /// Shows a statement as running.
    pub(crate) fn show_active(&self, query: &str) {
        let mut info = self.info.lock();
        let end = (0..=query.len().min(QUERY_BYTES_MAX)).rev().find(|end| query.is_char_boundary(*end)).unwrap_or(0);
        info.query = query[..end].to_owned();
        info.state = ActivityState::Active;
        info.state_changed_at = SystemTime::now();
        info.query_started_at = Some(info.state_changed_at);
    }

    /// Shows the session as waiting.
    pub(crate) fn show_idle(&self, state: ActivityState) {
        let mut info = self.info.lock();
        info.state = state;
        info.state_changed_at = SystemTime::now();
        info.transaction_started_at = match state {
            ActivityState::Idle => None,
            _ => info.transaction_started_at.or(Some(info.state_changed_at)),
        };
    }

    /// Shows the name the client gave itself.
    pub(crate) fn show_application_name(&self, name: &str) {
        name.clone_into(&mut self.info.lock().application_name);
    }
}

impl StatementControl {
    /// The token the statement runs under.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Stops the statement; the first reason is the one that is told.
    pub(crate) fn stop(&self, reason: StopReason) {
        self.reason.lock().get_or_insert(reason);
        self.token.cancel();
    }

    /// Why the statement was stopped, if it was.
    pub(crate) fn reason(&self) -> Option<StopReason> {
        *self.reason.lock()
    }

    /// Waits until the statement is to stop: by request, by its deadline, or because the session ends.
    pub(crate) async fn stopped(&self, terminate: &CancellationToken) -> StopReason {
        let deadline = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.token.cancelled() => {}
            () = terminate.cancelled() => self.stop(StopReason::Terminate),
            () = deadline => self.stop(StopReason::Timeout),
        }
        self.reason().unwrap_or(StopReason::UserRequest)
    }
}

impl StopReason {
    /// What the client is told.
    pub(crate) fn error(self) -> SqlError {
        match self {
            Self::UserRequest => SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to user request"),
            Self::Timeout => SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout"),
            Self::Terminate => terminated(),
        }
    }
}

/// What a session hears that is ended from outside.
pub(crate) fn terminated() -> SqlError {
    SqlError::new(SqlState("57P01"), "terminating connection due to administrator command")
}

/// Compares two secrets in a time that depends on their lengths alone.
fn same_bytes(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |difference, (l, r)| difference | (l ^ r));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(pid: i32) -> Identity {
        let started_at = SystemTime::now();
        Identity { pid, user: "u".into(), role: 1, database: "d".into(), client: None, started_at }
    }

    fn of(connections_max: usize) -> Limits {
        Limits { connections_max, of_role: -1, superuser: false }
    }

    #[tokio::test]
    async fn only_the_right_secret_stops_a_statement() {
        let sessions = Sessions::new();
        let pid = sessions.next_pid();
        let registration =
            sessions.add(identity(pid), vec![1, 2, 3, 4], CancellationToken::new(), of(1)).expect("room");
        let entry = registration.entry();
        let control = entry.start_statement(None);
        sessions.cancel_with_secret(pid, &[1, 2, 3]);
        sessions.cancel_with_secret(pid, &[1, 2, 3, 5]);
        sessions.cancel_with_secret(pid + 1, &[1, 2, 3, 4]);
        assert!(!control.token().is_cancelled());
        sessions.cancel_with_secret(pid, &[1, 2, 3, 4]);
        assert_eq!(control.stopped(entry.terminate()).await, StopReason::UserRequest);
        entry.end_statement();
        assert!(sessions.cancel(pid));
        assert_eq!(sessions.counters().cancels.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn the_list_is_bounded_and_shows_what_runs() {
        let sessions = Sessions::new();
        let registration = sessions.add(identity(1), vec![], CancellationToken::new(), of(1)).expect("room");
        let entry = registration.entry();
        let refused = |limits| {
            let added = sessions.add(identity(2), vec![], CancellationToken::new(), limits);
            added.err().map(|error| (error.state.0, error.message))
        };
        assert_eq!(refused(of(1)), Some(("53300", "sorry, too many clients already".into())));
        let of_role = Some(("53300", "too many connections for role \"u\"".into()));
        assert_eq!(refused(Limits { of_role: 1, ..of(9) }), of_role);
        assert_eq!(refused(Limits { of_role: 2, ..of(9) }), None);
        assert_eq!(refused(Limits { of_role: 1, superuser: true, ..of(9) }), None);
        let reserved = Some(("53300", "remaining connection slots are reserved for superuser connections".into()));
        assert_eq!(refused(Limits { connections_max: 10, ..of(9) }), None);
        let second = sessions.add(identity(3), vec![], CancellationToken::new(), of(9)).expect("room");
        let filled: Vec<_> = (4..11)
            .map(|pid| sessions.add(identity(pid), vec![], CancellationToken::new(), of(10)).expect("room"))
            .collect();
        assert_eq!(refused(of(10)), reserved);
        assert_eq!(refused(Limits { superuser: true, ..of(10) }), None);
        drop((second, filled));
        entry.show_active(&"é".repeat(600));
        assert_eq!(sessions.list()[0].query.len(), 1024);
        entry.show_idle(ActivityState::IdleInTransaction);
        assert!(sessions.list()[0].transaction_started_at.is_some());
        drop(registration);
        assert_eq!(sessions.count(), 0);
    }
}
