//! A definition's text after something it names got another name.
//!
//! In: the statement that made an object. Out: the same text but for the names, so that it stays the user's own and a
//! restart can run it. Where a query calls its columns by the relation's name, the old name stays as an alias:
//!
//! ```text
//! SELECT bids.price FROM bids WHERE …     ==>   SELECT bids.price FROM offers AS bids WHERE …
//! CREATE SOURCE bids (…) …                ==>   CREATE SOURCE offers (…) …
//! ```

use std::ops::{ControlFlow, Range};

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::error::SqlError;
use crate::parser::{Places, fold, is_reserved, is_word, object_name_parts, parse, tokens};
use crate::statement::Statement;

/// `text` with the relation `from` called `to`: the statement's own object as well as what its query reads.
///
/// # Errors
/// The parser's, for a text that is not one statement.
pub fn rename(text: &str, from: &str, to: &str) -> Result<String, SqlError> {
    let statement = parse(text)?.into_iter().next().map(|parsed| parsed.statement);
    let tokens = tokens(text);
    let mut edits =
        own_name(&tokens).filter(|at| named(&tokens[*at].token, from)).map(Edit::Name).into_iter().collect();
    if let Some(query) = statement.as_ref().and_then(query_of) {
        let mut finder = Finder { from, tokens: &tokens, edits, shadowed: 0 };
        // It never breaks off.
        let _ = query.visit(&mut finder);
        edits = finder.edits;
    }
    let places = Places::new(text);
    let mut changes: Vec<(Range<usize>, String)> = Vec::new();
    for edit in edits {
        let range = |at: usize| places.byte(tokens[at].span.start)..places.byte(tokens[at].span.end);
        changes.push(match edit {
            Edit::Name(at) => (range(at), quoted(to)),
            Edit::Alias(at) => (range(at).end..range(at).end, format!(" AS {}", quoted(from))),
        });
    }
    changes.sort_by_key(|(range, _)| (range.start, range.end));
    changes.dedup();
    let mut renamed = text.to_owned();
    for (range, new) in changes.into_iter().rev() {
        renamed.replace_range(range, &new);
    }
    Ok(renamed)
}

/// A name as SQL text, in quotes where it needs them.
pub fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && !is_reserved(&Token::make_word(name, None));
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A change of the text, by token.
enum Edit {
    /// The name stands here.
    Name(usize),
    /// Behind this token the old name goes on as an alias.
    Alias(usize),
}

fn query_of(statement: &Statement) -> Option<&Query> {
    match statement {
        Statement::CreateMaterializedView(create) => Some(&create.query),
        Statement::CreateView(create) => Some(&create.query),
        _ => None,
    }
}

/// The last token of the created object's name.
fn own_name(tokens: &[TokenWithSpan]) -> Option<usize> {
    let word = |at: usize, word: &str| tokens.get(at).is_some_and(|token| is_word(&token.token, word));
    let kind = (0..tokens.len()).find(|at| ["view", "source", "table"].iter().any(|kind| word(*at, kind)))?;
    let mut at = kind + 1;
    if word(at, "if") && word(at + 1, "not") && word(at + 2, "exists") {
        at += 3;
    }
    while tokens.get(at + 1).is_some_and(|token| token.token == Token::Period) {
        at += 2;
    }
    tokens.get(at).map(|_| at)
}

fn named(token: &Token, name: &str) -> bool {
    match token {
        Token::Word(word) if word.quote_style.is_some() => word.value == name,
        Token::Word(word) => word.value.to_ascii_lowercase() == name,
        _ => false,
    }
}

/// Finds where a query reads a relation.
struct Finder<'t> {
    from: &'t str,
    tokens: &'t [TokenWithSpan],
    edits: Vec<Edit>,
    /// In how many of the queries around this place the name stands for a common table expression.
    shadowed: usize,
}

impl Finder<'_> {
    fn shadows(&self, query: &Query) -> bool {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        ctes.into_iter().any(|cte| fold(&cte.alias.name) == self.from)
    }

    /// The token at which a name ends that stands for the relation.
    fn place(&self, name: &ObjectName) -> Option<usize> {
        let parts = object_name_parts(name)?;
        let public = match parts.as_slice() {
            [_] => true,
            [schema, _] | [_, schema, _] => schema == "public",
            _ => false,
        };
        if !public || parts.last().map(String::as_str) != Some(self.from) {
            return None;
        }
        self.token_at(name.0.last()?.as_ident()?.span.start)
    }

    fn token_at(&self, start: Location) -> Option<usize> {
        self.tokens.iter().position(|token| token.span.start == start)
    }

    /// The relation that a window function is called with, and around how many brackets it stands.
    fn argument(&mut self, arguments: &[FunctionArg], brackets: usize, aliased: bool) {
        let data = arguments.iter().enumerate().find_map(|(index, argument)| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if index == 0 => Some(expr),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } if fold(name) == "data" => Some(expr),
            _ => None,
        });
        let Some((name, nested)) = data.and_then(relation_name) else { return };
        let Some(at) = self.place(&name) else { return };
        self.edits.push(Edit::Name(at));
        if !aliased && let Some(end) = self.closing(at, brackets + nested) {
            self.edits.push(Edit::Alias(end));
        }
    }

    /// The bracket that closes the `count`th pair around a token.
    fn closing(&self, at: usize, count: usize) -> Option<usize> {
        let mut open = count;
        for (index, token) in self.tokens.iter().enumerate().skip(at) {
            match token.token {
                Token::LParen => open += 1,
                Token::RParen => open = open.checked_sub(1)?,
                _ => {}
            }
            if open == 0 {
                return Some(index);
            }
        }
        None
    }
}

