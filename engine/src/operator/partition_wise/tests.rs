//! After every tick the summed output is what going through all rows by hand gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::execution::SessionStateBuilder;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_window::row_number::row_number_udwf;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{
    EmptyRelation, Expr, LogicalPlan, Window, WindowFrame, WindowFrameBound, WindowFrameUnits,
};
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::{col, lit};
use datafusion::scalar::ScalarValue;

use super::{BatchPlan, PartitionWiseOperator, PartitionWiseSpec};
use crate::error::ErrorKind;
use crate::operator::aggregate::Emit;
use crate::operator::naive::{Answer, Cluster, History, Row, Rows, delta, schema, text};
use crate::operator::{Operator, TickContext};
use crate::time::TickId;

/// `row_number()` and `sum(o)` over the row before and the row, by `w` and `k` in the order of `o` and the other columns.
fn template() -> LogicalPlan {
    let order = ["o", "g"].map(|column| col(column).sort(true, false)).to_vec();
    let previous = WindowFrameBound::Preceding(ScalarValue::UInt64(Some(1)));
    let pair = WindowFrame::new_bounds(WindowFrameUnits::Rows, previous, WindowFrameBound::CurrentRow);
    let over = |mut function: WindowFunction, frame: WindowFrame| {
        function.params.partition_by = vec![col("w"), col("k")];
        function.params.order_by = order.clone();
        function.params.window_frame = frame;
        Expr::WindowFunction(Box::new(function))
    };
    let number = over(WindowFunction::new(row_number_udwf(), vec![]), WindowFrame::new(Some(false))).alias("number");
    let sum = over(WindowFunction::new(sum_udaf(), vec![col("o") + lit(0i64)]), pair).alias("pair");
    let schema = Arc::new(DFSchema::try_from(schema().as_ref().clone()).expect("different names"));
    let leaf = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema });
    LogicalPlan::Window(Window::try_new(vec![number, sum], Arc::new(leaf)).expect("typed expressions"))
}

fn maker(weighted: bool, monotone: bool, emit: Emit) -> impl Fn() -> Box<dyn Operator> {
    let template = template();
    let state = SessionStateBuilder::new().build();
    let planner = DefaultPhysicalPlanner::default();
    let planned = planner.create_physical_plan(&template, &state);
    let planned = futures::executor::block_on(planned).expect("a plan");
    let spec = PartitionWiseSpec {
        leaves_out_failures: false,
        input: schema(),
        output: Arc::new(template.schema().as_arrow().clone()),
        keys: vec![0, 1],
        input_weighted: weighted,
        monotone_key: monotone.then_some(0),
        emit,
        computes: vec![],
    };
    move || {
        let plan = BatchPlan::try_new(Arc::clone(&planned)).expect("a plan over one leaf");
        Box::new(PartitionWiseOperator::try_new(spec.clone(), plan).expect("a sound spec"))
    }
}

fn by_hand(rows: &Rows) -> Answer {
    let mut groups: BTreeMap<(i64, Option<i64>), Vec<&Row>> = BTreeMap::new();
    for (row, weight) in rows {
        groups.entry((row.0, row.1)).or_default().extend(std::iter::repeat_n(row, *weight as usize));
    }
    let mut answer = Answer::new();
    for rows in groups.values_mut() {
        rows.sort_by_key(|row| {
            (row.2.map_or((1, 0), |o| (0, o)), row.3.as_ref().map_or((1, ""), |text| (0, text.as_str())))
        });
        for (index, row) in rows.iter().enumerate() {
            let pair = rows[index.saturating_sub(1)..=index].iter().filter_map(|row| row.2);
            let pair = pair.reduce(|a, b| a + b).map_or("NULL".to_owned(), |sum| sum.to_string());
            *answer.entry(text(row, &[(index + 1).to_string(), pair])).or_default() += 1;
        }
    }
    answer
}

#[test]
fn the_output_adds_up_to_the_functions_of_all_rows() {
    for seed in 0..24 {
        let weighted = seed % 2 == 0;
        let mut history = History::new(seed, weighted);
        let mut cluster = Cluster::new(maker(weighted, false, Emit::OnUpdate), &[0, 1]);
        for tick in 0..12 {
            let changes = history.tick();
            cluster.step(&[changes], None);
            assert_eq!(cluster.answer, by_hand(&history.rows), "seed {seed}, tick {tick}");
            if tick % 4 == 3 {
                cluster.restart(tick % 3 + 1);
            }
        }
    }
}

#[test]
fn eviction_changes_no_answer_and_frees_closed_windows() {
    for seed in 0..8 {
        let weighted = seed % 2 == 0;
        let mut history = History::new(seed, weighted);
        let mut evicting = Cluster::new(maker(weighted, true, Emit::OnUpdate), &[0, 1]);
        let mut keeping = Cluster::new(maker(weighted, true, Emit::OnUpdate), &[0, 1]);
        keeping.evict = false;
        for tick in 0..16 {
            let changes = history.tick();
            evicting.step(&[changes.clone()], Some(history.closed_below));
            keeping.step(&[changes], Some(history.closed_below));
            assert_eq!(evicting.answer, keeping.answer, "seed {seed}, tick {tick}");
            assert_eq!(evicting.answer, by_hand(&history.rows), "seed {seed}, tick {tick}");
            history.closed_below += i64::from(tick % 2 == 0);
            if tick % 5 == 4 {
                evicting.restart(2);
            }
        }
        assert!(evicting.keys() < keeping.keys(), "seed {seed}: nothing was evicted");
    }
}

#[test]
fn a_closed_window_is_answered_once() {
    for seed in 0..8 {
        let mut history = History::new(seed, false);
        let mut cluster = Cluster::new(maker(false, true, Emit::OnClose), &[0, 1]);
        cluster.evict = seed % 2 == 0;
        cluster.append_only = true;
        for tick in 0..16 {
            let changes = history.tick();
            let closed_below = history.closed_below + i64::from(tick % 2 == 0);
            cluster.step(&[changes], Some(closed_below));
            history.closed_below = closed_below;
            let final_rows = history.rows.iter().filter(|(row, _)| row.0 < closed_below);
            let final_rows: Rows = final_rows.map(|(row, weight)| (row.clone(), *weight)).collect();
            assert_eq!(cluster.answer, by_hand(&final_rows), "seed {seed}, tick {tick}");
            if tick % 5 == 4 {
                cluster.restart(tick % 3 + 1);
            }
        }
    }
}

#[test]
fn a_retraction_without_an_insert_is_an_error() {
    let tick =
        TickContext { tick: TickId(1), now_micros: 0, closed_below: None, evict: true, ..TickContext::default() };
    let mut operator = maker(true, false, Emit::OnUpdate)();
    let inputs = vec![vec![delta(&[((0, Some(1), Some(2), None), -1)])]];
    assert_eq!(operator.step(inputs, &tick).expect_err("no such row").kind(), ErrorKind::Data);
}
