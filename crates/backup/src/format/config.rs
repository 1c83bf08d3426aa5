//! `backup_config.json`: the descriptor of a whole backup, whose presence is the commit.
//!
//! Field names are Weaviate's where it has the same thing. 64-bit numbers are decimal strings. The
//! last field, `hash`, is the BLAKE3 of all bytes before it and nothing but two fixed bytes follow
//! it: every byte of the object is covered. This convention outlives format versions.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use serde::{Deserialize, Serialize, de::IgnoredAny};
use siltstone_lsm::{
    format::primitives::hash,
    types::{Hash, RESTORED_SEQUENCE_MAX, Sequence},
};

use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        chunk::Codec,
        descriptor::PART_BYTES_MAX,
        text::{decimal, hash_hex, hex_array, hex_digits, moment},
    },
    moment::Timestamp,
    names::{AttemptId, BackupId, NodeName},
};

/// Largest descriptor object, in bytes (1 MiB).
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The format version written, and the newest one read.
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
    /// When its last chunk was stored.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Totals {
    /// Collections.
    #[serde(with = "decimal")]
    pub collections: u64,
    /// Tenants of all collections.
    #[serde(with = "decimal")]
    pub tenants: u64,
    /// Chunks that its segments use.
    #[serde(with = "decimal")]
    pub chunks: u64,
    /// Segments.
    #[serde(with = "decimal")]
    pub segments: u64,
    /// Bytes of all segments.
    #[serde(with = "decimal")]
    pub segment_bytes: u64,
    /// Bytes of all its chunks as stored, those of earlier backups included.
    #[serde(with = "decimal")]
    pub chunk_bytes: u64,
    /// Bytes of the chunks that this backup itself stored.
    #[serde(with = "decimal")]
    pub uploaded_bytes: u64,
}

/// One part of a node's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PartInfo {
    /// Bytes of the object.
    #[serde(with = "decimal")]
    pub length: u64,
    /// BLAKE3 of the object.
    #[serde(with = "hash_hex")]
    pub hash: Hash,
}

/// The object, but for its hash.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    id: BackupId,
    attempt: AttemptId,
    version: String,
    server_version: String,
    status: Status,
    node: NodeName,
    #[serde(with = "hex_array")]
    store_id: [u8; 16],
    #[serde(with = "moment")]
    started_at: Timestamp,
    #[serde(with = "moment")]
    completed_at: Timestamp,
    compression_type: CodecName,
    #[serde(with = "decimal")]
    sequence: u64,
    /// Weaviate's name for what [`Totals::segment_bytes`] says, for readers that know only it.
    #[serde(with = "decimal")]
    pre_compression_size_bytes: u64,
    totals: Totals,
    parts: Vec<PartInfo>,
    /// Compared before, and written after, all other fields.
    #[serde(rename = "hash", default, skip_serializing)]
    _hash: Option<IgnoredAny>,
}

/// The only status that is ever written: the object appears last.
#[derive(Serialize, Deserialize)]
enum Status {
    #[serde(rename = "SUCCESS")]
    Success,
}

/// [`Codec`] as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CodecName {
    None,
    Gzip,
    Zstd,
}

impl From<Codec> for CodecName {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Zstd => Self::Zstd,
        }
    }
}

impl From<CodecName> for Codec {
    fn from(name: CodecName) -> Self {
        match name {
            CodecName::None => Self::None,
            CodecName::Gzip => Self::Gzip,
            CodecName::Zstd => Self::Zstd,
        }
    }
}

/// What stands between the other fields and the hash, and after it.
const HASH_FIELD: &[u8] = b",\n  \"hash\": \"";
const END: &[u8] = b"\"\n}\n";

