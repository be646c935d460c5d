//! Subqueries that look outside themselves.
//!
//! DataFusion joins a correlated scalar subquery only if it is an aggregate over rows found by equality. Many of the
//! catalog's are one step away, `(SELECT adbin FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND a.atthasdef)`: of at
//! most one row, and `first_value` makes an aggregate of it; a condition on the outer row alone goes around it as a
//! CASE. `ARRAY(SELECT …)` is `array_agg`. All others become a call of a function that runs the subquery for each outer
//! row, [`crate::pg_catalog::correlated`].
//!
//! This pass knows what each name belongs to, so it also does what needs that: `tableoid`, arrays compared with text,
//! and the type of the parameter in `x = ANY($1)`.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Function, FunctionArguments, OrderByKind, Query, Select, SelectItem, SetExpr,
    Value, VisitMut, VisitorMut,
};

use super::aggregates::{aggregated, is_aggregate, without_existence};
use super::build::{array_elements, call, cast, is_placeholder, literal, number, plain_select, select, unnested};
use super::casts::native;
use super::scope::{Ctes, Scope, add_cte, column_parts, conjunction, conjuncts, is_plain};
use super::spelling::take;
use crate::pg_catalog::PgCatalog;
use crate::pg_catalog::correlated;

/// Columns that every PostgreSQL table has and none here stores.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "xmax", "cmin", "cmax", "ctid"];

/// The names in sight at one point of a walk through a query.
#[derive(Default)]
struct Sight {
    scopes: Vec<Scope>,
    ctes: Ctes,
}

impl Sight {
    fn enter_query(&mut self, query: &Query, catalog: &PgCatalog) {
        if let Some(with) = &query.with {
            with.cte_tables.iter().for_each(|cte| add_cte(cte, &mut self.ctes, catalog));
        }
        self.scopes.push(Scope::of_query(query, &self.ctes, catalog));
    }

    fn enter_select(&mut self, select: &Select, catalog: &PgCatalog) {
        self.scopes.push(Scope::of(select, &self.ctes, catalog));
    }

    fn leave(&mut self) {
        self.scopes.pop();
    }

    /// True if a column reference belongs to a relation in sight.
    fn has(&self, parts: &[String]) -> bool {
        self.scopes.iter().any(|scope| scope.find(parts).is_some())
    }

    /// The `typname` of a column of a catalog table.
    fn type_name(&self, expr: &Expr) -> Option<&'static str> {
        let parts = column_parts(unnested(expr))?;
        let relation = self.scopes.iter().rev().find_map(|scope| scope.find(&parts))?.system?;
        let name = parts.last()?;
        relation.columns.iter().find(|column| column.name == name).map(|column| column.type_name)
    }
}

/// The pass.
pub(super) struct Subqueries<'a> {
    catalog: &'a PgCatalog,
    sight: Sight,
    /// Functions made for the subqueries that had to become one.
    pub functions: Vec<Arc<ScalarUDF>>,
}

impl<'a> Subqueries<'a> {
    pub fn new(catalog: &'a PgCatalog) -> Self {
        Self { catalog, sight: Sight::default(), functions: Vec::new() }
    }

    /// The value of a subquery that may look outside itself.
    fn scalar(&mut self, mut query: Query) -> Expr {
        let correlation = Correlation::of(&query, &self.sight, self.catalog);
        match correlation {
            Correlation::None => {
                make_nullable(&mut query);
                Expr::Subquery(Box::new(query))
            }
            Correlation::Joinable => match make_joinable(&mut query, &self.sight, self.catalog) {
                Some(condition) => when(condition, Expr::Subquery(Box::new(query))),
                None => Expr::Subquery(Box::new(query)),
            },
            Correlation::Other => self.applied(query),
        }
    }

    /// A call of a function that runs the subquery.
    fn applied(&mut self, mut query: Query) -> Expr {
        let mut outer = Outer { sight: &self.sight, own: Sight::default(), catalog: self.catalog, found: Vec::new() };
        let _ = query.visit(&mut outer);
        let arguments = outer.found;
        let name = format!("__correlated_{}", self.functions.len());
        self.functions.push(correlated::function(self.catalog, &name, query, self.functions.clone()));
        call(&name, arguments)
    }

    /// `ARRAY(query)`.
    fn array(&mut self, query: Query) -> Expr {
        let value = self.scalar(aggregated(query));
        call("__array_or_empty", vec![value])
    }
}

