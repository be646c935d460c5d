//! A source's topic as a table: what a SELECT on the source itself reads.
//!
//! A scan reads the log from the source's start to the end it had when the query began, decodes only the columns the
//! query uses, and stops as soon as a LIMIT is satisfied. It shows every record that decodes, late ones too; records
//! that do not decode are in `<source>_errors`. Of a source with a primary key it shows the rows that there are at that end; to know
//! them it reads all of the topic.
//!
//! At a [`Cut`] it is what the views have of it: the rows accepted up to the cut, by the rule of the live reading.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use tokio::sync::mpsc::Sender;

use super::present_rows::PresentRows;
use super::{Counts, DecoderFactory, Exclusion, Ingest, IngestSpec, UsedColumns};
use crate::error::{Error, ErrorKind};
use crate::source::{Offsets, PollBudget, SourceOpener};

/// Records of one poll.
const POLL_RECORDS_MAX: usize = 16 * 1024;

/// How long a scan waits for the next record before it gives up on the broker.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How often a scan begins anew because the log's start moved on.
const RESTARTS_MAX: usize = 5;

/// A delay that no row is behind by: a bounded read shows late rows too.
const NEVER_LATE_MICROS: i64 = i64::MAX / 4;

/// How far a source was read, and what decides, besides its log, which of its rows were accepted.
#[derive(Debug, Clone)]
pub struct Cut {
    /// Next offset of every partition.
    pub offsets: Offsets,
    /// What became of every partition's offsets up to there.
    pub counts: BTreeMap<i32, Counts>,
    /// Every exclusion, later ones too.
    pub exclusions: Vec<Exclusion>,
}

/// A source's topic, from its start to its present end or to a cut.
#[derive(Clone)]
pub struct TopicTable {
    spec: IngestSpec,
    cut: Option<Arc<Cut>>,
    factory: DecoderFactory,
    opener: Arc<dyn SourceOpener>,
    start: Offsets,
    schema: SchemaRef,
}

impl TopicTable {
    /// The topic that `opener` opens, read from `start`.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn try_new(
        mut spec: IngestSpec,
        factory: DecoderFactory,
        opener: Arc<dyn SourceOpener>,
        start: Offsets,
    ) -> crate::Result<Self> {
        (spec.delay_micros, spec.accept_late_micros) = (NEVER_LATE_MICROS, None);
        spec.idle_timeout_micros = None;
        let schema = spec.table_schema();
        Ok(Self { spec, cut: None, factory, opener, start, schema })
    }

    /// The rows of the topic that were accepted from `start` up to `cut`. Reading it is a `Data` error where the log does not
    /// hold the same records any more.
    pub fn at_cut(
        spec: IngestSpec,
        factory: DecoderFactory,
        opener: Arc<dyn SourceOpener>,
        start: Offsets,
        cut: Cut,
    ) -> Self {
        let schema = spec.table_schema();
        Self { spec, cut: Some(Arc::new(cut)), factory, opener, start, schema }
    }
}

impl fmt::Debug for TopicTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicTable").field("source", &self.spec.source).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for TopicTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let opener = self.opener.clone();
        // Asking the broker blocks.
        let bounds = tokio::task::spawn_blocking(move || opener.bounds()).await;
        let bounds = bounds.map_err(|e| Error::internal("asking for the topic's bounds failed").with_source(e))??;
        let mut table = self.clone();
        let declared = self.spec.decode.columns.len();
        let all = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let mut used = UsedColumns {
            columns: wanted.iter().copied().filter(|index| *index < declared).collect(),
            metadata: wanted.iter().filter(|index| **index >= declared).map(|index| index - declared).collect(),
        };
        if !self.spec.key.is_empty() {
            used.columns.extend(&self.spec.key);
            used.metadata.extend(self.schema.fields().len() - declared..self.spec.metadata.len());
        }
        used.columns.sort_unstable();
        used.columns.dedup();
        used.metadata.sort_unstable();
        table.spec.set_used(&used)?;
        let schema = Arc::new(self.schema.project(wanted)?);
        let start =
            |(p, (low, end)): (&i32, &(i64, i64))| (*p, self.start.get(p).unwrap_or(low).clamp(low, end).to_owned());
        let mut end: Offsets = bounds.iter().map(|(p, (_, end))| (*p, *end)).collect();
        table.start = bounds.iter().map(start).collect();
        if let Some(cut) = &self.cut {
            let start = |p: &i32| (*p, self.start.get(p).copied().unwrap_or(0));
            table.start = cut.offsets.keys().map(start).collect();
            end = cut.offsets.clone();
        }
        Ok(Arc::new(TopicExec::new(table, end, schema, limit)))
    }
}

