//! Windows in FROM: the planner hook that turns `tumble(rel, time, size)` and its like into plan nodes.

use datafusion::common::TableReference;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArguments, ObjectName, Spanned, TableAlias, TableFactor, TableFunctionArgs,
};

use super::call::{self, Kind};
use super::{Names, WINDOW_END, WINDOW_NUMBER, WINDOW_START, group, project};
use crate::error::Located;
use crate::parser::fold;
use crate::{SqlError, SqlState};

/// Plans windows in FROM, and the marks [`group`] leaves there for windows in GROUP BY.
#[derive(Debug, Default)]
pub struct Windows;

impl RelationPlanner for Windows {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        match relation {
            TableFactor::Table { ref name, ref alias, args: Some(ref args), with_ordinality: false, .. } => {
                match call::kind(name, true)? {
                    Some(kind) => plan(kind, name, &args.args, alias.clone(), context),
                    None => Ok(RelationPlanning::Original(Box::new(relation))),
                }
            }
            TableFactor::Function { ref name, ref args, ref alias, .. } => match call::kind(name, true)? {
                Some(kind) => plan(kind, name, args, alias.clone(), context),
                None => Ok(RelationPlanning::Original(Box::new(relation))),
            },
            // TABLE(f(…)) is f(…).
            TableFactor::TableFunction { expr: Expr::Function(function), alias } => {
                let arguments = match function.args {
                    FunctionArguments::List(list) => list.args,
                    _ => Vec::new(),
                };
                match call::kind(&function.name, true)? {
                    Some(kind) => plan(kind, &function.name, &arguments, alias, context),
                    None => Ok(RelationPlanning::Original(Box::new(with_arguments(function.name, arguments, alias)))),
                }
            }
            other => match group::marked(other) {
                Ok(marked) => {
                    let input = context.plan(*marked.relation)?;
                    let time = context.sql_to_expr(marked.time, input.schema())?;
                    let keys = marked.keys.into_iter().map(|key| context.sql_to_expr(key, input.schema()));
                    let keys = keys.collect::<Result<Vec<_>>>()?;
                    let names = Names { start: group::START, end: group::END };
                    let plan = project(input, time, keys, marked.window, names)?;
                    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, None))))
                }
                Err(original) => Ok(RelationPlanning::Original(original)),
            },
        }
    }
}

fn plan(
    kind: Kind,
    name: &ObjectName,
    arguments: &[FunctionArg],
    alias: Option<TableAlias>,
    context: &mut dyn RelationPlannerContext,
) -> Result<RelationPlanning> {
    let span = name.span();
    let call = call::on_relation(kind, arguments, span)?;
    let own_name = own_name(&call.relation).unwrap_or_else(|| name.to_string().to_ascii_lowercase());
    let input = context.plan(call.relation)?;
    let added = if kind == Kind::Count {
        [WINDOW_START, WINDOW_END, WINDOW_NUMBER].as_slice()
    } else {
        &[WINDOW_START, WINDOW_END]
    };
    for added in added {
        if input.schema().has_column_with_unqualified_name(added) {
            let error =
                SqlError::new(SqlState::DUPLICATE_COLUMN, format!("\"{own_name}\" already has a column \"{added}\""))
                    .hint("Rename it in a subquery: SELECT …, window_start AS inner_start FROM ….");
            return Err(Located::new(error, span).into());
        }
    }
    let time_span = call.time.span();
    let time = context.sql_to_expr(call.time, input.schema())?;
    let keys = call.keys.into_iter().map(|key| context.sql_to_expr(key, input.schema()));
    let keys = keys.collect::<Result<Vec<_>>>()?;
    let names = Names { start: WINDOW_START, end: WINDOW_END };
    let plan = project(input, time, keys, call.window, names).map_err(|error| locate(error, time_span))?;
    let plan = match &alias {
        // Without an alias the columns keep the relation's name, the window's two included.
        None => LogicalPlanBuilder::from(plan).alias(TableReference::bare(own_name))?.build()?,
        Some(_) => plan,
    };
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
}

/// Gives an error of ours the place it concerns.
fn locate(error: DataFusionError, span: datafusion::sql::sqlparser::tokenizer::Span) -> DataFusionError {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<SqlError>() {
            Ok(error) => Located::new(*error, span).into(),
            Err(inner) => DataFusionError::External(inner),
        },
        other => other,
    }
}

fn own_name(relation: &TableFactor) -> Option<String> {
    match relation {
        TableFactor::Table { name, .. } => name.0.last()?.as_ident().map(fold),
        _ => None,
    }
}

fn with_arguments(name: ObjectName, arguments: Vec<FunctionArg>, alias: Option<TableAlias>) -> TableFactor {
    match call::table(name) {
        TableFactor::Table {
            name,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
            ..
        } => TableFactor::Table {
            name,
            alias,
            args: Some(TableFunctionArgs { args: arguments, settings: None }),
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        },
        other => other,
    }
}
