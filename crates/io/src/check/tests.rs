use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::{
    disk::{Log, Rename},
    exact::write_all_at,
    fault::{Fault, FaultDisk, FaultRule},
    sim::SimDisk,
};

fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn write(log: &dyn Log, offset: u64, bytes: &[u8]) {
    write_all_at(log, offset, &[bytes]).unwrap();
}

fn disk() -> CheckDisk {
    CheckDisk::new(Arc::new(SimDisk::new(1)))
}

/// The message of the one rule that `run` breaks.
fn broken(disk: &CheckDisk, run: impl FnOnce()) -> String {
    catch_unwind(AssertUnwindSafe(run)).expect_err("a rule is broken");
    let violations = disk.violations();
    assert_eq!(violations.len(), 1, "{violations:?}");
    violations[0].clone()
}

/// A file with durable bytes and a durable name.
fn durable(disk: &CheckDisk, name: &str) -> Arc<dyn Log> {
    let log = disk.create_log(&path(name)).unwrap();
    write(&*log, 0, b"bytes");
    log.sync().unwrap();
    disk.sync_dir(&path(name).parent()).unwrap();
    log
}

#[test]
fn a_rename_of_unsynced_bytes_breaks_the_order() {
    let disk = disk();
    let log = disk.create_log(&path("next")).unwrap();
    write(&*log, 0, b"bytes");
    let rename = || disk.rename(&path("next"), &path("CURRENT"), Rename::Replace);
    let message = broken(&disk, || rename().unwrap());
    assert_eq!(message, "rename of 'next' to 'CURRENT': bytes 0..5 are not synced");
    log.sync().unwrap();
    rename().unwrap();
    assert!(matches!(disk.inner().file_len(&path("CURRENT")), Ok(5)));
}

#[test]
fn a_rename_of_an_unfinished_stream_breaks_the_order() {
    let disk = disk();
    let stream = disk.create_stream(&path("next"), 0).unwrap();
    let rename = || disk.rename(&path("next"), &path("file"), Rename::Replace).unwrap();
    assert!(broken(&disk, rename).contains("not finished"));
    stream.finish().unwrap();
    rename();
}

#[test]
fn nothing_may_follow_a_failed_sync() {
    for write_again in [true, false] {
        let faults = FaultDisk::new(Arc::new(SimDisk::new(1)));
        let disk = CheckDisk::new(Arc::new(faults.clone()));
        let log = disk.create_log(&path("log")).unwrap();
        write(&*log, 0, b"bytes");
        faults.inject(FaultRule::new(Fault::Device));
        assert!(log.sync().is_err());
        let message =
            broken(
                &disk,
                || {
                    if write_again { write(&*log, 5, b"more") } else { log.sync().unwrap() }
                },
            );
        assert!(message.contains("a sync of the file failed before"), "{message}");
    }
}

#[test]
fn a_second_handle_must_not_sync_the_firsts_writes() {
    let disk = disk();
    let first = disk.create_log(&path("log")).unwrap();
    write(&*first, 0, b"bytes");
    let second = disk.open_log(&path("log")).unwrap();
    assert!(broken(&disk, || second.sync().unwrap()).contains("other handles wrote"));
    first.sync().unwrap();
    second.sync().unwrap();
}

#[test]
fn a_finished_file_is_not_written_again() {
    let disk = disk();
    disk.create_stream(&path("file"), 0).unwrap().finish().unwrap();
    disk.rename(&path("file"), &path("renamed"), Rename::NoReplace).unwrap();
    let log = disk.open_log(&path("renamed")).unwrap();
    assert!(broken(&disk, || write(&*log, 0, b"x")).contains("is finished"));
}

