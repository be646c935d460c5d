//! The transaction a session is in: none, one of its own for a query string or a pipeline, or a block.
//!
//! One [`ReadPoint`] for the whole transaction, whatever level is asked for, and on top of it what the block has written
//! itself: that is repeatable read, or snapshot isolation. The point is fixed by the first read and let go by a definition made
//! inside the transaction, since what was just created must be visible. What a block writes is nobody else's before COMMIT,
//! which fails if others have changed the same rows since. Definitions apply at once; a rollback cannot take them back and says
//! so.

use sql::{SqlError, SqlState};

use super::settings::Settings;
use crate::backend::{Backend, BlockWrites, Notice, ReadPoint};

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// In no transaction.
    Idle,
    /// In one that ends with the query string, or with Sync.
    Implicit,
    /// In a block.
    Block,
    /// In a block, after an error: only its end, or a return to a savepoint, is heard.
    Failed,
}

/// What BEGIN and SET TRANSACTION ask for; `None` is unsaid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Modes {
    pub isolation: Option<&'static str>,
    pub read_only: Option<bool>,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Committed,
    RolledBack,
}

/// A session's transaction.
#[derive(Debug)]
pub(crate) struct Transaction {
    state: State,
    settings: Settings,
    savepoints: Vec<(String, BlockWrites)>,
    writes: BlockWrites,
    read_point: Option<ReadPoint>,
    /// Something was created or dropped in it.
    defined: bool,
}

