//! Bugs put in from outside, to see that the oracle notices each of them.
//!
//! The product has no switch for them. [`plan`] changes the dataflow before it is built, [`flow`] what goes into a view
//! and what comes out of its plan tick by tick, [`restart`] what was saved, [`stack`] what goes from view to view. The oracle beside the view (its second reading
//! of the topic, the batch query, the watermark at which groups are due) is left honest.

mod asof;
pub mod errors;
mod flow;
mod gate;
mod join;
mod over;
mod plan;
mod restart;
pub mod stack;
mod temporal;
mod upsert;
mod windows;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::IntervalMonthDayNano;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Extension, LogicalPlan, UserDefinedLogicalNode, lit};
use engine::dataflow::Dataflow;
use engine::dataflow::bound::Bound;
use engine::dataflow::execution::SavedView;
use engine::dataflow::runtime::TickInput;
use engine::delta::Delta;
use engine::ingest::{IngestState, IngestedTick};
use sql::statement::Envelope;

use super::case::Case;
use super::query::Shape;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// Plan: hopping windows are one slide too short.
    HopTooShort,
    /// Plan: hopping windows begin half a slide too late.
    HopBeginsLate,
    /// Plan: groups close one window before they are final.
    ClosesEarly,
    /// Plan: groups close one window late.
    ClosesLate,
    /// Plan: groups that can still change are evicted.
    EvictsEarly,
    /// Plan: groups close by the bound of another key.
    WrongMonotoneKey,
    /// Plan: retractions are counted as inserts.
    WeightsForgotten,
    /// Plan: an input that retracts is taken for one that does not.
    TakenForAppendOnly,
    /// Plan: the FILTER of one call.
    FilterForgotten,
    /// Plan: two calls have each other's FILTER.
    FiltersSwapped,
    /// Plan: the DISTINCT of one call.
    DistinctForgotten,
    /// Plan: rows with a NULL key are left out.
    NullKeysLost,
    /// Plan: 0.0 and -0.0 are two keys.
    ZeroKeysSplit,
    /// Plan: no NaN is the same key as another.
    NanKeysSplit,
    /// Plan: a join drops each side's rows by that side's own watermark.
    PastByOwnWatermark,
    /// Plan: a join drops rows ten seconds too early.
    PastTooEarly,
    /// Plan: NULL keys of a join match each other where they should not, or do not where they should.
    NullKeysMatch,
    /// Plan: a row that was there with NULLs stays when its first match comes.
    NullRowsStay,
    /// Plan: NOT IN pays no heed to NULLs.
    NotInForgetsNulls,
    /// Plan: what must be true of a pair besides its keys is forgotten.
    ResidualForgotten,
    /// Plan: a Top-N lets one rank more through.
    OneRankMore,
    /// Plan: rows that tie are ranked the other way round.
    TiesReversed,
    /// Plan: RANK counts like DENSE_RANK.
    RanksWithoutGaps,
    /// Plan: partitions of OVER and Top-N that can still change are evicted.
    PartitionsEvictedEarly,
    /// Plan: the rows of one partition of OVER are kept apart.
    PartitionedTooFinely,
    /// Plan: INTERSECT ALL and EXCEPT ALL forget how often a row is there.
    CopiesForgotten,
    /// Plan: rows exactly the gap apart are of two sessions.
    SessionGapShort,
    /// Plan: sessions are evicted while a row could still touch them.
    SessionsEvictedEarly,
    /// Plan: a session keeps the rows that were taken back, and does not fall apart without them.
    SessionNotSplit,
    /// Plan: a slice goes into the windows it would be in if they hopped.
    CumulateHops,
    /// Plan: clocks in a zone are never set.
    SummerTimeIgnored,
    /// Plan: a count window takes one row more.
    OneRowMore,
    /// Plan: count windows are final before the watermark has passed them.
    CountedEarly,
    /// Plan: an ASOF join takes a right row at the left row's own time where it should not, or does not where it should.
    ClosestInclusive,
    /// Plan: left rows without a right one are lost.
    UnmatchedLost,
    /// Plan: an ASOF join drops rows ten seconds too early.
    AsofPastTooEarly,
    /// Plan: one of several conditions on the tick's time is forgotten.
    ConditionForgotten,
    /// Plan: limits on a row's time are two seconds, or a day, too late.
    LimitMoved,
    /// Plan: a row at the limit itself counts where it should not, or does not where it should.
    LimitInclusive,
    /// Plan: windows are shown a second, or a day, before they close, where they are corrected after.
    GateOpensEarly,
    /// Plan: the old row of a key stays when a new one comes.
    OldRowStays,
    /// Plan: keys that are written differently are different keys.
    KeyComparedAsText,
    /// Input: a deletion deletes nothing.
    TombstoneIgnored,
    /// Input: of a key's records in a tick the first counts, not the last.
    FirstRecordWins,
    /// Input: one accepted row of each tick does not reach the view.
    RowLost,
    /// Input: one accepted row of each tick reaches the view twice.
    RowTwice,
    /// Input: late rows reach the view as if they were on time.
    LateRowsAccepted,
    /// Input: the view's watermark runs ahead by the delay.
    WatermarkAhead,
    /// Input: state goes when windows close, though rows are still accepted for them.
    EvictedAtClosing,
    /// Input: the view's watermark stands still.
    WatermarkStuck,
    /// Input: the ticks' time is five seconds behind.
    ClockBehind,
    /// Input: the first tick after a restart brings the rows of the one before once more.
    TickReplayed,
    /// Input: the rows of the first tick after a restart are lost.
    TickLost,
    /// Accounting: an accepted row is not counted.
    OffsetUncounted,
    /// Accounting: late rows are counted, but not listed.
    LateRowsUnlisted,
    /// Accounting: a skipped offset is counted as a tombstone.
    SkippedMiscounted,
    /// Output: one retraction of each tick is missed.
    RetractionMissed,
    /// Output: weights have the wrong sign.
    WeightsNegated,
    /// Output: one changed row of each tick is there twice.
    ChangeTwice,
    /// Output: one of the groups that closed is not emitted.
    ClosedGroupLost,
    /// Output: the first change after a restart is applied twice.
    ChangeReplayed,
    /// Restart: the state of one of several partitions is lost.
    PartitionLost,
    /// Restart: state comes back in the wrong partitions.
    KeyGroupsMisdealt,
    /// Restart: the rows that a call keeps are lost.
    KeptRowsLost,
    /// Restart: a join forgets how many rows each row, or each key, matches.
    MatchesForgotten,
    /// Restart: the rows that OVER, Top-N and set operations keep are each there once.
    RowWeightsForgotten,
    /// Restart: groups forget that they were answered.
    AnswersForgotten,
    /// Restart: rows forget that they were shown.
    ShownForgotten,
    /// Restart: one row of the view is lost.
    ViewRowLost,
    /// Restart: partitions forget how far their event time had come.
    LatenessForgotten,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Self; 70] = [
        Self::HopTooShort,
        Self::HopBeginsLate,
        Self::ClosesEarly,
        Self::ClosesLate,
        Self::EvictsEarly,
        Self::WrongMonotoneKey,
        Self::WeightsForgotten,
        Self::TakenForAppendOnly,
        Self::FilterForgotten,
        Self::FiltersSwapped,
        Self::DistinctForgotten,
        Self::NullKeysLost,
        Self::ZeroKeysSplit,
        Self::NanKeysSplit,
        Self::PastByOwnWatermark,
        Self::PastTooEarly,
        Self::NullKeysMatch,
        Self::NullRowsStay,
        Self::NotInForgetsNulls,
        Self::ResidualForgotten,
        Self::OneRankMore,
        Self::TiesReversed,
        Self::RanksWithoutGaps,
        Self::PartitionsEvictedEarly,
        Self::PartitionedTooFinely,
        Self::CopiesForgotten,
        Self::SessionGapShort,
        Self::SessionsEvictedEarly,
        Self::SessionNotSplit,
        Self::CumulateHops,
        Self::SummerTimeIgnored,
        Self::OneRowMore,
        Self::CountedEarly,
        Self::ClosestInclusive,
        Self::UnmatchedLost,
        Self::AsofPastTooEarly,
        Self::ConditionForgotten,
        Self::LimitMoved,
        Self::LimitInclusive,
        Self::GateOpensEarly,
        Self::OldRowStays,
        Self::KeyComparedAsText,
        Self::TombstoneIgnored,
        Self::FirstRecordWins,
        Self::RowLost,
        Self::RowTwice,
        Self::LateRowsAccepted,
        Self::WatermarkAhead,
        Self::EvictedAtClosing,
        Self::WatermarkStuck,
        Self::ClockBehind,
        Self::TickReplayed,
        Self::TickLost,
        Self::OffsetUncounted,
        Self::LateRowsUnlisted,
        Self::SkippedMiscounted,
        Self::RetractionMissed,
        Self::WeightsNegated,
        Self::ChangeTwice,
        Self::ClosedGroupLost,
        Self::ChangeReplayed,
        Self::PartitionLost,
        Self::KeyGroupsMisdealt,
        Self::KeptRowsLost,
        Self::MatchesForgotten,
        Self::RowWeightsForgotten,
        Self::AnswersForgotten,
        Self::ShownForgotten,
        Self::ViewRowLost,
        Self::LatenessForgotten,
    ];

    /// Whether the bug could show in `case` at all, as far as its view and its restarts tell; never false for one it does.
    pub fn may_touch(self, case: &Case) -> bool {
        let view = case.query.create_text();
        let mut restarts = case.restarts.iter().flatten();
        let joins = matches!(case.query.shape, Shape::Join(_));
        let temporal = matches!(case.query.shape, Shape::Temporal(_));
        let windowed = matches!(case.query.shape, Shape::Windowed(_));
        let sessions = view.contains("session(") || view.contains("SESSION(");
        let is_keyed = case.feeds[0].envelope != Envelope::None;
        let late = case.feeds.iter().any(|feed| feed.accept_late.is_some_and(|accepted| accepted > 3));
        let updates = !case.query.emit_on_close || late;
        match self {
            Self::GateOpensEarly => late && case.query.emit_on_close,
            Self::EvictedAtClosing => late && case.evict,
            Self::HopTooShort => view.contains("hop(") && view.contains("GROUP BY"),
            Self::HopBeginsLate => ["hop(", "cumulate(", "CUMULATE("].iter().any(|word| view.contains(word)),
            Self::SessionGapShort => sessions,
            Self::SessionNotSplit => sessions && updates,
            Self::SessionsEvictedEarly => sessions && case.evict,
            Self::CumulateHops => view.contains("cumulate(") || view.contains("CUMULATE("),
            Self::SummerTimeIgnored => windowed && view.contains("/"),
            Self::OneRowMore | Self::CountedEarly => view.contains("count_window("),
            Self::ClosesEarly | Self::ClosesLate | Self::WatermarkStuck | Self::ClosedGroupLost => {
                case.query.emit_on_close
            }
            Self::EvictsEarly => case.evict && updates && view.contains("GROUP BY"),
            Self::WrongMonotoneKey => view.contains("GROUP BY"),
            Self::WeightsForgotten | Self::TakenForAppendOnly => {
                view.contains("AS inner_view") || joins || windowed || matches!(case.query.shape, Shape::Over(_))
            }
            Self::PastByOwnWatermark | Self::PastTooEarly => joins && case.evict,
            Self::NullKeysMatch | Self::NullRowsStay | Self::ResidualForgotten => joins,
            Self::NotInForgetsNulls => view.contains("NOT IN"),
            Self::FilterForgotten | Self::FiltersSwapped => view.contains("FILTER (WHERE"),
            Self::DistinctForgotten => view.contains("(DISTINCT"),
            Self::NullKeysLost | Self::ZeroKeysSplit | Self::NanKeysSplit => view.contains("GROUP BY"),
            Self::ClosestInclusive | Self::UnmatchedLost => view.contains("ASOF"),
            Self::AsofPastTooEarly => view.contains("ASOF") && case.evict,
            Self::ConditionForgotten | Self::LimitMoved | Self::LimitInclusive | Self::ClockBehind => temporal,
            Self::ShownForgotten => temporal && restarts.next().is_some(),
            Self::WatermarkAhead => view.contains("GROUP BY") || view.contains("PARTITION BY"),
            Self::OldRowStays | Self::KeyComparedAsText | Self::TombstoneIgnored | Self::FirstRecordWins => is_keyed,
            Self::RowLost | Self::RowTwice | Self::LateRowsAccepted | Self::WeightsNegated | Self::ChangeTwice => true,
            Self::OffsetUncounted | Self::LateRowsUnlisted => true,
            Self::SkippedMiscounted => case.records.iter().any(|record| record.skipped > 0),
            Self::RetractionMissed => updates,
            Self::TickReplayed | Self::TickLost | Self::ChangeReplayed => restarts.next().is_some(),
            Self::ViewRowLost | Self::LatenessForgotten => restarts.next().is_some(),
            Self::OneRankMore | Self::TiesReversed | Self::RanksWithoutGaps => {
                ["AS rn", "LIMIT", "FETCH", "DISTINCT ON"].iter().any(|word| view.contains(word))
            }
            Self::PartitionsEvictedEarly => case.evict && updates && view.contains("PARTITION BY"),
            Self::PartitionedTooFinely => view.contains("OVER ("),
            Self::CopiesForgotten => view.contains("INTERSECT ALL") || view.contains("EXCEPT ALL"),
            Self::RowWeightsForgotten => {
                restarts.next().is_some() && matches!(case.query.shape, Shape::Over(_) | Shape::Windowed(_))
            }
            Self::KeptRowsLost => restarts.next().is_some(),
            Self::MatchesForgotten => restarts.next().is_some() && joins,
            Self::AnswersForgotten => restarts.next().is_some() && updates,
            Self::PartitionLost | Self::KeyGroupsMisdealt => restarts.any(|parallelism| *parallelism > 1),
        }
    }
}

