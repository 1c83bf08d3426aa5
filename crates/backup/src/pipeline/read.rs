//! The reading end: segments' bytes from the disk, checked against their hashes, into a framer.

use std::ops::Range;

use bytes::Bytes;
use siltstone_io::disk::{Disk, StreamReader};
use siltstone_lsm::{
    format::{names, primitives::PieceHasher},
    types::{FileId, Hash, Uid},
};

use crate::{
    error::{Error, ErrorKind, Result},
    pace::{Pace, Payer},
    parallel::TURN_BYTES,
    pipeline::{
        Halt,
        budget::PIECE_BYTES_MIN,
        framer::{FrameOut, Framer},
    },
    plan::{Group, Upload},
};

/// Segments of one file this near to each other are read as one stream.
const GAP_BYTES_MAX: u64 = 64 << 10;

/// What the reader needs to know of an upload; it pins nothing.
#[derive(Clone, Debug)]
pub(super) struct Source {
    upload: usize,
    file: FileId,
    offset: u64,
    length: u64,
    uid: Uid,
    hash: Hash,
    group: Group,
}

impl Source {
    /// The upload at place `upload` of the list.
    pub(super) fn new(upload: usize, from: &Upload) -> Self {
        let segment = &from.segment;
        Self {
            upload,
            file: segment.file.id,
            offset: segment.offset,
            length: segment.meta.length,
            uid: segment.meta.uid,
            hash: segment.meta.hash,
            group: from.group,
        }
    }

    fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.length
    }

    /// Whether `next` is read from the same stream.
    fn leads_to(&self, next: &Self) -> bool {
        let end = self.range().end;
        let gap = next.offset.checked_sub(end);
        self.file == next.file && gap.is_some_and(|gap| gap <= GAP_BYTES_MAX)
    }
}

/// Reads sources, and counts what it had to copy.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    disk: &'a dyn Disk,
    pace: &'a Pace<'a>,
    payer: Payer<'a>,
    /// Bytes that were copied, since the piece they are in holds too many others.
    pub(super) copied_bytes: u64,
}

impl<'a> Reading<'a> {
    /// Made on the thread that reads.
    pub(super) fn new(disk: &'a dyn Disk, pace: &'a Pace<'a>) -> Self {
        Self { disk, pace, payer: pace.payer(), copied_bytes: 0 }
    }

    /// Reads all sources in order into the framer.
    pub(super) fn read_all<O: FrameOut>(
        &mut self,
        sources: &[Source],
        mut framer: Framer<O>,
    ) -> std::result::Result<O, Halt> {
        let mut group = None;
        for run in sources.chunk_by(Source::leads_to) {
            let mut stream = Stream::open(self.disk, run)?;
            for source in run {
                if group.is_some_and(|group| group != source.group) {
                    framer.cut()?;
                }
                group = Some(source.group);
                stream.skip_to(source.offset)?;
                framer.begin_segment(source.upload, source.uid, source.length)?;
                self.copy(source, &mut stream, &mut framer)?;
            }
            self.copied_bytes += stream.copied_bytes;
        }
        framer.finish()
    }

    /// Moves one segment. Its last bytes are passed on only after its hash is known to be right, so
    /// no chunk that ends a damaged segment is ever finished.
    fn copy<O: FrameOut>(
        &mut self,
        source: &Source,
        stream: &mut Stream,
        framer: &mut Framer<O>,
    ) -> std::result::Result<(), Halt> {
        let mut hasher = PieceHasher::default();
        let mut left = source.length;
        while left > 0 {
            let bytes = stream.take(left)?;
            for run in bytes.chunks(TURN_BYTES) {
                hasher.update(run);
                self.payer.pay()?;
            }
            left -= bytes.len() as u64;
            if left == 0 && std::mem::take(&mut hasher).finish() != source.hash {
                return Err(damaged(source).into());
            }
            self.pace.streamed(bytes.len());
            framer.push(bytes)?;
        }
        self.payer.pay()?;
        Ok(())
    }
}

fn damaged(source: &Source) -> Error {
    let (file, uid, offset) = (names::file(source.file), source.uid, source.offset);
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "file '{file}' is damaged: segment {uid} at byte {offset} does not match its hash in \
             the manifest"
        ),
    )
}

/// The bytes of a run of segments.
#[derive(Debug)]
struct Stream {
    reader: Box<dyn StreamReader>,
    at: u64,
    piece: Bytes,
    /// Whether `piece` may be passed on as it is.
    dense: bool,
    /// Pieces of this length are used nearly whole.
    dense_from: usize,
    copied_bytes: u64,
}

impl Stream {
    fn open(disk: &dyn Disk, run: &[Source]) -> Result<Self> {
        let (first, last) = (run.first(), run.last());
        let (first, last) = first.zip(last).expect("a run has a segment");
        let range = first.offset..last.range().end;
        let payload: u64 = run.iter().map(|source| source.length).sum();
        let gapless = payload == range.end - range.start;
        let dense_from = if gapless { PIECE_BYTES_MIN } else { usize::MAX };
        let at = range.start;
        let reader = disk.open_stream(&names::file(first.file), range)?;
        Ok(Self { reader, at, piece: Bytes::new(), dense: false, dense_from, copied_bytes: 0 })
    }

    /// The next bytes, 1..=`bytes_max` of them. Pieces are passed on uncopied where they are used
    /// nearly whole; of others the bytes are copied, so that they do not pin far more.
    fn take(&mut self, bytes_max: u64) -> Result<Bytes> {
        self.fill()?;
        let length = usize::try_from(bytes_max).unwrap_or(usize::MAX).min(self.piece.len());
        let bytes = self.piece.split_to(length);
        self.at += bytes.len() as u64;
        if self.dense {
            return Ok(bytes);
        }
        self.copied_bytes += bytes.len() as u64;
        Ok(Bytes::copy_from_slice(&bytes))
    }

    fn skip_to(&mut self, offset: u64) -> Result<()> {
        while self.at < offset {
            self.fill()?;
            let gap = usize::try_from(offset - self.at).unwrap_or(usize::MAX);
            let skipped = self.piece.split_to(gap.min(self.piece.len()));
            self.at += skipped.len() as u64;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<()> {
        if self.piece.is_empty() {
            let piece = self.reader.next_piece()?;
            let piece = piece.expect("a stream gives all bytes of its range");
            self.dense = piece.len() >= self.dense_from;
            self.piece = Bytes::from_owner(piece);
        }
        Ok(())
    }
}
