//! Choosing the next compaction.

use std::cmp::Reverse;

use crate::{
    compaction::{
        Job, TreeJob, files,
        inputs::{bytes, from_level, from_level0},
        policy::Policy,
    },
    options::Options,
    types::TreeId,
    version::Version,
};

/// Chooses the most urgent job, or none. Pure: the same version and options give the same job.
///
/// In this order: files first if most of the store is dead bytes; the level furthest over its
/// limit, whichever tree's it is, with the small trees of the same files; files that are mostly
/// dead; small files if there are many.
pub fn pick(version: &Version, options: &Options) -> Option<Job> {
    let policy = Policy::new(options);
    let emptied = || files::empty_out(&files::dead(version, &policy), version, &policy);
    if files::mostly_dead(version, &policy)
        && let Some(job) = emptied()
    {
        return Some(job);
    }
    if let Some(merge) = most_urgent(version, &policy) {
        let small = !merge.trivial_move && bytes(&merge.inputs) <= policy.small_merge_bytes;
        let job = if small && merge.to_level == 1 {
            files::with_others(merge, version, &policy)
        } else {
            Job { trees: vec![merge] }
        };
        return Some(job);
    }
    emptied().or_else(|| files::empty_out(&files::small(version, &policy), version, &policy))
}

/// The merge of the level furthest over its limit among all trees.
fn most_urgent(version: &Version, policy: &Policy) -> Option<TreeJob> {
    let due = version.trees().filter_map(|(id, tree)| Some((policy.due_level(tree)?, id)));
    let ((_, level), id): (_, TreeId) =
        due.max_by_key(|((score, _), id)| (*score, Reverse(*id)))?;
    let tree = version.tree(id)?;
    if level == 0 {
        from_level0(id, tree, policy, &|_| false)
    } else {
        from_level(id, tree, level, policy)
    }
}
