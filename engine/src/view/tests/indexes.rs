//! Reads through indexes against reads without, over views that change, at their newest tick and at earlier ones.

use std::sync::Arc;

use arrow::array::{Decimal128Array, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_plan::displayable;
use datafusion::prelude::{SessionConfig, SessionContext};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{row_texts, weighted};
use crate::time::TickId;
use crate::view::{BuiltIndexes, MaterializedView, NamedIndex, SnapshotTable, ViewSnapshot};

type Row = (Option<i64>, Option<&'static str>, Option<f64>, Option<i128>);

const TEXTS: [&str; 6] = ["", "a", "b", "ba", "a text that is longer than a view holds inline", "z"];
const FLOATS: [f64; 7] = [-0.0, 0.0, f64::NAN, 1.5, f64::INFINITY, f64::NEG_INFINITY, -2.0];

/// The indexes' columns.
fn indexes() -> Vec<Vec<usize>> {
    vec![vec![0], vec![1, 0], vec![2], vec![3, 1, 0]]
}

fn schema() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let numeric = DataType::Decimal128(10, 2);
    let fields = vec![
        field("k", DataType::Int64),
        field("s", DataType::Utf8View),
        field("x", DataType::Float64),
        field("d", numeric),
    ];
    Arc::new(Schema::new(fields))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let numerics = rows.iter().map(|row| row.3).collect::<Decimal128Array>();
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|row| row.1).collect::<StringViewArray>()),
            Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
            Arc::new(numerics.with_precision_and_scale(10, 2).expect("two digits of ten")),
        ],
    )
    .expect("columns of the schema")
}

fn row(rng: &mut ChaCha8Rng, keys: i64) -> Row {
    fn or_null<T>(rng: &mut ChaCha8Rng, value: T) -> Option<T> {
        rng.random_bool(0.9).then_some(value)
    }
    let (k, s) = (rng.random_range(0..keys), TEXTS[rng.random_range(0..TEXTS.len())]);
    let (x, d) = (FLOATS[rng.random_range(0..FLOATS.len())], rng.random_range(-3..4) * 125);
    (or_null(rng, k), or_null(rng, s), or_null(rng, x), or_null(rng, d))
}

/// Conditions that an index answers, in part or not at all.
fn condition(rng: &mut ChaCha8Rng, keys: i64) -> String {
    let key = |rng: &mut ChaCha8Rng| rng.random_range(-2..keys + 2);
    let text = |rng: &mut ChaCha8Rng| format!("'{}'", TEXTS[rng.random_range(0..TEXTS.len())]);
    let float = |rng: &mut ChaCha8Rng| ["0.0", "-0.0", "1.5", "-2.0", "'NaN'::double"][rng.random_range(0..5)];
    let numeric = |rng: &mut ChaCha8Rng| format!("CAST({} AS DECIMAL(10, 2))", rng.random_range(-3..4) as f64 * 1.25);
    let sign = |rng: &mut ChaCha8Rng| ["=", "<", "<=", ">", ">=", "<>"][rng.random_range(0..6)];
    let one = |rng: &mut ChaCha8Rng| match rng.random_range(0..10) {
        0 => format!("k {} {}", sign(rng), key(rng)),
        1 => format!("{} {} k", key(rng), sign(rng)),
        2 => format!("k BETWEEN {} AND {}", key(rng), key(rng)),
        3 => {
            let keys: Vec<_> = (0..rng.random_range(1..9)).map(|_| key(rng).to_string()).collect();
            format!("k IN ({})", keys.join(", "))
        }
        4 => format!("s {} {}", sign(rng), text(rng)),
        5 => format!("s IN ({}, {}, {}, {}, NULL)", text(rng), text(rng), text(rng), text(rng)),
        6 => format!("x {} {}", sign(rng), float(rng)),
        7 => format!("d {} {}", sign(rng), numeric(rng)),
        8 => format!("(k = {} OR k = {})", key(rng), key(rng)),
        _ => {
            ["k IS NULL", "k = NULL", "s LIKE 'a%'", "NOT (k = 3)", "(k = 1 OR s = 'a')"][rng.random_range(0..5)].into()
        }
    };
    let conditions: Vec<String> = (0..rng.random_range(1..4)).map(|_| one(rng)).collect();
    conditions.join(" AND ")
}

