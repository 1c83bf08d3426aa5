//! The one hidden door for fuzz targets: bodies that take bytes of any origin and panic only when a
//! promise is broken. Behind the feature `internals`; nothing else may use it.
//!
//! A target in `fuzz/targets/` calls one of these and no more, so that plain `cargo test` replays
//! `fuzz/corpus/` and every past finding in `fuzz/regressions/` without a fuzzer.

mod manifest_file;
mod segment;
mod wal_file;

#[cfg(test)]
mod tests;

pub use manifest_file::manifest;
pub use segment::segment;
pub use wal_file::wal_file;
