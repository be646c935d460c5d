//! Where snapshots are published and taken, and the record of the last ticks.
//!
//! The tick loop publishes with one pointer swap; readers take the newest snapshot without a lock, and wait for a tick
//! without polling.

use std::collections::VecDeque;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};
use crate::time::TickId;
use crate::view::snapshot::Snapshot;

/// How one tick went, for `SHOW TICKS`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TickStats {
    /// The tick.
    pub tick: TickId,
    /// The tick's time, µs since the Unix epoch.
    pub now_micros: i64,
    /// When work on it began, µs since the Unix epoch.
    pub started_micros: i64,
    /// Reading and decoding its records, µs.
    pub decode_micros: u64,
    /// Running the dataflow, µs.
    pub compute_micros: u64,
    /// Applying the changes and publishing the snapshot, µs.
    pub publish_micros: u64,
    /// Rows decoded.
    pub rows_in: u64,
    /// Rows inserted and deleted, all views together.
    pub rows_changed: u64,
    /// Bytes of the records consumed.
    pub bytes_in: u64,
}

impl TickStats {
    /// The whole tick, µs.
    pub fn duration_micros(&self) -> u64 {
        self.decode_micros + self.compute_micros + self.publish_micros
    }
}

/// What a waiter is told.
#[derive(Debug, Clone, Copy)]
struct Published {
    tick: TickId,
    closed: bool,
}

/// The newest snapshot, and the statistics of the last ticks.
#[derive(Debug)]
pub struct SnapshotStore {
    newest: ArcSwap<Snapshot>,
    published: watch::Sender<Published>,
    /// Oldest first, never more than `ticks_max`.
    ticks: Mutex<VecDeque<TickStats>>,
    ticks_max: usize,
}

impl SnapshotStore {
    /// A store whose snapshot is empty and of tick 0; it keeps the statistics of the last `ticks_max` ticks.
    pub fn new(ticks_max: usize) -> Self {
        let published = Published { tick: TickId::default(), closed: false };
        Self {
            newest: ArcSwap::from_pointee(Snapshot::default()),
            published: watch::Sender::new(published),
            ticks: Mutex::new(VecDeque::with_capacity(ticks_max)),
            ticks_max,
        }
    }

    /// The newest snapshot.
    pub fn newest(&self) -> Arc<Snapshot> {
        self.newest.load_full()
    }

    /// Makes `snapshot` the newest and wakes those who wait for its tick. Two snapshots may have one tick: a view that is
    /// created or dropped between ticks.
    ///
    /// # Errors
    /// `Internal` if the tick is before the newest snapshot's: a reader would see time go back.
    pub fn publish(&self, snapshot: impl Into<Arc<Snapshot>>) -> Result<()> {
        let snapshot = snapshot.into();
        let tick = snapshot.tick;
        let mut refused = None;
        self.published.send_if_modified(|published| {
            if tick < published.tick {
                refused = Some(published.tick);
                return false;
            }
            // Swapped before waiters wake, and under the channel's lock, so that two publishers cannot cross.
            self.newest.store(snapshot.clone());
            published.tick = tick;
            true
        });
        match refused {
            Some(newest) => Err(Error::internal(format!("tick {tick} published after tick {newest}"))),
            None => Ok(()),
        }
    }

    /// The newest snapshot once its tick is `tick` or later.
    ///
    /// # Errors
    /// `Cancelled` if the store is closed before that.
    pub async fn wait_for(&self, tick: TickId) -> Result<Arc<Snapshot>> {
        let mut published = self.published.subscribe();
        let reached = published.wait_for(|published| published.closed || published.tick >= tick).await;
        // The sender lives as long as `self`, so the channel itself is never closed here.
        if reached.is_ok_and(|published| published.tick >= tick) {
            return Ok(self.newest());
        }
        Err(Error::new(ErrorKind::Cancelled, format!("the engine stopped before tick {tick}")))
    }

    /// No further tick will come: whoever waits for one is told so.
    pub fn close(&self) {
        self.published.send_modify(|published| published.closed = true);
    }

    /// Adds a tick's statistics; the oldest beyond the bound go.
    pub fn record_tick(&self, stats: TickStats) {
        let mut ticks = self.ticks.lock();
        ticks.push_back(stats);
        while ticks.len() > self.ticks_max {
            ticks.pop_front();
        }
    }

    /// Statistics of the last ticks, oldest first.
    pub fn recent_ticks(&self) -> Vec<TickStats> {
        self.ticks.lock().iter().copied().collect()
    }
}
