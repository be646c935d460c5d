//! What is too long or too deep.

use super::*;

#[test]
fn what_could_exhaust_the_stack_is_refused_before_it_does() {
    let refused = |text: &str| {
        let error = error(text);
        assert_eq!(error.state.0, "54001", "{}", error.message);
        error.message
    };
    let chain = |n: usize, op: &str| format!("SELECT 1{}", format!("{op}1").repeat(n));
    assert!(parse(&chain(CHAIN_MAX, "+")).is_ok());
    assert!(parse(&chain(CHAIN_MAX, " AND ")).is_ok());
    assert_eq!(refused(&chain(CHAIN_MAX + 1, "+")), "statement too complex: a chain of more than 2000 operators");
    refused(&chain(CHAIN_MAX + 1, " OR "));
    let chains = |n: usize| format!("SELECT 1{}", format!("{}, 1", "+1".repeat(CHAIN_MAX)).repeat(n));
    assert!(parse(&chains(2)).is_ok());
    assert_eq!(refused(&chains(3)), "statement too complex: too many long chains of operators");
    refused(&chain(20_000, " IS DISTINCT FROM "));
    refused(&format!("SELECT a{}", "::text".repeat(3_000)));
    refused(&format!("SELECT a{}", "::where".repeat(9_000)));
    refused(&format!("SELECT a{}", "[1]".repeat(3_000)));
    refused(&format!("SELECT a::int{}", "[]".repeat(3_000)));
    refused(&format!("SELECT {} 1", "NOT ".repeat(1_000)));
    refused(&format!("SELECT {} 1", "- ".repeat(1_000)));
    // A clause word used as a column does not reset the count for good: the tree is measured, too.
    refused(&format!("SELECT {}1", "by + ".repeat(9_000)));
    let nested = |n: usize| format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&nested(NESTING_MAX)).is_ok());
    assert_eq!(refused(&nested(NESTING_MAX + 1)), "statement too complex: nested deeper than 64");
    refused(&"(".repeat(100_000));
    refused(&format!("SELECT {}1", "CASE WHEN 1 THEN ".repeat(2_000)));
    let derived = |n: usize| format!("{}SELECT 1{}", "SELECT * FROM (".repeat(n), ") t".repeat(n));
    assert!(parse(&derived(NESTING_MAX)).is_ok());
    refused(&derived(NESTING_MAX + 1));
    assert!(parse(&format!("SELECT 1{}", " UNION SELECT 1".repeat(RELATIONS_MAX))).is_ok());
    refused(&format!("SELECT 1{}", " UNION SELECT 1".repeat(RELATIONS_MAX + 1)));
    refused(&format!("SELECT 1 FROM t{}", ", t".repeat(RELATIONS_MAX)));
    refused(&format!("SELECT 1 FROM t{}", " CROSS JOIN t".repeat(RELATIONS_MAX)));
    refused(&format!("SELECT {}1", "1,".repeat(TOKENS_MAX)));
    refused(&format!("SELECT '{}'", "x".repeat(STATEMENT_BYTES_MAX)));
    // Wide is not deep.
    assert!(parse(&format!("SELECT a IN (1{})", ", 2".repeat(20_000))).is_ok());
    assert!(parse(&format!("VALUES (1, -1){}", ", (1, -1)".repeat(5_000))).is_ok());
}

/// Brackets make sqlparser try and try again; the limits keep that from becoming exponential.
#[test]
fn nested_brackets_everywhere_do_not_take_for_ever() {
    for (open, close) in [("(", ")"), ("((", "))"), ("coalesce(", ")"), ("ARRAY[", "]"), ("(1, ", ")"), ("x IN (", ")")]
    {
        let n = 60 / open.matches(['(', '[']).count();
        for text in [
            format!("SELECT {}1{}", open.repeat(n), close.repeat(n)),
            format!("SELECT * FROM {}t{}", open.repeat(n), close.repeat(n)),
            format!("SELECT * FROM t WHERE {}1{}", open.repeat(n), close.repeat(n)),
            format!("SELECT {}1", open.repeat(n)),
            format!("SELECT * FROM {}t", open.repeat(n)),
            format!("{}SELECT 1{}", "(".repeat(n), ")".repeat(n)),
        ] {
            let _ = parse(&text);
        }
    }
}
