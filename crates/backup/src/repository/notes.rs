//! The small objects of a repository: what it is, what an attempt intends, who has its chunks, which
//! are condemned, how the last restore went. Pure encoders and decoders.
//!
//! Each is one JSON object with a `version` of `major.minor`. A higher major is refused; a higher
//! minor may add fields, which are skipped. Integers that pass 53 bits are decimal strings.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, ErrorKind, Result},
    names::{AttemptId, BackupId, ChunkId, NodeName},
    state::State,
};

/// The version written.
const VERSION: &str = "1.0";

/// The version of an intent that lists copies.
const VERSION_COPIES: &str = "1.1";

/// The highest major version read.
const MAJOR_MAX: u32 = 1;

/// Largest of these objects, in bytes: an intent or a list of 400,000 chunks.
pub(super) const NOTE_BYTES_MAX: u64 = 16 << 20;

/// Bytes of an intent apart from its lists, and of an entry in each of them, at most.
const INTENT_BYTES: u64 = 4096;
const CHUNK_BYTES: u64 = 48;
const COPY_BYTES: u64 = 128;

/// Most chunks of one condemned list: some 40 bytes each.
pub(crate) const CONDEMNED_CHUNKS_MAX: usize = 250_000;

/// `repository.json`: makes a folder or a bucket a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct About {
    version: String,
    /// Random, 32 hexadecimal digits.
    pub(crate) repository_id: String,
}

/// `<id>/intent-<attempt>.json`: there before the first upload of an attempt, so that no chunk it
/// relies on is taken away under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Intent {
    version: String,
    /// The attempt.
    pub(crate) attempt: AttemptId,
    /// The backup it makes.
    pub(crate) id: BackupId,
    /// The node it runs on.
    pub(crate) node: NodeName,
    /// The store it backs up, 32 hexadecimal digits.
    pub(crate) store_id: String,
    /// When it began, by that machine's clock, for people.
    pub(crate) started_at: String,
    /// Chunks of earlier backups that it will refer to.
    pub(crate) chunks: Vec<ChunkId>,
    /// Chunks of another repository, and what they are called here once they are here. Another
    /// attempt may go on from those, see [`Claim`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) copies: Vec<ChunkCopy>,
}

/// A chunk of another repository, and its copy in this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChunkCopy {
    pub(crate) from: ChunkId,
    pub(crate) to: ChunkId,
}

/// `<id>/claim-<attempt>.json`: who has the chunks that an attempt copied: itself, to remove them, or
/// another, to refer to them. Written once, by the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Claim {
    version: String,
    /// Whose chunks.
    pub(crate) attempt: AttemptId,
    /// Who has them.
    pub(crate) by: AttemptId,
}

/// `.prune/<uuid>.json`: chunks that a first prune step condemned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condemned {
    version: String,
    /// The chunks. No backup may begin to refer to one.
    pub(crate) chunks: Vec<ChunkId>,
}

/// `<id>/restore_config.json`: the last restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RestoreNote {
    version: String,
    /// The backup.
    pub(crate) id: BackupId,
    /// The run of the restore.
    pub(crate) attempt: AttemptId,
    /// How it stands.
    pub(crate) status: State,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// The store it went to, 32 hexadecimal digits.
    pub(crate) store_id: String,
    /// The collections, under the names they have in that store.
    pub(crate) collections: Vec<String>,
    /// When it began and when it got this status, by that machine's clock.
    pub(crate) started_at: String,
    /// See `started_at`.
    pub(crate) updated_at: String,
}

impl About {
    pub(crate) fn new(repository_id: String) -> Self {
        Self { version: VERSION.to_owned(), repository_id }
    }
}

impl Condemned {
    /// A list, as a prune step writes it.
    pub(crate) fn new(chunks: Vec<ChunkId>) -> Self {
        Self { version: VERSION.to_owned(), chunks }
    }
}

impl Claim {
    pub(crate) fn new(attempt: AttemptId, by: AttemptId) -> Self {
        Self { version: VERSION.to_owned(), attempt, by }
    }
}