#[test]
fn durability_is_of_bytes_and_of_every_name_above() {
    let disk = disk();
    disk.create_dir(&path("dir")).unwrap();
    let log = disk.create_log(&path("dir/log")).unwrap();
    write(&*log, 0, b"bytes");
    let expect = || disk.expect_durable(&path("dir/log"));
    let waiting = |part: &str, done: usize| {
        catch_unwind(AssertUnwindSafe(expect)).expect_err("not yet");
        let violations = disk.violations();
        assert_eq!(violations.len(), done);
        assert!(violations[done - 1].contains(part), "{violations:?}");
    };
    waiting("bytes 0..5 are not synced", 1);
    log.sync().unwrap();
    waiting("waits for a sync of the folder 'dir'", 2);
    disk.sync_dir(&path("dir")).unwrap();
    waiting("waits for a sync of the folder '.'", 3);
    disk.sync_dir(&RelPath::root()).unwrap();
    expect();
    write(&*log, 5, b"more");
    disk.expect_synced_upto(&path("dir/log"), 5);
    catch_unwind(AssertUnwindSafe(|| disk.expect_synced_upto(&path("dir/log"), 6))).unwrap_err();
    catch_unwind(AssertUnwindSafe(|| disk.expect_synced_upto(&path("dir/log"), 10))).unwrap_err();
    catch_unwind(AssertUnwindSafe(|| disk.expect_durable(&path("dir/no")))).unwrap_err();
    assert!(disk.violations()[4].contains("9 bytes, 10 are needed"));
    assert!(disk.violations()[5].contains("No such file"), "{:?}", disk.violations());
}

#[test]
fn files_from_before_are_durable() {
    let sim = SimDisk::new(1);
    sim.write_file("old", b"bytes").unwrap();
    let disk = CheckDisk::new(Arc::new(sim));
    disk.expect_durable(&path("old"));
    write(&*disk.open_log(&path("old")).unwrap(), 0, b"B");
    catch_unwind(AssertUnwindSafe(|| disk.expect_durable(&path("old")))).unwrap_err();
}

#[test]
fn a_name_moved_between_folders_waits_for_both() {
    let disk = disk();
    disk.create_dir(&path("a")).unwrap();
    disk.create_dir(&path("b")).unwrap();
    disk.sync_dir(&RelPath::root()).unwrap();
    durable(&disk, "a/x");
    disk.rename(&path("a/x"), &path("b/x"), Rename::NoReplace).unwrap();
    disk.sync_dir(&path("b")).unwrap();
    catch_unwind(AssertUnwindSafe(|| disk.expect_durable(&path("b/x")))).unwrap_err();
    disk.sync_dir(&path("a")).unwrap();
    disk.expect_durable(&path("b/x"));
}

#[test]
fn a_declared_record_protects_what_it_names() {
    let disk = disk();
    durable(&disk, "file");
    let manifest = path("manifest");
    disk.declare(&manifest, Record::root().needs(path("file")));
    let remove = || disk.remove(&path("file"));
    let message = broken(&disk, || remove().unwrap());
    assert_eq!(message, "removal of 'file', which the record 'manifest' still names");
    catch_unwind(AssertUnwindSafe(|| {
        disk.rename(&path("file"), &path("away"), Rename::NoReplace).unwrap();
    }))
    .unwrap_err();
    disk.declare(&manifest, Record::root());
    remove().unwrap();
}

#[test]
fn a_declared_record_waits_for_its_log() {
    let disk = disk();
    let log = durable(&disk, "wal");
    write(&*log, 5, b"not synced");
    let edit = |offset| Record::root().needs_synced(path("wal"), offset);
    disk.declare(&path("manifest"), edit(5));
    let message = broken(&disk, || disk.declare(&path("manifest"), edit(15)));
    assert!(message.contains("too early") && message.contains("bytes 5..15"), "{message}");
}

/// Record files hold lines: `CURRENT` names one manifest, a manifest names files.
#[derive(Debug)]
struct Lines;

impl RecordReader for Lines {
    fn read(&self, path: &RelPath, disk: &dyn Disk) -> Option<Record> {
        let record = match path.as_str() {
            "CURRENT" => Record::root(),
            name if name.starts_with("manifest") => Record::named(),
            _ => return None,
        };
        let log = disk.open_log(path).ok()?;
        let mut bytes = vec![0; usize::try_from(log.len().ok()?).ok()?];
        crate::exact::read_up_to(&*log, 0, &mut bytes).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let names =
            text.lines().filter(|line| !line.is_empty()).filter_map(|line| RelPath::new(line).ok());
        Some(names.fold(record, Record::needs))
    }
}

