//! Limits on a statement's size and depth, so that nothing recursive ever runs out of stack.
//!
//! A parser, a planner and even the destructor of a tree recurse as deep as the tree is. Length, tokens, brackets and
//! chains are counted on the tokens, before parsing; the depth of expressions is then measured on the tree itself, while
//! it still lives on a big stack. All refusals are SQLSTATE 54001.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Select, SetExpr, Visit, Visitor};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::script::Places;
use crate::{SqlError, SqlState};

/// Longest query string, bytes.
pub const STATEMENT_BYTES_MAX: usize = 1 << 20;
/// Most tokens of one statement, comments not counted.
pub const TOKENS_MAX: usize = 50_000;
/// Deepest nesting of brackets of any kind and CASE.
pub const NESTING_MAX: usize = 64;
/// Longest chain of operators in one expression.
pub const CHAIN_MAX: usize = 2_000;
/// Most of what all chains together may cost: planning a chain takes time that grows with its length squared. Two chains of
/// the greatest length, or many short ones.
const WORK_MAX: usize = CHAIN_MAX * (CHAIN_MAX + 1);
/// Most operators in a row, such as NOT NOT or - -: each is a level of the parser's recursion.
const PREFIX_MAX: usize = 100;
/// Deepest tree of expressions, subqueries included.
pub const DEPTH_MAX: usize = 2_500;
/// Most relations in one FROM clause, and most set operations in one query: each becomes a level of the plan.
pub const RELATIONS_MAX: usize = 500;
/// How deep sqlparser's own recursion may go. One bracket takes up to three levels of it.
pub(crate) const PARSER_DEPTH_MAX: usize = 400;

/// Refuses a query string too long to look at.
pub(crate) fn check_length(text: &str) -> Result<(), SqlError> {
    if text.len() <= STATEMENT_BYTES_MAX {
        return Ok(());
    }
    Err(too_complex(format!("{} bytes, the limit is {STATEMENT_BYTES_MAX}", text.len())))
}

/// Refuses a statement with too many tokens, brackets too deep, or an operator chain too long.
pub(crate) fn check_tokens(tokens: &[TokenWithSpan], text: &str) -> Result<(), SqlError> {
    if tokens.len() > TOKENS_MAX {
        return Err(too_complex(format!("{} tokens, the limit is {TOKENS_MAX}", tokens.len())));
    }
    let refuse = |token: &TokenWithSpan, what: String| {
        Err(too_complex(what).at(Places::new(text).character(token.span.start) + 1))
    };
    // Operators since the last comma or clause: in the bracket being read, and in those around it. CASE … END nests like
    // a bracket.
    let (mut chain, mut around) = (0_usize, Vec::new());
    let mut unread = 0_usize;
    let mut work = 0_usize;
    let mut previous = &Token::EOF;
    for token in tokens {
        let keyword = keyword(&token.token);
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                // A subscript or an array type is one more level of its operand's tree.
                around.push((chain + usize::from(token.token == Token::LBracket), false));
                chain = 0;
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                while let Some((outer, case)) = around.pop() {
                    chain = outer;
                    if !case {
                        break;
                    }
                }
            }
            _ if keyword == Keyword::CASE => {
                around.push((chain, true));
                chain = 0;
            }
            _ if keyword == Keyword::END && around.last().is_some_and(|(_, case)| *case) => {
                chain = around.pop().map_or(0, |(outer, _)| outer);
            }
            other if starts_operand(other, previous) => chain = 0,
            other if is_operator(other) => {
                chain += 1;
                work += chain;
            }
            _ => {}
        }
        unread = if is_operator(&token.token) { unread + 1 } else { 0 };
        if around.len() > NESTING_MAX {
            return refuse(token, format!("nested deeper than {NESTING_MAX}"));
        }
        if chain > CHAIN_MAX {
            return refuse(token, format!("a chain of more than {CHAIN_MAX} operators"));
        }
        if work > WORK_MAX {
            return refuse(token, "too many long chains of operators".into());
        }
        if unread > PREFIX_MAX {
            return refuse(token, format!("more than {PREFIX_MAX} operators without an operand"));
        }
        previous = &token.token;
    }
    Ok(())
}

/// Refuses a tree too deep for those who walk it later. To be called on a big stack ([`crate::stack`]).
pub(crate) fn check_tree(node: &impl Visit) -> Result<(), SqlError> {
    match node.visit(&mut Depth::default()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(what) => Err(too_complex(what)),
    }
}

fn too_complex(what: String) -> SqlError {
    SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, format!("statement too complex: {what}"))
}

/// True where a new list element or clause begins, so that operators before it belong to another tree.
fn starts_operand(token: &Token, previous: &Token) -> bool {
    match token {
        Token::Comma => true,
        Token::Word(word) => match word.keyword {
            Keyword::FROM => !matches!(previous, Token::Word(w) if w.keyword == Keyword::DISTINCT),
            Keyword::SELECT | Keyword::WHERE | Keyword::HAVING | Keyword::BY | Keyword::ON | Keyword::UNION => true,
            _ => false,
        },
        _ => false,
    }
}

fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::NOTNULL
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::IN
                | Keyword::AT
                | Keyword::COLLATE
                | Keyword::OVERLAPS
        ),
        Token::Number(..)
        | Token::Char(_)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::HexStringLiteral(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::Placeholder(_)
        | Token::LParen
        | Token::LBracket
        | Token::LBrace
        | Token::RParen
        | Token::RBracket
        | Token::RBrace
        | Token::Comma
        | Token::Period
        | Token::RArrow
        | Token::Whitespace(_)
        | Token::EOF => false,
        // Whatever else the tokenizer knows is some operator.
        _ => true,
    }
}

/// Measures expressions nested in each other, and the length of FROM clauses and set operations.
#[derive(Default)]
struct Depth {
    expressions: usize,
}

impl Visitor for Depth {
    type Break = String;

    fn pre_visit_expr(&mut self, _: &Expr) -> ControlFlow<String> {
        self.expressions += 1;
        if self.expressions > DEPTH_MAX {
            return ControlFlow::Break(format!("expressions nested deeper than {DEPTH_MAX}"));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _: &Expr) -> ControlFlow<String> {
        self.expressions -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        let (mut bodies, mut operations) = (vec![query.body.as_ref()], 0_usize);
        while let Some(body) = bodies.pop() {
            if let SetExpr::SetOperation { left, right, .. } = body {
                bodies.extend([left.as_ref(), right.as_ref()]);
                operations += 1;
            }
        }
        if operations > RELATIONS_MAX {
            return ControlFlow::Break(format!("more than {RELATIONS_MAX} set operations in a query"));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<String> {
        let relations: usize = select.from.iter().map(|from| 1 + from.joins.len()).sum();
        if relations > RELATIONS_MAX {
            return ControlFlow::Break(format!("more than {RELATIONS_MAX} relations in FROM"));
        }
        ControlFlow::Continue(())
    }
}
