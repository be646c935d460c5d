//! Writing statements as queries: what an INSERT, UPDATE or DELETE reads, and the columns of what it gives.
//!
//! ```text
//! INSERT INTO t (a) VALUES ($1)      SELECT CAST(c0 AS integer), <default of b> FROM (VALUES (CAST($1 AS integer))) …
//! UPDATE t SET a = a + 1 WHERE p     SELECT o0, o1, CAST(n0 AS integer) FROM (SELECT a, b, a + 1 FROM t WHERE p) …
//! DELETE FROM t WHERE p              SELECT a, b FROM t WHERE p
//! … RETURNING a, b + 1               SELECT a, b + 1 FROM <the rows written or deleted> AS t
//! ```
//! In: the statement and the table's definition. Out: an inner query whose types the caller finds by binding it
//! ([`Rows::source`]), and with those the query that is run ([`Rows::query`]), after the rules by which values are
//! assigned to columns were checked. The trees of the statement's own expressions go in as they are, so that errors
//! keep their places in its text.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::sql::sqlparser::ast::{
    Expr, Query, Select, SelectItem, SetExpr, Spanned, TableFactor, Value, ValueWithSpan, Visit, Visitor,
};

use crate::parser::{Places, parse_query};
use crate::rename::quoted;
use crate::statement::{Assigned, Conflict, ConflictTarget, CreateTable, Place, Write, WriteAction};
use crate::types::{EXTENSION, display};
use crate::{SqlError, SqlState};

/// The name by which ON CONFLICT DO UPDATE calls the rows that were to be inserted.
pub const EXCLUDED: &str = "excluded";

/// The name by which the INSERT of a COPY calls the rows that the client sent. No relation of a user's has it.
pub const COPIED: &str = "\u{1}copied";

/// The name by which RETURNING calls the rows that a statement wrote, or deleted. No relation of a user's has it.
pub const RETURNED: &str = "\u{1}returned";

/// A query for rows, some of whose columns are assigned to columns of the table.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The inner query.
    pub source: Box<Query>,
    /// For each column of the inner query the table's column that its values are assigned to; `None` for one that is
    /// passed on.
    targets: Vec<Option<usize>>,
    /// Where the values stand, as far as that is one place.
    positions: Vec<Option<usize>>,
    /// INSERT: the inner query's columns become those of the table in its order, the others get their defaults.
    whole: bool,
}

/// The table's column of this name.
///
/// # Errors
/// 42703.
pub fn column(table: &CreateTable, place: &Place) -> Result<usize, SqlError> {
    table.columns.iter().position(|column| *column.name() == place.name).ok_or_else(|| {
        let message = format!("column \"{}\" of relation \"{}\" does not exist", place.name, table.name);
        SqlError::new(SqlState::UNDEFINED_COLUMN, message).at(place.position)
    })
}

/// The rows a statement inserts; of UPDATE the old rows with the new values behind, of DELETE the old rows.
///
/// # Errors
/// 42703, 42701, 42601 with positions in `text`.
pub fn rows(write: &Write, table: &CreateTable, text: &str) -> Result<Rows, SqlError> {
    let alias = write.alias.as_deref().unwrap_or(&table.name);
    match &write.action {
        WriteAction::Insert { columns, source, .. } => insert(table, columns, source.as_deref(), text),
        WriteAction::Update { assigned, selection } => {
            let from = format!("{} AS {}", quoted(&table.name), quoted(alias));
            changed(table, alias, &from, assigned, selection.as_ref())
        }
        WriteAction::Delete { selection } => {
            let from = format!("{} AS {}", quoted(&table.name), quoted(alias));
            changed(table, alias, &from, &[], selection.as_ref())
        }
        WriteAction::Truncate => changed(table, alias, &quoted(&table.name), &[], None),
    }
}

/// What ON CONFLICT DO UPDATE makes of the rows there are: as for UPDATE, with the rows to be inserted beside them.
///
/// # Errors
/// As for [`rows`].
pub fn conflicting(
    write: &Write,
    table: &CreateTable,
    (assigned, selection): &(Vec<Assigned>, Option<Expr>),
) -> Result<Rows, SqlError> {
    let alias = write.alias.as_deref().unwrap_or(&table.name);
    let same = |column: &usize| {
        let name = quoted(table.columns[*column].name());
        format!("{}.{name} = {EXCLUDED}.{name}", quoted(alias))
    };
    let same: Vec<_> = table.primary_key.iter().map(same).collect();
    let from = format!("{} AS {} JOIN {EXCLUDED} ON {}", quoted(&table.name), quoted(alias), same.join(" AND "));
    changed(table, alias, &from, assigned, selection.as_ref())
}

