//! A whole backup, a second one that uploads little, a restore, and a prune in both its steps, on the
//! server that the environment names; `cargo xtask test backends` starts real ones.

use std::{collections::BTreeSet, env, io::Write, sync::Arc, time::Duration};

use siltstone_backup::{
    api,
    backend::{self, Backend, Depth, Place, Provider, Settings},
    cancel::Cancel,
    delete::{Damaged, delete},
    job::Job,
    progress::Progress,
    prune::{Change, Mode, PruneOptions, PruneReport, prune},
    show::show,
};
use siltstone_loopback::gcs;
use siltstone_lsm::{options::Durability, store::Store};

use crate::{
    aged::Aged,
    support::{assert_same, content, create, fill, memory, restore, sim_store},
};

/// More than the grace of a prune.
const LONG: Duration = Duration::from_hours(100);

fn read(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Makes the backups `first` and `second`, and restores the latter.
fn back_up_twice_and_restore(backend: &Arc<dyn Backend>, seed: u64) -> Store {
    let (_disk, store) = sim_store(seed);
    fill(&store, 3000);
    store.flush().unwrap();
    store.compact().unwrap();
    let first = create(&store, backend, "first");
    assert!(first.totals.chunks > 1, "{first:?}");
    let birds = store.tree("birds", None).unwrap();
    store.put(birds, b"one more", b"row", Durability::Sync).unwrap();
    let second = create(&store, backend, "second");
    let uploaded = second.totals.uploaded_bytes;
    assert!(uploaded > 0 && uploaded * 10 < first.totals.uploaded_bytes, "{second:?}");
    restores(&store, backend, "second", seed + 1);
    assert_eq!(api::list(backend).unwrap().len(), 2);
    store
}

fn restores(store: &Store, backend: &Arc<dyn Backend>, id: &str, seed: u64) {
    let (_disk, other) = sim_store(seed);
    restore(&other, backend, id);
    assert_same(&content(&other), &content(store));
    other.verify(&mut |_, _| {}).unwrap();
}

fn chunks_of(backend: &Arc<dyn Backend>, id: &str) -> BTreeSet<String> {
    show(backend, id).unwrap().chunks.iter().map(|chunk| chunk.id.object()).collect()
}

fn chunks_there(backend: &Arc<dyn Backend>) -> BTreeSet<String> {
    let listed = backend.list(".chunks/", Depth::All).unwrap();
    listed.into_iter().map(|entry| entry.name).collect()
}

/// Deletes two of three backups, and lets time pass: what the third does not need goes in two steps,
/// by the ages that the server tells, and nothing else does.
fn prune_in_two_steps(backend: &Arc<dyn Backend>, store: &Store, seed: u64) {
    store.drop_collection("birds").unwrap();
    create(store, backend, "third");
    let needed = chunks_of(backend, "third");
    let all: BTreeSet<String> =
        ["first", "second", "third"].iter().flat_map(|id| chunks_of(backend, id)).collect();
    let doomed: BTreeSet<String> = all.difference(&needed).cloned().collect();
    assert!(!doomed.is_empty() && !needed.is_disjoint(&chunks_of(backend, "first")));
    assert_eq!(chunks_there(backend), all);
    for id in ["first", "second"] {
        delete(backend, id, Damaged::Refuse).unwrap();
    }

    let aged = Aged::over(backend);
    let place: Arc<dyn Backend> = Arc::new(aged.clone());
    let run = |mode: Mode| -> PruneReport {
        let (env, cancel, progress) = (store.env(), &Cancel::new(), &Progress::new());
        let job = Job { clock: &*env.clock, entropy: &*env.entropy, cancel, progress };
        let mut options = PruneOptions::default();
        options.mode = mode;
        prune(job, &place, &options).unwrap()
    };
    let condemned = |report: &PruneReport| -> BTreeSet<String> {
        let chunk = |change: &Change| match change {
            Change::CondemnChunk(chunk) => Some(chunk.object()),
            _ => None,
        };
        report.changes.iter().filter_map(chunk).collect()
    };
    let removed = |report: &PruneReport| -> BTreeSet<String> {
        let chunk = |change: &Change| match change {
            Change::RemoveChunk(chunk) => Some(chunk.object()),
            _ => None,
        };
        report.changes.iter().filter_map(chunk).collect()
    };
    let young = run(Mode::Run);
    assert_eq!((young.young.chunks, young.live.chunks), (count(&doomed), count(&needed)));
    assert!(young.changes.is_empty(), "what is young stays: {young:?}");

    aged.advance(LONG);
    for mode in [Mode::DryRun, Mode::Run] {
        let step = run(mode);
        assert_eq!(condemned(&step), doomed, "{mode:?}");
        assert!(removed(&step).is_empty(), "{mode:?}");
        assert_eq!(chunks_there(backend), all, "a condemned chunk stays for the grace");
    }
    let soon = run(Mode::Run);
    assert_eq!(soon.waiting.chunks, count(&doomed));
    assert!(soon.changes.is_empty(), "{soon:?}");

    aged.advance(LONG);
    for mode in [Mode::DryRun, Mode::Run] {
        assert_eq!(chunks_there(backend), all);
        let step = run(mode);
        assert_eq!(removed(&step), doomed, "{mode:?}");
        assert!(condemned(&step).is_empty(), "{mode:?}");
    }
    assert_eq!(chunks_there(backend), needed);
    assert!(backend.list(".prune/", Depth::All).unwrap().is_empty(), "no list is left");
    restores(store, backend, "third", seed);
    assert_eq!(api::list(backend).unwrap().len(), 1);
    assert!(run(Mode::Run).changes.is_empty(), "there is nothing left to do");
}

fn count(chunks: &BTreeSet<String>) -> u64 {
    chunks.len() as u64
}

fn all_of_it(name: &str, backend: &Arc<dyn Backend>, seed: u64) {
    let store = back_up_twice_and_restore(backend, seed);
    prune_in_two_steps(backend, &store, seed + 2);
    for entry in backend.list("", Depth::All).unwrap() {
        backend.delete(&entry.name).unwrap();
    }
    writeln!(std::io::stderr(), "backup, backup, restore, prune on {name}: 1 of 1").unwrap();
}

#[test]
fn memory_takes_two_backups_and_gives_one_back() {
    back_up_twice_and_restore(&memory(), 40); // it tells no ages, so there is no prune
    writeln!(std::io::stderr(), "backup, backup, restore, prune on memory: 1 of 1").unwrap();
}

#[test]
fn the_stand_in_for_google_takes_two_backups_and_gives_one_back() {
    let storage = gcs::serve(0, &["birds"], None).unwrap();
    let pairs = [
        ("BACKUP_GCS_BUCKET", "birds".to_owned()),
        ("BACKUP_GCS_PATH", "round trip".to_owned()),
        ("BACKUP_GCS_USE_AUTH", "false".to_owned()),
        ("STORAGE_EMULATOR_HOST", storage.host()),
    ];
    let lookup = |name: &str| {
        pairs.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone())
    };
    let config = Settings::from_env(lookup).config(Provider::Gcs, &Place::default()).unwrap();
    all_of_it("gcs (stand-in)", &backend::open(&config).unwrap(), 60);
}

#[test]
fn a_server_of_the_environment_takes_two_backups_and_gives_one_back() {
    let Some(provider) = read("SILTSTONE_TEST_BACKEND") else {
        let skipped = "SKIPPED: backups to real servers; run cargo xtask test backends";
        writeln!(std::io::stderr(), "{skipped}").unwrap(); // past the capture of the test runner
        return;
    };
    let mut place = Place::default();
    place.path = Some(format!("round-trip-{}", std::process::id()));
    let config = Settings::from_env(read).config(provider.parse().unwrap(), &place).unwrap();
    let name = read("SILTSTONE_TEST_SERVER").unwrap_or(provider);
    all_of_it(&name, &backend::open(&config).unwrap(), 50);
}
