//! Edits as bytes: a run of records, each a kind byte and its fields.
//!
//! Integers are varints unless a width is given; names and keys are a length (varint) and bytes;
//! `key_max` has a byte before it, 0 for "no end" (nothing follows) or 1. There is one encoding for
//! each record, and a record never crosses a frame.
//!
//! The kinds are written down once, in [`kind`]; what follows each is in `docs/format.md`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::{
    format::primitives::{Decoder, Reason, put_prefixed, put_varint},
    types::{
        Counts, FileId, Hash, KEY_BYTES_MAX, LOCATION_BYTES_MAX, LogId, NAME_BYTES_MAX,
        SegmentMeta, Sequence, TenantStatus, TreeId, Uid,
    },
};

/// Longest encoded record, in bytes: two keys of the longest kind and all other fields.
pub const RECORD_BYTES_MAX: usize = 2 * (KEY_BYTES_MAX + 3) + 256;

/// One change of the store's state; records apply together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// The changes, applied in this order.
    pub records: Vec<Record>,
}

/// One record of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// A collection and the tree of its own rows.
    CreateCollection {
        /// Never used before.
        id: u64,
        /// Taken by no other collection.
        name: String,
        /// Never used before.
        tree: TreeId,
    },
    /// A collection goes, with its tenants, trees and segments.
    DropCollection {
        /// Which.
        id: u64,
    },
    /// A collection gets another name.
    RenameCollection {
        /// Which.
        id: u64,
        /// Taken by no other collection.
        name: String,
    },
    /// A tenant and its tree.
    CreateTenant {
        /// The collection's identifier.
        collection: u64,
        /// Taken by no other tenant of the collection.
        name: String,
        /// Never used before.
        tree: TreeId,
        /// Whether it answers.
        status: TenantStatus,
    },
    /// A tenant is activated or put to rest: HOT or COLD. One that was FROZEN has its rows back, and
    /// forgets its location.
    SetTenantStatus {
        /// The collection's identifier.
        collection: u64,
        /// The tenant's name.
        name: String,
        /// Whether it answers.
        status: TenantStatus,
    },
    /// A tenant goes, with its tree and segments.
    DropTenant {
        /// The collection's identifier.
        collection: u64,
        /// The tenant's name.
        name: String,
    },
    /// A FROZEN tenant. If there is a tenant of that name, it takes its place, and the tree and the
    /// segments of that one go.
    FrozenTenant {
        /// The collection's identifier.
        collection: u64,
        /// The tenant's name.
        name: String,
        /// Never used before.
        tree: TreeId,
        /// Where its rows are, in the words of whoever put them there: 1 to
        /// [`LOCATION_BYTES_MAX`] bytes.
        location: String,
    },
    /// A tenant gets another name.
    RenameTenant {
        /// The collection's identifier.
        collection: u64,
        /// The tenant's name.
        name: String,
        /// Taken by no other tenant of the collection.
        to: String,
    },
    /// A durable file of segments. It leaves the state with its last segment; a file that has none
    /// at the end of the edit leaves at once.
    AddFile {
        /// Its identifier.
        file: FileId,
        /// Its length in bytes.
        length: u64,
    },
    /// A segment in a file takes its place in a tree.
    AddSegment {
        /// A tree of the catalog.
        tree: TreeId,
        /// 0 is the newest.
        level: u8,
        /// A file of the state.
        file: FileId,
        /// Byte offset in the file; the segment's bytes belong to no other segment.
        offset: u64,
        /// What is known of it.
        meta: SegmentMeta,
    },
    /// A segment, named by its place, leaves its tree.
    RemoveSegment {
        /// The tree that has it.
        tree: TreeId,
        /// The file that holds it.
        file: FileId,
        /// Byte offset in the file.
        offset: u64,
    },
    /// A segment, named by its place, changes its level.
    MoveSegment {
        /// The tree that has it.
        tree: TreeId,
        /// The file that holds it.
        file: FileId,
        /// Byte offset in the file.
        offset: u64,
        /// The level it goes to.
        level: u8,
    },
    /// A durable file that a restore has fetched, kept for the restore's next try. No tree has it.
    HoldFile {
        /// Its identifier; not a file of segments yet.
        file: FileId,
        /// Its length in bytes.
        length: u64,
    },
    /// A whole segment in a held file.
    HoldSegment {
        /// The held file.
        file: FileId,
        /// Byte offset in the file; the segment's bytes belong to no other segment.
        offset: u64,
        /// What is known of it.
        meta: SegmentMeta,
    },
    /// A held file is held no more; it goes, unless the same edit adds it as a file of segments.
    ReleaseFile {
        /// Which.
        file: FileId,
    },
    /// Replay starts at `log`; every entry with a sequence below `sequence` is in segments.
    ReplayFloor {
        /// The first log to replay.
        log: LogId,
        /// The first sequence to replay.
        sequence: Sequence,
    },
    /// A log file exists, is durable, and may be written: it must be there at open while it is not
    /// below the floor.
    LogReady {
        /// Which.
        log: LogId,
    },
    /// No sequence below `upto` is assigned after a reopen.
    ReserveSequences {
        /// The first sequence that is not reserved.
        upto: Sequence,
    },
    /// A catalog or restore edit that went through the commit queue.
    QueueEdit {
        /// Its number, above all before.
        number: u64,
    },
    /// Identifiers below these are used up (as are those below the highest ones named by other
    /// records).
    NextIds {
        /// The lowest free tree.
        tree: TreeId,
        /// The lowest free file.
        file: FileId,
        /// The lowest free collection.
        collection: u64,
    },
}

