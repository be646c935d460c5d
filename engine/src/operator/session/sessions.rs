//! Rows of keys in order of time, and the sessions they make.
//!
//! A session is a longest run of rows of a key of which each is at most the gap later than the one before. A tick's rows
//! can lengthen a session, join two, begin one, and, where they are taken back, shorten, split or end one:
//!
//! ```text
//! rows         a   b    c           d  e        gap: up to 6
//! sessions    [a------------c]     [d--e]
//! + f          a   b    c     f     d  e        within the gap of c and of d: one session
//! - b          a        c                       within the gap still: nothing moves
//! ```
//! Sessions whose bounds stay cost their changed rows; one whose bounds move is answered anew, row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use crate::error::Result;
use crate::operator::keyed::retraction_without_insert;
use crate::state::row_codec::RowCodec;
use crate::state::size::UnitBytes;

/// What an entry of the map of rows costs beside the row, estimated.
const ENTRY_BYTES: usize = 72;
/// What a session costs in its two indexes, estimated.
const SESSION_BYTES: usize = 96;

/// A row: the slot of its key, its time, its bytes.
type Place = (u32, i64, Box<[u8]>);

/// The first and the last time of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// The first row's time.
    pub start: i64,
    /// The last row's time.
    pub last: i64,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    last: i64,
    /// Answered finally, and kept only because eviction is off.
    closed: bool,
}

/// A row that came into a session or left it.
#[derive(Debug)]
pub(super) struct Change {
    pub slot: u32,
    pub row: Box<[u8]>,
    pub span: Span,
    pub weight: i64,
}

/// A kept row.
#[derive(Debug)]
pub(super) struct Kept<'a> {
    pub slot: u32,
    pub row: &'a [u8],
    pub weight: i64,
    pub closed: bool,
}

/// Rows and their sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    gap: i64,
    rows: BTreeMap<Place, i64>,
    row_bytes: usize,
    /// By slot and first time.
    sessions: BTreeMap<(u32, i64), Session>,
    /// Last time, slot and first time of the sessions that are not closed.
    by_last: BTreeSet<(i64, u32, i64)>,
    /// What this tick adds to the rows' weights.
    changes: BTreeMap<Place, i64>,
}

impl Sessions {
    /// No rows; those of a session follow each other by up to `gap`.
    pub fn new(gap: i64) -> Self {
        let (rows, sessions, by_last) = Default::default();
        Self { gap, rows, row_bytes: 0, sessions, by_last, changes: BTreeMap::new() }
    }

    /// Adds weight to a row, with effect at the end of the tick.
    pub fn add(&mut self, slot: u32, time: i64, row: &[u8], weight: i64) {
        *self.changes.entry((slot, time, row.into())).or_default() += weight;
    }

    /// Ends a tick: what changed, and the slots that are empty now.
    ///
    /// # Errors
    /// `Data` if a row was retracted more often than it was inserted.
    pub fn end_tick(&mut self) -> Result<(Vec<Change>, Vec<u32>)> {
        let changes = std::mem::take(&mut self.changes);
        let times = self.apply(&changes)?;
        let (mut output, mut empty) = (Vec::new(), Vec::new());
        let mut slots: Vec<u32> = changes.keys().map(|(slot, ..)| *slot).collect();
        slots.dedup();
        let mut times = times.into_iter().peekable();
        for slot in slots {
            let own = std::iter::from_fn(|| times.next_if(|time| time.slot == slot));
            self.settle(slot, &own.collect::<Vec<_>>(), &changes, &mut output);
            if self.sessions.range((slot, i64::MIN)..=(slot, i64::MAX)).next().is_none() {
                empty.push(slot);
            }
        }
        Ok((output, empty))
    }

    /// The sessions that no row from `time` on touches, in order of their ends.
    pub fn final_before(&self, time: i64) -> Vec<(u32, Span)> {
        // A row as late as the last one plus the gap still belongs to it.
        let before = time.saturating_sub(self.gap);
        let found = self.by_last.iter().take_while(|(last, ..)| *last < before);
        found.map(|(last, slot, start)| (*slot, Span { start: *start, last: *last })).collect()
    }

