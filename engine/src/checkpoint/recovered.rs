//! What an earlier engine left: the newest checkpoint, and the log after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::log::Entry;
use super::manifest::{Manifest, Part, PartKind, Section};
use super::segment::{Segment, Tables};
use super::storage::Storage;
use crate::error::{Error, Result};
use crate::ingest::Exclusion;
use crate::source::Offsets;

/// State to start from.
#[derive(Debug)]
pub struct Recovered {
    storage: Arc<dyn Storage>,
    manifest: Manifest,
    entries: Vec<Entry>,
    /// The segment read last: small sections share one.
    segment: Mutex<Option<(String, Arc<Segment>)>>,
}

impl Recovered {
    /// The state of `manifest` and what came after.
    pub fn new(storage: Arc<dyn Storage>, manifest: Manifest, entries: Vec<Entry>) -> Self {
        Self { storage, manifest, entries, segment: Mutex::default() }
    }

    /// The checkpoint.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What the log has after it, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The state of one thing in the checkpoint.
    pub fn part(&self, kind: PartKind, id: u32) -> Option<&Part> {
        self.manifest.part(kind, id)
    }

    /// The last tick that may have been shown.
    pub fn tick_shown(&self) -> u64 {
        let reserved = |entry: &Entry| match entry {
            Entry::Reserve { tick } => *tick,
            _ => 0,
        };
        self.entries.iter().map(reserved).max().unwrap_or(0).max(self.manifest.ticks_reserved).max(self.manifest.tick)
    }

    /// Where reading of a source began, as far as the log after the checkpoint says.
    pub fn start(&self, source: u32) -> Option<&Offsets> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Start { source: of, offsets } if *of == source => Some(offsets),
            _ => None,
        })
    }

    /// A source's exclusions after the checkpoint.
    pub fn exclusions(&self, source: u32) -> Vec<Exclusion> {
        let of_source = |entry: &Entry| match entry {
            Entry::Exclusions { source: of, exclusions } if *of == source => exclusions.clone(),
            _ => vec![],
        };
        self.entries.iter().flat_map(of_source).collect()
    }

    /// A section's tables.
    ///
    /// # Errors
    /// `Data`, naming the file, if one of its segments is missing or damaged; `Unavailable`.
    pub fn load(&self, part: &Part, section: &Section) -> Result<Tables> {
        let mut tables: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for segment in &section.segments {
            for (table, batches) in self.segment(segment)?.section(&section_name(part, &section.name))? {
                tables.entry(table).or_default().extend(batches);
            }
        }
        Ok(tables.into_iter().collect())
    }

    fn segment(&self, name: &str) -> Result<Arc<Segment>> {
        let mut last = self.segment.lock();
        if let Some((_, segment)) = last.as_ref().filter(|(known, _)| known == name) {
            return Ok(segment.clone());
        }
        let location = self.storage.locate(name);
        let missing = || Error::data(format!("the segment {location} is missing"));
        let file = self.storage.read(name)?.ok_or_else(missing)?;
        let wanted = self.manifest.segments.get(name).ok_or_else(missing)?;
        if (file.len() as u64, xxh3_64(&file)) != (wanted.bytes, wanted.checksum) {
            return Err(Error::data(format!("the segment {location} is damaged: it is not the file that was written")));
        }
        let segment = Arc::new(Segment::read(&location, &file)?);
        *last = Some((name.to_owned(), segment.clone()));
        Ok(segment)
    }
}

/// What a section is called within a segment.
pub(super) fn section_name(part: &Part, section: &str) -> String {
    format!("{}/{}/{section}", part.kind, part.id)
}
