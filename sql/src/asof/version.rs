//! Joins `FOR SYSTEM_TIME AS OF`, as the SQL standard and Flink write them: the version of a row that was valid at a time.
//!
//! ```text
//! o JOIN rates FOR SYSTEM_TIME AS OF o.ts AS r ON o.currency = r.currency
//!   ==>  o ASOF JOIN rates AS r ON o.currency = r.currency AND o.ts >= r.<the time of its versions>
//! ```
//! Each row of the right side is a version: it is valid from its time until that of the next of its keys. The time is the
//! column that carries the watermark ([`Object::version_time`]). By the time of processing there is no such join: its answer
//! would depend on when rows were read.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Ident, JoinConstraint, JoinOperator, ObjectName, Select, Spanned, TableFactor, TableVersion,
};

use super::syntax::mark;
use crate::binder::Relations;
use crate::catalog::{Definition, Object, noun};
use crate::error::{Located, SqlError};
use crate::parser::fold;

const CLAUSE: &str = "FOR SYSTEM_TIME AS OF";

/// What is to be written where no column is the versions' time.
const BY_HAND: &str = "write ASOF [LEFT] JOIN … ON keys AND left time >= right time, which names the column; a plain JOIN goes by the rows as they are now, and corrects what it said before";

impl Object {
    /// The column that says from when each of its rows counts: the one that carries the event time.
    ///
    /// # Errors
    /// 0A000 where there is none or several, with what to declare.
    pub fn version_time(&self) -> Result<String, SqlError> {
        let kind = noun(self.kind());
        let refuse = |why: &str| SqlError::unsupported(format!("{CLAUSE} over the {kind} \"{}\" {why}", self.name));
        match &self.definition {
            Definition::Source(create) if !create.primary_key.is_empty() => {
                Err(refuse("with a primary key is not supported")
                    .detail("It has the last row of each key; the versions before are not kept.")
                    .hint("declare its topic once more, without PRIMARY KEY and ENVELOPE and with a WATERMARK, and join that: its rows are the versions"))
            }
            Definition::Source(create) => match &create.watermark {
                Some(watermark) => Ok(watermark.column.clone()),
                None => Err(refuse("without a watermark is not supported")
                    .hint("declare the time of its versions: WATERMARK FOR column AS column - INTERVAL '…'")),
            },
            Definition::MaterializedView(_) => {
                let bounds = self.properties.iter().flat_map(|properties| &properties.bounds);
                let carry = self.columns.iter().zip(bounds).filter(|(_, bound)| bound.is_some());
                match carry.map(|(column, _)| column.name()).collect::<Vec<_>>().as_slice() {
                    [one] => Ok((*one).clone()),
                    [] => Err(refuse("is not supported: none of its columns carries an event time")
                        .hint(format!("have it show the event time of its source; or {BY_HAND}"))),
                    several => {
                        let names = several.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
                        Err(refuse("is not supported: several of its columns carry an event time")
                            .detail(format!("They are {names}."))
                            .hint(BY_HAND))
                    }
                }
            }
            Definition::View(_) | Definition::Table(_) => {
                Err(refuse("is not supported: it has no event time, so nothing says which of its columns is the versions' time")
                    .hint(BY_HAND))
            }
        }
    }
}

/// The refusal of what is no relation of the catalog.
pub(crate) fn no_versions(what: &str) -> SqlError {
    SqlError::unsupported(format!("{CLAUSE} over {what} is not supported")).hint(BY_HAND)
}

