//! Our DDL in front of sqlparser.
//!
//! In: the text a client sent. Out: one [`Parsed`] a statement. [`parse`] tokenizes the text with sqlparser's tokenizer,
//! cuts it at semicolons (`script`), counts what could exhaust the stack (`limits`), and looks at each statement's first
//! words: definitions, SHOW, EXPLAIN and cursors are read by our own grammar over sqlparser's parser (`cursor`); queries
//! and the rest of the session's statements are sqlparser's. What Postgres has and we do not is refused by name
//! (`refusal`). No word is reserved that Postgres does not reserve.

mod alter;
pub(crate) mod asof;
mod copy;
mod create;
mod cursor;
mod data_type;
mod dialect;
mod envelope;
mod grant;
mod index;
pub mod limits;
mod object;
mod options;
mod query;
mod refusal;
mod role;
mod script;
mod secret;
mod session;
mod source;
mod start;
mod subscribe;
mod table;
mod table_word;
mod view;
mod watermark;
mod write;

pub use limits::{CHAIN_MAX, DEPTH_MAX, NESTING_MAX, RELATIONS_MAX, STATEMENT_BYTES_MAX, TOKENS_MAX};

pub use options::option_places;
pub use secret::{is_secret_option, redacted, secrets_in, with_secrets};
pub use view::with_option;

pub(crate) use cursor::{fold, is_word, object_name_parts};
pub(crate) use dialect::is_reserved;
pub(crate) use script::{Places, tokens};

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::tokenizer::Token;

use self::cursor::Cursor;
use self::script::Chunk;
use crate::SqlError;
use crate::stack::on_big_stack;
use crate::statement::{Parsed, Statement};

/// A statement of fewer tokens cannot be deep enough to need a stack of its own.
const SMALL_STATEMENT_TOKENS: usize = 500;

/// Parses a query string into its statements; empty ones are left out, so the result may be empty.
///
/// As in Postgres, one error anywhere fails the whole string, and its position counts in the whole string.
///
/// # Errors
/// 42601 syntax, 54001 too long or too deep, 0A000 a statement or clause we do not have, and what is wrong with a
/// definition: 42701, 42703, 42704, 42804, 22023, 3F000.
pub fn parse(text: &str) -> Result<Vec<Parsed>, SqlError> {
    limits::check_length(text)?;
    script::split(text)?.into_iter().map(parsed).collect()
}

/// Parses the text of one query, such as a view's body kept in the catalog.
///
/// # Errors
/// As for [`parse`]; 42601 if it is not exactly one query.
pub fn parse_query(text: &str) -> Result<Box<ast::Query>, SqlError> {
    let mut statements = parse(text)?;
    match statements.pop() {
        Some(Parsed { statement: Statement::Query(query), as_of_tick: None, .. }) if statements.is_empty() => Ok(query),
        _ => Err(SqlError::new(crate::SqlState::SYNTAX_ERROR, "exactly one query expected")),
    }
}

fn parsed(chunk: Chunk<'_>) -> Result<Parsed, SqlError> {
    let (text, offset) = (chunk.text.to_string(), chunk.offset);
    let work = || {
        limits::check_tokens(&chunk.tokens, chunk.text)?;
        statement(&chunk)
    };
    let statement = if chunk.tokens.len() < SMALL_STATEMENT_TOKENS { work() } else { on_big_stack(work) };
    match statement {
        Ok((statement, as_of_tick)) => Ok(Parsed { statement, text, offset, as_of_tick }),
        Err(mut error) => {
            error.position = error.position.map(|position| position + offset);
            Err(error)
        }
    }
}

/// A statement, and the tick it is to be read at.
fn statement(chunk: &Chunk<'_>) -> Result<(Statement, Option<u64>), SqlError> {
    let mut cursor = Cursor::new(chunk);
    let first = match cursor.peek() {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_lowercase(),
        Token::LParen => "(".into(),
        _ => return Err(cursor.syntax_error()),
    };
    if let "copy" | "declare" = first.as_str()
        && let Some(place) = subscribe::place(&chunk.tokens)
    {
        return Ok((subscribe::embedded(chunk, place)?, None));
    }
    if first == "copy"
        && let Some(from) = copy::place_of_from(&chunk.tokens)
    {
        return Ok((copy::statement(chunk, from)?, None));
    }
    let statement = match first.as_str() {
        "select" | "with" | "values" | "table" | "(" => return subscribe::query_at(chunk),
        "subscribe" => subscribe::statement(&mut cursor).map(|subscribe| Statement::Subscribe(Box::new(subscribe))),
        "verify" => subscribe::verify(&mut cursor).map(Statement::Verify),
        "wait" => subscribe::wait(&mut cursor).map(Statement::Wait),
        "create" => create::statement(chunk),
        "insert" | "update" | "delete" | "truncate" => write::statement(&mut cursor, &first),
        "drop" => object::drop(&mut cursor),
        "alter" => alter::statement(&mut cursor),
        "show" => object::show(&mut cursor),
        "describe" | "desc" => object::describe(&mut cursor),
        "explain" => object::explain(chunk),
        "grant" | "revoke" => grant::statement(&mut cursor, &first),
        "reassign" if cursor.peek_words(&["reassign", "owned", "by"]) => {
            role::reassign(&mut cursor).map(|statement| Statement::Administer(Box::new(statement)))
        }
        "flush" | "checkpoint" => {
            cursor.next();
            cursor.expect_end()?;
            Ok(if first == "flush" { Statement::Flush } else { Statement::Checkpoint })
        }
        _ => session::statement(&mut cursor, &first),
    };
    Ok((statement?, None))
}

#[cfg(test)]
mod tests;
