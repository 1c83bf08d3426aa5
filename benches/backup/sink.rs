//! [`Sink`]: a backend whose large objects are forgotten as they come; small ones it keeps.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use siltstone_backup::{
    backend::{
        self, Backend, BackendConfig, Conditions, Depth, ObjectEntry, ObjectMeta, ObjectWriter,
        PutMode,
    },
    cancel::Cancel,
    error::Result,
};

/// See the head of the file.
#[derive(Clone, Debug)]
pub(crate) struct Sink(Arc<dyn Backend>);

impl Sink {
    pub(crate) fn open() -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(Self(backend::open(&BackendConfig::Memory)?)))
    }
}

/// Counts the bytes of one object.
#[derive(Debug)]
struct Counted(u64);

impl ObjectWriter for Counted {
    fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.0 += bytes.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        Ok(self.0)
    }

    fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Backend for Sink {
    fn describe(&self) -> &'static str {
        "a sink"
    }

    fn cancelable(&self, cancel: &Cancel) -> Arc<dyn Backend> {
        Arc::new(Self(self.0.cancelable(cancel)))
    }

    fn cpu(&self) -> Duration {
        self.0.cpu()
    }

    fn put(&self, object: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.0.put(object, bytes, mode)
    }

    fn writer(&self, _: &str) -> Result<Box<dyn ObjectWriter>> {
        Ok(Box::new(Counted(0)))
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
        self.0.delete(object)
    }

    fn conditions(&self) -> Result<Conditions> {
        self.0.conditions()
    }
}
