//! The layout of a segment: blocks, then a footer of fixed size. `docs/format.md` shows it whole.
//!
//! ```text
//!   data blocks | index leaves | filter | root | range tombstones | properties | footer
//! ```
//!
//! Every byte but the footer belongs to a block, and every block ends in a trailer (codec,
//! CRC-32) whose CRC is seeded with the segment's uid and the block's place in it: the right bytes
//! in the wrong place fail. Offsets count from the start of the segment, so a segment can be copied
//! to any place in any file. Nothing in it names a store, a tree, a file or a level.
//!
//! Index leaves exist only when the index has more than one; the sections from the filter on follow
//! each other without a gap, so that the footer gives lengths alone and cannot contradict itself.

pub mod block;
pub mod filter;
pub mod footer;
pub mod properties;
pub mod seal;
pub mod tombstones;

use crate::format::primitives::Reason;

/// What a decoder of this format answers; the reader adds file and offset to a reason.
pub type Decoded<T> = Result<T, Reason>;

#[cfg(test)]
mod tests;
