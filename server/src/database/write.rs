//! INSERT, UPDATE, DELETE, TRUNCATE: the query a statement stands for, run at the newest tick, and its rows as a change of
//! the table.
//!
//! ```text
//! statement ─> query (sql::write) ─> rows ─> NOT NULL ─> RETURNING ─> deltas ─> Engine::write ─> the next tick, published
//! ```
//! The engine holds the change against the table's rows as they are when it goes in. An INSERT is right or refused by
//! that alone. A statement that depends on rows it read takes the lock `writing`, so that only INSERTs can come between its
//! reading and its writing; where one does and it matters, the statement is run again at the newest tick.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::row::{RowConverter, Rows as ArrowRows, SortField};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::sqlparser::ast::Query;
use engine::Error;
use engine::delta::{Delta, Weights};
use engine::tick::table::WriteError;
use sql::binder::{Relation, Relations};
use sql::catalog::{Catalog, Definition, Object, noun};
use sql::statement::{Conflict, CreateTable, Write, WriteAction};
use sql::write::{self, COPIED, EXCLUDED, RETURNED, Rows};
use sql::{SqlError, SqlState};
use tokio_util::sync::CancellationToken;

use super::backend::reading_at;
use super::catalog_query::Asker;
use super::query::{PlannedQuery, bind};
use super::relations::{ReadRelations, schema_of};
use super::{Database, Reading, block, blocking};
use crate::backend::{BlockWrites, Description, Outcome, Request, RowsTag, Settings, StatementResult};
use crate::pg::text_of_row;

/// How often a statement is run again because others wrote what it depends on.
const ATTEMPTS_MAX: usize = 100;

/// What a statement changes.
#[derive(Default)]
struct Change {
    deltas: Vec<Delta>,
    /// The rows the client is told of: those written, or deleted.
    told: Vec<RecordBatch>,
}

impl Change {
    fn rows(&self) -> usize {
        self.told.iter().map(RecordBatch::num_rows).sum()
    }
}

/// The statement's queries, planned at one reading.
struct Planned<'r> {
    object: Arc<Object>,
    table: &'r CreateTable,
    rows: Rows,
    query: PlannedQuery,
    /// What ON CONFLICT DO UPDATE makes of the rows there are.
    update: Option<Rows>,
    returning: Option<Returning>,
    /// One type per parameter.
    parameters: Vec<DataType>,
}

/// A RETURNING clause.
struct Returning {
    query: Box<Query>,
    /// The columns of what it gives.
    columns: Vec<FieldRef>,
}

/// The relations of a statement, with rows that have a name in it alone.
struct WithRows<'a> {
    own: ReadRelations<'a>,
    name: &'static str,
    rows: Arc<dyn TableProvider>,
}

impl Relations for WithRows<'_> {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Relation> {
        if schema.is_none() && name == self.name {
            return Some(Relation::Table(self.rows.clone()));
        }
        self.own.relation(schema, name)
    }

    fn names(&self) -> Vec<String> {
        self.own.names()
    }

    fn version_time(&self, schema: Option<&str>, name: &str) -> Result<String, SqlError> {
        self.own.version_time(schema, name)
    }

    fn entering(&self, view: &str) {
        self.own.entering(view);
    }

    fn leaving(&self) {
        self.own.leaving();
    }
}

impl Database {
    /// The types of a writing statement's parameters, and the columns of what it returns.
    ///
    /// # Errors
    /// As for [`write`](Self::write), but for what its values do.
    pub(super) fn describe_write(
        &self,
        write: &Write,
        request: &Request<'_>,
        reading: &Reading,
        asker: &Asker,
    ) -> Result<Description, SqlError> {
        let (object, table) = target(&reading.catalog, write)?;
        let planned = self.plan_write(write, object, table, request, (reading, asker, None))?;
        let columns = planned.returning.map(|returning| returning.columns);
        Ok(Description { parameters: planned.parameters, columns })
    }

