//! The settings of one session: SET, SET LOCAL, RESET, and what a rollback takes back.
//!
//! [`Settings`] is a handle: the session, the statement it runs and the functions `current_setting` and `set_config`
//! hold the same one. Values live in three layers, the newest first: local to the transaction, of the session, and
//! the value the session started with (startup packet, then defaults).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use sql::{SqlError, SqlState};

use super::setting_list::{Definition, SETTINGS, Unit, find};
use super::setting_value::{boolean, canonical, integer, invalid};
use super::time_zone::TimeZone;

pub use super::setting_list::SERVER_VERSION;

/// Custom settings (`a.b`) one session may have.
const CUSTOM_SETTINGS_MAX: usize = 1000;
/// Bytes one value may have.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// The settings that say as whom the session acts: not set like others, but checked by who knows the roles.
const ACTING: [&str; 3] = ["role", "session_authorization", "is_superuser"];

/// Names in lower case to values in the form SHOW prints.
type Layer = Arc<BTreeMap<String, String>>;

/// A handle to a session's settings.
#[derive(Debug, Clone, Default)]
pub struct Settings(Arc<Mutex<Layers>>);

#[derive(Debug, Default)]
struct Layers {
    /// Counts the changes, so that nobody need look where nothing changed.
    version: u64,
    started: Layer,
    session: Layer,
    local: Layer,
    /// What a rollback returns to: the transaction's start, then one per savepoint.
    saved: Vec<(Layer, Layer)>,
}

/// One line of SHOW ALL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The name, in the case SHOW prints.
    pub name: String,
    /// The value.
    pub value: String,
    /// What it does.
    pub description: String,
}

impl Settings {
    /// The value of a setting, by its name in any case; `None` if there is none of that name.
    pub fn value(&self, name: &str) -> Option<String> {
        let key = name.to_ascii_lowercase();
        let layers = self.0.lock();
        let lookup = |key: &str| {
            let held = layers.local.get(key).or_else(|| layers.session.get(key)).or_else(|| layers.started.get(key));
            held.cloned().or_else(|| find(key).map(|definition| definition.default.to_owned()))
        };
        // Outside a transaction block its modes are those the next one would have.
        match key.strip_prefix("transaction_").filter(|_| !layers.local.contains_key(&key)) {
            Some(mode) => lookup(&format!("default_transaction_{mode}")),
            None => lookup(&key),
        }
    }

    /// The value of a setting, as `current_setting(name)` gives it.
    ///
    /// # Errors
    /// 42704 if there is no such setting.
    pub fn show(&self, name: &str) -> Result<String, SqlError> {
        self.value(name).ok_or_else(|| unrecognized(name))
    }

    /// The name of a setting in the case SHOW prints.
    pub fn canonical_name(name: &str) -> String {
        find(name).map_or_else(|| name.to_ascii_lowercase(), |definition| definition.name.to_owned())
    }

