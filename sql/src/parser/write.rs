//! INSERT, UPDATE, DELETE and TRUNCATE: sqlparser's reading brought to what a table can do.

use datafusion::sql::sqlparser::ast::{self, Spanned};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::cursor::{Cursor, fold, object_name_parts};
use super::query;
use crate::statement::{Assigned, Conflict, ConflictTarget, Place, Statement, Write, WriteAction};
use crate::{SqlError, SqlState};

/// Reads a statement whose first word is `first`, still ahead of the cursor.
pub(crate) fn statement(cursor: &mut Cursor<'_>, first: &str) -> Result<Statement, SqlError> {
    if first == "truncate" {
        return truncate(cursor);
    }
    let statement = cursor.sql(Parser::parse_statement)?;
    cursor.expect_end()?;
    query::check(cursor, &statement)?;
    let write = match statement {
        ast::Statement::Insert(statement) => insert(cursor, statement)?,
        ast::Statement::Update(statement) => update(cursor, statement)?,
        ast::Statement::Delete(statement) => delete(cursor, statement)?,
        _ => return Err(cursor.syntax_error()),
    };
    Ok(Statement::Write(Box::new(write)))
}

fn unsupported(what: &str) -> SqlError {
    SqlError::unsupported(format!("{what} is not supported"))
}

/// Refuses the first of these that is there.
fn refuse(found: &[(bool, &str)]) -> Result<(), SqlError> {
    found.iter().find(|(there, _)| *there).map_or(Ok(()), |(_, what)| Err(unsupported(what)))
}

/// `TRUNCATE [TABLE] name [CASCADE | RESTRICT]`.
fn truncate(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    cursor.next();
    cursor.word("table");
    let (table, position) = cursor.object_name()?;
    if *cursor.peek() == Token::Comma {
        return Err(unsupported("TRUNCATE of several tables").at(cursor.position()));
    }
    cursor.words(&["continue", "identity"]);
    if cursor.one_of(&["restrict", "cascade"]).is_none() {
        cursor.words(&["restart", "identity"]);
    }
    cursor.expect_end()?;
    let table = Place { name: table, position };
    Ok(Statement::Write(Box::new(Write { table, alias: None, action: WriteAction::Truncate, returning: None })))
}

fn insert(cursor: &Cursor<'_>, insert: ast::Insert) -> Result<Write, SqlError> {
    refuse(&[
        (
            insert.or.is_some() || insert.ignore || insert.replace_into || insert.overwrite,
            "INSERT OR, IGNORE or OVERWRITE",
        ),
        (!insert.assignments.is_empty(), "INSERT … SET"),
        (insert.partitioned.is_some() || !insert.after_columns.is_empty(), "INSERT … PARTITION"),
        (insert.output.is_some(), "OUTPUT"),
        (insert.insert_alias.is_some(), "an alias of the inserted rows"),
    ])?;
    if !insert.into {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: INSERT without INTO"));
    }
    let ast::TableObject::TableName(name) = &insert.table else { return Err(unsupported("INSERT into a function")) };
    let columns = insert.columns.iter().map(|name| column(cursor, name)).collect::<Result<_, _>>()?;
    let conflict = match insert.on {
        None => None,
        Some(ast::OnInsert::OnConflict(on)) => Some(conflict(cursor, on)?),
        Some(_) => return Err(unsupported("ON DUPLICATE KEY UPDATE")),
    };
    let alias = insert.table_alias.map(|alias| fold(&alias.alias));
    let action = WriteAction::Insert { columns, source: insert.source, conflict };
    Ok(Write { table: table(cursor, name)?, alias, action, returning: insert.returning })
}

fn conflict(cursor: &Cursor<'_>, on: ast::OnConflict) -> Result<Conflict, SqlError> {
    let target = match &on.conflict_target {
        None => ConflictTarget::Any,
        Some(ast::ConflictTarget::Columns(columns)) => {
            let place = |ident: &ast::Ident| Place { name: fold(ident), position: cursor.position_of(ident.span) };
            ConflictTarget::Columns(columns.iter().map(place).collect())
        }
        Some(ast::ConflictTarget::OnConstraint(name)) => ConflictTarget::Constraint(column(cursor, name)?),
    };
    let update = match on.action {
        ast::OnConflictAction::DoNothing => None,
        ast::OnConflictAction::DoUpdate(update) => Some((assigned(cursor, update.assignments)?, update.selection)),
    };
    if update.is_some() && matches!(target, ConflictTarget::Any) {
        let message = "ON CONFLICT DO UPDATE requires inference specification or constraint name";
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, message).hint("For example, ON CONFLICT (column_name)."));
    }
    Ok(Conflict { target, update })
}

