//! Snapshots read through DataFusion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::physical_plan::{ExecutionPlanProperties, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;

use super::rows::{Pool, all_types_schema, keyed_rows, keyed_schema};
use super::weighted;
use crate::delta::Delta;
use crate::time::{TickId, Watermark};
use crate::view::{MaterializedView, Snapshot, SnapshotStore, SnapshotTable, ViewReading, ViewSnapshot};

fn context(partitions: usize, snapshot: ViewSnapshot) -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(partitions));
    context.register_table("v", Arc::new(SnapshotTable::new(snapshot))).expect("the name is free");
    context
}

async fn query(context: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    let frame = context.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    frame.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

async fn lines(context: &SessionContext, sql: &str) -> Vec<String> {
    let batches = query(context, sql).await;
    let options = FormatOptions::new().with_null("NULL");
    let mut lines = Vec::new();
    for batch in &batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).expect("plain columns"))
            .collect();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" | "));
        }
    }
    lines
}

async fn plan(context: &SessionContext, sql: &str) -> String {
    let frame = context.sql(sql).await.expect("a plain query");
    let plan = frame.create_physical_plan().await.expect("a plain query");
    displayable(plan.as_ref()).indent(false).to_string()
}

/// 200,000 keys, of which every fifth was updated and every seventh deleted.
fn large() -> MaterializedView {
    let mut view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    let rows = |keys: &[i64], version| keyed_rows(keys.iter().map(|key| (*key, version)));
    let all: Vec<i64> = (0..200_000).collect();
    view.apply(TickId(1), vec![Delta::inserts(rows(&all, 0))]).expect("inserts only");
    let updated: Vec<i64> = (0..200_000).filter(|key| key % 5 == 0).collect();
    let retracted = weighted(rows(&updated, 0), vec![-1; updated.len()]);
    view.apply(TickId(2), vec![retracted, Delta::inserts(rows(&updated, 1))]).expect("the rows are there");
    let deleted: Vec<i64> = (0..200_000).filter(|key| key % 7 == 0 && key % 5 != 0).collect();
    view.apply(TickId(3), vec![weighted(rows(&deleted, 0), vec![-1; deleted.len()])]).expect("the rows are there");
    view.check();
    view
}

#[tokio::test]
async fn any_sql_reads_a_snapshot() {
    let view = large();
    let live = |key: &i64| key % 7 != 0 || key % 5 == 0;
    let count = (0..200_000i64).filter(live).count();
    let sum: i64 = (0..200_000i64).filter(live).sum();
    for partitions in [1, 4] {
        let context = context(partitions, view.snapshot());
        assert_eq!(lines(&context, "SELECT count(*) FROM v").await, [count.to_string()]);
        assert_eq!(
            lines(&context, "SELECT count(*), count(DISTINCT key), sum(key) FROM v").await,
            [format!("{count} | {count} | {sum}")]
        );
        assert_eq!(
            lines(&context, "SELECT key, value, text FROM v WHERE key BETWEEN 34 AND 36 ORDER BY key DESC").await,
            [
                "36 | 36000.0 | text of key 36, version 0",
                "35 | 35001.0 | text of key 35, version 1",
                "34 | 34000.0 | text of key 34, version 0"
            ]
        );
        assert_eq!(lines(&context, "SELECT key FROM v WHERE key = 7").await, Vec::<String>::new());
        assert_eq!(lines(&context, "SELECT 1 FROM v LIMIT 3").await, ["1", "1", "1"]);
        assert_eq!(lines(&context, "SELECT count(*) FROM v a JOIN v b USING (key)").await, [count.to_string()]);
    }
}

