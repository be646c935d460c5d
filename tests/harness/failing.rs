//! Random views with expressions that fail on some rows, and what they are to be: written down here, by hand, as plain SQL
//! over the rows that do not fail.

use arrow::array::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use engine::dataflow::execution::ExecutionConfig;
use engine::tick::core::CoreConfig;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::case::{parallelism, random_cuts, unpanicked};
use super::compare;
use super::feed::{Feed, ROWS};
use super::run::{FIRST_TICK_MICROS, Run};
use super::sabotage::errors::ErrorBug;
use super::stream::{Record, StreamShape};

/// An expression over `s`, when it fails, and how.
#[derive(Debug, Clone, Copy)]
struct Fallible {
    expr: &'static str,
    fails: &'static str,
    state: &'static str,
}

const FALLIBLE: [Fallible; 9] = [
    Fallible { expr: "100 / v", fails: "v = 0", state: "22012" },
    Fallible { expr: "k % v", fails: "v = 0 AND k IS NOT NULL", state: "22012" },
    Fallible { expr: "d / v", fails: "v = 0 AND d IS NOT NULL", state: "22012" },
    Fallible { expr: "(g || '7')::bigint", fails: "g <> ''", state: "22P02" },
    Fallible { expr: "9223372036854775800 + v * 4", fails: "v >= 2", state: "22003" },
    Fallible { expr: "-9223372036854775800 - (v * 3)", fails: "v >= 3", state: "22003" },
    Fallible { expr: "(v * 30000)::smallint", fails: "v >= 2 OR v <= -2", state: "22003" },
    Fallible { expr: "v * 4611686018427387904", fails: "v >= 2 OR v < -2", state: "22003" },
    Fallible { expr: "CASE WHEN b THEN 12 / v ELSE k END", fails: "b AND v = 0", state: "22012" },
];

/// What a view shows of windows, of groups, of pairs, of rows.
const SHAPES: usize = 15;

/// A view, what it is to hold, and what it is to leave out.
#[derive(Debug, Clone)]
pub struct FailingCase {
    /// The view's query.
    pub view: String,
    /// The same rows by a query that fails on none.
    pub rows: String,
    /// SQLSTATE and number of the rows left out.
    pub errors: String,
    feed: Feed,
    partitions: i32,
    records: Vec<Record>,
    cuts: Vec<usize>,
    restarts: Vec<Option<usize>>,
    parallelism: usize,
}

impl FailingCase {
    /// The case of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xe44);
        let partitions = *[1, 2, 7].choose(&mut rng).expect("not empty");
        let feed = if rng.random_bool(0.5) { Feed::keyed(&mut rng) } else { ROWS };
        let mut records = feed.records(&StreamShape::random(&mut rng, partitions), &mut rng);
        let (view, rows, errors, records_max) = view(&mut rng);
        records.truncate(records_max);
        let cuts = random_cuts(&mut rng, records.len());
        let restart = |rng: &mut ChaCha8Rng| (rng.random_range(0..4) == 0).then(|| parallelism(rng));
        let restarts = cuts.iter().map(|_| restart(&mut rng)).collect();
        let parallelism = parallelism(&mut rng);
        Self { view, rows, errors, feed, partitions, records, cuts, restarts, parallelism }
    }

    /// The same input and view under other cuts, without restarts.
    #[must_use]
    pub fn recut(&self, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        let cuts = random_cuts(&mut rng, self.records.len());
        let restarts = cuts.iter().map(|_| None).collect();
        Self { cuts, restarts, parallelism: parallelism(&mut rng), ..self.clone() }
    }

    /// Runs the case, compares rows and errors at every tick, and returns the errors at the end.
    ///
    /// # Errors
    /// The first tick at which something differs, and how.
    pub fn run(&self) -> Result<Vec<RecordBatch>, String> {
        self.run_with(None).0
    }

    /// The same with a bug in the view, and whether the bug changed anything.
    pub fn run_with(&self, bug: Option<ErrorBug>) -> (Result<Vec<RecordBatch>, String>, bool) {
        let mut acted = false;
        let ran = unpanicked(|| {
            let create = format!("CREATE MATERIALIZED VIEW v AS {}", self.view);
            let config = self.config(self.parallelism);
            let mut run = Run::new(&create, [self.feed, ROWS], false, self.partitions, config, None)?;
            let judge = Judge::new(self, &run)?;
            let mut from = 0;
            for (index, cut) in self.cuts.iter().copied().chain([self.records.len()]).enumerate() {
                let cut = cut.clamp(from, self.records.len());
                let begin = std::mem::replace(&mut from, cut);
                let at = |error: String| format!("tick {} (records {begin}..{cut}): {error}", index + 1);
                let now = run.now_micros() + FIRST_TICK_MICROS;
                run.tick(now, &self.records[begin..cut]).map_err(at)?;
                let (mut rows, mut errors) = (run.rows()?, run.errors()?);
                if let Some(bug) = bug {
                    acted |= bug.tamper(&mut rows, &mut errors);
                }
                judge.check(&run, &rows, &errors).map_err(at)?;
                if let Some(Some(parallelism)) = self.restarts.get(index) {
                    run.restart(self.config(*parallelism)).map_err(at)?;
                }
            }
            run.errors()
        });
        (ran, acted)
    }

    fn config(&self, parallelism: usize) -> CoreConfig {
        let tasks = (parallelism > 1).then(tokio::runtime::Handle::current);
        CoreConfig { execution: ExecutionConfig { parallelism, tasks }, ..Default::default() }
    }
}

