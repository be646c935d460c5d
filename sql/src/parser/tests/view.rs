//! Views, DROP, SHOW, DESCRIBE, EXPLAIN.

use super::*;
use crate::state_budget::StateBudget;

#[test]
fn materialized_views() {
    let view = view(
        "CREATE MATERIALIZED VIEW hot AS SELECT window_start, count(*) AS n FROM tumble(bids, ts, INTERVAL '1 minute') \
         GROUP BY 1  EMIT ON WINDOW CLOSE ;",
    );
    assert_eq!(view.name, "hot");
    assert_eq!(view.emit, Emit::OnWindowClose);
    assert_eq!(
        view.query_text,
        "SELECT window_start, count(*) AS n FROM tumble(bids, ts, INTERVAL '1 minute') GROUP BY 1"
    );
    for (text, emit) in [
        ("CREATE OR REPLACE MATERIALIZED VIEW public.v (a, \"B\") AS SELECT 1, 2", Emit::OnUpdate),
        ("CREATE OR REPLACE MATERIALIZED VIEW v (a, \"B\") AS SELECT 1, 2 EMIT ON UPDATE WITH DATA", Emit::OnUpdate),
        ("CREATE OR REPLACE MATERIALIZED VIEW v (a, \"B\") AS SELECT 1, 2 WITH DATA EMIT ON UPDATE", Emit::OnUpdate),
        (
            "CREATE OR REPLACE MATERIALIZED VIEW v (a, \"B\") WITH (emit = 'on_window_close') AS SELECT 1, 2",
            Emit::OnWindowClose,
        ),
        (
            "CREATE OR REPLACE MATERIALIZED VIEW v (a, \"B\") WITH (emit = on_window_close) AS SELECT 1, 2 \
             EMIT ON WINDOW CLOSE",
            Emit::OnWindowClose,
        ),
        ("CREATE OR REPLACE MATERIALIZED VIEW v (a, \"B\") AS (SELECT 1, 2)", Emit::OnUpdate),
        ("CREATE OR REPLACE MATERIALIZED VIEW v (a, \"B\") AS VALUES (1, 2)", Emit::OnUpdate),
        ("CREATE OR REPLACE MATERIALIZED VIEW v (a, \"B\") AS TABLE t", Emit::OnUpdate),
        ("CREATE OR REPLACE MATERIALIZED VIEW v (a, \"B\") AS WITH x AS (SELECT 1, 2) SELECT * FROM x", Emit::OnUpdate),
    ] {
        let view = self::view(text);
        assert_eq!((view.name.as_str(), view.emit, view.or_replace), ("v", emit, true), "{text}");
        assert_eq!(view.columns, ["a", "B"], "{text}");
    }
    assert!(self::view("CREATE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT 1").if_not_exists);
    match one("create or replace view v as select 1 as x -- done") {
        Statement::CreateView(view) => assert_eq!((view.query_text.as_str(), view.or_replace), ("select 1 as x", true)),
        other => panic!("{other:?}"),
    }
    check_refusals(&[
        ("CREATE MATERIALIZED VIEW v AS SELECT 1 WITH NO DATA", "0A000", "WITH NO DATA is not supported", "WITH NO"),
        (
            "CREATE MATERIALIZED VIEW v WITH (emit = on_update) AS SELECT 1 EMIT ON WINDOW CLOSE",
            "42601",
            "conflicting EMIT clause and emit option",
            "emit",
        ),
        (
            "CREATE MATERIALIZED VIEW v WITH (fillfactor = 70) AS SELECT 1",
            "22023",
            "unrecognized parameter \"fillfactor\"",
            "fillfactor",
        ),
        (
            "CREATE MATERIALIZED VIEW v WITH (emit = never) AS SELECT 1",
            "22023",
            "invalid value for parameter \"emit\": \"never\"",
            "emit",
        ),
        ("CREATE MATERIALIZED VIEW v (a, a) AS SELECT 1, 2", "42701", "column \"a\" specified more than once", "a) AS"),
        ("CREATE MATERIALIZED VIEW v AS", "42601", "syntax error at end of input", ""),
        ("CREATE MATERIALIZED VIEW v SELECT 1", "42601", "syntax error at or near \"SELECT\"", "SELECT"),
        ("CREATE MATERIALIZED VIEW s.v AS SELECT 1", "3F000", "schema \"s\" does not exist", "s.v"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1 EMIT ON CLOSE", "42601", "syntax error at or near \"ON\"", "ON CLOSE"),
        ("CREATE MATERIALIZED VIEW v AS INSERT INTO t VALUES (1)", "0A000", "INSERT is not supported", "-"),
        ("CREATE TEMP VIEW v AS SELECT 1", "0A000", "CREATE TEMP VIEW is not supported", "TEMP"),
        ("CREATE VIEW v WITH (security_barrier) AS SELECT 1", "0A000", "options of a view are not supported", "WITH"),
        ("CREATE MATERIALIZED VIEW v AS SELECT 1 FROM t WHERE", "42601", "syntax error at end of input", ""),
    ]);
}

