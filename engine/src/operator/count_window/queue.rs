//! One key's rows in order, from the first that is in no window that was dropped.

use std::collections::BTreeMap;

use crate::state::row_codec::RowCodec;
use crate::state::size::UnitBytes;

/// What an entry of the map costs beside its row, estimated.
const ENTRY_BYTES: usize = 64;

/// Copies of a row in a window.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Placed {
    pub row: Box<[u8]>,
    /// The window's number, from 1.
    pub number: i64,
    /// The time of its first row.
    pub start: i64,
    /// The time of its last row.
    pub end: i64,
    /// How many copies.
    pub weight: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// By time and bytes.
    rows: BTreeMap<(i64, Box<[u8]>), i64>,
    row_bytes: usize,
    /// Windows that are final and no longer here.
    pub dropped: i64,
    /// Windows that were taken as final: those, and others that are kept only because eviction is off.
    pub answered: i64,
    /// The end of the first window not taken as final, if it is full; kept by the owner.
    pub due: Option<i64>,
}

impl Queue {
    /// Adds copies of a row.
    pub fn add(&mut self, time: i64, row: &[u8], weight: i64) {
        let weights = self.rows.entry((time, row.into())).or_insert_with(|| {
            self.row_bytes += row.len() + ENTRY_BYTES;
            0
        });
        *weights += weight;
    }

    /// All windows of `rows_each` rows, in order; the last one may have fewer.
    pub fn windows(&self, rows_each: i64) -> impl Iterator<Item = Placed> {
        let mut rows = self.rows.iter().map(|((time, row), weight)| (*time, row.as_ref(), *weight));
        let (mut number, mut rest) = (self.dropped, None);
        let window = move || {
            let mut left = rows_each;
            let mut members: Vec<(i64, &[u8], i64)> = Vec::new();
            while left > 0 {
                let Some((time, row, weight)) = rest.take().or_else(|| rows.next()) else { break };
                let taken = weight.min(left);
                members.push((time, row, taken));
                rest = (weight > taken).then_some((time, row, weight - taken));
                left -= taken;
            }
            let (start, end) = (members.first()?.0, members.last()?.0);
            number += 1;
            let placed =
                move |(_, row, weight): (i64, &[u8], i64)| Placed { row: row.into(), number, start, end, weight };
            Some(members.into_iter().map(placed).collect::<Vec<_>>())
        };
        std::iter::from_fn(window).flatten()
    }

    /// When the first window that is not taken as final ends, if it is full: the time of its last row, which is counted off from
    /// the first row kept.
    pub fn first_end(&self, rows_each: i64) -> Option<i64> {
        let mut wanted = (self.answered - self.dropped + 1) * rows_each;
        let mut rows = self.rows.iter();
        rows.find_map(|((time, _), weight)| {
            wanted -= weight;
            (wanted <= 0).then_some(*time)
        })
    }

    /// Takes the first window that is not taken as final, which must be full; with `drop` it is here no longer.
    pub fn take_first(&mut self, rows_each: i64, drop: bool) -> Vec<Placed> {
        self.answered += 1;
        let number = self.answered;
        let taken = self.windows(rows_each).skip_while(|placed| placed.number < number);
        let taken: Vec<Placed> = taken.take_while(|placed| placed.number == number).collect();
        if drop {
            self.drop_first(rows_each);
        }
        taken
    }

    /// Forgets every window taken as final.
    fn drop_first(&mut self, rows_each: i64) {
        let mut gone = (self.answered - self.dropped) * rows_each;
        self.dropped = self.answered;
        while gone > 0 {
            let Some(mut first) = self.rows.first_entry() else { return };
            let taken = gone.min(*first.get());
            gone -= taken;
            *first.get_mut() -= taken;
            if *first.get() == 0 {
                let ((_, row), _) = first.remove_entry();
                self.row_bytes -= row.len() + ENTRY_BYTES;
            }
        }
    }

    /// The rows with how often they are there.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], i64)> {
        self.rows.iter().map(|((_, row), weight)| (row.as_ref(), *weight))
    }

    /// How many different rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of the rows, tree nodes estimated.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// What a row of `codec` comes to.
    pub fn bytes_each(codec: &RowCodec) -> UnitBytes {
        UnitBytes::passing(codec.row_bytes() + ENTRY_BYTES)
    }
}
