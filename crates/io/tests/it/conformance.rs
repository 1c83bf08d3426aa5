//! What every [`Disk`] does alike: scripts that are given a fresh disk and assert what they see.

use std::{io::IoSlice, sync::Arc, thread};

use bytes::Bytes;
use siltstone_io::{
    buffer::Piece,
    disk::{BlockRead, Disk, ReadMode, Rename, STREAM_PIECE_BYTES, StreamReader},
    error::{Error, ErrorKind, Result},
    exact::{read_exact_at, read_up_to, write_all_at},
    path::RelPath,
};

type Case = fn(&Arc<dyn Disk>);

macro_rules! cases {
    ($($case:ident,)*) => {
        /// Every case, by name.
        pub(crate) const CASES: &[(&str, Case)] = &[$((stringify!($case), $case),)*];
    };
}

cases! {
    folders_are_created_listed_and_removed,
    a_taken_name_is_refused,
    an_absent_name_is_not_found,
    a_folder_is_no_file_and_a_file_no_folder,
    rename_replaces_only_when_told_to,
    renamed_files_keep_their_open_handles,
    removed_files_stay_readable_where_open,
    every_folder_can_be_synced,
    free_bytes_are_known,
    the_second_lock_names_the_holder_of_the_first,
    a_lock_file_stays_and_can_be_locked_again,
    logs_are_written_and_read_at_positions,
    gaps_of_a_log_read_as_zero,
    a_log_takes_many_parts_at_once,
    a_reopened_log_goes_on,
    streams_give_back_what_was_written,
    any_range_of_a_file_can_be_streamed,
    a_length_hint_changes_nothing_in_the_file,
    a_range_past_the_end_is_refused,
    a_stream_over_a_folder_or_nothing_is_refused,
    pieces_come_in_order_and_within_their_bound,
    pieces_outlive_reader_file_and_disk,
    held_pieces_do_not_block_other_readers,
    an_abandoned_stream_can_be_removed_and_created_again,
    a_reader_may_be_dropped_half_way,
    streams_of_many_threads_do_not_mix,
    blocks_are_read_at_any_offset,
    block_reads_end_with_the_file,
    a_batch_answers_each_read,
    blocks_are_read_by_many_threads,
}

fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it worked"),
        Err(error) => error.kind(),
    }
}

/// Bytes of which no two runs of a few are the same.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = len as u64 | 1;
    let mut bytes = vec![0; len];
    for chunk in bytes.chunks_mut(8) {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = state.to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    bytes
}

fn names(disk: &dyn Disk, dir: &RelPath) -> Vec<(String, bool)> {
    let entries = disk.list(dir).unwrap();
    let mut names: Vec<_> = entries.into_iter().map(|entry| (entry.name, entry.is_dir)).collect();
    names.sort();
    names
}

