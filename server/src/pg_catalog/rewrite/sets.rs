//! Functions that return sets.
//!
//! DataFusion unnests a list in a select list and nowhere else, so every such function becomes that: in a select list
//! `generate_subscripts(a, 1)` is `unnest(generate_subscripts(a, 1))`, and in FROM `unnest(a) AS x(n)` is
//! `(SELECT unnest(a) AS n) AS x`. One in FROM that reads a column of another relation of the same FROM is moved into
//! that relation: `t, unnest(t.a) AS x(n)` is `(SELECT *, unnest(t.a) AS "x.n" FROM t) AS t`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, JoinConstraint, JoinOperator, Query, Select,
    SelectItem, SetExpr, TableAlias, TableFactor, TableWithJoins, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use super::build::{aliased, call, derived, fold, fold_name, ident, number, plain_select, select, table_alias};
use super::scope::{Ctes, column_parts, conjunction, conjuncts, function_name, in_scope};
use super::spelling::expanded;
use crate::pg_catalog::PgCatalog;
use crate::pg_catalog::functions::is_function;
use crate::pg_catalog::system;

/// Functions that take bounds or an array and give a list here, a set in PostgreSQL.
const LIST_FUNCTIONS: [&str; 2] = ["generate_subscripts", "generate_series"];

/// Functions of DataFusion's that clients put in FROM for their one value.
const SCALAR_FUNCTIONS: [&str; 2] = ["string_to_array", "regexp_match"];

/// A function of a select list that returns a set, as DataFusion takes it.
pub(super) fn function_in_select(function: &Function) -> Option<Expr> {
    let name = function_name(function);
    if LIST_FUNCTIONS.contains(&name.as_str()) {
        return Some(call("unnest", vec![Expr::Function(function.clone())]));
    }
    match (name.as_str(), arguments(function).as_slice()) {
        ("_pg_expandarray", [array]) => Some(expanded(array)),
        // The argument was one of the above, and has its own unnest by now.
        ("unnest", [Expr::Function(inner)]) if function_name(inner) == "unnest" => Some(Expr::Function(inner.clone())),
        _ => None,
    }
}

fn arguments(function: &Function) -> Vec<Expr> {
    match &function.args {
        FunctionArguments::List(list) => expressions(&list.args),
        _ => Vec::new(),
    }
}

fn expressions(args: &[FunctionArg]) -> Vec<Expr> {
    let expression = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    args.iter().filter_map(expression).collect()
}

/// A function in FROM, as DataFusion takes it.
pub(super) fn function_in_from(factor: &mut TableFactor) {
    let (name, arguments, alias, with_ordinality) = match factor {
        TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
            (fold_name(name), expressions(&args.args), alias.take(), *with_ordinality)
        }
        TableFactor::Function { name, args, alias, with_ordinality, .. } => {
            (fold_name(name), expressions(args), alias.take(), *with_ordinality)
        }
        TableFactor::UNNEST { array_exprs, alias, with_ordinality, .. } => {
            (Some(vec!["unnest".to_string()]), array_exprs.clone(), alias.take(), *with_ordinality)
        }
        _ => return,
    };
    let Some(name) = name.and_then(|mut parts| parts.pop()) else { return };
    let lists: Vec<Expr> = match name.as_str() {
        "unnest" => arguments,
        name if LIST_FUNCTIONS.contains(&name) => vec![call(name, arguments)],
        name if is_function(name) || SCALAR_FUNCTIONS.contains(&name) => {
            return *factor = one_row(call(name, arguments), name, alias);
        }
        "_pg_expandarray" => match arguments.as_slice() {
            [array] => return *factor = expanded_in_from(array, alias),
            _ => return,
        },
        _ => return table_function(factor, &name, alias),
    };
    let table = alias.as_ref().map_or_else(|| ident(name.clone()), |alias| alias.name.clone());
    let given: Vec<String> = alias.iter().flat_map(|alias| &alias.columns).map(|column| fold(&column.name)).collect();
    let mut items = Vec::new();
    for (at, list) in lists.iter().enumerate() {
        let own = if alias.is_some() && lists.len() == 1 { fold(&table) } else { name.clone() };
        let own = if at == 0 { own } else { format!("{own}{at}") };
        items.push(aliased(call("unnest", vec![list.clone()]), given.get(at).cloned().unwrap_or(own)));
    }
    if with_ordinality && let Some(first) = lists.first() {
        let name = given.get(lists.len()).cloned().unwrap_or_else(|| "ordinality".to_string());
        items.push(aliased(call("unnest", vec![call("generate_subscripts", vec![first.clone(), number(1)])]), name));
    }
    *factor = derived(select(items, Vec::new()), Some(table_alias(table)));
}

