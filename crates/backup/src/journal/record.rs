//! The bytes of a journal: a header, then one checksummed frame an event.
//!
//! ```text
//! header   offset 0   8 bytes  magic `SILTJRNL`
//!                 8   4        format version, 1
//!                12   4        zero
//! frame           0   4        CRC-32 of length and event, seeded with (attempt id, file offset)
//!                 4   4        length of the event in bytes
//!                 8            event: one JSON object
//! ```
//!
//! A journal ends at the first frame that is not whole: what a crash cut off was not synced, so
//! nobody relied on it. Unknown events are skipped, so that newer programs may add some.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize};
use siltstone_lsm::format::primitives::{Decoder, crc_seed, crc32};

use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        chunk::Chunk,
        descriptor::StoredSegment,
        lines::{ChunkLine, SegmentLine},
    },
    names::{AttemptId, BackupId, NodeName},
    state::State,
};

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 16;

/// Longest event, in bytes (1 MiB).
pub(super) const EVENT_BYTES_MAX: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"SILTJRNL";
const VERSION: u32 = 1;
const FRAME_HEADER_BYTES: usize = 8;

/// Which operation a journal is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A backup is made.
    Create,
    /// A backup is restored.
    Restore,
}

/// The first event of every journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// Backup or restore.
    pub kind: Kind,
    /// The backup.
    pub id: BackupId,
    /// This run of the operation.
    pub attempt: AttemptId,
    /// The node of the store.
    pub node: NodeName,
    /// The backend, as it describes itself.
    pub backend: String,
    /// The process.
    pub pid: u32,
    /// When it was asked for, in milliseconds since 1970-01-01 UTC.
    pub started_ms: u64,
}

/// One event of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// It was accepted.
    Begin(Begin),
    /// It changed its state.
    State {
        state: State,
        at_ms: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The plan is made.
    Plan { bytes_total: u64, bytes_reused: u64 },
    /// So much is done.
    Progress {
        bytes_done: u64,
        bytes_stored: u64,
        chunks_done: u64,
        #[serde(default)]
        bytes_pinned: u64,
        #[serde(default)]
        bytes_held: u64,
    },
    /// This object of the attempt exists, or will soon.
    Object { name: String },
    /// This chunk of the attempt is stored, and acknowledged.
    Chunk { chunk: Box<ChunkLine> },
    /// These segments are whole with the chunk before; long lists come in several events.
    Segments { segments: Vec<SegmentLine> },
    /// From here on only the repository, or the catalog for a restore, knows the outcome.
    Committing {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        names: Vec<String>,
    },
    /// The commit surely did not happen, and will not.
    Refused,
    /// Nothing of a failed attempt is left in the repository.
    Cleaned,
    /// Of a newer program.
    #[serde(other)]
    Unknown,
}

/// Segments of one event, in bytes at most as they are estimated: well below [`EVENT_BYTES_MAX`].
const SEGMENTS_BYTES_MAX: usize = 512 << 10;

impl Event {
    /// The events of a stored chunk.
    pub(crate) fn of_chunk(chunk: &Chunk, segments: &[StoredSegment]) -> Vec<Self> {
        let mut events = vec![Self::Chunk { chunk: Box::new(ChunkLine::new(chunk)) }];
        let (mut group, mut bytes): (_, usize) = (Vec::new(), 0);
        for segment in segments {
            let line = SegmentLine::new(segment);
            let length = line.bytes_max();
            if bytes.saturating_add(length) > SEGMENTS_BYTES_MAX && !group.is_empty() {
                events.push(Self::Segments { segments: std::mem::take(&mut group) });
                bytes = 0;
            }
            bytes = bytes.saturating_add(length);
            group.push(line);
        }
        if !group.is_empty() {
            events.push(Self::Segments { segments: group });
        }
        events
    }
}

/// The header's bytes.
pub(super) fn header() -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let (magic, rest) = bytes.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    if let Some(version) = rest.first_chunk_mut::<4>() {
        *version = VERSION.to_le_bytes();
    }
    bytes
}

/// The frame of an event that is written at `offset`.
pub(super) fn frame(attempt: AttemptId, offset: u64, event: &Event) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(event).map_err(|error| {
        Error::new(ErrorKind::Invalid, format!("an event cannot be written: {error}"))
    })?;
    let length = u32::try_from(json.len()).ok().filter(|_| json.len() <= EVENT_BYTES_MAX);
    let length = length.ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("an event of {} bytes is too long", json.len()))
    })?;
    let crc = crc32(crc_seed(&attempt.0, offset), &[&length.to_le_bytes(), &json]);
    let mut bytes = Vec::with_capacity(json.len().saturating_add(FRAME_HEADER_BYTES));
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

/// The events of a journal, and where its next frame goes.
///
/// # Errors
/// `NewerFormat` for a later version.
pub(super) fn decode(attempt: AttemptId, bytes: &[u8]) -> Result<(Vec<Event>, u64)> {
    let mut rest = Decoder::new(bytes);
    let header = (rest.array::<8>(), rest.u32(), rest.u32());
    match header {
        (Ok(MAGIC), Ok(VERSION), Ok(0)) => {}
        (Ok(MAGIC), Ok(version), _) if version > VERSION => {
            let message = format!(
                "'backup/{attempt}.journal' has the newer format {version}: upgrade siltstone"
            );
            return Err(Error::new(ErrorKind::NewerFormat, message));
        }
        // Cut off while it was made: as if it had never been.
        _ => return Ok((Vec::new(), 0)),
    }
    let mut events = Vec::new();
    let offset_of = |rest: &Decoder<'_>| bytes.len().saturating_sub(rest.rest().len()) as u64;
    loop {
        let offset = offset_of(&rest);
        match next_event(attempt, offset, &mut rest) {
            Some(event) => events.push(event),
            None => return Ok((events, offset)),
        }
    }
}

