//! Debezium's change events: what of an event is the row.
//!
//! In: a payload, `{"before": …, "after": …, "op": …}`, or the same as `payload` beside its `schema`. Out: where in it the row
//! stands. A schema also says what integers in timestamp columns count, and which numbers came as base64.
//!
//! Operations: `c` (created), `r` (read by a snapshot), `u` (updated), `d` (deleted); every other is an error. What stood
//! before is not needed, so it need not be there.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray, StructArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::JsonDecoder;
use super::keyed::{Wrapped, fields_decoder, not_an_event, place, wrapped};
use super::scan::Value;
use super::types::EpochUnit;
use crate::error::Result;
use crate::format::{DecodeError, DecodeSpec, Decoder, ErrorReason};

/// Kafka Connect's numbers of any precision: bytes, in JSON base64.
const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";

/// The types of Debezium and Kafka Connect that count time in integers.
const TIMES: [(&str, EpochUnit); 4] = [
    ("io.debezium.time.Timestamp", EpochUnit::Millisecond),
    ("io.debezium.time.MicroTimestamp", EpochUnit::Microsecond),
    ("io.debezium.time.NanoTimestamp", EpochUnit::Nanosecond),
    ("org.apache.kafka.connect.data.Timestamp", EpochUnit::Millisecond),
];

/// What an event does; places count in the payload.
#[derive(Debug)]
pub(super) enum Change {
    /// The row is now this object.
    Row(Range<usize>),
    /// The row is gone; this object, if there is one, was it, or its key at least.
    Deletion(Option<Range<usize>>),
}

/// Reads the events of one source.
#[derive(Debug)]
pub(super) struct Debezium {
    wrapper: JsonDecoder,
    event: JsonDecoder,
    schema_decoder: JsonDecoder,
    /// The schema last seen: it comes with every event, and is nearly always the same.
    schema: Vec<u8>,
    /// Columns whose numbers that schema has as base64.
    base64: Vec<usize>,
}

impl Debezium {
    /// Events that hold rows of `spec`.
    ///
    /// # Errors
    /// As for [`JsonDecoder::new`].
    pub fn new(spec: &DecodeSpec) -> Result<Self> {
        Ok(Self {
            wrapper: fields_decoder(&["schema", "payload"], spec)?,
            event: fields_decoder(&["op", "before", "after"], spec)?,
            schema_decoder: schema_decoder(spec)?,
            schema: Vec::new(),
            base64: Vec::new(),
        })
    }

    /// Finds the row in an event, and has `rows` read times as its schema says.
    ///
    /// # Errors
    /// Why it is no event that rows can follow.
    pub fn read(&mut self, payload: &[u8], rows: &mut JsonDecoder) -> std::result::Result<Change, DecodeError> {
        let mut start = 0;
        let mut event = payload;
        self.event.read(payload)?;
        if self.event.slots[0].kind().is_missing()
            && let Some(Wrapped { schema, payload: inside }) = wrapped(&mut self.wrapper, payload)
        {
            self.apply_schema(&payload[schema], rows);
            start = inside.start;
            event = &payload[inside];
            self.event.slots.fill(Value::default());
            self.event.read(event)?;
        }
        let [op, before, after] = [self.event.slots[0], self.event.slots[1], self.event.slots[2]];
        self.event.slots.fill(Value::default());
        let object = |value: Value| (value.raw(event).first() == Some(&b'{')).then(|| shifted(place(value), start));
        match op.raw(event) {
            b"\"c\"" | b"\"r\"" | b"\"u\"" => {
                let found = object(after).ok_or_else(|| {
                    not_an_event(ErrorReason::NullValue, "a change event without the row after it", after.raw(event))
                })?;
                self.refuse_base64(&payload[found.clone()], rows)?;
                Ok(Change::Row(found))
            }
            b"\"d\"" => Ok(Change::Deletion(object(before))),
            b"" => Err(not_an_event(ErrorReason::Operation, "not a change event: it has no op", b"")),
            other => Err(not_an_event(ErrorReason::Operation, "expected the op c, r, u or d", other)),
        }
    }