/// Why a record could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// A kind that this version does not know.
    Newer {
        /// The kind byte.
        kind: u8,
    },
    /// Bytes that no version writes.
    Damaged(Reason),
}

impl From<Reason> for RecordError {
    fn from(reason: Reason) -> Self {
        Self::Damaged(reason)
    }
}

/// The kind byte of each record. 0 is never used: it is what unwritten bytes hold.
pub mod kind {
    /// Names and numbers, for `docs/format.md`.
    pub const ALL: [(&str, u8); 20] = [
        ("CreateCollection", CREATE_COLLECTION),
        ("DropCollection", DROP_COLLECTION),
        ("RenameCollection", RENAME_COLLECTION),
        ("CreateTenant", CREATE_TENANT),
        ("SetTenantStatus", SET_TENANT_STATUS),
        ("DropTenant", DROP_TENANT),
        ("AddFile", ADD_FILE),
        ("AddSegment", ADD_SEGMENT),
        ("RemoveSegment", REMOVE_SEGMENT),
        ("MoveSegment", MOVE_SEGMENT),
        ("ReplayFloor", REPLAY_FLOOR),
        ("LogReady", LOG_READY),
        ("ReserveSequences", RESERVE_SEQUENCES),
        ("QueueEdit", QUEUE_EDIT),
        ("NextIds", NEXT_IDS),
        ("RenameTenant", RENAME_TENANT),
        ("FrozenTenant", FROZEN_TENANT),
        ("HoldFile", HOLD_FILE),
        ("HoldSegment", HOLD_SEGMENT),
        ("ReleaseFile", RELEASE_FILE),
    ];
    pub(super) const CREATE_COLLECTION: u8 = 1;
    pub(super) const DROP_COLLECTION: u8 = 2;
    pub(super) const RENAME_COLLECTION: u8 = 3;
    pub(super) const CREATE_TENANT: u8 = 4;
    pub(super) const SET_TENANT_STATUS: u8 = 5;
    pub(super) const DROP_TENANT: u8 = 6;
    pub(super) const ADD_FILE: u8 = 7;
    pub(super) const ADD_SEGMENT: u8 = 8;
    pub(super) const REMOVE_SEGMENT: u8 = 9;
    pub(super) const MOVE_SEGMENT: u8 = 10;
    pub(super) const REPLAY_FLOOR: u8 = 11;
    pub(super) const LOG_READY: u8 = 12;
    pub(super) const RESERVE_SEQUENCES: u8 = 13;
    pub(super) const QUEUE_EDIT: u8 = 14;
    pub(super) const NEXT_IDS: u8 = 15;
    pub(super) const RENAME_TENANT: u8 = 16;
    pub(super) const FROZEN_TENANT: u8 = 17;
    pub(super) const HOLD_FILE: u8 = 18;
    pub(super) const HOLD_SEGMENT: u8 = 19;
    pub(super) const RELEASE_FILE: u8 = 20;
}

