//! The thread that says that this engine leads, and stops it when another does.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::durability::DurabilityStatus;
use crate::checkpoint::lease::{Leading, Lease};
use crate::checkpoint::log::fenced;
use crate::checkpoint::storage::Storage;
use crate::error::{Error, Result};

/// Renewals in the time that a lease lasts: two may be lost.
const RENEWALS: u32 = 4;

/// A lease that is being kept. Dropped, it is released.
#[derive(Debug)]
pub struct LeaseKeeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl LeaseKeeper {
    /// Takes the lease, and renews it from then on. Should another engine take it, `status` is halted, and `halted` called.
    ///
    /// # Errors
    /// `Unavailable` if the lease cannot be taken, or the system refuses a thread.
    pub fn start(
        storage: Arc<dyn Storage>,
        writer: &str,
        lasts: Duration,
        status: Arc<DurabilityStatus>,
        halted: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let mut lease = Lease::take(storage.clone(), writer, lasts)?;
        let (stop, stopped) = channel::<()>();
        let keep = move || {
            while stopped.recv_timeout(lasts / RENEWALS) == Err(RecvTimeoutError::Timeout) {
                match lease.renew() {
                    Ok(Leading::Yes) => {}
                    Ok(Leading::No) => {
                        status.halt(&fenced(storage.as_ref()));
                        halted();
                        return;
                    }
                    // Whoever takes over meanwhile is found at the next renewal, or by the next thing that is written.
                    Err(error) => tracing::warn!(%error, "the lease was not renewed"),
                }
            }
            if let Err(error) = lease.release() {
                tracing::warn!(%error, "the lease was not released: the next server waits for it");
            }
        };
        let thread = std::thread::Builder::new().name("lease".into()).spawn(keep);
        let thread = thread.map_err(|e| Error::unavailable("cannot start the lease thread").with_source(e))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the lease thread panicked");
        }
    }
}
