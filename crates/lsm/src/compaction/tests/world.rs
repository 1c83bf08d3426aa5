//! A store without WAL, manifest and threads: memtables, a version and a disk, beside a plain map
//! that says what must be read.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use siltstone_io::{disk::Disk, disk::ReadMode, env::Env, sim::SimDisk};

use crate::{
    cache::BlockCache,
    catalog::Catalog,
    compaction::{Context, Job, pick::pick, run::run},
    flush,
    format::{names, primitives::entry_sum},
    manifest::{Edit, Record},
    memtable::Memtable,
    options::Options,
    segment::FillCache,
    types::{EntryKind, FileId, RangeTombstone, Sequence, TreeId},
    version::{SegmentOpener, Version, edit::VersionEdit},
    view::View,
};

/// Live rows by tree.
pub(super) type Rows = BTreeMap<TreeId, BTreeMap<Vec<u8>, Vec<u8>>>;

/// What a reader holds, and what it must see.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) view: Arc<View>,
    pub(super) sequence: Sequence,
    pub(super) rows: Rows,
}

pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) env: Env,
    pub(super) options: Options,
    pub(super) opener: SegmentOpener,
    /// Newest first; the first is active.
    memtables: Vec<Arc<Memtable>>,
    pub(super) version: Version,
    pub(super) sequence: Sequence,
    pub(super) rows: Rows,
    next_file: u64,
}

impl World {
    pub(super) fn new(options: Options) -> Self {
        let disk = SimDisk::new(7);
        disk.create_dir(&names::top(names::FILES)).unwrap();
        let env = Env::seeded(Arc::new(disk.clone()), 7);
        let cache = Arc::new(BlockCache::new(64 << 10));
        let opener = SegmentOpener { disk: Arc::clone(&env.disk), mode: ReadMode::Direct, cache };
        Self {
            disk,
            env,
            options,
            opener,
            memtables: vec![Arc::new(Memtable::new())],
            version: Version::default(),
            sequence: 0,
            rows: Rows::new(),
            next_file: 1,
        }
    }

    /// Small limits, so that few rows make many segments and levels.
    pub(super) fn tiny() -> Self {
        Self::new(Options {
            segment_bytes_max: 700,
            block_bytes: 128,
            level0_segments_compact: 2,
            level1_bytes: 1500,
            level_ratio: 2,
            ..Options::default()
        })
    }

    fn next_sequence(&mut self) -> Sequence {
        self.sequence += 1;
        self.sequence
    }

    pub(super) fn put(&mut self, tree: TreeId, key: &[u8], value: &[u8]) {
        let sequence = self.next_sequence();
        self.memtables[0].put(tree, key, sequence, value);
        self.rows.entry(tree).or_default().insert(key.to_vec(), value.to_vec());
    }

    pub(super) fn delete(&mut self, tree: TreeId, key: &[u8]) {
        let sequence = self.next_sequence();
        self.memtables[0].delete(tree, key, sequence);
        self.rows.entry(tree).or_default().remove(key);
    }

    pub(super) fn delete_range(&mut self, tree: TreeId, start: &[u8], end: Option<&[u8]>) {
        let sequence = self.next_sequence();
        let tombstone =
            RangeTombstone { start: start.to_vec(), end: end.map(<[u8]>::to_vec), sequence };
        self.rows.entry(tree).or_default().retain(|key, _| !tombstone.covers(key));
        self.memtables[0].delete_range(tree, tombstone);
    }

    pub(super) fn seal(&mut self) {
        self.memtables.insert(0, Arc::new(Memtable::new()));
    }

