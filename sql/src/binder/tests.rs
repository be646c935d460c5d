//! Queries bound against a small catalog.

use std::collections::BTreeMap;

use arrow::array::{Int32Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::RuntimeEnv;

use super::*;
use crate::functions;
use crate::statement::Statement;
use crate::types;

/// Tables and views by name.
#[derive(Default)]
pub(crate) struct Catalog(BTreeMap<String, Relation>);

impl Relations for Catalog {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Relation> {
        if schema.is_some_and(|schema| schema != "public") {
            return None;
        }
        self.0.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

impl Catalog {
    /// bids(auction bigint, price bigint, name text, ts timestamp, at timestamptz), users(id int, name text).
    pub fn sample() -> Self {
        const SECOND: i64 = 1_000_000;
        let times: Vec<Option<i64>> = vec![Some(0), Some(30 * SECOND), Some(65 * SECOND), Some(125 * SECOND), None];
        let columns: Vec<(&str, arrow::array::ArrayRef)> = vec![
            ("auction", Arc::new(Int64Array::from(vec![1, 1, 2, 2, 3]))),
            ("price", Arc::new(Int64Array::from(vec![Some(10), Some(20), Some(30), None, Some(50)]))),
            ("name", Arc::new(StringViewArray::from(vec![Some("a"), Some("b"), None, Some("d"), Some("e")]))),
            ("ts", Arc::new(TimestampMicrosecondArray::from(times.clone()))),
            ("at", Arc::new(TimestampMicrosecondArray::from(times).with_timezone("+00:00"))),
        ];
        let users: Vec<(&str, arrow::array::ArrayRef)> = vec![
            ("id", Arc::new(Int32Array::from(vec![1, 2]))),
            ("name", Arc::new(StringViewArray::from(vec!["ann", "bob"]))),
        ];
        let mut catalog = Self::default();
        catalog.table("bids", columns);
        catalog.table("users", users);
        catalog.view("dear", "SELECT auction, price FROM bids WHERE price > 15", &[]);
        catalog.view("named", "SELECT auction, count(*) FROM dear GROUP BY 1", &["a", "n"]);
        catalog.view("loop", "SELECT * FROM pool", &[]);
        catalog.view("pool", "SELECT * FROM loop", &[]);
        catalog.view("broken", "SELECT wibble FROM bids", &[]);
        catalog
    }

    fn table(&mut self, name: &str, columns: Vec<(&str, arrow::array::ArrayRef)>) {
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, array)| array).collect());
        let table = MemTable::try_new(schema, vec![vec![batch.expect("equal lengths")]]).expect("one schema");
        self.0.insert(name.into(), Relation::Table(Arc::new(table)));
    }

    fn view(&mut self, name: &str, query: &str, columns: &[&str]) {
        let columns = columns.iter().map(ToString::to_string).collect();
        self.0.insert(name.into(), Relation::View { query: query.into(), columns });
    }
}

pub(crate) fn state() -> SessionState {
    functions::session_state(functions::session_config(), Arc::new(RuntimeEnv::default())).expect("functions register")
}

pub(crate) fn bind_with(text: &str, parameters: &[Option<DataType>]) -> Result<BoundQuery, SqlError> {
    let parsed = crate::parser::parse(text)?.remove(0);
    let Statement::Query(query) = parsed.statement else { panic!("{text} is no query") };
    Binder::new(&state(), &Catalog::sample()).bind_query(&query, &parsed.text, parameters)
}

pub(crate) fn bind(text: &str) -> Result<BoundQuery, SqlError> {
    bind_with(text, &[])
}

