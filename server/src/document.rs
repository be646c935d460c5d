//! Documents of the data directory: TOML with the version of its format, read and written whole.

use engine::checkpoint::store::Store;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A document's form.
pub(crate) trait Document: Serialize + DeserializeOwned {
    /// Its name in the data directory.
    const NAME: &str;
    /// The format's version; a newer one is refused.
    const VERSION: u32;

    /// The version it is of.
    fn version(&self) -> u32;
}

/// Reads a document; `None` if it was never written.
///
/// # Errors
/// One sentence: it cannot be read, or is of a newer version.
pub(crate) async fn read<D: Document>(store: &Store) -> Result<Option<D>, String> {
    let Some(bytes) = store.read(D::NAME).await.map_err(|e| e.to_string())? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|e| broken::<D>(&e))?;
    // The whole error would show the line at fault, and so perhaps a secret.
    let document: D = toml::from_str(&text).map_err(|e| broken::<D>(&e.message()))?;
    match document.version() {
        version if version > D::VERSION => {
            Err(broken::<D>(&format_args!("it is of version {version}, written by a newer release")))
        }
        _ => Ok(Some(document)),
    }
}

/// That a document cannot be read, and why.
pub(crate) fn broken<D: Document>(why: &dyn std::fmt::Display) -> String {
    format!("{} in the data directory cannot be read: {why}", D::NAME)
}

/// Writes a document in the place of the one before.
///
/// # Errors
/// The store's.
pub(crate) async fn write<D: Document>(store: &Store, document: &D) -> engine::Result<()> {
    let text = toml::to_string(document);
    let text = text.map_err(|_| engine::Error::internal(format!("{} cannot be written as TOML", D::NAME)))?;
    store.write(D::NAME, text.into_bytes()).await
}
