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

/// How the names of variables begin that are settings of an object store.
const SETTINGS: [&str; 3] = ["aws_", "google_", "azure_"];

/// A bucket, or a folder of one.
#[derive(Debug)]
pub struct Bucket {
    objects: Arc<dyn ObjectStore>,
    folder: Path,
    /// Requests are made on it; calls come from threads of their own, which wait.
    runtime: Handle,
}

impl Bucket {
    /// Opens `s3://bucket/folder`, `gs://bucket/folder`, `az://container/folder` or another URL that object stores have. Keys, region
    /// and endpoint come from the environment, under the names that the stores' own tools use (`AWS_ACCESS_KEY_ID`,
    /// `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_KEY`, …). Called on the runtime that makes the requests.
    ///
    /// # Errors
    /// `Input` for a URL or a setting that makes no sense.
    pub fn open(location: &str) -> Result<Self> {
        // What a URL holds may be a secret: it is not repeated.
        let refuse = "cannot keep data at this URL: give a directory, s3://bucket/folder, gs://… or az://…";
        let url = url::Url::parse(location).map_err(|e| Error::input(refuse).with_source(e))?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            let message = "a bucket's URL holds no keys and no options: set them in the environment, as AWS_ACCESS_KEY_ID for one";
            return Err(Error::input(message));
        }
        let settings = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let settings = settings.filter(|(name, _)| SETTINGS.iter().any(|prefix| name.starts_with(prefix)));
        let opened = object_store::parse_url_opts(&url, settings);
        let (objects, folder) = opened.map_err(|e| Error::input(refuse).with_source(e))?;
        let runtime =
            Handle::try_current().map_err(|e| Error::internal("a bucket without a runtime").with_source(e))?;
        Ok(Self::new(Arc::from(objects), folder, runtime))
    }

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
