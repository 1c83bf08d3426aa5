//! What an earlier try of a restore has left on the disk of the store: found by hash, then read and
//! compared, so that only the rest is fetched.
//!
//! Whose try it was does not matter: equal bytes are the segment. What is found is a guess until it
//! was read, for anything may have happened to a file since it was written.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

use siltstone_io::disk::Disk;
use siltstone_lsm::{
    format::{names, primitives::PieceHasher},
    restore::HeldFile,
    types::{FileId, Hash, SegmentMeta},
};

use crate::{error::Result, format::descriptor::StoredSegment, pace::Pace};

/// Where wanted segments lie in held files.
#[derive(Debug, Default)]
pub(super) struct Reuse {
    /// By the place of the segment in the request.
    pub(super) places: BTreeMap<usize, (FileId, u64)>,
    /// The files of these places, each with its places by offset.
    files: Vec<(Arc<HeldFile>, BTreeMap<u64, usize>)>,
    /// Lengths of the held files that are of no use, in bytes.
    pub(super) useless_bytes: u64,
}

impl Reuse {
    /// Finds the wanted segments, each in a place of its own. A file of which less than half is
    /// wanted is of no use: the rest of it would stay on the disk until a compaction.
    pub(super) fn find(held: &[Arc<HeldFile>], segments: &[StoredSegment]) -> Self {
        let mut wanted: BTreeMap<Hash, Vec<usize>> = BTreeMap::new();
        for (index, segment) in segments.iter().enumerate().rev() {
            wanted.entry(segment.meta.hash).or_default().push(index);
        }
        let mut reuse = Self::default();
        for file in held {
            let mut found = BTreeMap::new();
            let mut bytes = 0;
            for (offset, meta) in &file.segments {
                let Some(indexes) = wanted.get_mut(&meta.hash) else { continue };
                let is_it = |index: &usize| is_same(&segments[*index].meta, meta);
                let Some(at) = indexes.iter().rposition(is_it) else { continue };
                found.insert(*offset, indexes.remove(at));
                bytes += meta.length;
            }
            if found.is_empty() || bytes < file.length.div_ceil(2) {
                for index in found.into_values().rev() {
                    wanted.entry(segments[index].meta.hash).or_default().push(index);
                }
                reuse.useless_bytes = reuse.useless_bytes.saturating_add(file.length);
                continue;
            }
            reuse.add(Arc::clone(file), found);
        }
        reuse
    }

    /// Reads the files and keeps those in which every wanted segment has its hash; one that cannot
    /// be read is as good as damaged.
    ///
    /// # Errors
    /// `Canceled`.
    pub(super) fn check(self, disk: &dyn Disk, pace: &Pace<'_>) -> Result<Self> {
        let mut checked = Self { useless_bytes: self.useless_bytes, ..Self::default() };
        let mut payer = pace.payer();
        for (file, found) in self.files {
            let mut read = |bytes: usize| {
                pace.streamed(bytes);
                payer.pay()
            };
            if is_whole(disk, &file, &found, &mut read)? {
                checked.add(file, found);
            } else {
                checked.useless_bytes = checked.useless_bytes.saturating_add(file.length);
            }
        }
        Ok(checked)
    }

    /// The files that are of use.
    pub(super) fn files(&self) -> BTreeSet<FileId> {
        self.files.iter().map(|(held, _)| held.file).collect()
    }

    fn add(&mut self, held: Arc<HeldFile>, found: BTreeMap<u64, usize>) {
        let place = |(offset, index): (&u64, &usize)| (*index, (held.file, *offset));
        self.places.extend(found.iter().map(place));
        self.files.push((held, found));
    }
}

fn is_same(a: &SegmentMeta, b: &SegmentMeta) -> bool {
    a.hash == b.hash && a.uid == b.uid && a.length == b.length
}

