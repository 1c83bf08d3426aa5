//! [`FileSink`]: fetched segments into files, one large or many small ones in each.
//!
//! A file that is complete is not waited for at once: its last writes reach the disk while the next
//! file begins, and it is synced when that has begun.

use std::fmt;

use siltstone_io::disk::StreamWriter;
use siltstone_lsm::types::FileId;

use crate::{error::Result, fetch::SegmentSink, format::descriptor::StoredSegment};

/// Where a fetched segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The segment, by its place in the request.
    pub index: usize,
    /// The file.
    pub file: FileId,
    /// Where it starts in the file, in bytes.
    pub offset: u64,
}

/// Makes a file that will hold about so many bytes.
pub type CreateFile<'a> = dyn FnMut(u64) -> Result<(FileId, Box<dyn StreamWriter>)> + 'a;

/// Bytes of the next file that are written before the one before it is synced: what a stream has
/// under way, so that the disk has something to do meanwhile.
const BYTES_BEFORE_SYNC: u64 = 4 << 20;

/// Writes segments into files that `create` makes, each synced when the next has begun.
pub struct FileSink<'a> {
    create: &'a mut CreateFile<'a>,
    file_bytes_max: u64,
    bytes_left: u64,
    /// Complete, and not synced yet.
    ended: Option<OpenFile>,
    open: Option<OpenFile>,
    placed: Vec<Placed>,
}

struct OpenFile {
    file: FileId,
    writer: Box<dyn StreamWriter>,
    length: u64,
}

impl<'a> FileSink<'a> {
    /// Files end before the segment that would take them past `file_bytes_max`; `bytes_total` are
    /// expected in all, so that files are allocated at their size.
    pub fn new(create: &'a mut CreateFile<'a>, file_bytes_max: u64, bytes_total: u64) -> Self {
        Self {
            create,
            file_bytes_max,
            bytes_left: bytes_total,
            ended: None,
            open: None,
            placed: Vec::new(),
        }
    }

    /// Syncs the last files; says where each segment lies, by its place in the request.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn finish(mut self) -> Result<Vec<Placed>> {
        self.sync_ended()?;
        self.ended = self.open.take();
        self.sync_ended()?;
        self.placed.sort_unstable_by_key(|placed| placed.index);
        Ok(self.placed)
    }

    fn sync_ended(&mut self) -> Result<()> {
        if let Some(ended) = self.ended.take() {
            let length = ended.writer.finish()?;
            assert_eq!(length, ended.length, "a file is as long as what was written");
        }
        Ok(())
    }
}

impl SegmentSink for FileSink<'_> {
    fn begin(&mut self, index: usize, segment: &StoredSegment) -> Result<()> {
        let length = segment.meta.length;
        let fits = |open: &OpenFile| open.length.saturating_add(length) <= self.file_bytes_max;
        if !self.open.as_ref().is_some_and(fits) {
            self.sync_ended()?;
            self.ended = self.open.take();
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let hint = self.bytes_left.min(self.file_bytes_max).max(length);
                let (file, writer) = (self.create)(hint)?;
                none.insert(OpenFile { file, writer, length: 0 })
            }
        };
        self.placed.push(Placed { index, file: open.file, offset: open.length });
        self.bytes_left = self.bytes_left.saturating_sub(length);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let open = self.open.as_mut().expect("a segment is begun before its bytes come");
        open.writer.write(bytes)?;
        open.length += bytes.len() as u64;
        if open.length >= BYTES_BEFORE_SYNC {
            self.sync_ended()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

impl fmt::Debug for FileSink<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink").field("placed", &self.placed.len()).finish_non_exhaustive()
    }
}
