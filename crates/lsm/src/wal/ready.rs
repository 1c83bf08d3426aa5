//! [`ReadyLog`]: an empty log that exists durably before anything names it.

use std::{fmt, sync::Arc};

use siltstone_io::{
    disk::{Disk, Log},
    env::Env,
    error as io,
    exact::write_all_at,
    path::RelPath,
};

use crate::{
    error::{Error, Result},
    format::{
        names,
        wal::{LogHeader, PAGE_BYTES, Salt},
    },
    types::LogId,
};

/// An empty log, created and durable (file and folder synced), ready to be switched to.
pub struct ReadyLog {
    pub(super) log: Arc<dyn Log>,
    pub(super) id: LogId,
    pub(super) salt: Salt,
}

impl ReadyLog {
    /// Creates log `id` with a fresh salt: header page, sync of the file, sync of the folder. Only
    /// then may the manifest name it, and only then may it be written.
    ///
    /// # Errors
    /// What the disk says. The file is then removed again, so that the same log can be tried later.
    pub fn create(env: &Env, store_id: [u8; 16], id: LogId) -> Result<Self> {
        let salt = env.unique_id();
        let path = names::log(id);
        let header = LogHeader { store_id, log: id, salt };
        let log = env.disk.create_log(&path)?;
        match settle(&*env.disk, &*log, &header) {
            Ok(()) => Ok(Self { log, id, salt }),
            Err(failed) => Err(give_up(&*env.disk, &path, failed)),
        }
    }

    /// Its identifier.
    pub fn id(&self) -> LogId {
        self.id
    }
}

const PAGE: usize = 4096;
const _: () = assert!(PAGE as u64 == PAGE_BYTES);

fn settle(disk: &dyn Disk, log: &dyn Log, header: &LogHeader) -> io::Result<()> {
    // The page of zeros after it has room for the first frame, so that a full disk cannot stop a
    // rotation half-way.
    write_all_at(log, 0, &[&header.encode(), &[0; PAGE]])?;
    log.sync()?;
    disk.sync_dir(&log.path().parent())
}

fn give_up(disk: &dyn Disk, path: &RelPath, failed: io::Error) -> Error {
    match disk.remove(path) {
        Ok(()) => failed.into(),
        Err(left) => Error::from(failed).caused_by(left),
    }
}

impl fmt::Debug for ReadyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReadyLog({})", self.id)
    }
}
