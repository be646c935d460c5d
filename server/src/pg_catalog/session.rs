//! What a session brings to a catalog query: who asks, from where, with which settings, and who else is connected.
//!
//! The catalog knows no session type: whoever has sessions implements [`SessionAccess`] and fills in [`SessionFacts`].

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use sql::administration::Privilege;
use sql::error::SqlError;

use crate::roles::Securable;

/// The facts of one session, cheap to make and to clone.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// The current role.
    pub user: String,
    /// The role that connected.
    pub session_user: String,
    /// The oids of the roles whose rights the session has.
    pub enabled_roles: BTreeSet<u32>,
    /// The number clients cancel by.
    pub backend_pid: i32,
    /// Schemas that unqualified names are looked up in, in order, without `pg_catalog` unless it was named.
    pub search_path: Vec<String>,
    /// The client's address; `None` over a local socket.
    pub client: Option<SocketAddr>,
    /// The address the client reached us at; `None` over a local socket.
    pub server: Option<SocketAddr>,
    /// When the server started, in µs since 1970.
    pub server_started: i64,
    /// The live side: settings and other sessions.
    pub access: Arc<dyn SessionAccess>,
}

/// The live side of a session, asked while a query runs.
pub trait SessionAccess: Debug + Send + Sync {
    /// The value of setting `name` (lower case), if there is such a setting.
    fn setting(&self, name: &str) -> Option<String>;

    /// Changes a setting, until the transaction ends if `local`, and returns the value it has then.
    ///
    /// # Errors
    /// 42704 for an unknown setting, 22023 for a value it cannot have.
    fn set(&self, name: &str, value: &str, local: bool) -> Result<String, SqlError>;

    /// All settings.
    fn settings(&self) -> Vec<Setting>;

    /// All sessions.
    fn sessions(&self) -> Vec<SessionActivity>;

    /// Cancels what session `pid` runs; false if there is no such session.
    ///
    /// # Errors
    /// 42501.
    fn cancel(&self, pid: i32) -> Result<bool, SqlError>;

    /// Ends session `pid`; false if there is no such session.
    ///
    /// # Errors
    /// 42501.
    fn terminate(&self, pid: i32) -> Result<bool, SqlError>;

    /// True if a role has a privilege, or may grant it. A privilege that nothing needs here, superusers have.
    fn holds(&self, grantee: Grantee, on: Securable, privilege: Option<Privilege>, grantable: bool) -> bool;

    /// True if a role is a member of another: with `inherits` only if it has its privileges, with `admin` only if it may make
    /// others members.
    fn is_member(&self, member: Grantee, of: u32, inherits: bool, admin: bool) -> bool;
}

/// Whose privileges are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grantee {
    /// Those of who asks.
    Asker,
    /// Those of the role of this oid.
    Role(u32),
    /// What everybody has.
    Public,
}

/// A row of `pg_settings`.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// The value's unit: `ms`, `kB`, …
    pub unit: Option<String>,
    /// The heading it is listed under.
    pub category: String,
    /// What it does, in a line.
    pub description: String,
    /// Who may set it: `internal`, `postmaster`, `sighup`, `superuser`, `user`.
    pub context: &'static str,
    /// `bool`, `enum`, `integer`, `real` or `string`.
    pub value_type: &'static str,
    /// Where its value comes from: `default`, `configuration file`, `session`, …
    pub source: &'static str,
    /// The values an `enum` can have.
    pub choices: Vec<String>,
    /// Its value before anything was set.
    pub boot_value: Option<String>,
    /// Its value after RESET.
    pub reset_value: Option<String>,
}

/// A row of `pg_stat_activity`. Times are µs since 1970.
#[derive(Debug, Clone, Default)]
pub struct SessionActivity {
    /// The number clients cancel by.
    pub pid: i32,
    /// Its role.
    pub user: String,
    /// `application_name`.
    pub application_name: String,
    /// Where it comes from.
    pub client: Option<SocketAddr>,
    /// When it connected.
    pub backend_start: i64,
    /// When its transaction began.
    pub transaction_start: Option<i64>,
    /// When its last statement began.
    pub query_start: Option<i64>,
    /// When its state last changed.
    pub state_change: Option<i64>,
    /// `active`, `idle`, `idle in transaction`, …
    pub state: String,
    /// Its last statement.
    pub query: String,
}