/// What RETURNING makes of the rows called [`RETURNED`].
///
/// # Errors
/// Of the parser only.
pub fn returning(write: &Write, items: &[SelectItem]) -> Result<Box<Query>, SqlError> {
    let alias = write.alias.as_deref().unwrap_or(&write.table.name);
    let mut query = parse_query(&format!("SELECT 1 FROM {} AS {}", quoted(RETURNED), quoted(alias)))?;
    if let Some(select) = select_of(&mut query) {
        select.projection = items.to_vec();
    }
    Ok(query)
}

/// Holds the target of ON CONFLICT against the table's key.
///
/// # Errors
/// 42703, 42P10 if no key has these columns, 42704.
pub fn check_conflict(conflict: &Conflict, table: &CreateTable) -> Result<(), SqlError> {
    match &conflict.target {
        ConflictTarget::Any => Ok(()),
        ConflictTarget::Columns(places) => {
            let named = places.iter().map(|place| column(table, place)).collect::<Result<BTreeSet<_>, _>>()?;
            if !table.primary_key.is_empty() && named == table.primary_key.iter().copied().collect() {
                return Ok(());
            }
            let message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
            Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message))
        }
        ConflictTarget::Constraint(place) => {
            if !table.primary_key.is_empty() && place.name == constraint_name(&table.name) {
                return Ok(());
            }
            let message = format!("constraint \"{}\" for table \"{}\" does not exist", place.name, table.name);
            Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message).at(place.position))
        }
    }
}

/// The name of a table's primary key.
pub fn constraint_name(table: &str) -> String {
    format!("{table}_pkey")
}

/// A query of one row of the table's defaults: what CREATE TABLE binds, over no relations, to find errors.
///
/// # Errors
/// Of the parser only.
pub fn defaults(table: &CreateTable) -> Result<Box<Query>, SqlError> {
    let items: Vec<_> = (0..table.columns.len()).map(|column| format!("NULL AS c{column}")).collect();
    let mut query = parse_query(&format!("SELECT {}", items.join(", ")))?;
    let items = select_of(&mut query).into_iter().flat_map(|select| &mut select.projection);
    for (column, (item, default)) in items.zip(&table.defaults).enumerate() {
        if let (SelectItem::ExprWithAlias { expr, .. }, Some(default)) = (item, default) {
            *expr = value(table, column, default)?;
        }
    }
    Ok(query)
}

/// Holds the types that binding [`defaults`] found against those of the columns.
///
/// # Errors
/// 42804.
pub fn check_defaults<'f>(table: &CreateTable, types: impl IntoIterator<Item = &'f FieldRef>) -> Result<(), SqlError> {
    for ((to, default), from) in table.columns.iter().zip(&table.defaults).zip(types) {
        if default.is_some() && !assignable(from, to) {
            let (column, to, from) = (to.name(), display(to), display(from));
            let message = format!("column \"{column}\" is of type {to} but default expression is of type {from}");
            return Err(SqlError::new(SqlState::DATATYPE_MISMATCH, message)
                .hint("You will need to rewrite or cast the expression."));
        }
    }
    Ok(())
}

/// The numbers of the parameters in a tree, from 0.
pub fn parameters(tree: &impl Visit) -> BTreeSet<usize> {
    struct Finder(BTreeSet<usize>);
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) = expr {
                self.0.extend(crate::binder::parameter_index(name));
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder(BTreeSet::new());
    // It never breaks off.
    let _ = tree.visit(&mut finder);
    finder.0
}

