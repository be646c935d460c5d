//! JSON records to Arrow columns: this decoder against arrow-json's, on Nexmark bids.
//!
//! Every way decodes the same records in batches of [`BATCH_ROWS`], in turns, on one thread. What is reported is the time
//! a row costs on the processor, so that a busy machine disturbs little; where the system does not tell, it is the
//! clock's.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use benches::stopwatch::Stopwatch;
use engine::format::json::JsonDecoder;
use engine::format::{DecodeSpec, Decoder};
use engine::source::nexmark::{EventKind, NexmarkConfig, NexmarkGenerator};

const ROWS: usize = 200_000;
const BATCH_ROWS: usize = 8_192;
const ROUNDS: usize = 15;
/// auction, price and dateTime.
const USED: [usize; 3] = [0, 2, 5];

fn main() {
    // `cargo test --benches` runs this too, without the flag that `cargo bench` gives, to see that it works.
    let (rows, rounds) = if std::env::args().any(|arg| arg == "--bench") { (ROWS, ROUNDS) } else { (BATCH_ROWS, 1) };
    let bids = Bids::generate(rows);
    let columns = bid_columns();
    let all: Vec<usize> = (0..columns.len()).collect();
    let mut ways = [
        tidemark("tidemark, 7 declared, 3 used", &columns, &USED),
        tidemark("tidemark, 7 declared, 7 used", &columns, &all),
        arrow_json("arrow-json, 3 columns, a record a call", &columns, &USED, false),
        arrow_json("arrow-json, 3 columns, a batch a call", &columns, &USED, true),
        arrow_json("arrow-json, 7 columns, a record a call", &columns, &all, false),
        arrow_json("arrow-json, 7 columns, a batch a call", &columns, &all, true),
    ];
    for _ in 0..rounds {
        for way in &mut ways {
            let start = Stopwatch::start();
            let mut decoded = 0;
            for batch in 0..bids.batches() {
                decoded += (way.decode)(&bids, batch).first().map_or(0, |array| array.len());
            }
            way.nanos.push(start.nanos() / decoded as f64);
            assert_eq!(decoded, rows);
        }
    }
    println!("{rows} bids of {} bytes on average, {rounds} rounds\n", bids.bytes.len() / rows - 1);
    println!("| way | best ns/row | median ns/row | best M rows/s |\n|---|---|---|---|");
    for way in &mut ways {
        way.nanos.sort_by(f64::total_cmp);
        let (best, median) = (way.nanos[0], way.nanos[rounds / 2]);
        println!("| {} | {best:.0} | {median:.0} | {:.1} |", way.name, 1_000.0 / best);
    }
    let times = |a: usize, b: usize| ways[a].nanos[0].min(ways[b].nanos[0]);
    println!("\nagainst the better of the two ways to call arrow-json, best to best:");
    println!("3 used: {:.1} times as fast", times(2, 3) / ways[0].nanos[0]);
    println!("7 used: {:.1} times as fast", times(4, 5) / ways[1].nanos[0]);
}

/// Bids, each followed by a line end that belongs to no record.
struct Bids {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Bids {
    fn generate(rows: usize) -> Self {
        let mut generator = NexmarkGenerator::new(42, NexmarkConfig::default());
        let mut bids = Self { bytes: Vec::new(), ends: vec![0] };
        while bids.ends.len() <= rows {
            let start = bids.bytes.len();
            if generator.next(&mut bids.bytes) == EventKind::Bid {
                bids.bytes.push(b'\n');
                bids.ends.push(bids.bytes.len());
            } else {
                bids.bytes.truncate(start);
            }
        }
        bids
    }

    fn batches(&self) -> usize {
        (self.ends.len() - 1).div_ceil(BATCH_ROWS)
    }

    fn ends_of(&self, batch: usize) -> &[usize] {
        let first = batch * BATCH_ROWS;
        &self.ends[first..(first + BATCH_ROWS + 1).min(self.ends.len())]
    }

    /// The records of a batch, without their line ends.
    fn records(&self, batch: usize) -> impl Iterator<Item = &[u8]> {
        self.ends_of(batch).windows(2).map(|ends| &self.bytes[ends[0]..ends[1] - 1])
    }

    /// A batch's records as one text of lines.
    fn lines(&self, batch: usize) -> &[u8] {
        let ends = self.ends_of(batch);
        &self.bytes[ends[0]..ends[ends.len() - 1]]
    }
}

fn bid_columns() -> Vec<FieldRef> {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    [
        ("auction", DataType::Int64),
        ("bidder", DataType::Int64),
        ("price", DataType::Int64),
        ("channel", DataType::Utf8View),
        ("url", DataType::Utf8View),
        ("dateTime", timestamp),
        ("extra", DataType::Utf8View),
    ]
    .map(|(name, data_type)| Arc::new(Field::new(name, data_type, true)))
    .to_vec()
}

/// A way to decode a batch into one array a column.
type Decode = Box<dyn FnMut(&Bids, usize) -> Vec<ArrayRef>>;

struct Way {
    name: &'static str,
    decode: Decode,
    nanos: Vec<f64>,
}

fn tidemark(name: &'static str, columns: &[FieldRef], used: &[usize]) -> Way {
    let spec = DecodeSpec {
        columns: columns.to_vec(),
        used: used.to_vec(),
        event_time: Some(5),
        record_bytes_max: 1 << 20,
        depth_max: 64,
    };
    let mut decoder = JsonDecoder::new(spec).expect("a valid spec");
    let decode = move |bids: &Bids, batch: usize| {
        for record in bids.records(batch) {
            decoder.decode(record).expect("a bid");
        }
        black_box(decoder.finish().expect("arrays"))
    };
    Way { name, decode: Box::new(decode), nanos: Vec::new() }
}

fn arrow_json(name: &'static str, columns: &[FieldRef], used: &[usize], lines: bool) -> Way {
    let schema = Arc::new(Schema::new(used.iter().map(|&index| Arc::clone(&columns[index])).collect::<Vec<_>>()));
    let reader = arrow_json::ReaderBuilder::new(schema).with_batch_size(BATCH_ROWS);
    let mut decoder = reader.build_decoder().expect("a valid schema");
    let decode = move |bids: &Bids, batch: usize| {
        if lines {
            decoder.decode(bids.lines(batch)).expect("bids");
        } else {
            for record in bids.records(batch) {
                decoder.decode(record).expect("a bid");
            }
        }
        black_box(decoder.flush().expect("a batch").expect("rows").columns().to_vec())
    };
    Way { name, decode: Box::new(decode), nanos: Vec::new() }
}