/// The queries that say what a view is to hold and to leave out. They see the rows of every tick.
struct Judge {
    rows: LogicalPlan,
    errors: LogicalPlan,
    /// The view's own query as a batch that leaves out what it does; `None` for what VERIFY refuses.
    checked: Option<LogicalPlan>,
}

impl Judge {
    fn new(case: &FailingCase, run: &Run) -> Result<Self, String> {
        let plan =
            |text: &str| run.batch().plan(text, run.now_micros()).map_err(|e| format!("{text}: {e} {:?}", e.detail));
        let checked = run.batch().plan_checked(&case.view, run.now_micros()).ok();
        Ok(Self { rows: plan(&case.rows)?, errors: plan(&case.errors)?, checked })
    }

    fn check(&self, run: &Run, rows: &[RecordBatch], errors: &[RecordBatch]) -> Result<(), String> {
        compare::equal(&run.batch().answer(&self.rows)?, rows).map_err(|e| format!("rows: {e}"))?;
        if let Some(checked) = &self.checked {
            let checked = run.batch().answer(checked)?;
            compare::equal(&checked, rows).map_err(|e| format!("rows as VERIFY sees them: {e}"))?;
        }
        let states: Vec<_> = errors.iter().map(|batch| batch.project(&[2]).expect("five columns")).collect();
        let expected = expanded(&compare::rows(&run.batch().answer(&self.errors)?));
        let mut found: Vec<String> = compare::rows(&states).iter().map(|row| format!("{:?}", row[0])).collect();
        found.sort();
        if expected != found {
            return Err(format!("errors: expected {expected:?}, found {found:?}"));
        }
        Ok(())
    }
}

/// SQLSTATEs with their numbers as so many SQLSTATEs.
fn expanded(counted: &[Vec<compare::Value>]) -> Vec<String> {
    let mut states = Vec::new();
    for row in counted {
        let compare::Value::Text(count) = &row[1] else { continue };
        states.extend(vec![format!("{:?}", row[0]); count.parse().expect("a number")]);
    }
    states.sort();
    states
}

