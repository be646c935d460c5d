//! What an [`Ingest`](super::Ingest) is built from: one source's columns, its event time and its limits.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::format::{DecodeSpec, Decoder};
use crate::ingest::metadata::{IncludedColumn, MetadataColumn};

/// Makes a decoder; called when the set of used columns changes, and once more for late rows, which keep every column.
pub type DecoderFactory = Arc<dyn Fn(DecodeSpec) -> Result<Box<dyn Decoder>> + Send + Sync>;

/// One hour: further ahead of the broker's time than this, an event time is taken for a broken clock.
pub const MAX_FUTURE_SKEW_MICROS: i64 = 3_600_000_000;
/// Half a minute of silence makes a partition idle.
pub const IDLE_TIMEOUT_MICROS: i64 = 30_000_000;

/// Of a source with a primary key: whether the record deletes its key's row. Boolean.
pub const DELETED_COLUMN: &str = "__deleted";

/// Of a source with a primary key: where and when each record stands, by which the last of its key is found. They stand
/// behind the included metadata, in this order.
pub const PLACE_COLUMNS: [(&str, MetadataColumn); 3] = [
    ("__partition", MetadataColumn::Partition),
    ("__offset", MetadataColumn::Offset),
    ("__timestamp", MetadataColumn::Timestamp),
];

/// True for a name that a column of a source with a primary key cannot have.
pub fn is_reserved(name: &str) -> bool {
    name == DELETED_COLUMN || PLACE_COLUMNS.iter().any(|(place, _)| *place == name)
}

/// One source, as declared.
#[derive(Debug, Clone)]
pub struct IngestSpec {
    /// The source's name, for messages.
    pub source: String,
    /// The topic's name, for error and late rows and the TOPIC column.
    pub topic: String,
    /// The declared columns, those used, and which one is the event time.
    pub decode: DecodeSpec,
    /// The declared columns that are its primary key, by index: then its records are changes, of which the last of each key
    /// is a row. Empty where each record is a row of its own.
    pub key: Vec<usize>,
    /// The record metadata the source includes, in order; of a source with a key also [`PLACE_COLUMNS`].
    pub metadata: Vec<IncludedColumn>,
    /// How far below its partition's running maximum an event time may lie before windows close without the row, µs.
    pub delay_micros: i64,
    /// How far below it may lie before the row is late, µs, at least the delay; `None` for the delay itself.
    pub accept_late_micros: Option<i64>,
    /// How far beyond the record's own time an event time may lie before the record is an error, µs; `None` for no limit.
    pub max_future_skew_micros: Option<i64>,
    /// How long a partition that is caught up may be silent before it stops holding the watermark back, µs; `None` for ever.
    pub idle_timeout_micros: Option<i64>,
    /// How many bytes of a bad record's payload its error row keeps; the row says the full length beside it.
    pub payload_bytes_max: usize,
    /// Rows of one batch at most.
    pub batch_rows_max: usize,
}

/// Which columns the views use, by index; both lists ascend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UsedColumns {
    /// Indexes into the declared columns.
    pub columns: Vec<usize>,
    /// Indexes into the included metadata.
    pub metadata: Vec<usize>,
}

impl IngestSpec {
    /// A source without included metadata and without delay, with the default limits.
    pub fn new(source: impl Into<String>, topic: impl Into<String>, decode: DecodeSpec) -> Self {
        Self {
            source: source.into(),
            topic: topic.into(),
            decode,
            key: Vec::new(),
            metadata: Vec::new(),
            delay_micros: 0,
            accept_late_micros: None,
            max_future_skew_micros: Some(MAX_FUTURE_SKEW_MICROS),
            idle_timeout_micros: Some(IDLE_TIMEOUT_MICROS),
            payload_bytes_max: 4096,
            batch_rows_max: 8_192,
        }
    }

    /// Gives the source a primary key, after its metadata.
    pub fn set_key(&mut self, key: Vec<usize>) {
        self.key = key;
        let place = |(name, column): &(&str, MetadataColumn)| IncludedColumn {
            column: *column,
            name: (*name).to_owned(),
            used: false,
        };
        self.metadata.extend(PLACE_COLUMNS.iter().map(place));
    }

