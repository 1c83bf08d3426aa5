//! What the tests of plan, pipeline and fetch share: segments on a simulated disk, and a backend
//! that can be told to fail.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use siltstone_io::{disk::Disk, env::Env, path::RelPath, sim::SimDisk};
use siltstone_lsm::{
    format::{names, primitives::PieceHasher},
    types::{Counts, FileId, SegmentMeta, TreeId, Uid},
    version::{FileHandle, Segment},
};

use crate::{
    backend::{
        self, Backend, BackendConfig, Conditions, Depth, ObjectEntry, ObjectMeta, ObjectWriter,
        PutMode,
    },
    cancel::Cancel,
    error::{Error, ErrorKind, Result},
    fetch::{Fetch, SegmentSink},
    format::{
        chunk::{Chunk, ChunkSizes},
        descriptor::StoredSegment,
    },
    names::ChunkId,
    options::Compression,
    pace::{Host, Limits},
    pipeline::{Pipeline, PipelineOptions, StoredChunk, Uploaded},
    plan::{Base, plan},
    progress::Progress,
};

/// Sizes that lead to many frames and chunks of few bytes.
pub(crate) fn tiny_sizes() -> ChunkSizes {
    ChunkSizes::tiny(64 << 10, 12 << 10)
}

/// Repeatable bytes, half of which compress.
pub(crate) fn some_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut step = |at: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if at & 64 == 0 { (state >> 56) as u8 } else { b'.' }
    };
    (0..length).map(&mut step).collect()
}

/// What a segment of these bytes looks like from outside.
pub(crate) fn meta_of(uid: u64, bytes: &[u8]) -> SegmentMeta {
    let mut hasher = PieceHasher::default();
    hasher.update(bytes);
    let mut id = [0xab; 16];
    id[..8].copy_from_slice(&uid.to_le_bytes());
    SegmentMeta {
        uid: Uid(id),
        length: bytes.len() as u64,
        hash: hasher.finish(),
        counts: Counts { puts: 1.min(bytes.len() as u64), ..Counts::default() },
        sum: u128::from(uid) << 64 | 7,
        key_min: b"a".to_vec(),
        key_max: Some(b"z".to_vec()),
        sequence_min: 1,
        sequence_max: 9,
    }
}

/// One segment for a [`World`].
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) level: u8,
    pub(crate) bytes: Vec<u8>,
    /// Other bytes before it in its file.
    pub(crate) gap: usize,
}

/// A disk with segments, and a backend.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) backend: Faulty,
    pub(crate) cancel: Cancel,
    pub(crate) limits: Limits,
    next: AtomicU64,
}

