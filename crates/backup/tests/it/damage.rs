//! Damaged, missing, swapped and condemned objects: what a restore and the next backup make of them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use siltstone_backup::{
    api::{self, Backups, Listed},
    backend::{Backend, Depth, ObjectEntry, PutMode},
    error::{Error, ErrorKind},
    options::RestoreOptions,
    state::State,
};
use siltstone_lsm::{options::Durability, store::Store};

use crate::{
    slow::Slow,
    support::{assert_same, content, create, fill, memory, quick, restore, sim_store},
};

/// Tries to restore into an empty store, which must stay empty if that fails.
fn try_restore(store: &Store, backend: &Arc<dyn Backend>) -> Result<(), Error> {
    let backups = Backups::new(store.clone()).unwrap();
    let started = backups.restore(backend, "nightly", RestoreOptions::default());
    let ended = started.and_then(|handle| handle.wait());
    if ended.is_err() {
        assert!(store.catalog().collections.is_empty(), "nothing of a failed restore is seen");
    }
    ended.map(drop)
}

fn damaged(backend: &Arc<dyn Backend>, object: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let whole = backend.get(object, 1 << 30).unwrap().to_vec();
    let mut bytes = whole.clone();
    change(&mut bytes);
    backend.put(object, bytes.into(), PutMode::Replace).unwrap();
    whole
}

fn put_back(backend: &Arc<dyn Backend>, object: &str, whole: Vec<u8>) {
    backend.put(object, whole.into(), PutMode::Replace).unwrap();
}

fn backed_up() -> (Arc<dyn Backend>, Store, Vec<ObjectEntry>) {
    let (_disk, store) = sim_store(30);
    fill(&store, 1500);
    let backend = memory();
    create(&store, &backend, "nightly");
    let objects = backend.list("", Depth::All).unwrap();
    let objects = objects.into_iter().filter(|it| it.name != "repository.json").collect();
    (backend, store, objects)
}

#[test]
fn flipped_bits_fail_the_restore_and_name_the_object() {
    let (backend, store, objects) = backed_up();
    let (_disk, other) = sim_store(31);
    for ObjectEntry { name, length, .. } in objects {
        let steps = if name.starts_with(".chunks/") { 12 } else { 40 };
        for step in 0..steps {
            let bit = length * 8 * step / steps + 3;
            let at = usize::try_from(bit / 8).unwrap();
            let whole = damaged(&backend, &name, |bytes| bytes[at] ^= 1 << (bit % 8));
            let error = try_restore(&other, &backend).expect_err(&name);
            assert!(error.to_string().contains(&name), "byte {at} of {name}: {error}");
            put_back(&backend, &name, whole);
        }
    }
    restore(&other, &backend, "nightly");
    assert_same(&content(&other), &content(&store));
}

#[test]
fn missing_and_cut_objects_fail_the_restore_before_any_fetch() {
    let (backend, _store, objects) = backed_up();
    let (_disk, other) = sim_store(32);
    for ObjectEntry { name, .. } in objects {
        let whole = damaged(&backend, &name, |bytes| bytes.truncate(bytes.len() - 1));
        let error = try_restore(&other, &backend).expect_err(&name);
        assert!(error.to_string().contains(&name), "{name} cut: {error}");
        backend.delete(&name).unwrap();
        let error = try_restore(&other, &backend).expect_err(&name);
        let is_config = name.ends_with("backup_config.json");
        assert_eq!(error.kind() == ErrorKind::NotFound, is_config, "{error}");
        assert!(is_config || error.to_string().contains(&name), "{name} gone: {error}");
        put_back(&backend, &name, whole);
    }
}

