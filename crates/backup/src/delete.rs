//! The removal of one backup. Any may go: none needs another.
//!
//! `backup_config.json` goes first, and with it the backup: there is no moment at which a backup is
//! listed whose objects are gone. What a crash leaves behind has no config, and goes with a prune.
//! Chunks stay, since other backups may refer to them: a prune finds those that nobody needs.

use std::sync::Arc;

use crate::{
    backend::Backend,
    error::{Error, ErrorKind, Result},
    format::config::Config,
    names::BackupId,
    repository::Repository,
};

/// What to do with a backup whose descriptor cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damaged {
    /// Leave it.
    #[default]
    Refuse,
    /// Remove it: nothing else can be done with it. One of a newer format is never taken for
    /// damaged.
    Remove,
}

/// What was removed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deleted {
    /// The backup.
    pub id: BackupId,
    /// Its descriptor; `None` if that could not be read.
    pub config: Option<Config>,
}

/// Removes a backup. A backup that is being made under the same id is not touched.
///
/// # Errors
/// `Invalid` for an id that cannot be, or that of an offloaded tenant; `NotFound` without the repository or the backup; `Corrupt`
/// for a damaged one, unless `damaged` says otherwise; `NewerFormat`; and those of the backend.
pub fn delete(backend: &Arc<dyn Backend>, id: &str, damaged: Damaged) -> Result<Deleted> {
    let id = BackupId::new(id)?;
    if id.is_offload() {
        let message =
            format!("'{id}' holds an offloaded tenant, perhaps nowhere else: fetch it back");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let repository = Repository::open(backend)?;
    match repository.backup(&id) {
        Ok(config) => {
            repository.remove_backup(&config)?;
            Ok(Deleted { id, config: Some(config) })
        }
        Err(error) if error.kind() == ErrorKind::Corrupt && damaged == Damaged::Remove => {
            repository.remove_unreadable(&id)?;
            Ok(Deleted { id, config: None })
        }
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let message = format!("{error}; it can be deleted as damaged");
            Err(Error::new(ErrorKind::Corrupt, message).caused_by(error))
        }
        Err(error) => Err(error),
    }
}
