//! The exclusion log: the only input of lateness that is not in the source's own log.
//!
//! Entries are kept as long as the source is read. Every replay begins where the live reading did, so each entry decides
//! about rows that a replay judges; none ever becomes superfluous while a replay is still possible. An entry is 40 bytes, and
//! there is at most one for each idle timeout that passed between two records of a partition.

use std::collections::BTreeMap;

/// The watermark went on without a partition: from `offset` on, none of its rows below `floor_micros` is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exclusion {
    /// The partition that was idle, or found later than the others.
    pub partition: i32,
    /// Its next offset at that time.
    pub offset: i64,
    /// The watermark, µs of event time.
    pub floor_micros: i64,
    /// The closing watermark, µs of event time: for its windows nobody waits from then on.
    pub closing_floor_micros: i64,
    /// The tick's time, µs.
    pub now_micros: i64,
}

impl Exclusion {
    /// True if `other` raises one of its floors.
    fn is_below(&self, other: &Self) -> bool {
        self.floor_micros < other.floor_micros || self.closing_floor_micros < other.closing_floor_micros
    }

    /// The same with floors no lower than another's.
    fn at_least(self, other: &Self) -> Self {
        Self {
            floor_micros: self.floor_micros.max(other.floor_micros),
            closing_floor_micros: self.closing_floor_micros.max(other.closing_floor_micros),
            ..self
        }
    }
}

/// Every exclusion that raised a floor, by partition and offset. Floors of one partition never fall.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ExclusionLog(BTreeMap<i32, Vec<Exclusion>>);

impl ExclusionLog {
    /// Writes an exclusion. It takes the place of the newest one of its partition if that one is still `open` or stands
    /// at the same offset: no row was judged in between, so the older floor never mattered. Returns the entry as kept.
    pub(super) fn write(&mut self, exclusion: Exclusion, open: bool) -> Exclusion {
        let entries = self.0.entry(exclusion.partition).or_default();
        let after = entries.partition_point(|entry| entry.offset <= exclusion.offset);
        match entries[..after].last_mut() {
            Some(last) if open || last.offset == exclusion.offset => {
                *last = Exclusion { offset: last.offset, ..exclusion.at_least(last) };
                *last
            }
            _ => {
                entries.insert(after, exclusion);
                exclusion
            }
        }
    }

    /// Adds an exclusion from elsewhere, wherever its offset belongs.
    pub(super) fn merge(&mut self, exclusion: Exclusion) {
        let entries = self.0.entry(exclusion.partition).or_default();
        match entries.binary_search_by_key(&exclusion.offset, |entry| entry.offset) {
            Ok(at) if entries[at].is_below(&exclusion) => entries[at] = exclusion.at_least(&entries[at]),
            Ok(_) => {}
            Err(at) => entries.insert(at, exclusion),
        }
    }

    /// The exclusions of one partition, by offset.
    pub(super) fn of(&self, partition: i32) -> &[Exclusion] {
        self.0.get(&partition).map_or(&[], Vec::as_slice)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Exclusion> {
        self.0.values().flatten()
    }
}