/// The name an argument is, and in how many brackets of its own it stands.
fn relation_name(expr: &Expr) -> Option<(ObjectName, usize)> {
    let name = |parts: Vec<Ident>| ObjectName::from(parts);
    match expr {
        Expr::Identifier(ident) => Some((name(vec![ident.clone()]), 0)),
        Expr::CompoundIdentifier(parts) => Some((name(parts.clone()), 0)),
        Expr::Nested(inner) => relation_name(inner).map(|(name, nested)| (name, nested + 1)),
        _ => None,
    }
}

impl Visitor for Finder<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.shadowed += usize::from(self.shadows(query));
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.shadowed -= usize::from(self.shadows(query));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if self.shadowed > 0 {
            return ControlFlow::Continue(());
        }
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                if let Some(at) = self.place(name) {
                    self.edits.push(Edit::Name(at));
                    // `TABLE t` is a query, which has no place for an alias.
                    let first = at + 1 - (2 * name.0.len() - 1);
                    let is_query =
                        first.checked_sub(1).is_some_and(|before| is_word(&self.tokens[before].token, "table"));
                    if alias.is_none() && !is_query {
                        self.edits.push(Edit::Alias(at));
                    }
                }
            }
            TableFactor::Table { alias, args: Some(args), .. } => self.argument(&args.args, 1, alias.is_some()),
            TableFactor::Function { alias, args, .. } => self.argument(args, 1, alias.is_some()),
            TableFactor::TableFunction { expr: Expr::Function(function), alias } => {
                if let FunctionArguments::List(list) = &function.args {
                    self.argument(&list.args, 2, alias.is_some());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(rename(text, "a", "b").expect("one statement"), expected);
    }

    #[test]
    fn own_names_change() {
        check("CREATE VIEW a AS SELECT 1 AS a", "CREATE VIEW b AS SELECT 1 AS a");
        check(
            "CREATE MATERIALIZED VIEW IF NOT EXISTS public.\"a\" AS SELECT x FROM t",
            "CREATE MATERIALIZED VIEW IF NOT EXISTS public.b AS SELECT x FROM t",
        );
        let options = "(k bigint) WITH (connector = 'kafka', bootstrap = 'a', topic = 'a') FORMAT JSON";
        check(&format!("CREATE SOURCE a {options}"), &format!("CREATE SOURCE b {options}"));
    }

    #[test]
    fn relations_change_and_qualifiers_stay() {
        check(
            "CREATE VIEW v AS /* a */ SELECT a.x, 'a' FROM A\nWHERE a.x IN (SELECT x FROM public.a AS c)",
            "CREATE VIEW v AS /* a */ SELECT a.x, 'a' FROM b AS a\nWHERE a.x IN (SELECT x FROM public.b AS c)",
        );
        check(
            "CREATE VIEW v AS SELECT * FROM t a JOIN a c USING (x)",
            "CREATE VIEW v AS SELECT * FROM t a JOIN b c USING (x)",
        );
        check("CREATE VIEW v AS TABLE a", "CREATE VIEW v AS TABLE b");
        check(
            "CREATE VIEW v AS WITH a AS (SELECT 1 AS x) SELECT x FROM a",
            "CREATE VIEW v AS WITH a AS (SELECT 1 AS x) SELECT x FROM a",
        );
    }

    #[test]
    fn windows_over_the_relation_change() {
        check(
            "CREATE MATERIALIZED VIEW v AS SELECT a.k FROM tumble(a, ts, INTERVAL '1 minute') WHERE k > 1 EMIT ON UPDATE",
            "CREATE MATERIALIZED VIEW v AS SELECT a.k FROM tumble(b, ts, INTERVAL '1 minute') AS a WHERE k > 1 EMIT ON UPDATE",
        );
        check(
            "CREATE MATERIALIZED VIEW v AS SELECT k FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '1 minute')) AS w",
            "CREATE MATERIALIZED VIEW v AS SELECT k FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '1 minute')) AS w",
        );
        check(
            "CREATE MATERIALIZED VIEW v AS SELECT k FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '1 minute'))",
            "CREATE MATERIALIZED VIEW v AS SELECT k FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '1 minute')) AS a",
        );
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        let names = [("b", "b"), ("B", "\"B\""), ("select", "\"select\""), ("a b", "\"a b\""), ("a\"b", "\"a\"\"b\"")];
        names.into_iter().for_each(|(name, text)| assert_eq!(quoted(name), text));
    }
}
