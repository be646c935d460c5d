//! The data directory, or the bucket: from its name to a [`Storage`], and the documents in it.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::bucket::Bucket;
use super::directory::Directory;
use super::storage::Storage;
use crate::error::{Error, Result};

/// How the last line of a document begins.
const SEAL: &str = "\n# checksum ";

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

    /// A document's bytes, without the line that holds their checksum; `None` if it was never written.
    ///
    /// # Errors
    /// `Data`, naming the file, if it was altered or cut off; `Unavailable` if it cannot be read.
    pub async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let (storage, name) = (self.storage.clone(), name.to_owned());
        aside(move || storage.read(&name)?.map(|bytes| unsealed(&storage.locate(&name), &bytes)).transpose()).await
    }

    /// Writes a document whole: afterwards a reader, also after a crash of the machine, finds the old or the new one.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written.
    pub async fn write(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let (storage, name) = (self.storage.clone(), name.to_owned());
        aside(move || storage.replace(&name, sealed(bytes).into())).await
    }
}

/// A document with a last line that holds the checksum of what stands before it. Documents are TOML, where that is a comment.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let seal = format!("{SEAL}{:016x}\n", xxh3_64(&bytes));
    bytes.extend_from_slice(seal.as_bytes());
    bytes
}

fn unsealed(location: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let refuse = |what: &str| {
        let message = format!("{location} was altered or cut off: {what}");
        Error::data(format!(
            "{message}. If you changed it yourself, let its last line be \"{}none\"",
            SEAL.trim_start()
        ))
    };
    let at = bytes.windows(SEAL.len()).rposition(|window| window == SEAL.as_bytes());
    let at = at.ok_or_else(|| refuse("the line with its checksum is missing"))?;
    let (text, seal) = (&bytes[..at], &bytes[at + SEAL.len()..]);
    let expected = format!("{:016x}\n", xxh3_64(text));
    if seal == expected.as_bytes() || seal.trim_ascii_end() == b"none" {
        return Ok(text.to_vec());
    }
    Err(refuse("its checksum does not fit"))
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
    fn an_altered_document_is_refused() {
        let text = b"version = 1\nname = \"x\"".to_vec();
        let whole = sealed(text.clone());
        assert_eq!(unsealed("here", &whole).expect("as it was written"), text);
        for bit in 0..whole.len() * 8 {
            let mut altered = whole.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let error = unsealed("here", &altered).expect_err("altered");
            assert!(error.to_string().starts_with("here was altered or cut off: "), "{error}");
        }
        for length in 0..whole.len() {
            unsealed("here", &whole[..length]).expect_err("cut off");
        }
        let by_hand = b"version = 1\nname = \"y\"\n# checksum none\n";
        assert_eq!(unsealed("here", by_hand).expect("somebody changed it"), b"version = 1\nname = \"y\"");
    }

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