    fn change(&self) -> MutexGuard<'_, Layers> {
        let mut layers = self.0.lock();
        layers.version += 1;
        layers
    }

    /// How often anything changed.
    pub(crate) fn version(&self) -> u64 {
        self.0.lock().version
    }

    /// Every setting, sorted by name.
    pub fn all(&self) -> Vec<Setting> {
        let custom = {
            let layers = self.0.lock();
            let names = layers.started.keys().chain(layers.session.keys()).chain(layers.local.keys());
            names.filter(|name| find(name).is_none()).cloned().collect::<std::collections::BTreeSet<_>>()
        };
        let known = SETTINGS.iter().map(|d| (d.name.to_owned(), d.description.to_owned()));
        let custom = custom.into_iter().map(|name| (name, String::new()));
        let mut all: Vec<_> = known
            .chain(custom)
            .map(|(name, description)| Setting { value: self.value(&name).unwrap_or_default(), name, description })
            .collect();
        all.sort_by_key(|setting| setting.name.to_ascii_lowercase());
        all
    }

    /// Sets a value for the session, or, if `local`, until the transaction ends. Returns the value as SHOW prints it.
    ///
    /// # Errors
    /// 42704 for an unknown name without a dot, 22023 for a value it cannot have, 55P02 where it cannot be changed.
    pub fn set(&self, name: &str, value: &str, local: bool) -> Result<String, SqlError> {
        self.check_may_set(name)?;
        let value = checked(name, value)?;
        let key = name.to_ascii_lowercase();
        let mut layers = self.change();
        if find(&key).is_none() && layers.session.len() + layers.local.len() >= CUSTOM_SETTINGS_MAX {
            let message = "too many custom configuration parameters";
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
        }
        if local {
            Arc::make_mut(&mut layers.local).insert(key, value.clone());
        } else {
            Arc::make_mut(&mut layers.local).remove(&key);
            Arc::make_mut(&mut layers.session).insert(key, value.clone());
        }
        Ok(value)
    }

    /// Refuses a setting that protects the server to all but superusers.
    ///
    /// # Errors
    /// 42501.
    fn check_may_set(&self, name: &str) -> Result<(), SqlError> {
        if !Self::is_superusers(name) || self.is_on("is_superuser") {
            return Ok(());
        }
        let message = format!("permission denied to set parameter \"{}\"", Self::canonical_name(name));
        Err(SqlError::new(SqlState("42501"), message))
    }

    /// Returns a setting to the value the session started with.
    ///
    /// # Errors
    /// 42704 for an unknown name, 55P02 where it cannot be changed.
    pub fn reset(&self, name: &str) -> Result<(), SqlError> {
        match find(name) {
            Some(definition) if definition.read_only => return Err(cannot_change(definition)),
            Some(_) => {}
            None if name.contains('.') => {}
            None => return Err(unrecognized(name)),
        }
        let key = name.to_ascii_lowercase();
        let mut layers = self.change();
        Arc::make_mut(&mut layers.local).remove(&key);
        Arc::make_mut(&mut layers.session).remove(&key);
        Ok(())
    }

    /// Returns every setting to the value the session started with, save those of the running transaction and as whom it
    /// acts.
    pub fn reset_all(&self) {
        let mut layers = self.change();
        // As whom the session acts is no matter of RESET ALL.
        let stays = |name: &str| name.starts_with("transaction_") || ACTING.contains(&name);
        let keep = |layer: &Layer| {
            let kept = layer.iter().filter(|(name, _)| stays(name));
            Arc::new(kept.map(|(name, value)| (name.clone(), value.clone())).collect::<BTreeMap<_, _>>())
        };
        layers.session = keep(&layers.session);
        layers.local = keep(&layers.local);
    }

    /// Sets a value the session starts with: from the startup packet, or known to the server alone.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn start_with(&self, name: &str, value: &str) -> Result<(), SqlError> {
        self.check_may_set(name)?;
        let value = checked(name, value)?;
        self.put_started(name, value);
        Ok(())
    }

    /// Gives a setting, whose value was checked elsewhere, a value for the session or, if `local`, until the transaction
    /// ends; `None` returns it to the value the session started with.
    pub(crate) fn put(&self, name: &str, value: Option<&str>, local: bool) {
        let key = name.to_ascii_lowercase();
        let mut layers = self.change();
        if !local || value.is_none() {
            Arc::make_mut(&mut layers.local).remove(&key);
        }
        match value {
            Some(value) if local => drop(Arc::make_mut(&mut layers.local).insert(key, value.to_owned())),
            Some(value) => drop(Arc::make_mut(&mut layers.session).insert(key, value.to_owned())),
            None => drop(Arc::make_mut(&mut layers.session).remove(&key)),
        }
    }

    /// True for a setting that only superusers change.
    pub(crate) fn is_superusers(name: &str) -> bool {
        find(name).is_some_and(|definition| definition.superuser)
    }

    /// A value that a session can start with, in the form SHOW prints.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub(crate) fn checked(name: &str, value: &str) -> Result<String, SqlError> {
        checked(name, value)
    }

    /// Like [`Self::start_with`], for what clients cannot set: is_superuser, session_authorization, max_connections.
    pub(crate) fn put_started(&self, name: &str, value: String) {
        let mut layers = self.change();
        Arc::make_mut(&mut layers.started).insert(name.to_ascii_lowercase(), value);
    }

    /// A transaction begins: what follows can be taken back.
    pub(crate) fn begin(&self) {
        let mut layers = self.0.lock();
        layers.saved.clear();
        let saved = (layers.session.clone(), layers.local.clone());
        layers.saved.push(saved);
    }

    /// The transaction is kept; what was local to it goes.
    pub(crate) fn commit(&self) {
        let mut layers = self.0.lock();
        if !layers.local.is_empty() {
            layers.version += 1;
            layers.local = Layer::default();
        }
        layers.saved.clear();
    }

    /// The transaction is taken back.
    pub(crate) fn rollback(&self) {
        let mut layers = self.change();
        if let Some((session, _)) = layers.saved.first().cloned() {
            layers.session = session;
        }
        layers.local = Layer::default();
        layers.saved.clear();
    }

    /// A savepoint; its number is its depth, from 1.
    pub(crate) fn savepoint(&self) {
        let mut layers = self.change();
        let saved = (layers.session.clone(), layers.local.clone());
        layers.saved.push(saved);
    }

    /// Returns to the savepoint of that depth, which stays.
    pub(crate) fn rollback_to(&self, depth: usize) {
        let mut layers = self.change();
        layers.saved.truncate(depth + 1);
        if let Some((session, local)) = layers.saved.get(depth).cloned() {
            layers.session = session;
            layers.local = local;
        }
    }

    /// Forgets the savepoint of that depth and those after it.
    pub(crate) fn release(&self, depth: usize) {
        self.change().saved.truncate(depth);
    }

    /// The settings told by ParameterStatus, with their values now.
    pub(crate) fn reported(&self) -> Vec<(&'static str, String)> {
        let reported = SETTINGS.iter().filter(|definition| definition.reported);
        reported.map(|definition| (definition.name, self.value(definition.name).unwrap_or_default())).collect()
    }

    /// TimeZone.
    pub fn time_zone(&self) -> TimeZone {
        self.value("TimeZone").and_then(|name| TimeZone::parse(&name)).unwrap_or(TimeZone::UTC)
    }

    /// A setting that is on or off.
    pub fn is_on(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| boolean(&value) == Some(true))
    }

    /// A setting that is a length of time; `None` where 0 turns it off.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        let value = self.value(name)?;
        let end = value.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(value.len());
        let number: u64 = value[..end].parse().ok().filter(|number| *number > 0)?;
        let unit_millis = match &value[end..] {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "min" => 60_000,
            "s" => 1000,
            _ => 1,
        };
        Some(Duration::from_millis(number.saturating_mul(unit_millis)))
    }

    /// A setting that is an amount of memory, bytes; `None` where 0 turns it off.
    pub fn bytes(&self, name: &str) -> Option<usize> {
        let kilobytes = integer(&self.value(name)?, Unit::Kilobytes)?;
        usize::try_from(kilobytes)
            .ok()
            .filter(|kilobytes| *kilobytes > 0)
            .map(|kilobytes| kilobytes.saturating_mul(1024))
    }

    /// The schemas of search_path, in order, `$user` among them.
    pub fn search_path(&self) -> Vec<String> {
        split_names(&self.value("search_path").unwrap_or_default())
    }
}