    /// Runs a statement that writes to a table. Returns when the tick that holds the change is published. `copied` are the rows
    /// that [`COPIED`] stands for.
    ///
    /// # Errors
    /// 42P01, 42809, 42703, 42804, 42601, 42P10, 23505, 23502, 21000, 40001, 57014, and what its expressions report. After
    /// an error nothing is changed.
    pub(super) async fn write(
        &self,
        write: &Write,
        request: &Request<'_>,
        asker: &Asker,
        parameters: Vec<ScalarValue>,
        copied: Option<Arc<dyn TableProvider>>,
    ) -> Result<Outcome, SqlError> {
        let conflict = match &write.action {
            WriteAction::Insert { conflict, .. } => conflict.as_ref(),
            _ => None,
        };
        if let Some(block) = request.block {
            let reading = reading_at(request.read_point)?.seen_by(asker);
            let at = (&reading, asker, copied.as_ref());
            return self.write_in_block(write, request, at, &parameters, block).await;
        }
        let depends = conflict.is_some() || !matches!(write.action, WriteAction::Insert { .. });
        let _writing = match depends {
            true => tokio::select! {
                writing = self.writing.lock() => Some(writing),
                () = request.cancel.cancelled() => return Err(cancelled()),
            },
            false => None,
        };
        for _ in 0..ATTEMPTS_MAX {
            if request.cancel.is_cancelled() {
                return Err(cancelled());
            }
            let reading = self.reading().seen_by(asker);
            let (object, table) = target(&reading.catalog, write)?;
            let planned = self.plan_write(write, object, table, request, (&reading, asker, copied.as_ref()))?;
            let change = self.change_of(write, &planned, request, &reading, &parameters).await?;
            // Before anything is written: where RETURNING fails, nothing is.
            let outcome = self.outcome(write, &planned, &change, (request, &reading, &parameters)).await?;
            let deltas = change.deltas;
            if deltas.iter().all(Delta::is_empty) {
                return Ok(outcome);
            }
            let (engine, name) = (self.engine.clone(), write.table.name.clone());
            match blocking(move || Ok(engine.write(vec![(name, deltas)]))).await?.map_err(|(_, error)| error) {
                Ok(()) => return Ok(outcome),
                // The key came after the rows were read.
                Err(WriteError::Duplicate { .. }) if conflict.is_some() && self.has_changed(&object.name, &reading) => {
                }
                Err(WriteError::Duplicate { key }) => return Err(duplicate(table, &key, request.settings)),
                Err(WriteError::Conflict(_)) => {}
                Err(WriteError::Failed(error)) => return Err(error.into()),
            }
        }
        Err(SqlError::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to concurrent writes")
            .hint("Run the statement again."))
    }

    /// Runs a writing statement of a transaction block: at the block's read point, for the block alone.
    async fn write_in_block(
        &self,
        write: &Write,
        request: &Request<'_>,
        (reading, asker, copied): (&Reading, &Asker, Option<&Arc<dyn TableProvider>>),
        parameters: &[ScalarValue],
        block: &BlockWrites,
    ) -> Result<Outcome, SqlError> {
        let (object, table) = target(&reading.catalog, write)?;
        let planned = self.plan_write(write, object, table, request, (reading, asker, copied))?;
        let change = self.change_of(write, &planned, request, reading, parameters).await?;
        let outcome = self.outcome(write, &planned, &change, (request, reading, parameters)).await?;
        let own = reading.own.with(object, reading, &change.deltas)?;
        if let Some(change) = own.change_of(&object.name) {
            let (name, change) = (object.name.clone(), change.clone());
            let engine = self.engine.clone();
            let checked = blocking(move || Ok(engine.with_core(move |core| core.check_keys(&name, &change))?)).await?;
            match checked {
                Ok(()) => {}
                Err(WriteError::Duplicate { key }) => return Err(duplicate(table, &key, request.settings)),
                Err(WriteError::Conflict(_)) => return Err(block::conflict()),
                Err(WriteError::Failed(error)) => return Err(error.into()),
            }
        }
        block.put(Arc::new(own));
        Ok(outcome)
    }

