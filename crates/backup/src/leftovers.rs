//! What earlier attempts left in a repository, as the journals of the store know it: that of attempts
//! without success is ended for good, used again, or removed.
//!
//! The chunks of an attempt that was cut off are whole and listed in its journal. The next backup to
//! the same place takes those it needs as its own and removes the rest: that is how a backup goes on
//! where the one before it stopped. Nobody touches what an attempt left whose commit may yet appear.

use std::collections::BTreeSet;

use siltstone_io::env::Env;

use crate::{
    error::Result,
    format::{chunk::Chunk, config::Config, descriptor::StoredSegment},
    journal::{Entry, Journals, Kind, record::Event},
    names::{AttemptId, BackupId, ChunkId},
    operation::{INTERRUPTED, millis},
    plan::Base,
    repository::{Repository, is_about_bytes},
    state::State,
};

/// What earlier attempts left in one repository.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    entries: Vec<Entry>,
    last_success: Option<BackupId>,
}

impl Leftovers {
    /// Ends interrupted attempts whose outcome `repository` knows, and finds what ended ones left in
    /// it. For the one operation of the store that runs.
    ///
    /// # Errors
    /// Those of the disk and the backend; `Corrupt` or `NewerFormat` for a journal.
    pub(crate) fn settle(env: &Env, journals: &Journals, repository: &Repository) -> Result<Self> {
        let place = repository.backend().describe();
        let (mut entries, mut last_success) = (Vec::new(), None);
        for mut entry in journals.entries()? {
            let begin = &entry.begin;
            if begin.kind != Kind::Create || begin.backend != place || entry.alive {
                continue;
            }
            if entry.is_interrupted() {
                let state = match entry.committing.is_some().then(|| is_own(repository, &entry)) {
                    None | Some(Ok(false)) => State::Failed,
                    Some(Ok(true)) => State::Success,
                    // Nobody can tell until the descriptor is put right or deleted as damaged;
                    // other backups do not wait for that.
                    Some(Err(error)) if is_about_bytes(&error) => continue,
                    Some(Err(error)) => return Err(error),
                };
                conclude(env, journals, &entry, state)?;
                entry.state = state;
            }
            let is_base = entry.state == State::Success && !entry.begin.id.is_offload();
            if is_base && last_success.is_none() {
                last_success = Some(entry.begin.id.clone());
            }
            if entry.is_unclean() {
                entries.push(entry);
            }
        }
        Ok(Self { entries, last_success })
    }

    /// The newest backup that the store made there, if it is its own still.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn last_success(
        &self,
        repository: &Repository,
        store_id: [u8; 16],
    ) -> Result<Option<Config>> {
        let Some(id) = &self.last_success else { return Ok(None) };
        match repository.config(id) {
            Ok(config) => Ok(config.filter(|config| config.store_id == store_id)),
            Err(error) if is_about_bytes(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The finished chunks among them, and the segments that are whole in these.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (&Chunk, &[StoredSegment])> {
        let chunks = self.entries.iter().filter(|entry| is_ours(entry)).flat_map(|it| &it.chunks);
        chunks.map(|(chunk, segments)| (chunk, segments.as_slice()))
    }

    /// Adds their chunks to a dedup base.
    pub(crate) fn add_to(&self, base: &mut Base) {
        self.chunks().for_each(|(chunk, segments)| base.add_chunk(chunk, segments));
    }

    /// Removes all but the chunks `kept`, which another journal lists by now. What cannot be removed
    /// stays listed.
    pub(crate) fn sweep(
        self,
        journals: &Journals,
        repository: &Repository,
        kept: &BTreeSet<ChunkId>,
    ) -> Result<()> {
        let kept: BTreeSet<String> = kept.iter().map(ChunkId::object).collect();
        for entry in self.entries {
            let begin = &entry.begin;
            if is_ours(&entry) {
                let objects = entry.objects.iter().filter(|object| !kept.contains(*object));
                remove(repository, (&begin.id, begin.attempt), objects)?;
            } else if entry.state == State::Success {
                repository.remove_intent(&begin.id, begin.attempt)?;
            }
            // Else its put may still be on the way: the objects are left to a later prune.
            journals.adopt(&entry)?.record(&Event::Cleaned)?;
        }
        Ok(())
    }
}

/// Whether what an attempt left belongs to nobody else: it never got as far as the commit.
fn is_ours(entry: &Entry) -> bool {
    entry.state != State::Success && entry.committing.is_none()
}

/// Whether the backup that is there was made by this attempt.
///
/// # Errors
/// `Corrupt`, `NewerFormat`, and those of the backend.
pub(crate) fn is_own(repository: &Repository, entry: &Entry) -> Result<bool> {
    let config = repository.config(&entry.begin.id)?;
    Ok(config.is_some_and(|config| config.attempt == entry.begin.attempt))
}

/// Writes the end of an interrupted operation.
///
/// # Errors
/// Those of the disk.
pub(crate) fn conclude(env: &Env, journals: &Journals, entry: &Entry, state: State) -> Result<()> {
    let error = (state == State::Failed).then(|| INTERRUPTED.to_owned());
    journals.adopt(entry)?.conclude(state, millis(env.clock.wall()), error)
}

/// Removes objects of an attempt that did not succeed, and its intent last.
///
/// # Errors
/// Those of the backend; what is removed by then is.
pub(crate) fn remove<'a>(
    repository: &Repository,
    (id, attempt): (&BackupId, AttemptId),
    mut objects: impl Iterator<Item = &'a String>,
) -> Result<()> {
    objects.try_for_each(|object| repository.backend().delete(object))?;
    repository.remove_intent(id, attempt)
}
