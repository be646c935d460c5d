//! One oracle case: a seed gives a stream, a view, cuts and restarts; at every tick the view must equal the batch.

use engine::dataflow::execution::ExecutionConfig;
use engine::tick::core::CoreConfig;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::compare;
use super::query::Query;
use super::run::Run;
use super::stream::{Record, StreamShape};

/// A case, whole, so that it can be made smaller and run again.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The view.
    pub query: Query,
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
}

impl Case {
    /// The case of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let partitions = *[1, 2, 7].choose(&mut rng).expect("not empty");
        let mut records = StreamShape::random(&mut rng, partitions).records(&mut rng);
        let query = Query::random(&mut rng);
        // DataFusion's batch min and max of floats depend on the rows' order once one is NaN, so they are no judge there.
        // Ours take NaN for the greatest float, as Postgres does; a golden script holds that.
        if query.text().contains("min(f)") || query.text().contains("max(f)") {
            records
                .iter_mut()
                .filter_map(|record| record.payload.as_mut())
                .for_each(|p| *p = p.replace("\"NaN\"", "2.5"));
        }
        let cuts = random_cuts(&mut rng, records.len());
        let restart = |rng: &mut ChaCha8Rng| (rng.random_range(0..6) == 0).then(|| parallelism(rng));
        let restarts = cuts.iter().map(|_| restart(&mut rng)).collect();
        let parallelism = parallelism(&mut rng);
        Self { query, partitions, records, cuts, restarts, parallelism, evict: rng.random_bool(0.8) }
    }

    /// The same input and view under other cuts, restarts and parallelism.
    #[must_use]
    pub fn recut(&self, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        let cuts = random_cuts(&mut rng, self.records.len());
        let restarts = cuts.iter().map(|_| None).collect();
        Self { cuts, restarts, parallelism: parallelism(&mut rng), evict: !self.evict, ..self.clone() }
    }

    /// Runs the case; returns the rows at the end.
    ///
    /// # Errors
    /// The first tick at which view and batch differ, and how; or what the planner refuses.
    pub fn run(&self) -> Result<Vec<arrow::array::RecordBatch>, String> {
        let mut run = Run::new(&self.query.create_text(), self.partitions, self.config(self.parallelism))?;
        let mut from = 0;
        let cuts: Vec<usize> = self.cuts.iter().copied().chain([self.records.len()]).collect();
        for (index, cut) in cuts.into_iter().enumerate() {
            let cut = cut.clamp(from, self.records.len());
            run.tick(&self.records[from..cut]).map_err(|e| format!("tick {}: {e}", index + 1))?;
            from = cut;
            let text = self.query.expected_text(run.watermark().micros());
            let plan = run.batch().plan(&text).map_err(|e| format!("the batch query: {e}"))?;
            let expected = run.batch().answer(&plan)?;
            compare::equal(&expected, &run.rows()?)
                .map_err(|e| format!("tick {} (records ..{cut}): {e}", index + 1))?;
            if let Some(Some(parallelism)) = self.restarts.get(index) {
                run.restart(self.config(*parallelism)).map_err(|e| format!("restart after tick {}: {e}", index + 1))?;
            }
        }
        run.rows()
    }

    fn config(&self, parallelism: usize) -> CoreConfig {
        let tasks = (parallelism > 1).then(tokio::runtime::Handle::current);
        CoreConfig { execution: ExecutionConfig { parallelism, tasks }, evict: self.evict, ..Default::default() }
    }

    /// The smallest case found that fails like this one, by dropping parts for as long as it still fails.
    #[must_use]
    pub fn shrink(self) -> Self {
        let mut smallest = self;
        let mut tries = 0;
        'again: loop {
            for smaller in smallest.smaller() {
                tries += 1;
                if tries > 400 {
                    return smallest;
                }
                if smaller.run().is_err_and(|e| e.starts_with("tick") || e.starts_with("restart")) {
                    smallest = smaller;
                    continue 'again;
                }
            }
            return smallest;
        }
    }

    fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let half = self.records.len() / 2;
        if half > 0 {
            all.push(self.with_records(self.records[..half].to_vec()));
            all.push(self.with_records(self.records[half..].to_vec()));
        }
        all.extend(self.query.smaller().into_iter().map(|query| Self { query, ..self.clone() }));
        if self.restarts.iter().any(Option::is_some) {
            all.push(Self { restarts: vec![None; self.restarts.len()], ..self.clone() });
        }
        if self.parallelism > 1 {
            all.push(Self { parallelism: 1, ..self.clone() });
        }
        for index in 0..self.cuts.len() {
            let mut fewer = self.clone();
            fewer.cuts.remove(index);
            fewer.restarts.remove(index);
            all.push(fewer);
        }
        if self.records.len() <= 24 {
            for index in 0..self.records.len() {
                let mut fewer = self.records.clone();
                fewer.remove(index);
                all.push(self.with_records(fewer));
            }
        }
        all
    }

    fn with_records(&self, records: Vec<Record>) -> Self {
        let cuts = self.cuts.iter().map(|cut| (*cut).min(records.len())).collect();
        Self { records, cuts, ..self.clone() }
    }
}

fn parallelism(rng: &mut impl Rng) -> usize {
    *[1, 1, 2, 7].choose(rng).expect("not empty")
}

fn random_cuts(rng: &mut impl Rng, records: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..rng.random_range(0..7)).map(|_| rng.random_range(0..=records)).collect();
    cuts.sort_unstable();
    cuts
}
