//! What only the operating system's disk does: modes, links, engines and their fallbacks.

use std::{
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    process::Command,
};

use tempfile::TempDir;

use super::{memory::SLOTS_MAX, *};
use crate::{buffer::Piece, disk::STREAM_PIECE_BYTES};

fn path(path: &str) -> RelPath {
    RelPath::new(path).unwrap()
}

fn disk(settings: Settings) -> (TempDir, OsDisk) {
    let folder = tempfile::tempdir().unwrap();
    let disk = OsDisk::with_settings(folder.path(), settings).unwrap();
    (folder, disk)
}

fn pattern(len: usize) -> Vec<u8> {
    (0_u64..).take(len).map(|at| (at.wrapping_mul(31) ^ (at >> 12)).to_le_bytes()[0]).collect()
}

fn write_file(disk: &OsDisk, name: &str, bytes: &[u8]) {
    let mut writer = disk.create_stream(&path(name), 0).unwrap();
    writer.write(bytes).unwrap();
    assert_eq!(writer.finish().unwrap(), bytes.len() as u64);
}

fn read_pieces(disk: &OsDisk, name: &str, range: Range<u64>) -> Vec<Piece> {
    let mut reader = disk.open_stream(&path(name), range).unwrap();
    std::iter::from_fn(|| reader.next_piece().unwrap()).collect()
}

fn joined(pieces: &[Piece]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| piece.iter().copied()).collect()
}

fn assert_streams_work(disk: &OsDisk) {
    let bytes = pattern(9 * STREAM_PIECE_BYTES + 123);
    write_file(disk, "file", &bytes);
    let pieces = read_pieces(disk, "file", 5..bytes.len() as u64);
    assert!(joined(&pieces) == bytes[5..]);
}

#[test]
fn the_work_of_streams_is_counted_where_the_disk_has_a_thread_for_it() {
    let (_folder, disk) = disk(Settings::default());
    assert_eq!(disk.stream_work(), StreamWork::default());
    assert_streams_work(&disk);
    let (first, moved) = (disk.stream_work(), 2 * 9 * STREAM_PIECE_BYTES as u64);
    if disk.ring().is_some_and(|_| disk.stream_engine_note().is_none()) {
        assert!((moved..moved + (1 << 20)).contains(&first.bytes), "{first:?}");
        assert!(!first.cpu.is_zero());
        write_file(&disk, "more", &pattern(STREAM_PIECE_BYTES));
        let second = disk.stream_work();
        assert!(second.cpu > first.cpu && second.bytes > first.bytes);
    }
    let blocking = Settings { engine: StreamEngine::Blocking, ..Settings::default() };
    let (_folder, disk) = self::disk(blocking);
    assert_streams_work(&disk);
    assert_eq!(disk.stream_work(), StreamWork::default());
}

#[test]
fn the_ring_starts_with_the_first_stream_and_says_if_it_cannot() {
    let (_folder, disk) = disk(Settings::default());
    assert!(disk.ring.get().is_none());
    assert_streams_work(&disk);
    assert!(disk.ring().is_some() || disk.stream_engine_note().is_some());
}

#[test]
fn a_refused_io_uring_leaves_blocking_calls() {
    // More entries than the kernel allows: a real refusal, as a container's EPERM is.
    let ring = RingSettings { entries: 1 << 20, ..RingSettings::default() };
    let (_folder, disk) = disk(Settings { ring, ..Settings::default() });
    assert_eq!(disk.stream_engine_note(), None, "nothing was tried yet");
    assert_streams_work(&disk);
    assert!(disk.ring().is_none());
    let note = disk.stream_engine_note().unwrap();
    assert!(note.starts_with("io_uring is not available ("), "{note}");
}

#[test]
fn the_blocking_engine_never_starts_a_ring() {
    let (_folder, disk) = disk(Settings { engine: StreamEngine::Blocking, ..Settings::default() });
    assert_streams_work(&disk);
    assert!(disk.ring().is_none());
}

#[test]
fn streams_work_without_registered_memory() {
    let ring = RingSettings { slots: &[], ..RingSettings::default() };
    let (_folder, disk) = disk(Settings { ring, ..Settings::default() });
    assert_streams_work(&disk);
    assert_eq!(disk.pool.idle_slots(), 0);
}

