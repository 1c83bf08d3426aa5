//! The files' side of picking: how much of each is alive, and how to empty some.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    compaction::{
        Job, TreeJob,
        inputs::{bytes, from_level0, in_place},
        policy::Policy,
    },
    types::{FileId, TreeId},
    version::{Segment, TreeVersion, Version},
};

/// A tree joins a shared merge if what it must rewrite outside the files of the job is at most this
/// many times what it has in them.
const OUTSIDE_RATIO_MAX: u64 = 4;

/// Bytes outside that any tree may bring along, however little it has inside.
const OUTSIDE_BYTES_FREE: u64 = 16 << 10;

/// What is alive in each file.
pub(super) struct Files(BTreeMap<FileId, FileUse>);

struct FileUse {
    length: u64,
    live_bytes: u64,
    trees: BTreeSet<TreeId>,
}

impl Files {
    pub(super) fn of(version: &Version) -> Self {
        let mut files: BTreeMap<FileId, FileUse> = BTreeMap::new();
        for segment in version.segments() {
            let file = files.entry(segment.file.id).or_insert_with(|| FileUse {
                length: segment.file.length,
                live_bytes: 0,
                trees: BTreeSet::new(),
            });
            file.live_bytes += segment.meta.length;
            file.trees.insert(segment.tree);
        }
        Self(files)
    }

    /// Whether so much of the files is dead that emptying them comes before all else.
    pub(super) fn mostly_dead(&self, policy: &Policy) -> bool {
        let live: u64 = self.0.values().map(|file| file.live_bytes).sum();
        let all: u64 = self.0.values().map(|file| file.length).sum();
        all.saturating_sub(live) > live.saturating_add(policy.segment_bytes_max)
    }

    /// Files that are more than half dead, the deadest first, as many as one job takes.
    pub(super) fn dead(&self, policy: &Policy) -> BTreeSet<FileId> {
        let mut dead: Vec<_> = self.0.iter().filter(|(_, file)| file.is_dead()).collect();
        dead.sort_by_key(|(id, file)| (file.live_bytes.saturating_mul(1000) / file.length, **id));
        self.up_to(policy.shared_job_bytes, dead.into_iter().map(|(id, _)| *id))
    }

    /// Small files of about one size, if there are too many of them: each group is four times the
    /// size of the one before, so a byte is gathered once a group.
    pub(super) fn small(&self, policy: &Policy) -> BTreeSet<FileId> {
        let mut groups: BTreeMap<u32, Vec<FileId>> = BTreeMap::new();
        let small = self.0.iter().filter(|(_, file)| file.length < policy.small_file_bytes);
        for (id, file) in small {
            let blocks = file.length / 4096;
            groups.entry(blocks.max(1).ilog(4)).or_default().push(*id);
        }
        let many = groups.into_values().find(|group| group.len() >= policy.small_files_max);
        self.up_to(policy.shared_job_bytes, many.unwrap_or_default())
    }

    /// The first files, while their live bytes are at most `bytes_max`; at least one.
    fn up_to(&self, bytes_max: u64, files: impl IntoIterator<Item = FileId>) -> BTreeSet<FileId> {
        let mut total = 0_u64;
        let within = files.into_iter().enumerate().take_while(|(index, id)| {
            total = total.saturating_add(self.0[id].live_bytes);
            *index == 0 || total <= bytes_max
        });
        within.map(|(_, id)| id).collect()
    }

    /// Trees with segments in any of `files`.
    fn trees_in(&self, files: &BTreeSet<FileId>) -> BTreeSet<TreeId> {
        files.iter().filter_map(|id| self.0.get(id)).flat_map(|file| &file.trees).copied().collect()
    }

    /// A job that leaves nothing alive in `chosen`; none if there is nothing chosen.
    pub(super) fn empty_out(
        &self,
        chosen: &BTreeSet<FileId>,
        version: &Version,
        policy: &Policy,
    ) -> Option<Job> {
        let within = |segment: &Segment| chosen.contains(&segment.file.id);
        let mut trees = Vec::new();
        for id in self.trees_in(chosen) {
            let Some(tree) = version.tree(id) else { continue };
            if let Some(merge) = cheap_merge(id, tree, policy, &within) {
                trees.push(merge);
                trees.extend(in_place(id, tree, 2..tree.levels.len(), &within));
            } else {
                trees.extend(in_place(id, tree, 0..tree.levels.len(), &within));
            }
        }
        (!trees.is_empty()).then_some(Job { trees })
    }

    /// Adds to the small merge `first` those of the other trees in its files.
    pub(super) fn with_others(&self, first: TreeJob, version: &Version, policy: &Policy) -> Job {
        let files: BTreeSet<FileId> = first.inputs.iter().map(|input| input.file.id).collect();
        let within = |segment: &Segment| files.contains(&segment.file.id);
        let mut total = bytes(&first.inputs);
        let first_tree = first.tree;
        let mut trees = vec![first];
        for id in self.trees_in(&files) {
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
}

impl FileUse {
    fn is_dead(&self) -> bool {
        self.live_bytes < self.length.div_ceil(2)
    }
}

/// The merge of a tree's level 0 into level 1, if that rewrites little outside the files in hand.
fn cheap_merge(
    id: TreeId,
    tree: &TreeVersion,
    policy: &Policy,
    within: &dyn Fn(&Segment) -> bool,
) -> Option<TreeJob> {
    tree.levels.first().filter(|level0| !level0.is_empty())?;
    let merge = from_level0(id, tree, policy, within)?;
    let (inside, outside): (Vec<_>, Vec<_>) = merge.inputs.iter().partition(|input| within(input));
    let bearable = bytes(inside).saturating_mul(OUTSIDE_RATIO_MAX).max(OUTSIDE_BYTES_FREE);
    // A move would leave the segments where they are, and the files are to be emptied.
    (bytes(outside) <= bearable).then_some(TreeJob { trivial_move: false, ..merge })
}
