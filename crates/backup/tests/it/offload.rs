//! Tenants that leave for a backend and come back.

use std::sync::{Arc, atomic::Ordering};

use siltstone_backup::{
    api::{self, Backups},
    backend::{Backend, Depth},
    error::ErrorKind,
    prune::PruneOptions,
    state::State,
};
use siltstone_io::sim::Crash;
use siltstone_lsm::{catalog::TenantStatus, options::Durability, store::Store};

use crate::{
    slow::Slow,
    support::{assert_same, content, create, fill, memory, open_sim, quick, restore, sim_store},
    timed::Place,
};

fn status(store: &Store, tenant: &str) -> TenantStatus {
    store.catalog().collection("fish").unwrap().tenant(tenant).unwrap().status
}

fn objects(backend: &Arc<dyn Backend>) -> Vec<String> {
    let listed = backend.list("", Depth::All).unwrap();
    listed.into_iter().map(|entry| entry.name).filter(|name| name != "repository.json").collect()
}

#[test]
fn an_offloaded_tenant_comes_back_as_it_was_and_leaves_nothing_behind() {
    let (disk, store) = sim_store(70);
    fill(&store, 400);
    let expected = content(&store);
    let backend = memory();
    let backups = Backups::new(store.clone()).unwrap();
    let made = backups.offload(&backend, "fish", "pond", quick()).unwrap();
    assert!(made.id.is_offload());
    assert_eq!((made.totals.collections, made.totals.tenants), (1, 1));
    assert_eq!(status(&store, "pond"), TenantStatus::Frozen);
    let refused = store.tree("fish", Some("pond")).unwrap_err().to_string();
    assert!(refused.contains(made.id.as_str()) && refused.contains("fetch it back"), "{refused}");
    let again = backups.offload(&backend, "fish", "pond", quick()).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Invalid);

    // It comes back under the names it has by then, after a reopen, from the same backend.
    store.rename_tenant("fish", "pond", "lake").unwrap();
    store.rename_collection("fish", "trout").unwrap();
    drop((backups, store));
    let store = open_sim(&disk, 71);
    let backups = Backups::new(store.clone()).unwrap();
    let elsewhere = backups.fetch_back(&memory(), "trout", "lake", TenantStatus::Hot).unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::NotFound);
    let back = backups.fetch_back(&backend, "trout", "lake", TenantStatus::Hot).unwrap();
    assert!(back.leftover.is_none());
    assert_eq!(objects(&backend), Vec::<String>::new());
    store.rename_collection("trout", "fish").unwrap();
    store.rename_tenant("fish", "lake", "pond").unwrap();
    assert_same(&content(&store), &expected);
    let hot = backups.fetch_back(&backend, "fish", "pond", TenantStatus::Hot).unwrap_err();
    assert_eq!(hot.kind(), ErrorKind::Invalid);

    let tree = store.tree("fish", Some("pond")).unwrap();
    store.put(tree, b"key-000001", b"written after", Durability::Sync).unwrap();
    let found = store.get(tree, b"key-000001").unwrap();
    assert_eq!(found.as_deref(), Some(&b"written after"[..]), "new sequences are above the old");
}

#[test]
fn neither_a_prune_nor_a_delete_takes_the_only_copy_of_a_tenant() {
    let place = Place::new(74);
    let store = place.store(74);
    fill(&store, 200);
    let expected = content(&store);
    let backend = place.backend();
    let backups = Backups::new(store.clone()).unwrap();
    let made = backups.offload(&backend, "fish", "pond", quick()).unwrap();
    for id in ["a", "b"] {
        create(&store, &backend, id);
        place.advance(100);
    }
    let mut options = PruneOptions::default();
    options.policy.last = Some(1);
    for _ in 0..3 {
        place.prune(&options);
        place.advance(100);
    }
    let mut ids = place.ids();
    ids.sort_unstable();
    assert_eq!(ids, ["b", made.id.as_str()]);
    assert_eq!(place.delete(made.id.as_str()).unwrap_err().kind(), ErrorKind::Invalid);
    backups.fetch_back(&backend, "fish", "pond", TenantStatus::Hot).unwrap();
    assert_same(&content(&store), &expected);
}

#[test]
fn a_backup_leaves_frozen_tenants_out_and_says_so() {
    let (_disk, store) = sim_store(72);
    fill(&store, 200);
    let mut expected = content(&store);
    let backend = memory();
    create(&store, &backend, "before");
    let backups = Backups::new(store.clone()).unwrap();
    backups.offload(&backend, "fish", "sea", quick()).unwrap();
    let made = create(&store, &backend, "after");
    assert_eq!(made.skipped, ["fish/sea"]);
    assert_eq!(made.totals.tenants, 1);
    assert_eq!(made.totals.uploaded_bytes, 0, "the base is the backup before, not the offload");
    let (_other_disk, other) = sim_store(73);
    restore(&other, &backend, "after");
    expected.remove("fish/sea Cold");
    assert_same(&content(&other), &expected);
    let refused = backups.create(&backend, "offload-mine", quick()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    backups.fetch_back(&backend, "fish", "sea", TenantStatus::Cold).unwrap();
    restore(&sim_store(74).1, &backend, "after"); // its chunks are still there
    assert!(create(&store, &backend, "later").skipped.is_empty());
}

#[test]
fn a_backend_that_dies_at_any_request_never_loses_a_tenant() {
    let (_disk, store) = sim_store(75);
    fill(&store, 120);
    let expected = content(&store);
    let backups = Backups::new(store.clone()).unwrap();
    for after in 0.. {
        let memory = memory();
        let (dying, requests) = Slow::dying(&memory, after);
        let lived = match backups.offload(&dying, "fish", "pond", quick()) {
            Ok(_) => requests.load(Ordering::SeqCst) <= after,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Denied, "after {after}: {error}");
                assert_same(&content(&store), &expected); // HOT as before
                continue;
            }
        };
        assert!(lived, "after {after}: a request failed, and was not needed");
        for after in 0.. {
            let (dying, requests) = Slow::dying(&memory, after);
            match backups.fetch_back(&dying, "fish", "pond", TenantStatus::Hot) {
                Ok(back) => {
                    assert_same(&content(&store), &expected);
                    let lived = requests.load(Ordering::SeqCst) <= after;
                    assert_eq!(back.leftover.is_none(), lived, "after {after}: {back:?}");
                    if lived {
                        return;
                    }
                    // The tenant is back; the next turn needs one that is not.
                    backups.offload(&memory, "fish", "pond", quick()).unwrap();
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Denied, "after {after}: {error}");
                    assert_eq!(status(&store, "pond"), TenantStatus::Frozen);
                }
            }
        }
    }
}