/// Writes a file through a stream, in parts of odd lengths.
fn write_file(disk: &dyn Disk, name: &str, bytes: &[u8], len_hint: u64) {
    let mut writer = disk.create_stream(&path(name), len_hint).unwrap();
    let mut rest = bytes;
    for part_bytes in [1, 4095, 4096, 70_001, STREAM_PIECE_BYTES + 1].into_iter().cycle() {
        let (part, later) = rest.split_at(part_bytes.min(rest.len()));
        writer.write(part).unwrap();
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    assert_eq!(writer.finish().unwrap(), bytes.len() as u64);
}

fn drain(reader: &mut dyn StreamReader) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next_piece()? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn read_range(disk: &dyn Disk, name: &str, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut reader = disk.open_stream(&path(name), range).unwrap();
    drain(reader.as_mut()).unwrap()
}

fn folders_are_created_listed_and_removed(disk: &Arc<dyn Disk>) {
    let root = RelPath::root();
    assert_eq!(names(disk.as_ref(), &root), []);
    disk.create_dir(&path("a")).unwrap();
    disk.create_dir(&path("a/b")).unwrap();
    disk.create_log(&path("a/file")).unwrap();
    assert_eq!(names(disk.as_ref(), &root), [("a".to_owned(), true)]);
    let inside = [("b".to_owned(), true), ("file".to_owned(), false)];
    assert_eq!(names(disk.as_ref(), &path("a")), inside);
    assert_eq!(kind(disk.remove_dir(&path("a"))), ErrorKind::Invalid, "not empty");
    disk.remove(&path("a/file")).unwrap();
    disk.remove_dir(&path("a/b")).unwrap();
    disk.remove_dir(&path("a")).unwrap();
    assert_eq!(names(disk.as_ref(), &root), []);
}

fn a_taken_name_is_refused(disk: &Arc<dyn Disk>) {
    disk.create_log(&path("file")).unwrap();
    disk.create_dir(&path("dir")).unwrap();
    for name in ["file", "dir"].map(path) {
        assert_eq!(kind(disk.create_log(&name)), ErrorKind::Exists);
        assert_eq!(kind(disk.create_stream(&name, 0)), ErrorKind::Exists);
        assert_eq!(kind(disk.create_dir(&name)), ErrorKind::Exists);
    }
}

fn an_absent_name_is_not_found(disk: &Arc<dyn Disk>) {
    for name in ["absent", "absent/below"].map(path) {
        let other = path("other");
        let kinds = [
            kind(disk.list(&name)),
            kind(disk.rename(&name, &other, Rename::Replace)),
            kind(disk.rename(&name, &other, Rename::NoReplace)),
            kind(disk.remove(&name)),
            kind(disk.remove_dir(&name)),
            kind(disk.sync_dir(&name)),
            kind(disk.file_len(&name)),
            kind(disk.open_log(&name)),
            kind(disk.open_stream(&name, 0..0)),
            kind(disk.open_blocks(&name, ReadMode::Direct)),
            kind(disk.open_blocks(&name, ReadMode::Map)),
        ];
        assert_eq!(kinds, [ErrorKind::NotFound; 11], "{name}");
    }
    let below = path("absent/below");
    assert_eq!(kind(disk.create_dir(&below)), ErrorKind::NotFound);
    assert_eq!(kind(disk.create_log(&below)), ErrorKind::NotFound);
    assert_eq!(kind(disk.create_stream(&below, 1)), ErrorKind::NotFound);
    assert_eq!(kind(disk.lock(&below, "me")), ErrorKind::NotFound);
}

fn a_folder_is_no_file_and_a_file_no_folder(disk: &Arc<dyn Disk>) {
    let (dir, file) = (path("dir"), path("file"));
    disk.create_dir(&dir).unwrap();
    disk.create_log(&file).unwrap();
    let kinds = [
        kind(disk.file_len(&dir)),
        kind(disk.remove(&dir)),
        kind(disk.open_log(&dir)),
        kind(disk.open_stream(&dir, 0..0)),
        kind(disk.open_blocks(&dir, ReadMode::Direct)),
        kind(disk.open_blocks(&dir, ReadMode::Map)),
        kind(disk.list(&file)),
        kind(disk.sync_dir(&file)),
        kind(disk.remove_dir(&file)),
        kind(disk.create_log(&path("file/below"))),
    ];
    assert_eq!(kinds, [ErrorKind::Invalid; 10]);
}

fn rename_replaces_only_when_told_to(disk: &Arc<dyn Disk>) {
    let (a, b) = (path("a"), path("b"));
    write_file(disk.as_ref(), "a", b"from a", 0);
    write_file(disk.as_ref(), "b", b"b", 0);
    assert_eq!(kind(disk.rename(&a, &b, Rename::NoReplace)), ErrorKind::Exists);
    assert_eq!(disk.file_len(&b).unwrap(), 1);
    disk.rename(&a, &b, Rename::Replace).unwrap();
    assert_eq!(read_range(disk.as_ref(), "b", 0..6), b"from a");
    disk.create_dir(&path("dir")).unwrap();
    disk.rename(&b, &path("dir/c"), Rename::NoReplace).unwrap();
    assert_eq!(names(disk.as_ref(), &path("dir")), [("c".to_owned(), false)]);
    assert_eq!(kind(disk.file_len(&b)), ErrorKind::NotFound);
}

fn renamed_files_keep_their_open_handles(disk: &Arc<dyn Disk>) {
    let log = disk.create_log(&path("a")).unwrap();
    disk.rename(&path("a"), &path("b"), Rename::NoReplace).unwrap();
    write_all_at(log.as_ref(), 0, &[b"after"]).unwrap();
    log.sync().unwrap();
    assert_eq!(disk.file_len(&path("b")).unwrap(), 5);
}

fn removed_files_stay_readable_where_open(disk: &Arc<dyn Disk>) {
    let bytes = pattern(2 * STREAM_PIECE_BYTES);
    write_file(disk.as_ref(), "a", &bytes, 0);
    let blocks = disk.open_blocks(&path("a"), ReadMode::Direct).unwrap();
    let map = disk.open_blocks(&path("a"), ReadMode::Map).unwrap();
    let mut reader = disk.open_stream(&path("a"), 0..bytes.len() as u64).unwrap();
    disk.remove(&path("a")).unwrap();
    write_file(disk.as_ref(), "a", b"another file of the same name", 0);
    for source in [blocks, map] {
        let mut read = vec![0; 5000];
        read_exact_at(source.as_ref(), 999, &mut read).unwrap();
        assert!(read == bytes[999..5999]);
    }
    assert!(drain(reader.as_mut()).unwrap() == bytes);
}

fn every_folder_can_be_synced(disk: &Arc<dyn Disk>) {
    disk.create_dir(&path("a")).unwrap();
    disk.sync_dir(&RelPath::root()).unwrap();
    disk.sync_dir(&path("a")).unwrap();
}

fn free_bytes_are_known(disk: &Arc<dyn Disk>) {
    assert!(disk.free_bytes().unwrap() > 0);
}

fn the_second_lock_names_the_holder_of_the_first(disk: &Arc<dyn Disk>) {
    let guard = disk.lock(&path("LOCK"), "process 4711, and more of a note").unwrap();
    let error = disk.lock(&path("LOCK"), "process 4712").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("process 4711"), "{error}");
    drop(guard);
    let guard = disk.lock(&path("LOCK"), "short").unwrap();
    let error = disk.lock(&path("LOCK"), "").unwrap_err();
    assert!(error.to_string().ends_with("held by short"), "{error}");
    drop(guard);
}

