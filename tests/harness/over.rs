//! Random views with OVER, Top-N, LIMIT, DISTINCT ON, grouping sets and set operations, over rows that stay and rows that go.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

/// A view body of this kind, in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// What is done.
    pub kind: Kind,
    /// FROM: an index into [`RELATIONS`].
    pub from: usize,
    /// WHERE.
    pub filter: Option<String>,
    /// Columns selected.
    pub items: Vec<String>,
    /// True if an aggregate is put on top, which sees what is retracted.
    pub counted: bool,
}

/// What is done to the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Window functions: name and arguments, then the frame.
    Window {
        /// PARTITION BY.
        partition: Vec<String>,
        /// ORDER BY.
        order: Option<String>,
        /// Functions and frames.
        calls: Vec<(String, String)>,
    },
    /// A filter on a rank.
    TopN {
        /// PARTITION BY.
        partition: Vec<String>,
        /// ORDER BY.
        order: String,
        /// The function.
        rank: String,
        /// The condition on its column `rn`.
        condition: String,
        /// True if the rank is selected.
        shown: bool,
    },
    /// ORDER BY … LIMIT.
    Limit {
        /// ORDER BY.
        order: String,
        /// LIMIT and OFFSET.
        limit: String,
    },
    /// DISTINCT ON.
    DistinctOn {
        /// The columns.
        on: Vec<String>,
        /// ORDER BY behind them.
        order: Option<String>,
    },
    /// GROUP BY with several sets.
    Grouping {
        /// Which of [`SETS`].
        sets: usize,
        /// Calls.
        calls: Vec<String>,
    },
    /// A set operation.
    SetOperation {
        /// INTERSECT, EXCEPT ALL, …
        word: String,
        /// FROM of the other side.
        other: usize,
        /// WHERE of the other side.
        filter: Option<String>,
    },
}

/// Relations with the columns k, g, v, d, f, b, ts, day. Rows of the second and third can be retracted; the last has windows.
const RELATIONS: [&str; 6] = [
    "s",
    "(SELECT k, g, count(*) AS v, max(d) AS d, sum(f) AS f, bool_or(b) AS b, max(ts) AS ts, min(day) AS day FROM s GROUP BY k, g) AS r",
    "(SELECT v AS k, g, sum(k) AS v, max(d) AS d, sum(f) AS f, bool_and(b) AS b, max(ts) AS ts, max(day) AS day FROM s GROUP BY v, g) AS r",
    "(SELECT k, g, v, d, f, b, ts, day FROM s UNION ALL SELECT k, g, v, d, f, b, ts, day FROM s WHERE v > 0) AS r",
    "(SELECT k, g, v, d, f, b, ts, day FROM s UNION ALL SELECT 1, 'a', column1, 7.25, 0.5, true, TIMESTAMP '2026-03-01 23:59:31', DATE '2026-02-01' FROM (VALUES (1), (2), (2)) AS kept) AS r",
    WINDOWED,
];
const WINDOWED: &str = "tumble(s, ts, INTERVAL '10 seconds')";
const COLUMNS: [&str; 8] = ["k", "g", "v", "d", "b", "ts", "day", "f"];
const PARTITIONS: [&str; 5] = ["k", "g", "b", "v % 2", "date_trunc('minute', ts)"];
const ORDERS: [&str; 9] =
    ["v", "v DESC", "ts", "ts DESC NULLS LAST", "g NULLS FIRST", "d DESC", "v, ts", "b, v DESC", "k + v"];
