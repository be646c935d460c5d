//! `CREATE …`: which definition it is.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, is_word};
use super::script::Chunk;
use super::{index, refusal, role, secret, source, table, view};
use crate::statement::Statement;
use crate::{SqlError, SqlState};

/// Longest name, bytes, as in Postgres.
pub(crate) const NAME_BYTES_MAX: usize = 63;

/// Reads a statement that begins with CREATE.
pub(crate) fn statement(chunk: &Chunk<'_>) -> Result<Statement, SqlError> {
    let mut cursor = Cursor::new(chunk);
    cursor.expect_word("create")?;
    let or_replace = cursor.words(&["or", "replace"]);
    if cursor.word("source") {
        return Ok(Statement::CreateSource(Box::new(source::parse(&mut cursor, or_replace)?)));
    }
    if cursor.peek_word("table") && names_connector(&chunk.tokens) {
        cursor.next();
        return Ok(Statement::CreateSource(Box::new(source::parse(&mut cursor, or_replace)?)));
    }
    if !or_replace && cursor.word("table") {
        return Ok(Statement::CreateTable(Box::new(table::parse(&mut cursor)?)));
    }
    if cursor.words(&["materialized", "view"]) {
        return Ok(Statement::CreateMaterializedView(Box::new(view::materialized(chunk, or_replace)?)));
    }
    if cursor.peek_word("view") {
        return Ok(Statement::CreateView(Box::new(view::plain(chunk, or_replace)?)));
    }
    if cursor.peek_word("index") && or_replace {
        return Err(cursor.syntax_error());
    }
    if cursor.word("index") {
        return Ok(Statement::CreateIndex(Box::new(index::create(&mut cursor)?)));
    }
    if cursor.peek_words(&["user", "mapping"]) {
        return Err(refusal::create(&cursor));
    }
    let administers = match cursor.one_of(&[&role::KINDS[..], &["secret"]].concat()).filter(|_| !or_replace) {
        Some("secret") => Some(secret::create(&mut cursor)?),
        Some(kind) => Some(role::create(&mut cursor, kind)?),
        None => None,
    };
    match administers {
        Some(administration) => Ok(Statement::Administer(Box::new(administration))),
        None => Err(refusal::create(&cursor)),
    }
}

/// True if a WITH (…) holds an option named connector.
fn names_connector(tokens: &[TokenWithSpan]) -> bool {
    let with = tokens.windows(2).position(|pair| is_word(&pair[0].token, "with") && pair[1].token == Token::LParen);
    with.is_some_and(|at| {
        tokens[at..].windows(2).any(|pair| {
            let named = match &pair[0].token {
                Token::Word(word) => word.value.eq_ignore_ascii_case("connector"),
                Token::SingleQuotedString(text) => text.eq_ignore_ascii_case("connector"),
                _ => false,
            };
            named && pair[1].token == Token::Eq
        })
    })
}

/// `IF NOT EXISTS`, which cannot stand beside OR REPLACE.
pub(crate) fn if_not_exists(cursor: &mut Cursor<'_>, or_replace: bool) -> Result<bool, SqlError> {
    if or_replace && cursor.peek_words(&["if", "not", "exists"]) {
        return Err(cursor.syntax_error());
    }
    Ok(cursor.words(&["if", "not", "exists"]))
}

/// The name of what is created, with its position.
///
/// # Errors
/// 42622 if it is longer than 63 bytes; Postgres would cut it, and two names could become one.
pub(crate) fn new_name(cursor: &mut Cursor<'_>) -> Result<(String, usize), SqlError> {
    let (name, position) = cursor.object_name()?;
    if name.len() > NAME_BYTES_MAX {
        return Err(SqlError::new(
            SqlState::NAME_TOO_LONG,
            format!("identifier \"{name}\" is longer than {NAME_BYTES_MAX} bytes"),
        )
        .at(position));
    }
    Ok((name, position))
}
