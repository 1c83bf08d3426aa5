//! Level 2: every byte of every chunk.
//!
//! All segments are fetched, as for a restore, into nothing: the fetch compares frames, headers,
//! pads and segments. It ends at the first damage; so what fails is cut in halves, and these are
//! fetched again, until single segments are left, which are named. That costs nothing where nothing
//! is damaged.

use std::collections::{BTreeMap, BTreeSet};

use siltstone_lsm::format::primitives::hash;

use super::{Verification, is_damage};
use crate::{
    error::{Error, Result},
    fetch::{Fetch, NoSink},
    format::{
        chunk::{Chunk, Codec},
        descriptor::{Descriptor, StoredSegment},
    },
    names::ChunkId,
    progress::Progress,
};

impl Verification<'_> {
    /// The bytes of the segments that are sound.
    pub(super) fn hashes(&mut self, descriptor: &Descriptor) -> Result<u64> {
        let chunks: Vec<Chunk> = (descriptor.chunks.iter())
            .filter(|chunk| !self.bad_chunks.contains(&chunk.id))
            .cloned()
            .collect();
        let segments = self.in_order(descriptor, &chunks);
        let mut bad = BTreeSet::new();
        self.halve(&chunks, &segments, self.job.progress, &mut bad)?;
        let mut unread = bad.difference(&self.bad_chunks).copied().collect::<BTreeSet<_>>();
        for chunk in &chunks {
            if unread.remove(&chunk.id) {
                self.frames(chunk)?;
            }
        }
        let is_good = |segment: &&StoredSegment| {
            segment.extents.iter().all(|extent| !bad.contains(&extent.chunk))
        };
        Ok(segments.iter().filter(is_good).map(|segment| segment.meta.length).sum())
    }

    /// Each segment once, in the order of the chunks; those in chunks that are known to be bad are
    /// left out.
    fn in_order(&self, descriptor: &Descriptor, chunks: &[Chunk]) -> Vec<StoredSegment> {
        let ranks: BTreeMap<ChunkId, usize> =
            chunks.iter().enumerate().map(|(rank, chunk)| (chunk.id, rank)).collect();
        let mut seen = BTreeSet::new();
        let mut segments: Vec<StoredSegment> = (descriptor.segments.iter())
            .filter(|it| it.extents.iter().all(|extent| !self.bad_chunks.contains(&extent.chunk)))
            .filter(|segment| seen.insert(segment.meta.uid))
            .cloned()
            .collect();
        segments.sort_by_key(|segment| {
            let first = segment.extents.first();
            first.map(|extent| (ranks.get(&extent.chunk), extent.frame, extent.offset))
        });
        segments
    }

    /// Fetches `segments`; of what fails, the halves.
    fn halve(
        &mut self,
        chunks: &[Chunk],
        segments: &[StoredSegment],
        progress: &Progress,
        bad: &mut BTreeSet<ChunkId>,
    ) -> Result<()> {
        if self.problems.is_full() {
            return Ok(());
        }
        let fetch = Fetch {
            host: self.job.host(),
            backend: &*self.backend,
            cancel: self.job.cancel,
            progress,
            workers: None,
            limits: self.options.limits(),
            memory_bytes_max: self.options.memory_bytes_max,
        };
        match fetch.run(chunks, segments, &mut NoSink) {
            Ok(()) => Ok(()),
            Err(error) if !is_damage(&error) => Err(error),
            Err(error) => match segments {
                [] => Err(error),
                [only] => {
                    bad.extend(only.extents.iter().map(|extent| extent.chunk));
                    self.problems.add(&error);
                    Ok(())
                }
                several => {
                    let (first, second) = several.split_at(several.len() / 2);
                    // What was counted already does not count again.
                    let uncounted = Progress::new();
                    self.halve(chunks, first, &uncounted, bad)?;
                    self.halve(chunks, second, &uncounted, bad)
                }
            },
        }
    }

    /// Compares all frames of a chunk with their hashes, if they have any: a segment that failed in
    /// one frame may lie in others that are damaged too.
    fn frames(&mut self, chunk: &Chunk) -> Result<()> {
        if chunk.codec == Codec::None {
            return Ok(());
        }
        let object = chunk.id.object();
        let starts = chunk.frame_starts();
        for (index, (frame, start)) in chunk.frames.iter().zip(starts).enumerate() {
            self.job.cancel.check()?;
            let range = start..start.saturating_add(u64::from(frame.stored));
            match self.backend.get_range(&object, range) {
                Ok(bytes) if frame.hash.is_none_or(|expected| expected == hash(&bytes)) => {}
                Ok(_) => {
                    let what = format_args!("frame {index}: it does not match its hash");
                    self.problems.add(&Error::corrupt(&object, what));
                }
                Err(error) => self.problems.take(error)?,
            }
        }
        Ok(())
    }
}
