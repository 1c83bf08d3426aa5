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
mod content;
pub mod copy;
pub mod create;
pub mod delete;
pub mod error;
pub mod fetch;
pub mod format;
pub mod handle;
#[cfg(any(test, feature = "internals"))]
pub mod internals;
pub mod job;
pub mod journal;
mod leftovers;
pub mod moment;
pub mod names;
pub mod offload;
pub mod operation;
pub mod options;
pub mod pace;
mod parallel;
pub mod pipeline;
pub mod plan;
pub mod progress;
pub mod prune;
mod repository;
pub mod restore;
pub mod retention;
mod selection;
pub mod show;
pub mod state;
#[cfg(test)]
mod testing;
pub mod verify;
