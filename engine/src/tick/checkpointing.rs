//! What the tick thread does for checkpoints and after a restart: it gives the state between two ticks, and takes it back.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::core::RunningView;
use super::driver::{Driver, SourceHandle};
use super::durability::{Durability, named, writes_of};
use super::saving;
use super::table::RunningTable;
use crate::checkpoint::log::Entry;
use crate::checkpoint::manifest::PartKind;
use crate::checkpoint::recovered::Recovered;
use crate::checkpoint::writer::Job;
use crate::delta::Delta;
use crate::error::{Error, Result};
use crate::ingest::{Ingest, UsedColumns};
use crate::source::Offsets;

impl Driver {
    /// What the engine before left and is not brought back yet.
    fn recovered(&self) -> Option<&Arc<Recovered>> {
        self.durability.as_ref().and_then(Durability::recovered)
    }

    /// True if no tick may come: what the engine before left is not brought back yet.
    pub(super) fn is_held(&self) -> bool {
        self.recovered().is_some()
    }

    /// Adds a source, in the place of its namesake if there is one; one that the engine before had goes on where it was.
    pub(super) fn add_source(&mut self, name: &str, mut source: SourceHandle) -> Result<()> {
        self.stop_reading(name);
        self.fail_readers(name, &format!("source \"{name}\" was replaced"));
        self.core.add_source(name, &source.spec);
        match self.recovered().cloned() {
            Some(recovered) => {
                let part = recovered.part(PartKind::Source, source.id);
                if let (Some(part), Some(tables)) = (part, self.core.source_mut(name)) {
                    let saved = saving::read_source(&recovered, part)?;
                    saving::restore_source(&recovered, part, &saved, tables)?;
                    source.restored = saved.ingest;
                }
            }
            None => self.remember_start(&source)?,
        }
        self.sources.insert(name.to_owned(), source);
        Ok(())
    }

    /// Where reading begins is settled once: what `latest` or a time stood for then.
    fn remember_start(&mut self, source: &SourceHandle) -> Result<()> {
        let Some(durability) = self.durability.as_mut().filter(|_| source.id != 0) else { return Ok(()) };
        let start = Entry::Start { source: source.id, offsets: source.start.clone() };
        durability.before_tick(self.core.tick_and_now().0, vec![start])
    }

    /// Adds a table, empty or with the rows that the engine before left in it.
    pub(super) fn add_table(&mut self, name: &str, mut table: RunningTable) -> Result<()> {
        if let Some(recovered) = self.recovered()
            && let Some(part) = recovered.part(PartKind::Table, table.id())
        {
            saving::restore_table(recovered, part, &mut table)?;
        }
        self.core.add_table(name, table);
        Ok(())
    }

    /// Adds a view with the state it had; false if what it reads has not the state it had then.
    pub(super) fn restore_view(
        &mut self,
        name: &str,
        view: RunningView,
        used: BTreeMap<String, UsedColumns>,
    ) -> Result<bool> {
        let is_there =
            |relation: &String| self.core.views().contains_key(relation) || self.core.tables().contains_key(relation);
        let is_restored = |source: &String| self.sources.get(source).is_some_and(|source| source.restored.is_some());
        if !self.is_held() || !view.relations.iter().all(is_there) || !used.keys().all(is_restored) {
            return Ok(false);
        }
        self.core.add_view(name, view);
        self.used.insert(name.to_owned(), used);
        self.publish(&[])?;
        Ok(true)
    }

    /// Goes on where the engine before was: sources are read on, what the log has of tables is written, ticks begin.
    ///
    /// # Errors
    /// `Unavailable` if a source cannot be read on now: ticks have not begun, and this may be tried again.
    pub(super) fn begin(&mut self) -> Result<()> {
        let Some(recovered) = self.recovered().cloned() else { return Ok(()) };
        for (name, used) in self.columns_in_use()? {
            let source = self.sources.get_mut(&name).filter(|source| source.reader.is_none());
            let Some((source, state)) = source.and_then(|s| s.restored.clone().map(|state| (s, state))) else {
                continue;
            };
            source.spec.set_used(&used)?;
            let mut ingest = Ingest::restore(source.spec.clone(), source.factory.clone(), state)?;
            ingest.plan(&recovered.exclusions(source.id));
            let mut offsets: Offsets = source.start.clone();
            offsets.extend(ingest.offsets());
            let opened = source.opener.open(&offsets)?;
            self.read(&name, opened, ingest)?;
        }
        self.sources.values_mut().for_each(|source| source.restored = None);
        let names: BTreeMap<u32, String> =
            self.core.tables().iter().map(|(name, table)| (table.id(), name.clone())).collect();
        for changes in writes_of(recovered.entries()) {
            let own = |(name, change): (String, Vec<Delta>)| Ok((name.clone(), self.in_columns_of(&name, change)?));
            let changes = named(changes, &names).into_iter().map(own).collect::<Result<Vec<_>>>()?;
            self.core.write(&changes).map_err(|(place, error)| {
                Error::data(format!("the log does not fit the checkpoint: table \"{}\": {error}", changes[place].0))
            })?;
        }
        if let Some(durability) = &mut self.durability {
            durability.end_recovery();
        }
        self.tick(BTreeMap::new(), false).map(drop)
    }

