//! What Postgres means and sqlparser's tree says otherwise, put right before planning.
//!
//! - Output columns get the names Postgres gives them ([`super::names`]). DataFusion wants the names of one list to
//!   differ; a name used before gets a suffix that starts with [`HIDDEN`], which no query can write and
//!   [`visible`] takes off again.
//! - The column of a function in FROM has the name of its alias, or else of the function.
//! - `FETCH FIRST n ROWS ONLY` is LIMIT.
//! - Interval literals are read as Postgres reads them ([`crate::interval`]).
//! - `pg_catalog.f(…)` is `f(…)`; `every`, `mod`, `variance`, `ceiling`, `age(time)` and `localtimestamp` are what they
//!   stand for.
//! - A cast to text writes values as Postgres does ([`crate::functions::text`]), one to bytea reads them so
//!   ([`crate::functions::bytea`]).
//! - A number's exponent is worked in, or makes it double precision if numeric cannot hold it.
//! - `row_number()` and its like are bigint.
//! - `time AT TIME ZONE zone` is Postgres' `timezone(zone, time)` ([`crate::functions::timezone`]).
//! - Rows are compared field by field ([`super::row`]), and `SIMILAR TO` becomes a regular expression ([`crate::functions::similar`]).
//! - `EXTRACT` and `date_part` of seconds have their fraction.
//! - ASOF joins and joins FOR SYSTEM_TIME AS OF become joins whose condition on time is marked ([`crate::asof`]).
//! - Values of VALUES are told from the casts that planning puts around them ([`super::values`]).
//! - Windows in GROUP BY become columns of FROM ([`crate::window::group`]).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, CharacterLength, DataType, DateTimeField, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, Interval as SqlInterval, LimitClause, ObjectName,
    Query, Select, SelectItem, SetExpr, Spanned, TableFactor, TimezoneInfo, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::literal::Decimal;
use super::{Relations, UNNAMED, names, row, values};
use crate::SqlError;
use crate::asof::syntax as asof;
use crate::error::Located;
use crate::functions;
use crate::functions::json_build::Json;
use crate::interval::Interval;
use crate::parser::fold;
use crate::window::group;

/// Begins the suffix that tells equal names apart.
pub(crate) const HIDDEN: char = '\u{1}';

/// A column's name as the client sees it.
pub fn visible(name: &str) -> &str {
    // Columns of group windows begin with the mark; theirs is no suffix.
    match name.char_indices().skip(1).find(|(_, c)| *c == HIDDEN) {
        Some((at, _)) => &name[..at],
        None => name,
    }
}

/// A plan's text as a reader should see it: without suffixes and marks.
pub fn visible_text(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    let mut hidden = false;
    for c in text.chars() {
        // Digits behind the mark are a suffix; a mark in front of a name is just dropped.
        if c == HIDDEN {
            hidden = true;
        } else if !(hidden && c.is_ascii_digit()) {
            hidden = false;
            visible.push(c);
        }
    }
    visible
}

