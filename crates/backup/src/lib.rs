//! Live backup and restore of a Siltstone store.
//!
//! A backup is one cut of the whole store: every commit up to one sequence, none after it. It goes
//! to a folder or an object store in chunks that plain `tar` opens, and counts only once its last
//! object, `backup_config.json`, is there. Every backup is full to restore and incremental to
//! upload.

#![forbid(unsafe_code)]

pub mod api;
pub mod backend;
pub mod cancel;
pub mod codec;
pub mod create;
pub mod error;
pub mod fetch;
pub mod format;
pub mod handle;
#[cfg(any(test, feature = "internals"))]
pub mod internals;
pub mod journal;
mod leftovers;
pub mod moment;
pub mod names;
pub mod offload;
pub mod operation;
pub mod options;
pub mod pace;
pub mod pipeline;
pub mod plan;
pub mod progress;
mod repository;
pub mod restore;
mod selection;
pub mod state;
#[cfg(test)]
mod testing;
