//! skeleton: the real disk

use std::path::Path;

use crate::error::Result;

/// How [`OsDisk`] moves streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEngine {
    /// io_uring where the kernel allows it, else blocking calls (logged once to the caller's `warn`).
    #[default]
    Auto,
    /// Blocking calls only.
    Blocking,
}

/// A folder of the operating system.
#[derive(Debug)]
pub struct OsDisk {}

impl OsDisk {
    /// Opens an existing folder, or creates it (one level, mode 0700) if `create`.
    pub fn open(_root: &Path, _engine: StreamEngine) -> Result<Self> {
        todo!()
    }
}
