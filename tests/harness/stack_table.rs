//! A table among the relations of a stack: random rows that come and go, tick by tick.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use arrow::datatypes::{Fields, Schema, SchemaRef};
use engine::dataflow::relation::RelationProperties;
use engine::delta::{Delta, Weights};
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use sql::catalog::{Catalog, Definition, NewObject};
use sql::statement::{CreateTable, Statement};

use super::stream::START_MICROS;

/// Its name.
pub const NAME: &str = "t";

const CREATE: &str = "CREATE TABLE t (k bigint, g text, v bigint, ts timestamp)";

/// Rows that one tick adds at most.
const ROWS_MAX: usize = 6;

type Row = (Option<i64>, Option<&'static str>, Option<i64>, Option<i64>);

fn create() -> CreateTable {
    let Statement::CreateTable(create) = sql::parser::parse(CREATE).expect("a valid statement").remove(0).statement
    else {
        unreachable!("a CREATE TABLE")
    };
    *create
}

/// Its columns.
pub fn schema() -> SchemaRef {
    Arc::new(Schema::new(create().columns.into_iter().collect::<Fields>()))
}

/// The catalog with the table.
pub fn with_table(catalog: &Catalog) -> Catalog {
    let create = create();
    let properties = RelationProperties::of_table(create.columns.len());
    catalog.with(NewObject {
        name: NAME.to_owned(),
        text: CREATE.to_owned(),
        columns: create.columns.clone(),
        definition: Definition::Table(Arc::new(create)),
        reads: Default::default(),
        properties: Some(Arc::new(properties)),
    })
}

/// What so many ticks write.
pub fn writes(rng: &mut impl Rng, ticks: usize) -> Vec<Delta> {
    let mut present: Vec<Row> = Vec::new();
    let mut write = |_| {
        let mut changed: Vec<(Row, i64)> = Vec::new();
        for _ in 0..rng.random_range(0..3) {
            if !present.is_empty() {
                let gone = present.swap_remove(rng.random_range(0..present.len()));
                changed.push((gone, -1));
            }
        }
        for _ in 0..rng.random_range(0..ROWS_MAX) {
            let row = row(rng);
            present.push(row);
            changed.push((row, 1));
        }
        delta(&changed)
    };
    (0..ticks).map(&mut write).collect()
}

fn row(rng: &mut impl Rng) -> Row {
    let maybe = |value: i64| (value != 0).then_some(value);
    let (k, v) = (maybe(rng.random_range(0..5)), maybe(rng.random_range(-3..4)));
    let g = [None, Some(""), Some("a"), Some("b")].choose(rng).copied().flatten();
    let ts = (rng.random_range(0..10) > 0).then(|| START_MICROS + rng.random_range(0..60) * 500_000);
    (k, g, v, ts)
}

fn delta(rows: &[(Row, i64)]) -> Delta {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(row, _)| row.0).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(row, _)| row.1).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|(row, _)| row.2).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|(row, _)| row.3).collect::<TimestampMicrosecondArray>()),
    ];
    let rows_of = RecordBatch::try_new(schema(), columns).expect("the table's columns");
    let weights = Weights::Signed(Int64Array::from_iter_values(rows.iter().map(|(_, weight)| *weight)));
    Delta { rows: rows_of, weights }
}