    /// Flushes all sealed memtables, oldest first.
    pub(super) fn flush_sealed(&mut self) {
        while self.memtables.len() > 1 {
            let memtable = self.memtables.last().map(Arc::clone).unwrap();
            let trees: BTreeSet<TreeId> = memtable.trees().into_iter().collect();
            let file = FileId(self.next_file);
            self.next_file += 1;
            let context = flush::Context { env: &self.env, options: &self.options, cache: None };
            let flushed = flush::write(context, &memtable, &trees, file).unwrap();
            let mut records = Vec::new();
            if let Some(flushed) = flushed {
                let (file, length) = (flushed.file, flushed.length);
                records.push(Record::AddFile { file, length });
                records.extend(flushed.segments.into_iter().map(|(tree, offset, meta)| {
                    Record::AddSegment { tree, level: 0, file, offset, meta }
                }));
            }
            self.apply(Edit { records });
            self.memtables.pop();
        }
    }

    pub(super) fn flush(&mut self) {
        self.seal();
        self.flush_sealed();
    }

    /// Runs a job and applies its edit.
    pub(super) fn run(&mut self, job: &Job) {
        let edit = self.try_run(job, &mut || true).unwrap().expect("nobody cancels");
        self.apply(edit);
    }

    pub(super) fn try_run(
        &mut self,
        job: &Job,
        go_on: &mut dyn FnMut() -> bool,
    ) -> crate::error::Result<Option<Edit>> {
        let context = Context { env: &self.env, options: &self.options, opener: &self.opener };
        let next_file = &mut self.next_file;
        let mut next = || {
            *next_file += 1;
            FileId(*next_file - 1)
        };
        run(context, job, &mut next, go_on)
    }

    /// One compaction; whether there was anything to do.
    pub(super) fn compact_once(&mut self) -> bool {
        let job = pick(&self.version, &self.options);
        job.as_ref().inspect(|job| self.run(job)).is_some()
    }

    /// Compacts until the picker finds nothing.
    pub(super) fn compact(&mut self) {
        for _ in 0..10_000 {
            if !self.compact_once() {
                return;
            }
        }
        panic!("the picker always finds something");
    }

    pub(super) fn apply(&mut self, edit: Edit) {
        let mut next = VersionEdit::new(self.version.clone());
        for record in edit.records {
            match record {
                Record::AddFile { file, length } => next.add_file(file, length),
                Record::AddSegment { tree, level, file, offset, meta } => {
                    next.add_segment(tree, level, (file, offset), meta)
                }
                Record::RemoveSegment { tree, file, offset } => {
                    next.remove_segment(tree, (file, offset))
                }
                Record::MoveSegment { tree, file, offset, level } => {
                    next.move_segment(tree, (file, offset), level)
                }
                other => panic!("not an edit of segments: {other:?}"),
            }
            .unwrap();
        }
        self.version = next.finish().unwrap().0;
        self.check_levels();
    }

    /// No key is in two segments of a level below 0, and segments say the truth about themselves.
    fn check_levels(&self) {
        for (tree, levels) in self.version.trees() {
            for (level, segments) in levels.levels.iter().enumerate().skip(1) {
                let mut last = Vec::new();
                for segment in segments {
                    let reader = segment.reader(&self.opener).unwrap();
                    let mut cursor = reader.cursor(FillCache::No);
                    cursor.seek_first().unwrap();
                    while let Some(entry) = cursor.entry() {
                        assert!(
                            entry.key > last.as_slice(),
                            "{tree} level {level}: one version a key"
                        );
                        last = entry.key.to_vec();
                        cursor.next().unwrap();
                    }
                }
            }
        }
    }

    pub(super) fn view(&self) -> Arc<View> {
        Arc::new(View {
            memtables: self.memtables.clone(),
            version: Arc::new(self.version.clone()),
            catalog: Arc::new(Catalog::default()),
        })
    }

    pub(super) fn reader(&self) -> Reader {
        Reader { view: self.view(), sequence: self.sequence, rows: self.rows.clone() }
    }

    /// Entries in all segments of a tree: puts, deletes, range tombstones.
    pub(super) fn counts(&self, tree: TreeId) -> (u64, u64, u64) {
        let segments = self.version.tree(tree).into_iter().flat_map(|tree| tree.segments());
        segments.fold((0, 0, 0), |(puts, deletes, ranges), segment| {
            let counts = segment.meta.counts;
            (puts + counts.puts, deletes + counts.deletes, ranges + counts.range_deletes)
        })
    }

