use std::{collections::BTreeSet, sync::Arc};

use super::*;
use crate::exact::{read_up_to, write_all_at};

mod model;
mod protocol;

fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("it fails").kind()
}

fn put(disk: &SimDisk, name: &str, bytes: &[u8]) -> Arc<dyn Log> {
    let log = disk.create_log(&path(name)).unwrap();
    write_all_at(&*log, 0, &[bytes]).unwrap();
    log
}

#[test]
fn a_stop_lets_so_many_operations_through_and_no_more() {
    for stop in 0..4 {
        let disk = SimDisk::new(1);
        disk.stop_after(stop);
        let create = disk.create_log(&path("log"));
        let write = create.as_ref().is_ok_and(|log| write_all_at(&**log, 0, &[b"x"]).is_ok());
        let sync = create.as_ref().is_ok_and(|log| log.sync().is_ok());
        assert_eq!((create.is_ok(), write, sync), (stop > 0, stop > 1, stop > 2));
        assert_eq!((disk.operations(), disk.is_stopped()), (stop.min(3), stop < 3));
        assert_eq!(disk.file_len(&path("log")).is_ok(), stop == 3, "reads stop, too");
    }
}

#[test]
fn reads_do_not_count_as_operations() {
    let disk = SimDisk::new(1);
    put(&disk, "log", b"bytes");
    let before = disk.operations();
    disk.list(&RelPath::root()).unwrap();
    disk.file_len(&path("log")).unwrap();
    disk.open_stream(&path("log"), 0..5).unwrap().next_piece().unwrap();
    disk.open_blocks(&path("log"), ReadMode::Direct).unwrap().read_at(0, &mut [0; 5]).unwrap();
    assert_eq!(disk.operations(), before);
}

#[test]
fn a_fork_goes_its_own_way() {
    let disk = SimDisk::new(1);
    let log = put(&disk, "log", b"bytes");
    let fork = disk.fork();
    write_all_at(&*log, 0, &[b"BYTES"]).unwrap();
    fork.remove(&path("log")).unwrap();
    assert_eq!(disk.read_file("log"), Some(b"BYTES".to_vec()));
    assert!(fork.paths().is_empty());
    assert!(disk.fork().crash(Crash::Nothing).paths().is_empty(), "pending is pending in a fork");
}

#[test]
fn a_removed_file_keeps_its_bytes_while_it_is_open() {
    let disk = SimDisk::new(1);
    put(&disk, "file", b"bytes");
    let blocks = disk.open_blocks(&path("file"), ReadMode::Direct).unwrap();
    let mut stream = disk.open_stream(&path("file"), 1..5).unwrap();
    let free = disk.free_bytes().unwrap();
    disk.remove(&path("file")).unwrap();
    disk.sync_dir(&RelPath::root()).unwrap();
    put(&disk, "file", b"other");
    let mut buf = [0; 5];
    assert_eq!((blocks.read_at(0, &mut buf).unwrap(), &buf), (5, b"bytes"));
    assert_eq!(stream.next_piece().unwrap().unwrap().as_ref(), b"ytes");
    assert_eq!(disk.free_bytes().unwrap(), free - 4096, "both files take space");
    drop((blocks, stream));
    assert_eq!(disk.free_bytes().unwrap(), free, "the removed one no longer");
}

#[test]
fn a_rename_keeps_handles_and_frees_what_it_replaced() {
    let disk = SimDisk::new(1);
    let log = put(&disk, "a", b"a");
    drop(put(&disk, "b", b"b"));
    let free = disk.free_bytes().unwrap();
    assert_eq!(kind(disk.rename(&path("a"), &path("b"), Rename::NoReplace)), ErrorKind::Exists);
    disk.rename(&path("a"), &path("b"), Rename::Replace).unwrap();
    write_all_at(&*log, 0, &[b"A"]).unwrap();
    assert_eq!((disk.paths(), disk.read_file("b")), (vec!["b".to_owned()], Some(b"A".to_vec())));
    assert_eq!(disk.free_bytes().unwrap(), free + 4096);
    disk.rename(&path("b"), &path("b"), Rename::Replace).unwrap();
    assert_eq!(disk.paths(), ["b"]);
}

