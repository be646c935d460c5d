//! Names as SQL text has them: taken apart, quoted, and looked up along a session's search path.

use std::collections::HashSet;
use std::sync::LazyLock;

use datafusion::error::DataFusionError;
use sql::error::{SqlError, SqlState};

use super::PgCatalog;
use super::system;
use super::tables::function_rows;
use super::tsv::KEYWORDS;
use super::types;

/// An error for the client, as DataFusion carries it.
pub(super) fn refuse(state: SqlState, message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(SqlError::new(state, message)))
}

/// Takes `a."B c".d` apart: unquoted parts fold to lower case. `None` if it is no name.
pub(super) fn parse_identifier(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let part;
        (part, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted)?,
            None => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
                (rest[..end].to_lowercase(), &rest[end..])
            }
        };
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None => return rest.is_empty().then_some(parts),
        }
    }
}

/// Reads up to the closing quote: the part, and what follows it.
fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        part.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        let Some(next) = rest.strip_prefix('"') else { return Some((part, rest)) };
        part.push('"');
        rest = next;
    }
}

/// `name` in quotes, where it needs them to be read back as itself.
pub(super) fn quote_identifier(name: &str) -> String {
    static RESERVED: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let reserved = |row: &Vec<Option<&'static str>>| (row[1] != Some("U")).then_some(row[0]).flatten();
        KEYWORDS.rows.iter().filter_map(reserved).collect()
    });
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !RESERVED.contains(name);
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// `value` as a string literal.
pub(super) fn quote_literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if value.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

impl PgCatalog {
    /// The schemas unqualified names are looked up in: those of the search path that exist, `pg_catalog` first unless
    /// the path says where it stands.
    pub(super) fn schemas_in_path(&self, with_implicit: bool) -> Vec<&str> {
        let facts = self.facts();
        let named = facts.search_path.iter().map(|name| if name == "$user" { &facts.user } else { name });
        let mut path: Vec<&str> = Vec::new();
        for name in named.map(String::as_str) {
            if self.snapshot().schema_oid(name) != 0 && !path.contains(&name) {
                path.push(name);
            }
        }
        if with_implicit && !path.contains(&"pg_catalog") {
            path.insert(0, "pg_catalog");
        }
        path
    }

    /// The OID of the relation that `text` names here and now.
    pub(super) fn find_relation(&self, text: &str) -> Option<u32> {
        let mut parts = parse_identifier(text)?;
        if parts.len() == 3 && parts[0] == self.snapshot().database() {
            parts.remove(0);
        }
        match parts.as_slice() {
            [name] => self.schemas_in_path(true).iter().find_map(|schema| self.snapshot().relation_oid(schema, name)),
            [schema, name] => self.snapshot().relation_oid(schema, name),
            _ => None,
        }
    }

    /// The same, and an error if there is none.
    pub(super) fn relation_named(&self, text: &str) -> Result<u32, DataFusionError> {
        let missing = || refuse(SqlState::UNDEFINED_TABLE, format!("relation \"{text}\" does not exist"));
        self.find_relation(text).ok_or_else(missing)
    }

    /// True where `schema.name` is what the bare name stands for.
    pub(super) fn is_visible(&self, oid: u32) -> Option<bool> {
        let (_, name) = self.snapshot().qualified_name(oid)?;
        let path = self.schemas_in_path(true);
        let first = path.iter().find_map(|schema| self.snapshot().relation_oid(schema, name));
        Some(first == Some(oid))
    }

