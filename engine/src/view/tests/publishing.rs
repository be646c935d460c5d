//! Publishing snapshots and waiting for ticks.

use std::sync::Arc;
use std::time::Duration;

use super::rows::{keyed_rows, keyed_schema};
use crate::delta::Delta;
use crate::error::ErrorKind;
use crate::time::{TickId, Watermark};
use crate::view::{MaterializedView, PartitionReading, Snapshot, SnapshotStore, SourceReading, TickStats, ViewReading};

fn snapshot(tick: u64, view: &MaterializedView) -> Snapshot {
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
    Snapshot {
        tick: TickId(tick),
        now_micros: tick as i64,
        views: [("v".to_string(), Arc::new(reading))].into(),
        errors: Default::default(),
        sources: [("s".to_string(), Arc::new(SourceReading::default()))].into(),
    }
}

#[test]
fn a_reader_keeps_its_tick() {
    let store = SnapshotStore::new(10);
    assert_eq!((store.newest().tick, store.newest().views.len()), (TickId(0), 0));
    let mut view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    let mut held = Vec::new();
    for tick in 1..=20 {
        view.apply(TickId(tick), vec![Delta::inserts(keyed_rows([(tick as i64, 0)]))]).expect("inserts only");
        store.publish(snapshot(tick, &view)).expect("ticks go forward");
        held.push(store.newest());
    }
    for (tick, held) in (1..).zip(held) {
        let reading = held.view("v").expect("the view is there");
        assert_eq!((held.tick, reading.applied, reading.num_rows()), (TickId(tick), TickId(tick), tick));
        assert!(held.source("s").is_some() && held.source("v").is_none());
    }
}

#[test]
fn ticks_are_published_in_order() {
    let store = SnapshotStore::new(10);
    let view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    store.publish(snapshot(5, &view)).expect("ticks go forward");
    store.publish(snapshot(5, &view)).expect("a view may come between ticks");
    assert_eq!(store.publish(snapshot(4, &view)).expect_err("back to tick 4").kind(), ErrorKind::Internal);
    assert_eq!(store.newest().tick, TickId(5));
}

#[tokio::test]
async fn waiters_see_their_tick() {
    let store = Arc::new(SnapshotStore::new(10));
    let view = MaterializedView::new(keyed_schema(), false).expect("a plain schema");
    let waiters: Vec<_> = [1, 3, 7]
        .map(|tick| {
            let store = store.clone();
            tokio::spawn(async move { (tick, store.wait_for(TickId(tick)).await.expect("the tick comes").tick) })
        })
        .into();
    for tick in [2, 3, 9] {
        tokio::task::yield_now().await;
        store.publish(snapshot(tick, &view)).expect("ticks go forward");
    }
    for waiter in waiters {
        let (wanted, seen) = waiter.await.expect("the waiter does not panic");
        assert!(seen >= TickId(wanted), "waited for {wanted}, saw {seen}");
    }
    assert_eq!(store.wait_for(TickId(9)).await.expect("the tick was published").tick, TickId(9));
}

#[tokio::test]
async fn closing_ends_the_waiting() {
    let store = Arc::new(SnapshotStore::new(10));
    let waiter = tokio::spawn({
        let store = store.clone();
        async move { store.wait_for(TickId(1)).await }
    });
    tokio::task::yield_now().await;
    store.close();
    let result = tokio::time::timeout(Duration::from_secs(60), waiter).await.expect("the waiter wakes");
    assert_eq!(result.expect("no panic").expect_err("no tick came").kind(), ErrorKind::Cancelled);
    assert_eq!(store.wait_for(TickId(0)).await.expect("tick 0 is there from the start").tick, TickId(0));
}

#[test]
fn the_last_ticks_are_remembered() {
    let store = SnapshotStore::new(3);
    for tick in 1..=5 {
        store.record_tick(TickStats {
            tick: TickId(tick),
            decode_micros: 1,
            publish_micros: tick,
            ..Default::default()
        });
    }
    let ticks: Vec<_> = store.recent_ticks().iter().map(|stats| (stats.tick.0, stats.duration_micros())).collect();
    assert_eq!(ticks, [(3, 4), (4, 5), (5, 6)]);
}

#[test]
fn a_source_adds_its_partitions_up() {
    let counts = |accepted, late, errors| crate::ingest::Counts { accepted, late, errors, ..Default::default() };
    let partition = |next_offset, counts| PartitionReading { next_offset, counts, ..Default::default() };
    let source = SourceReading {
        partitions: [(0, partition(10, counts(7, 2, 1))), (3, partition(5, counts(5, 0, 0)))].into(),
        ..Default::default()
    };
    assert_eq!(source.counts(), counts(12, 2, 1));
}
