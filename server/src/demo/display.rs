//! What the demo shows while it runs.

use std::io::{Write, stdout};
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use chrono::DateTime;
use crossterm::cursor::MoveUp;
use crossterm::terminal::{Clear, ClearType};
use crossterm::{ExecutableCommand, QueueableCommand};

use super::generator::Generator;
use crate::server::Server;

/// The view whose newest rows are shown.
const SHOWN: &str = "SELECT * FROM bids_per_10s ORDER BY window_start DESC LIMIT 4";

/// A display that writes over itself on a terminal, and a line at a time elsewhere.
pub struct Display {
    live: bool,
    lines: u16,
    last: Option<(Instant, u64, u64)>,
}

impl Display {
    /// A new display.
    pub fn new(live: bool) -> Self {
        Self { live, lines: 0, last: None }
    }

    /// Shows the present state.
    pub async fn show(&mut self, server: &Server, generator: &Generator) {
        let status = self.status(server, generator);
        let text = if self.live { format!("{status}\n\n{}\n", rows(server).await) } else { format!("{status}\n") };
        // A closed output is no reason to stop the demo.
        let _ = self.write(&text);
    }

    fn status(&mut self, server: &Server, generator: &Generator) -> String {
        let engine = server.database.engine();
        let snapshot = engine.snapshot();
        let rows: u64 = snapshot.sources.values().map(|source| source.counts().accepted).sum();
        let consumed: u64 = snapshot.sources.values().map(|source| source.counts().consumed()).sum();
        let (now, tick) = (Instant::now(), snapshot.tick.0);
        let (rows_rate, tick_rate) = match self.last.replace((now, rows, tick)) {
            Some((then, before, tick_before)) => {
                let seconds = (now - then).as_secs_f64().max(1e-3);
                ((rows - before) as f64 / seconds, (tick - tick_before) as f64 / seconds)
            }
            None => (0.0, 0.0),
        };
        let watermark = snapshot.source("bids").and_then(|bids| bids.watermark.micros());
        let watermark = watermark.and_then(DateTime::from_timestamp_micros);
        let watermark = watermark.map_or_else(|| "-".to_owned(), |time| time.format("%H:%M:%S%.3f").to_string());
        let last = engine.store().recent_ticks().last().map_or(0, |t| t.compute_micros + t.publish_micros);
        format!(
            "tick {tick} ({tick_rate:.0}/s, last {:.1} ms)  rows {rows} ({rows_rate:.0}/s)  lag {}  watermark {watermark}",
            last as f64 / 1000.0,
            generator.written().saturating_sub(consumed),
        )
    }

    fn write(&mut self, text: &str) -> std::io::Result<()> {
        let mut out = stdout().lock();
        if self.live && self.lines > 0 {
            out.queue(MoveUp(self.lines))?.queue(Clear(ClearType::FromCursorDown))?;
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        self.lines = u16::try_from(text.lines().count()).unwrap_or(0);
        Ok(())
    }
}

/// The newest rows of one view, as a table.
async fn rows(server: &Server) -> String {
    match server.database.select(SHOWN).await {
        Ok(batches) => table(&batches),
        Err(error) => error.to_string(),
    }
}

/// Batches as a text table.
pub fn table(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).map_or_else(|e| e.to_string(), |table| table.to_string())
}

/// Leaves the terminal as it was found.
impl Drop for Display {
    fn drop(&mut self) {
        if self.live {
            let _ = stdout().execute(crossterm::cursor::Show);
        }
    }
}