#[tokio::test]
async fn projection_and_limit_reach_the_scan() {
    let context = context(4, large().snapshot());
    let rows = context.table_provider("v").await.expect("the view is there").statistics().expect("known").num_rows;
    let rows = rows.get_value().expect("exact").to_string();
    let text = plan(&context, "SELECT value FROM v LIMIT 10").await;
    assert_eq!(text, format!("SnapshotScanExec: projection=[value], rows={rows}, partitions=1, fetch=10\n"));
    assert_eq!(
        query(&context, "SELECT value FROM v LIMIT 10").await.iter().map(RecordBatch::num_rows).sum::<usize>(),
        10
    );
    assert_eq!(lines(&context, "SELECT value FROM v LIMIT 10 OFFSET 5").await.len(), 10);
    assert_eq!(lines(&context, "SELECT value FROM v LIMIT 100000").await.len(), 100_000);
    assert_eq!(lines(&context, "SELECT value FROM v LIMIT 0").await.len(), 0);
    let text = plan(&context, "SELECT sum(value) FROM v").await;
    assert!(text.contains(&format!("SnapshotScanExec: projection=[value], rows={rows}, partitions=3\n")), "{text}");
}

#[tokio::test]
async fn partitions_cover_every_row_once() {
    let snapshot = large().snapshot();
    for parts in [1, 2, 3, 7, 1_000] {
        let split = snapshot.split(parts);
        assert!((1..=parts).contains(&split.len()));
        assert_eq!(split.iter().map(|(_, rows)| rows).sum::<u64>(), snapshot.num_rows());
        let read = |(positions, rows): &(std::ops::Range<usize>, u64)| {
            let scan = snapshot.scan_positions(Some(&[]), positions.clone());
            let read: usize = scan.map(|batch| batch.expect("no column asked for").num_rows()).sum();
            assert_eq!(read as u64, *rows);
        };
        split.iter().for_each(read);
        assert!(split.windows(2).all(|pair| pair[0].0.end == pair[1].0.start));
    }
    assert_eq!(ViewSnapshot::empty(keyed_schema()).split(4).len(), 1);
}

/// Statistics are exact, so counting a huge view reads nothing, and a limit reads no more than it needs.
#[tokio::test]
async fn a_trillion_rows_are_counted_and_limited_at_once() {
    let mut view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    view.apply(TickId(1), vec![weighted(keyed_rows([(1, 0), (2, 0)]), vec![1_000_000_000_000, 5])]).expect("inserts");
    let context = context(4, view.snapshot());
    assert_eq!(lines(&context, "SELECT count(*) FROM v").await, ["1000000000005"]);
    assert_eq!(lines(&context, "SELECT key FROM v LIMIT 3").await, ["1", "1", "1"]);
    assert_eq!(lines(&context, "SELECT DISTINCT key FROM (SELECT key FROM v LIMIT 100000)").await, ["1"]);
}

#[tokio::test]
async fn an_empty_view_can_be_read() {
    let context = context(4, ViewSnapshot::empty(keyed_schema()));
    assert_eq!(lines(&context, "SELECT count(*), max(key) FROM v").await, ["0 | NULL"]);
    assert_eq!(lines(&context, "SELECT * FROM v").await.len(), 0);
}

#[tokio::test]
async fn every_type_can_be_queried() {
    let pool = Pool::new(1, 500);
    let mut view = MaterializedView::new(all_types_schema(), false).expect("every type can be in a view");
    view.apply(TickId(1), vec![Delta::inserts(pool.odd)]).expect("inserts only");
    let context = context(2, view.snapshot());
    let all = query(&context, "SELECT * FROM v").await;
    assert_eq!(all.iter().map(RecordBatch::num_rows).sum::<usize>(), 500);
    let grouped = lines(&context, "SELECT float8, count(*) FROM v GROUP BY float8").await;
    assert_eq!(grouped.len(), 5, "0.0, NaN, infinity, 1.25 and NULL: {grouped:?}");
}

