//! Random views over sessions, cumulating windows, windows of days in a time zone, and count windows.
//!
//! What the batch answers is said without them: sessions by lag and a running sum, windows in a zone by AT TIME ZONE, cumulating
//! windows by a UNION ALL, count windows by row_number.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::query::{Group, Outer, PREDICATES, pick, scalar, without_each};

/// A view body of this kind, in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windowed {
    /// What is grouped, over the windows as Tidemark spells them.
    pub group: Group,
    /// The same keys for the batch.
    pub batch_keys: Vec<String>,
    /// FROM of the batch: the same windows in plain SQL.
    pub batch_from: String,
    /// Columns, if rows are shown and not grouped.
    pub items: Option<Vec<String>>,
    /// An aggregate on top.
    pub outer: Option<Outer>,
    /// Whether windows can close.
    pub closes: bool,
}

/// Keys and how windows are told, for one kind of window.
struct Parts {
    from: String,
    batch_from: String,
    keys: Vec<String>,
    batch_keys: Vec<String>,
    /// What is at most the watermark once a group is final.
    end: String,
    /// The same where rows are not grouped.
    row_end: String,
    closes: bool,
}

const COLUMNS: &str = "k, g, v, d, f, b, ts, day";
/// Relations whose rows stay.
const STAYING: [&str; 3] = [
    "s",
    "(SELECT * FROM s WHERE v > 0 OR b)",
    "(SELECT k, g, v, d, f, b, date_trunc('second', ts) AS ts, day FROM s)",
];
/// Relations whose rows can go again; the first two have a time that is bounded by the watermark.
const GOING: [&str; 5] = [
    "(SELECT k, min(g) AS g, sum(v) AS v, max(d) AS d, sum(f) AS f, bool_or(b) AS b, date_trunc('second', ts) AS ts, min(day) AS day FROM s GROUP BY k, date_trunc('second', ts) HAVING count(*) < 3)",
    "(SELECT k, g, count(*) AS v, max(d) AS d, sum(f) AS f, bool_or(b) AS b, ts, min(day) AS day FROM s GROUP BY k, g, ts HAVING max(v) < 2)",
    "(SELECT k, g, count(*) AS v, max(d) AS d, sum(f) AS f, bool_or(b) AS b, max(ts) AS ts, min(day) AS day FROM s GROUP BY k, g)",
    "(SELECT k, g, v, d, f, b, ts, day FROM (SELECT *, row_number() OVER (PARTITION BY g ORDER BY v, ts DESC) AS rn FROM s) AS ranked WHERE rn <= 4)",
    "(SELECT a.k, a.g, x.v, a.d, a.f, a.b, a.ts, a.day FROM s AS a LEFT JOIN (SELECT k, max(v) AS v FROM s WHERE b GROUP BY k) AS x ON a.k = x.k)",
];
const GAPS: [&str; 6] = ["1 second", "2 seconds", "5 seconds", "700 milliseconds", "20 seconds", "2 minutes"];
const KEYS: [&str; 5] = ["k", "g", "k, g", "k % 3", "b"];
/// A zone, and minutes by which the topic's times are moved so that it runs across a local midnight near a switch of clocks.
const ZONES: [(&str, i64); 11] = [
    ("Europe/Berlin", 38_820),
    ("Europe/Berlin", 40_200),
    ("Europe/Berlin", 342_660),
    ("America/New_York", 10_320),
    ("America/New_York", 353_100),
    ("Australia/Lord_Howe", 49_770),
    ("Australia/Lord_Howe", 311_820),
    ("Africa/Cairo", 76_200),
    ("America/Sao_Paulo", -3_851_820),
    ("America/Sao_Paulo", -4_224_780),
    ("Asia/Kathmandu", -345),
];