/// Rewrites `query` in place. With `beside_wildcards`, every item beside a `*` at the top gets a name of its own: for
/// `SELECT a, *`, where the planner would find `a` twice.
pub(crate) fn rewrite(query: &mut Query, relations: &dyn Relations, beside_wildcards: bool) -> Result<(), Located> {
    let mut rewriter = Rewriter { depth: 0, beside_wildcards, relations, ctes: Vec::new() };
    match VisitMut::visit(query, &mut rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Rewriter<'a> {
    /// Queries around the place being visited, the one being visited included.
    depth: usize,
    beside_wildcards: bool,
    relations: &'a dyn Relations,
    /// The names that WITH gives in the queries around, outermost first, with the depth of the query.
    ctes: Vec<(usize, String)>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = Located;

    /// Names come first: they are those of the functions as written.
    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Located> {
        let (top, beside_wildcards) = (self.depth == 0, self.beside_wildcards && self.depth == 0);
        self.depth += 1;
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(ctes.map(|cte| (self.depth, fold(&cte.alias.name))));
        for_each_body(&mut query.body, &mut |body| match body {
            SetExpr::Select(select) => name_columns(select, top, beside_wildcards),
            SetExpr::Values(list) => values::wrap(list),
            _ => {}
        });
        match fetch_to_limit(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    /// Windows come last: a query inside may have its own.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Located> {
        let ctes: Vec<String> = self.ctes.iter().map(|(_, name)| name.clone()).collect();
        self.ctes.retain(|(depth, _)| *depth < self.depth);
        self.depth -= 1;
        let mut order_by = match query.body.as_ref() {
            SetExpr::Select(_) => query.order_by.as_mut(),
            _ => None,
        };
        let mut outcome = Ok(());
        for_each_select(&mut query.body, &mut |select| {
            if outcome.is_ok() {
                outcome =
                    asof::rewrite(select, self.relations, &ctes).and_then(|()| group::rewrite(select, order_by.take()));
            }
        });
        match outcome {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Located> {
        names::name_function_in_from(factor);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Located> {
        match replacement(expr) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(other)) => {
                *expr = other;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Calls `each` on every SELECT among a query's set operations.
fn for_each_select(body: &mut SetExpr, each: &mut impl FnMut(&mut Select)) {
    for_each_body(body, &mut |body| {
        if let SetExpr::Select(select) = body {
            each(select);
        }
    });
}

/// Calls `each` on everything among a query's set operations, without recursion.
fn for_each_body(body: &mut SetExpr, each: &mut impl FnMut(&mut SetExpr)) {
    let mut bodies = vec![body];
    while let Some(body) = bodies.pop() {
        match body {
            SetExpr::SetOperation { left, right, .. } => bodies.extend([right.as_mut(), left.as_mut()]),
            other => each(other),
        }
    }
}

fn fetch_to_limit(query: &mut Query) -> Result<(), Located> {
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    if fetch.with_ties || fetch.percent {
        let what = if fetch.percent { "FETCH … PERCENT" } else { "FETCH … WITH TIES" };
        return Err(Located::new(SqlError::unsupported(format!("{what} is not supported")), Span::empty()));
    }
    let count = fetch.quantity.unwrap_or_else(|| number("1"));
    query.limit_clause = match query.limit_clause.take() {
        None => Some(LimitClause::LimitOffset { limit: Some(count), offset: None, limit_by: Vec::new() }),
        Some(LimitClause::LimitOffset { limit: None, offset, limit_by }) => {
            Some(LimitClause::LimitOffset { limit: Some(count), offset, limit_by })
        }
        Some(_) => {
            let error = SqlError::new(crate::SqlState::SYNTAX_ERROR, "multiple LIMIT clauses not allowed");
            return Err(Located::new(error, Span::empty()));
        }
    };
    Ok(())
}

fn name_columns(select: &mut Select, top: bool, beside_wildcards: bool) {
    let has_wildcard = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut used: Vec<(Option<String>, String)> = Vec::new();
    let having = select.having.clone();
    for (n, item) in select.projection.iter_mut().enumerate() {
        let (expr, alias, given) = match item {
            SelectItem::UnnamedExpr(expr) => (&*expr, names::column_name(expr), false),
            SelectItem::ExprWithAlias { expr, alias } => (&*expr, Some(fold(alias)), true),
            _ => continue,
        };
        let name = alias.unwrap_or_else(|| UNNAMED.into());
        let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        // Columns of different relations may share a name at the top, where nobody refers to it alone.
        let relation = match expr {
            Expr::CompoundIdentifier(parts) if top && !given => {
                Some(parts[..parts.len() - 1].iter().map(fold).collect::<Vec<_>>().join("."))
            }
            _ => None,
        };
        let clashes = |(other, used): &(Option<String>, String)| {
            *used == name && (other.is_none() || relation.is_none() || *other == relation)
        };
        let hidden = used.iter().any(clashes)
            || (beside_wildcards && has_wildcard)
            // In HAVING the name means an input column, not this one.
            || (!given && !is_column && having.as_ref().is_some_and(|having| mentions(having, &name)));
        if hidden {
            let alias = Ident::with_quote('"', format!("{name}{HIDDEN}{n}"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            continue;
        }
        if !given && !is_column {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name.as_str()) };
        }
        used.push((relation, name));
    }
}

/// True if an unqualified column `name` stands in `expr`.
fn mentions(expr: &Expr, name: &str) -> bool {
    datafusion::sql::sqlparser::ast::visit_expressions(expr, |inner| match inner {
        Expr::Identifier(ident) if fold(ident) == name => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

fn replacement(expr: &mut Expr) -> Result<Option<Expr>, Located> {
    match expr {
        Expr::Interval(interval) => match Interval::of(&Expr::Interval(interval.clone())) {
            Some(Ok(value)) => Ok(Some(Expr::Interval(SqlInterval {
                value: Box::new(Expr::value(Value::SingleQuotedString(value.to_string()))),
                leading_field: None,
                leading_precision: None,
                last_field: None,
                fractional_seconds_precision: None,
            }))),
            Some(Err(error)) => Err(Located::new(error, interval.value.span())),
            None => Ok(None),
        },
        Expr::Function(function) => Ok(self::function(function).or_else(|| counts_rows(function))),
        Expr::AtTimeZone { timestamp, time_zone } => {
            Ok(Some(call(functions::timezone::NAME, vec![time_zone.as_ref().clone(), timestamp.as_ref().clone()])))
        }
        Expr::Cast { kind, expr, data_type, format: None, .. } if *kind != CastKind::TryCast => {
            Ok(bytes_of(expr, data_type).or_else(|| text_of(expr, data_type)))
        }
        Expr::TypedString(typed) => Ok(bytes_of(&Expr::Value(typed.value.clone()), &typed.data_type)),
        Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => Ok(exponent(number)),
        Expr::Extract { field, expr, .. } => Ok(fraction_of(field, expr)),
        Expr::SimilarTo { negated, expr, pattern, escape_char } => {
            let mut arguments = vec![pattern.as_ref().clone()];
            arguments.extend(escape_char.clone().map(Expr::Value));
            Ok(Some(Expr::Nested(Box::new(Expr::BinaryOp {
                left: expr.clone(),
                op: if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch },
                right: Box::new(call(functions::similar::NAME, arguments)),
            }))))
        }
        _ => row::replacement(expr),
    }
}

/// For a field of a time that has a fraction, in lower case: microseconds in one of it, the inverse, and its digits.
fn fraction(field: &str) -> Option<(&'static str, &'static str, i64)> {
    match field {
        "second" | "seconds" => Some(("1000000", "0.000001", 6)),
        "millisecond" | "milliseconds" => Some(("1000", "0.001", 3)),
        _ => None,
    }
}

/// `EXTRACT` of a field that has a fraction, which is numeric; DataFusion's is an integer.
fn fraction_of(field: &DateTimeField, expr: &Expr) -> Option<Expr> {
    if *field == DateTimeField::Epoch {
        return Some(call(functions::fields::Epoch::NAME, vec![expr.clone()]));
    }
    let (_, unit, scale) = fraction(&field.to_string().to_ascii_lowercase())?;
    let product = Expr::BinaryOp {
        left: Box::new(microseconds(expr)),
        op: BinaryOperator::Multiply,
        right: Box::new(number(unit)),
    };
    let data_type = DataType::Numeric(ExactNumberInfo::PrecisionAndScale(8, scale));
    Some(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Nested(Box::new(product))),
        data_type,
        array: false,
        format: None,
    })
}

/// The seconds of a time, fraction included, as microseconds.
fn microseconds(time: &Expr) -> Expr {
    let field = Expr::value(Value::SingleQuotedString("microsecond".into()));
    call("date_part", vec![field, time.clone()])
}

/// `date_part` of a field that has a fraction, which is double precision; DataFusion's is an integer.
fn fraction_of_part(field: &Expr, time: &Expr) -> Option<Expr> {
    let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(field), .. }) = field else { return None };
    if field.eq_ignore_ascii_case("epoch") {
        return Some(Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(call(functions::fields::Epoch::NAME, vec![time.clone()])),
            data_type: DataType::DoublePrecision,
            array: false,
            format: None,
        });
    }
    let (units, _, _) = fraction(&field.to_ascii_lowercase())?;
    let double = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(microseconds(time)),
        data_type: DataType::DoublePrecision,
        array: false,
        format: None,
    };
    let quotient =
        Expr::BinaryOp { left: Box::new(double), op: BinaryOperator::Divide, right: Box::new(number(units)) };
    Some(Expr::Nested(Box::new(quotient)))
}

/// A cast to text is a call of the function that writes values as Postgres does; a length cuts.
fn text_of(expr: &Expr, data_type: &DataType) -> Option<Expr> {
    let length = match data_type {
        DataType::Text | DataType::String(None) => None,
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => *length,
        _ => return None,
    };
    // The type of a parameter is told by the cast itself.
    if matches!(expr, Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. })) {
        return None;
    }
    let text = call(functions::text::NAME, vec![expr.clone()]);
    match length {
        Some(CharacterLength::IntegerLength { length, .. }) => {
            Some(call("left", vec![text, number(&length.to_string())]))
        }
        _ => Some(text),
    }
}

/// A cast to bytea is a call of the function that reads bytes as Postgres does.
fn bytes_of(expr: &Expr, data_type: &DataType) -> Option<Expr> {
    let is_bytea = match data_type {
        DataType::Bytea => true,
        DataType::Custom(name, _) => {
            let last = name.0.last().and_then(|part| part.as_ident()).map(fold);
            last.as_deref() == Some(functions::bytea::NAME)
        }
        _ => false,
    };
    let is_parameter = matches!(expr, Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. }));
    (is_bytea && !is_parameter).then(|| call(functions::bytea::NAME, vec![expr.clone()]))
}

