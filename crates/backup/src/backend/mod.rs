//! [`Backend`]: a place for objects, behind one blocking trait.
//!
//! Objects have plain names below one root, made by [`crate::names`]. An object appears whole or not
//! at all; only [`PutMode::NoReplace`] says anything about two writers of one name. All retries,
//! time limits and bounds on parallel requests are inside; an error that comes out is final.

mod config;
mod credentials;
mod door;
mod folder;
mod limits;
mod message;
mod operator;
mod place;
mod runtime;
mod service;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use siltstone_io::{env::Env, path::RelPath};

pub use self::{
    config::{
        AzureAccount, AzureConfig, BackendConfig, Environment, GcsConfig, S3Config, S3Credentials,
        Secret,
    },
    limits::Limits,
    place::Place,
    settings::{Provider, Settings},
};
use self::{door::Credentials, folder::Root};
use crate::{
    cancel::Cancel,
    error::{Error, ErrorKind, Result},
};

/// Bytes of one part that a writer sends at a time.
pub const PART_BYTES: usize = 5 << 20;

/// Parts of one object on their way at the same time.
pub const PARTS_IN_FLIGHT: usize = 4;

/// Opens a backend. Nothing is asked of it yet: one that is misconfigured answers its first call
/// with an error that says so.
///
/// # Errors
/// `Invalid` for a configuration that cannot be, `Io` if the system has no threads left.
pub fn open(config: &BackendConfig) -> Result<Arc<dyn Backend>> {
    open_within(config, &Limits::default())
}

/// As [`open`], with bounds of the caller's choice for a remote backend.
///
/// # Errors
/// As [`open`].
pub fn open_within(config: &BackendConfig, limits: &Limits) -> Result<Arc<dyn Backend>> {
    match config {
        BackendConfig::Folder(root) => {
            let root = absolute(root)?;
            let describe = format!("folder '{}'", root.display());
            door::folder(Root::Path(root), describe)
        }
        BackendConfig::FolderIn { base, path } => {
            let (base, below) = (absolute(base)?, RelPath::new(path.as_str())?);
            let describe = format!("folder '{}'", base.join(path).display());
            door::folder(Root::Below(base, below), describe)
        }
        BackendConfig::Memory => door::memory(),
        BackendConfig::S3(config) => door::s3(config)?.start(limits),
        BackendConfig::Gcs(config) => door::gcs(config)?.start(limits),
        BackendConfig::Azure(config) => door::azure(config)?.start(limits),
    }
}

/// The description is the identity of the place, also from another working directory.
fn absolute(root: &Path) -> Result<PathBuf> {
    let root = std::path::absolute(root).map_err(|error| {
        let message = format!("'{}' cannot be a folder: {error}", root.display());
        Error::new(ErrorKind::Invalid, message).caused_by(error)
    })?;
    Ok(root.components().collect()) // without a slash at the end
}

/// How a backend answers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// As [`Backend::describe`].
    pub place: String,
    /// Which source of credentials won, without secrets; `None` if none did, or none is needed.
    pub credentials: Option<String>,
    /// Whether it could be asked for an object. That it can be written, [`Backend::conditions`]
    /// shows.
    pub reached: Result<()>,
}

/// Asks a backend for an object, once, and tells who asked. It changes nothing.
///
/// # Errors
/// As [`open`]. That the backend does not answer is no error but a result.
pub fn ask(config: &BackendConfig) -> Result<Answer> {
    let (backend, credentials) = match config {
        BackendConfig::S3(config) => door::s3(config)?.start_once()?,
        BackendConfig::Gcs(config) => door::gcs(config)?.start_once()?,
        BackendConfig::Azure(config) => door::azure(config)?.start_once()?,
        BackendConfig::Folder(_) | BackendConfig::FolderIn { .. } | BackendConfig::Memory => {
            let backend = open(config)?;
            let reached = backend.stat(operator::PROBE).map(drop);
            return Ok(Answer { place: backend.describe().to_owned(), credentials: None, reached });
        }
    };
    let reached = backend.stat(operator::PROBE).map(drop);
    let credentials = match credentials {
        Credentials::Given(how) => Some(how.to_owned()),
        Credentials::Sought(search) => search.winner(),
    };
    Ok(Answer { place: backend.describe().to_owned(), credentials, reached })
}

/// Opens the root of a disk as a backend; `env` also names temporary files.
///
/// # Errors
/// `Io` if the system has no threads left.
pub fn open_disk(env: Env) -> Result<Arc<dyn Backend>> {
    let describe = "a disk".to_owned();
    door::folder(Root::Disk(env), describe)
}