/// A function in FROM that returns one value: one row.
fn one_row(value: Expr, name: &str, alias: Option<TableAlias>) -> TableFactor {
    let alias = alias.unwrap_or_else(|| table_alias(ident(name)));
    let column = alias.columns.first().map_or(&alias.name, |column| &column.name);
    derived(select(vec![aliased(value, fold(column))], Vec::new()), Some(table_alias(alias.name.clone())))
}

fn expanded_in_from(array: &Expr, alias: Option<TableAlias>) -> TableFactor {
    let pair = select(vec![aliased(expanded(array), "pair")], Vec::new());
    let field = |name: &str| {
        let field = call("get_field", vec![Expr::Identifier(ident("pair")), super::build::string(name)]);
        aliased(field, name)
    };
    let from = TableWithJoins { relation: derived(pair, Some(table_alias(ident("expanded")))), joins: Vec::new() };
    let alias = alias.unwrap_or_else(|| table_alias(ident("_pg_expandarray")));
    derived(select(vec![field("x"), field("n")], vec![from]), Some(alias))
}

/// A function that stands for a relation of the catalog: `pg_get_keywords()`.
fn table_function(factor: &mut TableFactor, name: &str, new_alias: Option<TableAlias>) {
    let relation = if name == "pg_show_all_settings" { "pg_settings" } else { name };
    let parts = vec![ident("pg_catalog"), ident(relation)];
    match factor {
        TableFactor::Table { name, args, alias, .. } => {
            *alias = new_alias;
            if system::find("pg_catalog", relation).is_some() {
                (*name, *args) = (parts.into(), None);
            }
        }
        TableFactor::Function { alias, .. } => *alias = new_alias,
        _ => {}
    }
}

/// Moves the functions of every FROM in `query` that read another relation of it into that relation.
pub(super) fn move_lateral(catalog: &PgCatalog, query: &mut Query) {
    let _ = query.visit(&mut Lateral { catalog });
}

struct Lateral<'a> {
    catalog: &'a PgCatalog,
}

impl VisitorMut for Lateral<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        // A query's own SELECT first, for its ORDER BY names the columns too. A bound on the turns, in case one cannot
        // be moved.
        for _ in 0..MOVES_MAX {
            let Some(moved) = plain_select(query).and_then(|select| detach(select, self.catalog)) else { break };
            let _ = query.visit(&mut Renaming { moved: &moved });
            if let Some(select) = plain_select(query) {
                attach(select, moved);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for _ in 0..MOVES_MAX {
            let Some(moved) = detach(select, self.catalog) else { break };
            let _ = select.visit(&mut Renaming { moved: &moved });
            attach(select, moved);
        }
        ControlFlow::Continue(())
    }
}

/// More functions than any FROM has.
const MOVES_MAX: usize = 16;

/// A function on its way from its own place into another relation.
struct Moved {
    /// What the query calls the function's result.
    function: String,
    /// What it calls the relation.
    relation: String,
    /// Where that relation is.
    target: Place,
    /// The function's columns, and what they unnest.
    items: Vec<(String, Expr)>,
}

impl Moved {
    /// What column `name` of the function is called in its new place.
    fn column(&self, name: &str) -> String {
        format!("{}.{name}", self.function)
    }
}

/// The place of an item in a FROM: which of the comma's items, and which of its joins (`None` for its first relation).
#[derive(Clone, Copy)]
struct Place {
    item: usize,
    join: Option<usize>,
}

fn places(from: &[TableWithJoins]) -> Vec<Place> {
    let of_item = |(item, with_joins): (usize, &TableWithJoins)| {
        let joins = (0..with_joins.joins.len()).map(move |join| Place { item, join: Some(join) });
        std::iter::once(Place { item, join: None }).chain(joins).collect::<Vec<_>>()
    };
    from.iter().enumerate().flat_map(of_item).collect()
}

fn factor_at(from: &mut [TableWithJoins], place: Place) -> &mut TableFactor {
    match place.join {
        None => &mut from[place.item].relation,
        Some(join) => &mut from[place.item].joins[join].relation,
    }
}

