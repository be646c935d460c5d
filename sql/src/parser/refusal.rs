//! What Postgres or a neighbour has and we do not, refused by its name and with what to do instead.

use super::cursor::Cursor;
use crate::SqlError;
use datafusion::sql::sqlparser::tokenizer::Token;

/// Statements refused by their first words, the longer ones first, each with a hint.
const STATEMENTS: [(&[&str], &str); 28] = [
    (&["refresh", "materialized", "view"], "A materialized view is always fresh: every tick maintains it."),
    (&["alter", "default", "privileges"], "Grant on what there is: GRANT … ON ALL TABLES IN SCHEMA public."),
    (&["alter", "secret"], "Drop it and create it again."),
    (&["alter", "materialized", "view"], "It can be renamed: ALTER … RENAME TO. Otherwise use CREATE OR REPLACE."),
    (&["alter", "system"], "Settings are given when the server starts."),
    (
        &["alter"],
        "Names and owners can be changed, with RENAME TO and OWNER TO. Otherwise use CREATE OR REPLACE, or DROP and CREATE.",
    ),
    (&["insert"], WRITES),
    (&["update"], WRITES),
    (&["delete"], WRITES),
    (&["merge"], WRITES),
    (&["truncate"], WRITES),
    (&["comment"], ""),
    (&["security", "label"], ""),
    (&["lock"], "Every statement reads one tick, without locks."),
    (&["call"], ""),
    (&["do"], ""),
    (&["load"], ""),
    (&["vacuum"], "There is nothing to clean up."),
    (&["analyze"], "There are no statistics to gather."),
    (&["analyse"], "There are no statistics to gather."),
    (&["cluster"], ""),
    (&["reindex"], ""),
    (&["checkpoint"], ""),
    (&["import", "foreign", "schema"], ""),
    (&["verify"], ""),
    (&["use"], "There is one database, with the schema public."),
    (&["kill"], "Use pg_cancel_backend()."),
    (&["attach"], ""),
];

const WRITES: &str = "INSERT, UPDATE, DELETE and TRUNCATE write to tables, as statements of their own.";

/// Kinds of object, the longer ones first, with a hint for CREATE.
const KINDS: [(&[&str], &str); 29] = [
    (&["global", "temporary", "table"], TABLES),
    (&["global", "temp", "table"], TABLES),
    (&["local", "temporary", "table"], TABLES),
    (&["local", "temp", "table"], TABLES),
    (&["temporary", "table"], TABLES),
    (&["temp", "table"], TABLES),
    (&["unlogged", "table"], TABLES),
    (&["external", "table"], TABLES),
    (&["foreign", "table"], TABLES),
    (&["table"], TABLES),
    (&["temporary", "view"], "Use CREATE VIEW."),
    (&["temp", "view"], "Use CREATE VIEW."),
    (&["recursive", "view"], ""),
    (&["unique", "index"], "CREATE INDEX has no say in what rows there are; a table's PRIMARY KEY is unique."),
    (&["sink"], ""),
    (&["connection"], "Give the connection's options in CREATE SOURCE … WITH (…)."),
    (&["schema"], "Everything lives in the schema public."),
    (&["database"], "There is one database."),
    (&["function"], ""),
    (&["procedure"], ""),
    (&["aggregate"], ""),
    (&["sequence"], ""),
    (&["type"], ""),
    (&["domain"], ""),
    (&["trigger"], ""),
    (&["rule"], ""),
    (&["extension"], ""),
    (&["publication"], ""),
    (&["subscription"], ""),
];

const TABLES: &str = "Use CREATE TABLE, and CREATE SOURCE to read a topic.";

/// True at the beginning of a statement that is refused by name.
pub(crate) fn is_known(cursor: &Cursor<'_>) -> bool {
    cursor.peek_word("create")
        || cursor.peek_word("drop")
        || STATEMENTS.iter().any(|(words, _)| cursor.peek_words(words))
}

/// The refusal of a statement that begins at the cursor, or a syntax error if nobody has such a statement.
pub(crate) fn statement(cursor: &Cursor<'_>) -> SqlError {
    match STATEMENTS.iter().find(|(words, _)| cursor.peek_words(words)) {
        Some((words, hint)) => refuse(words.join(" "), hint, cursor),
        None => cursor.syntax_error(),
    }
}

/// The refusal of CREATE [OR REPLACE], the cursor being behind that.
pub(crate) fn create(cursor: &Cursor<'_>) -> SqlError {
    object(cursor, "create")
}

/// The refusal of DROP, the cursor being behind that.
pub(crate) fn drop(cursor: &Cursor<'_>) -> SqlError {
    object(cursor, "drop")
}

fn object(cursor: &Cursor<'_>, verb: &str) -> SqlError {
    match KINDS.iter().find(|(words, _)| cursor.peek_words(words)) {
        Some((words, hint)) => {
            refuse(format!("{verb} {}", words.join(" ")), if verb == "create" { hint } else { "" }, cursor)
        }
        // Rarer kinds are refused by the word that names them.
        None => match cursor.peek() {
            Token::Word(word) if matches!(cursor.peek_nth(1), Token::Word(_)) => {
                refuse(format!("{verb} {}", word.value), "", cursor)
            }
            _ => cursor.syntax_error(),
        },
    }
}

fn refuse(what: String, hint: &str, cursor: &Cursor<'_>) -> SqlError {
    let error = SqlError::unsupported(format!("{} is not supported", what.to_ascii_uppercase()));
    let error = if hint.is_empty() { error } else { error.hint(hint) };
    error.at(cursor.position())
}
