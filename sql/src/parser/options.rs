//! `WITH (name = value, …)`.
//!
//! Names are words, dotted or hyphenated words, or strings (`'scan.startup.mode'`); values are strings, numbers,
//! booleans or bare words. Nothing is interpreted here.

use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::{Cursor, is_word};
use super::script;
use crate::{SqlError, SqlState};

/// One option as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// In lower case.
    pub name: String,
    /// Without quotes; empty if it is a secret.
    pub value: String,
    /// The secret it stands for, by name: `SECRET name`.
    pub secret: Option<String>,
    /// 1-based position of the name.
    pub position: usize,
    /// Where the value stands, in bytes of the statement's text, quotes included.
    pub place: Range<usize>,
}

/// The options of a `CREATE SOURCE`, by name, and where their values stand in `text`, in bytes, quotes included. `text` is
/// the statement's own ([`Parsed::text`](crate::statement::Parsed::text)).
pub fn option_places(text: &str) -> Vec<(String, Range<usize>)> {
    let Ok(chunks) = script::split(text) else { return Vec::new() };
    let Some(chunk) = chunks.first() else { return Vec::new() };
    let opens = |pair: &[TokenWithSpan]| is_word(&pair[0].token, "with") && pair[1].token == Token::LParen;
    let Some(at) = chunk.tokens.windows(2).position(opens) else { return Vec::new() };
    let mut cursor = Cursor::with_tokens(chunk, chunk.tokens[at + 1..].to_vec());
    let options = parse_with_secrets(&mut cursor).unwrap_or_default();
    options.into_iter().map(|option| (option.name, option.place)).collect()
}

/// Reads the list behind WITH, brackets included.
///
/// # Errors
/// 42601, also for a name given twice; 0A000 for a secret.
pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Vec<Assignment>, SqlError> {
    let options = parse_with_secrets(cursor)?;
    match options.iter().find(|option| option.secret.is_some()) {
        Some(option) => Err(not_a_secret(option)),
        None => Ok(options),
    }
}

/// That an option cannot be a secret.
pub(crate) fn not_a_secret(option: &Assignment) -> SqlError {
    SqlError::unsupported(format!("option \"{}\" cannot be a SECRET", option.name)).at(option.position)
}

/// As [`parse`], but values may be `SECRET name`.
pub(crate) fn parse_with_secrets(cursor: &mut Cursor<'_>) -> Result<Vec<Assignment>, SqlError> {
    let options = cursor.list(|cursor| {
        let position = cursor.position();
        let name = name(cursor)?;
        cursor.expect_token(&Token::Eq)?;
        let start = cursor.byte();
        // A bare value may be the word itself.
        let secret = match cursor.peek_word("secret") && matches!(cursor.peek_nth(1), Token::Word(_)) {
            true => {
                cursor.next();
                Some(cursor.object_name()?.0)
            }
            false => None,
        };
        let value = if secret.is_some() { String::new() } else { value(cursor)? };
        Ok(Assignment { name, value, secret, position, place: start..cursor.byte_behind() })
    })?;
    for (n, option) in options.iter().enumerate() {
        if options[..n].iter().any(|earlier| earlier.name == option.name) {
            return Err(SqlError::new(
                SqlState::SYNTAX_ERROR,
                format!("option \"{}\" specified more than once", option.name),
            )
            .at(option.position));
        }
    }
    Ok(options)
}

fn name(cursor: &mut Cursor<'_>) -> Result<String, SqlError> {
    let mut name = String::new();
    loop {
        let text = match cursor.peek() {
            Token::Word(word) => word.value.clone(),
            Token::SingleQuotedString(text) if name.is_empty() => text.clone(),
            _ => return Err(cursor.expected("an option's name")),
        };
        cursor.next();
        name.push_str(&text.to_ascii_lowercase());
        if cursor.token(&Token::Period) {
            name.push('.');
        } else if cursor.token(&Token::Minus) {
            name.push('-');
        } else {
            return Ok(name);
        }
    }
}

fn value(cursor: &mut Cursor<'_>) -> Result<String, SqlError> {
    let negative = cursor.token(&Token::Minus);
    let text = match cursor.peek() {
        Token::Number(number, _) => number.clone(),
        Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) if !negative => text.clone(),
        Token::DollarQuotedString(text) if !negative => text.value.clone(),
        Token::Word(word) if !negative => word.value.clone(),
        _ => return Err(cursor.expected("an option's value")),
    };
    cursor.next();
    Ok(if negative { format!("-{text}") } else { text })
}

/// The option `name`, taken out of `options`.
pub(crate) fn take(options: &mut Vec<Assignment>, name: &str) -> Option<Assignment> {
    let at = options.iter().position(|option| option.name == name)?;
    Some(options.remove(at))
}
