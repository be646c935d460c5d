//! Scenes of idleness, told tick by tick. Times are seconds; the delay is 5 s, the idle timeout 30 s.
//!
//! `push P T…` reads rows of event time T from partition P, `bad P` a broken record, `null P` a tombstone, `found P` an
//! empty partition; `behind P` says that P has records not read yet, `deaf P` that nothing is heard of it; `caught P`
//! takes that back. `take NOW` ends a tick.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::*;

const SECOND: i64 = 1_000_000;

struct Scene {
    ingest: Ingest,
    status: BTreeMap<i32, PartitionStatus>,
    story: String,
}

fn seconds(micros: i64) -> String {
    let (whole, part) = (micros / SECOND, micros % SECOND);
    if part == 0 { whole.to_string() } else { format!("{whole}.{part:06}") }
}

impl Scene {
    fn step(&mut self, step: &str) {
        let words: Vec<_> = step.split_whitespace().collect();
        let numbers: Vec<i64> = words[1..].iter().map(|word| word.parse().expect("a number")).collect();
        let partition = numbers[0] as i32;
        match words[0] {
            "push" => {
                numbers[1..].iter().for_each(|time| self.push(partition, Some(&format!("{},1,b", time * SECOND))))
            }
            "bad" => self.push(partition, Some("broken")),
            "null" => self.push(partition, None),
            "found" => drop(self.status.insert(partition, PartitionStatus { position: 0, end: Some(0) })),
            "behind" => self.known(partition).end = Some(1000),
            "deaf" => self.known(partition).end = None,
            "caught" => self.known(partition).end = Some(0),
            "take" => self.take(numbers[0]),
            other => panic!("no step {other}"),
        }
    }

    fn known(&mut self, partition: i32) -> &mut PartitionStatus {
        self.status.entry(partition).or_insert(PartitionStatus { position: 0, end: Some(0) })
    }

    fn push(&mut self, partition: i32, payload: Option<&str>) {
        let status = self.known(partition);
        let offset = status.position;
        status.position += 1;
        let payload = payload.map(str::to_owned);
        push(&mut self.ingest, &[&Line { partition, offset, timestamp_ms: None, payload }]);
    }

    fn take(&mut self, now: i64) {
        let tick = self.ingest.take(now * SECOND, &self.status).expect("a tick");
        assert_accounted(&tick);
        let watermark = tick.watermark.micros().map_or("-".into(), seconds);
        write!(self.story, "at {now}: W {watermark}").expect("a string grows");
        let total = tick.total();
        for (what, count) in [("accepted", total.accepted), ("late", total.late)] {
            if count > 0 {
                write!(self.story, ", {count} {what}").expect("a string grows");
            }
        }
        let excluded = self.ingest.partitions().filter(|(_, progress, _)| progress.excluded);
        let excluded: Vec<_> = excluded.map(|(number, ..)| number.to_string()).collect();
        if !excluded.is_empty() {
            write!(self.story, ", idle {}", excluded.join(" ")).expect("a string grows");
        }
        for Exclusion { partition, offset, floor_micros, .. } in &tick.exclusions {
            write!(self.story, ", floor {partition}@{offset} {}", seconds(*floor_micros)).expect("a string grows");
        }
        self.story.push('\n');
    }
}

