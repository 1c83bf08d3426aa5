//! A backend on which time passes when the test says so: the ages are those that it tells, and as much
//! more as was said since.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use siltstone_backup::{
    backend::{Backend, Conditions, Depth, ObjectEntry, ObjectMeta, ObjectWriter, PutMode},
    cancel::Cancel,
    error::Result,
};

/// Another backend, whose objects grow older on request. For what writes no object anew.
#[derive(Clone, Debug)]
pub(crate) struct Aged {
    inner: Arc<dyn Backend>,
    /// By how much each object is older than it says.
    older: Arc<Mutex<BTreeMap<String, Duration>>>,
}

impl Aged {
    pub(crate) fn over(inner: &Arc<dyn Backend>) -> Self {
        Self { inner: Arc::clone(inner), older: Arc::default() }
    }

    /// Lets time pass for all objects that are there.
    pub(crate) fn advance(&self, time: Duration) {
        let mut older = self.older.lock().unwrap();
        for entry in self.inner.list("", Depth::All).unwrap() {
            *older.entry(entry.name).or_default() += time;
        }
    }

    fn modified(&self, object: &str, told: Option<Duration>) -> Option<Duration> {
        let older = self.older.lock().unwrap().get(object).copied().unwrap_or_default();
        told.map(|told| told.saturating_sub(older))
    }
}

impl Backend for Aged {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn cancelable(&self, cancel: &Cancel) -> Arc<dyn Backend> {
        Arc::new(Self { inner: self.inner.cancelable(cancel), ..self.clone() })
    }

    fn put(&self, object: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.inner.put(object, bytes, mode)
    }

    fn writer(&self, object: &str) -> Result<Box<dyn ObjectWriter>> {
        self.inner.writer(object)
    }

    fn get(&self, object: &str, bytes_max: u64) -> Result<Bytes> {
        self.inner.get(object, bytes_max)
    }

    fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        self.inner.get_range(object, range)
    }

    fn stat(&self, object: &str) -> Result<Option<ObjectMeta>> {
        let mut meta = self.inner.stat(object)?;
        if let Some(meta) = &mut meta {
            meta.modified = self.modified(object, meta.modified);
        }
        Ok(meta)
    }

    fn list(&self, prefix: &str, depth: Depth) -> Result<Vec<ObjectEntry>> {
        let mut entries = self.inner.list(prefix, depth)?;
        for entry in &mut entries {
            entry.modified = self.modified(&entry.name, entry.modified);
        }
        Ok(entries)
    }

    fn delete(&self, object: &str) -> Result<()> {
        self.inner.delete(object)
    }

    fn conditions(&self) -> Result<Conditions> {
        self.inner.conditions()
    }
}
