//! [`ReadOnly`]: a backend through which nothing can be changed, whatever its rights.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    backend::{Backend, Conditions, Depth, ObjectEntry, ObjectMeta, ObjectWriter, PutMode},
    cancel::Cancel,
    error::{Error, ErrorKind, Result},
};

/// Another backend, whose objects can only be read.
#[derive(Clone, Debug)]
pub(super) struct ReadOnly(pub(super) Arc<dyn Backend>);

fn refused(object: &str) -> Error {
    let message = format!("'{object}' is not written: a verification only reads");
    Error::new(ErrorKind::Denied, message)
}

impl Backend for ReadOnly {
    fn describe(&self) -> &str {
        self.0.describe()
    }

    fn cpu(&self) -> Duration {
        self.0.cpu()
    }

    fn cancelable(&self, cancel: &Cancel) -> Arc<dyn Backend> {
        Arc::new(Self(self.0.cancelable(cancel)))
    }

    fn put(&self, object: &str, _: Bytes, _: PutMode) -> Result<()> {
        Err(refused(object))
    }

    fn writer(&self, object: &str) -> Result<Box<dyn ObjectWriter>> {
        Err(refused(object))
    }

    fn get(&self, object: &str, bytes_max: u64) -> Result<Bytes> {
        self.0.get(object, bytes_max)
    }

    fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        self.0.get_range(object, range)
    }

    fn stat(&self, object: &str) -> Result<Option<ObjectMeta>> {
        self.0.stat(object)
    }

    fn list(&self, prefix: &str, depth: Depth) -> Result<Vec<ObjectEntry>> {
        self.0.list(prefix, depth)
    }

    fn delete(&self, object: &str) -> Result<()> {
        Err(refused(object))
    }

    fn conditions(&self) -> Result<Conditions> {
        Err(refused("a probe"))
    }
}
