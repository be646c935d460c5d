//! Errors and their places, statements cut from a string, words that stay free, garbage.

use super::*;

#[test]
fn syntax_errors_are_worded_and_placed_as_postgres_does() {
    check_refusals(&[
        ("SELEC 1", "42601", "syntax error at or near \"SELEC\"", "SELEC"),
        ("SELECT * FORM t", "42601", "syntax error at or near \"FORM\"", "FORM"),
        ("SELECT 1 FROM a JOIN b", "42601", "syntax error: JOIN without ON or USING", "-"),
        ("SELECT 1 FROM", "42601", "syntax error at end of input", ""),
        ("SELECT 1 FROM ; SELECT 1", "42601", "syntax error at or near \";\"", "; SELECT"),
        ("SELECT (1", "42601", "syntax error at end of input", ""),
        ("SELECT 1)", "42601", "syntax error at or near \")\"", ")"),
        ("SELECT 'é', 1 FROM t\nWHERE x = = 2", "42601", "syntax error at or near \"=\"", "= 2"),
        ("SELECT 1; SELEC 2", "42601", "syntax error at or near \"SELEC\"", "SELEC"),
        ("SELECT 1;\n -- c\n SELECT 2 3", "42601", "syntax error at or near \"3\"", "3"),
        ("'x'", "42601", "syntax error at or near \"'x'\"", "'x'"),
        ("SELECT 'abc", "42601", "unterminated quoted string at or near \"'abc\"", "'abc"),
        ("SELECT E'abc\\'", "42601", "unterminated quoted string at or near \"E'abc\\'\"", "E'"),
        ("SELECT \"abc", "42601", "unterminated quoted identifier at or near \"\"abc\"", "\"abc"),
        ("SELECT $$abc", "42601", "unterminated dollar-quoted string at or near \"$$abc\"", "$$abc"),
        ("SELECT $q$abc", "42601", "unterminated dollar-quoted string at or near \"$q$abc\"", "$q$abc"),
        ("SELECT 1 /* abc", "42601", "unterminated /* comment at or near \"/* abc\"", "/* abc"),
    ]);
}

#[test]
fn a_string_is_cut_at_its_semicolons_only() {
    let texts = |text: &str| -> Vec<(String, usize)> {
        let parsed = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        parsed.into_iter().map(|p| (p.text, p.offset)).collect()
    };
    assert!(texts("").is_empty());
    assert!(texts(" ; ;; -- nothing\n /* ; */ ;").is_empty());
    assert_eq!(
        texts("SELECT ';' ; é; SELECT $$;$$, $a$;$a$ /* ; /* ; */ */ ;".replace("é; ", "").as_str()),
        [("SELECT ';'".to_string(), 0), ("SELECT $$;$$, $a$;$a$".to_string(), 13)]
    );
    assert_eq!(
        texts("SELECT 'éé'; -- c;\n  SELECT \";\" FROM t"),
        [("SELECT 'éé'".to_string(), 0), ("SELECT \";\" FROM t".to_string(), 21)]
    );
}

#[test]
fn no_word_of_ours_is_reserved() {
    for word in [
        "source",
        "sources",
        "watermark",
        "emit",
        "tick",
        "ticks",
        "flush",
        "format",
        "envelope",
        "include",
        "idle",
        "timeout",
        "never",
        "partition",
        "offset_",
        "topic",
        "headers",
        "key",
        "encode",
        "json",
        "tumble",
        "hop",
        "session",
        "cumulate",
        "descriptor",
        "size",
        "slide",
        "data",
        "close",
        "materialized",
    ] {
        for text in [
            format!("SELECT {word} FROM t WHERE {word} = 1 GROUP BY {word} ORDER BY {word}"),
            format!("SELECT a AS {word} FROM t AS {word}"),
            format!("SELECT t.{word}, count({word}) FROM {word} GROUP BY t.{word}"),
            format!("CREATE SOURCE {word} ({word} int) {WITH}"),
            format!("CREATE MATERIALIZED VIEW {word} AS SELECT {word} FROM {word}"),
        ] {
            parse(&text).unwrap_or_else(|e| panic!("{text}: {e} at {:?}", e.position));
        }
    }
    // A table alias EMIT in the middle of a view's query is just an alias.
    let view = view("CREATE MATERIALIZED VIEW v AS SELECT emit.a FROM t emit WHERE emit.a > 1 EMIT ON UPDATE");
    assert_eq!(view.query_text, "SELECT emit.a FROM t emit WHERE emit.a > 1");
}

/// Random token soup and random cuts of good statements: an answer or an error, never a panic.
#[test]
fn garbage_never_panics() {
    const PIECES: [&str; 60] = [
        "SELECT",
        "FROM",
        "CREATE",
        "SOURCE",
        "MATERIALIZED",
        "VIEW",
        "TABLE",
        "(",
        ")",
        ",",
        ";",
        "AS",
        "a",
        "b",
        "\"Q\"",
        "'s'",
        "E'\\n'",
        "$$x$$",
        "1",
        "2.5",
        "-",
        "+",
        "*",
        "/",
        "=",
        "::",
        "int",
        "text[]",
        "STRUCT<a int>",
        "ROW(",
        "WITH",
        "connector",
        "WATERMARK",
        "FOR",
        "INTERVAL",
        "'5 seconds'",
        "IDLE",
        "TIMEOUT",
        "INCLUDE",
        "OFFSET",
        "FORMAT",
        "JSON",
        "EMIT",
        "ON",
        "WINDOW",
        "CLOSE",
        "DROP",
        "SHOW",
        "EXPLAIN",
        "FETCH",
        "COPY",
        "TO",
        "STDOUT",
        "DECLARE",
        "CURSOR",
        ".",
        "é",
        "/*",
        "*/",
        "[",
    ];
    for seed in 1..=3000_u64 {
        // xorshift64*, so that a seed alone repeats a failure.
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = move |bound: usize| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
        };
        let mut text = String::new();
        for _ in 0..random(24) {
            text.push_str(PIECES[random(PIECES.len())]);
            text.push_str([" ", "", "\n", "  "][random(4)]);
        }
        let outcome = std::panic::catch_unwind(|| parse(&text).map(|_| ()));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let length = text.chars().count();
                assert!(
                    error.position.is_none_or(|p| (1..=length + 1).contains(&p)),
                    "seed {seed}: {text:?} {error:?}"
                );
                assert_ne!(error.state.0, "XX000", "seed {seed}: {text:?} {error:?}");
            }
            Err(_) => panic!("seed {seed}: {text:?}"),
        }
    }
    let good = format!(
        "CREATE SOURCE s (a bigint NOT NULL, who STRUCT<id int, n ARRAY<text>>, ts timestamp, WATERMARK FOR ts AS ts - \
         INTERVAL '5 seconds' IDLE TIMEOUT NEVER) INCLUDE KEY AS k, OFFSET {WITH} ENVELOPE NONE; \
         CREATE MATERIALIZED VIEW v (x) AS SELECT count(*) FROM tumble(s, ts, '1 minute') EMIT ON WINDOW CLOSE WITH DATA"
    );
    for cut in good.char_indices().map(|(at, _)| at) {
        let _ = parse(&good[..cut]);
        let _ = parse(&good[cut..]);
    }
}
