//! Those who follow a view: its rows at one tick, then its changes, tick by tick.
//!
//! In: what each tick changed, from the tick thread, which never waits for a subscriber. Out: [`Changes`], in order. What
//! a subscriber has not taken waits in its feed, up to a bound; beyond it the waiting ticks are added up into one, and a
//! subscriber whose net change alone is larger than the bound is let go.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::history::delta_bytes;
use super::temporary::TemporaryView;
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::time::TickId;
use crate::view::{Snapshot, ViewReading, ViewSnapshot, consolidate};

/// Bytes of changes that wait for one subscriber at most.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What one tick did to a view.
#[derive(Debug, Clone)]
pub struct Changes {
    /// The tick.
    pub tick: TickId,
    /// The view's columns, each delta consolidated. Empty where only time moved on.
    pub deltas: Vec<Delta>,
    /// Nothing comes after these: the last tick that was asked for is reached.
    pub last: bool,
}

/// The ticks a subscription is about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// It starts with the view at this tick; `None` is the newest.
    pub from: Option<TickId>,
    /// It ends after this tick; `None` is never.
    pub until: Option<TickId>,
}

/// Why a subscription ended though nobody asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The view was dropped.
    Dropped(String),
    /// Another view took its name.
    Replaced(String),
    /// The view failed, and why.
    Failed(String, String),
    /// The subscriber did not take what came; up to this tick it has been given everything.
    TooSlow(TickId),
    /// The engine has stopped.
    Stopped,
    /// A bug of ours.
    Internal(String),
}

/// One view followed from a tick on. Dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    snapshot: Arc<Snapshot>,
    feed: Arc<Feed>,
    /// The view at the start.
    rows: Option<ViewSnapshot>,
    /// What is there for this subscription alone.
    temporary: Option<TemporaryView>,
}

impl Subscription {
    /// The tick it starts at, with all views' rows there.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The rows at the tick it starts at.
    pub fn rows(&self) -> Option<&ViewSnapshot> {
        self.rows.as_ref()
    }

    /// The same subscription, with which its view goes.
    #[must_use]
    pub(crate) fn holding(self, view: TemporaryView) -> Self {
        Self { temporary: Some(view), ..self }
    }

    /// True if what it follows is there for it alone: the answer of a query.
    pub fn is_of_query(&self) -> bool {
        self.temporary.is_some()
    }

    /// The newest tick, if all changes up to it have been taken.
    pub fn quiet(&self) -> Option<TickId> {
        let waiting = self.feed.waiting.lock();
        waiting.changes.is_empty().then_some(waiting.reached)
    }

    /// The next changes, once there are any; once the last tick asked for is reached, an empty change of it. May be
    /// dropped while waiting.
    ///
    /// # Errors
    /// Why there will be no more.
    pub async fn next(&self) -> Result<Changes, Ended> {
        loop {
            // Made before looking, so that what comes in between is not missed.
            let woken = self.feed.woken.notified();
            if let Some(next) = self.feed.waiting.lock().take(self.feed.until) {
                return next;
            }
            woken.await;
        }
    }
}

/// What waits for one subscriber.
#[derive(Debug)]
struct Feed {
    instance: u64,
    schema: SchemaRef,
    /// The last tick that is wanted.
    until: Option<TickId>,
    waiting: Mutex<Waiting>,
    woken: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// What the view is called now.
    view: String,
    changes: VecDeque<Changes>,
    bytes: usize,
    reached: TickId,
    /// The tick of what was taken last.
    taken: TickId,
    /// Why nothing more will come.
    ended: Option<Ended>,
}

impl Waiting {
    fn take(&mut self, until: Option<TickId>) -> Option<Result<Changes, Ended>> {
        if let Some(next) = self.changes.pop_front() {
            self.bytes -= next.deltas.iter().map(delta_bytes).sum::<usize>();
            self.taken = next.tick;
            return Some(Ok(next));
        }
        if let Some(tick) = until.filter(|until| self.reached >= *until) {
            return Some(Ok(Changes { tick, deltas: Vec::new(), last: true }));
        }
        self.ended.clone().map(Err)
    }

    /// Adds what a tick changed. What waits already is added up with it where it would be too much.
    fn push(&mut self, tick: TickId, deltas: Vec<Delta>, schema: &SchemaRef, bytes_max: usize) -> Result<(), Ended> {
        self.bytes += deltas.iter().map(delta_bytes).sum::<usize>();
        self.changes.push_back(Changes { tick, deltas, last: false });
        if self.bytes <= bytes_max {
            return Ok(());
        }
        // A Z-set: the sum of the changes is the change over all these ticks.
        let all: Vec<Delta> = self.changes.drain(..).flat_map(|changes| changes.deltas).collect();
        let net = consolidate(schema, &all).map_err(|error| Ended::Internal(error.to_string()))?;
        self.bytes = delta_bytes(&net);
        if self.bytes > bytes_max {
            self.bytes = 0;
            return Err(Ended::TooSlow(self.taken));
        }
        self.changes.push_back(Changes { tick, deltas: vec![net], last: false });
        Ok(())
    }
}

/// All running subscriptions, on the tick thread.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Vec<Weak<Feed>>);

