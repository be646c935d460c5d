//! `CREATE SOURCE` and `DROP SOURCE`: from a definition to a source the engine can read.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use engine::Error;
use engine::dataflow::relation::RelationProperties;
use engine::dataflow::scan::DeltaTable;
use engine::engine::SourceDefinition;
use engine::format::DecodeSpec;
use engine::format::json::EPOCH_UNIT;
use engine::format::json::JsonDecoder;
use engine::format::json::keyed::{Envelope, JsonKeyedDecoder};
use engine::ingest::{DecoderFactory, IncludedColumn, IngestSpec};
use engine::source::connector;
use sql::SqlError;
use sql::SqlState;
use sql::statement::{self, CreateSource, WatermarkDefinition};

use super::secrets::Secrets;

/// Longest record accepted unless `record_bytes_max` says otherwise, bytes.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// Deepest JSON nesting accepted.
const DEPTH_MAX: usize = 64;

/// Options that are the engine's, not the connector's.
const ENGINE_OPTIONS: [&str; 4] = ["max_future_skew", "record_bytes_max", "error_payload_bytes_max", TIMESTAMP_UNIT];

/// The option that says what integers in timestamp columns count, and the units it takes.
const TIMESTAMP_UNIT: &str = "timestamp_unit";
const TIMESTAMP_UNITS: [&str; 4] = ["s", "ms", "us", "ns"];

/// Makes the engine's definition of a source, without its number. Opens nothing yet.
///
/// # Errors
/// 22023 for an option the connector or the engine refuses; 42704, 58030 for a secret that cannot be had. No error shows a
/// secret's value.
pub(super) fn definition(create: &CreateSource, secrets: &Secrets) -> Result<SourceDefinition, SqlError> {
    let (own, mut connector_options): (Vec<_>, Vec<_>) =
        create.options.iter().cloned().partition(|(name, _)| ENGINE_OPTIONS.contains(&name.as_str()));
    let secrets = secrets.resolved(create)?;
    connector_options.extend(secrets.iter().map(|(name, secret)| (name.clone(), secret.reveal().to_owned())));
    let opener = connector::opener(&connector_options, &create.start).map_err(|error| {
        let secrets: Vec<_> = secrets.iter().map(|(_, secret)| secret.clone()).collect();
        SqlError::from(error).without(&secrets)
    })?;
    let spec = ingest_spec(create, opener.topic(), &own)?;
    let factory = decoder_factory(create)?;
    Ok(SourceDefinition { id: 0, name: create.name.clone(), spec, factory, opener })
}