    /// Files on the disk that the version does not know.
    pub(super) fn orphans(&self) -> Vec<String> {
        let names = self.disk.list(&names::top(names::FILES)).unwrap();
        let known = |name: &str| {
            let id = names::parse_file(name).expect("a file of segments");
            self.version.file(id).is_some()
        };
        names.into_iter().map(|entry| entry.name).filter(|name| !known(name)).collect()
    }

    /// Removes the files that the version does not know.
    pub(super) fn reap(&self) {
        for name in self.orphans() {
            self.disk.remove(&names::top(names::FILES).join(&name).unwrap()).unwrap();
        }
    }
}

impl Reader {
    /// Compares everything that can be read of a tree with the rows.
    pub(super) fn check(&self, opener: &SegmentOpener, tree: TreeId, probes: &[Vec<u8>]) {
        let none = BTreeMap::new();
        let rows = self.rows.get(&tree).unwrap_or(&none);
        for key in probes {
            let found = self.view.get(opener, tree, key, self.sequence).unwrap();
            let found = found.as_deref();
            assert_eq!(found, rows.get(key).map(Vec::as_slice), "get {key:?} of {tree}");
        }
        let mut bounds = vec![Bound::Unbounded];
        bounds.extend(probes.iter().step_by(3).cloned().map(Bound::Included));
        bounds.extend(probes.iter().skip(1).step_by(5).cloned().map(Bound::Excluded));
        for (at, start) in bounds.iter().enumerate() {
            let end = &bounds[(at * 7 + 3) % bounds.len()];
            self.check_scan(opener, tree, (start.clone(), end.clone()));
        }
        self.check_scan(opener, tree, (Bound::Unbounded, Bound::Unbounded));
        let digest = self.view.digest(opener, tree, self.sequence).unwrap();
        let sums = rows.iter().map(|(key, value)| entry_sum(key, 0, EntryKind::Put, value));
        assert_eq!(digest.rows, rows.len() as u64);
        assert_eq!(digest.sum, sums.fold(0, u128::wrapping_add));
    }

    fn check_scan(
        &self,
        opener: &SegmentOpener,
        tree: TreeId,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    ) {
        let within = |key: &[u8]| {
            let after = match &range.0 {
                Bound::Included(start) => key >= start.as_slice(),
                Bound::Excluded(start) => key > start.as_slice(),
                Bound::Unbounded => true,
            };
            let before = match &range.1 {
                Bound::Included(end) => key <= end.as_slice(),
                Bound::Excluded(end) => key < end.as_slice(),
                Bound::Unbounded => true,
            };
            after && before
        };
        let rows = self.rows.get(&tree).into_iter().flatten();
        let expected: Vec<(Vec<u8>, Vec<u8>)> = rows
            .filter(|(key, _)| within(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let scan = || self.view.scan(opener, tree, range.clone(), self.sequence).unwrap();
        let forward: Vec<_> = scan().map(Result::unwrap).collect();
        assert_eq!(forward, expected, "forward {range:?} of {tree}");
        let mut backward: Vec<_> = scan().rev().map(Result::unwrap).collect();
        backward.reverse();
        assert_eq!(backward, expected, "backward {range:?} of {tree}");

        // From both ends in turn, until they meet.
        let (mut front, mut back, mut rows) = (Vec::new(), Vec::new(), scan());
        for turn in 0_usize.. {
            let from_front = turn % 3 != 1;
            let row = if from_front { rows.next() } else { rows.next_back() };
            let Some(row) = row else { break };
            if from_front { front.push(row.unwrap()) } else { back.push(row.unwrap()) }
        }
        assert!(rows.next().is_none() && rows.next_back().is_none(), "the end is the end");
        front.extend(back.into_iter().rev());
        assert_eq!(front, expected, "both ends of {range:?} of {tree}");
    }
}