#[test]
fn swapped_chunks_are_found_out() {
    let (backend, _store, objects) = backed_up();
    let chunks: Vec<String> = (objects.into_iter().map(|it| it.name))
        .filter(|name| name.starts_with(".chunks/"))
        .collect();
    assert!(chunks.len() > 1, "{chunks:?}");
    let (first, second) = (&chunks[0], &chunks[1]);
    let bytes: Vec<Bytes> =
        [first, second].iter().map(|name| backend.get(name, 1 << 30).unwrap()).collect();
    backend.put(first, bytes[1].clone(), PutMode::Replace).unwrap();
    backend.put(second, bytes[0].clone(), PutMode::Replace).unwrap();
    let (_disk, other) = sim_store(33);
    let error = try_restore(&other, &backend).expect_err("chunks are swapped");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn an_unreadable_backup_is_listed_and_harms_no_other() {
    let (backend, store, _) = backed_up();
    damaged(&backend, "nightly/backup_config.json", |bytes| bytes[10] ^= 1);
    create(&store, &backend, "next");
    let listed = api::list(&backend).unwrap();
    assert!(matches!(
        &listed[..],
        [Listed::Backup(next), Listed::Unreadable(id, why)]
            if next.id.as_str() == "next" && id.as_str() == "nightly" && why.contains("nightly")
    ));
    let backups = Backups::new(store).unwrap();
    let error = backups.create(&backend, "nightly", quick()).expect_err("the id is taken");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn chunks_that_a_prune_condemned_are_never_relied_on() {
    let (backend, store, objects) = backed_up();
    let chunks: Vec<String> = objects
        .iter()
        .filter_map(|it| it.name.strip_prefix(".chunks/"))
        .map(|it| it[3..].into())
        .collect();
    let list = format!("{{\"version\":\"1.0\",\"chunks\":[\"{}\"]}}", chunks.join("\",\""));
    backend.put(".prune/1.json", Bytes::from(list), PutMode::Replace).unwrap();
    let next = create(&store, &backend, "next");
    assert_eq!(next.progress.bytes_reused, 0);
    for chunk in chunks {
        backend.delete(&format!(".chunks/{}/{chunk}", &chunk[..2])).unwrap();
    }
    let (_disk, other) = sim_store(34);
    let backups = Backups::new(other.clone()).unwrap();
    backups.restore(&backend, "next", RestoreOptions::default()).unwrap().wait().unwrap();
    assert_same(&content(&other), &content(&store));
}

#[test]
fn chunks_condemned_under_a_running_backup_are_copied() {
    let (backend, store, objects) = backed_up();
    let birds = store.tree("birds", None).unwrap();
    store.put(birds, b"new", b"row", Durability::Sync).unwrap();
    let slow = Slow::over(&backend, Duration::from_millis(30));
    let backups = Backups::new(store.clone()).unwrap();
    let handle = backups.create(&slow, "next", quick()).unwrap();
    while handle.status().state == State::Started {
        std::thread::sleep(Duration::from_millis(1));
    }
    let chunks: Vec<&str> = objects
        .iter()
        .filter_map(|it| it.name.strip_prefix(".chunks/"))
        .map(|it| &it[3..])
        .collect();
    let list = format!("{{\"version\":\"1.0\",\"chunks\":[\"{}\"]}}", chunks.join("\",\""));
    backend.put(".prune/1.json", Bytes::from(list), PutMode::Replace).unwrap();
    let next = handle.wait().unwrap();
    assert!(next.progress.bytes_reused > 0, "{next:?}");
    for chunk in chunks {
        backend.delete(&format!(".chunks/{}/{chunk}", &chunk[..2])).unwrap();
    }
    let (_disk, other) = sim_store(36);
    let backups = Backups::new(other.clone()).unwrap();
    backups.restore(&backend, "next", RestoreOptions::default()).unwrap().wait().unwrap();
    assert_same(&content(&other), &content(&store));
}

#[test]
fn chunks_that_vanished_are_uploaded_again() {
    let (backend, store, objects) = backed_up();
    let gone = objects.iter().find(|it| it.name.starts_with(".chunks/")).expect("some");
    backend.delete(&gone.name).unwrap();
    let next = create(&store, &backend, "nextly");
    assert!(next.totals.uploaded_bytes > 0 && next.progress.bytes_reused > 0, "{next:?}");
    let (_disk, other) = sim_store(35);
    let backups = Backups::new(other.clone()).unwrap();
    backups.restore(&backend, "nextly", RestoreOptions::default()).unwrap().wait().unwrap();
    assert_same(&content(&other), &content(&store));
}