impl Transaction {
    pub(crate) fn new(settings: Settings) -> Self {
        let (savepoints, writes) = (Vec::new(), BlockWrites::default());
        Self { state: State::Idle, settings, savepoints, writes, read_point: None, defined: false }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// How many savepoints there are.
    pub(crate) fn depth(&self) -> usize {
        self.savepoints.len()
    }

    /// The state ReadyForQuery reports.
    pub(crate) fn status(&self) -> u8 {
        match self.state {
            State::Idle | State::Implicit => b'I',
            State::Block => b'T',
            State::Failed => b'E',
        }
    }

    /// Where to read now; a read that counts fixes it for the rest of the transaction, and heeds `as_of_tick`.
    ///
    /// # Errors
    /// 22023 if the tick of `as_of_tick` is not kept.
    pub(crate) fn read_point(&mut self, backend: &dyn Backend, fix: bool) -> Result<ReadPoint, SqlError> {
        let point = self.point_of_others(backend, fix)?;
        Ok(if self.writes.is_empty() { point } else { backend.with_writes(point, &self.writes) })
    }

    /// What the block has written so far; `None` outside a block.
    pub(crate) fn writes(&self) -> Option<&BlockWrites> {
        matches!(self.state, State::Block | State::Failed).then_some(&self.writes)
    }

    fn point_of_others(&mut self, backend: &dyn Backend, fix: bool) -> Result<ReadPoint, SqlError> {
        if let Some(point) = &self.read_point {
            return Ok(point.clone());
        }
        let as_of = self.settings.show("as_of_tick")?;
        let point = match as_of.parse::<u64>() {
            Ok(tick) if fix => backend.read_point_at(tick)?,
            // -1 is the newest.
            _ => backend.read_point(),
        };
        if fix && self.state != State::Idle {
            self.read_point = Some(point.clone());
        }
        Ok(point)
    }

    /// Something was created or dropped: the next read sees it.
    pub(crate) fn defined(&mut self) {
        self.read_point = None;
        self.defined = true;
    }

    /// The next read sees the newest tick.
    pub(crate) fn refresh(&mut self) {
        self.read_point = None;
    }

    /// A statement outside a block begins one of its own.
    pub(crate) fn begin_implicit(&mut self) {
        if self.state == State::Idle {
            self.state = State::Implicit;
            self.settings.begin();
        }
    }

    /// BEGIN.
    pub(crate) fn begin(&mut self, modes: &Modes) -> Result<Option<Notice>, SqlError> {
        match self.state {
            State::Block => {
                let warning = Notice::warning(SqlState("25001"), "there is already a transaction in progress");
                self.set_modes(modes)?;
                Ok(Some(warning))
            }
            State::Failed => Err(aborted()),
            State::Idle | State::Implicit => {
                if self.state == State::Idle {
                    self.settings.begin();
                }
                self.state = State::Block;
                for mode in ["isolation", "read_only", "deferrable"] {
                    let default = self.settings.show(&format!("default_transaction_{mode}"))?;
                    self.settings.set(&format!("transaction_{mode}"), &default, true)?;
                }
                self.set_modes(modes)?;
                Ok(None)
            }
        }
    }

    /// SET TRANSACTION, and the modes of BEGIN.
    pub(crate) fn set_modes(&mut self, modes: &Modes) -> Result<(), SqlError> {
        if let Some(isolation) = modes.isolation {
            self.settings.set("transaction_isolation", isolation, true)?;
        }
        match modes.read_only {
            Some(false) if self.read_point.is_some() && self.is_read_only() => {
                let message = "transaction read-write mode must be set before any query";
                Err(SqlError::new(SqlState("25001"), message))
            }
            Some(read_only) => {
                self.settings.set("transaction_read_only", if read_only { "on" } else { "off" }, true)?;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// True if nothing may be created or changed.
    pub(crate) fn is_read_only(&self) -> bool {
        self.settings.is_on("transaction_read_only")
    }

    /// COMMIT or END. The tag tells a commit from a failed block's end.
    pub(crate) fn commit(&mut self, chain: bool) -> Result<(End, Option<Notice>), SqlError> {
        match self.state {
            State::Block => {
                self.end(End::Committed, chain)?;
                Ok((End::Committed, None))
            }
            State::Failed => {
                let notice = self.end(End::RolledBack, chain)?;
                Ok((End::RolledBack, notice))
            }
            State::Idle | State::Implicit => self.no_block(End::Committed, chain),
        }
    }

    /// ROLLBACK or ABORT.
    pub(crate) fn rollback(&mut self, chain: bool) -> Result<(End, Option<Notice>), SqlError> {
        match self.state {
            State::Block | State::Failed => Ok((End::RolledBack, self.end(End::RolledBack, chain)?)),
            State::Idle | State::Implicit => self.no_block(End::RolledBack, chain),
        }
    }

    fn no_block(&mut self, end: End, chain: bool) -> Result<(End, Option<Notice>), SqlError> {
        if chain {
            let what = if end == End::Committed { "COMMIT" } else { "ROLLBACK" };
            return Err(only_in_block(&format!("{what} AND CHAIN")));
        }
        if self.state == State::Implicit {
            self.end(end, false)?;
        }
        let warning = Notice::warning(SqlState("25P01"), "there is no transaction in progress");
        Ok((end, Some(warning)))
    }

    /// The query string or the pipeline ended. Says how, if a transaction of its own ended with it.
    pub(crate) fn end_implicit(&mut self, failed: bool) -> Option<(End, Option<Notice>)> {
        if self.state != State::Implicit {
            return None;
        }
        let end = if failed { End::RolledBack } else { End::Committed };
        let notice = self.end(end, false).ok().flatten();
        Some((end, notice))
    }

    /// A statement failed.
    pub(crate) fn fail(&mut self) {
        if self.state == State::Block {
            self.state = State::Failed;
        }
    }

    fn end(&mut self, end: End, chain: bool) -> Result<Option<Notice>, SqlError> {
        let chained = chain.then(|| {
            let isolation = self.settings.value("transaction_isolation");
            (isolation, self.is_read_only())
        });
        match end {
            End::Committed => self.settings.commit(),
            End::RolledBack => self.settings.rollback(),
        }
        let lost = end == End::RolledBack && self.defined;
        self.state = State::Idle;
        self.savepoints.clear();
        self.writes = BlockWrites::default();
        self.read_point = None;
        self.defined = false;
        if let Some((isolation, read_only)) = chained {
            self.begin(&Modes { isolation: None, read_only: Some(read_only) })?;
            if let Some(isolation) = isolation {
                self.settings.set("transaction_isolation", &isolation, true)?;
            }
        }
        Ok(lost.then(|| {
            let message = "what this transaction created or dropped took effect at once and was not rolled back";
            Notice::warning(SqlState("01000"), message)
        }))
    }

    /// SAVEPOINT.
    pub(crate) fn savepoint(&mut self, name: String) -> Result<(), SqlError> {
        match self.state {
            State::Block => {
                self.savepoints.push((name, self.writes.clone()));
                self.settings.savepoint();
                Ok(())
            }
            State::Failed => Err(aborted()),
            State::Idle | State::Implicit => Err(only_in_block("SAVEPOINT")),
        }
    }

    /// RELEASE SAVEPOINT.
    pub(crate) fn release(&mut self, name: &str) -> Result<(), SqlError> {
        match self.state {
            State::Block => {
                let depth = self.find_savepoint(name)?;
                self.savepoints.truncate(depth - 1);
                self.settings.release(depth);
                Ok(())
            }
            State::Failed => Err(aborted()),
            State::Idle | State::Implicit => Err(only_in_block("RELEASE SAVEPOINT")),
        }
    }

    /// ROLLBACK TO SAVEPOINT: the block is well again. Returns the savepoint's depth; what is deeper is gone.
    pub(crate) fn rollback_to(&mut self, name: &str) -> Result<usize, SqlError> {
        match self.state {
            State::Block | State::Failed => {
                let depth = self.find_savepoint(name)?;
                self.savepoints.truncate(depth);
                self.writes = self.savepoints.last().map(|(_, writes)| writes.clone()).unwrap_or_default();
                self.settings.rollback_to(depth);
                self.state = State::Block;
                Ok(depth)
            }
            State::Idle | State::Implicit => Err(only_in_block("ROLLBACK TO SAVEPOINT")),
        }
    }

    /// The newest savepoint of that name, counted from 1.
    fn find_savepoint(&self, name: &str) -> Result<usize, SqlError> {
        let found = self.savepoints.iter().rposition(|(savepoint, _)| savepoint == name);
        found
            .map(|index| index + 1)
            .ok_or_else(|| SqlError::new(SqlState("3B001"), format!("savepoint \"{name}\" does not exist")))
    }
}

/// What every statement but the block's end hears after an error.
pub(crate) fn aborted() -> SqlError {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    SqlError::new(SqlState("25P02"), message)
}

/// What needs a block and has none.
pub(crate) fn only_in_block(what: &str) -> SqlError {
    SqlError::new(SqlState("25P01"), format!("{what} can only be used in transaction blocks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction() -> (Transaction, Settings) {
        let settings = Settings::default();
        (Transaction::new(settings.clone()), settings)
    }

    #[test]
    fn a_failed_block_hears_only_its_end() {
        let (mut transaction, _) = transaction();
        transaction.begin(&Modes::default()).expect("begins");
        transaction.savepoint("s".into()).expect("in a block");
        transaction.fail();
        assert_eq!(transaction.status(), b'E');
        assert_eq!(transaction.savepoint("t".into()).expect_err("failed").state.0, "25P02");
        assert_eq!(transaction.rollback_to("s"), Ok(1));
        assert_eq!(transaction.status(), b'T');
        transaction.fail();
        assert_eq!(transaction.commit(false).expect("ends").0, End::RolledBack);
        assert_eq!(transaction.status(), b'I');
    }

    #[test]
    fn ends_and_begins_out_of_place_are_warnings() {
        let (mut transaction, _) = transaction();
        assert_eq!(transaction.commit(false).expect("warns").1.expect("a warning").message.state.0, "25P01");
        assert_eq!(transaction.begin(&Modes::default()).expect("begins"), None);
        let again = transaction.begin(&Modes::default()).expect("warns").expect("a warning");
        assert_eq!(again.message.state.0, "25001");
        assert_eq!(transaction.release("x").expect_err("none").state.0, "3B001");
    }

    #[test]
    fn the_modes_of_a_block_end_with_it_unless_it_is_chained() {
        let (mut transaction, settings) = transaction();
        transaction.begin(&Modes { isolation: Some("repeatable read"), read_only: Some(true) }).expect("begins");
        assert_eq!(settings.value("transaction_isolation").as_deref(), Some("repeatable read"));
        transaction.commit(true).expect("chains");
        assert!(transaction.is_read_only());
        assert_eq!(settings.value("transaction_isolation").as_deref(), Some("repeatable read"));
        transaction.commit(false).expect("ends");
        assert!(!transaction.is_read_only());
        settings.set("default_transaction_isolation", "read committed", false).expect("set");
        assert_eq!(settings.value("transaction_isolation").as_deref(), Some("read committed"));
    }

    #[test]
    fn a_rollback_tells_of_definitions_it_cannot_take_back() {
        let (mut transaction, _) = transaction();
        transaction.begin(&Modes::default()).expect("begins");
        transaction.defined();
        let (_, notice) = transaction.rollback(false).expect("ends");
        assert_eq!(notice.expect("a warning").message.state.0, "01000");
    }
}
