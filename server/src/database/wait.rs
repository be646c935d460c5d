//! WAIT: until a tick, or a record, can be seen.

use std::time::Duration;

use engine::ingest::reader::ReaderState;
use engine::time::TickId;
use sql::catalog::Definition;
use sql::statement::Wait;
use sql::{SqlError, SqlState};

use super::{Database, Reading};
use crate::backend::Outcome;

impl Database {
    /// Waits as asked.
    ///
    /// # Errors
    /// 57014 when the timeout is over, 42P01 if there is no such source, 55000 if nothing reads it, 08006 if it is halted.
    pub(super) async fn wait(&self, wait: &Wait, reading: &Reading) -> Result<Outcome, SqlError> {
        match wait {
            Wait::Tick { tick, timeout } => {
                let tick = TickId(*tick);
                let late = || format!("tick {tick} has not come: the newest is {}", self.engine.snapshot().tick);
                within(*timeout, self.wait_for_tick(tick), late).await?;
            }
            Wait::Offset { source, position, partition, offset, timeout } => {
                let object = reading.catalog.get(source);
                if !object.is_some_and(|object| matches!(object.definition, Definition::Source(_))) {
                    let message = format!("source \"{source}\" does not exist");
                    return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message).at(*position));
                }
                let late = || match self.next_offset(source, *partition) {
                    Some(next) => {
                        format!("partition {partition} of source \"{source}\" has been read up to offset {next}")
                    }
                    None => format!("nothing of partition {partition} of source \"{source}\" has been read"),
                };
                within(*timeout, self.wait_for_offset(source, *partition, *offset), late).await?;
            }
        }
        Ok(Outcome::done("WAIT"))
    }

    async fn wait_for_tick(&self, tick: TickId) -> Result<(), SqlError> {
        Ok(self.engine.store().wait_for(tick).await.map(drop)?)
    }

    async fn wait_for_offset(&self, source: &str, partition: i32, offset: i64) -> Result<(), SqlError> {
        loop {
            let snapshot = self.engine.snapshot();
            if self.next_offset(source, partition).is_some_and(|next| next > offset) {
                return Ok(());
            }
            let Some(status) = self.engine.source_status(source) else {
                let message = format!("no materialized view reads source \"{source}\", so it stands still");
                return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message));
            };
            if status.state == ReaderState::Halted {
                let trouble = status.trouble.unwrap_or_else(|| "no reason is known".into());
                let message = format!("source \"{source}\" is halted: {trouble}");
                return Err(SqlError::new(SqlState::CONNECTION_FAILURE, message));
            }
            // A halt is no tick: look now and then even if none comes.
            let next = self.wait_for_tick(snapshot.tick.next());
            if let Ok(waited) = tokio::time::timeout(Duration::from_secs(1), next).await {
                waited?;
            }
        }
    }

    fn next_offset(&self, source: &str, partition: i32) -> Option<i64> {
        Some(self.engine.snapshot().source(source)?.partitions.get(&partition)?.next_offset)
    }
}

/// `wait` until the timeout; `late` says how far things are.
async fn within(
    timeout: Option<Duration>,
    wait: impl Future<Output = Result<(), SqlError>>,
    late: impl Fn() -> String,
) -> Result<(), SqlError> {
    match timeout {
        None => wait.await,
        Some(timeout) => tokio::time::timeout(timeout, wait).await.unwrap_or_else(|_| {
            let message = format!("WAIT timed out: {}", late());
            Err(SqlError::new(SqlState::QUERY_CANCELED, message))
        }),
    }
}