#[test]
fn a_file_system_without_direct_io_is_buffered() {
    let (_folder, disk) = disk(Settings { caching: Caching::Buffered, ..Settings::default() });
    assert_streams_work(&disk);
    let blocks = disk.open_blocks(&path("file"), ReadMode::Direct).unwrap();
    let mut read = [0; 10];
    assert_eq!(blocks.read_at(4093, &mut read).unwrap(), 10);
    assert!(read[..] == pattern(5000)[4093..4103]);
    let note = disk.stream_engine_note().unwrap();
    assert_eq!(note, note::NOT_DIRECT, "once, however many files");
}

#[test]
fn slots_come_back_when_streams_and_pieces_are_dropped() {
    let (_folder, disk) = disk(Settings::default());
    write_file(&disk, "file", &pattern(20 * STREAM_PIECE_BYTES));
    let slots = disk.pool.idle_slots();
    let all = 0..20 << 20;
    let mut readers: Vec<_> =
        (0..3).map(|_| disk.open_stream(&path("file"), all.clone()).unwrap()).collect();
    let held: Vec<_> =
        readers.iter_mut().map(|reader| reader.next_piece().unwrap().unwrap()).collect();
    drop(readers);
    let held_slots = slots / 4; // the first readers took all, four each; the others got plain memory
    assert_eq!(disk.pool.idle_slots(), slots - held_slots);
    drop(held);
    assert_eq!(disk.pool.idle_slots(), slots);

    let pieces = read_pieces(&disk, "file", all);
    assert_eq!(disk.pool.idle_slots(), 0, "20 pieces are more than {SLOTS_MAX} slots");
    drop(pieces);
    assert_eq!(disk.pool.idle_slots(), slots);

    let mut writer = disk.create_stream(&path("abandoned"), 0).unwrap();
    writer.write(&pattern(6 * STREAM_PIECE_BYTES + 1)).unwrap();
    drop(writer);
    assert_eq!(disk.pool.idle_slots(), slots);
}

#[test]
fn pieces_outlive_the_disk_and_its_thread() {
    let (folder, disk) = disk(Settings::default());
    let bytes = pattern(12 * STREAM_PIECE_BYTES);
    write_file(&disk, "file", &bytes);
    let mut reader = disk.open_stream(&path("file"), 0..bytes.len() as u64).unwrap();
    let first = reader.next_piece().unwrap().unwrap();
    drop(disk);
    let rest: Vec<Piece> = std::iter::from_fn(|| reader.next_piece().unwrap()).collect();
    drop(reader); // the last user of the ring: its thread has ended after this
    drop(folder);
    assert!([first.to_vec(), joined(&rest)].concat() == bytes);
}

#[test]
fn a_small_file_holds_little_memory() {
    let (_folder, disk) = disk(Settings::default());
    write_file(&disk, "file", &pattern(10_000));
    let slots = disk.pool.idle_slots();
    let pieces = read_pieces(&disk, "file", 0..10_000);
    assert!(joined(&pieces) == pattern(10_000));
    assert_eq!(disk.pool.idle_slots(), slots, "memory of its own size, not a slot");
}

#[test]
fn a_file_that_shrinks_under_a_reader_is_an_error() {
    for engine in [StreamEngine::Auto, StreamEngine::Blocking] {
        let (folder, disk) = disk(Settings { engine, ..Settings::default() });
        write_file(&disk, "file", &pattern(8 * STREAM_PIECE_BYTES));
        let mut reader = disk.open_stream(&path("file"), 0..8 << 20).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join("file"));
        file.unwrap().set_len((5 << 20) + 5000).unwrap();
        let error = std::iter::repeat_with(|| reader.next_piece()).find_map(Result::err).unwrap();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEnd, "{error}");
        assert!(error.offset().unwrap() >= 5 << 20, "{error}");
        assert!(reader.next_piece().is_err(), "an error does not turn into an end");
    }
}

#[test]
fn what_cannot_be_allocated_is_no_space_and_leaves_no_file() {
    let (_folder, disk) = disk(Settings::default());
    let error = disk.create_stream(&path("file"), 1 << 62).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
    assert!(error.to_string().contains("4611686018427387904 bytes"), "{error}");
    assert_eq!(disk.list(&RelPath::root()).unwrap(), []);
}

