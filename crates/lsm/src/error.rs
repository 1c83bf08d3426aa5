//! The one error type of the crate.
//!
//! A caller decides by [`ErrorKind`]; a human reads the message: what was being done, to which
//! file, at which offset, and what to do next. Messages carry no decision.

use std::{error, fmt};

use siltstone_io::error as io;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request breaks a documented limit or names something that cannot be. Correct it.
    Invalid,
    /// There is no such collection, tenant or store.
    NotFound,
    /// The name is taken.
    Exists,
    /// The store is busy, stopping, or the tenant is COLD or FROZEN. Retry later, activate it, or
    /// fetch it back.
    Unavailable,
    /// Another process has the store open.
    Locked,
    /// The disk is full. Nothing was written; free space and retry.
    NoSpace,
    /// The operating system denies access, or the file system is read-only.
    Denied,
    /// The operating system refused an operation. The store stays usable for reads.
    Io,
    /// Bytes on disk are not what was written. Restore the named file from a backup.
    Corrupt,
    /// The files were written by a newer version of Siltstone. Upgrade the program.
    NewerFormat,
    /// The write failed after it was handed to the disk: it may or may not be there after the
    /// store is opened again, and is not visible before.
    Indeterminate,
    /// An earlier failed write or sync left durability unknown. Close the store, open it again.
    Poisoned,
}

/// A failure, where it happened, and what caused it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    place: Option<(String, u64)>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// The result of an engine operation.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure with a message for people.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, source: None }
    }

    /// Bytes that are not what was written: which file, at which byte, and what is wrong.
    pub fn corrupt(path: impl fmt::Display, offset: u64, what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, what).at(path, offset)
    }

    /// Names the file and the byte offset.
    #[must_use]
    pub fn at(self, path: impl fmt::Display, offset: u64) -> Self {
        Self { place: Some((path.to_string(), offset)), ..self }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// The same failure for another caller that shares it; the cause becomes part of the message.
    #[must_use]
    pub(crate) fn repeat(&self) -> Self {
        let message = match &self.source {
            Some(source) => format!("{}: {source}", self.message),
            None => self.message.clone(),
        };
        Self { kind: self.kind, message, place: self.place.clone(), source: None }
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file and byte offset, where known.
    pub fn place(&self) -> Option<(&str, u64)> {
        self.place.as_ref().map(|(path, offset)| (path.as_str(), *offset))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some((path, offset)) = &self.place {
            write!(f, " ({path} at byte {offset})")?;
        }
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if self.kind == ErrorKind::Corrupt {
            f.write_str("; restore the latest backup into a new store")?;
        }
        Ok(())
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn error::Error + 'static))
    }
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NoSpace => ErrorKind::NoSpace,
            io::ErrorKind::Denied => ErrorKind::Denied,
            io::ErrorKind::Locked => ErrorKind::Locked,
            io::ErrorKind::UnexpectedEnd => ErrorKind::Corrupt,
            _ => ErrorKind::Io,
        };
        let message = source.to_string();
        Self::new(kind, message)
    }
}
