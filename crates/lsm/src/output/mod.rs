//! [`Outputs`]: the files that a flush or a compaction writes, each of many segments.
//!
//! Invariants:
//!
//! 1. A file counts only once [`Outputs::finish`] returned: every file synced, then their folder.
//!    Dropped before that, for whatever reason, all files written are removed.
//! 2. A segment of [`ALIGNED_BYTES_MIN`] or more starts at a multiple of 4 KiB, so that a backup can
//!    read it straight into place; smaller ones are packed, so that ten thousand of one row each take
//!    no more than their bytes.

use std::sync::Arc;

use siltstone_io::{
    disk::{DIRECT_ALIGN, StreamWriter},
    env::Env,
    error as io,
};

use crate::{
    cache::BlockCache,
    error::Result,
    format::names,
    options::Options,
    segment::{BuildOptions, SegmentBuilder},
    types::{FileId, SegmentMeta, TreeId, Uid},
};

pub mod rewrite;

/// Length from which on a segment starts at a multiple of 4 KiB in its file.
pub const ALIGNED_BYTES_MIN: usize = 64 << 10;

/// Files being written.
pub struct Outputs<'a> {
    env: &'a Env,
    build: BuildOptions,
    next_file: &'a mut dyn FnMut() -> FileId,
    limits: Limits,
    /// Takes the blocks that are written.
    cache: Option<Arc<BlockCache>>,
    /// The file being written.
    open: Option<OpenFile>,
    /// Bytes expected to be written still.
    expected_bytes: u64,
    written: Written,
    /// All files are durable: the caller owns them.
    kept: bool,
}

/// When to start a new segment and a new file.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes after which a segment ends.
    pub segment_bytes_max: u64,
    /// Bytes after which a file takes no further segment.
    pub file_bytes_max: u64,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// Files and their lengths in bytes.
    pub files: Vec<(FileId, u64)>,
    /// Segments in the order of writing.
    pub segments: Vec<PlacedSegment>,
}

/// A segment in its place in a new file.
#[derive(Clone, Debug)]
pub struct PlacedSegment {
    /// The tree it belongs to.
    pub tree: TreeId,
    /// The level it is meant for.
    pub level: u8,
    /// The file it is in.
    pub file: FileId,
    /// Byte offset in the file.
    pub offset: u64,
    /// What is known of it.
    pub meta: SegmentMeta,
}

/// A segment being written; give it back to `Outputs::end_segment`.
#[derive(Debug)]
pub struct OpenSegment {
    tree: TreeId,
    level: u8,
    builder: SegmentBuilder,
}

impl<'a> Outputs<'a> {
    /// Starts without a file; the first segment makes one. `expected_bytes` is what all files
    /// together may come to, so that space is allocated ahead.
    pub fn new(
        env: &'a Env,
        options: &Options,
        limits: Limits,
        expected_bytes: u64,
        next_file: &'a mut dyn FnMut() -> FileId,
    ) -> Self {
        let build = BuildOptions::from(options);
        Self {
            env,
            build,
            next_file,
            limits,
            cache: None,
            open: None,
            expected_bytes,
            written: Written::default(),
            kept: false,
        }
    }

    /// Lets the blocks written enter a cache.
    #[must_use]
    pub fn caching(mut self, cache: Option<&Arc<BlockCache>>) -> Self {
        self.cache = cache.map(Arc::clone);
        self
    }

    /// Starts a segment.
    fn begin_segment(&self, tree: TreeId, level: u8) -> OpenSegment {
        let uid = Uid(self.env.unique_id());
        let mut builder = SegmentBuilder::new(uid, self.build.clone());
        if let Some(cache) = &self.cache {
            builder = builder.caching(Arc::clone(cache));
        }
        OpenSegment { tree, level, builder }
    }

