//! The database behind the front door: the engine, the catalog, and what each statement does to them.
//!
//! A statement comes from a session as [`sql::statement::Parsed`]. DDL is done one at a time, under one lock, against
//! the newest catalog; a SELECT works on the catalog and the snapshot of its read point and takes no lock at all.

mod authorize;
mod backend;
mod block;
mod bounded;
mod catalog_query;
mod change;
mod definitions;
mod degraded;
mod explain;
mod index;
mod memory;
mod query;
mod recovery;
mod relations;
mod rename;
mod role;
mod secrets;
mod show;
mod source;
mod state;
mod subscribe;
mod system;
mod table;
mod verify;
mod view;
mod wait;
mod write;

use std::path::Path;
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use datafusion::execution::SessionState;
use engine::checkpoint::store::Store;
use engine::dataflow::execution::ExecutionConfig;
use engine::engine::{Engine, EngineConfig};
use engine::tick::core::CoreConfig;
use engine::tick::history::Retention;
use engine::tick::interval::TickInterval;
use engine::time::SystemClock;
use engine::view::Snapshot;
use sql::SqlError;
use sql::catalog::Catalog;
use sql::state_budget::StateBudget;
use sql::statement::Statement;
use tokio_util::sync::CancellationToken;

use self::block::OwnWrites;
use self::memory::Memory;
use self::secrets::Secrets;
use crate::audit::Audit;
use crate::backend::{ReadPoint, ScramVerifier};
use crate::config::Config;
use crate::roles::Roles;
use crate::roles::access::Access;
use crate::session::registry::Sessions;

pub use role::tag as administration_tag;
pub use source::{decoder_factory, ingest_spec_of};
pub use view::{PlannedView, plan_view};

/// What a read point holds: one catalog and one snapshot.
#[derive(Debug, Clone)]
pub struct Reading {
    /// What exists.
    pub catalog: Arc<Catalog>,
    /// All views at one tick.
    pub snapshot: Arc<Snapshot>,
    /// The tick is not the newest: what the snapshot does not hold, such as a topic, cannot be read at it.
    pub earlier: bool,
    /// What the transaction block that reads has written itself.
    pub own: Arc<OwnWrites>,
    /// Who reads; `None` is the server itself.
    pub access: Option<Arc<Access>>,
}

impl Reading {
    /// The same as a session's role may read it.
    pub(super) fn seen_by(&self, asker: &catalog_query::Asker) -> Self {
        Self { access: Some(asker.access.clone()), ..self.clone() }
    }

    /// True if the definition of a relation, and what its errors say, may be shown.
    pub(super) fn may_see(&self, name: &str) -> bool {
        self.access.as_ref().is_none_or(|access| access.may_see(&self.catalog, name))
    }
}

/// The database.
pub struct Database {
    /// Itself, for work that outlives the statement that asked for it.
    this: Weak<Self>,
    engine: Arc<Engine>,
    /// What exists, and what it was built as: read without a lock.
    catalog: ArcSwap<Catalog>,
    /// Held while a definition changes.
    changing: tokio::sync::Mutex<()>,
    /// Held while a statement changes rows of tables that it read.
    writing: tokio::sync::Mutex<()>,
    store: Option<Store>,
    /// Where the start is: a [`recovery::Phase`].
    phase: AtomicU8,
    /// What views may take that are created outside a session and say nothing of it.
    max_view_state: StateBudget,
    /// Who may do what.
    roles: ArcSwap<Roles>,
    /// What sources log in with.
    secrets: ArcSwap<Secrets>,
    /// The superuser's password, where the configuration gives it.
    password: Option<ScramVerifier>,
    /// How often the hash of a password is repeated.
    scram_iterations: u32,
    audit: Audit,
    /// What queries hold.
    memory: Memory,
    started_at: SystemTime,
    configured_interval: TickInterval,
    configured_retention: Retention,
    /// Plans and runs SELECTs.
    session_state: SessionState,
    /// Who is connected.
    sessions: Arc<Sessions>,
}