/// Runs a query: its rows as text, columns under their wire names.
pub(crate) fn run(text: &str) -> Result<String, SqlError> {
    let state = state();
    let bound = bind(text)?;
    let plan = Binder::new(&state, &Catalog::sample()).optimize(&bound.plan, DateTime::from_timestamp_micros(0))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let batches = runtime.block_on(async {
        let context = SessionContext::new_with_state(state);
        let physical = context.state().query_planner().create_physical_plan(&plan, &context.state()).await?;
        datafusion::physical_plan::collect(physical, context.task_ctx()).await
    })?;
    let schema = Arc::new(Schema::new(
        bound
            .plan
            .schema()
            .fields()
            .iter()
            .zip(&bound.output_names)
            .map(|(field, name)| field.as_ref().clone().with_name(name.clone()))
            .collect::<Vec<_>>(),
    ));
    let batches: Vec<RecordBatch> = batches
        .into_iter()
        .map(|batch| {
            let fields: Vec<Field> = schema
                .fields()
                .iter()
                .zip(batch.columns())
                .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
                .collect();
            RecordBatch::try_new(Arc::new(Schema::new(fields)), batch.columns().to_vec()).expect("same columns")
        })
        .collect();
    if batches.is_empty() {
        let names = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>();
        return Ok(format!("(none: {})", names.join(", ")));
    }
    Ok(pretty_format_batches(&batches)?.to_string())
}

