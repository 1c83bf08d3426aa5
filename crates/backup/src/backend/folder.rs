//! Objects as files of a folder, durable when a call returns. Blocking; knows nothing of clients.
//!
//! An object is written under a temporary name, synced, and then takes its name in one rename,
//! after which the folder is synced: it is there whole or not at all, also after a power cut.
//! Temporary names belong to one process, which holds a lock as long as it lives; the next process
//! that writes removes those whose lock is free.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use siltstone_io::{
    disk::{BlockSource, Disk, LockGuard, ReadMode, Rename, STREAM_PIECE_BYTES, StreamWriter},
    env::Env,
    error::ErrorKind as IoErrorKind,
    exact,
    os::{OsDisk, StreamEngine},
    path::RelPath,
};

use super::{Depth, ObjectEntry, ObjectMeta, PutMode};
use crate::{
    error::{Error, ErrorKind, Result},
    parallel::{TURN_BYTES, give_way},
};

const TEMPORARY: &str = ".tmp";
const LOCK_SUFFIX: &str = ".lock";

/// The objects below the root of a disk.
#[derive(Debug)]
pub(super) struct Folder {
    root: Root,
    env: OnceLock<Env>,
    session: OnceLock<Session>,
    opening: Mutex<()>,
    files_made: AtomicU64,
}

/// Where the objects are.
#[derive(Clone, Debug)]
pub(super) enum Root {
    /// On a disk that is open.
    Disk(Env),
    /// In a folder that is opened when it is needed, and made when it is written to.
    Path(PathBuf),
    /// Likewise, and so are the folders between it and the objects.
    Below(PathBuf, RelPath),
}

/// What to do about a root that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Make,
    Tell,
}

/// The right to temporary names that start with `name`.
#[derive(Debug)]
struct Session {
    name: String,
    _lock: Box<dyn LockGuard>,
}

/// An object that does not have its name yet.
#[derive(Debug)]
pub(super) struct NewObject {
    folder: Arc<Folder>,
    temporary: RelPath,
    stream: Option<Box<dyn StreamWriter>>,
    written: u64,
}

impl Folder {
    /// Objects below `root`.
    pub(super) fn new(root: Root) -> Self {
        let (env, session, opening) = (OnceLock::new(), OnceLock::new(), Mutex::new(()));
        Self { root, env, session, opening, files_made: AtomicU64::new(0) }
    }

    /// Processor time of the threads that move its streams.
    pub(super) fn stream_cpu(&self) -> Duration {
        self.env.get().map_or(Duration::ZERO, |env| env.disk.stream_work().cpu)
    }

    /// Starts an object of about `len_hint` bytes (0 if unknown).
    pub(super) fn begin(self: &Arc<Self>, len_hint: u64) -> Result<NewObject> {
        let session = self.session()?;
        let number = self.files_made.fetch_add(1, Ordering::Relaxed);
        let temporary = path(&format!("{TEMPORARY}/{session}-{number}"))?;
        let stream = Some(self.disk(Missing::Make)?.create_stream(&temporary, len_hint)?);
        Ok(NewObject { folder: Arc::clone(self), temporary, stream, written: 0 })
    }

    /// Opens an object for reading at positions.
    pub(super) fn open(&self, object: &str) -> Result<Arc<dyn BlockSource>> {
        Ok(self.disk(Missing::Tell)?.open_blocks(&path(object)?, ReadMode::Direct)?)
    }