/// A bug at work in one run.
#[derive(Debug)]
pub struct Sabotage {
    bug: Bug,
    acted: bool,
    /// No tick came since the last restart.
    restarted: bool,
    /// The rows of the last tick.
    last_rows: Vec<RecordBatch>,
}

impl Sabotage {
    /// A bug that has done nothing yet.
    pub fn new(bug: Bug) -> Self {
        Self { bug, acted: false, restarted: false, last_rows: Vec::new() }
    }

    /// Whether it changed anything.
    pub fn has_acted(&self) -> bool {
        self.acted
    }

    /// Changes a view's plan.
    ///
    /// # Errors
    /// DataFusion's, if it does not take the tampered plan.
    pub fn plan(&mut self, dataflow: &mut Dataflow) -> datafusion::common::Result<()> {
        let plan = &mut dataflow.plan;
        self.acted |= plan::tamper(self.bug, plan)? | over::tamper(self.bug, plan)? | windows::tamper(self.bug, plan)?;
        self.acted |= temporal::tamper(self.bug, plan)? | asof::tamper(self.bug, plan)? | gate::tamper(self.bug, plan)?;
        self.acted |= upsert::tamper(self.bug, dataflow)?;
        Ok(())
    }

    /// Changes what one reading of the topic says of a tick, but not its rows.
    pub fn ingested(&mut self, tick: &mut IngestedTick) {
        self.acted |= flow::tamper_accounting(self.bug, tick);
    }

