//! From produce to visible: how long after a record was handed to the producer a SELECT shows it.
//!
//! `cargo bench --workspace --bench latency [-- --bootstrap HOST:PORT]`. A whole server in this process, fed over TCP by
//! a broker inside it as well or by the Kafka at `--bootstrap`, with the default tick (adaptive) and three views: one that tells
//! which records are visible, q5 and q17. A client on a Postgres connection of its own asks the first again and again,
//! a millisecond after the last answer. Each record's time runs from before `produce` until the answer that shows it has
//! been read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use benches::input::{Records, generator};
use engine::source::embedded_broker::EmbeddedBroker;
use engine::source::producer::{OutgoingRecord, Producer, ProducerOptions};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use server::config::Config;
use server::server::Server;
use tokio_postgres::{Client, NoTls};

/// Lanes, each a partition whose records are numbered.
const LANES: usize = 4;
/// Records are handed over in bursts, one each such time.
const BURST_EVERY: Duration = Duration::from_millis(1);
/// Time between two questions.
const PACE: Duration = Duration::from_millis(1);
/// Bids made at a time.
const BIDS_AHEAD: usize = 1_000;
/// Not measured: connections, first batches, caches.
const WARM_UP: Duration = Duration::from_secs(3);
/// Measured.
const LENGTH: Duration = Duration::from_secs(20);
/// How long the last records may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// When each record of each lane was handed to the producer.
type Sent = Arc<Mutex<[Vec<Instant>; LANES]>>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let bootstrap = arguments.iter().position(|argument| argument == "--bootstrap").map(|at| arguments[at + 1].clone());
    println!("| broker | events/s asked | events/s seen | p50 ms | p90 ms | p99 ms | max ms | ticks/s |");
    println!("|---|---|---|---|---|---|---|---|");
    for rate in [10_000, 100_000] {
        measure(bootstrap.as_deref(), rate);
    }
}

fn measure(bootstrap: Option<&str>, rate: usize) {
    let runtime = server::runtime().build().expect("a runtime");
    let embedded = bootstrap.is_none().then(|| EmbeddedBroker::start().expect("a broker"));
    let topic = format!("bids-{}-{rate}", std::process::id());
    if let Some(broker) = &embedded {
        broker.create_topic(&topic, LANES as i32).expect("a topic");
    }
    let address = bootstrap.unwrap_or_else(|| embedded.as_ref().map_or("", |broker| broker.bootstrap())).to_owned();
    if embedded.is_none() {
        runtime.block_on(create_topic(&address, &topic));
    }
    let local = "127.0.0.1:0".parse().expect("an address");
    let config = Config { pg_addr: local, http_addr: local, ..Config::default() };
    let server = runtime.block_on(Server::start(config)).expect("the server starts");
    runtime.block_on(server.database.run(&statements(&address, &topic))).expect("sources and views");
    let client = runtime.block_on(connect(server.pg_addr.port()));

    let (sent, stopping) = (Sent::default(), Arc::new(AtomicBool::new(false)));
    let producer = {
        let (sent, stopping) = (sent.clone(), stopping.clone());
        std::thread::spawn(move || produce(&address, &topic, rate, &sent, &stopping))
    };
    let ticks_before = server.database.engine().snapshot().tick.0;
    let started = Instant::now();
    let mut latencies = runtime.block_on(watch(&client, &sent, &stopping, started));
    producer.join().expect("the producer ends");
    let ticks = server.database.engine().snapshot().tick.0 - ticks_before;
    let seconds = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "| {} | {rate} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} |",
        if embedded.is_some() { "embedded" } else { "Kafka" },
        latencies.len() as f64 / LENGTH.as_secs_f64(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        ticks as f64 / seconds,
    );
    runtime.block_on(server.stop());
}

/// A topic of one partition a lane on a real Kafka.
async fn create_topic(bootstrap: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a client");
    let topic = NewTopic::new(topic, LANES as i32, TopicReplication::Fixed(1));
    let created = admin.create_topics([&topic], &AdminOptions::new()).await.expect("Kafka answers");
    created.into_iter().for_each(|result| drop(result.expect("a new topic")));
}

