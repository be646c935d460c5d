//! How far the views are that are being built: what each has read of what it has to read before it joins.
//!
//! In: from whoever feeds a new view (`backfill`, `pin`), how much of each input it has read. Out: a report for users, at any
//! time, from any thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What a new view has read so far. Shared between the view and those who want to know.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<BTreeMap<String, Read>>>);

/// Of one input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Read {
    rows: u64,
    of: u64,
}

impl Progress {
    /// Of this input there are `of` rows, or records, to be read, and `rows` have been.
    pub fn note(&self, input: &str, rows: u64, of: u64) {
        let read = Read { rows: rows.min(of), of };
        let mut inputs = self.0.lock();
        match inputs.get_mut(input) {
            Some(known) => *known = read,
            None => _ = inputs.insert(input.to_owned(), read),
        }
    }

    fn total(&self) -> Read {
        let sum = |sum: Read, read: &Read| Read { rows: sum.rows + read.rows, of: sum.of + read.of };
        self.0.lock().values().fold(Read::default(), sum)
    }
}

/// A view being built, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Its name.
    pub view: String,
    /// Rows of relations, and records of sources, that it has read.
    pub rows_read: u64,
    /// Those it has to read, as far as that is known: more come while it reads.
    pub rows_to_read: u64,
    /// How long it has been at it.
    pub elapsed: Duration,
}

impl Report {
    /// How much of it is read, from 0 to 100; `None` before it is known what is to be read.
    pub fn percent(&self) -> Option<f64> {
        (self.rows_to_read > 0).then(|| self.rows_read as f64 / self.rows_to_read as f64 * 100.0)
    }

    /// Rows read in a second, on the average so far; `None` before the first.
    pub fn rows_per_second(&self) -> Option<f64> {
        let seconds = self.elapsed.as_secs_f64();
        (self.rows_read > 0 && seconds > 0.0).then(|| self.rows_read as f64 / seconds)
    }

    /// How long the rest takes at that pace.
    pub fn seconds_left(&self) -> Option<f64> {
        Some((self.rows_to_read - self.rows_read) as f64 / self.rows_per_second()?)
    }
}

/// The views being built.
#[derive(Debug, Clone, Default)]
pub struct Buildings(Arc<Mutex<Vec<Building>>>);

#[derive(Debug)]
struct Building {
    view: String,
    progress: Progress,
    started: Instant,
}

/// A view's place among those being built; it is left when this is dropped.
#[derive(Debug)]
pub struct BuildingPlace {
    buildings: Buildings,
    progress: Progress,
}

impl Buildings {
    /// A view of this name begins.
    pub fn begin(&self, view: &str, progress: &Progress) -> BuildingPlace {
        let building = Building { view: view.to_owned(), progress: progress.clone(), started: Instant::now() };
        self.0.lock().push(building);
        BuildingPlace { buildings: self.clone(), progress: progress.clone() }
    }

    /// How far each is, in the order they began.
    pub fn reports(&self) -> Vec<Report> {
        let report = |building: &Building| {
            let Read { rows, of } = building.progress.total();
            let (view, elapsed) = (building.view.clone(), building.started.elapsed());
            Report { view, rows_read: rows, rows_to_read: of, elapsed }
        };
        self.0.lock().iter().map(report).collect()
    }
}

impl Drop for BuildingPlace {
    fn drop(&mut self) {
        self.buildings.0.lock().retain(|building| !Arc::ptr_eq(&building.progress.0, &self.progress.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_adds_up_the_inputs() {
        let (buildings, progress) = (Buildings::default(), Progress::default());
        let place = buildings.begin("v", &progress);
        assert_eq!(buildings.reports()[0].percent(), None);
        progress.note("a", 0, 300);
        progress.note("b", 0, 100);
        progress.note("a", 100, 300);
        let report = &buildings.reports()[0];
        assert_eq!((report.rows_read, report.rows_to_read, report.percent()), (100, 400, Some(25.0)));
        let report = Report { elapsed: Duration::from_secs(2), ..report.clone() };
        assert_eq!((report.rows_per_second(), report.seconds_left()), (Some(50.0), Some(6.0)));
        drop(place);
        assert_eq!(buildings.reports(), []);
    }
}
