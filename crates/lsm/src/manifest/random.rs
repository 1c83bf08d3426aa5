//! Random edits that mostly fit a state, and states as comparable text, for tests.

use siltstone_io::env::SeededEntropy;

use crate::{
    catalog::{Collection, TenantStatus},
    manifest::{Edit, Record, State},
    types::{Counts, FileId, Hash, LogId, SegmentMeta, TreeId, Uid},
    version::Segment,
};

/// Makes edits; several in a row may name things that only the ones before created.
#[derive(Debug)]
pub(crate) struct Random(SeededEntropy);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn index(&self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("it is below a usize")
    }

    /// One edit of one to three changes; now and then one that does not fit.
    pub(crate) fn edit(&self, state: &State) -> Edit {
        let changes = 1 + self.below(3);
        let mut records = Vec::new();
        for change in 0..changes {
            let fresh = change * 100; // identifiers of one edit do not collide
            records.extend(match self.below(14) {
                0 | 1 => self.create_collection(state, fresh),
                2 => self.create_tenants(state, fresh),
                3 if self.below(3) == 0 => self.drop_something(state),
                3 => self.rename(state),
                4 if self.below(2) == 0 => self.freeze(state, fresh),
                4 => self.set_status(state),
                5..=7 => self.flush(state, fresh),
                8 | 9 => self.compact(state, fresh),
                10 => self.counters(state),
                11 => self.hold(state, fresh),
                12 => self.let_go(state),
                _ if self.below(4) == 0 => self.nonsense(),
                _ => self.trivial_move(state),
            });
        }
        Edit { records }
    }

    fn create_collection(&self, state: &State, fresh: u64) -> Vec<Record> {
        let name = format!("collection {}", self.below(12));
        let (id, tree) = (state.next_collection + fresh, TreeId(state.next_tree.0 + fresh));
        vec![Record::CreateCollection { id, name, tree }]
    }

    fn create_tenants(&self, state: &State, fresh: u64) -> Vec<Record> {
        let Some(collection) = self.collection(state) else { return Vec::new() };
        let first = TreeId(state.next_tree.0 + fresh);
        let from = self.below(50);
        let names: Vec<_> = (from..from + 3).map(|n| format!("tenant {n}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        state.catalog.create_tenants(&collection.name, &names, first).unwrap_or_default()
    }

    fn drop_something(&self, state: &State) -> Vec<Record> {
        let Some(collection) = self.collection(state) else { return Vec::new() };
        match self.pick(collection.tenants.keys()) {
            Some(name) if self.below(4) > 0 => {
                let name = name.to_string();
                vec![Record::DropTenant { collection: collection.id, name }]
            }
            _ => vec![Record::DropCollection { id: collection.id }],
        }
    }

    fn rename(&self, state: &State) -> Vec<Record> {
        let Some(collection) = self.collection(state) else { return Vec::new() };
        match self.pick(collection.tenants.keys()) {
            Some(name) if self.below(2) > 0 => {
                let (name, to) = (name.to_string(), format!("tenant {}", self.below(50)));
                vec![Record::RenameTenant { collection: collection.id, name, to }]
            }
            _ => {
                let name = format!("collection {}", self.below(12));
                vec![Record::RenameCollection { id: collection.id, name }]
            }
        }
    }

    fn set_status(&self, state: &State) -> Vec<Record> {
        let Some(collection) = self.collection(state) else { return Vec::new() };
        let Some(name) = self.pick(collection.tenants.keys()) else { return Vec::new() };
        let status = [TenantStatus::Hot, TenantStatus::Cold, TenantStatus::Frozen][self.index(3)];
        let name = name.to_string();
        vec![Record::SetTenantStatus { collection: collection.id, name, status }]
    }

    fn freeze(&self, state: &State, fresh: u64) -> Vec<Record> {
        let Some(collection) = self.collection(state) else { return Vec::new() };
        let known = self.pick(collection.tenants.keys()).map(ToString::to_string);
        let name = known.filter(|_| self.below(8) > 0).unwrap_or_else(|| "far".to_owned());
        let tree = TreeId(state.next_tree.0 + fresh);
        let location = format!("shelf {}", self.below(1 << 20));
        vec![Record::FrozenTenant { collection: collection.id, name, tree, location }]
    }

    fn flush(&self, state: &State, fresh: u64) -> Vec<Record> {
        let trees: Vec<_> = state.catalog.trees().filter(|_| self.below(3) == 0).collect();
        let file = FileId(state.next_file.0 + fresh);
        let mut records = vec![Record::AddFile { file, length: 1_000 * trees.len() as u64 }];
        for (tree, at) in trees.into_iter().zip(0..) {
            let (offset, length) = (at * 1_000, 1 + self.below(1_000));
            let meta = self.meta(length, (0, 255));
            records.push(Record::AddSegment { tree, level: 0, file, offset, meta });
        }
        records
    }

    /// Merges a level of a tree into the next one, in two segments.
    fn compact(&self, state: &State, fresh: u64) -> Vec<Record> {
        let trees: Vec<_> = state.version.trees().collect();
        let Some((tree, found)) = self.pick(trees.iter()) else { return Vec::new() };
        let (tree, level) = (*tree, self.index(found.levels.len()));
        let inputs = found.level(level).iter().chain(found.level(level + 1));
        let mut records: Vec<_> = inputs.map(|segment| remove(segment)).collect();
        let file = FileId(state.next_file.0 + fresh);
        let split = u8::try_from(1 + self.below(200)).expect("it is at most 200");
        records.push(Record::AddFile { file, length: 4_096 });
        for (keys, offset) in [((0, split), 0), ((split, 255), 2_048)] {
            let meta = self.meta(1 + self.below(2_048), keys);
            let level = u8::try_from(level + 1).expect("levels are few");
            records.push(Record::AddSegment { tree, level, file, offset, meta });
        }
        records
    }

    fn hold(&self, state: &State, fresh: u64) -> Vec<Record> {
        let file = FileId(state.next_file.0 + fresh);
        let segments = self.below(4);
        let mut records = vec![Record::HoldFile { file, length: 1_000 * segments }];
        for at in 0..segments {
            let meta = self.meta(1 + self.below(1_000), (0, 255));
            records.push(Record::HoldSegment { file, offset: at * 1_000, meta });
        }
        records
    }

    /// Releases a held file, or gives its segments to a tree.
    fn let_go(&self, state: &State) -> Vec<Record> {
        let Some(held) = self.pick(state.held.files()) else { return Vec::new() };
        let file = held.file;
        let mut records = vec![Record::ReleaseFile { file }];
        if let Some(tree) = self.pick(state.catalog.trees()).filter(|_| self.below(2) == 0) {
            records.push(Record::AddFile { file, length: held.length });
            records.extend(held.segments.iter().map(|(offset, meta)| Record::AddSegment {
                tree,
                level: 0,
                file,
                offset: *offset,
                meta: meta.clone(),
            }));
        }
        records
    }

    fn trivial_move(&self, state: &State) -> Vec<Record> {
        let Some(segment) = self.pick(state.version.segments()) else { return Vec::new() };
        vec![Record::MoveSegment {
            tree: segment.tree,
            file: segment.file.id,
            offset: segment.offset,
            level: segment.level + 1,
        }]
    }

    fn counters(&self, state: &State) -> Vec<Record> {
        let log = LogId(state.last_log.0 + 1 + self.below(2));
        let sequence = state.replay_floor.1 + self.below(1_000);
        vec![
            Record::LogReady { log },
            Record::ReplayFloor { log, sequence },
            Record::ReserveSequences { upto: sequence + (1 << 24) },
            Record::QueueEdit { number: state.last_queue_edit + 1 },
        ]
    }

    fn nonsense(&self) -> Vec<Record> {
        let (tree, file) = (TreeId(self.below(40)), FileId(self.below(40)));
        match self.below(5) {
            0 => vec![Record::RemoveSegment { tree, file, offset: self.below(3) * 1_000 }],
            1 => vec![Record::DropCollection { id: self.below(40) }],
            2 => vec![Record::ReplayFloor { log: LogId(0), sequence: 0 }],
            3 => vec![Record::ReleaseFile { file }],
            _ => {
                let meta = self.meta(10, (5, 4));
                vec![Record::AddSegment { tree, level: 0, file, offset: 0, meta }]
            }
        }
    }

    fn meta(&self, length: u64, (key_min, key_max): (u8, u8)) -> SegmentMeta {
        let mut uid = [0; 16];
        uid[..8].copy_from_slice(&self.0.next_u64().to_le_bytes());
        let sequence_min = 1 + self.below(1 << 30);
        SegmentMeta {
            uid: Uid(uid),
            length,
            hash: Hash([key_max; 32]),
            counts: Counts { puts: length, deletes: 1, range_deletes: 0 },
            sum: u128::from(self.0.next_u64()),
            key_min: vec![key_min],
            key_max: (key_max < 255).then(|| vec![key_max]),
            sequence_min,
            sequence_max: sequence_min + self.below(1_000),
        }
    }

    fn collection<'a>(&self, state: &'a State) -> Option<&'a Collection> {
        self.pick(state.catalog.collections.values()).map(|collection| &**collection)
    }

    fn pick<T>(&self, from: impl Iterator<Item = T>) -> Option<T> {
        let mut all: Vec<T> = from.collect();
        (!all.is_empty()).then(|| all.swap_remove(self.index(all.len())))
    }
}