impl Windowed {
    /// A random one, and whether it emits on close.
    pub fn random(rng: &mut impl Rng) -> (Self, bool) {
        let parts = match rng.random_range(0..10) {
            0..5 => session(rng),
            5..7 => cumulate(rng),
            7..9 => zoned(rng),
            _ => return count_window(rng),
        };
        let calls = Group::calls(rng);
        let mut keys = parts.keys.clone();
        let mut batch_keys = parts.batch_keys.clone();
        if rng.random_bool(0.4) {
            let extra = pick(rng, &["g", "b", "k % 2"]).to_owned();
            keys.push(extra.clone());
            batch_keys.push(extra);
        }
        let rows = rng.random_range(0..5) == 0 && parts.row_end != "none";
        let emit_on_close = parts.closes && rng.random_bool(0.5);
        let end = Some(if rows { parts.row_end } else { parts.end });
        let items = rows.then(|| (0..rng.random_range(1..4)).map(|_| scalar(rng).to_owned()).collect());
        let outer = (!rows && !emit_on_close && rng.random_range(0..5) == 0).then(|| Outer::random(rng));
        let mut group = Group { keys, from: parts.from, end, ..calls };
        if outer.is_some() {
            group.calls = vec![pick(rng, &["count(*)", "sum(v)", "max(v)", "min(k)"]).to_owned()];
        }
        let closes = parts.closes;
        (Self { group, batch_keys, batch_from: parts.batch_from, items, outer, closes }, emit_on_close)
    }

    /// The SELECT.
    pub fn text(&self) -> String {
        self.over(&self.group, &self.group.from)
    }

    /// The same without such windows.
    pub fn batch_text(&self) -> String {
        let group = Group { keys: self.batch_keys.clone(), ..self.group.clone() };
        self.over(&group, &self.batch_from)
    }

    fn over(&self, group: &Group, from: &str) -> String {
        if let Some(items) = &self.items {
            let items: Vec<_> = items.iter().enumerate().map(|(n, item)| format!("{item} AS c{n}")).collect();
            let filter = group.filter.as_ref().map_or_else(String::new, |filter| format!(" WHERE {filter}"));
            return format!("SELECT {}, window_start, window_end FROM {from}{filter}", items.join(", "));
        }
        let text = group.text(from);
        self.outer.as_ref().map_or_else(|| text.clone(), |outer| outer.text(&text))
    }

