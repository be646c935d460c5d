//! sqlparser's parser with the statement's text beside it.
//!
//! Our own grammar reads words and punctuation here, and borrows sqlparser's productions through [`Cursor::sql`]. Words
//! of our grammar are plain identifiers compared without regard to case, so none of them is reserved anywhere. Every
//! syntax error comes out as Postgres words it, with its place.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use super::dialect::{Postgres, is_reserved};
use super::limits::PARSER_DEPTH_MAX;
use super::script::{Chunk, Places};
use crate::{SqlError, SqlState};

/// A place in one statement, moving forward.
pub(crate) struct Cursor<'t> {
    parser: Parser<'t>,
    dialect: &'t Postgres,
    places: Places<'t>,
    text: &'t str,
    semicolon: Option<usize>,
    /// Where the last token ends.
    last: Option<Location>,
}

impl<'t> Cursor<'t> {
    /// At the start of `chunk`.
    pub fn new(chunk: &'t Chunk<'_>) -> Self {
        Self::with_tokens(chunk, chunk.tokens.clone())
    }

    /// At the start of `tokens`, which are some of `chunk`'s.
    pub fn with_tokens(chunk: &'t Chunk<'_>, tokens: Vec<TokenWithSpan>) -> Self {
        let last = tokens.last().map(|token| token.span.end);
        let parser = Parser::new(chunk.dialect.as_ref())
            .with_recursion_limit(PARSER_DEPTH_MAX)
            .with_tokens_with_locations(tokens);
        Self {
            parser,
            dialect: &chunk.dialect,
            places: Places::new(chunk.text),
            text: chunk.text,
            semicolon: chunk.semicolon,
            last,
        }
    }

