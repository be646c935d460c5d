//! From the first byte to ReadyForQuery.

use std::sync::atomic::Ordering;

use super::client::*;
use crate::backend::ScramVerifier;
use crate::pg::verifier::ITERATIONS;

const SSL_REQUEST: i32 = 80_877_103;
const GSS_REQUEST: i32 = 80_877_104;

#[tokio::test]
async fn a_session_begins_with_what_clients_wait_for() {
    let server = TestServer::start().await;
    let client = server.client_with(&[("user", "tide"), ("database", "tidemark"), ("application_name", "t")]).await;
    let replies = show(&client.greeting);
    for expected in [
        "S server_version=13.14",
        "S server_encoding=UTF8",
        "S client_encoding=UTF8",
        "S DateStyle=ISO, MDY",
        "S TimeZone=UTC",
        "S integer_datetimes=on",
        "S standard_conforming_strings=on",
        "S IntervalStyle=postgres",
        "S application_name=t",
        "S is_superuser=on",
        "S session_authorization=tide",
        "S in_hot_standby=off",
        "S default_transaction_read_only=off",
    ] {
        assert!(replies.iter().any(|reply| reply == expected), "{expected} is missing: {replies:?}");
    }
    assert_eq!((replies.first().map(String::as_str), replies.last().map(String::as_str)), (Some("R"), Some("Z I")));
    // Version 3.0 keys have four bytes.
    assert_eq!(client.key().len(), 8);
    assert_eq!(server.config.sessions.list()[0].application_name, "t");
}

#[tokio::test]
async fn encryption_is_declined_once_each_and_nothing_may_follow_unasked() {
    let server = TestServer::start().await;
    let mut client = Client::connect(server.address).await;
    for request in [GSS_REQUEST, SSL_REQUEST] {
        client.send(&packet(&request.to_be_bytes())).await;
        let mut answer = [0];
        tokio::io::AsyncReadExt::read_exact(&mut client.stream, &mut answer).await.expect("an answer");
        assert_eq!(&answer, b"N");
    }
    client.send(&startup(196_608, &[("user", "tide"), ("database", "tidemark")])).await;
    assert_eq!(show(&client.until_ready().await).last().map(String::as_str), Some("Z I"));

    let mut smuggler = Client::connect(server.address).await;
    let start = startup(196_608, &[("user", "tide"), ("database", "tidemark")]);
    smuggler.send(&[packet(&SSL_REQUEST.to_be_bytes()), start].concat()).await;
    assert!(show(&smuggler.until_ready().await)[0].starts_with("E FATAL 08P01"));
}

#[tokio::test]
async fn versions_are_negotiated_and_others_refused() {
    let server = TestServer::start().await;
    let parameters = [("user", "tide"), ("database", "tidemark"), ("_pq_.novelty", "1")];
    for (asked, newest) in [((3 << 16) | 9999, 196_610), ((3 << 16) | 1, 196_608)] {
        let mut client = Client::connect(server.address).await;
        client.send(&startup(asked, &parameters)).await;
        let replies = client.until_ready().await;
        let mut expected = i32::to_be_bytes(newest).to_vec();
        expected.extend_from_slice(b"\0\0\0\x01_pq_.novelty\0");
        assert_eq!(replies[0], Reply { tag: b'v', body: expected });
    }
    let mut newer = Client::connect(server.address).await;
    newer.send(&startup(196_610, &parameters[..2])).await;
    newer.greeting = newer.until_ready().await;
    assert_ne!(newer.greeting[0].tag, b'v');
    assert_eq!(newer.key().len(), 36);

    let mut old = Client::connect(server.address).await;
    old.send(&startup(2 << 16, &parameters)).await;
    let refusal = "E FATAL 0A000 unsupported frontend protocol 2.0: server supports 3.0 to 3.2";
    assert_eq!(show(&old.until_ready().await), [refusal]);
}

#[tokio::test]
async fn what_is_wrong_with_a_startup_packet_is_said() {
    let server = TestServer::start().await;
    let mut first_error = Vec::new();
    for parameters in [
        &[("user", "tide"), ("database", "missing")][..],
        &[("database", "tidemark")],
        &[("user", "nobody"), ("database", "tidemark")],
        &[("user", "tide"), ("database", "tidemark"), ("no_such", "1")],
        &[("user", "tide"), ("database", "tidemark"), ("TimeZone", "Nowhere")],
        &[("user", "tide"), ("database", "tidemark"), ("replication", "database")],
        &[("user", "tide"), ("database", "tidemark"), ("options", "-x")],
    ] {
        let client = server.client_with(parameters).await;
        let replies = show(&client.greeting);
        let error = replies.iter().find(|reply| reply.starts_with('E')).cloned().unwrap_or_default();
        first_error.push(error.chars().take(13).collect::<String>());
    }
    let states = ["3D000", "28000", "28000", "42704", "22023", "0A000", "42601"];
    assert_eq!(first_error, states.map(|state| format!("E FATAL {state}")));

    // Without a database the default one is meant; options and settings take effect; quoted encodings are read.
    let options = "-c search_path=a\\ b --statement-timeout=5s";
    let asked = [("user", "tide"), ("options", options), ("client_encoding", "'utf-8'"), ("datestyle", "ISO")];
    let mut client = server.client_with(&asked).await;
    assert_eq!(client.query("SHOW search_path").await[1], "D a b");
    assert_eq!(client.query("SHOW statement_timeout").await[1], "D 5s");
    assert_eq!(server.config.sessions.list()[0].identity.database.as_ref(), "tidemark");
}

