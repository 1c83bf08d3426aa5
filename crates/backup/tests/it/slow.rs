//! A backend that takes its time, one that dies after so many requests, and one that falls silent.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use siltstone_backup::{
    backend::{Backend, Conditions, Depth, ObjectEntry, ObjectMeta, ObjectWriter, PutMode},
    cancel::Cancel,
    error::{Error, ErrorKind, Result},
};

/// Another backend, with a wait before each request, or an end after some.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    inner: Arc<dyn Backend>,
    wait: Duration,
    left: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
    /// Bytes of parts of objects that were handed out.
    fetched: Arc<AtomicU64>,
    end: End,
    cancel: Cancel,
}

/// What the requests after the last get.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// An error of this kind.
    Fails(ErrorKind),
    /// No answer, until nobody waits for it.
    Silent,
}

/// How often a request without an answer looks whether somebody waits still.
const SILENT_LOOK: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct SlowWriter {
    backend: Slow,
    inner: Box<dyn ObjectWriter>,
}

impl Slow {
    pub(crate) fn over(inner: &Arc<dyn Backend>, wait: Duration) -> Arc<dyn Backend> {
        Arc::new(Self {
            inner: Arc::clone(inner),
            wait,
            left: Arc::new(AtomicU64::new(u64::MAX)),
            requests: Arc::default(),
            fetched: Arc::default(),
            end: End::Silent,
            cancel: Cancel::new(),
        })
    }

    /// Answers so many requests, and none after; counts them all.
    pub(crate) fn dying(
        inner: &Arc<dyn Backend>,
        after: u64,
    ) -> (Arc<dyn Backend>, Arc<AtomicU64>) {
        Self::ending(inner, after, End::Fails(ErrorKind::Denied))
    }

    /// Answers everything, and counts the bytes of chunks that it hands out.
    pub(crate) fn counting(inner: &Arc<dyn Backend>) -> (Arc<dyn Backend>, Arc<AtomicU64>) {
        let fetched = Arc::<AtomicU64>::default();
        let backend = Self {
            inner: Arc::clone(inner),
            wait: Duration::ZERO,
            left: Arc::new(AtomicU64::new(u64::MAX)),
            requests: Arc::default(),
            fetched: Arc::clone(&fetched),
            end: End::Silent,
            cancel: Cancel::new(),
        };
        (Arc::new(backend), fetched)
    }

    /// Answers so many requests, and ends so; counts them all.
    pub(crate) fn ending(
        inner: &Arc<dyn Backend>,
        after: u64,
        end: End,
    ) -> (Arc<dyn Backend>, Arc<AtomicU64>) {
        let requests = Arc::<AtomicU64>::default();
        let backend = Self {
            inner: Arc::clone(inner),
            wait: Duration::ZERO,
            left: Arc::new(AtomicU64::new(after)),
            requests: Arc::clone(&requests),
            fetched: Arc::default(),
            end,
            cancel: Cancel::new(),
        };
        (Arc::new(backend), requests)
    }

    fn step(&self) -> Result<()> {
        thread::sleep(self.wait);
        self.requests.fetch_add(1, Ordering::SeqCst);
        let spend = |left: u64| left.checked_sub(1);
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend);
        if left.is_ok() {
            return Ok(());
        }
        match self.end {
            End::Fails(kind) => Err(Error::new(kind, "the backend is gone")),
            End::Silent => loop {
                self.cancel.check()?;
                thread::sleep(SILENT_LOOK);
            },
        }
    }
}

impl Backend for Slow {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn cancelable(&self, cancel: &Cancel) -> Arc<dyn Backend> {
        let (inner, cancel) = (self.inner.cancelable(cancel), cancel.clone());
        Arc::new(Self { inner, cancel, ..self.clone() })
    }

    fn put(&self, object: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.step()?;
        self.inner.put(object, bytes, mode)
    }

    fn writer(&self, object: &str) -> Result<Box<dyn ObjectWriter>> {
        self.step()?;
        let inner = self.inner.writer(object)?;
        Ok(Box::new(SlowWriter { backend: self.clone(), inner }))
    }

    fn get(&self, object: &str, bytes_max: u64) -> Result<Bytes> {
        self.step()?;
        self.inner.get(object, bytes_max)
    }

    fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        self.step()?;
        let bytes = self.inner.get_range(object, range)?;
        self.fetched.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(bytes)
    }

    fn stat(&self, object: &str) -> Result<Option<ObjectMeta>> {
        self.step()?;
        self.inner.stat(object)
    }

    fn list(&self, prefix: &str, depth: Depth) -> Result<Vec<ObjectEntry>> {
        self.step()?;
        self.inner.list(prefix, depth)
    }

    fn delete(&self, object: &str) -> Result<()> {
        self.step()?;
        self.inner.delete(object)
    }

    fn conditions(&self) -> Result<Conditions> {
        self.inner.conditions()
    }
}

impl ObjectWriter for SlowWriter {
    fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.backend.step()?;
        self.inner.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        self.backend.step()?;
        self.inner.finish()
    }

    fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort()
    }
}
