//! Many tenants with little in each; single tenants chosen and renamed.

use std::{path::Path, sync::Arc};

use siltstone_backup::{
    api::Backups,
    backend::Depth,
    error::ErrorKind,
    options::{CreateOptions, RestoreOptions},
};
use siltstone_io::{
    env::Env,
    os::{OsDisk, StreamEngine},
};
use siltstone_lsm::{batch::Batch, options::Durability, store::Store};

use crate::support::{
    assert_same, content, fill, memory, open, open_sim, quick, restore, sim_store,
};

/// Files below a folder.
fn files_in(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|it| if it.path().is_dir() { files_in(&it.path()) } else { 1 }).sum()
}

fn os_store(folder: &Path) -> Store {
    open(Env::system(Arc::new(OsDisk::open(folder, StreamEngine::Auto).unwrap())))
}

#[test]
fn ten_thousand_tenants_cost_a_few_files_and_objects() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("store");
    let store = os_store(&folder);
    store.create_collection("fish").unwrap();
    let names: Vec<String> = (0..10_000).map(|number| format!("tenant-{number:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let trees = store.create_tenants("fish", &names).unwrap();
    for (tree, name) in trees.iter().zip(&names) {
        let mut batch = Batch::new();
        batch.put(*tree, b"name", name.as_bytes()).unwrap();
        store.write(batch, Durability::Buffered).unwrap();
    }
    let before = files_in(&folder);
    let cut = store.cut().unwrap();
    let after = files_in(&folder);
    assert!(after <= before + 3, "{before} files before the cut, {after} after it");

    let backend = memory();
    let backups = Backups::new(store.clone()).unwrap();
    let made = backups.create_from(cut, &backend, "nightly", quick()).unwrap().wait().unwrap();
    assert_eq!((made.totals.tenants, made.totals.segments), (10_000, 10_000));
    let objects = backend.list("", Depth::All).unwrap();
    assert!(objects.len() <= 6, "{objects:?}");

    let other = os_store(&root.path().join("other"));
    restore(&other, &backend, "nightly");
    let expected = content(&store);
    assert_same(&content(&other), &expected);
    drop(other);
    let other = os_store(&root.path().join("other"));
    other.rename_tenant("fish", "tenant-00042", "renamed").unwrap();
    let one = other.tree("fish", Some("renamed")).unwrap();
    assert_eq!(other.get(one, b"name").unwrap().as_deref(), Some(&b"tenant-00042"[..]));
    let mut renamed = content(&other);
    let rows = renamed.remove("fish/renamed Hot").unwrap();
    renamed.insert("fish/tenant-00042 Hot".to_owned(), rows);
    assert_same(&renamed, &expected);
}

#[test]
fn single_tenants_are_backed_up_restored_and_renamed() {
    let (_disk, store) = sim_store(60);
    fill(&store, 300);
    let expected = content(&store);
    let backend = memory();
    let backups = Backups::new(store).unwrap();
    let create = |id: &str, include: &[&str], exclude: &[&str]| {
        let mut options: CreateOptions = quick();
        options.selection.include = include.iter().map(|name| (*name).to_owned()).collect();
        options.selection.exclude = exclude.iter().map(|name| (*name).to_owned()).collect();
        backups.create(&backend, id, options).unwrap().wait().unwrap()
    };
    let made = create("sea", &["fish/sea"], &[]);
    assert_eq!((made.totals.collections, made.totals.tenants), (1, 1));
    create("rest", &[], &["fish/sea"]);

    let (_other_disk, other) = sim_store(61);
    restore(&other, &backend, "sea");
    let found = content(&other);
    assert_eq!(found["fish/sea Cold"], expected["fish/sea Cold"]);
    assert!(found["fish"].is_empty() && found.len() == 2, "only the tenant's rows");

    let (_other_disk, other) = sim_store(62);
    let mut options = RestoreOptions::default();
    options.selection.include = vec!["fish/pond".to_owned()];
    options.rename = [("fish", "trout"), ("fish/pond", "lake")]
        .map(|(from, to)| (from.to_owned(), to.to_owned()))
        .to_vec();
    let backups = Backups::new(other.clone()).unwrap();
    backups.restore(&backend, "rest", options).unwrap().wait().unwrap();
    let found = content(&other);
    assert_eq!(found["trout/lake Hot"], expected["fish/pond Hot"]);
    assert!(found["trout"].is_empty() && found.len() == 2, "only the tenant's rows");

    let (_other_disk, other) = sim_store(63);
    restore(&other, &backend, "rest");
    let mut all = expected;
    all.remove("fish/sea Cold");
    assert_same(&content(&other), &all);
}

#[test]
fn single_tenants_are_restored_into_a_live_collection() {
    let (disk, store) = sim_store(64);
    fill(&store, 300);
    let expected = content(&store);
    let backend = memory();
    let backups = Backups::new(store.clone()).unwrap();
    backups.create(&backend, "nightly", quick()).unwrap().wait().unwrap();
    let restore = |include: &[&str], rename: &[(&str, &str)]| {
        let mut options = RestoreOptions::default();
        options.selection.include = include.iter().map(|name| (*name).to_owned()).collect();
        let owned = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
        options.rename = rename.iter().map(owned).collect();
        backups.restore(&backend, "nightly", options).and_then(|handle| handle.wait())
    };
    let error = restore(&["fish/sea", "fish/pond", "birds"], &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let text = error.to_string();
    for name in ["birds", "fish/pond", "fish/sea"] {
        assert!(text.contains(name), "{text} lacks {name}");
    }
    assert_same(&content(&store), &expected);

    // Beside the one that lives, under another name, while the collection is written to.
    let fish = store.tree("fish", None).unwrap();
    store.put(fish, b"later", b"row", Durability::Sync).unwrap();
    let pond = store.tree("fish", Some("pond")).unwrap();
    store.clear(pond, Durability::Sync).unwrap();
    let made = restore(&["fish/pond", "fish/sea"], &[("fish/pond", "lake"), ("fish/sea", "bay")]);
    let made = made.unwrap();
    assert_eq!((made.totals.collections, made.totals.tenants), (1, 2));
    let found = content(&store);
    assert_eq!(found["fish/lake Hot"], expected["fish/pond Hot"]);
    assert_eq!(found["fish/bay Cold"], expected["fish/sea Cold"]);
    assert!(found["fish/pond Hot"].is_empty() && found["fish"].contains_key(&b"later"[..]));
    assert_eq!(found["birds"], expected["birds"]);

    // In the place of one that was lost.
    store.drop_tenants("fish", &["pond"]).unwrap();
    restore(&["fish/pond"], &[]).unwrap();
    let lake = store.tree("fish", Some("lake")).unwrap();
    store.put(lake, b"key-000001", b"newer", Durability::Sync).unwrap();
    drop((backups, store));
    let store = open_sim(&disk, 65);
    let found = content(&store);
    assert_eq!(found["fish/pond Hot"], expected["fish/pond Hot"]);
    assert_eq!(found["fish/lake Hot"][&b"key-000001"[..]], b"newer");
}
