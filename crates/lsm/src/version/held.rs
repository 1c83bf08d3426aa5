//! [`Held`]: complete files of restores that have not ended, which no tree has yet.
//!
//! They are beside the trees and not in them: nothing reads, compacts or backs them up. The manifest
//! names them so that an open does not take them for orphans.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    error::Result,
    restore::HeldFile,
    shared_map::SharedMap,
    types::{FileId, SegmentMeta},
    version::{FILE_BYTES_MAX, FileHandle, edit::check_meta, misfit},
};

/// All held files. Clones share.
#[derive(Clone, Debug, Default)]
pub struct Held {
    files: SharedMap<FileId, Arc<HeldFile>>,
    /// Wide enough for the sum of whatever lengths a damaged manifest claims.
    bytes: u128,
}

impl Held {
    /// The files, ascending.
    pub fn files(&self) -> impl Iterator<Item = &Arc<HeldFile>> {
        self.files.values()
    }

    /// A file, if it is held.
    pub fn file(&self, file: FileId) -> Option<&Arc<HeldFile>> {
        self.files.get(&file)
    }

    /// How many there are.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Their lengths together, in bytes.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.bytes).unwrap_or(u64::MAX)
    }

    /// Adds a file without segments.
    ///
    /// # Errors
    /// When it is held already, or its length is beyond the limit.
    pub(crate) fn add_file(&mut self, file: FileId, length: u64) -> Result<()> {
        if length > FILE_BYTES_MAX {
            return Err(misfit(format!("held {file} has {length} bytes, over the limit")));
        }
        if self.files.contains_key(&file) {
            return Err(misfit(format!("{file} is held twice")));
        }
        let held = HeldFile { file, length, segments: BTreeMap::new() };
        self.files.insert(file, Arc::new(held));
        self.bytes += u128::from(length);
        Ok(())
    }

    /// Adds a segment to a held file.
    ///
    /// # Errors
    /// When the file is not held, the place is taken or beyond the file, or the meta makes no sense.
    pub(crate) fn add_segment(
        &mut self,
        file: FileId,
        offset: u64,
        meta: SegmentMeta,
    ) -> Result<()> {
        check_meta(&meta).map_err(|why| misfit(format!("segment {}: {why}", meta.uid)))?;
        let Some(held) = self.files.get_mut(&file) else {
            return Err(misfit(format!("segment {} is in {file}, which is not held", meta.uid)));
        };
        let end = offset.checked_add(meta.length).filter(|end| *end <= held.length);
        let Some(end) = end else {
            return Err(misfit(format!("segment {} passes the end of held {file}", meta.uid)));
        };
        // Those before do not overlap each other, so the last of them reaches farthest.
        let before = held.segments.range(..end).next_back();
        if before.is_some_and(|(at, segment)| at.saturating_add(segment.length) > offset) {
            return Err(misfit(format!("segment {} overlaps another of held {file}", meta.uid)));
        }
        Arc::make_mut(held).segments.insert(offset, meta);
        Ok(())
    }

    /// Takes a file out.
    ///
    /// # Errors
    /// When it is not held.
    pub(crate) fn remove(&mut self, file: FileId) -> Result<Arc<FileHandle>> {
        let Some(held) = self.files.remove(&file) else {
            return Err(misfit(format!("{file} is released, and not held")));
        };
        self.bytes -= u128::from(held.length);
        Ok(Arc::new(FileHandle::new(file, held.length)))
    }
}