fn a_lock_file_stays_and_can_be_locked_again(disk: &Arc<dyn Disk>) {
    for _ in 0..3 {
        drop(disk.lock(&path("LOCK"), "me").unwrap());
        assert_eq!(names(disk.as_ref(), &RelPath::root()), [("LOCK".to_owned(), false)]);
    }
}

fn logs_are_written_and_read_at_positions(disk: &Arc<dyn Disk>) {
    let log = disk.create_log(&path("log")).unwrap();
    assert_eq!((log.len().unwrap(), log.path()), (0, &path("log")));
    assert_eq!(log.write_at(7, &[]).unwrap(), 0);
    assert_eq!(log.write_at(7, &[IoSlice::new(b""), IoSlice::new(b"")]).unwrap(), 0);
    write_all_at(log.as_ref(), 0, &[b"hello", b"", b", ", b"world"]).unwrap();
    write_all_at(log.as_ref(), 7, &[b"W"]).unwrap();
    log.sync().unwrap();
    let mut bytes = [0; 100];
    assert_eq!(read_up_to(log.as_ref(), 0, &mut bytes).unwrap(), 12);
    assert_eq!(&bytes[..12], b"hello, World");
    assert_eq!(log.read_at(12, &mut bytes).unwrap(), 0, "the end");
    assert_eq!(log.read_at(1 << 40, &mut bytes).unwrap(), 0, "far past the end");
    assert_eq!(log.read_at(0, &mut []).unwrap(), 0);
    assert_eq!(log.len().unwrap(), 12);
}