/// A number with an exponent, written without; one that numeric cannot hold is double precision.
fn exponent(text: &str) -> Option<Expr> {
    let decimal = Decimal::parse(text)?;
    if decimal.exceeds_numeric() {
        return Some(Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(Expr::value(Value::SingleQuotedString(text.into()))),
            data_type: DataType::DoublePrecision,
            array: false,
            format: None,
        });
    }
    text.contains(['e', 'E']).then(|| number(&decimal.to_sql()))
}

/// The functions that count rows of a window are bigint, and ntile is integer.
fn counts_rows(function: &Function) -> Option<Expr> {
    function.over.as_ref()?;
    let data_type = match fold(function.name.0.last()?.as_ident()?).as_str() {
        "row_number" | "rank" | "dense_rank" => DataType::BigInt(None),
        "ntile" => DataType::Integer(None),
        _ => return None,
    };
    let expr = Box::new(Expr::Function(function.clone()));
    Some(Expr::Cast { kind: CastKind::Cast, expr, data_type, array: false, format: None })
}

/// A plain function call.
pub(crate) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: arguments.into_iter().map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a))).collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

fn function(function: &mut Function) -> Option<Expr> {
    if let [schema, _] = function.name.0.as_slice()
        && schema.as_ident().is_some_and(|schema| fold(schema) == "pg_catalog")
    {
        function.name.0.remove(0);
    }
    let name = match function.name.0.as_slice() {
        [name] => fold(name.as_ident()?),
        _ => return None,
    };
    match (name.as_str(), &function.args) {
        ("every", _) => {
            function.name = ObjectName::from(vec![Ident::new("bool_and")]);
            None
        }
        ("variance", _) => {
            function.name = ObjectName::from(vec![Ident::new("var_samp")]);
            None
        }
        ("ceiling", _) => {
            function.name = ObjectName::from(vec![Ident::new("ceil")]);
            None
        }
        ("age", FunctionArguments::List(list)) => match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(birth))] => {
                Some(call("age", vec![call("current_date", Vec::new()), birth.clone()]))
            }
            _ => None,
        },
        ("json_agg" | "json_object_agg", _) => json_aggregate(function, &name),
        ("date_trunc", FunctionArguments::List(list)) if list.args.len() == 3 => {
            function.name = ObjectName::from(vec![Ident::new(functions::date_trunc_in_zone::NAME)]);
            None
        }
        ("mod", FunctionArguments::List(list)) => match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(left)), FunctionArg::Unnamed(FunctionArgExpr::Expr(right))] => {
                Some(Expr::Nested(Box::new(Expr::BinaryOp {
                    left: Box::new(Expr::Nested(Box::new(left.clone()))),
                    op: BinaryOperator::Modulo,
                    right: Box::new(Expr::Nested(Box::new(right.clone()))),
                })))
            }
            _ => None,
        },
        ("date_part", FunctionArguments::List(list)) => match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(field)), FunctionArg::Unnamed(FunctionArgExpr::Expr(time))] => {
                fraction_of_part(field, time)
            }
            _ => None,
        },
        ("localtimestamp", FunctionArguments::None) => Some(Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(call("now", Vec::new())),
            data_type: DataType::Timestamp(None, TimezoneInfo::None),
            array: false,
            format: None,
        }),
        _ => None,
    }
}

/// An aggregate of JSON as what puts together an `array_agg` of its parts.
fn json_aggregate(function: &Function, name: &str) -> Option<Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let arguments: Vec<Expr> = list
        .args
        .iter()
        .filter_map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect();
    let (part, whole) = match (name, arguments.len()) {
        ("json_agg", 1) => (Json::Of, Json::ArrayOf),
        ("json_object_agg", 2) => (Json::Member, Json::ObjectOf),
        _ => return None,
    };
    let mut parts = function.clone();
    parts.name = ObjectName::from(vec![Ident::new("array_agg")]);
    let args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(call(part.name(), arguments)))];
    parts.args = FunctionArguments::List(FunctionArgumentList { args, ..list.clone() });
    Some(call(whole.name(), vec![Expr::Function(parts)]))
}

fn number(digits: &str) -> Expr {
    Expr::value(Value::Number(digits.into(), false))
}
