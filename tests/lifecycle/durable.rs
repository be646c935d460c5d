//! Engines that end at any write and begin again on what they left: nothing is lost, nothing counts twice, nothing goes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use engine::checkpoint::memory::{Fault, Memory};
use engine::checkpoint::storage::Storage;
use engine::delta::{Delta, Weights};
use engine::engine::{Engine, EngineConfig, SourceDefinition};
use engine::source::memory::MemoryLog;
use engine::tick::durability::CheckpointPace;
use engine::tick::table::RunningTable;
use engine::time::{SystemClock, TickId};
use harness::feed::ROWS;
use harness::{run, stack_table};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use server::database::{decoder_factory, ingest_spec_of};
use sql::catalog::{Catalog, Definition, NewObject};

use super::{create_text, rows_of};

/// Views over a source, a table, both, and over each other; one keeps what it has closed.
const VIEWS: [(&str, &str); 6] = [
    ("sums", "SELECT k, count(*) AS n, sum(v) AS total, max(f) AS high FROM s GROUP BY k"),
    ("rows", "SELECT k, g, v, ts FROM s WHERE v % 3 > 0"),
    ("pairs", "SELECT s.k, s.v, t.g, t.v AS w FROM s JOIN t ON s.k = t.k"),
    ("held", "SELECT g, count(*) AS n, sum(v) AS total FROM t GROUP BY g"),
    ("over", "SELECT n, count(*) AS keys, sum(total) AS totals FROM sums GROUP BY n"),
    ("shares", "SELECT k, 60 / v AS share FROM s WHERE k < 4"),
];

/// A view that emits on close: what it has said stays.
const CLOSED: &str = "SELECT window_start, k, count(*) AS n FROM tumble(s, ts, INTERVAL '10 seconds') \
                      GROUP BY 1, 2 EMIT ON WINDOW CLOSE";

fn with_views(mut catalog: Catalog) -> Vec<(String, engine::dataflow::Dataflow)> {
    let mut dataflows = Vec::new();
    for (number, (name, select)) in VIEWS.iter().chain(&[("closed", CLOSED)]).enumerate() {
        let text = create_text(name, select);
        let planned = run::plan(&Arc::new(catalog.clone()), &text).expect("a view that can be maintained");
        let mut dataflow = planned.dataflow;
        dataflow.id = 100 + u32::try_from(number).expect("few views");
        let sql::statement::Statement::CreateMaterializedView(create) =
            sql::parser::parse(&text).expect("a valid statement").remove(0).statement
        else {
            unreachable!("a CREATE MATERIALIZED VIEW")
        };
        catalog = catalog.with(NewObject {
            name: (*name).to_owned(),
            text,
            columns: planned.columns,
            definition: Definition::MaterializedView(Arc::new(*create)),
            reads: planned.reads,
            properties: Some(Arc::new(dataflow.properties())),
        });
        dataflows.push(((*name).to_owned(), dataflow));
    }
    dataflows
}

/// What outlives an engine: the log of `s`, and the storage.
#[derive(Clone)]
struct World {
    log: MemoryLog,
    storage: Arc<Memory>,
    dataflows: Arc<Vec<(String, engine::dataflow::Dataflow)>>,
    source: Arc<sql::statement::CreateSource>,
    engines: Arc<AtomicU64>,
}

/// How an engine came back.
struct Started {
    engine: Arc<Engine>,
    /// Views that came back with their state, and those built again.
    restored: Vec<String>,
    rebuilt: Vec<String>,
}

impl World {
    fn new() -> Self {
        let (catalog, [source, _]) = run::catalog([ROWS; 2]);
        let dataflows = with_views(stack_table::with_table(&catalog));
        Self {
            log: MemoryLog::new("t", 2),
            storage: Arc::new(Memory::default()),
            dataflows: Arc::new(dataflows),
            source: Arc::new(source),
            engines: Arc::new(AtomicU64::new(0)),
        }
    }

    /// An engine on what is there, as a server starts one.
    fn start(&self) -> engine::Result<Started> {
        let writer = format!("engine {}", self.engines.fetch_add(1, Ordering::Relaxed));
        let pace = CheckpointPace { interval: Duration::from_secs(3600), ..Default::default() };
        let config = EngineConfig { checkpoints: pace, ..Default::default() };
        let storage: Arc<dyn Storage> = self.storage.clone();
        self.bring_back(Engine::open(config, Arc::new(SystemClock), storage, &writer)?)
    }

