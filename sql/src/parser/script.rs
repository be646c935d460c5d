//! A query string to statements: tokens with their places, cut at semicolons.
//!
//! In: the text a client sent. Out: one [`Chunk`] a statement, its tokens' spans counted from the statement's own first
//! character, so that every later error can point into it. Quotes, dollar quotes and nested comments are the
//! tokenizer's business, so a semicolon inside one never cuts.

use std::sync::Arc;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use super::dialect::Postgres;
use super::{asof, table_word};
use crate::{SqlError, SqlState};

/// One statement's tokens and text.
pub(crate) struct Chunk<'t> {
    /// Tokens without whitespace and comments; spans count from the start of `text`.
    pub tokens: Vec<TokenWithSpan>,
    /// From the first token to the last.
    pub text: &'t str,
    /// Characters of the query string before `text`.
    pub offset: usize,
    /// How the tokens are to be read.
    pub dialect: Arc<Postgres>,
    /// What stands behind the last token: a semicolon's position counted as in `text`, or `None` at the end of the input.
    pub semicolon: Option<usize>,
}

impl Chunk<'_> {
    /// The same statement without its first `read` tokens.
    pub fn behind(&self, read: usize) -> Self {
        Self {
            tokens: self.tokens.get(read..).unwrap_or_default().to_vec(),
            dialect: Arc::clone(&self.dialect),
            ..*self
        }
    }
}

/// Finds characters by line and column in one text.
pub(crate) struct Places<'t> {
    text: &'t str,
    /// (byte, character) at which each line starts.
    lines: Vec<(usize, usize)>,
}

impl<'t> Places<'t> {
    /// Measures `text` once.
    pub fn new(text: &'t str) -> Self {
        let mut lines = vec![(0, 0)];
        for (character, (byte, c)) in text.char_indices().enumerate() {
            if c == '\n' {
                lines.push((byte + 1, character + 1));
            }
        }
        Self { text, lines }
    }

    /// Characters before `location`; the text's length if the location lies behind it.
    pub fn character(&self, location: Location) -> usize {
        let (byte, character) = self.line(location);
        let in_line = self.text[byte..].chars().take(column(location)).count();
        character + in_line
    }

    /// Bytes before `location`.
    pub fn byte(&self, location: Location) -> usize {
        let (byte, _) = self.line(location);
        self.text[byte..].char_indices().nth(column(location)).map_or(self.text.len(), |(at, _)| byte + at)
    }

    /// The text a span covers.
    pub fn slice(&self, span: Span) -> &'t str {
        let start = self.byte(span.start);
        &self.text[start..self.byte(span.end).max(start)]
    }

    fn line(&self, location: Location) -> (usize, usize) {
        let index = usize::try_from(location.line).unwrap_or(usize::MAX).saturating_sub(1);
        self.lines.get(index).copied().unwrap_or((self.text.len(), self.text.chars().count()))
    }
}

fn column(location: Location) -> usize {
    usize::try_from(location.column).unwrap_or(usize::MAX).saturating_sub(1)
}

/// The tokens of `text` without whitespace, as far as they can be read.
pub(crate) fn tokens(text: &str) -> Vec<TokenWithSpan> {
    let mut tokens = Vec::new();
    // What stands before an error is kept, and is all that is asked for.
    let _ = Tokenizer::new(&Postgres::new(0), text).tokenize_with_location_into_buf(&mut tokens);
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    tokens
}

/// Cuts `text` into statements; empty ones are left out.
///
/// # Errors
/// 42601 for what cannot be tokenized, as Postgres words it: an unterminated string, quoted identifier, dollar quote or
/// comment.
pub(crate) fn split(text: &str) -> Result<Vec<Chunk<'_>>, SqlError> {
    let places = Places::new(text);
    let mut tokens = Vec::new();
    if let Err(error) = Tokenizer::new(&Postgres::new(0), text).tokenize_with_location_into_buf(&mut tokens) {
        let start = tokens.last().map_or(Location::new(1, 1), |t| t.span.end);
        return Err(lexical_error(text, &places, start, &error.message));
    }
    let mut chunks = Vec::new();
    let mut current = Vec::new();
    for token in tokens {
        match token.token {
            Token::SemiColon => {
                push(&mut chunks, &places, std::mem::take(&mut current), Some(places.character(token.span.start)))?;
            }
            Token::Whitespace(_) | Token::EOF => {}
            _ => current.push(without_top(token)),
        }
    }
    push(&mut chunks, &places, current, None)?;
    Ok(chunks)
}

/// TOP is a name like any other in Postgres; sqlparser would read a limit in every dialect.
fn without_top(mut token: TokenWithSpan) -> TokenWithSpan {
    if let Token::Word(word) = &mut token.token
        && word.keyword == Keyword::TOP
    {
        word.keyword = Keyword::NoKeyword;
    }
    token
}

fn push<'t>(
    chunks: &mut Vec<Chunk<'t>>,
    places: &Places<'t>,
    mut tokens: Vec<TokenWithSpan>,
    semicolon: Option<usize>,
) -> Result<(), SqlError> {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return Ok(());
    };
    let (start, end) = (first.span.start, last.span.end);
    for token in &mut tokens {
        token.span = Span::new(relative(token.span.start, start), relative(token.span.end, start));
    }
    let offset = places.character(start);
    let tokens = asof::rewrite(table_word::rewrite(tokens));
    chunks.push(Chunk {
        dialect: Arc::new(Postgres::new(tokens.len()).with_versions(asof::has_system_time(&tokens))),
        tokens,
        text: places.slice(Span::new(start, end)),
        offset,
        semicolon: semicolon.map(|at| at - offset),
    });
    Ok(())
}

/// `location` counted from `start`.
fn relative(location: Location, start: Location) -> Location {
    if location.line == start.line {
        Location::new(1, location.column - start.column + 1)
    } else {
        Location::new(location.line - start.line + 1, location.column)
    }
}

/// Words the tokenizer's error as Postgres does; `start` is where the token that could not be read begins.
fn lexical_error(text: &str, places: &Places<'_>, start: Location, message: &str) -> SqlError {
    let rest = &text[places.byte(start)..];
    let lower = rest.get(..2).unwrap_or(rest).to_ascii_lowercase();
    let what = if rest.starts_with("/*") {
        Some("/* comment")
    } else if rest.starts_with('"') {
        Some("quoted identifier")
    } else if rest.starts_with('$') {
        Some("dollar-quoted string")
    } else if rest.starts_with('\'') || matches!(lower.as_str(), "e'" | "n'" | "x'" | "b'" | "u&") {
        Some("quoted string")
    } else {
        None
    };
    let error = match what {
        Some(what) => SqlError::new(SqlState::SYNTAX_ERROR, format!("unterminated {what} at or near \"{rest}\"")),
        None => {
            let near: String = rest.chars().take_while(|c| !c.is_whitespace()).collect();
            SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{near}\"")).detail(message)
        }
    };
    error.at(places.character(start) + 1)
}
