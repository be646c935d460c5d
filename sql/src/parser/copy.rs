//! `COPY table [(columns)] FROM STDIN [WITH] (options)`.
//!
//! sqlparser would read the data out of the statement itself. It reads the statement as `COPY … TO STDOUT`, which has the same
//! parts, and the direction is turned round behind it.

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::Chunk;
use super::cursor::{Cursor, is_word};
use crate::statement::Statement;
use crate::{SqlError, SqlState};

/// Where FROM stands in a COPY that reads: outside brackets, and before any TO.
pub(super) fn place_of_from(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(1) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            token if depth == 0 && is_word(token, "to") => return None,
            token if depth == 0 && is_word(token, "from") => return Some(at),
            _ => {}
        }
    }
    None
}

/// The statement whose FROM is at `from`.
///
/// # Errors
/// 42601; 0A000 for a file, a program and WHERE.
pub(super) fn statement(chunk: &Chunk<'_>, from: usize) -> Result<Statement, SqlError> {
    let mut tokens = chunk.tokens.clone();
    let mut cursor = Cursor::with_tokens(chunk, tokens[from + 1..].to_vec());
    let position = cursor.position();
    if cursor.one_of(&["stdin"]).is_none() {
        if matches!(cursor.peek(), Token::SingleQuotedString(_)) || cursor.peek_word("program") {
            let error = SqlError::unsupported("COPY from a file or program is not supported").at(position);
            return Err(error.hint("Use COPY … FROM STDIN, or psql's \\copy."));
        }
        return Err(cursor.syntax_error());
    }
    if let Some(at) = (from..tokens.len()).find(|at| is_word(&tokens[*at].token, "where")) {
        let at = Cursor::with_tokens(chunk, tokens[at..].to_vec()).position();
        return Err(SqlError::unsupported("COPY FROM with WHERE is not supported").at(at));
    }
    tokens[from].token = Token::make_keyword("TO");
    tokens[from + 1].token = Token::make_keyword("STDOUT");
    let mut cursor = Cursor::with_tokens(chunk, tokens);
    let copy = cursor.sql(Parser::parse_statement)?;
    cursor.expect_end()?;
    match copy {
        ast::Statement::Copy {
            source: source @ ast::CopySource::Table { .. },
            target: ast::CopyTarget::Stdout,
            options,
            legacy_options,
            ..
        } => Ok(Statement::Session(Box::new(ast::Statement::Copy {
            source,
            to: false,
            target: ast::CopyTarget::Stdin,
            options,
            legacy_options,
            values: Vec::new(),
        }))),
        _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, "COPY FROM needs a table").at(1)),
    }
}
