//! Writing checkpoints: segments of what changed, then the manifest that commits them, then away with what nobody names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::log::{Log, fenced};
use super::manifest::{Manifest, Part, PartKind, Section, SegmentFile};
use super::recovered::section_name;
use super::segment::{SectionRows, SegmentWriter};
use super::storage::{Storage, create_own};
use crate::error::{Error, Result};

/// The folder of segments.
pub const SEGMENTS: &str = "state";

/// A segment is closed when it holds this much.
const SEGMENT_BYTES: usize = 32 << 20;

/// A section of this many bytes or more has segments of its own, which go when it is written anew.
const OWN_SEGMENT_BYTES: usize = 1 << 20;

/// Checkpoints that are kept: should a file of the newest be damaged, the one before it and the log are still there.
const KEPT: usize = 3;

/// More segments than one checkpoint has.
const PASSED_OVER: u64 = 1 << 32;

/// A checkpoint to be written.
pub struct Job {
    /// The tick whose state it is, and the tick's time, µs.
    pub tick: u64,
    /// See `tick`.
    pub now_micros: i64,
    /// The time on the clock, µs.
    pub written_micros: i64,
    /// Ticks up to this one may have been shown.
    pub ticks_reserved: u64,
    /// The first number of the log that is not in the state.
    pub log_next: u64,
    /// The state.
    pub parts: Vec<PartJob>,
}

/// The state of one thing.
pub struct PartJob {
    /// What it is of.
    pub kind: PartKind,
    /// Its number.
    pub id: u32,
    /// Of what plan it is.
    pub fingerprint: String,
    /// Its sections.
    pub sections: Vec<SectionJob>,
}

/// A section's state.
pub struct SectionJob {
    /// Its name.
    pub name: &'static str,
    /// Changes whenever the state does.
    pub token: u64,
    /// The state; `None` if it is as the last checkpoint has it.
    pub rows: Option<SectionRows>,
}

/// A checkpoint that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its number.
    pub sequence: u64,
    /// Its tick.
    pub tick: u64,
    /// When it was begun, µs since the Unix epoch.
    pub written_micros: i64,
    /// Bytes written for it.
    pub bytes_written: u64,
    /// Bytes of all its segments.
    pub bytes: u64,
    /// Its segments.
    pub segments: usize,
}

/// Writes checkpoints, one after the other.
#[derive(Debug)]
pub struct Checkpointer {
    storage: Arc<dyn Storage>,
    last: Manifest,
    /// What is kept, oldest first; the last of them is `last`.
    kept: Vec<Kept>,
    /// Numbers segments; never given twice by one engine.
    segments: u64,
    /// The log before this number is deleted.
    log_first: u64,
}

/// A checkpoint that is kept.
#[derive(Debug)]
struct Kept {
    sequence: u64,
    segments: BTreeSet<String>,
    log_next: u64,
}

impl Kept {
    fn of(manifest: &Manifest) -> Self {
        let segments = manifest.segments.keys().cloned().collect();
        Self { sequence: manifest.sequence, segments, log_next: manifest.log_next }
    }
}

impl Checkpointer {
    /// Goes on after the last of `manifests`, which is this engine's own; the log begins at `log_first`.
    ///
    /// # Errors
    /// `Internal` if there is none.
    pub fn new(storage: Arc<dyn Storage>, manifests: Vec<Manifest>, log_first: u64) -> Result<Self> {
        let kept = manifests.iter().map(Kept::of).collect();
        let last = manifests.into_iter().next_back();
        let last = last.ok_or_else(|| Error::internal("checkpoints without a first one"))?;
        Ok(Self { storage, last, kept, segments: 0, log_first })
    }

    /// The last checkpoint.
    pub fn last(&self) -> &Manifest {
        &self.last
    }