    /// The next token.
    pub fn peek(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    /// The token `n` after the next.
    pub fn peek_nth(&self, n: usize) -> &Token {
        &self.parser.peek_nth_token_ref(n).token
    }

    /// How many tokens have been read.
    pub fn consumed(&self) -> usize {
        self.parser.index()
    }

    /// True if nothing is left.
    pub fn at_end(&self) -> bool {
        *self.peek() == Token::EOF
    }

    /// 1-based character position of the next token.
    pub fn position(&self) -> usize {
        self.position_of(self.parser.peek_token_ref().span)
    }

    /// 1-based character position of a span's start.
    pub fn position_of(&self, span: Span) -> usize {
        if span.start.line == 0 { self.end() } else { self.places.character(span.start) + 1 }
    }

    /// Byte offset of the next token in the statement's text.
    pub fn byte(&self) -> usize {
        let start = self.parser.peek_token_ref().span.start;
        if start.line == 0 { self.text.len() } else { self.places.byte(start) }
    }

    /// Byte offset behind the token read last.
    pub fn byte_behind(&self) -> usize {
        let read = self.parser.index().saturating_sub(1);
        self.places.byte(self.parser.token_at(read).span.end)
    }

    /// Byte offset behind the last token.
    pub fn last_byte(&self) -> usize {
        self.last.map_or(self.text.len(), |end| self.places.byte(end))
    }

    /// True if the next token is the unquoted word `word`.
    pub fn peek_word(&self, word: &str) -> bool {
        is_word(self.peek(), word)
    }

    /// True if the next tokens are these unquoted words.
    pub fn peek_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(n, word)| is_word(self.peek_nth(n), word))
    }

    /// Consumes the unquoted word `word` if it is next.
    pub fn word(&mut self, word: &str) -> bool {
        self.words(&[word])
    }

    /// Consumes these unquoted words if they are next, all or none.
    pub fn words(&mut self, words: &[&str]) -> bool {
        let found = self.peek_words(words);
        if found {
            words.iter().for_each(|_| self.parser.advance_token());
        }
        found
    }

    /// Consumes the first of `words` that is next.
    pub fn one_of<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        words.iter().copied().find(|word| self.word(word))
    }

    /// Consumes `word`, or fails at the next token.
    pub fn expect_word(&mut self, word: &str) -> Result<(), SqlError> {
        if self.word(word) { Ok(()) } else { Err(self.expected(&word.to_ascii_uppercase())) }
    }

    /// Consumes these words, or fails at the first that is missing.
    pub fn expect_words(&mut self, words: &[&str]) -> Result<(), SqlError> {
        words.iter().try_for_each(|word| self.expect_word(word))
    }

    /// Consumes `token` if it is next.
    pub fn token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    /// Consumes `token`, or fails at the next token.
    pub fn expect_token(&mut self, token: &Token) -> Result<(), SqlError> {
        if self.token(token) { Ok(()) } else { Err(self.expected(&format!("\"{token}\""))) }
    }

    /// Consumes and returns the next token.
    pub fn next(&mut self) -> TokenWithSpan {
        self.parser.next_token()
    }

    /// Fails unless nothing is left.
    pub fn expect_end(&self) -> Result<(), SqlError> {
        if self.at_end() { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// `items` between brackets, separated by commas; at least one.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, SqlError>) -> Result<Vec<T>, SqlError> {
        self.expect_token(&Token::LParen)?;
        let mut items = vec![item(self)?];
        while self.token(&Token::Comma) {
            items.push(item(self)?);
        }
        self.expect_token(&Token::RParen)?;
        Ok(items)
    }

    /// An identifier, folded to lower case unless quoted, with its position.
    pub fn identifier(&mut self) -> Result<(String, usize), SqlError> {
        let position = self.position();
        match self.peek() {
            next @ Token::Word(_) if !is_reserved(next) => {
                let ident = self.sql(Parser::parse_identifier)?;
                Ok((fold(&ident), position))
            }
            _ => Err(self.expected("a name")),
        }
    }

    /// A name to create, drop or describe: `name`, `public.name` or `database.public.name`, with its position.
    ///
    /// # Errors
    /// 3F000 for another schema, 42601 for what is no name.
    pub fn object_name(&mut self) -> Result<(String, usize), SqlError> {
        match self.qualified_name()? {
            (None, name, position) => Ok((name, position)),
            (Some(schema), _, position) => {
                let message = format!("schema \"{schema}\" does not exist");
                Err(SqlError::new(SqlState::UNDEFINED_SCHEMA, message)
                    .hint("Everything lives in the schema public.")
                    .at(position))
            }
        }
    }

    /// As [`object_name`](Self::object_name), with the schema if it is not `public`.
    pub fn qualified_name(&mut self) -> Result<(Option<String>, String, usize), SqlError> {
        let position = self.position();
        if !matches!(self.peek(), Token::Word(_)) || is_reserved(self.peek()) {
            return Err(self.expected("a name"));
        }
        let name = self.sql(|parser| parser.parse_object_name(false))?;
        let parts = object_name_parts(&name).ok_or_else(|| self.syntax_error())?;
        match parts.as_slice() {
            [name] => Ok((None, name.clone(), position)),
            [schema, name] | [_, schema, name] => {
                Ok(((schema != "public").then(|| schema.clone()), name.clone(), position))
            }
            _ => Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                format!("improper qualified name (too many dotted names): {}", parts.join(".")),
            )
            .at(position)),
        }
    }

    /// Runs one of sqlparser's productions.
    pub fn sql<T>(
        &mut self,
        production: impl FnOnce(&mut Parser<'t>) -> Result<T, ParserError>,
    ) -> Result<T, SqlError> {
        production(&mut self.parser).map_err(|error| self.parser_error(&error))
    }

    /// 42601 at the next token.
    pub fn syntax_error(&self) -> SqlError {
        self.syntax_error_at(self.parser.peek_token_ref().span)
    }

    /// 42601 at the next token, saying what our own grammar wanted there.
    pub fn expected(&self, what: &str) -> SqlError {
        self.syntax_error().detail(format!("Expected {what}."))
    }

    /// 42601 at the token `span` covers; the end if the span is empty.
    pub fn syntax_error_at(&self, span: Span) -> SqlError {
        if span.start.line == 0 {
            let what = if self.semicolon.is_some() { "at or near \";\"" } else { "at end of input" };
            return SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error {what}")).at(self.end());
        }
        let near = self.places.slice(span);
        SqlError::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{near}\"")).at(self.position_of(span))
    }

    /// 1-based position behind the statement.
    fn end(&self) -> usize {
        self.semicolon.unwrap_or_else(|| self.text.chars().count()) + 1
    }

    fn parser_error(&self, error: &ParserError) -> SqlError {
        if self.dialect.exhausted() {
            return SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "statement too complex: too many ways to read it");
        }
        let message = match error {
            ParserError::RecursionLimitExceeded => {
                return SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "statement too complex: nested too deep");
            }
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => message,
        };
        let place = location(message);
        let span = match place {
            Some(start) => self.span_at(start),
            None if message.contains("found: EOF") => Span::empty(),
            None => self.parser.peek_token_ref().span,
        };
        self.syntax_error_at(span)
    }

    /// The span of the token that starts at `start`.
    fn span_at(&self, start: Location) -> Span {
        let mut n = 0;
        loop {
            let token = self.parser.token_at(n);
            if token.span.start == start || token.token == Token::EOF {
                return token.span;
            }
            n += 1;
        }
    }
}

/// True for the unquoted word `word`, in any case.
pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// An identifier as Postgres folds it.
pub(crate) fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

/// The folded parts of a dotted name; `None` if one of them is no identifier.
pub(crate) fn object_name_parts(name: &ObjectName) -> Option<Vec<String>> {
    name.0.iter().map(|part| part.as_ident().map(fold)).collect()
}

/// The place at the end of one of sqlparser's messages: ` at Line: 1, Column: 8`.
fn location(message: &str) -> Option<Location> {
    let (_, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    Some(Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?))
}
