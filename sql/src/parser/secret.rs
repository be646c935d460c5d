//! `CREATE SECRET` and `DROP SECRET`, and where statements hold secrets, so that nobody shows them.

use std::borrow::Cow;
use std::ops::Range;

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::create;
use super::cursor::{Cursor, is_word};
use super::dialect::Postgres;
use super::options;
use super::role::{list, text};
use super::script::Places;
use crate::administration::{Administration, CreateSecret, SecretProvider};
use crate::secret::{HIDDEN, Secret};
use crate::{SqlError, SqlState};

/// What the names of options have in them whose values are secrets.
const SECRET_OPTIONS: [&str; 6] = ["password", "secret", "key.pem", "sasl.jaas", "token", "oauthbearer.config"];

/// True if an option's value is to be seen by nobody.
pub fn is_secret_option(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_OPTIONS.iter().any(|part| name.contains(part))
}

/// `[IF NOT EXISTS] name [WITH (backend = …)] [AS '…']`, the cursor being behind SECRET.
pub(crate) fn create(cursor: &mut Cursor<'_>) -> Result<Administration, SqlError> {
    let if_not_exists = cursor.words(&["if", "not", "exists"]);
    let (name, _) = create::new_name(cursor)?;
    let at = cursor.position();
    let mut options = if cursor.word("with") { options::parse(cursor)? } else { vec![] };
    let mut take = |name: &str| options::take(&mut options, name).map(|option| option.value);
    let (backend, variable, path) = (take("backend"), take("name"), take("path"));
    if let Some(unknown) = options.first() {
        let message = format!("unknown option \"{}\" of a secret", unknown.name);
        let error = SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).at(unknown.position);
        return Err(
            error.hint("A secret has the option backend ('meta', 'env' or 'file'), name for 'env', path for 'file'.")
        );
    }
    let needs = |option: Option<String>, what: &str| {
        let message = format!("a secret of this backend needs the option {what}");
        option.ok_or_else(|| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).at(at))
    };
    let provider = match backend.as_deref().unwrap_or("meta") {
        "meta" => {
            cursor.expect_word("as")?;
            SecretProvider::Kept(Secret::new(text(cursor)?))
        }
        "env" => SecretProvider::Environment(needs(variable, "name")?),
        "file" => SecretProvider::File(needs(path, "path")?),
        other => {
            let message = format!("unknown backend \"{other}\" of a secret: it is 'meta', 'env' or 'file'");
            return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).at(at));
        }
    };
    cursor.expect_end()?;
    Ok(Administration::CreateSecret(CreateSecret { name, if_not_exists, provider }))
}

/// `[IF EXISTS] name, …`, the cursor being behind SECRET.
pub(crate) fn drop(cursor: &mut Cursor<'_>) -> Result<Administration, SqlError> {
    let if_exists = cursor.words(&["if", "exists"]);
    let names = list(cursor, |cursor| Ok(cursor.object_name()?.0))?;
    cursor.one_of(&["cascade", "restrict"]);
    cursor.expect_end()?;
    Ok(Administration::DropSecrets { names, if_exists })
}

/// The query string with every secret in it hidden, whether or not it can be parsed.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let places = secret_places(text);
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut shown = text.to_owned();
    for (place, _) in places.into_iter().rev() {
        shown.replace_range(place, &format!("'{HIDDEN}'"));
    }
    Cow::Owned(shown)
}

/// The secrets that stand in a query string.
pub fn secrets_in(text: &str) -> Vec<Secret> {
    let values = secret_places(text).into_iter().map(|(_, value)| value);
    values.filter(|value| !value.is_empty()).map(Secret::new).collect()
}

/// Where secrets stand in a query string, in bytes, quotes included, and their values.
fn secret_places(text: &str) -> Vec<(Range<usize>, String)> {
    // Most statements have none of these words: they are not read a second time.
    let mentions = |word: &str| {
        let (bytes, word) = (text.as_bytes(), word.as_bytes());
        bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
    };
    if !SECRET_OPTIONS.iter().any(|part| mentions(part)) {
        return Vec::new();
    }
    let mut tokens = Vec::new();
    let whole = Tokenizer::new(&Postgres::new(0), text).tokenize_with_location_into_buf(&mut tokens);
    let byte_places = Places::new(text);
    let behind = tokens.last().map_or(0, |token| byte_places.byte(token.span.end));
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    let mut found = Vec::new();
    let mut of_secret = false;
    for (at, token) in tokens.iter().enumerate() {
        let before = |n: usize| at.checked_sub(n).map_or(&Token::EOF, |at| &tokens[at].token);
        if token.token == Token::SemiColon {
            of_secret = false;
        }
        if is_word(&token.token, "secret") && (is_word(before(1), "create") || is_word(before(1), "alter")) {
            of_secret = true;
        }
        let Some(value) = literal(&token.token) else { continue };
        let of_option = *before(1) == Token::Eq && is_secret_option(&name_before(&tokens[..at - 1]));
        let is_secret = match &token.token {
            Token::Word(_) | Token::Number(..) => of_option && !is_word(&token.token, "secret"),
            _ => of_option || is_word(before(1), "password") || (of_secret && is_word(before(1), "as")),
        };
        if is_secret {
            found.push((byte_places.byte(token.span.start)..byte_places.byte(token.span.end), value));
        }
    }
    // What cannot be read, such as a string without an end, may be a secret as well.
    if whole.is_err() && behind < text.len() {
        let rest = text[behind..].trim();
        found.push((behind..text.len(), rest.trim_start_matches(['\'', '"', '$', 'E', 'e']).to_owned()));
    }
    found
}