const NUMBERED: [&str; 11] = [
    "row_number()",
    "rank()",
    "dense_rank()",
    "percent_rank()",
    "cume_dist()",
    "ntile(3)",
    "lag(v)",
    "lag(g, 2, 'none')",
    "lead(v)",
    "lead(d, 2)",
    "lag(ts)",
];
const FRAMED: [&str; 14] = [
    "sum(v)",
    "count(*)",
    "count(v)",
    "avg(d)",
    "min(v)",
    "max(g)",
    "max(ts)",
    "sum(d)",
    "count(b)",
    "first_value(v)",
    "last_value(v)",
    "first_value(g)",
    "last_value(ts)",
    "nth_value(v, 2)",
];
const FRAMES: [&str; 10] = [
    "",
    "",
    "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
    "ROWS UNBOUNDED PRECEDING",
    "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    "ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING",
    "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
    "RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
    "RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
    "GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW",
];
const RANKS: [&str; 3] = ["row_number()", "rank()", "dense_rank()"];
const CONDITIONS: [&str; 7] =
    ["rn = 1", "rn <= 1", "rn <= 3", "rn < 3", "rn BETWEEN 1 AND 2", "rn BETWEEN 2 AND 4", "3 >= rn AND v > 0"];
const LIMITS: [&str; 5] = ["LIMIT 1", "LIMIT 5", "LIMIT 3 OFFSET 2", "FETCH FIRST 4 ROWS ONLY", "OFFSET 3"];
/// GROUP BY with several sets, and the sets it stands for.
const SETS: [(&str, &[&[&str]]); 6] = [
    ("ROLLUP (k, g)", &[&["k", "g"], &["k"], &[]]),
    ("CUBE (k, b)", &[&["k", "b"], &["k"], &["b"], &[]]),
    ("GROUPING SETS ((k, g), (g), ())", &[&["k", "g"], &["g"], &[]]),
    ("GROUPING SETS ((k), (b), (k))", &[&["k"], &["b"], &["k"]]),
    ("k, ROLLUP (g, b)", &[&["k", "g", "b"], &["k", "g"], &["k"]]),
    ("ROLLUP (v % 2, k)", &[&["v % 2", "k"], &["v % 2"], &[]]),
];
const GROUPED: [&str; 6] = [
    "count(*) AS n",
    "sum(v) AS s",
    "max(d) AS m",
    "count(DISTINCT v) AS c",
    "array_agg(v ORDER BY v) AS l",
    "min(ts) AS t",
];
const WORDS: [&str; 5] = ["INTERSECT", "INTERSECT ALL", "EXCEPT", "EXCEPT ALL", "EXCEPT ALL"];
const PREDICATES: [&str; 5] = ["v > 0", "g = 'a'", "b", "k IN (0, 1, 7)", "d BETWEEN 0 AND 50"];

fn pick(rng: &mut impl Rng, from: &[&str]) -> String {
    from.choose(rng).copied().unwrap_or_default().to_owned()
}

fn some(rng: &mut impl Rng, from: &[&str], least: usize, most: usize) -> Vec<String> {
    let count = rng.random_range(least..=most);
    from.sample(rng, count).map(|item| (*item).to_owned()).collect()
}

impl Over {
    /// A random body, and whether it is to emit on window close.
    pub fn random(rng: &mut impl Rng) -> (Self, bool) {
        let from = rng.random_range(0..RELATIONS.len());
        let kind = Kind::random(rng, RELATIONS[from] == WINDOWED);
        let filter = rng.random_bool(0.3).then(|| pick(rng, &PREDICATES));
        let mut items = some(rng, &COLUMNS, 1, 4);
        if let Kind::SetOperation { .. } = kind {
            // Counts and keys of the relations differ in type; what is compared must not.
            items = some(rng, &["g", "b", "ts", "d"], 1, 2);
        }
        let over = Self { kind, from, filter, items, counted: rng.random_bool(0.2) };
        let close = over.end().is_some() && rng.random_bool(0.5);
        (Self { counted: over.counted && !close, ..over }, close)
    }

    /// An expression over the output that is at most the watermark once a row is final.
    pub fn end(&self) -> Option<&str> {
        let windowed = match &self.kind {
            Kind::Window { partition, .. } | Kind::TopN { partition, .. } => {
                partition.iter().any(|p| p == "window_end")
            }
            _ => false,
        };
        windowed.then_some("window_end")
    }

    /// The SELECT.
    pub fn text(&self) -> String {
        self.counted(self.body())
    }

