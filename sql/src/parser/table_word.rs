//! The word TABLE where it is not part of a definition.
//!
//! `TABLE t` is a query, short for `SELECT * FROM t`; in Flink's window functions `TABLE t` is an argument, short for `t`.
//! Both are put into words sqlparser reads before it sees them: its own reading of the first loses what follows.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::is_word;
use crate::SqlError;

/// Flink's window functions.
const WINDOWS: [&str; 4] = ["tumble", "hop", "session", "cumulate"];

/// Rewrites the tokens of one statement. New tokens stand where TABLE stood.
///
/// # Errors
/// 0A000 for the window functions we do not have, whose further arguments sqlparser could not read either; the position
/// is the token's index.
pub(crate) fn rewrite(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, (SqlError, usize)> {
    if !tokens.iter().any(|token| is_word(&token.token, "table")) {
        return Ok(tokens);
    }
    let mut rewritten: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 2);
    for (n, token) in tokens.iter().enumerate() {
        let names_table = is_word(&token.token, "table") && matches!(tokens.get(n + 1), Some(next) if is_name(next));
        let before = |back: usize| n.checked_sub(back).map(|at| &tokens[at].token);
        if names_table && is_argument(before(1), before(2)) {
            if let Some(name) = before(2).filter(|name| is_word(name, "session") || is_word(name, "cumulate")) {
                let name = name.to_string().to_ascii_lowercase();
                let error = SqlError::unsupported(format!("{name} windows are not supported"))
                    .hint("Use tumble(relation, time, size) or hop(relation, time, slide, size).");
                return Err((error, n - 2));
            }
        } else if names_table && begins_query(before(1)) {
            let words = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
            rewritten.extend(words.into_iter().map(|word| TokenWithSpan::new(word, token.span)));
        } else {
            rewritten.push(token.clone());
        }
    }
    Ok(rewritten)
}

fn is_name(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Word(_))
}

/// True behind `TUMBLE(` and behind `DATA =>`.
fn is_argument(before: Option<&Token>, function: Option<&Token>) -> bool {
    match before {
        Some(Token::RArrow) => true,
        Some(Token::LParen) => function.is_some_and(|name| WINDOWS.iter().any(|window| is_word(name, window))),
        _ => false,
    }
}

/// True where a query can begin.
fn begins_query(before: Option<&Token>) -> bool {
    match before {
        None | Some(Token::LParen | Token::RParen) => true,
        Some(Token::Word(word)) => matches!(
            word.keyword,
            Keyword::AS
                | Keyword::UNION
                | Keyword::INTERSECT
                | Keyword::EXCEPT
                | Keyword::ALL
                | Keyword::FOR
                | Keyword::EXPLAIN
                | Keyword::ANALYZE
                | Keyword::VERBOSE
        ),
        _ => false,
    }
}