/// Makes joins with a marked condition on time of a SELECT's joins with versions. `ctes` are the names that WITH gives here.
///
/// # Errors
/// 0A000 for what has no versions, for a time that is not the row's, outside of joins and for other kinds of joins.
pub(super) fn rewrite(select: &mut Select, relations: &dyn Relations, ctes: &[String]) -> Result<(), Located> {
    for from in &mut select.from {
        refuse_version(&from.relation)?;
        for join in &mut from.joins {
            let Some((condition, span)) = take_version(&mut join.relation, relations, ctes)? else {
                refuse_version(&join.relation)?;
                continue;
            };
            let refuse = |what: &str| Err(Located::new(SqlError::unsupported(format!("{CLAUSE} {what}")), span));
            let (outer, constraint) = match &join.join_operator {
                JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (false, constraint),
                JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (true, constraint),
                _ => return refuse("is supported in JOIN and LEFT JOIN only"),
            };
            let JoinConstraint::On(on) = constraint else { return refuse("needs ON with the keys") };
            let on = ast::Expr::BinaryOp {
                left: Box::new(ast::Expr::Nested(Box::new(on.clone()))),
                op: BinaryOperator::And,
                right: Box::new(mark(condition)),
            };
            let constraint = JoinConstraint::On(on);
            join.join_operator =
                if outer { JoinOperator::LeftOuter(constraint) } else { JoinOperator::Inner(constraint) };
        }
    }
    Ok(())
}

/// Takes the version off a relation, and says how its time is to be to the row's.
fn take_version(
    relation: &mut TableFactor,
    relations: &dyn Relations,
    ctes: &[String],
) -> Result<Option<(ast::Expr, datafusion::sql::sqlparser::tokenizer::Span)>, Located> {
    let TableFactor::Table { name, alias, version, args: None, .. } = relation else { return Ok(None) };
    let Some(TableVersion::ForSystemTimeAsOf(time)) = version.take() else { return Ok(None) };
    let span = time.span();
    if !names_a_column(&time) {
        let error = SqlError::unsupported(format!("{CLAUSE} a time that is not the row's is not supported"))
            .detail("By the time of processing the answer would depend on when rows were read, not on the rows alone.")
            .hint("name a time of the left row; a plain JOIN goes by the rows as they are now, and corrects what it said before; SELECT … AS OF TICK n reads an earlier tick");
        return Err(Located::new(error, span));
    }
    let column = version_time(name, relations, ctes).map_err(|error| Located::new(error, span))?;
    let column = Ident::with_quote('"', column);
    let right = match alias {
        Some(alias) if !alias.columns.is_empty() => {
            return Err(Located::new(no_versions("a relation whose columns are renamed"), span));
        }
        Some(alias) => vec![alias.name.clone(), column],
        None => name.0.iter().filter_map(|part| part.as_ident().cloned()).chain([column]).collect(),
    };
    let condition = ast::Expr::BinaryOp {
        left: Box::new(ast::Expr::Nested(Box::new(time))),
        op: BinaryOperator::GtEq,
        right: Box::new(ast::Expr::CompoundIdentifier(right)),
    };
    Ok(Some((condition, span)))
}

fn version_time(name: &ObjectName, relations: &dyn Relations, ctes: &[String]) -> Result<String, SqlError> {
    let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(fold).collect();
    // What is not there the planner says better, which looks for relations before columns.
    let of = |schema: Option<&str>, name: &str| match relations.relation(schema, name) {
        Some(_) => relations.version_time(schema, name),
        None => Ok(String::new()),
    };
    match parts.as_slice() {
        [name] if ctes.contains(name) => Err(no_versions(&format!("the query \"{name}\" of WITH"))),
        [name] => of(None, name),
        [.., schema, name] => of(Some(schema), name),
        [] => Err(no_versions("what has no name")),
    }
}

/// Versions of what is not joined.
fn refuse_version(relation: &TableFactor) -> Result<(), Located> {
    let mut factors = vec![relation];
    while let Some(factor) = factors.pop() {
        match factor {
            TableFactor::Table { version: Some(TableVersion::ForSystemTimeAsOf(time)), .. } => {
                let error = SqlError::unsupported(format!("{CLAUSE} outside of a join is not supported"))
                    .hint("it stands behind JOIN, with the time of a row of the left side; SELECT … AS OF TICK n reads an earlier tick");
                return Err(Located::new(error, time.span()));
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                factors.push(&table_with_joins.relation);
                factors.extend(table_with_joins.joins.iter().map(|join| &join.relation));
            }
            _ => {}
        }
    }
    Ok(())
}

fn names_a_column(expr: &ast::Expr) -> bool {
    ast::visit_expressions(expr, |inner| match inner {
        ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}
