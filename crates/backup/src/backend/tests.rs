//! One suite that every backend passes.

use siltstone_io::sim::SimDisk;

use super::*;
use crate::{error::ErrorKind, names::ChunkId};

const EXAMPLE: &str = "a/b/example.json";

fn object(backend: &dyn Backend, name: &str) -> Vec<u8> {
    backend.get(name, 1 << 30).expect(name).to_vec()
}

fn conforms(backend: &Arc<dyn Backend>) {
    missing_objects_are_told_apart_from_failures(&**backend);
    puts_replace_or_refuse(&**backend);
    ranges_are_exact(&**backend);
    writers_publish_at_the_end_alone(&**backend);
    listings_are_sorted_and_bounded(&**backend);
    deletes_are_idempotent(&**backend);
    canceled_backends_refuse(backend);
    assert!(backend.list("", Depth::All).unwrap().is_empty(), "the suite cleans up");
}

fn missing_objects_are_told_apart_from_failures(backend: &dyn Backend) {
    assert_eq!(backend.stat(EXAMPLE).unwrap(), None);
    let error = backend.get(EXAMPLE, 100).expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let text = error.to_string();
    assert!(text.contains(EXAMPLE) && text.contains(backend.describe()), "{text}");
    assert!(text.len() < 300, "{text}");
    let error = backend.get_range(EXAMPLE, 0..10).expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(backend.list("a/", Depth::All).unwrap().is_empty());
}

fn puts_replace_or_refuse(backend: &dyn Backend) {
    assert_eq!(backend.conditions().unwrap(), Conditions::Enforced);
    backend.put(EXAMPLE, Bytes::from_static(b"one"), PutMode::NoReplace).unwrap();
    let again = backend.put(EXAMPLE, Bytes::from_static(b"two"), PutMode::NoReplace);
    assert_eq!(again.expect_err("taken").kind(), ErrorKind::Exists);
    assert_eq!(object(backend, EXAMPLE), b"one");
    backend.put(EXAMPLE, Bytes::from_static(b"three"), PutMode::Replace).unwrap();
    assert_eq!(object(backend, EXAMPLE), b"three");
    assert_eq!(backend.stat(EXAMPLE).unwrap().expect("there").length, 5);
    let error = backend.get(EXAMPLE, 4).expect_err("over the bound");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    backend.put("empty", Bytes::new(), PutMode::Replace).unwrap();
    assert_eq!(object(backend, "empty"), b"");
    backend.delete("empty").unwrap();
}

fn ranges_are_exact(backend: &dyn Backend) {
    assert_eq!(&backend.get_range(EXAMPLE, 1..4).unwrap()[..], b"hre");
    assert_eq!(&backend.get_range(EXAMPLE, 0..5).unwrap()[..], b"three");
    assert!(backend.get_range(EXAMPLE, 2..2).unwrap().is_empty());
    for range in [0..6, 5..6, 100..101] {
        let error = backend.get_range(EXAMPLE, range.clone()).expect_err("past the end");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{range:?}: {error}");
    }
}

fn writers_publish_at_the_end_alone(backend: &dyn Backend) {
    let name = ChunkId([0xab; 16]).object();
    let piece = |i: usize| Bytes::from(vec![b'a' + u8::try_from(i).unwrap(); 700_001]);
    let pieces = 2 * PART_BYTES / 700_000 + 3;
    let mut writer = backend.writer(&name).unwrap();
    for i in 0..pieces {
        writer.write(piece(i)).unwrap();
    }
    assert_eq!(backend.stat(&name).unwrap(), None);
    let length = writer.finish().unwrap();
    assert_eq!(length, (pieces * 700_001) as u64);
    let expected: Vec<u8> = (0..pieces).flat_map(|i| piece(i).to_vec()).collect();
    assert!(object(backend, &name) == expected, "{pieces} pieces come back in order");
    let middle = 700_000..7_000_000;
    let got = backend.get_range(&name, middle.start as u64..middle.end as u64).unwrap();
    assert!(got[..] == expected[middle]);

    let given_up = ChunkId([0xac; 16]).object();
    let mut writer = backend.writer(&given_up).unwrap();
    for i in 0..pieces {
        writer.write(piece(i)).unwrap();
    }
    writer.abort().unwrap();
    assert_eq!(backend.stat(&given_up).unwrap(), None);
    backend.writer(&given_up).unwrap().abort().unwrap();
    drop(backend.writer(&given_up).unwrap());
    assert_eq!(backend.stat(&given_up).unwrap(), None);
    backend.delete(&name).unwrap();
}

