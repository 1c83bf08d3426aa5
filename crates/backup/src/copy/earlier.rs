//! Going on where another attempt to make the same copy stopped; and who may remove what.
//!
//! Before an attempt copies anything, its intent says what each chunk of the source will be called in
//! the target. Objects appear whole, so those names that are there are finished chunks, and an attempt
//! that is cut off has told all that is needed to go on.
//!
//! Nobody can tell whether that other attempt is dead. If it lives and fails, it removes its chunks;
//! so either of the two must *claim* them first, with a put of which the backend lets only the first
//! succeed. A claim is for ever: an attempt whose chunks another has claimed removes none of them, and
//! what it was about to remove goes with a prune. It may still commit; of one id the first commit wins,
//! and whoever loses that removes only what it has claimed of its own.
//!
//! A prune removes a claim only after the intent, and an attempt removes nothing without its intent:
//! so also one that slept for days does no harm when it wakes. Where a backend ignores conditions
//! nobody goes on from anything.

use std::collections::{BTreeMap, BTreeSet};

use super::{Copying, Names};
use crate::{
    backend::Conditions,
    error::Result,
    format::chunk::Chunk,
    names::{AttemptId, ChunkId},
    repository::{Repository, is_about_bytes},
};

impl Copying<'_> {
    /// The chunks among `needed` that attempts before this one have brought to the target, and that
    /// are this one's to refer to from now on; none of `spared`.
    pub(super) fn take_over(&self, needed: &[Chunk], spared: &BTreeSet<ChunkId>) -> Result<Names> {
        let sources: BTreeMap<ChunkId, &Chunk> =
            needed.iter().map(|chunk| (chunk.id, chunk)).collect();
        let mut candidates: Vec<(ChunkId, Chunk)> = Vec::new();
        let mut attempts = self.target.attempts(&self.head.id)?;
        attempts.retain(|attempt| *attempt != self.head.attempt);
        for attempt in attempts {
            let before = candidates.len();
            for (from, to) in self.copies_of(attempt)? {
                if spared.contains(&to) {
                    continue;
                }
                if let Some(source) = sources.get(&from) {
                    let (codec, length, frames) = (source.codec, source.length, Vec::new());
                    candidates.push((from, Chunk { id: to, codec, length, frames }));
                }
            }
            if candidates.len() > before && !self.claims(attempt)? {
                candidates.truncate(before);
            }
        }
        let (froms, chunks): (Vec<ChunkId>, Vec<Chunk>) = candidates.into_iter().unzip();
        let present = self.target.present(&chunks)?;
        let (mut names, mut given) = (Names::new(), BTreeSet::new());
        for (from, chunk) in froms.into_iter().zip(chunks) {
            if present.contains(&chunk.id) && !names.contains_key(&from) && given.insert(chunk.id) {
                names.insert(from, chunk.id);
            }
        }
        Ok(names)
    }

    /// What another attempt has said that it copies.
    fn copies_of(&self, attempt: AttemptId) -> Result<Names> {
        match self.target.intent(&self.head.id.intent_object(attempt)) {
            Ok(Some(intent)) if intent.attempt == attempt => {
                Ok(intent.copies.into_iter().map(|copy| (copy.from, copy.to)).collect())
            }
            Ok(_) => Ok(Names::new()),
            Err(error) if is_about_bytes(&error) => Ok(Names::new()), // no help, and no harm
            Err(error) => Err(error),
        }
    }

    /// Whether the chunks of an attempt are this one's.
    fn claims(&self, attempt: AttemptId) -> Result<bool> {
        if self.target.backend().conditions()? != Conditions::Enforced {
            return Ok(false);
        }
        match self.target.claim(&self.head.id, attempt, self.head.attempt) {
            Err(error) if is_about_bytes(&error) => Ok(false), // somebody's, whoever that is
            claimed => claimed,
        }
    }

    /// Removes what this attempt stored, unless another goes on from it.
    pub(super) fn remove_objects(&self, repository: &Repository) -> Result<()> {
        let (backend, id, attempt) = (repository.backend(), &self.head.id, self.head.attempt);
        let remove_all = || {
            self.objects().iter().try_for_each(|object| backend.delete(object))?;
            repository.remove_intent(id, attempt)
        };
        if backend.conditions()? != Conditions::Enforced {
            return remove_all(); // nobody goes on from anything
        }
        if !repository.claim(id, attempt, attempt)? {
            return Ok(());
        }
        if backend.stat(&id.intent_object(attempt))?.is_some() {
            remove_all()?;
        }
        backend.delete(&id.claim_object(attempt))
    }
}
