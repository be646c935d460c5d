//! Spellings that mean to PostgreSQL what another spelling means to DataFusion: no names are resolved here.
//!
//! `pg_catalog.lower(x)` and `x OPERATOR(pg_catalog.~) y` lose their qualifiers, `COLLATE` goes (strings compare by code
//! point in every collation we have), `LIKE … ESCAPE '/'` becomes a LIKE with a backslash, `current_user` gets its
//! parentheses, `x = ANY('{a,b}')` becomes `x IN ('a', 'b')`, and relations get their schema.

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    Ident, ObjectName, Query, Value, ValueWithSpan, VisitorMut,
};

use super::build::{array_elements, call, cast, fold, fold_name, is_placeholder, literal, number, string, unnested};
use super::scope::{Ctes, add_cte, function_name, is_bare, is_unquoted};
use super::{casts, sets};
use crate::pg_catalog::PgCatalog;
use crate::pg_catalog::functions::{is_function, like_escape};
use crate::pg_catalog::system;
use crate::pg_catalog::tables::function_rows;
use crate::pg_catalog::types;

/// Words that call a function without parentheses.
pub(super) const BARE_FUNCTIONS: [&str; 6] =
    ["current_user", "session_user", "user", "current_role", "current_catalog", "current_schema"];

/// Window functions that give a bigint; DataFusion's number is one that PostgreSQL has no type for.
const COUNTING_WINDOWS: [&str; 4] = ["row_number", "rank", "dense_rank", "ntile"];

/// The visitor. Children are done before the expression they are in.
pub(super) struct Spelling<'a> {
    pub catalog: &'a PgCatalog,
    /// Names of common table expressions: they hide catalog tables of the same name.
    pub ctes: Ctes,
}

