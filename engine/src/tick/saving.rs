//! State between two ticks as the parts of a checkpoint, and parts as state.
//!
//! ```text
//! source   ingest     how far it was read, what lateness rests on, where reading began      anew each time: it is small
//!          errors     rows of <source>_errors that are kept                                 while records are errors
//!          late       rows of <source>_late that are kept                                   while rows are late
//! table    rows       its rows                                                              when they change
//! view     operators  every operator's state                                                when the plan takes a step
//!          rows       its rows, and how many changes there were                             when they change
//!          errors     the rows left out                                                     when they change
//! ```
//! Rows are handed over as snapshots, which cost nothing and are read when they are written, beside the ticks. Operators'
//! state is copied here, while the ticks wait.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{Int32Type, Int64Type, UInt32Type, UInt64Type};

use super::core::{RunningView, SourceTables};
use super::table::{RunningTable, WriteError};
use crate::checkpoint::manifest::{Part, PartKind};
use crate::checkpoint::recovered::Recovered;
use crate::checkpoint::segment::{SectionRows, Tables, ready};
use crate::checkpoint::writer::{PartJob, SectionJob};
use crate::dataflow::execution::SavedView;
use crate::dataflow::runtime::OperatorId;
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::ingest::IngestState;
use crate::operator::SavedState;
use crate::source::Offsets;
use crate::time::TickId;
use crate::view::{ViewSnapshot, batch_of};

const INGEST: &str = "ingest";
const ERRORS: &str = "errors";
const LATE: &str = "late";
const ROWS: &str = "rows";
const OPERATORS: &str = "operators";
/// The names of all sections.
pub(super) const SECTIONS: [&str; 5] = [INGEST, ERRORS, LATE, ROWS, OPERATORS];

/// The table of offsets in a source's section.
const START: &str = "start";
/// The table of operators' numbers in a view's section, and how the names of their own tables begin.
const OPERATOR: &str = "operator";
/// The table of a view's counters.
const COUNTERS: &str = "counters";

/// Says whether the last checkpoint has a section of this kind, number, fingerprint and name with this token.
pub(super) type IsKept<'k> = dyn Fn(PartKind, u32, &str, &'static str, u64) -> bool + 'k;

/// A source's state as of `tick`.
pub(super) fn source(
    id: u32,
    (ingest, start): (Option<&IngestState>, &Offsets),
    tables: &SourceTables,
    tick: TickId,
    is_kept: &IsKept<'_>,
) -> Result<PartJob> {
    let mut own = Vec::new();
    // One that nobody reads has its beginning alone.
    for (name, table) in ingest.map(IngestState::to_tables).transpose()?.unwrap_or_default() {
        own.push((name, vec![table]));
    }
    own.push((START.to_owned(), vec![offsets_table(start)?]));
    let ring = |name: &'static str, total: u64, rows: ViewSnapshot| {
        let kept = is_kept(PartKind::Source, id, "", name, total);
        SectionJob { name, token: total, rows: (!kept).then(|| scanned(rows)) }
    };
    let sections = vec![
        SectionJob { name: INGEST, token: tick.0, rows: Some(ready(own)) },
        ring(ERRORS, tables.errors.total_rows(), tables.errors.snapshot()),
        ring(LATE, tables.late.total_rows(), tables.late.snapshot()),
    ];
    Ok(PartJob { kind: PartKind::Source, id, fingerprint: String::new(), sections })
}

/// A table's rows.
pub(super) fn table(table: &RunningTable, is_kept: &IsKept<'_>) -> PartJob {
    let (id, token) = (table.id(), table.changed().0);
    let kept = is_kept(PartKind::Table, id, "", ROWS, token);
    let rows = (!kept).then(|| scanned(table.rows()));
    let sections = vec![SectionJob { name: ROWS, token, rows }];
    PartJob { kind: PartKind::Table, id, fingerprint: String::new(), sections }
}

