//! The data directory, or the bucket: from its name to a [`Storage`], and the documents in it.

use std::sync::Arc;

use super::bucket::Bucket;
use super::directory::Directory;
use super::storage::Storage;
use crate::error::{Error, Result};

/// Where everything is kept that outlives the process.
#[derive(Debug, Clone)]
pub struct Store {
    storage: Arc<dyn Storage>,
    is_shared: bool,
}

impl Store {
    /// Opens a directory, or a `file://` URL of one, and makes it if it does not exist; it is this process's alone until it ends. Or a
    /// bucket: see [`Bucket::open`]. Its requests are made on the runtime that this is called on.
    ///
    /// # Errors
    /// `Input` for another kind of URL, `Conflict` for a directory that another process uses, `Unavailable` for one that cannot be
    /// made or written.
    pub fn open(location: &str) -> Result<Self> {
        let root = match location.split_once("://") {
            None => location,
            Some(("file", path)) => path,
            Some(_) => return Ok(Self { is_shared: true, ..Self::of(Arc::new(Bucket::open(location)?)) }),
        };
        let directory = Directory::open(root)?;
        directory.remove_staged()?;
        Ok(Self::of(Arc::new(directory)))
    }

    /// A storage that is open already.
    pub fn of(storage: Arc<dyn Storage>) -> Self {
        Self { storage, is_shared: false }
    }

    /// True if other machines reach it: whether another server is at work there has to be found out.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Where checkpoints and the log go.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// A document's bytes; `None` if it was never written.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be read.
    pub async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let (storage, name) = (self.storage.clone(), name.to_owned());
        aside(move || Ok(storage.read(&name)?.map(|bytes| bytes.to_vec()))).await
    }

    /// Writes a document whole: afterwards a reader, also after a crash of the machine, finds the old or the new one.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written.
    pub async fn write(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let (storage, name) = (self.storage.clone(), name.to_owned());
        aside(move || storage.replace(&name, bytes.into())).await
    }
}

/// Runs what blocks beside the asynchronous threads.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::internal("work on the data directory ended").with_source(e))?
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
            let error = Store::open(&root.display().to_string()).expect_err("it is in use");
            assert_eq!(error.kind(), crate::ErrorKind::Conflict, "{error}");
        };
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(run);
        Store::open(&root.display().to_string()).expect("nobody uses it any more");
        std::fs::remove_dir_all(&root).expect("made above");
        let other = Store::open("ftp://host/x").expect_err("no kind of bucket");
        assert_eq!(other.kind(), crate::ErrorKind::Input, "{other}");
    }
}
