//! Taking over a storage: from then on one engine writes there, and knows what the one before it left.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::log::{self, Entry, Log, fenced};
use super::manifest::{self, Manifest};
use super::recovered::Recovered;
use super::storage::{Storage, create_own, probe};
use super::writer::{Checkpointer, SEGMENTS};
use crate::error::{Error, ErrorKind, Result};

/// Older checkpoints that are kept besides the one to start from.
const OLDER_KEPT: usize = 1;

/// An engine's hold on a storage.
#[derive(Debug)]
pub struct Durable {
    /// The log.
    pub log: Log,
    /// Writes checkpoints.
    pub checkpointer: Checkpointer,
}

/// Takes a storage over, and says what it holds. `writer` is a word that no other engine has; `now_micros` is the time on the clock.
///
/// # Errors
/// `Fenced` if another engine takes it at the same time, `Input` for a storage that does not keep what is asked of it, `Data` naming
/// a file that is missing or damaged, `Unavailable`.
pub fn open(storage: Arc<dyn Storage>, writer: &str, now_micros: i64) -> Result<(Durable, Recovered)> {
    probe(storage.as_ref(), writer)?;
    let mut manifests = read_manifests(storage.as_ref())?;
    let found = manifests.last().cloned().unwrap_or_default();
    let claim = Manifest {
        sequence: found.sequence + 1,
        epoch: found.epoch + 1,
        writer: writer.to_owned(),
        written_micros: now_micros,
        ..found
    };
    if !create_own(storage.as_ref(), &Manifest::name(claim.sequence), &claim.encode()?)? {
        return Err(fenced(storage.as_ref()));
    }
    manifests.push(claim.clone());
    let (log, entries) = read_log(&storage, &claim)?;
    let log_first = delete_unnamed(storage.as_ref(), &manifests)?;
    let checkpointer = Checkpointer::new(storage.clone(), manifests, log_first)?;
    let durable = Durable { log, checkpointer };
    Ok((durable, Recovered::new(storage, claim, entries)))
}

/// The newest manifest, and before it those that can still be read, oldest first.
fn read_manifests(storage: &dyn Storage) -> Result<Vec<Manifest>> {
    let mut names = storage.list(manifest::FOLDER)?;
    let read = |name: &String| {
        let location = storage.locate(name);
        let file = storage.read(name)?.ok_or_else(|| Error::data(format!("the manifest {location} is missing")))?;
        let manifest = Manifest::decode(&location, &file)?;
        match Manifest::sequence_of(name) == Some(manifest.sequence) {
            true => Ok(manifest),
            false => {
                Err(Error::data(format!("the manifest {location} is another's: it is number {}", manifest.sequence)))
            }
        }
    };
    let Some(newest) = names.pop() else { return Ok(vec![]) };
    let mut manifests = vec![read(&newest)?];
    for name in names.iter().rev().take(OLDER_KEPT) {
        match read(name) {
            Ok(manifest) => manifests.insert(0, manifest),
            Err(error) => tracing::warn!(%error, "an older checkpoint cannot be gone back to"),
        }
    }
    Ok(manifests)
}

/// What the log has after a checkpoint, up to the fence that this writes.
fn read_log(storage: &Arc<dyn Storage>, claim: &Manifest) -> Result<(Log, Vec<Entry>)> {
    let numbers = storage.list(log::FOLDER)?.iter().filter_map(|name| Log::number_of(name)).collect::<BTreeSet<_>>();
    let end = numbers.last().map_or(claim.log_next, |last| last + 1).max(claim.log_next);
    let mut entries = Vec::new();
    for number in claim.log_next..end {
        entries.extend(read_object(storage.as_ref(), number)?);
    }
    let mut next = end;
    loop {
        let mut log = Log::new(storage.clone(), &claim.writer, next);
        match log.append(&[Entry::Fence { epoch: claim.epoch }]) {
            Ok(()) => return Ok((log, entries)),
            // The engine before wrote once more. If the engine after has come already, it has taken the manifest's next number too.
            Err(error) if error.kind() == ErrorKind::Fenced => entries.extend(read_object(storage.as_ref(), next)?),
            Err(error) => return Err(error),
        }
        if let Some(Entry::Fence { epoch }) = entries.last()
            && *epoch > claim.epoch
        {
            return Err(fenced(storage.as_ref()));
        }
        next += 1;
    }
}

fn read_object(storage: &dyn Storage, number: u64) -> Result<Vec<Entry>> {
    let name = Log::name(number);
    let location = storage.locate(&name);
    let file = storage.read(&name)?.ok_or_else(|| Error::data(format!("the log file {location} is missing")))?;
    log::decode(&location, &file)
}

/// Deletes what a crash left that no checkpoint names; returns where the log begins now.
fn delete_unnamed(storage: &dyn Storage, manifests: &[Manifest]) -> Result<u64> {
    for name in storage.list(manifest::FOLDER)? {
        if Manifest::sequence_of(&name).is_some_and(|number| manifests.iter().all(|kept| kept.sequence > number)) {
            storage.delete(&name)?;
        }
    }
    let named: BTreeSet<_> = manifests.iter().flat_map(|manifest| manifest.segments.keys()).collect();
    for name in storage.list(SEGMENTS)? {
        if !named.contains(&name) {
            storage.delete(&name)?;
        }
    }
    let first = manifests.iter().map(|manifest| manifest.log_next).min().unwrap_or(0);
    for name in storage.list(log::FOLDER)? {
        if Log::number_of(&name).is_some_and(|number| number < first) {
            storage.delete(&name)?;
        }
    }
    Ok(first)
}
