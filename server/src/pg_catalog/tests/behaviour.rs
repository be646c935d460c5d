//! Behaviour that no recorded statement shows.

use std::sync::Arc;

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use sql::error::SqlError;

use super::ask;
use super::sample::{Access, BIDS, catalog, catalog_with};
use crate::pg_catalog::{CatalogSnapshot, PgCatalog, is_catalog_query, output_name, system};

/// The rows of a query as lines of values between bars.
async fn rows(catalog: &PgCatalog, text: &str) -> Vec<String> {
    let answer = ask(catalog, text, Vec::new()).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    let line = |row: Vec<Option<String>>| {
        row.into_iter().map(|value| value.unwrap_or_else(|| "∅".into())).collect::<Vec<_>>().join("|")
    };
    answer.rows.into_iter().map(line).collect()
}

async fn value(text: &str) -> String {
    rows(&catalog(), text).await.concat()
}

/// The SQLSTATE and message a query fails with.
async fn refusal(text: &str) -> String {
    let error = ask(&catalog(), text, Vec::new()).await.err().unwrap_or_else(|| panic!("{text} is answered"));
    let datafusion::error::DataFusionError::External(inner) = error.find_root() else { panic!("{error}") };
    inner.downcast_ref::<SqlError>().map(ToString::to_string).unwrap_or_else(|| inner.to_string())
}

