//! Statements about the session: settings, transactions, cursors, prepared statements, notifications, COPY.
//!
//! sqlparser reads most of them. Cursor movements and ABORT are read here, because sqlparser insists on FROM and does not know
//! ABORT.

use datafusion::sql::sqlparser::ast::{self, FetchDirection, FetchPosition, Ident, Value, ValueWithSpan};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, is_word};
use super::{query, refusal, subscribe};
use crate::SqlError;
use crate::statement::Statement;

/// Reads a statement whose first word is `first`, still ahead of the cursor.
pub(crate) fn statement(cursor: &mut Cursor<'_>, first: &str) -> Result<Statement, SqlError> {
    match first {
        "fetch" => {
            cursor.next();
            let fetch = movement(cursor)?;
            let timeout = subscribe::fetch_timeout(cursor)?;
            cursor.expect_end()?;
            return Ok(match timeout {
                Some(timeout) => Statement::FetchWithin { fetch: Box::new(fetch), timeout },
                None => Statement::Session(Box::new(fetch)),
            });
        }
        "move" => {
            cursor.next();
            let movement = movement(cursor)?;
            cursor.expect_end()?;
            return Ok(Statement::Move(Box::new(movement)));
        }
        "abort" => return abort(cursor),
        "reset" if cursor.words(&["reset", "time", "zone"]) => {
            cursor.expect_end()?;
            let name = ast::ObjectName::from(vec![Ident::new("timezone")]);
            let reset = ast::ResetStatement { reset: ast::Reset::ConfigurationParameter(name) };
            return Ok(Statement::Session(Box::new(ast::Statement::Reset(reset))));
        }
        "reset" if cursor.words(&["reset", "session", "authorization"]) => {
            cursor.expect_end()?;
            let name = ast::ObjectName::from(vec![Ident::new("session_authorization")]);
            let reset = ast::ResetStatement { reset: ast::Reset::ConfigurationParameter(name) };
            return Ok(Statement::Session(Box::new(ast::Statement::Reset(reset))));
        }
        "set" | "show" | "reset" | "begin" | "start" | "commit" | "end" | "rollback" | "savepoint" | "release"
        | "declare" | "close" | "prepare" | "execute" | "deallocate" | "discard" | "listen" | "notify" | "unlisten"
        | "copy" => {}
        _ => return Err(refusal::statement(cursor)),
    }
    let position = cursor.position();
    let statement = cursor.sql(Parser::parse_statement)?;
    cursor.expect_end()?;
    query::check(cursor, &statement)?;
    refuse_inside(&statement).map_err(|error| error.at(position))?;
    Ok(Statement::Session(Box::new(statement)))
}

/// Refuses what sqlparser reads under these first words but is not about the session, or not ours to do.
fn refuse_inside(statement: &ast::Statement) -> Result<(), SqlError> {
    use ast::Statement as S;
    match statement {
        S::Prepare { statement, .. } if !matches!(statement.as_ref(), S::Query(_)) => {
            let what = statement.to_string();
            let first = what.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            Err(SqlError::unsupported(format!("PREPARE of {first} is not supported")))
        }
        S::Copy { target, .. } if !matches!(target, ast::CopyTarget::Stdout) => {
            Err(SqlError::unsupported("COPY to a file or program is not supported").hint("Use COPY … TO STDOUT."))
        }
        S::Set(_)
        | S::ShowVariable { .. }
        | S::ShowVariables { .. }
        | S::Reset(_)
        | S::StartTransaction { .. }
        | S::Commit { .. }
        | S::Rollback { .. }
        | S::Savepoint { .. }
        | S::ReleaseSavepoint { .. }
        | S::Declare { .. }
        | S::Fetch { .. }
        | S::Close { .. }
        | S::Prepare { .. }
        | S::Execute { .. }
        | S::Deallocate { .. }
        | S::Discard { .. }
        | S::LISTEN { .. }
        | S::NOTIFY { .. }
        | S::UNLISTEN { .. }
        | S::Copy { .. } => Ok(()),
        other => {
            let text = other.to_string();
            let words: Vec<&str> = text.split_whitespace().take(2).collect();
            Err(SqlError::unsupported(format!("{} is not supported", words.join(" "))))
        }
    }
}

/// `ABORT [WORK | TRANSACTION] [AND [NO] CHAIN]` is ROLLBACK.
fn abort(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    cursor.next();
    cursor.one_of(&["work", "transaction"]);
    let chain = cursor.words(&["and", "chain"]);
    if !chain {
        cursor.words(&["and", "no", "chain"]);
    }
    cursor.expect_end()?;
    Ok(Statement::Session(Box::new(ast::Statement::Rollback { chain, savepoint: None })))
}

/// `[direction] [FROM | IN] cursor`, behind FETCH or MOVE.
fn movement(cursor: &mut Cursor<'_>) -> Result<ast::Statement, SqlError> {
    let direction = direction(cursor)?;
    let position = match cursor.one_of(&["from", "in"]) {
        Some("in") => FetchPosition::In,
        _ => FetchPosition::From,
    };
    let (name, _) = cursor.identifier()?;
    Ok(ast::Statement::Fetch { name: Ident::with_quote('"', name), direction, position, into: None })
}

fn direction(cursor: &mut Cursor<'_>) -> Result<FetchDirection, SqlError> {
    // A cursor may be called next or all: a word is a direction only if more follows it.
    if *cursor.peek_nth(1) == Token::EOF || is_word(cursor.peek_nth(1), "with") {
        return Ok(FetchDirection::Next);
    }
    let word = cursor.one_of(&["next", "prior", "first", "last", "absolute", "relative", "all", "forward", "backward"]);
    Ok(match word {
        Some("next") => FetchDirection::Next,
        Some("prior") => FetchDirection::Prior,
        Some("first") => FetchDirection::First,
        Some("last") => FetchDirection::Last,
        Some("all") => FetchDirection::All,
        Some("absolute") => FetchDirection::Absolute { limit: expect_count(cursor)? },
        Some("relative") => FetchDirection::Relative { limit: expect_count(cursor)? },
        Some("forward") if cursor.word("all") => FetchDirection::ForwardAll,
        Some("forward") => FetchDirection::Forward { limit: count(cursor)? },
        Some("backward") if cursor.word("all") => FetchDirection::BackwardAll,
        Some("backward") => FetchDirection::Backward { limit: count(cursor)? },
        _ => match count(cursor)? {
            Some(limit) => FetchDirection::Count { limit },
            None => FetchDirection::Next,
        },
    })
}

fn expect_count(cursor: &mut Cursor<'_>) -> Result<ValueWithSpan, SqlError> {
    count(cursor)?.ok_or_else(|| cursor.expected("a number of rows"))
}

/// A whole number with an optional sign.
fn count(cursor: &mut Cursor<'_>) -> Result<Option<ValueWithSpan>, SqlError> {
    let signed = matches!(cursor.peek(), Token::Minus | Token::Plus);
    let Token::Number(digits, _) = cursor.peek_nth(usize::from(signed)).clone() else {
        return Ok(None);
    };
    let negative = *cursor.peek() == Token::Minus;
    if signed {
        cursor.next();
    }
    if digits.parse::<i64>().is_err() {
        return Err(cursor.syntax_error());
    }
    let TokenWithSpan { span, .. } = cursor.next();
    let number = if negative { format!("-{digits}") } else { digits };
    Ok(Some(ValueWithSpan { value: Value::Number(number, false), span }))
}
