//! Windows in GROUP BY: Flink's group windows and Spark's `window()` and `session_window()`.
//!
//! `SELECT TUMBLE_START(ts, i), count(*) FROM a, b WHERE … GROUP BY TUMBLE(ts, i), k` is rewritten before planning: FROM
//! becomes one bracketed join that carries a mark with the time and the window, the group key becomes [`START`], and
//! the functions of the window's bounds become expressions over it. Where windows differ in length, [`END`] is a key as well.
//! The planner hook in [`super::relation`] finds the mark and adds the columns to whatever the FROM clause produces. A
//! session's keys are the other expressions of GROUP BY.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, GroupByExpr, Ident, Interval as SqlInterval, Join, JoinConstraint, JoinOperator,
    OrderBy, Select, SelectItem, Spanned, TableAlias, TableFactor, TableWithJoins, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::call::{self, Kind};
use super::{DayShape, LocalWindow, Window};
use crate::error::Located;
use crate::functions::timezone::Zone;
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
    let Some(mut found) = found else { return Ok(()) };
    if found.kind.has_keys() {
        found.keys = other_keys(keys, &select.projection, found.span)?;
    }
    if found.window.size().is_none() {
        keys.push(end());
    }
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
    /// By what a window is kept apart that is made of the rows of a key.
    keys: Vec<Expr>,
    span: Span,
}

