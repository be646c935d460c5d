//! Subqueries as functions of the outer row: what cannot be turned into a join.
//!
//! The subquery's references to the outer row are its parameters `$1`, `$2`, …; the function's arguments are their
//! values. It plans the subquery once for the types it is called with, and runs the plan once for each distinct set of
//! values. That is quadratic, and small, as catalogs are.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::ParamValues;
use datafusion::common::ScalarValue;
use datafusion::common::metadata::{FieldMetadata, ScalarAndMetadata};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};
use datafusion::sql::sqlparser::ast::Query;
use parking_lot::Mutex;
use sql::error::SqlState;

use super::PgCatalog;
use super::names::refuse;
use super::planner;

/// The function `name` that runs `query`, which may call `functions`.
pub(super) fn function(
    catalog: &PgCatalog,
    name: &str,
    query: Query,
    functions: Vec<Arc<ScalarUDF>>,
) -> Arc<ScalarUDF> {
    let any = TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny]);
    Arc::new(ScalarUDF::new_from_impl(Correlated {
        name: name.to_string(),
        catalog: catalog.clone(),
        query,
        functions,
        signature: Signature::new(any, Volatility::Stable),
        planned: Mutex::default(),
    }))
}

struct Correlated {
    name: String,
    catalog: PgCatalog,
    query: Query,
    functions: Vec<Arc<ScalarUDF>>,
    signature: Signature,
    /// The plan for the types it was last called with.
    planned: Mutex<Option<(Vec<FieldRef>, LogicalPlan)>>,
}

impl std::fmt::Debug for Correlated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}", self.name, self.query)
    }
}

impl PartialEq for Correlated {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.query == other.query && self.catalog.is_same(&other.catalog)
    }
}

impl Eq for Correlated {}

impl Hash for Correlated {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Correlated {
    fn plan(&self, fields: &[FieldRef]) -> Result<LogicalPlan> {
        let mut planned = self.planned.lock();
        if let Some((for_fields, plan)) = planned.as_ref()
            && for_fields == fields
        {
            return Ok(plan.clone());
        }
        let parameters = fields.iter().cloned().map(Some).collect();
        let plan = planner::plan(&self.catalog, &self.functions, self.query.clone(), parameters)?;
        if plan.schema().fields().len() != 1 {
            return Err(refuse(SqlState::SYNTAX_ERROR, "subquery must return only one column"));
        }
        *planned = Some((fields.to_vec(), plan.clone()));
        Ok(plan)
    }

    /// The subquery's value for each row of `arguments`.
    async fn values(
        &self,
        plan: &LogicalPlan,
        fields: &[FieldRef],
        arguments: &[ArrayRef],
        rows: usize,
    ) -> Result<Vec<ScalarValue>> {
        let none = ScalarValue::try_from(plan.schema().field(0).data_type())?;
        let mut known: HashMap<Vec<ScalarValue>, ScalarValue> = HashMap::new();
        let mut values = Vec::with_capacity(rows);
        for at in 0..rows {
            let row: Vec<ScalarValue> =
                arguments.iter().map(|array| ScalarValue::try_from_array(array, at)).collect::<Result<_>>()?;
            if let Some(value) = known.get(&row) {
                values.push(value.clone());
                continue;
            }
            let parameter = |(value, field): (&ScalarValue, &FieldRef)| {
                ScalarAndMetadata::new(value.clone(), Some(FieldMetadata::new_from_field(field)))
            };
            let parameters = ParamValues::List(row.iter().zip(fields).map(parameter).collect());
            let batches = planner::run(&plan.clone().with_param_values(parameters)?).await?;
            let mut found = batches.iter().filter(|batch| batch.num_rows() > 0);
            let value = match (found.next(), found.next()) {
                (None, _) => none.clone(),
                (Some(batch), None) if batch.num_rows() == 1 => ScalarValue::try_from_array(batch.column(0), 0)?,
                _ => {
                    let message = "more than one row returned by a subquery used as an expression";
                    return Err(refuse(SqlState("21000"), message));
                }
            };
            known.insert(row, value.clone());
            values.push(value);
        }
        Ok(values)
    }
}

impl ScalarUDFImpl for Correlated {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(DataFusionError::Internal("the type of a subquery follows from its arguments' fields".into()))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let plan = self.plan(args.arg_fields)?;
        Ok(Arc::new(plan.schema().field(0).as_ref().clone().with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let plan = self.plan(&args.arg_fields)?;
        let rows = args.number_rows;
        let arguments: Vec<ArrayRef> = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<_>>()?;
        // A function is called from inside a task of some runtime, which must not be blocked on a future of its own;
        // a thread with a runtime for itself may be.
        let values = std::thread::scope(|scope| {
            let run = || {
                let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                runtime.block_on(self.values(&plan, &args.arg_fields, &arguments, rows))
            };
            scope.spawn(run).join()
        });
        let values = values.map_err(|_| DataFusionError::Internal("a subquery's thread panicked".into()))??;
        if values.is_empty() {
            return Ok(ColumnarValue::Array(arrow::array::new_empty_array(args.return_field.data_type())));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(values)?))
    }
}
