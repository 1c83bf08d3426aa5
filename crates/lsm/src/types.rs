//! The engine's words: identifiers, sequences, entries, and the limits fixed with format v1.

use std::fmt;

/// Longest key, in bytes. Keys are 1 byte or more.
pub const KEY_BYTES_MAX: usize = 65_535;

/// Longest value, in bytes (64 MiB).
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// Largest encoded batch, in bytes (128 MiB).
pub const BATCH_BYTES_MAX: usize = 128 << 20;

/// Longest name of a collection or tenant, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Highest sequence a store may assign; a commit takes one sequence an operation.
pub const SEQUENCE_MAX: Sequence = (1 << 56) - 1;

/// Highest sequence a restore accepts, so that a hostile descriptor cannot use the space up.
pub const RESTORED_SEQUENCE_MAX: Sequence = 1 << 55;

/// How many sequences the manifest reserves at a time, so that none is ever used twice.
pub const SEQUENCE_RESERVATION: u64 = 1 << 24;

/// The place of one operation in the order of all commits; 1 is the first.
pub type Sequence = u64;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The identifier after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// One LSM tree: a collection without tenants, or one tenant. Never reused within a store.
    TreeId, "tree "
);
id!(
    /// One file of segments.
    FileId, "file "
);
id!(
    /// One write-ahead log file.
    LogId, "log "
);

/// The 128-bit identity of a segment, wherever its bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub [u8; 16]);

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A BLAKE3 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// What an entry says about its key. Stored as this number in WAL and segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum EntryKind {
    /// The key has this value.
    Put = 1,
    /// The key is gone.
    Delete = 2,
}

/// Whether a tenant answers reads and writes. Stored as this number in the manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum TenantStatus {
    /// It answers.
    #[default]
    Hot = 1,
    /// On disk only: reads and writes are refused until it is HOT again. Backups include it.
    Cold = 2,
    /// Offloaded: its rows are in a backend, at a location that the catalog knows, and not on this
    /// disk. Reads and writes are refused until it is fetched back. Backups skip it.
    Frozen = 3,
}

/// Longest location of an offloaded tenant, in bytes.
pub const LOCATION_BYTES_MAX: usize = 1024;

/// One version of one key, borrowed from wherever it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The user's key, 1..=[`KEY_BYTES_MAX`] bytes.
    pub key: &'a [u8],
    /// When it was committed.
    pub sequence: Sequence,
    /// Put or delete.
    pub kind: EntryKind,
    /// The value; empty for a delete.
    pub value: &'a [u8],
}

/// Deletes all keys in `start..end` committed before `sequence`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RangeTombstone {
    /// First key covered; empty means from the first key.
    pub start: Vec<u8>,
    /// First key not covered; `None` means to the last key.
    pub end: Option<Vec<u8>>,
    /// When it was committed; entries with a lower sequence are covered.
    pub sequence: Sequence,
}

impl RangeTombstone {
    /// Whether the range holds `key`.
    pub fn covers(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.end.as_deref().is_none_or(|end| key < end)
    }
}

/// How many entries of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Puts.
    pub puts: u64,
    /// Deletes of single keys.
    pub deletes: u64,
    /// Range tombstones.
    pub range_deletes: u64,
}

impl Counts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.puts + self.deletes + self.range_deletes
    }
}

/// What is known of a segment without reading it. Position-independent: the same in every store
/// and backup that holds the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its identity.
    pub uid: Uid,
    /// Its length in bytes.
    pub length: u64,
    /// BLAKE3 of the list of BLAKE3s of its 1 MiB pieces.
    pub hash: Hash,
    /// Entries by kind.
    pub counts: Counts,
    /// 128-bit wrapping sum of the XXH3-128 of every entry and range tombstone.
    pub sum: u128,
    /// Lowest key, range tombstones included (empty if one starts at the first key).
    pub key_min: Vec<u8>,
    /// Highest key, inclusive; `None` if a range tombstone has no end. A tombstone's exclusive end
    /// counts as if inclusive.
    pub key_max: Option<Vec<u8>>,
    /// Lowest sequence in it.
    pub sequence_min: Sequence,
    /// Highest sequence in it.
    pub sequence_max: Sequence,
}

impl SegmentMeta {
    /// Whether the key range of the segment and `start..=end` share a key (`end` `None` = last).
    pub fn overlaps(&self, start: &[u8], end: Option<&[u8]>) -> bool {
        self.key_max.as_deref().is_none_or(|max| start <= max)
            && end.is_none_or(|end| self.key_min.as_slice() <= end)
    }
}
