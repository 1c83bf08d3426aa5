//! `CURRENT`, the file that names the manifest in use, and what lies around without it.

use siltstone_io::{
    disk::{Disk, Rename},
    error::ErrorKind as IoErrorKind,
    exact,
    path::RelPath,
};

use crate::{
    error::{Error, ErrorKind, Result},
    format::{
        manifest::{CURRENT_BYTES, Current, HeadError, PAGE_BYTES},
        names,
    },
};

/// The number of the first manifest of a store.
pub(super) const FIRST_NUMBER: u64 = 1;

/// The longest manifest that an interrupted creation leaves: the head and one page of snapshot.
const CREATED_BYTES_MAX: u64 = 2 * PAGE_BYTES as u64;

/// Reads `CURRENT`; `None` if there is no such file.
pub(super) fn read(disk: &dyn Disk) -> Result<Option<Current>> {
    let path = names::top(names::CURRENT);
    let log = match disk.open_log(&path) {
        Ok(log) => log,
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = [0; CURRENT_BYTES + 1];
    let read = exact::read_up_to(&*log, 0, &mut bytes)?;
    Current::decode(&bytes[..read]).map(Some).map_err(|error| match error {
        HeadError::Newer { version } => newer(&path, version),
        HeadError::Damaged(why) => {
            let what = format!("CURRENT, which names the manifest in use, is damaged ({why})");
            Error::corrupt(&path, 0, what)
        }
    })
}

/// A file of a version that this program does not know.
pub(super) fn newer(path: &RelPath, version: u32) -> Error {
    let message =
        format!("the store has format version {version}; a newer version of Siltstone reads it");
    Error::new(ErrorKind::NewerFormat, message).at(path, 0)
}

/// Fails if the folder, which has no `CURRENT`, holds more than an interrupted creation leaves. A
/// store whose `CURRENT` was lost must not be taken for an empty folder.
pub(super) fn check_no_store(disk: &dyn Disk) -> Result<()> {
    for entry in disk.list(&RelPath::root())? {
        let found = match names::parse_manifest(&entry.name) {
            Some(FIRST_NUMBER) => {
                disk.file_len(&names::manifest(FIRST_NUMBER))? > CREATED_BYTES_MAX
            }
            Some(_) => true,
            None => names::parse_log(&entry.name).is_some(),
        };
        if found {
            return Err(lost(&entry.name));
        }
    }
    let files = match disk.list(&names::top(names::FILES)) {
        Err(error) if error.kind() == IoErrorKind::NotFound => Vec::new(),
        outcome => outcome?,
    };
    match files.iter().find(|entry| names::parse_file(&entry.name).is_some()) {
        None => Ok(()),
        Some(entry) => Err(lost(&format!("{}/{}", names::FILES, entry.name))),
    }
}

fn lost(found: &str) -> Error {
    let what = format!(
        "CURRENT, which names the manifest in use, is missing, but '{found}' belongs to a store"
    );
    Error::corrupt(names::CURRENT, 0, what)
}

/// Removes all manifests but the one in use, and a `CURRENT.tmp`.
pub(super) fn remove_leftovers(disk: &dyn Disk, in_use: Option<u64>) -> Result<()> {
    for entry in disk.list(&RelPath::root())? {
        let manifest = names::parse_manifest(&entry.name).filter(|number| Some(*number) != in_use);
        if let Some(number) = manifest {
            remove_manifest(disk, number)?;
        }
    }
    remove_if_there(disk, &names::top(names::CURRENT_TMP))
}

/// Removes one manifest.
pub(super) fn remove_manifest(disk: &dyn Disk, number: u64) -> Result<()> {
    remove_if_there(disk, &names::manifest(number))
}

/// Removes a file that may be gone already.
pub(super) fn remove_if_there(disk: &dyn Disk, path: &RelPath) -> Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == IoErrorKind::NotFound => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Writes the next `CURRENT` beside the one in use, durably but for its name.
pub(super) fn prepare(disk: &dyn Disk, current: Current) -> Result<()> {
    let path = names::top(names::CURRENT_TMP);
    remove_if_there(disk, &path)?;
    let log = disk.create_log(&path)?;
    exact::write_all_at(&*log, 0, &[&current.encode()])?;
    Ok(log.sync()?)
}

/// Puts the prepared `CURRENT` in place. After an error either may be there.
pub(super) fn switch(disk: &dyn Disk) -> Result<()> {
    let (from, to) = (names::top(names::CURRENT_TMP), names::top(names::CURRENT));
    disk.rename(&from, &to, Rename::Replace)?;
    Ok(disk.sync_dir(&RelPath::root())?)
}
