//! Identifiers of the repository, and the object names made of them.
//!
//! Every part of an object name is checked here, whether it came from a person or from a
//! descriptor: no name made here can leave the root of the repository.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, ErrorKind, Result};

/// Longest backup id or node name, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// The object that makes a folder or bucket a repository.
pub const REPOSITORY: &str = "repository.json";

/// The folder of chunks, with the slash.
pub const CHUNKS: &str = ".chunks/";

/// How the ids of offloaded tenants begin. No other backup may have such an id.
pub const OFFLOAD_PREFIX: &str = "offload-";

/// The folder of condemned lists, with the slash.
pub const PRUNE: &str = ".prune/";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $is_one:ident, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks and takes a name.
            ///
            /// # Errors
            #[doc = concat!("`Invalid` unless it is ", $rule, ".")]
            pub fn new(name: &str) -> Result<Self> {
                if $is_one(name) {
                    return Ok(Self(name.to_owned()));
                }
                let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
                Err(Error::new(ErrorKind::Invalid, format!(
                    concat!($what, " '{}' must be ", $rule),
                    shown.escape_default()
                )))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        text_serde!($name);
    };
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// Reads 32 lower-case hexadecimal digits.
            ///
            /// # Errors
            /// `Invalid` for anything else.
            pub fn new(text: &str) -> Result<Self> {
                parse_hex(text).map(Self).ok_or_else(|| {
                    let shown: String = text.chars().take(40).collect();
                    Error::new(ErrorKind::Invalid, format!(
                        concat!($what, " '{}' is not 32 hexadecimal digits"),
                        shown.escape_default()
                    ))
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        text_serde!($name);
    };
}

macro_rules! text_serde {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(
                &self,
                serializer: S,
            ) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(
                deserializer: D,
            ) -> std::result::Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
    };
}

name!(
    /// The identity of a backup within its repository, chosen by the user.
    BackupId, "backup id", is_plain, "1..=128 characters of a-z, 0-9, '_' and '-'"
);
name!(
    /// The name of a node within a backup.
    NodeName, "node name", is_host,
    "1..=128 characters of a-z, A-Z, 0-9, '_', '-' and '.', the first not '.'"
);
random_id!(
    /// The random identity of one chunk; chunks are never overwritten.
    ChunkId, "chunk id"
);
random_id!(
    /// The random identity of one attempt to make a backup.
    AttemptId, "attempt id"
);

impl Default for NodeName {
    fn default() -> Self {
        Self("node1".to_owned())
    }
}

impl ChunkId {
    /// The chunk that `object` holds, if its name fits.
    pub(crate) fn parse(object: &str) -> Option<Self> {
        let hex = object.strip_prefix(CHUNKS)?.split_once('/')?.1;
        let id = parse_hex(hex).map(Self)?;
        (id.object() == object).then_some(id)
    }

    /// The object that holds the chunk.
    pub fn object(&self) -> String {
        format!("{CHUNKS}{:02x}/{self}", self.0[0])
    }
}

impl BackupId {
    /// The folder of the backup, with the slash.
    pub fn folder(&self) -> String {
        format!("{self}/")
    }

    /// The descriptor of the whole backup: the commit point.
    pub fn config_object(&self) -> String {
        format!("{self}/backup_config.json")
    }

    /// Whether it holds the rows of an offloaded tenant, which may be nowhere else: it goes when the
    /// tenant is back, and never by its age.
    pub fn is_offload(&self) -> bool {
        self.as_str().starts_with(OFFLOAD_PREFIX)
    }

    /// The record of the last restore.
    pub fn restore_object(&self) -> String {
        format!("{self}/restore_config.json")
    }

    /// The intent of an attempt.
    pub fn intent_object(&self, attempt: AttemptId) -> String {
        format!("{self}/{INTENT_PREFIX}{attempt}{NOTE_SUFFIX}")
    }

    /// The attempt whose intent `object` is, if it is one of this backup.
    pub fn parse_intent(&self, object: &str) -> Option<AttemptId> {
        self.parse_note(object, INTENT_PREFIX)
    }

    /// Who may do what they like with the chunks of an attempt.
    pub(crate) fn claim_object(&self, attempt: AttemptId) -> String {
        format!("{self}/{CLAIM_PREFIX}{attempt}{NOTE_SUFFIX}")
    }

    fn parse_note(&self, object: &str, prefix: &str) -> Option<AttemptId> {
        let name = object.strip_prefix(self.as_str())?.strip_prefix('/')?;
        let hex = name.strip_prefix(prefix)?.strip_suffix(NOTE_SUFFIX)?;
        parse_hex(hex).map(AttemptId)
    }

    /// What `object` is, if its name fits an object of this backup.
    pub(crate) fn parse(&self, object: &str) -> Option<BackupObject> {
        let name = object.strip_prefix(self.as_str())?.strip_prefix('/')?;
        let parsed = match name.split_once('/') {
            None if object == self.config_object() => BackupObject::Config,
            None if object == self.restore_object() => BackupObject::RestoreNote,
            None => match self.parse_intent(object) {
                Some(attempt) => BackupObject::Intent(attempt),
                None => BackupObject::Claim(self.parse_note(object, CLAIM_PREFIX)?),
            },
            Some((node, part)) => {
                let part = part.strip_prefix(PART_PREFIX)?.strip_suffix(PART_SUFFIX)?;
                let (attempt, number) = part.split_once('-')?;
                let (attempt, number) = (AttemptId::new(attempt).ok()?, number.parse().ok()?);
                let spelled = self.part_object(&NodeName::new(node).ok()?, attempt, number);
                if spelled != object {
                    return None; // such as a number with a sign
                }
                BackupObject::Part(attempt, number)
            }
        };
        Some(parsed)
    }

