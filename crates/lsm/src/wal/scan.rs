//! Reading one log back: what is at a place, and what can be proven by the rest.
//!
//! Memory is one window, whatever the file says. A read that fails is an error, never an end.

use std::sync::Arc;

use siltstone_io::{disk::Log, env::Env, error as io, exact::read_up_to};

use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        names,
        wal::{
            FRAME_HEADER_BYTES, FrameHeader, HeaderError, LogHeader, PAGE_BYTES, Position,
            SECTOR_BYTES, Salt, TRAILER, is_zero, next_sector, page_down, page_up,
        },
    },
    types::LogId,
};

/// Bytes read at once, if there are as many: the longest frame fits, wherever it starts in a page.
const WINDOW_BYTES: u64 = (1 << 20) + (64 << 10);

/// One log under recovery.
#[derive(Debug)]
pub(super) struct LogScan {
    log: Arc<dyn Log>,
    id: LogId,
    salt: Salt,
    /// The length of the file; bytes past it read as zero.
    length: u64,
    window: Vec<u8>,
    window_start: u64,
}

/// What is at a place where a frame would be appended.
#[derive(Debug)]
pub(super) enum Found {
    /// A frame as it was written.
    Frame(FrameHeader),
    /// Nothing was written, or what was written is gone.
    Nothing,
    /// A header that is not what was written.
    BrokenHeader,
    /// A frame whose header is what was written and whose payload is not.
    BrokenPayload {
        /// The first and last sector that show that they were never written.
        lost: Option<(u64, u64)>,
    },
}

/// What the rest of a log tells.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Survey {
    /// Everything before it was durable.
    pub(super) proven: Position,
    /// Where the bytes that are not zero end.
    pub(super) content_end: u64,
    /// Whether they end as a frame does, give or take a bit.
    pub(super) ends_whole: bool,
}

impl LogScan {
    /// Opens log `id`, syncs it once, and checks its header page.
    ///
    /// The sync is for a process that died after a failed one: what this machine still has in
    /// memory may not be on the disk, and must be before anything relies on it.
    pub(super) fn open(env: &Env, store_id: [u8; 16], id: LogId) -> Result<Self> {
        let path = names::log(id);
        let log = env.disk.open_log(&path).map_err(|failed| match failed.kind() {
            io::ErrorKind::NotFound => {
                Error::corrupt(&path, 0, "a write-ahead log is missing").caused_by(failed)
            }
            _ => failed.into(),
        })?;
        log.sync()?;
        let length = log.len()?;
        let (window, window_start) = (Vec::new(), 0);
        let mut scan = Self { log, id, salt: Salt::default(), length, window, window_start };
        let header = LogHeader::decode(scan.bytes(0, PAGE_BYTES)?);
        let header = header.map_err(|error| match error {
            HeaderError::Damaged(reason) => Error::corrupt(&path, 0, reason),
            HeaderError::Newer(version) => {
                let message = format!("the log has format version {version}; upgrade the program");
                Error::new(ErrorKind::NewerFormat, message).at(&path, 0)
            }
        })?;
        if header.store_id != store_id || header.log != id {
            return Err(Error::corrupt(&path, 0, "the log is of another store or place"));
        }
        scan.salt = header.salt;
        Ok(scan)
    }

    /// Its identifier.
    pub(super) fn id(&self) -> LogId {
        self.id
    }

    /// Damage at a place of this log.
    pub(super) fn corrupt(&self, offset: u64, what: &str) -> Error {
        Error::corrupt(self.log.path(), offset, what)
    }

    /// Frees the window.
    pub(super) fn rest(&mut self) {
        self.window = Vec::new();
    }

    /// `len` bytes from `offset`, no more than the longest frame; zeros past the end of the file.
    fn bytes(&mut self, offset: u64, len: u64) -> Result<&[u8]> {
        let end = self.window_start + self.window.len() as u64;
        if offset < self.window_start || offset + len > end {
            self.window_start = page_down(offset);
            let ahead = page_up(self.length).saturating_sub(self.window_start);
            let wanted = ahead.min(WINDOW_BYTES).max(offset + len - self.window_start);
            self.window.resize(usize_of(wanted), 0);
            let read = read_up_to(&*self.log, self.window_start, &mut self.window)?;
            self.window[read..].fill(0);
        }
        let from = usize_of(offset - self.window_start);
        Ok(&self.window[from..from + usize_of(len)])
    }

    /// Looks at the place `at`, where the frame before ends.
    pub(super) fn look(&mut self, at: u64) -> Result<Found> {
        let (log, salt) = (self.id, self.salt);
        let sector_end = next_sector(at);
        let here = self.bytes(at, sector_end - at)?;
        if let Some(header) = FrameHeader::decode(log, &salt, at, here) {
            if header.place.gap == 0 {
                return self.look_at_payload(header);
            }
            return Ok(Found::BrokenHeader);
        }
        let (first, gap_is_zero) = (here.len().min(FRAME_HEADER_BYTES), is_zero(here));
        if !is_zero(&here[..first]) {
            return Ok(Found::BrokenHeader);
        }
        let gap = sector_end - at;
        if gap == SECTOR_BYTES {
            return Ok(Found::Nothing);
        }
        let there = self.bytes(sector_end, SECTOR_BYTES)?;
        match FrameHeader::decode(log, &salt, sector_end, there) {
            Some(header) if u64::from(header.place.gap) == gap => {
                if gap_is_zero {
                    self.look_at_payload(header)
                } else {
                    Ok(Found::BrokenHeader)
                }
            }
            _ => Ok(Found::Nothing),
        }
    }

    fn look_at_payload(&mut self, header: FrameHeader) -> Result<Found> {
        let salt = self.salt;
        let frame = self.frame(&header)?;
        if header.is_whole(&salt, frame) {
            return Ok(Found::Frame(header));
        }
        Ok(Found::BrokenPayload { lost: header.lost_sectors(frame) })
    }

    /// The bytes of a frame.
    pub(super) fn frame(&mut self, header: &FrameHeader) -> Result<&[u8]> {
        self.bytes(header.place.start, header.place.bytes() as u64)
    }

    /// Looks for proofs and for what was written from `from` on, whether or not frames are whole.
    pub(super) fn survey(&mut self, from: u64) -> Result<Survey> {
        let mut survey = Survey { content_end: from, ..Survey::default() };
        let mut last_word = [0; TRAILER.len()];
        let mut at = from;
        while at < self.length {
            let (log, salt) = (self.id, self.salt);
            let sector_end = next_sector(at);
            let sector = self.bytes(at, sector_end - at)?;
            let mut next = sector_end;
            for (index, word) in sector.as_chunks::<8>().0.iter().enumerate() {
                if *word == [0; 8] {
                    continue;
                }
                let offset = at + index as u64 * 8;
                (survey.content_end, last_word) = (offset + 8, *word);
                if let Some(header) = FrameHeader::decode(log, &salt, offset, &sector[index * 8..])
                {
                    survey.proven = survey.proven.max(header.meta.synced_upto);
                    // Its sectors are still looked at: the payload may be lost.
                    next = next.min(offset + FRAME_HEADER_BYTES as u64);
                    break;
                }
            }
            at = next;
        }
        let word = u64::from_le_bytes(last_word) ^ u64::from_le_bytes(TRAILER);
        survey.ends_whole = word.count_ones() <= 1;
        Ok(survey)
    }
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a window fits a usize")
}
