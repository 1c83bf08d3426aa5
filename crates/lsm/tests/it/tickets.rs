//! What a running restore or offload keeps others from doing, and what it leaves when it ends.

use std::{ops::Bound, sync::Arc};

use siltstone_io::{env::Env, sim::SimDisk};
use siltstone_lsm::{
    catalog::TenantStatus,
    error::{ErrorKind, Result},
    options::Durability,
    restore::{RestorePlan, RestoreTarget, RestoredCollection, RestoredTenant},
    store::{Step, Store},
    types::LOCATION_BYTES_MAX,
};

use crate::script::small_options;

/// A collection `a` with the HOT tenants `t1` and `t2`, one row in each, and a collection `b`.
fn store(seed: u64) -> (SimDisk, Store) {
    let disk = SimDisk::new(seed);
    let store = open(&disk, seed);
    store.create_collection("a").unwrap();
    store.create_collection("b").unwrap();
    for tree in store.create_tenants("a", &["t1", "t2"]).unwrap() {
        store.put(tree, b"key", b"value", Durability::Sync).unwrap();
    }
    (disk, store)
}

fn open(disk: &SimDisk, seed: u64) -> Store {
    Store::open_on(Env::seeded(Arc::new(disk.clone()), seed), small_options()).unwrap()
}

fn tenants(collection: &str, tenants: &[&str]) -> RestoreTarget {
    let tenants = tenants.iter().map(|tenant| (*tenant).to_owned()).collect();
    RestoreTarget::Tenants { collection: collection.to_owned(), tenants }
}

fn frozen(collection: &str, tenant: &str) -> RestoreTarget {
    RestoreTarget::Frozen { collection: collection.to_owned(), tenant: tenant.to_owned() }
}

fn plan(collection: &str, tenants: &[&str]) -> RestorePlan {
    let tenant = |name: &&str| RestoredTenant {
        name: (*name).to_owned(),
        status: TenantStatus::Hot,
        segments: Vec::new(),
    };
    let tenants = tenants.iter().map(tenant).collect();
    let name = collection.to_owned();
    let collections = vec![RestoredCollection { name, segments: Vec::new(), tenants }];
    RestorePlan { collections, sequence: 0 }
}

fn kind<T: std::fmt::Debug>(outcome: Result<T>) -> ErrorKind {
    outcome.unwrap_err().kind()
}

#[test]
fn all_names_in_the_way_of_a_restore_are_listed() {
    let (_disk, store) = store(51);
    let wanted = || {
        vec![
            RestoreTarget::Collection("b".to_owned()),
            tenants("a", &["t3", "t2", "t1"]),
            RestoreTarget::Collection("c".to_owned()),
        ]
    };
    let error = store.begin_restore_into(wanted()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let text = error.to_string();
    assert!(
        text.starts_with("these collections or tenants exist already: a/t1, a/t2, b;"),
        "{text}"
    );
    store.create_tenants("a", &["t3"]).unwrap();
    store.create_collection("c").unwrap();
    assert_eq!(kind(store.begin_restore_into(vec![tenants("x", &["t"])])), ErrorKind::NotFound);
}

#[test]
fn a_running_restore_keeps_its_tenants_and_their_collection() {
    let (_disk, store) = store(52);
    let ticket = store.begin_restore_into(vec![tenants("a", &["new"])]).unwrap();
    assert_eq!(kind(store.drop_collection("a")), ErrorKind::Unavailable);
    assert_eq!(kind(store.rename_collection("a", "c")), ErrorKind::Unavailable);
    assert_eq!(kind(store.create_tenants("a", &["other", "new"])), ErrorKind::Exists);
    assert_eq!(kind(store.rename_tenant("a", "t1", "new")), ErrorKind::Exists);
    let again = vec![RestoreTarget::Collection("c".to_owned()), tenants("a", &["new"])];
    let again = store.begin_restore_into(again).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Unavailable, "it is not there yet");
    assert!(again.to_string().starts_with("another restore is making a/new;"), "{again}");
    store.rename_tenant("a", "t1", "t9").unwrap();
    store.drop_tenants("a", &["t2"]).unwrap();
    ticket.commit(plan("a", &["new"])).unwrap();
    let tree = store.tree("a", Some("new")).unwrap();
    store.put(tree, b"key", b"value", Durability::Sync).unwrap();
    store.rename_collection("a", "c").unwrap();
    store.create_collection("a").unwrap();
    drop(store.begin_restore_into(vec![tenants("c", &["x"])]).unwrap());
    store.drop_collection("c").unwrap();
}

