//! `ASOF [LEFT] JOIN … ON …`, as DuckDB and RisingWave write it.
//!
//! sqlparser reads Snowflake's `ASOF JOIN … MATCH_CONDITION (…) ON …` alone. The tokens are put into that form before it sees
//! them, with the kind of the join where the condition on time would be: that one stands among those of ON.
//!
//! ```text
//! a ASOF LEFT JOIN b ON a.k = b.k AND a.t >= b.t  ==>  a ASOF JOIN b MATCH_CONDITION ('left') ON a.k = b.k AND a.t >= b.t
//! ```

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::is_word;

/// The kinds of joins whose condition on time stands in ON.
pub(crate) const INNER: &str = "inner";
/// See [`INNER`].
pub(crate) const LEFT: &str = "left";

/// Rewrites the tokens of one statement. New tokens stand where ASOF stood.
pub(crate) fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    if !tokens.iter().any(|token| is_word(&token.token, "asof")) {
        return tokens;
    }
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| is_word(&token.token, word));
    let mut rewritten: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 4);
    // What comes before which token.
    let mut conditions: Vec<(usize, &str, TokenWithSpan)> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let Some((_, kind, asof)) = conditions.iter().find(|(place, ..)| *place == at) {
            let words = [
                Token::make_keyword("MATCH_CONDITION"),
                Token::LParen,
                Token::SingleQuotedString((*kind).to_owned()),
                Token::RParen,
            ];
            rewritten.extend(words.into_iter().map(|word| TokenWithSpan::new(word, asof.span)));
        }
        rewritten.push(tokens[at].clone());
        at += 1;
        if !is(at - 1, "asof") {
            continue;
        }
        let kind = if is(at, "left") { LEFT } else { INNER };
        let mut join = at + usize::from(is(at, "left") || is(at, "inner"));
        join += usize::from(is(join, "outer"));
        if !is(join, "join") {
            continue;
        }
        if let Some(place) = condition(&tokens, join + 1) {
            conditions.push((place, kind, tokens[at - 1].clone()));
        }
        at = join;
    }
    rewritten
}

/// True if `FOR SYSTEM_TIME AS OF` stands among the tokens, which the SQL standard has for joins with versions.
pub(crate) fn has_system_time(tokens: &[TokenWithSpan]) -> bool {
    let words = ["for", "system_time", "as", "of"];
    let is_here = |at: &[TokenWithSpan]| at.iter().zip(words).all(|(token, word)| is_word(&token.token, word));
    tokens.windows(words.len()).any(is_here)
}

/// Where the ON of the relation at `from` stands, if no MATCH_CONDITION comes before it.
fn condition(tokens: &[TokenWithSpan], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.checked_sub(1)?,
            word if depth == 0 && (is_word(word, "on") || is_word(word, "using")) => return Some(at),
            word if depth == 0 && is_word(word, "match_condition") => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::script::tokens;

    #[test]
    fn the_kind_stands_where_the_condition_on_time_would() {
        let written = |text: &str| {
            let all = rewrite(tokens(text)).into_iter().map(|token| token.token.to_string());
            all.filter(|token| token != "EOF").collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            written("a ASOF LEFT JOIN (SELECT 1 FROM x JOIN y ON p) b ON a.k = b.k"),
            "a ASOF JOIN ( SELECT 1 FROM x JOIN y ON p ) b MATCH_CONDITION ( 'left' ) ON a . k = b . k"
        );
        assert_eq!(
            written("a asof join b on x asof inner join c on y"),
            "a asof join b MATCH_CONDITION ( 'inner' ) on x asof join c MATCH_CONDITION ( 'inner' ) on y"
        );
        let snowflake = "a ASOF JOIN b MATCH_CONDITION ( a . t >= b . t ) ON x";
        assert_eq!(written(snowflake), snowflake);
        assert_eq!(written("SELECT asof FROM t"), "SELECT asof FROM t");
        assert!(has_system_time(&tokens("JOIN r FOR System_Time AS OF o.ts")));
        assert!(!has_system_time(&tokens("SELECT 1 AS OF TICK 3")));
    }
}
