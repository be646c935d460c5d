//! Objects in memory, for tests: with crashes, lost answers and altered bytes where they are asked for.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;

use super::storage::{Created, Storage};
use crate::error::{Error, Result};

/// What happens to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing was written.
    Before,
    /// It is written, and the answer is lost.
    After,
}

/// Called with the number of each write and deletion, from 0 on.
pub type Faults = Box<dyn FnMut(u64, &str) -> Option<Fault> + Send>;

/// Objects in memory.
#[derive(Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<String, Bytes>>,
    faults: Mutex<(u64, Option<Faults>)>,
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("objects", &self.objects.lock().len()).finish_non_exhaustive()
    }
}

impl Memory {
    /// Asks `faults` of every write and deletion from now on, counted from 0.
    pub fn set_faults(&self, faults: Option<Faults>) {
        *self.faults.lock() = (0, faults);
    }

    /// Writes and deletions since [`set_faults`](Self::set_faults).
    pub fn writes(&self) -> u64 {
        self.faults.lock().0
    }

    /// The names of all objects.
    pub fn names(&self) -> Vec<String> {
        self.objects.lock().keys().cloned().collect()
    }

    /// Changes an object's bytes as nothing but a broken disk would.
    pub fn alter(&self, name: &str, alter: impl FnOnce(&mut Vec<u8>)) {
        let mut objects = self.objects.lock();
        if let Some(bytes) = objects.get_mut(name) {
            let mut altered = bytes.to_vec();
            alter(&mut altered);
            *bytes = altered.into();
        }
    }

    fn fault(&self, name: &str) -> Option<Fault> {
        let mut faults = self.faults.lock();
        let number = faults.0;
        faults.0 += 1;
        faults.1.as_mut().and_then(|faults| faults(number, name))
    }

    fn lost(name: &str) -> Error {
        Error::unavailable(format!("the storage did not answer for {name}"))
    }
}

impl Storage for Memory {
    fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        let fault = self.fault(name);
        if fault == Some(Fault::Before) {
            return Err(Self::lost(name));
        }
        let mut objects = self.objects.lock();
        if objects.contains_key(name) {
            return Ok(Created::Exists);
        }
        objects.insert(name.to_owned(), bytes);
        if fault.is_some() { Err(Self::lost(name)) } else { Ok(Created::New) }
    }

    fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        let fault = self.fault(name);
        if matches!(fault, None | Some(Fault::After)) {
            self.objects.lock().insert(name.to_owned(), bytes);
        }
        if fault.is_some() { Err(Self::lost(name)) } else { Ok(()) }
    }

    fn read(&self, name: &str) -> Result<Option<Bytes>> {
        Ok(self.objects.lock().get(name).cloned())
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let prefix = format!("{folder}/");
        Ok(self.objects.lock().keys().filter(|name| name.starts_with(&prefix)).cloned().collect())
    }

    fn delete(&self, name: &str) -> Result<()> {
        let fault = self.fault(name);
        if matches!(fault, None | Some(Fault::After)) {
            self.objects.lock().remove(name);
        }
        if fault.is_some() { Err(Self::lost(name)) } else { Ok(()) }
    }

    fn locate(&self, name: &str) -> String {
        format!("memory:{name}")
    }
}
