//! Random views over the random topic, typed so that every one of them plans.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::join::Joined;
use super::over::Over;
use super::temporal::Temporal;
use super::windows::Windowed;

/// A view body, in parts, so that a failing one can be made smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// What is selected.
    pub shape: Shape,
    /// True for EMIT ON WINDOW CLOSE.
    pub emit_on_close: bool,
}

/// The shapes of view bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// SELECT expressions FROM relation WHERE …
    Rows(Rows),
    /// Two of them with the same columns.
    Union(Rows, Rows),
    /// GROUP BY over a relation.
    Group(Group),
    /// GROUP BY over a UNION ALL of the source with itself.
    GroupOfUnion(Group, String, String),
    /// GROUP BY over a GROUP BY: the outer one sees retractions.
    Nested(Group, Outer),
    /// Whatever joins.
    Join(Joined),
    /// OVER, Top-N, set operations and their kin.
    Over(Over),
    /// Sessions, cumulating and count windows, windows in a time zone.
    Windowed(Windowed),
    /// Conditions on `now()`.
    Temporal(Temporal),
}

/// Projection and filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// Columns.
    pub items: Vec<String>,
    /// FROM.
    pub from: String,
    /// WHERE.
    pub filter: Option<String>,
}

/// A group aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// GROUP BY expressions.
    pub keys: Vec<String>,
    /// Aggregate calls.
    pub calls: Vec<String>,
    /// FROM.
    pub from: String,
    /// WHERE.
    pub filter: Option<String>,
    /// HAVING.
    pub having: Option<String>,
    /// An expression over the output that is at most the watermark once a group is final; windows only.
    pub end: Option<String>,
}

/// The outer aggregate of a nested one, over the inner's columns `n` and `key0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outer {
    /// GROUP BY `key0`?
    pub by_key: bool,
    /// Calls over `n` and `key0`.
    pub calls: Vec<String>,
}

const INTEGERS: [&str; 8] =
    ["k", "v", "v + 1", "k % 3", "coalesce(v, 0)", "abs(v)", "length(g)", "CASE WHEN b THEN v ELSE k END"];
const TEXTS: [&str; 6] = ["g", "upper(g)", "coalesce(g, 'z')", "g || '!'", "substr(g, 1, 1)", "nullif(g, 'a')"];
const DECIMALS: [&str; 3] = ["d", "d * 2", "round(d, 1)"];
// The decoder knows no negative zero; expressions do.
const FLOATS: [&str; 5] = ["f", "f * 2", "f * -1", "f * v", "coalesce(f, 1.5::double precision)"];
const TIMES: [&str; 3] = ["ts", "date_trunc('minute', ts)", "ts + INTERVAL '1 hour'"];
const OTHERS: [&str; 4] = ["b", "day", "day + INTERVAL '1 day'", "b AND v > 0"];
/// Subqueries as values, of rows of `s`: with NULLs on either side, none found, and conditions of every kind.
const SUBQUERIES: [&str; 8] = [
    "EXISTS (SELECT 1 FROM s AS i WHERE i.k = s.k AND i.v > s.v)",
    "NOT EXISTS (SELECT 1 FROM s AS i WHERE i.g = s.g AND NOT i.b)",
    "EXISTS (SELECT 1 FROM s AS i WHERE i.v = 2)",
    "v IN (SELECT i.k FROM s AS i)",
    "v NOT IN (SELECT i.v FROM s AS i WHERE i.k = s.k AND i.b)",
    "v > ALL (SELECT i.v FROM s AS i WHERE i.g = s.g AND i.k <> s.k)",
    "k < ANY (SELECT i.v FROM s AS i)",
    "CASE WHEN v = ANY (SELECT i.k FROM s AS i WHERE i.b) THEN 'in' WHEN v <> ALL (SELECT i.k FROM s AS i WHERE i.b) THEN 'out' END",
];
pub(super) const PREDICATES: [&str; 9] = [
    "v > 0",
    "g = 'a'",
    "b",
    "NOT b OR v IS NULL",
    "k IN (0, 1, 7)",
    "f > 0",
    "d BETWEEN 0 AND 50",
    "g LIKE '%a%'",
    "ts > TIMESTAMP '2026-03-02 00:00:00'",
];
const CALLS: [&str; 34] = [
    "count(*)",
    "count(v)",
    "count(DISTINCT v)",
    "count(DISTINCT g)",
    "sum(v)",
    "sum(k)",
    "sum(d)",
    "sum(f)",
    "sum(DISTINCT v)",
    "avg(v)",
    "avg(d)",
    "avg(f)",
    "min(v)",
    "max(v)",
    "min(g)",
    "max(g)",
    "min(d)",
    "max(f)",
    "min(f)",
    "max(ts)",
    "min(day)",
    "bool_and(b)",
    "bool_or(b)",
    "median(v)",
    "stddev_pop(v)",
    "var_samp(v)",
    "corr(v, k)",
    "bit_xor(v)",
    "bit_and(v)",
    "array_agg(v ORDER BY v)",
    "string_agg(g, ',' ORDER BY g)",
    "first_value(v ORDER BY v, k)",
    "max(length(g))",
    "sum(v * 2 + 1)",
];
const HAVINGS: [&str; 3] = ["count(*) > 1", "max(v) > 0", "sum(v) IS NOT NULL"];