fn gaps_of_a_log_read_as_zero(disk: &Arc<dyn Disk>) {
    let log = disk.create_log(&path("log")).unwrap();
    write_all_at(log.as_ref(), 10_000, &[b"x"]).unwrap();
    assert_eq!(disk.file_len(&path("log")).unwrap(), 10_001);
    let mut bytes = vec![9; 20_000];
    assert_eq!(read_up_to(log.as_ref(), 0, &mut bytes).unwrap(), 10_001);
    assert!(bytes[..10_000].iter().all(|&byte| byte == 0));
    assert_eq!(bytes[10_000], b'x');
}

fn a_log_takes_many_parts_at_once(disk: &Arc<dyn Disk>) {
    let log = disk.create_log(&path("log")).unwrap();
    let bytes = pattern(3 * 3000);
    let parts: Vec<&[u8]> = bytes.chunks(3).collect();
    write_all_at(log.as_ref(), 5, &parts).unwrap();
    let mut read = vec![0; bytes.len()];
    assert_eq!(read_up_to(log.as_ref(), 5, &mut read).unwrap(), read.len());
    assert!(read == bytes);
}

fn a_reopened_log_goes_on(disk: &Arc<dyn Disk>) {
    let log = disk.create_log(&path("log")).unwrap();
    write_all_at(log.as_ref(), 0, &[b"one"]).unwrap();
    log.sync().unwrap();
    drop(log);
    let log = disk.open_log(&path("log")).unwrap();
    write_all_at(log.as_ref(), log.len().unwrap(), &[b"two"]).unwrap();
    let mut bytes = [0; 6];
    assert_eq!(read_up_to(log.as_ref(), 0, &mut bytes).unwrap(), 6);
    assert_eq!(&bytes, b"onetwo");
}

fn streams_give_back_what_was_written(disk: &Arc<dyn Disk>) {
    let piece = STREAM_PIECE_BYTES;
    for len in [0, 1, 4095, 4096, 4097, piece - 1, piece, piece + 1, 9 * piece + 123] {
        let bytes = pattern(len);
        write_file(disk.as_ref(), "file", &bytes, 0);
        assert_eq!(disk.file_len(&path("file")).unwrap(), len as u64);
        assert!(read_range(disk.as_ref(), "file", 0..len as u64) == bytes, "{len} bytes");
        disk.remove(&path("file")).unwrap();
    }
}

fn any_range_of_a_file_can_be_streamed(disk: &Arc<dyn Disk>) {
    let piece = STREAM_PIECE_BYTES;
    let bytes = pattern(6 * piece + 777);
    write_file(disk.as_ref(), "file", &bytes, bytes.len() as u64);
    let ends = [0, 1, 4095, 4096, 4097, piece - 1, piece, piece + 5000, 5 * piece, bytes.len()];
    for start in ends {
        for end in ends.into_iter().filter(|&end| end >= start) {
            let read = read_range(disk.as_ref(), "file", start as u64..end as u64);
            assert!(read == bytes[start..end], "{start}..{end}");
        }
    }
}

fn a_length_hint_changes_nothing_in_the_file(disk: &Arc<dyn Disk>) {
    let bytes = pattern(2 * STREAM_PIECE_BYTES + 99);
    for (index, hint) in [1, 4097, bytes.len() as u64, 5 << 20].into_iter().enumerate() {
        let name = format!("file-{index}");
        write_file(disk.as_ref(), &name, &bytes, hint);
        assert_eq!(disk.file_len(&path(&name)).unwrap(), bytes.len() as u64);
        assert!(read_range(disk.as_ref(), &name, 0..bytes.len() as u64) == bytes, "hint {hint}");
    }
}

fn a_range_past_the_end_is_refused(disk: &Arc<dyn Disk>) {
    write_file(disk.as_ref(), "file", &pattern(5000), 0);
    for range in [0..5001, 5001..5001, 6000..7000, 0..u64::MAX] {
        let opened = disk.open_stream(&path("file"), range.clone());
        assert_eq!(kind(opened), ErrorKind::UnexpectedEnd, "{range:?}");
    }
    let backwards = std::ops::Range { start: 2, end: 1 };
    assert_eq!(kind(disk.open_stream(&path("file"), backwards)), ErrorKind::Invalid);
    assert_eq!(read_range(disk.as_ref(), "file", 5000..5000), b"");
}

