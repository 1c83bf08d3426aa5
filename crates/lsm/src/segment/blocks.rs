//! How the blocks of a segment are had: from the cache, from a read-ahead window, or from the disk;
//! always checked.

use std::sync::Arc;

use siltstone_io::{disk::BlockSource, error::ErrorKind as IoErrorKind, exact::read_exact_at};

use crate::{
    cache::BlockCache,
    error::{Error, ErrorKind, Result},
    format::segment::{
        Decoded,
        block::Handle,
        seal::{self, Codec},
    },
    segment::FillCache,
    types::Uid,
};

/// Bytes read at once by a cursor that moves forward past the cache: enough to hide the latency of a
/// read, little enough to have twenty of them.
const WINDOW_BYTES_MAX: usize = 256 << 10;

/// Bytes read at once after the first sign of a forward scan; doubles up to the maximum.
const WINDOW_BYTES_MIN: usize = 16 << 10;

/// One segment's range of a file, and the cache its blocks pass through.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) source: Arc<dyn BlockSource>,
    /// Where the segment starts in the file.
    pub(super) offset: u64,
    /// Bytes of the segment.
    pub(super) length: u64,
    pub(super) uid: Uid,
    pub(super) cache: Arc<BlockCache>,
}

impl Blocks {
    /// An error at a place in the segment.
    pub(super) fn corrupt(&self, at: u64, what: impl Into<String>) -> Error {
        Error::corrupt(self.source.path(), self.offset.saturating_add(at), what)
    }

    /// Gives the reason why a block at `at` could not be decoded its place.
    pub(super) fn located<T>(&self, at: u64, result: Decoded<T>) -> Result<T> {
        result.map_err(|reason| self.corrupt(at, reason))
    }

    /// Fills `buf` from `at` in the segment. The caller has checked that the range lies inside it.
    pub(super) fn read(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        debug_assert!(at + buf.len() as u64 <= self.length, "reads stay inside the segment");
        let place = self.offset + at;
        read_exact_at(&*self.source, place, buf).map_err(|source| {
            if source.kind() == IoErrorKind::UnexpectedEnd {
                self.corrupt(at, "the file ends inside a segment").caused_by(source)
            } else {
                Error::from(source).at(self.source.path(), place)
            }
        })
    }

    /// Checks the trailer of a stored block.
    pub(super) fn check(&self, block: &[u8], at: u64) -> Result<()> {
        match self.located(at, seal::check(block, self.uid, at))? {
            Codec::Plain => Ok(()),
            Codec::Unknown(codec) => Err(Error::new(
                ErrorKind::NewerFormat,
                format!("a block is compressed with codec {codec}, which this version cannot read"),
            )
            .at(self.source.path(), self.offset + at)),
        }
    }

    /// A block outside any scan: from the cache, or from the disk.
    pub(super) fn one(&self, handle: Handle, fill: FillCache) -> Result<Arc<[u8]>> {
        if fill == FillCache::Yes
            && let Some(block) = self.cache.get(self.uid, handle.offset)
        {
            return Ok(block);
        }
        let mut block: Arc<[u8]> = std::iter::repeat_n(0, handle.length).collect();
        let bytes = Arc::get_mut(&mut block).expect("a new block has one owner");
        self.read(handle.offset, bytes)?;
        self.keep(handle, block, fill)
    }

    /// A block of a scan, which reads ahead up to `limit` when it moves forward.
    pub(super) fn next(
        &self,
        handle: Handle,
        window: &mut Window,
        limit: u64,
    ) -> Result<Arc<[u8]>> {
        let expected = std::mem::replace(&mut window.expected, handle.end());
        if window.fill == FillCache::Yes
            && let Some(block) = self.cache.get(self.uid, handle.offset)
        {
            return Ok(block);
        }
        if window.slice(handle).is_none() {
            let ahead = window.grow(expected, handle);
            let left = usize::try_from(limit.saturating_sub(handle.offset)).unwrap_or(usize::MAX);
            if ahead.min(left) <= handle.length {
                return self.one(handle, window.fill);
            }
            window.bytes.resize(ahead.min(left), 0);
            window.start = handle.offset;
            self.read(handle.offset, &mut window.bytes).inspect_err(|_| window.bytes.clear())?;
        }
        let bytes = window.slice(handle).expect("the window was filled from the block's start");
        self.keep(handle, Arc::from(bytes), window.fill)
    }

    fn keep(&self, handle: Handle, block: Arc<[u8]>, fill: FillCache) -> Result<Arc<[u8]>> {
        self.check(&block, handle.offset)?;
        if fill == FillCache::Yes {
            self.cache.insert(self.uid, handle.offset, Arc::clone(&block));
        }
        Ok(block)
    }
}

/// Bytes that a forward scan has read ahead of its blocks.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) fill: FillCache,
    start: u64,
    bytes: Vec<u8>,
    /// Where the next block starts if the scan goes on forward.
    expected: u64,
    ahead: usize,
}

impl Window {
    pub(super) fn new(fill: FillCache) -> Self {
        Self { fill, start: 0, bytes: Vec::new(), expected: u64::MAX, ahead: 0 }
    }

    /// How many bytes to read now: whoever bypasses the cache will read on, others must have shown
    /// that they do.
    fn grow(&mut self, expected: u64, handle: Handle) -> usize {
        self.ahead = match self.fill {
            FillCache::No => WINDOW_BYTES_MAX,
            FillCache::Yes if handle.offset == expected => {
                (self.ahead * 2).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX)
            }
            FillCache::Yes => 0,
        };
        self.ahead
    }

    fn slice(&self, handle: Handle) -> Option<&[u8]> {
        let from = usize::try_from(handle.offset.checked_sub(self.start)?).ok()?;
        self.bytes.get(from..from.checked_add(handle.length)?)
    }
}