/// A view's state and rows.
pub(super) fn view(view: &RunningView, is_kept: &IsKept<'_>) -> Result<PartJob> {
    let is_kept = |name, token: TickId| is_kept(PartKind::View, view.id, &view.fingerprint, name, token.0);
    let mut sections = Vec::with_capacity(3);
    let stepped = view.execution.stepped_at();
    let operators = if is_kept(OPERATORS, stepped) { None } else { Some(operators_tables(view.execution.save()?)?) };
    sections.push(SectionJob { name: OPERATORS, token: stepped.0, rows: operators.map(ready) });
    let rows = (!is_kept(ROWS, view.changed)).then(|| {
        let counters: ArrayRef = Arc::new(UInt64Array::from_iter_values([view.changes]));
        let rows = scanned(view.view.snapshot());
        let with_counters: SectionRows = Box::new(move |take| {
            take(COUNTERS, RecordBatch::try_from_iter([("changes", counters)])?)?;
            rows(take)
        });
        with_counters
    });
    sections.push(SectionJob { name: ROWS, token: view.changed.0, rows });
    if let Some(errors) = &view.errors {
        let rows = (!is_kept(ERRORS, view.errors_changed)).then(|| scanned(errors.snapshot()));
        sections.push(SectionJob { name: ERRORS, token: view.errors_changed.0, rows });
    }
    Ok(PartJob { kind: PartKind::View, id: view.id, fingerprint: view.fingerprint.clone(), sections })
}

fn scanned(rows: ViewSnapshot) -> SectionRows {
    Box::new(move |take| rows.scan(None).try_for_each(|batch| take(ROWS, batch?)))
}

fn offsets_table(offsets: &Offsets) -> Result<RecordBatch> {
    let partitions: ArrayRef = Arc::new(Int32Array::from_iter_values(offsets.keys().copied()));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(offsets.values().copied()));
    Ok(RecordBatch::try_from_iter([("partition", partitions), ("offset", values)])?)
}

fn operators_tables(saved: SavedView) -> Result<Tables> {
    // An operator without rows has been at work too.
    let numbers: ArrayRef = Arc::new(UInt32Array::from_iter_values(saved.iter().map(|(id, _)| id.0)));
    let mut tables = vec![(OPERATOR.to_owned(), vec![RecordBatch::try_from_iter([("id", numbers)])?])];
    for (id, state) in saved {
        tables.extend(state.tables.into_iter().map(|(name, rows)| (format!("{OPERATOR}/{}/{name}", id.0), rows)));
    }
    Ok(tables)
}

/// A source as a checkpoint has it.
pub(super) struct SavedSource {
    /// What lateness rests on, and how far it was read; `None` if nobody read it.
    pub ingest: Option<IngestState>,
    /// Where reading began.
    pub start: Offsets,
}

/// Reads a source.
pub(super) fn read_source(recovered: &Recovered, part: &Part) -> Result<SavedSource> {
    let tables = section(recovered, part, INGEST)?;
    let mut plain = Vec::with_capacity(tables.len());
    let mut start = Offsets::new();
    for (name, batches) in tables {
        for batch in batches {
            if name == START {
                let partitions = batch.column(0).as_primitive_opt::<Int32Type>().ok_or_else(other)?;
                let offsets = batch.column(1).as_primitive_opt::<Int64Type>().ok_or_else(other)?;
                start.extend(partitions.values().iter().copied().zip(offsets.values().iter().copied()));
            } else {
                plain.push((name.clone(), batch));
            }
        }
    }
    let ingest = if plain.is_empty() { None } else { Some(IngestState::from_tables(&plain)?) };
    Ok(SavedSource { ingest, start })
}

/// Where reading of a source began that had state or a place in the log.
pub(crate) fn start_of(recovered: &Recovered, id: u32) -> Result<Option<Offsets>> {
    let saved = recovered.part(PartKind::Source, id).map(|part| read_source(recovered, part)).transpose()?;
    Ok(saved.map(|saved| saved.start).or_else(|| recovered.start(id).cloned()))
}

