//! The small file that makes segments a checkpoint: which they are, and of which tick.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::frame::{FileKind, FrameWriter, blocks};
use crate::error::{Error, Result};

const KIND: FileKind = FileKind { tag: *b"MANI", version: 1, noun: "manifest" };

/// The folder of manifests.
pub const FOLDER: &str = "manifest";

/// One checkpoint. Each names the one before it, so that there is one line of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its place in the line, and its name.
    pub sequence: u64,
    /// Counts the engines that have written here, one after the other.
    pub epoch: u64,
    /// The engine that wrote it: a word of its own.
    pub writer: String,
    /// When, µs since the Unix epoch.
    pub written_micros: i64,
    /// The tick whose state this is, and the tick's time, µs.
    pub tick: u64,
    /// See `tick`.
    pub now_micros: i64,
    /// Ticks up to this one may have been shown to clients.
    pub ticks_reserved: u64,
    /// The log from this number on is not in the state.
    pub log_next: u64,
    /// What has state.
    pub parts: Vec<Part>,
    /// The segments that hold it, by name.
    pub segments: BTreeMap<String, SegmentFile>,
}

/// What kind of thing has state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// A source: how far it was read, and what was not accepted.
    Source,
    /// A table.
    Table,
    /// A materialized view.
    View,
}

impl fmt::Display for PartKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Table => "table",
            Self::View => "view",
        })
    }
}

/// The state of one source, table or view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is of.
    pub kind: PartKind,
    /// Its number in the catalog, which it keeps for good.
    pub id: u32,
    /// Of what plan the state is; state of another plan is of no use.
    pub fingerprint: String,
    /// Its state.
    pub sections: Vec<Section>,
}

/// State that is written anew or stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// What it holds: `rows` for one.
    pub name: String,
    /// Changes whenever the state does.
    pub token: u64,
    /// The segments it is in, in order.
    pub segments: Vec<String>,
}

/// A segment as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentFile {
    /// Its length.
    pub bytes: u64,
    /// XXH3-64 of the whole file: it is this one, and no other of the same name.
    pub checksum: u64,
}

impl Manifest {
    /// Where a manifest lies.
    pub fn name(sequence: u64) -> String {
        format!("{FOLDER}/{sequence:020}")
    }

    /// The number in a manifest's name.
    pub fn sequence_of(name: &str) -> Option<u64> {
        name.strip_prefix(FOLDER)?.strip_prefix('/')?.parse().ok()
    }

    /// The state of one thing.
    pub fn part(&self, kind: PartKind, id: u32) -> Option<&Part> {
        self.parts.iter().find(|part| part.kind == kind && part.id == id)
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.values().map(|file| file.bytes).sum()
    }

    /// The file.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn encode(&self) -> Result<Bytes> {
        let text = serde_json::to_vec_pretty(self);
        let text = text.map_err(|e| Error::internal("a manifest cannot be written").with_source(e))?;
        let mut frame = FrameWriter::new(KIND);
        frame.block(&text)?;
        Ok(frame.finish())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `Data`, naming the file.
    pub fn decode(location: &str, file: &Bytes) -> Result<Self> {
        let blocks = blocks(KIND, location, file)?;
        let damaged = || Error::data(format!("the manifest {location} is damaged"));
        let [text] = blocks.as_slice() else { return Err(damaged()) };
        serde_json::from_slice(text).map_err(|e| damaged().with_source(e))
    }
}

impl Part {
    /// One of its sections.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }
}