fn listings_are_sorted_and_bounded(backend: &dyn Backend) {
    for name in ["a/z", "a/b/c", "ab/x", "b/y"] {
        backend.put(name, Bytes::from_static(b"1234"), PutMode::Replace).unwrap();
    }
    let names = |prefix: &str, depth| -> Vec<String> {
        backend.list(prefix, depth).unwrap().into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names("a/", Depth::All), ["a/b/c", EXAMPLE, "a/z"]);
    assert_eq!(names("a/", Depth::One), ["a/b/", "a/z"]);
    assert_eq!(names("", Depth::One), ["a/", "ab/", "b/"]);
    assert_eq!(names("", Depth::All).len(), 5);
    assert_eq!(backend.list("ab/", Depth::All).unwrap()[0].length, 4);
    for name in ["a/z", "a/b/c", "ab/x", "b/y"] {
        backend.delete(name).unwrap();
    }
}

fn deletes_are_idempotent(backend: &dyn Backend) {
    backend.delete(EXAMPLE).unwrap();
    assert_eq!(backend.stat(EXAMPLE).unwrap(), None);
    backend.delete(EXAMPLE).unwrap();
    backend.delete("never/was").unwrap();
}

fn canceled_backends_refuse(backend: &Arc<dyn Backend>) {
    let cancel = Cancel::new();
    let cancelable = backend.cancelable(&cancel);
    let name = ChunkId([0xad; 16]).object();
    let mut writer = cancelable.writer(&name).unwrap();
    writer.write(Bytes::from_static(b"some")).unwrap();
    cancel.cancel();
    let error = writer.write(Bytes::from_static(b"more")).expect_err("canceled");
    assert_eq!(error.kind(), ErrorKind::Canceled);
    writer.abort().unwrap();
    assert_eq!(cancelable.stat(&name).expect_err("canceled").kind(), ErrorKind::Canceled);
    assert_eq!(backend.stat(&name).unwrap(), None);
}

#[test]
fn memory_conforms() {
    conforms(&open(&BackendConfig::Memory).unwrap());
}

#[test]
fn simulated_folder_conforms() {
    let disk = SimDisk::new(7);
    conforms(&open_disk(Env::seeded(Arc::new(disk.clone()), 7)).unwrap());
    let mut left: Vec<String> = disk.paths();
    left.retain(|path| path != ".tmp" && path.contains('.'));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn folder_conforms_and_keeps_its_modes() {
    use std::os::unix::fs::PermissionsExt;

    let root = tempfile::tempdir().unwrap();
    let backend = open(&BackendConfig::Folder(root.path().to_owned())).unwrap();
    conforms(&backend);
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
    missing_objects_are_told_apart_from_failures(&*backend);
    deletes_are_idempotent(&*backend);
    drop(backend);
    assert!(!missing.exists());
    let backend = open(&BackendConfig::Folder(missing)).unwrap();
    conforms(&backend);
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

/// The server that the environment names, so that the suite can run against it.
fn s3_of_the_environment() -> Option<S3Config> {
    let read = |name: &str| std::env::var(format!("SILTSTONE_TEST_S3_{name}")).ok();
    Some(S3Config {
        bucket: read("BUCKET")?,
        root: format!("siltstone-test-{}", std::process::id()),
        endpoint: read("ENDPOINT")?,
        region: read("REGION").unwrap_or_default(),
        credentials: read("ACCESS_KEY_ID")
            .zip(read("SECRET_ACCESS_KEY"))
            .map(|(id, secret)| (id, Secret::new(secret))),
        ..S3Config::default()
    })
}

#[test]
fn s3_conforms_where_the_environment_names_a_server() {
    use std::io::Write;

    let Some(config) = s3_of_the_environment() else {
        let skipped = "SKIPPED: s3 conformance; set SILTSTONE_TEST_S3_ENDPOINT, _BUCKET, \
                       _ACCESS_KEY_ID and _SECRET_ACCESS_KEY to run it";
        writeln!(std::io::stderr(), "{skipped}").unwrap(); // past the capture of the test runner
        return;
    };
    conforms(&open(&BackendConfig::S3(config.clone())).unwrap());
    let missing = S3Config { bucket: "no-such-bucket-here".to_owned(), ..config };
    let backend = open(&BackendConfig::S3(missing)).unwrap();
    let error = backend.put(EXAMPLE, Bytes::from_static(b"x"), PutMode::Replace);
    let error = error.expect_err("there is no such bucket");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
}

#[test]
fn an_endpoint_that_nobody_serves_is_unavailable_in_one_line() {
    let credentials = Some(("id".to_owned(), Secret::new("hunter2")));
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