impl VisitorMut for Spelling<'_> {
    type Break = DataFusionError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<DataFusionError> {
        if let Some(with) = &query.with {
            with.cte_tables.iter().for_each(|cte| add_cte(cte, &mut self.ctes, self.catalog));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<DataFusionError> {
        if let Some(qualified) = qualified(name, &self.ctes, self.catalog) {
            *name = qualified;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(
        &mut self,
        factor: &mut datafusion::sql::sqlparser::ast::TableFactor,
    ) -> ControlFlow<DataFusionError> {
        sets::function_in_from(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        match respell(expr).and_then(|()| casts::respell(expr)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// The name of a catalog relation with its schema, where the query left it out or put the database before it.
fn qualified(name: &ObjectName, ctes: &Ctes, catalog: &PgCatalog) -> Option<ObjectName> {
    let parts = fold_name(name)?;
    let parts = match parts.as_slice() {
        [database, rest @ ..] if rest.len() == 2 && database == catalog.snapshot().database() => rest,
        all => all,
    };
    let (schema, table) = match parts {
        [table] if ctes.iter().all(|(name, _)| name != table) && PgCatalog::is_catalog_relation(table) => {
            ("pg_catalog", table)
        }
        [schema, table] if system::find(schema, table).is_some() => (schema.as_str(), table),
        _ => return None,
    };
    Some(ObjectName::from(vec![Ident::new(schema), Ident::new(table)]))
}

fn respell(expr: &mut Expr) -> Result<(), DataFusionError> {
    match expr {
        Expr::Function(function) => {
            respell_function(function);
            let counts = function.over.is_some() && COUNTING_WINDOWS.contains(&function_name(function).as_str());
            if let Some(set) = sets::function_in_select(function) {
                *expr = set;
            } else if counts && let Some(bigint) = casts::native("bigint") {
                *expr = cast(take(expr), bigint);
            }
        }
        Expr::Identifier(ident) if is_unquoted(ident) && BARE_FUNCTIONS.contains(&fold(ident).as_str()) => {
            *expr = call(&fold(ident), Vec::new());
        }
        Expr::Collate { expr: inner, .. } => *expr = take(inner),
        Expr::CompoundFieldAccess { root, access_chain } => *expr = with_fields_by_name(take(root), access_chain),
        Expr::BinaryOp { op, .. } => {
            if let Some(plain) = plain_operator(op) {
                *op = plain;
            }
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => {
            if let Some(list) = elements(right) {
                *expr = in_list(take(left), list, false);
            }
        }
        Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => {
            if let Some(list) = elements(right) {
                *expr = in_list(take(left), list, true);
            }
        }
        Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => {
            if let Some(ValueWithSpan { value: Value::SingleQuotedString(escape), .. }) = escape_char {
                let respelt = match literal(pattern) {
                    Some(text) => string(like_escape(text, escape)?),
                    None => call("like_escape", vec![take(pattern), string(escape.clone())]),
                };
                **pattern = respelt;
                *escape_char = None;
            }
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, super::build::null())
}

fn in_list(expr: Expr, list: Vec<Expr>, negated: bool) -> Expr {
    if list.is_empty() {
        return Expr::value(Value::Boolean(negated));
    }
    Expr::InList { expr: Box::new(expr), list, negated }
}

/// `(root).field` as the function that DataFusion has for it; `relation.column[1]` with its column as one name.
fn with_fields_by_name(root: Expr, chain: &mut Vec<AccessExpr>) -> Expr {
    let mut value = root;
    let mut rest = Vec::new();
    let mut name = match &value {
        Expr::Identifier(ident) => vec![ident.clone()],
        Expr::CompoundIdentifier(idents) => idents.clone(),
        _ => Vec::new(),
    };
    if !name.is_empty() {
        while let Some(AccessExpr::Dot(Expr::Identifier(part))) = chain.first() {
            name.push(part.clone());
            chain.remove(0);
        }
        value = if name.len() == 1 { value } else { Expr::CompoundIdentifier(name) };
    }
    let put = |value: Expr, rest: &mut Vec<AccessExpr>| match rest.is_empty() {
        true => value,
        false => Expr::CompoundFieldAccess { root: Box::new(value), access_chain: std::mem::take(rest) },
    };
    for access in chain.drain(..) {
        match access {
            AccessExpr::Dot(Expr::Identifier(field)) => {
                value = call("get_field", vec![put(value, &mut rest), string(fold(&field))]);
            }
            other => rest.push(other),
        }
    }
    put(value, &mut rest)
}

/// The elements of a constant array: `ARRAY[…]`, or `'{…}'`.
fn elements(expr: &Expr) -> Option<Vec<Expr>> {
    match unnested(expr) {
        Expr::Array(array) => Some(array.elem.clone()),
        other => {
            let elements = array_elements(literal(other)?)?;
            Some(elements.into_iter().map(|element| element.map_or_else(super::build::null, string)).collect())
        }
    }
}

/// The operator that `OPERATOR(schema.op)` means.
fn plain_operator(op: &BinaryOperator) -> Option<BinaryOperator> {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return None };
    Some(match parts.last()?.as_str() {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" | "!=" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "||" => BinaryOperator::StringConcat,
        _ => return None,
    })
}

fn respell_function(function: &mut Function) {
    let name = function_name(function);
    let is_qualified = match function.name.0.as_slice() {
        [schema, _] => matches!(schema.as_ident().map(fold).as_deref(), Some("pg_catalog" | "information_schema")),
        _ => false,
    };
    if is_qualified {
        function.name = ObjectName::from(vec![Ident::new(name.clone())]);
    }
    if is_bare(&function.args) && BARE_FUNCTIONS.contains(&name.as_str()) {
        let (args, clauses) = (Vec::new(), Vec::new());
        function.args = FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses });
    }
    if is_function(&name)
        && let FunctionArguments::List(list) = &mut function.args
    {
        type_placeholders(&name, &mut list.args);
    }
}

/// Gives every parameter that is a whole argument the type that the function's signature says: DataFusion infers none.
fn type_placeholders(name: &str, args: &mut [FunctionArg]) {
    let count = args.len();
    for (at, arg) in args.iter_mut().enumerate() {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else { continue };
        if !is_placeholder(expr) {
            continue;
        }
        let signature = function_rows().iter().find(|row| row.name == name && row.arguments.len() == count);
        let type_name = signature.and_then(|row| types::by_oid(*row.arguments.get(at)?)).map_or("text", |row| row.name);
        let data_type = casts::native(match type_name {
            "bool" => "boolean",
            "int2" | "int4" | "int8" | "oid" => "bigint",
            _ => "text",
        });
        if let Some(data_type) = data_type {
            *expr = cast(take(expr), data_type);
        }
    }
}

/// `named_struct('x', element, 'n', position)`: what `information_schema._pg_expandarray` returns for each element.
pub(super) fn expanded(array: &Expr) -> Expr {
    let positions = call("generate_subscripts", vec![array.clone(), number(1)]);
    let first = call("array_lower", vec![array.clone(), number(1)]);
    let from_one = Expr::BinaryOp {
        left: Box::new(Expr::BinaryOp {
            left: Box::new(call("unnest", vec![positions])),
            op: BinaryOperator::Minus,
            right: Box::new(first),
        }),
        op: BinaryOperator::Plus,
        right: Box::new(number(1)),
    };
    call("named_struct", vec![string("x"), call("unnest", vec![array.clone()]), string("n"), from_one])
}
