//! Random ASOF joins. What the batch answers is said without them: the greatest time by an aggregate, and of the rows at that
//! time the first by row_number.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::join::Joined;
use super::query::pick;

/// Records of each source.
const RECORDS_MAX: usize = 70;
/// Relations with the columns k, g, v, ts and nothing else; the last ones take rows back.
const RELATIONS: [&str; 8] = [
    "(SELECT k, g, v, ts FROM {s} )",
    "(SELECT k, g, v, ts FROM {s} )",
    "(SELECT k, g, v, date_trunc('second', ts) AS ts FROM {s} WHERE v IS NULL OR v > -2)",
    "(SELECT k, g, v, CASE WHEN b THEN ts END AS ts FROM {s} )",
    "(SELECT k % 2 AS k, g, v, ts + INTERVAL '2 seconds' AS ts FROM {s} )",
    "(SELECT k, max(g) AS g, count(*) AS v, date_trunc('minute', ts) AS ts FROM {s} GROUP BY k, date_trunc('minute', ts))",
    "(SELECT k, g, count(*) AS v, max(ts) AS ts FROM {s} GROUP BY k, g)",
    "(SELECT k, g, v, ts FROM (SELECT *, row_number() OVER (PARTITION BY k ORDER BY v DESC, ts) AS rn FROM {s} ) AS ranked WHERE rn <= 3)",
];
/// What is shown: of the left row, and of the right one.
const ITEMS: [&str; 8] = ["a.k", "a.g", "a.v", "a.ts", "b.k", "b.g", "b.v", "b.ts"];
const CALLS: [&str; 5] = ["count(*)", "sum(b.v)", "max(a.ts)", "count(b.g)", "sum(a.v - b.v)"];

/// A random one. `versions`: the rows of both sources have a time, and so may be joined as versions.
pub fn random(rng: &mut impl Rng, versions: bool) -> Joined {
    let left = RELATIONS.choose(rng).expect("not empty").replace("{s}", "s");
    let right = *RELATIONS.choose(rng).expect("not empty");
    let source = pick(rng, &["s", "o", "o"]);
    let is_source = right == RELATIONS[0];
    let right = right.replace("{s}", source);
    let keys: &[&str] = [&["k"][..], &["k"], &["k", "g"], &["g"], &[]].choose(rng).expect("not empty");
    let time = pick(rng, &["ts", "ts", "ts", "ts", "v"]);
    let (symbol, turned) =
        *[(">=", "<="), (">=", "<="), (">", "<"), ("<=", ">="), ("<", ">")].choose(rng).expect("not empty");
    let outer = rng.random_bool(0.5);
    let kind = match (outer, rng.random_bool(0.5)) {
        (true, true) => "ASOF LEFT JOIN",
        (true, false) => "ASOF LEFT OUTER JOIN",
        (false, true) => "ASOF INNER JOIN",
        (false, false) => "ASOF JOIN",
    };
    let equal =
        |left: &str, right: &str| keys.iter().map(|key| format!("{left}.{key} = {right}.{key}")).collect::<Vec<_>>();
    let (by_time, mut on) = (format!("a.{time} {symbol} b.{time}"), equal("a", "b"));
    let are_versions = versions && is_source && (time, symbol) == ("ts", ">=") && !on.is_empty();
    let from = match rng.random_range(0..4) {
        2.. if are_versions => {
            let kind = if outer { "LEFT JOIN" } else { "JOIN" };
            format!("{left} a {kind} {source} FOR SYSTEM_TIME AS OF a.ts AS b ON {}", on.join(" AND "))
        }
        // Snowflake's, which keeps left rows.
        0 if outer && !on.is_empty() => {
            format!("{left} a ASOF JOIN {right} b MATCH_CONDITION ({by_time}) ON {}", on.join(" AND "))
        }
        1 => {
            on.insert(0, format!("b.{time} {turned} a.{time}"));
            format!("{left} a {kind} {right} b ON {}", on.join(" AND "))
        }
        _ => {
            on.push(by_time);
            format!("{left} a {kind} {right} b ON {}", on.join(" AND "))
        }
    };
    let grouped = rng.random_range(0..4) == 0;
    let (items, tail): (Vec<String>, String) = if grouped {
        let key = pick(rng, &["a.k", "b.g", "date_trunc('minute', a.ts)", "date_trunc('minute', b.ts)"]);
        (vec![format!("{key} AS key0"), format!("{} AS n", pick(rng, &CALLS))], " GROUP BY 1".into())
    } else {
        let shown = (0..rng.random_range(1..6)).map(|n| format!("{} AS c{n}", pick(rng, &ITEMS))).collect();
        (shown, String::new())
    };
    let filter = if rng.random_range(0..4) == 0 {
        vec![pick(rng, &["a.v > 0", "b.v IS NULL", "b.v <= a.v", "a.k = 1"]).to_owned()]
    } else {
        vec![]
    };
    let batch_from = batch_from(&left, &right, keys, time, symbol, outer);
    let wheres = if filter.is_empty() { String::new() } else { format!(" WHERE {}", filter.join(" AND ")) };
    let batch_text = Some(format!("SELECT {} FROM {batch_from}{wheres}{tail}", items.join(", ")));
    Joined { items, from, filter, tail, records_max: RECORDS_MAX, end: None, batch_text }
}

fn batch_from(left: &str, right: &str, keys: &[&str], time: &str, symbol: &str, outer: bool) -> String {
    let of = |alias: &str| keys.iter().map(|key| format!("{alias}.{key}, ")).collect::<String>();
    let equal =
        |one: &str, other: &str| keys.iter().map(|key| format!("{one}.{key} = {other}.{key} AND ")).collect::<String>();
    let names: String = keys.iter().map(|key| format!("{key}, ")).collect();
    let best = if symbol.starts_with('>') { "max" } else { "min" };
    let places = format!(
        "(SELECT {}l.{time} AS at, {best}(r.{time}) AS best FROM (SELECT DISTINCT {names}{time} FROM {left} AS l) AS l JOIN {right} AS r ON {}l.{time} {symbol} r.{time} GROUP BY {}l.{time}) AS p",
        of("l"),
        equal("l", "r"),
        of("l"),
    );
    let firsts = format!(
        "(SELECT k, g, v, ts FROM (SELECT *, row_number() OVER (PARTITION BY {names}{time} ORDER BY k, g, v, ts) AS rn FROM {right} AS r) AS numbered WHERE rn = 1) AS f"
    );
    let join = if outer { "LEFT JOIN" } else { "JOIN" };
    format!(
        "{left} a {join} (SELECT p.at, f.k, f.g, f.v, f.ts FROM {places} JOIN {firsts} ON {}p.best = f.{time}) AS b ON {}a.{time} = b.at",
        equal("p", "f"),
        equal("a", "b"),
    )
}
