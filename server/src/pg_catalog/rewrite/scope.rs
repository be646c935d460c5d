//! Which names a query can see: the relations of its FROM with their columns, and what they are called.
//!
//! The rewrite works before planning, so it resolves names itself, with the columns of the catalog's tables, the users'
//! relations, common table expressions and subqueries. Where it cannot know a relation's columns it says so, and an
//! unqualified name is then taken for one of them.

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, FunctionArguments, Ident, ObjectName, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
    SetExpr, TableAlias, TableFactor, TableWithJoins,
};

use super::build::{fold, fold_name};
use super::labels::label;
use crate::pg_catalog::PgCatalog;
use crate::pg_catalog::system::{self, SystemRelation};

/// A relation as a query sees it.
#[derive(Debug, Clone)]
pub(super) struct InScope {
    /// What the query calls it.
    pub name: String,
    /// Its schema, where a column may be qualified with it too.
    pub schema: Option<String>,
    /// Its columns; `None` if they are not known.
    pub columns: Option<Vec<String>>,
    /// The catalog table it is, where it is one.
    pub system: Option<&'static SystemRelation>,
}

impl InScope {
    fn has(&self, column: &str) -> bool {
        self.columns.as_ref().is_none_or(|columns| columns.iter().any(|own| own == column))
    }

    /// True if `qualifier` (its parts before the column) names this relation.
    fn is_called(&self, qualifier: &[String]) -> bool {
        match qualifier {
            [name] => *name == self.name,
            [schema, name] => *name == self.name && self.schema.as_ref() == Some(schema),
            _ => false,
        }
    }
}

/// The relations of one FROM.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub relations: Vec<InScope>,
}

/// The common table expressions in sight: name and columns.
pub(super) type Ctes = Vec<(String, Option<Vec<String>>)>;

impl Scope {
    /// What a SELECT's expressions see.
    pub fn of(select: &Select, ctes: &Ctes, catalog: &PgCatalog) -> Self {
        let mut scope = Scope::default();
        select.from.iter().for_each(|from| scope.add(from, ctes, catalog));
        scope
    }

    /// What an ORDER BY at the end of a query sees: its SELECT's relations, and its output columns.
    pub fn of_query(query: &Query, ctes: &Ctes, catalog: &PgCatalog) -> Self {
        let mut scope = match query.body.as_ref() {
            SetExpr::Select(select) => Self::of(select, ctes, catalog),
            _ => Scope::default(),
        };
        if query.order_by.is_some() {
            let columns = columns_of_body(&query.body, ctes, catalog);
            let columns = columns.or_else(|| Some(Vec::new()));
            scope.relations.push(InScope { name: String::new(), schema: None, columns, system: None });
        }
        scope
    }

    fn add(&mut self, from: &TableWithJoins, ctes: &Ctes, catalog: &PgCatalog) {
        self.add_factor(&from.relation, ctes, catalog);
        from.joins.iter().for_each(|join| self.add_factor(&join.relation, ctes, catalog));
    }

    fn add_factor(&mut self, factor: &TableFactor, ctes: &Ctes, catalog: &PgCatalog) {
        match factor {
            TableFactor::NestedJoin { table_with_joins, alias: None } => self.add(table_with_joins, ctes, catalog),
            other => self.relations.extend(in_scope(other, ctes, catalog)),
        }
    }

    /// The relation a column reference (its folded parts) belongs to, if it is one of these.
    pub fn find(&self, parts: &[String]) -> Option<&InScope> {
        match parts {
            [] => None,
            [column] => self.relations.iter().find(|relation| relation.has(column)),
            [qualifier @ .., _] => self.relations.iter().find(|relation| relation.is_called(qualifier)),
        }
    }
}

/// The folded parts of a column reference.
pub(super) fn column_parts(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Identifier(ident) => Some(vec![fold(ident)]),
        Expr::CompoundIdentifier(idents) => Some(idents.iter().map(fold).collect()),
        _ => None,
    }
}

/// How a query sees one item of its FROM.
pub(super) fn in_scope(factor: &TableFactor, ctes: &Ctes, catalog: &PgCatalog) -> Option<InScope> {
    let plain = |name, columns| InScope { name, schema: None, columns, system: None };
    let named = |alias: &Option<TableAlias>, columns: Option<Vec<String>>| {
        alias.as_ref().map(|alias| plain(fold(&alias.name), renamed(columns, alias)))
    };
    match factor {
        TableFactor::Table { name, alias, args: None, .. } => {
            let mut found = table(name, ctes, catalog)?;
            if let Some(alias) = alias {
                found.name = fold(&alias.name);
                found.schema = None;
                found.columns = renamed(found.columns, alias);
            }
            Some(found)
        }
        TableFactor::Derived { subquery, alias, .. } => named(alias, columns_of(subquery, ctes, catalog)),
        TableFactor::NestedJoin { alias, .. } => named(alias, None),
        TableFactor::Table { name, alias, .. } | TableFactor::Function { name, alias, .. } => {
            Some(from_function(fold_name(name)?.pop()?, alias))
        }
        TableFactor::UNNEST { alias, .. } => Some(from_function("unnest".to_string(), alias)),
        _ => None,
    }
}

/// A function in FROM: its one column is called as it is, unless the alias says otherwise.
fn from_function(name: String, alias: &Option<TableAlias>) -> InScope {
    let name = alias.as_ref().map_or(name, |alias| fold(&alias.name));
    let columns: Vec<String> = alias.iter().flat_map(|alias| &alias.columns).map(|column| fold(&column.name)).collect();
    let columns = if columns.is_empty() { vec![name.clone(), "ordinality".to_string()] } else { columns };
    InScope { name, schema: None, columns: Some(columns), system: None }
}