    /// Reads a range of an object that [`Folder::open`] has opened, whole.
    ///
    /// A large range is read as a stream, several pieces at a time, as the device is fastest.
    pub(super) fn read_range(
        &self,
        source: &dyn BlockSource,
        range: Range<u64>,
    ) -> Result<Vec<u8>> {
        let inside = range.start <= range.end && range.end <= source.len();
        if !inside {
            return Err(Error::corrupt(
                source.path(),
                format!(
                    "it ends at byte {}, bytes up to {} were expected",
                    source.len(),
                    range.end
                ),
            ));
        }
        let length = usize::try_from(range.end - range.start).expect("u64 fits usize on Linux");
        if length < STREAM_PIECE_BYTES {
            let mut bytes = vec![0; length];
            exact::read_exact_at(source, range.start, &mut bytes)?;
            return Ok(bytes);
        }
        let mut bytes = Vec::with_capacity(length);
        let mut stream = self.disk(Missing::Tell)?.open_stream(source.path(), range)?;
        while let Some(piece) = stream.next_piece()? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Length and age of an object.
    pub(super) fn meta(&self, object: &str) -> Result<ObjectMeta> {
        let (disk, path) = (self.disk(Missing::Tell)?, path(object)?);
        Ok(ObjectMeta { length: disk.file_len(&path)?, modified: disk.modified(&path)? })
    }

    /// All objects below `prefix`, in name order.
    pub(super) fn list(&self, prefix: &str, depth: Depth) -> Result<Vec<ObjectEntry>> {
        let disk = match self.disk(Missing::Tell) {
            Ok(disk) => disk,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        let mut folders = vec![prefix.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = match disk.list(&path(folder.trim_end_matches('/'))?) {
                Ok(entries) => entries,
                Err(error) if error.kind() == IoErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            for entry in entries {
                let name = format!("{folder}{}", entry.name);
                match (entry.is_dir, depth) {
                    (true, _) if name == TEMPORARY => {}
                    (true, Depth::All) => folders.push(name + "/"),
                    (true, Depth::One) => {
                        let name = name + "/";
                        found.push(ObjectEntry { name, length: 0, modified: None });
                    }
                    (false, _) => match self.meta(&name) {
                        Ok(ObjectMeta { length, modified }) => {
                            found.push(ObjectEntry { name, length, modified });
                        }
                        Err(error) if error.kind() == ErrorKind::NotFound => {} // just removed
                        Err(error) => return Err(error),
                    },
                }
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Removes an object if it is there, and the folders that are empty without it.
    pub(super) fn delete(&self, object: &str) -> Result<()> {
        let object = path(object)?;
        let disk = self.disk(Missing::Tell);
        match disk.and_then(|disk| Ok(disk.remove(&object)?)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        let disk = self.disk(Missing::Tell)?;
        let mut folder = object.parent();
        disk.sync_dir(&folder)?;
        // The first folder that is in use, or stays for another reason, ends this: an empty folder
        // does no harm, and one that comes back to life is made again.
        while folder != RelPath::root() && disk.remove_dir(&folder).is_ok() {
            folder = folder.parent();
        }
        Ok(())
    }

    fn disk(&self, missing: Missing) -> Result<&dyn Disk> {
        Ok(&*self.env(missing)?.disk)
    }

    fn env(&self, missing: Missing) -> Result<&Env> {
        if let Some(env) = self.env.get() {
            return Ok(env);
        }
        let env = match &self.root {
            Root::Disk(env) => env.clone(),
            Root::Path(root) => Env::system(open_folder(root, missing)?),
            Root::Below(base, path) => {
                if missing == Missing::Make {
                    make_dirs(&*open_folder(base, missing)?, path)?;
                }
                Env::system(open_folder(&base.join(path.as_str()), missing)?)
            }
        };
        Ok(self.env.get_or_init(|| env))
    }

    fn session(&self) -> Result<&str> {
        let _guard = self.opening.lock().expect("no code panics while holding it");
        if let Some(session) = self.session.get() {
            return Ok(&session.name);
        }
        make_dirs(self.disk(Missing::Make)?, &path(TEMPORARY)?)?;
        let env = self.env(Missing::Make)?;
        let id = u128::from_le_bytes(env.unique_id());
        let name = format!("{id:032x}");
        let lock_path = path(&format!("{TEMPORARY}/{name}{LOCK_SUFFIX}"))?;
        let lock = env.disk.lock(&lock_path, &std::process::id().to_string())?;
        self.remove_abandoned(&name)?;
        Ok(&self.session.get_or_init(|| Session { name, _lock: lock }).name)
    }

    /// Removes the temporary files of processes that no longer live.
    fn remove_abandoned(&self, own: &str) -> Result<()> {
        let (disk, temporary) = (self.disk(Missing::Make)?, path(TEMPORARY)?);
        let mut names: Vec<String> =
            disk.list(&temporary)?.into_iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        for lock_name in names.iter().filter(|name| name.ends_with(LOCK_SUFFIX)) {
            let session = lock_name.trim_end_matches(LOCK_SUFFIX);
            let lock_path = temporary.join(lock_name)?;
            if session == own {
                continue;
            }
            let Ok(_lock) = disk.lock(&lock_path, "") else { continue };
            let files = names.iter().filter(|name| {
                name.strip_prefix(session).is_some_and(|rest| rest.starts_with('-'))
            });
            for file in files {
                self.remove_quietly(&temporary.join(file)?)?;
            }
            self.remove_quietly(&lock_path)?;
        }
        Ok(())
    }

    fn remove_quietly(&self, file: &RelPath) -> Result<()> {
        match self.disk(Missing::Tell)?.remove(file) {
            Err(error) if error.kind() != IoErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Folder {
    /// Takes the lock file along; should that fail, the next process does it.
    fn drop(&mut self) {
        if let Some(session) = self.session.get() {
            let lock = path(&format!("{TEMPORARY}/{}{LOCK_SUFFIX}", session.name));
            drop(lock.and_then(|lock| self.remove_quietly(&lock)));
        }
    }
}

impl NewObject {
    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.stream.as_mut().expect("a finished object is not written");
        for part in bytes.chunks(TURN_BYTES) {
            stream.write(part)?;
            give_way();
        }
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Syncs the bytes and gives the object its name. Returns its length.
    pub(super) fn publish(mut self, object: &str, mode: PutMode) -> Result<u64> {
        let object = path(object)?;
        let stream = self.stream.take().expect("an object is published once");
        let length = stream.finish()?;
        assert_eq!(length, self.written, "a stream holds what was written to it");
        let rename = match mode {
            PutMode::Replace => Rename::Replace,
            PutMode::NoReplace => Rename::NoReplace,
        };
        let disk = self.folder.disk(Missing::Make)?;
        for last_try in [false, false, true] {
            make_dirs(disk, &object.parent())?;
            match disk.rename(&self.temporary, &object, rename) {
                Ok(()) => break,
                // A delete of the folder's last object took the folder along in between.
                Err(error) if error.kind() == IoErrorKind::NotFound && !last_try => {}
                Err(error) => return Err(error.into()),
            }
        }
        disk.sync_dir(&object.parent())?;
        Ok(length)
    }
}

impl Drop for NewObject {
    /// Removes what did not get its name; should that fail, the next process does it.
    fn drop(&mut self) {
        drop(self.stream.take());
        drop(self.folder.remove_quietly(&self.temporary));
    }
}

/// Opens a folder, which is made if it is missing and wanted.
fn open_folder(folder: &Path, missing: Missing) -> Result<Arc<dyn Disk>> {
    match missing {
        Missing::Make => {
            Ok(Arc::new(OsDisk::open(folder, StreamEngine::Auto).map_err(parent_missing)?))
        }
        Missing::Tell => Ok(Arc::new(OsDisk::open_existing(folder, StreamEngine::Auto)?)),
    }
}

/// Makes the folders of `dir` that are missing, each durable in its parent.
fn make_dirs(disk: &dyn Disk, dir: &RelPath) -> Result<()> {
    if *dir == RelPath::root() {
        return Ok(());
    }
    match disk.create_dir(dir) {
        Ok(()) => Ok(disk.sync_dir(&dir.parent())?),
        Err(error) if error.kind() == IoErrorKind::Exists => Ok(()),
        Err(error) if error.kind() == IoErrorKind::NotFound => {
            make_dirs(disk, &dir.parent())?;
            make_dirs(disk, dir)
        }
        Err(error) => Err(error.into()),
    }
}

/// A folder that cannot be made, for want of the one above it: its disk may not be mounted.
fn parent_missing(error: siltstone_io::error::Error) -> Error {
    if error.kind() != IoErrorKind::NotFound {
        return error.into();
    }
    let message = format!("{error}; make the folder above it, or mount its disk");
    Error::new(ErrorKind::Unavailable, message)
}

fn path(object: &str) -> Result<RelPath> {
    Ok(RelPath::new(object)?)
}
