use std::collections::BTreeSet;

use super::Crash;
use crate::{
    disk::{Disk, Log, Rename},
    exact::write_all_at,
    path::RelPath,
    sim::{SimDisk, content::SECTOR_BYTES},
};

const SEEDS: std::ops::Range<u64> = 0..256;

fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn write(log: &dyn Log, offset: u64, bytes: &[u8]) {
    write_all_at(log, offset, &[bytes]).unwrap();
}

/// So many sectors of one byte.
fn sectors(count: usize, byte: u8) -> Vec<u8> {
    vec![byte; count * SECTOR_BYTES]
}

/// A disk with one durable file of `count` sectors of `a`, still open.
fn with_durable_log(count: usize) -> (SimDisk, std::sync::Arc<dyn Log>) {
    let disk = SimDisk::new(7);
    let log = disk.create_log(&path("log")).unwrap();
    write(&*log, 0, &sectors(count, b'a'));
    log.sync().unwrap();
    disk.sync_dir(&RelPath::root()).unwrap();
    (disk, log)
}

/// The first byte of each sector, which must be the same all through the sector.
fn sector_bytes(disk: &SimDisk, file: &str) -> String {
    let bytes = disk.read_file(file).unwrap();
    let sectors = bytes.chunks(SECTOR_BYTES).map(|sector| {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is never mixed");
        if sector[0] == 0 { '.' } else { char::from(sector[0]) }
    });
    sectors.collect()
}

#[test]
fn matrix_has_every_policy_and_eight_subsets() {
    let matrix = Crash::matrix(3);
    assert_eq!(matrix.len(), 13);
    let subsets: BTreeSet<u64> = matrix
        .iter()
        .filter_map(|crash| if let Crash::Subset { seed } = crash { Some(*seed) } else { None })
        .collect();
    assert_eq!(subsets.len(), 8);
    assert_ne!(Crash::matrix(3), Crash::matrix(4));
}

#[test]
fn nothing_keeps_what_was_synced_and_no_more() {
    let (disk, log) = with_durable_log(2);
    write(&*log, 0, &sectors(3, b'b'));
    disk.create_log(&path("other")).unwrap();
    let left = disk.crash(Crash::Nothing);
    assert_eq!(left.paths(), ["log"]);
    assert_eq!(sector_bytes(&left, "log"), "aa");
}

#[test]
fn all_keeps_everything_yet_leaves_it_pending() {
    let (disk, log) = with_durable_log(2);
    write(&*log, 0, &sectors(3, b'b'));
    disk.create_log(&path("other")).unwrap();
    let killed = disk.crash(Crash::All);
    assert_eq!(killed.paths(), ["log", "other"]);
    assert_eq!(sector_bytes(&killed, "log"), "bbb");
    let left = killed.crash(Crash::Nothing);
    assert_eq!((left.paths(), sector_bytes(&left, "log")), (vec!["log".to_owned()], "aa".into()));
}

#[test]
fn a_sync_after_a_kill_makes_the_old_bytes_durable() {
    let (disk, log) = with_durable_log(2);
    write(&*log, 0, &sectors(3, b'b'));
    let killed = disk.crash(Crash::All);
    killed.open_log(&path("log")).unwrap().sync().unwrap();
    assert_eq!(sector_bytes(&killed.crash(Crash::Nothing), "log"), "bbb");
}

#[test]
fn last_torn_tears_the_newest_write_alone_at_every_sector() {
    let (disk, log) = with_durable_log(5);
    write(&*log, 0, &sectors(1, b'b'));
    write(&*log, SECTOR_BYTES as u64, &sectors(4, b'c'));
    let seen: BTreeSet<String> =
        SEEDS.map(|seed| sector_bytes(&disk.crash(Crash::LastTorn { seed }), "log")).collect();
    let torn = ["baaaa", "bcaaa", "bccaa", "bccca", "baaac", "baacc", "baccc"];
    assert_eq!(seen, torn.map(str::to_owned).into());
}

#[test]
fn last_torn_finds_the_newest_write_among_all_files() {
    let (disk, log) = with_durable_log(2);
    let other = disk.create_log(&path("other")).unwrap();
    disk.sync_dir(&RelPath::root()).unwrap();
    write(&*other, 0, &sectors(2, b'o'));
    write(&*log, 0, &sectors(2, b'b'));
    for seed in SEEDS {
        let left = disk.crash(Crash::LastTorn { seed });
        assert_eq!(sector_bytes(&left, "other"), "oo");
        assert_ne!(sector_bytes(&left, "log"), "bb");
    }
}

