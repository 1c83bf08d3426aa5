//! What comes back is what was there: whole, chosen, renamed, and with little uploaded twice.

use siltstone_backup::{
    api::{self, Backups, Listed},
    backend::{self, BackendConfig, Depth},
    error::ErrorKind,
    handle::Handle,
    names::NodeName,
    options::{Compression, CreateOptions, RestoreOptions, Selection},
    state::State,
};
use siltstone_lsm::{catalog::TenantStatus, options::Durability};

use crate::support::{
    assert_same, content, create, fill, memory, os_store, quick, restore, sim_store,
};

#[test]
fn a_restored_store_equals_the_cut() {
    let (_disk, store) = sim_store(1);
    fill(&store, 3000);
    let backend = memory();
    let expected = content(&store);
    let backups = Backups::new(store).unwrap();
    let handle = backups.create(&backend, "nightly", quick()).unwrap();
    let made = handle.wait().unwrap();
    check_trees(&handle);
    assert_eq!(made.totals.collections, 2);
    assert_eq!(made.totals.tenants, 2);
    assert!(made.totals.chunks > 1, "{made:?}");

    let (_other_disk, other) = sim_store(2);
    let backups = Backups::new(other.clone()).unwrap();
    let handle = backups.restore(&backend, "nightly", RestoreOptions::default()).unwrap();
    let restored = handle.wait().unwrap();
    check_trees(&handle);
    assert_same(&content(&other), &expected);
    assert_eq!(restored.totals.segment_bytes, made.totals.segment_bytes);
    let bird = other.tree("birds", None).unwrap();
    let sequence = other.put(bird, b"new", b"row", Durability::Sync).unwrap();
    assert!(sequence > made.sequence, "sequences go on above the backup's");
    other.verify(&mut |_, _| {}).unwrap();
}

