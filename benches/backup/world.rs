//! The store that is measured, and each kind of work on it.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use siltstone_backup::{
    api::Backups,
    backend::{self, Backend, BackendConfig, Depth},
    codec,
    options::{CPU_PERCENT_MAX, Compression, CreateOptions, RestoreOptions},
};
use siltstone_benches::fill_value;
use siltstone_io::{
    disk::{DirEntry, Disk},
    env::{Clock, SystemClock},
    os::{OsDisk, StreamEngine},
    path::RelPath,
};
use siltstone_lsm::{
    batch::Batch,
    options::{Durability, Options},
    store::Store,
};

use crate::{Args, sink::Sink};

const COLLECTION: &str = "rows";

const VALUE_BYTES: usize = 4000;

/// Rows of one batch of the load.
const BATCH_ROWS: u64 = 250;

/// Bytes of a frame, and how many of them the codecs are measured with: more than caches hold, which
/// would flatter the codec alone.
const FRAME_BYTES: usize = 4 << 20;
const FRAMES: usize = 64;

/// Seconds after which a codec is known well enough.
const CODEC_SECONDS: f64 = 3.0;

/// See the head of the file.
pub(crate) struct World {
    folder: PathBuf,
    store: Store,
    disk: OsDisk,
    /// The store's files, with their lengths.
    files: Vec<(RelPath, u64)>,
    /// Holds one uncompressed backup once something is to be restored.
    memory: Arc<dyn Backend>,
    made: Cell<u32>,
}