    /// A change in the very columns of a table: a file does not keep how they were declared.
    fn in_columns_of(&self, table: &str, change: Vec<Delta>) -> Result<Vec<Delta>> {
        let Some(table) = self.core.tables().get(table) else { return Ok(change) };
        let schema = table.rows().schema().clone();
        let own = |delta: Delta| {
            let rows = crate::view::batch_of(&schema, delta.rows.columns().to_vec(), delta.num_rows())?;
            Ok(Delta { rows, ..delta })
        };
        change.into_iter().map(own).collect()
    }

    /// What the log is to have of a change; nothing if none of its tables is kept.
    pub(super) fn entry_of(&self, changes: Vec<(String, Vec<Delta>)>) -> Option<Entry> {
        self.durability.as_ref()?;
        let tables = self.core.tables();
        let kept = |(name, change): (String, Vec<Delta>)| {
            tables.get(&name).map(RunningTable::id).filter(|id| *id != 0).map(|id| (id, change))
        };
        let changes: Vec<_> = changes.into_iter().filter_map(kept).collect();
        (!changes.is_empty()).then_some(Entry::Write { changes })
    }

    /// What there is changed: the next checkpoint has it, also if no tick comes.
    pub(super) fn note_definition(&mut self) {
        if let Some(durability) = &mut self.durability {
            durability.ticked(0);
        }
    }

    /// Begins a checkpoint of the state as it is now, if it is time for one.
    pub(super) fn checkpoint_if_due(&mut self) {
        if self.durability.as_mut().is_some_and(|durability| durability.is_due()) {
            self.begin_checkpoint();
        }
    }

    fn begin_checkpoint(&mut self) {
        let began = Instant::now();
        let job = self.checkpoint_job();
        let Some(durability) = &mut self.durability else { return };
        match job {
            Ok(job) => durability.begin(job, began.elapsed()),
            Err(error) => durability.refuse(&error),
        }
    }

    /// The last one, before the engine ends: the next one need not read anything again.
    pub(super) fn last_checkpoint(&mut self) {
        if self.is_held() || self.durability.as_ref().is_none_or(|durability| durability.halted().is_some()) {
            return;
        }
        self.durability.iter_mut().for_each(Durability::settle);
        self.begin_checkpoint();
        self.durability.iter_mut().for_each(Durability::settle);
    }

    fn checkpoint_job(&self) -> Result<Job> {
        let durability = self.durability.as_ref().ok_or_else(|| Error::internal("no storage for a checkpoint"))?;
        let is_kept =
            |kind, id, fingerprint: &str, section, token| durability.is_kept(kind, id, fingerprint, section, token);
        let (tick, now_micros) = self.core.tick_and_now();
        let mut parts = Vec::new();
        for (name, source) in self.sources.iter().filter(|(_, source)| source.id != 0) {
            let Some(tables) = self.core.sources().get(name) else { continue };
            let ingest = source.reader.as_ref().map(|reader| reader.with_ingest(|ingest| ingest.save()));
            parts.push(saving::source(source.id, (ingest.as_ref(), &source.start), tables, tick, &is_kept)?);
        }
        parts.extend(
            self.core.tables().values().filter(|table| table.id() != 0).map(|table| saving::table(table, &is_kept)),
        );
        for view in self.core.views().values().filter(|view| view.id != 0 && view.failed.is_none()) {
            // One that cannot be saved must not keep the others from it: it is built again after a restart.
            match catch_unwind(AssertUnwindSafe(|| saving::view(view, &is_kept))) {
                Ok(Ok(part)) => parts.push(part),
                Ok(Err(error)) => tracing::error!(view = view.id, %error, "a view's state cannot be saved"),
                Err(_) => tracing::error!(view = view.id, "saving a view's state panicked"),
            }
        }
        let (log_next, ticks_reserved) = durability.position();
        Ok(Job { tick: tick.0, now_micros, written_micros: self.clock.now_micros(), ticks_reserved, log_next, parts })
    }
}