    /// The columns of every accepted batch: the used declared columns, then the used metadata, each in declared order. With a
    /// key [`DELETED_COLUMN`] stands between the two, and a declared column may be NULL: a deletion has nothing but its key.
    pub fn output_schema(&self) -> SchemaRef {
        let is_keyed = !self.key.is_empty();
        let declared = self.decode.used.iter().map(|&index| match &self.decode.columns[index] {
            field if is_keyed => Arc::new(Field::clone(field).with_nullable(true)),
            field => field.clone(),
        });
        let deleted = is_keyed.then(|| Arc::new(Field::new(DELETED_COLUMN, DataType::Boolean, false)));
        let metadata = self.metadata.iter().filter(|included| included.used);
        let metadata = metadata.map(|included| Arc::new(Field::from(included)));
        Arc::new(Schema::new(declared.chain(deleted).chain(metadata).collect::<Fields>()))
    }

    /// The columns that a query sees: all declared columns, then all included metadata.
    pub fn table_schema(&self) -> SchemaRef {
        let included = self.metadata.iter().filter(|included| self.key.is_empty() || !is_reserved(&included.name));
        let included = included.map(|included| Arc::new(Field::from(included)));
        Arc::new(Schema::new(self.decode.columns.iter().cloned().chain(included).collect::<Fields>()))
    }

    /// How far below its partition's running maximum an event time may lie before the row is late, µs.
    pub fn lateness_micros(&self) -> i64 {
        self.accept_late_micros.unwrap_or(self.delay_micros)
    }

    /// The columns in use.
    pub fn used(&self) -> UsedColumns {
        let metadata = self.metadata.iter().enumerate().filter(|(_, included)| included.used);
        UsedColumns { columns: self.decode.used.clone(), metadata: metadata.map(|(index, _)| index).collect() }
    }

    /// Sets the columns in use.
    ///
    /// # Errors
    /// `Internal` for an index out of range or out of order; the spec is then as it was.
    pub fn set_used(&mut self, used: &UsedColumns) -> Result<()> {
        ascending_below(&used.columns, self.decode.columns.len())?;
        ascending_below(&used.metadata, self.metadata.len())?;
        self.decode.used.clone_from(&used.columns);
        for (index, included) in self.metadata.iter_mut().enumerate() {
            included.used = used.metadata.binary_search(&index).is_ok();
        }
        Ok(())
    }

    /// What late rows are decoded with: every declared column.
    pub(super) fn decode_every_column(&self) -> DecodeSpec {
        DecodeSpec { used: (0..self.decode.columns.len()).collect(), ..self.decode.clone() }
    }

    pub(super) fn validate(&self) -> Result<()> {
        ascending_below(&self.decode.used, self.decode.columns.len())?;
        if self.decode.event_time.is_some_and(|index| index >= self.decode.columns.len()) {
            return Err(Error::internal(format!("source \"{}\": no such event time column", self.source)));
        }
        if self.key.iter().any(|index| *index >= self.decode.columns.len())
            || (!self.key.is_empty() && self.decode.event_time.is_some())
        {
            return Err(Error::internal(format!(
                "source \"{}\": a key of other columns, or with event time",
                self.source
            )));
        }
        let spans = [Some(self.delay_micros), self.max_future_skew_micros, self.idle_timeout_micros];
        if spans.iter().flatten().any(|span| *span < 0) {
            let message = "the watermark delay, the future skew and the idle timeout must not be negative";
            return Err(Error::input(format!("source \"{}\": {message}", self.source)));
        }
        if self.lateness_micros() < self.delay_micros {
            let message = "rows must be accepted for at least the watermark delay";
            return Err(Error::input(format!("source \"{}\": {message}", self.source)));
        }
        if self.batch_rows_max == 0 {
            return Err(Error::internal("batch_rows_max is 0"));
        }
        Ok(())
    }
}

fn ascending_below(indexes: &[usize], end: usize) -> Result<()> {
    if indexes.iter().any(|index| *index >= end) || !indexes.is_sorted_by(|a, b| a < b) {
        return Err(Error::internal(format!("used columns {indexes:?} do not ascend below {end}")));
    }
    Ok(())
}
