//! One oracle case: a seed gives a stream, a view, cuts and restarts; at every tick the view must equal the batch.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use engine::dataflow::execution::ExecutionConfig;
use engine::tick::core::CoreConfig;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::compare;
use super::feed::{Feed, ROWS};
use super::query::{Query, Shape};
use super::run::{FIRST_TICK_MICROS, Run};
use super::sabotage::Bug;
use super::stream::{Record, StreamShape};
use super::temporal::{Clock, Temporal};

/// A case, whole, so that it can be made smaller and run again.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The view.
    pub query: Query,
    /// What the records of `s` and of `o` are.
    pub feeds: [Feed; 2],
    /// The topic's partitions.
    pub partitions: i32,
    /// The topic, in production order.
    pub records: Vec<Record>,
    /// Where ticks end: indexes into `records`, ascending.
    pub cuts: Vec<usize>,
    /// Whether the engine is restarted after the cut, and at what parallelism it goes on.
    pub restarts: Vec<Option<usize>>,
    /// The parallelism at the start.
    pub parallelism: usize,
    /// Whether final state is dropped.
    pub evict: bool,
    /// When ticks are.
    pub clock: Clock,
}

impl Case {
    /// The case of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let partitions = *[1, 2, 7].choose(&mut rng).expect("not empty");
        let mut feeds = feeds(seed);
        let shape = StreamShape::random(&mut rng, partitions);
        let mut records = feeds[0].records(&shape, &mut rng);
        let mut query = Query::random(&mut rng);
        // Over rows that change no window is ever final.
        // Without a watermark, which such sources do not have, times may be NULL; the plain SQL that stands for windows of
        // that kind in a batch does not say what becomes of those.
        while !feeds.into_iter().all(Feed::is_rows)
            && (query.emit_on_close || matches!(query.shape, Shape::Windowed(_)))
        {
            query = Query::random(&mut rng);
        }
        // Chosen apart, so that seeds without it make the cases they made before.
        let mut apart = ChaCha8Rng::seed_from_u64(seed ^ 0xc10c);
        let chosen = apart.random_range(0..14);
        let temporal = chosen < 2;
        if chosen == 2 {
            query = Query {
                shape: Shape::Join(super::asof::random(&mut apart, feeds.into_iter().all(Feed::is_rows))),
                emit_on_close: false,
            };
        }
        if temporal {
            query = Query { shape: Shape::Temporal(Temporal::random(&mut apart)), emit_on_close: false };
            // Views of this kind join rows of few keys.
            records.truncate(80);
        }
        if let Shape::Join(join) = &query.shape {
            records.truncate(join.records_max);
            if join.reads_other() {
                let shape = StreamShape::random(&mut rng, partitions);
                let mut others = feeds[1].records(&shape, &mut rng);
                others.truncate(join.records_max);
                others.iter_mut().for_each(|record| record.of_other = true);
                records = shuffled_together(&mut rng, records, others);
            }
        }
        // DataFusion's batch min and max of floats depend on the rows' order once one is NaN, so they are no judge there.
        // Ours take NaN for the greatest float, as Postgres does; a golden script holds that.
        if query.text().contains("min(f)") || query.text().contains("max(f)") {
            records
                .iter_mut()
                .filter_map(|record| record.payload.as_mut())
                .for_each(|p| *p = p.replace("\"NaN\"", "2.5"));
        }
        // Count windows that close are refused there.
        if query.emit_on_close && query.text().contains("count_window(") {
            feeds.iter_mut().for_each(|feed| feed.accept_late = None);
        }
        let mut cuts = random_cuts(&mut rng, records.len());
        let mut clock = Clock { first: FIRST_TICK_MICROS, steps: vec![FIRST_TICK_MICROS] };
        if temporal {
            // Time passes without records, too.
            cuts = cuts.into_iter().flat_map(|cut| vec![cut; apart.random_range(1..3)]).collect();
            cuts.extend(vec![records.len(); apart.random_range(0..4)]);
            clock = Clock::over(&mut apart, &shape, records.len(), cuts.len() + 1);
        }
        let restart = |rng: &mut ChaCha8Rng| (rng.random_range(0..6) == 0).then(|| parallelism(rng));
        let restarts = cuts.iter().map(|_| restart(&mut rng)).collect();
        let parallelism = parallelism(&mut rng);
        Self { query, feeds, partitions, records, cuts, restarts, parallelism, evict: rng.random_bool(0.8), clock }
    }

    /// The same input and view under other cuts, restarts and parallelism.
    #[must_use]
    pub fn recut(&self, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        let cuts = random_cuts(&mut rng, self.records.len());
        let restarts = cuts.iter().map(|_| None).collect();
        Self { cuts, restarts, parallelism: parallelism(&mut rng), evict: !self.evict, ..self.clone() }
    }

    /// Runs the case, compares with the batch at every tick, and returns the rows at the end.
    ///
    /// # Errors
    /// The first tick at which view and batch differ, and how; a panic; or what the planner refuses.
    pub fn run(&self) -> Result<Vec<RecordBatch>, String> {
        unpanicked(|| {
            let mut run = self.begin(&self.query.create_text(), None)?;
            self.compare_every_tick(&mut run)?;
            run.rows()
        })
    }

    /// Runs the case with a bug in it, and says whether the bug changed anything on the way.
    ///
    /// # Errors
    /// As for [`run`](Self::run), and if the bug changed something, most likely because of it.
    pub fn run_with(&self, bug: Bug) -> (Result<(), String>, bool) {
        let mut run = match self.begin(&self.query.create_text(), Some(bug)) {
            Ok(run) => run,
            // A planner that refuses the tampered plan has noticed.
            Err(error) => return (Err(error), true),
        };
        let compared = unpanicked(|| self.compare_every_tick(&mut run));
        (compared, run.was_sabotaged())
    }

    /// The view's rows after every tick, and the most operator state keys any tick left, without asking the batch.
    ///
    /// # Errors
    /// A failed view, a panic or a bug.
    pub fn rows_at_every_tick(&self) -> Result<(Vec<Vec<RecordBatch>>, usize), String> {
        let (mut rows, mut keys_max) = (Vec::new(), 0);
        unpanicked(|| {
            self.drive(&mut self.begin(&self.query.create_text(), None)?, |run| {
                rows.push(run.rows()?);
                keys_max = keys_max.max(run.state_keys());
                Ok(())
            })
        })?;
        Ok((rows, keys_max))
    }

    /// The rows after every tick of another view in the place of this one.
    ///
    /// # Errors
    /// As for [`rows_at_every_tick`](Self::rows_at_every_tick); what the planner refuses.
    pub fn rows_of(&self, create: &str) -> Result<Vec<Vec<RecordBatch>>, String> {
        let mut rows = Vec::new();
        unpanicked(|| {
            self.drive(&mut self.begin(create, None)?, |run| {
                rows.push(run.rows()?);
                Ok(())
            })
        })
        .map_err(|error| format!("{create}: {error}"))?;
        Ok(rows)
    }

    fn begin(&self, create: &str, bug: Option<Bug>) -> Result<Run, String> {
        Run::new(create, self.feeds, self.query.reads_other(), self.partitions, self.config(self.parallelism), bug)
    }

    fn compare_every_tick(&self, run: &mut Run) -> Result<(), String> {
        self.drive(run, |run| {
            let text = self.query.expected_text(run.closing().micros());
            let plan = run.batch().plan(&text, run.now_micros()).map_err(|e| format!("the batch query: {e}"))?;
            compare::equal(&run.batch().answer(&plan)?, &run.rows()?)
        })
    }

    /// Ticks and restarts as the case says; `check` looks after every tick.
    fn drive(&self, run: &mut Run, mut check: impl FnMut(&Run) -> Result<(), String>) -> Result<(), String> {
        let mut from = 0;
        let cuts: Vec<usize> = self.cuts.iter().copied().chain([self.records.len()]).collect();
        for (index, cut) in cuts.into_iter().enumerate() {
            let cut = cut.clamp(from, self.records.len());
            run.tick(self.clock.at(index), &self.records[from..cut])
                .and_then(|_| check(run))
                .map_err(|e| format!("tick {} (records {from}..{cut}): {e}", index + 1))?;
            from = cut;
            if let Some(Some(parallelism)) = self.restarts.get(index) {
                run.restart(self.config(*parallelism)).map_err(|e| format!("restart after tick {}: {e}", index + 1))?;
            }
        }
        Ok(())
    }

    fn config(&self, parallelism: usize) -> CoreConfig {
        let tasks = (parallelism > 1).then(tokio::runtime::Handle::current);
        CoreConfig { execution: ExecutionConfig { parallelism, tasks }, evict: self.evict, ..Default::default() }
    }
}

