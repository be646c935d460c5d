//! `SUBSCRIBE`, alone or where a query stands: in COPY and in DECLARE. Also what is read by tick: `AS OF TICK` behind a
//! query, WAIT and VERIFY.

use std::ops::Range;
use std::time::Duration;

use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, is_word};
use super::query;
use super::script::Chunk;
use crate::interval::Interval;
use crate::statement::{Followed, Parsed, Place, Statement, Subscribe, Verify, Wait};
use crate::{SqlError, SqlState};

/// `SUBSCRIBE [TO] { view | (query) } [AS OF [TICK] n] [UP TO [TICK] n] [WITH (SNAPSHOT [= bool], PROGRESS [= bool])]`, the
/// clauses in any order.
pub(crate) fn statement(cursor: &mut Cursor<'_>) -> Result<Subscribe, SqlError> {
    cursor.expect_word("subscribe")?;
    // `subscribe to` alone means a view called to.
    if *cursor.peek_nth(1) != Token::EOF && !is_word(cursor.peek_nth(1), "with") {
        cursor.word("to");
    }
    let followed = if cursor.token(&Token::LParen) {
        let query = query::parse(cursor)?;
        cursor.expect_token(&Token::RParen)?;
        Followed::Query(query)
    } else {
        let (name, position) = cursor.object_name()?;
        Followed::Relation(Place { name, position })
    };
    let mut subscribe = Subscribe { followed, snapshot: true, progress: false, as_of: None, up_to: None };
    while !cursor.at_end() {
        let at = cursor.position();
        let twice = |given: bool| match given {
            true => Err(SqlError::new(SqlState::SYNTAX_ERROR, "clause of SUBSCRIBE given twice").at(at)),
            false => Ok(()),
        };
        if cursor.words(&["as", "of"]) {
            twice(subscribe.as_of.is_some())?;
            subscribe.as_of = Some(tick(cursor)?);
        } else if cursor.words(&["up", "to"]) {
            twice(subscribe.up_to.is_some())?;
            subscribe.up_to = Some(tick(cursor)?);
        } else if cursor.word("with") {
            cursor.list(|cursor| option(cursor, &mut subscribe))?;
        } else if cursor.peek_word("envelope") {
            return Err(SqlError::unsupported("ENVELOPE in SUBSCRIBE is not supported")
                .hint("Every change comes as a row with tidemark_diff.")
                .at(at));
        } else if cursor.peek_words(&["within", "timestamp"]) {
            return Err(SqlError::unsupported("WITHIN TIMESTAMP ORDER BY is not supported").at(at));
        } else {
            return Err(cursor.syntax_error());
        }
    }
    Ok(subscribe)
}

/// `[TICK] n`.
fn tick(cursor: &mut Cursor<'_>) -> Result<u64, SqlError> {
    cursor.word("tick");
    number(cursor, "the number of a tick")
}

fn number<T: std::str::FromStr>(cursor: &mut Cursor<'_>, what: &str) -> Result<T, SqlError> {
    let parsed = match cursor.peek() {
        Token::Number(digits, _) => digits.parse().ok(),
        _ => None,
    };
    let number = parsed.ok_or_else(|| cursor.expected(what))?;
    cursor.next();
    Ok(number)
}

fn option(cursor: &mut Cursor<'_>, subscribe: &mut Subscribe) -> Result<(), SqlError> {
    let position = cursor.position();
    let (name, _) = cursor.identifier()?;
    let on = match cursor.token(&Token::Eq) {
        false => true,
        true => match cursor.one_of(&["true", "on", "false", "off"]) {
            Some(word) => matches!(word, "true" | "on"),
            None => return Err(cursor.expected("true or false")),
        },
    };
    match name.as_str() {
        "snapshot" => subscribe.snapshot = on,
        "progress" => subscribe.progress = on,
        _ => {
            let message = format!("unrecognized SUBSCRIBE option \"{name}\"");
            let error = SqlError::new(SqlState::SYNTAX_ERROR, message).at(position);
            return Err(error.hint("The options are SNAPSHOT and PROGRESS."));
        }
    }
    Ok(())
}