#[test]
fn newest_write_of_each_file_leaves_holes_before_it() {
    let (disk, log) = with_durable_log(1);
    let other = disk.create_log(&path("other")).unwrap();
    disk.sync_dir(&RelPath::root()).unwrap();
    for (log, byte) in [(&log, b'b'), (&other, b'o')] {
        write(&**log, SECTOR_BYTES as u64, &sectors(1, byte));
        write(&**log, 3 * SECTOR_BYTES as u64, &sectors(1, byte + 1));
    }
    let left = disk.crash(Crash::NewestWriteOfEachFile { seed: 0 });
    assert_eq!(sector_bytes(&left, "log"), "a..c");
    assert_eq!(sector_bytes(&left, "other"), "...p");
}

#[test]
fn newest_file_only_loses_all_other_files_writes() {
    let (disk, log) = with_durable_log(1);
    let other = disk.create_log(&path("other")).unwrap();
    disk.sync_dir(&RelPath::root()).unwrap();
    write(&*other, 0, &sectors(1, b'o'));
    write(&*log, 0, &sectors(2, b'b'));
    write(&*other, SECTOR_BYTES as u64, &sectors(1, b'o'));
    let left = disk.crash(Crash::NewestFileOnly { seed: 0 });
    assert_eq!(
        (sector_bytes(&left, "other"), sector_bytes(&left, "log")),
        ("oo".into(), "a".into())
    );
}

#[test]
fn subsets_reach_every_combination_of_sectors() {
    let (disk, log) = with_durable_log(4);
    write(&*log, 0, &sectors(4, b'b'));
    let seen: BTreeSet<String> =
        SEEDS.map(|seed| sector_bytes(&disk.crash(Crash::Subset { seed }), "log")).collect();
    assert_eq!(seen.len(), 16);
}

#[test]
fn subsets_reach_every_length_of_an_extension() {
    let (disk, log) = with_durable_log(1);
    write(&*log, SECTOR_BYTES as u64, &sectors(2, b'b'));
    let seen: BTreeSet<String> =
        SEEDS.map(|seed| sector_bytes(&disk.crash(Crash::Subset { seed }), "log")).collect();
    let states = ["a", "a..", "ab", "ab.", "a.b", "abb"];
    assert_eq!(seen, states.map(str::to_owned).into(), "length and sectors survive apart");
}

#[test]
fn subsets_of_zeros_written_ahead_lose_bytes_only_where_some_were() {
    let (disk, log) = with_durable_log(2);
    write(&*log, 0, &vec![0; 64 << 20]);
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let left = disk.crash(Crash::Subset { seed });
        let len = left.file_len(&path("log")).unwrap();
        assert!(len <= 64 << 20);
        let mut head = [0; 2 * SECTOR_BYTES];
        left.open_log(&path("log")).unwrap().read_at(0, &mut head).unwrap();
        seen.insert((head[0], head[SECTOR_BYTES]));
    }
    assert_eq!(seen, BTreeSet::from([(0, 0), (0, b'a'), (b'a', 0), (b'a', b'a')]));
}

#[test]
fn writes_below_a_sector_are_never_mixed_out_of_order() {
    let (disk, log) = with_durable_log(1);
    write(&*log, 0, b"first");
    write(&*log, 100, b"second");
    for seed in SEEDS {
        let bytes = disk.crash(Crash::Subset { seed }).read_file("log").unwrap();
        let second = &bytes[100..106] == b"second";
        assert!(!second || &bytes[..5] == b"first", "the sector held both when it was written");
    }
}

#[test]
fn a_rename_leaves_the_old_name_or_the_new_one() {
    let (disk, log) = with_durable_log(1);
    let next = disk.create_log(&path("next")).unwrap();
    write(&*next, 0, &sectors(1, b'n'));
    next.sync().unwrap();
    disk.sync_dir(&RelPath::root()).unwrap();
    disk.rename(&path("next"), &path("log"), Rename::Replace).unwrap();
    drop(log);
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let left = disk.crash(Crash::Subset { seed });
        seen.insert((left.paths(), sector_bytes(&left, "log")));
    }
    let old = (vec!["log".to_owned(), "next".to_owned()], "a".to_owned());
    let new = (vec!["log".to_owned()], "n".to_owned());
    assert_eq!(seen, BTreeSet::from([old, new]));
}

#[test]
fn a_rename_of_an_unsynced_name_leaves_one_name_or_none() {
    let disk = SimDisk::new(1);
    disk.create_log(&path("a")).unwrap();
    disk.rename(&path("a"), &path("b"), Rename::NoReplace).unwrap();
    let seen: BTreeSet<Vec<String>> =
        SEEDS.map(|seed| disk.crash(Crash::Subset { seed }).paths()).collect();
    let states: [&[&str]; 3] = [&[], &["a"], &["b"]];
    assert_eq!(seen, states.map(|names| names.iter().map(|&n| n.to_owned()).collect()).into());
}

