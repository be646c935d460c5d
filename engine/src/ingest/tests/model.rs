//! The rules of lateness, idleness and watermarks, said again record by record, as slowly as they read.

use std::collections::BTreeMap;

use super::{IngestSpec, IngestedTick, Line, accepted, assert_accounted, errors, late};
use crate::source::PartitionStatus;

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    Accepted(i64),
    Late(i64, i64),
    Error(&'static str),
    Tombstone,
}

/// One partition's whole history.
#[derive(Default)]
struct History {
    fates: Vec<(i64, Fate)>,
    /// Floors that hold from some offset on.
    floors: Vec<(i64, i64)>,
    excluded: bool,
    /// The tick's time when it was last found behind, with rows, or for the first time.
    heard: Option<i64>,
    news: bool,
    next: Option<i64>,
}

pub(super) struct Model {
    spec: IngestSpec,
    partitions: BTreeMap<i32, History>,
    pub(super) watermark: i64,
    closing: i64,
    now: i64,
    /// In poll order, since the last take.
    fresh: Vec<(i32, i64, Fate)>,
}

impl History {
    fn event_times(&self) -> impl Iterator<Item = i64> {
        self.fates.iter().filter_map(|(_, fate)| match fate {
            Fate::Accepted(time) | Fate::Late(time, _) => Some(*time),
            _ => None,
        })
    }

    fn bound_at(&self, offset: i64, delay: i64) -> i64 {
        let own = self.event_times().max().map_or(i64::MIN, |newest| newest - delay);
        let floors = self.floors.iter().filter(|(from, _)| *from <= offset).map(|(_, floor)| *floor);
        floors.fold(own, i64::max)
    }
}

impl Model {
    pub(super) fn new(spec: &IngestSpec) -> Self {
        let (watermark, closing, now) = (i64::MIN, i64::MIN, i64::MIN);
        Self { spec: spec.clone(), partitions: BTreeMap::new(), watermark, closing, now, fresh: Vec::new() }
    }

    fn discover(&mut self, number: i32, offset: i64) {
        let watermark = self.watermark;
        self.partitions.entry(number).or_insert_with(|| History {
            floors: (watermark > i64::MIN).then_some((offset, watermark)).into_iter().collect(),
            next: Some(offset),
            ..History::default()
        });
    }

    pub(super) fn push(&mut self, line: &Line) {
        self.discover(line.partition, line.offset);
        let fate = self.judge(line);
        let history = self.partitions.get_mut(&line.partition).expect("discovered above");
        if matches!(fate, Fate::Accepted(_) | Fate::Late(..)) {
            history.news = true;
            history.excluded = false;
        }
        history.next = Some(line.offset + 1);
        history.fates.push((line.offset, fate.clone()));
        self.fresh.push((line.partition, line.offset, fate));
    }

    fn judge(&self, line: &Line) -> Fate {
        let Some(payload) = &line.payload else { return Fate::Tombstone };
        let fields: Vec<_> = payload.split(',').collect();
        if fields.len() != 3 {
            return Fate::Error("malformed");
        }
        if fields[0].is_empty() {
            return Fate::Error("null_value");
        }
        let Ok(time) = fields[0].parse::<i64>() else { return Fate::Error("wrong_type") };
        if fields[1].parse::<i64>().is_err() {
            return Fate::Error("wrong_type");
        }
        if let (Some(skew), Some(ms)) = (self.spec.max_future_skew_micros, line.timestamp_ms)
            && time > ms * 1000 + skew
        {
            return Fate::Error("future_time");
        }
        let bound = self.partitions[&line.partition].bound_at(line.offset, self.spec.lateness_micros());
        if time < bound { Fate::Late(time, bound) } else { Fate::Accepted(time) }
    }