impl Config {
    /// The object's bytes.
    ///
    /// # Errors
    /// `Invalid` if it would pass [`CONFIG_BYTES_MAX`].
    #[expect(clippy::missing_panics_doc, reason = "these types always serialize")]
    pub fn encode(&self) -> Result<Vec<u8>> {
        let wire = self.to_wire();
        let mut out = serde_json::to_vec_pretty(&wire).expect("these types always serialize");
        let tail = out.split_off(out.len().saturating_sub(2));
        debug_assert_eq!(tail, b"\n}", "an object ends so");
        let sealed = hash(&out);
        out.extend_from_slice(HASH_FIELD);
        out.extend_from_slice(sealed.to_string().as_bytes());
        out.extend_from_slice(END);
        if out.len() as u64 <= CONFIG_BYTES_MAX {
            return Ok(out);
        }
        Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "backup '{}' needs {} parts, more than its descriptor of {CONFIG_BYTES_MAX} bytes \
                 can list: back up fewer collections at a time",
                self.id,
                self.parts.len()
            ),
        ))
    }

    /// Reads `bytes` of `object`; the caller compares id and node with what it asked for.
    ///
    /// # Errors
    /// `Corrupt` when a byte is not as written, `NewerFormat` for a later version.
    pub fn decode(object: &str, bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > CONFIG_BYTES_MAX {
            return Err(Error::corrupt(object, "it is too large for a descriptor"));
        }
        check_seal(bytes).map_err(|reason| Error::corrupt(object, reason))?;
        check_version(object, bytes)?;
        let wire: Wire =
            serde_json::from_slice(bytes).map_err(|error| Error::corrupt(object, error))?;
        if wire.pre_compression_size_bytes != wire.totals.segment_bytes {
            return Err(Error::corrupt(object, "it gives its size in two ways"));
        }
        let config = Self::from_wire(wire);
        config.check().map_err(|reason| Error::corrupt(object, reason))?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        if self.sequence > RESTORED_SEQUENCE_MAX {
            return Err("its sequence is past the limit");
        }
        if self.parts.is_empty() {
            return Err("it lists no parts");
        }
        if self.parts.iter().any(|part| part.length > PART_BYTES_MAX) {
            return Err("a part is too long");
        }
        Ok(())
    }

    fn to_wire(&self) -> Wire {
        Wire {
            id: self.id.clone(),
            attempt: self.attempt,
            version: VERSION.to_owned(),
            server_version: self.server_version.clone(),
            status: Status::Success,
            node: self.node.clone(),
            store_id: self.store_id,
            started_at: self.started_at,
            completed_at: self.completed_at,
            compression_type: self.compression.into(),
            sequence: self.sequence,
            pre_compression_size_bytes: self.totals.segment_bytes,
            totals: self.totals,
            parts: self.parts.clone(),
            _hash: None,
        }
    }

    fn from_wire(wire: Wire) -> Self {
        let Status::Success = wire.status;
        Self {
            id: wire.id,
            attempt: wire.attempt,
            store_id: wire.store_id,
            node: wire.node,
            server_version: wire.server_version,
            started_at: wire.started_at,
            completed_at: wire.completed_at,
            compression: wire.compression_type.into(),
            sequence: wire.sequence,
            totals: wire.totals,
            parts: wire.parts,
        }
    }
}

/// Whether the object ends in the hash of what comes before.
fn check_seal(bytes: &[u8]) -> std::result::Result<(), &'static str> {
    const NOT_SEALED: &str = "it does not end in its hash";
    let body = bytes.strip_suffix(END).ok_or(NOT_SEALED)?;
    let (body, digits) = body.split_last_chunk::<64>().ok_or(NOT_SEALED)?;
    let body = body.strip_suffix(HASH_FIELD).ok_or(NOT_SEALED)?;
    let matches = hex_digits(&hash(body).0).as_bytes() == digits;
    if matches { Ok(()) } else { Err("it does not match its own hash") }
}

/// Tells a newer format, whose other fields this program cannot know, from damage.
fn check_version(object: &str, bytes: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Probe {
        version: String,
    }
    let probe: Probe =
        serde_json::from_slice(bytes).map_err(|error| Error::corrupt(object, error))?;
    if probe.version == VERSION {
        return Ok(());
    }
    let shown: String = probe.version.chars().take(32).collect();
    let numbers = |version: &str| -> Option<(u32, u32)> {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    if numbers(&probe.version) > numbers(VERSION) {
        let shown = shown.escape_default();
        return Err(Error::new(
            ErrorKind::NewerFormat,
            format!(
                "object '{object}' has format {shown}, newer than {VERSION}: upgrade siltstone"
            ),
        ));
    }
    Err(Error::corrupt(object, format_args!("no format '{}' exists", shown.escape_default())))
}