#[test]
fn objects_are_dropped_shown_and_described() {
    match one("DROP MATERIALIZED VIEW IF EXISTS a, public.\"B\", a CASCADE") {
        Statement::Drop(drop) => {
            assert_eq!(drop.kind, ObjectKind::MaterializedView);
            assert_eq!(drop.names, ["a", "B"]);
            assert!(drop.if_exists && drop.cascade);
        }
        other => panic!("{other:?}"),
    }
    match one("DROP VIEW IF EXISTS db.dbt.v, public.w") {
        Statement::Drop(drop) => assert_eq!(drop.names, ["dbt.v", "w"]),
        other => panic!("{other:?}"),
    }
    for (text, kind) in [
        ("drop source s", ObjectKind::Source),
        ("DROP TABLE s RESTRICT", ObjectKind::Table),
        ("DROP VIEW s", ObjectKind::View),
    ] {
        match one(text) {
            Statement::Drop(drop) => assert_eq!((drop.kind, drop.cascade, drop.if_exists), (kind, false, false)),
            other => panic!("{other:?}"),
        }
    }
    for (text, shown) in [
        ("SHOW SOURCES", ShowObjects::Sources),
        ("show tables;", ShowObjects::Tables),
        ("SHOW VIEWS", ShowObjects::Views),
        ("SHOW MATERIALIZED VIEWS", ShowObjects::MaterializedViews),
        ("SHOW TICKS", ShowObjects::Ticks),
        ("SHOW BACKFILLS", ShowObjects::Backfills),
        ("SHOW CHECKPOINTS", ShowObjects::Checkpoints),
    ] {
        assert!(matches!(one(text), Statement::ShowObjects(objects) if objects == shown), "{text}");
    }
    for text in ["DESCRIBE x", "DESC x", "SHOW COLUMNS FROM x", "SHOW COLUMNS IN public.x", "DESCRIBE TABLE x"] {
        assert!(matches!(one(text), Statement::Describe { schema: None, name } if name == "x"), "{text}");
    }
    assert!(matches!(one("DESCRIBE \"view\""), Statement::Describe { schema: None, name } if name == "view"));
    assert!(matches!(one("DESCRIBE view"), Statement::Describe { schema: None, name } if name == "view"));
    let system = one("DESCRIBE tidemark.ticks");
    assert!(
        matches!(system, Statement::Describe { schema: Some(schema), name } if schema == "tidemark" && name == "ticks")
    );
    for text in ["SHOW CREATE x", "SHOW CREATE MATERIALIZED VIEW x", "SHOW CREATE SOURCE x", "SHOW CREATE TABLE x"] {
        assert!(matches!(one(text), Statement::ShowCreate { name, .. } if name == "x"), "{text}");
    }
    assert!(matches!(one("FLUSH"), Statement::Flush));
    assert!(matches!(one("CHECKPOINT"), Statement::Checkpoint));
    check_refusals(&[
        ("DROP SOURCE", "42601", "syntax error at end of input", ""),
        ("DROP SOURCE a,", "42601", "syntax error at end of input", ""),
        ("DROP SOURCE a b", "42601", "syntax error at or near \"b\"", "b"),
        ("DROP SOURCE x.a", "3F000", "schema \"x\" does not exist", "x.a"),
        ("DROP SEQUENCE a", "0A000", "DROP SEQUENCE is not supported", "SEQUENCE"),
        ("DROP SCHEMA a", "0A000", "DROP SCHEMA is not supported", "SCHEMA"),
        ("SHOW COLUMNS x", "42601", "syntax error at or near \"x\"", "x"),
        ("FLUSH TABLES", "42601", "syntax error at or near \"TABLES\"", "TABLES"),
    ]);
}

#[test]
fn a_view_s_budget() {
    let budget = |text: &str| view(text).max_state;
    assert_eq!(budget("CREATE MATERIALIZED VIEW v AS SELECT 1"), None);
    assert_eq!(
        budget("CREATE MATERIALIZED VIEW v WITH (max_state = '512MB', on_error = fail) AS SELECT 1"),
        Some(StateBudget::Bytes(512 << 20))
    );
    assert_eq!(budget("CREATE MATERIALIZED VIEW v WITH (max_state = bounded) AS SELECT 1"), Some(StateBudget::Bounded));
    assert_eq!(budget("CREATE MATERIALIZED VIEW v WITH (max_state = 0) AS SELECT 1"), Some(StateBudget::Unlimited));
    check_refusals(&[(
        "CREATE MATERIALIZED VIEW v WITH (max_state = 'much') AS SELECT 1",
        "22023",
        "invalid amount of memory: \"much\"",
        "max_state",
    )]);
    for (text, written) in [
        (
            "CREATE OR REPLACE MATERIALIZED VIEW v (a) AS SELECT 1",
            "CREATE OR REPLACE MATERIALIZED VIEW v (a) WITH (max_state = '1MB') AS SELECT 1",
        ),
        (
            "create materialized view if not exists \"V\" with(on_error = fail) /* é */ as select 'with (' emit on update",
            "create materialized view if not exists \"V\" with(max_state = '1MB', on_error = fail) /* é */ as select 'with (' \
             emit on update",
        ),
    ] {
        let found = with_option(text, "max_state", "1MB").expect(text);
        assert_eq!(found, written);
        assert_eq!(budget(&found), Some(StateBudget::Bytes(1 << 20)));
    }
}

