//! Statements as the session executes them.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::sql::sqlparser::ast;
use engine::source::StartPosition;

use crate::administration::Administration;
use crate::state_budget::StateBudget;
use crate::types;

/// One statement of a query string.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What it is.
    pub statement: Statement,
    /// Its own text, from its first token to its last; positions in errors of the binder count from its first character.
    pub text: String,
    /// Characters before it in the query string: what a server adds to such a position.
    pub offset: usize,
    /// `AS OF TICK n` behind a query.
    pub as_of_tick: Option<u64>,
}

/// What a statement asks for.
#[derive(Debug, Clone)]
pub enum Statement {
    /// `CREATE SOURCE`, or `CREATE TABLE … WITH (connector = …)`.
    CreateSource(Box<CreateSource>),
    /// `CREATE [OR REPLACE] MATERIALIZED VIEW`.
    CreateMaterializedView(Box<CreateMaterializedView>),
    /// `CREATE [OR REPLACE] VIEW`: a name for a query, kept as text.
    CreateView(Box<CreateView>),
    /// `CREATE TABLE` without a connector.
    CreateTable(Box<CreateTable>),
    /// `CREATE INDEX`.
    CreateIndex(Box<CreateIndex>),
    /// `DROP INDEX`.
    DropIndex(DropIndex),
    /// `INSERT`, `UPDATE`, `DELETE`, `TRUNCATE`.
    Write(Box<Write>),
    /// `DROP SOURCE | TABLE | MATERIALIZED VIEW | VIEW`.
    Drop(Drop),
    /// `ALTER … RENAME TO`.
    Rename(Rename),
    /// Roles, privileges, owners and secrets: CREATE ROLE, GRANT, ALTER … OWNER TO, CREATE SECRET, …
    Administer(Box<Administration>),
    /// `SHOW SOURCES | TABLES | MATERIALIZED VIEWS | VIEWS | TICKS | BACKFILLS`.
    ShowObjects(ShowObjects),
    /// `DESCRIBE name`, `DESC name`, `SHOW COLUMNS FROM name`.
    Describe {
        /// The schema, if it is named and not `public`.
        schema: Option<String>,
        /// The relation.
        name: String,
    },
    /// `SHOW CREATE SOURCE | MATERIALIZED VIEW | VIEW name`.
    ShowCreate {
        /// What the name must stand for, if the statement says.
        kind: Option<ObjectKind>,
        /// The object.
        name: String,
    },
    /// `EXPLAIN [ANALYZE] [VERBOSE] [(options)] query | MATERIALIZED VIEW name | CREATE MATERIALIZED VIEW …`.
    Explain(Box<Explain>),
    /// SELECT, VALUES, TABLE t.
    Query(Box<ast::Query>),
    /// `FLUSH`: wait until everything written before is visible.
    Flush,
    /// `CHECKPOINT`: write one, and wait until it is written.
    Checkpoint,
    /// `VERIFY MATERIALIZED VIEW …`.
    Verify(Verify),
    /// `WAIT FOR …`: wait until something is visible.
    Wait(Wait),
    /// `SUBSCRIBE …`.
    Subscribe(Box<Subscribe>),
    /// `COPY (SUBSCRIBE …) TO STDOUT`, `DECLARE … CURSOR FOR SUBSCRIBE …`.
    OfSubscription {
        /// The statement around it, with a query in its place.
        around: Box<ast::Statement>,
        /// The subscription.
        subscribe: Box<Parsed>,
    },
    /// `FETCH … WITH (timeout = …)`.
    FetchWithin {
        /// The [`ast::Statement::Fetch`].
        fetch: Box<ast::Statement>,
        /// How long it waits for rows.
        timeout: Duration,
    },
    /// `MOVE …`: what it moves over is a [`ast::Statement::Fetch`] whose rows are counted and not sent.
    Move(Box<ast::Statement>),
    /// Everything about the session itself: SET, SHOW setting, RESET, BEGIN, COMMIT, DECLARE, FETCH, PREPARE, COPY TO, …
    ///
    /// Spellings sqlparser does not know come as the statement they stand for: `ABORT` as ROLLBACK, `FETCH c` as
    /// FETCH NEXT FROM c. Any query inside (DECLARE, PREPARE, COPY) is a plain query, checked like one.
    Session(Box<ast::Statement>),
}