    /// An engine that never ended: what the others are held against.
    fn reference(&self) -> Engine {
        let engine = Engine::start(EngineConfig::default(), Arc::new(SystemClock)).expect("a tick thread");
        let started = self.bring_back(engine).expect("nothing fails");
        Arc::into_inner(started.engine).expect("nobody else has it")
    }

    fn bring_back(&self, engine: Engine) -> engine::Result<Started> {
        let spec = ingest_spec_of(&self.source).expect("valid options");
        let factory = decoder_factory(&self.source).expect("valid options");
        let opener = Arc::new(self.log.clone());
        engine.create_source(SourceDefinition { id: 1, name: "s".into(), spec, factory, opener })?;
        engine.add_table("t", RunningTable::try_new(stack_table::schema(), vec![])?.with_id(2))?;
        let (mut restored, mut put_off) = (Vec::new(), Vec::new());
        for (name, dataflow) in self.dataflows.iter() {
            match engine.restore_view(name, dataflow)? {
                true => restored.push(name.clone()),
                false => put_off.push((name, dataflow)),
            }
        }
        engine.begin()?;
        for (name, dataflow) in &put_off {
            engine.create_view(name, dataflow, &|| false)?;
        }
        let rebuilt = put_off.into_iter().map(|(name, _)| name.clone()).collect();
        Ok(Started { engine: Arc::new(engine), restored, rebuilt })
    }

    fn append(&self, random: &mut ChaCha8Rng, seconds: &mut u64) {
        for _ in 0..random.random_range(1..20) {
            *seconds += random.random_range(0..3);
            let (k, v) = (random.random_range(0..6), random.random_range(-4..9));
            let back = random.random_range(0..8);
            let time = seconds.saturating_sub(back);
            let payload = format!(
                "{{\"k\": {k}, \"g\": \"g{}\", \"v\": {v}, \"f\": {v}.5, \"ts\": \"2026-03-01 00:{:02}:{:02}\"}}",
                k % 2,
                time / 60 % 60,
                time % 60
            );
            let broken = random.random_range(0..15) == 0;
            let payload = if broken { "{\"k\": tru" } else { payload.as_str() };
            self.log.append(random.random_range(0..2), None, Some(payload.as_bytes()), None);
        }
    }
}

/// One row of `t` that a statement inserts.
fn insert(number: i64) -> Vec<(String, Vec<Delta>)> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![number % 5])),
        Arc::new(StringViewArray::from(vec![format!("row {number}")])),
        Arc::new(Int64Array::from(vec![number])),
        Arc::new(TimestampMicrosecondArray::from(vec![number])),
    ];
    let rows = RecordBatch::try_new(stack_table::schema(), columns).expect("the table's columns");
    let weights = Weights::Signed(Int64Array::from(vec![1]));
    vec![("t".to_owned(), vec![Delta { rows, weights }])]
}

/// What a client was told by an engine before it ended.
#[derive(Debug, Default)]
struct Told {
    /// Rows whose insertion was confirmed, and those whose was not.
    inserted: Vec<i64>,
    unsure: Vec<i64>,
    tick: TickId,
    closed: Vec<String>,
}

/// Records, inserts and checkpoints until the storage fails, or to the end.
fn live(
    world: &World,
    engine: &Arc<Engine>,
    random: &mut ChaCha8Rng,
    told: &mut Told,
    seconds: &mut u64,
    steps: usize,
) {
    for step in 0..steps {
        match random.random_range(0..10) {
            0..4 => world.append(random, seconds),
            4..8 => {
                let number = i64::try_from(told.inserted.len() + told.unsure.len()).expect("few rows");
                match engine.write(insert(number)) {
                    Ok(()) => told.inserted.push(number),
                    Err(_) => {
                        told.unsure.push(number);
                        return;
                    }
                }
            }
            _ => {
                if engine.checkpoint().is_err() {
                    return;
                }
            }
        }
        if step % 3 == 0 && engine.flush(&|| engine.durability().trouble().is_some()).is_err() {
            return;
        }
        let tick = engine.snapshot().tick;
        assert!(tick >= told.tick, "ticks go back");
        told.tick = tick;
        let closed = rows_of(engine, "closed");
        assert!(told.closed.iter().all(|row| closed.contains(row)), "a closed window was taken back");
        told.closed = closed;
    }
}