    /// Writes a checkpoint. After an error the last one stands, and another may be tried.
    ///
    /// # Errors
    /// `Fenced` if another engine has taken over; `Unavailable`; what the sections give.
    pub fn write(&mut self, job: Job) -> Result<Written> {
        let (parts, segments, bytes_written) = self.write_segments(job.parts)?;
        let manifest = Manifest {
            sequence: self.last.sequence + 1,
            epoch: self.last.epoch,
            writer: self.last.writer.clone(),
            written_micros: job.written_micros,
            tick: job.tick,
            now_micros: job.now_micros,
            ticks_reserved: job.ticks_reserved,
            log_next: job.log_next,
            parts,
            segments,
        };
        let file = manifest.encode()?;
        if !create_own(self.storage.as_ref(), &Manifest::name(manifest.sequence), &file)? {
            return Err(fenced(self.storage.as_ref()));
        }
        let written = Written {
            sequence: manifest.sequence,
            tick: manifest.tick,
            written_micros: manifest.written_micros,
            bytes_written: bytes_written + file.len() as u64,
            bytes: manifest.bytes(),
            segments: manifest.segments.len(),
        };
        self.kept.push(Kept::of(&manifest));
        self.last = manifest;
        if let Err(error) = self.delete_old() {
            tracing::warn!(%error, "what no checkpoint needs is still there; it is deleted later");
        }
        Ok(written)
    }

    /// Gives no segment a name that one may have which was begun and not counted.
    pub fn pass_over_segments(&mut self) {
        self.segments += PASSED_OVER;
    }

    fn write_segments(&mut self, jobs: Vec<PartJob>) -> Result<(Vec<Part>, BTreeMap<String, SegmentFile>, u64)> {
        let mut sink = SegmentSink::new(self.storage.as_ref(), self.last.epoch, self.segments);
        let written = self.write_parts(jobs, &mut sink);
        self.segments = sink.number;
        let (parts, carried) = written?;
        let bytes_written = sink.files.values().map(|file| file.bytes).sum();
        let mut segments = sink.files;
        segments.extend(carried);
        Ok((parts, segments, bytes_written))
    }

    fn write_parts(
        &self,
        jobs: Vec<PartJob>,
        sink: &mut SegmentSink<'_>,
    ) -> Result<(Vec<Part>, BTreeMap<String, SegmentFile>)> {
        let mut carried = BTreeMap::new();
        let mut parts: Vec<Part> = Vec::with_capacity(jobs.len());
        let mut shared = Vec::new();
        for PartJob { kind, id, fingerprint, sections } in jobs {
            let mut part = Part { kind, id, fingerprint, sections: Vec::with_capacity(sections.len()) };
            for SectionJob { name, token, rows } in sections {
                let section = match rows {
                    None => self.carry(&part, name, token, &mut carried)?,
                    Some(rows) => {
                        let full = section_name(&part, name);
                        let segments = match sink.write_section(&full, rows)? {
                            Some(own) => own,
                            None => {
                                shared.push((parts.len(), part.sections.len(), full));
                                vec![]
                            }
                        };
                        Section { name: name.to_owned(), token, segments }
                    }
                };
                part.sections.push(section);
            }
            parts.push(part);
        }
        sink.close_shared()?;
        for (part, section, full) in shared {
            parts[part].sections[section].segments = sink.shared_of(&full);
        }
        Ok((parts, carried))
    }

    /// A section as the last checkpoint has it.
    fn carry(
        &self,
        part: &Part,
        name: &str,
        token: u64,
        carried: &mut BTreeMap<String, SegmentFile>,
    ) -> Result<Section> {
        let last = self.last.part(part.kind, part.id).filter(|last| last.fingerprint == part.fingerprint);
        let section = last.and_then(|last| last.section(name)).filter(|section| section.token == token);
        let missing = || Error::internal(format!("no checkpoint has {}", section_name(part, name)));
        let section = section.ok_or_else(missing)?.clone();
        for segment in &section.segments {
            carried.insert(segment.clone(), *self.last.segments.get(segment).ok_or_else(missing)?);
        }
        Ok(section)
    }

