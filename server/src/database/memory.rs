//! Memory of queries: each has its own bound, and all of one role together have another.
//!
//! DataFusion's operators ask the pool of their query before they keep anything that grows with the data: sorts, hash
//! tables, groups. Beyond the bound the query fails with 53200. Nothing is written to disk instead.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use parking_lot::Mutex;
use sql::SqlError;

use super::Database;
use crate::backend::Settings;

/// The setting of a query's bound.
pub(super) const QUERY_MEMORY_MAX: &str = "query_memory_max";
/// The setting of a role's bound.
pub(super) const ROLE_MEMORY_MAX: &str = "role_memory_max";

/// What the queries of each role hold now, bytes.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<u32, Arc<AtomicUsize>>>);

impl Memory {
    fn of_role(&self, role: u32) -> Arc<AtomicUsize> {
        self.0.lock().entry(role).or_default().clone()
    }
}

/// How much a query may hold, and where it is counted.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    query_max: Option<usize>,
    role_max: Option<usize>,
    role: Arc<AtomicUsize>,
}

/// The memory of one query.
#[derive(Debug)]
struct QueryMemory {
    allowance: Allowance,
    held: AtomicUsize,
}

impl QueryMemory {
    /// Takes bytes, if they are there.
    fn take(&self, bytes: usize) -> std::result::Result<(), (&'static str, usize)> {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let of_role = self.allowance.role.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let bounds =
            [(held, self.allowance.query_max, QUERY_MEMORY_MAX), (of_role, self.allowance.role_max, ROLE_MEMORY_MAX)];
        for (held, most, setting) in bounds {
            if let Some(most) = most.filter(|most| held > *most) {
                self.give(bytes);
                return Err((setting, most));
            }
        }
        Ok(())
    }

    fn give(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.allowance.role.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for QueryMemory {
    /// What a query did not give back is not to burden the role.
    fn drop(&mut self) {
        let left = *self.held.get_mut();
        self.allowance.role.fetch_sub(left, Ordering::Relaxed);
    }
}

impl fmt::Display for QueryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl MemoryPool for QueryMemory {
    fn name(&self) -> &str {
        "query"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        self.held.fetch_add(additional, Ordering::Relaxed);
        self.allowance.role.fetch_add(additional, Ordering::Relaxed);
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        self.give(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.take(additional).map_err(|(setting, most)| {
            let operator = reservation.consumer().name();
            let message = format!("{operator} asks for {additional} bytes more than {setting} ({most} bytes) leaves");
            DataFusionError::ResourcesExhausted(message)
        })
    }

    fn reserved(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.allowance.query_max.map_or(MemoryLimit::Infinite, MemoryLimit::Finite)
    }
}

impl Database {
    /// What a query of a role may hold by a session's settings.
    pub(super) fn allowance(&self, role: u32, settings: &Settings) -> Allowance {
        let most = |setting: &str| settings.bytes(setting);
        Allowance {
            query_max: most(QUERY_MEMORY_MAX),
            role_max: most(ROLE_MEMORY_MAX),
            role: self.memory.of_role(role),
        }
    }

    /// Where a query runs that may hold so much; without an allowance, what the server does by itself.
    ///
    /// # Errors
    /// `Internal`.
    pub(super) fn context_of(&self, allowance: Option<&Allowance>) -> std::result::Result<Arc<TaskContext>, SqlError> {
        let Some(allowance) = allowance else { return Ok(self.task_context()) };
        let memory = QueryMemory { allowance: allowance.clone(), held: AtomicUsize::new(0) };
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(memory))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        Ok(Arc::new(TaskContext::from(&self.session_state).with_runtime(runtime)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::execution::memory_pool::MemoryConsumer;

    #[test]
    fn a_query_and_its_role_have_bounds_of_their_own() {
        let memory = Memory::default();
        let pool = |query_max, role_max| -> Arc<dyn MemoryPool> {
            let allowance = Allowance { query_max, role_max, role: memory.of_role(1) };
            Arc::new(QueryMemory { allowance, held: AtomicUsize::new(0) })
        };
        let first = MemoryConsumer::new("first").register(&pool(Some(100), Some(150)));
        let second = MemoryConsumer::new("second").register(&pool(None, Some(150)));
        first.try_grow(90).expect("below both");
        let error = first.try_grow(20).expect_err("above the query's").to_string();
        assert!(error.contains(QUERY_MEMORY_MAX), "{error}");
        let error = second.try_grow(70).expect_err("above the role's").to_string();
        assert!(error.contains(ROLE_MEMORY_MAX), "{error}");
        second.try_grow(60).expect("what is left");
        drop(first);
        second.try_grow(80).expect("what the first gave back");
        drop(second);
        assert_eq!(memory.of_role(1).load(Ordering::Relaxed), 0);
    }
}
