//! [`Repository`]: the objects of all backups below one root, and the rules of their order.
//!
//! ```text
//! repository.json                       what makes it a repository
//! <id>/intent-<attempt>.json            before the first upload of an attempt
//! <id>/claim-<attempt>.json             who has the chunks that an attempt copied
//! <id>/<node>/backup-<attempt>-<n>.jsonl  what is in the backup
//! <id>/backup_config.json               written last, never replaced: the commit
//! <id>/restore_config.json              how its last restore went
//! .chunks/<2 hex>/<chunk>               the bytes; never overwritten
//! .prune/<uuid>.json                    chunks that a prune condemned
//! ```
//!
//! A backup is there when its `backup_config.json` is. Everything else of an attempt has a name of
//! its own, so no attempt can harm another, finished or not.

mod commit;
mod notes;
mod survey;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use siltstone_io::env::{Entropy, Env};

use self::notes::{About, Claim, Condemned, NOTE_BYTES_MAX, decode, encode};
pub(crate) use self::{
    commit::{CommitOutcome, commit, taken},
    notes::{CONDEMNED_CHUNKS_MAX, ChunkCopy, IntentHead, RestoreNote},
    survey::{ChunkObject, CondemnedList, FolderObject},
};
use crate::{
    backend::{Backend, Depth, PART_BYTES, PutMode},
    cancel::Cancel,
    error::{Error, ErrorKind, Result},
    format::{
        chunk::Chunk,
        config::{CONFIG_BYTES_MAX, Config},
        descriptor::{Descriptor, DescriptorReader, PART_BYTES_MAX, Part},
    },
    names::{AttemptId, BackupId, CHUNKS, ChunkId, NodeName, PRUNE, REPOSITORY},
};

/// Chunks that are looked up one by one; more are found by one listing.
const LOOKUPS_MAX: usize = 16;

/// Backups below one root of a backend.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    backend: Arc<dyn Backend>,
}

impl Repository {
    /// Opens a repository that must be there.
    ///
    /// # Errors
    /// `NotFound`, `NewerFormat`, `Corrupt`, and those of the backend.
    pub(crate) fn open(backend: &Arc<dyn Backend>) -> Result<Self> {
        let repository = Self { backend: Arc::clone(backend) };
        if repository.about()?.is_some() {
            return Ok(repository);
        }
        let place = backend.describe();
        let message = format!("there is no repository of backups in {place}; check the path");
        Err(Error::new(ErrorKind::NotFound, message))
    }

    /// Opens a repository, making it if the root holds none.
    ///
    /// # Errors
    /// As [`Repository::open`], but for `NotFound`.
    pub(crate) fn open_or_create(backend: &Arc<dyn Backend>, env: &Env) -> Result<Self> {
        Self::open_or_make(backend, &*env.entropy)
    }

