//! What output columns are called.
//!
//! DataFusion names a column after its whole expression and refuses two of one name; PostgreSQL names it after its last
//! word and allows any number. So every unnamed expression gets PostgreSQL's name, and a name that is taken gets a mark
//! and a number behind it, which [`output_name`] takes off again before a client sees it.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, DataType, Expr, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TrimWhereField,
    VisitMut, VisitorMut, WildcardAdditionalOptions,
};
use std::collections::HashSet;
use std::ops::ControlFlow;

use super::build::{aliased, fold, fold_name, ident};
use super::scope::{Ctes, Scope, add_cte, columns_of_item, function_name};
use crate::pg_catalog::PgCatalog;

/// Stands between a column's name and the number that tells it from another of that name. No client's SQL contains it.
const MARK: char = '\u{1}';

/// What a client is told that a column is called.
pub fn output_name(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(name, _)| name)
}

/// The name PostgreSQL gives an expression that has none (`FigureColname` in its parser).
pub(super) fn label(expr: &Expr) -> String {
    strong_label(expr).or_else(|| weak_label(expr)).unwrap_or_else(|| "?column?".to_string())
}

/// The name of what is neither a column nor a call but has a word of its own; a cast around it has its name instead.
fn weak_label(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Cast { data_type, .. } => Some(type_label(data_type)),
        Expr::TypedString(typed) => Some(type_label(&typed.data_type)),
        Expr::Case { .. } => Some("case".to_string()),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => weak_label(inner),
        _ => None,
    }
}

fn strong_label(expr: &Expr) -> Option<String> {
    Some(match expr {
        Expr::Identifier(ident) => fold(ident),
        Expr::CompoundIdentifier(idents) => fold(idents.last()?),
        Expr::CompoundFieldAccess { root, access_chain } => match access_chain.last()? {
            AccessExpr::Dot(Expr::Identifier(ident)) => fold(ident),
            _ => strong_label(root)?,
        },
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => strong_label(inner)?,
        Expr::Function(function) => function_name(function),
        Expr::Cast { expr, .. } => strong_label(expr)?,
        Expr::Case { else_result, .. } => strong_label(else_result.as_ref()?)?,
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::UnnamedExpr(expr) => label(expr),
                SelectItem::ExprWithAlias { alias, .. } => fold(alias),
                _ => return None,
            },
            _ => return None,
        },
        Expr::Exists { .. } => "exists".to_string(),
        Expr::Array(_) => "array".to_string(),
        Expr::Substring { .. } => "substring".to_string(),
        Expr::Position { .. } => "position".to_string(),
        Expr::Overlay { .. } => "overlay".to_string(),
        Expr::Extract { .. } => "date_part".to_string(),
        Expr::AtTimeZone { .. } => "timezone".to_string(),
        Expr::Ceil { .. } => "ceil".to_string(),
        Expr::Floor { .. } => "floor".to_string(),
        Expr::Trim { trim_where: Some(TrimWhereField::Leading), .. } => "ltrim".to_string(),
        Expr::Trim { trim_where: Some(TrimWhereField::Trailing), .. } => "rtrim".to_string(),
        Expr::Trim { .. } => "btrim".to_string(),
        Expr::Interval(_) => "interval".to_string(),
        Expr::Tuple(_) => "row".to_string(),
        _ => return None,
    })
}

/// A type's own name, which a cast of a constant is called after.
fn type_label(data_type: &DataType) -> String {
    let written = match data_type {
        DataType::Custom(name, _) => name.0.last().and_then(|part| part.as_ident()).map(fold).unwrap_or_default(),
        other => other.to_string().to_lowercase(),
    };
    crate::pg_catalog::types::by_sql_name(&written).map_or(written, |row| row.name.to_string())
}

/// Names every select list of a query.
pub(super) struct Labels<'a> {
    pub catalog: &'a PgCatalog,
    pub ctes: Ctes,
}

impl VisitorMut for Labels<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            with.cte_tables.iter().for_each(|cte| add_cte(cte, &mut self.ctes, self.catalog));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let scope = Scope::of(select, &self.ctes, self.catalog);
        name_items(select, &scope);
        ControlFlow::Continue(())
    }
}

fn name_items(select: &mut Select, scope: &Scope) {
    let only_star = matches!(select.projection.as_slice(), [SelectItem::Wildcard(_)]);
    let columns: Option<Vec<_>> = select.projection.iter().map(|item| columns_of_item(item, scope)).collect();
    let clash = columns.is_some_and(|columns| {
        let mut seen = HashSet::new();
        columns.iter().flatten().any(|name| !seen.insert(name))
    });
    if clash && !only_star {
        select.projection = select.projection.drain(..).flat_map(|item| expand(item, scope)).collect();
    }
    let mut taken = HashSet::new();
    for item in &mut select.projection {
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let name = label(expr);
                let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                let free = free_name(&name, &mut taken);
                if !is_column || free != name {
                    *item = aliased(std::mem::replace(expr, super::build::null()), free);
                }
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = fold(alias);
                let free = free_name(&name, &mut taken);
                if free != name {
                    *alias = ident(free);
                }
            }
            _ => {}
        }
    }
}

/// The name, or the first of it with a number that nothing is called yet.
fn free_name(name: &str, taken: &mut HashSet<String>) -> String {
    let numbered = (1..).map(|at| format!("{name}{MARK}{at}"));
    let free = std::iter::once(name.to_string()).chain(numbered).find(|name| !taken.contains(name));
    let free = free.unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// A star as the columns it stands for, where they are known.
fn expand(item: SelectItem, scope: &Scope) -> Vec<SelectItem> {
    let star = |relation: &super::scope::InScope| {
        let column = |name: &String| {
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(vec![ident(relation.name.clone()), ident(name.clone())]))
        };
        relation.columns.iter().flatten().map(column).collect::<Vec<_>>()
    };
    let is_bare = |options: &WildcardAdditionalOptions| *options == WildcardAdditionalOptions::default();
    match &item {
        SelectItem::Wildcard(options) if is_bare(options) => scope.relations.iter().flat_map(star).collect(),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
            if is_bare(options) =>
        {
            let Some(mut parts) = fold_name(name) else { return vec![item] };
            parts.push(String::new());
            scope.find(&parts).map_or_else(|| vec![item.clone()], star)
        }
        _ => vec![item],
    }
}

/// Runs [`Labels`] over a query.
pub(super) fn name_columns(catalog: &PgCatalog, query: &mut Query) {
    let mut labels = Labels { catalog, ctes: Ctes::new() };
    let _ = query.visit(&mut labels);
}