    /// Changes what goes into the view at a tick; `late` are the rows that should not.
    pub fn input(&mut self, input: &mut TickInput, late: Option<&RecordBatch>) {
        let honest = flow::rows(input);
        self.acted |= match self.bug {
            Bug::TickReplayed if self.restarted => flow::add_rows(input, &self.last_rows),
            Bug::TickLost if self.restarted => flow::clear_rows(input),
            bug => flow::tamper_input(bug, input, late),
        };
        self.last_rows = honest;
    }

    /// Changes what comes out of the view's plan at a tick.
    pub fn output(&mut self, deltas: &mut Vec<Delta>) {
        let restarted = std::mem::take(&mut self.restarted);
        self.acted |= match self.bug {
            Bug::ChangeReplayed if restarted => flow::repeat(deltas),
            Bug::ChangeReplayed => false,
            bug => flow::tamper_output(bug, deltas),
        };
    }

    /// Changes what was saved: the operators' state, the view's rows, the source's progress. The view goes on at
    /// `parallelism`.
    pub fn restart(
        &mut self,
        saved: &mut SavedView,
        rows: &mut Vec<RecordBatch>,
        state: &mut IngestState,
        parallelism: usize,
    ) {
        self.restarted = true;
        self.acted |= match self.bug {
            Bug::ViewRowLost => flow::drop_last_row(rows),
            Bug::LatenessForgotten => restart::forget_event_times(state),
            bug => restart::tamper(bug, saved, parallelism),
        };
    }
}

/// Changes every node of one kind that `change` takes; says whether there was one.
fn change_each<N: UserDefinedLogicalNode + 'static>(
    plan: &mut LogicalPlan,
    change: impl Fn(&N) -> Option<N>,
) -> datafusion::common::Result<bool> {
    let changed = plan.clone().transform_up(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        let changed = extension.node.as_any().downcast_ref::<N>().and_then(&change);
        Ok(changed.map_or_else(|| Transformed::no(node), |changed| Transformed::yes(extension_of(changed))))
    })?;
    *plan = changed.data;
    Ok(changed.transformed)
}

fn extension_of(node: impl UserDefinedLogicalNode + 'static) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// A bound that is later by so many days and nanoseconds.
fn later(bound: &Bound, days: i32, nanoseconds: i64) -> Bound {
    let interval = lit(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, days, nanoseconds))));
    bound.map(|value| Ok::<_, std::convert::Infallible>(value + interval.clone())).expect("infallible")
}
