//! The names of files in a store folder. User-given names never appear in them.

use siltstone_io::path::RelPath;

use crate::types::{FileId, LogId};

/// The lock file.
pub const LOCK: &str = "LOCK";
/// Names the manifest in use.
pub const CURRENT: &str = "CURRENT";
/// The next [`CURRENT`] while it is written.
pub const CURRENT_TMP: &str = "CURRENT.tmp";
/// The folder of segment files.
pub const FILES: &str = "files";

/// A manifest, by its number.
pub fn manifest(number: u64) -> RelPath {
    fixed(format!("manifest-{number:016x}"))
}

/// A write-ahead log.
pub fn log(log: LogId) -> RelPath {
    fixed(format!("wal-{:016x}.log", log.0))
}

/// A file of segments.
pub fn file(file: FileId) -> RelPath {
    fixed(format!("{FILES}/{:016x}.seg", file.0))
}

/// The path of a constant name.
pub fn top(name: &'static str) -> RelPath {
    fixed(name.to_owned())
}

/// The number in a manifest's name.
pub fn parse_manifest(name: &str) -> Option<u64> {
    parse(name.strip_prefix("manifest-")?)
}

/// The identifier in a log's name.
pub fn parse_log(name: &str) -> Option<LogId> {
    parse(name.strip_prefix("wal-")?.strip_suffix(".log")?).map(LogId)
}

/// The identifier in a segment file's name (without its folder).
pub fn parse_file(name: &str) -> Option<FileId> {
    parse(name.strip_suffix(".seg")?).map(FileId)
}

fn parse(hex: &str) -> Option<u64> {
    let plain = hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u64::from_str_radix(hex, 16).ok() } else { None }
}

fn fixed(name: String) -> RelPath {
    RelPath::new(name).expect("names made here are plain")
}