impl Found {
    /// The window a group key is: a call, or the place or name of a select item that is one.
    fn of(key: &Expr, projection: &[SelectItem]) -> Result<Option<Self>, Located> {
        let Some(function) = called(key, projection) else { return Ok(None) };
        let Some(kind) = call::kind(&function.name, false)? else { return Ok(None) };
        let (time, window) = call::on_time(kind, function)?;
        Ok(Some(Self { kind, time, window, keys: Vec::new(), span: function.name.span() }))
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

/// The keys besides the window, as expressions over FROM.
fn other_keys(keys: &[Expr], projection: &[SelectItem], span: Span) -> Result<Vec<Expr>, Located> {
    let selected = |key: &Expr| match key {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => match projection.get(number.parse::<usize>().ok()?.checked_sub(1)?)? {
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
                _ => None,
            },
            _ => None,
        },
        Expr::Identifier(name) => projection.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if fold(alias) == fold(name) => Some(expr.clone()),
            _ => None,
        }),
        _ => None,
    };
    let window = start();
    let others = keys.iter().filter(|key| **key != window);
    let others: Vec<Expr> = others.map(|key| selected(key).unwrap_or_else(|| key.clone())).collect();
    if others.iter().any(|key| matches!(key, Expr::GroupingSets(_) | Expr::Rollup(_) | Expr::Cube(_))) {
        let error = SqlError::unsupported("a session in GROUP BY with grouping sets is not supported")
            .hint("Use FROM session(relation, time, gap, key, …).");
        return Err(Located::new(error, span));
    }
    Ok(others)
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
            Expr::CompoundIdentifier(parts) if self.is_spark() => match parts.as_slice() {
                [first, second] if fold(first) == self.found.kind.name() => match fold(second).as_str() {
                    "start" => Ok(Some(start())),
                    "end" => Ok(Some(self.end())),
                    _ => Ok(None),
                },
                _ => Ok(None),
            },
            Expr::Identifier(name) if self.is_spark() && fold(name) == self.found.kind.name() => Ok(Some(self.both())),
            _ => Ok(None),
        }
    }

    fn is_spark(&self) -> bool {
        matches!(self.found.kind, Kind::Spark | Kind::SparkSession)
    }

    fn function(&self, function: &Function) -> Result<Option<Expr>, Located> {
        let name = function.name.to_string().to_ascii_lowercase();
        let (kind, bound): (Kind, fn(&Self) -> Expr) = match name.as_str() {
            "tumble_start" => (Kind::Tumble, |_| start()),
            "tumble_end" => (Kind::Tumble, Self::end),
            "hop_start" => (Kind::Hop, |_| start()),
            "hop_end" => (Kind::Hop, Self::end),
            "cumulate_start" => (Kind::Cumulate, |_| start()),
            "cumulate_end" => (Kind::Cumulate, Self::end),
            "session_start" => (Kind::Session, |_| start()),
            "session_end" => (Kind::Session, Self::end),
            "tumble" => (Kind::Tumble, |_| start()),
            "hop" => (Kind::Hop, |_| start()),
            "cumulate" => (Kind::Cumulate, |_| start()),
            "session" => (Kind::Session, |_| start()),
            "window" => (Kind::Spark, Self::both),
            "session_window" => (Kind::SparkSession, Self::both),
            "tumble_rowtime" | "tumble_proctime" | "hop_rowtime" | "hop_proctime" | "session_rowtime"
            | "session_proctime" => {
                let error =
                    SqlError::unsupported(format!("{name} is not supported")).hint("Use the window's start or end.");
                return Err(Located::new(error, function.name.span()));
            }
            _ => return Ok(None),
        };
        let (time, window) = call::on_time(kind, function)?;
        let this = Found { kind, time, window, keys: Vec::new(), span: function.name.span() };
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
        let Some(size) = self.found.window.size() else { return end() };
        let size = Expr::Interval(SqlInterval {
            value: Box::new(string(format!("{size} microseconds"))),
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

fn end() -> Expr {
    Expr::Identifier(Ident::with_quote('"', END))
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
    let (name, numbers, zone) = written(found.window);
    let mut array_exprs = vec![found.time.clone(), string(name.to_owned()), string(zone)];
    array_exprs.extend(numbers.map(number));
    array_exprs.extend(found.keys.iter().cloned());
    all.joins.push(cross(TableFactor::UNNEST {
        alias: None,
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    }));
    let alias = TableAlias { explicit: true, name: Ident::with_quote('"', MARK), columns: Vec::new(), at: None };
    let relation = TableFactor::NestedJoin { table_with_joins: Box::new(all), alias: Some(alias) };
    from.push(TableWithJoins { relation, joins: Vec::new() });
}

/// A window as a name, numbers and a zone.
fn written(window: Window) -> (&'static str, [i64; 3], String) {
    match window {
        Window::Tumble { size, offset } => ("tumble", [size, size, offset], String::new()),
        Window::Hop { slide, size, offset } => ("hop", [slide, size, offset], String::new()),
        Window::Cumulate { step, size, offset } => ("cumulate", [step, size, offset], String::new()),
        Window::Session { gap } => ("session", [gap, 0, 0], String::new()),
        Window::Count { rows } => ("count", [rows, 0, 0], String::new()),
        Window::Local(LocalWindow { zone, shape, step, size, offset }) => {
            let name = match shape {
                DayShape::Tumble => "tumble",
                DayShape::Hop => "hop",
                DayShape::Cumulate => "cumulate",
            };
            (name, [step, size, offset], zone.to_string())
        }
    }
}

/// What [`written`] wrote.
fn read(name: &str, [step, size, offset]: [i64; 3], zone: &str) -> Option<Window> {
    if !zone.is_empty() {
        let shape = match name {
            "tumble" => DayShape::Tumble,
            "hop" => DayShape::Hop,
            _ => DayShape::Cumulate,
        };
        return Some(Window::Local(LocalWindow { zone: Zone::named(zone).ok()?, shape, step, size, offset }));
    }
    Some(match name {
        "tumble" => Window::Tumble { size, offset },
        "hop" => Window::Hop { slide: step, size, offset },
        "cumulate" => Window::Cumulate { step, size, offset },
        "session" => Window::Session { gap: step },
        "count" => Window::Count { rows: step },
        _ => return None,
    })
}

/// A FROM clause with a mark, taken apart.
pub(crate) struct Marked {
    /// The FROM clause as it was.
    pub relation: Box<TableFactor>,
    /// The window's time.
    pub time: Expr,
    /// The window.
    pub window: Window,
    /// Its keys.
    pub keys: Vec<Expr>,
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
        Some(TableFactor::UNNEST { array_exprs, .. }) if array_exprs.len() >= 6 => {
            let value = |n: usize| match &array_exprs[n] {
                Expr::Value(value) => Some(&value.value),
                _ => None,
            };
            let text = |n: usize| match value(n)? {
                Value::SingleQuotedString(text) => Some(text.as_str()),
                _ => None,
            };
            let length = |n: usize| match value(n)? {
                Value::Number(number, _) => number.parse::<i64>().ok(),
                _ => None,
            };
            let window = || read(text(1)?, [length(3)?, length(4)?, length(5)?], text(2)?);
            let Some(window) = window() else {
                return Err(Box::new(TableFactor::NestedJoin { table_with_joins, alias }));
            };
            let (time, keys) = (array_exprs[0].clone(), array_exprs[6..].to_vec());
            let relation = if table_with_joins.joins.is_empty() {
                Box::new(table_with_joins.relation)
            } else {
                Box::new(TableFactor::NestedJoin { table_with_joins, alias: None })
            };
            Ok(Marked { relation, time, window, keys })
        }
        _ => Err(Box::new(TableFactor::NestedJoin { table_with_joins, alias })),
    }
}
