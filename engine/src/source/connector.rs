//! The connectors a source can name.

use std::sync::Arc;

use super::kafka::KafkaOpener;
use super::kafka_options::KafkaOptions;
use super::{SourceOpener, StartPosition};
use crate::error::{Error, Result};

/// The opener for the options of `WITH (…)`, which must hold `connector`. Reaches for nothing yet.
///
/// # Errors
/// `Input` for a connector that does not exist or options it refuses.
pub fn opener(options: &[(String, String)], start: &StartPosition) -> Result<Arc<dyn SourceOpener>> {
    let name = options.iter().find(|(name, _)| name == "connector").map(|(_, value)| value.as_str());
    let rest: Vec<_> = options.iter().filter(|(name, _)| name != "connector").cloned().collect();
    match name {
        Some("kafka") => Ok(Arc::new(KafkaOpener::new(KafkaOptions::parse(&rest)?, start.clone()))),
        Some(other) => Err(Error::input(format!("unknown connector \"{other}\"; the connector is 'kafka'"))),
        None => Err(Error::input("option \"connector\" is missing: write connector = 'kafka'")),
    }
}
