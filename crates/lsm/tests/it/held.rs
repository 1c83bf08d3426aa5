//! Files that a restore holds for its next try: who may take them, what survives what, and what goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use siltstone_io::{disk::StreamWriter, env::Env, sim::SimDisk};
use siltstone_lsm::{
    cut::Cut,
    error::{ErrorKind, Result},
    format::{names, primitives::PieceHasher},
    options::Durability,
    restore::{RestorePlan, RestoredCollection, RestoredSegment, RestoredTenant},
    store::{RestoreTicket, Step, Store},
    types::{FileId, SegmentMeta, TreeId},
    version::Segment,
};

use crate::script::small_options;

/// The bytes of a segment, from the file that has it.
pub(crate) fn read(store: &Store, file: FileId, offset: u64, length: u64) -> Result<Vec<u8>> {
    let range = offset..offset + length;
    let mut reader = store.env().disk.open_stream(&names::file(file), range)?;
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next_piece()? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn copy(store: &Store, segment: &Segment, to: &mut dyn StreamWriter) -> Result<()> {
    Ok(to.write(&read(store, segment.file.id, segment.offset, segment.meta.length)?)?)
}

/// One file with one segment, finished.
fn copied(store: &Store, ticket: &mut RestoreTicket, segment: &Segment) -> Result<FileId> {
    let (file, mut stream) = ticket.create_file(0)?;
    copy(store, segment, &mut *stream)?;
    stream.finish()?;
    Ok(file)
}

/// Copies a cut into files of one segment, holds all but the last of several, and gives up.
pub(crate) fn hold(store: &Store) -> Result<()> {
    let cut = store.cut()?;
    let mut ticket = store.begin_restore(&["never made".to_owned()])?;
    for (nth, segment) in cut.segments.iter().enumerate() {
        let file = copied(store, &mut ticket, segment)?;
        if nth == 0 || nth + 1 < cut.segments.len() {
            ticket.hold(file, vec![(0, segment.meta.clone())])?;
        }
    }
    Ok(())
}

/// Takes the held copies of a cut's segments, and releases all else that is held.
fn take(
    store: &Store,
    ticket: &mut RestoreTicket,
    cut: &Cut,
) -> Result<BTreeMap<usize, (FileId, u64)>> {
    let mut there: BTreeMap<_, Vec<(FileId, u64)>> = BTreeMap::new();
    for held in store.held_files() {
        for (offset, meta) in &held.segments {
            there.entry(meta.hash).or_default().push((held.file, *offset));
        }
    }
    let place = |(index, segment): (usize, &Arc<Segment>)| {
        Some((index, there.get_mut(&segment.meta.hash)?.pop()?))
    };
    let taken: BTreeMap<_, _> = cut.segments.iter().enumerate().filter_map(place).collect();
    ticket.take_held(&taken.values().map(|(file, _)| *file).collect())?;
    Ok(taken)
}

/// Restores a cut of the whole store into itself under other names.
pub(crate) fn restore(store: &Store, prefix: &str) -> Result<()> {
    let cut = store.cut()?;
    let renamed = |name: &str| format!("{prefix}{name}");
    let names: Vec<String> =
        cut.catalog.collections.iter().map(|(name, _)| renamed(name)).collect();
    let mut ticket = store.begin_restore(&names)?;
    let taken = take(store, &mut ticket, &cut)?;
    let (new_file, mut stream) = ticket.create_file(0)?;
    let mut written = 0;
    let mut segments: BTreeMap<TreeId, Vec<RestoredSegment>> = BTreeMap::new();
    for (index, segment) in cut.segments.iter().enumerate() {
        let (file, offset) = if let Some(place) = taken.get(&index) {
            *place
        } else {
            copy(store, segment, &mut *stream)?;
            written += segment.meta.length;
            (new_file, written - segment.meta.length)
        };
        let (level, meta) = (segment.level, segment.meta.clone());
        let restored = RestoredSegment { level, file, offset, meta };
        segments.entry(segment.tree).or_default().push(restored);
    }
    stream.finish()?;
    let mut plan = RestorePlan { collections: Vec::new(), sequence: cut.sequence };
    for (name, collection) in &cut.catalog.collections {
        let tenants = collection.tenants.iter().map(|(tenant, info)| RestoredTenant {
            name: tenant.to_string(),
            status: info.status,
            segments: segments.remove(&info.tree).unwrap_or_default(),
        });
        let tenants = tenants.collect();
        let own = segments.remove(&collection.tree).unwrap_or_default();
        plan.collections.push(RestoredCollection { name: renamed(name), segments: own, tenants });
    }
    assert!(segments.is_empty(), "a cut holds segments of its catalog's trees alone");
    ticket.commit(plan)
}

/// Of a store that was just opened: at least so many files are held, each is whole, and no file is
/// on the disk but what is held or has segments of trees.
pub(crate) fn check(store: &Store, least: usize, context: &str) {
    let held = store.held_files();
    assert!(held.len() >= least, "{context}: {} files are held, not {least}", held.len());
    for file in &held {
        for (offset, meta) in &file.segments {
            let bytes = read(store, file.file, *offset, meta.length)
                .unwrap_or_else(|error| panic!("{context}: held {}: {error}", file.file));
            let mut hasher = PieceHasher::default();
            hasher.update(&bytes);
            assert_eq!(hasher.finish(), meta.hash, "{context}: held {}", file.file);
        }
    }
    let metrics = store.metrics();
    let bytes: u64 = held.iter().map(|held| held.length).sum();
    assert_eq!((metrics.held_files, metrics.held_bytes), (held.len() as u64, bytes), "{context}");
    assert_eq!(on_disk(store), named(store), "{context}");
}

/// The files of segments on the disk.
fn on_disk(store: &Store) -> BTreeSet<FileId> {
    let listed = store.env().disk.list(&names::top(names::FILES)).unwrap();
    listed.iter().filter_map(|entry| names::parse_file(&entry.name)).collect()
}

/// Those that trees have or that are held and free.
fn named(store: &Store) -> BTreeSet<FileId> {
    let snapshot = store.snapshot();
    let live = snapshot.view().version.files().map(|file| file.id);
    live.chain(store.held_files().iter().map(|held| held.file)).collect()
}

/// A collection `a` and a collection `b`, one segment each.
fn filled(seed: u64) -> (SimDisk, Store) {
    let disk = SimDisk::new(seed);
    let store = open(&disk, seed);
    for name in ["a", "b"] {
        let tree = store.create_collection(name).unwrap();
        store.put(tree, b"key", name.as_bytes(), Durability::Sync).unwrap();
    }
    store.flush().unwrap();
    (disk, store)
}

fn open(disk: &SimDisk, seed: u64) -> Store {
    Store::open_on(Env::seeded(Arc::new(disk.clone()), seed), small_options()).unwrap()
}

fn begin(store: &Store, name: &str) -> RestoreTicket {
    store.begin_restore(&[name.to_owned()]).unwrap()
}

fn kind<T: std::fmt::Debug>(outcome: Result<T>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

fn ids(store: &Store) -> BTreeSet<FileId> {
    store.held_files().iter().map(|held| held.file).collect()
}

/// One collection of one segment.
fn plan(name: &str, level: u8, (file, offset): (FileId, u64), meta: SegmentMeta) -> RestorePlan {
    let sequence = meta.sequence_max;
    let segments = vec![RestoredSegment { level, file, offset, meta }];
    let collection = RestoredCollection { name: name.to_owned(), segments, tenants: Vec::new() };
    RestorePlan { collections: vec![collection], sequence }
}

#[test]
fn held_files_outlive_their_ticket_and_the_process_and_nothing_else_of_it_does() {
    let (disk, store) = filled(31);
    let cut = store.cut().unwrap();
    let mut ticket = begin(&store, "c");
    let held = copied(&store, &mut ticket, &cut.segments[0]).unwrap();
    let other = copied(&store, &mut ticket, &cut.segments[1]).unwrap();
    ticket.hold(held, vec![(0, cut.segments[0].meta.clone())]).unwrap();
    assert!(on_disk(&store).is_superset(&[held, other].into()));
    drop(ticket);
    assert!(on_disk(&store).contains(&held) && !on_disk(&store).contains(&other));
    drop((cut, store));
    for seed in 32..36 {
        let store = open(&disk, seed);
        check(&store, 1, "after a reopen");
        let found = store.held_files();
        assert_eq!((found.len(), found[0].file), (1, held));
        // The snapshot of a rolled manifest has it too.
        store.create_collection(&format!("more {seed}").repeat(9)).unwrap();
        while store.step().unwrap() != Step::Idle {}
        assert!(store.catalog().collection("c").is_err());
    }
    let store = open(&disk, 36);
    let length = store.held_files()[0].length;
    assert_eq!(store.discard_held().unwrap(), length);
    assert_eq!((store.metrics().held_bytes, store.held_files().len()), (0, 0));
    check(&store, 0, "after the discard");
    assert_eq!(store.discard_held().unwrap(), 0);
    drop(store);
    check(&open(&disk, 37), 0, "after another reopen");
    let manifests = disk.paths().into_iter().filter_map(|path| names::parse_manifest(&path));
    assert!(manifests.max() > Some(4), "the manifest was rolled at every open");
}

#[test]
fn what_a_running_restore_has_is_its_own() {
    let (_disk, store) = filled(41);
    hold(&store).unwrap();
    hold(&store).unwrap();
    let both = ids(&store);
    let [first, second] = both.iter().copied().collect::<Vec<_>>()[..] else {
        panic!("two are held: {both:?}");
    };
    let mut ticket = begin(&store, "c");
    // Another one begins meanwhile, with a file of its own.
    let cut = store.cut().unwrap();
    let mut other = begin(&store, "d");
    let own = copied(&store, &mut other, &cut.segments[0]).unwrap();
    other.hold(own, vec![(0, cut.segments[0].meta.clone())]).unwrap();
    assert_eq!(ids(&store), both, "the one of a running restore is not for others");

    assert_eq!(kind(ticket.take_held(&[first, own].into())), ErrorKind::Invalid);
    assert_eq!(kind(ticket.take_held(&[FileId(1 << 40)].into())), ErrorKind::Invalid);
    assert_eq!(ids(&store), both, "what was refused changed nothing");
    let length = store.held_files()[1].length;
    assert_eq!(ticket.take_held(&[first].into()).unwrap(), length, "the other one goes");
    assert!(ids(&store).is_empty() && !on_disk(&store).contains(&second));
    assert_eq!(kind(other.take_held(&[first].into())), ErrorKind::Invalid);
    assert_eq!(store.discard_held().unwrap(), 0);
    assert_eq!(store.metrics().held_files, 2);
    drop((ticket, other));
    assert_eq!(ids(&store), [first, own].into(), "both ended without a commit");
}

#[test]
fn the_commit_takes_what_it_uses_and_drops_the_rest() {
    let (disk, store) = filled(51);
    let cut = store.cut().unwrap();
    hold(&store).unwrap();
    let (level, meta) = (cut.segments[0].level, cut.segments[0].meta.clone());
    let mut ticket = begin(&store, "c");
    let unused = copied(&store, &mut ticket, &cut.segments[1]).unwrap();
    ticket.hold(unused, vec![(0, cut.segments[1].meta.clone())]).unwrap();
    let taken = ids(&store);
    ticket.take_held(&taken).unwrap();
    let file = *taken.first().unwrap();
    ticket.commit(plan("c", level, (file, 0), meta)).unwrap();
    assert_eq!((store.metrics().held_files, store.held_files().len()), (0, 0));
    while store.step().unwrap() != Step::Idle {}
    assert!(on_disk(&store).contains(&file) && !on_disk(&store).contains(&unused));
    drop((cut, store));
    let store = open(&disk, 52);
    check(&store, 0, "after a reopen");
    store.verify(&mut |_, _| ()).unwrap();
    let tree = store.tree("c", None).unwrap();
    assert!(store.get(tree, b"key").unwrap().is_some());
}

#[test]
fn what_does_not_fit_is_not_held_and_not_committed() {
    let (_disk, store) = filled(61);
    let cut = store.cut().unwrap();
    let (level, meta) = (cut.segments[0].level, cut.segments[0].meta.clone());
    let mut ticket = begin(&store, "c");
    let file = copied(&store, &mut ticket, &cut.segments[0]).unwrap();
    let live = cut.segments[0].file.id;
    assert_eq!(kind(ticket.hold(live, Vec::new())), ErrorKind::Invalid, "a file of the store");
    assert_eq!(kind(ticket.hold(file, vec![(1, meta.clone())])), ErrorKind::Invalid, "too long");
    let twice = vec![(0, meta.clone()), (0, meta.clone())];
    assert_eq!(kind(ticket.hold(file, twice)), ErrorKind::Invalid, "one place, two segments");
    assert_eq!(store.metrics().held_files, 0);
    ticket.hold(file, vec![(0, meta.clone())]).unwrap();
    assert_eq!(kind(ticket.hold(file, vec![(0, meta.clone())])), ErrorKind::Invalid, "twice");

    // A plan of which the edit would not fit is refused before the queue.
    let mut twice = plan("c", level, (file, 0), meta.clone());
    let again = twice.collections[0].segments[0].clone();
    twice.collections[0].segments.push(again);
    assert_eq!(kind(ticket.commit(twice)), ErrorKind::Invalid);
    let ticket = begin(&store, "c");
    let not_taken = ticket.commit(plan("c", level, (file, 0), meta));
    assert_eq!(kind(not_taken), ErrorKind::Invalid, "held, and not this ticket's");
    store.create_collection("c").unwrap();
    assert_eq!(ids(&store), [file].into());
}