impl Rows {
    /// The query to run. `types` are those of the inner query's columns.
    ///
    /// # Errors
    /// 42601 for too many or too few values, 42804 for one that cannot be assigned.
    pub fn query(&self, table: &CreateTable, types: &[FieldRef]) -> Result<Box<Query>, SqlError> {
        if types.len() > self.targets.len() {
            let message = "INSERT has more expressions than target columns";
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message));
        }
        let mut items = Vec::new();
        for (n, from) in types.iter().enumerate() {
            let Some(target) = self.targets[n] else {
                items.push(format!("c{n}"));
                continue;
            };
            let to = &table.columns[target];
            if !assignable(from, to) {
                let message = format!(
                    "column \"{}\" is of type {} but expression is of type {}",
                    to.name(),
                    display(to),
                    display(from)
                );
                let error = SqlError::new(SqlState::DATATYPE_MISMATCH, message)
                    .hint("You will need to rewrite or cast the expression.");
                return Err(match self.positions.get(n).copied().flatten() {
                    Some(position) => error.at(position),
                    None => error,
                });
            }
            items.push(if from.data_type() == to.data_type() {
                format!("c{n}")
            } else {
                format!("CAST(c{n} AS {})", display(to))
            });
        }
        if self.whole {
            let given = |column| self.targets[..types.len()].iter().position(|target| *target == Some(column));
            let item = |column| given(column).map_or_else(|| default(table, column), |n| items[n].clone());
            items = (0..table.columns.len()).map(item).collect();
        }
        let names: Vec<_> = (0..types.len()).map(|n| format!("c{n}")).collect();
        let items: Vec<_> = items.iter().enumerate().map(|(n, item)| format!("{item} AS r{n}")).collect();
        let text = format!("SELECT {} FROM (SELECT 1) AS source ({})", items.join(", "), names.join(", "));
        let mut query = parse_query(&text)?;
        if let Some(select) = select_of(&mut query)
            && let Some(TableFactor::Derived { subquery, .. }) = select.from.first_mut().map(|from| &mut from.relation)
        {
            subquery.clone_from(&self.source);
        }
        Ok(query)
    }
}

/// A column's default as text, of the column's type.
fn default(table: &CreateTable, column: usize) -> String {
    let value = table.defaults[column].as_ref().map_or_else(|| "NULL".to_owned(), |expr| format!("({expr})"));
    match castable(&table.columns[column]) {
        true => format!("CAST({value} AS {})", display(&table.columns[column])),
        false => value,
    }
}

/// Structures have no name that a cast could call.
fn castable(field: &Field) -> bool {
    match field.data_type() {
        DataType::Struct(_) => false,
        DataType::List(of) => castable(of),
        _ => true,
    }
}

fn select_of(query: &mut Query) -> Option<&mut Select> {
    match query.body.as_mut() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// A value for a column: DEFAULT, and literals and parameters whose type is not known yet, get the column's.
fn value(table: &CreateTable, column: usize, expr: &Expr) -> Result<Expr, SqlError> {
    let is_default = matches!(expr, Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"));
    if is_default {
        return parse_expr(&default(table, column));
    }
    let untyped = matches!(
        expr,
        Expr::Value(ValueWithSpan {
            value: Value::Placeholder(_) | Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_) | Value::Null,
            ..
        })
    );
    let field = &table.columns[column];
    if !untyped || !castable(field) {
        return Ok(expr.clone());
    }
    let mut cast = parse_expr(&format!("CAST(NULL AS {})", display(field)))?;
    if let Expr::Cast { expr: inner, .. } = &mut cast {
        *inner = Box::new(expr.clone());
    }
    Ok(cast)
}

fn parse_expr(text: &str) -> Result<Expr, SqlError> {
    let mut query = parse_query(&format!("SELECT {text}"))?;
    match select_of(&mut query).and_then(|select| select.projection.pop()) {
        Some(SelectItem::UnnamedExpr(expr)) => Ok(expr),
        _ => Err(SqlError::new(SqlState::INTERNAL_ERROR, "an expression was expected")),
    }
}

fn insert(table: &CreateTable, columns: &[Place], source: Option<&Query>, text: &str) -> Result<Rows, SqlError> {
    let mut targets: Vec<usize> = Vec::new();
    for place in columns {
        let target = column(table, place)?;
        if targets.contains(&target) {
            let message = format!("column \"{}\" specified more than once", place.name);
            return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message).at(place.position));
        }
        targets.push(target);
    }
    if columns.is_empty() {
        targets = (0..table.columns.len()).collect();
    }
    let Some(source) = source else {
        // DEFAULT VALUES.
        let source = parse_query(&format!("SELECT {}", default(table, 0)))?;
        return Ok(Rows { source, targets: vec![Some(0)], positions: vec![], whole: true });
    };
    let places = Places::new(text);
    let at = |expr: &Expr| {
        let start = expr.span().start;
        (start.line > 0).then(|| places.character(start) + 1)
    };
    let mut source = Box::new(source.clone());
    let mut positions: Vec<Option<usize>> = Vec::new();
    let mut given = None;
    let check = |count: usize, extra: Option<&Expr>| {
        let position = |error: SqlError, position: Option<usize>| match position {
            Some(position) => error.at(position),
            None => error,
        };
        if count > targets.len() {
            let error = SqlError::new(SqlState::SYNTAX_ERROR, "INSERT has more expressions than target columns");
            return Err(position(error, extra.and_then(at)));
        }
        if let Some(place) = columns.get(count) {
            let error = SqlError::new(SqlState::SYNTAX_ERROR, "INSERT has more target columns than expressions");
            return Err(error.at(place.position));
        }
        Ok(())
    };
    match source.body.as_mut() {
        SetExpr::Values(values) => {
            for row in &mut values.rows {
                let row = &mut row.content;
                check(row.len(), row.get(targets.len()))?;
                if given.is_some_and(|given| given != row.len()) {
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length"));
                }
                if given.is_none() {
                    positions = row.iter().map(at).collect();
                }
                given = Some(row.len());
                for (expr, target) in row.iter_mut().zip(&targets) {
                    *expr = value(table, *target, expr)?;
                }
            }
        }
        SetExpr::Select(select) => {
            let items: Vec<Option<Expr>> = select.projection.iter().map(item_expr).collect();
            if items.iter().all(Option::is_some) {
                check(items.len(), items.get(targets.len()).and_then(Option::as_ref))?;
                positions = items.iter().flatten().map(at).collect();
                for (item, target) in select.projection.iter_mut().zip(&targets) {
                    if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
                        *expr = value(table, *target, expr)?;
                    }
                }
            }
        }
        _ => {}
    }
    Ok(Rows { source, targets: targets.into_iter().map(Some).collect(), positions, whole: true })
}