impl World {
    pub(crate) fn new() -> Self {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(7));
        disk.create_dir(&RelPath::new(names::FILES).unwrap()).unwrap();
        let backend = Faulty::new(backend::open(&BackendConfig::Memory).unwrap());
        let (env, cancel) = (Env::seeded(disk, 5), Cancel::new());
        Self { env, backend, cancel, limits: Limits::NONE, next: AtomicU64::new(1) }
    }

    /// Writes one file of segments, all of one tree; sequences and uids are fresh.
    pub(crate) fn file(&self, segments: &[Made]) -> Vec<Arc<Segment>> {
        let file = FileId(self.next.fetch_add(1, Ordering::Relaxed));
        let mut content = Vec::new();
        let mut places = Vec::new();
        for made in segments {
            content.extend(std::iter::repeat_n(0xee, made.gap));
            let uid = self.next.fetch_add(1, Ordering::Relaxed);
            places.push((made.level, content.len() as u64, meta_of(uid, &made.bytes)));
            content.extend_from_slice(&made.bytes);
        }
        let mut stream = self.env.disk.create_stream(&names::file(file), 0).unwrap();
        stream.write(&content).unwrap();
        stream.finish().unwrap();
        let handle = Arc::new(FileHandle::new(file, content.len() as u64));
        let segment = |(level, offset, meta)| {
            Arc::new(Segment::new(TreeId(1), level, Arc::clone(&handle), offset, meta))
        };
        places.into_iter().map(segment).collect()
    }

    /// One segment in a file of its own.
    pub(crate) fn segment(&self, level: u8, bytes: Vec<u8>) -> Arc<Segment> {
        self.file(&[Made { level, bytes, gap: 0 }]).remove(0)
    }

    /// Uploads all of these.
    pub(crate) fn upload(
        &self,
        segments: &[Arc<Segment>],
        compression: Compression,
        sizes: ChunkSizes,
    ) -> Result<Uploaded> {
        self.upload_telling(segments, (compression, sizes), &mut |_| Ok(()))
    }

    /// Uploads all of these, and tells about each chunk.
    pub(crate) fn upload_telling(
        &self,
        segments: &[Arc<Segment>],
        (compression, sizes): (Compression, ChunkSizes),
        on_chunk: &mut (dyn FnMut(StoredChunk<'_>) -> Result<()> + Send),
    ) -> Result<Uploaded> {
        let plan = plan(segments.to_vec(), &Base::default(), &BTreeSet::new());
        let options = PipelineOptions {
            compression,
            sizes,
            limits: self.limits,
            workers: Some(2),
            memory_bytes_max: 64 << 20,
        };
        let pipeline = Pipeline {
            env: &self.env,
            backend: &self.backend,
            cancel: &self.cancel,
            progress: &Progress::new(),
            options,
        };
        pipeline.run(plan.uploads, on_chunk)
    }

    /// The bytes of these segments, in their order.
    pub(crate) fn fetch(
        &self,
        chunks: &[Chunk],
        segments: &[StoredSegment],
    ) -> Result<Vec<Vec<u8>>> {
        let mut sink = Collected { segments: vec![None; segments.len()], open: None };
        self.fetch_into(chunks, segments, &mut sink)?;
        assert!(sink.open.is_none(), "the last segment was ended");
        Ok(sink.segments.into_iter().map(|bytes| bytes.expect("each segment comes")).collect())
    }

    pub(crate) fn fetch_into(
        &self,
        chunks: &[Chunk],
        segments: &[StoredSegment],
        sink: &mut dyn SegmentSink,
    ) -> Result<()> {
        let fetch = Fetch {
            backend: &self.backend,
            cancel: &self.cancel,
            progress: &Progress::new(),
            host: Host::from(&self.env),
            limits: self.limits,
            workers: Some(2),
            memory_bytes_max: 64 << 20,
        };
        fetch.run(chunks, segments, sink)
    }

    /// The object of a chunk.
    pub(crate) fn object(&self, chunk: ChunkId) -> Vec<u8> {
        self.backend.get(&chunk.object(), 1 << 30).unwrap().to_vec()
    }

    /// Puts other bytes in the place of a chunk.
    pub(crate) fn replace(&self, chunk: ChunkId, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.backend.put(&chunk.object(), bytes, PutMode::Replace).unwrap();
    }
}

/// Keeps what a fetch brings.
#[derive(Debug)]
struct Collected {
    segments: Vec<Option<Vec<u8>>>,
    open: Option<(usize, Vec<u8>)>,
}

impl SegmentSink for Collected {
    fn begin(&mut self, index: usize, _: &StoredSegment) -> Result<()> {
        assert!(self.open.is_none(), "segments come one after another");
        self.open = Some((index, Vec::new()));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.open.as_mut().expect("begun").1.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let (index, bytes) = self.open.take().expect("begun");
        assert!(self.segments[index].replace(bytes).is_none(), "each segment comes once");
        Ok(())
    }
}

/// A backend whose writers can be told to fail, and which counts requests.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn Backend>,
    /// Bytes that writers take before one fails.
    pub(crate) write_room: Arc<AtomicU64>,
    /// What a finished object claims to lack.
    pub(crate) shortfall: Arc<AtomicU64>,
    pub(crate) requests: AtomicU64,
}

impl Faulty {
    fn new(inner: Arc<dyn Backend>) -> Self {
        let (write_room, shortfall) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::default());
        Self { inner, write_room, shortfall, requests: AtomicU64::new(0) }
    }
}

#[derive(Debug)]
struct FaultyWriter {
    inner: Box<dyn ObjectWriter>,
    write_room: Arc<AtomicU64>,
    shortfall: Arc<AtomicU64>,
}

impl ObjectWriter for FaultyWriter {
    fn write(&mut self, bytes: Bytes) -> Result<()> {
        let take = |room: u64| room.checked_sub(bytes.len() as u64);
        let order = Ordering::Relaxed;
        if self.write_room.fetch_update(order, order, take).is_err() {
            return Err(Error::new(ErrorKind::Unavailable, "the backend is away"));
        }
        self.inner.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        Ok(self.inner.finish()? - self.shortfall.load(Ordering::Relaxed))
    }

    fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort()
    }
}

impl Backend for Faulty {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn cancelable(&self, cancel: &Cancel) -> Arc<dyn Backend> {
        self.inner.cancelable(cancel)
    }

    fn put(&self, object: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.inner.put(object, bytes, mode)
    }

    fn writer(&self, object: &str) -> Result<Box<dyn ObjectWriter>> {
        let inner = self.inner.writer(object)?;
        let (write_room, shortfall) = (Arc::clone(&self.write_room), Arc::clone(&self.shortfall));
        Ok(Box::new(FaultyWriter { inner, write_room, shortfall }))
    }

    fn get(&self, object: &str, bytes_max: u64) -> Result<Bytes> {
        self.inner.get(object, bytes_max)
    }

    fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.inner.get_range(object, range)
    }

    fn stat(&self, object: &str) -> Result<Option<ObjectMeta>> {
        self.inner.stat(object)
    }

    fn list(&self, prefix: &str, depth: Depth) -> Result<Vec<ObjectEntry>> {
        self.inner.list(prefix, depth)
    }

    fn delete(&self, object: &str) -> Result<()> {
        self.inner.delete(object)
    }

    fn conditions(&self) -> Result<Conditions> {
        self.inner.conditions()
    }
}
