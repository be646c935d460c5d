//! `CREATE INDEX` and `DROP INDEX`.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::create;
use super::cursor::Cursor;
use crate::SqlError;
use crate::statement::{CreateIndex, DropIndex, Place};

/// What Postgres can have behind an index's columns, and we do not; the longer ones first.
const REFUSED: [(&[&str], &str); 5] = [
    (&["nulls"], "NULLS [NOT] DISTINCT"),
    (&["include"], "INCLUDE"),
    (&["with"], "WITH"),
    (&["tablespace"], "TABLESPACE"),
    (&["where"], "WHERE"),
];

/// `[CONCURRENTLY] [[IF NOT EXISTS] name] ON relation [USING btree] (column [ASC], …)`, the cursor being behind INDEX.
pub(crate) fn create(cursor: &mut Cursor<'_>) -> Result<CreateIndex, SqlError> {
    // Nothing waits for an index in any case.
    cursor.word("concurrently");
    let if_not_exists = cursor.words(&["if", "not", "exists"]);
    let name = match !if_not_exists && cursor.peek_word("on") {
        true => None,
        false => Some(create::new_name(cursor)?.0),
    };
    cursor.expect_word("on")?;
    cursor.word("only");
    let (relation, position) = cursor.object_name()?;
    if cursor.word("using") {
        let at = cursor.position();
        let (method, _) = cursor.identifier()?;
        if method != "btree" {
            let error = SqlError::unsupported(format!("an index USING {method} is not supported")).at(at);
            return Err(error.hint("Every index is a btree: it finds values and ranges."));
        }
    }
    let columns = cursor.list(column)?;
    if let Some((_, what)) = REFUSED.iter().find(|(words, _)| cursor.peek_words(words)) {
        return Err(SqlError::unsupported(format!("{what} in an index is not supported")).at(cursor.position()));
    }
    cursor.expect_end()?;
    Ok(CreateIndex { name, if_not_exists, relation: Place { name: relation, position }, columns })
}

fn column(cursor: &mut Cursor<'_>) -> Result<Place, SqlError> {
    let position = cursor.position();
    let is_call = matches!(cursor.peek(), Token::Word(_)) && *cursor.peek_nth(1) == Token::LParen;
    if *cursor.peek() == Token::LParen || is_call {
        return Err(SqlError::unsupported("an index over an expression is not supported")
            .hint("A view can have the expression as a column.")
            .at(position));
    }
    let (name, position) = cursor.identifier()?;
    cursor.word("asc");
    match cursor.peek() {
        Token::Word(word) => {
            let what = match word.value.to_ascii_uppercase() {
                word if matches!(word.as_str(), "DESC" | "NULLS" | "COLLATE") => word,
                _ => "an operator class".into(),
            };
            Err(SqlError::unsupported(format!("{what} in an index is not supported")).at(cursor.position()))
        }
        _ => Ok(Place { name, position }),
    }
}

/// `[CONCURRENTLY] [IF EXISTS] name, … [CASCADE | RESTRICT]`, the cursor being behind INDEX.
pub(crate) fn drop(cursor: &mut Cursor<'_>) -> Result<DropIndex, SqlError> {
    cursor.word("concurrently");
    let if_exists = cursor.words(&["if", "exists"]);
    let mut names = vec![cursor.object_name()?.0];
    while cursor.token(&Token::Comma) {
        names.push(cursor.object_name()?.0);
    }
    // Nothing depends on an index.
    cursor.one_of(&["cascade", "restrict"]);
    cursor.expect_end()?;
    Ok(DropIndex { names, if_exists })
}