    /// What the client is told of a change: how many rows, and with RETURNING which.
    async fn outcome(
        &self,
        write: &Write,
        planned: &Planned<'_>,
        change: &Change,
        (request, reading, parameters): (&Request<'_>, &Reading, &[ScalarValue]),
    ) -> Result<Outcome, SqlError> {
        let word = tag(write);
        let Some(Returning { query, .. }) = &planned.returning else {
            return Ok(Outcome::done(match write.action {
                WriteAction::Truncate => word.to_owned(),
                _ => format!("{word} {}", change.rows()),
            }));
        };
        let schema = schema_of(&planned.object.columns);
        let told = concat_batches(&schema, &change.told).map_err(Error::from)?;
        let told = Arc::new(MemTable::try_new(schema, vec![vec![told]])?);
        let types: Vec<_> = planned.parameters.iter().cloned().map(Some).collect();
        let query = self.bind_returning(query, request, reading, (&types, told))?;
        let rows = self.collect(&query, parameters, request.cancel).await?;
        let schema = Arc::new(query.plan.schema().as_arrow().clone());
        let stream = futures::stream::iter(rows.into_iter().map(Ok));
        let stream = Box::pin(RecordBatchStreamAdapter::new(schema, stream));
        let result = StatementResult::Rows { columns: query.columns, stream, tag: RowsTag::Counted(word) };
        Ok(Outcome { notices: Vec::new(), result })
    }

    /// Binds a RETURNING clause over the rows it is about.
    ///
    /// # Errors
    /// The binder's; 42803, 42P20 for what is not of one row.
    fn bind_returning(
        &self,
        query: &Query,
        request: &Request<'_>,
        reading: &Reading,
        (types, rows): (&[Option<DataType>], Arc<dyn TableProvider>),
    ) -> Result<PlannedQuery, SqlError> {
        let relations = WithRows { own: ReadRelations::new(reading, &self.engine), name: RETURNED, rows };
        let bound = bind(&self.session_state, &relations, query, &request.statement.text, types)?;
        let mut node = &bound.plan;
        loop {
            let refused = match node {
                LogicalPlan::Aggregate(_) => Some((SqlState::GROUPING_ERROR, "aggregate functions")),
                LogicalPlan::Window(_) => Some((SqlState::WINDOWING_ERROR, "window functions")),
                LogicalPlan::Unnest(_) => Some((SqlState::FEATURE_NOT_SUPPORTED, "set-returning functions")),
                _ => None,
            };
            if let Some((state, what)) = refused {
                return Err(SqlError::new(state, format!("{what} are not allowed in RETURNING")));
            }
            match node.inputs().as_slice() {
                [input] => node = input,
                _ => return Ok(bound),
            }
        }
    }

    /// True if a table has changed since a reading.
    fn has_changed(&self, name: &str, since: &Reading) -> bool {
        let applied = |reading: &Reading| reading.snapshot.view(name).map(|table| (table.instance, table.applied));
        applied(&self.reading()) != applied(since)
    }

    fn plan_write<'r>(
        &self,
        write: &Write,
        object: &Arc<Object>,
        table: &'r CreateTable,
        request: &Request<'_>,
        (reading, asker, copied): (&Reading, &Asker, Option<&Arc<dyn TableProvider>>),
    ) -> Result<Planned<'r>, SqlError> {
        let (text, types) = (&request.statement.text, request.parameter_types);
        let plan = |query: &Query, types: &[Option<DataType>]| match copied {
            None => self.plan_query(query, text, types, reading, Some(asker)),
            Some(rows) => {
                let own = ReadRelations::new(reading, &self.engine);
                bind(&self.session_state, &WithRows { own, name: COPIED, rows: rows.clone() }, query, text, types)
            }
        };
        let rows = write::rows(write, table, text)?;
        let source = plan(&rows.source, types)?;
        let query = rows.query(table, &source.columns)?;
        let mut known: Vec<Option<DataType>> = source.parameters.iter().cloned().map(Some).collect();
        let query = plan(&query, &known)?;
        let mut update = None;
        let mut parameters = source.parameters;
        if let WriteAction::Insert { conflict: Some(conflict), .. } = &write.action {
            write::check_conflict(conflict, table)?;
            if let Some(assigned) = &conflict.update {
                // What the first query does not mention it knows nothing of.
                let mentioned = write::parameters(rows.source.as_ref());
                let rows = write::conflicting(write, table, assigned)?;
                for (n, known) in known.iter_mut().enumerate().filter(|(n, _)| !mentioned.contains(n)) {
                    *known = types.get(n).cloned().flatten();
                }
                let excluded = Arc::new(EmptyTable::new(schema_of(&table.columns)));
                let bound = self.bind_conflicting(&rows, table, request, reading, (&known, excluded))?;
                parameters = bound.parameters;
                update = Some(rows);
            }
        }
        let mut returning = None;
        if let Some(items) = &write.returning {
            let query = write::returning(write, items)?;
            let mut mentioned = write::parameters(rows.source.as_ref());
            mentioned.extend(update.iter().flat_map(|update| write::parameters(update.source.as_ref())));
            let known = |n: usize| match mentioned.contains(&n) {
                true => parameters.get(n).cloned(),
                false => types.get(n).cloned().flatten(),
            };
            let known: Vec<_> = (0..parameters.len().max(types.len())).map(known).collect();
            let none = Arc::new(EmptyTable::new(schema_of(&table.columns)));
            let bound = self.bind_returning(&query, request, reading, (&known, none))?;
            parameters = bound.parameters;
            returning = Some(Returning { query, columns: bound.columns });
        }
        Ok(Planned { object: object.clone(), table, rows, query, update, returning, parameters })
    }

    fn bind_conflicting(
        &self,
        rows: &Rows,
        table: &CreateTable,
        request: &Request<'_>,
        reading: &Reading,
        (types, excluded): (&[Option<DataType>], Arc<dyn TableProvider>),
    ) -> Result<PlannedQuery, SqlError> {
        let relations = WithRows { own: ReadRelations::new(reading, &self.engine), name: EXCLUDED, rows: excluded };
        let text = &request.statement.text;
        let inner = bind(&self.session_state, &relations, &rows.source, text, types)?;
        let query = rows.query(table, &inner.columns)?;
        let types: Vec<_> = inner.parameters.iter().cloned().map(Some).collect();
        let planned = bind(&self.session_state, &relations, &query, text, &types)?;
        Ok(PlannedQuery { parameters: inner.parameters, ..planned })
    }

    async fn change_of(
        &self,
        write: &Write,
        planned: &Planned<'_>,
        request: &Request<'_>,
        reading: &Reading,
        parameters: &[ScalarValue],
    ) -> Result<Change, SqlError> {
        let schema = schema_of(&planned.object.columns);
        let found = self.collect(&planned.query, parameters, request.cancel).await?;
        let check = |batch: RecordBatch| checked(batch, planned.table, request.settings);
        match &write.action {
            WriteAction::Insert { conflict, .. } => {
                let batches =
                    found.iter().map(|batch| check(typed(batch, 0, &schema)?)).collect::<Result<Vec<_>, _>>()?;
                match conflict {
                    None => Ok(Change { deltas: batches.iter().cloned().map(Delta::inserts).collect(), told: batches }),
                    Some(conflict) => {
                        let proposed = concat_batches(&schema, &batches).map_err(Error::from)?;
                        self.upsert(conflict, planned, proposed, (request, reading, parameters)).await
                    }
                }
            }
            WriteAction::Update { .. } => {
                let mut change = Change::default();
                for batch in &found {
                    update_rows(&mut change, batch, &planned.rows, &schema, &check)?;
                }
                Ok(change)
            }
            WriteAction::Delete { .. } | WriteAction::Truncate => {
                let mut change = Change::default();
                for batch in &found {
                    let gone = check(typed(batch, 0, &schema)?)?;
                    change.deltas.push(retracted(gone.clone()));
                    change.told.push(gone);
                }
                Ok(change)
            }
        }
    }

    /// INSERT … ON CONFLICT: the proposed rows whose key is free come in; of the others the rows there are change, or
    /// nothing does.
    async fn upsert(
        &self,
        conflict: &Conflict,
        planned: &Planned<'_>,
        proposed: RecordBatch,
        (request, reading, parameters): (&Request<'_>, &Reading, &[ScalarValue]),
    ) -> Result<Change, SqlError> {
        let table = planned.table;
        if table.primary_key.is_empty() {
            return Ok(Change { deltas: vec![Delta::inserts(proposed.clone())], told: vec![proposed] });
        }
        let keys = Keys::new(table)?;
        let wanted = keys.of(&proposed)?;
        let mut first: HashSet<&[u8]> = HashSet::with_capacity(proposed.num_rows());
        let is_first: Vec<bool> = (0..proposed.num_rows()).map(|row| first.insert(wanted.row(row).data())).collect();
        let mut present: HashSet<Vec<u8>> = HashSet::new();
        for batch in block::keys_there(reading, &planned.object.name, &table.primary_key)? {
            let there = keys.convert(batch.columns())?;
            let there = (0..batch.num_rows()).map(|row| there.row(row).data().to_vec());
            present.extend(there.filter(|key| first.contains(key.as_slice())));
        }
        let free = |row: usize| !present.contains(wanted.row(row).data());
        let comes: BooleanArray = (0..proposed.num_rows()).map(|row| Some(is_first[row] && free(row))).collect();
        let coming = filter_record_batch(&proposed, &comes).map_err(Error::from)?;
        let mut change = Change { deltas: vec![Delta::inserts(coming.clone())], told: vec![coming] };
        let Some(update) = &planned.update else { return Ok(change) };
        debug_assert!(conflict.update.is_some());
        if is_first.contains(&false) {
            let message = "ON CONFLICT DO UPDATE command cannot affect row a second time";
            return Err(SqlError::new(SqlState::CARDINALITY_VIOLATION, message).hint(
                "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
            ));
        }
        let taken: UInt32Array = (0..proposed.num_rows()).filter(|row| !free(*row)).map(|row| row as u32).collect();
        if taken.is_empty() {
            return Ok(change);
        }
        let taken = take_record_batch(&proposed, &taken).map_err(Error::from)?;
        let excluded = MemTable::try_new(taken.schema(), vec![vec![taken]]).map_err(SqlError::from)?;
        let types: Vec<_> = planned.parameters.iter().cloned().map(Some).collect();
        let query = self.bind_conflicting(update, table, request, reading, (&types, Arc::new(excluded)))?;
        let schema = schema_of(&planned.object.columns);
        let check = |batch: RecordBatch| checked(batch, table, request.settings);
        let place: HashMap<&[u8], usize> = (0..proposed.num_rows()).map(|row| (wanted.row(row).data(), row)).collect();
        // The place among the proposed rows of each row the client is told of.
        let mut places: Vec<usize> = (0..proposed.num_rows()).filter(|row| comes.value(*row)).collect();
        for batch in self.collect(&query, parameters, request.cancel).await? {
            let there = keys.of(&typed(&batch, 0, &schema)?)?;
            places.extend((0..batch.num_rows()).filter_map(|row| place.get(there.row(row).data())));
            update_rows(&mut change, &batch, update, &schema, &check)?;
        }
        if planned.returning.is_some() {
            let told = concat_batches(&schema, &change.told).map_err(Error::from)?;
            debug_assert_eq!(told.num_rows(), places.len());
            let mut order: Vec<u32> = (0..told.num_rows() as u32).collect();
            order.sort_by_key(|row| places.get(*row as usize));
            change.told = vec![take_record_batch(&told, &UInt32Array::from(order)).map_err(Error::from)?];
        }
        Ok(change)
    }

    async fn collect(
        &self,
        query: &PlannedQuery,
        parameters: &[ScalarValue],
        cancel: &CancellationToken,
    ) -> Result<Vec<RecordBatch>, SqlError> {
        let stream = self.run_query(query, parameters.to_vec()).await?;
        tokio::select! {
            batches = datafusion::physical_plan::common::collect(stream) => batches.map_err(SqlError::from),
            () = cancel.cancelled() => Err(cancelled()),
        }
    }
}

