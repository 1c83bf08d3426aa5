//! A cursor over one tree of a memtable.
//!
//! It owns its memtable and steps through copies of runs of entries (their bytes are shared), so it
//! needs no borrow of the list and searches it once a run. Runs start small, since most seeks read
//! little, and double up to [`RUN_MAX`].

use std::{ops::Bound, sync::Arc};

use crate::{
    cursor::Cursor,
    error::Result,
    memtable::{
        Memtable,
        list::{Place, Record},
    },
    types::{Entry, Sequence, TreeId},
};

/// Entries of the first run after a seek.
const RUN_MIN: usize = 2;

/// Most entries of a run.
const RUN_MAX: usize = 128;

/// A position in one tree of a memtable.
pub(super) struct MemtableCursor {
    memtable: Arc<Memtable>,
    tree: TreeId,
    run: Vec<Record>,
    /// Index in `run`; at its end when unpositioned.
    at: usize,
    run_next: usize,
}

impl MemtableCursor {
    pub(super) fn new(memtable: Arc<Memtable>, tree: TreeId) -> Self {
        Self { memtable, tree, run: Vec::new(), at: 0, run_next: RUN_MIN }
    }

    fn onwards(&mut self, from: Bound<Place<'_>>) {
        self.run = self.memtable.list.onwards(from, self.tree, self.run_next);
        self.at = 0;
        self.run_next = (self.run_next * 2).min(RUN_MAX);
    }

    fn backwards(&mut self, before: Option<Place<'_>>) {
        self.run = self.memtable.list.backwards(before, self.tree, self.run_next);
        self.at = self.run.len().saturating_sub(1);
        self.run_next = (self.run_next * 2).min(RUN_MAX);
    }
}

impl Cursor for MemtableCursor {
    fn seek_first(&mut self) -> Result<()> {
        self.run_next = RUN_MIN;
        self.onwards(Bound::Unbounded);
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.run_next = RUN_MIN;
        self.backwards(None);
        Ok(())
    }

    fn seek(&mut self, key: &[u8], sequence: Sequence) -> Result<()> {
        self.run_next = RUN_MIN;
        self.onwards(Bound::Included(Place::new(self.tree, key, sequence)));
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8], sequence: Sequence) -> Result<()> {
        self.run_next = RUN_MIN;
        self.backwards(Some(Place::new(self.tree, key, sequence)));
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        assert!(self.at < self.run.len(), "a cursor moves from an entry");
        self.at += 1;
        if self.at == self.run.len() {
            let last = self.run[self.at - 1].clone();
            self.onwards(Bound::Excluded(Place::new(self.tree, last.key(), last.sequence())));
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        assert!(self.at < self.run.len(), "a cursor moves from an entry");
        if self.at == 0 {
            let first = self.run[0].clone();
            self.backwards(Some(Place::new(self.tree, first.key(), first.sequence())));
        } else {
            self.at -= 1;
        }
        Ok(())
    }

    fn entry(&self) -> Option<Entry<'_>> {
        self.run.get(self.at).map(Record::entry)
    }
}
