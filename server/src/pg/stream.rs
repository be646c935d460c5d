//! Rows from a running statement to the client, as they come.
//!
//! [`attend`] is what every wait of a statement goes through: it ends the wait when the statement is cancelled, timed
//! out or the client is gone, and meanwhile sends what is buffered. So the first row of a slow result arrives before
//! its last is computed, and no result is ever held whole.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::FutureExt;
use sql::SqlError;
use tokio_util::sync::CancellationToken;

use super::connection::Connection;
use super::encode::{Format, RowEncoder, Style};
use super::failure::Failure;
use super::wire::{FLUSH_BYTES, Wire};
use crate::session::portal::{Patience, Rows};
use crate::session::registry::{StatementControl, StopReason};

/// How long buffered bytes wait for more while the statement has none.
const FLUSH_PENDING: Duration = Duration::from_millis(10);
/// How long buffered bytes wait while the statement keeps giving.
const FLUSH_INTERVAL: Duration = Duration::from_millis(50);
/// Rows taken at a time.
const ROWS_AT_ONCE: usize = 8192;

/// How far an execution came.
pub(super) struct Streamed {
    /// Rows sent, or for MOVE passed over.
    pub rows: u64,
    /// Nothing is left.
    pub finished: bool,
}

/// Waits for `work`, minding the client and the statement's end. Work that is not `droppable` is waited for even then.
///
/// # Errors
/// 57014 for a cancel or a timeout, fatal 57P01 for a shutdown, `Gone`, and what the work reports.
pub(super) async fn attend<T>(
    wire: &mut Wire,
    control: &StatementControl,
    terminate: &CancellationToken,
    droppable: bool,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, Failure> {
    tokio::pin!(work);
    let mut watching = true;
    let mut stopped = false;
    loop {
        tokio::select! {
            biased;
            reason = control.stopped(terminate), if !stopped => {
                if droppable {
                    return Err(stop(reason));
                }
                stopped = true;
            }
            done = &mut work => {
                // Once stopped, whatever the work reports is a consequence.
                return done.map_err(|error| control.reason().map_or(Failure::Error(error), stop));
            }
            () = wire.closed(), if watching => {
                if droppable {
                    return Err(Failure::Gone);
                }
                watching = false;
            }
            () = tokio::time::sleep(FLUSH_PENDING), if !wire.out.is_empty() => {
                flush(wire, control, terminate).await?;
            }
        }
    }
}

pub(super) fn stop(reason: StopReason) -> Failure {
    match reason {
        StopReason::Terminate => Failure::Fatal(reason.error()),
        StopReason::UserRequest | StopReason::Timeout => Failure::Error(reason.error()),
    }
}

/// Sends what is buffered, unless the statement is stopped before the client reads it.
pub(super) async fn flush(
    wire: &mut Wire,
    control: &StatementControl,
    terminate: &CancellationToken,
) -> Result<(), Failure> {
    tokio::select! {
        biased;
        reason = control.stopped(terminate) => Err(stop(reason)),
        flushed = wire.flush() => Ok(flushed?),
    }
}

/// True if what is buffered should go now.
pub(super) fn is_due(wire: &Wire) -> bool {
    wire.out.len() >= FLUSH_BYTES || (!wire.out.is_empty() && wire.since_flush() >= FLUSH_INTERVAL)
}

/// The next rows, or `None` if they are not waited for any longer.
async fn patiently(
    patience: Patience,
    sent: u64,
    next: impl Future<Output = Result<Option<RecordBatch>, SqlError>>,
) -> Result<Option<RecordBatch>, SqlError> {
    match patience {
        Patience::All => next.await,
        Patience::First if sent == 0 => next.await,
        Patience::First => next.now_or_never().unwrap_or(Ok(None)),
        Patience::Until(deadline) => tokio::time::timeout_at(deadline, next).await.unwrap_or(Ok(None)),
    }
}

impl Connection {
    /// Sends rows as DataRow messages, at most `rows_max` of them and at most as many as `rows` asks for.
    ///
    /// # Errors
    /// As [`attend`].
    pub(super) async fn stream_rows(
        &mut self,
        rows: &mut Rows,
        formats: &[Format],
        rows_max: Option<u64>,
        control: &StatementControl,
    ) -> Result<Streamed, Failure> {
        let source = rows.source.clone();
        let mut source = source.lock().await;
        let encoder = RowEncoder::new(&rows.columns, formats, Style::of(&self.session.settings));
        let terminate = self.entry.terminate().clone();
        let mut sent = 0;
        loop {
            let quota = [rows_max.map(|most| most - sent), rows.limit].into_iter().flatten().min();
            if rows.skip == 0 && quota == Some(0) {
                break;
            }
            let most = if rows.skip > 0 { Some(rows.skip) } else { quota };
            let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(ROWS_AT_ONCE).min(ROWS_AT_ONCE);
            let next = patiently(rows.patience, sent, source.next(most));
            let Some(batch) = attend(&mut self.wire, control, &terminate, true, next).await? else {
                return Ok(Streamed { rows: sent, finished: true });
            };
            let count = u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
            if rows.skip > 0 {
                rows.skip -= count.min(rows.skip);
                continue;
            }
            sent += count;
            if let Some(limit) = &mut rows.limit {
                *limit -= count;
            }
            if rows.discard {
                continue;
            }
            let encoded = encoder.batch(&batch)?;
            for row in 0..encoded.num_rows() {
                encoded.write_data_row(row, &mut self.wire.out)?;
                if self.wire.out.len() >= FLUSH_BYTES {
                    flush(&mut self.wire, control, &terminate).await?;
                }
            }
            self.server.sessions.counters().rows.fetch_add(count, Ordering::Relaxed);
            if is_due(&self.wire) {
                flush(&mut self.wire, control, &terminate).await?;
            }
        }
        // Postgres suspends a portal that gave exactly what was asked, even if nothing is left.
        let finished = rows.limit == Some(0);
        Ok(Streamed { rows: sent, finished })
    }
}
