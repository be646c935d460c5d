//! Every function a query may call, and the planner's settings that make SQL mean what it means in Postgres.

pub mod age;
pub mod bytea;
pub mod cumulate_ends;
pub mod date_bin;
pub mod date_trunc;
pub mod date_trunc_in_zone;
pub mod fields;
pub mod hop_starts;
pub(crate) mod integer;
pub mod interval;
pub mod json_build;
pub mod local_day;
pub mod now;
mod number_picture;
pub mod ordered_set;
pub mod round;
pub mod sign;
pub mod similar;
pub(crate) mod sliding;
pub mod text;
pub mod timezone;
pub mod to_char;
mod window_list;

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::config::SessionConfig;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

use self::json_build::{Json, JsonFunction};
use self::ordered_set::OrderedSet;
use crate::asof::syntax;
use crate::binder::values;
use crate::push_down_filter;
use crate::types::PostgresTypes;

/// Settings for planning and running queries: decimal literals are numeric, times are UTC, places in the text are kept.
pub fn session_config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false)
        .set_str("datafusion.execution.time_zone", "+00:00");
    let options = config.options_mut();
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.collect_spans = true;
    // A subquery's value is computed once, and is an error if it has two rows; as a join it would give two.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = true;
    config
}

/// A state with DataFusion's functions, the JSON functions and ours, under `config` and on `runtime`.
/// A server adds its own functions to it.
///
/// # Errors
/// Only if a function cannot be registered, which is a bug.
pub fn session_state(config: SessionConfig, runtime: Arc<RuntimeEnv>) -> Result<SessionState, DataFusionError> {
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_optimizer_rules(push_down_filter::rules_of_a_query())
        .with_type_planner(Arc::new(PostgresTypes))
        .build();
    datafusion_functions_json::register_all(&mut state)?;
    let ours = [
        // In the place of DataFusion's own.
        ScalarUDF::from(date_bin::DateBin::default()),
        ScalarUDF::from(date_trunc::DateTrunc::default()),
        ScalarUDF::from(now::Now::default()),
        ScalarUDF::from(round::Round::default()),
        ScalarUDF::from(syntax::Mark::default()),
        ScalarUDF::from(age::Age::default()),
        ScalarUDF::from(bytea::Bytea::default()),
        ScalarUDF::from(cumulate_ends::CumulateEnds::default()),
        ScalarUDF::from(date_trunc_in_zone::DateTruncInZone::default()),
        ScalarUDF::from(fields::Epoch::default()),
        ScalarUDF::from(fields::IntervalSeconds::default()),
        ScalarUDF::from(hop_starts::HopStarts::default()),
        ScalarUDF::from(interval::IntervalLength::default()),
        ScalarUDF::from(interval::LengthInterval::default()),
        ScalarUDF::from(sign::Sign::default()),
        ScalarUDF::from(similar::SimilarToEscape::default()),
        ScalarUDF::from(text::Text::default()),
        ScalarUDF::from(timezone::Timezone::default()),
        ScalarUDF::from(to_char::ToChar::default()),
        ScalarUDF::from(values::Value::default()),
    ];
    for function in ours {
        state.register_udf(Arc::new(function))?;
    }
    for json in Json::ALL {
        state.register_udf(Arc::new(ScalarUDF::from(JsonFunction::new(json))))?;
    }
    for aggregate in [OrderedSet::mode(), OrderedSet::percentile_disc()] {
        state.register_udaf(Arc::new(AggregateUDF::from(aggregate)))?;
    }
    Ok(state)
}
