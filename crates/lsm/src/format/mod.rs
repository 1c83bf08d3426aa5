//! On-disk layouts: total encoders and decoders without I/O, one file a format.
//!
//! Decoders are total: no input makes them panic, hang, or allocate by a length they read. A layout
//! is written once, as constants; `docs/format.md` is checked against them by tests.

pub mod batch;
pub mod layout;
pub mod manifest;
pub mod names;
pub mod primitives;
pub mod segment;
pub mod wal;