fn cancelled() -> SqlError {
    SqlError::new(SqlState::QUERY_CANCELED, "the statement was cancelled")
}

/// A row's values as a message lists them.
fn listed(rows: &RecordBatch, row: usize, settings: &Settings) -> Result<String, SqlError> {
    let cells = text_of_row(rows, row, settings)?;
    let cells: Vec<_> = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "null".into())).collect();
    Ok(cells.join(", "))
}

/// The table a statement writes to.
fn target<'c>(catalog: &'c Catalog, write: &Write) -> Result<(&'c Arc<Object>, &'c CreateTable), SqlError> {
    let name = &write.table.name;
    let Some(object) = catalog.get(name) else {
        if catalog.source_relation(name).is_some() {
            let message = format!("cannot change \"{name}\": it comes with its source");
            return Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, message).at(write.table.position));
        }
        let message = format!("relation \"{name}\" does not exist");
        return Err(SqlError::new(SqlState::UNDEFINED_TABLE, message).at(write.table.position));
    };
    match &object.definition {
        Definition::Table(table) => Ok((object, table)),
        _ => {
            let message = format!("cannot change {} \"{name}\"", noun(object.kind()));
            let error = SqlError::new(SqlState::WRONG_OBJECT_TYPE, message);
            Err(error.hint("INSERT, UPDATE and DELETE write to tables; see CREATE TABLE."))
        }
    }
}

