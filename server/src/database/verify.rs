//! VERIFY MATERIALIZED VIEW: the view's query run as a batch over exactly the rows its sources had accepted at a tick, and
//! held against the view's rows at that tick.
//!
//! The sources are read from their logs again, and nothing of the incremental plan is used, so a difference is a fault of
//! one of the two. Out: the rows that differ with `tidemark_diff`, how often the view has the row too many, or with a
//! minus too few. No rows: the view is what its query says.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, filter_record_batch, or, take_record_batch};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use engine::dataflow::bound::PhysicalBound;
use engine::dataflow::checked::CheckedPlanner;
use engine::delta::{Delta, Weights};
use engine::engine::Engine;
use engine::view::{SnapshotTable, ViewReading, consolidate};
use sql::binder::{Binder, Relation, Relations};
use sql::catalog::{Definition, Object};
use sql::statement::{CreateMaterializedView, Emit, OnError, Verify};
use sql::{SqlError, SqlState};

use super::relations::{failed, version_time, view_relation};
use super::view::plan_view;
use super::{Database, Reading, degraded};
use crate::backend::{Backend, Notice, Outcome, RowsTag, StatementResult};

/// How far floats may differ, of the larger: a batch adds them in another order.
const FLOAT_TOLERANCE: f64 = 1e-9;

/// The columns of a verification.
///
/// # Errors
/// 42P01 if there is no such materialized view.
pub(super) fn columns(verify: &Verify, reading: &Reading) -> Result<Vec<FieldRef>, SqlError> {
    let (view, _) = view_of(verify, reading)?;
    let mut fields = vec![Arc::new(Field::new("tidemark_diff", DataType::Int64, false))];
    fields.extend(view.columns.iter().map(|field| Arc::new(Field::as_ref(field).clone().with_nullable(true))));
    Ok(fields)
}

fn view_of<'a>(
    verify: &Verify,
    reading: &'a Reading,
) -> Result<(&'a Arc<Object>, &'a CreateMaterializedView), SqlError> {
    let undefined = || {
        let message = format!("materialized view \"{}\" does not exist", verify.view);
        SqlError::new(SqlState::UNDEFINED_TABLE, message).at(verify.position)
    };
    let object = reading.catalog.get(&verify.view).ok_or_else(undefined)?;
    match &object.definition {
        Definition::MaterializedView(create) => Ok((object, create)),
        _ => Err(undefined()),
    }
}

impl Database {
    /// Verifies a view.
    ///
    /// # Errors
    /// As [`columns`]; 22023 for a tick that is not kept, 55000 if the view has failed or was not there, 22P02 if a log does
    /// not hold the records any more.
    pub(super) async fn verify(&self, verify: &Verify) -> Result<Outcome, SqlError> {
        let reading = match verify.tick {
            None => Arc::new(self.reading()),
            Some(tick) => super::backend::reading_at(&self.read_point_at(tick)?)?,
        };
        let (object, create) = view_of(verify, &reading)?;
        let columns = columns(verify, &reading)?;
        let tick = reading.snapshot.tick;
        let view = reading.snapshot.view(&verify.view).ok_or_else(|| {
            let message = format!("materialized view \"{}\" was created after tick {tick}", verify.view);
            SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
        })?;
        if let Some(error) = &view.error {
            return Err(SqlError { hint: None, ..failed(&verify.view, error) });
        }
        let expected = self.batch_answer(object, create, &reading).await?;
        let (view, compared) = (view.clone(), expected.iter().map(RecordBatch::num_rows).sum::<usize>());
        let found = tokio::task::spawn_blocking(move || difference(&view, &expected)).await;
        let found = found.map_err(|e| engine::Error::internal("a task ended").with_source(e))??;
        let schema: SchemaRef = Arc::new(Schema::new(columns.clone()));
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(weights(&found))];
        arrays.extend_from_slice(found.rows.columns());
        let batch = RecordBatch::try_new(schema.clone(), arrays).map_err(engine::Error::from)?;
        let outcome = if batch.num_rows() == 0 { "is what its query says" } else { "is NOT what its query says" };
        let message = format!("materialized view \"{}\" {outcome}: {compared} rows, tick {tick}", verify.view);
        let stream = Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)])));
        let result = StatementResult::Rows { columns, stream, tag: RowsTag::Counted("VERIFY") };
        let mut notices = vec![Notice::new(message)];
        let rows = reading.snapshot.rows_left_out(&verify.view);
        notices.extend((rows > 0).then(|| degraded::left_out(&verify.view, rows)));
        Ok(Outcome { notices, result })
    }

    async fn plain_answer(&self, plan: &LogicalPlan, now_micros: i64) -> Result<Vec<RecordBatch>, SqlError> {
        let physical = self.physical_at(plan, now_micros).await?;
        Ok(datafusion::physical_plan::collect(physical, self.task_context()).await?)
    }

    /// The answer over the rows that do not fail, operator by operator.
    async fn checked_answer(&self, plan: &LogicalPlan, now_micros: i64) -> Result<Vec<RecordBatch>, SqlError> {
        let plan = sql::incremental::checked_batch(plan, now_micros)?;
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(CheckedPlanner)]);
        let physical = planner.create_physical_plan(&plan, &self.session_state).await?;
        Ok(datafusion::physical_plan::collect(physical, self.task_context()).await?)
    }

    /// The rows of a view's query over what its sources had accepted.
    async fn batch_answer(
        &self,
        object: &Object,
        create: &CreateMaterializedView,
        reading: &Reading,
    ) -> Result<Vec<RecordBatch>, SqlError> {
        let relations = AcceptedRelations { reading, engine: &self.engine };
        let binder = Binder::new(&self.session_state, &relations);
        let plan = binder.bind_view(&create.query, &object.text, &create.columns)?;
        // now() in a view is the tick's time.
        let now = reading.snapshot.now_micros;
        let batches = match reading.snapshot.rows_left_out(&object.name) {
            0 => self.plain_answer(&plan, now).await,
            _ => self.checked_answer(&plan, now).await,
        };
        // Without rows that fail the two are the same; which rows fail depends on where the optimiser puts an expression.
        let batches = match batches {
            Err(error) if error.state.0.starts_with("22") && create.on_error == OnError::Exclude => {
                self.checked_answer(&plan, now).await?
            }
            batches => batches?,
        };
        let schema: SchemaRef = Arc::new(Schema::new(object.columns.clone()));
        let mut answer = Vec::with_capacity(batches.len());
        for batch in batches {
            let cast = |(column, field): (&ArrayRef, &FieldRef)| cast(column, field.data_type());
            let columns = batch.columns().iter().zip(schema.fields()).map(cast).collect::<Result<_, _>>();
            let columns = columns.map_err(engine::Error::from)?;
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options);
            answer.push(batch.map_err(engine::Error::from)?);
        }
        if create.emit == Emit::OnWindowClose {
            let planned = plan_view(&self.session_state, &reading.catalog, create, &object.text)?;
            answer = closed(answer, &planned.dataflow, reading)?;
        }
        Ok(answer)
    }
}