impl VisitorMut for Subqueries<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.sight.enter_query(query, self.catalog);
        if let Some(OrderByKind::Expressions(order)) = query.order_by.as_mut().map(|order| &mut order.kind) {
            order.iter_mut().for_each(|by| without_existence(&mut by.expr));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.sight.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.sight.enter_select(select, self.catalog);
        // In a WHERE DataFusion joins EXISTS and IN itself; in a select list it takes only values.
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                without_existence(expr);
                small_numbers(expr);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<()> {
        self.sight.leave();
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Subquery(query) => {
                let query = std::mem::replace(query.as_mut(), select(Vec::new(), Vec::new()));
                *expr = self.scalar(query);
            }
            Expr::Function(Function { args: FunctionArguments::Subquery(query), name, .. })
                if name.to_string().eq_ignore_ascii_case("array") =>
            {
                let query = std::mem::replace(query.as_mut(), select(Vec::new(), Vec::new()));
                *expr = self.array(query);
            }
            Expr::CompoundIdentifier(_) | Expr::Identifier(_) => {
                if let Some(value) = self.system_column(expr) {
                    *expr = value;
                }
            }
            Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } if is_placeholder(right) => {
                let element = match self.sight.type_name(left) {
                    Some("oid") => "bigint[]",
                    Some("int2" | "int4" | "int8") => "bigint[]",
                    Some(_) => "text[]",
                    None => return ControlFlow::Continue(()),
                };
                if let Some(data_type) = native(element) {
                    **right = cast(take(right), data_type);
                }
            }
            Expr::BinaryOp { left, op: BinaryOperator::Eq | BinaryOperator::NotEq, right } => {
                let is_text = |expr: &Expr| literal(expr).and_then(array_elements).is_some();
                let is_array = |expr: &Expr| self.sight.type_name(expr).is_some_and(|name| name.starts_with('_'));
                if is_array(left) && is_text(right) {
                    **left = call("__text", vec![take(left)]);
                } else if is_array(right) && is_text(left) {
                    **right = call("__text", vec![take(right)]);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Subqueries<'_> {
    /// The value of `tableoid` and its like, where that is what a column reference is.
    fn system_column(&self, expr: &Expr) -> Option<Expr> {
        let mut parts = column_parts(expr)?;
        let name = parts.pop()?;
        if !SYSTEM_COLUMNS.contains(&name.as_str()) {
            return None;
        }
        let any = "oid".to_string();
        // A column of that name, of a subquery for instance, is only itself.
        let named = [parts.clone(), vec![name.clone()]].concat();
        let scope = self.sight.scopes.iter().rev().find(|scope| !scope.relations.is_empty())?;
        let relation = scope.find(&named).or_else(|| scope.find(&[parts, vec![any]].concat()))?;
        if relation.columns.iter().flatten().any(|column| *column == name) {
            return None;
        }
        let value = match name.as_str() {
            "tableoid" => i64::from(relation.system?.oid),
            // The low half is all that a transaction's number has.
            "xmin" => (self.catalog.snapshot().version() & 0xffff_ffff) as i64,
            _ => 0,
        };
        Some(call(if name == "tableoid" { "__oid" } else { "__xid" }, vec![number(value)]))
    }
}

/// How a subquery depends on what is around it.
enum Correlation {
    /// Not at all.
    None,
    /// By equalities, and by conditions on the outer row alone: it can be made an aggregate that DataFusion joins.
    Joinable,
    /// In any other way.
    Other,
}

impl Correlation {
    fn of(query: &Query, sight: &Sight, catalog: &PgCatalog) -> Self {
        let mut whole = query.clone();
        if references(&mut whole, sight, catalog).is_empty() {
            return Correlation::None;
        }
        let SetExpr::Select(select) = query.body.as_ref() else { return Correlation::Other };
        if !is_plain(query) || select.from.is_empty() {
            return Correlation::Other;
        }
        let mut rest = query.clone();
        let conditions = plain_select(&mut rest).and_then(|select| select.selection.take());
        if !references(&mut rest, sight, catalog).is_empty() {
            return Correlation::Other;
        }
        let kinds = conditions.into_iter().flat_map(conjuncts);
        let inner = Scope::of(select, &sight.ctes, catalog);
        let is_aggregate = is_aggregate(select);
        for condition in kinds {
            match Condition::of(&condition, &inner, sight, catalog) {
                Condition::Inner | Condition::Equality => {}
                // Around an aggregate a CASE would give NULL where it gives 0.
                Condition::Outer if !is_aggregate => {}
                _ => return Correlation::Other,
            }
        }
        Correlation::Joinable
    }
}

/// What a condition of a subquery speaks of.
#[derive(PartialEq)]
enum Condition {
    /// Only its own rows.
    Inner,
    /// Only the outer row.
    Outer,
    /// A column of its own equals something of the outer row.
    Equality,
    /// Anything else.
    Mixed,
}

impl Condition {
    fn of(condition: &Expr, inner: &Scope, sight: &Sight, catalog: &PgCatalog) -> Self {
        let sides = |expr: &Expr| {
            let mut expr = expr.clone();
            let mut outer =
                Outer { sight, own: Sight { scopes: vec![inner.clone()], ctes: Ctes::new() }, catalog, found: vec![] };
            let mut own = Own { scope: inner, found: false };
            let _ = expr.clone().visit(&mut own);
            let _ = expr.visit(&mut outer);
            (own.found, !outer.found.is_empty())
        };
        match sides(condition) {
            (_, false) => Condition::Inner,
            (false, true) => Condition::Outer,
            (true, true) => match unnested(condition) {
                Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => match (sides(left), sides(right)) {
                    ((true, false), (false, true)) if column_parts(unnested(left)).is_some() => Condition::Equality,
                    ((false, true), (true, false)) if column_parts(unnested(right)).is_some() => Condition::Equality,
                    _ => Condition::Mixed,
                },
                _ => Condition::Mixed,
            },
        }
    }
}

/// Notes whether an expression mentions a column of a scope.
struct Own<'a> {
    scope: &'a Scope,
    found: bool,
}

impl VisitorMut for Own<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.found |= column_parts(expr).is_some_and(|parts| self.scope.find(&parts).is_some());
        ControlFlow::Continue(())
    }
}

