//! What an operator keeps, said before it runs and counted while it does.
//!
//! State has parts, each of units of one kind: a join keeps rows of its left side and rows of its right side. Of each part an
//! operator says what bounds the number of units ([`Growth`]), what a unit takes, and, at work, how many there are ([`Held`]).
//! What bounds a part follows from what comes in: the growth of the rows an input adds up to.

use crate::state::size::UnitBytes;

/// How the number of units changes as input comes, from the tightest bound to none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Growth {
    /// It stays below a number that the plan alone gives.
    Constant,
    /// Units go as watermarks or the clock pass them.
    Bounded,
    /// In proportion to the rows that tables and sources with a key have now: units go as those are deleted.
    Present,
    /// Units come with rows that are never taken back, and no time ends them: it provably never shrinks.
    Unbounded,
}

impl Growth {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Bounded => "bounded by time",
            Self::Present => "shrinks with deletes",
            Self::Unbounded => "never shrinks",
        }
    }

    /// That of units which a time ends if `ended`, and which come with rows that grow like this.
    #[must_use]
    pub fn ended(self, ended: bool) -> Self {
        if ended { self.min(Self::Bounded) } else { self }
    }

    /// That of pairs of rows, each of which is there as long as both its rows.
    #[must_use]
    pub fn paired(self, other: Self) -> Self {
        match (self, other) {
            (Self::Constant, one) | (one, Self::Constant) => one,
            (Self::Bounded, _) | (_, Self::Bounded) => Self::Bounded,
            _ => self.max(other),
        }
    }
}

/// One part of an operator's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePart {
    /// One unit, with its article: "a group".
    pub unit: String,
    /// How many units there are, as a formula: "keys x open windows".
    pub count: String,
    /// What bounds that.
    pub growth: Growth,
    /// What a unit takes, reckoned from the types ([`crate::state::size`]).
    pub bytes_each: usize,
    /// What of that stays allocated when a unit has gone.
    pub bytes_gone: usize,
}

impl StatePart {
    /// A part.
    pub fn new(unit: impl Into<String>, count: impl Into<String>, growth: Growth, bytes: UnitBytes) -> Self {
        let UnitBytes { there, gone } = bytes;
        Self { unit: unit.into(), count: count.into(), growth, bytes_each: there, bytes_gone: gone }
    }

    /// The bytes of so many units as they were reckoned.
    pub fn estimate(&self, held: Held) -> usize {
        held.units * self.bytes_each + held.room.saturating_sub(held.units) * self.bytes_gone
    }
}

/// What an operator keeps, and how the rows grow that its output adds up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateBound {
    /// The parts; the same, in the same order, as [`Operator::held`](super::Operator::held) counts.
    pub parts: Vec<StatePart>,
    /// The growth of the output's rows.
    pub output: Growth,
}

/// What one part of an operator's state holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Units there are.
    pub units: usize,
    /// Units there is room for, because there were so many at one time.
    pub room: usize,
    /// Bytes of them.
    pub bytes: usize,
}

impl Held {
    /// Units whose memory goes with them.
    pub fn exactly(units: usize, bytes: usize) -> Self {
        Self { units, room: units, bytes }
    }

    /// This and another partition's.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { units: self.units + other.units, room: self.room + other.room, bytes: self.bytes + other.bytes }
    }
}