/// What makes a source's decoders.
///
/// # Errors
/// 22023 for an option that makes no sense.
pub fn decoder_factory(create: &CreateSource) -> Result<DecoderFactory, SqlError> {
    let key = create.primary_key.clone();
    let envelope = match create.envelope {
        statement::Envelope::None => None,
        statement::Envelope::Upsert => Some(Envelope::Upsert),
        statement::Envelope::Debezium => Some(Envelope::Debezium),
    };
    let unit =
        create.options.iter().find(|(name, _)| name == TIMESTAMP_UNIT).map(|(_, unit)| unit.trim().to_lowercase());
    if let Some(unit) = unit.as_ref().filter(|unit| !TIMESTAMP_UNITS.contains(&unit.as_str())) {
        let message = format!("invalid value for option \"{TIMESTAMP_UNIT}\": \"{unit}\" is not s, ms, us or ns");
        return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    Ok(Arc::new(move |mut spec| {
        if let Some(unit) = &unit {
            spec.columns.iter_mut().for_each(|column| *column = counting(column, unit));
        }
        Ok(match envelope {
            None => Box::new(JsonDecoder::new(spec)?),
            Some(envelope) => Box::new(JsonKeyedDecoder::new(spec, &key, envelope)?),
        })
    }))
}

/// A timestamp column whose integers count `unit`s; any other column as it is.
fn counting(column: &FieldRef, unit: &str) -> FieldRef {
    if !matches!(column.data_type(), DataType::Timestamp(..)) {
        return Arc::clone(column);
    }
    let mut metadata = column.metadata().clone();
    metadata.insert(EPOCH_UNIT.to_owned(), unit.to_owned());
    Arc::new(Field::clone(column).with_metadata(metadata))
}

/// The ingest of a source, for tests that feed it themselves. The connector's options are not looked at.
///
/// # Errors
/// As for [`definition`].
pub fn ingest_spec_of(create: &CreateSource) -> Result<IngestSpec, SqlError> {
    let own = create.options.iter().filter(|(name, _)| ENGINE_OPTIONS.contains(&name.as_str()));
    ingest_spec(create, &create.name, &own.cloned().collect::<Vec<_>>())
}

fn ingest_spec(create: &CreateSource, topic: &str, options: &[(String, String)]) -> Result<IngestSpec, SqlError> {
    let event_time = create.watermark.as_ref().map(|watermark| &watermark.column);
    let event_time = event_time.and_then(|column| create.columns.iter().position(|field| field.name() == column));
    let decode = DecodeSpec {
        columns: create.columns.clone(),
        used: vec![],
        event_time,
        record_bytes_max: RECORD_BYTES_MAX,
        depth_max: DEPTH_MAX,
    };
    let mut spec = IngestSpec::new(&create.name, topic, decode);
    spec.metadata = create.include.iter().map(|(kind, name)| included(*kind, name)).collect();
    if create.envelope != statement::Envelope::None {
        spec.set_key(create.primary_key.clone());
    }
    if let Some(watermark) = &create.watermark {
        spec.delay_micros = micros(watermark.delay);
        spec.accept_late_micros = watermark.accept_late.map(micros);
        spec.idle_timeout_micros = watermark.idle_timeout.map(micros);
    }
    for (name, value) in options {
        match name.as_str() {
            "max_future_skew" if value.eq_ignore_ascii_case("off") => spec.max_future_skew_micros = None,
            "max_future_skew" => spec.max_future_skew_micros = Some(interval_micros(name, value)?),
            "record_bytes_max" => spec.decode.record_bytes_max = bytes(name, value)?,
            TIMESTAMP_UNIT => {}
            _ => spec.payload_bytes_max = bytes(name, value)?,
        }
    }
    Ok(spec)
}

fn bytes(name: &str, value: &str) -> Result<usize, SqlError> {
    let refuse = || Error::input(format!("invalid value for option \"{name}\": \"{value}\" is not a number of bytes"));
    value.trim().parse().map_err(|_| refuse().into())
}

fn interval_micros(name: &str, value: &str) -> Result<i64, SqlError> {
    let refuse = || Error::input(format!("invalid value for option \"{name}\": \"{value}\" is not a length of time"));
    let micros = sql::interval::Interval::parse(value, None)?.fixed_micros();
    Ok(micros.filter(|micros| *micros >= 0).ok_or_else(refuse)?)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// All columns of a source, declared and included.
pub fn columns(create: &CreateSource) -> Vec<FieldRef> {
    let included = create.include.iter().map(|(kind, name)| included(*kind, name));
    create.columns.iter().cloned().chain(included.map(|column| Arc::new((&column).into()))).collect()
}

fn included(kind: statement::MetadataColumn, name: &str) -> IncludedColumn {
    use engine::ingest::MetadataColumn as To;
    use statement::MetadataColumn as From;
    let column = match kind {
        From::Partition => To::Partition,
        From::Offset => To::Offset,
        From::Timestamp => To::Timestamp,
        From::Key => To::Key,
        From::Headers => To::Headers,
        From::Topic => To::Topic,
    };
    IncludedColumn { column, name: name.to_owned(), used: false }
}

/// The source as the leaf of an incremental plan.
pub fn delta_table(create: &CreateSource) -> DeltaTable {
    let schema = Arc::new(arrow::datatypes::Schema::new(columns(create).into_iter().collect::<Fields>()));
    let event_time = create.watermark.as_ref().map(|watermark| watermark.column.as_str());
    let accepts_late = create.watermark.as_ref().is_some_and(WatermarkDefinition::accepts_late);
    let properties = RelationProperties::of_source(&create.name, &schema, event_time).accepting_late(accepts_late);
    let key = create.primary_key.iter().map(|index| create.columns[*index].name().clone()).collect();
    DeltaTable::new(&create.name, schema, Arc::new(properties)).with_key(key)
}