/// `SUBSCRIBE`: rows, then their changes as they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// Whose rows.
    pub followed: Followed,
    /// Whether the rows at the start come first.
    pub snapshot: bool,
    /// Whether rows say how far it is, too.
    pub progress: bool,
    /// The tick to start at; the newest if none is given.
    pub as_of: Option<u64>,
    /// The last tick whose changes are given; without one it never ends by itself.
    pub up_to: Option<u64>,
}

/// What SUBSCRIBE follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// A view or table.
    Relation(Place),
    /// The answer of a query.
    Query(Box<ast::Query>),
}

/// `VERIFY MATERIALIZED VIEW`: is the view what its query says?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verify {
    /// The view.
    pub view: String,
    /// Its 1-based position in the statement's text.
    pub position: usize,
    /// At which tick; the newest if none is given.
    pub tick: Option<u64>,
}

/// What WAIT waits for, and how long at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// A tick.
    Tick {
        /// Its number.
        tick: u64,
        /// Without one it waits as long as it takes.
        timeout: Option<Duration>,
    },
    /// A record.
    Offset {
        /// The source.
        source: String,
        /// Its 1-based position in the statement's text.
        position: usize,
        /// The partition.
        partition: i32,
        /// The record's offset.
        offset: i64,
        /// Without one it waits as long as it takes.
        timeout: Option<Duration>,
    },
}

/// `CREATE TABLE` without a connector.
#[derive(Debug, Clone)]
pub struct CreateTable {
    /// The table's name.
    pub name: String,
    /// True after IF NOT EXISTS: an existing table is a NOTICE.
    pub if_not_exists: bool,
    /// The columns.
    pub columns: Vec<FieldRef>,
    /// Each column's DEFAULT.
    pub defaults: Vec<Option<ast::Expr>>,
    /// The columns of the primary key, by index, in the order given; empty without one.
    pub primary_key: Vec<usize>,
}

/// `CREATE INDEX [[IF NOT EXISTS] name] ON relation (column, …)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateIndex {
    /// Its name; one is made where none is given.
    pub name: Option<String>,
    /// True after IF NOT EXISTS: an existing one is a NOTICE.
    pub if_not_exists: bool,
    /// The view or table.
    pub relation: Place,
    /// The columns, in order.
    pub columns: Vec<Place>,
}

/// `DROP INDEX [IF EXISTS] name, …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropIndex {
    /// Which.
    pub names: Vec<String>,
    /// True after IF EXISTS: a missing one is a NOTICE.
    pub if_exists: bool,
}

/// A name and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name.
    pub name: String,
    /// Its 1-based position in the statement's text.
    pub position: usize,
}

/// A statement that changes a table's rows.
#[derive(Debug, Clone)]
pub struct Write {
    /// The table.
    pub table: Place,
    /// Its name within the statement.
    pub alias: Option<String>,
    /// What is done.
    pub action: WriteAction,
    /// `RETURNING …`.
    pub returning: Option<Vec<ast::SelectItem>>,
}

/// What is done to a table's rows.
#[derive(Debug, Clone)]
pub enum WriteAction {
    /// `INSERT INTO t [(columns)] source [ON CONFLICT …]`.
    Insert {
        /// The columns named; empty for all.
        columns: Vec<Place>,
        /// The rows; `None` for DEFAULT VALUES.
        source: Option<Box<ast::Query>>,
        /// `ON CONFLICT …`.
        conflict: Option<Conflict>,
    },
    /// `UPDATE t SET … [WHERE …]`.
    Update {
        /// `SET …`.
        assigned: Vec<Assigned>,
        /// `WHERE …`.
        selection: Option<ast::Expr>,
    },
    /// `DELETE FROM t [WHERE …]`.
    Delete {
        /// `WHERE …`.
        selection: Option<ast::Expr>,
    },
    /// `TRUNCATE t`.
    Truncate,
}

/// `ON CONFLICT …`.
#[derive(Debug, Clone)]
pub struct Conflict {
    /// With what.
    pub target: ConflictTarget,
    /// `DO UPDATE SET … [WHERE …]`; `None` for DO NOTHING.
    pub update: Option<(Vec<Assigned>, Option<ast::Expr>)>,
}

