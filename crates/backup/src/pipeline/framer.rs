//! [`Framer`]: lays segments out as entries in frames, byte by byte, as `format::chunk` says.
//!
//! A frame of a compressed chunk does not depend on where it lands; the uploader, which knows the
//! stored lengths, decides where a chunk ends. Headers of an uncompressed chunk depend on their
//! place in it, but all lengths are known ahead, so there the framer decides. Either way a frame
//! says whether it must start a chunk.

use bytes::Bytes;
use siltstone_lsm::types::Uid;

use crate::{
    format::{
        chunk::{ChunkSizes, Codec, FRAMES_MAX},
        tar::{self, END_BYTES, EntryName},
    },
    pipeline::Halt,
};

/// Takes frames; each is begun, filled and ended before the next.
pub(super) trait FrameOut {
    /// A frame begins, in a new chunk if `place` says so.
    fn begin(&mut self, place: Place) -> Result<(), Halt>;

    /// The next bytes of the plain frame.
    fn bytes(&mut self, bytes: Bytes) -> Result<(), Halt>;

    /// The frame is complete.
    fn end(&mut self, frame: FramePlan) -> Result<(), Halt>;
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Into a chunk of its own or of those that follow.
    NewChunk,
    /// Into the open chunk, if it fits.
    SameChunk,
}

/// What is in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FramePlan {
    /// Bytes of the plain frame.
    pub(super) plain: u32,
    /// The entries that lie in it.
    pub(super) entries: Vec<Entry>,
}

/// One entry of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The upload it belongs to, by its place in the list.
    pub(super) upload: usize,
    /// The part of the segment that it is.
    pub(super) part: u32,
    /// Where its header starts in the plain frame.
    pub(super) start: u32,
    /// Bytes of its content.
    pub(super) length: u32,
    /// Whether the segment ends with it.
    pub(super) last: bool,
}

/// Lays segments out in frames.
#[derive(Debug)]
pub(super) struct Framer<O> {
    out: O,
    codec: Codec,
    sizes: ChunkSizes,
    /// Where the frame starts in the chunk; stays 0 if compressed.
    position: u64,
    frames: usize,
    used: u32,
    open: bool,
    place: Place,
    entries: Vec<Entry>,
    segment: Option<Segment>,
}

/// The segment whose bytes come in.
#[derive(Debug)]
struct Segment {
    upload: usize,
    uid: Uid,
    /// Bytes after the entry that is being written.
    left: u64,
    entry: Entry,
    entry_left: u32,
    /// Whether it is longer than a frame, so that its entries share none.
    long: bool,
}

impl<O: FrameOut> Framer<O> {
    /// Starts with a new chunk.
    pub(super) fn new(out: O, codec: Codec, sizes: ChunkSizes) -> Self {
        Self {
            out,
            codec,
            sizes,
            position: 0,
            frames: 0,
            used: 0,
            open: false,
            place: Place::NewChunk,
            entries: Vec::new(),
            segment: None,
        }
    }

    /// What follows goes into a new chunk.
    pub(super) fn cut(&mut self) -> Result<(), Halt> {
        self.end_frame()?;
        self.place = Place::NewChunk;
        Ok(())
    }

    /// Starts a segment of `length` bytes.
    pub(super) fn begin_segment(
        &mut self,
        upload: usize,
        uid: Uid,
        length: u64,
    ) -> Result<(), Halt> {
        assert!(self.segment.is_none(), "segments come one after another");
        if self.open && !self.fits(length) {
            self.end_frame()?;
        }
        self.open_frame()?;
        let long = !self.fits(length);
        let entry = Entry { upload, part: 0, start: 0, length: 0, last: false };
        self.segment = Some(Segment { upload, uid, left: length, entry, entry_left: 0, long });
        self.begin_entry(0)
    }

