//! Rows of every type a view can hold, seeded, with equal values in different bits.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    Decimal256Array, FixedSizeListArray, Float16Array, Float32Array, Float64Array, Float64Builder, Int16Array,
    Int32Array, Int64Array, IntervalMonthDayNanoArray, LargeListArray, ListArray, ListBuilder, MapArray, MapBuilder,
    NullArray, RecordBatch, StringArray, StringBuilder, StringViewArray, StringViewBuilder, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{
    DataType, Field, Float16Type, Float32Type, Float64Type, IntervalMonthDayNano, Schema, SchemaRef, TimeUnit, i256,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Some rows, twice: floats canonical, and the same values as -0.0 and odd NaNs.
pub(super) struct Pool {
    pub(super) canonical: RecordBatch,
    pub(super) odd: RecordBatch,
}

impl Pool {
    /// `rows` rows of every type; some are equal.
    pub(super) fn new(seed: u64, rows: usize) -> Self {
        Self { canonical: all_types(seed, rows, false), odd: all_types(seed, rows, true) }
    }
}

/// Columns of every type.
pub(super) fn all_types_schema() -> SchemaRef {
    all_types(0, 1, false).schema()
}

fn all_types(seed: u64, rows: usize, odd: bool) -> RecordBatch {
    let mut columns = Columns { rng: ChaCha8Rng::seed_from_u64(seed), rows, odd };
    let fields: Vec<(&str, ArrayRef)> = vec![
        ("bool", Arc::new(BooleanArray::from(columns.values(|rng| rng.random_bool(0.5))))),
        ("int2", Arc::new(Int16Array::from(columns.values(|rng| rng.random_range(-2..2))))),
        ("int4", Arc::new(Int32Array::from(columns.values(|rng| rng.random_range(-2..2))))),
        ("int8", Arc::new(Int64Array::from(columns.values(|rng| [i64::MIN, 0, 7, i64::MAX][rng.random_range(0..4)])))),
        ("uint8", Arc::new(UInt64Array::from(columns.values(|rng| rng.random_range(0..3))))),
        ("float4", Arc::new(Float32Array::from(columns.floats(|v| v as f32, f32::from_bits(0xffc0_0001))))),
        ("float8", Arc::new(Float64Array::from(columns.floats(|v| v, f64::from_bits(0xfff8_0000_0000_0001))))),
        ("float2", Arc::new(Float16Array::from(columns.floats(half, Half::from_bits(0xfe01))))),
        ("numeric", Arc::new(columns.decimals().with_precision_and_scale(20, 4).expect("scale 4 fits 20 digits"))),
        (
            "wide",
            Arc::new(Decimal256Array::from(columns.values(|rng| i256::from_i128(rng.random_range(-2..2) << 100)))),
        ),
        ("text", Arc::new(columns.texts().iter().map(|t| t.as_deref()).collect::<StringViewArray>())),
        ("utf8", Arc::new(columns.texts().iter().map(|t| t.as_deref()).collect::<StringArray>())),
        ("bytea", Arc::new(columns.texts().iter().map(|t| t.as_ref().map(String::as_bytes)).collect::<BinaryArray>())),
        (
            "view",
            Arc::new(columns.texts().iter().map(|t| t.as_ref().map(String::as_bytes)).collect::<BinaryViewArray>()),
        ),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(columns.values(|rng| rng.random_range(0..3) * 86_400_000_001))),
        ),
        (
            "tstz",
            Arc::new(
                TimestampMicrosecondArray::from(columns.values(|rng| rng.random_range(0..3))).with_timezone("+00:00"),
            ),
        ),
        ("date", Arc::new(Date32Array::from(columns.values(|rng| rng.random_range(-1..2))))),
        ("time", Arc::new(Time64MicrosecondArray::from(columns.values(|rng| rng.random_range(0..2))))),
        (
            "interval",
            Arc::new(IntervalMonthDayNanoArray::from(
                columns.values(|rng| IntervalMonthDayNano::new(rng.random_range(0..2), rng.random_range(0..2), 5)),
            )),
        ),
        ("floats", Arc::new(columns.float_lists())),
        ("pairs", Arc::new(columns.float_pairs())),
        ("large", Arc::new(columns.large_lists())),
        ("map", Arc::new(columns.maps())),
        ("texts", Arc::new(columns.text_lists())),
        ("record", Arc::new(columns.records())),
        ("nothing", Arc::new(NullArray::new(rows))),
    ];
    let schema: Vec<_> =
        fields.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let columns = fields.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(schema)), columns).expect("columns made for the schema")
}

struct Columns {
    rng: ChaCha8Rng,
    rows: usize,
    odd: bool,
}

impl Columns {
    fn values<T>(&mut self, mut value: impl FnMut(&mut ChaCha8Rng) -> T) -> Vec<Option<T>> {
        // The value is drawn for a null too, so that both pools draw alike.
        (0..self.rows).map(|_| Some((value(&mut self.rng), self.rng.random_bool(0.9)))).map(keep).collect()
    }

    fn floats<T: Copy + std::ops::Neg<Output = T>>(&mut self, cast: fn(f64) -> T, odd_nan: T) -> Vec<Option<T>> {
        let odd = self.odd;
        self.values(|rng| match rng.random_range(0..4) {
            0 if odd => -cast(0.0),
            0 => cast(0.0),
            1 if odd => odd_nan,
            1 => cast(f64::NAN),
            2 => cast(f64::INFINITY),
            _ => cast(1.25),
        })
    }

