//! Secrets that sources log in with: `CREATE SECRET`, and those that stand in a CREATE SOURCE itself.
//!
//! They are kept in one document of the data directory, readable for the server's user alone; a definition's text only
//! names them. A secret's value leaves this module for a connector's options and for nothing else.

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine::checkpoint::store::Store;
use serde::{Deserialize, Serialize};
use sql::administration::SecretProvider;
use sql::catalog::{Catalog, Definition};
use sql::parser::{is_secret_option, with_secrets};
use sql::secret::Secret;
use sql::statement::{CreateSource, Parsed, Statement};
use sql::{SqlError, SqlState};

use super::Database;
use crate::document;
use crate::roles::Securable;
use crate::roles::access::exists;

/// The first oid of a secret.
const FIRST_OID: u32 = 16_384;

/// All secrets, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    next_oid: u32,
    secrets: BTreeMap<String, Entry>,
}

/// One secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its oid.
    pub oid: u32,
    /// Where its value is.
    pub provider: SecretProvider,
    /// It stood in a CREATE SOURCE, and goes with the source.
    pub of_source: bool,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { next_oid: FIRST_OID, secrets: BTreeMap::new() }
    }
}

impl Secrets {
    /// The secret of this name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.secrets.get(name)
    }

    /// The secret of this name.
    ///
    /// # Errors
    /// 42704 if there is none.
    pub fn expect(&self, name: &str) -> Result<&Entry, SqlError> {
        self.get(name)
            .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_OBJECT, format!("secret \"{name}\" does not exist")))
    }

    /// The name of the secret of this oid.
    pub fn name_of(&self, oid: u32) -> Option<&str> {
        self.secrets.iter().find(|(_, entry)| entry.oid == oid).map(|(name, _)| name.as_str())
    }

    /// True if what rights are on is there: among these secrets, or in a catalog.
    pub fn is_there(&self, catalog: &Catalog, securable: Securable) -> bool {
        match securable {
            Securable::Relation(oid) => exists(catalog, oid),
            Securable::Secret(oid) => self.name_of(oid).is_some(),
            Securable::Schema | Securable::Database => true,
        }
    }

    /// Adds a secret, or puts it in the place of its namesake; returns its oid.
    pub fn add(&mut self, name: &str, provider: SecretProvider, of_source: bool) -> u32 {
        let oid = self.next_oid;
        self.next_oid += 1;
        self.secrets.insert(name.to_owned(), Entry { oid, provider, of_source });
        oid
    }

    /// Removes a secret.
    pub fn remove(&mut self, name: &str) {
        self.secrets.remove(name);
    }

    /// A secret's value.
    ///
    /// # Errors
    /// 42704 if there is none of that name, 58030 if its provider has no value.
    pub fn value(&self, name: &str) -> Result<Secret, SqlError> {
        let missing =
            |why: String| SqlError::new(SqlState("58030"), format!("secret \"{name}\" cannot be read: {why}"));
        match &self.expect(name)?.provider {
            SecretProvider::Kept(secret) => Ok(secret.clone()),
            SecretProvider::Environment(variable) => {
                let value = std::env::var(variable);
                value.map(Secret::new).map_err(|_| missing(format!("the environment variable {variable} is not set")))
            }
            SecretProvider::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| missing(format!("{path}: {e}")))?;
                Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
            }
        }
    }

    /// These without the secrets that came with sources that are not in `catalog`.
    pub fn of_sources_in(&self, catalog: &Catalog) -> Cow<'_, Self> {
        let is_used = |name: &String| catalog.objects().any(|object| names(&object.definition, name));
        let gone = |(name, entry): (&String, &Entry)| entry.of_source && !is_used(name);
        if !self.secrets.iter().any(gone) {
            return Cow::Borrowed(self);
        }
        let mut kept = self.clone();
        kept.secrets.retain(|name, entry| !gone((name, entry)));
        Cow::Owned(kept)
    }

    /// A name for a secret of a source's option that no other has.
    fn free_name(&self, source: &str, option: &str) -> String {
        let stem = format!("{source} {option}");
        let numbered = (1..).map(|number| if number == 1 { stem.clone() } else { format!("{stem} {number}") });
        numbered.into_iter().find(|name| self.get(name).is_none()).unwrap_or_default()
    }

    /// The options of a source's connector, with the secrets it names.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn resolved(&self, create: &CreateSource) -> Result<Vec<(String, Secret)>, SqlError> {
        let resolve = |(option, secret): &(String, String)| Ok((option.clone(), self.value(secret)?));
        create.secrets.iter().map(resolve).collect()
    }
}

