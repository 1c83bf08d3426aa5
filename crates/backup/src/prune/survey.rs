//! What a prune reads, in the order that makes it safe: intents, then descriptors, then chunks.

use std::{collections::BTreeMap, time::Duration};

use super::{Chunks, PruneOptions};
use crate::{
    error::{Error, Result},
    format::config::Config,
    moment::timestamp,
    names::{AttemptId, BackupId, BackupObject},
    repository::{ChunkObject, CondemnedList, FolderObject, Repository, is_about_bytes},
    retention::{Verdict, keep},
};

/// All that decides what goes.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// What the policy says, by store, the newest first.
    pub(super) verdicts: Vec<Verdict>,
    /// Folders of backups, finished or not.
    pub(super) folders: Vec<Folder>,
    /// Attempts that may be running.
    pub(super) live_attempts: Vec<AttemptId>,
    /// Chunks that backups which stay, or live attempts, refer to.
    pub(super) references: Chunks,
    pub(super) lists: Vec<CondemnedList>,
    pub(super) chunks: Vec<ChunkObject>,
}

/// The folder of a backup.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) id: BackupId,
    /// The attempt that made the backup, and the parts it has; `None` if there is no backup.
    pub(super) made: Option<(AttemptId, usize)>,
    pub(super) objects: Vec<FolderObject>,
}

impl Folder {
    /// Whether the intent of an attempt is in it, old or not.
    pub(super) fn has_intent(&self, attempt: AttemptId) -> bool {
        self.objects.iter().any(|object| object.what == BackupObject::Intent(attempt))
    }
}

impl Survey {
    /// Reads the repository.
    pub(super) fn take(
        repository: &Repository,
        options: &PruneOptions,
        now: Duration,
    ) -> Result<Self> {
        let mut survey = Self::default();
        let mut folders = Vec::new();
        for id in repository.ids()? {
            folders.push((repository.folder(&id)?, id));
        }
        for object in folders.iter().flat_map(|(objects, _)| objects) {
            let age = now.saturating_sub(object.modified);
            if matches!(object.what, BackupObject::Intent(_))
                && age < options.grace
                && let Some(intent) = repository.intent(&object.name).map_err(explain)?
            {
                survey.live_attempts.push(intent.attempt);
                survey.references.extend(intent.chunks);
            }
        }
        let mut configs = Vec::new();
        for (objects, id) in folders {
            let config = repository.config(&id).map_err(explain)?;
            let made = config.as_ref().map(|config| (config.attempt, config.parts.len()));
            survey.folders.push(Folder { id, made, objects });
            configs.extend(config);
        }
        survey.verdicts = verdicts(&configs, options, now);
        for config in configs {
            if survey.is_kept(&config.id) {
                let descriptor = repository.descriptor_if_there(config).map_err(explain)?;
                let chunks = descriptor.into_iter().flat_map(|descriptor| descriptor.chunks);
                survey.references.extend(chunks.map(|chunk| chunk.id));
            }
        }
        survey.lists = repository.condemned_lists().map_err(explain)?;
        survey.chunks = repository.chunk_objects()?;
        Ok(survey)
    }

    /// An offloaded tenant is no copy of anything: no rule removes it.
    fn is_kept(&self, id: &BackupId) -> bool {
        id.is_offload()
            || self.verdicts.iter().any(|verdict| verdict.id == *id && verdict.is_kept())
    }
}

/// Each store has its own history.
fn verdicts(configs: &[Config], options: &PruneOptions, now: Duration) -> Vec<Verdict> {
    let mut stores: BTreeMap<[u8; 16], Vec<_>> = BTreeMap::new();
    for config in configs.iter().filter(|config| !config.id.is_offload()) {
        stores.entry(config.store_id).or_default().push((config.id.clone(), config.started_at));
    }
    let now = timestamp(now);
    stores.values().flat_map(|backups| keep(&options.policy, backups, now)).collect()
}

/// Why an object that cannot be read stops everything.
fn explain(error: Error) -> Error {
    if !is_about_bytes(&error) {
        return error;
    }
    let message = format!(
        "{error}; it may need any chunk, so nothing was pruned: put it back as it was, or remove it \
         (if it is of a backup, delete that as damaged)"
    );
    Error::new(error.kind(), message).caused_by(error)
}