/// Holds an engine that came back against one that never ended.
fn check(world: &World, engine: &Engine, told: &mut Told, context: &str) {
    let rows = rows_of(engine, "t");
    let has = |number: &i64| rows.iter().filter(|row| row.contains(&format!("|row {number}|"))).count();
    for number in &told.inserted {
        assert_eq!(has(number), 1, "{context}: row {number} was confirmed: {rows:?}");
    }
    let unsure = std::mem::take(&mut told.unsure);
    told.inserted.extend(unsure.iter().filter(|number| has(number) == 1));
    // A number is not given twice.
    for number in unsure.iter().filter(|number| has(number) == 0) {
        engine.write(insert(*number)).expect("an engine that runs");
        told.inserted.push(*number);
    }
    engine.flush(&|| false).expect("a log that can be read");
    assert!(engine.snapshot().tick >= told.tick, "{context}: ticks go back");
    let reference = world.reference();
    for number in &told.inserted {
        reference.write(insert(*number)).expect("an engine that runs");
    }
    reference.flush(&|| false).expect("a log that can be read");
    for name in ["t", "sums", "rows", "pairs", "held", "over", "shares", "shares_errors", "closed"] {
        assert_eq!(rows_of(engine, name), rows_of(&reference, name), "{context}: {name}");
    }
    let (ours, others) = (engine.snapshot(), reference.snapshot());
    let (ours, others) = (ours.source("s").expect("a source"), others.source("s").expect("a source"));
    let counts = |reading: &engine::view::SourceReading| -> BTreeMap<i32, _> {
        let counted = reading.partitions.iter().map(|(partition, read)| (*partition, read.counts));
        counted.filter(|(_, counts)| counts.consumed() > 0).collect()
    };
    assert_eq!(counts(ours), counts(others), "{context}: counts");
    for (ours, others) in [(&ours.errors, &others.errors), (&ours.late, &others.late)] {
        let rows = |ring: &Option<engine::view::ViewSnapshot>| ring.as_ref().map(engine::view::ViewSnapshot::num_rows);
        assert_eq!(rows(ours), rows(others), "{context}: errors and late rows");
    }
    let closed = rows_of(engine, "closed");
    assert!(told.closed.iter().all(|row| closed.contains(row)), "{context}: a closed window was taken back");
    (told.closed, told.tick) = (closed, engine.snapshot().tick);
}

/// An engine that ends at its `write`th write or deletion, at whatever it is then; its successor must go on from there. Returns how
/// many there were.
fn end_at(seed: u64, write: u64, fault: Fault) -> u64 {
    let context = format!("seed {seed}, write {write}, {fault:?}");
    let world = World::new();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut told, mut seconds) = (Told::default(), 0);
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    world.storage.set_faults(Some(Box::new(move |number, _| {
        if number >= write {
            flag.store(true, Ordering::Release);
        }
        match number.cmp(&write) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(fault),
            std::cmp::Ordering::Greater => Some(Fault::Before),
        }
    })));
    if let Ok(started) = start_until(&world, &ended) {
        let engine = started.engine;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (watched, done) = (&engine, &done);
            // What waits for the storage is told that the engine ends.
            scope.spawn(move || {
                while !ended.load(Ordering::Acquire) && !done.load(Ordering::Acquire) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                if !done.load(Ordering::Acquire) {
                    watched.stop();
                }
            });
            live(&world, &engine, &mut random, &mut told, &mut seconds, 14);
            done.store(true, Ordering::Release);
        });
        engine.stop();
    }
    let writes = world.storage.writes();
    world.storage.set_faults(None);
    let Started { engine, .. } = world.start().unwrap_or_else(|e| panic!("{context}: {e}"));
    check(&world, &engine, &mut told, &context);
    live(&world, &engine, &mut random, &mut told, &mut seconds, 5);
    check(&world, &engine, &mut told, &format!("{context}, and on"));
    engine.stop();
    writes
}