    /// The stream that the current segment is written to.
    fn stream(&mut self) -> Result<&mut OpenFile> {
        if self.open.is_none() {
            let id = (self.next_file)();
            let hint = self.expected_bytes.min(self.limits.file_bytes_max);
            let stream = self.env.disk.create_stream(&names::file(id), hint)?;
            // From here on there is a file to remove if anything fails.
            self.open = Some(OpenFile { id, stream, length: 0, place: Place::Pending(Vec::new()) });
        }
        Ok(self.open.as_mut().expect("opened above"))
    }

    /// Ends a segment, and the file with it once that is long enough.
    fn end_segment(&mut self, segment: OpenSegment) -> Result<()> {
        let OpenSegment { tree, level, builder } = segment;
        let file = self.stream()?;
        let meta = builder.finish(file)?;
        let offset = file.end_segment()?;
        assert_eq!(file.length, offset + meta.length, "a segment is as long as it says");
        let (id, length) = (file.id, file.length);
        self.expected_bytes = self.expected_bytes.saturating_sub(meta.length);
        self.written.segments.push(PlacedSegment { tree, level, file: id, offset, meta });
        if length >= self.limits.file_bytes_max { self.end_file() } else { Ok(()) }
    }

    fn end_file(&mut self) -> Result<()> {
        let Some(file) = self.open.take() else { return Ok(()) };
        // Listed before it is finished, so that it is removed also when that fails.
        self.written.files.push((file.id, file.length));
        let length = file.stream.finish()?;
        assert_eq!(length, file.length, "a file is as long as what was written");
        Ok(())
    }

    /// Makes all that was written durable: files, then their names.
    ///
    /// # Errors
    /// `NoSpace` or `Io`; all files are removed.
    pub fn finish(mut self) -> Result<Written> {
        self.end_file()?;
        if !self.written.files.is_empty() {
            self.env.disk.sync_dir(&names::top(names::FILES))?;
        }
        self.kept = true;
        Ok(std::mem::take(&mut self.written))
    }
}

impl Drop for Outputs<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let open = self.open.take().map(|file| file.id); // closes it
        let files = self.written.files.iter().map(|(file, _)| *file).chain(open);
        for file in files {
            match self.env.disk.remove(&names::file(file)) {
                // A file that cannot be removed now is an orphan, which the next open removes.
                Ok(()) | Err(_) => {}
            }
        }
    }
}

impl std::fmt::Debug for Outputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outputs({:?})", self.written.files)
    }
}

/// The file being written: puts each segment in its place.
#[derive(Debug)]
struct OpenFile {
    id: FileId,
    stream: Box<dyn StreamWriter>,
    /// Bytes given to the stream.
    length: u64,
    place: Place,
}

/// Where the current segment starts.
#[derive(Debug)]
enum Place {
    /// Not decided: the segment is still short, its bytes wait here.
    Pending(Vec<u8>),
    /// At this offset.
    At(u64),
}

impl OpenFile {
    /// Settles the start of the current segment.
    fn settle(&mut self, align: usize) -> io::Result<u64> {
        let Place::Pending(bytes) = &mut self.place else {
            unreachable!("a segment is placed once")
        };
        let bytes = std::mem::take(bytes);
        let offset = self.length.next_multiple_of(align as u64);
        let pad = usize::try_from(offset - self.length).expect("less than the alignment");
        self.stream.write(&[0; DIRECT_ALIGN][..pad])?;
        self.stream.write(&bytes)?;
        self.length = offset + bytes.len() as u64;
        self.place = Place::At(offset);
        Ok(offset)
    }

    /// Ends the current segment; returns its offset.
    fn end_segment(&mut self) -> io::Result<u64> {
        let offset = match self.place {
            Place::At(offset) => offset,
            Place::Pending(_) => self.settle(1)?,
        };
        self.place = Place::Pending(Vec::new());
        Ok(offset)
    }
}

impl StreamWriter for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.place {
            Place::At(_) => {
                self.stream.write(bytes)?;
                self.length += bytes.len() as u64;
            }
            Place::Pending(pending) => {
                pending.extend_from_slice(bytes);
                if pending.len() >= ALIGNED_BYTES_MIN {
                    self.settle(DIRECT_ALIGN)?;
                }
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<u64> {
        self.stream.finish()
    }
}