    /// The SELECT whose answer the batch gives: grouping sets said as the GROUP BYs they stand for, which needs neither our
    /// expansion nor DataFusion's.
    pub fn batch_text(&self) -> String {
        self.counted(match &self.kind {
            Kind::Grouping { sets, calls } => self.each_set(*sets, calls),
            _ => self.body(),
        })
    }

    fn counted(&self, text: String) -> String {
        if !self.counted {
            return text;
        }
        format!(
            "SELECT count(*) AS rows_counted, count(one) AS ones FROM (SELECT 1 AS one, * FROM ({text}) AS inner_rows) AS counted_rows"
        )
    }

    fn body(&self) -> String {
        let from = RELATIONS[self.from];
        let filter = self.filter.as_ref().map_or_else(String::new, |filter| format!(" WHERE {filter}"));
        let mut columns = self.items.clone();
        if self.end().is_some() {
            columns.push("window_end".into());
        }
        let items = columns.join(", ");
        match &self.kind {
            Kind::Window { partition, order, calls } => {
                let calls = calls.iter().enumerate().map(|(n, (call, frame))| {
                    format!("{call} OVER ({}) AS w{n}", over(partition, order.as_deref(), frame))
                });
                let calls: Vec<_> = calls.collect();
                format!("SELECT {items}, {} FROM {from}{filter}", calls.join(", "))
            }
            Kind::TopN { partition, order, rank, condition, shown } => {
                let over = over(partition, Some(order), "");
                let (shown, end) = (if *shown { ", rn" } else { "" }, self.end().map_or("", |_| ", window_end"));
                format!(
                    "SELECT {items}{shown} FROM (SELECT k, g, v, d, f, b, ts, day{end}, {rank} OVER ({over}) AS rn FROM {from}{filter}) AS ranked WHERE {condition}"
                )
            }
            Kind::Limit { order, limit } => format!("SELECT {items} FROM {from}{filter} ORDER BY {order} {limit}"),
            Kind::DistinctOn { on, order } => {
                let on = on.join(", ");
                let order = order.as_ref().map_or_else(String::new, |order| format!(" ORDER BY {on}, {order}"));
                format!("SELECT DISTINCT ON ({on}) {items} FROM {from}{filter}{order}")
            }
            Kind::Grouping { sets, calls } => {
                let (text, keys) = (SETS[*sets].0, keys(*sets));
                let (keys, first) = (keys.join(", "), keys[0]);
                format!(
                    "SELECT {keys}, grouping({first}) AS level, {} FROM {from}{filter} GROUP BY {text}",
                    calls.join(", ")
                )
            }
            Kind::SetOperation { word, other, filter: others } => {
                let others = others.as_ref().map_or_else(String::new, |filter| format!(" WHERE {filter}"));
                let other = RELATIONS[*other];
                format!("SELECT {items} FROM {from}{filter} {word} SELECT {items} FROM {other}{others}")
            }
        }
    }

    fn each_set(&self, sets: usize, calls: &[String]) -> String {
        let (from, calls, keys) = (RELATIONS[self.from], calls.join(", "), keys(sets));
        let filter = self.filter.as_ref().map_or_else(String::new, |filter| format!(" WHERE {filter}"));
        let selects = SETS[sets].1.iter().map(|set| {
            let shown = |key: &&str| format!("{} AS \"{key}\"", if set.contains(key) { key } else { "NULL" });
            let shown = keys.iter().map(shown).collect::<Vec<_>>().join(", ");
            let level = i32::from(!set.contains(&keys[0]));
            let group = if set.is_empty() { String::new() } else { format!(" GROUP BY {}", set.join(", ")) };
            format!("SELECT {shown}, CAST({level} AS INTEGER) AS level, {calls} FROM {from}{filter}{group}")
        });
        selects.collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// Bodies that are a little smaller.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        all.extend(self.counted.then(|| Self { counted: false, ..self.clone() }));
        all.extend(self.filter.is_some().then(|| Self { filter: None, ..self.clone() }));
        all.extend(fewer(&self.items).map(|items| Self { items, ..self.clone() }));
        if self.from != 0 && self.end().is_none() {
            all.push(Self { from: 0, ..self.clone() });
        }
        let kinds: Vec<Kind> = match &self.kind {
            Kind::Window { partition, order, calls } => {
                let with = |calls: Vec<_>| Kind::Window { partition: partition.clone(), order: order.clone(), calls };
                fewer(calls).map(with).collect()
            }
            Kind::SetOperation { word, other, filter: Some(_) } => {
                vec![Kind::SetOperation { word: word.clone(), other: *other, filter: None }]
            }
            Kind::Grouping { sets, calls } => fewer(calls).map(|calls| Kind::Grouping { sets: *sets, calls }).collect(),
            _ => Vec::new(),
        };
        all.extend(kinds.into_iter().map(|kind| Self { kind, ..self.clone() }));
        all
    }
}