/// Compares reads of a snapshot; returns how many went through an index.
async fn compare(snapshot: &ViewSnapshot, rng: &mut ChaCha8Rng, keys: i64, seed: u64) -> usize {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let named = indexes().into_iter().enumerate();
    let named = named.map(|(number, columns)| NamedIndex { name: format!("index_{number}"), columns });
    let indexed = SnapshotTable::new(snapshot.clone()).with_indexes(named);
    context.register_table("indexed", Arc::new(indexed)).expect("the name is free");
    context.register_table("plain", Arc::new(SnapshotTable::new(snapshot.clone()))).expect("the name is free");
    let mut through_index = 0;
    for _ in 0..12 {
        let condition = condition(rng, keys);
        let columns = ["*", "k, d", "x", "count(*)"][rng.random_range(0..4)];
        let mut rows = Vec::new();
        for table in ["plain", "indexed"] {
            let text = format!("SELECT {columns} FROM {table} WHERE {condition}");
            let frame = context.sql(&text).await.unwrap_or_else(|error| panic!("seed {seed}: {text}: {error}"));
            let plan = frame
                .clone()
                .create_physical_plan()
                .await
                .unwrap_or_else(|error| panic!("seed {seed}: {text}: {error}"));
            let plan = displayable(plan.as_ref()).indent(false).to_string();
            assert!(table == "indexed" || !plan.contains("index="), "{plan}");
            through_index += usize::from(plan.contains("index=index_"));
            let batches = frame.collect().await.unwrap_or_else(|error| panic!("seed {seed}: {text}: {error}"));
            let mut found: Vec<String> = batches.iter().flat_map(row_texts).collect();
            found.sort();
            rows.push(found);
        }
        assert!(rows[0] == rows[1], "seed {seed}: {columns} WHERE {condition}\n{:?}\n{:?}", rows[0], rows[1]);
    }
    through_index
}

#[tokio::test]
async fn reads_through_indexes_are_reads_without() {
    let (mut through_index, mut without) = (0, 0);
    for seed in 0..12 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let append_only = seed % 4 == 3;
        let keys = [6, 40, 5_000][seed as usize % 3];
        let mut view = MaterializedView::new(schema(), append_only).expect("a plain schema");
        let mut rows: Vec<Row> = Vec::new();
        let mut kept: Vec<ViewSnapshot> = Vec::new();
        let indexed_at = rng.random_range(0..6);
        let mut before = view.snapshot();
        for tick in 0..10_u64 {
            let mut changes: Vec<(Row, i64)> = Vec::new();
            let coming = if tick == 0 { 12_000 } else { rng.random_range(0..1_500) };
            changes.extend((0..coming).map(|_| (row(&mut rng, keys), 1)));
            let going = if append_only { 0 } else { rng.random_range(0..=rows.len() / 3) };
            for _ in 0..going {
                changes.push((rows.swap_remove(rng.random_range(0..rows.len())), -1));
            }
            rows.extend(changes.iter().filter(|(_, weight)| *weight > 0).map(|(row, _)| *row));
            let (changed, weights): (Vec<Row>, Vec<i64>) = changes.into_iter().unzip();
            let applied = view.apply(TickId(tick + 1), vec![weighted(batch(&changed), weights)]);
            applied.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            if tick == indexed_at {
                // Most of it was sorted beside the ticks, some ticks ago.
                let built = before.build_indexes(&indexes()).expect("columns that can be sorted");
                view.set_indexes(&indexes(), &built).expect("columns that can be sorted");
            }
            view.check();
            before = view.snapshot();
            kept.push(before.clone());
        }
        for (tick, snapshot) in kept.iter().enumerate() {
            let found = compare(snapshot, &mut rng, keys, seed).await;
            if (tick as u64) < indexed_at {
                assert_eq!(found, 0, "seed {seed}: a snapshot from before the index");
                without += 1;
            }
            through_index += found;
        }
    }
    assert!(through_index > 300 && without > 5, "{through_index} through an index, {without} snapshots without");
}

#[test]
fn an_index_counts_and_goes_again() {
    let mut view = MaterializedView::new(schema(), false).expect("a plain schema");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let rows: Vec<Row> = (0..20_000).map(|_| row(&mut rng, 1_000_000)).collect();
    view.apply(TickId(1), vec![crate::delta::Delta::inserts(batch(&rows))]).expect("inserts");
    let plain = view.bytes();
    view.set_indexes(&indexes(), &BuiltIndexes::default()).expect("columns that can be sorted");
    let entries = view.snapshot().num_rows() as usize;
    assert!(view.bytes() >= plain + 2 * indexes().len() * entries / 2, "{} bytes, {plain} without", view.bytes());
    view.check();
    view.set_indexes(&[], &BuiltIndexes::default()).expect("none");
    assert_eq!(view.bytes(), plain);
}
