//! Queries: sqlparser's, minus what must not run.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    JoinConstraint, JoinOperator, LockType, ObjectName, Query, Select, SetExpr, Visit, Visitor,
};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Span, Token};

use super::cursor::Cursor;
use super::dialect::is_reserved;
use super::limits;
use crate::statement::Statement;
use crate::{SqlError, SqlState};

/// A statement that is a query.
pub(crate) fn statement(cursor: &mut Cursor<'_>) -> Result<Statement, SqlError> {
    let query = parse(cursor)?;
    cursor.expect_end()?;
    Ok(Statement::Query(query))
}

/// A query, up to the first token that is not its own.
pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Box<Query>, SqlError> {
    let query = cursor.sql(Parser::parse_query)?;
    check(cursor, query.as_ref())?;
    Ok(query)
}

/// Checks the queries inside `node`, just read by `cursor`: their depth, and that they only read.
pub(crate) fn check(cursor: &Cursor<'_>, node: &impl Visit) -> Result<(), SqlError> {
    limits::check_tree(node)?;
    match node.visit(&mut ReadOnly) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(Flaw::Unsupported(what)) => Err(SqlError::unsupported(format!("{what} is not supported"))),
        ControlFlow::Break(Flaw::Reserved(span)) => Err(cursor.syntax_error_at(span)),
        ControlFlow::Break(Flaw::NoCondition) => {
            Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error: JOIN without ON or USING")
                .hint("Use CROSS JOIN to combine all rows."))
        }
    }
}

/// What [`ReadOnly`] finds.
enum Flaw {
    Unsupported(&'static str),
    Reserved(Span),
    NoCondition,
}

/// Finds whatever writes or locks, and relations named by a reserved word. sqlparser reads these inside queries; the
/// planner would ignore some of them.
struct ReadOnly;

impl Visitor for ReadOnly {
    type Break = Flaw;

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Flaw> {
        match relation.0.first().and_then(|part| part.as_ident()) {
            Some(ident) if is_reserved(&Token::make_word(&ident.value, ident.quote_style)) => {
                ControlFlow::Break(Flaw::Reserved(ident.span))
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Flaw> {
        if let Some(lock) = query.locks.first() {
            return unsupported(match lock.lock_type {
                LockType::Share => "SELECT FOR SHARE",
                LockType::Update => "SELECT FOR UPDATE",
            });
        }
        if query.for_clause.is_some() {
            return unsupported("the FOR clause");
        }
        if !query.pipe_operators.is_empty() {
            return unsupported("the pipe operator");
        }
        let mut bodies = vec![query.body.as_ref()];
        while let Some(body) = bodies.pop() {
            match body {
                SetExpr::SetOperation { left, right, .. } => bodies.extend([left.as_ref(), right.as_ref()]),
                SetExpr::Insert(_) => return unsupported("INSERT"),
                SetExpr::Update(_) => return unsupported("UPDATE"),
                SetExpr::Delete(_) => return unsupported("DELETE"),
                SetExpr::Merge(_) => return unsupported("MERGE"),
                SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Flaw> {
        if select.into.is_some() {
            return unsupported("SELECT INTO");
        }
        // sqlparser lets a join go without a condition; the planner would multiply.
        for join in select.from.iter().flat_map(|from| &from.joins) {
            if let JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) = &join.join_operator
                && *constraint == JoinConstraint::None
            {
                return ControlFlow::Break(Flaw::NoCondition);
            }
        }
        ControlFlow::Continue(())
    }
}

fn unsupported(what: &'static str) -> ControlFlow<Flaw> {
    ControlFlow::Break(Flaw::Unsupported(what))
}