fn a_stream_over_a_folder_or_nothing_is_refused(disk: &Arc<dyn Disk>) {
    disk.create_dir(&path("dir")).unwrap();
    assert_eq!(kind(disk.create_stream(&path("dir"), 10)), ErrorKind::Exists);
    assert_eq!(kind(disk.open_stream(&path("dir"), 0..1)), ErrorKind::Invalid);
    assert_eq!(kind(disk.create_stream(&RelPath::root(), 0)), ErrorKind::Exists);
}

fn pieces_come_in_order_and_within_their_bound(disk: &Arc<dyn Disk>) {
    let bytes = pattern(5 * STREAM_PIECE_BYTES + 1);
    write_file(disk.as_ref(), "file", &bytes, 0);
    let mut reader = disk.open_stream(&path("file"), 100..bytes.len() as u64).unwrap();
    let mut at = 100;
    while let Some(piece) = reader.next_piece().unwrap() {
        assert!((1..=STREAM_PIECE_BYTES).contains(&piece.len()));
        assert!(*piece == bytes[at..at + piece.len()]);
        at += piece.len();
    }
    assert_eq!(at, bytes.len());
    assert!(reader.next_piece().unwrap().is_none(), "the end stays the end");
}

fn pieces_outlive_reader_file_and_disk(disk: &Arc<dyn Disk>) {
    let bytes = pattern(3 * STREAM_PIECE_BYTES);
    write_file(disk.as_ref(), "file", &bytes, 0);
    let mut reader = disk.open_stream(&path("file"), 0..bytes.len() as u64).unwrap();
    let first = reader.next_piece().unwrap().unwrap();
    let part = first.slice(10..first.len());
    let shared = Bytes::from(first.clone());
    drop(first);
    drop(reader);
    disk.remove(&path("file")).unwrap();
    write_file(disk.as_ref(), "other", &vec![0; 3 * STREAM_PIECE_BYTES], 0);
    let end = 10 + part.len();
    let elsewhere = thread::spawn(move || part.to_vec()).join().unwrap();
    assert!(elsewhere == bytes[10..end]);
    assert!(shared == bytes[..shared.len()]);
}

fn held_pieces_do_not_block_other_readers(disk: &Arc<dyn Disk>) {
    let bytes = pattern(12 * STREAM_PIECE_BYTES);
    write_file(disk.as_ref(), "file", &bytes, 0);
    let len = bytes.len() as u64;
    let mut readers: Vec<_> =
        (0..3).map(|_| disk.open_stream(&path("file"), 0..len).unwrap()).collect();
    let mut held: Vec<Vec<Piece>> = vec![Vec::new(); readers.len()];
    loop {
        let mut more = false;
        for (reader, held) in readers.iter_mut().zip(&mut held) {
            let piece = reader.next_piece().unwrap();
            more |= piece.is_some();
            held.extend(piece);
        }
        if !more {
            break;
        }
    }
    for held in held {
        let read: Vec<u8> = held.iter().flat_map(|piece| piece.iter().copied()).collect();
        assert!(read == bytes);
    }
}

fn an_abandoned_stream_can_be_removed_and_created_again(disk: &Arc<dyn Disk>) {
    let mut writer = disk.create_stream(&path("file"), 8 << 20).unwrap();
    writer.write(&pattern(5 * STREAM_PIECE_BYTES)).unwrap();
    drop(writer);
    disk.remove(&path("file")).unwrap();
    write_file(disk.as_ref(), "file", b"again", 0);
    assert_eq!(read_range(disk.as_ref(), "file", 0..5), b"again");
}

fn a_reader_may_be_dropped_half_way(disk: &Arc<dyn Disk>) {
    let bytes = pattern(6 * STREAM_PIECE_BYTES);
    write_file(disk.as_ref(), "file", &bytes, 0);
    for taken in 0..4 {
        let mut reader = disk.open_stream(&path("file"), 0..bytes.len() as u64).unwrap();
        for _ in 0..taken {
            assert!(reader.next_piece().unwrap().is_some());
        }
    }
    assert!(read_range(disk.as_ref(), "file", 0..bytes.len() as u64) == bytes);
}

