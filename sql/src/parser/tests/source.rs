//! `CREATE SOURCE`.

use std::time::Duration;

use engine::source::{Offsets, StartPosition};

use super::*;
use crate::types;

#[test]
fn a_primary_key_is_of_a_column_or_of_several() {
    let with = "WITH (connector = 'kafka', bootstrap = 'b', topic = 't')";
    for (columns, rest, envelope, key) in [
        ("a int PRIMARY KEY, b text", "FORMAT JSON ENVELOPE UPSERT", Envelope::Upsert, vec![0]),
        ("a int, b text, PRIMARY KEY (b, a)", "ENVELOPE DEBEZIUM FORMAT JSON", Envelope::Debezium, vec![1, 0]),
        ("a int, PRIMARY KEY (b) NOT ENFORCED, b text", "FORMAT UPSERT ENCODE JSON", Envelope::Upsert, vec![1]),
        ("a int NOT NULL PRIMARY KEY", "FORMAT DEBEZIUM ENCODE JSON ENVELOPE DEBEZIUM", Envelope::Debezium, vec![0]),
        ("a int, b text", "FORMAT PLAIN ENCODE JSON ENVELOPE NONE", Envelope::None, vec![]),
    ] {
        let source = source(&format!("CREATE SOURCE s ({columns}) {with} {rest}"));
        assert_eq!((source.envelope, &source.primary_key), (envelope, &key), "{columns} {rest}");
        let not_null = (0..source.columns.len()).filter(|index| !source.columns[*index].is_nullable());
        let mut key = key;
        key.sort_unstable();
        assert_eq!(not_null.collect::<Vec<_>>(), key, "{columns} {rest}");
    }
}

#[test]
fn a_source_keeps_all_that_was_said() {
    let source = source(
        "CREATE SOURCE bids (auction bigint NOT NULL, \"Price\" numeric(12,2) NULL, tags text[], \
         who STRUCT<id int, names ARRAY<STRUCT<n text>>>, at ROW(x int, y int)[], ts timestamp, \
         WATERMARK FOR ts AS ts - INTERVAL '5 seconds' IDLE TIMEOUT INTERVAL '1 minute') \
         INCLUDE PARTITION AS part, OFFSET, TIMESTAMP, KEY, HEADERS, TOPIC \
         WITH (connector = 'kafka', bootstrap = 'localhost:9092', topic = 'bids', start = 'latest', \
               'client.id' = 'me', fetch.min.bytes = 5, check = true, mode = fast, n = -3) FORMAT JSON ENVELOPE NONE",
    );
    assert_eq!(source.name, "bids");
    let columns: Vec<String> =
        source.columns.iter().map(|f| format!("{} {} {}", f.name(), types::display(f), f.is_nullable())).collect();
    assert_eq!(
        columns,
        [
            "auction bigint false",
            "Price numeric(12,2) true",
            "tags text[] true",
            "who record true",
            "at record[] true",
            "ts timestamp without time zone true"
        ]
    );
    assert_eq!(
        source.watermark,
        Some(WatermarkDefinition {
            column: "ts".into(),
            delay: Duration::from_secs(5),
            accept_late: None,
            idle_timeout: Some(Duration::from_secs(60))
        })
    );
    let include: Vec<_> = source.include.iter().map(|(column, name)| (*column, name.as_str())).collect();
    assert_eq!(
        include,
        [
            (MetadataColumn::Partition, "part"),
            (MetadataColumn::Offset, "_offset"),
            (MetadataColumn::Timestamp, "_timestamp"),
            (MetadataColumn::Key, "_key"),
            (MetadataColumn::Headers, "_headers"),
            (MetadataColumn::Topic, "_topic"),
        ]
    );
    let options: Vec<_> = source.options.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(
        options,
        [
            ("connector", "kafka"),
            ("bootstrap", "localhost:9092"),
            ("topic", "bids"),
            ("client.id", "me"),
            ("fetch.min.bytes", "5"),
            ("check", "true"),
            ("mode", "fast"),
            ("n", "-3")
        ]
    );
    assert_eq!(source.start, StartPosition::Latest);
    assert!(!source.if_not_exists && !source.or_replace);
}