#[test]
fn windows_close_before_their_rows_are_late() {
    let spec = IngestSpec {
        delay_micros: 5 * SECOND,
        accept_late_micros: Some(20 * SECOND),
        idle_timeout_micros: Some(30 * SECOND),
        ..line_spec()
    };
    let mut ingest = Ingest::new(spec, line_decoder()).expect("a valid spec");
    let mut status = BTreeMap::new();
    let mut take = |ingest: &mut Ingest, lines: &[(i32, i64, i64)], now: i64| {
        let lines: Vec<_> =
            lines.iter().map(|(partition, offset, at)| line(*partition, *offset, at * SECOND)).collect();
        push(ingest, &lines.iter().collect::<Vec<_>>());
        for line in &lines {
            let position = line.offset + 1;
            status.insert(line.partition, PartitionStatus { position, end: Some(position) });
        }
        let tick = ingest.take(now * SECOND, &status).expect("a tick");
        let seconds = |watermark: Watermark| watermark.micros().map(|micros| micros / SECOND);
        (seconds(tick.watermark), seconds(tick.closing), tick.total().accepted, tick.total().late)
    };
    assert_eq!(take(&mut ingest, &[(0, 0, 100), (1, 0, 90)], 200), (Some(70), Some(85), 2, 0));
    // Behind the closing watermark and accepted, at the bound and accepted, below it and late.
    assert_eq!(take(&mut ingest, &[(0, 1, 84), (0, 2, 80), (0, 3, 79)], 201), (Some(70), Some(85), 2, 1));
    // Without partition 1 both go on; its rows between the two are accepted when it is back.
    assert_eq!(take(&mut ingest, &[(0, 4, 120)], 240), (Some(100), Some(115), 1, 0));
    assert_eq!(take(&mut ingest, &[(1, 1, 101), (1, 2, 99)], 241), (Some(100), Some(115), 1, 1));
    let exclusions = ingest.exclusions();
    assert_eq!(exclusions.len(), 1, "{exclusions:?}");
    assert_eq!((exclusions[0].floor_micros, exclusions[0].closing_floor_micros), (100 * SECOND, 115 * SECOND));
    let tables = ingest.save().to_tables().expect("tables");
    assert_eq!(IngestState::from_tables(&tables).expect("a state"), ingest.save());
}

/// Plays `scene`, steps divided by `;` and lines, and compares what the ticks tell, ending with the exclusion log.
fn check(scene: &str, expected: &str) {
    let spec = IngestSpec { delay_micros: 5 * SECOND, idle_timeout_micros: Some(30 * SECOND), ..line_spec() };
    let ingest = Ingest::new(spec, line_decoder()).expect("a valid spec");
    let mut played = Scene { ingest, status: BTreeMap::new(), story: String::new() };
    let steps = scene.split([';', '\n']).map(str::trim).filter(|step| !step.is_empty());
    steps.for_each(|step| played.step(step));
    for Exclusion { partition, offset, floor_micros, now_micros, .. } in played.ingest.exclusions() {
        let (floor, now) = (seconds(floor_micros), seconds(now_micros));
        writeln!(played.story, "log: {partition}@{offset} floor {floor} at {now}").expect("a string grows");
    }
    let expected: Vec<_> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(played.story.lines().collect::<Vec<_>>(), expected, "\n{}", played.story);
}

#[test]
fn the_slowest_partition_holds_the_watermark() {
    check(
        "push 0 100; push 1 90; take 200
         push 0 120; take 201",
        "at 200: W 85, 2 accepted
         at 201: W 85, 1 accepted",
    );
}

#[test]
fn a_partition_without_rows_holds_it_until_it_is_idle() {
    check(
        "push 0 100; found 1; take 200
         push 0 110; take 229
         push 0 120; take 230
         push 0 130; take 231",
        "at 200: W -, 1 accepted
         at 229: W -, 1 accepted
         at 230: W 115, 1 accepted, idle 1, floor 1@0 115
         at 231: W 125, 1 accepted, idle 1, floor 1@0 125
         log: 1@0 floor 125 at 231",
    );
}

#[test]
fn a_row_ends_idleness_and_is_judged_by_the_floor() {
    check(
        "push 0 100; push 1 100; take 200
         push 0 140; take 230
         push 0 141; push 1 134 135; take 231
         push 0 150; take 232
         push 0 150; push 1 145 134; take 233",
        "at 200: W 95, 2 accepted
         at 230: W 135, 1 accepted, idle 1, floor 1@1 135
         at 231: W 135, 2 accepted, 1 late
         at 232: W 135, 1 accepted
         at 233: W 140, 2 accepted, 1 late
         log: 1@1 floor 135 at 230",
    );
}

#[test]
fn nobody_is_idle_while_behind_or_unheard() {
    check(
        "push 0 100; push 1 100; take 200
         behind 1; push 0 200; take 300
         deaf 1; push 0 300; take 400
         caught 1; push 0 400; take 429
         push 0 401; take 430",
        "at 200: W 95, 2 accepted
         at 300: W 95, 1 accepted
         at 400: W 95, 1 accepted
         at 429: W 95, 1 accepted
         at 430: W 396, 1 accepted, idle 1, floor 1@1 396
         log: 1@1 floor 396 at 430",
    );
}