/// Every byte is counted once, in the tree that it belongs to.
fn check_trees(handle: &Handle) {
    let trees = handle.trees();
    let names: Vec<String> = (trees.iter())
        .map(|tree| format!("{}/{}", tree.collection, tree.tenant.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(names, ["birds/", "fish/", "fish/pond", "fish/sea"]);
    assert!(trees.iter().all(|tree| tree.bytes_done == tree.bytes_total && tree.bytes_done > 0));
    let done: u64 = trees.iter().map(|tree| tree.bytes_done).sum();
    assert_eq!(done, handle.status().progress.bytes_done);
}

#[test]
fn real_folders_work_from_store_to_repository_and_back() {
    let root = tempfile::tempdir().unwrap();
    let os = |name: &str| os_store(&root.path().join(name));
    let store = os("store");
    fill(&store, 2000);
    let expected = content(&store);
    for (compression, id) in
        [(Compression::None, "plain"), (Compression::GzipBestCompression, "small")]
    {
        let config = BackendConfig::Folder(root.path().join(format!("backups-{id}")));
        let backend = backend::open(&config).unwrap();
        let mut options = CreateOptions::default();
        options.compression = compression;
        let backups = Backups::new(store.clone()).unwrap();
        let made = backups.create(&backend, id, options).unwrap().wait().unwrap();
        let stored = made.totals.chunk_bytes > made.totals.segment_bytes;
        assert_eq!(stored, compression == Compression::None, "{made:?}");
        let other = os(&format!("other-{id}"));
        restore(&other, &backend, id);
        assert_same(&content(&other), &expected);
        drop(other);
        assert_same(&content(&os(&format!("other-{id}"))), &expected);
    }
}

#[test]
fn a_second_backup_uploads_only_what_is_new() {
    let (_disk, store) = sim_store(3);
    fill(&store, 3000);
    store.flush().unwrap();
    store.compact().unwrap();
    let backend = memory();
    let first = create(&store, &backend, "first");
    let chunks = backend.list(".chunks/", Depth::All).unwrap();
    let again = create(&store, &backend, "again");
    assert_eq!(again.totals.uploaded_bytes, 0, "{again:?}");
    assert_eq!(again.progress.bytes_reused, first.totals.segment_bytes);
    assert_eq!(backend.list(".chunks/", Depth::All).unwrap(), chunks);

    let birds = store.tree("birds", None).unwrap();
    store.put(birds, b"only", b"this is new", Durability::Sync).unwrap();
    let third = create(&store, &backend, "third");
    assert!(third.totals.uploaded_bytes > 0, "{third:?} {first:?}");
    assert!(third.totals.uploaded_bytes < first.totals.uploaded_bytes / 10, "{third:?}");
    let (_other_disk, other) = sim_store(4);
    restore(&other, &backend, "third");
    assert_same(&content(&other), &content(&store));
    assert!(backend.list("", Depth::All).unwrap().iter().all(|it| !it.name.contains("intent")));
}

#[test]
fn a_backup_of_an_empty_store_restores() {
    let (_disk, store) = sim_store(5);
    let backend = memory();
    create(&store, &backend, "empty");
    let (_other_disk, other) = sim_store(6);
    restore(&other, &backend, "empty");
    assert!(content(&other).is_empty());
    store.create_collection("void").unwrap();
    create(&store, &backend, "void");
    restore(&other, &backend, "void");
    assert_same(&content(&other), &content(&store));
}

#[test]
fn chosen_collections_come_back_under_new_names() {
    let (_disk, store) = sim_store(7);
    fill(&store, 500);
    let backend = memory();
    create(&store, &backend, "all");
    let mut options = RestoreOptions::default();
    options.selection = Selection { include: vec!["fish".to_owned()], exclude: Vec::new() };
    options.rename = vec![("fish".to_owned(), "trout".to_owned())];
    let backups = Backups::new(store.clone()).unwrap();
    let restored = backups.restore(&backend, "all", options).unwrap().wait().unwrap();
    assert_eq!(restored.collections, ["trout"]);
    let content = content(&store);
    assert!(content["trout"] == content["fish"]);
    assert!(content["trout/sea Cold"] == content["fish/sea Cold"]);
    // One segment in two trees is stored once.
    store.set_tenant_status("trout", &["sea"], TenantStatus::Hot).unwrap();
    let both = create(&store, &backend, "both");
    assert_eq!(both.totals.uploaded_bytes, 0, "{both:?}");
}

#[test]
fn a_cut_taken_before_is_what_is_backed_up() {
    let (_disk, store) = sim_store(8);
    fill(&store, 200);
    let expected = content(&store);
    let cut = store.cut().unwrap();
    let birds = store.tree("birds", None).unwrap();
    store.clear(birds, Durability::Sync).unwrap();
    store.drop_collection("fish").unwrap();
    let backend = memory();
    let backups = Backups::new(store).unwrap();
    let handle = backups.create_from(cut, &backend, "before", quick()).unwrap();
    handle.wait().unwrap();
    let (_other_disk, other) = sim_store(9);
    restore(&other, &backend, "before");
    assert_same(&content(&other), &expected);
}

#[test]
fn wrong_requests_are_refused_before_anything_moves() {
    let (_disk, store) = sim_store(10);
    fill(&store, 100);
    let (backend, backups) = (memory(), Backups::new(store.clone()).unwrap());
    create(&store, &backend, "taken");
    let objects = backend.list("", Depth::All).unwrap();
    let refused = |id: &str, options: CreateOptions| {
        let error = backups.create(&backend, id, options).expect_err(id);
        (error.kind(), error.to_string())
    };
    assert_eq!(refused("taken", quick()).0, ErrorKind::Exists);
    assert_eq!(refused("Not A Name", quick()).0, ErrorKind::Invalid);
    let mut options = quick();
    options.selection.include = vec!["birds".to_owned(), "dragons".to_owned()];
    let (kind, text) = refused("new", options);
    assert_eq!(kind, ErrorKind::Invalid);
    assert!(text.contains("'dragons'") && !text.contains("no such collection: 'birds"), "{text}");

    let error = backups.restore(&backend, "none", RestoreOptions::default());
    assert_eq!(error.expect_err("no such backup").kind(), ErrorKind::NotFound);
    let error = backups.restore(&backend, "taken", RestoreOptions::default());
    let error = error.expect_err("both collections are there");
    assert_eq!(error.kind(), ErrorKind::Exists);
    let text = error.to_string();
    assert!(text.contains("birds") && text.contains("fish"), "{text}");
    let mut options = RestoreOptions::default();
    options.rename = vec![("birds".to_owned(), "fish".to_owned())];
    let error = backups.restore(&backend, "taken", options).expect_err("two of a name");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(backend.list("", Depth::All).unwrap(), objects);
}

#[test]
fn listing_and_statuses_tell_what_happened() {
    let (_disk, store) = sim_store(11);
    fill(&store, 100);
    let backend = memory();
    assert_eq!(api::list(&backend).expect_err("none yet").kind(), ErrorKind::NotFound);
    create(&store, &backend, "one");
    let listed = api::list(&backend).unwrap();
    assert!(matches!(&listed[..], [Listed::Backup(config)] if config.id.as_str() == "one"));
    let statuses = api::statuses(store.env(), Some(&backend)).unwrap();
    assert_eq!(statuses.len(), 1);
    assert_eq!((statuses[0].state, statuses[0].id.as_str()), (State::Success, "one"));
    let error = api::request_cancel(store.env(), "one").expect_err("it is over");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_node_of_any_name_takes_the_backup_of_one_node() {
    let (_disk, store) = sim_store(14);
    fill(&store, 10);
    let backend = memory();
    let mut options = quick();
    options.node = NodeName::new("Weaviate-0.example").unwrap();
    Backups::new(store.clone()).unwrap().create(&backend, "b", options).unwrap().wait().unwrap();
    let onto = |mapping: &[(&str, &str)]| {
        let (_disk, other) = sim_store(15);
        let mut options = RestoreOptions::default();
        options.node_mapping =
            mapping.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        let handle = Backups::new(other.clone()).unwrap().restore(&backend, "b", options)?;
        handle.wait().map(|_| content(&other))
    };
    for mapping in [&[][..], &[("Weaviate-0.example", "here")]] {
        assert_same(&onto(mapping).unwrap(), &content(&store));
    }
    for mapping in [&[("other", "here")][..], &[("Weaviate-0.example", "a"), ("second", "b")]] {
        let error = onto(mapping).expect_err("not the one node");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(
            mapping.iter().all(|(from, to)| text.contains(from) && text.contains(to)),
            "{text}"
        );
    }
}