/// A scan that is always ready still lets other tasks of the thread run.
#[tokio::test(flavor = "current_thread")]
async fn a_long_scan_lets_others_run() {
    let mut view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    view.apply(TickId(1), vec![weighted(keyed_rows([(1, 0)]), vec![8_192 * 1_000])]).expect("inserts only");
    let context = context(1, view.snapshot());
    let plan = context.sql("SELECT key FROM v").await.expect("a plain query").create_physical_plan().await;
    let plan = plan.expect("a plain query");
    assert_eq!(plan.output_partitioning().partition_count(), 1);
    let turns = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let other = tokio::spawn({
        let (turns, done) = (turns.clone(), done.clone());
        async move {
            while !done.load(Ordering::SeqCst) {
                turns.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
    });
    let mut stream = plan.execute(0, context.task_ctx()).expect("partition 0 is there");
    let mut batches = 0;
    while let Some(batch) = stream.next().await {
        batches += batch.expect("a scan does not fail").num_rows() / 8_192;
    }
    done.store(true, Ordering::SeqCst);
    other.await.expect("no panic");
    assert_eq!(batches, 1_000);
    assert!(turns.load(Ordering::SeqCst) >= 5, "{} turns in 1,000 batches", turns.load(Ordering::SeqCst));
}

/// Transfers between accounts keep the total at zero; every reader at every tick must see that.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn readers_see_whole_ticks_while_the_view_moves_on() {
    use rand::{RngExt, SeedableRng};
    let store = Arc::new(SnapshotStore::new(16));
    let writer = tokio::task::spawn_blocking({
        let store = store.clone();
        move || {
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
            let mut view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
            let mut balances = vec![0i64; 2_000];
            let rows = |changes: &[(i64, i64)]| keyed_rows(changes.iter().copied());
            let start: Vec<_> = (0..2_000).map(|key| (key, 0)).collect();
            let mut changes = vec![Delta::inserts(rows(&start))];
            for tick in 1..=150 {
                view.apply(TickId(tick), std::mem::take(&mut changes)).expect("the rows are there");
                let reading = ViewReading {
                    instance: 1,
                    rows: view.snapshot(),
                    watermark: Watermark::NONE,
                    applied: TickId(tick),
                    view_bytes: view.bytes(),
                    state_bytes: 0,
                    held: vec![],
                    error: None,
                };
                let views = [("accounts".to_string(), Arc::new(reading))].into();
                let snapshot = Snapshot { tick: TickId(tick), views, ..Snapshot::default() };
                store.publish(snapshot).expect("ticks go forward");
                for _ in 0..50 {
                    let (from, to) = (rng.random_range(0..2_000usize), rng.random_range(0..2_000usize));
                    let amount = rng.random_range(1..100);
                    let row = |key: usize, balances: &[i64]| (key as i64, balances[key]);
                    let before = [row(from, &balances), row(to, &balances)];
                    balances[from] -= amount;
                    balances[to] += amount;
                    let after = [row(from, &balances), row(to, &balances)];
                    if from != to {
                        changes.push(weighted(rows(&[before, after].concat()), vec![-1, -1, 1, 1]));
                    } else {
                        balances[from] = before[0].1;
                    }
                }
            }
        }
    });
    let reader = |store: Arc<SnapshotStore>| async move {
        let mut last = TickId(0);
        while last < TickId(150) {
            let snapshot = store.wait_for(last.next()).await.expect("ticks keep coming");
            assert!(snapshot.tick > last);
            last = snapshot.tick;
            let context = context(2, snapshot.view("accounts").expect("the view is there").rows.clone());
            let sql = "SELECT count(*), sum(CAST(at AS bigint)), count(DISTINCT key) FROM v";
            let batch = query(&context, sql).await.swap_remove(0);
            let value = |column: usize| batch.column(column).as_primitive::<Int64Type>().value(0);
            assert_eq!((value(0), value(1), value(2)), (2_000, 0, 2_000), "tick {last}");
        }
    };
    let readers: Vec<_> = (0..2).map(|_| tokio::spawn(reader(store.clone()))).collect();
    writer.await.expect("the writer does not panic");
    for reader in readers {
        reader.await.expect("a reader does not panic");
    }
}
