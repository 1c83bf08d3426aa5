//! The bytes of a copy: whole frames from one backend to the other, each compared with its hash while
//! it passes, as fast as the caller allows.

use std::{collections::BTreeSet, ops::Range};

use siltstone_lsm::format::primitives::hash;

use super::{Copying, Names};
use crate::{
    backend::{PART_BYTES, PARTS_IN_FLIGHT},
    error::{Error, Result},
    fetch::{Fetch, NoSink},
    format::{
        chunk::{Chunk, Codec},
        descriptor::StoredSegment,
    },
    names::ChunkId,
    pace::Pace,
    parallel::for_each,
    progress::Progress,
};

/// What one chunk on its way holds at most: the parts of its writer, and a range twice while the
/// backend puts it together.
pub(super) const CHUNK_MEMORY_BYTES: u64 = (PARTS_IN_FLIGHT as u64 + 1 + 2) * PART_BYTES as u64;

/// Most chunks on their way at a time.
const CHUNKS_IN_FLIGHT_MAX: u64 = 8;

impl Copying<'_> {
    /// Copies `chunks` to the names they get.
    pub(super) fn copy_chunks(&self, chunks: &[Chunk], names: &Names) -> Result<()> {
        let total = chunks.iter().map(|chunk| chunk.length).sum();
        self.job.progress.plan(total, 0);
        let workers = self.options.memory_bytes_max / CHUNK_MEMORY_BYTES;
        let workers = usize::try_from(workers.clamp(1, CHUNKS_IN_FLIGHT_MAX)).unwrap_or(1);
        let (source, target) = (self.source.backend(), self.target.backend());
        let pace = Pace::new(self.job.host(), &**source, self.job.cancel, self.options.limits());
        let pace = pace.and(&**target);
        for_each(chunks, workers, |chunk| match names.get(&chunk.id) {
            Some(to) => self.copy_chunk(chunk, *to, &pace),
            None => Ok(()),
        })
    }

    /// Streams one chunk, and compares each frame that has a hash.
    fn copy_chunk(&self, chunk: &Chunk, to: ChunkId, pace: &Pace<'_>) -> Result<()> {
        let (from, to) = (chunk.id.object(), to.object());
        self.remember(to.clone());
        let mut payer = pace.payer();
        let mut writer = self.target.backend().writer(&to)?;
        let starts = chunk.frame_starts();
        let streamed = runs(chunk).into_iter().try_for_each(|frames| {
            self.job.cancel.check()?;
            let at = |index: usize| starts.get(index).copied().unwrap_or(chunk.length);
            let range = at(frames.start)..at(frames.end);
            pace.transfer(usize::try_from(range.end - range.start).unwrap_or(usize::MAX))?;
            let bytes = self.source.backend().get_range(&from, range)?;
            check(chunk, frames, &bytes)?;
            self.job.progress.add_done(usize::MAX, bytes.len() as u64);
            writer.write(bytes)?;
            payer.pay()
        });
        if let Err(error) = streamed {
            // The cause matters more than what may be left behind.
            drop(writer.abort());
            return Err(error);
        }
        let length = writer.finish()?;
        if length != chunk.length {
            let what = format_args!("{length} of {} bytes were stored", chunk.length);
            return Err(Error::corrupt(to, what));
        }
        self.job.progress.add_chunk(length);
        Ok(())
    }

    /// Uncompressed chunks have no hashes of their own, those of segments may span chunks: what lies
    /// in such is read from where it is now, and compared.
    pub(super) fn read_back(&self, chunks: &[Chunk], segments: &[StoredSegment]) -> Result<()> {
        let plain = chunks.iter().filter(|chunk| chunk.codec == Codec::None);
        let plain: BTreeSet<ChunkId> = plain.map(|chunk| chunk.id).collect();
        let lies_in = |segment: &&StoredSegment| {
            segment.extents.iter().any(|extent| plain.contains(&extent.chunk))
        };
        let mut seen = BTreeSet::new();
        let segments: Vec<StoredSegment> = (segments.iter().filter(lies_in))
            .filter(|segment| seen.insert(segment.meta.uid))
            .cloned()
            .collect();
        if segments.is_empty() {
            return Ok(());
        }
        let fetch = Fetch {
            host: self.job.host(),
            backend: &**self.target.backend(),
            cancel: self.job.cancel,
            progress: &Progress::new(),
            limits: self.options.limits(),
            workers: None,
            memory_bytes_max: self.options.memory_bytes_max,
        };
        fetch.run(chunks, &segments, &mut NoSink)
    }
}

/// Compares the frames in `bytes` with their hashes.
fn check(chunk: &Chunk, frames: Range<usize>, bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    for (index, frame) in chunk.frames.iter().enumerate().take(frames.end).skip(frames.start) {
        let (stored, after) = rest.split_at(rest.len().min(frame.stored as usize));
        rest = after;
        if frame.hash.is_some_and(|expected| expected != hash(stored)) {
            let what = format_args!("frame {index}: it does not match its hash");
            return Err(Error::corrupt(chunk.id.object(), what));
        }
    }
    Ok(())
}

/// Runs of whole frames, each of at most a part's bytes.
fn runs(chunk: &Chunk) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (index, frame) in chunk.frames.iter().enumerate() {
        bytes += frame.stored as usize;
        match runs.last_mut() {
            Some(run) if bytes <= PART_BYTES => run.end = index + 1,
            _ => {
                runs.push(index..index + 1);
                bytes = frame.stored as usize;
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use siltstone_lsm::types::Hash;

    use super::*;
    use crate::format::chunk::Frame;

    #[test]
    fn runs_are_whole_frames_within_a_part_and_cover_the_chunk() {
        let frame = |stored: u32| Frame { plain: stored, stored, hash: Some(Hash([0; 32])) };
        let mib = 1 << 20;
        let frames: Vec<Frame> = [4 * mib, mib, 1, 4 * mib, 4 * mib, 10, 10].map(frame).to_vec();
        let chunk = |frames| Chunk { id: ChunkId([0; 16]), codec: Codec::Gzip, length: 0, frames };
        assert_eq!(runs(&chunk(frames)), [0..2, 2..4, 4..7]);
        assert_eq!(runs(&chunk(Vec::new())), []);
    }
}