/// Of the rows of a view that emits on window close those that had been final.
fn closed(
    rows: Vec<RecordBatch>,
    dataflow: &engine::dataflow::Dataflow,
    reading: &Reading,
) -> Result<Vec<RecordBatch>, SqlError> {
    let bounded = dataflow.bounds.iter().enumerate().filter_map(|(column, bound)| Some((column, bound.as_ref()?)));
    let bounded = bounded.map(|(column, bound)| Ok((column, PhysicalBound::try_new(bound)?)));
    let bounded = bounded.collect::<Result<Vec<_>, SqlError>>()?;
    if bounded.is_empty() {
        return Err(SqlError::unsupported("VERIFY of a view that emits on window close and shows no window column")
            .hint("Give window_start or window_end among its columns."));
    }
    let watermarks = reading.snapshot.sources.iter().map(|(name, source)| (name.clone(), source.closing));
    let watermarks: HashMap<_, _> = watermarks.collect();
    let kept = rows.iter().map(|batch| {
        let mut is_final = BooleanArray::from(vec![false; batch.num_rows()]);
        // One such column is the window's; others follow from it, and say it later.
        for (column, bound) in &bounded {
            let by_this = bound.are_final(batch.column(*column), &watermarks)?;
            is_final = or(&is_final, &by_this).map_err(engine::Error::from)?;
        }
        Ok(filter_record_batch(batch, &is_final).map_err(engine::Error::from)?)
    });
    kept.collect()
}

/// What names in a view's body stand for in a batch: sources are their accepted rows, views their queries.
struct AcceptedRelations<'a> {
    reading: &'a Reading,
    engine: &'a Engine,
}

impl Relations for AcceptedRelations<'_> {
    fn relation(&self, _schema: Option<&str>, name: &str) -> Option<Relation> {
        let object = self.reading.catalog.get(name)?;
        Some(match &object.definition {
            Definition::Source(_) => {
                Relation::Table(Arc::new(self.engine.accepted_rows(name, &self.reading.snapshot).ok()?))
            }
            Definition::View(view) => view_relation(object, &view.query_text),
            // What is final at a tick is a question of its own, and of that view's own verification.
            // So is which rows it leaves out.
            Definition::MaterializedView(view)
                if view.emit == Emit::OnWindowClose || self.reading.snapshot.rows_left_out(name) > 0 =>
            {
                let rows = self.reading.snapshot.view(name)?.rows.clone();
                Relation::Table(Arc::new(SnapshotTable::new(rows)))
            }
            Definition::MaterializedView(view) => view_relation(object, &view.query_text),
            Definition::Table(_) => {
                let rows = self.reading.snapshot.view(name)?.rows.clone();
                Relation::Table(Arc::new(SnapshotTable::new(rows)))
            }
        })
    }

    fn version_time(&self, schema: Option<&str>, name: &str) -> Result<String, SqlError> {
        version_time(&self.reading.catalog, schema, name)
    }
}

fn weights(delta: &Delta) -> Int64Array {
    (0..delta.num_rows()).map(|row| Some(delta.weight(row))).collect()
}