/// Reads the topic in one partition: offsets are in order only within a Kafka partition anyway.
#[derive(Debug, Clone)]
struct TopicExec {
    table: TopicTable,
    end: Offsets,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl TopicExec {
    fn new(table: TopicTable, end: Offsets, schema: SchemaRef, limit: Option<usize>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { table, end, limit, properties: Arc::new(properties) }
    }

    /// Reads the topic. Where the log drops records from its start as fast as one reads, the start found a moment ago may
    /// be gone: then it begins anew at the new one, as long as no row was handed out.
    fn run(&self, rows: &Sender<Result<RecordBatch>>) -> crate::Result<()> {
        let mut this = self.clone();
        for _ in 0..RESTARTS_MAX {
            let mut sent = 0;
            match this.read(rows, &mut sent) {
                Err(error) if error.kind() == ErrorKind::Data && sent == 0 && self.table.cut.is_none() => {
                    let bounds = this.table.opener.bounds()?;
                    let low = |partition: &i32| bounds.get(partition).map(|(low, _)| *low);
                    let ends = this.end.iter_mut();
                    for (partition, end) in ends {
                        let start = this.table.start.entry(*partition).or_default();
                        *start = low(partition).unwrap_or(*start).max(*start);
                        *end = (*end).max(*start);
                    }
                }
                done => return done,
            }
        }
        this.read(rows, &mut 0)
    }

    /// Reads until the end, the limit, or until nobody wants more. `sent` counts the rows handed out.
    fn read(&self, rows: &Sender<Result<RecordBatch>>, sent: &mut usize) -> crate::Result<()> {
        let TopicTable { spec, cut, factory, opener, start, .. } = &self.table;
        let mut ingest = match cut {
            None => Ingest::new(spec.clone(), factory.clone())?,
            Some(cut) => Ingest::replay(spec.clone(), factory.clone(), &cut.exclusions)?,
        };
        let unread = self.end.iter().any(|(partition, end)| start.get(partition).is_some_and(|start| start < end));
        if !unread || self.limit == Some(0) {
            return Ok(());
        }
        ingest.set_until(Some(self.end.clone()));
        let is_keyed = !spec.key.is_empty();
        let mut present = is_keyed.then(|| PresentRows::try_new(spec, &self.schema())).transpose()?;
        let limit = self.limit.filter(|_| !is_keyed);
        let mut source = opener.open(start)?;
        if cut.is_some() {
            ingest.begin(&source.partitions());
        }
        let mut heard = Instant::now();
        while !ingest.reached_until() {
            let records_max = limit.map_or(POLL_RECORDS_MAX, |limit| (limit - *sent).clamp(1, POLL_RECORDS_MAX));
            let mut pushed = Ok(());
            let budget = PollBudget { records_max, wait: Duration::from_millis(50) };
            let polled = source.poll(budget, &mut |records| {
                if pushed.is_ok() {
                    pushed = ingest.push(records);
                }
            })?;
            pushed?;
            if polled > 0 {
                heard = Instant::now();
            } else if heard.elapsed() > SILENCE_MAX {
                let trouble = source.trouble().unwrap_or_else(|| "no record came".into());
                return Err(Error::unavailable(format!("cannot read source \"{}\": {trouble}", spec.source)));
            }
            let taken = ingest.take(0, &source.partitions())?;
            for batch in taken.batches {
                if let Some(present) = &mut present {
                    present.fold(&batch)?;
                    continue;
                }
                let batch = self.project(&batch)?;
                let batch =
                    batch.slice(0, limit.map_or(batch.num_rows(), |limit| (limit - *sent).min(batch.num_rows())));
                *sent += batch.num_rows();
                // Nobody receives when the query was cancelled or has enough.
                if rows.blocking_send(Ok(batch)).is_err() || limit == Some(*sent) {
                    return Ok(());
                }
            }
            if rows.is_closed() {
                return Ok(());
            }
        }
        if let Some(cut) = cut.as_ref().filter(|_| !is_keyed) {
            check_counts(&spec.source, cut, &ingest)?;
        }
        for batch in present.iter().flat_map(|present| present.batches(self.limit)) {
            let batch = batch?;
            *sent += batch.num_rows();
            if rows.blocking_send(Ok(batch)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The columns in the order the query asked for them.
    fn project(&self, batch: &RecordBatch) -> crate::Result<RecordBatch> {
        let (schema, found) = (self.schema(), batch.schema());
        let columns = schema.fields().iter().map(|field| Ok(batch.column(found.index_of(field.name())?).clone()));
        let columns = columns.collect::<crate::Result<Vec<_>>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }
}

/// Refuses rows that are not those of the live reading.
fn check_counts(source: &str, cut: &Cut, ingest: &Ingest) -> crate::Result<()> {
    let again: BTreeMap<i32, Counts> = ingest.partitions().map(|(number, read, _)| (number, read.counts)).collect();
    for (partition, live) in &cut.counts {
        let again = again.get(partition).copied().unwrap_or_default();
        if again != *live {
            let message =
                format!("source \"{source}\" cannot be read a second time: partition {partition} gave {live}");
            return Err(Error::data(format!("{message}, and now {again}")));
        }
    }
    Ok(())
}

impl DisplayAs for TopicExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicScan: {}", self.table.spec.source)?;
        self.limit.map_or(Ok(()), |limit| write!(f, ", limit={limit}"))
    }
}

impl ExecutionPlan for TopicExec {
    fn name(&self) -> &str {
        "TopicExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStream::builder(self.schema(), 2);
        let (rows, this) = (builder.tx(), self.clone());
        builder.spawn_blocking(move || this.run(&rows).map_err(Into::into));
        Ok(builder.build())
    }
}