    fn decimals(&mut self) -> Decimal128Array {
        Decimal128Array::from(self.values(|rng| rng.random_range(-2..2) * 12_345))
    }

    /// Empty, short enough to be inline, and long texts.
    fn texts(&mut self) -> Vec<Option<String>> {
        self.values(|rng| ["", "apple", "a text of more than twelve bytes"][rng.random_range(0..3)].to_string())
    }

    fn float_lists(&mut self) -> ListArray {
        let elements = self.floats(|v| v, f64::from_bits(0xfff0_0000_0000_0001));
        let lists = self.values(|rng| rng.random_range(0..3));
        let list = |(at, length): (usize, Option<usize>)| {
            length.map(|length| (0..length).map(|k| elements[(at + k) % elements.len()]).collect::<Vec<_>>())
        };
        ListArray::from_iter_primitive::<Float64Type, _, _>(lists.into_iter().enumerate().map(list))
    }

    fn float_pairs(&mut self) -> FixedSizeListArray {
        let elements = self.floats(|v| v as f32, f32::from_bits(0xff80_0001));
        let pairs = self.values(|_| ()).into_iter().enumerate();
        let pair = |(at, pair): (usize, Option<()>)| pair.map(|()| [elements[at], elements[elements.len() - 1 - at]]);
        FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(pairs.map(pair), 2)
    }

    fn large_lists(&mut self) -> LargeListArray {
        let elements = self.floats(|v| v, f64::from_bits(0x7ff8_0000_0000_0009));
        let lists = self.values(|rng| rng.random_bool(0.5)).into_iter().enumerate();
        let list =
            |(at, full): (usize, Option<bool>)| full.map(|full| if full { vec![elements[at]] } else { Vec::new() });
        LargeListArray::from_iter_primitive::<Float64Type, _, _>(lists.map(list))
    }

    fn maps(&mut self) -> MapArray {
        let elements = self.floats(|v| v, f64::from_bits(0x7ff8_0000_0000_0007));
        let mut builder = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
        for (at, size) in self.values(|rng| rng.random_range(0..3)).into_iter().enumerate() {
            for k in 0..size.unwrap_or(0) {
                builder.keys().append_value(["one", "two"][k]);
                builder.values().append_option(elements[(at + k) % elements.len()]);
            }
            builder.append(size.is_some()).expect("as many keys as values");
        }
        builder.finish()
    }

    fn text_lists(&mut self) -> ListArray {
        let elements = self.texts();
        let mut builder = ListBuilder::new(StringViewBuilder::new());
        for (at, length) in self.values(|rng| rng.random_range(0..3)).into_iter().enumerate() {
            match length {
                Some(length) => {
                    builder.append_value((0..length).map(|k| elements[(at + k) % elements.len()].as_deref()))
                }
                None => builder.append_null(),
            }
        }
        builder.finish()
    }

    fn records(&mut self) -> StructArray {
        let present: Vec<bool> = self.values(|_| ()).iter().map(Option::is_some).collect();
        let children: Vec<(&str, ArrayRef)> = vec![
            ("a", Arc::new(Int32Array::from(self.values(|rng| rng.random_range(0..2))))),
            ("b", Arc::new(self.texts().iter().map(|t| t.as_deref()).collect::<StringViewArray>())),
            ("c", Arc::new(Float64Array::from(self.floats(|v| v, f64::from_bits(0xfff8_0000_0000_0002))))),
        ];
        let fields: Vec<_> =
            children.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
        let columns = children.into_iter().map(|(_, column)| column).collect();
        StructArray::new(fields.into(), columns, Some(present.into()))
    }
}

type Half = <Float16Type as ArrowPrimitiveType>::Native;

fn half(value: f64) -> Half {
    Half::from_f64(value)
}

fn keep<T>(drawn: Option<(T, bool)>) -> Option<T> {
    drawn.and_then(|(value, keep)| keep.then_some(value))
}

/// (key bigint, text, value double): the everyday view.
pub(super) fn keyed_schema() -> SchemaRef {
    let fields = [
        Field::new("key", DataType::Int64, false),
        Field::new("text", DataType::Utf8View, true),
        Field::new("value", DataType::Float64, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ];
    Arc::new(Schema::new(fields.to_vec()))
}

/// Rows of [`keyed_schema`]: all columns follow from key and version.
pub(super) fn keyed_rows(rows: impl IntoIterator<Item = (i64, i64)>) -> RecordBatch {
    let rows: Vec<_> = rows.into_iter().collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|(key, _)| Some(*key)).collect::<Int64Array>()),
        Arc::new(
            rows.iter()
                .map(|(key, version)| Some(format!("text of key {key}, version {version}")))
                .collect::<StringViewArray>(),
        ),
        Arc::new(rows.iter().map(|(key, version)| Some((*key * 1_000 + *version) as f64)).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|(_, version)| Some(*version)).collect::<TimestampMicrosecondArray>()),
    ];
    RecordBatch::try_new(keyed_schema(), columns).expect("columns made for the schema")
}
