//! The rows of a source with a primary key, found the slow and obvious way: the last record of each key, as the log has them.
//!
//! Keys, deletions and order are read from the raw records, by other code than the engine's; the values of the other columns are
//! those of a reading that decodes every column.

use std::collections::BTreeMap;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int32Type, Int64Type, SchemaRef};
use engine::ingest::{DELETED_COLUMN, IngestSpec, PLACE_COLUMNS};
use engine::source::RawRecord;
use serde_json::Value;
use sql::statement::Envelope;

/// A key, column by column.
type Key = Vec<String>;

/// One partition's last record of a key.
#[derive(Debug, Clone)]
struct Last {
    timestamp_ms: Option<i64>,
    /// None once it was deleted.
    row: Option<RecordBatch>,
}

/// See the module.
#[derive(Debug)]
pub struct LastRecords {
    envelope: Envelope,
    /// The key columns' names, and whether each is a number.
    key: Vec<(String, bool)>,
    schema: SchemaRef,
    records: BTreeMap<Key, BTreeMap<i32, Last>>,
}

impl LastRecords {
    /// No records yet; `None` for a source without a key.
    pub fn new(spec: &IngestSpec, envelope: Envelope) -> Option<Self> {
        let columns = spec.key.iter().map(|index| &spec.decode.columns[*index]);
        let key = columns.map(|field| (field.name().clone(), *field.data_type() != DataType::Utf8View)).collect();
        let keyed = envelope != Envelope::None;
        keyed.then(|| Self { envelope, key, schema: spec.table_schema(), records: BTreeMap::new() })
    }

    /// The columns of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows the changes of a tick must have, with so many accepted records and tombstones.
    pub fn changes(&self, accepted: u64, tombstones: u64) -> u64 {
        accepted + if self.envelope == Envelope::Upsert { tombstones } else { 0 }
    }

    /// Takes in a tick's records; `decoded` are those of them that were taken, with every column.
    ///
    /// # Errors
    /// A record that was taken for something else than it is.
    pub fn absorb(&mut self, records: &[RawRecord<'_>], decoded: &[RecordBatch]) -> Result<(), String> {
        let mut rows: BTreeMap<(i32, i64), RecordBatch> = BTreeMap::new();
        for batch in decoded {
            let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("no column {name}"));
            let partitions = column(PLACE_COLUMNS[0].0)?.as_primitive::<Int32Type>();
            let offsets = column(PLACE_COLUMNS[1].0)?.as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                rows.insert((partitions.value(row), offsets.value(row)), batch.slice(row, 1));
            }
        }
        for record in records {
            let place = format!("{}@{}", record.partition, record.offset);
            let Some(row) = rows.remove(&(record.partition, record.offset)) else { continue };
            let is_deleted = row.column_by_name(DELETED_COLUMN).is_some_and(|column| column.as_boolean().value(0));
            let change = Change::of(record, self.envelope);
            if change.deletes != is_deleted {
                return Err(format!("{place}: taken for a deletion: {is_deleted}"));
            }
            let key = self.key_of(record, &change).ok_or_else(|| format!("{place}: taken, but it has no key"))?;
            let row = (!is_deleted).then(|| self.project(&row)).transpose()?;
            self.records
                .entry(key)
                .or_default()
                .insert(record.partition, Last { timestamp_ms: record.timestamp_ms, row });
        }
        match rows.keys().next() {
            Some(place) => Err(format!("a row of no record: {place:?}")),
            None => Ok(()),
        }
    }

    fn project(&self, row: &RecordBatch) -> Result<RecordBatch, String> {
        let columns = self.schema.fields().iter().map(|field| row.column_by_name(field.name()).cloned());
        let columns = columns.collect::<Option<Vec<_>>>().ok_or("a column is missing")?;
        RecordBatch::try_new(self.schema.clone(), columns).map_err(|e| e.to_string())
    }

    /// The rows there are: of each key the newest of its partitions' last rows.
    ///
    /// # Errors
    /// A bug.
    pub fn rows(&self) -> Result<RecordBatch, String> {
        let newest = |partitions: &BTreeMap<i32, Last>| {
            let present = partitions.iter().filter_map(|(p, last)| Some((last.timestamp_ms, *p, last.row.clone()?)));
            present.max_by_key(|(time, partition, _)| (*time, *partition)).map(|(_, _, row)| row)
        };
        let rows: Vec<RecordBatch> = self.records.values().filter_map(newest).collect();
        concat_batches(&self.schema, &rows).map_err(|e| e.to_string())
    }

    fn key_of(&self, record: &RawRecord<'_>, change: &Change) -> Option<Key> {
        let own = record.key.map(|key| String::from_utf8_lossy(key).trim().to_owned());
        let object = match &own {
            None => change.row.clone()?,
            Some(text) => match (serde_json::from_str(text).ok().map(unwrapped), self.key.as_slice()) {
                (Some(Value::Object(fields)), _) => Value::Object(fields),
                (Some(Value::String(value)), [(name, _)]) => serde_json::json!({ name: value }),
                (Some(value), [(name, true)]) => serde_json::json!({ name: value }),
                (_, [(name, _)]) => serde_json::json!({ name: text }),
                _ => return None,
            },
        };
        let value = |(name, is_number): &(String, bool)| match object.get(name)? {
            Value::String(text) if !is_number => Some(text.clone()),
            Value::String(text) => text.parse::<f64>().ok().map(|number| number.to_string()),
            Value::Number(number) => number.as_f64().map(|number| number.to_string()),
            _ => None,
        };
        self.key.iter().map(value).collect()
    }
}

/// What a record does, as its own text says.
struct Change {
    deletes: bool,
    /// The row, or what it was.
    row: Option<Value>,
}

impl Change {
    fn of(record: &RawRecord<'_>, envelope: Envelope) -> Self {
        let Some(payload) = record.payload else { return Self { deletes: true, row: None } };
        let value: Option<Value> = serde_json::from_slice(payload).ok();
        if envelope == Envelope::Upsert {
            return Self { deletes: false, row: value };
        }
        let event = value.map(unwrapped).unwrap_or_default();
        let deletes = event["op"] == "d";
        let row = if deletes { event["before"].clone() } else { event["after"].clone() };
        Self { deletes, row: Some(row) }
    }
}

/// What stands in Kafka Connect's wrapper, or the value itself.
fn unwrapped(value: Value) -> Value {
    match value {
        Value::Object(mut fields) if fields.contains_key("schema") && fields.contains_key("payload") => {
            fields.remove("payload").unwrap_or_default()
        }
        other => other,
    }
}