    /// The rows of a session.
    pub fn rows_of(&self, slot: u32, span: Span) -> impl Iterator<Item = Change> {
        let rows = self.rows.range(places(slot, span.start..=span.last));
        rows.map(move |((slot, _, row), weight)| Change { slot: *slot, row: row.clone(), span, weight: *weight })
    }

    /// Notes that a session was answered finally.
    pub fn close(&mut self, slot: u32, span: Span) {
        self.by_last.remove(&(span.last, slot, span.start));
        if let Some(session) = self.sessions.get_mut(&(slot, span.start)) {
            session.closed = true;
        }
    }

    /// Forgets a session and its rows; true if the slot is empty then.
    pub fn remove(&mut self, slot: u32, span: Span) -> bool {
        let gone: Vec<Place> =
            self.rows.range(places(slot, span.start..=span.last)).map(|(place, _)| place.clone()).collect();
        gone.iter().for_each(|place| self.forget(place));
        self.drop_session(slot, span);
        self.sessions.range((slot, i64::MIN)..=(slot, i64::MAX)).next().is_none()
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = Kept<'_>> {
        self.sessions.iter().flat_map(|((slot, start), session)| {
            let rows = self.rows.range(places(*slot, *start..=session.last));
            rows.map(|((slot, _, row), weight)| Kept { slot: *slot, row, weight: *weight, closed: session.closed })
        })
    }

