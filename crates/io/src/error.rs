//! The one error type of the crate.
//!
//! A caller decides by [`ErrorKind`]; a human reads the message, which names the operation, the
//! file and the offset. The two never mix: messages carry no decision.

use std::{error, fmt, io};

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is nothing under that name.
    NotFound,
    /// The name is taken.
    Exists,
    /// The disk or the quota is full. Free space, then retry.
    NoSpace,
    /// The operating system denies access, or the file system is read-only.
    Denied,
    /// Another process holds the folder.
    Locked,
    /// The process has no file descriptors left.
    TooManyFiles,
    /// The path or the argument breaks a rule of the seam.
    Invalid,
    /// The file ends before the bytes asked for.
    UnexpectedEnd,
    /// The kernel or the file system cannot do this.
    Unsupported,
    /// The device failed (EIO and everything unknown).
    Device,
}

/// A failed disk operation: what was done, to which file, at which offset.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    path: String,
    offset: Option<u64>,
    detail: Option<String>,
    source: Option<io::Error>,
}

/// The result of a disk operation.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the seam's own, without a cause from the operating system.
    pub fn new(kind: ErrorKind, operation: &'static str, path: impl fmt::Display) -> Self {
        Self { kind, operation, path: path.to_string(), offset: None, detail: None, source: None }
    }

    /// Wraps an error of the operating system and derives the kind from it.
    pub fn from_os(operation: &'static str, path: impl fmt::Display, source: io::Error) -> Self {
        let kind = kind_of(&source);
        Self { source: Some(source), ..Self::new(kind, operation, path) }
    }

    /// Adds the byte offset at which the operation failed.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// Adds a sentence that says more, or what to do next.
    #[must_use]
    pub fn because(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file or folder, relative to the root of the disk.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The byte offset, if the operation had one.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }
}

fn kind_of(source: &io::Error) -> ErrorKind {
    match source.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::Exists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::NoSpace
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::DirectoryNotEmpty => ErrorKind::Invalid,
        io::ErrorKind::UnexpectedEof => ErrorKind::UnexpectedEnd,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => match source.raw_os_error() {
            Some(23 | 24) => ErrorKind::TooManyFiles, // ENFILE, EMFILE
            Some(40) => ErrorKind::Invalid,           // ELOOP: a symbolic link, never followed
            _ => ErrorKind::Device,
        },
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} '{}'", self.operation, self.path)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        match (&self.detail, &self.source) {
            (Some(detail), None) => return write!(f, ": {detail}"),
            (_, Some(source)) => write!(f, ": {source}")?,
            (None, None) => write!(f, ": {}", self.kind)?,
        }
        match self.detail.as_deref().or_else(|| next_step(self.kind)) {
            Some(step) => write!(f, "; {step}"),
            None => Ok(()),
        }
    }
}

/// What a person can do about it, where the kind alone tells.
fn next_step(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::NoSpace => Some("free space, then try again"),
        ErrorKind::Denied => Some("check owner, mode and mount options"),
        ErrorKind::TooManyFiles => Some("raise the limit of open files (ulimit -n)"),
        _ => None,
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::Exists => "already exists",
            Self::NoSpace => "no space left",
            Self::Denied => "access denied",
            Self::Locked => "locked by another process",
            Self::TooManyFiles => "too many open files",
            Self::Invalid => "invalid argument",
            Self::UnexpectedEnd => "the file ends early",
            Self::Unsupported => "not supported here",
            Self::Device => "device error",
        })
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn error::Error + 'static))
    }
}