/// Reads a held file from end to end. `read` hears of each piece.
fn is_whole(
    disk: &dyn Disk,
    held: &HeldFile,
    found: &BTreeMap<u64, usize>,
    read: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<bool> {
    let path = names::file(held.file);
    if !disk.file_len(&path).is_ok_and(|length| length == held.length) {
        return Ok(false);
    }
    let Ok(mut reader) = disk.open_stream(&path, 0..held.length) else { return Ok(false) };
    let mut left = held.segments.iter().filter(|(offset, _)| found.contains_key(offset)).peekable();
    let mut hasher = PieceHasher::default();
    let mut at = 0_u64;
    loop {
        let piece = match reader.next_piece() {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(left.peek().is_none()),
            Err(_) => return Ok(false),
        };
        read(piece.len())?;
        let end = at + piece.len() as u64;
        while let Some((offset, meta)) = left.peek() {
            let segment_end = *offset + meta.length; // within the file, as the manifest has it
            let within = |byte: u64| usize::try_from(byte.clamp(at, end) - at);
            let (Ok(from), Ok(to)) = (within(**offset), within(segment_end)) else {
                return Ok(false);
            };
            hasher.update(&piece[from..to]);
            if segment_end > end {
                break;
            }
            if mem::take(&mut hasher).finish() != meta.hash {
                return Ok(false);
            }
            left.next();
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use siltstone_io::{env::Env, sim::SimDisk};
    use siltstone_lsm::{
        options::{Background, Options},
        store::Store,
        types::TreeId,
    };

    use super::*;
    use crate::{
        backend::{self, Backend, BackendConfig},
        cancel::Cancel,
        pace::{Host, Limits},
        testing::{meta_of, some_bytes},
    };

    fn bytes(seed: u64) -> Vec<u8> {
        some_bytes(seed, 3000)
    }

    fn wanted(seeds: &[u64]) -> Vec<StoredSegment> {
        let segment = |seed: &u64| {
            let meta = meta_of(*seed, &bytes(*seed));
            StoredSegment { tree: TreeId(*seed), level: 2, meta, extents: Vec::new() }
        };
        seeds.iter().map(segment).collect()
    }

    /// A store that holds a file for each list, with the segments of these seeds, 7 bytes apart.
    fn store(files: &[&[u64]]) -> (SimDisk, Store) {
        let disk = SimDisk::new(5);
        let mut options = Options::default();
        options.background = Background::Manual;
        let store = Store::open_on(Env::seeded(Arc::new(disk.clone()), 5), options).unwrap();
        let mut ticket = store.begin_restore(&["never made".to_owned()]).unwrap();
        for seeds in files {
            let (file, mut stream) = ticket.create_file(0).unwrap();
            let (mut segments, mut at) = (Vec::new(), 0);
            for seed in *seeds {
                let bytes = bytes(*seed);
                stream.write(&bytes).unwrap();
                stream.write(&[0; 7]).unwrap();
                segments.push((at, meta_of(*seed, &bytes)));
                at += bytes.len() as u64 + 7;
            }
            stream.finish().unwrap();
            ticket.hold(file, segments).unwrap();
        }
        drop(ticket);
        (disk, store)
    }

    /// The places of the segments, as file (by its place in the list) and offset.
    fn places(store: &Store, reuse: &Reuse) -> Vec<Option<(usize, u64)>> {
        let last = reuse.places.keys().next_back().map_or(0, |last| last + 1);
        let held = store.held_files();
        let nth = |file: FileId| held.iter().position(|held| held.file == file).unwrap();
        let place = |index| reuse.places.get(&index).map(|(file, at)| (nth(*file), *at));
        (0..last).map(place).collect()
    }

    fn checked(store: &Store, segments: &[StoredSegment]) -> Reuse {
        let backend: Arc<dyn Backend> = backend::open(&BackendConfig::Memory).unwrap();
        let (env, cancel) = (store.env(), Cancel::new());
        let pace = Pace::new(Host::from(env), &*backend, &cancel, Limits::NONE);
        Reuse::find(&store.held_files(), segments).check(&*env.disk, &pace).unwrap()
    }

    #[test]
    fn each_wanted_segment_gets_a_place_of_its_own() {
        let (_disk, store) = store(&[&[1, 2, 1], &[3, 8, 9], &[1, 4]]);
        let reuse = checked(&store, &wanted(&[4, 1, 1, 3, 5, 2, 1, 1]));
        let first = |at| Some((0, at));
        let expected =
            [Some((2, 3007)), first(0), first(6014), None, None, first(3007), Some((2, 0))];
        assert_eq!(places(&store, &reuse), expected, "of the second file too little is wanted");
        assert_eq!(reuse.useless_bytes, 3 * 3007);
        assert_eq!(reuse.files().len(), 2);
        assert!(checked(&store, &wanted(&[5])).places.is_empty());
        let mut other = wanted(&[1]);
        other[0].meta.uid.0[0] ^= 1;
        assert!(checked(&store, &other).places.is_empty(), "another segment with the same hash");
    }

    #[test]
    fn every_flipped_byte_of_a_wanted_segment_is_found() {
        let (disk, store) = store(&[&[1, 2], &[3]]);
        let segments = wanted(&[1, 2, 3]);
        assert_eq!(checked(&store, &segments).places.len(), 3);
        disk.settle();
        let path = names::file(store.held_files()[0].file);
        for at in 0..6014 {
            disk.flip(path.as_str(), at, 2).unwrap();
            let is_gap = (3000..3007).contains(&at) || at >= 6007;
            let places = checked(&store, &segments).places.len();
            assert_eq!(places, if is_gap { 3 } else { 1 }, "byte {at}");
            disk.flip(path.as_str(), at, 2).unwrap();
        }
        let file = disk.read_file(path.as_str()).unwrap();
        for length in [0, 1, 3000, 6013] {
            disk.write_file(path.as_str(), &file[..length]).unwrap();
            assert_eq!(checked(&store, &segments).places.len(), 1, "{length} bytes");
        }
        disk.write_file(path.as_str(), &[&file[..], b"!"].concat()).unwrap();
        assert_eq!(checked(&store, &segments).places.len(), 1, "a byte too many");
        store.env().disk.remove(&path).unwrap();
        let reuse = checked(&store, &segments);
        assert_eq!((reuse.places.len(), reuse.useless_bytes), (1, 6014), "the file is gone");
    }
}
