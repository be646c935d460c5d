//! Definitions kept across restarts: each object's oid and the statement that made it; and of each index.
//!
//! Nothing else is kept. A start feeds the statements, oldest first, through the path by which they first came.

use engine::checkpoint::store::Store;
use serde::{Deserialize, Serialize};
use sql::catalog::Catalog;

/// The document's name in the data directory.
const DOCUMENT: &str = "definitions.toml";

/// The format's version; a newer one is refused.
const VERSION: u32 = 1;

/// The document.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(default)]
    definition: Vec<DefinitionText>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefinitionText {
    /// Its oid.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// The statement that made it.
    pub text: String,
}

/// Reads the definitions, oldest first; none if the directory is new.
///
/// # Errors
/// One sentence: the document cannot be read, or is of a newer version.
pub async fn read(store: &Store) -> Result<Vec<DefinitionText>, String> {
    let Some(bytes) = store.read(DOCUMENT).await.map_err(|e| e.to_string())? else { return Ok(vec![]) };
    let broken = |e: &dyn std::fmt::Display| format!("{DOCUMENT} in the data directory cannot be read: {e}");
    let text = String::from_utf8(bytes).map_err(|e| broken(&e))?;
    let document: Document = toml::from_str(&text).map_err(|e| broken(&e))?;
    if document.version > VERSION {
        return Err(broken(&format!("it is of version {}, written by a newer release", document.version)));
    }
    Ok(document.definition)
}

/// Writes the definitions of a catalog.
///
/// # Errors
/// The store's.
pub async fn write(store: &Store, catalog: &Catalog) -> engine::Result<()> {
    let objects = catalog.in_creation_order();
    let mut definition: Vec<DefinitionText> =
        objects.iter().map(|o| DefinitionText { oid: o.oid, name: o.name.clone(), text: o.text.clone() }).collect();
    let indexes = objects.iter().flat_map(|object| object.indexes.iter().map(|index| (&object.name, index)));
    definition.extend(indexes.map(|(relation, index)| DefinitionText {
        oid: index.oid,
        name: index.name.clone(),
        text: index.text(relation),
    }));
    let document = Document { version: VERSION, definition };
    let text = toml::to_string(&document);
    let text = text.map_err(|e| engine::Error::internal("definitions cannot be written as TOML").with_source(e))?;
    store.write(DOCUMENT, text.into_bytes()).await
}