    /// Views that are a little smaller than this one.
    pub fn smaller(&self) -> Vec<Self> {
        let with = |group: Group| Self { group, ..self.clone() };
        let first = self.group.calls.first().cloned().into_iter();
        let mut all = Vec::new();
        if self.group.calls.len() > 1 {
            all.push(with(Group { calls: first.collect(), ..self.group.clone() }));
            let fewer = self.group.calls[..self.group.calls.len() - 1].to_vec();
            all.push(with(Group { calls: fewer, ..self.group.clone() }));
        }
        all.extend(self.group.filter.is_some().then(|| with(Group { filter: None, ..self.group.clone() })));
        all.extend(self.group.having.is_some().then(|| with(Group { having: None, ..self.group.clone() })));
        if let Some(items) = &self.items {
            all.extend(without_each(items).map(|items| Self { items: Some(items), ..self.clone() }));
        }
        all.extend(self.outer.is_some().then(|| Self { outer: None, ..self.clone() }));
        all
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn session(rng: &mut impl Rng) -> Parts {
    let stays = rng.random_bool(0.5);
    let relation = if stays { pick(rng, &STAYING) } else { pick(rng, &GOING) };
    let (gap, key) = (pick(rng, &GAPS), pick(rng, &KEYS));
    let from = match rng.random_range(0..3) {
        0 if relation == "s" => {
            format!("TABLE(SESSION(TABLE s PARTITION BY {key}, DESCRIPTOR(ts), INTERVAL '{gap}'))")
        }
        _ => format!("session({relation}, ts, INTERVAL '{gap}', {key})"),
    };
    let begins = format!(
        "SELECT *, CASE WHEN ts <= lag(ts) OVER (PARTITION BY {key} ORDER BY ts) + INTERVAL '{gap}' THEN 0 ELSE 1 END AS begins FROM {relation} AS r"
    );
    let runs = format!(
        "SELECT *, sum(begins) OVER (PARTITION BY {key} ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS run FROM ({begins}) AS r"
    );
    let batch_from = format!(
        "(SELECT *, min(ts) OVER (PARTITION BY {key}, run) AS window_start, max(ts) OVER (PARTITION BY {key}, run) + INTERVAL '{gap}' AS window_end FROM ({runs}) AS r) AS r"
    );
    let keys = match rng.random_range(0..5) {
        0 => strings(&["window_end"]),
        1 => strings(&["window_end", key]),
        _ => strings(&["window_end", "window_start", key]),
    };
    let keys: Vec<String> = keys.iter().flat_map(|key| key.split(", ").map(str::to_owned)).collect();
    // A row right at the end would still belong to it. Times cut to seconds are known to be over by seconds.
    let cut = relation.contains("date_trunc");
    let after = |end: &str| match cut {
        true => format!("date_trunc('second', {end}) + INTERVAL '1 second'"),
        false => format!("{end} + INTERVAL '1 microsecond'"),
    };
    let (end, row_end) = (after("key0"), after("window_end"));
    Parts { from, batch_from, batch_keys: keys.clone(), keys, end, row_end, closes: stays }
}

fn cumulate(rng: &mut impl Rng) -> Parts {
    let (step, steps, unit) =
        *[(2, 3, "seconds"), (5, 2, "seconds"), (10, 1, "seconds"), (15, 4, "seconds"), (1, 3, "minutes")]
            .choose(rng)
            .expect("not empty");
    let size = format!("INTERVAL '{} {unit}'", step * steps);
    let offset = pick(rng, &["", "", "3 seconds", "-1 second"]);
    let argument = if offset.is_empty() { String::new() } else { format!(", INTERVAL '{offset}'") };
    let from = match rng.random_range(0..3) {
        0 => format!("TABLE(CUMULATE(TABLE s, DESCRIPTOR(ts), INTERVAL '{step}' {unit}, {size}{argument}))"),
        _ => format!("cumulate(s, ts, INTERVAL '{step} {unit}', {size}{argument})"),
    };
    let origin =
        format!("TIMESTAMP '1970-01-01 00:00:00' + INTERVAL '{}'", if offset.is_empty() { "0 s" } else { offset });
    let base = format!("(SELECT *, date_bin({size}, ts, {origin}) AS window_start FROM s) AS r");
    let window = |n: i64| {
        let end = format!("window_start + INTERVAL '{} {unit}'", n * step);
        format!("SELECT *, {end} AS window_end FROM {base} WHERE ts < {end}")
    };
    let windows: Vec<_> = (1..=steps).map(window).collect();
    let batch_from = format!("({}) AS r", windows.join(" UNION ALL "));
    let (keys, end) = match rng.random_range(0..5) {
        0 => (strings(&["window_start"]), format!("key0 + {size}")),
        1 => (strings(&["window_end"]), "key0".to_owned()),
        2 => (strings(&["window_end", "window_start", "k"]), "key0".to_owned()),
        _ => (strings(&["window_start", "window_end", "k"]), "key1".to_owned()),
    };
    Parts { from, batch_from, batch_keys: keys.clone(), keys, end, row_end: "none".into(), closes: true }
}

fn zoned(rng: &mut impl Rng) -> Parts {
    let (zone, minutes) = *ZONES.choose(rng).expect("not empty");
    let shift = format!("INTERVAL '{minutes} minutes'");
    let relation = format!("(SELECT k, g, v, d, f, b, ts + {shift} AS ts, day FROM s)");
    let local = format!(
        "(SELECT *, date_trunc('day', (ts AT TIME ZONE 'UTC') AT TIME ZONE '{zone}') AS midnight FROM {relation} AS r) AS r"
    );
    let instant = |local: &str| format!("(({local}) AT TIME ZONE '{zone}') AT TIME ZONE 'UTC'");
    let window = |base: &str, start: &str, end: &str, filter: &str| {
        format!(
            "SELECT {COLUMNS}, {} AS window_start, {} AS window_end FROM {base}{filter}",
            instant(start),
            instant(end)
        )
    };
    let day = "INTERVAL '1 day'";
    let keys = strings(&["window_start", "window_end", "k"]);
    let (from, windows, keys, batch_keys, end) = match rng.random_range(0..4) {
        0 => {
            // The column is a timestamptz, as in Postgres.
            let end = format!("((key0 AT TIME ZONE '{zone}') + {day}) AT TIME ZONE '{zone}' AT TIME ZONE 'UTC'");
            let keys = vec![format!("date_trunc('day', ts, '{zone}')")];
            let batch_keys = vec![format!("midnight AT TIME ZONE '{zone}'")];
            (format!("{relation} AS r"), vec![format!("SELECT * FROM {local}")], keys, batch_keys, end)
        }
        1 => {
            let from = format!("hop({relation}, ts, {day}, INTERVAL '2 days', timezone => '{zone}')");
            let first = window(&local, "midnight", "midnight + INTERVAL '2 days'", "");
            let second = window(&local, &format!("midnight - {day}"), &format!("midnight + {day}"), "");
            (from, vec![first, second], keys.clone(), keys, "key1".to_owned())
        }
        2 => {
            let from = format!("cumulate({relation}, ts, {day}, INTERVAL '3 days', timezone => '{zone}')");
            let start = "date_bin(INTERVAL '3 days', midnight)";
            let windows = (1..=3).map(|n| {
                let end = format!("{start} + INTERVAL '{n} days'");
                window(&local, start, &end, &format!(" WHERE midnight < {end}"))
            });
            (from, windows.collect(), keys.clone(), keys, "key1".to_owned())
        }
        _ => {
            let from = format!("tumble({relation}, ts, {day}, timezone => '{zone}')");
            (
                from,
                vec![window(&local, "midnight", &format!("midnight + {day}"), "")],
                keys.clone(),
                keys,
                "key1".to_owned(),
            )
        }
    };
    let batch_from = format!("({}) AS r", windows.join(" UNION ALL "));
    // The watermark is that of the times before they were moved.
    let end = format!("{end} - {shift}");
    Parts { from, batch_from, keys, batch_keys, end, row_end: "none".into(), closes: true }
}

fn count_window(rng: &mut impl Rng) -> (Windowed, bool) {
    let rows = *[1, 2, 3, 10].choose(rng).expect("not empty");
    let key = pick(rng, &["k", "g", "k % 3", "k, g"]);
    let columns = ["k, g, v, ts, b", COLUMNS].choose(rng).expect("not empty");
    let filter = if rng.random_bool(0.3) { format!(" WHERE {}", pick(rng, &PREDICATES)) } else { String::new() };
    let relation = format!("(SELECT {columns} FROM s{filter})");
    let from = format!("count_window({relation}, ts, {rows}, {key})");
    let numbered = format!(
        "SELECT *, (row_number() OVER (PARTITION BY {key} ORDER BY ts, {columns})::bigint - 1) / {rows} + 1 AS window_number FROM {relation} AS r"
    );
    let batch_from = format!(
        "(SELECT *, min(ts) OVER (PARTITION BY {key}, window_number) AS window_start, max(ts) OVER (PARTITION BY {key}, window_number) AS window_end FROM ({numbered}) AS r) AS r"
    );
    let keys = format!("window_number, window_end, {key}");
    let keys: Vec<String> = keys.split(", ").map(str::to_owned).collect();
    let calls = ["count(*)", "sum(v)", "min(ts)", "count(DISTINCT g)", "array_agg(v ORDER BY v)", "max(window_start)"];
    let mut chosen = vec![calls[0].to_owned()];
    chosen.extend((0..rng.random_range(0..3)).map(|_| pick(rng, &calls).to_owned()));
    // A window is final once it is full and its last row is behind the watermark.
    let end = format!("CASE WHEN n = {rows} THEN key1 + INTERVAL '1 microsecond' END");
    let emit_on_close = rng.random_bool(0.5);
    let group = Group { keys: keys.clone(), calls: chosen, from, filter: None, having: None, end: Some(end) };
    let (items, outer) = (None, None);
    (Windowed { group, batch_keys: keys, batch_from, items, outer, closes: true }, emit_on_close)
}