/// Where a SUBSCRIBE stands in a COPY or DECLARE, if one does.
pub(crate) fn place(tokens: &[TokenWithSpan]) -> Option<Range<usize>> {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| is_word(&token.token, word));
    if is(0, "copy") && tokens.get(1)?.token == Token::LParen && is(2, "subscribe") {
        let mut depth = 0_usize;
        let close = tokens.iter().skip(1).position(|token| {
            match token.token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        return close.map(|close| 2..close + 1);
    }
    let at = (1..tokens.len()).find(|at| is(at - 1, "for") && is(*at, "subscribe"))?;
    is(0, "declare").then_some(at..tokens.len())
}

/// A COPY or DECLARE of a SUBSCRIBE: sqlparser reads it around a query that stands in the subscription's place.
pub(crate) fn embedded(chunk: &Chunk<'_>, place: Range<usize>) -> Result<Statement, SqlError> {
    let mut inner = Cursor::with_tokens(chunk, chunk.tokens[place.clone()].to_vec());
    let subscribe = statement(&mut inner)?;
    let span = chunk.tokens[place.start].span;
    let stand_in = [Token::make_keyword("SELECT"), Token::Number("1".into(), false)];
    let stand_in = stand_in.map(|token| TokenWithSpan { token, span });
    let mut tokens = chunk.tokens.clone();
    tokens.splice(place, stand_in);
    let mut cursor = Cursor::with_tokens(chunk, tokens);
    let around = cursor.sql(Parser::parse_statement)?;
    cursor.expect_end()?;
    let text = chunk.text.to_owned();
    let subscribe = Parsed { statement: Statement::Subscribe(Box::new(subscribe)), text, offset: 0, as_of_tick: None };
    match &around {
        ast::Statement::Copy { target: ast::CopyTarget::Stdout, to: true, .. } | ast::Statement::Declare { .. } => {
            Ok(Statement::OfSubscription { around: Box::new(around), subscribe: Box::new(subscribe) })
        }
        _ => Err(SqlError::unsupported("COPY to a file or program is not supported").hint("Use COPY … TO STDOUT.")),
    }
}

/// Takes `AS OF TICK n` off the end of a query's tokens.
pub(crate) fn take_as_of(tokens: &mut Vec<TokenWithSpan>) -> Option<u64> {
    let [.., of_as, of, tick, number] = tokens.as_slice() else { return None };
    let words = [(of_as, "as"), (of, "of"), (tick, "tick")];
    let Token::Number(digits, _) = &number.token else { return None };
    let number = digits.parse().ok()?;
    words.iter().all(|(token, word)| is_word(&token.token, word)).then_some(())?;
    tokens.truncate(tokens.len() - 4);
    Some(number)
}

/// `WAIT FOR TICK n [TIMEOUT t]`, `WAIT FOR source PARTITION p OFFSET o [TIMEOUT t]`.
pub(crate) fn wait(cursor: &mut Cursor<'_>) -> Result<Wait, SqlError> {
    cursor.expect_words(&["wait", "for"])?;
    let wait = if cursor.peek_word("tick") && matches!(cursor.peek_nth(1), Token::Number(..)) {
        let tick = tick(cursor)?;
        Wait::Tick { tick, timeout: timeout(cursor)? }
    } else {
        let (source, position) = cursor.object_name()?;
        cursor.expect_word("partition")?;
        let partition = number(cursor, "the number of a partition")?;
        cursor.expect_word("offset")?;
        let offset = number(cursor, "an offset")?;
        Wait::Offset { source, position, partition, offset, timeout: timeout(cursor)? }
    };
    cursor.expect_end()?;
    Ok(wait)
}

/// `VERIFY MATERIALIZED VIEW view [AT [TICK] n]`.
pub(crate) fn verify(cursor: &mut Cursor<'_>) -> Result<Verify, SqlError> {
    cursor.expect_words(&["verify", "materialized", "view"])?;
    let (view, position) = cursor.object_name()?;
    let tick = if cursor.word("at") { Some(tick(cursor)?) } else { None };
    cursor.expect_end()?;
    Ok(Verify { view, position, tick })
}

fn timeout(cursor: &mut Cursor<'_>) -> Result<Option<Duration>, SqlError> {
    if cursor.word("timeout") { span_of_time(cursor).map(Some) } else { Ok(None) }
}

/// `WITH (timeout = '1s')` behind FETCH.
pub(crate) fn fetch_timeout(cursor: &mut Cursor<'_>) -> Result<Option<Duration>, SqlError> {
    if !cursor.word("with") {
        return Ok(None);
    }
    let mut given = None;
    cursor.list(|cursor| {
        cursor.expect_word("timeout")?;
        cursor.token(&Token::Eq);
        given = Some(span_of_time(cursor)?);
        Ok(())
    })?;
    Ok(given)
}

/// `'1s'` or `INTERVAL '1 second'`.
fn span_of_time(cursor: &mut Cursor<'_>) -> Result<Duration, SqlError> {
    let position = cursor.position();
    let interval = match cursor.peek().clone() {
        Token::SingleQuotedString(text) => {
            cursor.next();
            Interval::parse(&text, None)
        }
        _ => Interval::of(&cursor.sql(Parser::parse_expr)?).unwrap_or_else(|| {
            let message = "a timeout must be a constant interval";
            Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }),
    };
    interval.and_then(|interval| interval.duration("a timeout")).map_err(|error| error.at(position))
}

/// A statement that is a query, possibly at an earlier tick.
pub(crate) fn query_at(chunk: &Chunk<'_>) -> Result<(Statement, Option<u64>), SqlError> {
    let mut tokens = chunk.tokens.clone();
    let as_of = take_as_of(&mut tokens);
    query::statement(&mut Cursor::with_tokens(chunk, tokens)).map(|statement| (statement, as_of))
}