#[test]
fn the_same_source_in_other_dialects() {
    // RisingWave, Flink and Arroyo.
    for text in [
        "CREATE SOURCE IF NOT EXISTS o (id INT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) \
         INCLUDE offset AS off WITH (connector='kafka', topic='o', properties.bootstrap.server='b:9092', \
         scan.startup.mode='earliest') FORMAT PLAIN ENCODE JSON",
        "CREATE TABLE IF NOT EXISTS o (id INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) \
         INCLUDE offset AS off WITH ('connector'='kafka','topic'='o','properties.bootstrap.servers'='b:9092',\
         'scan.startup.mode'='earliest-offset','format'='json')",
        "create table if not exists public.o (id int, ts timestamp null, watermark for ts as (ts - interval '5 seconds')) \
         with (connector='kafka', type='source', format='json', bootstrap_servers='b:9092', topic='o', \
         'source.offset'='earliest') include offset as off",
    ] {
        let source = source(text);
        assert_eq!(source.name, "o");
        assert!(source.if_not_exists);
        assert_eq!(source.columns.len(), 2);
        assert_eq!(source.include, [(MetadataColumn::Offset, "off".to_string())]);
        assert_eq!(source.start, StartPosition::Earliest);
        let watermark = source.watermark.expect("declared");
        assert_eq!((watermark.delay, watermark.idle_timeout), (Duration::from_secs(5), Some(Duration::from_secs(30))));
        let mut options = source.options;
        options.sort();
        let expected = [("bootstrap", "b:9092"), ("connector", "kafka"), ("topic", "o")];
        assert_eq!(options, expected.map(|(n, v)| (n.to_string(), v.to_string())), "{text}");
    }
}

#[test]
fn watermarks_without_delay_and_without_timeout() {
    let zero = source(&format!("CREATE SOURCE s (ts timestamptz, WATERMARK FOR ts AS ts IDLE TIMEOUT NEVER) {WITH}"));
    let watermark = zero.watermark.expect("declared");
    assert_eq!((watermark.delay, watermark.idle_timeout), (Duration::ZERO, None));
    assert_eq!((watermark.accept_late, watermark.accepts_late()), (None, false));
    for (clauses, accepted) in [
        ("ts - INTERVAL '5 s' ACCEPT LATE INTERVAL '1 hour'", Some(3600)),
        ("ts - INTERVAL '5 s' IDLE TIMEOUT INTERVAL '1 s' accept late INTERVAL '5 s'", None),
        ("ts ACCEPT LATE INTERVAL '1' MINUTE IDLE TIMEOUT NEVER", Some(60)),
    ] {
        let late = source(&format!("CREATE SOURCE s (ts timestamptz, WATERMARK FOR ts AS {clauses}) {WITH}"));
        let watermark = late.watermark.expect("declared");
        let found = watermark.accept_late.filter(|_| watermark.accepts_late()).map(|accepted| accepted.as_secs());
        assert_eq!(found, accepted, "{clauses}");
    }
    let none = source(&format!("CREATE OR REPLACE SOURCE s (ts timestamptz) {WITH}"));
    assert!(none.watermark.is_none() && none.or_replace);
}

