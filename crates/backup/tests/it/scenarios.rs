//! A store that everybody writes to is backed up in one place, its backup is copied from place to
//! place, and in each it is what the cut held: verified by a rehearsal, with equal sums, and restored
//! and compared row by row with what its writers remember.
//!
//! `cargo xtask test backends` plays it over two real servers at once: `SILTSTONE_TEST_SCENARIO` names
//! their kinds, in order.

use std::{
    collections::BTreeMap,
    env,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use siltstone_backup::{
    api::Backups,
    backend::{
        self, Backend, BackendConfig, Depth, Place, Provider, S3Config, S3Credentials, Secret,
        Settings,
    },
    error::ErrorKind,
    names::NodeName,
    options::RestoreOptions,
    verify::{Level, TreeDigest},
};
use siltstone_loopback::{
    gcs,
    s3::{self, S3},
};
use siltstone_lsm::{
    batch::Batch,
    options::Durability,
    store::Store,
    types::{Sequence, TreeId},
};

use crate::{
    copy::try_copy,
    support::{
        Rows, assert_same, content, fill, memory, os_store, quick, restore, sim_store, wait_until,
    },
    timed::verify_in,
};

/// The node that is backed up.
const NODE: &str = "production-0";

const WRITERS: [u64; 3] = [0, 1, 2];

/// Keys of each writer in each tree: they are written again and again.
const KEYS: u64 = 400;

/// Sequences that the writers have used before the backup begins.
const SEQUENCES_BEFORE: u64 = 1000;

/// Between two batches of a writer, so that what they remember stays small.
const PAUSE: Duration = Duration::from_micros(500);

/// The trees of writers, under the names that [`content`] gives them.
const TREES: [&str; 4] = ["stock", "orders", "orders/north Hot", "orders/south Hot"];

/// What a writer remembers of a batch.
type Batched = (Sequence, u64, u64);

/// Ends the writers, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What batch `count` of a writer does: a row in one tree, no row in the next, a count in all.
fn changes(writer: u64, count: u64) -> Vec<(usize, String, Option<String>)> {
    let tree = |at: u64| usize::try_from(at % TREES.len() as u64).unwrap();
    let key = |at: u64| format!("row-{writer}-{:04}", at % KEYS);
    let row = format!("{count:>200}");
    let mut changes = vec![
        (tree(count), key(count), Some(row)),
        (tree(count + 1), key(count.wrapping_mul(7)), None),
    ];
    let counts =
        (0..TREES.len()).map(|at| (at, format!("count-{writer}"), Some(count.to_string())));
    changes.extend(counts);
    changes
}

fn write(store: &Store, trees: [TreeId; 4], writer: u64, over: &AtomicBool) -> Vec<Batched> {
    let mut batches = Vec::new();
    for count in 1.. {
        if over.load(Ordering::SeqCst) {
            break;
        }
        let mut batch = Batch::new();
        for (tree, key, value) in changes(writer, count) {
            match value {
                Some(value) => batch.put(trees[tree], key.as_bytes(), value.as_bytes()).unwrap(),
                None => batch.delete(trees[tree], key.as_bytes()).unwrap(),
            }
        }
        let durability = if count % 50 == 0 { Durability::Sync } else { Durability::Buffered };
        batches.push((store.write(batch, durability).unwrap(), writer, count));
        thread::sleep(PAUSE);
    }
    batches
}

/// What the writers' trees hold after all batches up to a cut.
fn rows_at(cut: Sequence, mut batches: Vec<Batched>) -> BTreeMap<String, Rows> {
    batches.sort_unstable();
    let mut held: BTreeMap<String, Rows> =
        TREES.iter().map(|tree| ((*tree).to_owned(), Rows::new())).collect();
    for (_, writer, count) in batches.into_iter().filter(|batch| batch.0 <= cut) {
        for (tree, key, value) in changes(writer, count) {
            let rows = held.get_mut(TREES[tree]).unwrap();
            match value {
                Some(value) => rows.insert(key.into_bytes(), value.into_bytes()),
                None => rows.remove(key.as_bytes()),
            };
        }
    }
    held
}

/// The backup of a live store, at each of the places it was brought to.
struct Played {
    /// What the cut held.
    held: BTreeMap<String, Rows>,
    /// The sums of it that a rehearsal found, the same everywhere.
    digests: Vec<TreeDigest>,
}

fn rehearsed(backend: &Arc<dyn Backend>) -> Vec<TreeDigest> {
    let report = verify_in(backend, "nightly", Level::Rehearsal);
    assert!(report.is_sound(), "{report:?}");
    report.trees
}

/// Backs a store up to the first place while it is written to, and copies the backup on from place
/// to place.
fn play(places: &[&Arc<dyn Backend>]) -> Played {
    let folder = tempfile::tempdir().unwrap();
    let store = os_store(&folder.path().join("store"));
    fill(&store, 1500);
    let mut held = content(&store);
    let own = ["stock", "orders"].map(|name| store.create_collection(name).unwrap());
    let tenants = store.create_tenants("orders", &["north", "south"]).unwrap();
    let trees = [own[0], own[1], tenants[0], tenants[1]];
    let over = AtomicBool::new(false);
    let ((made, digests), batches) = thread::scope(|scope| {
        let (store, over) = (&store, &over);
        let writers = WRITERS.map(|writer| scope.spawn(move || write(store, trees, writer, over)));
        let ended = Over(over);
        let begun = store.snapshot().sequence();
        wait_until(|| store.snapshot().sequence() - begun >= SEQUENCES_BEFORE);
        let mut options = quick();
        options.node = NodeName::new(NODE).unwrap();
        let backups = Backups::new(store.clone()).unwrap();
        let made = backups.create(places[0], "nightly", options).unwrap().wait().unwrap();
        let digests = rehearsed(places[0]);
        for hop in places.windows(2) {
            let copied = try_copy(hop[0], hop[1], "nightly", None).unwrap();
            assert_eq!(copied.config.sequence, made.sequence);
            assert_eq!(copied.bytes_copied, made.totals.chunk_bytes);
            assert_eq!(rehearsed(hop[1]), digests, "in {}", hop[1].describe());
        }
        drop(ended);
        let batches = writers.into_iter().flat_map(|writer| writer.join().unwrap());
        ((made, digests), batches.collect::<Vec<Batched>>())
    });
    let before = batches.iter().filter(|batch| batch.0 <= made.sequence).count();
    assert!(0 < before && before < batches.len(), "{before} of {} batches", batches.len());
    held.extend(rows_at(made.sequence, batches));
    let rows: usize = held.values().map(Rows::len).sum();
    assert_eq!(digests.iter().map(|tree| tree.rows).sum::<u64>(), rows as u64);
    store.close().unwrap();
    Played { held, digests }
}

impl Played {
    /// That a store holds what the cut held: row by row, and by its sums.
    fn assert_held(&self, store: &Store) {
        assert_same(&content(store), &self.held);
        let snapshot = store.snapshot();
        for expected in &self.digests {
            let collection = snapshot.catalog().collection(&expected.collection).unwrap();
            let tree = match &expected.tenant {
                Some(tenant) => collection.tenants.get(tenant.as_str()).unwrap().tree,
                None => collection.tree,
            };
            let found = snapshot.digest(tree).unwrap();
            let digest = (found.rows, found.bytes, found.sum);
            assert_eq!(digest, (expected.rows, expected.bytes, expected.sum), "{expected:?}");
        }
    }

    /// Restores from a place, and looks.
    fn assert_restores(&self, backend: &Arc<dyn Backend>, seed: u64) {
        let (_disk, store) = sim_store(seed);
        restore(&store, backend, "nightly");
        self.assert_held(&store);
    }

    /// Restores on a node of another name, which then makes backups under its own.
    fn assert_restores_on_another_node(&self, backend: &Arc<dyn Backend>, seed: u64) {
        let (_disk, store) = sim_store(seed);
        let backups = Backups::new(store.clone()).unwrap();
        let onto = |from: &str| {
            let mut options = RestoreOptions::default();
            options.node_mapping = vec![(from.to_owned(), "debugger".to_owned())];
            backups.restore(backend, "nightly", options)
        };
        let refused = onto("production-1").expect_err("the backup is of another node");
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        assert!(refused.to_string().contains(NODE), "{refused}");
        onto(NODE).unwrap().wait().unwrap();
        self.assert_held(&store);
        let mut options = quick();
        options.node = NodeName::new("debugger").unwrap();
        backups.create(backend, "of-the-debugger", options).unwrap().wait().unwrap();
        let report = verify_in(backend, "of-the-debugger", Level::Rehearsal);
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.trees, self.digests);
    }
}

