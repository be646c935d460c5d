//! Statements about objects that exist: DROP, SHOW, DESCRIBE, EXPLAIN.

use datafusion::sql::sqlparser::ast::{Expr, Value};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, fold};
use super::script::Chunk;
use super::{index, query, refusal, role, secret, session, view};
use crate::statement::{Drop, Explain, ExplainTarget, ObjectKind, ShowObjects, Statement};
use crate::{SqlError, SqlState};

/// `DROP SOURCE | TABLE | VIEW | MATERIALIZED VIEW [IF EXISTS] name, … [CASCADE | RESTRICT]`.
pub(crate) fn drop(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    cursor.expect_word("drop")?;
    if cursor.word("index") {
        return Ok(Statement::DropIndex(index::drop(cursor)?));
    }
    if cursor.words(&["owned", "by"]) {
        return Ok(Statement::Administer(Box::new(role::drop_owned(cursor)?)));
    }
    if cursor.word("secret") {
        return Ok(Statement::Administer(Box::new(secret::drop(cursor)?)));
    }
    if !cursor.peek_words(&["user", "mapping"]) && cursor.one_of(&role::KINDS).is_some() {
        return Ok(Statement::Administer(Box::new(role::drop(cursor)?)));
    }
    let kind = if cursor.words(&["materialized", "view"]) {
        ObjectKind::MaterializedView
    } else {
        match cursor.one_of(&["source", "table", "view"]) {
            Some("view") => ObjectKind::View,
            Some("table") => ObjectKind::Table,
            Some(_) => ObjectKind::Source,
            None => return Err(refusal::drop(cursor)),
        }
    };
    let if_exists = cursor.words(&["if", "exists"]);
    let mut names = Vec::new();
    loop {
        // Behind IF EXISTS a schema that is not there is no error: the full name stands for what cannot exist.
        let name = if if_exists {
            let (schema, name, _) = cursor.qualified_name()?;
            schema.map_or_else(|| name.clone(), |schema| format!("{schema}.{name}"))
        } else {
            cursor.object_name()?.0
        };
        if !names.contains(&name) {
            names.push(name);
        }
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    let cascade = cursor.one_of(&["cascade", "restrict"]) == Some("cascade");
    cursor.expect_end()?;
    Ok(Statement::Drop(Drop { kind, names, if_exists, cascade }))
}

/// SHOW of our objects, or of a setting.
pub(crate) fn show(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    if cursor.peek_words(&["show", "columns"]) || cursor.peek_words(&["show", "create"]) {
        cursor.next();
        let columns = cursor.word("columns");
        if columns {
            if cursor.one_of(&["from", "in"]).is_none() {
                return Err(cursor.expected("FROM"));
            }
        } else {
            cursor.expect_word("create")?;
        }
        if columns {
            return described(cursor);
        }
        let kind = kind(cursor);
        let (name, _) = cursor.object_name()?;
        cursor.expect_end()?;
        return Ok(Statement::ShowCreate { kind, name });
    }
    let objects: [(&[&str], ShowObjects); 7] = [
        (&["backfills"], ShowObjects::Backfills),
        (&["checkpoints"], ShowObjects::Checkpoints),
        (&["sources"], ShowObjects::Sources),
        (&["tables"], ShowObjects::Tables),
        (&["views"], ShowObjects::Views),
        (&["materialized", "views"], ShowObjects::MaterializedViews),
        (&["ticks"], ShowObjects::Ticks),
    ];
    for (words, objects) in objects {
        let all: Vec<&str> = std::iter::once("show").chain(words.iter().copied()).collect();
        if cursor.words(&all) {
            cursor.expect_end()?;
            return Ok(Statement::ShowObjects(objects));
        }
    }
    session::statement(cursor, "show")
}

/// `DESCRIBE [kind] name`.
pub(crate) fn describe(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    cursor.next();
    described(cursor)
}

fn described(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    kind(cursor);
    let (schema, name, _) = cursor.qualified_name()?;
    cursor.expect_end()?;
    Ok(Statement::Describe { schema, name })
}

/// Reads the kind in `SHOW CREATE VIEW v`; anything may be called a table. A kind at the end is itself the name.
fn kind(cursor: &mut Cursor<'_>) -> Option<ObjectKind> {
    let kinds: [(&[&str], Option<ObjectKind>); 4] = [
        (&["materialized", "view"], Some(ObjectKind::MaterializedView)),
        (&["source"], Some(ObjectKind::Source)),
        (&["table"], None),
        (&["view"], Some(ObjectKind::View)),
    ];
    for (words, kind) in kinds {
        if cursor.peek_words(words) && matches!(cursor.peek_nth(words.len()), Token::Word(_)) {
            cursor.words(words);
            return kind;
        }
    }
    None
}

/// `EXPLAIN [ANALYZE] [VERBOSE] | (option [value], …)` and what it explains.
pub(crate) fn explain(chunk: &Chunk<'_>) -> Result<Statement, SqlError> {
    let mut cursor = Cursor::new(chunk);
    cursor.expect_word("explain")?;
    let mut options = Options::default();
    // A bracket may also open the query: EXPLAIN (SELECT 1).
    let query_words = ["select", "with", "values", "table"];
    let opens_query = *cursor.peek_nth(1) == Token::LParen
        || query_words.iter().any(|word| super::cursor::is_word(cursor.peek_nth(1), word));
    if *cursor.peek() == Token::LParen && !opens_query {
        cursor.list(|cursor| options.option(cursor))?;
    } else {
        options.analyze = cursor.one_of(&["analyze", "analyse"]).is_some();
        options.verbose = cursor.word("verbose");
    }
    let target = target(&mut cursor, chunk)?;
    let Options { analyze, verbose, json, state } = options;
    if state && (analyze || json) {
        let message = "EXPLAIN option STATE cannot be used together with ANALYZE or FORMAT JSON";
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(Statement::Explain(Box::new(Explain { analyze, verbose, json, state, target })))
}

fn target(cursor: &mut Cursor<'_>, chunk: &Chunk<'_>) -> Result<ExplainTarget, SqlError> {
    if cursor.words(&["materialized", "view"]) {
        let (name, _) = cursor.object_name()?;
        cursor.expect_end()?;
        return Ok(ExplainTarget::MaterializedView(name));
    }
    let replace = cursor.peek_words(&["create", "or", "replace", "materialized", "view"]);
    if replace || cursor.peek_words(&["create", "materialized", "view"]) {
        let inner = chunk.behind(cursor.consumed());
        return Ok(ExplainTarget::CreateMaterializedView(Box::new(view::materialized(&inner, replace)?)));
    }
    let is_query = *cursor.peek() == Token::LParen
        || ["select", "with", "values", "table"].iter().any(|word| cursor.peek_word(word));
    if is_query {
        let query = query::parse(cursor)?;
        cursor.expect_end()?;
        return Ok(ExplainTarget::Query(query));
    }
    let session = ["declare", "execute", "copy", "prepare"].iter().any(|word| cursor.peek_word(word));
    match cursor.peek() {
        Token::Word(word) if session || refusal::is_known(cursor) => {
            let what = word.value.to_ascii_uppercase();
            Err(SqlError::unsupported(format!("EXPLAIN {what} is not supported")).at(cursor.position()))
        }
        _ => Err(cursor.syntax_error()),
    }
}

#[derive(Default)]
struct Options {
    analyze: bool,
    verbose: bool,
    json: bool,
    state: bool,
}

impl Options {
    fn option(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SqlError> {
        let (name, position) = cursor.identifier()?;
        match name.as_str() {
            "analyze" | "analyse" => self.analyze = boolean(cursor, &name)?,
            "verbose" => self.verbose = boolean(cursor, &name)?,
            "state" => self.state = boolean(cursor, &name)?,
            "format" => {
                let position = cursor.position();
                self.json = match word(cursor)?.as_str() {
                    "text" => false,
                    "json" => true,
                    other @ ("xml" | "yaml") => {
                        return Err(
                            SqlError::unsupported(format!("EXPLAIN format {other} is not supported")).at(position)
                        );
                    }
                    other => return Err(unrecognized_value(&name, other).at(position)),
                };
            }
            // Postgres' further options ask for figures we show anyway or do not have.
            "costs" | "settings" | "generic_plan" | "buffers" | "wal" | "timing" | "summary" | "memory" => {
                boolean(cursor, &name)?;
            }
            _ => {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("unrecognized EXPLAIN option \"{name}\""))
                    .at(position));
            }
        }
        Ok(())
    }
}

fn unrecognized_value(option: &str, value: &str) -> SqlError {
    SqlError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("unrecognized value for EXPLAIN option \"{option}\": \"{value}\""),
    )
}

/// A value as a word in lower case.
fn word(cursor: &mut Cursor<'_>) -> Result<String, SqlError> {
    let value = match cursor.sql(Parser::parse_expr)? {
        Expr::Identifier(ident) => fold(&ident),
        Expr::Value(value) => match value.value {
            Value::SingleQuotedString(text) => text.to_ascii_lowercase(),
            Value::Number(number, _) => number,
            Value::Boolean(value) => value.to_string(),
            _ => String::new(),
        },
        _ => String::new(),
    };
    Ok(value)
}

/// A boolean option's value; a name alone switches it on.
fn boolean(cursor: &mut Cursor<'_>, option: &str) -> Result<bool, SqlError> {
    if matches!(cursor.peek(), Token::Comma | Token::RParen) {
        return Ok(true);
    }
    let position = cursor.position();
    if cursor.word("on") {
        return Ok(true);
    }
    match word(cursor)?.as_str() {
        "true" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("{option} requires a Boolean value")).at(position)),
    }
}
