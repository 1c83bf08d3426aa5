//! `backup_config.json`: the descriptor of a whole backup, whose presence is the commit.
//!
//! Field names are Weaviate's where it has the same thing. 64-bit numbers are decimal strings. The
//! last field is the BLAKE3 of all bytes before it, so every byte of the object is covered.

use jiff::Timestamp;
use siltstone_lsm::types::{Hash, Sequence};

use crate::{
    error::Result,
    format::chunk::Codec,
    names::{AttemptId, BackupId, NodeName},
};

/// Largest descriptor object, in bytes (1 MiB).
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The format version written and the newest one read.
pub const VERSION: &str = "1.0";

/// What a backup is, and which parts list its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name the user gave it.
    pub id: BackupId,
    /// The attempt that made it.
    pub attempt: AttemptId,
    /// The store it was taken of.
    pub store_id: [u8; 16],
    /// The node it was taken on.
    pub node: NodeName,
    /// The version of the program, for people.
    pub server_version: String,
    /// When the backup was asked for, by that machine's clock.
    pub started_at: Timestamp,
    /// When the last chunk was stored.
    pub completed_at: Timestamp,
    /// How new chunks were stored.
    pub compression: Codec,
    /// The cut: the backup holds all commits up to here and none after.
    pub sequence: Sequence,
    /// Bytes, and how many of each thing.
    pub totals: Totals,
    /// The parts of the node's descriptor, in order.
    pub parts: Vec<PartInfo>,
}

/// Bytes, and how many of each thing, in a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Collections.
    pub collections: u64,
    /// Tenants of all collections.
    pub tenants: u64,
    /// Chunks that its segments use.
    pub chunks: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of all segments.
    pub segment_bytes: u64,
    /// Bytes of all its chunks as stored, those of earlier backups included.
    pub chunk_bytes: u64,
    /// Bytes of the chunks that this backup itself stored.
    pub uploaded_bytes: u64,
}

/// One part of a node's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartInfo {
    /// Bytes of the object.
    pub length: u64,
    /// BLAKE3 of the object.
    pub hash: Hash,
}

impl Config {
    /// The object's bytes.
    ///
    /// # Errors
    /// `Invalid` if it would pass [`CONFIG_BYTES_MAX`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        todo!()
    }

    /// Reads `bytes` of `object`; the caller compares id and node with what it asked for.
    ///
    /// # Errors
    /// `Corrupt` when a byte is not as written, `NewerFormat` for a later version.
    pub fn decode(_object: &str, _bytes: &[u8]) -> Result<Self> {
        todo!()
    }
}
