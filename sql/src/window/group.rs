//! Windows in GROUP BY: Flink's group windows and Spark's `window()`.
//!
//! `SELECT TUMBLE_START(ts, i), count(*) FROM a, b WHERE … GROUP BY TUMBLE(ts, i), k` is rewritten before planning: FROM
//! becomes one bracketed join that carries a mark with the time and the window, the group key becomes [`START`], and
//! the functions of the window's bounds become expressions over it. The planner hook in [`super::relation`] finds the
//! mark and adds the columns to whatever the FROM clause produces.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, GroupByExpr, Ident, Interval as SqlInterval, Join, JoinConstraint, JoinOperator,
    OrderBy, Select, SelectItem, Spanned, TableAlias, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::Window;
use super::call::{self, Kind};
use crate::error::Located;
use crate::parser::fold;
use crate::{SqlError, SqlState};

/// The column of a group window's start, under a name no query can write.
pub const START: &str = "\u{1}window_start";
/// The column of a group window's end.
pub const END: &str = "\u{1}window_end";
/// Alias of the join that carries a mark.
const MARK: &str = "\u{1}group_window";

/// Rewrites the group window of `select`, if it has one; `order_by` is that of the query around it.
pub(crate) fn rewrite(select: &mut Select, order_by: Option<&mut OrderBy>) -> Result<(), Located> {
    let GroupByExpr::Expressions(keys, _) = &mut select.group_by else { return Ok(()) };
    let mut found: Option<Found> = None;
    for key in keys.iter_mut() {
        let Some(this) = Found::of(key, &select.projection)? else { continue };
        match &found {
            Some(first) if !first.same(&this) => {
                let error = SqlError::unsupported("more than one window in GROUP BY is not supported");
                return Err(Located::new(error, this.span));
            }
            _ => found = Some(this),
        }
        *key = start();
    }
    let Some(found) = found else { return Ok(()) };
    if select.from.is_empty() {
        let error = SqlError::new(SqlState::UNDEFINED_TABLE, "a window in GROUP BY needs a FROM clause");
        return Err(Located::new(error, found.span));
    }
    let mut bounds = Bounds { found: &found };
    let broken = |flow: ControlFlow<Located>| match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item {
            let before = expr.clone();
            broken(VisitMut::visit(expr, &mut bounds))?;
            if *expr != before {
                let name = crate::binder::column_name(&before).unwrap_or_else(|| "?column?".into());
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
            }
        } else {
            broken(VisitMut::visit(item, &mut bounds))?;
        }
    }
    broken(VisitMut::visit(&mut select.group_by, &mut bounds))?;
    broken(VisitMut::visit(&mut select.having, &mut bounds))?;
    broken(VisitMut::visit(&mut select.qualify, &mut bounds))?;
    if let Some(order_by) = order_by {
        broken(VisitMut::visit(order_by, &mut bounds))?;
    }
    mark(&mut select.from, &found);
    Ok(())
}

/// The window GROUP BY names.
struct Found {
    kind: Kind,
    time: Expr,
    window: Window,
    span: Span,
}

impl Found {
    /// The window a group key is: a call, or the place or name of a select item that is one.
    fn of(key: &Expr, projection: &[SelectItem]) -> Result<Option<Self>, Located> {
        let Some(function) = called(key, projection) else { return Ok(None) };
        let Some(kind) = call::kind(&function.name, false)? else { return Ok(None) };
        let (time, window) = call::on_time(kind, function)?;
        Ok(Some(Self { kind, time, window, span: function.name.span() }))
    }

    fn same(&self, other: &Self) -> bool {
        let same_time = match (column(&self.time), column(&other.time)) {
            // One of them may leave the relation's name out.
            (Some(a), Some(b)) => a.iter().rev().zip(b.iter().rev()).all(|(a, b)| a == b),
            _ => self.time.to_string().eq_ignore_ascii_case(&other.time.to_string()),
        };
        self.window == other.window && same_time
    }
}

/// The parts of a column's name, if `expr` is one.
fn column(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Identifier(name) => Some(vec![fold(name)]),
        Expr::CompoundIdentifier(parts) => Some(parts.iter().map(fold).collect()),
        _ => None,
    }
}

/// The function a group key stands for.
fn called<'e>(key: &'e Expr, projection: &'e [SelectItem]) -> Option<&'e Function> {
    let direct = |expr: &'e Expr| match expr {
        Expr::Function(function) if function.over.is_none() => Some(function),
        _ => None,
    };
    match key {
        Expr::Nested(inner) => called(inner, projection),
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => {
                let place: usize = number.parse().ok()?;
                match projection.get(place.checked_sub(1)?)? {
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => direct(expr),
                    _ => None,
                }
            }
            _ => None,
        },
        Expr::Identifier(name) => projection.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if fold(alias) == fold(name) => direct(expr),
            SelectItem::UnnamedExpr(expr) => {
                direct(expr).filter(|function| function.name.to_string().eq_ignore_ascii_case(&fold(name)))
            }
            _ => None,
        }),
        other => direct(other),
    }
}

/// Replaces the functions of a window's bounds.
struct Bounds<'f> {
    found: &'f Found,
}