#[test]
fn symbolic_links_are_not_followed() {
    let (folder, disk) = disk(Settings::default());
    write_file(&disk, "file", b"secret");
    symlink("file", folder.path().join("link")).unwrap();
    symlink(".", folder.path().join("dir-link")).unwrap();
    let link = path("link");
    let kinds = [
        disk.file_len(&link).unwrap_err().kind(),
        disk.open_log(&link).unwrap_err().kind(),
        disk.open_stream(&link, 0..1).unwrap_err().kind(),
        disk.open_blocks(&link, ReadMode::Map).unwrap_err().kind(),
        disk.lock(&link, "me").unwrap_err().kind(),
        disk.list(&path("dir-link")).unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Invalid; 6]);
    assert_eq!(disk.create_log(&link).unwrap_err().kind(), ErrorKind::Exists);
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    const CHILD_FOLDER: &str = "SILTSTONE_TEST_UMASK_FOLDER";
    if let Some(folder) = std::env::var_os(CHILD_FOLDER) {
        let root = Path::new(&folder).join("store");
        let disk = OsDisk::open(&root, StreamEngine::Blocking).unwrap();
        disk.create_dir(&path("dir")).unwrap();
        disk.create_log(&path("log")).unwrap();
        disk.lock(&path("LOCK"), "me").unwrap();
        write_file(&disk, "stream", b"bytes");
        let mode = |name: &str| root.join(name).metadata().unwrap().permissions().mode() & 0o7777;
        let modes = ["", "dir", "log", "LOCK", "stream"].map(mode);
        assert_eq!(modes, [0o700, 0o700, 0o600, 0o600, 0o600], "{modes:?}");
        return;
    }
    for umask in ["0000", "0777"] {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("sh")
            .args(["-c", "umask $0; exec \"$@\"", umask])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "os::tests::modes_do_not_depend_on_the_umask"])
            .env(CHILD_FOLDER, folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "umask {umask}: {said}");
    }
}

#[test]
fn a_lock_is_free_once_its_process_is_killed() {
    let (folder, disk) = disk(Settings::default());
    let lock = folder.path().join("LOCK");
    let mut child = Command::new("flock")
        .arg(&lock)
        .args(["-c", &format!("printf 'process 99' > {}; exec sleep 60", lock.display())])
        .spawn()
        .unwrap();
    let mut error = disk.lock(&path("LOCK"), "me").err();
    while error.as_ref().is_none_or(|error| !error.to_string().contains("process 99")) {
        std::thread::yield_now();
        error = disk.lock(&path("LOCK"), "me").err();
    }
    assert_eq!(error.unwrap().kind(), ErrorKind::Locked);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_disk_stays_with_its_folder_when_that_is_renamed() {
    let (folder, _disk) = disk(Settings::default());
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let disk = OsDisk::open(&old, StreamEngine::Auto).unwrap();
    Command::new("mv").args([&old, &new]).status().unwrap();
    write_file(&disk, "file", b"bytes");
    assert_eq!(new.join("file").metadata().unwrap().len(), 5);
}

#[test]
fn only_one_level_of_the_root_is_created() {
    let (folder, _disk) = disk(Settings::default());
    let deep = folder.path().join("a/b");
    let open = |root: &Path| OsDisk::open(root, StreamEngine::Auto).map(drop);
    assert_eq!(open(&deep).unwrap_err().kind(), ErrorKind::NotFound);
    let existing = OsDisk::open_existing(&folder.path().join("a"), StreamEngine::Auto);
    assert_eq!(existing.unwrap_err().kind(), ErrorKind::NotFound);
    open(&folder.path().join("a")).unwrap();
    open(&deep).unwrap();
    open(&deep).unwrap();
}

#[test]
fn names_that_are_no_text_are_listed_all_the_same() {
    let (folder, disk) = disk(Settings::default());
    let name = std::ffi::OsStr::from_bytes(b"x\xff");
    std::fs::write(folder.path().join(name), b"").unwrap();
    let names = disk.list(&RelPath::root()).unwrap();
    assert_eq!(names, [DirEntry { name: "x\u{fffd}".to_owned(), is_dir: false }]);
}
