//! CREATE TABLE without a connector, and the statements that write to tables.

use super::*;

fn table(text: &str) -> CreateTable {
    match one(text) {
        Statement::CreateTable(table) => *table,
        other => panic!("{text}\n{other:?}"),
    }
}

fn write(text: &str) -> Write {
    match one(text) {
        Statement::Write(write) => *write,
        other => panic!("{text}\n{other:?}"),
    }
}

#[test]
fn columns_have_defaults_and_a_key() {
    let created = table(
        "CREATE TABLE IF NOT EXISTS t (a int DEFAULT 1 + 2 NOT NULL, b text NULL DEFAULT 'x', c bigint, PRIMARY KEY (c, a))",
    );
    assert!(created.if_not_exists);
    let shown = |column: usize| created.defaults[column].as_ref().map(ToString::to_string);
    assert_eq!((shown(0).as_deref(), shown(1).as_deref(), shown(2)), (Some("1 + 2"), Some("'x'"), None));
    let nullable: Vec<bool> = created.columns.iter().map(|column| column.is_nullable()).collect();
    assert_eq!((nullable, created.primary_key), (vec![false, true, false], vec![2, 0]));
    assert_eq!(table("CREATE TABLE t (a int PRIMARY KEY)").primary_key, [0]);
    assert!(table("CREATE TABLE t (a int)").primary_key.is_empty());
}

#[test]
fn writes_know_their_table_and_columns() {
    let insert = write("INSERT INTO public.t AS x (a, \"B\") VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET \"B\" = 3");
    assert_eq!((insert.table.name.as_str(), insert.table.position, insert.alias.as_deref()), ("t", 13, Some("x")));
    let WriteAction::Insert { columns, source: Some(_), conflict: Some(conflict) } = insert.action else { panic!() };
    assert_eq!(columns.iter().map(|place| place.name.as_str()).collect::<Vec<_>>(), ["a", "B"]);
    assert!(matches!(conflict.target, ConflictTarget::Columns(places) if places.len() == 1));
    assert!(conflict.update.is_some_and(|(assigned, selection)| assigned.len() == 1 && selection.is_none()));
    let update = write("UPDATE t SET a = 1, b = DEFAULT WHERE c");
    assert!(matches!(update.action, WriteAction::Update { assigned, selection: Some(_) } if assigned.len() == 2));
    assert!(matches!(write("DELETE FROM t").action, WriteAction::Delete { selection: None }));
    assert!(matches!(write("TRUNCATE TABLE t CASCADE").action, WriteAction::Truncate));
    assert!(matches!(write("INSERT INTO t DEFAULT VALUES").action, WriteAction::Insert { source: None, .. }));
}

#[test]
fn writes_may_return_rows() {
    let items = |text: &str| write(text).returning.map(|items| items.len());
    assert_eq!(items("INSERT INTO t VALUES (1) RETURNING a, b + 1 AS c"), Some(2));
    assert_eq!(items("INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING RETURNING *"), Some(1));
    assert_eq!(items("UPDATE t SET a = 1 WHERE b RETURNING t.*"), Some(1));
    assert_eq!(items("DELETE FROM t RETURNING a"), Some(1));
    assert_eq!(items("DELETE FROM t"), None);
}

#[test]
fn indexes_are_over_columns() {
    let create = |text: &str| match one(text) {
        Statement::CreateIndex(create) => *create,
        other => panic!("{text}\n{other:?}"),
    };
    let index = create("CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON ONLY public.v USING btree (a ASC, \"B\")");
    assert_eq!((index.name.as_deref(), index.if_not_exists, index.relation.name.as_str()), (Some("i"), true, "v"));
    assert_eq!(index.columns.iter().map(|place| place.name.as_str()).collect::<Vec<_>>(), ["a", "B"]);
    assert_eq!(create("CREATE INDEX ON v (a)").name, None);
    match one("DROP INDEX IF EXISTS i, j CASCADE") {
        Statement::DropIndex(drop) => assert_eq!((drop.names.len(), drop.if_exists), (2, true)),
        other => panic!("{other:?}"),
    }
    for (text, state, message) in [
        ("CREATE INDEX i ON v (a DESC)", "0A000", "DESC in an index is not supported"),
        ("CREATE INDEX i ON v (a text_ops)", "0A000", "an operator class in an index is not supported"),
        ("CREATE INDEX i ON v (lower(a))", "0A000", "an index over an expression is not supported"),
        ("CREATE INDEX i ON v USING gin (a)", "0A000", "an index USING gin is not supported"),
        ("CREATE INDEX i ON v (a) WHERE a > 1", "0A000", "WHERE in an index is not supported"),
        ("CREATE INDEX i ON v ()", "42601", "syntax error at or near \")\""),
        ("CREATE OR REPLACE INDEX i ON v (a)", "42601", "syntax error at or near \"INDEX\""),
    ] {
        let error = error(text);
        assert_eq!((error.state.0, error.message.as_str()), (state, message), "{text}");
    }
}

#[test]
fn what_tables_lack_is_refused_by_name() {
    for (text, state, message) in [
        ("CREATE TABLE t AS SELECT 1", "0A000", "CREATE TABLE AS is not supported"),
        ("CREATE TABLE t (a int UNIQUE)", "0A000", "UNIQUE in a table is not supported"),
        ("CREATE TABLE t (a int, CHECK (a > 1))", "0A000", "CHECK in a table is not supported"),
        ("CREATE TABLE t (a int, a int)", "42701", "column \"a\" specified more than once"),
        ("CREATE TABLE t (__weight int)", "42602", "column name \"__weight\" is reserved"),
        ("CREATE TABLE t (a int,)", "42601", "syntax error at or near \")\""),
        ("UPDATE t SET a = 1 FROM u", "0A000", "UPDATE … FROM is not supported"),
        ("UPDATE t SET (a, b) = (1, 2)", "0A000", "SET (column, …) = … is not supported"),
        ("DELETE FROM t USING u", "0A000", "DELETE … USING is not supported"),
        ("TRUNCATE t, u", "0A000", "TRUNCATE of several tables is not supported"),
        ("UPDATE t SET", "42601", "syntax error at end of input"),
    ] {
        let error = error(text);
        assert_eq!((error.state.0, error.message.as_str()), (state, message), "{text}");
    }
}
