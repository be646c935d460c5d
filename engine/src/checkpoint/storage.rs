//! Named objects, each written whole: all that checkpoints, the log and documents ask of a disk or a bucket.

use std::fmt;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};

/// What became of [`Storage::create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is there now.
    New,
    /// There was one of that name; it is as it was.
    Exists,
}

/// A place for objects. Names are relative paths of one or two parts, with `/` between them.
///
/// Calls block. What they say is durable: after `create` and `replace` the object outlives a crash of the machine.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Writes an object of a name that none has. Of several who try at once, one succeeds.
    ///
    /// # Errors
    /// `Unavailable` if it is not known whether the object is there: see [`create_own`].
    fn create(&self, name: &str, bytes: Bytes) -> Result<Created>;

    /// Writes an object in the place of its namesake if there is one: a reader finds the old or the new one, whole.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written.
    fn replace(&self, name: &str, bytes: Bytes) -> Result<()>;

    /// An object's bytes; `None` if there is none.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be read.
    fn read(&self, name: &str) -> Result<Option<Bytes>>;

    /// The names that begin with `folder` and a `/`, sorted. Objects still being written are not among them.
    ///
    /// # Errors
    /// `Unavailable` if they cannot be listed.
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// Removes an object; one that is not there is no error.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be removed.
    fn delete(&self, name: &str) -> Result<()>;

    /// Where an object lies, for messages.
    fn locate(&self, name: &str) -> String;
}

/// Creates an object whose bytes nobody else would write, and says whether it is ours: a call whose answer was lost may have
/// succeeded, and so may have the one before it.
///
/// # Errors
/// `Unavailable` if it was not written, or if that cannot be found out.
pub fn create_own(storage: &dyn Storage, name: &str, bytes: &Bytes) -> Result<bool> {
    let unsure = match storage.create(name, bytes.clone()) {
        Ok(Created::New) => return Ok(true),
        Ok(Created::Exists) => None,
        Err(error) if error.kind() == ErrorKind::Unavailable => Some(error),
        Err(error) => return Err(error),
    };
    match (storage.read(name)?, unsure) {
        (Some(found), _) => Ok(found == *bytes),
        (None, Some(error)) => Err(error),
        (None, None) => Err(Error::unavailable(format!("{} was there and is gone", storage.locate(name)))),
    }
}

/// Proves that of two who create one object only one succeeds, which commits and fencing rest on.
///
/// # Errors
/// `Input` for a storage that lets both succeed; `Unavailable`.
pub fn probe(storage: &dyn Storage, unique: &str) -> Result<()> {
    let name = format!("probe/{unique}");
    let first = storage.create(&name, Bytes::from_static(b"first"))?;
    let second = storage.create(&name, Bytes::from_static(b"second"))?;
    let found = storage.read(&name)?;
    storage.delete(&name)?;
    let right = (first, second) == (Created::New, Created::Exists) && found.as_deref() == Some(b"first");
    match right {
        true => Ok(()),
        false => Err(Error::input(format!(
            "cannot keep data at {}: it lets two writers create one object, or does not give back what was written; use a \
             storage with conditional writes (If-None-Match)",
            storage.locate("")
        ))),
    }
}
