//! The last ticks, for those who read at one of them or follow a view from there.
//!
//! In: every published snapshot with the changes that led to it. Out: the snapshot of a tick, and a view's changes since
//! one. Nothing is kept unless a retention is set, because what is kept keeps old rows in memory.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::interval::{Milliseconds, parse_duration};
use super::temporary::title_of;
use crate::dataflow::runtime::RelationDelta;
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::time::TickId;
use crate::view::{Snapshot, ViewReading};

/// Bytes of changes kept at most; older ticks go.
const BYTES_MAX: usize = 256 << 20;

/// The longest retention.
const RETENTION_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long a tick is kept after the next one took its place; zero keeps the newest alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention(Duration);

impl FromStr for Retention {
    type Err = Error;

    /// A time such as `10s` or `5 minutes`; a bare number is milliseconds, `off` is zero.
    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text == "off" {
            return Ok(Self::default());
        }
        match parse_duration(&text) {
            Some(duration) if duration <= RETENTION_MAX => Ok(Self(duration)),
            Some(_) => Err(Error::input(format!("history retention {text} is out of range: it must be from 0 to 24h"))),
            None => {
                let message = "write \"off\", or a time such as 10s or 5min";
                Err(Error::input(format!("invalid history retention \"{text}\": {message}")))
            }
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.as_millis() == 0 { f.write_str("off") } else { Milliseconds(self.0).fmt(f) }
    }
}

/// A tick that is kept.
#[derive(Debug)]
pub(super) struct PastTick {
    pub(super) tick: TickId,
    pub(super) now_micros: i64,
    /// What it changed of the relations asked for.
    pub(super) deltas: HashMap<String, RelationDelta>,
}

/// The ticks of the retention, oldest first. The newest tick is always there.
#[derive(Debug, Default)]
pub struct History(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    retention: Retention,
    newest: Arc<Snapshot>,
    ticks: VecDeque<KeptTick>,
    bytes: usize,
}

#[derive(Debug)]
struct KeptTick {
    snapshot: Arc<Snapshot>,
    /// What changed in this tick, by view.
    changes: HashMap<String, Vec<Delta>>,
    bytes: usize,
}

impl History {
    /// An empty history that keeps ticks this long.
    pub fn new(retention: Retention) -> Self {
        Self(Mutex::new(Kept { retention, ..Kept::default() }))
    }

    /// How long ticks are kept.
    pub fn retention(&self) -> Retention {
        self.0.lock().retention
    }

    /// Keeps ticks this long from now on.
    pub fn set_retention(&self, retention: Retention) {
        let mut kept = self.0.lock();
        kept.retention = retention;
        kept.trim();
    }

    /// Adds a published snapshot; a second one of a tick, made by a definition, takes the first one's place.
    pub(super) fn record(&self, snapshot: Arc<Snapshot>, changes: &[(String, Vec<Delta>)]) {
        let mut kept = self.0.lock();
        kept.newest = snapshot.clone();
        if kept.retention == Retention::default() {
            return;
        }
        match kept.ticks.back_mut() {
            Some(last) if last.snapshot.tick == snapshot.tick => last.snapshot = snapshot,
            _ => {
                // Temporary views are not read at earlier ticks.
                let changes = changes.iter().filter(|(name, _)| title_of(name).is_none());
                let bytes = changes.clone().flat_map(|(_, deltas)| deltas).map(delta_bytes).sum();
                let changes = changes.cloned().collect();
                kept.bytes += bytes;
                kept.ticks.push_back(KeptTick { snapshot, changes, bytes });
            }
        }
        kept.trim();
    }

    /// The snapshot of a tick, with those of its views that are still the same ones.
    ///
    /// # Errors
    /// `Input` if the tick is not kept, or has not come yet.
    pub fn at(&self, tick: TickId) -> Result<Arc<Snapshot>> {
        let kept = self.0.lock();
        let snapshot = kept.find(tick)?.clone();
        if snapshot.tick == kept.newest.tick {
            return Ok(snapshot);
        }
        let newest = kept.newest.clone();
        drop(kept);
        let mut snapshot = Snapshot::clone(&snapshot);
        let is_same = |name: &String, view: &mut Arc<ViewReading>| {
            newest.view(name).is_some_and(|now| now.instance == view.instance)
        };
        snapshot.views.retain(is_same);
        snapshot.errors.retain(is_same);
        Ok(Arc::new(snapshot))
    }