#[test]
fn where_a_source_starts() {
    let start = |options: &str| {
        parse(&format!(
            "CREATE SOURCE s (a int) FORMAT JSON WITH (connector = kafka, bootstrap = 'b', topic = 't'{options})"
        ))
        .map(|mut parsed| match parsed.remove(0).statement {
            Statement::CreateSource(source) => source.start,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(start(""), Ok(StartPosition::Earliest));
    assert_eq!(start(", start = earliest"), Ok(StartPosition::Earliest));
    let new_year = Ok(StartPosition::Timestamp(1_767_225_600_000));
    assert_eq!(start(", start = '2026-01-01T00:00:00Z'"), new_year);
    assert_eq!(start(", start = '2026-01-01'"), new_year);
    assert_eq!(start(", start_timestamp = '2026-01-01 01:00:00+01:00'"), new_year);
    assert_eq!(start(", start_timestamp = 1767225600000"), new_year);
    assert_eq!(start(", start = timestamp, start_timestamp = 1767225600000"), new_year);
    assert_eq!(
        start(", 'scan.startup.mode' = 'timestamp', 'scan.startup.timestamp-millis' = '1767225600000'"),
        new_year
    );
    let offsets = Ok(StartPosition::Offsets(Offsets::from([(0, 12), (1, 40)])));
    assert_eq!(start(", start_offsets = '0:12, 1:40'"), offsets);
    assert_eq!(start(", scan.startup.specific-offsets = 'partition:0,offset:12;partition:1,offset:40'"), offsets);
    for (options, state, message) in [
        (", start = sometime", "22023", "invalid value for option \"start\": \"sometime\""),
        (", start = 5", "22023", "invalid value for option \"start\": \"5\""),
        (", start_offsets = '0'", "22023", "invalid value for option \"start_offsets\": \"0\""),
        (", start_offsets = '0:-1'", "22023", "invalid value for option \"start_offsets\": \"0:-1\""),
        (", start_offsets = '0:1,0:2'", "22023", "partition 0 named twice in option \"start_offsets\""),
        (
            ", start = latest, start_offsets = '0:1'",
            "22023",
            "conflicting options start, start_timestamp and start_offsets",
        ),
        (", start = timestamp", "22023", "start = 'timestamp' needs the option start_timestamp"),
        (", start = 'group-offsets'", "0A000", "starting at a consumer group's offsets is not supported"),
    ] {
        let error = start(options).expect_err(options);
        assert_eq!((error.state.0, error.message.as_str()), (state, message), "{options}");
    }
}

#[test]
fn wrong_sources_are_refused_where_they_are_wrong() {
    check_refusals(&[
        ("CREATE SOURCE s (a int, a text) $WITH", "42701", "column \"a\" specified more than once", "a text"),
        ("CREATE SOURCE s (a int, A text) $WITH", "42701", "column \"a\" specified more than once", "A text"),
        ("CREATE SOURCE s (a wibble) $WITH", "42704", "type \"wibble\" does not exist", "wibble"),
        ("CREATE SOURCE s (a money) $WITH", "0A000", "type money is not supported", "money"),
        ("CREATE SOURCE s (a int, WATERMARK FOR b AS b) $WITH", "42703", "column \"b\" does not exist", "b AS"),
        (
            "CREATE SOURCE s (a int, WATERMARK FOR a AS a) $WITH",
            "42804",
            "watermark column \"a\" must be timestamp or timestamptz, but is integer",
            "a AS",
        ),
        (
            "CREATE SOURCE s (t timestamp, WATERMARK FOR t AS t + INTERVAL '5 seconds') $WITH",
            "0A000",
            "a watermark must be its column minus a constant interval",
            "t +",
        ),
        (
            "CREATE SOURCE s (t timestamp, WATERMARK FOR t AS t - INTERVAL '1 month') $WITH",
            "22023",
            "watermark delay must have a fixed length, without months or years",
            "t -",
        ),
        (
            "CREATE SOURCE s (t timestamp, WATERMARK FOR t AS t - INTERVAL '-1 second') $WITH",
            "22023",
            "watermark delay must not be negative",
            "t -",
        ),
        (
            "CREATE SOURCE s (t timestamp, WATERMARK FOR t AS t - INTERVAL '1000 days') $WITH",
            "22023",
            "watermark delay must not exceed 366 days",
            "t -",
        ),
        (
            "CREATE SOURCE s (t timestamp, WATERMARK FOR t AS t - INTERVAL 'soon') $WITH",
            "22007",
            "invalid input syntax for type interval: \"soon\"",
            "t -",
        ),
        (
            "CREATE SOURCE s (t timestamp, WATERMARK FOR t AS t - INTERVAL '5 s' ACCEPT LATE INTERVAL '4 s') $WITH",
            "22023",
            "accepted lateness must not be less than the watermark delay",
            "INTERVAL '4",
        ),
        (
            "CREATE SOURCE s (t timestamp, WATERMARK FOR t AS t ACCEPT LATE INTERVAL '1000 days') $WITH",
            "22023",
            "accepted lateness must not exceed 366 days",
            "INTERVAL '1000",
        ),
        (
            "CREATE SOURCE s (t timestamp, WATERMARK FOR t AS t ACCEPT LATE NEVER) $WITH",
            "42601",
            "ACCEPT LATE must be a constant interval",
            "NEVER",
        ),
        (
            "CREATE SOURCE s (t timestamp, WATERMARK FOR t AS t IDLE TIMEOUT INTERVAL '0 s') $WITH",
            "22023",
            "idle timeout must be positive",
            "INTERVAL '0",
        ),
        (
            "CREATE SOURCE s (t timestamp, WATERMARK FOR t AS t, WATERMARK FOR t AS t) $WITH",
            "42601",
            "more than one WATERMARK",
            "WATERMARK FOR t AS t) ",
        ),
        ("CREATE SOURCE s (WATERMARK FOR t AS t) $WITH", "42P17", "source \"s\" has no columns", "-"),
        (
            "CREATE SOURCE s (_offset int) INCLUDE OFFSET $WITH",
            "42701",
            "column \"_offset\" specified more than once",
            "OFFSET WITH",
        ),
        (
            "CREATE SOURCE s (a int) INCLUDE OFFSET, KEY AS _offset $WITH",
            "42701",
            "column \"_offset\" specified more than once",
            "_offset WITH",
        ),
        ("CREATE SOURCE s (a int) INCLUDE PAYLOAD $WITH", "42601", "syntax error at or near \"PAYLOAD\"", "PAYLOAD"),
        ("CREATE SOURCE s (a int) FORMAT JSON", "22023", "source \"s\" lacks the option \"connector\"", "-"),
        (
            "CREATE SOURCE s (a int) FORMAT JSON WITH (connector = 'kafka', topic = 't')",
            "22023",
            "source \"s\" lacks the option \"bootstrap\"",
            "-",
        ),
        (
            "CREATE SOURCE s (a int) FORMAT JSON WITH (connector = 'kafka', bootstrap = 'b')",
            "22023",
            "source \"s\" lacks the option \"topic\"",
            "-",
        ),
        (
            "CREATE SOURCE s (a int) FORMAT JSON WITH (connector = 'kafka', bootstrap = '', topic = 't')",
            "22023",
            "option \"bootstrap\" must not be empty",
            "bootstrap",
        ),
        (
            "CREATE SOURCE s (a int) FORMAT JSON WITH (connector = 'pulsar')",
            "0A000",
            "connector \"pulsar\" is not supported",
            "connector",
        ),
        (
            "CREATE SOURCE s (a int) WITH (connector = 'kafka', bootstrap = 'b', topic = 't')",
            "22023",
            "the source's format is missing",
            "-",
        ),
        (
            "CREATE SOURCE s (a int) WITH (topic = 't', TOPIC = 'u') FORMAT JSON",
            "42601",
            "option \"topic\" specified more than once",
            "TOPIC",
        ),
        (
            "CREATE SOURCE s (a int) WITH (bootstrap = 't', bootstrap.servers = 'u') FORMAT JSON",
            "42601",
            "option \"bootstrap\" specified more than once, here as \"bootstrap.servers\"",
            "bootstrap.servers",
        ),
        ("CREATE SOURCE s (a int) $WITH FORMAT JSON", "42601", "FORMAT given twice", "FORMAT JSON"),
        (
            "CREATE SOURCE s (a int) WITH (a = SECRET b) FORMAT JSON",
            "0A000",
            "option \"a\" cannot be a SECRET",
            "a = SECRET",
        ),
        ("CREATE SOURCE s (a int) $WITH ENVELOPE UPSERT", "42P17", "ENVELOPE UPSERT needs a primary key", "UPSERT"),
        (
            "CREATE SOURCE s (a int) $WITH ENVELOPE DEBEZIUM",
            "42P17",
            "ENVELOPE DEBEZIUM needs a primary key",
            "DEBEZIUM",
        ),
        ("CREATE SOURCE s (a int) $WITH ENVELOPE MAXWELL", "0A000", "ENVELOPE MAXWELL is not supported", "MAXWELL"),
        ("CREATE SOURCE s (a int) $WITH ENVELOPE NONE ENVELOPE NONE", "42601", "ENVELOPE given twice", "ENVELOPE NONE"),
        (
            "CREATE SOURCE s (a int, PRIMARY KEY (a)) FORMAT DEBEZIUM ENCODE JSON ENVELOPE UPSERT",
            "42601",
            "ENVELOPE UPSERT contradicts FORMAT DEBEZIUM",
            "UPSERT",
        ),
        (
            "CREATE SOURCE s (a int, PRIMARY KEY (b)) $WITH ENVELOPE UPSERT",
            "42703",
            "column \"b\" named in key does not exist",
            "b)",
        ),
        (
            "CREATE SOURCE s (a int, PRIMARY KEY (a, a)) $WITH ENVELOPE UPSERT",
            "42701",
            "column \"a\" appears twice in primary key constraint",
            "a))",
        ),
        (
            "CREATE SOURCE s (a int PRIMARY KEY, b int PRIMARY KEY) $WITH ENVELOPE UPSERT",
            "42P16",
            "multiple primary keys are not allowed",
            "PRIMARY KEY) ",
        ),
        (
            "CREATE SOURCE s (a int NULL PRIMARY KEY) $WITH ENVELOPE UPSERT",
            "42601",
            "conflicting NULL/NOT NULL declarations",
            "PRIMARY",
        ),
        (
            "CREATE SOURCE s (a jsonb, PRIMARY KEY (a)) $WITH ENVELOPE UPSERT",
            "0A000",
            "column \"a\" is of a type that cannot be in a primary key",
            "a))",
        ),
        (
            "CREATE SOURCE s (a int, t timestamp, PRIMARY KEY (a), WATERMARK FOR t AS t) $WITH ENVELOPE UPSERT",
            "0A000",
            "WATERMARK in a source with ENVELOPE UPSERT is not supported",
            "WATERMARK",
        ),
        (
            "CREATE SOURCE s (a int PRIMARY KEY) INCLUDE OFFSET AS __offset $WITH ENVELOPE UPSERT",
            "42602",
            "column name \"__offset\" is reserved",
            "__offset",
        ),
        ("CREATE SOURCE s (a int) FORMAT AVRO", "0A000", "FORMAT AVRO is not supported", "AVRO"),
        ("CREATE SOURCE s (a int) FORMAT UPSERT ENCODE JSON", "42P17", "ENVELOPE UPSERT needs a primary key", "UPSERT"),
        (
            "CREATE SOURCE s (a int) FORMAT UPSERT ENCODE AVRO",
            "0A000",
            "FORMAT UPSERT ENCODE AVRO is not supported",
            "UPSERT",
        ),
        ("CREATE SOURCE s (a int) FORMAT DEBEZIUM", "42601", "syntax error at end of input", ""),
        ("CREATE SOURCE s (a int) FORMAT PLAIN", "42601", "syntax error at end of input", ""),
        (
            "CREATE SOURCE s (a int PRIMARY KEY) $WITH",
            "0A000",
            "PRIMARY KEY in a source with ENVELOPE NONE is not supported",
            "PRIMARY",
        ),
        (
            "CREATE SOURCE s (a int, PRIMARY KEY (a)) $WITH",
            "0A000",
            "PRIMARY KEY in a source with ENVELOPE NONE is not supported",
            "PRIMARY",
        ),
        ("CREATE SOURCE s (a int DEFAULT 1) $WITH", "0A000", "DEFAULT in a source is not supported", "DEFAULT"),
        (
            "CREATE SOURCE s (a bigint METADATA FROM 'offset' VIRTUAL) $WITH",
            "0A000",
            "METADATA in a source is not supported",
            "METADATA",
        ),
        ("CREATE SOURCE s (a int NOT NULL NULL) $WITH", "42601", "conflicting NULL/NOT NULL declarations", "NULL) "),
        ("CREATE SOURCE s (a int,) $WITH", "42601", "syntax error at or near \")\"", ") "),
        ("CREATE SOURCE s () $WITH", "42601", "syntax error at or near \")\"", ") "),
        ("CREATE SOURCE s (a) $WITH", "42601", "syntax error at or near \")\"", ") "),
        ("CREATE SOURCE s $WITH", "42601", "syntax error at or near \"WITH\"", "WITH"),
        ("CREATE SOURCE", "42601", "syntax error at end of input", ""),
        ("CREATE SOURCE 5 (a int)", "42601", "syntax error at or near \"5\"", "5"),
        ("CREATE SOURCE s.t (a int) $WITH", "3F000", "schema \"s\" does not exist", "s.t"),
        (
            "CREATE SOURCE a.b.c.d (a int) $WITH",
            "42601",
            "improper qualified name (too many dotted names): a.b.c.d",
            "a.b",
        ),
        ("CREATE SOURCE s (a int) wibble", "42601", "syntax error at or near \"wibble\"", "wibble"),
        ("CREATE SOURCE s (a STRUCT<b int>>) $WITH", "42601", "syntax error at or near \")\"", ")"),
        ("CREATE SOURCE s (a STRUCT<b int) $WITH", "42601", "syntax error at or near \")\"", ") "),
        (
            "CREATE SOURCE s (a STRUCT<b int, b text>) $WITH",
            "42701",
            "attribute \"b\" specified more than once",
            "STRUCT",
        ),
        ("CREATE OR REPLACE SOURCE IF NOT EXISTS s (a int) $WITH", "42601", "syntax error at or near \"IF\"", "IF"),
        (
            "CREATE SOURCE s FROM KAFKA CONNECTION k (TOPIC 'o')",
            "0A000",
            "CREATE SOURCE … FROM is not supported",
            "FROM",
        ),
        ("CREATE OR REPLACE TABLE t (a int)", "0A000", "CREATE TABLE is not supported", "TABLE"),
        (
            "CREATE LOCAL TEMPORARY TABLE \"#x\" (a int) ON COMMIT PRESERVE ROWS",
            "0A000",
            "CREATE LOCAL TEMPORARY TABLE is not supported",
            "LOCAL",
        ),
    ]);
    let long = "x".repeat(64);
    assert_eq!(error(&format!("CREATE SOURCE {long} (a int) {WITH}")).state.0, "42622");
}

#[test]
fn a_hint_says_what_to_do_instead() {
    assert_eq!(
        error("CREATE OR REPLACE TABLE t (a int)").hint.as_deref(),
        Some("Use CREATE TABLE, and CREATE SOURCE to read a topic.")
    );
    assert_eq!(
        error("CREATE SOURCE s (a int) FORMAT JSON WITH (connector = 'kafka', topic = 't')").hint.as_deref(),
        Some("Add WITH (bootstrap = 'localhost:9092', …).")
    );
}

#[test]
fn an_option_s_value_has_a_place() {
    let text = "CREATE SOURCE s (a int, with_x text) INCLUDE KEY\nWITH (connector = 'kafka', bootstrap = 'h:1', topic = 'é', \
                sasl.password = E'a\\'b', 'ssl.key.pem' = $$x'y$$, secret_of = $q$$$z$q$, n = -3, password = 'it''s') FORMAT JSON";
    let places = option_places(text);
    let shown: Vec<(&str, &str)> = places.iter().map(|(name, place)| (name.as_str(), &text[place.clone()])).collect();
    assert_eq!(
        shown,
        [
            ("connector", "'kafka'"),
            ("bootstrap", "'h:1'"),
            ("topic", "'é'"),
            ("sasl.password", "E'a\\'b'"),
            ("ssl.key.pem", "$$x'y$$"),
            ("secret_of", "$q$$$z$q$"),
            ("n", "-3"),
            ("password", "'it''s'"),
        ]
    );
    assert!(option_places("CREATE SOURCE s (a int)").is_empty());
}
