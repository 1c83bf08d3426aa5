//! [`Collector`]: gathers the segments that a cut's memtables become.
//!
//! A cut takes its view when its turn in the publishing order comes: everything before it is
//! published, nothing behind it is. What the view's segments lack is in sealed memtables, and each
//! flush hands the segments it wrote to the collectors that wait for them, pinned, before a
//! compaction can replace them.

use std::sync::{Arc, Mutex};

use crate::{
    store::core::{Core, lock},
    types::{Sequence, TreeId},
    version::Segment,
    view::View,
};

/// What one cut waits for.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    begun: Option<Begun>,
    /// Memtables whose flush has not been installed.
    outstanding: usize,
    segments: Vec<Arc<Segment>>,
}

/// The store at the cut.
#[derive(Clone, Debug)]
pub(crate) struct Begun {
    pub(crate) view: Arc<View>,
    pub(crate) sequence: Sequence,
}

impl Collector {
    /// Takes the view and registers with the memtables that are not in segments yet. Runs in the
    /// cut's turn; `sequence` is the last one assigned before it.
    pub(crate) fn begin(self: &Arc<Self>, core: &Core, sequence: Sequence) {
        let _installing = lock(&core.install);
        let published = core.published.load_full();
        let waiting = lock(&core.sealed).clone();
        let ours: Vec<_> = waiting.iter().filter(|s| s.last_sequence <= sequence).collect();
        for sealed in &ours {
            lock(&sealed.collectors).push(Arc::clone(self));
        }
        let memtables = ours.iter().rev().map(|sealed| Arc::clone(&sealed.memtable)).collect();
        let view = View {
            memtables,
            version: Arc::clone(&published.view.version),
            catalog: Arc::clone(&published.view.catalog),
        };
        let mut state = lock(&self.state);
        state.outstanding = ours.len();
        state.begun = Some(Begun { view: Arc::new(view), sequence });
    }

    /// Whether a tree is part of the cut: a flush writes it even if it was dropped since.
    pub(crate) fn wants(&self, tree: TreeId) -> bool {
        lock(&self.state).begun.as_ref().is_some_and(|begun| begun.holds(tree))
    }

    /// Takes what the flush of one memtable became.
    pub(crate) fn deliver(&self, segments: &[Arc<Segment>]) {
        let mut state = lock(&self.state);
        let begun = state.begun.clone().expect("a memtable knows only cuts that have begun");
        let ours = segments.iter().filter(|segment| begun.holds(segment.tree));
        state.segments.extend(ours.map(Arc::clone));
        state.outstanding -= 1;
    }

    /// The store at the cut and the segments its memtables became, once all are there.
    pub(crate) fn take(&self) -> Option<(Begun, Vec<Arc<Segment>>)> {
        let mut state = lock(&self.state);
        let begun = state.begun.clone()?;
        (state.outstanding == 0).then(|| (begun, std::mem::take(&mut state.segments)))
    }
}

impl Begun {
    fn holds(&self, tree: TreeId) -> bool {
        self.view.catalog.owner(tree).is_some()
    }
}
