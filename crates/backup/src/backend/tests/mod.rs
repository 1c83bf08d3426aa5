//! One suite that every backend passes, and what else the folder promises.

mod credentials;
mod servers;
mod suite;

use siltstone_io::sim::SimDisk;

use self::suite::{
    EXAMPLE, Subject, conforms, deletes_are_idempotent, keys,
    missing_objects_are_told_apart_from_failures,
};
use super::*;
use crate::error::ErrorKind;

#[test]
fn memory_conforms() {
    conforms("memory", &Subject::of(open(&BackendConfig::Memory).unwrap()));
}

#[test]
fn simulated_folder_conforms() {
    let disk = SimDisk::new(7);
    let backend = open_disk(Env::seeded(Arc::new(disk.clone()), 7)).unwrap();
    conforms("simulated folder", &Subject::of(backend));
    let mut left: Vec<String> = disk.paths();
    left.retain(|path| path != ".tmp" && path.contains('.'));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn folder_conforms_and_keeps_its_modes() {
    use std::os::unix::fs::PermissionsExt;

    let root = tempfile::tempdir().unwrap();
    let backend = open(&BackendConfig::Folder(root.path().to_owned())).unwrap();
    conforms("folder", &Subject::of(Arc::clone(&backend)));
    backend.put(EXAMPLE, Bytes::from_static(b"x"), PutMode::NoReplace).unwrap();
    let mode = |name: &str| root.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(EXAMPLE), mode("a/b"), mode("a")), (0o600, 0o700, 0o700));
    drop(backend);
    assert_eq!(std::fs::read_dir(root.path().join(".tmp")).unwrap().count(), 0);
}

#[test]
fn a_folder_is_made_by_the_first_write_alone() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("missing");
    let backend = open(&BackendConfig::Folder(missing.clone())).unwrap();
    let subject = Subject::of(backend);
    missing_objects_are_told_apart_from_failures(&subject);
    deletes_are_idempotent(&subject);
    drop(subject);
    assert!(!missing.exists());
    let backend = open(&BackendConfig::Folder(missing)).unwrap();
    backend.put(EXAMPLE, Bytes::new(), PutMode::Replace).unwrap();
    let deep = open(&BackendConfig::Folder(root.path().join("no/such/parent"))).unwrap();
    let put = deep.put(EXAMPLE, Bytes::new(), PutMode::Replace);
    assert_eq!(put.expect_err("no parent").kind(), ErrorKind::Unavailable);
}

#[test]
fn leftovers_of_a_dead_process_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let temporary = root.path().join(".tmp");
    std::fs::create_dir(&temporary).unwrap();
    for name in ["dead.lock", "dead-0", "dead-17"] {
        std::fs::write(temporary.join(name), b"left behind").unwrap();
    }
    let backend = open(&BackendConfig::Folder(root.path().to_owned())).unwrap();
    let other = open(&BackendConfig::Folder(root.path().to_owned())).unwrap();
    let mut writer = backend.writer(EXAMPLE).unwrap();
    writer.write(Bytes::from(vec![7; 2 * PART_BYTES])).unwrap();
    other.put("other", Bytes::from_static(b"x"), PutMode::Replace).unwrap();
    assert_eq!(writer.finish().unwrap(), 2 * PART_BYTES as u64); // the living are spared
    assert!(!temporary.join("dead.lock").exists());
    assert!(!temporary.join("dead-0").exists() && !temporary.join("dead-17").exists());
}

#[test]
fn objects_cannot_leave_the_folder() {
    let root = tempfile::tempdir().unwrap();
    let inside = root.path().join("inside");
    let backend = open(&BackendConfig::Folder(inside)).unwrap();
    for name in ["../escaped", "a/../../escaped", "a/./b"] {
        let put = backend.put(name, Bytes::from_static(b"x"), PutMode::Replace);
        assert_eq!(put.expect_err(name).kind(), ErrorKind::Invalid);
    }
    assert!(!root.path().join("escaped").exists());
}

#[test]
fn an_endpoint_that_nobody_serves_is_unavailable_in_one_line() {
    let credentials = keys("id", "hunter2");
    let endpoint = "http://127.0.0.1:1".to_owned(); // nothing listens on port 1
    let config = S3Config { bucket: "b".to_owned(), endpoint, credentials, ..S3Config::default() };
    let backend = open(&BackendConfig::S3(config)).unwrap();
    let put = backend.conditions().map(drop);
    let error = put.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let text = error.to_string();
    assert!(text.len() < 300 && text.contains("s3 bucket 'b' at http://127.0.0.1:1"), "{text}");
    assert!(!text.contains("hunter2") && !format!("{backend:?}").contains("hunter2"), "{text}");
}

#[test]

fn objects_of_a_folder_tell_when_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let backend = open(&BackendConfig::Folder(folder.path().to_path_buf())).unwrap();
    let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    backend.put(EXAMPLE, Bytes::from_static(b"one"), PutMode::Replace).unwrap();
    let meta = backend.stat(EXAMPLE).unwrap().expect("there");
    let modified = meta.modified.expect("a folder has a clock");
    let minute = Duration::from_mins(1);
    assert!(modified + minute > before && modified < before + minute, "{modified:?}");
    assert_eq!(backend.list("a/", Depth::All).unwrap()[0].modified, Some(modified));
}

#[test]
fn a_path_within_a_folder_is_made_and_a_missing_disk_is_not() {
    let root = tempfile::tempdir().unwrap();
    let base = root.path().join("base");
    let within = |base: &Path| {
        let (base, path) = (base.to_owned(), "a/b c/d".to_owned());
        open(&BackendConfig::FolderIn { base, path }).unwrap()
    };
    let backend = within(&base);
    assert_eq!(backend.stat(EXAMPLE).unwrap(), None);
    assert!(!base.exists(), "looking makes nothing");
    backend.put(EXAMPLE, Bytes::from_static(b"x"), PutMode::NoReplace).unwrap();
    assert!(base.join("a/b c/d").join(EXAMPLE).exists());
    assert!(backend.describe().ends_with("base/a/b c/d'"), "{}", backend.describe());
    let unmounted = within(&root.path().join("no/such"));
    let put = unmounted.put(EXAMPLE, Bytes::new(), PutMode::Replace);
    assert_eq!(put.expect_err("no parent").kind(), ErrorKind::Unavailable);
}
