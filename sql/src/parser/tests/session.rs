//! The session's own statements, and what is refused.

use super::*;

#[test]
fn the_session_s_own_statements() {
    for text in [
        "SET x = 1",
        "SET x TO 'a', 'b'",
        "SET SESSION x TO DEFAULT",
        "SET LOCAL statement_timeout = '5s'",
        "SET extra_float_digits = -3",
        "SET a.b = 'c'",
        "SET TIME ZONE 'UTC'",
        "SET TIME ZONE LOCAL",
        "SET NAMES 'utf8'",
        "SET client_encoding TO 'UTF8'",
        "SET search_path = public, pg_catalog",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ UNCOMMITTED",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
        "SET ROLE NONE",
        "SET DateStyle = ISO, MDY",
        "RESET ALL",
        "RESET x",
        "RESET TIME ZONE",
        "SHOW x",
        "SHOW ALL",
        "SHOW TIME ZONE",
        "SHOW TRANSACTION ISOLATION LEVEL",
        "show standard_conforming_strings",
        "BEGIN",
        "BEGIN WORK",
        "BEGIN READ ONLY",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
        "START TRANSACTION READ ONLY",
        "COMMIT",
        "COMMIT WORK",
        "COMMIT AND CHAIN",
        "END",
        "END TRANSACTION",
        "ROLLBACK",
        "ROLLBACK TO SAVEPOINT a",
        "ROLLBACK TO a",
        "ABORT",
        "ABORT TRANSACTION",
        "SAVEPOINT a",
        "RELEASE SAVEPOINT a",
        "RELEASE a",
        "DECLARE c CURSOR FOR SELECT 1",
        "DECLARE \"C\" NO SCROLL CURSOR WITH HOLD FOR SELECT * FROM t",
        "DECLARE c CURSOR WITHOUT HOLD FOR TABLE t",
        "DECLARE c BINARY INSENSITIVE SCROLL CURSOR FOR VALUES (1)",
        "FETCH c",
        "FETCH FROM c",
        "FETCH NEXT FROM c",
        "FETCH ALL c",
        "FETCH ALL IN c",
        "FETCH 10 c",
        "FETCH -10 FROM c",
        "FETCH FORWARD c",
        "FETCH FORWARD 5 FROM \"C\"",
        "FETCH FORWARD ALL IN c",
        "FETCH BACKWARD 2 c",
        "FETCH ABSOLUTE -1 c",
        "FETCH all",
        "CLOSE c",
        "CLOSE ALL",
        "PREPARE p AS SELECT 1",
        "PREPARE p (int, text) AS SELECT $1, $2",
        "EXECUTE p",
        "EXECUTE p(1, 'a')",
        "DEALLOCATE p",
        "DEALLOCATE PREPARE p",
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "DISCARD PLANS",
        "DISCARD TEMP",
        "LISTEN a",
        "UNLISTEN *",
        "NOTIFY a, 'payload'",
        "COPY t TO STDOUT",
        "COPY t (a, b) TO STDOUT WITH (FORMAT csv, HEADER)",
        "COPY (SELECT 1 FROM t) TO STDOUT",
        "copy mv to stdout csv header",
    ] {
        assert!(matches!(one(text), Statement::Session(_)), "{text}");
    }
    assert!(matches!(one("MOVE FORWARD 10 IN c"), Statement::Move(_)));
    assert!(matches!(one("MOVE c"), Statement::Move(_)));
    let fetch = |text: &str| match one(text) {
        Statement::Session(statement) => statement.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(fetch("FETCH -10 c"), "FETCH -10 FROM \"c\"");
    assert_eq!(fetch("FETCH FORWARD ALL in c"), "FETCH FORWARD ALL IN \"c\"");
    check_refusals(&[
        ("COPY t FROM '/tmp/x'", "0A000", "COPY from a file or program is not supported", "'/tmp/x'"),
        ("COPY t FROM STDIN WHERE a > 1", "0A000", "COPY FROM with WHERE is not supported", "WHERE"),
        ("COPY (SELECT 1) FROM STDIN", "42601", "COPY FROM needs a table", "COPY"),
        ("COPY t TO '/tmp/x'", "0A000", "COPY to a file or program is not supported", "COPY"),
        ("PREPARE p AS INSERT INTO t VALUES ($1)", "0A000", "PREPARE of INSERT is not supported", "PREPARE"),
        ("FETCH 99999999999999999999 c", "42601", "syntax error at or near \"99999999999999999999\"", "9"),
        ("FETCH", "42601", "syntax error at end of input", ""),
        ("SET", "42601", "syntax error at end of input", ""),
    ]);
}

#[test]
fn statements_we_lack_are_refused_by_name() {
    for (text, message) in [
        ("ALTER TABLE t ADD COLUMN a int", "ALTER is not supported"),
        ("ALTER MATERIALIZED VIEW v RENAME COLUMN a TO b", "ALTER MATERIALIZED VIEW is not supported"),
        ("ALTER VIEW v SET (a = b)", "ALTER is not supported"),
        ("ALTER INDEX i RENAME TO j", "ALTER is not supported"),
        ("REFRESH MATERIALIZED VIEW v", "REFRESH MATERIALIZED VIEW is not supported"),
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO u", "ALTER DEFAULT PRIVILEGES is not supported"),
        ("GRANT SELECT (a) ON t TO u", "privileges on columns are not supported"),
        ("GRANT EXECUTE ON FUNCTION f TO u", "privilege type EXECUTE is not supported"),
        ("CREATE USER MAPPING FOR u SERVER s", "CREATE USER is not supported"),
        ("CREATE ROLE u CREATEROLE", "CREATEROLE is not supported"),
        ("CREATE UNIQUE INDEX i ON t (a)", "CREATE UNIQUE INDEX is not supported"),
        ("CREATE SINK s FROM v WITH (connector = 'kafka')", "CREATE SINK is not supported"),
        ("CREATE SCHEMA s", "CREATE SCHEMA is not supported"),
        ("CREATE OPERATOR CLASS c FOR TYPE t USING btree", "CREATE OPERATOR is not supported"),
        ("DO $$ BEGIN END $$", "DO is not supported"),
        ("VACUUM", "VACUUM is not supported"),
        ("WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a", "INSERT is not supported"),
        ("SELECT * INTO TEMPORARY TABLE x FROM t", "SELECT INTO is not supported"),
        ("SELECT * FROM t FOR UPDATE", "SELECT FOR UPDATE is not supported"),
    ] {
        let error = error(text);
        assert_eq!((error.state.0, error.message.as_str()), ("0A000", message), "{text}");
    }
}