/// What the sources' records are. Most are rows.
fn feeds(seed: u64) -> [Feed; 2] {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xfeed);
    let mut feed = || if rng.random_range(0..3) == 0 { Feed::keyed(&mut rng) } else { ROWS };
    // Chosen apart, so that seeds without it make the cases they made before.
    let mut late = ChaCha8Rng::seed_from_u64(seed ^ 0x1a7e);
    [feed(), feed()].map(|feed| if late.random_range(0..3) == 0 { feed.accepting_late(&mut late) } else { feed })
}

/// Two topics' records in one line, each topic's in its order; sometimes one topic is well ahead.
pub(super) fn shuffled_together(rng: &mut impl Rng, first: Vec<Record>, second: Vec<Record>) -> Vec<Record> {
    let ahead = *[0.5, 0.5, 0.1, 0.9].choose(rng).expect("not empty");
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    let mut all = Vec::new();
    while first.peek().is_some() || second.peek().is_some() {
        let from_first = second.peek().is_none() || (first.peek().is_some() && rng.random_bool(ahead));
        all.extend(if from_first { first.next() } else { second.next() });
    }
    all
}

/// A panic is an answer like any other here, and a wrong one.
pub(super) fn unpanicked<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(format!("tick: a panic: {text}"))
    })
}

pub(super) fn parallelism(rng: &mut impl Rng) -> usize {
    *[1, 1, 2, 7].choose(rng).expect("not empty")
}

pub(super) fn random_cuts(rng: &mut impl Rng, records: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..rng.random_range(0..7)).map(|_| rng.random_range(0..=records)).collect();
    cuts.sort_unstable();
    cuts
}
