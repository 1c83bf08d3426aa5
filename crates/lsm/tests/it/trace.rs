//! The order of disk operations, as golden files: durability is an order, and a change of it must
//! be seen by whoever reviews the change.
//!
//! `UPDATE_GOLDEN=1 cargo test` rewrites `tests/golden/*.trace`.

use std::{path::PathBuf, sync::Arc};

use siltstone_io::{sim::SimDisk, trace::TraceDisk};

use crate::script::{Change, Op, Runner, place, put, small_options, write};

fn golden(name: &str, setup: &[Op], traced: &[Op]) {
    let trace = Arc::new(TraceDisk::new(Arc::new(SimDisk::new(1))));
    let mut runner = Runner::new(Arc::clone(&trace) as _, small_options());
    runner.open().unwrap();
    for op in setup {
        runner.apply(op).unwrap();
    }
    trace.clear();
    for op in traced {
        trace.note(&format!("# {op:?}"));
        runner.apply(op).unwrap();
    }
    let text = trace.text();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, expected, "the order of operations changed; see {}", path.display());
}

#[test]
fn opening_a_new_store() {
    golden("open.trace", &[], &[Op::Reopen]);
}

#[test]
fn a_durable_write() {
    golden("write.trace", &[Op::Create("a")], &[write(&[put("a", "k", "v")])]);
}

#[test]
fn a_flush() {
    let setup = [Op::Create("a"), write(&[put("a", "k", "v")]), Op::Steps(5)];
    golden("flush.trace", &setup, &[Op::Flush, Op::Steps(5)]);
}

#[test]
fn a_compaction() {
    let mut setup = vec![Op::Create("a")];
    for round in 0..2 {
        setup.extend([write(&[put("a", "k", &format!("{round}"))]), Op::Flush]);
    }
    setup.push(write(&[Change::Delete(place("a"), b"k".to_vec()), put("a", "l", "v")]));
    setup.extend([Op::Flush]);
    golden("compaction.trace", &setup, &[Op::Compact, Op::Steps(9)]);
}

#[test]
fn a_catalog_edit() {
    golden("edit.trace", &[Op::Create("a"), Op::Steps(5)], &[Op::Create("b"), Op::Drop("a")]);
}

#[test]
fn a_cut() {
    let setup = [Op::Create("a"), write(&[put("a", "k", "v")]), Op::Steps(5)];
    golden("cut.trace", &setup, &[Op::Cut, Op::Cut]);
}

#[test]
fn a_restore() {
    let setup = [Op::Create("a"), write(&[put("a", "k", "v")]), Op::Flush, Op::Steps(5)];
    golden("restore.trace", &setup, &[Op::Restore("copy of ")]);
}

#[test]
fn a_restore_that_fails_and_is_asked_for_again() {
    let rows = [put("a", "k", "v"), put("b", "k", "v")];
    let setup = [Op::Create("a"), Op::Create("b"), write(&rows), Op::Flush, Op::Steps(5)];
    let again = [Op::Hold, Op::Restore("copy of "), Op::Steps(9), Op::Hold, Op::Discard];
    golden("hold.trace", &setup, &again);
}