#[test]
fn a_full_disk_takes_what_fits_and_then_says_so() {
    let disk = SimDisk::new(1);
    disk.set_capacity(8192);
    let log = disk.create_log(&path("log")).unwrap();
    assert_eq!(log.write_at(0, &[std::io::IoSlice::new(&[1; 10_000])]).unwrap(), 8192);
    assert_eq!(kind(write_all_at(&*log, 8192, &[b"x"])), ErrorKind::NoSpace);
    write_all_at(&*log, 0, &[b"overwriting takes no space"]).unwrap();
    assert_eq!(kind(disk.create_stream(&path("file"), 1)), ErrorKind::NoSpace);
    assert_eq!(disk.paths(), ["log"], "a stream that was refused leaves nothing");
    disk.set_capacity(12_288);
    let mut stream = disk.create_stream(&path("file"), 0).unwrap();
    stream.write(&[2; 5000]).unwrap();
    assert_eq!(kind(stream.finish()), ErrorKind::NoSpace);
    disk.remove(&path("file")).unwrap();
    disk.remove(&path("log")).unwrap();
    drop(log);
    assert_eq!(disk.free_bytes().unwrap(), 12_288);
}

#[test]
fn a_failed_stream_stays_failed() {
    let disk = SimDisk::with_options(SimOptions {
        stream_piece_bytes: 4096,
        capacity_bytes: 4096,
        ..SimOptions::default()
    });
    let mut stream = disk.create_stream(&path("file"), 0).unwrap();
    assert_eq!(kind(stream.write(&[1; 8192])), ErrorKind::NoSpace);
    disk.set_capacity(1 << 20);
    assert_eq!(kind(stream.write(&[1])), ErrorKind::Device);
    assert_eq!(kind(stream.finish()), ErrorKind::Device);
}

#[test]
fn streams_move_pieces_of_the_chosen_size() {
    let disk =
        SimDisk::with_options(SimOptions { stream_piece_bytes: 1000, ..SimOptions::default() });
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(3500).collect();
    let mut stream = disk.create_stream(&path("file"), 0).unwrap();
    let before = disk.operations();
    for part in bytes.chunks(7) {
        stream.write(part).unwrap();
    }
    assert_eq!(disk.operations(), before + 3);
    assert_eq!(stream.finish().unwrap(), 3500);
    assert_eq!(disk.operations(), before + 6, "the tail, the length, the sync");
    let mut reader = disk.open_stream(&path("file"), 10..3400).unwrap();
    let mut read = Vec::new();
    while let Some(piece) = reader.next_piece().unwrap() {
        assert!(piece.len() <= 1000);
        read.extend_from_slice(&piece);
    }
    assert_eq!(read, bytes[10..3400]);
    assert_eq!(kind(disk.open_stream(&path("file"), 0..3501)), ErrorKind::UnexpectedEnd);
}

#[test]
fn a_failed_sync_behaves_like_each_file_system() {
    for (failure, shown) in
        [(SyncFailure::KeepCache, &b"new"[..]), (SyncFailure::RevertCache, &b"old"[..])]
    {
        let disk = SimDisk::new(1);
        let log = put(&disk, "log", b"old");
        disk.settle();
        write_all_at(&*log, 0, &[b"new"]).unwrap();
        disk.fail_sync(1, failure);
        assert_eq!(kind(log.sync()), ErrorKind::Device);
        assert_eq!(disk.read_file("log").unwrap(), shown);
        log.sync().expect("the next sync claims success");
        assert_eq!(disk.crash(Crash::Nothing).read_file("log").unwrap(), b"old");
    }
}

#[test]
fn a_shutdown_file_system_answers_nothing() {
    let disk = SimDisk::new(1);
    let log = put(&disk, "log", b"old");
    disk.fail_sync(2, SyncFailure::Shutdown);
    log.sync().unwrap();
    assert_eq!(kind(log.sync()), ErrorKind::Device);
    assert_eq!(kind(log.read_at(0, &mut [0])), ErrorKind::Device);
    assert!(disk.is_stopped());
}

#[test]
fn short_io_serves_every_byte_in_the_end() {
    let options = SimOptions { seed: 5, short_io: true, ..SimOptions::default() };
    let disk = SimDisk::with_options(options);
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let log = disk.create_log(&path("log")).unwrap();
    let mut short = 0;
    for chunk in 0..100 {
        let range = chunk * 1000..(chunk + 1) * 1000;
        let part = &bytes[range.clone()];
        let parts = [std::io::IoSlice::new(part)];
        short += usize::from(log.write_at(range.start as u64, &parts).unwrap() < 1000);
        write_all_at(&*log, range.start as u64, &[part]).unwrap();
    }
    assert!((10..50).contains(&short), "about one in four, not {short} of 100");
    let mut read = vec![0; bytes.len()];
    assert_eq!(read_up_to(&*log, 0, &mut read).unwrap(), bytes.len());
    assert_eq!(read, bytes);
}