/// A store of one manifest that names one file, each durable.
fn store() -> CheckDisk {
    let disk = CheckDisk::with_reader(Arc::new(SimDisk::new(1)), Arc::new(Lines), &[]);
    durable(&disk, "file-1");
    record(&disk, "manifest-1", "file-1\n");
    current(&disk, "manifest-1\n");
    disk.sync_dir(&RelPath::root()).unwrap();
    disk
}

fn record(disk: &CheckDisk, name: &str, text: &str) {
    let log = disk.create_log(&path(name)).unwrap();
    write(&*log, 0, text.as_bytes());
    log.sync().unwrap();
    disk.sync_dir(&RelPath::root()).unwrap();
}

fn current(disk: &CheckDisk, text: &str) {
    let log = disk.create_log(&path("next")).unwrap();
    write(&*log, 0, text.as_bytes());
    log.sync().unwrap();
    disk.rename(&path("next"), &path("CURRENT"), Rename::Replace).unwrap();
}

#[test]
fn a_read_record_must_not_name_what_is_not_durable() {
    let disk = store();
    let file = disk.create_log(&path("file-2")).unwrap();
    file.sync().unwrap();
    let manifest = disk.open_log(&path("manifest-1")).unwrap();
    let message = broken(&disk, || write(&*manifest, 7, b"file-2\n"));
    assert!(message.contains("'manifest-1' is too early"), "{message}");
    assert!(message.contains("'file-2' waits for a sync"), "{message}");
}

#[test]
fn a_file_is_kept_until_the_edit_without_it_is_durable() {
    let disk = store();
    let manifest = disk.open_log(&path("manifest-1")).unwrap();
    write(&*manifest, 0, b"\n\n\n\n\n\n\n"); // an edit that no longer names the file
    let message = broken(&disk, || disk.remove(&path("file-1")).unwrap());
    assert!(message.contains("'manifest-1' still names"), "{message}");
    manifest.sync().unwrap();
    disk.remove(&path("file-1")).unwrap();
}

#[test]
fn an_old_manifest_counts_until_the_new_name_is_durable() {
    let disk = store();
    record(&disk, "manifest-2", "");
    current(&disk, "manifest-2\n");
    let message = broken(&disk, || disk.remove(&path("file-1")).unwrap());
    assert!(message.contains("'manifest-1' still names"), "{message}");
    disk.sync_dir(&RelPath::root()).unwrap();
    disk.remove(&path("file-1")).unwrap();
    disk.remove(&path("manifest-1")).unwrap();
}

#[test]
fn the_root_record_must_not_name_a_manifest_too_early() {
    let disk = store();
    let manifest = disk.create_log(&path("manifest-2")).unwrap();
    write(&*manifest, 0, b"file-1\n");
    disk.sync_dir(&RelPath::root()).unwrap();
    let message = broken(&disk, || current(&disk, "manifest-2\n"));
    assert!(message.contains("'manifest-2' is not durable: bytes 0..7"), "{message}");
}

#[test]
fn records_from_before_are_known_when_listed() {
    let sim = SimDisk::new(1);
    for (name, text) in [("file-1", ""), ("manifest-1", "file-1\n"), ("CURRENT", "manifest-1\n")] {
        sim.write_file(name, text.as_bytes()).unwrap();
    }
    let existing = [path("CURRENT"), path("manifest-1"), path("file-1")];
    let disk = CheckDisk::with_reader(Arc::new(sim), Arc::new(Lines), &existing);
    broken(&disk, || disk.remove(&path("file-1")).unwrap());
}

#[test]
fn bytes_written_during_a_sync_stay_owed() {
    let mut ledger = Ledger::default();
    ledger.created(&path("log"), 1);
    ledger.wrote(1, 0, 10);
    let began = ledger.now();
    ledger.wrote(1, 10, 20);
    ledger.synced(1, began);
    assert_eq!(ledger.data_debt(&path("log"), 10), None);
    assert!(ledger.data_debt(&path("log"), 11).is_some());
}