    /// A number in base64 may look like a number, and must not be taken for one.
    fn refuse_base64(&self, row: &[u8], rows: &mut JsonDecoder) -> std::result::Result<(), DecodeError> {
        if self.base64.is_empty() {
            return Ok(());
        }
        rows.read(row)?;
        let encoded = self.base64.iter().find(|column| rows.slots[**column].kind().is_string()).copied();
        rows.slots.fill(Value::default());
        encoded.map_or(Ok(()), |column| {
            let name = rows.columns[column].field().name();
            let detail = format!(
                "column \"{name}\": the number is written as base64; set decimal.handling.mode of the connector to string or double"
            );
            Err(DecodeError { reason: ErrorReason::WrongType, detail })
        })
    }

    /// Reads what a schema says of the columns, unless it is the one last seen.
    fn apply_schema(&mut self, schema: &[u8], rows: &mut JsonDecoder) {
        if schema == self.schema {
            return;
        }
        self.schema = schema.to_vec();
        self.base64.clear();
        let types = self.types_of(schema).unwrap_or_default();
        for (index, column) in rows.columns.iter_mut().enumerate() {
            let found = types.get(column.field().name()).map(String::as_str);
            let unit = TIMES.iter().find(|(name, _)| Some(*name) == found).map(|(_, unit)| *unit);
            let declared = EpochUnit::of(column.field()).unwrap_or(EpochUnit::Millisecond);
            column.set_epoch_unit(unit.unwrap_or(declared));
            let is_decimal = matches!(column.field().data_type(), DataType::Decimal128(..) | DataType::Decimal256(..));
            if is_decimal && found == Some(DECIMAL) {
                self.base64.push(index);
            }
        }
    }

    /// The type names of the fields of `after`, by column. A schema that is none names nothing.
    fn types_of(&mut self, schema: &[u8]) -> Option<HashMap<String, String>> {
        let decoded = self.schema_decoder.decode(schema).is_ok();
        let columns = self.schema_decoder.finish().ok().filter(|_| decoded)?;
        let (names, inner) = fields_of(columns.first()?.as_list_opt::<i32>()?, "fields")?;
        let after = names.iter().position(|name| name.as_deref() == Some("after"))?;
        let inner = inner.as_list_opt::<i32>()?;
        let types = ListArray::slice(inner, after, 1);
        let (names, types) = fields_of(&types, "name")?;
        let types = texts(&types)?;
        let named = names.into_iter().zip(types);
        Some(named.filter_map(|(column, of_type)| Some((column?, of_type?))).collect())
    }
}

fn shifted(range: Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

/// Of the first list's objects: their `field`, and another field of theirs.
fn fields_of(list: &ListArray, other: &str) -> Option<(Vec<Option<String>>, arrow::array::ArrayRef)> {
    let objects = list.is_valid(0).then(|| list.value(0))?;
    let objects: &StructArray = objects.as_struct_opt()?;
    Some((texts(objects.column_by_name("field")?)?, Arc::clone(objects.column_by_name(other)?)))
}

fn texts(column: &arrow::array::ArrayRef) -> Option<Vec<Option<String>>> {
    Some(column.as_string_view_opt()?.iter().map(|text| text.map(str::to_owned)).collect())
}

/// Decodes of a schema what is needed: `{"fields": [{"field": "after", "fields": [{"field": …, "name": …}]}]}`.
fn schema_decoder(spec: &DecodeSpec) -> Result<JsonDecoder> {
    let text = |name: &str| Field::new(name, DataType::Utf8View, true);
    let list = |fields: Vec<Field>| DataType::new_list(DataType::Struct(Fields::from(fields)), true);
    let inner = list(vec![text("field"), text("name")]);
    let outer = list(vec![text("field"), Field::new("fields", inner, true)]);
    let columns = vec![FieldRef::from(Field::new("fields", outer, true))];
    JsonDecoder::new(DecodeSpec { columns, used: vec![0], event_time: None, ..*spec })
}
