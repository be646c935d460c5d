//! Objects as files of a directory, each flushed to the disk before it counts.
//!
//! A file is written beside, flushed, and linked or renamed to its name; then the directory that holds the name is flushed. So
//! a name never stands for half a file, also after the machine lost power. Links make a name exclusive: a link to a name
//! that is taken fails.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind as Io, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::storage::{Created, Storage};
use crate::error::{Error, Result};

/// How files begin and end that are being written. One left over from a crash is removed at the next start.
const STAGED: &str = ".staged-";

/// The file that says by its lock that the directory is in use.
const LOCK: &str = "lock";

/// Who may read what is kept: its owner alone, for it may hold secrets.
const OWNER_ONLY: u32 = 0o600;

/// A directory.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    /// Tells apart the files that several threads write at once.
    writes: AtomicU64,
    /// Held for as long as this is: the system lets go of it when the process ends, however it ends.
    _lock: File,
}

impl Directory {
    /// Opens a directory, and makes it if it does not exist.
    ///
    /// # Errors
    /// `Conflict` if a process has it open; `Unavailable` if it cannot be made or read.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        let cannot = |e| Error::unavailable(format!("cannot use {}", root.display())).with_source(e);
        fs::create_dir_all(&root).map_err(cannot)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(OWNER_ONLY).open(root.join(LOCK));
        let lock = lock.map_err(cannot)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { root, writes: AtomicU64::new(0), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::conflict(format!(
                "the data directory {} is in use by another server: stop that one, or give this one a directory of its own",
                root.display()
            ))),
            Err(TryLockError::Error(error)) => Err(cannot(error)),
        }
    }

    /// Removes files that a writer that is no more left half-written. No other writer may be at work.
    ///
    /// # Errors
    /// `Unavailable` if the directory cannot be read.
    pub fn remove_staged(&self) -> Result<()> {
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(|e| self.cannot("read", "", e))? {
                let entry = entry.map_err(|e| self.cannot("read", "", e))?;
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_folder && folder == self.root {
                    folders.push(entry.path());
                } else if !is_folder && entry.file_name().to_string_lossy().starts_with(STAGED) {
                    fs::remove_file(entry.path()).map_err(|e| self.cannot("write", "", e))?;
                }
            }
        }
        Ok(())
    }

    fn cannot(&self, what: &str, name: &str, error: std::io::Error) -> Error {
        Error::unavailable(format!("cannot {what} {}", self.locate(name))).with_source(error)
    }

    /// Writes a file beside the one it is to become, and gives it to `place` when it is on the disk.
    fn write(
        &self,
        name: &str,
        bytes: &[u8],
        place: impl FnOnce(&Path, &Path) -> std::io::Result<Created>,
    ) -> Result<Created> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root);
        let written = || {
            if !folder.exists() {
                fs::create_dir_all(folder)?;
                sync(&self.root)?;
            }
            let number = self.writes.fetch_add(1, Ordering::Relaxed);
            let staged = folder.join(format!("{STAGED}{}-{number}", std::process::id()));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(&staged)?;
            let placed = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| place(&staged, &path));
            if !matches!(placed, Ok(Created::New)) {
                // What cannot be removed now is removed at the next start.
                let _ = fs::remove_file(&staged);
            }
            let created = placed?;
            sync(folder)?;
            Ok(created)
        };
        written().map_err(|e| self.cannot("write", name, e))
    }
}

fn sync(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

impl Storage for Directory {
    fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        self.write(name, &bytes, |staged, path| match fs::hard_link(staged, path) {
            Ok(()) => {
                fs::remove_file(staged)?;
                Ok(Created::New)
            }
            Err(error) if error.kind() == Io::AlreadyExists => Ok(Created::Exists),
            Err(error) => Err(error),
        })
    }

    fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.write(name, &bytes, |staged, path| fs::rename(staged, path).map(|()| Created::New)).map(drop)
    }

    fn read(&self, name: &str) -> Result<Option<Bytes>> {
        match fs::read(self.root.join(name)) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == Io::NotFound => Ok(None),
            Err(error) => Err(self.cannot("read", name, error)),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let entries = match fs::read_dir(self.root.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == Io::NotFound => return Ok(vec![]),
            Err(error) => return Err(self.cannot("list", folder, error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| self.cannot("list", folder, e))?.file_name();
            if let Some(name) = name.to_str().filter(|name| !name.starts_with(STAGED)) {
                names.push(format!("{folder}/{name}"));
            }
        }
        names.sort();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<()> {
        match fs::remove_file(self.root.join(name)) {
            Err(error) if error.kind() != Io::NotFound => Err(self.cannot("remove", name, error)),
            // Should the machine stop now, the file may come back: nothing names it then.
            _ => Ok(()),
        }
    }

    fn locate(&self, name: &str) -> String {
        self.root.join(name).display().to_string()
    }
}