/// A place for objects.
pub trait Backend: fmt::Debug + Send + Sync {
    /// What and where it is, for people: `folder '/backups'`, `s3 bucket 'b' at https://...`.
    fn describe(&self) -> &str;

    /// The same backend, whose calls stop with `Canceled` soon after `cancel` is raised.
    fn cancelable(&self, cancel: &Cancel) -> Arc<dyn Backend>;

    /// Processor time that the backend's own threads have used so far, for all its callers. What
    /// runs on the caller's thread does not count.
    fn cpu(&self) -> Duration {
        Duration::ZERO
    }

    /// Writes a small object whole.
    ///
    /// # Errors
    /// `Exists` under [`PutMode::NoReplace`] if the name is taken, also when the backend answers so
    /// after an earlier try of this call had succeeded: read the object back to tell. Otherwise
    /// `Denied`, `Unavailable`, `NoSpace`, `Invalid`, `Canceled`, `Io`; the outcome of a
    /// [`PutMode::NoReplace`] that is `Unavailable` is unknown.
    fn put(&self, object: &str, bytes: Bytes, mode: PutMode) -> Result<()>;

    /// Starts a large object. It appears when the writer finishes.
    ///
    /// # Errors
    /// As [`Backend::put`].
    fn writer(&self, object: &str) -> Result<Box<dyn ObjectWriter>>;

    /// A whole object of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if it is larger; `Denied`, `Unavailable`, `Canceled`, `Io`.
    fn get(&self, object: &str, bytes_max: u64) -> Result<Bytes>;

    /// A range of an object, whole: neither end may pass the end of the object.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if the object is too short; `Denied`, `Unavailable`, `Canceled`, `Io`.
    fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes>;

    /// Size and age of an object; `None` if there is none.
    ///
    /// # Errors
    /// `Denied`, `Unavailable`, `Canceled`, `Io`.
    fn stat(&self, object: &str) -> Result<Option<ObjectMeta>>;

    /// All objects whose name starts with `prefix` (empty, or ending in `/`), in name order, with
    /// folders below it when `depth` says so.
    ///
    /// # Errors
    /// `Denied`, `Unavailable`, `Canceled`, `Io`.
    fn list(&self, prefix: &str, depth: Depth) -> Result<Vec<ObjectEntry>>;

    /// Removes an object; one that is not there counts as removed.
    ///
    /// # Errors
    /// `Denied`, `Unavailable`, `Canceled`, `Io`.
    fn delete(&self, object: &str) -> Result<()>;

    /// Whether [`PutMode::NoReplace`] is enforced. Found out once, by writing a probe object twice
    /// and removing it; this also shows that the backend can be written at all.
    ///
    /// # Errors
    /// As [`Backend::put`].
    fn conditions(&self) -> Result<Conditions>;
}

/// A large object on its way to a backend. Dropping it unfinished leaves no visible object; call
/// [`ObjectWriter::abort`] to leave no hidden parts either.
pub trait ObjectWriter: fmt::Debug + Send {
    /// Appends bytes of any length, uncopied; blocks while [`PARTS_IN_FLIGHT`] parts are on their
    /// way, so at most that many parts plus one are held.
    ///
    /// # Errors
    /// As [`Backend::put`]; the writer is then dead and is aborted by the caller.
    fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Sends what is left and makes the object appear. Returns its length in bytes.
    ///
    /// # Errors
    /// As [`Backend::put`].
    fn finish(self: Box<Self>) -> Result<u64>;

    /// Gives the object up and removes its parts.
    ///
    /// # Errors
    /// When parts may be left behind in the backend.
    fn abort(self: Box<Self>) -> Result<()>;
}

/// What [`Backend::put`] does when the object exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutMode {
    /// The new bytes take its place in one step.
    Replace,
    /// The put fails with `Exists`, if [`Backend::conditions`] says that this is enforced.
    NoReplace,
}

/// Whether a backend enforces [`PutMode::NoReplace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conditions {
    /// Two writers of one new name: exactly one succeeds.
    Enforced,
    /// The last writer wins.
    Ignored,
}

/// How far a listing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Depth {
    /// Objects of the folder itself, and its folders as names that end in `/`.
    One,
    /// All objects below.
    All,
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectMeta {
    /// Length in bytes.
    pub length: u64,
    /// When it was written, by the backend's clock, since 1970-01-01 UTC; where it tells.
    pub modified: Option<Duration>,
}

/// One name of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectEntry {
    /// The name from the root of the backend; ends in `/` for a folder.
    pub name: String,
    /// Length in bytes; 0 for a folder.
    pub length: u64,
    /// As in [`ObjectMeta`].
    pub modified: Option<Duration>,
}
