//! The longest statements accepted run, over both protocols; longer ones are refused. None ends the process.

use harness::served::Served;
use sql::parser::limits::CHAIN_MAX;
use tokio_postgres::NoTls;

fn chain(first: &str, operators: usize) -> String {
    format!("SELECT {first}{}", "+1".repeat(operators))
}

#[test]
fn the_longest_statement_runs_over_both_protocols() {
    let served = Served::start();
    let longest = chain("1", CHAIN_MAX);
    assert_eq!(served.value(&longest), (CHAIN_MAX + 1).to_string());
    served.run(&format!("CREATE VIEW v AS {longest} AS x"));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let config = format!("host=127.0.0.1 port={} user=tidemark dbname=tidemark", served.port());
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("the server lets us in");
        tokio::spawn(connection);
        let row = client.query_one(&longest, &[]).await.expect("accepted");
        assert_eq!(row.get::<_, i64>(0), CHAIN_MAX as i64 + 1);
        // A parameter keeps the chain from being folded while it is planned.
        let open = client.prepare(&chain("$1::int8", CHAIN_MAX - 2)).await.expect("accepted");
        for value in [0_i64, 7] {
            let row = client.query_one(&open, &[&value]).await.expect("accepted");
            assert_eq!(row.get::<_, i64>(0), value + CHAIN_MAX as i64 - 2);
        }
        let refused = client.query_one(&chain("1", CHAIN_MAX + 1), &[]).await.expect_err("too long");
        assert_eq!(refused.code().map(|code| code.code()), Some("54001"));
        client.query_one("SELECT 1", &[]).await.expect("the server lives");
    });
}