/// What an intent says apart from the chunks.
#[derive(Clone, Debug)]
pub(crate) struct IntentHead {
    pub(crate) attempt: AttemptId,
    pub(crate) id: BackupId,
    pub(crate) node: NodeName,
    pub(crate) store_id: String,
    pub(crate) started_at: String,
}

impl IntentHead {
    pub(crate) fn with_chunks(&self, chunks: Vec<ChunkId>) -> Intent {
        self.with_copies(chunks, Vec::new())
    }

    /// With as many of the copies as there is room for: an intent must name all of its chunks, while
    /// of the rest nobody goes on.
    pub(crate) fn with_copies(&self, chunks: Vec<ChunkId>, mut copies: Vec<ChunkCopy>) -> Intent {
        let room = NOTE_BYTES_MAX.saturating_sub(INTENT_BYTES + chunks.len() as u64 * CHUNK_BYTES);
        copies.truncate(usize::try_from(room / COPY_BYTES).unwrap_or(usize::MAX));
        let version = if copies.is_empty() { VERSION } else { VERSION_COPIES }.to_owned();
        let Self { attempt, id, node, store_id, started_at } = self.clone();
        Intent { version, attempt, id, node, store_id, started_at, chunks, copies }
    }
}

impl RestoreNote {
    /// The first note of a restore.
    pub(crate) fn started(
        id: BackupId,
        attempt: AttemptId,
        store_id: String,
        collections: Vec<String>,
        now: String,
    ) -> Self {
        Self {
            version: VERSION.to_owned(),
            id,
            attempt,
            status: State::Started,
            error: None,
            store_id,
            collections,
            started_at: now.clone(),
            updated_at: now,
        }
    }
}

/// The bytes of a note.
pub(crate) fn encode<T: Serialize>(object: &str, note: &T) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(note).map_err(|error| {
        Error::new(ErrorKind::Invalid, format!("object '{object}' cannot be written: {error}"))
    })?;
    bytes.push(b'\n');
    if bytes.len() as u64 <= NOTE_BYTES_MAX {
        return Ok(bytes);
    }
    let message = format!("object '{object}' would have {} bytes, too many", bytes.len());
    Err(Error::new(ErrorKind::Invalid, message))
}

