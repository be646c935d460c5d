//! What Prometheus reads.
//!
//! Counters and gauges are set from the newest snapshot and the sources' own status at each scrape; tick durations are
//! observed as ticks are published, so no tick is missed between two scrapes. Names follow Prometheus's conventions:
//! base units, `_total` on counters.

use std::sync::Arc;

use engine::engine::Engine;
use engine::tick::temporary::title_of;
use engine::view::TickStats;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

type GaugeFamily<L> = Family<L, Gauge<f64, std::sync::atomic::AtomicU64>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabel {
    source: String,
    partition: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RecordLabel {
    source: String,
    /// accepted, late, error, tombstone or skipped.
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViewLabel {
    view: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    /// decode, compute or publish.
    stage: &'static str,
}

/// Figures of the front door.
#[derive(Debug, Clone, Copy, Default)]
pub struct Connections {
    /// Sessions open now.
    pub sessions: u64,
    /// Statements since the start.
    pub statements: u64,
    /// Statements that ended with an error.
    pub errors: u64,
}

/// The metrics of one server.
pub struct Metrics {
    registry: Registry,
    engine: Arc<Engine>,
    connections: Box<dyn Fn() -> Connections + Send + Sync>,
    ticks: Counter,
    rows: Counter,
    changes: Counter,
    tick_duration: Histogram,
    stage_duration: Family<StageLabel, Histogram>,
    records: Family<RecordLabel, Counter>,
    bytes: Family<SourceLabel, Counter>,
    lag: GaugeFamily<PartitionLabel>,
    offset: GaugeFamily<PartitionLabel>,
    watermark: GaugeFamily<SourceLabel>,
    source_up: GaugeFamily<SourceLabel>,
    view_rows: GaugeFamily<ViewLabel>,
    view_bytes: GaugeFamily<ViewLabel>,
    state_bytes: GaugeFamily<ViewLabel>,
    view_failed: GaugeFamily<ViewLabel>,
    rows_left_out: GaugeFamily<ViewLabel>,
    backfill_read: GaugeFamily<ViewLabel>,
    backfill_rows: GaugeFamily<ViewLabel>,
    backfill_left: GaugeFamily<ViewLabel>,
    checkpoint_written: Gauge<f64, std::sync::atomic::AtomicU64>,
    checkpoint_bytes: Gauge<f64, std::sync::atomic::AtomicU64>,
    checkpoint_failing: Gauge,
    log_up: Gauge,
    sessions: Gauge,
    statements: Counter,
    statement_errors: Counter,
}

fn duration_histogram() -> Histogram {
    // 50 µs to about 13 s.
    Histogram::new(exponential_buckets(50e-6, 2.0, 18))
}

impl Metrics {
    /// The metrics of `engine`; `connections` gives the front door's figures.
    pub fn new(engine: Arc<Engine>, connections: Box<dyn Fn() -> Connections + Send + Sync>) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("tidemark"),
            engine,
            connections,
            ticks: Counter::default(),
            rows: Counter::default(),
            changes: Counter::default(),
            tick_duration: duration_histogram(),
            stage_duration: Family::new_with_constructor(duration_histogram),
            records: Family::default(),
            bytes: Family::default(),
            lag: Family::default(),
            offset: Family::default(),
            watermark: Family::default(),
            source_up: Family::default(),
            view_rows: Family::default(),
            view_bytes: Family::default(),
            state_bytes: Family::default(),
            view_failed: Family::default(),
            rows_left_out: Family::default(),
            backfill_read: Family::default(),
            backfill_rows: Family::default(),
            backfill_left: Family::default(),
            checkpoint_written: Gauge::default(),
            checkpoint_bytes: Gauge::default(),
            checkpoint_failing: Gauge::default(),
            log_up: Gauge::default(),
            sessions: Gauge::default(),
            statements: Counter::default(),
            statement_errors: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("ticks", "Ticks run", self.ticks.clone());
        r.register("rows", "Rows accepted into ticks", self.rows.clone());
        r.register("view_changes", "Rows of views inserted or retracted", self.changes.clone());
        let seconds = || Unit::Seconds;
        r.register_with_unit("tick_duration", "Duration of a tick", seconds(), self.tick_duration.clone());
        let help = "Duration of a tick's stages; decode runs beside the tick before";
        r.register_with_unit("tick_stage_duration", help, seconds(), self.stage_duration.clone());
        r.register("source_records", "Records consumed, by what became of them", self.records.clone());
        r.register_with_unit("source_consumed", "Payload consumed", Unit::Bytes, self.bytes.clone());
        r.register("source_lag_records", "Records in the partition not consumed yet", self.lag.clone());
        r.register("source_offset", "Next offset to consume", self.offset.clone());
        let help = "Event time below which no row will be accepted, since the Unix epoch";
        r.register_with_unit("source_watermark", help, seconds(), self.watermark.clone());
        r.register("source_up", "1 while the source is read without trouble", self.source_up.clone());
        r.register("view_rows", "Rows in the view", self.view_rows.clone());
        r.register_with_unit("view_size", "Memory of the view's rows", Unit::Bytes, self.view_bytes.clone());
        r.register_with_unit("view_state", "Memory of the view's operators", Unit::Bytes, self.state_bytes.clone());
        r.register("view_failed", "1 if the view has failed", self.view_failed.clone());
        let help = "Rows that the view leaves out because an expression failed on them";
        r.register("view_rows_left_out", help, self.rows_left_out.clone());
        r.register("backfill_rows_read", "Rows that a view being built has read", self.backfill_read.clone());
        r.register("backfill_rows", "Rows that a view being built has to read", self.backfill_rows.clone());
        let help = "How long a view being built has still to read at its pace so far";
        r.register_with_unit("backfill_left", help, seconds(), self.backfill_left.clone());
        let help = "When the newest checkpoint was begun, since 1970";
        r.register_with_unit("checkpoint_written", help, seconds(), self.checkpoint_written.clone());
        let help = "What the newest checkpoint holds";
        r.register_with_unit("checkpoint_size", help, Unit::Bytes, self.checkpoint_bytes.clone());
        let help = "1 if the last checkpoint could not be written";
        r.register("checkpoint_failing", help, self.checkpoint_failing.clone());
        r.register("log_up", "0 while ticks wait for the data directory", self.log_up.clone());
        r.register("sessions", "Sessions open", self.sessions.clone());
        r.register("statements", "Statements executed", self.statements.clone());
        r.register("statement_errors", "Statements that ended with an error", self.statement_errors.clone());
    }

    /// Takes in one tick.
    pub fn observe(&self, tick: &TickStats) {
        let seconds = |micros: u64| micros as f64 / 1e6;
        self.ticks.inc();
        self.rows.inc_by(tick.rows_in);
        self.changes.inc_by(tick.rows_changed);
        self.tick_duration.observe(seconds(tick.compute_micros + tick.publish_micros));
        let stages =
            [("decode", tick.decode_micros), ("compute", tick.compute_micros), ("publish", tick.publish_micros)];
        for (stage, micros) in stages {
            self.stage_duration.get_or_create(&StageLabel { stage }).observe(seconds(micros));
        }
    }

    /// The text of a scrape.
    pub fn render(&self) -> String {
        self.refresh();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn refresh(&self) {
        let snapshot = self.engine.snapshot();
        for family in [&self.view_rows, &self.view_bytes, &self.state_bytes, &self.view_failed, &self.rows_left_out] {
            family.clear();
        }
        for family in [&self.lag, &self.offset] {
            family.clear();
        }
        self.watermark.clear();
        self.source_up.clear();
        for family in [&self.backfill_read, &self.backfill_rows, &self.backfill_left] {
            family.clear();
        }
        for report in self.engine.buildings() {
            let label = ViewLabel { view: title_of(&report.view).unwrap_or(&report.view).to_owned() };
            self.backfill_read.get_or_create(&label).set(report.rows_read as f64);
            self.backfill_rows.get_or_create(&label).set(report.rows_to_read as f64);
            if let Some(seconds) = report.seconds_left() {
                self.backfill_left.get_or_create(&label).set(seconds);
            }
        }
        for (name, view) in &snapshot.views {
            let label = ViewLabel { view: title_of(name).unwrap_or(name).to_owned() };
            self.view_rows.get_or_create(&label).set(view.num_rows() as f64);
            self.view_bytes.get_or_create(&label).set(view.view_bytes as f64);
            self.state_bytes.get_or_create(&label).set(view.state_bytes as f64);
            self.view_failed.get_or_create(&label).set(f64::from(u8::from(view.error.is_some())));
            self.rows_left_out.get_or_create(&label).set(snapshot.rows_left_out(name) as f64);
        }
        for (name, source) in &snapshot.sources {
            let label = SourceLabel { source: name.clone() };
            if let Some(micros) = source.watermark.micros() {
                self.watermark.get_or_create(&label).set(micros as f64 / 1e6);
            }
            let counts = source.counts();
            set_in(&self.bytes, &label, counts.bytes);
            let outcomes = [
                ("accepted", counts.accepted),
                ("late", counts.late),
                ("error", counts.errors),
                ("tombstone", counts.tombstones),
                ("skipped", counts.skipped),
            ];
            for (outcome, count) in outcomes {
                set_in(&self.records, &RecordLabel { source: name.clone(), outcome }, count);
            }
            self.refresh_partitions(name);
        }
        self.refresh_durability();
        let connections = (self.connections)();
        self.sessions.set(i64::try_from(connections.sessions).unwrap_or(i64::MAX));
        set(&self.statements, connections.statements);
        set(&self.statement_errors, connections.errors);
    }

    fn refresh_durability(&self) {
        let durability = self.engine.durability();
        let reports = durability.reports();
        if let Some(written) = reports.iter().rev().find_map(|report| report.written.as_ref().ok()) {
            self.checkpoint_written.set(written.written_micros as f64 / 1e6);
            self.checkpoint_bytes.set(written.bytes as f64);
        }
        self.checkpoint_failing.set(i64::from(reports.last().is_some_and(|report| report.written.is_err())));
        self.log_up.set(i64::from(durability.trouble().is_none() && durability.halted().is_none()));
    }

    fn refresh_partitions(&self, source: &str) {
        let Some(status) = self.engine.source_status(source) else { return };
        let up = f64::from(u8::from(status.trouble.is_none()));
        self.source_up.get_or_create(&SourceLabel { source: source.to_owned() }).set(up);
        for (partition, status) in &status.partitions {
            let label = PartitionLabel { source: source.to_owned(), partition: *partition };
            self.offset.get_or_create(&label).set(status.position as f64);
            if let Some(lag) = status.lag {
                self.lag.get_or_create(&label).set(lag as f64);
            }
        }
    }
}

/// Brings a counter of a family to a count kept elsewhere. A source that is read anew counts from 0, and so does its
/// counter: that is how Prometheus knows a counter that began again.
fn set_in<L>(family: &Family<L, Counter>, label: &L, count: u64)
where
    L: Clone + std::hash::Hash + Eq,
{
    if family.get(label).is_some_and(|counter| counter.get() > count) {
        family.remove(label);
    }
    set(&family.get_or_create(label), count);
}

/// Brings a counter to a count kept elsewhere.
fn set(counter: &Counter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}