/// Takes one function that reads another relation out of the FROM.
fn detach(select: &mut Select, catalog: &PgCatalog) -> Option<Moved> {
    let places = places(&select.from);
    for (at, place) in places.iter().enumerate() {
        let Some((alias, items)) = lists_of(factor_at(&mut select.from, *place)) else { continue };
        let wanted = column_references(&items);
        let reads = |target: &Place, from: &mut Vec<TableWithJoins>| {
            let relation = in_scope(factor_at(from, *target), &Ctes::new(), catalog);
            relation.is_some_and(|relation| {
                let scope = super::scope::Scope { relations: vec![relation] };
                !wanted.is_empty() && wanted.iter().all(|parts| scope.find(parts).is_some())
            })
        };
        let Some(target) = places[..at].iter().find(|target| reads(target, &mut select.from)).copied() else {
            continue;
        };
        let relation = in_scope(factor_at(&mut select.from, target), &Ctes::new(), catalog)?.name;
        let condition = remove(select, *place)?;
        if let Some(condition) = condition {
            let all = select.selection.take().into_iter().flat_map(conjuncts).chain(conjuncts(condition)).collect();
            select.selection = conjunction(all);
        }
        // Taking an item away moves those behind it; the target stands before it.
        return Some(Moved { function: alias, relation, target, items });
    }
    None
}

/// Puts a function into the relation it reads.
fn attach(select: &mut Select, moved: Moved) {
    let mut projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    projection.extend(moved.items.iter().map(|(name, expr)| aliased(expr.clone(), moved.column(name))));
    let factor = factor_at(&mut select.from, moved.target);
    let inner = std::mem::replace(factor, derived(select_nothing(), None));
    let from = TableWithJoins { relation: inner, joins: Vec::new() };
    *factor = derived(super::build::select(projection, vec![from]), Some(table_alias(ident(moved.relation))));
}

fn select_nothing() -> Query {
    select(Vec::new(), Vec::new())
}

/// A function in FROM as [`function_in_from`] leaves it: its alias, and its columns with what they unnest.
fn lists_of(factor: &TableFactor) -> Option<(String, Vec<(String, Expr)>)> {
    let TableFactor::Derived { subquery, alias: Some(alias), .. } = factor else { return None };
    let SetExpr::Select(select) = subquery.body.as_ref() else { return None };
    if !select.from.is_empty() {
        return None;
    }
    let unnested = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { expr: expr @ Expr::Function(function), alias }
            if function_name(function) == "unnest" =>
        {
            Some((fold(alias), expr.clone()))
        }
        _ => None,
    };
    let items = select.projection.iter().map(unnested).collect::<Option<Vec<_>>>()?;
    Some((fold(&alias.name), items))
}

fn column_references(items: &[(String, Expr)]) -> Vec<Vec<String>> {
    struct References(Vec<Vec<String>>);
    impl datafusion::sql::sqlparser::ast::Visitor for References {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.0.extend(column_parts(expr));
            ControlFlow::Continue(())
        }
    }
    let mut references = References(Vec::new());
    for (_, expr) in items {
        let _ = datafusion::sql::sqlparser::ast::Visit::visit(expr, &mut references);
    }
    references.0
}

/// Takes the item at `place` out of the FROM and gives the condition it was joined on; `None` leaves it: an outer join
/// keeps rows that moving would lose.
#[allow(clippy::option_option)]
fn remove(select: &mut Select, place: Place) -> Option<Option<Expr>> {
    let condition = |operator: &JoinOperator| match operator {
        JoinOperator::CrossJoin(_) => Some(None),
        JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => match constraint {
            JoinConstraint::On(condition) => Some(Some(condition.clone())),
            JoinConstraint::None => Some(None),
            _ => None,
        },
        _ => None,
    };
    match place.join {
        Some(join) => {
            let condition = condition(&select.from[place.item].joins[join].join_operator)?;
            select.from[place.item].joins.remove(join);
            Some(condition)
        }
        None if select.from[place.item].joins.is_empty() => {
            select.from.remove(place.item);
            Some(None)
        }
        None => {
            let condition = condition(&select.from[place.item].joins[0].join_operator)?;
            let first = select.from[place.item].joins.remove(0);
            select.from[place.item].relation = first.relation;
            Some(condition)
        }
    }
}

struct Renaming<'a> {
    moved: &'a Moved,
}

impl VisitorMut for Renaming<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let parts = column_parts(expr).unwrap_or_default();
        let name = match parts.as_slice() {
            [function, name] if *function == self.moved.function => name,
            [name] => name,
            _ => return ControlFlow::Continue(()),
        };
        if self.moved.items.iter().any(|(own, _)| own == name) {
            let column = ident(self.moved.column(name));
            *expr = Expr::CompoundIdentifier(vec![ident(self.moved.relation.clone()), column]);
        }
        ControlFlow::Continue(())
    }
}
