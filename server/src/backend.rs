//! What the front door asks of the database behind it.
//!
//! The sessions of [`crate::session`] and [`crate::pg`] own everything about a connection: settings, transactions,
//! cursors, prepared statements, wire formats. Whatever needs a catalog or data goes through [`Backend`]. Statements
//! flow in as [`sql::statement::Parsed`] with typed parameters; rows flow out as a stream of record batches.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use parking_lot::Mutex;
use sql::statement::Parsed;
use sql::{SqlError, SqlState};
use tokio_util::sync::CancellationToken;

pub use crate::audit::Audit;
pub use crate::session::settings::Settings;

/// Field metadata that names a column's Postgres type where Arrow's type alone does not say it: `oid`, `name`,
/// `"char"`, `json`, `jsonb`, `uuid`, `varchar(20)`, `regclass`, `int2vector`, `_text`, …
pub const PG_TYPE: &str = "tidemark.pg_type";

/// Field metadata: the oid of the relation a result column comes from, in decimal. Absent is 0.
pub const PG_TABLE_OID: &str = "tidemark.pg_table_oid";

/// Field metadata: the column's number within that relation, in decimal. Absent is 0.
pub const PG_ATTRIBUTE_NUMBER: &str = "tidemark.pg_attribute_number";

/// The database as a session sees it.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Splits a query string into statements. Positions in the error count from the string's first character.
    ///
    /// # Errors
    /// 42601 and its kin.
    fn parse(&self, text: &str) -> Result<Vec<Parsed>, SqlError>;

    /// The newest published tick.
    fn read_point(&self) -> ReadPoint;

    /// An earlier tick.
    ///
    /// # Errors
    /// 22023 if it is not kept, or has not come yet.
    fn read_point_at(&self, tick: u64) -> Result<ReadPoint, SqlError>;

    /// The types of a statement's parameters and of its columns, without running it. Called once when a statement is
    /// prepared. The answer holds one type per parameter: the client's where it gave one, the inferred one elsewhere
    /// (`$1::int8` is an int8, as is the `$1` of `id = $1` for such a column), text where nothing tells.
    ///
    /// # Errors
    /// What planning the statement reports; 42P18 where a parameter's type cannot be told.
    async fn describe(&self, request: &Request<'_>) -> Result<Description, SqlError>;

    /// Runs a statement. `parameters` are as many, and of the types, as [`Backend::describe`] said, except that a
    /// numeric comes with the precision and scale it was written with.
    ///
    /// A SELECT's future may be dropped when the statement is cancelled; every other statement's runs to its end and
    /// looks at [`Request::cancel`] where it can stop. The token also fires when the rows are no longer wanted.
    ///
    /// # Errors
    /// What the statement reports. After a cancel any error will do: the session says which cancel it was.
    async fn execute(&self, request: &Request<'_>, parameters: Vec<ScalarValue>) -> Result<Outcome, SqlError>;

    /// Runs an INSERT whose rows, called [`COPIED`](sql::write::COPIED) in it, are `rows` of `schema`. It runs to its end.
    ///
    /// # Errors
    /// What the statement reports; then nothing was inserted.
    async fn insert_copied(
        &self,
        request: &Request<'_>,
        rows: Vec<RecordBatch>,
        schema: SchemaRef,
    ) -> Result<Outcome, SqlError>;

    /// The read point as a block sees it that has written something.
    fn with_writes(&self, point: ReadPoint, writes: &BlockWrites) -> ReadPoint;

    /// Makes what a block has written everybody's, all in one tick or not at all.
    ///
    /// # Errors
    /// 23505, 40001.
    async fn commit(&self, writes: &BlockWrites) -> Result<(), SqlError>;

    /// True if clients may connect to `name`.
    fn database_exists(&self, name: &str) -> bool;

    /// Whom a client is that may connect as `user`, its password checked.
    ///
    /// # Errors
    /// 28000 if there is no such role or it may not log in, 42501 if it may not connect to the database.
    fn login(&self, user: &str) -> Result<Login, SqlError>;

    /// True once some superuser has a password: from then on everybody needs one.
    fn password_required(&self) -> bool;

    /// The password verifier of a role; `None` if the role or its password does not exist, or is no longer good.
    fn scram_verifier(&self, role: &str) -> Option<ScramVerifier>;

    /// What the verifiers of roles that do not exist are derived from; the same after a restart.
    fn mock_secret(&self) -> [u8; 32];

    /// How often the hash of a new password is repeated.
    fn scram_iterations(&self) -> u32;

    /// Changes as whom a session acts: the settings `role` and `session_authorization`, and `is_superuser` with them.
    /// `None` is whom it began as.
    ///
    /// # Errors
    /// 22023 for a role that does not exist, 42501 for one that it may not become.
    fn act_as(
        &self,
        identity: &Identity,
        settings: &Settings,
        setting: RoleSetting,
        role: Option<&str>,
        local: bool,
    ) -> Result<(), SqlError>;

    /// Where what happens to rights is written.
    fn audit(&self) -> &Audit;

    /// The value of an engine-wide setting such as `tick_interval`, or `None` if there is no such setting.
    fn show_setting(&self, name: &str) -> Option<String>;

    /// Every engine-wide setting.
    fn show_settings(&self) -> Vec<EngineSetting>;

    /// Changes an engine-wide setting; `None` is its default. False if there is no such setting.
    ///
    /// # Errors
    /// 22023 for a value out of range, 42501 for a role that may not.
    async fn set_setting(
        &self,
        session: (&Identity, &Settings),
        name: &str,
        value: Option<&str>,
    ) -> Result<bool, SqlError>;
}

/// One published tick: what all reads of a transaction see.
#[derive(Clone)]
pub struct ReadPoint {
    /// The tick.
    pub tick: u64,
    /// Whatever the backend needs to read there.
    pub state: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for ReadPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadPoint").field("tick", &self.tick).finish_non_exhaustive()
    }
}

