//! What only the operating system's disk does: modes, engines, fallbacks.

use super::*;

#[test]
fn io_uring_runs_the_streams_where_it_may() {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let disk = OsDisk::open(folder.path(), StreamEngine::Auto).unwrap();
    assert!(disk.ring.get().is_none(), "no thread before the first stream");
    disk.create_stream(&RelPath::new("file").unwrap(), 0).unwrap().finish().unwrap();
    assert!(disk.ring().is_some() || disk.stream_engine_note().is_some());
    println!("note: {:?}", disk.stream_engine_note());
}
