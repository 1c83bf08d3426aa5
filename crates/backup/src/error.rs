//! The one error type of the crate.
//!
//! A caller decides by [`ErrorKind`]; a human reads the message: what was being done, to which
//! object of which backend, and what to do next. Messages carry no decision, fit a line, and never
//! hold a secret.

use std::{error, fmt};

use siltstone_io::error as io;
use siltstone_lsm::error as lsm;

/// Names that [`listed`] shows.
const NAMES_SHOWN_MAX: usize = 10;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request or the configuration is wrong. Correct it.
    Invalid,
    /// There is no such backup, object or collection.
    NotFound,
    /// The backup id, the object or the collection is there already. Choose another name.
    Exists,
    /// Another backup or restore runs, or the store is closing. Retry later.
    Busy,
    /// The operation was canceled by request.
    Canceled,
    /// The backend refuses the credentials, or the folder its permissions.
    Denied,
    /// The backend does not answer, or answers with errors that pass. Retry later.
    Unavailable,
    /// The local disk or the backend is full. Free space, then retry.
    NoSpace,
    /// The local disk or the store failed.
    Io,
    /// Bytes in the repository, or local ones, are not what was written. The message names them.
    Corrupt,
    /// Written by a newer version of Siltstone. Upgrade the program.
    NewerFormat,
}

/// A failure, what it concerned, and what caused it.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// The result of a backup operation.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure with a message for people.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// An object whose bytes are not what was written: which one, and what is wrong.
    pub fn corrupt(object: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Corrupt, format!("object '{object}' is damaged: {what}"))
    }

    /// The error of an operation that was asked to stop.
    pub fn canceled() -> Self {
        Self::new(ErrorKind::Canceled, "canceled by request")
    }

    /// Puts what was being done before the message.
    #[must_use]
    pub fn while_doing(self, doing: impl fmt::Display) -> Self {
        Self { message: format!("{doing}: {}", self.message), ..self }
    }

    /// Keeps the cause for [`error::Error::source`]; the message must already say what matters.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Names in quotes for a message: the first ten, and how many more there are.
pub(crate) fn listed(names: impl Iterator<Item = impl fmt::Display>) -> String {
    let mut shown: Vec<String> = Vec::new();
    let mut more = 0;
    for name in names {
        if shown.len() < NAMES_SHOWN_MAX {
            shown.push(format!("'{name}'"));
        } else {
            more += 1;
        }
    }
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
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
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::Exists => ErrorKind::Exists,
            io::ErrorKind::Invalid => ErrorKind::Invalid,
            io::ErrorKind::UnexpectedEnd => ErrorKind::Corrupt,
            _ => ErrorKind::Io,
        };
        Self::new(kind, source.to_string()).caused_by(source)
    }
}

impl From<lsm::Error> for Error {
    fn from(source: lsm::Error) -> Self {
        let kind = match source.kind() {
            lsm::ErrorKind::Invalid => ErrorKind::Invalid,
            lsm::ErrorKind::NotFound => ErrorKind::NotFound,
            lsm::ErrorKind::Exists => ErrorKind::Exists,
            lsm::ErrorKind::Unavailable | lsm::ErrorKind::Locked => ErrorKind::Busy,
            lsm::ErrorKind::NoSpace => ErrorKind::NoSpace,
            lsm::ErrorKind::Denied => ErrorKind::Denied,
            lsm::ErrorKind::Corrupt => ErrorKind::Corrupt,
            lsm::ErrorKind::NewerFormat => ErrorKind::NewerFormat,
            _ => ErrorKind::Io,
        };
        Self::new(kind, source.to_string()).caused_by(source)
    }
}