    /// An object of one of the `reg…` types as text: its name, qualified where the bare name would not find it.
    pub(super) fn render_object(&self, type_name: &str, oid: u32) -> String {
        if oid == 0 {
            return "-".to_string();
        }
        let name = match type_name {
            "regclass" => self.snapshot().qualified_name(oid).map(|(schema, name)| {
                let name = quote_identifier(name);
                let bare = self.is_visible(oid) == Some(true);
                if bare { name } else { format!("{}.{name}", quote_identifier(schema)) }
            }),
            "regtype" => types::by_oid(oid).map(|row| types::format_type(row.oid, -1)),
            "regproc" => function_rows().iter().find(|row| row.oid == oid).map(|row| quote_identifier(row.name)),
            "regprocedure" => function_rows().iter().find(|row| row.oid == oid).map(|row| {
                let arguments: Vec<String> = row.arguments.iter().map(|oid| types::format_type(*oid, -1)).collect();
                format!("{}({})", quote_identifier(row.name), arguments.join(","))
            }),
            "regnamespace" => self.snapshot().schema_name(oid).map(quote_identifier),
            "regrole" => self.snapshot().role_name(oid).map(quote_identifier),
            _ => None,
        };
        name.unwrap_or_else(|| oid.to_string())
    }

    /// The OID of the object of a `reg…` type that `text` names; `None` if there is none.
    pub(super) fn find_object(&self, type_name: &str, text: &str) -> Option<u32> {
        let last = || parse_identifier(text).and_then(|mut parts| parts.pop());
        match type_name {
            "regclass" => self.find_relation(text),
            "regtype" => types::by_sql_name(text).map(|row| row.oid),
            "regproc" => last().and_then(|name| function_rows().iter().find(|row| row.name == name)).map(|row| row.oid),
            "regprocedure" => {
                let (name, arguments) = text.strip_suffix(')')?.split_once('(')?;
                let name = parse_identifier(name)?.pop()?;
                let arguments = arguments.split(',').filter(|argument| !argument.trim().is_empty());
                let arguments: Vec<u32> =
                    arguments.map(|argument| types::by_sql_name(argument).map(|row| row.oid)).collect::<Option<_>>()?;
                let matches = |row: &&super::tables::FunctionRow| row.name == name && row.arguments == arguments;
                function_rows().iter().find(matches).map(|row| row.oid)
            }
            "regnamespace" => Some(self.snapshot().schema_oid(&last()?)).filter(|oid| *oid != 0),
            "regrole" => {
                let name = last()?;
                self.snapshot().roles().iter().find(|role| role.name == name).map(|role| role.oid)
            }
            _ => None,
        }
    }

    /// The error PostgreSQL gives where [`Self::find_object`] finds nothing.
    pub(super) fn no_such_object(type_name: &str, text: &str) -> DataFusionError {
        let (state, kind) = match type_name {
            "regclass" => (SqlState::UNDEFINED_TABLE, "relation"),
            "regproc" | "regprocedure" => (SqlState::UNDEFINED_FUNCTION, "function"),
            "regnamespace" => (SqlState::UNDEFINED_SCHEMA, "schema"),
            "regrole" => (SqlState::UNDEFINED_OBJECT, "role"),
            "regtype" => (SqlState::UNDEFINED_OBJECT, "type"),
            _ => (SqlState::UNDEFINED_OBJECT, "object"),
        };
        refuse(state, format!("{kind} \"{text}\" does not exist"))
    }

    /// True if `name` is a relation of `pg_catalog`, which wins over every other of that name.
    pub(super) fn is_catalog_relation(name: &str) -> bool {
        system::find("pg_catalog", name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_and_put_together() {
        let parts = |text| parse_identifier(text).map(|parts| parts.join("|"));
        assert_eq!(parts("Public.T").as_deref(), Some("public|t"));
        assert_eq!(parts(r#" "A ""b""" . c"#).as_deref(), Some(r#"A "b"|c"#));
        assert_eq!(parts("a..b"), None);
        assert_eq!(parts("a b"), None);
        assert_eq!(parts(r#""open"#), None);
        assert_eq!(quote_identifier("plain_1"), "plain_1");
        assert_eq!(quote_identifier("Select"), "\"Select\"");
        assert_eq!(quote_identifier("select"), "\"select\"");
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal(r"a\b"), r"E'a\\b'");
    }
}
