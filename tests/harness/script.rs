//! Golden scripts of ticks: statements, then the records of each tick, then (in lines that begin with `>`) what came out.
//!
//! ```text
//! # What this script shows.
//! CREATE SOURCE s (…) WITH (…) FORMAT JSON;
//! CREATE MATERIALIZED VIEW v AS …;
//!
//! partitions s 2
//!
//! tick 12:00:01
//! s 0 {"k": 1, "ts": "2026-01-01 12:00:00"}
//! > s: watermark … | 0: … | 1: …
//! > v +1 | 1 | …
//! ```
//! Steps are `tick [time] [behind N …] [deaf]`, `restart [parallelism N]`, `partitions source N` and, last, `end`. A tick
//! without a time is one second after the one before; `behind` names partitions whose log goes on beyond what was read,
//! `deaf` says that the source did not hear of ends at all. A record is `source partition [@time] [key=…] payload`; `tombstone`
//! has none, `skip N` is N offsets without a record, `hex:…` gives bytes. Times of one day are written without the day.

use super::stage::{OwnedRecord, Stage};

/// The day that times without one are of; only its midnight is written with the day.
pub const DAY: &str = "2026-01-01";

/// A script's lines, without what came out.
#[derive(Debug)]
pub struct Script {
    lines: Vec<String>,
    statements: String,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    action: Action,
    /// The last line that belongs to it.
    end: usize,
}

#[derive(Debug)]
enum Action {
    Partitions { source: String, count: i32 },
    Tick { now_micros: Option<i64>, behind: Vec<i32>, deaf: bool, records: Vec<OwnedRecord> },
    Restart { parallelism: usize },
    End,
}

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// The line that is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines: Vec<String> = text.lines().filter(|line| !line.starts_with('>')).map(str::to_owned).collect();
        let mut script = Self { lines: vec![], statements: String::new(), steps: vec![] };
        for (index, line) in lines.iter().enumerate() {
            script.read(index, line).map_err(|e| format!("{e}: {line}"))?;
        }
        script.lines = lines;
        Ok(script)
    }

    fn read(&mut self, index: usize, line: &str) -> Result<(), String> {
        if line.starts_with('#') || line.trim().is_empty() {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let action = match words.next().unwrap_or_default() {
            "partitions" => {
                let source = words.next().ok_or("no source")?.to_owned();
                Action::Partitions { source, count: number(words.next())? }
            }
            "tick" => tick(words)?,
            "restart" => match words.next() {
                Some("parallelism") => Action::Restart { parallelism: number(words.next())? as usize },
                _ => Action::Restart { parallelism: 1 },
            },
            "end" => Action::End,
            _ => return self.continue_line(index, line),
        };
        self.steps.push(Step { action, end: index });
        Ok(())
    }

    fn continue_line(&mut self, index: usize, line: &str) -> Result<(), String> {
        match self.steps.last_mut() {
            None => {
                self.statements.push_str(line);
                self.statements.push('\n');
                Ok(())
            }
            Some(Step { action: Action::Tick { records, .. }, end }) => {
                records.push(record(line)?);
                *end = index;
                Ok(())
            }
            Some(_) => Err("a record outside a tick".into()),
        }
    }

    /// Runs the script; returns its text with what came out.
    ///
    /// # Errors
    /// What is wrong whatever the golden says: a view that differs from the batch answer, an offset not accounted for.
    pub fn run(&self) -> Result<String, String> {
        let mut stage = Stage::new(&self.statements)?;
        let mut outputs = vec![Vec::new(); self.lines.len()];
        for step in &self.steps {
            let said = match &step.action {
                Action::Partitions { source, count } => stage.set_partitions(source, *count).map(|()| vec![]),
                Action::Tick { now_micros, behind, deaf, records } => stage.tick(*now_micros, behind, *deaf, records),
                Action::Restart { parallelism } => stage.restart(*parallelism).map(|()| vec![]),
                Action::End => stage.end(),
            };
            outputs[step.end] = said.map_err(|e| format!("line {}: {e}", self.lines[step.end]))?;
        }
        let mut text = String::new();
        for (line, said) in self.lines.iter().zip(outputs) {
            text.push_str(line);
            text.push('\n');
            said.iter().for_each(|line| text.push_str(&format!("> {line}\n")));
        }
        Ok(text)
    }
}

fn tick<'a>(words: impl Iterator<Item = &'a str>) -> Result<Action, String> {
    let (mut now_micros, mut deaf, mut behind) = (None, false, Vec::new());
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        match word {
            "deaf" => deaf = true,
            "behind" => {
                while let Some(partition) = words.peek().and_then(|word| word.parse().ok()) {
                    behind.push(partition);
                    words.next();
                }
            }
            time => now_micros = Some(micros(time)?),
        }
    }
    Ok(Action::Tick { now_micros, behind, deaf, records: vec![] })
}

/// Reads a record.
///
/// # Errors
/// What is missing or not understood.
pub fn record(line: &str) -> Result<OwnedRecord, String> {
    let (source, rest) = line.split_once(' ').ok_or("no partition")?;
    let (partition, rest) = rest.trim_start().split_once(' ').ok_or("no payload")?;
    let partition = number(Some(partition))?;
    let mut payload = rest.trim_start();
    let mut record = OwnedRecord { source: source.to_owned(), partition, ..OwnedRecord::default() };
    if let Some(timed) = payload.strip_prefix('@') {
        let (time, rest) = timed.split_once(' ').ok_or("no payload")?;
        (record.time_micros, payload) = (Some(micros(time)?), rest.trim_start());
    }
    if let Some(keyed) = payload.strip_prefix("key=") {
        let (key, rest) = keyed.split_once(' ').ok_or("no payload")?;
        (record.key, payload) = (Some(bytes(key)?), rest.trim_start());
    }
    match payload.split_once(' ') {
        _ if payload == "tombstone" => {}
        Some(("skip", count)) => record.skip = i64::from(number(Some(count))?),
        _ => record.payload = Some(bytes(payload)?),
    }
    Ok(record)
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let Some(digits) = text.strip_prefix("hex:") else { return Ok(text.as_bytes().to_vec()) };
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2).unwrap_or_default(), 16);
    (0..digits.len()).step_by(2).map(byte).collect::<Result<_, _>>().map_err(|_| "not hexadecimal".into())
}

fn number(word: Option<&str>) -> Result<i32, String> {
    word.and_then(|word| word.parse().ok()).ok_or_else(|| "a number is missing".into())
}

/// A time, with or without its day, in µs since 1970.
fn micros(text: &str) -> Result<i64, String> {
    let whole = if text.contains('-') { text.to_owned() } else { format!("{DAY}T{text}") };
    let nanos = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(&whole);
    Ok(nanos.map_err(|e| format!("{whole}: {e}"))? / 1000)
}