/// Brings a source's tables to where they were.
pub(super) fn restore_source(
    recovered: &Recovered,
    part: &Part,
    saved: &SavedSource,
    tables: &mut SourceTables,
) -> Result<()> {
    for (name, ring) in [(ERRORS, &mut tables.errors), (LATE, &mut tables.late)] {
        let token = part.section(name).map_or(0, |section| section.token);
        let rows = rows_of(section(recovered, part, name)?);
        ring.restore(&rows, token)?;
    }
    let Some(ingest) = &saved.ingest else { return Ok(()) };
    (tables.watermark, tables.closing) = (ingest.watermark, ingest.closing);
    for (partition, progress) in &ingest.partitions {
        tables.counts.insert(*partition, progress.counts);
        tables.offsets.extend(progress.next_offset.map(|offset| (*partition, offset)));
    }
    Ok(())
}

/// Brings an empty table to where it was.
pub(super) fn restore_table(recovered: &Recovered, part: &Part, table: &mut RunningTable) -> Result<()> {
    let token = part.section(ROWS).map_or(0, |section| section.token);
    let rows = rows_of(section(recovered, part, ROWS)?);
    table.restore(TickId(token), rows).map_err(|error| match error {
        WriteError::Failed(error) | WriteError::Conflict(error) => error,
        WriteError::Duplicate { .. } => Error::data("a table's saved rows hold a key twice"),
    })
}

/// Brings a view that has taken no step to where it was.
pub(crate) fn restore_view(recovered: &Recovered, part: &Part, view: &mut RunningView) -> Result<()> {
    let token = |name| TickId(part.section(name).map_or(0, |section| section.token));
    let saved = operators_of(section(recovered, part, OPERATORS)?)?;
    view.execution.restore(saved, token(OPERATORS))?;
    let mut rows = section(recovered, part, ROWS)?;
    rows.retain(|(name, batches)| {
        if name == COUNTERS {
            let changes = batches.first().and_then(|batch| batch.column(0).as_primitive_opt::<UInt64Type>().cloned());
            view.changes = changes.filter(|changes| !changes.is_empty()).map_or(0, |changes| changes.value(0));
        }
        name == ROWS
    });
    view.changed = token(ROWS);
    let inserts = |schema: &arrow::datatypes::SchemaRef, rows: Tables| {
        let own =
            |batch: RecordBatch| Ok(Delta::inserts(batch_of(schema, batch.columns().to_vec(), batch.num_rows())?));
        rows_of(rows).into_iter().map(own).collect::<Result<Vec<_>>>()
    };
    let rows = inserts(view.view.schema(), rows)?;
    view.view.apply(view.changed, rows)?;
    if let Some(errors) = &mut view.errors {
        view.errors_changed = token(ERRORS);
        let rows = inserts(errors.schema(), section(recovered, part, ERRORS)?)?;
        errors.apply(view.errors_changed, rows)?;
    }
    Ok(())
}

fn operators_of(tables: Tables) -> Result<SavedView> {
    let mut saved: SavedView = Vec::new();
    for (name, batches) in &tables {
        for batch in batches.iter().filter(|_| name == OPERATOR) {
            let numbers = batch.column(0).as_primitive_opt::<UInt32Type>().ok_or_else(other)?;
            saved.extend(numbers.values().iter().map(|id| (OperatorId(*id), SavedState::default())));
        }
    }
    for (name, batches) in tables.into_iter().filter(|(name, _)| name != OPERATOR) {
        let mut words = name.splitn(3, '/').skip(1);
        let (id, table) = (words.next().and_then(|id| id.parse().ok()), words.next());
        let (Some(id), Some(table)) = (id, table) else { return Err(other()) };
        let (_, state) = saved.iter_mut().find(|(known, _)| *known == OperatorId(id)).ok_or_else(other)?;
        state.tables.push((table.to_owned(), batches));
    }
    Ok(saved)
}

fn section(recovered: &Recovered, part: &Part, name: &str) -> Result<Tables> {
    let section =
        part.section(name).ok_or_else(|| Error::data(format!("a checkpoint has no {name} of a {}", part.kind)))?;
    recovered.load(part, section)
}

fn rows_of(tables: Tables) -> Vec<RecordBatch> {
    tables.into_iter().flat_map(|(_, batches)| batches).collect()
}

fn other() -> Error {
    Error::data("a checkpoint's tables are not as they were written")
}