/// A start that may end half-way.
fn start_until(world: &World, ended: &Arc<AtomicBool>) -> engine::Result<Started> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let begun = world.clone();
    std::thread::spawn(move || sender.send(begun.start()).is_ok());
    loop {
        match receiver.recv_timeout(Duration::from_millis(20)) {
            Ok(started) => return started,
            Err(_) if ended.load(Ordering::Acquire) => {
                // It waits for the storage for ever, and its thread ends with the test.
                let late = receiver.recv_timeout(Duration::from_millis(200));
                return late.unwrap_or_else(|_| Err(engine::Error::unavailable("ended at the start")));
            }
            Err(_) => {}
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn an_engine_that_ends_at_any_write_goes_on() {
    let first = setting("TIDEMARK_CRASH_SEED", 1);
    for seed in first..first + setting("TIDEMARK_CRASH_SEEDS", 2) {
        let writes = end_at(seed, u64::MAX, Fault::Before);
        println!("seed {seed}: {writes} writes");
        let step = setting("TIDEMARK_CRASH_STEP", 3).max(1);
        for write in (0..writes).filter(|write| (write + seed) % step == 0) {
            end_at(seed, write, Fault::Before);
            end_at(seed, write, Fault::After);
        }
    }
}

#[test]
fn what_is_in_a_checkpoint_is_not_built_again() {
    let world = World::new();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let (mut told, mut seconds) = (Told::default(), 0);
    let Started { engine, restored, .. } = world.start().expect("an empty storage");
    assert_eq!(restored, Vec::<String>::new());
    live(&world, &engine, &mut random, &mut told, &mut seconds, 30);
    let before = engine.checkpoint().expect("a checkpoint");
    // Nothing changed: no segment but that of how far sources are.
    let after = engine.checkpoint().expect("another");
    assert!(after.bytes_written < before.bytes / 2 || before.bytes < 20_000, "{before:?} {after:?}");
    engine.stop();
    drop(engine);
    let Started { engine, restored, rebuilt } = world.start().expect("what the engine left");
    assert_eq!((restored.len(), rebuilt), (VIEWS.len() + 1, vec![]));
    check(&world, &engine, &mut told, "after an orderly end");
    engine.stop();
}

#[test]
fn an_engine_that_was_taken_for_dead_changes_nothing() {
    let world = World::new();
    let mut told = Told::default();
    let old = world.start().expect("an empty storage").engine;
    old.write(insert(0)).expect("an engine that runs");
    told.inserted.push(0);
    let new = world.start().expect("the storage has no lock").engine;
    check(&world, &new, &mut told, "the successor");
    let refused = old.write(insert(1)).expect_err("another engine writes").1;
    assert!(refused.to_string().contains("another engine has taken over"), "{refused}");
    assert!(old.durability().halted().is_some_and(|why| why.contains("taken over")));
    old.stop();
    new.write(insert(2)).expect("it goes on");
    told.inserted.push(2);
    check(&world, &new, &mut told, "the successor goes on");
    new.stop();
    let third = world.start().expect("what the successor left").engine;
    check(&world, &third, &mut told, "after both");
    third.stop();
}

#[test]
fn an_altered_or_missing_file_is_refused_by_name() {
    let world = World::new();
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let (mut told, mut seconds) = (Told::default(), 0);
    let engine = world.start().expect("an empty storage").engine;
    live(&world, &engine, &mut random, &mut told, &mut seconds, 20);
    engine.checkpoint().expect("a checkpoint");
    engine.write(insert(1000)).expect("an engine that runs");
    // Ends without a last checkpoint.
    world.storage.set_faults(Some(Box::new(|_, _| Some(Fault::Before))));
    engine.stop();
    drop(engine);
    world.storage.set_faults(None);
    let newest = world.storage.names().into_iter().filter(|name| name.starts_with("manifest/")).next_back();
    let newest = newest.expect("a manifest");
    for name in world.storage.names() {
        // Older manifests are not needed to start, nor what only they name.
        let older = name.starts_with("manifest/") && name != newest;
        for change in ["bit", "cut"] {
            let copy = World { storage: Arc::new(copy_of(&world.storage)), ..world.clone() };
            let place = random.random_range(0..usize::MAX);
            copy.storage.alter(&name, |bytes| match change {
                "bit" => {
                    let bit = place % (bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                _ => bytes.truncate(place % bytes.len()),
            });
            match copy.start() {
                Ok(started) => {
                    let unread = older || !is_named(&world, &newest, &name);
                    assert!(unread, "{name} was altered ({change}, {place}), and nobody noticed");
                    started.engine.stop();
                }
                Err(error) => {
                    assert!(error.to_string().contains(&name), "{name} ({change}): {error}");
                }
            }
        }
    }
}

fn copy_of(storage: &Memory) -> Memory {
    let copy = Memory::default();
    for name in storage.names() {
        let bytes = storage.read(&name).expect("memory").expect("it is there");
        copy.create(&name, bytes).expect("memory");
    }
    copy
}

/// Whether a start from the newest manifest reads the file.
fn is_named(world: &World, newest: &str, name: &str) -> bool {
    let file = world.storage.read(newest).expect("memory").expect("it is there");
    let manifest = engine::checkpoint::manifest::Manifest::decode(newest, &file).expect("as it was written");
    let in_log = engine::checkpoint::log::Log::number_of(name).is_some_and(|number| number >= manifest.log_next);
    name == newest || in_log || manifest.segments.contains_key(name)
}
