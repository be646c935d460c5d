//! Thousands of message sequences broken at random: the server answers or closes, and lives on.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::*;
use super::fake::quiet_panics;

/// Messages that make sense, as many as the generator likes.
fn messages(rng: &mut ChaCha8Rng) -> Vec<u8> {
    let names = ["", "s", "p", "a much longer name than most"];
    let texts = [
        "SELECT 1",
        "SELECT $1::int8, $2",
        "BEGIN",
        "ROLLBACK",
        "SELECT nope",
        "DECLARE p CURSOR FOR SELECT * FROM generate_series(1, 5)",
        "FETCH 2 FROM p",
        "COPY (SELECT 1) TO STDOUT",
        "SELECT panic(value) FROM generate_series(1, 2)",
        "SET DateStyle = ISO",
        "",
        ";;",
    ];
    let mut out = Vec::new();
    for _ in 0..rng.random_range(1..8) {
        let name = names[rng.random_range(0..names.len())];
        let other = names[rng.random_range(0..names.len())];
        let text = texts[rng.random_range(0..texts.len())];
        out.extend(match rng.random_range(0..10) {
            0 => query(text),
            1 | 2 => parse(name, text, &[20, 25][..rng.random_range(0..3)]),
            3 | 4 => bind(name, other, &[Some("1"), None][..rng.random_range(0..3)], &[0, 1][..rng.random_range(0..3)]),
            5 => describe(if rng.random() { 'S' } else { 'P' }, name),
            6 => execute(name, rng.random_range(-1..3)),
            7 => close(if rng.random() { 'S' } else { 'P' }, name),
            8 => flush(),
            _ => sync(),
        });
    }
    out
}

/// Flips, cuts, doubles or invents bytes.
fn mutate(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(0..4) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..5) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.random()),
            _ => {
                let tail = bytes[at..].to_vec();
                bytes.extend_from_slice(&tail[..tail.len().min(64)]);
            }
        }
    }
}

/// Sends bytes, then reads whatever comes until the server closes or has nothing more to say.
async fn throw(address: std::net::SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("the server accepts");
    // The server may close before everything is sent.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(std::time::Duration::from_secs(30), stream.read_to_end(&mut answer));
    let _ = read.await.expect("the server closes the connection of a client that is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sequence_of_bytes_brings_the_server_down() {
    quiet_panics();
    let seed = std::env::var("TIDEMARK_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    let server = TestServer::start().await;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let hello = startup(196_608, &[("user", "tide"), ("database", "tidemark"), ("options", "-c jit=off")]);
    for round in 0..3000 {
        let mut bytes = match rng.random_range(0..6) {
            // Garbage from the first byte on, and a broken startup packet.
            0 => (0..rng.random_range(0..100)).map(|_| rng.random()).collect(),
            1 => hello.clone(),
            _ => messages(&mut rng),
        };
        mutate(&mut rng, &mut bytes);
        if rng.random_range(0..6) > 1 {
            bytes = [hello.clone(), bytes].concat();
        }
        throw(server.address, &bytes).await;
        assert!(!server.served.as_ref().expect("a task").is_finished(), "seed {seed}, round {round}");
    }
    super::traps::eventually("the end of every session", || server.config.sessions.count() == 0).await;
    let mut client = server.client().await;
    assert_eq!(client.query("SELECT 1 AS a").await, ["T a:20:0", "D 1", "C SELECT 1", "Z I"]);
}
