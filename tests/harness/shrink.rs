//! A failing case made smaller, and written down as a golden script.

use std::fmt::Write;
use std::ops::Range;

use super::case::Case;
use super::query::Shape;
use super::stream::{RECORD_TIME_MILLIS, Record, timestamp};

/// Cases tried before the smallest so far must do.
const TRIES_MAX: usize = 600;
/// So few records are taken away one by one.
const SINGLE_RECORDS_MAX: usize = 24;
/// Columns a record can do without; the event time is none of them.
const FIELDS: [&str; 9] = ["k", "g", "v", "d", "f", "b", "day", "tags", "unknown"];

impl Case {
    /// The smallest case found that fails like this one, by dropping parts for as long as it still fails.
    #[must_use]
    pub fn shrink(self) -> Self {
        self.shrink_while(|case| case.run().is_err_and(|e| e.starts_with("tick") || e.starts_with("restart")))
    }

    /// The smallest case found of which `fails` still holds.
    #[must_use]
    pub fn shrink_while(self, fails: impl Fn(&Self) -> bool) -> Self {
        let mut smallest = self;
        let mut tries = 0;
        'again: loop {
            for smaller in smallest.smaller() {
                tries += 1;
                if tries > TRIES_MAX {
                    return smallest;
                }
                if fails(&smaller) {
                    smallest = smaller;
                    continue 'again;
                }
            }
            return smallest;
        }
    }

    /// Cases that are a little smaller than this one; those that lose most come first.
    fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for parts in [2, 4, 8] {
            let length = self.records.len().div_ceil(parts);
            if length > 1 {
                let starts = (0..self.records.len()).step_by(length);
                all.extend(starts.map(|start| self.without(start..(start + length).min(self.records.len()))));
            }
        }
        all.extend(self.query.smaller().into_iter().map(|query| Self { query, ..self.clone() }));
        if self.restarts.iter().any(Option::is_some) {
            all.push(Self { restarts: vec![None; self.restarts.len()], ..self.clone() });
        }
        if self.parallelism > 1 {
            all.push(Self { parallelism: 1, ..self.clone() });
        }
        if !self.evict {
            all.push(Self { evict: true, ..self.clone() });
        }
        all.extend(self.with_one_partition());
        for index in 0..self.cuts.len() {
            let mut fewer = self.clone();
            fewer.cuts.remove(index);
            fewer.restarts.remove(index);
            all.push(fewer);
        }
        if self.records.len() <= SINGLE_RECORDS_MAX {
            all.extend((0..self.records.len()).map(|index| self.without(index..index + 1)));
            all.extend(FIELDS.iter().filter_map(|field| self.without_field(field)));
        }
        all
    }

    /// The case without some records; ticks keep the others they had.
    fn without(&self, gone: Range<usize>) -> Self {
        let mut records = self.records.clone();
        records.drain(gone.clone());
        let moved = |cut: &usize| cut - gone.len().min(cut.saturating_sub(gone.start));
        Self { records, cuts: self.cuts.iter().map(moved).collect(), ..self.clone() }
    }

    fn without_field(&self, field: &str) -> Option<Self> {
        let without = |record: &Record| record.without(field).unwrap_or_else(|| record.clone());
        let records: Vec<_> = self.records.iter().map(without).collect();
        (records != self.records).then(|| Self { records, ..self.clone() })
    }

    fn with_one_partition(&self) -> Option<Self> {
        let plain = |record: &Record| Record { partition: 0, skipped: 0, ..record.clone() };
        let records: Vec<_> = self.records.iter().map(plain).collect();
        let same = self.partitions == 1 && records == self.records;
        (!same).then(|| Self { partitions: 1, records, ..self.clone() })
    }

    /// The case as a golden script of ticks, ready to be put among the others: what comes out is filled in by
    /// `UPDATE_GOLDENS=1 cargo test --test goldens`, then to be corrected by hand to what ought to come out. `why` heads it.
    pub fn golden(&self, why: &str) -> String {
        let mut text = String::new();
        why.lines().for_each(|line| put(&mut text, format_args!("# {line}")));
        if !self.evict {
            put(&mut text, format_args!("# Found with eviction turned off."));
        }
        put(&mut text, format_args!("{};", self.feeds[0].create("s")));
        if self.query.reads_other() {
            put(&mut text, format_args!("{};", self.feeds[1].create("o")));
        }
        put(&mut text, format_args!("{};\n", self.query.create_text()));
        put(&mut text, format_args!("partitions s {}\n", self.partitions));
        if self.query.reads_other() {
            put(&mut text, format_args!("partitions o {}\n", self.partitions));
        }
        if self.parallelism > 1 {
            put(&mut text, format_args!("restart parallelism {}\n", self.parallelism));
        }
        let mut from = 0;
        for (index, cut) in self.cuts.iter().copied().chain([self.records.len()]).enumerate() {
            let cut = cut.clamp(from, self.records.len());
            match &self.query.shape {
                Shape::Temporal(_) => {
                    let time = timestamp(self.clock.at(index)).replace(' ', "T");
                    put(&mut text, format_args!("tick {time}"));
                }
                _ => put(&mut text, format_args!("tick")),
            }
            self.records[from..cut].iter().for_each(|record| put_record(&mut text, record));
            text.push('\n');
            from = cut;
            if let Some(Some(parallelism)) = self.restarts.get(index) {
                put(&mut text, format_args!("restart parallelism {parallelism}\n"));
            }
        }
        put(&mut text, format_args!("end"));
        text
    }
}

fn put_record(text: &mut String, record: &Record) {
    let source = if record.of_other { "o" } else { "s" };
    if record.skipped > 0 {
        put(text, format_args!("{source} {} skip {}", record.partition, record.skipped));
    }
    let time = timestamp((RECORD_TIME_MILLIS + record.time_shift) * 1000).replace(' ', "T");
    let key = record.key.as_ref().map(|key| match key.contains(' ') || key.is_empty() {
        false => format!("key={key} "),
        true => format!("key=hex:{} ", key.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()),
    });
    let payload = match record.payload.as_deref() {
        None => "tombstone",
        Some("") => "hex:",
        Some(payload) => payload,
    };
    put(text, format_args!("{source} {} @{time} {}{payload}", record.partition, key.unwrap_or_default()));
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes everything");
}
