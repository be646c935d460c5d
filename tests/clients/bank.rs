//! The bank: money moves between accounts and none is made, so at every moment a reader finds a total of zero.
//!
//! After Jamie Brandon, "Internal consistency in streaming systems" (2021), made harder: transfers are amended and taken
//! back while they are read, their records come out of order, and totals go through outer joins and self joins, in one
//! view and in views over views. All is read over the wire while it runs.
//!
//! `TIDEMARK_BANK_TRANSFERS` says how many transfers there are, `TIDEMARK_BANK_READS` how many reads at least.

use std::collections::BTreeSet;
use std::time::Duration;

use engine::source::embedded_broker::EmbeddedBroker;
use engine::source::producer::{OutgoingRecord, Producer, ProducerOptions};
use harness::served::Served;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ACCOUNTS: u32 = 50;
const PARTITIONS: i32 = 3;
/// Transfers that may still be amended or taken back.
const OPEN_TRANSFERS: u64 = 20_000;
/// Transfers of one round; then comes a share of the reads.
const ROUND: u64 = 20;
/// The embedded broker keeps about 5 MiB of a partition: no more records than this wait.
const WAITING_MAX: u64 = 20_000;
/// Every so many rounds it is asked how many do.
const ROUNDS_BETWEEN: u64 = 50;

/// What every read sees, whatever was consumed: none of these is ever anything but zero.
const ZEROS: &str = "SELECT \
    (SELECT coalesce(total, 0) FROM total), (SELECT coalesce(sum(balance), 0)::bigint FROM balances), \
    (SELECT coalesce(total, 0) FROM total_at_once), (SELECT n FROM unmatched), \
    (SELECT count(*) FROM hourly WHERE total <> 0), \
    (SELECT coalesce(sum(credits), 0)::bigint FROM credits) - (SELECT coalesce(sum(debits), 0)::bigint FROM debits), \
    (SELECT coalesce(moved, 0) FROM total)";

/// The total alone, and how much lies on the accounts at that moment.
const TOTAL: &str = "SELECT coalesce(total, 0), coalesce(moved, 0) FROM total";

/// One in so many reads asks for everything.
const WHOLE_EVERY: u64 = 20;

const VIEWS: [&str; 8] = [
    "CREATE MATERIALIZED VIEW credits AS SELECT to_account AS account, sum(amount) AS credits FROM transfers GROUP BY 1",
    "CREATE MATERIALIZED VIEW debits AS SELECT from_account AS account, sum(amount) AS debits FROM transfers GROUP BY 1",
    "CREATE MATERIALIZED VIEW balances AS \
     SELECT coalesce(c.account, d.account) AS account, coalesce(c.credits, 0) - coalesce(d.debits, 0) AS balance \
     FROM credits c FULL JOIN debits d ON c.account = d.account",
    "CREATE MATERIALIZED VIEW total AS \
     SELECT sum(balance)::bigint AS total, sum(abs(balance))::bigint AS moved FROM balances",
    // The same in one view.
    "CREATE MATERIALIZED VIEW total_at_once AS SELECT sum(coalesce(credits, 0) - coalesce(debits, 0))::bigint AS total \
     FROM (SELECT to_account AS account, sum(amount) AS credits FROM transfers GROUP BY 1) c \
     FULL JOIN (SELECT from_account AS account, sum(amount) AS debits FROM transfers GROUP BY 1) d \
     ON c.account = d.account",
    // Every transfer is itself.
    "CREATE MATERIALIZED VIEW unmatched AS SELECT count(*) AS n FROM transfers t LEFT JOIN transfers s \
     ON t.id = s.id AND t.amount = s.amount AND t.from_account = s.from_account WHERE s.id IS NULL",
    // Each hour's own balance, of the accepted records: a transfer that is late is so on both sides.
    "CREATE MATERIALIZED VIEW hourly AS \
     SELECT coalesce(c.window_end, d.window_end) AS window_end, \
            sum(coalesce(credits, 0) - coalesce(debits, 0))::bigint AS total \
     FROM (SELECT to_account AS account, window_end, sum(amount) AS credits \
           FROM tumble(journal, ts, INTERVAL '1 hour') GROUP BY 1, 2) c \
     FULL JOIN (SELECT from_account AS account, window_end, sum(amount) AS debits \
                FROM tumble(journal, ts, INTERVAL '1 hour') GROUP BY 1, 2) d \
     ON c.account = d.account AND c.window_end = d.window_end GROUP BY 1",
    "CREATE MATERIALIZED VIEW accepted AS SELECT count(*) AS n FROM journal",
];

struct Bank {
    broker: EmbeddedBroker,
    producer: Producer,
    rng: ChaCha8Rng,
    produced: u64,
}

impl Bank {
    fn new() -> Self {
        let broker = EmbeddedBroker::start().expect("a broker");
        for topic in ["transfers", "journal"] {
            broker.create_topic(topic, PARTITIONS).expect("a new topic");
        }
        let producer = Producer::new(broker.bootstrap(), &ProducerOptions::default()).expect("good options");
        Self { broker, producer, rng: ChaCha8Rng::seed_from_u64(1), produced: 0 }
    }