fn statements(bootstrap: &str, topic: &str) -> String {
    format!(
        "CREATE SOURCE bid (
           lane bigint, number bigint, auction bigint, bidder bigint, price bigint, channel text, url text,
           \"dateTime\" timestamp, extra text, WATERMARK FOR \"dateTime\" AS \"dateTime\" - INTERVAL '2 seconds'
         ) WITH (connector = 'kafka', bootstrap = '{bootstrap}', topic = '{topic}', start = 'earliest') FORMAT JSON;
         CREATE MATERIALIZED VIEW visible AS SELECT lane, max(number) AS number FROM bid GROUP BY lane;
         CREATE MATERIALIZED VIEW q5 AS
           SELECT auction, count(*) AS num, window_start, window_end
           FROM hop(bid, \"dateTime\", INTERVAL '2 seconds', INTERVAL '10 seconds')
           GROUP BY auction, window_start, window_end;
         CREATE MATERIALIZED VIEW q17 AS
           SELECT auction, date_trunc('day', \"dateTime\") AS day, count(*) AS total_bids, min(price) AS min_price,
             max(price) AS max_price, avg(price) AS avg_price, sum(price) AS sum_price
           FROM bid GROUP BY auction, date_trunc('day', \"dateTime\");"
    )
}

async fn connect(port: u16) -> Client {
    let config = format!("host=127.0.0.1 port={port} user=tidemark dbname=tidemark");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.expect("the server lets us in");
    tokio::spawn(connection);
    client
}

/// Writes numbered bids to every lane until asked to stop.
fn produce(bootstrap: &str, topic: &str, rate: usize, sent: &Sent, stopping: &AtomicBool) {
    let options = ProducerOptions { linger: Duration::from_millis(1), ..ProducerOptions::default() };
    let producer = Producer::new(bootstrap, &options).expect("a producer");
    let (mut events, mut bids) = (generator(1, rate as u64), Records::default());
    let (mut written, mut text) = (0, Vec::with_capacity(512));
    let started = Instant::now();
    while !stopping.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * rate as f64) as usize;
        while written < due {
            let lane = written % LANES;
            let number = {
                let mut sent = sent.lock();
                sent[lane].push(Instant::now());
                sent[lane].len() - 1
            };
            if written % BIDS_AHEAD == 0 {
                bids.refill(&mut events, BIDS_AHEAD);
            }
            text.clear();
            text.extend_from_slice(format!("{{\"lane\":{lane},\"number\":{number},").as_bytes());
            text.extend_from_slice(&bids.payload(written % BIDS_AHEAD)[1..]);
            let record = OutgoingRecord { partition: Some(lane as i32), payload: Some(&text), ..Default::default() };
            producer.produce(topic, record).expect("room for a record");
            written += 1;
        }
        std::thread::sleep(BURST_EVERY);
    }
    producer.flush(PATIENCE).expect("delivered");
}

/// Asks what is visible until all measured records are; returns the time of each record sent after the warm-up.
async fn watch(client: &Client, sent: &Sent, stopping: &AtomicBool, started: Instant) -> Vec<Duration> {
    let statement = client.prepare("SELECT lane, number FROM visible").await.expect("a statement");
    let (mut latencies, mut seen) = (Vec::new(), [0_usize; LANES]);
    loop {
        let rows = client.query(&statement, &[]).await.expect("rows");
        let now = Instant::now();
        let sent = sent.lock();
        for row in rows {
            let (lane, number) = (row.get::<_, i64>(0) as usize, row.get::<_, i64>(1) as usize);
            let measured = started + WARM_UP..started + WARM_UP + LENGTH;
            let newly = sent[lane][seen[lane]..=number].iter().filter(|at| measured.contains(at));
            latencies.extend(newly.map(|at| now - *at));
            seen[lane] = number + 1;
        }
        let ended = now > started + WARM_UP + LENGTH;
        stopping.store(ended, Ordering::Relaxed);
        if ended && (0..LANES).all(|lane| seen[lane] == sent[lane].len()) {
            return latencies;
        }
        assert!(now < started + WARM_UP + LENGTH + PATIENCE, "records are missing");
        drop(sent);
        tokio::time::sleep(PACE).await;
    }
}
