//! tokio-postgres, which reads and writes everything in binary, as one real driver among many.

use std::time::SystemTime;

use futures::{StreamExt, TryStreamExt, pin_mut};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::client::TestServer;

async fn connect(server: &TestServer) -> Client {
    let text = format!("host=127.0.0.1 port={} user=tide dbname=tidemark", server.address.port());
    let (client, connection) = tokio_postgres::connect(&text, NoTls).await.expect("connects");
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn a_driver_reads_every_type_it_knows_in_binary() {
    let server = TestServer::start().await;
    let client = connect(&server).await;
    let row = client
        .query_one(
            "SELECT true AS a, CAST(1 AS smallint) AS b, CAST(2 AS int) AS c, 3 AS d, CAST(1.5 AS real) AS e, 2.5 AS f,
                    'text' AS g, CAST(NULL AS text) AS h, make_array(1, 2) AS i, x'00ff' AS j,
                    CAST('2023-01-02T03:04:05.6Z' AS timestamp) AS k",
            &[],
        )
        .await
        .expect("a row");
    assert!(row.get::<_, bool>("a"));
    assert_eq!((row.get::<_, i16>("b"), row.get::<_, i32>("c"), row.get::<_, i64>("d")), (1, 2, 3));
    assert_eq!((row.get::<_, f32>("e"), row.get::<_, f64>("f")), (1.5, 2.5));
    assert_eq!((row.get::<_, &str>("g"), row.get::<_, Option<&str>>("h")), ("text", None));
    assert_eq!((row.get::<_, Vec<i64>>("i"), row.get::<_, &[u8]>("j")), (vec![1, 2], &[0, 255][..]));
    let instant = SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(1_672_628_645_600_000);
    assert_eq!(row.get::<_, SystemTime>("k"), instant);
}

#[tokio::test]
async fn parameters_go_in_and_come_out_again() {
    let server = TestServer::start().await;
    let client = connect(&server).await;
    let types = [Type::INT8, Type::TEXT, Type::FLOAT8, Type::BOOL, Type::TEXT_ARRAY, Type::BYTEA, Type::TIMESTAMP];
    let text = "SELECT $1 AS a, $2 AS b, $3 AS c, $4 AS d, $5 AS e, $6 AS f, $7 AS g";
    let statement = client.prepare_typed(text, &types).await.expect("prepares");
    assert_eq!(statement.params(), types);
    let columns: Vec<_> = statement.columns().iter().map(|column| column.type_().clone()).collect();
    assert_eq!(columns, types);
    let list = vec![Some("x".to_owned()), None, Some("a \"b\"".to_owned())];
    let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(1_700_000_000_123_456);
    let bytes = &[0u8, 255][..];
    let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&-5i64, &"naïve", &1.5f64, &true, &list, &bytes, &now];
    let row = client.query_one(&statement, parameters).await.expect("a row");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1), row.get::<_, f64>(2)), (-5, "naïve", 1.5));
    assert!(row.get::<_, bool>(3));
    assert_eq!((row.get::<_, Vec<Option<String>>>(4), row.get::<_, &[u8]>(5)), (list, bytes));
    assert_eq!(row.get::<_, SystemTime>(6), now);
    let nulls: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
        &None::<i64>,
        &None::<&str>,
        &None::<f64>,
        &None::<bool>,
        &None::<Vec<String>>,
        &None::<&[u8]>,
        &None::<SystemTime>,
    ];
    let row = client.query_one(&statement, nulls).await.expect("a row");
    assert_eq!((row.get::<_, Option<i64>>(0), row.get::<_, Option<SystemTime>>(6)), (None, None));
}

#[tokio::test]
async fn queries_are_pipelined_portals_suspended_and_copies_read() {
    let server = TestServer::start().await;
    let mut client = connect(&server).await;
    let statement =
        client.prepare("SELECT value FROM generate_series(1, 10000) WHERE value > $1").await.expect("prepares");
    let counted = |from: i64| {
        let (client, statement) = (&client, &statement);
        async move { client.query(statement, &[&from]).await.expect("rows").len() }
    };
    let (a, b, c) = tokio::join!(counted(0), counted(9000), counted(10_000));
    assert_eq!((a, b, c), (10_000, 1000, 0));

    let transaction = client.transaction().await.expect("begins");
    let portal = transaction.bind(&statement, &[&0i64]).await.expect("binds");
    let mut seen = 0;
    loop {
        let rows = transaction.query_portal(&portal, 999).await.expect("rows");
        seen += rows.len();
        if rows.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 10_000);
    transaction.commit().await.expect("commits");

    let data = client.copy_out("COPY (SELECT value FROM generate_series(1, 3)) TO STDOUT").await.expect("copies");
    let chunks: Vec<_> = data.try_collect().await.expect("data");
    assert_eq!(chunks.concat(), b"1\n2\n3\n");
}

#[tokio::test]
async fn a_driver_cancels_and_branches_on_states() {
    let server = TestServer::start().await;
    let client = connect(&server).await;
    let rows = client.query_raw::<_, i64, _>("SELECT * FROM slow(1000000, 10)", []).await.expect("starts");
    pin_mut!(rows);
    assert_eq!(rows.next().await.expect("a row").expect("a row").get::<_, i64>(0), 1);
    client.cancel_token().cancel_query(NoTls).await.expect("cancels");
    let error = loop {
        if let Err(error) = rows.next().await.expect("an error at the end") {
            break error;
        }
    };
    assert_eq!(error.code().map(|code| code.code()), Some("57014"));
    let error = client.query("SELECT * FROM nope", &[]).await.expect_err("no such table");
    assert_eq!(error.code().map(|code| code.code()), Some("42P01"));
    let messages = client.simple_query("SELECT 1 AS a; BEGIN; COMMIT").await.expect("runs");
    let rows = messages.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count();
    assert_eq!(rows, 1);
}
