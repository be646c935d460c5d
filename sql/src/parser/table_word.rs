//! The word TABLE where it is not part of a definition.
//!
//! `TABLE t` is a query, short for `SELECT * FROM t`; in Flink's window functions `TABLE t` is an argument, short for `t`.
//! Both are put into words sqlparser reads before it sees them: its own reading of the first loses what follows. So is
//! Flink's `TABLE t PARTITION BY a, b, …` as the argument of a session, which becomes `t, key => a, key => b, …`.

use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::cursor::is_word;

/// Flink's window functions.
const WINDOWS: [&str; 5] = ["tumble", "hop", "session", "cumulate", "count_window"];

/// Rewrites the tokens of one statement. New tokens stand where those stood that they replace.
pub(crate) fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|token| is_word(&token.token, "table")) {
        return tokens;
    }
    let mut rewritten: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 2);
    let mut partition = Partition::default();
    for (n, token) in tokens.iter().enumerate() {
        let names_table = is_word(&token.token, "table") && matches!(tokens.get(n + 1), Some(next) if is_name(next));
        let before = |back: usize| n.checked_sub(back).map(|at| &tokens[at].token);
        if names_table && is_argument(before(1), before(2)) {
            partition = Partition::Table;
        } else if names_table && begins_query(before(1)) {
            let words = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
            rewritten.extend(words.into_iter().map(|word| TokenWithSpan::new(word, token.span)));
        } else {
            let new = partition.read(&tokens[n..]);
            rewritten.extend(new.into_iter().map(|new| TokenWithSpan::new(new, token.span)));
        }
    }
    rewritten
}

/// Where in an argument `TABLE t PARTITION BY a, b` the reader is.
#[derive(Debug, Default)]
enum Partition {
    /// In none.
    #[default]
    Outside,
    /// Behind TABLE, in the table's name.
    Table,
    /// Behind PARTITION.
    Word,
    /// Among the keys, inside so many brackets.
    Keys(usize),
}

impl Partition {
    /// What the first of `tokens` becomes.
    fn read(&mut self, tokens: &[TokenWithSpan]) -> Vec<Token> {
        let Some(token) = tokens.first().map(|token| &token.token) else { return Vec::new() };
        let next = |n: usize| tokens.get(n).map(|token| &token.token);
        let key = || [Token::Comma, identifier("key"), Token::RArrow].to_vec();
        match self {
            Self::Table if is_word(token, "partition") && next(1).is_some_and(|next| is_word(next, "by")) => {
                *self = Self::Word;
                return key();
            }
            Self::Table if !matches!(token, Token::Word(_) | Token::Period) => *self = Self::Outside,
            Self::Word => {
                *self = Self::Keys(0);
                return Vec::new();
            }
            Self::Keys(depth) => match token {
                Token::LParen => *depth += 1,
                Token::RParen if *depth == 0 => *self = Self::Outside,
                Token::RParen => *depth -= 1,
                Token::Comma if *depth == 0 => {
                    let ends =
                        next(1).is_some_and(|word| is_word(word, "descriptor")) || next(2) == Some(&Token::RArrow);
                    if !ends {
                        return key();
                    }
                    *self = Self::Outside;
                }
                _ => {}
            },
            _ => {}
        }
        vec![token.clone()]
    }
}

fn identifier(name: &str) -> Token {
    let Ident { value, quote_style, .. } = Ident::new(name);
    Token::Word(Word { value, quote_style, keyword: Keyword::NoKeyword })
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
