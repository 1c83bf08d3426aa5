//! The disks under test, one line each: every case of [`conformance`](crate::conformance) runs on
//! every one of them.

use std::{path::Path, sync::Arc};

use siltstone_io::{
    check::CheckDisk,
    disk::Disk,
    fault::{Fault, FaultDisk, FaultRule},
    os::{OsDisk, StreamEngine},
    sim::{SimDisk, SimOptions},
    trace::TraceDisk,
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
    sim_disk_conforms => |_| Arc::new(SimDisk::new(1));
    sim_disk_with_short_io_conforms => |_| Arc::new(short_sim());
    fault_disk_without_faults_conforms => |_| Arc::new(FaultDisk::new(Arc::new(SimDisk::new(1))));
    fault_disk_with_every_call_short_conforms => |_| Arc::new(always_short());
    trace_disk_conforms => |_| Arc::new(TraceDisk::new(Arc::new(SimDisk::new(1))));
    check_disk_conforms => |_| Arc::new(CheckDisk::new(Arc::new(SimDisk::new(1))));
    wrappers_of_the_os_disk_conform => |folder| {
        let disk = Arc::new(OsDisk::open(folder, StreamEngine::Auto).unwrap());
        Arc::new(CheckDisk::new(Arc::new(TraceDisk::new(Arc::new(FaultDisk::new(disk))))))
    };
}

fn short_sim() -> SimDisk {
    let options = SimOptions { seed: 1, short_io: true, ..SimOptions::default() };
    SimDisk::with_options(SimOptions { stream_piece_bytes: 100_000, ..options })
}

fn always_short() -> FaultDisk {
    let disk = FaultDisk::new(Arc::new(SimDisk::new(1)));
    disk.inject(FaultRule::new(Fault::Short).forever());
    disk
}

#[expect(clippy::print_stderr, reason = "names the case that fails")]
fn run_all(make: fn(&Path) -> Arc<dyn Disk>) {
    for (name, case) in CASES {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let disk = make(folder.path());
        eprintln!("case {name}"); // kept back unless the test fails
        case(&disk);
    }
}