/// Appends the bytes of a record.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::CreateCollection { .. }
        | Record::DropCollection { .. }
        | Record::RenameCollection { .. }
        | Record::CreateTenant { .. }
        | Record::SetTenantStatus { .. }
        | Record::DropTenant { .. }
        | Record::FrozenTenant { .. }
        | Record::RenameTenant { .. } => encode_catalog(record, out),
        Record::AddFile { file, length } => put(out, kind::ADD_FILE, &[file.0, *length]),
        Record::AddSegment { tree, level, file, offset, meta } => {
            put(out, kind::ADD_SEGMENT, &[tree.0, u64::from(*level), file.0, *offset]);
            encode_meta(meta, out);
        }
        Record::RemoveSegment { tree, file, offset } => {
            put(out, kind::REMOVE_SEGMENT, &[tree.0, file.0, *offset]);
        }
        Record::MoveSegment { tree, file, offset, level } => {
            put(out, kind::MOVE_SEGMENT, &[tree.0, file.0, *offset, u64::from(*level)]);
        }
        Record::HoldFile { file, length } => put(out, kind::HOLD_FILE, &[file.0, *length]),
        Record::HoldSegment { file, offset, meta } => {
            put(out, kind::HOLD_SEGMENT, &[file.0, *offset]);
            encode_meta(meta, out);
        }
        Record::ReleaseFile { file } => put(out, kind::RELEASE_FILE, &[file.0]),
        Record::ReplayFloor { log, sequence } => put(out, kind::REPLAY_FLOOR, &[log.0, *sequence]),
        Record::LogReady { log } => put(out, kind::LOG_READY, &[log.0]),
        Record::ReserveSequences { upto } => put(out, kind::RESERVE_SEQUENCES, &[*upto]),
        Record::QueueEdit { number } => put(out, kind::QUEUE_EDIT, &[*number]),
        Record::NextIds { tree, file, collection } => {
            put(out, kind::NEXT_IDS, &[tree.0, file.0, *collection]);
        }
    }
}

fn encode_catalog(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::CreateCollection { id, name, tree } => {
            put(out, kind::CREATE_COLLECTION, &[*id, tree.0]);
            put_prefixed(out, name.as_bytes());
        }
        Record::DropCollection { id } => put(out, kind::DROP_COLLECTION, &[*id]),
        Record::RenameCollection { id, name } => {
            put(out, kind::RENAME_COLLECTION, &[*id]);
            put_prefixed(out, name.as_bytes());
        }
        Record::CreateTenant { collection, name, tree, status } => {
            put(out, kind::CREATE_TENANT, &[*collection, tree.0]);
            out.push(*status as u8);
            put_prefixed(out, name.as_bytes());
        }
        Record::SetTenantStatus { collection, name, status } => {
            put(out, kind::SET_TENANT_STATUS, &[*collection]);
            out.push(*status as u8);
            put_prefixed(out, name.as_bytes());
        }
        Record::DropTenant { collection, name } => {
            put(out, kind::DROP_TENANT, &[*collection]);
            put_prefixed(out, name.as_bytes());
        }
        Record::FrozenTenant { collection, name, tree, location } => {
            put(out, kind::FROZEN_TENANT, &[*collection, tree.0]);
            put_prefixed(out, name.as_bytes());
            put_prefixed(out, location.as_bytes());
        }
        Record::RenameTenant { collection, name, to } => {
            put(out, kind::RENAME_TENANT, &[*collection]);
            put_prefixed(out, name.as_bytes());
            put_prefixed(out, to.as_bytes());
        }
        _ => unreachable!("the caller has matched the catalog's records"),
    }
}

fn put(out: &mut Vec<u8>, kind: u8, fields: &[u64]) {
    out.push(kind);
    for field in fields {
        put_varint(out, *field);
    }
}

fn encode_meta(meta: &SegmentMeta, out: &mut Vec<u8>) {
    let SegmentMeta { uid, length, hash, counts, sum, key_min, key_max, .. } = meta;
    out.extend_from_slice(&uid.0);
    out.extend_from_slice(&hash.0);
    out.extend_from_slice(&sum.to_le_bytes());
    let Counts { puts, deletes, range_deletes } = *counts;
    let (sequence_min, sequence_max) = (meta.sequence_min, meta.sequence_max);
    for field in [*length, puts, deletes, range_deletes, sequence_min, sequence_max] {
        put_varint(out, field);
    }
    put_prefixed(out, key_min);
    match key_max {
        None => out.push(0),
        Some(key) => {
            out.push(1);
            put_prefixed(out, key);
        }
    }
}