fn streams_of_many_threads_do_not_mix(disk: &Arc<dyn Disk>) {
    thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                let name = format!("file-{worker}");
                let bytes = pattern(3 * STREAM_PIECE_BYTES + 1000 * worker);
                write_file(disk.as_ref(), &name, &bytes, 0);
                let len = bytes.len() as u64;
                assert!(read_range(disk.as_ref(), &name, 0..len) == bytes);
            });
        }
    });
}

fn blocks_are_read_at_any_offset(disk: &Arc<dyn Disk>) {
    let bytes = pattern(300_001);
    write_file(disk.as_ref(), "file", &bytes, 0);
    for mode in [ReadMode::Direct, ReadMode::Map] {
        let blocks = disk.open_blocks(&path("file"), mode).unwrap();
        assert_eq!((blocks.len(), blocks.path()), (300_001, &path("file")));
        for (at, len) in [(0, 1), (1, 4096), (4095, 2), (4096, 4096), (8191, 200_000), (300_000, 1)]
        {
            let mut read = vec![0; len];
            read_exact_at(blocks.as_ref(), at as u64, &mut read).unwrap();
            assert!(read == bytes[at..at + len], "{len} bytes at {at}, {mode:?}");
        }
        let mapped = blocks.mapped();
        assert!(mapped.is_none_or(|mapped| mode == ReadMode::Map && mapped == bytes));
    }
}

fn block_reads_end_with_the_file(disk: &Arc<dyn Disk>) {
    write_file(disk.as_ref(), "file", &pattern(5000), 0);
    write_file(disk.as_ref(), "empty", &[], 0);
    for mode in [ReadMode::Direct, ReadMode::Map] {
        let blocks = disk.open_blocks(&path("file"), mode).unwrap();
        let mut read = vec![0; 10_000];
        assert_eq!(blocks.read_at(5000, &mut read).unwrap(), 0);
        assert_eq!(blocks.read_at(u64::MAX, &mut read).unwrap(), 0);
        assert_eq!(blocks.read_at(0, &mut []).unwrap(), 0);
        let error = read_exact_at(blocks.as_ref(), 4000, &mut read).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::UnexpectedEnd, Some(4000)));
        let empty = disk.open_blocks(&path("empty"), mode).unwrap();
        assert!(empty.is_empty());
        assert_eq!(empty.read_at(0, &mut read).unwrap(), 0);
    }
}

fn a_batch_answers_each_read(disk: &Arc<dyn Disk>) {
    let bytes = pattern(100_000);
    write_file(disk.as_ref(), "file", &bytes, 0);
    let blocks = disk.open_blocks(&path("file"), ReadMode::Direct).unwrap();
    let mut bufs = vec![[0; 100]; 50];
    let unset = || Err(Error::new(ErrorKind::Device, "read", "nothing"));
    let mut reads: Vec<BlockRead<'_>> = (0..)
        .step_by(2003)
        .zip(&mut bufs)
        .map(|(offset, buf)| BlockRead { offset, buf, result: unset() })
        .collect();
    blocks.read_batch(&mut reads);
    for read in reads {
        let len = read.result.unwrap();
        let at = usize::try_from(read.offset).unwrap();
        assert!(len > 0 || at >= bytes.len());
        assert!(len == 0 || read.buf[..len] == bytes[at..at + len]);
    }
}

fn blocks_are_read_by_many_threads(disk: &Arc<dyn Disk>) {
    let bytes = pattern(1_000_000);
    write_file(disk.as_ref(), "file", &bytes, 0);
    let blocks = disk.open_blocks(&path("file"), ReadMode::Direct).unwrap();
    thread::scope(|scope| {
        for worker in 0..4 {
            let (blocks, bytes) = (&blocks, &bytes);
            scope.spawn(move || {
                for at in (worker * 1000..900_000).step_by(50_021) {
                    let mut read = vec![0; 10_000];
                    read_exact_at(blocks.as_ref(), at as u64, &mut read).unwrap();
                    assert!(read == bytes[at..at + 10_000]);
                }
            });
        }
    });
}