    /// Takes saved rows back: slot, time, bytes, weight, whether their session was closed.
    pub fn restore(&mut self, saved: impl Iterator<Item = (u32, i64, Box<[u8]>, i64, bool)>) {
        let mut closed: BTreeMap<(u32, i64), bool> = BTreeMap::new();
        for (slot, time, row, weight, is_closed) in saved {
            closed.insert((slot, time), is_closed);
            self.row_bytes += row.len() + ENTRY_BYTES;
            *self.rows.entry((slot, time, row)).or_default() += weight;
        }
        let mut open: Option<(u32, Span, bool)> = None;
        for ((slot, time), is_closed) in closed {
            match &mut open {
                Some((of, span, _)) if *of == slot && self.follows(span.last, time) => span.last = time,
                _ => {
                    let begun = open.replace((slot, Span { start: time, last: time }, is_closed));
                    begun.into_iter().for_each(|(slot, span, closed)| self.put_session(slot, span, closed));
                }
            }
        }
        open.into_iter().for_each(|(slot, span, closed)| self.put_session(slot, span, closed));
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Different rows, and their bytes.
    pub fn rows_held(&self) -> (usize, usize) {
        (self.rows.len(), self.row_bytes)
    }

    /// What a row of `codec` comes to.
    pub fn row_bytes_each(codec: &RowCodec) -> UnitBytes {
        UnitBytes::passing(codec.row_bytes() + ENTRY_BYTES)
    }

    /// What a session comes to besides its rows.
    pub fn session_bytes_each() -> UnitBytes {
        UnitBytes::passing(SESSION_BYTES)
    }

    /// Bytes allocated, tree nodes estimated.
    pub fn bytes(&self) -> usize {
        self.row_bytes + self.sessions.len() * SESSION_BYTES
    }

    /// Adds the tick's weights to the rows; says at which times there were rows before, and are now.
    fn apply(&mut self, changes: &BTreeMap<Place, i64>) -> Result<Vec<Touched>> {
        let mut times: Vec<Touched> = Vec::new();
        for (slot, time, _) in changes.keys() {
            if times.last().is_none_or(|last| (last.slot, last.time) != (*slot, *time)) {
                times.push(Touched { slot: *slot, time: *time, had: self.has(*slot, *time), has: false });
            }
        }
        for (place, change) in changes.iter().filter(|(_, change)| **change != 0) {
            let weight = self.rows.get(place).copied().unwrap_or(0) + change;
            if weight < 0 {
                return Err(retraction_without_insert());
            }
            if weight == 0 {
                self.forget(place);
            } else if self.rows.insert(place.clone(), weight).is_none() {
                self.row_bytes += place.2.len() + ENTRY_BYTES;
            }
        }
        for time in &mut times {
            time.has = self.has(time.slot, time.time);
        }
        Ok(times)
    }

    /// Puts one key's sessions right after its rows at `times` changed, and tells what moved.
    ///
    /// The sessions that may move are cut into pieces, and the pieces joined again wherever the gap allows. A session that lost a
    /// time is cut into its rows' times, any other is one piece: nothing within it fell apart. A new time outside all sessions is
    /// a piece too. Sessions left out of this have no hole, and no new time beside them within the gap: they have the bounds they had.
    ///
    /// Three kinds of rows come out: those of sessions that are no more, as they were before the tick; those of sessions that
    /// are new, as they are; and of sessions that are the same, the rows that changed.
    fn settle(&mut self, slot: u32, times: &[Touched], changes: &BTreeMap<Place, i64>, output: &mut Vec<Change>) {
        let (moved, lone) = self.moved(slot, times);
        let mut pieces: Vec<Span> = lone.into_iter().map(|time| Span { start: time, last: time }).collect();
        for span in &moved {
            let lost = |time: &Touched| time.had && !time.has && (span.start..=span.last).contains(&time.time);
            if times.iter().any(lost) {
                let rows = self.rows.range(places(slot, span.start..=span.last));
                pieces.extend(rows.map(|((_, time, _), _)| Span { start: *time, last: *time }));
            } else {
                pieces.push(*span);
            }
            self.drop_session(slot, *span);
        }
        pieces.sort_unstable_by_key(|piece| (piece.start, piece.last));
        let mut formed: Vec<Span> = Vec::new();
        for piece in pieces {
            match formed.last_mut() {
                Some(span) if self.follows(span.last, piece.start) => span.last = span.last.max(piece.last),
                _ => formed.push(piece),
            }
        }
        formed.iter().for_each(|span| self.put_session(slot, *span, false));
        for span in moved.iter().filter(|span| !formed.contains(span)) {
            self.rows_before(slot, *span, changes, output);
        }
        let stays = |span: &Span| moved.contains(span);
        for span in formed.iter().filter(|span| !stays(span)) {
            output.extend(self.rows_of(slot, *span));
        }
        for time in times {
            // In no session now: what was at this time went with a session that was taken back above, whole.
            let Some(span) = self.session_at(slot, time.time) else { continue };
            // In a new one: its rows are among those put out above.
            if formed.contains(&span) && !stays(&span) {
                continue;
            }
            let own = changes.range(places(slot, time.time..=time.time)).filter(|(_, change)| **change != 0);
            output.extend(own.map(|((slot, _, row), weight)| Change {
                slot: *slot,
                row: row.clone(),
                span,
                weight: *weight,
            }));
        }
    }

    /// The sessions whose bounds may move, in order, and the times that are new and in no session.
    fn moved(&self, slot: u32, times: &[Touched]) -> (Vec<Span>, Vec<i64>) {
        let (mut moved, mut lone) = (BTreeMap::new(), Vec::new());
        for Touched { time, had, has, .. } in times.iter().copied() {
            let at = self.session_at(slot, time);
            if has && !had && at.is_none() {
                lone.push(time);
                let (before, after) = (self.session_before(slot, time), self.session_after(slot, time));
                moved.extend(before.filter(|span| self.follows(span.last, time)).map(|span| (span.start, span.last)));
                moved.extend(after.filter(|span| self.follows(time, span.start)).map(|span| (span.start, span.last)));
            }
            if let Some(span) = at
                && had
                && !has
                && !self.is_bridged(slot, span, time)
            {
                moved.insert(span.start, span.last);
            }
        }
        (moved.into_iter().map(|(start, last)| Span { start, last }).collect(), lone)
    }

    /// True if the rows of a session on both sides of `time` follow each other without it. The first and the last time of a
    /// session are never bridged: with them its bounds go.
    fn is_bridged(&self, slot: u32, span: Span, time: i64) -> bool {
        if time <= span.start || time >= span.last {
            return false;
        }
        let before = self.rows.range(places(slot, span.start..=time - 1)).next_back().map(|((_, time, _), _)| *time);
        let after = self.rows.range(places(slot, time + 1..=span.last)).next().map(|((_, time, _), _)| *time);
        before.zip(after).is_some_and(|(before, after)| self.follows(before, after))
    }

    /// The rows that a session had before this tick, each with the weight that takes it back. The rows are those of after the
    /// tick already, so the tick's changes are taken off again.
    fn rows_before(&self, slot: u32, span: Span, changes: &BTreeMap<Place, i64>, output: &mut Vec<Change>) {
        let range = places(slot, span.start..=span.last);
        if changes.range(range.clone()).next().is_none() {
            output.extend(self.rows_of(slot, span).map(|change| Change { weight: -change.weight, ..change }));
            return;
        }
        let mut before: BTreeMap<&Place, i64> = BTreeMap::new();
        before.extend(self.rows.range(range.clone()).map(|(place, weight)| (place, *weight)));
        for (place, change) in changes.range(range) {
            *before.entry(place).or_default() -= change;
        }
        output.extend(before.into_iter().filter(|(_, weight)| *weight != 0).map(|((slot, _, row), weight)| Change {
            slot: *slot,
            row: row.clone(),
            span,
            weight: -weight,
        }));
    }

    /// Whether a row at `next` belongs to the session of one at `time`, if there is none between.
    fn follows(&self, time: i64, next: i64) -> bool {
        next.saturating_sub(time) <= self.gap
    }

    fn has(&self, slot: u32, time: i64) -> bool {
        self.rows.range(places(slot, time..=time)).next().is_some()
    }

    fn session_at(&self, slot: u32, time: i64) -> Option<Span> {
        self.session_before(slot, time).filter(|span| time <= span.last)
    }

    fn session_before(&self, slot: u32, time: i64) -> Option<Span> {
        let mut found = self.sessions.range((slot, i64::MIN)..=(slot, time));
        found.next_back().map(|((_, start), session)| Span { start: *start, last: session.last })
    }

    fn session_after(&self, slot: u32, time: i64) -> Option<Span> {
        let mut found = self.sessions.range((slot, time)..=(slot, i64::MAX));
        found.next().map(|((_, start), session)| Span { start: *start, last: session.last })
    }

    fn put_session(&mut self, slot: u32, span: Span, closed: bool) {
        self.sessions.insert((slot, span.start), Session { last: span.last, closed });
        if !closed {
            self.by_last.insert((span.last, slot, span.start));
        }
    }

    fn drop_session(&mut self, slot: u32, span: Span) {
        self.sessions.remove(&(slot, span.start));
        self.by_last.remove(&(span.last, slot, span.start));
    }

    fn forget(&mut self, place: &Place) {
        if self.rows.remove(place).is_some() {
            self.row_bytes -= place.2.len() + ENTRY_BYTES;
        }
    }
}

/// A time at which a tick changed rows of a key.
#[derive(Debug, Clone, Copy)]
struct Touched {
    slot: u32,
    time: i64,
    /// Whether there were rows at it before.
    had: bool,
    /// Whether there are now.
    has: bool,
}

/// All places of a key's rows within some times.
fn places(slot: u32, times: RangeInclusive<i64>) -> std::ops::Range<Place> {
    let end = match times.end().checked_add(1) {
        Some(after) => (slot, after, Box::default()),
        None => (slot + 1, i64::MIN, Box::default()),
    };
    (slot, *times.start(), Box::default())..end
}