impl Database {
    /// Starts an engine with an empty catalog.
    ///
    /// # Errors
    /// `Input` or `Unavailable` for the data directory.
    pub async fn start(config: &Config, store: Option<Store>) -> engine::Result<Arc<Self>> {
        let storage = store.as_ref().map(|store| store.storage().clone());
        let tasks = Some(tokio::runtime::Handle::current());
        let execution = ExecutionConfig { parallelism: config.parallelism, tasks };
        let core = CoreConfig { execution, quarantine_rows_max: config.quarantine_rows_max, ..Default::default() };
        let engine_config = EngineConfig {
            core,
            interval: config.tick_interval,
            history: config.history_retention,
            checkpoints: config.checkpoints,
            lease: store.as_ref().filter(|store| store.is_shared()).map(|_| config.lease),
        };
        // Taking over the data waits for the disk or the bucket.
        let started = tokio::task::spawn_blocking(move || match storage {
            None => Engine::start(engine_config, Arc::new(SystemClock)),
            Some(storage) => {
                let writer = format!("{:032x}", rand::random::<u128>());
                Engine::open(engine_config, Arc::new(SystemClock), storage, &writer)
            }
        });
        let engine = started.await.map_err(|e| engine::Error::internal("the start ended").with_source(e))??;
        let password =
            config.password.as_ref().map(|s| ScramVerifier::from_password(s.reveal(), config.scram_iterations));
        let audit = Audit::open(&config.audit).map_err(engine::Error::input)?;
        let session_state = session_state()?;
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            engine: Arc::new(engine),
            catalog: ArcSwap::from_pointee(Catalog::default()),
            changing: tokio::sync::Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            store,
            phase: AtomicU8::new(0),
            max_view_state: config.max_view_state,
            roles: ArcSwap::from_pointee(with_password(Roles::default(), password.as_ref())),
            secrets: ArcSwap::default(),
            password,
            scram_iterations: config.scram_iterations,
            audit,
            memory: Memory::default(),
            started_at: SystemTime::now(),
            configured_interval: config.tick_interval,
            configured_retention: config.history_retention,
            session_state,
            sessions: Sessions::new(),
        }))
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The list of sessions, which the front door keeps.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// The newest catalog.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// Who may do what now.
    pub fn roles(&self) -> Arc<Roles> {
        self.roles.load_full()
    }

    /// What sources log in with now.
    pub(super) fn secrets(&self) -> Arc<Secrets> {
        self.secrets.load_full()
    }

    /// When the server started.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// The newest catalog and snapshot.
    pub fn reading(&self) -> Reading {
        // Of a catalog and a snapshot taken while the catalog stood still, every view that is named is there.
        loop {
            let catalog = self.catalog();
            let snapshot = self.engine.snapshot();
            if self.catalog().version() == catalog.version() {
                return Reading { catalog, snapshot, earlier: false, own: Arc::default(), access: None };
            }
        }
    }

    /// The newest reading as a session's read point.
    pub fn newest(&self) -> ReadPoint {
        let reading = self.reading();
        ReadPoint { tick: reading.snapshot.tick.0, state: Arc::new(reading) }
    }

    /// Runs a file of statements.
    ///
    /// # Errors
    /// One sentence with the file's name.
    pub async fn run_file(&self, path: &Path) -> Result<(), String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        self.run(&text).await.map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Runs the DDL statements of a text, outside any session.
    ///
    /// # Errors
    /// The first statement's that fails.
    pub async fn run(&self, text: &str) -> Result<(), SqlError> {
        for parsed in sql::parser::parse(text)? {
            let parsed = match &parsed.statement {
                Statement::CreateMaterializedView(create) => state::with_default(&parsed, create, self.max_view_state),
                _ => std::borrow::Cow::Borrowed(&parsed),
            };
            let outcome = self.change(parsed.as_ref(), &CancellationToken::new()).await?;
            let Some(outcome) = outcome else {
                return Err(SqlError::unsupported("only CREATE and DROP statements can be run here"));
            };
            for notice in outcome.notices {
                tracing::info!("{}", notice.message.message);
            }
        }
        Ok(())
    }

    /// Stops ticks and readers. Reads go on from the last snapshot.
    pub fn stop(&self) {
        self.engine.stop();
    }
}

/// Roles whose superuser has the password that the configuration gives, if it does.
fn with_password(mut roles: Roles, password: Option<&ScramVerifier>) -> Roles {
    if let Some(password) = password {
        roles.set_superuser_password(password.clone());
    }
    roles
}

/// Plans and runs SELECTs, and binds views: all the functions a query may call.
///
/// # Errors
/// `Internal` only.
pub fn session_state() -> engine::Result<SessionState> {
    let mut state = sql::functions::session_state(sql::functions::session_config(), Arc::default())?;
    bounded::register(&mut state)?;
    Ok(state)
}

/// Runs blocking work of the engine off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> engine::Result<T> + Send + 'static) -> Result<T, SqlError> {
    let joined = tokio::task::spawn_blocking(work).await;
    Ok(joined.map_err(|e| engine::Error::internal("a task ended").with_source(e))??)
}