/// A token that may be a value, and the value.
fn literal(token: &Token) -> Option<String> {
    Some(match token {
        Token::SingleQuotedString(text)
        | Token::EscapedStringLiteral(text)
        | Token::NationalStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::HexStringLiteral(text)
        | Token::SingleQuotedByteStringLiteral(text)
        | Token::DoubleQuotedString(text)
        | Token::Number(text, _) => text.clone(),
        Token::DollarQuotedString(text) => text.value.clone(),
        Token::Word(word) => word.value.clone(),
        _ => return None,
    })
}

/// The name of the option whose `=` comes next.
fn name_before(tokens: &[TokenWithSpan]) -> String {
    let mut parts: Vec<&str> = Vec::new();
    // Of two words without a dot or dash between them only the second belongs to it.
    let mut joined = true;
    for token in tokens.iter().rev() {
        match &token.token {
            Token::Word(word) if joined => parts.push(&word.value),
            Token::SingleQuotedString(text) if joined => parts.push(text),
            Token::Period => parts.push("."),
            Token::Minus => parts.push("-"),
            _ => break,
        }
        joined = matches!(token.token, Token::Period | Token::Minus);
    }
    parts.reverse();
    parts.concat()
}

/// The text of a `CREATE SOURCE` in which the values of these options, by name, are the secrets of these names instead.
pub fn with_secrets(text: &str, secrets: &[(String, String)]) -> String {
    let mut changed = text.to_owned();
    for (name, place) in options::option_places(text).into_iter().rev() {
        if let Some((_, secret)) = secrets.iter().find(|(option, _)| *option == name) {
            changed.replace_range(place, &format!("SECRET {}", crate::rename::quoted(secret)));
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(text: &str) -> Vec<String> {
        secrets_in(text).iter().map(|secret| secret.reveal().to_owned()).collect()
    }

    #[test]
    fn secrets_are_found_wherever_they_stand() {
        for (text, secrets) in [
            ("CREATE ROLE r LOGIN PASSWORD 'fish'", &["fish"][..]),
            ("alter user r encrypted password E'fi\\sh' valid until '2030-01-01'", &["fish"]),
            ("CREATE ROLE r PASSWORD $$fish$$; SELECT 'seen'", &["fish"]),
            ("CREATE SECRET s WITH (backend = 'meta') AS 'fish'", &["fish"]),
            ("CREATE SECRET IF NOT EXISTS s AS 'fish'; SELECT 1 AS 'x'", &["fish"]),
            ("CREATE SOURCE s (a int) WITH (topic = 't', sasl.password = 'fish') FORMAT JSON", &["fish"]),
            (
                "CREATE SOURCE s (a int) WITH ('properties.sasl.password' = 'fish', ssl.key.pem = 'chips')",
                &["fish", "chips"],
            ),
            ("CREATE SOURCE s (a int) WITH (sasl.password = fish, b = 1)", &["fish"]),
            ("CREATE SOURCE s (a int) WITH (sasl.password = SECRET fish)", &[]),
            ("SELECT password FROM t WHERE a = 'seen'", &[]),
            ("CREATE ROLE r PASSWORD 'fish", &["fish"]),
            ("SELECT 'fish'", &[]),
        ] {
            assert_eq!(hidden(text), secrets, "{text}");
            let shown = redacted(text);
            assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_was() {
        let text = "CREATE ROLE é PASSWORD 'fish' CONNECTION LIMIT 3";
        assert_eq!(redacted(text), "CREATE ROLE é PASSWORD '********' CONNECTION LIMIT 3");
        assert!(matches!(redacted("SELECT 1"), Cow::Borrowed(_)));
    }

    #[test]
    fn an_options_value_becomes_a_secret() {
        let text = "CREATE SOURCE s (a int) WITH (topic = 't', \"sasl\".password = 'fish', connector = 'kafka')";
        let changed = with_secrets(text, &[("sasl.password".into(), "s sasl.password".into())]);
        let expected = text.replace("'fish'", "SECRET \"s sasl.password\"");
        assert_eq!(changed, expected);
    }
}