/// A statement about to be described or executed, and the session it is in.
#[derive(Debug)]
pub struct Request<'a> {
    /// The statement.
    pub statement: &'a Parsed,
    /// Parameter types the client gave, by position; may be shorter than the statement has parameters.
    pub parameter_types: &'a [Option<DataType>],
    /// The session's settings; a handle, so `set_config` may change them.
    pub settings: &'a Settings,
    /// Where to read.
    pub read_point: &'a ReadPoint,
    /// Fires when the statement, or the rows it gave, are no longer wanted.
    pub cancel: &'a CancellationToken,
    /// What the transaction block it is in has written so far; `None` outside a block.
    pub block: Option<&'a BlockWrites>,
    /// Who asks.
    pub identity: &'a Identity,
    /// A place to keep what `describe` worked out for `execute`; lives as long as the prepared statement.
    pub plan: &'a PlanSlot,
}

/// Who a session is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The session's number: the pid of its BackendKeyData.
    pub pid: i32,
    /// The role it logged in as.
    pub user: Arc<str>,
    /// The oid of that role.
    pub role: u32,
    /// The database it connected to.
    pub database: Arc<str>,
    /// Where it comes from.
    pub client: Option<(IpAddr, u16)>,
    /// When it connected.
    pub started_at: SystemTime,
}

/// A role that a client may connect as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Login {
    /// Its oid.
    pub role: u32,
    /// May do everything.
    pub superuser: bool,
    /// Sessions at a time; -1 is any number.
    pub connection_limit: i32,
    /// What its sessions start with.
    pub settings: Vec<(String, String)>,
}

/// The settings that say as whom a session acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleSetting {
    /// `role`: as a role that the session's own is a member of.
    Role,
    /// `session_authorization`: as any, for who logged in as a superuser.
    SessionAuthorization,
}

impl RoleSetting {
    /// The setting of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Role, Self::SessionAuthorization].into_iter().find(|setting| setting.name().eq_ignore_ascii_case(name))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::SessionAuthorization => "session_authorization",
        }
    }
}

/// An engine-wide setting, as SHOW ALL lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSetting {
    /// Its name, in lower case.
    pub name: String,
    /// Its value.
    pub value: String,
    /// What it does, one line.
    pub description: String,
}

/// Whatever a backend wants to remember of a prepared statement. What it depends on, the catalog and settings such as
/// search_path, may have changed since: keep their versions with it.
#[derive(Default)]
pub struct PlanSlot(Mutex<Option<Arc<dyn Any + Send + Sync>>>);

