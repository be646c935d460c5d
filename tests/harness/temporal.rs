//! Random views with conditions on `now()`, over rows that stay and rows that go, and clocks that pass over the topic's times.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::query::{Outer, PREDICATES, pick, scalar, without_each};
use super::stream::{START_MICROS, StreamShape};

/// When ticks are, µs: the first one, and how long after each the next one is, over and over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// The first tick.
    pub first: i64,
    /// At least one.
    pub steps: Vec<i64>,
}

impl Clock {
    /// One that passes over the times of a stream like this, at different paces, in so many ticks.
    pub fn over(rng: &mut impl Rng, shape: &StreamShape, records: usize, ticks: usize) -> Self {
        let span = shape.step_micros * records as i64 + shape.disorder_micros + 10_000_000;
        let pace = 2 * span / ticks.max(1) as i64;
        let first = START_MICROS + rng.random_range(-span..=span / 2);
        Self { first, steps: (0..ticks.max(1)).map(|_| step(rng, pace)).collect() }
    }

    /// When the tick of this number is, from 0.
    pub fn at(&self, tick: usize) -> i64 {
        self.first + (0..tick).map(|n| self.steps[n % self.steps.len()]).sum::<i64>()
    }
}

fn step(rng: &mut impl Rng, pace: i64) -> i64 {
    match rng.random_range(0..6) {
        0 => 0,
        1 => 1,
        2 => rng.random_range(0..10_000_000),
        _ => rng.random_range(0..=pace),
    }
}

/// A view body of this kind, in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Temporal {
    /// What is selected from.
    pub from: String,
    /// Conditions on `now()`, at least one.
    pub conditions: Vec<String>,
    /// Another condition.
    pub filter: Option<String>,
    /// What is made of the rows.
    pub form: Form,
}

/// What is made of the rows that are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// They are shown.
    Rows(Vec<String>),
    /// They are grouped, and maybe grouped again.
    Group(String, Vec<String>, Option<Outer>),
    /// They stand as `r` in this query.
    Within(String),
}

/// Relations with the columns that expressions name, some of which can be NULL; the later ones take rows back.
const RELATIONS: [&str; 9] = [
    "s",
    "s",
    "(SELECT k, g, v, d, f, b, CASE WHEN v > -2 THEN ts END AS ts, day FROM s)",
    "(SELECT k, g, v, d, f, b, date_trunc('second', ts) AS ts, day FROM s)",
    "(SELECT k, g, v, d, f, b, ts, day FROM s UNION ALL SELECT k, g, v, d, f, NOT b, ts + INTERVAL '3 seconds', day FROM s WHERE v > 0)",
    "(SELECT k, g, count(*) AS v, max(d) AS d, sum(f) AS f, bool_or(b) AS b, max(ts) AS ts, max(day) AS day FROM s GROUP BY k, g)",
    "(SELECT k, min(g) AS g, sum(v) AS v, max(d) AS d, min(f) AS f, bool_or(b) AS b, date_trunc('minute', ts) AS ts, min(day) AS day FROM s GROUP BY k, date_trunc('minute', ts))",
    "(SELECT a.k, a.g, x.v, a.d, a.f, a.b, a.ts, a.day FROM s AS a LEFT JOIN (SELECT k, max(v) AS v FROM s WHERE b GROUP BY k) AS x ON a.k = x.k)",
    "(SELECT k, g, v, d, f, b, ts, day FROM (SELECT *, row_number() OVER (PARTITION BY g ORDER BY v, ts DESC) AS rn FROM s) AS ranked WHERE rn <= 4)",
];
const CONDITIONS: [&str; 24] = [
    "ts > now() - INTERVAL '10 seconds'",
    "ts >= now() - INTERVAL '1 minute'",
    "ts <= now()",
    "ts < now() - INTERVAL '2 seconds'",
    "now() < ts + INTERVAL '5 seconds'",
    "now() - ts < INTERVAL '7 seconds'",
    "ts - now() <= INTERVAL '3 seconds'",
    "ts BETWEEN now() - INTERVAL '30 seconds' AND now()",
    "now() BETWEEN ts AND ts + INTERVAL '8 seconds'",
    "ts > current_timestamp - INTERVAL '1 hour'",
    "ts > localtimestamp - INTERVAL '15 seconds'",
    "NOT (ts < now() - INTERVAL '20 seconds')",
    "ts AT TIME ZONE 'UTC' > now() - INTERVAL '9 seconds'",
    "ts > now() AT TIME ZONE 'UTC' - INTERVAL '12 seconds'",
    "date_trunc('minute', ts) >= now() - INTERVAL '30 seconds'",
    "ts >= date_trunc('minute', now())",
    "date_trunc('minute', ts) = date_trunc('minute', now())",
    "ts::date = current_date",
    "ts::date < current_date",
    "day >= current_date - INTERVAL '20 days'",
    "day + INTERVAL '10 days' <= current_date",
    "CASE WHEN v > 0 THEN ts + INTERVAL '4 seconds' ELSE ts END > now()",
    "CASE WHEN b THEN ts ELSE ts - INTERVAL '1 minute' END > now() - INTERVAL '40 seconds'",
    "now() > TIMESTAMPTZ '2026-03-02 00:00:00+00'",
];
const CALLS: [&str; 8] =
    ["count(*)", "sum(v)", "max(v)", "min(ts)", "max(ts)", "count(DISTINCT g)", "avg(d)", "array_agg(v ORDER BY v)"];