/// What an inserted row may be in conflict with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConflictTarget {
    /// Anything.
    Any,
    /// The key of these columns.
    Columns(Vec<Place>),
    /// `ON CONSTRAINT …`.
    Constraint(Place),
}

/// `column = value` behind SET.
#[derive(Debug, Clone)]
pub struct Assigned {
    /// The column.
    pub column: Place,
    /// Its new value.
    pub value: ast::Expr,
    /// The value's 1-based position in the statement's text.
    pub position: usize,
}

/// `CREATE SOURCE`.
#[derive(Debug, Clone)]
pub struct CreateSource {
    /// The source's name.
    pub name: String,
    /// True after IF NOT EXISTS: an existing source is a NOTICE.
    pub if_not_exists: bool,
    /// True after OR REPLACE.
    pub or_replace: bool,
    /// The declared columns, as Arrow fields ([`crate::parser`] maps the SQL types).
    pub columns: Vec<FieldRef>,
    /// The columns of the primary key, by index, in the order given; empty without one.
    pub primary_key: Vec<usize>,
    /// What its records are.
    pub envelope: Envelope,
    /// The watermark, if one is declared.
    pub watermark: Option<WatermarkDefinition>,
    /// `INCLUDE` metadata columns in the order given, each with its column name.
    pub include: Vec<(MetadataColumn, String)>,
    /// `WITH (…)`: names in lower case, in the order given. The connector parses them.
    pub options: Vec<(String, String)>,
    /// Options whose values are secrets (`SECRET name`), each with the secret's name.
    pub secrets: Vec<(String, String)>,
    /// Where reading starts (from the options `start`, `start_timestamp`, `start_offsets`).
    pub start: StartPosition,
}

/// `ENVELOPE …`: what a source's records are to its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Envelope {
    /// Each record is a row of its own.
    #[default]
    None,
    /// The last record of each key is a row; one without payload deletes it.
    Upsert,
    /// Records are Debezium's change events.
    Debezium,
}

impl Envelope {
    /// What FORMAT calls it.
    pub fn format_name(self) -> &'static str {
        if self == Self::None { "PLAIN" } else { self.name() }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Upsert => "UPSERT",
            Self::Debezium => "DEBEZIUM",
        }
    }
}

impl std::fmt::Display for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// `WATERMARK FOR column AS column - INTERVAL '…' [ACCEPT LATE INTERVAL '…'] [IDLE TIMEOUT INTERVAL '…']`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkDefinition {
    /// The event time column.
    pub column: String,
    /// How far behind the newest row another may come before windows close without it.
    pub delay: Duration,
    /// How far behind it may come and still be accepted, if that is said; not less than the delay, which it is else.
    pub accept_late: Option<Duration>,
    /// How long a caught-up partition may be silent before it stops holding the watermark back; `None` is never.
    pub idle_timeout: Option<Duration>,
}

impl WatermarkDefinition {
    /// Whether rows are accepted for windows that have closed.
    pub fn accepts_late(&self) -> bool {
        self.accept_late.is_some_and(|accepted| accepted > self.delay)
    }
}

/// What `INCLUDE` can add to a source's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataColumn {
    /// `_partition` int4.
    Partition,
    /// `_offset` int8.
    Offset,
    /// `_timestamp` timestamptz: the record's time in the log.
    Timestamp,
    /// `_key` bytea.
    Key,
    /// `_headers`: list of (name text, value bytea).
    Headers,
    /// `_topic` text.
    Topic,
}

impl MetadataColumn {
    /// Every metadata column.
    pub const ALL: [Self; 6] = [Self::Partition, Self::Offset, Self::Timestamp, Self::Key, Self::Headers, Self::Topic];

    /// The column's name unless `AS` gives another.
    pub fn default_name(self) -> &'static str {
        match self {
            Self::Partition => "_partition",
            Self::Offset => "_offset",
            Self::Timestamp => "_timestamp",
            Self::Key => "_key",
            Self::Headers => "_headers",
            Self::Topic => "_topic",
        }
    }

    /// The column as the source shows it, under `name`. Partition, offset and topic are never null.
    pub fn field(self, name: &str) -> FieldRef {
        let (data_type, nullable) = match self {
            Self::Partition => (DataType::Int32, false),
            Self::Offset => (DataType::Int64, false),
            Self::Timestamp => (types::timestamptz(), true),
            Self::Key => (DataType::Binary, true),
            Self::Headers => {
                let fields =
                    vec![Field::new("name", DataType::Utf8View, false), Field::new("value", DataType::Binary, true)];
                (DataType::new_list(DataType::Struct(fields.into()), true), true)
            }
            Self::Topic => (DataType::Utf8View, false),
        };
        Arc::new(Field::new(name, data_type, nullable))
    }
}