impl PlanSlot {
    /// What was kept, if it is a `T`.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.lock().clone()?.downcast().ok()
    }

    /// Keeps `plan`.
    pub fn put<T: Any + Send + Sync>(&self, plan: Arc<T>) {
        *self.0.lock() = Some(plan);
    }
}

impl fmt::Debug for PlanSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlanSlot")
    }
}

/// What a transaction block has written so far, as the backend keeps it. Nobody else sees it before the block's end.
#[derive(Default)]
pub struct BlockWrites(Mutex<Option<Arc<dyn Any + Send + Sync>>>);

impl BlockWrites {
    /// What was kept, if it is a `T`.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.lock().clone()?.downcast().ok()
    }

    /// Keeps `writes` in the place of what was kept.
    pub fn put<T: Any + Send + Sync>(&self, writes: Arc<T>) {
        *self.0.lock() = Some(writes);
    }

    /// True if the block has written nothing.
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_none()
    }
}

impl Clone for BlockWrites {
    /// What was written so far; what either writes from here on the other does not see.
    fn clone(&self) -> Self {
        Self(Mutex::new(self.0.lock().clone()))
    }
}

impl fmt::Debug for BlockWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockWrites")
    }
}

/// The shape of a statement.
#[derive(Debug, Clone, Default)]
pub struct Description {
    /// One type per parameter.
    pub parameters: Vec<DataType>,
    /// The result's columns under their wire names, duplicates allowed; `None` if it returns no rows.
    pub columns: Option<Vec<FieldRef>>,
}

/// What a statement gave.
pub struct Outcome {
    /// Said before the result.
    pub notices: Vec<Notice>,
    /// The result.
    pub result: StatementResult,
}

impl Outcome {
    /// A statement without rows.
    pub fn done(tag: impl Into<String>) -> Self {
        Self { notices: Vec::new(), result: StatementResult::Done { tag: tag.into() } }
    }

    /// Rows, tagged `SELECT n`.
    pub fn rows(columns: Vec<FieldRef>, stream: SendableRecordBatchStream) -> Self {
        let result = StatementResult::Rows { columns, stream, tag: RowsTag::Counted("SELECT") };
        Self { notices: Vec::new(), result }
    }
}

/// Rows or none.
pub enum StatementResult {
    /// Rows follow.
    Rows {
        /// The columns under their wire names, duplicates allowed, by position the stream's columns.
        columns: Vec<FieldRef>,
        /// The rows.
        stream: SendableRecordBatchStream,
        /// The command tag.
        tag: RowsTag,
    },
    /// Nothing follows.
    Done {
        /// The whole command tag, such as `CREATE MATERIALIZED VIEW` or `INSERT 0 5`.
        tag: String,
    },
}

/// How a statement with rows is tagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsTag {
    /// The word and the number of rows: `SELECT 3`.
    Counted(&'static str),
    /// The word alone: `EXPLAIN`, `SHOW`.
    Plain(&'static str),
}

/// A message beside the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How loud.
    pub severity: Severity,
    /// Its SQLSTATE, text, detail and hint.
    pub message: SqlError,
}

impl Notice {
    /// A NOTICE of state 00000.
    pub fn new(message: impl Into<String>) -> Self {
        Self { severity: Severity::Notice, message: SqlError::new(SqlState("00000"), message) }
    }

    /// A WARNING.
    pub fn warning(state: SqlState, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, message: SqlError::new(state, message) }
    }
}

/// How loud a notice is; ordered as `client_min_messages` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// DEBUG1 to DEBUG5.
    Debug,
    /// LOG.
    Log,
    /// NOTICE.
    Notice,
    /// WARNING.
    Warning,
    /// INFO: what the user asked to be told; always sent.
    Info,
}

/// What the server keeps of a password (RFC 5802, RFC 7677): enough to check it, not to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// How often the hash is repeated.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// `H(ClientKey)`.
    pub stored_key: Vec<u8>,
    /// `HMAC(SaltedPassword, "Server Key")`.
    pub server_key: Vec<u8>,
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}