/// Takes the next record. Its fields are within their widths and lengths; whether they make sense
/// is for the state to say.
///
/// # Errors
/// When the bytes are no record of this version.
pub fn decode(from: &mut Decoder<'_>) -> Result<Record, RecordError> {
    let record = match from.u8()? {
        kind::ADD_FILE => Record::AddFile { file: FileId(from.varint()?), length: from.varint()? },
        kind::ADD_SEGMENT => Record::AddSegment {
            tree: TreeId(from.varint()?),
            level: level(from)?,
            file: FileId(from.varint()?),
            offset: from.varint()?,
            meta: meta(from)?,
        },
        kind::REMOVE_SEGMENT => Record::RemoveSegment {
            tree: TreeId(from.varint()?),
            file: FileId(from.varint()?),
            offset: from.varint()?,
        },
        kind::MOVE_SEGMENT => Record::MoveSegment {
            tree: TreeId(from.varint()?),
            file: FileId(from.varint()?),
            offset: from.varint()?,
            level: level(from)?,
        },
        kind::HOLD_FILE => {
            Record::HoldFile { file: FileId(from.varint()?), length: from.varint()? }
        }
        kind::HOLD_SEGMENT => Record::HoldSegment {
            file: FileId(from.varint()?),
            offset: from.varint()?,
            meta: meta(from)?,
        },
        kind::RELEASE_FILE => Record::ReleaseFile { file: FileId(from.varint()?) },
        kind::REPLAY_FLOOR => {
            Record::ReplayFloor { log: LogId(from.varint()?), sequence: from.varint()? }
        }
        kind::LOG_READY => Record::LogReady { log: LogId(from.varint()?) },
        kind::RESERVE_SEQUENCES => Record::ReserveSequences { upto: from.varint()? },
        kind::QUEUE_EDIT => Record::QueueEdit { number: from.varint()? },
        kind::NEXT_IDS => Record::NextIds {
            tree: TreeId(from.varint()?),
            file: FileId(from.varint()?),
            collection: from.varint()?,
        },
        0 => return Err(RecordError::Damaged("a record has the kind 0")),
        other => decode_catalog(other, from)?,
    };
    Ok(record)
}

fn decode_catalog(kind: u8, from: &mut Decoder<'_>) -> Result<Record, RecordError> {
    let record = match kind {
        kind::CREATE_COLLECTION => {
            let (id, tree) = (from.varint()?, TreeId(from.varint()?));
            Record::CreateCollection { id, tree, name: name(from)? }
        }
        kind::DROP_COLLECTION => Record::DropCollection { id: from.varint()? },
        kind::RENAME_COLLECTION => {
            Record::RenameCollection { id: from.varint()?, name: name(from)? }
        }
        kind::CREATE_TENANT => {
            let (collection, tree) = (from.varint()?, TreeId(from.varint()?));
            let status = status(from)?;
            Record::CreateTenant { collection, tree, status, name: name(from)? }
        }
        kind::SET_TENANT_STATUS => {
            let (collection, status) = (from.varint()?, status(from)?);
            Record::SetTenantStatus { collection, status, name: name(from)? }
        }
        kind::DROP_TENANT => Record::DropTenant { collection: from.varint()?, name: name(from)? },
        kind::RENAME_TENANT => {
            Record::RenameTenant { collection: from.varint()?, name: name(from)?, to: name(from)? }
        }
        kind::FROZEN_TENANT => {
            let (collection, tree) = (from.varint()?, TreeId(from.varint()?));
            let name = name(from)?;
            let location = text(from, LOCATION_BYTES_MAX, "a location is not UTF-8")?;
            Record::FrozenTenant { collection, name, tree, location }
        }
        kind => return Err(RecordError::Newer { kind }),
    };
    Ok(record)
}

fn level(from: &mut Decoder<'_>) -> Result<u8, Reason> {
    u8::try_from(from.varint()?).ok().ok_or("a level does not fit a byte")
}

fn status(from: &mut Decoder<'_>) -> Result<TenantStatus, Reason> {
    match from.u8()? {
        1 => Ok(TenantStatus::Hot),
        2 => Ok(TenantStatus::Cold),
        3 => Ok(TenantStatus::Frozen),
        _ => Err("a tenant status is none of HOT, COLD and FROZEN"),
    }
}

fn name(from: &mut Decoder<'_>) -> Result<String, Reason> {
    text(from, NAME_BYTES_MAX, "a name is not UTF-8")
}

fn text(from: &mut Decoder<'_>, bytes_max: usize, not_text: Reason) -> Result<String, Reason> {
    let bytes = from.prefixed(bytes_max)?;
    std::str::from_utf8(bytes).map(str::to_owned).ok().ok_or(not_text)
}

fn meta(from: &mut Decoder<'_>) -> Result<SegmentMeta, Reason> {
    let (uid, hash, sum) = (Uid(from.array()?), Hash(from.array()?), from.u128()?);
    let length = from.varint()?;
    let counts =
        Counts { puts: from.varint()?, deletes: from.varint()?, range_deletes: from.varint()? };
    let (sequence_min, sequence_max) = (from.varint()?, from.varint()?);
    let key_min = from.prefixed(KEY_BYTES_MAX)?.to_vec();
    let key_max = match from.u8()? {
        0 => None,
        1 => Some(from.prefixed(KEY_BYTES_MAX)?.to_vec()),
        _ => return Err("the mark of a highest key is neither 0 nor 1"),
    };
    Ok(SegmentMeta { uid, length, hash, counts, sum, key_min, key_max, sequence_min, sequence_max })
}