pub(super) fn pick<'a>(rng: &mut impl Rng, from: &[&'a str]) -> &'a str {
    from.choose(rng).expect("a list with entries")
}

pub(super) fn scalar(rng: &mut impl Rng) -> &'static str {
    let lists: [&[&'static str]; 6] = [&INTEGERS, &TEXTS, &DECIMALS, &FLOATS, &TIMES, &OTHERS];
    let list = lists.choose(rng).expect("a list with entries");
    list.choose(rng).expect("a list with entries")
}

fn maybe(rng: &mut impl Rng, from: &[&str]) -> Option<String> {
    rng.random_bool(0.4).then(|| pick(rng, from).to_owned())
}

fn call(rng: &mut impl Rng) -> String {
    let call = pick(rng, &CALLS);
    if rng.random_range(0..5) == 0 { format!("{call} FILTER (WHERE {})", pick(rng, &PREDICATES)) } else { call.into() }
}

impl Query {
    /// A random view body.
    pub fn random(rng: &mut impl Rng) -> Self {
        if rng.random_range(0..4) == 0 {
            let (over, emit_on_close) = Over::random(rng);
            return Self { shape: Shape::Over(over), emit_on_close };
        }
        if rng.random_range(0..5) == 0 {
            let (windowed, emit_on_close) = Windowed::random(rng);
            return Self { shape: Shape::Windowed(windowed), emit_on_close };
        }
        let shape = match rng.random_range(0..28) {
            20.. => Shape::Join(Joined::random(rng)),
            0..3 => Shape::Rows(Rows::random(rng)),
            3 => {
                let first = Rows::random(rng);
                let second = Rows { filter: maybe(rng, &PREDICATES), ..first.clone() };
                Shape::Union(first, second)
            }
            4..9 => Shape::Group(Group::plain(rng)),
            9..15 => Shape::Group(Group::windowed(rng)),
            15..17 => {
                let (a, b) = (pick(rng, &PREDICATES), pick(rng, &PREDICATES));
                Shape::GroupOfUnion(Group { from: String::new(), ..Group::plain(rng) }, a.into(), b.into())
            }
            _ => Shape::Nested(Group::inner(rng), Outer::random(rng)),
        };
        let closes = match &shape {
            Shape::Group(group) => group.end.is_some(),
            Shape::Join(join) => join.end.is_some(),
            _ => false,
        };
        Self { shape, emit_on_close: closes && rng.random_bool(0.5) }
    }

    /// The SELECT.
    pub fn text(&self) -> String {
        match &self.shape {
            Shape::Rows(rows) => rows.text(),
            Shape::Union(a, b) => format!("{} UNION ALL {}", a.text(), b.text()),
            Shape::Group(group) => group.text(&group.from),
            Shape::GroupOfUnion(group, a, b) => {
                group.text(&format!("(SELECT * FROM s WHERE {a} UNION ALL SELECT * FROM s WHERE {b}) AS u"))
            }
            Shape::Nested(group, outer) => outer.text(&group.text(&group.from)),
            Shape::Join(join) => join.text(),
            Shape::Over(over) => over.text(),
            Shape::Windowed(windowed) => windowed.text(),
            Shape::Temporal(temporal) => temporal.text(),
        }
    }

    /// The SELECT whose answer the batch gives; the same one where it can.
    fn batch_text(&self) -> String {
        match &self.shape {
            Shape::Windowed(windowed) => windowed.batch_text(),
            Shape::Over(over) => over.batch_text(),
            _ => self.text(),
        }
    }

    /// Whether it reads the second source.
    pub fn reads_other(&self) -> bool {
        matches!(&self.shape, Shape::Join(join) if join.reads_other())
    }

    /// The batch query whose answer the view must equal at watermark `micros`: with emit on close, the final groups.
    pub fn expected_text(&self, watermark: Option<i64>) -> String {
        let end = match &self.shape {
            Shape::Group(group) => group.end.as_deref(),
            Shape::Over(over) => over.end(),
            Shape::Windowed(windowed) => windowed.group.end.as_deref(),
            Shape::Join(Joined { batch_text: Some(text), .. }) => return text.clone(),
            Shape::Join(join) => join.end.as_deref(),
            _ => None,
        };
        match (end, self.emit_on_close, watermark) {
            (Some(end), true, Some(micros)) => {
                let time = super::stream::timestamp(micros);
                format!("SELECT * FROM ({}) AS closed WHERE {end} <= TIMESTAMP '{time}'", self.batch_text())
            }
            (_, true, _) => format!("SELECT * FROM ({}) AS closed WHERE false", self.batch_text()),
            // DataFusion takes the empty batch that a sort or OVER gives for one value of a constant.
            _ => self.batch_text().replace(
                "count(DISTINCT one) AS ones",
                "CASE WHEN count(*) > 0 THEN count(DISTINCT one) ELSE 0 END AS ones",
            ),
        }
    }

    /// The CREATE MATERIALIZED VIEW.
    pub fn create_text(&self) -> String {
        let emit = if self.emit_on_close { " EMIT ON WINDOW CLOSE" } else { "" };
        format!("CREATE MATERIALIZED VIEW v AS {}{emit}", self.text())
    }

    /// The same view with those of its rows for which `condition` is true.
    pub fn create_text_where(&self, condition: &str) -> String {
        let emit = if self.emit_on_close { " EMIT ON WINDOW CLOSE" } else { "" };
        format!("CREATE MATERIALIZED VIEW v AS SELECT * FROM ({}) AS whole WHERE {condition}{emit}", self.text())
    }

    /// Queries that are a little smaller than this one.
    pub fn smaller(&self) -> Vec<Self> {
        let shapes: Vec<Shape> = match &self.shape {
            Shape::Rows(rows) => rows.smaller().into_iter().map(Shape::Rows).collect(),
            Shape::Union(a, b) => vec![Shape::Rows(a.clone()), Shape::Rows(b.clone())],
            Shape::Group(group) => group.smaller().into_iter().map(Shape::Group).collect(),
            Shape::GroupOfUnion(group, a, b) => {
                let made = group.smaller().into_iter();
                made.map(|group| Shape::GroupOfUnion(group, a.clone(), b.clone())).collect()
            }
            Shape::Nested(group, outer) => {
                let inner = group.smaller().into_iter().filter(|g| g.keys.len() == group.keys.len());
                let mut all: Vec<_> = inner.map(|group| Shape::Nested(group, outer.clone())).collect();
                all.extend(
                    without_each(&outer.calls)
                        .map(|calls| Shape::Nested(group.clone(), Outer { calls, ..outer.clone() })),
                );
                all
            }
            Shape::Join(join) => join.smaller().into_iter().map(Shape::Join).collect(),
            Shape::Over(over) => over.smaller().into_iter().map(Shape::Over).collect(),
            Shape::Windowed(windowed) => windowed.smaller().into_iter().map(Shape::Windowed).collect(),
            Shape::Temporal(temporal) => temporal.smaller().into_iter().map(Shape::Temporal).collect(),
        };
        shapes.into_iter().map(|shape| Self { shape, ..self.clone() }).collect()
    }
}

pub(super) fn without_each(items: &[String]) -> impl Iterator<Item = Vec<String>> {
    let fewer = (items.len() > 1).then_some(0..items.len()).into_iter().flatten();
    fewer.map(|index| items.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, item)| item.clone()).collect())
}

