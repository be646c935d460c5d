//! Definitions kept across restarts: each object's oid and the statement that made it; and of each index.
//!
//! Nothing else is kept. A start feeds the statements, oldest first, through the path by which they first came.

use engine::checkpoint::store::Store;
use serde::{Deserialize, Serialize};
use sql::catalog::Catalog;

use crate::document;

/// The document.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(default)]
    definition: Vec<DefinitionText>,
}

impl document::Document for Document {
    const NAME: &str = "definitions.toml";
    const VERSION: u32 = 1;

    fn version(&self) -> u32 {
        self.version
    }
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
    Ok(document::read::<Document>(store).await?.map(|document| document.definition).unwrap_or_default())
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
    document::write(store, &Document { version: <Document as document::Document>::VERSION, definition }).await
}