/// When a view's rows appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Emit {
    /// At once, and corrected as input comes: the view equals the batch answer.
    #[default]
    OnUpdate,
    /// Once, when the watermark passes the window's end: append-only and final.
    OnWindowClose,
}

/// `CREATE MATERIALIZED VIEW`.
#[derive(Debug, Clone)]
pub struct CreateMaterializedView {
    /// The view's name.
    pub name: String,
    /// Column names, where given.
    pub columns: Vec<String>,
    /// True after OR REPLACE.
    pub or_replace: bool,
    /// True after IF NOT EXISTS.
    pub if_not_exists: bool,
    /// The body.
    pub query: Box<ast::Query>,
    /// The body's text, for the catalog.
    pub query_text: String,
    /// `EMIT ON WINDOW CLOSE`, or `WITH (emit = 'on_window_close')`.
    pub emit: Emit,
    /// `WITH (on_error = …)`.
    pub on_error: OnError,
    /// `WITH (max_state = …)`.
    pub max_state: Option<StateBudget>,
}

/// What becomes of a row on which one of a view's expressions fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// It is left out, and told in `<view>_errors`.
    #[default]
    Exclude,
    /// It fails the view.
    Fail,
}

/// `CREATE VIEW`.
#[derive(Debug, Clone)]
pub struct CreateView {
    /// The view's name.
    pub name: String,
    /// Column names, where given.
    pub columns: Vec<String>,
    /// True after OR REPLACE.
    pub or_replace: bool,
    /// True after IF NOT EXISTS.
    pub if_not_exists: bool,
    /// The body.
    pub query: Box<ast::Query>,
    /// The body's text.
    pub query_text: String,
}

/// The kinds of object a name can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A source.
    Source,
    /// A materialized view.
    MaterializedView,
    /// A plain view.
    View,
    /// A table. After `DROP TABLE` and `ALTER TABLE` it stands for a source as well.
    Table,
}

/// `DROP … name [, …] [CASCADE | RESTRICT]`.
#[derive(Debug, Clone)]
pub struct Drop {
    /// What is dropped.
    pub kind: ObjectKind,
    /// Which.
    pub names: Vec<String>,
    /// True after IF EXISTS: a missing one is a NOTICE.
    pub if_exists: bool,
    /// True after CASCADE.
    pub cascade: bool,
}

/// `ALTER SOURCE | TABLE | VIEW | MATERIALIZED VIEW [IF EXISTS] name RENAME TO name`.
#[derive(Debug, Clone)]
pub struct Rename {
    /// What is renamed.
    pub kind: ObjectKind,
    /// Which.
    pub name: String,
    /// Its new name.
    pub new_name: String,
    /// True after IF EXISTS: a missing one is a NOTICE.
    pub if_exists: bool,
}

/// What `SHOW` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShowObjects {
    /// Sources with their partitions' state.
    Sources,
    /// Materialized views.
    MaterializedViews,
    /// Plain views.
    Views,
    /// Everything that can stand in FROM.
    Tables,
    /// The last ticks.
    Ticks,
    /// The last checkpoints.
    Checkpoints,
    /// Views that are being built.
    Backfills,
}

/// `EXPLAIN`.
#[derive(Debug, Clone)]
pub struct Explain {
    /// Run it and show figures.
    pub analyze: bool,
    /// Show more.
    pub verbose: bool,
    /// `FORMAT JSON`.
    pub json: bool,
    /// `STATE`: what would be kept to maintain it.
    pub state: bool,
    /// What is explained.
    pub target: ExplainTarget,
}

/// What `EXPLAIN` explains.
#[derive(Debug, Clone)]
pub enum ExplainTarget {
    /// An ad-hoc query.
    Query(Box<ast::Query>),
    /// A materialized view that exists.
    MaterializedView(String),
    /// A view about to be created.
    CreateMaterializedView(Box<CreateMaterializedView>),
}