fn clause(word: &str, condition: &Option<String>) -> String {
    condition.as_ref().map_or_else(String::new, |condition| format!(" {word} {condition}"))
}

impl Rows {
    fn random(rng: &mut impl Rng) -> Self {
        let mut items: Vec<String> =
            (0..rng.random_range(1..5)).map(|index| format!("{} AS c{index}", scalar(rng))).collect();
        let from = match rng.random_range(0..4) {
            0 => "tumble(s, ts, INTERVAL '10 seconds')".to_owned(),
            1 => "hop(s, ts, INTERVAL '4 seconds', INTERVAL '10 seconds')".to_owned(),
            _ => "s".to_owned(),
        };
        if from != "s" {
            items.push("window_end".into());
        } else if rng.random_range(0..4) == 0 {
            items.push("unnest(tags) AS tag".into());
        } else if rng.random_range(0..3) == 0 {
            items.push(format!("{} AS found", pick(rng, &SUBQUERIES)));
        }
        Self { items, from, filter: maybe(rng, &PREDICATES) }
    }

    fn text(&self) -> String {
        format!("SELECT {} FROM {}{}", self.items.join(", "), self.from, clause("WHERE", &self.filter))
    }

    fn smaller(&self) -> Vec<Self> {
        let mut all: Vec<_> = without_each(&self.items).map(|items| Self { items, ..self.clone() }).collect();
        all.extend(self.filter.is_some().then(|| Self { filter: None, ..self.clone() }));
        all
    }
}