fn table(name: &ObjectName, ctes: &Ctes, catalog: &PgCatalog) -> Option<InScope> {
    let mut parts = fold_name(name)?;
    let table = parts.pop()?;
    let schema = parts.pop();
    if schema.is_none()
        && let Some((_, columns)) = ctes.iter().rev().find(|(name, _)| *name == table)
    {
        return Some(InScope { name: table, schema: None, columns: columns.clone(), system: None });
    }
    let found = system::find(schema.as_deref().unwrap_or("pg_catalog"), &table);
    let columns = match found {
        Some(relation) => Some(relation.columns.iter().map(|column| column.name.to_string()).collect()),
        None => {
            let path = match &schema {
                Some(schema) => vec![schema.as_str()],
                None => catalog.schemas_in_path(false),
            };
            let relation = path.into_iter().find_map(|schema| catalog.snapshot().relation_named(schema, &table));
            relation.map(|relation| relation.columns.iter().map(|field| field.name().clone()).collect())
        }
    };
    Some(InScope { name: table, schema, columns, system: found })
}

/// Columns under the names an alias gives them.
fn renamed(columns: Option<Vec<String>>, alias: &TableAlias) -> Option<Vec<String>> {
    if alias.columns.is_empty() {
        return columns;
    }
    let given = alias.columns.iter().map(|column| fold(&column.name));
    let rest = columns.into_iter().flatten().skip(alias.columns.len());
    Some(given.chain(rest).collect())
}

/// The names of a query's output columns; `None` if they cannot be known.
pub(super) fn columns_of(query: &Query, ctes: &Ctes, catalog: &PgCatalog) -> Option<Vec<String>> {
    let mut ctes = ctes.clone();
    if let Some(with) = &query.with {
        with.cte_tables.iter().for_each(|cte| add_cte(cte, &mut ctes, catalog));
    }
    columns_of_body(&query.body, &ctes, catalog)
}

/// Adds a common table expression to those in sight.
pub(super) fn add_cte(cte: &Cte, ctes: &mut Ctes, catalog: &PgCatalog) {
    let columns = renamed(columns_of(&cte.query, ctes, catalog), &cte.alias);
    ctes.push((fold(&cte.alias.name), columns));
}

fn columns_of_body(body: &SetExpr, ctes: &Ctes, catalog: &PgCatalog) -> Option<Vec<String>> {
    match body {
        SetExpr::Select(select) => {
            let scope = Scope::of(select, ctes, catalog);
            let items = select.projection.iter().map(|item| columns_of_item(item, &scope));
            items.collect::<Option<Vec<_>>>().map(|items| items.concat())
        }
        SetExpr::Query(query) => columns_of(query, ctes, catalog),
        SetExpr::SetOperation { left, .. } => columns_of_body(left, ctes, catalog),
        SetExpr::Values(values) => {
            let width = values.rows.first().map_or(0, |row| row.content.len());
            Some((1..=width).map(|at| format!("column{at}")).collect())
        }
        _ => None,
    }
}

/// The names of the columns one item of a select list gives.
pub(super) fn columns_of_item(item: &SelectItem, scope: &Scope) -> Option<Vec<String>> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(vec![label(expr)]),
        SelectItem::ExprWithAlias { alias, .. } => Some(vec![fold(alias)]),
        SelectItem::ExprWithAliases { aliases, .. } => Some(aliases.iter().map(fold).collect()),
        SelectItem::Wildcard(_) => {
            let columns = scope.relations.iter().map(|relation| relation.columns.clone());
            columns.collect::<Option<Vec<_>>>().map(|columns| columns.concat())
        }
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
            let qualifier = fold_name(name)?;
            scope.relations.iter().find(|relation| relation.is_called(&qualifier))?.columns.clone()
        }
        SelectItem::QualifiedWildcard(..) => None,
    }
}

/// True if a query is a bare SELECT of expressions: no set operation, grouping, DISTINCT, ordering that counts or limit.
pub(super) fn is_plain(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let grouped = !matches!(&select.group_by, datafusion::sql::sqlparser::ast::GroupByExpr::Expressions(by, with)
        if by.is_empty() && with.is_empty());
    query.with.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && select.distinct.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && !grouped
        && select.projection.len() == 1
}

/// Splits a condition at its ANDs.
pub(super) fn conjuncts(expr: Expr) -> Vec<Expr> {
    use datafusion::sql::sqlparser::ast::BinaryOperator;
    match expr {
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let mut all = conjuncts(*left);
            all.extend(conjuncts(*right));
            all
        }
        Expr::Nested(inner) if matches!(inner.as_ref(), Expr::BinaryOp { op: BinaryOperator::And, .. }) => {
            conjuncts(*inner)
        }
        other => vec![other],
    }
}

/// Puts conditions together with ANDs.
pub(super) fn conjunction(all: Vec<Expr>) -> Option<Expr> {
    use datafusion::sql::sqlparser::ast::BinaryOperator;
    let parenthesised = |expr: Expr| match expr {
        Expr::BinaryOp { op: BinaryOperator::Or, .. } => Expr::Nested(Box::new(expr)),
        other => other,
    };
    all.into_iter().map(parenthesised).reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    })
}

/// The name of a function as it is called, without its schema.
pub(super) fn function_name(function: &datafusion::sql::sqlparser::ast::Function) -> String {
    function.name.0.last().and_then(|part| part.as_ident()).map(fold).unwrap_or_default()
}

/// True where a function stands without parentheses, as `current_user` does.
pub(super) fn is_bare(arguments: &FunctionArguments) -> bool {
    matches!(arguments, FunctionArguments::None)
}

/// An identifier that is not quoted.
pub(super) fn is_unquoted(ident: &Ident) -> bool {
    ident.quote_style.is_none()
}