fn update(cursor: &Cursor<'_>, update: ast::Update) -> Result<Write, SqlError> {
    refuse(&[
        (update.from.is_some(), "UPDATE … FROM"),
        (!update.table.joins.is_empty(), "UPDATE of a join"),
        (update.or.is_some() || update.output.is_some(), "this form of UPDATE"),
        (!update.order_by.is_empty() || update.limit.is_some(), "ORDER BY and LIMIT in UPDATE"),
    ])?;
    let (table, alias) = target(cursor, &update.table.relation)?;
    let assigned = assigned(cursor, update.assignments)?;
    let action = WriteAction::Update { assigned, selection: update.selection };
    Ok(Write { table, alias, action, returning: update.returning })
}

fn delete(cursor: &Cursor<'_>, delete: ast::Delete) -> Result<Write, SqlError> {
    refuse(&[
        (delete.using.is_some(), "DELETE … USING"),
        (!delete.tables.is_empty() || delete.output.is_some(), "this form of DELETE"),
        (!delete.order_by.is_empty() || delete.limit.is_some(), "ORDER BY and LIMIT in DELETE"),
    ])?;
    let ast::FromTable::WithFromKeyword(from) = &delete.from else {
        return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: DELETE without FROM"));
    };
    let [ast::TableWithJoins { relation, joins }] = from.as_slice() else {
        return Err(unsupported("DELETE from several tables"));
    };
    refuse(&[(!joins.is_empty(), "DELETE from a join")])?;
    let (table, alias) = target(cursor, relation)?;
    let action = WriteAction::Delete { selection: delete.selection };
    Ok(Write { table, alias, action, returning: delete.returning })
}

fn target(cursor: &Cursor<'_>, relation: &ast::TableFactor) -> Result<(Place, Option<String>), SqlError> {
    match relation {
        ast::TableFactor::Table { name, alias, args: None, .. } => {
            Ok((table(cursor, name)?, alias.as_ref().map(|alias| fold(&alias.name))))
        }
        _ => Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: a table was expected")),
    }
}

fn table(cursor: &Cursor<'_>, name: &ast::ObjectName) -> Result<Place, SqlError> {
    let position = cursor.position_of(name.span());
    let parts = object_name_parts(name).unwrap_or_default();
    match parts.as_slice() {
        [name] => Ok(Place { name: name.clone(), position }),
        [schema, name] | [_, schema, name] if schema == "public" => Ok(Place { name: name.clone(), position }),
        _ => {
            let message = format!("relation \"{}\" does not exist", parts.join("."));
            Err(SqlError::new(SqlState::UNDEFINED_TABLE, message).at(position))
        }
    }
}

fn assigned(cursor: &Cursor<'_>, assignments: Vec<ast::Assignment>) -> Result<Vec<Assigned>, SqlError> {
    let each = |assignment: ast::Assignment| match &assignment.target {
        ast::AssignmentTarget::ColumnName(name) => {
            let position = cursor.position_of(assignment.value.span());
            Ok(Assigned { column: column(cursor, name)?, value: assignment.value, position })
        }
        ast::AssignmentTarget::Tuple(_) => Err(unsupported("SET (column, …) = …")),
    };
    assignments.into_iter().map(each).collect()
}

/// A column of the table, which is named without the table.
fn column(cursor: &Cursor<'_>, name: &ast::ObjectName) -> Result<Place, SqlError> {
    let position = cursor.position_of(name.span());
    match object_name_parts(name).unwrap_or_default().as_slice() {
        [name] => Ok(Place { name: name.clone(), position }),
        parts => {
            let message = format!("column \"{}\" does not exist", parts.join("."));
            let hint = "A column that is written to is named without its table.";
            Err(SqlError::new(SqlState::UNDEFINED_COLUMN, message).hint(hint).at(position))
        }
    }
}
