//! The commit of a backup: one conditional put, and what to make of each answer to it.
//!
//! The put is never hidden in a retry: a store may refuse the second try because the first one, whose
//! answer was lost, had succeeded. So after every answer but a plain yes the object is read back,
//! and the attempt that it names has won. After a plain yes it is read back too: a backup whose
//! descriptor was stored wrong is none.

use std::{thread, time::Duration};

use crate::{
    backend::{Backend, Conditions, PutMode},
    error::{Error, ErrorKind, Result},
    format::config::Config,
    names::{AttemptId, BackupId},
    repository::Repository,
};

/// Waits between the tries of a commit whose outcome is not known.
const WAITS: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(10),
];

/// How a commit went.
#[derive(Debug)]
pub(crate) enum CommitOutcome {
    /// The backup is there, and is ours.
    Committed,
    /// It is not there and never will be, or another attempt's is.
    Refused(Error),
    /// Nobody knows yet: it may still appear.
    Unknown(Error),
}

/// Puts the descriptor of a backup in its place, if the place is free.
pub(crate) fn commit(repository: &Repository, config: &Config) -> CommitOutcome {
    let encoded = match config.encode() {
        Ok(encoded) => bytes::Bytes::from(encoded),
        Err(error) => return CommitOutcome::Refused(error),
    };
    let backend = &**repository.backend();
    let object = config.id.config_object();
    let mut may_be_there = false;
    let mut last = None;
    for wait in WAITS.iter().map(Some).chain([None]) {
        match backend.put(&object, encoded.clone(), PutMode::NoReplace) {
            Ok(()) if is_enforced(backend) => match winner(repository, config) {
                // What is there is ours alone, but not what was sent: it goes again.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    return match backend.delete(&object) {
                        Ok(()) => CommitOutcome::Refused(error),
                        Err(refused) => CommitOutcome::Unknown(stuck(&config.id, &error, &refused)),
                    };
                }
                // The answer was a plain yes; that the object cannot be read just now is no no.
                Ok(_) | Err(_) => return CommitOutcome::Committed,
            },
            Ok(()) => may_be_there = true,
            Err(error) if is_definite(&error) && !may_be_there => {
                return CommitOutcome::Refused(error);
            }
            Err(error) => {
                may_be_there |= error.kind() != ErrorKind::Exists;
                last = Some(error);
            }
        }
        match winner(repository, config) {
            Ok(Some(attempt)) if attempt == config.attempt => return CommitOutcome::Committed,
            Ok(Some(_)) => return CommitOutcome::Refused(taken(&config.id)),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        if let Some(wait) = wait {
            thread::sleep(*wait);
        }
    }
    let unknown = format!(
        "whether backup '{}' was committed is not known yet; ask for its status later",
        config.id
    );
    let error = Error::new(ErrorKind::Unavailable, unknown);
    CommitOutcome::Unknown(match last {
        Some(cause) => error.caused_by(cause),
        None => error,
    })
}

/// The error of a descriptor that was stored wrong and stays.
fn stuck(id: &BackupId, error: &Error, refused: &Error) -> Error {
    let message = format!(
        "{error}; it was stored so, and could not be removed ({refused}): nothing can be restored \
         from it. Delete backup '{id}' as damaged when the store lets you, and make it again"
    );
    Error::new(ErrorKind::Corrupt, message)
}

/// The attempt that made the backup that is there.
fn winner(repository: &Repository, config: &Config) -> Result<Option<AttemptId>> {
    Ok(repository.config(&config.id)?.map(|found| found.attempt))
}

/// Whether the backend surely did not store anything.
fn is_definite(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::NoSpace)
}

fn is_enforced(backend: &dyn Backend) -> bool {
    matches!(backend.conditions(), Ok(Conditions::Enforced))
}

/// The error of an id that is used already.
pub(crate) fn taken(id: &BackupId) -> Error {
    let message = format!("backup '{id}' exists already; choose another id");
    Error::new(ErrorKind::Exists, message)
}
