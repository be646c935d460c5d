//! Random joins over two sources, or over one twice: inner, outer, semi, anti and mark joins, NOT IN, set operations, scalar
//! and lateral subqueries, interval and window joins, below and above aggregates.

use rand::{Rng, RngExt};

use super::query::{PREDICATES, pick};

/// Records that a case with pairs may have, and one with triples: a hot key multiplies them.
const RECORDS_OF_PAIRS: usize = 70;
const RECORDS_OF_TRIPLES: usize = 24;

/// A view body that joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// Columns.
    pub items: Vec<String>,
    /// FROM.
    pub from: String,
    /// WHERE.
    pub filter: Vec<String>,
    /// GROUP BY …, HAVING … and what else stands at the end.
    pub tail: String,
    /// The most records of each source.
    pub records_max: usize,
    /// An expression over the output that is at most the watermark once a row is final.
    pub end: Option<String>,
    /// What the batch is asked, where DataFusion has no plan for the same question as the view asks it.
    pub batch_text: Option<String>,
}

impl Joined {
    /// A random join.
    pub fn random(rng: &mut impl Rng) -> Self {
        match rng.random_range(0..17) {
            0..4 => Self::equal(rng),
            4 => Self::nested_loop(rng),
            5 => Self::three(rng),
            6..8 => Self::membership(rng),
            8 => Self::set_operation(rng),
            9 => Self::scalar(rng),
            10 => Self::of_aggregates(rng),
            11..14 => Self::interval(rng),
            14..16 => Self::window(rng),
            _ => Self::lateral(rng),
        }
    }

    fn new(items: &[&str], from: String) -> Self {
        let items = items.iter().enumerate().map(|(index, item)| format!("{item} AS c{index}")).collect();
        Self {
            items,
            from,
            filter: vec![],
            tail: String::new(),
            records_max: RECORDS_OF_PAIRS,
            end: None,
            batch_text: None,
        }
    }

    /// The SELECT.
    pub fn text(&self) -> String {
        let filter =
            if self.filter.is_empty() { String::new() } else { format!(" WHERE {}", self.filter.join(" AND ")) };
        format!("SELECT {} FROM {}{filter}{}", self.items.join(", "), self.from, self.tail)
    }

    /// Whether it reads the second source.
    pub fn reads_other(&self) -> bool {
        let text = self.text();
        text.contains(" o ") || text.contains("(o,")
    }