/// The view's rows less the expected ones.
fn difference(view: &ViewReading, expected: &[RecordBatch]) -> Result<Delta, SqlError> {
    let schema = view.rows.schema();
    let mut deltas = Vec::new();
    for rows in view.rows.scan(None) {
        deltas.push(Delta::inserts(rows?));
    }
    for rows in expected {
        let minus = Int64Array::from_value(-1, rows.num_rows());
        let rows = rows.clone().with_schema(schema.clone()).map_err(engine::Error::from)?;
        deltas.push(Delta { rows, weights: Weights::Signed(minus) });
    }
    without_near(consolidate(schema, &deltas)?)
}

/// The delta without pairs of a row too many and one too few that SQL does not tell apart: floats nearly equal, lists in
/// another order.
fn without_near(delta: Delta) -> Result<Delta, SqlError> {
    let mut rows = Vec::with_capacity(delta.num_rows());
    for row in 0..delta.num_rows() {
        let cells = delta.rows.columns().iter().map(|column| cell(column, row));
        rows.push(cells.collect::<Result<Vec<_>, _>>().map_err(engine::Error::from)?);
    }
    let mut left: Vec<i64> = (0..delta.num_rows()).map(|row| delta.weight(row)).collect();
    let mut alike: HashMap<Vec<&Cell>, Vec<usize>> = HashMap::new();
    for (row, cells) in rows.iter().enumerate() {
        alike.entry(cells.iter().filter(|cell| !matches!(cell, Cell::Float(_))).collect()).or_default().push(row);
    }
    for group in alike.values() {
        for (at, one) in group.iter().enumerate() {
            for other in &group[at + 1..] {
                if left[*one].signum() * left[*other].signum() >= 0 || !is_near(&rows[*one], &rows[*other]) {
                    continue;
                }
                let pairs = left[*one].abs().min(left[*other].abs());
                left[*one] -= pairs * left[*one].signum();
                left[*other] -= pairs * left[*other].signum();
            }
        }
    }
    let kept: Vec<u32> = (0..left.len()).filter(|row| left[*row] != 0).map(|row| row as u32).collect();
    let weights: Int64Array = kept.iter().map(|row| Some(left[*row as usize])).collect();
    let rows = take_record_batch(&delta.rows, &UInt32Array::from(kept)).map_err(engine::Error::from)?;
    Ok(Delta { rows, weights: Weights::Signed(weights) })
}

/// A value as it is compared.
#[derive(Debug, Clone)]
enum Cell {
    Float(f64),
    Text(Option<String>),
    /// Sorted.
    List(Vec<String>),
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Self::Float(_) => String::new(),
            Self::Text(None) => "n".into(),
            Self::Text(Some(text)) => format!("t{text}"),
            Self::List(items) => format!("l{items:?}"),
        }
    }
}

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Cell {}

impl std::hash::Hash for Cell {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

fn cell(column: &ArrayRef, row: usize) -> Result<Cell, arrow::error::ArrowError> {
    let text = |array: &dyn Array, row: usize| {
        let formatter = ArrayFormatter::try_new(array, &FormatOptions::new().with_display_error(true))?;
        Ok::<_, arrow::error::ArrowError>(formatter.value(row).to_string())
    };
    if column.is_null(row) {
        return Ok(Cell::Text(None));
    }
    Ok(match column.data_type() {
        DataType::Float32 => Cell::Float(f64::from(column.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => Cell::Float(column.as_primitive::<Float64Type>().value(row)),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            let items = (0..items.len()).map(|item| text(&items, item));
            let mut items = items.collect::<Result<Vec<_>, _>>()?;
            items.sort_unstable();
            Cell::List(items)
        }
        _ => Cell::Text(Some(text(column, row)?)),
    })
}

fn is_near(one: &[Cell], other: &[Cell]) -> bool {
    one.iter().zip(other).all(|pair| match pair {
        (Cell::Float(a), Cell::Float(b)) => {
            (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= FLOAT_TOLERANCE * a.abs().max(b.abs()).max(1.0)
        }
        (Cell::Float(_), _) | (_, Cell::Float(_)) => false,
        (one, other) => one == other,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;

    use super::*;

    #[test]
    fn floats_that_are_nearly_equal_are_no_difference() {
        let fields = vec![Field::new("k", DataType::Int64, true), Field::new("x", DataType::Float64, true)];
        let schema = Arc::new(Schema::new(fields));
        let keys = Int64Array::from(vec![1, 1, 2, 2, 3]);
        let floats = Float64Array::from(vec![0.1 + 0.2, 0.3, 1.0, 1.1, 5.0]);
        let rows = RecordBatch::try_new(schema, vec![Arc::new(keys), Arc::new(floats)]).expect("two columns");
        let weights = Weights::Signed(vec![2, -2, 1, -1, -1].into());
        let left = without_near(Delta { rows, weights }).expect("values that can be shown");
        let keys = left.rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
        assert_eq!(keys, [2, 2, 3]);
        assert_eq!((0..3).map(|row| left.weight(row)).collect::<Vec<_>>(), [1, -1, -1]);
    }
}