    /// Part `number` of the descriptor of a node. It names the attempt, so that two attempts of one
    /// backup never write one object: the loser cannot spoil what the winner committed.
    pub fn part_object(&self, node: &NodeName, attempt: AttemptId, number: u32) -> String {
        format!("{self}/{node}/{PART_PREFIX}{attempt}-{number}{PART_SUFFIX}")
    }
}

/// What an object in the folder of a backup is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackupObject {
    /// The descriptor of the whole backup.
    Config,
    /// The record of its last restore.
    RestoreNote,
    /// The intent of an attempt.
    Intent(AttemptId),
    /// Who may do what they like with the chunks of an attempt.
    Claim(AttemptId),
    /// A part of an attempt's descriptor, by its number.
    Part(AttemptId, u32),
}

/// The list of condemned chunks with that random identity.
pub(crate) fn condemned_object(id: [u8; 16]) -> String {
    format!("{PRUNE}{}.json", AttemptId(id))
}

/// Whether an object is a list of condemned chunks, by its name.
pub(crate) fn is_condemned_object(object: &str) -> bool {
    let name = object.strip_prefix(PRUNE).and_then(|name| name.strip_suffix(".json"));
    name.is_some_and(|hex| parse_hex(hex).is_some())
}

const INTENT_PREFIX: &str = "intent-";
const CLAIM_PREFIX: &str = "claim-";
const NOTE_SUFFIX: &str = ".json";
const PART_PREFIX: &str = "backup-";
const PART_SUFFIX: &str = ".jsonl";

fn is_plain(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

fn is_host(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

fn parse_hex(text: &str) -> Option<[u8; 16]> {
    let plain = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let number = if plain { u128::from_str_radix(text, 16).ok()? } else { return None };
    let mut bytes = number.to_le_bytes();
    bytes.reverse();
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_outside_the_rule_are_refused() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", "a b", "a/b", "..", ".chunks", "\u{e9}", "a\n", &long] {
            assert_eq!(BackupId::new(bad).expect_err(bad).kind(), ErrorKind::Invalid, "{bad}");
            assert_eq!(NodeName::new(bad).expect_err(bad).kind(), ErrorKind::Invalid, "{bad}");
        }
        for host in ["A", "Weaviate-0.weaviate.svc", "10.0.0.7"] {
            assert_eq!(BackupId::new(host).is_err(), host.contains(['.', 'A']), "{host}");
            assert_eq!(NodeName::new(host).unwrap().as_str(), host);
        }
        for good in ["a", "2026-11-24_full", &long[1..]] {
            assert_eq!(BackupId::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn random_ids_round_trip_and_refuse_all_else() {
        let id = ChunkId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xa0, 0xb0, 0xc0, 0xd0, 0xe0, 0xff]);
        assert_eq!(id.to_string(), "00010203040506070809a0b0c0d0e0ff");
        assert_eq!(id.to_string().parse::<ChunkId>().unwrap(), id);
        assert_eq!(id.object(), ".chunks/00/00010203040506070809a0b0c0d0e0ff");
        for bad in
            ["", "00", "+0010203040506070809a0b0c0d0e0ff", "00010203040506070809A0b0c0d0e0ff"]
        {
            assert!(ChunkId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_names_that_are_spelled_as_we_do_are_recognised() {
        let (id, attempt) = (BackupId::new("b").unwrap(), AttemptId([0x1f; 16]));
        let part = id.part_object(&NodeName::default(), attempt, 12);
        assert_eq!(id.parse(&part), Some(BackupObject::Part(attempt, 12)));
        assert_eq!(id.parse("b/backup_config.json"), Some(BackupObject::Config));
        assert_eq!(id.parse("b/restore_config.json"), Some(BackupObject::RestoreNote));
        let intent = id.intent_object(attempt);
        assert_eq!(id.parse(&intent), Some(BackupObject::Intent(attempt)));
        let claim = id.claim_object(attempt);
        assert_eq!(id.parse(&claim), Some(BackupObject::Claim(attempt)));
        assert_eq!(id.parse_intent(&claim), None);
        for stranger in [
            "b/notes.txt".to_owned(),
            "c/backup_config.json".to_owned(),
            "b".to_owned(),
            part.replace("-12", "-+12"),
            part.replace("-12", "-012"),
            part.replace("node1", "."),
            part.replace("node1/", "node1/deep/"),
            part.replace("1f", "1F"),
        ] {
            assert_eq!(id.parse(&stranger), None, "{stranger}");
        }
        let chunk = ChunkId([0xab; 16]);
        assert_eq!(ChunkId::parse(&chunk.object()), Some(chunk));
        for stranger in
            [chunk.object().replace("/ab/", "/ac/"), chunk.object() + "x", chunk.to_string()]
        {
            assert_eq!(ChunkId::parse(&stranger), None, "{stranger}");
        }
        let list = condemned_object([7; 16]);
        assert_eq!(list, format!(".prune/{}.json", "07".repeat(16)));
        assert!(is_condemned_object(&list));
        assert!(!is_condemned_object(".prune/1.json") && !is_condemned_object(&list[1..]));
    }

    #[test]
    fn intent_names_are_recognised_in_their_own_backup_only() {
        let (id, attempt) = (BackupId::new("b").unwrap(), AttemptId([7; 16]));
        let object = id.intent_object(attempt);
        assert_eq!(id.parse_intent(&object), Some(attempt));
        assert_eq!(BackupId::new("c").unwrap().parse_intent(&object), None);
        assert_eq!(id.parse_intent(&id.config_object()), None);
    }
}