/// True if a session may have a setting of this name.
pub(crate) fn is_known(name: &str) -> bool {
    find(name).is_some() || is_custom(name)
}

/// `a.b`, both parts identifiers.
fn is_custom(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
    };
    name.len() <= 255 && name.contains('.') && name.split('.').all(part)
}

fn checked(name: &str, value: &str) -> Result<String, SqlError> {
    if value.len() > VALUE_BYTES_MAX || value.contains('\0') {
        return Err(invalid(name, "…"));
    }
    match find(name) {
        Some(definition) if definition.read_only || ACTING.contains(&definition.name) => Err(cannot_change(definition)),
        Some(definition) => canonical(definition, value),
        None if is_custom(name) => Ok(value.to_owned()),
        None => Err(unrecognized(name)),
    }
}

fn cannot_change(definition: &Definition) -> SqlError {
    SqlError::new(SqlState("55P02"), format!("parameter \"{}\" cannot be changed", definition.name))
}

pub(crate) fn unrecognized(name: &str) -> SqlError {
    let message = format!("unrecognized configuration parameter \"{name}\"");
    SqlError::new(SqlState::UNDEFINED_OBJECT, message)
}

/// Splits a list of identifiers: bare ones in lower case, quoted ones as they are.
fn split_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = list.trim();
    while !rest.is_empty() {
        let (name, tail) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"').unwrap_or(quoted.len());
                (quoted[..end].to_owned(), quoted.get(end + 1..).unwrap_or_default())
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_ascii_lowercase(), &rest[end..])
            }
        };
        if !name.is_empty() {
            names.push(name);
        }
        rest = tail.trim_start().trim_start_matches(',').trim_start();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_takes_back_what_was_set_and_a_commit_what_was_local() {
        let settings = Settings::default();
        settings.begin();
        settings.set("TimeZone", "Asia/Tokyo", false).expect("set");
        settings.set("search_path", "a", true).expect("set local");
        settings.savepoint();
        settings.set("timezone", "Europe/Berlin", false).expect("set");
        settings.rollback_to(1);
        assert_eq!(settings.value("TIMEZONE").as_deref(), Some("Asia/Tokyo"));
        settings.commit();
        assert_eq!(settings.value("TimeZone").as_deref(), Some("Asia/Tokyo"));
        assert_eq!(settings.value("search_path").as_deref(), Some("\"$user\", public"));
        settings.begin();
        settings.reset("timezone").expect("reset");
        settings.rollback();
        assert_eq!(settings.value("TimeZone").as_deref(), Some("Asia/Tokyo"));
    }

    #[test]
    fn unknown_names_are_refused_and_dotted_ones_kept() {
        let settings = Settings::default();
        assert_eq!(settings.set("no_such", "1", false).expect_err("unknown").state.0, "42704");
        assert_eq!(settings.set("server_version", "1", false).expect_err("fixed").state.0, "55P02");
        settings.set("my.Own", "x", false).expect("custom");
        assert_eq!(settings.value("my.own").as_deref(), Some("x"));
        assert!(settings.all().iter().any(|s| s.name == "my.own"));
        assert_eq!(settings.show("nope").expect_err("unknown").state.0, "42704");
    }

    #[test]
    fn reset_returns_to_what_the_session_started_with() {
        let settings = Settings::default();
        settings.start_with("DateStyle", "ISO, YMD").expect("known");
        settings.set("datestyle", "dmy", false).expect("known");
        settings.reset_all();
        assert_eq!(settings.value("datestyle").as_deref(), Some("ISO, YMD"));
        assert_eq!(settings.duration("statement_timeout"), None);
        settings.set("statement_timeout", "90s", false).expect("known");
        assert_eq!(settings.duration("statement_timeout"), Some(Duration::from_secs(90)));
    }

    #[test]
    fn the_search_path_is_split_at_commas_outside_quotes() {
        assert_eq!(split_names("\"$user\", Public,\"a,B\""), ["$user", "public", "a,B"]);
        assert_eq!(split_names(""), Vec::<String>::new());
    }
}
