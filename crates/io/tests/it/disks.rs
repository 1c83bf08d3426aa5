//! The disks under test, one line each: every case of [`conformance`](crate::conformance) runs on
//! every one of them.

use std::{path::Path, sync::Arc};

use siltstone_io::{
    disk::Disk,
    os::{OsDisk, StreamEngine},
};

use crate::conformance::CASES;

/// Names a test, and how to make its disk from an empty folder.
macro_rules! disks {
    ($($name:ident => $make:expr;)*) => {
        $(
            #[test]
            fn $name() {
                run_all($make);
            }
        )*
    };
}

disks! {
    os_disk_conforms => |folder| Arc::new(OsDisk::open(folder, StreamEngine::Auto).unwrap());
    os_disk_with_blocking_calls_conforms =>
        |folder| Arc::new(OsDisk::open(folder, StreamEngine::Blocking).unwrap());
}

fn run_all(make: fn(&Path) -> Arc<dyn Disk>) {
    for (name, case) in CASES {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let disk = make(folder.path());
        eprintln!("case {name}"); // shown when the test fails
        case(&disk);
    }
}
