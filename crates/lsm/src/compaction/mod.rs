//! Leveled compaction: `pick` is pure, `run` does the I/O.
//! skeleton: owner of memtable/, merge.rs, view.rs, compaction/, flush.rs

use std::sync::Arc;

use siltstone_io::env::Env;

use crate::{error::Result, manifest::Edit, options::Options, types::{FileId, TreeId}, version::{Segment, SegmentOpener, Version}};

/// One compaction: some trees, each with inputs of level `from` and `from + 1`, written to `to`.
#[derive(Clone, Debug)]
pub struct Job {
    pub trees: Vec<TreeJob>,
}

/// The part of a job that concerns one tree.
#[derive(Clone, Debug)]
pub struct TreeJob {
    pub tree: TreeId,
    pub inputs: Vec<Arc<Segment>>,
    pub to_level: u8,
    /// Nothing older lies below the outputs' key range: tombstones can go.
    pub bottom: bool,
    /// The inputs need no rewriting: only their level changes.
    pub trivial_move: bool,
}

/// Chooses the most urgent job, or none. Pure.
pub fn pick(_version: &Version, _options: &Options) -> Option<Job> {
    todo!()
}

/// What a compaction works with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub env: &'a Env,
    pub options: &'a Options,
    pub opener: &'a SegmentOpener,
}

/// Runs a job: writes and syncs output files and their folder, returns the edit to commit (AddFile, AddSegment,
/// RemoveSegment, MoveSegment; files left without segments are not named). `go_on` is called between blocks: it may
/// wait to pace the job, and false cancels it: its files are removed and the answer is `None`.
pub fn run(_context: Context<'_>, _job: &Job, _next_file: &mut dyn FnMut() -> FileId, _go_on: &mut dyn FnMut() -> bool) -> Result<Option<Edit>> {
    todo!()
}