#[test]
fn a_rename_between_folders_is_durable_in_both_or_neither() {
    let disk = SimDisk::new(1);
    disk.create_dir(&path("from")).unwrap();
    disk.create_dir(&path("to")).unwrap();
    disk.create_log(&path("from/x")).unwrap();
    disk.settle();
    disk.rename(&path("from/x"), &path("to/x"), Rename::NoReplace).unwrap();
    assert_eq!(disk.crash(Crash::Nothing).paths(), ["from/x"]);
    for seed in SEEDS {
        assert_eq!(disk.crash(Crash::Subset { seed }).paths().len(), 1);
    }
    let disk = disk.crash(Crash::All);
    disk.sync_dir(&path("to")).unwrap();
    assert_eq!(disk.crash(Crash::Nothing).paths(), ["to/x"]);
}

#[test]
fn an_unsynced_removal_may_come_back() {
    let (disk, log) = with_durable_log(1);
    disk.remove(&path("log")).unwrap();
    drop(log);
    assert_eq!(sector_bytes(&disk.crash(Crash::Nothing), "log"), "a");
    assert!(disk.crash(Crash::All).paths().is_empty());
    let disk = disk.crash(Crash::All);
    disk.sync_dir(&RelPath::root()).unwrap();
    assert!(disk.crash(Crash::Nothing).paths().is_empty());
}

#[test]
fn synced_bytes_without_a_synced_name_are_gone() {
    let disk = SimDisk::new(1);
    let log = disk.create_log(&path("log")).unwrap();
    write(&*log, 0, b"bytes");
    log.sync().unwrap();
    assert!(disk.crash(Crash::Nothing).paths().is_empty());
}

#[test]
fn a_synced_name_without_synced_bytes_is_an_empty_file() {
    let disk = SimDisk::new(1);
    let log = disk.create_log(&path("log")).unwrap();
    write(&*log, 0, b"bytes");
    disk.sync_dir(&RelPath::root()).unwrap();
    assert_eq!(disk.crash(Crash::Nothing).read_file("log"), Some(Vec::new()));
}

#[test]
fn an_unsynced_folder_takes_its_synced_files_with_it() {
    let disk = SimDisk::new(1);
    disk.create_dir(&path("dir")).unwrap();
    disk.create_log(&path("dir/log")).unwrap().sync().unwrap();
    disk.sync_dir(&path("dir")).unwrap();
    assert!(disk.crash(Crash::Nothing).paths().is_empty());
    let disk = disk.crash(Crash::All);
    disk.sync_dir(&RelPath::root()).unwrap();
    assert_eq!(disk.crash(Crash::Nothing).paths(), ["dir/log"]);
}

#[test]
fn the_end_of_a_stream_is_cut_only_once_it_is_synced() {
    let disk = SimDisk::new(1);
    let mut stream = disk.create_stream(&path("file"), 8192).unwrap();
    disk.sync_dir(&RelPath::root()).unwrap();
    stream.write(b"short").unwrap();
    disk.stop_after(disk.operations() + 2); // the padded write and the cut, not the sync
    assert!(stream.finish().is_err());
    let lens: BTreeSet<u64> = SEEDS
        .map(|seed| disk.crash(Crash::Subset { seed }).file_len(&path("file")).unwrap())
        .collect();
    let sectors = (1..=8).map(|sectors| sectors * SECTOR_BYTES as u64);
    assert!(lens.contains(&8192) && lens.contains(&5), "{lens:?}");
    assert!(
        lens.iter().all(|len| [0, 5, 8192].contains(len) || sectors.clone().any(|s| s == *len))
    );
}

#[test]
fn handles_of_a_crashed_disk_fail_and_its_lock_is_free() {
    let (disk, log) = with_durable_log(1);
    let lock = disk.lock(&path("LOCK"), "first").unwrap();
    let left = disk.crash(Crash::All);
    assert!(log.sync().is_err() && log.read_at(0, &mut [0]).is_err() && log.len().is_err());
    assert!(disk.list(&RelPath::root()).is_err() && disk.free_bytes().is_err());
    let _second = left.lock(&path("LOCK"), "second").unwrap();
    drop(lock);
    assert!(left.lock(&path("LOCK"), "third").is_err(), "the old guard frees nothing here");
}

#[test]
fn a_crash_is_the_same_every_time() {
    let (disk, log) = with_durable_log(8);
    write(&*log, 0, &sectors(8, b'b'));
    for crash in Crash::matrix(5) {
        let (first, second) = (disk.crash(crash), disk.crash(crash));
        assert_eq!(first.read_file("log"), second.read_file("log"));
    }
}