impl Group {
    fn plain(rng: &mut impl Rng) -> Self {
        let keys = (0..rng.random_range(0..3)).map(|_| scalar(rng).to_owned()).collect();
        Self { keys, from: "s".into(), end: None, ..Self::calls(rng) }
    }

    pub(super) fn calls(rng: &mut impl Rng) -> Self {
        let calls = (0..rng.random_range(1..5)).map(|_| call(rng)).collect();
        let (filter, having) = (maybe(rng, &PREDICATES), rng.random_bool(0.2).then(|| pick(rng, &HAVINGS).into()));
        Self { keys: vec![], calls, from: "s".into(), filter, having, end: None }
    }

    fn windowed(rng: &mut impl Rng) -> Self {
        let mut group = Self::calls(rng);
        let (key, end, from) = match rng.random_range(0..9) {
            0 => ("window_start, window_end", "key1", "tumble(s, ts, INTERVAL '10 seconds')"),
            1 => ("window_start, window_end", "key1", "tumble(s, ts, INTERVAL '1 minute', INTERVAL '7 seconds')"),
            2 => ("window_start, window_end", "key1", "hop(s, ts, INTERVAL '2 seconds', INTERVAL '10 seconds')"),
            3 => ("window_start, window_end", "key1", "hop(s, ts, INTERVAL '4 seconds', INTERVAL '10 seconds')"),
            4 => ("window_end", "key0", "hop(s, ts, INTERVAL '30 seconds', INTERVAL '1 minute')"),
            5 => ("window_start, window_end", "key1", "hop(s, ts, INTERVAL '10 seconds', INTERVAL '4 seconds')"),
            6 => ("date_trunc('minute', ts)", "key0 + INTERVAL '1 minute'", "s"),
            7 => ("date_bin(INTERVAL '15 seconds', ts)", "key0 + INTERVAL '15 seconds'", "s"),
            _ => ("ts::date", "key0 + INTERVAL '1 day'", "s"),
        };
        group.keys = key.split(", ").map(str::to_owned).collect();
        // "date_trunc('minute', ts)" must not be split at its comma.
        if from == "s" {
            group.keys = vec![key.to_owned()];
        }
        if rng.random_bool(0.7) {
            group.keys.push(pick(rng, &["k", "g", "k % 3", "b"]).to_owned());
        }
        Self { from: from.into(), end: Some(end.into()), ..group }
    }