/// A view, its rows, its errors, and how many records it is run over.
fn view(rng: &mut impl Rng) -> (String, String, String, usize) {
    let Fallible { expr, fails, state } = *FALLIBLE.choose(rng).expect("not empty");
    let ok = format!("NOT coalesce({fails}, false)");
    let limit = rng.random_range(-20..60);
    let counted = |from: &str| format!("SELECT '{state}' AS state, count(*) AS n FROM {from}");
    let none = "SELECT '22012' AS state, 0 AS n".to_owned();
    let failing = counted(&format!("s WHERE NOT ({ok})"));
    let all = 200;
    match rng.random_range(0..SHAPES) {
        0 => (
            format!("SELECT k, g, {expr} AS x FROM s"),
            format!("SELECT k, g, {expr} AS x FROM s WHERE {ok}"),
            failing,
            all,
        ),
        1 => (
            format!("SELECT k, {expr} AS x FROM s WHERE k > 1 OR k IS NULL"),
            format!("SELECT k, {expr} AS x FROM s WHERE (k > 1 OR k IS NULL) AND {ok}"),
            counted(&format!("s WHERE (k > 1 OR k IS NULL) AND NOT ({ok})")),
            all,
        ),
        2 => (
            format!("SELECT k, v FROM s WHERE {expr} > {limit}"),
            format!("SELECT k, v FROM s WHERE CASE WHEN {ok} THEN {expr} > {limit} ELSE false END"),
            failing,
            all,
        ),
        // What stands behind a guard does not fail, whatever it looks like.
        3 => (
            format!("SELECT k, v, d FROM s WHERE {ok} AND {expr} > {limit}"),
            format!("SELECT k, v, d FROM s WHERE CASE WHEN {ok} THEN {expr} > {limit} ELSE false END"),
            none,
            all,
        ),
        4 => (
            format!("SELECT k, CASE WHEN {ok} THEN {expr} END AS x, {ok} AND {expr} > 3 AS y FROM s"),
            format!(
                "SELECT k, CASE WHEN {ok} THEN {expr} END AS x, CASE WHEN {ok} THEN {expr} > 3 ELSE false END AS y FROM s"
            ),
            none,
            all,
        ),
        5 => (
            format!(
                "SELECT k, x, x + 0 AS y FROM (SELECT k, v, {expr} AS x FROM (SELECT * FROM s WHERE {ok}) AS t) AS u WHERE x > {limit}"
            ),
            format!(
                "SELECT k, {expr} AS x, {expr} + 0 AS y FROM s WHERE CASE WHEN {ok} THEN {expr} > {limit} ELSE false END"
            ),
            none,
            all,
        ),
        6 => (
            format!("SELECT k, count(*) AS n, min({expr}) AS x FROM s GROUP BY k"),
            format!("SELECT k, count(*) AS n, min({expr}) AS x FROM (SELECT * FROM s WHERE {ok}) AS t GROUP BY k"),
            failing,
            all,
        ),
        7 => (
            format!("SELECT {expr} AS x, count(*) AS n, sum(v) AS s FROM s GROUP BY {expr}"),
            format!(
                "SELECT x, count(*) AS n, sum(v) AS s FROM (SELECT {expr} AS x, v FROM s WHERE {ok}) AS t GROUP BY x"
            ),
            failing,
            all,
        ),
        8 => (
            format!(
                "SELECT k, count({expr}) FILTER (WHERE {ok}) AS n, max({expr}) FILTER (WHERE {ok}) AS x FROM s GROUP BY k"
            ),
            format!(
                "SELECT k, count(CASE WHEN {ok} THEN {expr} END) AS n, max(CASE WHEN {ok} THEN {expr} END) AS x FROM s GROUP BY k"
            ),
            none,
            all,
        ),
        9 | 10 => group_sums(rng),
        11 => (
            format!("SELECT a.k, a.v, b.x FROM s AS a JOIN (SELECT k, {expr} AS x FROM s) AS b ON a.k = b.k"),
            format!(
                "SELECT a.k, a.v, b.x FROM s AS a JOIN (SELECT k, {expr} AS x FROM s WHERE {ok}) AS b ON a.k = b.k"
            ),
            failing,
            60,
        ),
        12 => {
            let kind = *["JOIN", "LEFT JOIN", "FULL JOIN"].choose(rng).expect("not empty");
            let passes = "CASE WHEN b.v <> 0 THEN a.v / b.v > 0 END";
            let errors = "SELECT '22012' AS state, count(*) AS n FROM s AS a JOIN s AS b ON a.k = b.k \
                          WHERE b.v = 0 AND a.v IS NOT NULL";
            (
                format!("SELECT a.k, a.v, b.v AS w FROM s AS a {kind} s AS b ON a.k = b.k AND a.v / b.v > 0"),
                format!("SELECT a.k, a.v, b.v AS w FROM s AS a {kind} s AS b ON a.k = b.k AND {passes}"),
                errors.to_owned(),
                40,
            )
        }
        13 => (
            format!("SELECT k, v, count(*) OVER (PARTITION BY k) AS n, min({expr}) OVER (PARTITION BY k) AS x FROM s"),
            format!(
                "SELECT k, v, count(*) OVER (PARTITION BY k) AS n, min({expr}) OVER (PARTITION BY k) AS x \
                     FROM (SELECT * FROM s WHERE {ok}) AS t"
            ),
            failing,
            all,
        ),
        _ => (
            format!(
                "SELECT k, g, x FROM (SELECT k, g, {expr} AS x, row_number() OVER (PARTITION BY g ORDER BY {expr}, k, v, d) AS rn FROM s) AS t WHERE rn <= 2"
            ),
            format!(
                "SELECT k, g, x FROM (SELECT k, g, {expr} AS x, row_number() OVER (PARTITION BY g ORDER BY {expr}, k, v, d) AS rn FROM (SELECT * FROM s WHERE {ok}) AS t) AS u WHERE rn <= 2"
            ),
            failing,
            all,
        ),
    }
}

/// Sums that leave their type, and come back into it.
fn group_sums(rng: &mut impl Rng) -> (String, String, String, usize) {
    let value = "CASE WHEN v > 1 THEN 6000000000000000000 WHEN v < -1 THEN -6000000000000000000 ELSE v END";
    let from = *["s", "(SELECT k, g, max(v) AS v FROM s GROUP BY k, g) AS t"].choose(rng).expect("not empty");
    let exact = format!("SELECT k, sum(({value})::numeric(38,0)) AS x, count(*) AS n FROM {from} GROUP BY k");
    let fits = "(x IS NULL OR x BETWEEN -9223372036854775808 AND 9223372036854775807)";
    (
        format!("SELECT k, sum({value}) AS x, count(*) AS n FROM {from} GROUP BY k"),
        format!("SELECT k, CASE WHEN {fits} THEN x::bigint END AS x, n FROM ({exact}) AS u WHERE {fits}"),
        format!("SELECT '22003' AS state, count(*) AS n FROM ({exact}) AS u WHERE NOT {fits}"),
        200,
    )
}