    /// Joins that are a little smaller.
    pub fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        if self.batch_text.is_some() {
            return all;
        }
        if self.tail.is_empty() && self.items.len() > 1 {
            for index in 0..self.items.len() {
                let mut fewer = self.clone();
                fewer.items.remove(index);
                all.push(fewer);
            }
        }
        for index in 0..self.filter.len() {
            let mut fewer = self.clone();
            fewer.filter.remove(index);
            all.push(fewer);
        }
        all
    }

    fn maybe_grouped(mut self, rng: &mut impl Rng, key: &str) -> Self {
        if rng.random_range(0..3) == 0 {
            let call = pick(rng, &["count(*)", "sum(b.v)", "max(a.v)", "count(DISTINCT b.g)", "min(b.v)", "sum(a.k)"]);
            self.items = vec![format!("{key} AS key0"), format!("{call} AS n")];
            self.tail = " GROUP BY 1".into();
        }
        self
    }

    fn equal(rng: &mut impl Rng) -> Self {
        let (a, b, kind) = (relation(rng), relation(rng), kind(rng));
        let condition = if rng.random_range(0..6) == 0 {
            format!("a.k IS NOT DISTINCT FROM b.{}", pick(rng, &["k", "v"]))
        } else {
            let key = pick(rng, &["a.k = b.k", "a.g = b.g", "a.k = b.k AND a.g = b.g", "a.k % 3 = b.v", "a.v = b.k"]);
            let more = pick(rng, &["", "", "", " AND a.v < b.v", " AND a.v + b.v > 1", " AND b.b", " AND a.v > 0"]);
            format!("{key}{more}")
        };
        let mut join =
            Self::new(&["a.k", "a.g", "a.v", "b.k", "b.g", "b.v"], format!("{a} a {kind} {b} b ON {condition}"));
        if rng.random_range(0..4) == 0 {
            join.filter.push(pick(rng, &["a.v > 0", "b.v IS NULL", "coalesce(a.k, b.k) > 0", "a.v <= b.v"]).into());
        }
        let key = pick(rng, &["a.k", "b.g", "a.k % 3"]);
        join.maybe_grouped(rng, key)
    }

    fn nested_loop(rng: &mut impl Rng) -> Self {
        let from = match rng.random_range(0..4) {
            0 => format!("{} a CROSS JOIN (SELECT max(v) AS v, count(*) AS k, max(g) AS g FROM o ) b", relation(rng)),
            1 => format!("{} a {} {} b ON a.v < b.v", relation(rng), kind(rng), relation(rng)),
            2 => format!("{} a {} {} b ON a.k = b.k OR a.g = b.g", relation(rng), kind(rng), relation(rng)),
            _ => format!("{} a, {} b", relation(rng), relation(rng)),
        };
        let join = Self { records_max: 40, ..Self::new(&["a.k", "a.v", "b.k", "b.v"], from) };
        join.maybe_grouped(rng, "b.k")
    }

    fn three(rng: &mut impl Rng) -> Self {
        let (a, b, c) = (relation(rng), relation(rng), relation(rng));
        let from = match rng.random_range(0..3) {
            0 => format!("{a} a, {b} b, {c} c"),
            1 => format!("{a} a {} {b} b ON a.k = b.k {} {c} c ON b.g = c.g", kind(rng), kind(rng)),
            _ => format!("{a} a {} {b} b ON a.k = b.k {} {c} c ON a.k = c.k AND c.v >= a.v", kind(rng), kind(rng)),
        };
        let mut join = Self { records_max: RECORDS_OF_TRIPLES, ..Self::new(&["a.k", "b.v", "c.g", "c.v"], from) };
        if !join.from.contains(" ON ") {
            join.filter = vec!["a.k = b.k".into(), "b.k = c.k".into()];
        }
        join
    }

    fn membership(rng: &mut impl Rng) -> Self {
        let (a, b) = (relation(rng), relation(rng));
        let inner = ["", " WHERE b.k >= 0", " WHERE b.k > 0", " WHERE b.v > 0", " WHERE b.g = 'a'", " WHERE b.b"];
        let (inner, not) = (pick(rng, &inner), pick(rng, &["", "NOT ", "NOT "]));
        let condition = match rng.random_range(0..9) {
            0..3 => format!("a.k {not}IN (SELECT b.k FROM {b} b{inner})"),
            3 => format!("a.g {not}IN (SELECT b.g FROM {b} b{inner})"),
            4 => format!("{not}EXISTS (SELECT 1 FROM {b} b WHERE b.k = a.k AND b.v > a.v)"),
            5 => format!("{not}EXISTS (SELECT 1 FROM {b} b WHERE b.k = a.k)"),
            6 => format!("{not}EXISTS (SELECT 1 FROM {b} b{inner})"),
            7 => return Self::correlated_not_in(rng, &a, &b),
            _ => format!("(EXISTS (SELECT 1 FROM {b} b WHERE b.k = a.k) OR a.v > 1)"),
        };
        let mut join = Self::new(&["a.k", "a.g", "a.v"], format!("{a} a"));
        join.filter.push(condition);
        if rng.random_range(0..4) == 0 {
            join.items = vec!["a.g AS key0".into(), "count(*) AS n".into()];
            join.tail = " GROUP BY 1".into();
        }
        join
    }

    fn correlated_not_in(rng: &mut impl Rng, a: &str, b: &str) -> Self {
        let correlation = pick(rng, &["b.k = a.k", "b.k < a.k", "b.g = a.g AND b.k <> a.v"]);
        let mut join = Self::new(&["a.k", "a.g", "a.v"], format!("{a} a"));
        join.filter =
            vec![format!("NOT EXISTS (SELECT 1 FROM {b} b WHERE {correlation} AND (a.v = b.v) IS NOT FALSE)")];
        let batch_text = Some(join.text());
        join.filter = vec![format!("a.v NOT IN (SELECT b.v FROM {b} b WHERE {correlation})")];
        Self { batch_text, ..join }
    }

    fn set_operation(rng: &mut impl Rng) -> Self {
        let operation = pick(rng, &["INTERSECT", "EXCEPT"]);
        let items = pick(rng, &["k, g", "g", "k % 3 AS k", "v", "k, v"]);
        let (a, b) = (relation(rng), relation(rng));
        let from = format!("(SELECT {items} FROM {a} x {operation} SELECT {items} FROM {b} y ) a");
        Self { items: vec!["a.*".into()], ..Self::new(&[], from) }
    }

    fn scalar(rng: &mut impl Rng) -> Self {
        let (a, b) = (relation(rng), relation(rng));
        let value = match rng.random_range(0..4) {
            0 => format!("(SELECT count(*) FROM {b} b WHERE b.k = a.k)"),
            1 => format!("(SELECT max(b.v) FROM {b} b WHERE b.k = a.k)"),
            2 => format!("(SELECT max(b.v) FROM {b} b)"),
            _ => format!("(SELECT count(*) FROM {b} b)"),
        };
        if rng.random_bool(0.5) {
            return Self::new(&["a.k", "a.v", &value], format!("{a} a"));
        }
        let mut join = Self::new(&["a.k", "a.v"], format!("{a} a"));
        join.filter.push(format!("a.v {} {value}", pick(rng, &["=", "<", ">="])));
        join
    }

    fn of_aggregates(rng: &mut impl Rng) -> Self {
        let side = |rng: &mut _| {
            let call = pick(rng, &["count(*)", "sum(v)", "max(v)", "count(DISTINCT g)"]);
            format!(
                "(SELECT {} AS k, {call} AS v, max(g) AS g FROM {} x GROUP BY 1)",
                pick(rng, &["k", "k % 3", "v"]),
                source(rng)
            )
        };
        let (a, b, kind) = (side(rng), side(rng), kind(rng));
        let on = pick(rng, &["a.k = b.k", "a.k = b.k AND a.v >= b.v", "a.v = b.v"]);
        Self::new(&["a.k", "a.v", "b.k", "b.v"], format!("{a} a {kind} {b} b ON {on}")).maybe_grouped(rng, "b.v")
    }

    fn interval(rng: &mut impl Rng) -> Self {
        let (a, b) = (source(rng), source(rng));
        let near = pick(
            rng,
            &[
                "a.ts BETWEEN b.ts - INTERVAL '4 seconds' AND b.ts + INTERVAL '7 seconds'",
                "a.ts >= b.ts AND a.ts < b.ts + INTERVAL '20 seconds'",
                "b.ts <= a.ts AND b.ts + INTERVAL '3 seconds' >= a.ts",
                "a.ts - INTERVAL '5 seconds' <= b.ts AND a.ts >= b.ts - INTERVAL '1 minute'",
                "a.ts - b.ts < INTERVAL '6 seconds' AND b.ts - a.ts <= INTERVAL '2 seconds'",
                "a.ts = b.ts",
                "date_trunc('minute', a.ts) = date_trunc('minute', b.ts) AND a.ts <= b.ts",
                "a.ts > b.ts",
            ],
        );
        let key = pick(rng, &["a.k = b.k AND ", "a.k = b.k AND ", "a.g = b.g AND ", "a.k % 2 = b.k % 2 AND ", ""]);
        let kind = match rng.random_range(0..3) {
            0 => kind(rng),
            _ => "JOIN",
        };
        let items = ["a.k", "a.v", "b.v", "a.ts", "b.ts"];
        let mut join = Self::new(&items, format!("{a} a {kind} {b} b ON {key}{near}"));
        match rng.random_range(0..6) {
            0 | 1 => {
                let time = pick(rng, &["date_trunc('minute', a.ts)", "date_bin(INTERVAL '10 seconds', b.ts)"]);
                join.items = vec![format!("{time} AS key0"), "count(*) AS n".into(), "sum(b.v) AS m".into()];
                join.tail = " GROUP BY 1".into();
            }
            2 => {
                let not = pick(rng, &["", "NOT "]);
                join = Self::new(&["a.k", "a.v", "a.ts"], format!("{a} a"));
                join.filter.push(format!("{not}EXISTS (SELECT 1 FROM {b} b WHERE {key}{near})"));
            }
            _ => {}
        }
        join
    }

    fn window(rng: &mut impl Rng) -> Self {
        let twice = rng.random_bool(0.4);
        let (a, b) = if twice { ("s", "s") } else { (source(rng), source(rng)) };
        let windows = |source: &str| format!("tumble({source}, ts, INTERVAL '10 seconds')");
        let kind = kind(rng);
        let on = "a.window_start = b.window_start AND a.window_end = b.window_end";
        let aggregate = |source: &str| {
            let windows = windows(source);
            format!(
                "(SELECT window_start, window_end, k, count(*) AS v, max(g) AS g FROM {windows} w GROUP BY 1, 2, 3)"
            )
        };
        match rng.random_range(0..4) {
            0 => {
                let from = format!("{} a {kind} {} b ON a.k = b.k AND {on}", aggregate(a), aggregate(b));
                Self::new(&["a.window_end", "a.k", "a.v", "b.v"], from)
                    .closing((a, b) == ("s", "s") && kind == "JOIN", "c0")
            }
            1 => {
                // A self-join of a window with its maximum.
                let from = format!(
                    "{} a JOIN (SELECT window_end, max(v) AS v FROM {} m GROUP BY 1) b",
                    windows(a),
                    windows(b)
                );
                Self::new(
                    &["a.window_end", "a.k", "a.v"],
                    format!("{from} ON a.v = b.v AND a.window_end = b.window_end"),
                )
            }
            2 => {
                let from = format!("{} a {kind} {} b ON a.k = b.k AND {on}", windows(a), windows(b));
                let mut join = Self::new(&[], from);
                join.items = vec!["a.window_end AS key0".into(), "a.k AS key1".into(), "count(*) AS n".into()];
                join.tail = " GROUP BY 1, 2".into();
                join.closing((a, b) == ("s", "s") && kind == "JOIN", "key0")
            }
            _ => {
                let from = format!("{} a {kind} {} b ON a.k = b.k AND {on}", windows(a), windows(b));
                Self::new(&["a.window_end", "a.k", "a.v", "b.window_end", "b.v"], from)
            }
        }
    }

    fn closing(self, closes: bool, end: &str) -> Self {
        Self { end: closes.then(|| end.into()), ..self }
    }

    fn lateral(rng: &mut impl Rng) -> Self {
        let (a, b) = (relation(rng), relation(rng));
        let kind = pick(rng, &["CROSS JOIN", "LEFT JOIN"]);
        let on = if kind == "LEFT JOIN" { " ON true" } else { "" };
        let call = pick(rng, &["count(*)", "max(x.v)", "sum(x.k)"]);
        Self::new(
            &["a.k", "a.v", "b.n"],
            format!("{a} a {kind} LATERAL (SELECT {call} AS n FROM {b} x WHERE x.k = a.k) b{on}"),
        )
    }
}

fn source(rng: &mut impl Rng) -> &'static str {
    ["s", "o"][rng.random_range(0..2)]
}

/// Something with columns k, g, v, b and ts; the last of these changes its rows.
fn relation(rng: &mut impl Rng) -> String {
    let source = source(rng);
    match rng.random_range(0..8) {
        0 => format!("(SELECT * FROM {source} z WHERE {})", pick(rng, &PREDICATES)),
        1 => format!("(SELECT k, g, max(v) AS v, bool_or(b) AS b, max(ts) AS ts FROM {source} z GROUP BY k, g)"),
        2 => {
            format!("(SELECT k, max(g) AS g, count(*) AS v, bool_or(b) AS b, max(ts) AS ts FROM {source} z GROUP BY k)")
        }
        _ => source.to_owned(),
    }
}

fn kind(rng: &mut impl Rng) -> &'static str {
    ["JOIN", "JOIN", "LEFT JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"][rng.random_range(0..6)]
}
