//! What goes: a pure function of what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Change, Chunks, PruneReport, survey::Survey};
use crate::{
    names::{AttemptId, BackupId, BackupObject, ChunkId},
    repository::{CondemnedList, FolderObject},
};

/// What a prune does, in this order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Backups to delete, by the attempt that made them, the oldest first.
    pub(super) backups: Vec<(BackupId, AttemptId)>,
    /// Objects of dead attempts.
    pub(super) leftovers: Vec<String>,
    /// Condemned chunks to remove.
    pub(super) remove: Vec<ChunkId>,
    /// Lists that are carried out with that.
    pub(super) lists: Vec<String>,
    /// Chunks to condemn.
    pub(super) condemn: Vec<ChunkId>,
    pub(super) report: PruneReport,
}

/// Decides about everything in a repository at `now`.
pub(super) fn plan(survey: Survey, grace: Duration, now: Duration) -> Plan {
    let is_old = |modified: Duration| now.saturating_sub(modified) >= grace;
    let mut plan = Plan::default();
    let doomed: BTreeSet<&BackupId> =
        survey.verdicts.iter().filter(|it| !it.is_kept()).map(|it| &it.id).collect();
    for folder in &survey.folders {
        if let Some((attempt, _)) = folder.made
            && doomed.contains(&folder.id)
        {
            plan.backups.push((folder.id.clone(), attempt));
        }
        let is_dead = |object: &&FolderObject| {
            let stale = match object.what {
                BackupObject::Config => false,
                BackupObject::RestoreNote => folder.made.is_none(),
                BackupObject::Intent(_) => true,
                // It outlives what it is about: whoever sees the intent sees the claim.
                BackupObject::Claim(attempt) => !folder.has_intent(attempt),
                BackupObject::Part(attempt, number) => {
                    let in_use = folder
                        .made
                        .is_some_and(|(made, parts)| made == attempt && (number as usize) < parts);
                    !in_use && !survey.live_attempts.contains(&attempt)
                }
            };
            stale && is_old(object.modified)
        };
        plan.leftovers.extend(folder.objects.iter().filter(is_dead).map(|it| it.name.clone()));
    }
    let ages: BTreeMap<&BackupId, _> = survey.verdicts.iter().map(|it| (&it.id, it.at)).collect();
    plan.backups.sort_by_key(|(id, _)| (ages.get(id).copied(), id.clone()));

    let (ripe, young): (Vec<CondemnedList>, Vec<CondemnedList>) =
        survey.lists.into_iter().partition(|list| is_old(list.modified));
    let chunks_of = |lists: &[CondemnedList]| -> Chunks {
        lists.iter().flat_map(|list| list.chunks.iter().copied()).collect()
    };
    let (ripe_chunks, young_chunks) = (chunks_of(&ripe), chunks_of(&young));
    plan.lists = ripe.into_iter().map(|list| list.object).collect();
    for chunk in &survey.chunks {
        let report = &mut plan.report;
        let tally = if survey.references.contains(&chunk.id) {
            if ripe_chunks.contains(&chunk.id) {
                report.spared.add(chunk.length);
            }
            &mut report.live
        } else if !is_old(chunk.modified) {
            &mut report.young
        } else if ripe_chunks.contains(&chunk.id) {
            plan.remove.push(chunk.id);
            &mut report.removed
        } else if young_chunks.contains(&chunk.id) {
            &mut report.waiting
        } else {
            plan.condemn.push(chunk.id);
            &mut report.condemned
        };
        tally.add(chunk.length);
    }
    plan.report.changes = changes(&plan);
    plan.report.verdicts = survey.verdicts;
    plan
}

fn changes(plan: &Plan) -> Vec<Change> {
    let backups = plan.backups.iter().map(|(id, _)| Change::DeleteBackup(id.clone()));
    let leftovers = plan.leftovers.iter().cloned().map(Change::RemoveObject);
    let chunks = plan.remove.iter().copied().map(Change::RemoveChunk);
    let lists = plan.lists.iter().cloned().map(Change::RemoveObject);
    let condemned = plan.condemn.iter().copied().map(Change::CondemnChunk);
    backups.chain(leftovers).chain(chunks).chain(lists).chain(condemned).collect()
}
