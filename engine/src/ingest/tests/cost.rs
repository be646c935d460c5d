//! What a row costs beside its decoding. Run it alone, with `--ignored --nocapture`.

use std::time::Instant;

use super::*;

const ROWS: usize = 1 << 20;

/// Reads eight bytes as the event time and nothing else.
struct TimeDecoder(Vec<i64>);

impl Decoder for TimeDecoder {
    fn decode(&mut self, payload: &[u8]) -> std::result::Result<(), DecodeError> {
        let bytes = payload.first_chunk().expect("the test writes eight bytes");
        self.0.push(i64::from_le_bytes(*bytes));
        Ok(())
    }

    fn rows(&self) -> usize {
        self.0.len()
    }

    fn event_times(&self) -> &[i64] {
        &self.0
    }

    fn bytes(&self) -> usize {
        self.0.len() * 8
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.0.clear();
        Ok(Vec::new())
    }
}

/// Event times that go up by 1 ms a row with 50 ms of disorder; one row in `late_every` is 0.1 s behind.
fn payloads(late_every: i64) -> Vec<[u8; 8]> {
    let late = |row: i64| if row % late_every == late_every - 1 { 100_000 } else { 0 };
    let time = |row: i64| row * 1000 + row * 7919 % 50_000 - late(row);
    (0..ROWS as i64).map(|row| time(row).to_le_bytes()).collect()
}

/// Records of `partitions` partitions in runs of `run`.
fn records(payloads: &[[u8; 8]], partitions: usize, run: usize) -> Vec<RawRecord<'_>> {
    let mut next = vec![0; partitions];
    let mut record = |(row, payload)| {
        let partition = row / run % partitions;
        let offset = next[partition];
        next[partition] += 1;
        let (partition, timestamp_ms) = (partition as i32, Some(1 << 40));
        RawRecord { partition, offset, timestamp_ms, key: None, payload: Some(payload), headers: Headers(None) }
    };
    payloads.iter().map(|payload| payload.as_slice()).enumerate().map(&mut record).collect()
}

fn spec(metadata: &[usize]) -> IngestSpec {
    let mut spec = IngestSpec { delay_micros: 60_000, ..line_spec() };
    spec.set_used(&UsedColumns { columns: Vec::new(), metadata: metadata.to_vec() }).expect("in range");
    spec.decode.columns.clear();
    spec.decode.columns.extend_from_slice(&line_spec().decode.columns[..1]);
    spec
}

/// ns a row: the best of ten.
fn measure(mut run: impl FnMut()) -> f64 {
    let times = (0..10).map(|_| {
        let begin = Instant::now();
        run();
        begin.elapsed().as_nanos() as f64 / ROWS as f64
    });
    times.fold(f64::MAX, f64::min)
}

fn ingest_cost(records: &[RawRecord<'_>], metadata: &[usize]) -> f64 {
    let factory: DecoderFactory = Arc::new(|_| Ok(Box::new(TimeDecoder(Vec::new()))));
    measure(|| {
        let mut ingest = Ingest::new(spec(metadata), factory.clone()).expect("a valid spec");
        records.chunks(1024).for_each(|slice| ingest.push(slice).expect("in order"));
        assert!(ingest.pending_rows() == ROWS);
    })
}

#[test]
#[ignore = "a measurement"]
fn cost_of_a_row() {
    let (ordered, disordered) = (payloads(i64::MAX), payloads(10));
    let mut decoder: Box<dyn Decoder> = Box::new(TimeDecoder(Vec::new()));
    let one = records(&ordered, 1, 1);
    let decode = measure(|| {
        for slice in one.chunks(16_384) {
            slice.iter().for_each(|record| decoder.decode(record.payload.unwrap_or_default()).expect("it decodes"));
            decoder.finish().expect("it finishes");
        }
    });
    println!("decoding alone: {decode:.1} ns/row");
    let show = |what: &str, records: &[RawRecord<'_>], metadata: &[usize]| {
        println!("{what}: {:.1} ns/row more", ingest_cost(records, metadata) - decode);
    };
    show("one partition", &one, &[]);
    show("8 partitions in runs of 500", &records(&ordered, 8, 500), &[]);
    show("8 partitions, each record another", &records(&ordered, 8, 1), &[]);
    show("one partition, partition, offset and timestamp used", &one, &[0, 1, 2]);
    show("one partition, one row in ten late", &records(&disordered, 1, 1), &[]);
}