fn remove(segment: &Segment) -> Record {
    let (tree, file, offset) = (segment.tree, segment.file.id, segment.offset);
    Record::RemoveSegment { tree, file, offset }
}

/// Everything that two equal states have in common, as lines.
pub(crate) fn describe(state: &State) -> Vec<String> {
    let State { store_id, replay_floor, last_log, reserved_upto, last_queue_edit, .. } = state;
    let mut lines = vec![
        format!("{store_id:?} {replay_floor:?} {last_log} {reserved_upto} {last_queue_edit}"),
        format!("{} {} {}", state.next_tree, state.next_file, state.next_collection),
    ];
    lines.extend(state.catalog.collections.values().map(|collection| format!("{collection:?}")));
    for (tree, found) in state.version.trees() {
        for segment in found.segments() {
            let Segment { level, file, offset, meta, .. } = &**segment;
            lines.push(format!("{tree} level {level} {} at {offset}: {meta:?}", file.id));
        }
    }
    for file in state.version.file_uses() {
        let (id, length) = (file.handle.id, file.handle.length);
        let offsets: Vec<_> = file.segments.keys().collect();
        lines.push(format!("{id} of {length} bytes, {} live, at {offsets:?}", file.live_bytes));
    }
    lines.extend(state.held.files().map(|held| format!("{held:?}")));
    let held: u64 = state.held.files().map(|held| held.length).sum();
    assert_eq!((state.held.bytes(), state.held.file_count()), (held, state.held.files().count()));
    let version = &state.version;
    let bytes: u64 = version.segments().map(|segment| segment.meta.length).sum();
    let level0 = version.trees().map(|(_, tree)| tree.level(0).len()).max().unwrap_or(0);
    assert_eq!((version.segment_bytes(), version.level0_segments_most()), (bytes, level0));
    lines
}