#[test]
fn explain_in_all_spellings() {
    let explain = |text: &str| match one(text) {
        Statement::Explain(explain) => *explain,
        other => panic!("{text}\n{other:?}"),
    };
    for (text, analyze, verbose, json) in [
        ("EXPLAIN SELECT 1", false, false, false),
        ("EXPLAIN (SELECT 1)", false, false, false),
        ("EXPLAIN ANALYZE SELECT 1", true, false, false),
        ("EXPLAIN ANALYZE VERBOSE SELECT 1", true, true, false),
        ("EXPLAIN VERBOSE WITH a AS (SELECT 1) TABLE a", false, true, false),
        ("EXPLAIN (ANALYZE, VERBOSE on, FORMAT JSON) SELECT 1", true, true, true),
        ("EXPLAIN (ANALYZE false, COSTS off, BUFFERS, format 'text') VALUES (1)", false, false, false),
    ] {
        let explain = explain(text);
        assert_eq!((explain.analyze, explain.verbose, explain.json), (analyze, verbose, json), "{text}");
        assert!(matches!(explain.target, ExplainTarget::Query(_)), "{text}");
    }
    for (text, state) in [("EXPLAIN (STATE) SELECT 1", true), ("EXPLAIN (STATE off, VERBOSE) SELECT 1", false)] {
        assert_eq!(explain(text).state, state, "{text}");
    }
    assert!(
        matches!(explain("EXPLAIN MATERIALIZED VIEW v").target, ExplainTarget::MaterializedView(name) if name == "v")
    );
    match explain("EXPLAIN (VERBOSE) CREATE OR REPLACE MATERIALIZED VIEW v AS SELECT 1 EMIT ON WINDOW CLOSE").target {
        ExplainTarget::CreateMaterializedView(view) => {
            assert_eq!((view.emit, view.query_text.as_str()), (Emit::OnWindowClose, "SELECT 1"));
        }
        other => panic!("{other:?}"),
    }
    check_refusals(&[
        ("EXPLAIN", "42601", "syntax error at end of input", ""),
        ("EXPLAIN (WIBBLE) SELECT 1", "42601", "unrecognized EXPLAIN option \"wibble\"", "WIBBLE"),
        ("EXPLAIN (FORMAT YAML) SELECT 1", "0A000", "EXPLAIN format yaml is not supported", "YAML"),
        ("EXPLAIN (FORMAT x) SELECT 1", "22023", "unrecognized value for EXPLAIN option \"format\": \"x\"", "x)"),
        ("EXPLAIN (ANALYZE maybe) SELECT 1", "42601", "analyze requires a Boolean value", "maybe"),
        ("EXPLAIN foo", "42601", "syntax error at or near \"foo\"", "foo"),
        ("EXPLAIN EXECUTE p", "0A000", "EXPLAIN EXECUTE is not supported", "EXECUTE"),
        ("EXPLAIN INSERT INTO t VALUES (1)", "0A000", "EXPLAIN INSERT is not supported", "INSERT"),
        ("EXPLAIN SELECT FROM WHERE", "42601", "syntax error at or near \"WHERE\"", "WHERE"),
    ]);
}

#[test]
fn names_can_be_changed() {
    for (text, kind) in [
        ("ALTER MATERIALIZED VIEW a RENAME TO b", ObjectKind::MaterializedView),
        ("ALTER VIEW public.a RENAME TO b", ObjectKind::View),
        ("alter source a rename to b", ObjectKind::Source),
        ("ALTER TABLE \"a\" RENAME TO b", ObjectKind::Table),
    ] {
        let Statement::Rename(rename) = one(text) else { panic!("{text}") };
        assert_eq!((rename.kind, rename.if_exists), (kind, false), "{text}");
        assert_eq!((rename.name.as_str(), rename.new_name.as_str()), ("a", "b"), "{text}");
    }
    assert!(matches!(one("ALTER VIEW IF EXISTS a RENAME TO b"), Statement::Rename(rename) if rename.if_exists));
}