impl Kind {
    fn random(rng: &mut impl Rng, windowed: bool) -> Self {
        let mut partition = some(rng, &PARTITIONS, 0, 2);
        if windowed && rng.random_bool(0.8) {
            partition.push("window_end".into());
        }
        let order = pick(rng, &ORDERS);
        match rng.random_range(0..10) {
            0..4 => {
                let order = rng.random_bool(0.8).then_some(order);
                let calls = (0..rng.random_range(1..4)).map(|_| call(rng, order.as_deref()));
                let calls = calls.collect();
                Self::Window { partition, order, calls }
            }
            4..6 => Self::TopN {
                partition,
                order,
                rank: pick(rng, &RANKS),
                condition: pick(rng, &CONDITIONS),
                shown: rng.random_bool(0.5),
            },
            6 => Self::Limit { order, limit: pick(rng, &LIMITS) },
            7 => {
                Self::DistinctOn { on: some(rng, &["k", "g", "b"], 1, 2), order: rng.random_bool(0.7).then_some(order) }
            }
            8 => Self::Grouping { sets: rng.random_range(0..SETS.len()), calls: some(rng, &GROUPED, 1, 3) },
            _ => Self::SetOperation {
                word: pick(rng, &WORDS),
                other: rng.random_range(0..RELATIONS.len()),
                filter: rng.random_bool(0.6).then(|| pick(rng, &PREDICATES)),
            },
        }
    }
}

fn call(rng: &mut impl Rng, order: Option<&str>) -> (String, String) {
    if rng.random_bool(0.4) {
        return (pick(rng, &NUMBERED), String::new());
    }
    let frame = match order {
        Some("v") if rng.random_bool(0.2) => "RANGE BETWEEN 2 PRECEDING AND 1 FOLLOWING".to_owned(),
        Some("ts") if rng.random_bool(0.2) => {
            "RANGE BETWEEN INTERVAL '10 seconds' PRECEDING AND CURRENT ROW".to_owned()
        }
        Some(_) => pick(rng, &FRAMES),
        None => pick(rng, &FRAMES[..7]),
    };
    (pick(rng, &FRAMED), frame)
}

fn over(partition: &[String], order: Option<&str>, frame: &str) -> String {
    let partition = if partition.is_empty() { String::new() } else { format!("PARTITION BY {}", partition.join(", ")) };
    let order = order.map_or_else(String::new, |order| format!("ORDER BY {order}"));
    [partition, order, frame.to_owned()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// True if `sets` names the column or expression.
/// The keys of one of [`SETS`], in the order they are shown in.
fn keys(sets: usize) -> Vec<&'static str> {
    ["k", "g", "b", "v % 2"].into_iter().filter(|key| SETS[sets].1.iter().any(|set| set.contains(key))).collect()
}

fn fewer<T: Clone>(items: &[T]) -> impl Iterator<Item = Vec<T>> {
    let places = (items.len() > 1).then_some(0..items.len()).into_iter().flatten();
    places.map(|gone| items.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, item)| item.clone()).collect())
}
