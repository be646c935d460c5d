//! Who leads: the engine that renews a small document now and then.
//!
//! A lease is a courtesy. It tells an engine that starts whether another is at work, and a standby when to take over; that an engine
//! which was taken for dead has no effect is held by the numbers of manifests and of the log, not by this. So no clock is
//! compared with another machine's: who waits sees whether the document changes, by its own clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::storage::Storage;
use crate::error::{Error, Result};

/// The document.
const NAME: &str = "lease";

/// How often a waiting engine looks.
const LOOK: Duration = Duration::from_millis(200);

/// What the document says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Document {
    /// The engine that leads, or led.
    writer: String,
    /// Counts its renewals.
    renewals: u64,
    /// How long to wait for the next before it counts as dead, ms.
    lasts_ms: u64,
    /// It has ended in order: nobody needs to wait.
    released: bool,
}

/// An engine's own lease.
#[derive(Debug)]
pub struct Lease {
    storage: Arc<dyn Storage>,
    document: Document,
}

/// Whether an engine still leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leading {
    /// It does.
    Yes,
    /// Another does.
    No,
}

impl Lease {
    /// The lease of an engine that takes over now.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be written.
    pub fn take(storage: Arc<dyn Storage>, writer: &str, lasts: Duration) -> Result<Self> {
        let lasts_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let document = Document { writer: writer.to_owned(), renewals: 0, lasts_ms, released: false };
        let lease = Self { storage, document };
        lease.write()?;
        Ok(lease)
    }

    /// Says that the engine is at work, unless another leads by now.
    ///
    /// # Errors
    /// `Unavailable` if that cannot be found out or said.
    pub fn renew(&mut self) -> Result<Leading> {
        if read(self.storage.as_ref())?.is_some_and(|found| found.writer != self.document.writer) {
            return Ok(Leading::No);
        }
        self.document.renewals += 1;
        self.write()?;
        Ok(Leading::Yes)
    }

    /// Says that the engine has ended: the next need not wait.
    ///
    /// # Errors
    /// As for [`renew`](Self::renew).
    pub fn release(&mut self) -> Result<()> {
        self.document.released = true;
        self.renew().map(drop)
    }

    fn write(&self) -> Result<()> {
        let text = serde_json::to_vec(&self.document);
        let text = text.map_err(|e| Error::internal("a lease cannot be written").with_source(e))?;
        self.storage.replace(NAME, text.into())
    }
}

/// What a look at the lease says to an engine that waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// Nobody leads: nobody ever did, has ended in order, or has been silent for too long.
    Free,
    /// This one may be at work.
    Held {
        /// The engine that leads.
        writer: String,
        /// It was seen to renew: it is at work.
        alive: bool,
    },
}

/// An engine that waits for the lease of another.
#[derive(Debug, Default)]
pub struct Watch {
    seen: Option<(Document, Instant)>,
    alive: bool,
}

impl Watch {
    /// Looks at the lease; `now` is the time on this machine's own clock.
    ///
    /// # Errors
    /// `Unavailable` if it cannot be read.
    pub fn look(&mut self, storage: &dyn Storage, now: Instant) -> Result<Look> {
        let Some(found) = read(storage)?.filter(|found| !found.released) else { return Ok(Look::Free) };
        let same = self.seen.as_ref().filter(|(seen, _)| *seen == found).map(|(_, since)| *since);
        let Some(since) = same else {
            self.alive = self.seen.is_some();
            let writer = found.writer.clone();
            self.seen = Some((found, now));
            return Ok(Look::Held { writer, alive: self.alive });
        };
        if now.saturating_duration_since(since) >= Duration::from_millis(found.lasts_ms) {
            return Ok(Look::Free);
        }
        Ok(Look::Held { writer: found.writer, alive: self.alive })
    }
}

