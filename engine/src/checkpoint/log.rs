//! The log: what ticks rest on and no topic holds, durable before the tick that uses it is published.
//!
//! Each append is one object, numbered without gaps; a number can be taken once. So an engine that was taken for dead, and
//! wakes after another has written its fence, finds its next number taken, and has to stop: nothing it does from then on counts.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::columns;
use super::frame::{FileKind, FrameWriter, blocks};
use super::storage::{Storage, create_own};
use crate::delta::{Delta, weighted};
use crate::error::{Error, ErrorKind, Result};
use crate::ingest::Exclusion;
use crate::source::Offsets;

const KIND: FileKind = FileKind { tag: *b"LOG ", version: 1, noun: "log file" };

/// The folder of the log.
pub const FOLDER: &str = "log";

/// One thing to remember.
#[derive(Debug, Clone)]
pub enum Entry {
    /// An engine begins; those of lower epochs have ended.
    Fence {
        /// Its epoch.
        epoch: u64,
    },
    /// Ticks up to this one may be shown.
    Reserve {
        /// The tick.
        tick: u64,
    },
    /// Where reading of a source begins.
    Start {
        /// The source's number in the catalog.
        source: u32,
        /// Partition to offset.
        offsets: Offsets,
    },
    /// What lateness rests on besides the source's own log.
    Exclusions {
        /// The source's number in the catalog.
        source: u32,
        /// The exclusions.
        exclusions: Vec<Exclusion>,
    },
    /// The change of one statement or transaction: tables by number, each once.
    Write {
        /// Tables and their changes.
        changes: Vec<(u32, Vec<Delta>)>,
    },
}

/// An entry without its columns, which follow as blocks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Fence(u64),
    Reserve(u64),
    Start(u32, Offsets),
    /// Partition, offset, floor, closing floor, time.
    Exclusions(u32, Vec<(i32, i64, i64, i64, i64)>),
    /// Table, and how many blocks are its change.
    Write(Vec<(u32, usize)>),
}

/// The end of the log, to which one engine appends. Every object begins with the writer's own word, so that no two are the same.
#[derive(Debug)]
pub struct Log {
    storage: Arc<dyn Storage>,
    writer: String,
    next: u64,
}

impl Log {
    /// The log from `next` on.
    pub fn new(storage: Arc<dyn Storage>, writer: &str, next: u64) -> Self {
        Self { storage, writer: writer.to_owned(), next }
    }

    /// Where an object of the log lies.
    pub fn name(number: u64) -> String {
        format!("{FOLDER}/{number:020}")
    }

    /// The number in a name.
    pub fn number_of(name: &str) -> Option<u64> {
        name.strip_prefix(FOLDER)?.strip_prefix('/')?.parse().ok()
    }

    /// The number of the next object.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Appends entries, all or none. They are durable when this returns.
    ///
    /// # Errors
    /// `Fenced` if another engine has taken the number; `Unavailable` if it is not known whether they are there, or nothing was
    /// written: then the same append may be tried again, and no other.
    pub fn append(&mut self, entries: &[Entry]) -> Result<()> {
        let object = encode(&self.writer, entries)?;
        match create_own(self.storage.as_ref(), &Self::name(self.next), &object)? {
            true => {
                self.next += 1;
                Ok(())
            }
            false => Err(fenced(self.storage.as_ref())),
        }
    }
}

/// Another engine writes here.
pub fn fenced(storage: &dyn Storage) -> Error {
    let message = format!("another engine has taken over the data at {}: this one stops", storage.locate(""));
    Error::new(ErrorKind::Fenced, message)
}

fn encode(writer: &str, entries: &[Entry]) -> Result<Bytes> {
    let (mut lines, mut streams) = (Vec::with_capacity(entries.len()), Vec::new());
    for entry in entries {
        lines.push(match entry {
            Entry::Fence { epoch } => Line::Fence(*epoch),
            Entry::Reserve { tick } => Line::Reserve(*tick),
            Entry::Start { source, offsets } => Line::Start(*source, offsets.clone()),
            Entry::Exclusions { source, exclusions } => {
                let of = |e: &Exclusion| (e.partition, e.offset, e.floor_micros, e.closing_floor_micros, e.now_micros);
                Line::Exclusions(*source, exclusions.iter().map(of).collect())
            }
            Entry::Write { changes } => {
                let mut tables = Vec::with_capacity(changes.len());
                for (table, change) in changes {
                    for delta in change {
                        let schema = weighted(&delta.rows.schema());
                        let batch = delta.clone().into_edge(&schema)?;
                        streams.push(columns::encode(&schema, &[batch])?);
                    }
                    tables.push((*table, change.len()));
                }
                Line::Write(tables)
            }
        });
    }
    let text = serde_json::to_vec(&(writer, lines));
    let mut frame = FrameWriter::new(KIND);
    frame.block(&text.map_err(|e| Error::internal("log entries cannot be written").with_source(e))?)?;
    streams.iter().try_for_each(|stream| frame.block(stream))?;
    Ok(frame.finish())
}

/// Reads an object of the log.
///
/// # Errors
/// `Data`, naming the file.
pub fn decode(location: &str, file: &Bytes) -> Result<Vec<Entry>> {
    let mut blocks = blocks(KIND, location, file)?.into_iter();
    let damaged = |what: &dyn std::fmt::Display| Error::data(format!("the log file {location} is damaged: {what}"));
    let text = blocks.next().ok_or_else(|| damaged(&"it is empty"))?;
    let (_, lines): (String, Vec<Line>) = serde_json::from_slice(&text).map_err(|e| damaged(&e))?;
    let mut entries = Vec::with_capacity(lines.len());
    for line in lines {
        entries.push(match line {
            Line::Fence(epoch) => Entry::Fence { epoch },
            Line::Reserve(tick) => Entry::Reserve { tick },
            Line::Start(source, offsets) => Entry::Start { source, offsets },
            Line::Exclusions(source, exclusions) => {
                let of = |(partition, offset, floor_micros, closing_floor_micros, now_micros)| Exclusion {
                    partition,
                    offset,
                    floor_micros,
                    closing_floor_micros,
                    now_micros,
                };
                Entry::Exclusions { source, exclusions: exclusions.into_iter().map(of).collect() }
            }
            Line::Write(tables) => {
                let mut changes = Vec::with_capacity(tables.len());
                for (table, streams) in tables {
                    let mut change = Vec::with_capacity(streams);
                    for _ in 0..streams {
                        let stream = blocks.next().ok_or_else(|| damaged(&"a change is missing"))?;
                        let (_, batches) = columns::decode(&stream).map_err(|e| damaged(&e))?;
                        change.extend(batches.into_iter().map(Delta::from_edge).collect::<Result<Vec<_>>>()?);
                    }
                    changes.push((table, change));
                }
                Entry::Write { changes }
            }
        });
    }
    match blocks.next() {
        None => Ok(entries),
        Some(_) => Err(damaged(&"it holds changes of no table")),
    }
}