fn next_event(attempt: AttemptId, offset: u64, rest: &mut Decoder<'_>) -> Option<Event> {
    let crc = rest.u32().ok()?;
    let length = rest.u32().ok()?;
    let wanted = usize::try_from(length).ok().filter(|length| *length <= EVENT_BYTES_MAX)?;
    let json = rest.bytes(wanted).ok()?;
    let whole = crc == crc32(crc_seed(&attempt.0, offset), &[&length.to_le_bytes(), json]);
    if whole { serde_json::from_slice(json).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use siltstone_lsm::types::{Hash, KEY_BYTES_MAX, TreeId};

    use super::*;
    use crate::{
        format::chunk::{Codec, Extent, Frame},
        names::ChunkId,
        testing::meta_of,
    };

    const ATTEMPT: AttemptId = AttemptId([9; 16]);

    fn journal(events: &[Event]) -> Vec<u8> {
        let mut bytes = header().to_vec();
        for event in events {
            let frame = frame(ATTEMPT, bytes.len() as u64, event).unwrap();
            bytes.extend_from_slice(&frame);
        }
        bytes
    }

    fn chunk() -> (Chunk, Vec<StoredSegment>) {
        let id = ChunkId([5; 16]);
        let frame = Frame { plain: 1024, stored: 99, hash: Some(Hash([6; 32])) };
        let chunk = Chunk { id, codec: Codec::Gzip, length: 99, frames: vec![frame] };
        let extents = vec![Extent { chunk: id, frame: 0, offset: 512, length: 77 }];
        let meta = meta_of(3, &[b'x'; 77]);
        (chunk, vec![StoredSegment { tree: TreeId(4), level: 6, meta, extents }])
    }

    #[test]
    fn long_lists_of_segments_come_in_events_that_fit() {
        let (chunk, mut segments) = chunk();
        let mut large = segments.remove(0);
        large.meta.key_min = vec![0xff; KEY_BYTES_MAX];
        large.meta.key_max = Some(vec![0xff; KEY_BYTES_MAX]);
        let segments = vec![large; 40];
        let events = Event::of_chunk(&chunk, &segments);
        assert!(events.len() > 2);
        let found = decode(ATTEMPT, &journal(&events)).unwrap().0;
        assert_eq!(found, events);
        let lines = found.into_iter().filter_map(|event| match event {
            Event::Segments { segments } => Some(segments),
            _ => None,
        });
        let found: Vec<StoredSegment> = lines.flatten().map(StoredSegment::from).collect();
        assert_eq!(found, segments);
    }

    fn events() -> Vec<Event> {
        let (chunk, segments) = chunk();
        let stored = Event::of_chunk(&chunk, &segments);
        let events = vec![
            Event::Plan { bytes_total: u64::MAX, bytes_reused: 0 },
            Event::State { state: State::Failed, at_ms: 7, error: Some("why".to_owned()) },
            Event::Object { name: ".chunks/00/aa".to_owned() },
            Event::Committing { names: Vec::new() },
            Event::Cleaned,
        ];
        events.into_iter().chain(stored).collect()
    }

    #[test]
    fn decode_inverts_encode() {
        let bytes = journal(&events());
        assert_eq!(decode(ATTEMPT, &bytes).unwrap(), (events(), bytes.len() as u64));
    }

    #[test]
    fn every_truncation_ends_at_a_whole_frame() {
        let bytes = journal(&events());
        for end in 0..bytes.len() {
            let (found, next) = decode(ATTEMPT, &bytes[..end]).unwrap();
            assert_eq!(found, events()[..found.len()], "{end}");
            assert!(next <= end as u64, "{end}");
        }
    }

    #[test]
    fn every_bit_flip_ends_the_journal_before_it() {
        let bytes = journal(&events());
        for bit in HEADER_BYTES * 8..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (found, next) = decode(ATTEMPT, &flipped).unwrap();
            assert!(found.len() < events().len() && next <= (bit / 8) as u64, "{bit}");
        }
    }

    #[test]
    fn bytes_of_another_attempt_are_nothing() {
        let bytes = journal(&events());
        assert!(decode(AttemptId([8; 16]), &bytes).unwrap().0.is_empty());
    }

    #[test]
    fn a_newer_version_is_refused_and_a_newer_event_skipped() {
        let mut bytes = header();
        bytes[8] = 2;
        assert_eq!(decode(ATTEMPT, &bytes).expect_err("newer").kind(), ErrorKind::NewerFormat);
        let newer: Event = serde_json::from_str(r#"{"event":"resumed","from":1}"#).unwrap();
        assert_eq!(newer, Event::Unknown);
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut with_header = header().to_vec();
            with_header.extend_from_slice(&bytes);
            prop_assert!(decode(ATTEMPT, &bytes).is_ok() || bytes.starts_with(&MAGIC));
            prop_assert!(decode(ATTEMPT, &with_header).is_ok());
        }
    }
}