#[test]
fn a_plan_that_leaves_its_ticket_changes_nothing() {
    let (_disk, store) = store(53);
    let before = store.catalog();
    let begin = || store.begin_restore_into(vec![tenants("a", &["new"])]).unwrap();
    assert_eq!(kind(begin().commit(plan("a", &["new", "other"]))), ErrorKind::Invalid);
    assert_eq!(kind(begin().commit(plan("b", &["new"]))), ErrorKind::Invalid);
    let mut as_frozen = plan("a", &["new"]);
    as_frozen.collections[0].tenants[0].status = TenantStatus::Frozen;
    assert_eq!(kind(begin().commit(as_frozen)), ErrorKind::Invalid);
    assert_eq!(*store.catalog(), *before);
}

#[test]
fn a_tenant_on_its_way_out_takes_no_writes_and_no_changes() {
    let (disk, store) = store(54);
    let tree = store.tree("a", Some("t1")).unwrap();
    let mut ticket = store.begin_freeze("a", "t1").unwrap();
    let cut = ticket.take_cut();
    assert!(!cut.segments.is_empty() && cut.segments.iter().all(|segment| segment.tree == tree));
    assert_eq!(kind(store.put(tree, b"k", b"v", Durability::Sync)), ErrorKind::NotFound);
    let set = |status| store.set_tenant_status("a", &["t1"], status);
    assert_eq!(kind(set(TenantStatus::Hot)), ErrorKind::Unavailable);
    assert_eq!(kind(store.rename_tenant("a", "t1", "t9")), ErrorKind::Unavailable);
    assert_eq!(kind(store.drop_tenants("a", &["t1"])), ErrorKind::Unavailable);
    assert_eq!(kind(store.drop_collection("a")), ErrorKind::Unavailable);
    assert_eq!(kind(store.begin_freeze("a", "t1")), ErrorKind::Unavailable);
    ticket.abandon().unwrap();
    store.put(tree, b"k", b"v", Durability::Sync).unwrap();

    let ticket = store.begin_freeze("a", "t1").unwrap();
    let long = "x".repeat(LOCATION_BYTES_MAX + 1);
    assert_eq!(kind(ticket.commit(&long)), ErrorKind::Invalid);
    assert_eq!(store.catalog().collection("a").unwrap().tenant("t1").unwrap().status, COLD);
    set(TenantStatus::Hot).unwrap();
    drop(store);
    let store = open(&disk, 55);
    assert_eq!(store.get(tree, b"k").unwrap().as_deref(), Some(&b"v"[..]));
}

const COLD: TenantStatus = TenantStatus::Cold;

#[test]
fn the_rows_of_a_frozen_tenant_leave_the_disk_once_nothing_holds_them() {
    let (disk, store) = store(56);
    let snapshot = store.snapshot();
    let tree = store.tree("a", Some("t1")).unwrap();
    store.drop_tenants("a", &["t2"]).unwrap();
    let mut ticket = store.begin_freeze("a", "t1").unwrap();
    let cut = ticket.take_cut();
    ticket.commit("the far shelf").unwrap();
    assert!(store.metrics().pinned_bytes > 0 && store.metrics().segments == 0);
    drop(cut);
    while store.step().unwrap() != Step::Idle {}
    assert_eq!(store.metrics().pinned_bytes, 0);
    let everything = (Bound::Unbounded, Bound::Unbounded);
    assert_eq!(snapshot.scan(tree, everything).unwrap().count(), 1, "as it was");

    let check = |store: &Store| {
        let refused = store.tree("a", Some("t1")).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        let text = refused.to_string();
        assert!(text.contains("FROZEN") && text.contains("the far shelf"), "{text}");
        assert_eq!(store.catalog().collection("a").unwrap().location("t1"), Some("the far shelf"));
        let to = |status| store.set_tenant_status("a", &["t1"], status);
        assert_eq!(kind(to(TenantStatus::Hot)), ErrorKind::Unavailable);
        assert_eq!(kind(to(TenantStatus::Frozen)), ErrorKind::Invalid);
        assert_eq!(kind(store.begin_freeze("a", "t1")), ErrorKind::Invalid);
    };
    check(&store);
    drop((snapshot, store));
    let store = open(&disk, 57);
    check(&store);

    store.create_tenants("a", &["t3"]).unwrap();
    assert_eq!(kind(store.begin_restore_into(vec![frozen("a", "t3")])), ErrorKind::Invalid);
    let ticket = store.begin_restore_into(vec![frozen("a", "t1")]).unwrap();
    assert_eq!(kind(store.begin_restore_into(vec![frozen("a", "t1")])), ErrorKind::Unavailable);
    assert_eq!(kind(store.drop_tenants("a", &["t1"])), ErrorKind::Unavailable);
    ticket.commit(plan("a", &["t1"])).unwrap();
    assert_eq!(store.catalog().collection("a").unwrap().location("t1"), None);
    let back = store.tree("a", Some("t1")).unwrap();
    assert_ne!(back, tree, "trees are never used again");
    assert_eq!(store.get(back, b"key").unwrap().as_deref(), None, "the plan held no segments");
}