/// The note in some bytes.
///
/// # Errors
/// `NewerFormat` for a higher major version, `Corrupt` for anything that is no such note.
pub(crate) fn decode<T: DeserializeOwned>(object: &str, bytes: &[u8]) -> Result<T> {
    #[derive(Deserialize)]
    struct Head {
        version: String,
    }
    let head: Head =
        serde_json::from_slice(bytes).map_err(|error| Error::corrupt(object, error))?;
    let major = head.version.split_once('.').and_then(|(major, _)| major.parse::<u32>().ok());
    match major {
        Some(1..=MAJOR_MAX) => {}
        Some(major) if major > MAJOR_MAX => {
            let message = format!(
                "object '{object}' has format {major}, newer than {MAJOR_MAX}: upgrade siltstone"
            );
            return Err(Error::new(ErrorKind::NewerFormat, message));
        }
        _ => return Err(Error::corrupt(object, "its version is not one")),
    }
    serde_json::from_slice(bytes).map_err(|error| Error::corrupt(object, error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> IntentHead {
        IntentHead {
            attempt: AttemptId([1; 16]),
            id: BackupId::new("nightly").unwrap(),
            node: NodeName::default(),
            store_id: "00".repeat(16),
            started_at: "2026-11-24T04:00:00Z".to_owned(),
        }
    }

    fn intent() -> Intent {
        head().with_chunks(vec![ChunkId([2; 16]), ChunkId([3; 16])])
    }

    fn copying() -> Intent {
        let copy = ChunkCopy { from: ChunkId([4; 16]), to: ChunkId([5; 16]) };
        head().with_copies(vec![ChunkId([2; 16])], vec![copy])
    }

    #[test]
    fn bytes_are_pinned() {
        let text = String::from_utf8(encode("x", &intent()).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{
  "version": "1.0",
  "attempt": "01010101010101010101010101010101",
  "id": "nightly",
  "node": "node1",
  "storeId": "00000000000000000000000000000000",
  "startedAt": "2026-11-24T04:00:00Z",
  "chunks": [
    "02020202020202020202020202020202",
    "03030303030303030303030303030303"
  ]
}
"#
        );
        assert_eq!(decode::<Intent>("x", text.as_bytes()).unwrap(), intent());

        let text = String::from_utf8(encode("x", &copying()).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{
  "version": "1.1",
  "attempt": "01010101010101010101010101010101",
  "id": "nightly",
  "node": "node1",
  "storeId": "00000000000000000000000000000000",
  "startedAt": "2026-11-24T04:00:00Z",
  "chunks": [
    "02020202020202020202020202020202"
  ],
  "copies": [
    {
      "from": "04040404040404040404040404040404",
      "to": "05050505050505050505050505050505"
    }
  ]
}
"#
        );
        assert_eq!(decode::<Intent>("x", text.as_bytes()).unwrap(), copying());

        let claim = Claim::new(AttemptId([1; 16]), AttemptId([6; 16]));
        let text = String::from_utf8(encode("x", &claim).unwrap()).unwrap();
        assert_eq!(
            text,
            r#"{
  "version": "1.0",
  "attempt": "01010101010101010101010101010101",
  "by": "06060606060606060606060606060606"
}
"#
        );
        assert_eq!(decode::<Claim>("x", text.as_bytes()).unwrap(), claim);
    }

    #[test]
    fn an_intent_with_more_copies_than_it_holds_lists_the_first() {
        let many: Vec<ChunkCopy> = (0..150_000_u128)
            .map(|number| {
                let id = ChunkId(number.to_le_bytes());
                ChunkCopy { from: id, to: id }
            })
            .collect();
        let few = vec![ChunkId([9; 16]); 1000];
        let intent = head().with_copies(few.clone(), many.clone());
        assert_eq!((&intent.chunks, &intent.copies[..]), (&few, &many[..intent.copies.len()]));
        assert!(intent.copies.len() > 100_000 && intent.copies.len() < many.len());
        encode("x", &intent).unwrap();
        let full = vec![ChunkId([9; 16]); 360_000];
        assert!(head().with_copies(full, many).copies.is_empty());
    }

    #[test]
    fn newer_majors_are_refused_and_newer_minors_read() {
        let about = |version: &str| {
            format!(r#"{{"version":"{version}","repositoryId":"aa","added":[1]}}"#).into_bytes()
        };
        assert_eq!(decode::<About>("x", &about("1.7")).unwrap().repository_id, "aa");
        let newer = decode::<About>("x", &about("2.0")).expect_err("newer");
        assert_eq!(newer.kind(), ErrorKind::NewerFormat);
        for bad in ["", "0.1", "one", "1"] {
            let error = decode::<About>("x", &about(bad)).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{bad}");
        }
    }

    #[test]
    fn chunk_names_that_could_leave_the_repository_are_refused() {
        let bytes = br#"{"version":"1.0","chunks":["../../etc/passwd"]}"#;
        assert_eq!(decode::<Condemned>("x", bytes).expect_err("path").kind(), ErrorKind::Corrupt);
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode::<Intent>("x", &bytes).is_err());
            prop_assert!(decode::<Claim>("x", &bytes).is_err());
        }
    }

    #[test]
    fn no_cut_or_flip_panics() {
        sweep(&intent());
        sweep(&copying());
        sweep(&Claim::new(AttemptId([1; 16]), AttemptId([6; 16])));
    }

    /// Every cut is refused, and no flipped bit makes trouble.
    fn sweep<T: Serialize + DeserializeOwned>(note: &T) {
        let whole = encode("x", note).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                drop(decode::<T>("x", &bytes));
            }
            let all_but_the_newline = at + 1 == whole.len();
            assert!(all_but_the_newline || decode::<T>("x", &whole[..at]).is_err(), "{at} bytes");
        }
    }
}