fn references(query: &mut Query, sight: &Sight, catalog: &PgCatalog) -> Vec<Expr> {
    let mut outer = Outer { sight, own: Sight::default(), catalog, found: Vec::new() };
    outer.own.ctes.clone_from(&sight.ctes);
    let _ = query.visit(&mut outer);
    outer.found.retain(|expr| column_parts(expr).is_some());
    outer.found
}

/// Replaces every reference to the outside, and every parameter of the client's, by a parameter of the subquery's own.
struct Outer<'a> {
    sight: &'a Sight,
    own: Sight,
    catalog: &'a PgCatalog,
    found: Vec<Expr>,
}

impl Outer<'_> {
    fn parameter(&mut self, expr: Expr) -> Expr {
        let at = self.found.iter().position(|found| *found == expr).unwrap_or_else(|| {
            self.found.push(expr);
            self.found.len() - 1
        });
        Expr::value(Value::Placeholder(format!("${}", at + 1)))
    }
}

impl VisitorMut for Outer<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.own.enter_query(query, self.catalog);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.own.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.own.enter_select(select, self.catalog);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<()> {
        self.own.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { expr: inner, .. } if is_placeholder(inner) => *expr = self.parameter(expr.clone()),
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                if let Some(text) = native("text") {
                    let typed = cast(expr.clone(), text);
                    *expr = self.parameter(typed);
                }
            }
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                let parts = column_parts(expr).unwrap_or_default();
                if !self.own.has(&parts) && self.sight.has(&parts) {
                    *expr = self.parameter(expr.clone());
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Makes an aggregate of a subquery that is not one, and gives the conditions on the outer row alone that were in it.
fn make_joinable(query: &mut Query, sight: &Sight, catalog: &PgCatalog) -> Option<Expr> {
    query.order_by = None;
    let select = plain_select(query)?;
    if is_aggregate(select) {
        return None;
    }
    let inner = Scope::of(select, &sight.ctes, catalog);
    let all = select.selection.take().into_iter().flat_map(conjuncts);
    let (outer, own): (Vec<_>, Vec<_>) =
        all.partition(|condition| Condition::of(condition, &inner, sight, catalog) == Condition::Outer);
    select.selection = conjunction(own);
    if let Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = select.projection.first_mut()
    {
        *expr = call("first_value", vec![take(expr)]);
    }
    conjunction(outer)
}

/// Makes whole numbers that a select list gives as they stand an `integer`, as PostgreSQL does where they fit.
fn small_numbers(expr: &mut Expr) {
    match expr {
        Expr::Value(value) => {
            let is_small = matches!(&value.value, Value::Number(text, _) if text.parse::<i32>().is_ok());
            if is_small && let Some(integer) = native("integer") {
                *expr = cast(take(expr), integer);
            }
        }
        Expr::Nested(inner) => small_numbers(inner),
        Expr::Case { conditions, else_result, .. } => {
            conditions.iter_mut().for_each(|when| small_numbers(&mut when.result));
            else_result.iter_mut().for_each(|expr| small_numbers(expr));
        }
        _ => {}
    }
}

/// Says that the value of a subquery may be NULL: it is where the subquery has no row, which DataFusion forgets when
/// the value itself never is.
fn make_nullable(query: &mut Query) {
    if let Some(select) = plain_select(query).filter(|select| !is_aggregate(select))
        && let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
            select.projection.as_mut_slice()
    {
        *expr = call("__nullable", vec![take(expr)]);
    }
}

/// `CASE WHEN condition THEN value END`.
fn when(condition: Expr, value: Expr) -> Expr {
    Expr::Case {
        case_token: AttachedToken::empty(),
        end_token: AttachedToken::empty(),
        operand: None,
        conditions: vec![CaseWhen { condition, result: value }],
        else_result: None,
    }
}
