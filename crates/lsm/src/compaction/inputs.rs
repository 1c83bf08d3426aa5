//! Which segments of one tree a merge takes.

use std::{
    ops::{Range, RangeFrom},
    sync::Arc,
};

use crate::{
    compaction::{TreeJob, policy::Policy},
    output::rewrite::Tombstones,
    types::TreeId,
    version::{Segment, TreeVersion},
};

/// A range of keys, both ends inclusive; no `max` means to the last key.
#[derive(Clone, Copy)]
struct Span<'a> {
    min: &'a [u8],
    max: Option<&'a [u8]>,
}

impl<'a> Span<'a> {
    /// The keys from the lowest to the highest of some segments.
    fn of(segments: impl IntoIterator<Item = &'a Arc<Segment>>) -> Option<Self> {
        let spans = segments.into_iter().map(|segment| {
            let meta = &segment.meta;
            Self { min: &meta.key_min, max: meta.key_max.as_deref() }
        });
        spans.reduce(|left, right| Self {
            min: left.min.min(right.min),
            max: left.max.zip(right.max).map(|(left, right)| left.max(right)),
        })
    }

    /// The segments of a sorted level that may share a key with the span.
    fn within(self, level: &[Arc<Segment>]) -> Range<usize> {
        let start = level.partition_point(|segment| {
            segment.meta.key_max.as_deref().is_some_and(|max| max < self.min)
        });
        let end = level.partition_point(|segment| {
            self.max.is_none_or(|max| segment.meta.key_min.as_slice() <= max)
        });
        start..end.max(start)
    }

    /// What happens to tombstones that come to `level`: they are kept while any level below may
    /// hold a key of the span.
    fn tombstones(self, tree: &TreeVersion, level: u8) -> Tombstones {
        let mut below = tree.levels.iter().skip(usize::from(level) + 1);
        let bottom = below.all(|level| self.within(level).is_empty());
        if bottom { Tombstones::Drop } else { Tombstones::Keep }
    }
}

pub(super) fn bytes<'a>(segments: impl IntoIterator<Item = &'a Arc<Segment>>) -> u64 {
    segments.into_iter().map(|segment| segment.meta.length).sum()
}

/// Merges level 0 of a tree into level 1, with the segments of level 1 that `also` wants.
pub(super) fn from_level0(
    id: TreeId,
    tree: &TreeVersion,
    policy: &Policy,
    also: &dyn Fn(&Segment) -> bool,
) -> Option<TreeJob> {
    let level0 = tree.level(0);
    let level1 = tree.level(1);
    let wanted = level1.iter().filter(|segment| also(segment));
    let span = Span::of(level0.iter().chain(wanted))?;
    let mut taken = span.within(level1);
    let moves = taken.is_empty() && level0.iter().all(|s| s.meta.length > policy.small_merge_bytes);
    if !moves {
        take_small_neighbours(&mut taken, level1, bytes(level0), policy.segment_bytes_max);
    }
    let inputs: Vec<_> = level0.iter().chain(&level1[taken]).cloned().collect();
    let tombstones = Span::of(&inputs)?.tombstones(tree, 1);
    let trivial_move = moves && disjoint(level0) && !sheds(level0, tombstones);
    Some(TreeJob { tree: id, inputs, to_level: 1, tombstones, trivial_move })
}

/// Widens `taken` to neighbours that are small next to it, so that a tree written in key order does
/// not gather tiny segments. Each segment is rewritten only once the merge has grown to half of it,
/// so a byte is rewritten a logarithmic number of times.
fn take_small_neighbours(
    taken: &mut Range<usize>,
    level: &[Arc<Segment>],
    level0_bytes: u64,
    bytes_max: u64,
) {
    let mut total = level0_bytes + bytes(&level[taken.clone()]);
    loop {
        let before = taken.start.checked_sub(1).map(|at| (level[at].meta.length, at));
        let after = level.get(taken.end).map(|segment| (segment.meta.length, taken.end));
        let Some((length, at)) = before.into_iter().chain(after).min() else { return };
        if length > total.saturating_mul(2) || total + length > bytes_max {
            return;
        }
        total += length;
        *taken = taken.start.min(at)..taken.end.max(at + 1);
    }
}

/// Moves some of a level below 0 one level down: those with the least to rewrite under them.
pub(super) fn from_level(
    id: TreeId,
    tree: &TreeVersion,
    level: u8,
    policy: &Policy,
) -> Option<TreeJob> {
    let (segments, under) = (tree.level(usize::from(level)), tree.level(usize::from(level) + 1));
    let below = |segment| Span::of([segment]).map_or(0..0, |span| span.within(under));
    let least = segments.iter().enumerate().min_by_key(|(_, segment)| {
        let clears = segment.meta.key_min.is_empty() && segment.meta.key_max.is_none();
        let rewritten = bytes(&under[below(segment)]);
        let cost = rewritten.saturating_mul(1000) / segment.meta.length.max(1);
        (!clears, cost, segment.meta.sequence_max)
    });
    let (start, first) = least?;
    let mut total = first.meta.length;
    let more = segments[start + 1..].iter().take_while(|next| {
        total += next.meta.length;
        total <= policy.segment_bytes_max && below(next).is_empty() == below(first).is_empty()
    });
    let end = start + 1 + more.count();
    let upper = &segments[start..end];
    let below = Span::of(upper)?.within(under);
    let moves = below.is_empty();
    let inputs: Vec<_> = upper.iter().chain(&under[below]).cloned().collect();
    let tombstones = Span::of(&inputs)?.tombstones(tree, level + 1);
    let trivial_move = moves && !sheds(upper, tombstones);
    Some(TreeJob { tree: id, inputs, to_level: level + 1, tombstones, trivial_move })
}

/// Rewrites the wanted segments of a tree within their levels, each run of neighbours as one merge
/// (neighbours in age on level 0, in keys below), so that nothing else of the tree lies between.
pub(super) fn in_place(
    id: TreeId,
    tree: &TreeVersion,
    levels: RangeFrom<usize>,
    wanted: &dyn Fn(&Segment) -> bool,
) -> Vec<TreeJob> {
    let mut jobs = Vec::new();
    for (level, segments) in (0_u8..).zip(&tree.levels) {
        if !levels.contains(&usize::from(level)) {
            continue;
        }
        for run in segments.chunk_by(|left, right| wanted(left) && wanted(right)) {
            let Some(span) = Span::of(run).filter(|_| wanted(&run[0])) else { continue };
            jobs.push(TreeJob {
                tree: id,
                inputs: run.to_vec(),
                to_level: level,
                // On level 0 the rest of the level may be older.
                tombstones: if level == 0 {
                    Tombstones::Keep
                } else {
                    span.tombstones(tree, level)
                },
                trivial_move: false,
            });
        }
    }
    jobs
}

/// Whether no two segments, in any order, share or touch a key.
fn disjoint(segments: &[Arc<Segment>]) -> bool {
    let mut metas: Vec<_> = segments.iter().map(|segment| &segment.meta).collect();
    metas.sort_unstable_by(|left, right| left.key_min.cmp(&right.key_min));
    metas.is_sorted_by(|left, right| left.key_max.as_ref().is_some_and(|max| *max < right.key_min))
}

/// Whether rewriting some segments would drop tombstones from them.
fn sheds(segments: &[Arc<Segment>], tombstones: Tombstones) -> bool {
    tombstones == Tombstones::Drop
        && segments.iter().any(|s| s.meta.counts.deletes + s.meta.counts.range_deletes > 0)
}
