//! Doing a compaction.
//!
//! Memory is bounded by the blocks under the cursors, one block being built, and the range
//! tombstones of one tree's inputs. Inputs bypass the cache.

use std::sync::Arc;

use crate::{
    compaction::{Context, Job, TreeJob},
    cursor::Cursor,
    error::Result,
    manifest::{Edit, Record},
    merge::{MergeCursor, cover::Cover, level::LevelCursor},
    output::{
        Limits, Outputs, Written,
        rewrite::{Target, rewrite},
    },
    segment::FillCache,
    types::{FileId, RangeTombstone, Sequence},
    version::{Segment, SegmentOpener},
};

/// Runs a job: writes and syncs output files and their folder, and returns the edit to commit
/// (`AddFile`, `AddSegment`, `RemoveSegment`, `MoveSegment`; files left without segments are not
/// named). `go_on` is asked between blocks: it may wait to pace the job, and false cancels it: its
/// files are removed and the answer is `None`.
///
/// # Errors
/// `Corrupt` or `Io` when an input cannot be read, `NoSpace` or `Io` when an output cannot be
/// written; the files written are removed.
pub fn run(
    context: Context<'_>,
    job: &Job,
    next_file: &mut dyn FnMut() -> FileId,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Edit>> {
    let segment_bytes_max = context.options.segment_bytes_max;
    let limits = Limits { segment_bytes_max, file_bytes_max: segment_bytes_max };
    let expected_bytes = job.input_bytes();
    let mut outputs = Outputs::new(context.env, context.options, limits, expected_bytes, next_file);
    for tree in job.trees.iter().filter(|tree| !tree.trivial_move) {
        if !go_on() || !merge(context.opener, tree, &mut outputs, go_on)? {
            return Ok(None);
        }
    }
    let written = outputs.finish()?;
    Ok(Some(edit_of(job, written)))
}

/// Merges the inputs of one tree; whether it came to its end.
fn merge(
    opener: &SegmentOpener,
    job: &TreeJob,
    outputs: &mut Outputs<'_>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<bool> {
    let mut tombstones: Vec<RangeTombstone> = Vec::new();
    for segment in job.inputs.iter().filter(|segment| segment.meta.counts.range_deletes > 0) {
        tombstones.extend_from_slice(segment.reader(opener)?.range_tombstones());
    }
    let cover = Cover::new(tombstones, Sequence::MAX);
    let mut run = MergeCursor::new(sources(opener, job, &cover)?);
    let target = Target { tree: job.tree, level: job.to_level, tombstones: job.tombstones };
    rewrite(&mut run, &cover, target, outputs, go_on)
}

/// Cursors over the inputs: one each on level 0, one a level below. Segments that a newer range
/// tombstone deletes as a whole are not even read.
fn sources(opener: &SegmentOpener, job: &TreeJob, cover: &Cover) -> Result<Vec<Box<dyn Cursor>>> {
    let alive = |segment: &&Arc<Segment>| {
        let meta = &segment.meta;
        !cover.deletes_all(&meta.key_min, meta.key_max.as_deref(), meta.sequence_max)
    };
    let inputs: Vec<Arc<Segment>> = job.inputs.iter().filter(alive).cloned().collect();
    let mut sources: Vec<Box<dyn Cursor>> = Vec::new();
    for level in inputs.chunk_by(|left, right| left.level == right.level && left.level > 0) {
        if let [segment] = level {
            sources.push(segment.reader(opener)?.cursor(FillCache::No));
        } else {
            let opener = opener.clone();
            sources.push(Box::new(LevelCursor::new(level.to_vec(), opener, FillCache::No)));
        }
    }
    Ok(sources)
}

fn edit_of(job: &Job, written: Written) -> Edit {
    let files = written.files.into_iter().map(|(file, length)| Record::AddFile { file, length });
    let mut records: Vec<Record> = files.collect();
    for job in &job.trees {
        records.extend(job.inputs.iter().map(|input| {
            let (tree, file, offset) = (job.tree, input.file.id, input.offset);
            if job.trivial_move {
                Record::MoveSegment { tree, file, offset, level: job.to_level }
            } else {
                Record::RemoveSegment { tree, file, offset }
            }
        }));
    }
    records.extend(written.segments.into_iter().map(|segment| Record::AddSegment {
        tree: segment.tree,
        level: segment.level,
        file: segment.file,
        offset: segment.offset,
        meta: segment.meta,
    }));
    Edit { records }
}
