//! Chooses how each call is computed.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};

use super::call::CallState;
use super::distinct::{CALLS_MAX, DistinctCall, DistinctState};
use super::general::states_merge;
use super::merged::MergedState;
use super::ordered::{Bytes, Numbers, OrderedState};
use super::retained::RetainedState;
use super::spec::{AggregateCall, AggregateSpec, Emit, Function};
use super::typed::native::with_integer;
use super::typed::{
    BooleanKernel, BooleanRule, CountKernel, FloatSumKernel, MinMaxBytesKernel, MinMaxKernel, Narrow, SumKernel,
    TypedState, Wide, needs_wide,
};
use crate::error::{Error, Result};

/// State of all calls, and for each the calls that it answers, in its order.
pub(super) type CallStates = Vec<(Box<dyn CallState>, Vec<usize>)>;

/// The states of the calls of `spec`.
pub(super) fn call_states(spec: &AggregateSpec) -> Result<CallStates> {
    let mut states: CallStates = Vec::new();
    let mut distinct: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    for (index, call) in spec.calls.iter().enumerate() {
        if distinct_kernel(spec, index, call).is_some() {
            // Calls over the same arguments share one table, until its bits run out.
            match distinct.iter_mut().find(|(args, calls)| *args == call.arguments && calls.len() < CALLS_MAX) {
                Some((_, calls)) => calls.push(index),
                None => distinct.push((call.arguments.clone(), vec![index])),
            }
        } else {
            let state = match kernel(&name(index, call), call, &spec.input, spec.input_weighted) {
                Some(state) => state,
                None => general(spec, index, call)?,
            };
            states.push((state, vec![index]));
        }
    }
    for (arguments, calls) in distinct {
        let distinct_call = |index: &usize| {
            let call = &spec.calls[*index];
            let kernel = distinct_kernel(spec, *index, call).expect("asked above");
            DistinctCall { name: name(*index, call), filter: call.filter, kernel }
        };
        let members = calls.iter().map(distinct_call).collect();
        let state = DistinctState::try_new(&spec.input, arguments, spec.input_weighted, members)?;
        states.push((Box::new(state), calls));
    }
    Ok(states)
}

/// Names of calls may repeat, those of saved columns may not.
fn name(index: usize, call: &AggregateCall) -> String {
    format!("{index}_{}", call.field.name())
}

fn general(spec: &AggregateSpec, index: usize, call: &AggregateCall) -> Result<Box<dyn CallState>> {
    let (name, expr) = (name(index, call), call.general(&spec.input)?);
    // What an accumulator refuses it refuses here, not at the first row.
    let refused = |e| Error::unsupported(call.field.name().clone()).with_source(e);
    expr.create_accumulator().map_err(refused)?;
    let (filter, input, each_tick) = (call.filter, &spec.input, spec.emit == Emit::OnUpdate);
    Ok(if !spec.input_weighted && states_merge(&expr) {
        Box::new(MergedState::try_new(&name, expr, filter, input, spec.keys > 0, each_tick)?)
    } else {
        Box::new(RetainedState::try_new(&name, expr, filter, input, each_tick)?)
    })
}

/// The kernel behind a distinct call: it counts or sums what the table of distinct values lets through.
fn distinct_kernel(spec: &AggregateSpec, index: usize, call: &AggregateCall) -> Option<Box<dyn CallState>> {
    if !call.distinct || call.arguments.is_empty() {
        return None;
    }
    let mut inner = AggregateCall { filter: None, distinct: false, arguments: vec![0], ..call.clone() };
    match call.function {
        Function::Count => (inner.function, inner.arguments) = (Function::CountStar, Vec::new()),
        Function::Sum | Function::Avg => {}
        _ => return None,
    }
    let values = Arc::new(spec.input.project(&call.arguments).ok()?);
    kernel(&name(index, call), &inner, &values, true)
}