    /// One transfer: a change of the table, and a line of the journal that may be older than those before it.
    fn transfer(&mut self, number: u64) {
        let rng = &mut self.rng;
        // Two in three are new; of the others one in three goes.
        let is_new = rng.random_range(0..3) > 0;
        let id = if is_new { number } else { number - rng.random_range(0..=number.min(OPEN_TRANSFERS)) };
        let (from, to) = (rng.random_range(0..ACCOUNTS), rng.random_range(0..ACCOUNTS));
        let body = format!("\"from_account\": {from}, \"to_account\": {to}, \"amount\": {}", rng.random_range(1..1000));
        let goes = !is_new && rng.random_range(0..3) == 0;
        let change = (!goes).then(|| format!("{{\"id\": {id}, {body}}}"));
        self.send("transfers", (id % PARTITIONS as u64) as i32, Some(&id.to_string()), change.as_deref());
        let seconds = 1_767_225_600 + number / 10;
        let stray = self.rng.random_range(0..90);
        let line = format!("{{{body}, \"ts\": {}}}", (seconds - stray) * 1000);
        let partition = self.rng.random_range(0..PARTITIONS);
        self.send("journal", partition, None, Some(&line));
    }

    fn send(&mut self, topic: &str, partition: i32, key: Option<&str>, payload: Option<&str>) {
        let record = OutgoingRecord {
            partition: Some(partition),
            key: key.map(str::as_bytes),
            payload: payload.map(str::as_bytes),
            ..OutgoingRecord::default()
        };
        self.producer.produce(topic, record).expect("room");
        self.produced += 1;
    }

    fn served(&self) -> Served {
        let served = Served::start();
        let with = |topic: &str| {
            format!(
                "WITH (connector = 'kafka', bootstrap = '{}', topic = '{topic}') FORMAT JSON",
                self.broker.bootstrap()
            )
        };
        served.run(&format!(
            "CREATE SOURCE transfers (id bigint PRIMARY KEY, from_account int, to_account int, amount bigint) {} ENVELOPE UPSERT",
            with("transfers")
        ));
        served.run(&format!(
            "CREATE SOURCE journal (from_account int, to_account int, amount bigint, ts timestamp, \
             WATERMARK FOR ts AS ts - INTERVAL '1 minute') {}",
            with("journal")
        ));
        VIEWS.iter().for_each(|view| served.run(view));
        served
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn no_reader_ever_finds_a_total_but_zero() {
    let transfers = setting("TIDEMARK_BANK_TRANSFERS", 9_000);
    let reads_min = setting("TIDEMARK_BANK_READS", 500);
    let mut bank = Bank::new();
    let served = bank.served();
    let (mut reads, mut states) = (0, BTreeSet::new());
    let rounds = transfers.div_ceil(ROUND);
    for round in 0..rounds {
        (round * ROUND..(round + 1) * ROUND).for_each(|number| bank.transfer(number));
        let due = reads_min * (round + 1) / rounds;
        let may_wait = round % ROUNDS_BETWEEN == 0;
        while reads < due || (may_wait && bank.produced - consumed(&served) >= WAITING_MAX) {
            reads += 1;
            let rows = if reads % WHOLE_EVERY == 0 { numbers(&served, ZEROS) } else { numbers(&served, TOTAL) };
            let [row] = &rows[..] else { panic!("read {reads}: {rows:?}") };
            let (moved, zeros) = row.split_last().expect("columns");
            assert!(zeros.iter().all(|zero| *zero == 0), "read {reads}, after {} records: {row:?}", bank.produced);
            states.insert(*moved);
        }
    }
    bank.producer.flush(Duration::from_secs(60)).expect("delivered");
    served.run("FLUSH");
    assert_eq!(consumed(&served), bank.produced, "records are gone");
    let late: u64 = served.value("SELECT late FROM tidemark.sources WHERE name = 'journal'").parse().expect("a number");
    let accepted: u64 = served.value("SELECT n FROM accepted").parse().expect("a number");
    println!(
        "{transfers} transfers, {reads} reads, {} different states, {late} late, {accepted} accepted",
        states.len()
    );
    assert_eq!(late + accepted, rounds * ROUND);
    assert!(late > 0 && states.len() > 2, "nothing moved while it was read");
    // The embedded broker has not kept more than that.
    let kept = bank.produced < WAITING_MAX;
    for view in ["balances", "total", "total_at_once", "unmatched", "hourly"].iter().filter(|_| kept) {
        assert_eq!(served.rows(&format!("VERIFY MATERIALIZED VIEW {view}")), [""; 0], "{view}");
    }
}

fn numbers(served: &Served, query: &str) -> Vec<Vec<i64>> {
    let number = |cell: &str| cell.parse().unwrap_or_else(|_| panic!("{query}: {cell}"));
    served.rows(query).iter().map(|row| row.split(" | ").map(number).collect()).collect()
}

fn consumed(served: &Served) -> u64 {
    let sum = "SELECT coalesce(sum(consumed), 0)::bigint FROM tidemark.source_partitions";
    served.value(sum).parse().expect("a number")
}