impl VisitorMut for Bounds<'_> {
    type Break = Located;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Located> {
        match self.replacement(expr) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(bound)) => {
                *expr = bound;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Bounds<'_> {
    fn replacement(&self, expr: &Expr) -> Result<Option<Expr>, Located> {
        match expr {
            Expr::Function(function) if function.over.is_none() => self.function(function),
            // Spark's window.start and window.end.
            Expr::CompoundIdentifier(parts) if self.found.kind == Kind::Spark => match parts.as_slice() {
                [first, second] if fold(first) == "window" => match fold(second).as_str() {
                    "start" => Ok(Some(start())),
                    "end" => Ok(Some(self.end())),
                    _ => Ok(None),
                },
                _ => Ok(None),
            },
            Expr::Identifier(name) if self.found.kind == Kind::Spark && fold(name) == "window" => Ok(Some(self.both())),
            _ => Ok(None),
        }
    }

    fn function(&self, function: &Function) -> Result<Option<Expr>, Located> {
        let name = function.name.to_string().to_ascii_lowercase();
        let (kind, bound): (Kind, fn(&Self) -> Expr) = match name.as_str() {
            "tumble_start" => (Kind::Tumble, |_| start()),
            "tumble_end" => (Kind::Tumble, Self::end),
            "hop_start" => (Kind::Hop, |_| start()),
            "hop_end" => (Kind::Hop, Self::end),
            "tumble" => (Kind::Tumble, |_| start()),
            "hop" => (Kind::Hop, |_| start()),
            "window" => (Kind::Spark, Self::both),
            "tumble_rowtime" | "tumble_proctime" | "hop_rowtime" | "hop_proctime" => {
                let error =
                    SqlError::unsupported(format!("{name} is not supported")).hint("Use the window's start or end.");
                return Err(Located::new(error, function.name.span()));
            }
            _ => return Ok(None),
        };
        let (time, window) = call::on_time(kind, function)?;
        let this = Found { kind, time, window, span: function.name.span() };
        if kind != self.found.kind || !this.same(self.found) {
            let error = SqlError::new(
                SqlState::GROUPING_ERROR,
                format!("{name} must repeat the window of the GROUP BY clause"),
            );
            return Err(Located::new(error, this.span));
        }
        Ok(Some(bound(self)))
    }

    fn end(&self) -> Expr {
        let size = Expr::Interval(SqlInterval {
            value: Box::new(string(format!("{} microseconds", self.found.window.size()))),
            leading_field: None,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        });
        let sum = Expr::BinaryOp { left: Box::new(start()), op: BinaryOperator::Plus, right: Box::new(size) };
        Expr::Nested(Box::new(sum))
    }

    /// Spark's `window`: a struct of both bounds.
    fn both(&self) -> Expr {
        let arguments = [string("start".into()), start(), string("end".into()), self.end()];
        crate::binder::call("named_struct", arguments.to_vec())
    }
}

fn start() -> Expr {
    Expr::Identifier(Ident::with_quote('"', START))
}

fn string(text: String) -> Expr {
    Expr::value(Value::SingleQuotedString(text))
}

fn number(number: i64) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

/// Makes FROM one relation with the mark as its last join.
fn mark(from: &mut Vec<TableWithJoins>, found: &Found) {
    let mut relations = std::mem::take(from).into_iter();
    let Some(mut all) = relations.next() else { return };
    let cross = |relation: TableFactor| Join {
        relation,
        global: false,
        join_operator: JoinOperator::CrossJoin(JoinConstraint::None),
    };
    for mut other in relations {
        let relation = if other.joins.is_empty() {
            other.relation
        } else {
            let joins = std::mem::take(&mut other.joins);
            let table_with_joins = Box::new(TableWithJoins { relation: other.relation, joins });
            TableFactor::NestedJoin { table_with_joins, alias: None }
        };
        all.joins.push(cross(relation));
    }
    let (slide, size, offset) = match found.window {
        Window::Tumble { size, offset } => (0, size, offset),
        Window::Hop { slide, size, offset } => (slide, size, offset),
    };
    all.joins.push(cross(TableFactor::UNNEST {
        alias: None,
        array_exprs: vec![found.time.clone(), number(slide), number(size), number(offset)],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    }));
    let alias = TableAlias { explicit: true, name: Ident::with_quote('"', MARK), columns: Vec::new(), at: None };
    let relation = TableFactor::NestedJoin { table_with_joins: Box::new(all), alias: Some(alias) };
    from.push(TableWithJoins { relation, joins: Vec::new() });
}

/// A FROM clause with a mark, taken apart.
pub(crate) struct Marked {
    /// The FROM clause as it was.
    pub relation: Box<TableFactor>,
    /// The window's time.
    pub time: Expr,
    /// The window.
    pub window: Window,
}

/// Takes the mark off a relation that has one; any other comes back as it was.
pub(crate) fn marked(relation: TableFactor) -> Result<Marked, Box<TableFactor>> {
    let TableFactor::NestedJoin { mut table_with_joins, alias } = relation else {
        return Err(Box::new(relation));
    };
    if alias.as_ref().is_none_or(|alias| alias.name.value != MARK) {
        return Err(Box::new(TableFactor::NestedJoin { table_with_joins, alias }));
    }
    let last = table_with_joins.joins.pop().map(|join| join.relation);
    match last {
        Some(TableFactor::UNNEST { array_exprs, .. }) if array_exprs.len() == 4 => {
            let length = |n: usize| match &array_exprs[n] {
                Expr::Value(value) => match &value.value {
                    Value::Number(number, _) => number.parse::<i64>().ok(),
                    _ => None,
                },
                _ => None,
            };
            let window = match (length(1), length(2), length(3)) {
                (Some(0), Some(size), Some(offset)) => Window::Tumble { size, offset },
                (Some(slide), Some(size), Some(offset)) => Window::Hop { slide, size, offset },
                _ => return Err(Box::new(TableFactor::NestedJoin { table_with_joins, alias })),
            };
            let time = array_exprs[0].clone();
            let relation = if table_with_joins.joins.is_empty() {
                Box::new(table_with_joins.relation)
            } else {
                Box::new(TableFactor::NestedJoin { table_with_joins, alias: None })
            };
            Ok(Marked { relation, time, window })
        }
        _ => Err(Box::new(TableFactor::NestedJoin { table_with_joins, alias })),
    }
}