#[test]
fn a_machine_that_dies_at_any_step_has_the_tenant_here_or_in_the_backend() {
    let (filled, store) = sim_store(76);
    fill(&store, 60);
    let mut expected = content(&store);
    let rows = expected.remove("fish/pond Hot").unwrap();
    store.close().unwrap();
    drop(store);
    filled.settle();
    // There and back again, stopped at a step of the disk.
    let travel = |store: &Store, backend: &Arc<dyn Backend>| {
        let Ok(backups) = Backups::new(store.clone()) else { return };
        if backups.offload(backend, "fish", "pond", quick()).is_ok() {
            drop(backups.fetch_back(backend, "fish", "pond", TenantStatus::Hot));
        }
    };
    let whole = filled.fork();
    let begun = {
        let store = open_sim(&whole, 77);
        let begun = whole.operations();
        travel(&store, &memory());
        begun
    };
    let mut seen = [0; 3];
    for steps in begun..=whole.operations() {
        let (disk, memory) = (filled.fork(), memory());
        {
            let store = open_sim(&disk, 77);
            disk.stop_after(steps);
            travel(&store, &memory);
        }
        for crash in [Crash::All, Crash::matrix(steps)[usize::try_from(steps % 13).unwrap()]] {
            let store = open_sim(&disk.crash(crash), 78);
            let backups = Backups::new(store.clone()).unwrap();
            for status in api::statuses(store.env(), Some(&memory)).unwrap() {
                assert!(
                    status.state.is_final() || status.state == State::Transferred,
                    "{status:?}"
                );
            }
            match status(&store, "pond") {
                TenantStatus::Frozen => {
                    seen[2] += 1;
                    backups.fetch_back(&copy(&memory), "fish", "pond", TenantStatus::Hot).unwrap();
                }
                TenantStatus::Cold => {
                    seen[1] += 1;
                    store.set_tenant_status("fish", &["pond"], TenantStatus::Hot).unwrap();
                }
                _ => seen[0] += 1,
            }
            let mut found = content(&store);
            assert!(found.remove("fish/pond Hot").unwrap() == rows, "{steps} {crash:?}");
            assert_same(&found, &expected);
        }
    }
    assert!(seen.iter().all(|times| *times > 5), "{seen:?}");
}

#[test]
fn copies_that_no_tenant_needs_are_known_and_can_go() {
    let (_disk, store) = sim_store(79);
    fill(&store, 60);
    let backend = memory();
    let backups = Backups::new(store.clone()).unwrap();
    create(&store, &backend, "nightly");
    let pond = backups.offload(&backend, "fish", "pond", quick()).unwrap();
    let sea = backups.offload(&backend, "fish", "sea", quick()).unwrap();
    let (_other_disk, other) = sim_store(80);
    fill(&other, 20);
    let others = Backups::new(other).unwrap();
    let foreign = others.offload(&backend, "fish", "pond", quick()).unwrap();
    let unneeded = || {
        let copies = backups.unneeded_copies(&backend).unwrap();
        copies.into_iter().map(|copy| copy.id).collect::<Vec<_>>()
    };
    assert!(unneeded().is_empty());
    let needed = api::find(&backend, sea.id.as_str()).unwrap();
    let foreign = api::find(&backend, foreign.id.as_str()).unwrap();
    let nightly = api::find(&backend, "nightly").unwrap();

    store.drop_tenants("fish", &["pond"]).unwrap();
    assert_eq!(unneeded(), std::slice::from_ref(&pond.id));
    for kept in [&needed, &foreign, &nightly] {
        let refused = backups.remove_copy(&backend, kept).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    }
    let copy = api::find(&backend, pond.id.as_str()).unwrap();
    backups.remove_copy(&backend, &copy).unwrap();
    assert!(unneeded().is_empty());
    let left = objects(&backend);
    assert!(!left.iter().any(|object| object.contains(pond.id.as_str())), "{left:?}");
    backups.fetch_back(&backend, "fish", "sea", TenantStatus::Cold).unwrap();
    others.fetch_back(&backend, "fish", "pond", TenantStatus::Hot).unwrap();
    restore(&sim_store(81).1, &backend, "nightly");
}

/// The same objects in another backend, so that a test can use them up more than once.
fn copy(from: &Arc<dyn Backend>) -> Arc<dyn Backend> {
    let to = memory();
    for entry in from.list("", Depth::All).unwrap() {
        let bytes = from.get(&entry.name, u64::MAX).unwrap();
        to.put(&entry.name, bytes, siltstone_backup::backend::PutMode::Replace).unwrap();
    }
    to
}