/// The command tag, but for the number of rows.
fn tag(write: &Write) -> &'static str {
    match write.action {
        WriteAction::Insert { .. } => "INSERT 0",
        WriteAction::Update { .. } => "UPDATE",
        WriteAction::Delete { .. } => "DELETE",
        WriteAction::Truncate => "TRUNCATE TABLE",
    }
}

/// The columns of a batch from `first` on, as many as `schema` has, with its types; NULLs may stand anywhere.
fn typed(batch: &RecordBatch, first: usize, schema: &SchemaRef) -> Result<RecordBatch, SqlError> {
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let columns = batch.columns()[first..].iter().zip(schema.fields());
    let columns: Result<Vec<ArrayRef>, _> = columns.map(|(column, field)| cast(column, field.data_type())).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = columns.map_err(Error::from)?;
    let typed = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options);
    Ok(typed.map_err(Error::from)?)
}

/// The rows with the table's own schema.
///
/// # Errors
/// 23502 for a NULL in a column that has none.
fn checked(batch: RecordBatch, table: &CreateTable, settings: &Settings) -> Result<RecordBatch, SqlError> {
    let nulls = table.columns.iter().zip(batch.columns()).filter(|(field, _)| !field.is_nullable());
    for (field, column) in nulls {
        if let Some(row) = (0..column.len()).find(|row| column.is_null(*row)) {
            let message = format!(
                "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                field.name(),
                table.name
            );
            let detail = format!("Failing row contains ({}).", listed(&batch, row, settings)?);
            return Err(SqlError::new(SqlState::NOT_NULL_VIOLATION, message).detail(detail));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let strict = RecordBatch::try_new_with_options(schema_of(&table.columns), batch.columns().to_vec(), &options);
    Ok(strict.map_err(Error::from)?)
}

fn update_rows(
    change: &mut Change,
    batch: &RecordBatch,
    rows: &Rows,
    schema: &SchemaRef,
    check: &dyn Fn(RecordBatch) -> Result<RecordBatch, SqlError>,
) -> Result<(), SqlError> {
    let width = schema.fields().len();
    let old = typed(&batch.project(&(0..width).collect::<Vec<_>>()).map_err(Error::from)?, 0, schema)?;
    let mut columns = old.columns().to_vec();
    for (n, target) in rows.assigned().enumerate() {
        let data_type = schema.field(target).data_type();
        columns[target] = cast(batch.column(width + n), data_type).map_err(Error::from)?;
    }
    let new = check(RecordBatch::try_new(old.schema(), columns).map_err(Error::from)?)?;
    change.deltas.push(retracted(check(old)?));
    change.deltas.push(Delta::inserts(new.clone()));
    change.told.push(new);
    Ok(())
}

fn retracted(rows: RecordBatch) -> Delta {
    let weights = Weights::Signed(Int64Array::from_value(-1, rows.num_rows()));
    Delta { rows, weights }
}

pub(super) fn duplicate(table: &CreateTable, key: &RecordBatch, settings: &Settings) -> SqlError {
    let names: Vec<_> = table.primary_key.iter().map(|column| table.columns[*column].name().as_str()).collect();
    let name = write::constraint_name(&table.name);
    let error =
        SqlError::new(SqlState::UNIQUE_VIOLATION, format!("duplicate key value violates unique constraint \"{name}\""));
    match listed(key, 0, settings) {
        Ok(values) => error.detail(format!("Key ({})=({values}) already exists.", names.join(", "))),
        Err(_) => error,
    }
}

/// Compares keys as bytes.
struct Keys {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Keys {
    fn new(table: &CreateTable) -> Result<Self, SqlError> {
        let fields = table.primary_key.iter().map(|n| SortField::new(table.columns[*n].data_type().clone()));
        let converter = RowConverter::new(fields.collect()).map_err(Error::from)?;
        Ok(Self { columns: table.primary_key.clone(), converter })
    }

    fn of(&self, rows: &RecordBatch) -> Result<ArrowRows, SqlError> {
        self.convert(rows.project(&self.columns).map_err(Error::from)?.columns())
    }

    fn convert(&self, columns: &[ArrayRef]) -> Result<ArrowRows, SqlError> {
        Ok(self.converter.convert_columns(columns).map_err(Error::from)?)
    }
}