    /// The ticks after one, with what they changed of these relations.
    ///
    /// # Errors
    /// As for [`since`](Self::since).
    pub(super) fn ticks_since(&self, tick: TickId, relations: &[String]) -> Result<Vec<PastTick>> {
        let kept = self.0.lock();
        relations.iter().try_for_each(|name| kept.check_same(tick, name))?;
        let past = |kept: &KeptTick| PastTick {
            tick: kept.snapshot.tick,
            now_micros: kept.snapshot.now_micros,
            deltas: (relations.iter())
                .filter_map(|name| Some((name.clone(), Arc::new(kept.changes.get(name)?.clone()))))
                .collect(),
        };
        Ok(kept.ticks.iter().filter(|kept| kept.snapshot.tick > tick).map(past).collect())
    }

    /// What happened to a view after a tick, tick by tick, quiet ones left out.
    ///
    /// # Errors
    /// As for [`at`](Self::at); `Input` too if the view has been created or replaced since.
    pub(super) fn since(&self, tick: TickId, view: &str) -> Result<Vec<(TickId, Vec<Delta>)>> {
        let kept = self.0.lock();
        kept.check_same(tick, view)?;
        let later = kept.ticks.iter().filter(|kept| kept.snapshot.tick > tick);
        Ok(later.filter_map(|kept| Some((kept.snapshot.tick, kept.changes.get(view)?.clone()))).collect())
    }
}

impl Kept {
    /// Refuses a view that is another by now than it was at a tick.
    fn check_same(&self, tick: TickId, view: &str) -> Result<()> {
        let then = self.find(tick)?.view(view).map(|view| view.instance);
        if then.is_none() || then != self.newest.view(view).map(|view| view.instance) {
            return Err(Error::input(format!("view \"{view}\" was created after tick {tick}")));
        }
        Ok(())
    }

    fn find(&self, tick: TickId) -> Result<&Arc<Snapshot>> {
        if tick == self.newest.tick {
            return Ok(&self.newest);
        }
        if let Some(kept) = self.ticks.iter().find(|kept| kept.snapshot.tick == tick) {
            return Ok(&kept.snapshot);
        }
        let newest = self.newest.tick;
        let oldest = self.ticks.front().map_or(newest, |kept| kept.snapshot.tick);
        let what = if tick > newest { "has not come yet" } else { "is no longer kept" };
        let retention = self.retention;
        let message =
            format!("tick {tick} {what}: ticks {oldest} to {newest} can be read (history_retention is {retention})");
        Err(Error::input(message))
    }

    fn trim(&mut self) {
        let retention = i64::try_from(self.retention.0.as_micros()).unwrap_or(i64::MAX);
        let horizon = self.newest.now_micros.saturating_sub(retention);
        let replaced = |next: &KeptTick| next.snapshot.now_micros;
        while let Some(oldest) = self.ticks.front()
            && (self.retention == Retention::default()
                || self.ticks.get(1).map(replaced).is_some_and(|at| at < horizon)
                || self.bytes > BYTES_MAX)
        {
            self.bytes -= oldest.bytes;
            self.ticks.pop_front();
        }
    }
}

/// Bytes of a delta's rows, as far as they can be told from slices of larger batches.
pub(super) fn delta_bytes(delta: &Delta) -> usize {
    let columns = delta.rows.columns().iter();
    columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum::<usize>() + 8 * delta.num_rows()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(tick: u64, now_micros: i64) -> Arc<Snapshot> {
        Arc::new(Snapshot { tick: TickId(tick), now_micros, ..Snapshot::default() })
    }

    #[test]
    fn ticks_are_kept_for_the_retention_and_the_newest_always() {
        let history = History::new("10ms".parse().expect("a time"));
        for tick in 1..=5 {
            history.record(snapshot(tick, tick as i64 * 4_000), &[]);
        }
        assert_eq!(history.at(TickId(5)).expect("the newest").tick, TickId(5));
        assert_eq!(history.at(TickId(2)).expect("replaced 8 ms ago").tick, TickId(2));
        let gone = history.at(TickId(1)).expect_err("replaced 12 ms ago").to_string();
        assert!(gone.contains("ticks 2 to 5"), "{gone}");
        assert!(history.at(TickId(6)).expect_err("to come").to_string().contains("has not come yet"));
        history.set_retention(Retention::default());
        history.at(TickId(4)).expect_err("nothing is kept any more");
        assert_eq!(history.at(TickId(5)).expect("the newest").tick, TickId(5));
    }

    #[test]
    fn retentions_are_read_and_printed() {
        for (text, shown) in
            [("off", "off"), ("0", "off"), ("10 seconds", "10s"), ("1500ms", "1500ms"), ("2min", "120s")]
        {
            assert_eq!(text.parse::<Retention>().expect(text).to_string(), shown);
        }
        for text in ["", "long", "-1s", "25h"] {
            text.parse::<Retention>().expect_err(text);
        }
    }
}