/// Production on the first place, a second place, and a folder.
fn two_places_and_a_folder([first, second]: [&Arc<dyn Backend>; 2], seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let last = backend::open(&BackendConfig::Folder(folder.path().join("copies"))).unwrap();
    let played = play(&[first, second, &last]);
    played.assert_restores(second, seed);
    // Nothing of the places before is needed any more.
    for backend in [first, second] {
        empty(backend);
    }
    played.assert_restores(&last, seed + 1);
    played.assert_restores_on_another_node(&last, seed + 2);
}

fn empty(backend: &Arc<dyn Backend>) {
    for entry in backend.list("", Depth::All).unwrap() {
        backend.delete(&entry.name).unwrap();
    }
}

/// Past the capture of the test runner.
fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").unwrap();
}

fn from_variables(
    provider: Provider,
    path: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Arc<dyn Backend> {
    let mut place = Place::default();
    place.path = Some(path.to_owned());
    backend::open(&Settings::from_env(lookup).config(provider, &place).unwrap()).unwrap()
}

#[test]
fn scenario_of_production_goes_over_two_places_to_a_folder() {
    let store = S3::start().unwrap();
    let mut config = S3Config::default();
    s3::BUCKET.clone_into(&mut config.bucket);
    config.endpoint = store.url();
    let (key_id, secret) = (s3::KEY_ID.to_owned(), Secret::new("of no account"));
    config.credentials = S3Credentials::Keys { key_id, secret, session_token: None };
    let first = backend::open(&BackendConfig::S3(config)).unwrap();
    two_places_and_a_folder([&first, &memory()], 700);
    assert!(store.names().is_empty() && store.open_uploads().is_empty());
    say("scenario s3 (stand-in), memory, folder: passed");
}

#[test]
fn scenario_of_production_goes_over_real_servers_to_a_folder() {
    let read = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let Some(kinds) = read("SILTSTONE_TEST_SCENARIO") else {
        return say("SKIPPED: copies between real servers; run cargo xtask test backends");
    };
    let path = format!("scenario-{}", std::process::id());
    let (first, second) = kinds.split_once(',').expect("two kinds of servers, as in s3,azure");
    let [first, second] =
        [first, second].map(|kind| from_variables(kind.parse().unwrap(), &path, read));
    two_places_and_a_folder([&first, &second], 710);
    say(&format!("scenario {}, {}, folder: passed", first.describe(), second.describe()));
}

#[test]
fn scenario_of_google_goes_to_a_folder_for_debugging() {
    let storage = gcs::serve(0, &["birds"], None).unwrap();
    let pairs = [
        ("BACKUP_GCS_BUCKET", "birds".to_owned()),
        ("BACKUP_GCS_USE_AUTH", "false".to_owned()),
        ("STORAGE_EMULATOR_HOST", storage.host()),
    ];
    let lookup = |name: &str| {
        pairs.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone())
    };
    let bucket = from_variables(Provider::Gcs, "production", lookup);
    let folder = tempfile::tempdir().unwrap();
    let config = BackendConfig::Folder(folder.path().join("debugging"));
    let local = backend::open(&config).unwrap();
    let played = play(&[&bucket, &local]);
    empty(&bucket);
    drop((bucket, storage));
    played.assert_restores(&local, 720);
    // A debugger opens it from its folder alone, another day.
    let again = backend::open(&config).unwrap();
    played.assert_restores_on_another_node(&again, 721);
    say("scenario gcs (stand-in), folder: passed");
}
