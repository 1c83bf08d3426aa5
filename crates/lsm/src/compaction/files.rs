//! The files' side of picking: how much of each is alive, and how to empty some.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    compaction::{
        Job, TreeJob,
        inputs::{bytes, from_level0, in_place},
        policy::Policy,
    },
    types::{FileId, TreeId},
    version::{FileUse, Segment, TreeVersion, Version},
};

/// A tree joins a shared merge if what it must rewrite outside the files of the job is at most this
/// many times what it has in them.
const OUTSIDE_RATIO_MAX: u64 = 4;

/// Bytes outside that any tree may bring along, however little it has inside.
const OUTSIDE_BYTES_FREE: u64 = 16 << 10;

/// Whether so much of the files is dead that emptying them comes before all else.
pub(super) fn mostly_dead(version: &Version, policy: &Policy) -> bool {
    let (dead, live) = version.file_uses().fold((0_u64, 0_u64), |(dead, live), file| {
        (dead.saturating_add(file.dead_bytes()), live.saturating_add(file.live_bytes))
    });
    dead > live.saturating_add(policy.segment_bytes_max)
}

/// Files that are more than half dead, the deadest first, as many as one job takes.
pub(super) fn dead(version: &Version, policy: &Policy) -> BTreeSet<FileId> {
    let dead = version.file_uses().filter(|file| file.dead_bytes() > file.live_bytes);
    let mut dead: Vec<&FileUse> = dead.collect();
    dead.sort_by_key(|file| {
        let live_share = file.live_bytes.saturating_mul(1000) / file.handle.length.max(1);
        (live_share, file.handle.id)
    });
    up_to(policy.shared_job_bytes, dead)
}

/// Small files of about one size, if there are too many of them: each group is four times the size
/// of the one before, so a byte is gathered once a group.
pub(super) fn small(version: &Version, policy: &Policy) -> BTreeSet<FileId> {
    let mut groups: BTreeMap<u32, Vec<&FileUse>> = BTreeMap::new();
    for file in version.file_uses() {
        if file.handle.length < policy.small_file_bytes {
            let blocks = file.handle.length / 4096;
            groups.entry(blocks.max(1).ilog(4)).or_default().push(file);
        }
    }
    let many = groups.into_values().find(|group| group.len() >= policy.small_files_max);
    up_to(policy.shared_job_bytes, many.unwrap_or_default())
}

/// The first files, while their live bytes are at most `bytes_max`; at least one.
fn up_to(bytes_max: u64, files: Vec<&FileUse>) -> BTreeSet<FileId> {
    let mut total = 0_u64;
    let within = files.into_iter().enumerate().take_while(|(index, file)| {
        total = total.saturating_add(file.live_bytes);
        *index == 0 || total <= bytes_max
    });
    within.map(|(_, file)| file.handle.id).collect()
}

/// Trees with segments in any of `files`.
fn trees_in(version: &Version, files: &BTreeSet<FileId>) -> BTreeSet<TreeId> {
    let uses = files.iter().filter_map(|file| version.file(*file));
    uses.flat_map(|file| file.segments.values()).map(|segment| segment.tree).collect()
}

/// A job that leaves nothing alive in `files`; none if there is nothing in them.
pub(super) fn empty_out(
    files: &BTreeSet<FileId>,
    version: &Version,
    policy: &Policy,
) -> Option<Job> {
    let within = |segment: &Segment| files.contains(&segment.file.id);
    let mut trees = Vec::new();
    for id in trees_in(version, files) {
        let Some(tree) = version.tree(id) else { continue };
        let merge = cheap_merge(id, tree, policy, &within);
        let rest = if merge.is_some() { 2.. } else { 0.. };
        trees.extend(merge);
        trees.extend(in_place(id, tree, rest, &within));
    }
    (!trees.is_empty()).then_some(Job { trees })
}

/// Adds to the small merge `first` those of the other trees in its files.
pub(super) fn with_others(first: TreeJob, version: &Version, policy: &Policy) -> Job {
    let files: BTreeSet<FileId> = first.inputs.iter().map(|input| input.file.id).collect();
    let within = |segment: &Segment| files.contains(&segment.file.id);
    let mut total = bytes(&first.inputs);
    let first_tree = first.tree;
    let mut trees = vec![first];
    for id in trees_in(version, &files) {
        let Some(tree) = version.tree(id).filter(|_| id != first_tree) else { continue };
        let Some(merge) = cheap_merge(id, tree, policy, &within) else { continue };
        total = total.saturating_add(bytes(&merge.inputs));
        if total > policy.shared_job_bytes {
            break;
        }
        trees.push(merge);
    }
    trees.sort_by_key(|job| job.tree);
    Job { trees }
}

/// The merge of a tree's level 0 into level 1, if that rewrites little outside the files in hand.
fn cheap_merge(
    id: TreeId,
    tree: &TreeVersion,
    policy: &Policy,
    within: &dyn Fn(&Segment) -> bool,
) -> Option<TreeJob> {
    if tree.level(0).is_empty() {
        return None;
    }
    let merge = from_level0(id, tree, policy, within)?;
    let (inside, outside): (Vec<_>, Vec<_>) = merge.inputs.iter().partition(|input| within(input));
    let bearable = bytes(inside).saturating_mul(OUTSIDE_RATIO_MAX).max(OUTSIDE_BYTES_FREE);
    // A move would leave the segments where they are, and the files are to be emptied.
    (bytes(outside) <= bearable).then_some(TreeJob { trivial_move: false, ..merge })
}