/// True if a definition names a secret.
pub(super) fn names(definition: &Definition, secret: &str) -> bool {
    matches!(definition, Definition::Source(create) if create.secrets.iter().any(|(_, named)| named == secret))
}

impl Database {
    /// A CREATE SOURCE whose secrets stand in it, with names in their place, and the secrets there would be with them. Any
    /// other statement as it is.
    pub(super) fn hide_secrets<'p>(&self, parsed: &'p Parsed) -> (Cow<'p, Parsed>, Option<Secrets>) {
        let Statement::CreateSource(create) = &parsed.statement else { return (Cow::Borrowed(parsed), None) };
        let (inline, options): (Vec<_>, Vec<_>) =
            create.options.iter().cloned().partition(|(name, _)| is_secret_option(name));
        if inline.is_empty() {
            return (Cow::Borrowed(parsed), None);
        }
        let mut secrets = self.secrets().as_ref().clone();
        let mut named = Vec::new();
        for (option, value) in inline {
            let name = secrets.free_name(&create.name, &option);
            secrets.add(&name, SecretProvider::Kept(Secret::new(value)), true);
            named.push((option, name));
        }
        let text = with_secrets(&parsed.text, &named);
        let mut create = create.as_ref().clone();
        create.options = options;
        create.secrets.extend(named);
        let parsed = Parsed { statement: Statement::CreateSource(Box::new(create)), text, ..parsed.clone() };
        (Cow::Owned(parsed), Some(secrets))
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    next_oid: u32,
    #[serde(default)]
    secret: Vec<SecretText>,
}

impl document::Document for Document {
    const NAME: &str = "secrets.toml";
    const VERSION: u32 = 1;

    fn version(&self) -> u32 {
        self.version
    }
}

#[derive(Serialize, Deserialize)]
struct SecretText {
    oid: u32,
    name: String,
    value: Option<String>,
    environment: Option<String>,
    file: Option<String>,
    #[serde(default)]
    of_source: bool,
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretText").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Reads what was kept; none if the directory is new.
///
/// # Errors
/// One sentence: the document cannot be read, or is of a newer version.
pub async fn read(store: &Store) -> Result<Secrets, String> {
    let Some(document) = document::read::<Document>(store).await? else { return Ok(Secrets::default()) };
    let entry = |text: SecretText| {
        let provider = match (text.value, text.environment, text.file) {
            (Some(value), None, None) => SecretProvider::Kept(Secret::new(value)),
            (None, Some(variable), None) => SecretProvider::Environment(variable),
            (None, None, Some(path)) => SecretProvider::File(path),
            _ => return None,
        };
        Some((text.name, Entry { oid: text.oid, provider, of_source: text.of_source }))
    };
    let secrets = document.secret.into_iter().map(entry).collect::<Option<BTreeMap<_, _>>>();
    let secrets = secrets.ok_or_else(|| document::broken::<Document>(&"a secret in it has no value, or several"))?;
    let beyond = secrets.values().map(|entry| entry.oid.saturating_add(1)).max().unwrap_or(FIRST_OID);
    Ok(Secrets { next_oid: document.next_oid.max(beyond), secrets })
}

/// Writes what is.
///
/// # Errors
/// The store's.
pub async fn write(store: &Store, secrets: &Secrets) -> engine::Result<()> {
    let text = |(name, entry): (&String, &Entry)| {
        let mut text = SecretText {
            oid: entry.oid,
            name: name.clone(),
            value: None,
            environment: None,
            file: None,
            of_source: entry.of_source,
        };
        match &entry.provider {
            SecretProvider::Kept(secret) => text.value = Some(secret.reveal().to_owned()),
            SecretProvider::Environment(variable) => text.environment = Some(variable.clone()),
            SecretProvider::File(path) => text.file = Some(path.clone()),
        }
        text
    };
    let secret = secrets.secrets.iter().map(text).collect();
    let document = Document { version: <Document as document::Document>::VERSION, next_oid: secrets.next_oid, secret };
    document::write(store, &document).await
}