const KEYS: [&str; 5] = ["k", "g", "k % 3", "date_trunc('minute', ts)", "ts::date"];
/// Queries around the rows that are left, which are `r`.
const WITHIN: [&str; 10] = [
    "SELECT k, r.v, x.n FROM r LEFT JOIN (SELECT k AS k2, count(*) AS n FROM s GROUP BY k) AS x ON r.k = x.k2",
    "SELECT a.k, a.v, r.v AS w FROM s AS a JOIN r ON a.k = r.k AND a.ts <= r.ts WHERE a.v > 0",
    "SELECT k, g, v FROM s WHERE EXISTS (SELECT 1 FROM r WHERE r.k = s.k AND r.v > s.v)",
    "SELECT k, g, v FROM s WHERE k NOT IN (SELECT k FROM r WHERE k IS NOT NULL)",
    "SELECT k, v, ts FROM r UNION ALL SELECT k, v, ts FROM s WHERE b",
    "SELECT g, v FROM r EXCEPT SELECT g, v FROM s WHERE v < 0",
    "SELECT DISTINCT g, b FROM r",
    "SELECT k, v, ts FROM (SELECT k, v, ts, row_number() OVER (PARTITION BY k ORDER BY ts DESC, v) AS rn FROM r) AS ranked WHERE rn <= 2",
    "SELECT k, v, sum(v) OVER (PARTITION BY k) AS total FROM r",
    "SELECT k, max(ts) AS last FROM r GROUP BY k HAVING max(ts) > now() - INTERVAL '6 seconds'",
];

impl Temporal {
    /// A random one.
    pub fn random(rng: &mut impl Rng) -> Self {
        let conditions = (0..rng.random_range(1..4)).map(|_| pick(rng, &CONDITIONS).to_owned()).collect();
        let filter = rng.random_bool(0.3).then(|| pick(rng, &PREDICATES).to_owned());
        let form = match rng.random_range(0..6) {
            0..2 => Form::Rows((0..rng.random_range(1..4)).map(|_| scalar(rng).to_owned()).collect()),
            2..4 => {
                let calls = (0..rng.random_range(1..3)).map(|_| pick(rng, &CALLS).to_owned()).collect();
                let outer = (rng.random_range(0..4) == 0).then(|| Outer::random(rng));
                let calls = if outer.is_some() { vec!["count(*)".to_owned()] } else { calls };
                Form::Group(pick(rng, &KEYS).to_owned(), calls, outer)
            }
            _ => Form::Within(pick(rng, &WITHIN).to_owned()),
        };
        let relation = *RELATIONS.choose(rng).expect("not empty");
        let from = if relation == "s" { relation.to_owned() } else { format!("{relation} AS q") };
        Self { from, conditions, filter, form }
    }

    /// The SELECT.
    pub fn text(&self) -> String {
        let mut conditions = self.conditions.clone();
        conditions.extend(self.filter.iter().map(|filter| format!("({filter})")));
        let rest = format!("FROM {} WHERE {}", self.from, conditions.join(" AND "));
        match &self.form {
            Form::Rows(items) => {
                let items: Vec<_> = items.iter().enumerate().map(|(n, item)| format!("{item} AS c{n}")).collect();
                format!("SELECT {}, ts {rest}", items.join(", "))
            }
            Form::Group(key, calls, outer) => {
                let calls = calls.iter().enumerate().map(|(n, call)| match n {
                    0 => format!("{call} AS n"),
                    _ => format!("{call} AS n{n}"),
                });
                let calls: Vec<_> = calls.collect();
                let text = format!("SELECT {key} AS key0, {} {rest} GROUP BY 1", calls.join(", "));
                outer.as_ref().map_or_else(|| text.clone(), |outer| outer.text(&text))
            }
            Form::Within(query) => format!("WITH r AS (SELECT k, g, v, b, ts {rest}) {query}"),
        }
    }

    /// Views that are a little smaller than this one.
    pub fn smaller(&self) -> Vec<Self> {
        let with = |form: Form| Self { form, ..self.clone() };
        let mut all: Vec<Self> =
            without_each(&self.conditions).map(|conditions| Self { conditions, ..self.clone() }).collect();
        all.extend(self.filter.is_some().then(|| Self { filter: None, ..self.clone() }));
        all.extend((self.from != "s").then(|| Self { from: "s".to_owned(), ..self.clone() }));
        match &self.form {
            Form::Rows(items) => all.extend(without_each(items).map(|items| with(Form::Rows(items)))),
            Form::Group(key, calls, outer) => {
                all.extend(without_each(calls).map(|calls| with(Form::Group(key.clone(), calls, outer.clone()))));
                all.extend(outer.is_some().then(|| with(Form::Group(key.clone(), calls.clone(), None))));
                all.push(with(Form::Rows(vec!["k".to_owned()])));
            }
            Form::Within(_) => all.push(with(Form::Rows(vec!["k".to_owned()]))),
        }
        all
    }
}