    /// As [`Repository::open_or_create`], where there is no store.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn open_or_make(backend: &Arc<dyn Backend>, entropy: &dyn Entropy) -> Result<Self> {
        let repository = Self { backend: Arc::clone(backend) };
        if repository.about()?.is_none() {
            let mut id = [0; 16];
            entropy.fill(&mut id);
            let id = format!("{:032x}", u128::from_le_bytes(id));
            let bytes = encode(REPOSITORY, &About::new(id))?;
            match backend.put(REPOSITORY, bytes.into(), PutMode::NoReplace) {
                Err(error) if error.kind() != ErrorKind::Exists => return Err(error),
                _ => {}
            }
            // Whoever made it, the version must be one that we know.
            repository.about()?;
        }
        Ok(repository)
    }

    /// The same repository, whose calls end soon after `cancel` is raised.
    pub(crate) fn cancelable(&self, cancel: &Cancel) -> Self {
        Self { backend: self.backend.cancelable(cancel) }
    }

    /// Where it is.
    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The descriptor of a backup; `None` if there is no such backup.
    ///
    /// # Errors
    /// `Corrupt`, `NewerFormat`, and those of the backend.
    pub(crate) fn config(&self, id: &BackupId) -> Result<Option<Config>> {
        let object = id.config_object();
        let Some(bytes) = self.get(&object, CONFIG_BYTES_MAX)? else { return Ok(None) };
        let config = Config::decode(&object, &bytes)?;
        if config.id == *id {
            return Ok(Some(config));
        }
        Err(Error::corrupt(object, format!("it describes backup '{}'", config.id)))
    }

    /// The descriptor of a backup that must be there.
    ///
    /// # Errors
    /// `NotFound`; and as [`Repository::config`].
    pub(crate) fn backup(&self, id: &BackupId) -> Result<Config> {
        self.config(id)?.ok_or_else(|| {
            let message = format!("there is no backup '{id}' in {}", self.backend.describe());
            Error::new(ErrorKind::NotFound, message)
        })
    }

    /// All that a backup consists of.
    ///
    /// # Errors
    /// `Corrupt`, naming the part; and those of the backend.
    pub(crate) fn descriptor(&self, config: Config) -> Result<Descriptor> {
        let mut reader = DescriptorReader::new(config);
        while let Some((object, length)) = reader.next_part() {
            reader.add(&self.part(&object, length)?)?;
        }
        reader.finish()
    }

    /// A part of a descriptor, which must be there.
    ///
    /// # Errors
    /// `Corrupt`, naming the part; and those of the backend.
    pub(crate) fn part(&self, object: &str, length: u64) -> Result<Bytes> {
        let bytes = self.get(object, length.min(PART_BYTES_MAX))?;
        bytes.ok_or_else(|| Error::corrupt(object, "it is missing"))
    }

    /// The identities of all folders that may be backups, finished or not, in order.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn ids(&self) -> Result<Vec<BackupId>> {
        let entries = self.backend.list("", Depth::One)?;
        let folders = entries.iter().filter_map(|entry| entry.name.strip_suffix('/'));
        Ok(folders.filter_map(|name| BackupId::new(name).ok()).collect())
    }

    /// The backups of a store that can be read, the newest first by its own clock. An offloaded
    /// tenant is none: it goes when it is fetched back.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn backups_of(&self, store_id: [u8; 16]) -> Result<Vec<Config>> {
        let mut backups: Vec<Config> = Vec::new();
        for id in self.ids()?.into_iter().filter(|id| !id.is_offload()) {
            match self.config(&id) {
                Ok(config) => backups.extend(config.filter(|it| it.store_id == store_id)),
                Err(error) if is_about_bytes(&error) => {} // no base, but no harm either
                Err(error) => return Err(error),
            }
        }
        backups.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));
        Ok(backups)
    }

    /// The first of these backups all of which can be read: one may be damaged, or be deleted just
    /// now.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn first_readable(&self, backups: Vec<Config>) -> Result<Option<Descriptor>> {
        for config in backups {
            match self.descriptor(config) {
                Ok(descriptor) => return Ok(Some(descriptor)),
                Err(error) if is_about_bytes(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The chunks that no backup may begin to refer to.
    ///
    /// # Errors
    /// `Corrupt` or `NewerFormat` for a list that cannot be read, since it may name any chunk; and
    /// those of the backend.
    pub(crate) fn condemned(&self) -> Result<BTreeSet<ChunkId>> {
        let mut condemned = BTreeSet::new();
        for entry in self.backend.list(PRUNE, Depth::All)? {
            // A list that is gone by now has been carried out; its chunks are looked up later.
            if let Some(bytes) = self.get(&entry.name, NOTE_BYTES_MAX)? {
                condemned.extend(decode::<Condemned>(&entry.name, &bytes)?.chunks);
            }
        }
        Ok(condemned)
    }

    /// The chunks among `chunks` that are there with the length they should have.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn present(&self, chunks: &[Chunk]) -> Result<BTreeSet<ChunkId>> {
        let lengths = self.lengths(chunks)?;
        let is_there = |chunk: &&Chunk| lengths.get(&chunk.id) == Some(&chunk.length);
        Ok(chunks.iter().filter(is_there).map(|chunk| chunk.id).collect())
    }

    /// The lengths in bytes of those among `chunks` that are there; maybe of others, too.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn lengths(&self, chunks: &[Chunk]) -> Result<BTreeMap<ChunkId, u64>> {
        let mut lengths = BTreeMap::new();
        if chunks.len() > LOOKUPS_MAX {
            for entry in self.backend.list(CHUNKS, Depth::All)? {
                lengths.extend(ChunkId::parse(&entry.name).map(|id| (id, entry.length)));
            }
        } else {
            for chunk in chunks {
                let meta = self.backend.stat(&chunk.id.object())?;
                lengths.extend(meta.map(|meta| (chunk.id, meta.length)));
            }
        }
        Ok(lengths)
    }

    /// Says which chunks of earlier backups an attempt relies on, before it does.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn put_intent(&self, head: &IntentHead, chunks: Vec<ChunkId>) -> Result<()> {
        let object = head.id.intent_object(head.attempt);
        let bytes = encode(&object, &head.with_chunks(chunks))?;
        self.backend.put(&object, bytes.into(), PutMode::Replace)
    }

    /// As [`Repository::put_intent`], and says what the chunks that the attempt copies will be called.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn put_intent_to_copy(
        &self,
        head: &IntentHead,
        chunks: Vec<ChunkId>,
        copies: Vec<ChunkCopy>,
    ) -> Result<()> {
        let object = head.id.intent_object(head.attempt);
        let bytes = encode(&object, &head.with_copies(chunks, copies))?;
        self.backend.put(&object, bytes.into(), PutMode::Replace)
    }

    /// Claims the chunks that an attempt copied for `by`: of all who ask, the first gets them, for
    /// ever. Whether it did. For backends that enforce conditions.
    ///
    /// # Errors
    /// Those of the backend: it is not known then who has them.
    pub(crate) fn claim(&self, id: &BackupId, attempt: AttemptId, by: AttemptId) -> Result<bool> {
        let object = id.claim_object(attempt);
        let bytes = encode(&object, &Claim::new(attempt, by))?;
        match self.backend.put(&object, bytes.into(), PutMode::NoReplace) {
            Ok(()) => Ok(true),
            // An earlier try of this very put may have succeeded, and its answer have been lost.
            Err(error) if error.kind() == ErrorKind::Exists => {
                let Some(bytes) = self.get(&object, NOTE_BYTES_MAX)? else { return Ok(false) };
                Ok(decode::<Claim>(&object, &bytes)?.by == by)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes an intent back.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn remove_intent(&self, id: &BackupId, attempt: AttemptId) -> Result<()> {
        self.backend.delete(&id.intent_object(attempt))
    }

    /// Stores a part of a descriptor, and looks whether the backend holds all of it.
    ///
    /// # Errors
    /// `Corrupt` if it does not; those of the backend.
    pub(crate) fn put_part(&self, object: &str, part: Part) -> Result<()> {
        let sent = part.bytes.len() as u64;
        self.backend.put(object, Bytes::from(part.bytes), PutMode::Replace)?;
        let stored = self.backend.stat(object)?.map_or(0, |meta| meta.length);
        if stored == sent {
            return Ok(());
        }
        let what = format!("{sent} bytes were sent, the store holds {stored}");
        Err(Error::corrupt(object, what))
    }

    /// The object of a part.
    pub(crate) fn part_object(
        id: &BackupId,
        node: &NodeName,
        attempt: AttemptId,
        part: &Part,
    ) -> String {
        id.part_object(node, attempt, part.number)
    }

    /// Stores a chunk again under another identity.
    ///
    /// # Errors
    /// `NotFound` or `Corrupt` if it is not there as described; and those of the backend.
    pub(crate) fn copy_chunk(&self, chunk: &Chunk, to: ChunkId) -> Result<()> {
        let from = chunk.id.object();
        let mut writer = self.backend.writer(&to.object())?;
        let copied = (0..chunk.length).step_by(PART_BYTES).try_for_each(|start| {
            let end = chunk.length.min(start + PART_BYTES as u64);
            writer.write(self.backend.get_range(&from, start..end)?)
        });
        match copied {
            Ok(()) => writer.finish().map(drop),
            Err(error) => {
                // The cause matters more than what may be left behind.
                drop(writer.abort());
                Err(error)
            }
        }
    }

    /// Records how a restore stands.
    ///
    /// # Errors
    /// Those of the backend; a repository that may only be read is no reason for a restore to fail.
    pub(crate) fn put_restore_note(&self, note: &RestoreNote) -> Result<()> {
        let object = note.id.restore_object();
        let bytes = encode(&object, note)?;
        self.backend.put(&object, bytes.into(), PutMode::Replace)
    }

    fn about(&self) -> Result<Option<About>> {
        let Some(bytes) = self.get(REPOSITORY, NOTE_BYTES_MAX)? else { return Ok(None) };
        decode(REPOSITORY, &bytes).map(Some)
    }

    fn get(&self, object: &str, bytes_max: u64) -> Result<Option<Bytes>> {
        match self.backend.get(object, bytes_max) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether an error speaks of an object's bytes, not of the way to it.
pub(crate) fn is_about_bytes(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NewerFormat)
}