impl World {
    /// Fills a store in order of the keys and brings it into shape.
    pub(crate) fn build(folder: &Path, args: &Args) -> Result<Self> {
        let mut options = Options::default();
        options.memtable_bytes_max = 64 << 20;
        options.segment_bytes_max = args.segment_mib << 20;
        let store = Store::open(&folder.join("store"), options)?;
        let tree = store.create_collection(COLLECTION)?;
        let rows = (args.size_mib << 20) / VALUE_BYTES as u64;
        let mut value = vec![0; VALUE_BYTES];
        for first in (0..rows).step_by(usize::try_from(BATCH_ROWS)?) {
            let mut batch = Batch::new();
            for row in first..rows.min(first + BATCH_ROWS) {
                fill_value(&mut value, row, 1);
                batch.put(tree, format!("{row:016x}").as_bytes(), &value)?;
            }
            store.write(batch, Durability::Buffered)?;
        }
        store.flush()?;
        store.compact()?;
        store.reap()?;
        let disk = OsDisk::open_existing(folder, StreamEngine::Auto)?;
        let dir = RelPath::new("store/files")?;
        let mut files = Vec::new();
        for DirEntry { name, .. } in disk.list(&dir)? {
            let path = dir.join(&name)?;
            let length = disk.file_len(&path)?;
            files.push((path, length));
        }
        files.sort();
        let memory = backend::open(&BackendConfig::Memory)?;
        Ok(Self { folder: folder.to_path_buf(), store, disk, files, memory, made: Cell::new(0) })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, length)| length).sum()
    }

    pub(crate) fn segments(&self) -> u64 {
        self.store.metrics().segments
    }

    pub(crate) fn file_count(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn stream_engine_note(&self) -> Option<String> {
        self.disk.stream_engine_note()
    }

    /// Reads the store's files.
    pub(crate) fn read_files(&self) -> Result<u64> {
        for (path, length) in &self.files {
            let mut stream = self.disk.open_stream(path, 0..*length)?;
            while stream.next_piece()?.is_some() {}
        }
        Ok(self.bytes())
    }

    /// Copies the store's files.
    pub(crate) fn copy_files(&self) -> Result<u64> {
        self.disk.create_dir(&RelPath::new("copy")?)?;
        for (number, (path, length)) in self.files.iter().enumerate() {
            let mut from = self.disk.open_stream(path, 0..*length)?;
            let copy = RelPath::new(format!("copy/{number}"))?;
            let mut to = self.disk.create_stream(&copy, *length)?;
            while let Some(piece) = from.next_piece()? {
                to.write(&piece)?;
            }
            to.finish()?;
        }
        Ok(self.bytes())
    }

    /// Writes new files like the store's.
    pub(crate) fn write_files(&self) -> Result<u64> {
        self.disk.create_dir(&RelPath::new("written")?)?;
        let piece = vec![0x5a; 1 << 20];
        for (number, (_, length)) in self.files.iter().enumerate() {
            let path = RelPath::new(format!("written/{number}"))?;
            let mut to = self.disk.create_stream(&path, *length)?;
            let mut left = *length;
            while left > 0 {
                let now = left.min(piece.len() as u64);
                to.write(&piece[..usize::try_from(now)?])?;
                left -= now;
            }
            to.finish()?;
        }
        Ok(self.bytes())
    }

    pub(crate) fn back_up_to_sink(&self, compression: Compression, percent: u8) -> Result<u64> {
        self.back_up(&Sink::open()?, "sink", (compression, percent))
    }

    pub(crate) fn back_up_to_folder(&self, percent: u8) -> Result<u64> {
        let id = format!("folder{}", self.made.get());
        self.back_up(&self.repository()?, &id, (Compression::None, percent))
    }

    fn back_up(
        &self,
        backend: &Arc<dyn Backend>,
        id: &str,
        (compression, percent): (Compression, u8),
    ) -> Result<u64> {
        let mut options = CreateOptions::default();
        (options.compression, options.cpu_percent) = (compression, percent);
        let handle = Backups::new(self.store.clone())?.create(backend, id, options)?;
        Ok(handle.wait()?.progress.bytes_done)
    }

    /// Makes the backup that is restored.
    pub(crate) fn prepare_restore(&self) -> Result<()> {
        if self.memory.list("", Depth::One)?.is_empty() {
            self.back_up(&self.memory, "memory", (Compression::None, CPU_PERCENT_MAX))?;
        }
        Ok(())
    }

    /// Restores the backup from memory into a new store.
    pub(crate) fn restore(&self, percent: u8) -> Result<u64> {
        let store = Store::open(&self.folder.join("restored"), Options::default())?;
        let mut options = RestoreOptions::default();
        options.cpu_percent = percent;
        let handle = Backups::new(store.clone())?.restore(&self.memory, "memory", options)?;
        let bytes = handle.wait()?.progress.bytes_done;
        store.close()?;
        Ok(bytes)
    }

    /// One thread with one encoder over the first bytes of the store.
    pub(crate) fn encode(&self, compression: Compression) -> Result<u64> {
        let frames = self.frames()?;
        let mut encoder = codec::encoder(compression).context("nothing to compress with")?;
        let (clock, mut bytes) = (SystemClock::default(), 0);
        let begin = clock.monotonic();
        for frame in frames.iter().cycle() {
            let stored = encoder.encode(frame, &mut || true);
            std::hint::black_box(siltstone_lsm::format::primitives::hash(&stored));
            bytes += frame.iter().map(|part| part.len() as u64).sum::<u64>();
            if clock.monotonic().saturating_sub(begin).as_secs_f64() > CODEC_SECONDS {
                break;
            }
        }
        Ok(bytes)
    }

    /// The first bytes of the store, as frames have them.
    fn frames(&self) -> Result<Vec<Vec<Bytes>>> {
        let mut pieces = Vec::new();
        for (path, length) in &self.files {
            let mut stream = self.disk.open_stream(path, 0..*length)?;
            while let Some(piece) = stream.next_piece()?
                && pieces.len() < (FRAMES * FRAME_BYTES) >> 20
            {
                pieces.push(Bytes::copy_from_slice(&piece));
            }
        }
        Ok(pieces.chunks(FRAME_BYTES >> 20).map(<[Bytes]>::to_vec).collect())
    }

    fn repository(&self) -> Result<Arc<dyn Backend>> {
        let root = self.folder.join(format!("backups{}", self.made.get()));
        Ok(backend::open(&BackendConfig::Folder(root))?)
    }

    /// Removes what the measurements left.
    pub(crate) fn clean_up(&self) -> Result<()> {
        let repository = format!("backups{}", self.made.get());
        for name in ["copy", "written", "restored", &repository] {
            let path = self.folder.join(name);
            if path.exists() {
                fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
            }
        }
        self.made.set(self.made.get() + 1);
        Ok(())
    }
}