#[test]
fn an_idle_partition_found_behind_counts_again_at_once() {
    check(
        "push 0 100; push 1 100; take 200
         push 0 140; take 230
         behind 1; push 0 150; take 231
         push 0 160; take 300
         push 1 136; caught 1; take 301",
        "at 200: W 95, 2 accepted
         at 230: W 135, 1 accepted, idle 1, floor 1@1 135
         at 231: W 135, 1 accepted
         at 300: W 135, 1 accepted
         at 301: W 135, 1 accepted
         log: 1@1 floor 135 at 230",
    );
}

#[test]
fn when_all_are_silent_event_time_goes_on_with_the_clock() {
    check(
        "push 0 200; push 1 190; take 200
         take 229
         take 230
         take 240
         push 0 219 224 225 240; take 245
         take 274
         take 275",
        "at 200: W 185, 2 accepted
         at 229: W 185
         at 230: W 225, idle 0 1, floor 0@1 225, floor 1@1 225
         at 240: W 235, idle 0 1, floor 0@1 235, floor 1@1 235
         at 245: W 235, 1 accepted, 3 late, idle 1
         at 274: W 235, idle 1
         at 275: W 265, idle 0 1, floor 0@5 265, floor 1@1 265
         log: 0@1 floor 235 at 240
         log: 0@5 floor 265 at 275
         log: 1@1 floor 265 at 275",
    );
}

#[test]
fn old_data_is_not_dragged_to_the_present() {
    check(
        "push 0 100; take 5000
         take 5030
         take 5060",
        "at 5000: W 95, 1 accepted
         at 5030: W 125, idle 0, floor 0@1 125
         at 5060: W 155, idle 0, floor 0@1 155
         log: 0@1 floor 155 at 5060",
    );
}

#[test]
fn times_ahead_of_the_clock_are_not_run_past_before_their_time() {
    check(
        "push 0 300; take 200
         take 230
         take 300
         take 306",
        "at 200: W 295, 1 accepted
         at 230: W 300, idle 0, floor 0@1 300
         at 300: W 300, idle 0
         at 306: W 301, idle 0, floor 0@1 301
         log: 0@1 floor 301 at 306",
    );
}

#[test]
fn records_without_an_event_time_do_not_end_idleness() {
    check(
        "push 0 100; push 1 100; take 200
         push 0 140; bad 1; null 1; take 230
         push 0 150; bad 1; take 231
         push 1 144 145; take 232",
        "at 200: W 95, 2 accepted
         at 230: W 135, 1 accepted, idle 1, floor 1@3 135
         at 231: W 145, 1 accepted, idle 1, floor 1@3 145
         at 232: W 145, 1 accepted, 1 late
         log: 1@3 floor 145 at 231",
    );
}

#[test]
fn a_partition_found_later_joins_at_the_watermark() {
    check(
        "push 0 100; take 200
         push 1 94 95 101; take 201
         found 2; push 0 110; push 1 110; take 202",
        "at 200: W 95, 1 accepted
         at 201: W 95, 2 accepted, 1 late, floor 1@0 95
         at 202: W 95, 2 accepted, floor 2@0 95
         log: 1@0 floor 95 at 200
         log: 2@0 floor 95 at 202",
    );
}

#[test]
fn the_clock_never_goes_back() {
    check(
        "push 0 100; push 1 100; take 200
         push 1 100; take 170
         push 0 150; take 229
         take 100; push 0 151; take 230",
        "at 200: W 95, 2 accepted
         at 170: W 95, 1 accepted
         at 229: W 95, 1 accepted
         at 100: W 95
         at 230: W 146, 1 accepted, idle 1, floor 1@2 146
         log: 1@2 floor 146 at 230",
    );
}

#[test]
fn nothing_is_known_of_a_source_without_rows() {
    check("found 0; take 200; take 300", "at 200: W -\nat 300: W -, idle 0");
}