/// The kernel of a call over `input`, if its function and types have one.
fn kernel(name: &str, call: &AggregateCall, input: &SchemaRef, weighted: bool) -> Option<Box<dyn CallState>> {
    let (arguments, filter) = (call.arguments.clone(), call.filter);
    match &call.function {
        Function::CountStar => typed(CountKernel { arguments: Vec::new() }, name, filter),
        Function::Count if !call.distinct => typed(CountKernel { arguments }, name, filter),
        Function::General(_) | Function::Count => None,
        function => {
            let [argument] = arguments[..] else { return None };
            let (from, to) = (input.field(argument).data_type(), call.field.data_type());
            let single = Single { name, argument, filter, from, to, weighted };
            match function {
                Function::Sum if !call.distinct => single.sum(false),
                Function::Avg if !call.distinct => single.sum(true),
                // Equal values count once or often alike.
                Function::Min => single.min_max(false),
                Function::Max => single.min_max(true),
                Function::BoolAnd => single.boolean(BooleanRule::And),
                Function::BoolOr => single.boolean(BooleanRule::Or),
                _ => None,
            }
        }
    }
}

fn typed<K: super::typed::Kernel>(kernel: K, name: &str, filter: Option<usize>) -> Option<Box<dyn CallState>> {
    Some(Box::new(TypedState::new(kernel, name, filter)))
}

/// A call with one argument.
struct Single<'a> {
    name: &'a str,
    argument: usize,
    filter: Option<usize>,
    from: &'a DataType,
    to: &'a DataType,
    weighted: bool,
}

impl Single<'_> {
    fn sum(&self, is_average: bool) -> Option<Box<dyn CallState>> {
        let Self { name, argument, filter, from, to, .. } = *self;
        match from {
            DataType::Float32 if *to == DataType::Float64 => {
                return typed(FloatSumKernel::<f32>::new(argument, is_average), name, filter);
            }
            DataType::Float64 if *to == DataType::Float64 => {
                return typed(FloatSumKernel::<f64>::new(argument, is_average), name, filter);
            }
            _ => {}
        }
        let wide = needs_wide(from, to, is_average)?;
        with_integer!(from, N => if wide {
            typed(SumKernel::<N, Wide>::new(argument, from, to.clone(), is_average), name, filter)
        } else {
            typed(SumKernel::<N, Narrow>::new(argument, from, to.clone(), is_average), name, filter)
        }, _ => None)
    }

    fn min_max(&self, is_max: bool) -> Option<Box<dyn CallState>> {
        let Self { name, argument, filter, from, to, weighted } = *self;
        if from != to {
            return None;
        }
        macro_rules! numbers {
            ($native:ty) => {
                if weighted {
                    let state = OrderedState::<Numbers<$native>>::new(name, argument, filter, to.clone(), is_max);
                    Some(Box::new(state) as Box<dyn CallState>)
                } else {
                    typed(MinMaxKernel::<$native>::new(argument, to.clone(), is_max), name, filter)
                }
            };
        }
        match from {
            DataType::Boolean => self.boolean(if is_max { BooleanRule::Or } else { BooleanRule::And }),
            DataType::Float32 => numbers!(f32),
            DataType::Float64 => numbers!(f64),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => self.min_max_bytes(is_max),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => self.min_max_bytes(is_max),
            _ => with_integer!(from, N => numbers!(N), _ => None),
        }
    }

    fn min_max_bytes(&self, is_max: bool) -> Option<Box<dyn CallState>> {
        let Self { name, argument, filter, to, weighted, .. } = *self;
        if weighted {
            return Some(Box::new(OrderedState::<Bytes>::new(name, argument, filter, to.clone(), is_max)));
        }
        typed(MinMaxBytesKernel { argument: [argument], data_type: to.clone(), is_max }, name, filter)
    }

    fn boolean(&self, rule: BooleanRule) -> Option<Box<dyn CallState>> {
        let boolean = *self.from == DataType::Boolean && *self.to == DataType::Boolean;
        boolean.then(|| typed(BooleanKernel { argument: [self.argument], rule }, self.name, self.filter))?
    }
}
