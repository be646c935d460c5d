//! Objects of an object store: a bucket, or memory.
//!
//! What makes a name exclusive is the store's own conditional write (`If-None-Match: *` on S3).

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::Handle;

use super::storage::{Created, Storage};
use crate::error::{Error, Result};

/// A bucket, or a folder of one.
#[derive(Debug)]
pub struct Bucket {
    objects: Arc<dyn ObjectStore>,
    folder: Path,
    /// Requests are made on it; calls come from threads of their own, which wait.
    runtime: Handle,
}

impl Bucket {
    /// The objects in `folder`.
    pub fn new(objects: Arc<dyn ObjectStore>, folder: Path, runtime: Handle) -> Self {
        Self { objects, folder, runtime }
    }

    fn path(&self, name: &str) -> Path {
        name.split('/').fold(self.folder.clone(), |path, part| path.join(part))
    }

    fn cannot(&self, what: &str, name: &str) -> impl FnOnce(object_store::Error) -> Error {
        let message = format!("cannot {what} {}", self.locate(name));
        move |e| match e {
            object_store::Error::NotImplemented { .. } => Error::input(message).with_source(e),
            _ => Error::unavailable(message).with_source(e),
        }
    }
}

impl Storage for Bucket {
    fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        let options = PutOptions { mode: PutMode::Create, ..Default::default() };
        match self.runtime.block_on(self.objects.put_opts(&self.path(name), bytes.into(), options)) {
            Ok(_) => Ok(Created::New),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Created::Exists),
            Err(error) => Err(self.cannot("write", name)(error)),
        }
    }

    fn replace(&self, name: &str, bytes: Bytes) -> Result<()> {
        let put = self.runtime.block_on(self.objects.put(&self.path(name), bytes.into()));
        put.map(drop).map_err(self.cannot("write", name))
    }

    fn read(&self, name: &str) -> Result<Option<Bytes>> {
        let read = async { self.objects.get(&self.path(name)).await?.bytes().await };
        match self.runtime.block_on(read) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.cannot("read", name)(error)),
        }
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.path(folder);
        let found: Vec<_> =
            self.runtime.block_on(self.objects.list(Some(&path)).try_collect()).map_err(self.cannot("list", folder))?;
        let name = |meta: object_store::ObjectMeta| Some(format!("{folder}/{}", meta.location.filename()?));
        let mut names: Vec<_> = found.into_iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    fn delete(&self, name: &str) -> Result<()> {
        match self.runtime.block_on(self.objects.delete(&self.path(name))) {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(self.cannot("remove", name)(error)),
        }
    }

    fn locate(&self, name: &str) -> String {
        format!("{}/{}", self.objects, self.path(name))
    }
}
