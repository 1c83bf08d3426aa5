//! What is in a repository, by the names and ages of its objects, and the removal of a backup.
//!
//! Ages are the backend's own, so that the clocks of the machines that write to it do not matter.
//! Only objects whose names fit are seen here, so only those can ever be removed.

use std::time::Duration;

use crate::{
    backend::{Depth, ObjectEntry, PutMode},
    error::{Error, ErrorKind, Result},
    format::{config::Config, descriptor::Descriptor},
    names::{
        AttemptId, BackupId, BackupObject, CHUNKS, ChunkId, PRUNE, condemned_object,
        is_condemned_object,
    },
    repository::{
        Repository, is_about_bytes,
        notes::{ChunkCopy, Condemned, Intent, NOTE_BYTES_MAX, decode, encode},
    },
};

/// An object in the folder of a backup.
#[derive(Clone, Debug)]
pub(crate) struct FolderObject {
    pub(crate) name: String,
    pub(crate) what: BackupObject,
    /// Since 1970-01-01 UTC, by the backend's clock; also below.
    pub(crate) modified: Duration,
}

/// The intent of an attempt that may still be running.
#[derive(Clone, Debug)]
pub(crate) struct LiveIntent {
    pub(crate) attempt: AttemptId,
    pub(crate) chunks: Vec<ChunkId>,
    pub(crate) copies: Vec<ChunkCopy>,
}

/// A chunk object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkObject {
    pub(crate) id: ChunkId,
    pub(crate) length: u64,
    pub(crate) modified: Duration,
}

/// A list of condemned chunks.
#[derive(Clone, Debug)]
pub(crate) struct CondemnedList {
    pub(crate) object: String,
    pub(crate) chunks: Vec<ChunkId>,
    pub(crate) modified: Duration,
}

impl Repository {
    /// Writes an empty list of condemned chunks and gives its name and when the backend says it was
    /// written: now.
    ///
    /// # Errors
    /// Those of the backend; `Invalid` for one that does not tell when objects were written.
    pub(crate) fn put_mark(&self, id: [u8; 16]) -> Result<(String, Duration)> {
        let object = condemned_object(id);
        self.put_condemned(&object, Vec::new())?;
        let told = self.backend.stat(&object).and_then(|meta| match meta {
            Some(meta) => self.age_of(&object, meta.modified),
            None => Err(Error::corrupt(&object, "it is gone as soon as it was written")),
        });
        match told {
            Ok(now) => Ok((object, now)),
            Err(error) => {
                // An empty list condemns nothing: one that stays goes with a later prune.
                drop(self.backend.delete(&object));
                Err(error)
            }
        }
    }

    /// Writes or replaces a list of condemned chunks.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn put_condemned(&self, object: &str, chunks: Vec<ChunkId>) -> Result<()> {
        let bytes = encode(object, &Condemned::new(chunks))?;
        self.backend.put(object, bytes.into(), PutMode::Replace)
    }

    /// The objects of a backup, finished or not.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn folder(&self, id: &BackupId) -> Result<Vec<FolderObject>> {
        let mut objects = Vec::new();
        for ObjectEntry { name, modified, .. } in self.backend.list(&id.folder(), Depth::All)? {
            if let Some(what) = id.parse(&name) {
                let modified = self.age_of(&name, modified)?;
                objects.push(FolderObject { name, what, modified });
            }
        }
        Ok(objects)
    }

    /// An intent that must be readable, since it protects chunks; `None` if it is gone.
    ///
    /// # Errors
    /// `Corrupt`, `NewerFormat`, and those of the backend.
    pub(crate) fn intent(&self, object: &str) -> Result<Option<LiveIntent>> {
        let Some(bytes) = self.get(object, NOTE_BYTES_MAX)? else { return Ok(None) };
        let Intent { attempt, chunks, copies, .. } = decode(object, &bytes)?;
        Ok(Some(LiveIntent { attempt, chunks, copies }))
    }

    /// Attempts to make a backup that have not ended, or were cut off: those with an intent.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn attempts(&self, id: &BackupId) -> Result<Vec<AttemptId>> {
        let entries = self.backend.list(&id.folder(), Depth::One)?;
        Ok(entries.iter().filter_map(|entry| id.parse_intent(&entry.name)).collect())
    }

    /// All chunks that are there.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn chunk_objects(&self) -> Result<Vec<ChunkObject>> {
        let mut chunks = Vec::new();
        for ObjectEntry { name, length, modified, .. } in self.backend.list(CHUNKS, Depth::All)? {
            if let Some(id) = ChunkId::parse(&name) {
                let modified = self.age_of(&name, modified)?;
                chunks.push(ChunkObject { id, length, modified });
            }
        }
        Ok(chunks)
    }

    /// All lists of condemned chunks whose names fit.
    ///
    /// # Errors
    /// As [`Repository::condemned`].
    pub(crate) fn condemned_lists(&self) -> Result<Vec<CondemnedList>> {
        let mut lists = Vec::new();
        for ObjectEntry { name, modified, .. } in self.backend.list(PRUNE, Depth::All)? {
            if is_condemned_object(&name)
                && let Some(bytes) = self.get(&name, NOTE_BYTES_MAX)?
            {
                let chunks = decode::<Condemned>(&name, &bytes)?.chunks;
                let modified = self.age_of(&name, modified)?;
                lists.push(CondemnedList { object: name, chunks, modified });
            }
        }
        Ok(lists)
    }

    /// All that a backup consists of; `None` if it is deleted just now. Should another be made under
    /// its id in between, then of that one.
    ///
    /// # Errors
    /// As [`Repository::descriptor`], for a backup that is there.
    pub(crate) fn descriptor_if_there(&self, config: Config) -> Result<Option<Descriptor>> {
        let (id, attempt) = (config.id.clone(), config.attempt);
        match self.descriptor(config) {
            // A backup goes config first: if a part is gone for that reason, the config is, too.
            Err(error) if is_about_bytes(&error) => match self.config(&id)? {
                None => Ok(None),
                Some(config) if config.attempt == attempt => Err(error),
                Some(config) => self.descriptor_if_there(config),
            },
            descriptor => descriptor.map(Some),
        }
    }

    /// Removes a backup: its `backup_config.json` first, so that it is never there without its parts.
    /// Its chunks are left to a prune.
    ///
    /// # Errors
    /// Those of the backend. Once the first object is gone the backup is, and a prune removes what
    /// is left of it.
    pub(crate) fn remove_backup(&self, config: &Config) -> Result<()> {
        let (id, attempt) = (&config.id, config.attempt);
        self.backend.delete(&id.config_object())?;
        for (number, _) in (0..).zip(&config.parts) {
            self.backend.delete(&id.part_object(&config.node, attempt, number))?;
        }
        self.remove_intent(id, attempt)?;
        self.backend.delete(&id.restore_object())
    }

    /// Makes a backup not be, whose descriptor cannot be read. All else of it is left to a prune.
    ///
    /// # Errors
    /// Those of the backend.
    pub(crate) fn remove_unreadable(&self, id: &BackupId) -> Result<()> {
        self.backend.delete(&id.config_object())
    }

    fn age_of(&self, object: &str, modified: Option<Duration>) -> Result<Duration> {
        modified.ok_or_else(|| {
            let place = self.backend.describe();
            let message = format!(
                "{place} does not tell when '{object}' was written, which a prune must know; prune \
                 from where it does"
            );
            Error::new(ErrorKind::Invalid, message)
        })
    }
}
