//! The data directory: the only place that names the object store.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::error::{Error, Result};

/// Named documents in a data directory.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    root: PathBuf,
}

impl Store {
    /// Opens a directory, or a `file://` URL of one, and makes it if it does not exist.
    ///
    /// # Errors
    /// `Input` for another kind of URL, `Unavailable` for a directory that cannot be made or written.
    pub fn open(location: &str) -> Result<Self> {
        let root = match location.split_once("://") {
            None => PathBuf::from(location),
            Some(("file", path)) => PathBuf::from(path),
            Some((scheme, _)) => {
                let message = format!("cannot keep data at {location}: {scheme}:// is not supported yet");
                return Err(Error::input(format!("{message}; give a directory or a file:// URL")));
            }
        };
        let cannot = |e: std::io::Error| Error::unavailable(format!("cannot use {}", root.display())).with_source(e);
        std::fs::create_dir_all(&root).map_err(cannot)?;
        let objects = LocalFileSystem::new_with_prefix(&root);
        let objects =
            objects.map_err(|e| Error::unavailable(format!("cannot use {}", root.display())).with_source(e))?;
        Ok(Self { objects: Arc::new(objects), root })
    }

    /// A document's bytes; `None` if it was never written.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be read.
    pub async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let cannot = |e| Error::unavailable(format!("cannot read {}", self.root.join(name).display())).with_source(e);
        match self.objects.get(&Path::from(name)).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(cannot)?.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(cannot(error)),
        }
    }

    /// Writes a document whole: afterwards a reader, also after a crash of the machine, finds the old or the new one.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written.
    pub async fn write(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let cannot = || Error::unavailable(format!("cannot write {}", self.root.join(name).display()));
        // The store writes beside and renames, but leaves both to the page cache. Flush a staged copy before it takes
        // the document's name, then the directory that holds the name.
        let staged = Path::from(format!("{name}.staged"));
        self.objects.put(&staged, bytes.into()).await.map_err(|e| cannot().with_source(e))?;
        let path = self.root.join(format!("{name}.staged"));
        // A document may hold secrets: it is its owner's alone.
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, owner_only).map_err(|e| cannot().with_source(e))?;
        sync(&path).map_err(|e| cannot().with_source(e))?;
        self.objects.rename(&staged, &Path::from(name)).await.map_err(|e| cannot().with_source(e))?;
        sync(&self.root).map_err(|e| cannot().with_source(e))
    }
}

fn sync(path: &FilePath) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_as_it_was_written_last() {
        let root = std::env::temp_dir().join(format!("tidemark-store-{}", std::process::id()));
        let run = async {
            let store = Store::open(&format!("file://{}", root.display())).expect("a directory that can be made");
            assert_eq!(store.read("definitions.toml").await.expect("readable"), None);
            for text in ["one", "two"] {
                store.write("definitions.toml", text.into()).await.expect("writable");
                assert_eq!(store.read("definitions.toml").await.expect("readable"), Some(text.into()));
            }
        };
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(run);
        std::fs::remove_dir_all(&root).expect("made above");
        Store::open("s3://bucket/x").expect_err("not a directory");
    }
}