#[tokio::test]
async fn every_relation_can_be_read_whole() {
    let catalog = catalog();
    for relation in system::relations() {
        let text = format!("SELECT * FROM {}.{}", relation.schema, relation.name);
        let answer = ask(&catalog, &text, Vec::new()).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        let names: Vec<&str> = answer.columns.iter().filter_map(|column| column.split(' ').next()).collect();
        assert_eq!(names, relation.columns.iter().map(|column| column.name).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn ordinary_queries_are_left_alone() {
    let is_catalog = |text: &str| {
        let statements = Parser::parse_sql(&PostgreSqlDialect {}, text).expect("valid");
        statements.iter().any(is_catalog_query)
    };
    for text in ["SELECT auction, count(*) FROM bids GROUP BY 1", "SELECT a::int, b::numeric(10, 2) FROM t", "SELECT 1"]
    {
        assert!(!is_catalog(text), "{text}");
    }
    for text in [
        "SELECT * FROM pg_class",
        "SELECT * FROM INFORMATION_SCHEMA.TABLES",
        "SELECT version()",
        "SELECT current_user",
        "SELECT 1 WHERE 'a' = ANY('{a,b}')",
        "SELECT x::regclass FROM t",
        "SELECT a FROM t WHERE b IN (SELECT oid FROM pg_type)",
    ] {
        assert!(is_catalog(text), "{text}");
    }
}

#[tokio::test]
async fn the_session_answers_for_itself() {
    assert_eq!(value("SELECT current_user, session_user, user, current_role").await, "admin|admin|admin|admin");
    assert_eq!(value("SELECT current_database(), current_catalog, current_schema").await, "tidemark|tidemark|public");
    assert_eq!(value("SELECT current_schemas(true), current_schemas(false)").await, "{pg_catalog,public}|{public}");
    assert_eq!(
        value("SELECT pg_backend_pid(), inet_client_port(), inet_server_addr()::text").await,
        "76|50122|127.0.0.1"
    );
    assert!(value("SELECT version()").await.starts_with("PostgreSQL 13.14 on "));
    assert_eq!(value("SELECT current_setting('JIT'), current_setting('nothing', true)").await, "off|∅");
    assert_eq!(
        refusal("SELECT current_setting('nothing')").await,
        "42704: unrecognized configuration parameter \"nothing\""
    );
}

#[tokio::test]
async fn settings_change_and_sessions_end_once_a_row() {
    let access = Arc::new(Access::default());
    let catalog = catalog_with(Arc::clone(&access));
    assert_eq!(rows(&catalog, "SELECT set_config('jit', 'on', false)").await, ["on"]);
    assert_eq!(rows(&catalog, "SELECT current_setting('jit')").await, ["on"]);
    assert_eq!(access.changed.lock().len(), 1);
    let cancel = "SELECT pid, pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'reader'";
    assert_eq!(rows(&catalog, cancel).await, ["77|t"]);
    assert_eq!(*access.cancelled.lock(), [77]);
    // Planning alone, as Describe does, must do nothing.
    let mut query = Parser::new(&PostgreSqlDialect {})
        .try_with_sql("SELECT pg_cancel_backend(77)")
        .and_then(|mut parser| parser.parse_query())
        .expect("valid");
    let functions = catalog.rewrite(&mut query).expect("known");
    crate::pg_catalog::planner::plan(&catalog, &functions, *query, Vec::new()).expect("plans");
    assert_eq!(*access.cancelled.lock(), [77]);
}

#[tokio::test]
async fn names_become_objects_and_objects_names() {
    assert_eq!(value("SELECT 'bids'::regclass::oid").await, BIDS.to_string());
    assert_eq!(value("SELECT 16385::regclass, 1259::regclass, 16389::regclass").await, "bids|pg_class|tidemark.ticks");
    assert_eq!(value("SELECT to_regclass('nothing'), to_regtype('int')").await, "∅|integer");
    assert_eq!(value("SELECT 'pg_catalog.pg_type'::regclass = 1247").await, "t");
    assert_eq!(value("SELECT oid::regtype FROM pg_type WHERE typname = '_int4'").await, "integer[]");
    assert_eq!(value("SELECT typinput::text, typreceive FROM pg_type WHERE typname = 'int4'").await, "int4in|int4recv");
    assert_eq!(value("SELECT 'public'::regnamespace::oid, 'reader'::regrole").await, "2200|reader");
    assert_eq!(refusal("SELECT 'nothing'::regclass").await, "42P01: relation \"nothing\" does not exist");
    assert_eq!(
        refusal("SELECT has_table_privilege('nothing', 'SELECT')").await,
        "42P01: relation \"nothing\" does not exist"
    );
    assert_eq!(value("SELECT has_table_privilege('reader', 'hot', 'SELECT')").await, "f");
}

#[tokio::test]
async fn columns_may_share_a_name() {
    let catalog = catalog();
    let text = "SELECT n.oid, n.*, 1, 2, NULL, NULL, n.oid AS nspname FROM pg_namespace n WHERE nspname = 'public'";
    let answer = ask(&catalog, text, Vec::new()).await.expect("answered");
    let names: Vec<&str> = answer.columns.iter().filter_map(|column| column.split(' ').next()).collect();
    let expected =
        ["oid", "oid", "nspname", "nspowner", "nspacl", "?column?", "?column?", "?column?", "?column?", "nspname"];
    assert_eq!(names, expected);
    assert_eq!(output_name("plain"), "plain");
}

#[tokio::test]
async fn correlated_subqueries_of_every_kind_are_answered() {
    // Not joinable: an inequality, a LIMIT, a set of rows from the outer row's array, two levels out.
    let below = "SELECT relname, (SELECT count(*) FROM pg_class b WHERE b.oid < a.oid AND b.oid >= 16384) \
                 FROM pg_class a WHERE oid >= 16384 ORDER BY oid";
    assert_eq!(rows(&catalog(), below).await, ["bids|0", "bids_per_minute|1", "hot|2", "recent|3", "ticks|4"]);
    let first = "SELECT relname, (SELECT attname FROM pg_attribute WHERE attrelid = c.oid ORDER BY attnum DESC LIMIT 1) \
                 FROM pg_class c WHERE relkind = 'm' ORDER BY 1";
    assert_eq!(rows(&catalog(), first).await, ["bids_per_minute|top", "hot|bids"]);
    let exists = "SELECT relname, EXISTS(SELECT 1 FROM pg_rewrite WHERE ev_class = c.oid), \
                  c.oid IN (SELECT ev_class FROM pg_rewrite) FROM pg_class c WHERE oid >= 16384 ORDER BY c.oid LIMIT 2";
    assert_eq!(rows(&catalog(), exists).await, ["bids|f|f", "bids_per_minute|t|t"]);
    let array = "SELECT nspname, ARRAY(SELECT relname FROM pg_class WHERE relnamespace = n.oid AND relkind = 'm' ORDER BY 1) \
                 FROM pg_namespace n WHERE nspname IN ('public', 'tidemark') ORDER BY 1";
    assert_eq!(rows(&catalog(), array).await, ["public|{bids_per_minute,hot}", "tidemark|{}"]);
    let more = "SELECT (SELECT relname FROM pg_class WHERE relnamespace = n.oid LIMIT 9) FROM pg_namespace n WHERE nspname = 'public'";
    assert_eq!(refusal(more).await, "21000: more than one row returned by a subquery used as an expression");
}

#[tokio::test]
async fn sets_are_unnested_wherever_they_stand() {
    assert_eq!(rows(&catalog(), "SELECT * FROM generate_series(1, 3) AS s(n)").await, ["1", "2", "3"]);
    let ordinal = "SELECT * FROM unnest(ARRAY['a', 'b']) WITH ORDINALITY AS x(v, n)";
    assert_eq!(rows(&catalog(), ordinal).await, ["a|1", "b|2"]);
    let lateral = "SELECT r.groname, m.member FROM pg_group r, unnest(r.grolist) AS m(member)";
    assert_eq!(rows(&catalog(), lateral).await, ["analysts|16390"]);
    let joined = "SELECT groname, u.rolname FROM pg_group CROSS JOIN LATERAL unnest(grolist) AS m \
                  JOIN pg_roles u ON u.oid = m ORDER BY m";
    assert_eq!(rows(&catalog(), joined).await, ["analysts|reader"]);
    let expanded = "SELECT (information_schema._pg_expandarray(ARRAY[7, 8])).n, \
                    (information_schema._pg_expandarray(ARRAY[7, 8])).x";
    assert_eq!(rows(&catalog(), expanded).await, ["1|7", "2|8"]);
    let vector = "SELECT unnest(proargtypes), generate_subscripts(proargtypes, 1) FROM pg_proc \
                  WHERE proname = 'format_type'";
    assert_eq!(rows(&catalog(), vector).await, ["26|0", "23|1"]);
    let words = "SELECT count(*) > 400 FROM pg_get_keywords() WHERE word <> ALL('{a,b}'::text[])";
    assert_eq!(value(words).await, "t");
}

#[tokio::test]
async fn spellings_of_postgres_are_understood() {
    for (text, expected) in [
        ("SELECT 'pg_x' LIKE 'pg/_%' ESCAPE '/', 'pgx' LIKE 'pg/_%' ESCAPE '/'", "t|f"),
        ("SELECT 'b' = ANY('{a,b}'), 'c' <> ALL('{a,b}'), 3 = ANY(ARRAY[1, 3])", "t|t|t"),
        ("SELECT 'abc' OPERATOR(pg_catalog.~) '^a' COLLATE pg_catalog.default", "t"),
        ("SELECT 'x'::name, 'y'::\"char\", '7'::oid, '{1,2}'::int[]", "x|y|7|{1,2}"),
        ("SELECT true::text, 3::pg_catalog.text, current_schemas(false)::text", "true|3|{public}"),
        ("SELECT tableoid, tableoid::regclass FROM pg_namespace WHERE nspname = 'public'", "2615|pg_namespace"),
        ("SELECT format('%I.%s %L %%', 'A', 'b', 'c''d')", "\"A\".b 'c''d' %"),
        ("SELECT json_build_object('a', 1, 'b', NULL, 'c', 'x')", "{\"a\" : 1, \"b\" : null, \"c\" : \"x\"}"),
        ("SELECT pg_size_pretty(pg_total_relation_size('bids')), pg_relation_size(0)", "8789 kB|∅"),
        (
            "SELECT pg_typeof(1::int8), pg_typeof('a'::text), pg_typeof(relname) FROM pg_class LIMIT 1",
            "bigint|text|name",
        ),
        ("SELECT array_upper(ARRAY[5, 6], 1), array_lower(ARRAY[5, 6], 1), array_upper(ARRAY[5], 2)", "2|1|∅"),
        ("SELECT parse_ident('\"A\".b'), quote_ident('order')", "{A,b}|\"order\""),
        ("SELECT relname FROM tidemark.pg_catalog.pg_class WHERE oid = 1259", "pg_class"),
        ("SELECT count(*) FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'public'", "4"),
        ("WITH pg_class AS (SELECT 1 AS one) SELECT * FROM pg_class", "1"),
    ] {
        assert_eq!(value(text).await, expected, "{text}");
    }
}

#[tokio::test]
async fn tables_are_built_once_a_snapshot() {
    let snapshot = Arc::new(CatalogSnapshot::new(super::sample::contents()));
    let facts = Arc::new(catalog().facts().clone());
    let [one, two] = [0, 1].map(|_| PgCatalog::new(Arc::clone(&snapshot), Arc::clone(&facts)));
    let table = |catalog: &PgCatalog, name| catalog.relation(None, name).expect("builds").expect("listed");
    assert!(Arc::ptr_eq(&table(&one, "pg_class"), &table(&two, "pg_class")));
    assert!(!Arc::ptr_eq(&table(&one, "pg_settings"), &table(&two, "pg_settings")));
    assert!(one.relation(Some("public"), "bids").expect("no error").is_none());
    assert!(one.relation(None, "tables").expect("no error").is_none());
    assert!(one.relation(Some("information_schema"), "tables").expect("builds").is_some());
}