#[tokio::test]
async fn with_a_password_everybody_needs_one() {
    let server = TestServer::start().await;
    *server.backend.verifier.lock() = Some(ScramVerifier::from_password("pencil", ITERATIONS));
    let connect = |user: &'static str, password: &'static str| {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(server.address.port()).user(user).password(password).dbname("tidemark");
        async move {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            client.simple_query("SELECT 1").await.map(drop)
        }
    };
    connect("tide", "pencil").await.expect("the right password");
    for (user, password) in [("tide", "pen"), ("reader", "pencil"), ("nobody", "pencil")] {
        let error = connect(user, password).await.expect_err("refused");
        let error = error.as_db_error().expect("an answer");
        assert_eq!(error.code().code(), "28P01");
        assert_eq!(error.message(), format!("password authentication failed for user \"{user}\""));
    }
    assert_eq!(server.config.sessions.counters().logins_refused.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_stranger_cannot_tell_who_exists_and_garbage_in_scram_is_refused() {
    let server = TestServer::start().await;
    *server.backend.verifier.lock() = Some(ScramVerifier::from_password("pencil", ITERATIONS));
    let first = |user: &'static str| {
        let address = server.address;
        async move {
            let mut client = Client::connect(address).await;
            client.send(&startup(196_608, &[("user", user), ("database", "tidemark")])).await;
            let request = client.read().await.expect("an authentication request");
            assert_eq!(&request.body[..], b"\0\0\0\x0aSCRAM-SHA-256\0\0");
            let body = [&b"SCRAM-SHA-256\0\0\0\0\x0c"[..], b"n,,n=,r=abcd"].concat();
            client.send(&message(b'p', &body)).await;
            let challenge = client.read().await.expect("a challenge").body;
            (client, String::from_utf8_lossy(&challenge[4..]).into_owned())
        }
    };
    let salt = |challenge: &str| challenge.split(',').find(|part| part.starts_with("s=")).map(str::to_owned);
    let (_, once) = first("nobody").await;
    let (_, again) = first("nobody").await;
    let (_, other) = first("ghost").await;
    let (_, real) = first("tide").await;
    assert_eq!(salt(&once), salt(&again));
    assert_ne!(salt(&once), salt(&other));
    assert_eq!(salt(&once).map(|s| s.len()), salt(&real).map(|s| s.len()));
    assert!(once.ends_with("i=4096") && real.ends_with("i=4096"));

    for garbage in [&b""[..], b"c=biws", b"c=biws,r=x,p=", b"\xff\xfe", b",p=,p=,p=", b"c=,r=,p=!!!!"] {
        let (mut client, _) = first("tide").await;
        client.send(&message(b'p', garbage)).await;
        let replies = show(&client.until_ready().await);
        assert!(replies[0].starts_with("E FATAL 08P01"), "{replies:?}");
    }
    for body in [&b""[..], b"SCRAM-SHA-256", b"PLAIN\0\xff\xff\xff\xff", b"SCRAM-SHA-256\0\x7f\0\0\0"] {
        let mut client = Client::connect(server.address).await;
        client.send(&startup(196_608, &[("user", "tide"), ("database", "tidemark")])).await;
        client.read().await.expect("an authentication request");
        client.send(&message(b'p', body)).await;
        assert!(show(&client.until_ready().await)[0].starts_with("E FATAL 08P01"));
    }
    // A query instead of a password is not run.
    let mut client = Client::connect(server.address).await;
    client.send(&startup(196_608, &[("user", "tide"), ("database", "tidemark")])).await;
    client.read().await.expect("an authentication request");
    client.send(&query("SELECT 1")).await;
    assert!(show(&client.until_ready().await)[0].starts_with("E FATAL 08P01"));
}

#[tokio::test]
async fn a_shutdown_is_told_to_every_session_and_serve_returns() {
    let mut server = TestServer::start().await;
    let mut idle = server.client().await;
    let mut busy = server.client().await;
    busy.send(&query("SELECT * FROM slow(1000000, 20)")).await;
    busy.read().await.expect("a description");
    server.shutdown.cancel();
    let told = "E FATAL 57P01 terminating connection due to administrator command";
    assert_eq!(show(&idle.until_ready().await), [told]);
    assert_eq!(show(&busy.until_ready().await).last().map(String::as_str), Some(told));
    drop((idle, busy));
    let served = server.served.take().expect("a task");
    served.await.expect("no panic").expect("no error");
    assert_eq!(server.config.sessions.count(), 0);
}