    /// Deletes checkpoints beyond those kept, then what only they named. What a crash leaves is deleted at the next start.
    fn delete_old(&mut self) -> Result<()> {
        while self.kept.len() > KEPT {
            let storage = self.storage.as_ref();
            let oldest = &self.kept[0];
            storage.delete(&Manifest::name(oldest.sequence))?;
            let named: BTreeSet<_> = self.kept[1..].iter().flat_map(|kept| &kept.segments).collect();
            for segment in oldest.segments.iter().filter(|segment| !named.contains(segment)) {
                storage.delete(segment)?;
            }
            self.kept.remove(0);
        }
        let needed = self.kept.iter().map(|kept| kept.log_next).min().unwrap_or(0);
        while self.log_first < needed {
            self.storage.delete(&Log::name(self.log_first))?;
            self.log_first += 1;
        }
        Ok(())
    }
}

/// The segments of one checkpoint as they are written.
struct SegmentSink<'s> {
    storage: &'s dyn Storage,
    epoch: u64,
    number: u64,
    files: BTreeMap<String, SegmentFile>,
    shared: SegmentWriter,
    /// Sections in `shared`, and those in shared segments that are closed.
    shared_sections: Vec<String>,
    closed: BTreeMap<String, Vec<String>>,
}

impl<'s> SegmentSink<'s> {
    fn new(storage: &'s dyn Storage, epoch: u64, number: u64) -> Self {
        Self {
            storage,
            epoch,
            number,
            files: BTreeMap::new(),
            shared: SegmentWriter::default(),
            shared_sections: Vec::new(),
            closed: BTreeMap::new(),
        }
    }

    /// Writes a section into segments of its own; `None` if it is small, and goes into a shared one.
    fn write_section(&mut self, section: &str, rows: SectionRows) -> Result<Option<Vec<String>>> {
        let (mut small, mut small_bytes): (Vec<(String, RecordBatch)>, usize) = (Vec::new(), 0);
        let mut own: Option<SegmentWriter> = None;
        let mut segments = Vec::new();
        rows(&mut |table, batch| {
            if own.is_none() {
                small_bytes += batch.get_array_memory_size();
                small.push((table.to_owned(), batch));
                if small_bytes < OWN_SEGMENT_BYTES {
                    return Ok(());
                }
                let mut writer = SegmentWriter::default();
                small.drain(..).try_for_each(|(table, batch)| writer.add(section, &table, batch))?;
                own = Some(writer);
                return Ok(());
            }
            let writer = own.get_or_insert_default();
            writer.add(section, table, batch)?;
            if writer.bytes() >= SEGMENT_BYTES {
                segments.push(self.put(std::mem::take(writer).finish()?)?);
            }
            Ok(())
        })?;
        if let Some(writer) = own {
            if writer.bytes() > 0 {
                segments.push(self.put(writer.finish()?)?);
            }
            return Ok(Some(segments));
        }
        if small.is_empty() {
            return Ok(Some(segments));
        }
        small.into_iter().try_for_each(|(table, batch)| self.shared.add(section, &table, batch))?;
        self.shared_sections.push(section.to_owned());
        if self.shared.bytes() >= SEGMENT_BYTES {
            self.close_shared()?;
        }
        Ok(None)
    }

    fn close_shared(&mut self) -> Result<()> {
        if self.shared_sections.is_empty() {
            return Ok(());
        }
        let file = std::mem::take(&mut self.shared).finish()?;
        let name = self.put(file)?;
        for section in self.shared_sections.drain(..) {
            self.closed.entry(section).or_default().push(name.clone());
        }
        Ok(())
    }

    fn shared_of(&self, section: &str) -> Vec<String> {
        self.closed.get(section).cloned().unwrap_or_default()
    }

    fn put(&mut self, file: Bytes) -> Result<String> {
        let name = format!("{SEGMENTS}/{:010}-{:012}", self.epoch, self.number);
        self.number += 1;
        if !create_own(self.storage, &name, &file)? {
            return Err(fenced(self.storage));
        }
        self.files.insert(name.clone(), SegmentFile { bytes: file.len() as u64, checksum: xxh3_64(&file) });
        Ok(name)
    }
}
