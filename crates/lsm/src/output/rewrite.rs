//! Writing the newest versions of a sorted run as segments: the one loop of flush and compaction.
//!
//! Readers pin what they read, so of each key only the newest version is kept, and only if no range
//! tombstone of the run is newer. Range tombstones are cut where the output is cut into segments:
//! each segment carries the pieces between its neighbours' keys, and the bounds of neighbours touch
//! there at most.

use std::thread;

use crate::{
    cursor::Cursor,
    error::Result,
    merge::cover::Cover,
    output::{OpenSegment, Outputs},
    types::{Entry, EntryKind, RangeTombstone, TreeId},
};

/// Entries between two calls of the pacing hook; a block of data holds some tens.
const ENTRIES_PER_PACE: u32 = 32;

/// Bytes between two calls of the pacing hook, for large values.
const BYTES_PER_PACE: usize = 16 << 10;

/// What happens to tombstones of both kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tombstones {
    /// Older versions of what they delete may lie below.
    Keep,
    /// Nothing lies below: they have done their work.
    Drop,
}

/// Where a run goes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The tree it belongs to.
    pub tree: TreeId,
    /// The level its segments are meant for.
    pub level: u8,
    /// What happens to its tombstones.
    pub tombstones: Tombstones,
}

/// Writes the newest version of each key of `run` that `cover` leaves, and `cover` itself. `go_on`
/// is asked between blocks; the answer is whether it let the run come to its end.
///
/// # Errors
/// What reading the run or writing the files says.
pub fn rewrite(
    run: &mut dyn Cursor,
    cover: &Cover,
    target: Target,
    outputs: &mut Outputs<'_>,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<bool> {
    let mut sink = Sink { outputs, target, cover, from: Vec::new(), open: None };
    let mut pace = Pace::default();
    let mut last_key: Vec<u8> = Vec::new(); // no key is empty
    run.seek_first()?;
    while let Some(entry) = run.entry() {
        if pace.is_due(entry) {
            // A writer that this thread has displaced would wait for the kernel's next tick, 4 ms.
            thread::yield_now();
            if !go_on() {
                return Ok(false);
            }
        }
        if entry.key != last_key {
            last_key.clear();
            last_key.extend_from_slice(entry.key);
            let deleted = cover.at(entry.key) > entry.sequence;
            let useless = entry.kind == EntryKind::Delete && target.tombstones == Tombstones::Drop;
            if !deleted && !useless {
                sink.add(entry)?;
            }
        }
        run.next()?;
    }
    sink.end()?;
    Ok(true)
}

/// Cuts a run into segments.
struct Sink<'a, 'b> {
    outputs: &'a mut Outputs<'b>,
    target: Target,
    cover: &'a Cover,
    /// The key at which the last segment was cut: the next one starts there.
    from: Vec<u8>,
    open: Option<OpenSegment>,
}

impl Sink<'_, '_> {
    fn add(&mut self, entry: Entry<'_>) -> Result<()> {
        let limit = self.outputs.limits.segment_bytes_max;
        if self.open.as_ref().is_some_and(|open| open.builder.estimated_bytes() >= limit) {
            self.cut(Some(entry.key))?;
        }
        let Target { tree, level, .. } = self.target;
        let segment = self.open.get_or_insert_with(|| self.outputs.begin_segment(tree, level));
        segment.builder.add(entry, self.outputs.stream()?)
    }

    /// Ends the segment that holds the keys before `to`.
    fn cut(&mut self, to: Option<&[u8]>) -> Result<()> {
        if self.target.tombstones == Tombstones::Keep {
            let pieces: Vec<RangeTombstone> = self.cover.clip(&self.from, to).collect();
            for piece in pieces {
                let Target { tree, level, .. } = self.target;
                let segment =
                    self.open.get_or_insert_with(|| self.outputs.begin_segment(tree, level));
                segment.builder.add_range_tombstone(piece);
            }
        }
        if let Some(segment) = self.open.take() {
            self.outputs.end_segment(segment)?;
        }
        self.from.clear();
        self.from.extend_from_slice(to.unwrap_or_default());
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        self.cut(None)
    }
}

/// Counts what passes between two calls of the pacing hook.
#[derive(Default)]
struct Pace {
    entries: u32,
    bytes: usize,
}

impl Pace {
    fn is_due(&mut self, entry: Entry<'_>) -> bool {
        self.entries += 1;
        self.bytes += entry.key.len() + entry.value.len();
        let due = self.entries >= ENTRIES_PER_PACE || self.bytes >= BYTES_PER_PACE;
        if due {
            *self = Self::default();
        }
        due
    }
}