    fn inner(rng: &mut impl Rng) -> Self {
        let mut group = if rng.random_bool(0.5) { Self::windowed(rng) } else { Self::plain(rng) };
        if group.keys.is_empty() {
            group.keys.push("k".into());
        }
        group.calls = vec![pick(rng, &["count(*)", "sum(v)", "max(v)", "count(DISTINCT v)", "min(k)"]).to_owned()];
        group.keys.push("g".into());
        Self { end: None, ..group }
    }

    pub(super) fn text(&self, from: &str) -> String {
        let keys = self.keys.iter().enumerate().map(|(index, key)| format!("{key} AS key{index}"));
        let calls = self.calls.iter().enumerate().map(|(index, call)| {
            format!("{call} AS {}", if index == 0 { "n".to_owned() } else { format!("n{index}") })
        });
        let items: Vec<_> = keys.chain(calls).collect();
        let group: Vec<_> = (1..=self.keys.len()).map(|place| place.to_string()).collect();
        let group = if group.is_empty() { String::new() } else { format!(" GROUP BY {}", group.join(", ")) };
        let (filter, having) = (clause("WHERE", &self.filter), clause("HAVING", &self.having));
        format!("SELECT {} FROM {from}{filter}{group}{having}", items.join(", "))
    }

    fn smaller(&self) -> Vec<Self> {
        let mut all: Vec<_> = without_each(&self.calls).map(|calls| Self { calls, ..self.clone() }).collect();
        all.extend(self.filter.is_some().then(|| Self { filter: None, ..self.clone() }));
        all.extend(self.having.is_some().then(|| Self { having: None, ..self.clone() }));
        if self.end.is_none() {
            all.extend(without_each(&self.keys).map(|keys| Self { keys, ..self.clone() }));
        }
        all
    }
}

impl Outer {
    pub(super) fn random(rng: &mut impl Rng) -> Self {
        let choices = [
            "count(*)",
            "max(n)",
            "min(n)",
            "sum(n)",
            "avg(n)",
            "count(DISTINCT n)",
            "array_agg(n ORDER BY n)",
            "median(n)",
        ];
        let calls = (0..rng.random_range(1..4)).map(|_| pick(rng, &choices).to_owned()).collect();
        Self { by_key: rng.random_bool(0.7), calls }
    }

    pub(super) fn text(&self, inner: &str) -> String {
        let calls: Vec<_> = self.calls.iter().enumerate().map(|(index, call)| format!("{call} AS m{index}")).collect();
        let (key, group) = if self.by_key { ("key0, ", " GROUP BY key0") } else { ("", "") };
        format!("SELECT {key}{} FROM ({inner}) AS inner_view{group}", calls.join(", "))
    }
}
