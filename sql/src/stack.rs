//! A stack deep enough for recursion over any tree the parser lets through.
//!
//! sqlparser and DataFusion grow their stack in the functions they know to be recursive; cloning, printing and dropping
//! a tree are recursive too and do not. Work on trees from outside therefore runs here.

use crate::{SqlError, SqlState};

/// Bytes of address space; pages are only taken when touched.
const STACK_BYTES: usize = 256 << 20;

/// Runs `work` on a thread of its own with a big stack and waits for it.
///
/// # Errors
/// What `work` returns; 53200 if no thread can be had; XX000 if `work` panicked, so that no statement takes a session
/// down.
pub fn on_big_stack<T: Send>(work: impl FnOnce() -> Result<T, SqlError> + Send) -> Result<T, SqlError> {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new()
                .name("sql".into())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, work)
                .map_err(|e| SqlError::new(SqlState::OUT_OF_MEMORY, format!("no thread to plan the statement: {e}")))?;
        thread.join().unwrap_or_else(|panic| {
            let what = panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            Err(SqlError::new(SqlState::INTERNAL_ERROR, format!("the statement could not be processed: {what}")))
        })
    })
}
