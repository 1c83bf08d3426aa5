//! What the repository consists of: total encoders and decoders without I/O, one file a format.
//!
//! Bytes from a backend are untrusted. No input makes a decoder panic, hang, or allocate more than a
//! small multiple of the bytes it was given. `docs/format.md` describes the same formats.

pub mod chunk;
pub mod config;
pub mod descriptor;
pub(crate) mod lines;
pub mod tar;
mod text;
