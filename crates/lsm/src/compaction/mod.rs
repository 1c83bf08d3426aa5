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

/// Runs a job: writes and syncs output files, returns the edit to commit (adds, removes, files).
pub fn run(_env: &Env, _options: &Options, _opener: &SegmentOpener, _job: &Job, _next_file: &mut dyn FnMut() -> FileId, _cancelled: &dyn Fn() -> bool) -> Result<Option<Edit>> {
    todo!()
}