#[test]
fn listings_come_in_an_order_of_the_seed() {
    let orders: BTreeSet<Vec<String>> = (0..20)
        .map(|seed| {
            let list = || {
                let disk = SimDisk::new(seed);
                for name in ["a", "b", "c", "d"] {
                    disk.create_log(&path(name)).unwrap();
                }
                let entries = disk.list(&RelPath::root()).unwrap();
                entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
            };
            assert_eq!(list(), list(), "the same seed gives the same order");
            list()
        })
        .collect();
    assert!(orders.len() > 5);
}

#[test]
fn errors_are_of_the_kinds_of_the_real_disk() {
    let disk = SimDisk::new(1);
    disk.create_dir(&path("dir")).unwrap();
    put(&disk, "dir/file", b"x");
    assert_eq!(kind(disk.create_dir(&path("dir"))), ErrorKind::Exists);
    assert_eq!(kind(disk.create_dir(&path("no/dir"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.create_log(&path("dir/file"))), ErrorKind::Exists);
    assert_eq!(kind(disk.create_log(&path("no/file"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.create_stream(&path("dir/file"), 0)), ErrorKind::Exists);
    assert_eq!(kind(disk.open_log(&path("no"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.open_blocks(&path("no"), ReadMode::Direct)), ErrorKind::NotFound);
    assert_eq!(kind(disk.open_stream(&path("no"), 0..0)), ErrorKind::NotFound);
    assert_eq!(kind(disk.file_len(&path("no"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.remove(&path("no"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.rename(&path("no"), &path("x"), Rename::Replace)), ErrorKind::NotFound);
    assert_eq!(kind(disk.list(&path("no"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.sync_dir(&path("no"))), ErrorKind::NotFound);
    assert!(disk.remove_dir(&path("dir")).is_err(), "a folder must be empty");
    disk.remove(&path("dir/file")).unwrap();
    disk.remove_dir(&path("dir")).unwrap();
    assert!(disk.list(&RelPath::root()).unwrap().is_empty());
}

#[test]
fn a_lock_is_exclusive_names_its_holder_and_ends_with_its_guard() {
    let disk = SimDisk::new(1);
    let guard = disk.lock(&path("LOCK"), "pid 17").unwrap();
    let refused = disk.lock(&path("LOCK"), "pid 18").expect_err("it is held");
    assert_eq!(refused.kind(), ErrorKind::Locked);
    assert!(refused.to_string().contains("pid 17"), "{refused}");
    assert_eq!(disk.read_file("LOCK"), Some(b"pid 17".to_vec()));
    drop(guard);
    drop(disk.lock(&path("LOCK"), "18").unwrap());
    assert_eq!(disk.read_file("LOCK"), Some(b"18".to_vec()));
}

#[test]
fn a_map_shows_the_whole_file() {
    let disk = SimDisk::new(1);
    put(&disk, "file", b"bytes");
    let mapped = disk.open_blocks(&path("file"), ReadMode::Map).unwrap();
    assert_eq!((mapped.mapped(), mapped.len()), (Some(&b"bytes"[..]), 5));
    let direct = disk.open_blocks(&path("file"), ReadMode::Direct).unwrap();
    assert_eq!(direct.mapped(), None);
}

#[test]
fn damage_from_outside_survives_a_crash_and_counts_nothing() {
    let disk = SimDisk::new(1);
    disk.write_file("file", b"abcdef").unwrap();
    disk.flip("file", 1, 5).unwrap();
    disk.truncate("file", 4).unwrap();
    assert_eq!(disk.crash(Crash::Nothing).read_file("file"), Some(b"aBcd".to_vec()));
    assert_eq!(disk.operations(), 0);
    assert_eq!(kind(disk.flip("file", 4, 0)), ErrorKind::UnexpectedEnd);
    assert_eq!(kind(disk.flip("no", 0, 0)), ErrorKind::NotFound);
    disk.delete_file("file").unwrap();
    assert!(disk.crash(Crash::Nothing).paths().is_empty());
}

#[test]
fn logs_written_ahead_with_zeros_cost_little() {
    let disk = SimDisk::new(1);
    let log = disk.create_log(&path("log")).unwrap();
    let zeros = vec![0; 1 << 20];
    for step in 0..64 {
        write_all_at(&*log, step << 20, &[&zeros]).unwrap();
    }
    log.sync().unwrap();
    disk.sync_dir(&RelPath::root()).unwrap();
    write_all_at(&*log, 4096, &[b"frame"]).unwrap();
    for seed in 0..1000 {
        let left = disk.crash(Crash::Subset { seed });
        assert_eq!(left.file_len(&path("log")).unwrap(), 64 << 20);
    }
}
