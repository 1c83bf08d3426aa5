//! [`Records`]: which files the durable records of a store name.
//!
//! A root record (the one file whose name is fixed) names others, and those may be records that name
//! more. A file is *protected* while a record that the root leads to names it, in the state it has
//! now or in any state that a crash could still bring back.

use std::collections::{BTreeMap, BTreeSet};

use crate::path::RelPath;

/// What a durable record says about other files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Whether readers find this record without being led to it by another.
    pub root: bool,
    /// The files that must be there as long as this record counts, and the offset up to which their
    /// bytes must be durable when it first names them.
    pub files: BTreeMap<RelPath, u64>,
    /// Files whose bytes up to an offset must be durable before this record is written.
    pub synced: BTreeMap<RelPath, u64>,
}

impl Record {
    /// A record that nothing else has to lead to.
    pub fn root() -> Self {
        Self { root: true, ..Self::default() }
    }

    /// A record that counts while another names it.
    pub fn named() -> Self {
        Self::default()
    }

    /// Adds a file that must be there whole.
    #[must_use]
    pub fn needs(mut self, path: RelPath) -> Self {
        self.files.insert(path, u64::MAX);
        self
    }

    /// Adds a file that must be there and grows still: only its bytes below `offset` must be durable.
    #[must_use]
    pub fn needs_start(mut self, path: RelPath, offset: u64) -> Self {
        self.files.insert(path, offset);
        self
    }

    /// Adds a file whose bytes below `offset` must be durable.
    #[must_use]
    pub fn needs_synced(mut self, path: RelPath, offset: u64) -> Self {
        self.synced.insert(path, offset);
        self
    }
}

#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<RelPath, States>);

/// The state of a record, and the files of older states that a crash could bring back.
#[derive(Debug, Default)]
struct States {
    now: Record,
    older_files: BTreeSet<RelPath>,
}

impl Records {
    /// Takes a new state; returns what it demands that its last state did not.
    pub(super) fn update(&mut self, path: &RelPath, record: Record) -> Record {
        let states = self.0.entry(path.clone()).or_default();
        let old = std::mem::replace(&mut states.now, record);
        let fresh = Record {
            root: states.now.root,
            files: states
                .now
                .files
                .iter()
                .filter(|(path, _)| !old.files.contains_key(*path))
                .map(|(path, &offset)| (path.clone(), offset))
                .collect(),
            synced: states
                .now
                .synced
                .iter()
                .filter(|(path, offset)| old.synced.get(*path) != Some(*offset))
                .map(|(path, &offset)| (path.clone(), offset))
                .collect(),
        };
        states.older_files.extend(old.files.into_keys());
        fresh
    }

    /// Drops the older states of the records that are durable now.
    pub(super) fn confirm(&mut self, is_durable: impl Fn(&RelPath) -> bool) {
        for (path, states) in &mut self.0 {
            if is_durable(path) {
                states.older_files.clear();
            }
        }
    }

    pub(super) fn forget(&mut self, path: &RelPath) {
        self.0.remove(path);
    }

    /// The record that needs a file, if one does.
    pub(super) fn naming(&self, file: &RelPath) -> Option<&RelPath> {
        let mut counted: BTreeSet<&RelPath> = BTreeSet::new();
        let roots = self.0.iter().filter(|(_, states)| states.now.root);
        let mut next: Vec<&RelPath> = roots.map(|(path, _)| path).collect();
        while let Some(path) = next.pop() {
            let Some(states) = self.0.get(path) else { continue };
            if !counted.insert(path) {
                continue;
            }
            if states.names(file) {
                return Some(path);
            }
            next.extend(states.now.files.keys().chain(&states.older_files));
        }
        None
    }
}

impl States {
    fn names(&self, file: &RelPath) -> bool {
        self.now.files.contains_key(file) || self.older_files.contains(file)
    }
}
