//! Nexmark events of all kinds as JSON in memory, tick by tick, each kind a source of its own.

use engine::source::RawRecord;
use engine::source::nexmark::{EventKind, NexmarkGenerator};

use crate::input::Records;

/// The workload's script: its sources, and its queries as materialized views.
const SCRIPT: &str = include_str!("../../tests/workloads/nexmark.sql");

/// The kinds of events, each with its source's name.
pub const SOURCES: [&str; 3] = ["person", "auction", "bid"];

/// The `CREATE SOURCE` statements of people, auctions and bids.
pub fn create_sources() -> String {
    statements().filter(|text| SOURCES.iter().any(|name| text.starts_with(&format!("CREATE SOURCE {name} ")))).collect()
}

/// A query of the benchmark as the workload's script has it: what follows `AS`.
///
/// # Panics
/// If there is no such view in the script.
pub fn query(name: &str) -> &'static str {
    let head = format!("CREATE MATERIALIZED VIEW {name} AS");
    let found = statements().find_map(|text| text.strip_prefix(&head));
    found.unwrap_or_else(|| panic!("no view {name}")).trim_end().trim_end_matches(';')
}

/// The script's statements, each with its semicolon and without the comments before the first.
fn statements() -> impl Iterator<Item = &'static str> {
    SCRIPT
        .split_inclusive(";\n")
        .map(|text| text.trim_start_matches(|first| first == '\n'))
        .map(|text| text.find("CREATE ").map_or(text, |from| &text[from..]))
}

/// The events of one tick, by kind, in the order of the stream.
#[derive(Default)]
pub struct Events([Records; 3]);

impl Events {
    /// Replaces the events by the next `count` of a stream.
    pub fn refill(&mut self, events: &mut NexmarkGenerator, count: usize) {
        self.0.iter_mut().for_each(Records::clear);
        let mut event = Vec::new();
        for _ in 0..count {
            event.clear();
            let kind = match events.next(&mut event) {
                EventKind::Person => 0,
                EventKind::Auction => 1,
                EventKind::Bid => 2,
            };
            self.0[kind].push(&event);
        }
    }

    /// The events of a kind, named as its source.
    ///
    /// # Panics
    /// If there is no such kind.
    pub fn of(&self, source: &str) -> &Records {
        &self.0[SOURCES.iter().position(|name| *name == source).expect("one of the kinds")]
    }

    /// All events as their sources hand them over, at offsets from those of `next` on.
    pub fn raw(&self, next: impl Fn(&str) -> i64) -> Vec<(&'static str, Vec<RawRecord<'_>>)> {
        let of_source = |name: &'static str| (name, self.of(name).raw(0, self.of(name).len(), next(name)));
        SOURCES.into_iter().map(of_source).collect()
    }
}
