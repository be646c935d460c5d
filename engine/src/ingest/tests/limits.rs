//! Columns in use, metadata, quarantine tables, and where reading ends.

use super::*;
use crate::error::ErrorKind;
use crate::source::memory::MemoryHeaders;

fn ingest(spec: IngestSpec) -> Ingest {
    Ingest::new(spec, line_decoder()).expect("a valid spec")
}

fn show(batch: &RecordBatch) -> String {
    let text =
        arrow::util::pretty::pretty_format_batches(std::slice::from_ref(batch)).expect("a batch prints").to_string();
    text.lines().filter(|line| line.starts_with("| ")).map(trim_cells).collect::<Vec<_>>().join("\n")
}

fn trim_cells(line: &str) -> String {
    line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" | ")
}

fn used(columns: &[usize], metadata: &[usize]) -> UsedColumns {
    UsedColumns { columns: columns.into(), metadata: metadata.into() }
}

#[test]
fn every_metadata_column() {
    let mut ingest = ingest(line_spec());
    let headers = MemoryHeaders(vec![("x".into(), Some(b"1".into())), ("y".into(), None)]);
    let mut with_all = line(3, 7, 1_000_000);
    with_all.timestamp_ms = Some(1001);
    let bare = line(3, 8, 1_000_000);
    let records = [
        RawRecord { key: Some(b"key"), headers: Headers(Some(&headers)), ..with_all.raw() },
        RawRecord { timestamp_ms: None, ..bare.raw() },
    ];
    ingest.push(&records).expect("in order");
    let tick = ingest.take(0, &BTreeMap::new()).expect("a tick");
    assert_eq!(
        show(&tick.batches[0]),
        "ts | a | b | p | o | at | k | h | t\n\
         1970-01-01T00:00:01 | 73 | b3-7 | 3 | 7 | 1970-01-01T00:00:01.001Z | 6b6579 | [{name: x, value: 31}, {name: y, value: }] | the topic\n\
         1970-01-01T00:00:01 | 83 | b3-8 | 3 | 8 |  |  | [] | the topic"
    );
}

#[test]
fn only_used_columns_are_there_and_may_change_between_ticks() {
    let mut spec = line_spec();
    spec.set_used(&used(&[1], &[1])).expect("in range");
    let mut ingest = ingest(spec);
    push(&mut ingest, &[&line(0, 0, 5)]);
    assert_eq!(ingest.set_used(&used(&[0], &[])).expect_err("a row waits").kind(), ErrorKind::Conflict);
    let tick = ingest.take_then_use(0, &BTreeMap::new(), &used(&[0, 2], &[5])).expect("a tick");
    assert_eq!(show(&tick.batches[0]), "a | o\n0 | 0");
    push(&mut ingest, &[&line(0, 1, 5)]);
    let refused = ingest.take_then_use(0, &BTreeMap::new(), &used(&[2, 0], &[])).expect_err("not ascending");
    assert_eq!((refused.kind(), ingest.pending_rows()), (ErrorKind::Internal, 1));
    let tick = ingest.take_then_use(0, &BTreeMap::new(), &used(&[], &[])).expect("a tick");
    assert_eq!(show(&tick.batches[0]), "ts | b | t\n1970-01-01T00:00:00.000005 | b0-1 | the topic");
    push(&mut ingest, &[&line(0, 2, 5), &line(0, 3, 5), &line(0, 4, 4)]);
    let tick = ingest.take(0, &BTreeMap::new()).expect("a tick");
    assert_eq!((tick.batches[0].num_columns(), tick.rows()), (0, 2));
    assert_accounted(&tick);
}

#[test]
fn an_error_row_keeps_the_beginning_of_the_payload() {
    let mut ingest = ingest(IngestSpec { payload_bytes_max: 3, ..line_spec() });
    let broken = Line { payload: Some("broken".into()), ..line(0, 4, 1_000_000) };
    let ahead = Line { timestamp_ms: Some(1), ..line(0, 5, 3_600_001_001) };
    push(&mut ingest, &[&broken, &ahead]);
    let tick = ingest.take(0, &BTreeMap::new()).expect("a tick");
    assert_accounted(&tick);
    let errors = tick.errors.expect("two");
    assert_eq!(errors.schema(), quarantine::errors_schema());
    assert_eq!(
        show(&errors),
        "topic | partition | offset | timestamp | reason | detail | payload | payload_bytes\n\
         the topic | 0 | 4 | 1970-01-01T00:00:01Z | malformed | not three fields | 62726f | 6\n\
         the topic | 0 | 5 | 1970-01-01T00:00:00.001Z | future_time | the event time is 3600000001 µs ahead of the record's time, 3600000000 µs are allowed | 333630 | 18"
    );
}

#[test]
fn a_late_row_has_every_column_whatever_is_used() {
    let mut spec = IngestSpec { delay_micros: 2, ..line_spec() };
    spec.set_used(&used(&[], &[])).expect("in range");
    let mut ingest = ingest(spec);
    push(&mut ingest, &[&line(0, 0, 9_000), &line(0, 1, 8_998), &line(0, 2, 8_997)]);
    let tick = ingest.take(0, &BTreeMap::new()).expect("a tick");
    assert_accounted(&tick);
    assert_eq!(
        show(&tick.late.expect("one")),
        "ts | a | b | topic | partition | offset | timestamp | watermark\n\
         1970-01-01T00:00:00.008997 | 20 | b0-2 | the topic | 0 | 2 | 1970-01-01T00:00:00.008Z | 1970-01-01T00:00:00.008998Z"
    );
}

