//! [`Work`]: what can wait in the commit queue.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use crate::{
    batch::Batch,
    error::Result,
    manifest::Record,
    options::Durability,
    store::{collector::Collector, core::LogState},
    types::Sequence,
};

/// One request of the commit queue.
pub(crate) enum Work {
    /// A batch.
    Write { batch: Batch, durability: Durability },
    /// A catalog or restore edit: planned under the log lock, at its place in the queue.
    Edit(Mutex<Option<Plan>>),
    /// A place in the order at which the active memtable is sealed; a cut has a collector.
    Barrier(Option<Arc<Collector>>),
}

/// Decides what an edit is, given the state at its place.
pub(crate) type Plan = Box<dyn FnOnce(&mut LogState) -> Result<PlannedEdit> + Send>;

/// What an edit does.
#[derive(Debug, Default)]
pub(crate) struct PlannedEdit {
    /// The records; the queue adds its own number and the used-up identifiers.
    pub(crate) records: Vec<Record>,
    /// No sequence up to this one may be assigned after it (a restore brings its own).
    pub(crate) sequence_floor: Sequence,
}

/// The place that a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// Its last sequence; for a barrier, the last sequence assigned before it.
    pub(crate) sequence: Sequence,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { batch, durability } => f
                .debug_struct("Write")
                .field("operations", &batch.operations())
                .field("durability", durability)
                .finish(),
            Self::Edit(_) => f.write_str("Edit"),
            Self::Barrier(collector) => {
                f.write_str(if collector.is_some() { "Cut" } else { "Barrier" })
            }
        }
    }
}