    fn take(&mut self, now: i64, status: &BTreeMap<i32, PartitionStatus>) {
        self.now = self.now.max(now);
        for (number, status) in status {
            self.discover(*number, status.position);
            let history = self.partitions.get_mut(number).expect("discovered above");
            history.next = history.next.max(Some(status.position));
        }
        for (number, history) in &mut self.partitions {
            let status = status.get(number);
            let caught_up = status.is_some_and(|status| status.end.is_some() && history.next >= status.end);
            let silent = caught_up && !history.news && history.heard.is_some();
            if !silent {
                history.heard = Some(self.now);
            }
            let silence = self.now - history.heard.expect("set above");
            let still = caught_up && !history.news;
            history.excluded = still && self.spec.idle_timeout_micros.is_some_and(|timeout| silence >= timeout);
            history.news = false;
        }
        self.watermark = self.watermark.max(self.candidate(self.spec.lateness_micros()));
        self.closing = self.closing.max(self.candidate(self.spec.delay_micros));
        for history in self.partitions.values_mut().filter(|history| history.excluded) {
            history.floors.push((history.next.expect("caught up, so its position is known"), self.watermark));
        }
    }

    fn candidate(&self, delay: i64) -> i64 {
        let newest = |history: &History| history.event_times().max();
        let active: Vec<_> = self.partitions.values().filter(|history| !history.excluded).collect();
        if !active.is_empty() {
            let bounds = active.iter().map(|history| newest(history).map_or(i64::MIN, |newest| newest - delay));
            return bounds.min().expect("not empty");
        }
        let Some(newest) = self.partitions.values().filter_map(newest).max() else { return i64::MIN };
        let arrival = self.partitions.values().filter_map(|history| history.heard).max().expect("there is a partition");
        let cap = newest.max(self.now - delay);
        (newest - delay + (self.now - arrival)).min(cap)
    }

    /// Ends a tick here as well, and compares.
    pub(super) fn check(&mut self, tick: &IngestedTick, status: &BTreeMap<i32, PartitionStatus>) {
        let published = self.watermark;
        self.take(tick.now_micros, status);
        assert_accounted(tick);
        assert_eq!(tick.watermark.0, self.watermark, "watermark");
        assert_eq!(tick.closing.0, self.closing, "closing watermark");
        assert!(tick.closing >= tick.watermark, "windows close before their state may go");
        let fresh = std::mem::take(&mut self.fresh);
        let expected = select(&fresh, |partition, offset, fate| match fate {
            Fate::Accepted(time) => Some((partition, offset, *time)),
            _ => None,
        });
        assert_eq!(accepted(tick), expected, "accepted rows");
        assert!(expected.iter().all(|(_, _, time)| *time >= published), "a row below a published watermark");
        let expected = select(&fresh, |partition, offset, fate| match fate {
            Fate::Late(time, bound) => Some((partition, offset, *time, *bound)),
            _ => None,
        });
        assert_eq!(late(tick), expected, "late rows");
        let mut expected = select(&fresh, |partition, offset, fate| match fate {
            Fate::Error(reason) => Some((partition, offset, (*reason).to_owned())),
            _ => None,
        });
        let mut found = errors(tick);
        // Future times are found after a stretch was decoded, so error rows may change places.
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "error rows");
        let ends: BTreeMap<_, _> = self.partitions.iter().map(|(number, history)| (*number, history.next)).collect();
        let found: BTreeMap<_, _> = tick.offsets.iter().map(|(number, (_, to))| (*number, Some(*to))).collect();
        assert_eq!(found, ends, "offsets");
    }

    /// What became of every record, by partition and offset.
    pub(super) fn fates(&self) -> BTreeMap<(i32, i64), Fate> {
        let partitions = self.partitions.iter();
        let fates = partitions.flat_map(|(number, history)| {
            history.fates.iter().map(|(offset, fate)| ((*number, *offset), fate.clone()))
        });
        fates.collect()
    }
}

fn select<T>(fresh: &[(i32, i64, Fate)], pick: impl Fn(i32, i64, &Fate) -> Option<T>) -> Vec<T> {
    fresh.iter().filter_map(|(partition, offset, fate)| pick(*partition, *offset, fate)).collect()
}