impl From<arrow::error::ArrowError> for SqlError {
    fn from(error: arrow::error::ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

fn rows(text: &str) -> String {
    run(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn names(text: &str) -> Vec<String> {
    bind(text).unwrap_or_else(|e| panic!("{text}: {e}")).output_names
}

#[test]
fn columns_are_named_as_in_postgres() {
    // From PostgreSQL 15, except extract, which was date_part until 13.
    for (text, expected) in [
        ("SELECT 1, 'x', NULL, 1 + 1", vec!["?column?", "?column?", "?column?", "?column?"]),
        ("SELECT auction, b.price, price AS p, price + 1 FROM bids b", vec!["auction", "price", "p", "?column?"]),
        ("SELECT count(*), sum(price), max(price) + 1 FROM bids", vec!["count", "sum", "?column?"]),
        (
            "SELECT price::text, 1::int, 'a'::text, 1::bigint, 1.5::float FROM bids",
            vec!["price", "int4", "text", "int8", "float8"],
        ),
        ("SELECT CASE WHEN true THEN 1 END, CASE WHEN true THEN 1 ELSE price END FROM bids", vec!["case", "price"]),
        ("SELECT true, INTERVAL '1 day', DATE '2020-01-01'", vec!["bool", "interval", "date"]),
        ("SELECT coalesce(price, 1), nullif(price, 1), upper(name) FROM bids", vec!["coalesce", "nullif", "upper"]),
        (
            "SELECT extract(year FROM ts), substring(name FROM 1), trim(name) FROM bids",
            vec!["extract", "substring", "btrim"],
        ),
        ("SELECT (SELECT max(id) FROM users), (SELECT 1)", vec!["max", "?column?"]),
        ("SELECT sum(price) OVER (), row_number() OVER () FROM bids", vec!["sum", "row_number"]),
        ("SELECT current_date, now(), localtimestamp", vec!["current_date", "now", "localtimestamp"]),
        ("SELECT mod(7, 2), every(price > 1) FROM bids", vec!["mod", "every"]),
        ("VALUES (1, 2)", vec!["column1", "column2"]),
        ("SELECT 1 AS a UNION SELECT 2 AS b", vec!["a"]),
        ("SELECT ARRAY[1], (price), - price FROM bids", vec!["array", "price", "?column?"]),
    ] {
        assert_eq!(names(text), expected, "{text}");
    }
}

#[test]
fn columns_may_share_a_name() {
    for (text, expected) in [
        ("SELECT auction, auction FROM bids", vec!["auction", "auction"]),
        ("SELECT auction, auction AS auction FROM bids ORDER BY auction", vec!["auction", "auction"]),
        ("SELECT b.auction, auction FROM bids b", vec!["auction", "auction"]),
        ("SELECT a.auction, b.auction FROM bids a, bids b", vec!["auction", "auction"]),
        ("SELECT 1 AS x, 2 AS x", vec!["x", "x"]),
        ("SELECT b.auction, b.* FROM bids b", vec!["auction", "auction", "price", "name", "ts", "at"]),
        ("SELECT *, auction FROM bids", vec!["auction", "price", "name", "ts", "at", "auction"]),
        ("SELECT * FROM users a, users b", vec!["id", "name", "id", "name"]),
        ("SELECT * FROM (SELECT 1 AS x, 2 AS x) t", vec!["x", "x"]),
    ] {
        assert_eq!(names(text), expected, "{text}");
        rows(text);
    }
}

#[test]
fn a_view_needs_names_that_differ() {
    let state = state();
    let catalog = Catalog::sample();
    let bind_view = |text: &str, columns: &[&str]| {
        let query = parse_query(text).expect("a query");
        let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
        Binder::new(&state, &catalog)
            .bind_view(&query, text, &columns)
            .map(|plan| plan.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>())
    };
    assert_eq!(
        bind_view("SELECT auction, count(*) FROM bids GROUP BY 1", &[]),
        Ok(vec!["auction".into(), "count".into()])
    );
    assert_eq!(bind_view("SELECT 1, 2", &["a", "b"]), Ok(vec!["a".into(), "b".into()]));
    assert_eq!(bind_view("SELECT 1, 2 AS x", &["a"]), Ok(vec!["a".into(), "x".into()]));
    assert_eq!(bind_view("SELECT * FROM (SELECT 1 AS x, 2 AS x) t", &["a", "b"]), Ok(vec!["a".into(), "b".into()]));
    for (text, columns, state, message) in [
        ("SELECT 1, 2", &[][..], "42701", "column \"?column?\" specified more than once"),
        ("SELECT auction, * FROM bids", &[], "42701", "column \"auction\" specified more than once"),
        ("SELECT 1", &["a", "b"], "42601", "too many column names were specified"),
        ("SELECT $1", &[], "42P02", "there is no parameter $1"),
    ] {
        let error = bind_view(text, columns).expect_err(text);
        assert_eq!((error.state.0, error.message.as_str()), (state, message), "{text}");
    }
}

#[test]
fn errors_are_those_of_postgres() {
    // (query, SQLSTATE, message, the text at the position; "-" is no position).
    for (text, state, message, at) in [
        ("SELECT wibble FROM bids", "42703", "column \"wibble\" does not exist", "wibble"),
        ("SELECT b.wibble FROM bids b", "42703", "column b.wibble does not exist", "b.wibble"),
        ("SELECT 1 FROM bids\n WHERE 'é' = wibble", "42703", "column \"wibble\" does not exist", "wibble"),
        ("SELECT c.auction FROM bids b", "42P01", "missing FROM-clause entry for table \"c\"", "c."),
        ("SELECT x.* FROM bids b", "42P01", "missing FROM-clause entry for table \"x\"", "x."),
        ("SELECT * FROM nothing", "42P01", "relation \"nothing\" does not exist", "nothing"),
        ("SELECT * FROM s.bids", "42P01", "relation \"s.bids\" does not exist", "s.bids"),
        ("SELECT name FROM bids, users", "42702", "column reference \"name\" is ambiguous", "name"),
        ("SELECT * FROM bids, bids", "42712", "table name \"bids\" specified more than once", "-"),
        ("SELECT foo(price) FROM bids", "42883", "function foo does not exist", "foo"),
        ("SELECT lower(price, 1) FROM bids", "42883", "function lower(bigint, bigint) does not exist", "lower"),
        ("SELECT abs(name) FROM bids", "42883", "function abs(text) does not exist", "abs"),
        ("SELECT * FROM nope(1)", "42883", "table function nope does not exist", "-"),
        ("SELECT price + name FROM bids", "42883", "operator does not exist: bigint + text", "+"),
        ("SELECT price = name FROM bids", "42883", "operator does not exist: bigint = text", "="),
        ("SELECT 1 FROM bids WHERE name <> 5", "42883", "operator does not exist: text != bigint", "name"),
        (
            "SELECT 1 FROM bids JOIN users ON bids.name = users.id",
            "42883",
            "operator does not exist: text = integer",
            "=",
        ),
        (
            "SELECT auction, price FROM bids GROUP BY auction",
            "42803",
            "column \"bids.price\" must appear in the GROUP BY clause or be used in an aggregate function",
            "price",
        ),
        (
            "SELECT 1 FROM bids HAVING price > 1",
            "42803",
            "column \"bids.price\" must appear in the GROUP BY clause or be used in an aggregate function",
            "price",
        ),
        ("SELECT 1 FROM bids WHERE count(*) > 1", "42803", "aggregate functions are not allowed in WHERE", "-"),
        ("SELECT sum(count(*)) FROM bids", "42803", "aggregate function calls cannot be nested", "-"),
        ("SELECT 1 WHERE 5", "42804", "argument of WHERE must be type boolean, not type bigint", "-"),
        (
            "SELECT 1 FROM bids WHERE price AND true",
            "42804",
            "argument of AND must be type boolean, not type bigint",
            "-",
        ),
        ("SELECT NOT price FROM bids", "42804", "argument of NOT must be type boolean, not type bigint", "price"),
        ("SELECT 1 FROM bids LIMIT 'a'", "42804", "argument of LIMIT must be type bigint, not type text", "-"),
        ("SELECT 1 UNION SELECT 1, 2", "42601", "each UNION query must have the same number of columns", "SELECT"),
        (
            "WITH a AS (SELECT 1), a AS (SELECT 2) SELECT 1",
            "42712",
            "WITH query name \"a\" specified more than once",
            "a AS",
        ),
        ("SELECT (SELECT 1, 2)", "42601", "subquery must return only one column", "-"),
        ("SELECT 1 ORDER BY 5", "42P10", "ORDER BY position is not in select list", "-"),
        ("SELECT count(*) FROM bids GROUP BY 7", "42P10", "GROUP BY position is not in select list", "-"),
        (
            "SELECT DISTINCT auction FROM bids ORDER BY price",
            "42P10",
            "for SELECT DISTINCT, ORDER BY expressions must appear in select list",
            "-",
        ),
        ("SELECT *", "42601", "SELECT * with no tables specified is not valid", "-"),
        ("SELECT sum(price) OVER w FROM bids", "42704", "window \"w\" does not exist", "-"),
        ("SELECT * FROM bids FETCH FIRST ROW WITH TIES", "0A000", "FETCH … WITH TIES is not supported", "-"),
        ("SELECT INTERVAL 'wat'", "22007", "invalid input syntax for type interval: \"wat\"", "'wat'"),
        ("SELECT price::money FROM bids", "0A000", "type money is not supported", "-"),
        ("SELECT price::wibble FROM bids", "42704", "type \"wibble\" does not exist", "-"),
        ("SELECT $0", "42P02", "there is no parameter $0", "$0"),
        ("SELECT ARRAY[1]::text", "42846", "cannot cast type bigint[] to text", "-"),
        ("SELECT * FROM loop", "42P17", "infinite recursion detected in view \"loop\"", "loop"),
        ("SELECT * FROM broken", "42703", "column \"wibble\" does not exist", "broken"),
    ] {
        let error = bind(text).expect_err(text);
        assert_eq!((error.state.0, error.message.as_str()), (state, message), "{text}");
        match error.position {
            None => assert_eq!(at, "-", "{text}"),
            Some(position) => {
                let rest: String = text.chars().skip(position - 1).collect();
                assert!(at != "-" && rest.starts_with(at), "{text}: points at {rest:?}");
            }
        }
    }
    let hint = |text: &str| bind(text).expect_err(text).hint.unwrap_or_default();
    assert_eq!(hint("SELECT auctoin FROM bids"), "Perhaps you meant to reference the column \"bids.auction\".");
    assert_eq!(hint("SELECT * FROM bid"), "Perhaps you meant the relation \"bids\".");
    assert_eq!(hint("SELECT lowr(name) FROM bids"), "Perhaps you meant the function lower.");
}

#[test]
fn values_that_do_not_fit_are_told_as_postgres_tells_them() {
    for (text, state, message) in [
        ("SELECT to_char(name, '999') FROM bids", "42883", "function to_char(text, text) does not exist"),
        ("SELECT at AT TIME ZONE 'Mars' FROM bids", "22023", "time zone \"Mars\" not recognized"),
        ("SELECT 1/0", "22012", "division by zero"),
        ("SELECT price/0 FROM bids", "22012", "division by zero"),
        ("SELECT 'abc'::int", "22P02", "invalid input syntax for type integer: \"abc\""),
        ("SELECT name::int FROM bids", "22P02", "invalid input syntax for type integer: \"a\""),
        ("SELECT 99999::smallint", "22003", "value \"99999\" is out of range for type smallint"),
        (
            "SELECT '99999999999999999999'::bigint",
            "22003",
            "value \"99999999999999999999\" is out of range for type bigint",
        ),
        ("SELECT 'x'::timestamp", "22007", "invalid input syntax for type timestamp: \"x\""),
        ("SELECT '2020-13-01'::date", "22007", "invalid input syntax for type date: \"2020-13-01\""),
        ("SELECT 1 FROM bids LIMIT -1", "2201W", "LIMIT must not be negative"),
        ("SELECT 1 FROM bids OFFSET -1", "2201X", "OFFSET must not be negative"),
        ("SELECT price FROM bids WHERE price = 'x'", "22P02", "invalid input syntax for type bigint: \"x\""),
    ] {
        let error = run(text).expect_err(text);
        assert_eq!((error.state.0, error.message.as_str()), (state, message), "{text}");
    }
}

#[test]
fn parameters_take_the_type_of_what_stands_beside_them() {
    for (text, expected) in [
        (
            "SELECT * FROM bids WHERE price = $1 AND ts < $2 AND name LIKE $3 LIMIT $4 OFFSET $5",
            "bigint, timestamp without time zone, text, bigint, bigint",
        ),
        ("SELECT $1::int + $2", "integer, integer"),
        (
            "SELECT 1 FROM bids WHERE price IN ($1, $2) OR at BETWEEN $3 AND $4",
            "bigint, bigint, timestamp with time zone, timestamp with time zone",
        ),
        ("SELECT $1, $2 = $3", "text, text, text"),
        ("SELECT lower($1), CAST($2 AS jsonb)", "text, jsonb"),
        ("SELECT $2::bigint", "text, bigint"),
        ("SELECT * FROM tumble(bids, ts, '1 minute') WHERE window_start >= $1", "timestamp without time zone"),
        ("SELECT (SELECT max(price) FROM bids WHERE auction = $1)", "bigint"),
        ("SELECT 1", ""),
    ] {
        let bound = bind(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let types: Vec<String> = bound.parameters.iter().map(|field| types::display(field)).collect();
        assert_eq!(types.join(", "), expected, "{text}");
    }
    let declared = bind_with("SELECT $1, $2", &[Some(DataType::Int16), None]).expect("valid");
    let types: Vec<&DataType> = declared.parameters.iter().map(|field| field.data_type()).collect();
    assert_eq!(types, [&DataType::Int16, &DataType::Utf8View]);
    assert_eq!(declared.plan.schema().field(0).data_type(), &DataType::Int16);
}

#[test]
fn small_differences_from_datafusion() {
    for (text, expected) in [
        ("SELECT 0.1 + 0.2 = 0.3", "true"),
        ("SELECT mod(7, 3)", "1"),
        ("SELECT pg_catalog.lower('A')", "a"),
        ("SELECT INTERVAL '00:05' = INTERVAL '5 minutes'", "true"),
        ("SELECT localtimestamp", "1970-01-01T00:00:00"),
        ("SELECT max(ts)::text FROM bids", "1970-01-01 00:02:05"),
        ("SELECT max(at)::varchar FROM bids", "1970-01-01 00:02:05+00"),
        ("SELECT 1::float::text", "1"),
        ("SELECT max(at) AT TIME ZONE 'Europe/Berlin' FROM bids", "1970-01-01T01:02:05"),
        ("SELECT max(ts) AT TIME ZONE 'Europe/Berlin' FROM bids", "1969-12-31T23:02:05Z"),
        ("SELECT date_trunc('day', timezone('Asia/Tokyo', max(at))) FROM bids", "1970-01-01T00:00:00"),
        ("SELECT to_char(max(ts), 'YYYY-MM-DD HH24:MI:SS') FROM bids", "1970-01-01 00:02:05"),
        ("SELECT 'abc'::varchar(2)", "ab"),
        ("SELECT id FROM users ORDER BY 1 DESC FETCH FIRST ROW ONLY", "2"),
        ("SELECT id FROM users ORDER BY 1 OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY", "2"),
        ("SELECT '{\"a\": \"x\"}'::jsonb ->> 'a'", "x"),
        ("SELECT count(*) FROM named", "3"),
    ] {
        let rows = rows(text);
        let value = rows.lines().nth(3).map(|line| line.trim_matches(['|', ' ']).to_string());
        assert_eq!(value.as_deref(), Some(expected), "{text}\n{rows}");
    }
    assert!(rows("TABLE users ORDER BY id DESC LIMIT 1").contains("bob"));
    assert!(rows("WITH a AS (TABLE users) TABLE a").contains("ann"));
    let float = bind("SELECT 1::float").expect("valid");
    assert_eq!(float.plan.schema().field(0).data_type(), &DataType::Float64);
    let now = bind("SELECT now(), current_timestamp").expect("valid");
    assert!(now.plan.display_indent().to_string().contains("now()"), "now() stays a function");
}

#[test]
fn what_is_hidden_can_be_made_visible() {
    assert_eq!(visible("a\u{1}3"), "a");
    assert_eq!(visible("a"), "a");
    assert_eq!(visible(crate::window::group::START), crate::window::group::START);
    let plan = bind("SELECT 1, 2 FROM bids GROUP BY tumble(ts, '1 minute')").expect("valid").plan;
    let text = visible_text(&plan.display_indent().to_string());
    assert!(!text.contains(HIDDEN) && text.contains("Int64(2) AS ?column?") && text.contains("window_start"), "{text}");
}

/// DataFusion and sqlparser recurse; neither they nor dropping what they made may overflow a small stack.
#[test]
fn long_chains_and_deep_nesting_do_not_overflow() {
    let chain = |operator: &str, operand: &str, n: usize| {
        format!("SELECT {operand}{} FROM bids", format!(" {operator} {operand}").repeat(n))
    };
    for text in [
        chain("+", "price", 600),
        chain("AND", "price > 1", 500),
        chain("OR", "true", 2_000),
        chain("||", "name", 500),
        format!("SELECT {}1{}", "(".repeat(60), ")".repeat(60)),
        format!("SELECT {}price{} FROM bids", "abs(".repeat(60), ")".repeat(60)),
        format!("{}SELECT 1 AS a{}", "SELECT * FROM (".repeat(30), ") t".repeat(30)),
    ] {
        let result = std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(move || {
                let parsed = crate::parser::parse(&text).expect("parses").remove(0);
                let copy = parsed.clone();
                let Statement::Query(query) = &copy.statement else { panic!("no query") };
                let state = state();
                let catalog = Catalog::sample();
                let binder = Binder::new(&state, &catalog);
                let bound = binder.bind_query(query, &parsed.text, &[]).expect("binds");
                let optimized = binder.optimize(&bound.plan, None).expect("optimizes");
                drop((bound, optimized));
            })
            .expect("a thread")
            .join();
        assert!(result.is_ok());
    }
}