#[test]
fn late_rows_column_names_give_way_to_declared_ones() {
    let columns = ["offset", "_offset", "timestamp"].map(|name| Arc::new(Field::new(name, DataType::Int64, true)));
    let schema = quarantine::late_schema(&columns);
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let expected = ["offset", "_offset", "timestamp", "topic", "partition", "__offset", "_timestamp", "watermark"];
    assert_eq!(names, expected);
}

#[test]
fn without_an_event_time_nothing_is_late_and_nothing_is_idle() {
    let mut spec = IngestSpec { idle_timeout_micros: Some(0), ..line_spec() };
    spec.decode.event_time = None;
    let mut ingest = ingest(spec);
    push(&mut ingest, &[&line(0, 0, 9_000), &line(0, 1, 1), &line(0, 2, i64::MAX)]);
    let tick = ingest.take(0, &status(&[(0, 3, Some(3)), (1, 0, Some(0))])).expect("a tick");
    assert_accounted(&tick);
    assert_eq!((tick.rows(), tick.watermark, tick.exclusions.len()), (3, Watermark::NONE, 0));
    let tick = ingest.take(9, &status(&[(0, 3, Some(3)), (1, 0, Some(0))])).expect("a tick");
    assert!(tick.is_empty() && tick.watermark == Watermark::NONE && tick.exclusions.is_empty());
}

#[test]
fn offsets_that_go_back_are_refused_and_what_came_before_is_kept() {
    let mut ingest = ingest(line_spec());
    let (first, next) = (line(0, 3, 1_000), line(0, 4, 2_000));
    let refused = ingest.push(&[first.raw(), next.raw(), first.raw()]).expect_err("offset 3 again");
    assert_eq!(refused.to_string(), "source \"lines\", partition 0: offset 3 after 4");
    let tick = ingest.take(0, &BTreeMap::new()).expect("a tick");
    assert_accounted(&tick);
    assert_eq!((tick.rows(), tick.offsets[&0]), (2, (3, 5)));
}

#[test]
fn reading_stops_at_given_offsets() {
    let mut ingest = ingest(line_spec());
    ingest.set_until(Some(Offsets::from([(0, 2), (1, 3)])));
    let lines = [line(0, 0, 1), line(0, 1, 1), line(0, 2, 1), line(1, 1, 1), line(1, 5, 1), line(2, 0, 1)];
    push(&mut ingest, &lines[..4].iter().collect::<Vec<_>>());
    assert!(!ingest.reached_until());
    push(&mut ingest, &lines[4..].iter().collect::<Vec<_>>());
    assert!(ingest.reached_until());
    let tick = ingest.take(0, &status(&[(0, 9, None), (1, 9, None), (2, 9, None)])).expect("a tick");
    assert_accounted(&tick);
    assert_eq!(tick.offsets, BTreeMap::from([(0, (0, 2)), (1, (1, 3))]));
    assert_eq!((tick.rows(), tick.total().skipped), (3, 1));
    // Opened anew at the offsets reached, it reads on.
    ingest.set_until(None);
    push(&mut ingest, &[&lines[2], &lines[4], &lines[5]]);
    let tick = ingest.take(0, &BTreeMap::new()).expect("a tick");
    assert_eq!(tick.offsets, BTreeMap::from([(0, (2, 3)), (1, (3, 6)), (2, (0, 1))]));
}

#[test]
fn an_empty_partition_is_reached_when_it_is_known() {
    let mut ingest = ingest(line_spec());
    ingest.set_until(Some(Offsets::from([(0, 4)])));
    ingest.take(0, &status(&[(0, 2, Some(9))])).expect("a tick");
    assert!(!ingest.reached_until());
    ingest.take(0, &status(&[(0, 4, Some(9))])).expect("a tick");
    assert!(ingest.reached_until());
}

#[test]
fn specs_that_cannot_be() {
    let negative = IngestSpec { delay_micros: -1, ..line_spec() };
    assert_eq!(Ingest::new(negative, line_decoder()).expect_err("refused").kind(), ErrorKind::Input);
    let mut out_of_range = line_spec();
    out_of_range.decode.used = vec![3];
    assert_eq!(Ingest::new(out_of_range, line_decoder()).expect_err("refused").kind(), ErrorKind::Internal);
}

#[test]
fn saved_tables_of_another_shape_are_refused() {
    let mut ingest = ingest(line_spec());
    push(&mut ingest, &[&line(0, 0, 1)]);
    ingest.take(0, &BTreeMap::new()).expect("a tick");
    let tables = ingest.save().to_tables().expect("saves");
    for missing in 0..tables.len() {
        let mut tables = tables.clone();
        let name = tables.remove(missing).0;
        let refused = IngestState::from_tables(&tables).expect_err("a table is missing");
        assert_eq!(
            (refused.kind(), refused.to_string()),
            (ErrorKind::Data, format!("saved source state: no table {name}"))
        );
    }
    let mut tables = tables.clone();
    tables[1].1 = tables[1].1.project(&[0, 1]).expect("two columns");
    let refused = IngestState::from_tables(&tables).expect_err("columns are missing");
    assert_eq!(refused.to_string(), "saved source state: partitions.event_time_max is missing or of another type");
}
