//! Backends that count, and one that throws chunks away.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use siltstone_backup::{
    backend::{
        self, Backend, BackendConfig, Conditions, Depth, ObjectEntry, ObjectMeta, ObjectWriter,
        PutMode,
    },
    cancel::Cancel,
    error::Result,
};

/// What went to a backend.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Calls of the backend and of its writers.
    pub(crate) requests: AtomicU64,
    /// Bytes of small objects.
    pub(crate) object_bytes: AtomicU64,
    /// Bytes of chunks.
    pub(crate) chunk_bytes: AtomicU64,
}

impl Counts {
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn object_bytes(&self) -> u64 {
        self.object_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes.load(Ordering::Relaxed)
    }

    fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// What happens to chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunks {
    Kept,
    Discarded,
}

/// A backend that counts what goes to another one.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Backend>,
    counts: Arc<Counts>,
    chunks: Chunks,
}

/// The same backend, counted.
pub(crate) fn counted(inner: &Arc<dyn Backend>) -> (Arc<dyn Backend>, Arc<Counts>) {
    counting(Arc::clone(inner), Chunks::Kept)
}

/// A backend in memory that takes chunks and forgets them.
pub(crate) fn sink() -> Result<(Arc<dyn Backend>, Arc<Counts>)> {
    Ok(counting(backend::open(&BackendConfig::Memory)?, Chunks::Discarded))
}

fn counting(inner: Arc<dyn Backend>, chunks: Chunks) -> (Arc<dyn Backend>, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    (Arc::new(Counting { inner, counts: Arc::clone(&counts), chunks }), counts)
}

impl Backend for Counting {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn cancelable(&self, cancel: &Cancel) -> Arc<dyn Backend> {
        let (inner, counts) = (self.inner.cancelable(cancel), Arc::clone(&self.counts));
        Arc::new(Self { inner, counts, chunks: self.chunks })
    }

    fn cpu(&self) -> Duration {
        self.inner.cpu()
    }

    fn put(&self, object: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.counts.request();
        self.counts.object_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.inner.put(object, bytes, mode)
    }

    fn writer(&self, object: &str) -> Result<Box<dyn ObjectWriter>> {
        self.counts.request();
        let inner = match self.chunks {
            Chunks::Kept => Some(self.inner.writer(object)?),
            Chunks::Discarded => None,
        };
        Ok(Box::new(CountingWriter { inner, length: 0, counts: Arc::clone(&self.counts) }))
    }

    fn get(&self, object: &str, bytes_max: u64) -> Result<Bytes> {
        self.counts.request();
        self.inner.get(object, bytes_max)
    }

    fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        self.counts.request();
        self.inner.get_range(object, range)
    }

    fn stat(&self, object: &str) -> Result<Option<ObjectMeta>> {
        self.counts.request();
        self.inner.stat(object)
    }

    fn list(&self, prefix: &str, depth: Depth) -> Result<Vec<ObjectEntry>> {
        self.counts.request();
        self.inner.list(prefix, depth)
    }

    fn delete(&self, object: &str) -> Result<()> {
        self.counts.request();
        self.inner.delete(object)
    }

    fn conditions(&self) -> Result<Conditions> {
        self.counts.request();
        self.inner.conditions()
    }
}

#[derive(Debug)]
struct CountingWriter {
    /// None: bytes are forgotten.
    inner: Option<Box<dyn ObjectWriter>>,
    length: u64,
    counts: Arc<Counts>,
}

impl ObjectWriter for CountingWriter {
    fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.length += bytes.len() as u64;
        self.counts.chunk_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        match &mut self.inner {
            Some(inner) => inner.write(bytes),
            None => Ok(()),
        }
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        self.counts.request();
        match self.inner {
            Some(inner) => inner.finish(),
            None => Ok(self.length),
        }
    }

    fn abort(self: Box<Self>) -> Result<()> {
        self.counts.request();
        self.inner.map_or(Ok(()), ObjectWriter::abort)
    }
}