/// Waits until nobody leads. A leader that is seen to be at work ends the wait, unless this engine is there to stand by. `progress` is
/// told in a few words what it waits for; `stop` ends the wait.
///
/// # Errors
/// `Conflict` if another engine is at work, `Cancelled`, `Unavailable`.
pub fn wait_until_free(
    storage: &dyn Storage,
    stand_by: bool,
    progress: &dyn Fn(String),
    stop: &dyn Fn() -> bool,
) -> Result<()> {
    let mut watch = Watch::default();
    loop {
        match watch.look(storage, Instant::now())? {
            Look::Free => return Ok(()),
            Look::Held { alive: true, .. } if !stand_by => {
                return Err(Error::conflict(format!(
                    "another server is at work on the data at {}: stop it, or start this one with --standby",
                    storage.locate("")
                )));
            }
            Look::Held { alive: true, .. } => progress("standing by: another server is at work".into()),
            Look::Held { alive: false, .. } => progress("waiting to see whether another server is at work".into()),
        }
        if stop() {
            return Err(Error::new(crate::ErrorKind::Cancelled, "the wait for the data was stopped"));
        }
        std::thread::sleep(LOOK);
    }
}

fn read(storage: &dyn Storage) -> Result<Option<Document>> {
    // One that cannot be understood is of nobody: what it may do is held elsewhere.
    Ok(storage.read(NAME)?.and_then(|text| serde_json::from_slice(&text).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::memory::Memory;

    #[test]
    fn a_standby_takes_over_when_the_leader_is_silent_for_too_long() {
        let storage = Arc::new(Memory::default());
        let lasts = Duration::from_secs(10);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch::default();
        assert_eq!(watch.look(storage.as_ref(), at(0)).expect("memory"), Look::Free, "nobody ever led");
        let mut leader = Lease::take(storage.clone(), "a", lasts).expect("memory");
        let held = |alive| Look::Held { writer: "a".into(), alive };
        assert_eq!(watch.look(storage.as_ref(), at(1)).expect("memory"), held(false), "it may have died long ago");
        for second in 2..30 {
            assert_eq!(leader.renew().expect("memory"), Leading::Yes);
            assert_eq!(watch.look(storage.as_ref(), at(second)).expect("memory"), held(true));
        }
        assert_eq!(watch.look(storage.as_ref(), at(38)).expect("memory"), held(true), "not silent for long enough");
        assert_eq!(watch.look(storage.as_ref(), at(39)).expect("memory"), Look::Free);
        let mut next = Lease::take(storage.clone(), "b", lasts).expect("memory");
        assert_eq!(leader.renew().expect("memory"), Leading::No, "it wakes, and finds another");
        leader.release().expect("memory");
        assert_eq!(next.renew().expect("memory"), Leading::Yes, "which the old one does not disturb");
        next.release().expect("memory");
        assert_eq!(Watch::default().look(storage.as_ref(), at(40)).expect("memory"), Look::Free, "ended in order");
    }

    #[test]
    fn who_does_not_stand_by_is_refused_while_another_is_at_work() {
        let storage = Arc::new(Memory::default());
        let mut leader = Lease::take(storage.clone(), "a", Duration::from_secs(3600)).expect("memory");
        let looks = std::cell::Cell::new(0);
        let progress = |_| {
            looks.set(looks.get() + 1);
            let _ = leader.storage.replace("elsewhere", Vec::new().into());
        };
        let stop = || looks.get() > 2;
        let waited = wait_until_free(storage.as_ref(), true, &progress, &stop).expect_err("stopped");
        assert_eq!(waited.kind(), crate::ErrorKind::Cancelled);
        let renewing = std::thread::spawn(move || {
            for _ in 0..50 {
                leader.renew().expect("memory");
                std::thread::sleep(LOOK / 2);
            }
        });
        let refused = wait_until_free(storage.as_ref(), false, &|_| {}, &|| false).expect_err("another is at work");
        assert_eq!(refused.kind(), crate::ErrorKind::Conflict, "{refused}");
        drop(renewing);
    }
}
