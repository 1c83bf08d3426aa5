//! Leveled compaction: [`pick()`] decides and is pure, [`run()`] does the I/O.
//!
//! Level 0 takes what flushes write, so its segments overlap; each level below is one sorted run,
//! `level_ratio` times larger than the one above. A job merges some segments with those below that
//! hold the same keys, and keeps the newest version of each key.
//!
//! What is unusual: the picker looks at *files* too. A flush writes one file with a segment of every
//! dirty tree, so with many small trees a file goes only when all of them have moved on. One job
//! therefore takes all small trees of the files it touches and writes one file in one edit; files
//! that are mostly dead are emptied, and small files are gathered into larger ones. The number of
//! files is bounded by bytes, not by trees.

use std::sync::Arc;

use siltstone_io::env::Env;

use crate::{
    options::Options,
    output::rewrite::Tombstones,
    types::TreeId,
    version::{Segment, SegmentOpener},
};

mod files;
mod inputs;
pub mod pick;
mod policy;
pub mod run;

#[cfg(test)]
mod tests;

pub use pick::pick;
pub use run::run;

/// One compaction: some segments of some trees, replaced by an edit that applies as a whole.
#[derive(Clone, Debug)]
pub struct Job {
    /// Ascending by tree; a tree may occur more than once, with segments of its own each time.
    pub trees: Vec<TreeJob>,
}

impl Job {
    /// Bytes that the job reads.
    pub fn input_bytes(&self) -> u64 {
        let merged = self.trees.iter().filter(|job| !job.trivial_move);
        merged.flat_map(|job| &job.inputs).map(|segment| segment.meta.length).sum()
    }
}

/// The part of a job that concerns one tree.
#[derive(Clone, Debug)]
pub struct TreeJob {
    /// The tree.
    pub tree: TreeId,
    /// What is merged: newest level first; level 0 newest first, other levels ascending by key.
    pub inputs: Vec<Arc<Segment>>,
    /// Where the outputs go.
    pub to_level: u8,
    /// Whether anything older lies below the inputs' key range.
    pub tombstones: Tombstones,
    /// The inputs need no rewriting: only their level changes.
    pub trivial_move: bool,
}

/// What a compaction works with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The disk and the source of identifiers.
    pub env: &'a Env,
    /// Sizes.
    pub options: &'a Options,
    /// Opens the inputs.
    pub opener: &'a SegmentOpener,
}