    /// Adds bytes of the segment; the last ones end it.
    pub(super) fn push(&mut self, mut bytes: Bytes) -> Result<(), Halt> {
        while !bytes.is_empty() {
            let segment = self.segment.as_mut().expect("a segment is open until its last byte");
            let now = bytes.split_to(bytes.len().min(segment.entry_left as usize));
            segment.entry_left -= u32::try_from(now.len()).expect("an entry has 32 bits");
            let entry_is_full = segment.entry_left == 0;
            self.out.bytes(now)?;
            if entry_is_full {
                self.end_entry()?;
            }
        }
        Ok(())
    }

    /// Ends the last frame.
    pub(super) fn finish(mut self) -> Result<O, Halt> {
        assert!(self.segment.is_none(), "all bytes of the last segment came");
        self.end_frame()?;
        Ok(self.out)
    }

    /// Whether a segment of `length` bytes is one entry of the frame, as it is filled now.
    fn fits(&self, length: u64) -> bool {
        let header = tar::header_bytes(self.codec, self.position + u64::from(self.used));
        let padded = length.checked_next_multiple_of(u64::from(tar::BLOCK_BYTES));
        let end = padded.and_then(|padded| padded.checked_add(u64::from(self.used + header)));
        end.is_some_and(|end| end <= u64::from(self.sizes.frame_bytes()))
    }

    fn open_frame(&mut self) -> Result<(), Halt> {
        if self.open {
            return Ok(());
        }
        if self.codec == Codec::None {
            let end = self.position + u64::from(self.sizes.frame_bytes()) + u64::from(END_BYTES);
            if end > self.sizes.chunk_bytes() || self.frames + 2 > FRAMES_MAX {
                self.place = Place::NewChunk;
            }
        }
        if self.place == Place::NewChunk {
            (self.position, self.frames) = (0, 0);
        }
        self.out.begin(self.place)?;
        self.place = Place::SameChunk;
        self.open = true;
        Ok(())
    }

    fn end_frame(&mut self) -> Result<(), Halt> {
        if !self.open {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        self.out.end(FramePlan { plain: self.used, entries })?;
        if self.codec == Codec::None {
            self.position += u64::from(self.used);
            self.frames += 1;
        }
        self.used = 0;
        self.open = false;
        Ok(())
    }

    /// Writes the header of the segment's next entry, which takes what the frame has room for.
    fn begin_entry(&mut self, part: u32) -> Result<(), Halt> {
        let segment = self.segment.as_mut().expect("an entry belongs to a segment");
        let position = self.position + u64::from(self.used);
        let header = tar::header_bytes(self.codec, position);
        let room = self.sizes.frame_bytes() - self.used - header;
        let length = u32::try_from(segment.left).map_or(room, |left| left.min(room));
        segment.left -= u64::from(length);
        segment.entry_left = length;
        let (upload, last) = (segment.upload, segment.left == 0);
        segment.entry = Entry { upload, part, start: self.used, length, last };
        let name = EntryName { uid: segment.uid, part };
        self.used += header + length;
        self.out.bytes(Bytes::from(tar::header(self.codec, position, name, length)))?;
        if length == 0 { self.end_entry() } else { Ok(()) }
    }

    fn end_entry(&mut self) -> Result<(), Halt> {
        let segment = self.segment.as_ref().expect("an entry belongs to a segment");
        let (entry, long) = (segment.entry, segment.long);
        self.entries.push(entry);
        let pad = tar::pad_bytes(entry.length);
        if pad > 0 {
            self.used += pad;
            self.out.bytes(Bytes::from_static(&ZEROS[..pad as usize]))?;
        }
        if long {
            self.end_frame()?;
        }
        if entry.last {
            self.segment = None;
            return Ok(());
        }
        self.open_frame()?;
        self.begin_entry(entry.part + 1)
    }
}

static ZEROS: [u8; tar::BLOCK_BYTES as usize] = [0; tar::BLOCK_BYTES as usize];
