//! When a level is due: scores in thousandths, [`DUE`] and above is due.

use crate::{options::Options, version::TreeVersion};

/// The deepest level; it has no limit.
pub(super) const LEVEL_MAX: u8 = 6;

/// The score from which on a level is due.
pub(super) const DUE: u64 = 1000;

/// The sizes that decide, derived from the options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    level0_segments: u64,
    level1_bytes: u64,
    level_ratio: u64,
    /// Bytes after which an output starts a new segment and file.
    pub(super) segment_bytes_max: u64,
    /// A merge of at most this many bytes is small: others of the same files join it.
    pub(super) small_merge_bytes: u64,
    /// A file below this length is small: many of them are gathered into one.
    pub(super) small_file_bytes: u64,
    /// Small files of about the same size before they are gathered.
    pub(super) small_files_max: usize,
    /// Bytes read by one job of many trees: bounds its time and the space it needs.
    pub(super) shared_job_bytes: u64,
}

impl Policy {
    pub(super) fn new(options: &Options) -> Self {
        let segment_bytes_max = options.segment_bytes_max.max(1);
        Self {
            level0_segments: options.level0_segments_compact.max(1) as u64,
            level1_bytes: options.level1_bytes.max(1),
            level_ratio: options.level_ratio.max(2),
            segment_bytes_max,
            small_merge_bytes: segment_bytes_max / 4,
            small_file_bytes: segment_bytes_max / 4,
            small_files_max: 8,
            shared_job_bytes: segment_bytes_max.saturating_mul(4),
        }
    }

    /// The most urgent level of a tree and its score, if it is due.
    pub(super) fn due_level(&self, tree: &TreeVersion) -> Option<(u64, u8)> {
        (0..LEVEL_MAX)
            .filter(|level| usize::from(*level) < tree.levels.len())
            .map(|level| (self.score(tree, level), level))
            .filter(|(score, _)| *score >= DUE)
            .max_by_key(|(score, level)| (*score, u8::MAX - level))
    }

    fn score(&self, tree: &TreeVersion, level: u8) -> u64 {
        let segments = &tree.levels[usize::from(level)];
        let size = if level == 0 {
            thousandths(segments.len() as u64, self.level0_segments)
        } else {
            let bytes = segments.iter().map(|segment| segment.meta.length).sum();
            thousandths(bytes, self.target_bytes(level))
        };
        // A cleared tree gives its space back soon, not after it was written to again.
        if clears_older(tree, level) { size.max(DUE) } else { size }
    }

    fn target_bytes(&self, level: u8) -> u64 {
        (1..level).fold(self.level1_bytes, |bytes, _| bytes.saturating_mul(self.level_ratio))
    }
}

fn thousandths(amount: u64, limit: u64) -> u64 {
    amount.saturating_mul(1000) / limit
}

/// Whether a level holds a range tombstone over all keys, and older segments lie under it.
fn clears_older(tree: &TreeVersion, level: u8) -> bool {
    let (above, below) = tree.levels.split_at(usize::from(level) + 1);
    let Some(segments) = above.last() else { return false };
    let clear = segments.iter().position(|segment| {
        let meta = &segment.meta;
        meta.counts.range_deletes > 0 && meta.key_min.is_empty() && meta.key_max.is_none()
    });
    let older_in_level = |clear: usize| level == 0 && clear + 1 < segments.len();
    clear.is_some_and(|at| older_in_level(at) || below.iter().any(|level| !level.is_empty()))
}