impl Subscriptions {
    /// Follows `view` from `start` on, whose changes since are `missed`, up to the tick `until`.
    ///
    /// # Errors
    /// `Input` if there is no such view in the newest snapshot.
    pub(super) fn add(
        &mut self,
        view: &str,
        start: Arc<Snapshot>,
        newest: &Snapshot,
        missed: Vec<(TickId, Vec<Delta>)>,
        until: Option<TickId>,
    ) -> Result<Subscription> {
        let reading = newest.view(view);
        let reading = reading.ok_or_else(|| Error::input(format!("view \"{view}\" does not exist")))?;
        let schema = reading.rows.schema().clone();
        let mut waiting =
            Waiting { view: view.to_owned(), reached: newest.tick, taken: start.tick, ..Waiting::default() };
        for (tick, deltas) in missed.into_iter().filter(|(tick, _)| until.is_none_or(|until| *tick <= until)) {
            // Nobody could have taken them yet: they are all there, however many.
            let pushed = waiting.push(tick, deltas, &schema, usize::MAX);
            waiting.ended = waiting.ended.or(pushed.err());
        }
        let feed =
            Feed { instance: reading.instance, schema, until, waiting: Mutex::new(waiting), woken: Notify::new() };
        let feed = Arc::new(feed);
        self.0.push(Arc::downgrade(&feed));
        let rows = start.view(view).map(|view| view.rows.clone());
        Ok(Subscription { snapshot: start, feed, rows, temporary: None })
    }

    /// Hands out what led to the snapshot `newest`.
    pub(super) fn publish(&mut self, newest: &Snapshot, changes: &[(String, Vec<Delta>)]) {
        self.0.retain(|feed| {
            let Some(feed) = feed.upgrade() else { return false };
            let goes_on = feed.publish(newest, changes);
            feed.woken.notify_one();
            goes_on
        });
    }
}

impl Feed {
    /// False when nothing more is to come.
    fn publish(&self, newest: &Snapshot, changes: &[(String, Vec<Delta>)]) -> bool {
        let mut waiting = self.waiting.lock();
        let is_it = |view: &ViewReading| view.instance == self.instance;
        if !newest.view(&waiting.view).is_some_and(|view| is_it(view))
            && let Some((name, _)) = newest.views.iter().chain(&newest.errors).find(|(_, view)| is_it(view))
        {
            waiting.view.clone_from(name);
        }
        let deltas = changes.iter().find(|(view, _)| *view == waiting.view).map(|(_, deltas)| deltas.clone());
        let wanted = self.until.is_none_or(|until| newest.tick <= until);
        let ended = match newest.view(&waiting.view) {
            None => Some(Ended::Dropped(waiting.view.clone())),
            Some(view) if !is_it(view) => Some(Ended::Replaced(waiting.view.clone())),
            Some(view) => view.error.clone().map(|error| Ended::Failed(waiting.view.clone(), error)),
        };
        let ended = match (ended, deltas.filter(|_| wanted)) {
            (None, Some(deltas)) => waiting.push(newest.tick, deltas, &self.schema, WAITING_BYTES_MAX).err(),
            (ended, _) => ended,
        };
        if ended.is_none() {
            waiting.reached = newest.tick;
        }
        waiting.ended = ended;
        waiting.ended.is_none() && wanted
    }
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        for feed in self.0.iter().filter_map(Weak::upgrade) {
            feed.waiting.lock().ended = Some(Ended::Stopped);
            feed.woken.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::delta::Weights;

    fn change(rows: &[(i64, i64)], schema: &SchemaRef) -> Vec<Delta> {
        let values = Int64Array::from_iter_values(rows.iter().map(|(value, _)| *value));
        let weights = Int64Array::from_iter_values(rows.iter().map(|(_, weight)| *weight));
        let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(values)]).expect("one column");
        vec![Delta { rows, weights: Weights::Signed(weights) }]
    }

    fn one_column() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, true)]))
    }

    #[test]
    fn what_waits_too_long_is_added_up() {
        let schema = one_column();
        let mut waiting = Waiting::default();
        for tick in 1..=100_i64 {
            let update = change(&[(tick - 1, -1), (tick, 1)], &schema);
            waiting.push(TickId(tick as u64), update, &schema, 320).expect("the net change is two rows");
        }
        let mut net = Vec::new();
        let mut last = TickId(0);
        while let Some(next) = waiting.take(None) {
            let next = next.expect("nothing went wrong");
            assert!(next.tick > last, "ticks only rise");
            last = next.tick;
            net.extend(next.deltas);
        }
        assert_eq!(last, TickId(100));
        let net = consolidate(&schema, &net).expect("one column");
        assert_eq!(net.rows, change(&[(0, -1), (100, 1)], &schema)[0].rows);
        assert_eq!((net.weight(0), net.weight(1)), (-1, 1));
        assert_eq!(waiting.bytes, 0);
    }

    #[test]
    fn a_subscriber_that_cannot_keep_up_is_let_go() {
        let schema = one_column();
        let mut waiting = Waiting::default();
        waiting.push(TickId(1), change(&[(7, 1)], &schema), &schema, 320).expect("little");
        assert_eq!(waiting.take(None).expect("it waits").expect("little").tick, TickId(1));
        let rows: Vec<(i64, i64)> = (0..100).map(|value| (value, 1)).collect();
        let ended = waiting.push(TickId(2), change(&rows, &schema), &schema, 320).expect_err("more than may wait");
        assert_eq!(ended, Ended::TooSlow(TickId(1)));
        assert!(waiting.take(None).is_none());
    }

    #[test]
    fn nothing_comes_after_the_last_tick_asked_for() {
        let schema = one_column();
        let mut waiting = Waiting::default();
        waiting.push(TickId(3), change(&[(7, 1)], &schema), &schema, 320).expect("little");
        waiting.reached = TickId(9);
        assert!(!waiting.take(Some(TickId(5))).expect("it waits").expect("little").last);
        let end = waiting.take(Some(TickId(5))).expect("tick 5 is over").expect("nothing went wrong");
        assert!(end.last && end.deltas.is_empty() && end.tick == TickId(5));
    }
}