fn item_expr(item: &SelectItem) -> Option<Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
        _ => None,
    }
}

/// The table's rows that a condition chooses, with new values behind them.
fn changed(
    table: &CreateTable,
    alias: &str,
    from: &str,
    assigned: &[Assigned],
    selection: Option<&Expr>,
) -> Result<Rows, SqlError> {
    let mut targets: Vec<Option<usize>> = vec![None; table.columns.len()];
    let mut positions = vec![None; table.columns.len()];
    let olds = table.columns.iter().enumerate();
    let mut items: Vec<_> =
        olds.map(|(n, column)| format!("{}.{} AS o{n}", quoted(alias), quoted(column.name()))).collect();
    let mut values = Vec::new();
    for (n, Assigned { column: place, value: expr, position }) in assigned.iter().enumerate() {
        let target = column(table, place)?;
        if targets.contains(&Some(target)) {
            let message = format!("multiple assignments to same column \"{}\"", place.name);
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).at(place.position));
        }
        targets.push(Some(target));
        positions.push(Some(*position));
        values.push(value(table, target, expr)?);
        items.push(format!("NULL AS n{n}"));
    }
    let mut source = parse_query(&format!("SELECT {} FROM {from}", items.join(", ")))?;
    if let Some(select) = select_of(&mut source) {
        for (item, value) in select.projection[table.columns.len()..].iter_mut().zip(values) {
            if let SelectItem::ExprWithAlias { expr, .. } = item {
                *expr = value;
            }
        }
        select.selection = selection.cloned();
    }
    Ok(Rows { source, targets, positions, whole: false })
}

impl Rows {
    /// For each value behind the old row, the column it is assigned to.
    pub fn assigned(&self) -> impl Iterator<Item = usize> {
        self.targets.iter().copied().flatten()
    }
}

/// Whether a value can be assigned to a column: what Postgres calls an assignment cast.
fn assignable(from: &Field, to: &Field) -> bool {
    let is_text = |data_type: &DataType| matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let is_number = |data_type: &DataType| data_type.is_numeric();
    let is_time =
        |data_type: &DataType| matches!(data_type, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..));
    let (a, b) = (from.data_type(), to.data_type());
    match (a, b) {
        _ if a == b || a.is_null() => true,
        (DataType::List(a), DataType::List(b)) => assignable(a, b),
        (_, b) if is_text(b) => is_text(a) || to.metadata().get(EXTENSION).is_none(),
        (DataType::Binary | DataType::BinaryView | DataType::LargeBinary, DataType::Binary) => true,
        _ => (is_number(a) && is_number(b)) || (is_time(a) && is_time(b)),
    }
}
