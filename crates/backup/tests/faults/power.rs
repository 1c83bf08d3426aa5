//! Power that is lost: at every step, on a simulated disk; and right after a success, on a real one.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use siltstone_backup::{
    api::{self, Backups},
    backend::{self, Backend, BackendConfig},
    handle::Status,
    options::RestoreOptions,
    state::State,
};
use siltstone_io::sim::{Crash, SimDisk};
use siltstone_lsm::store::Store;

use crate::{
    site::check,
    support::{
        assert_same, content, create, fill, memory, open_sim, os_store, quick, restore, sim_store,
    },
};

fn is_there(backend: &Arc<dyn Backend>, id: &str) -> bool {
    backend.stat(&format!("{id}/backup_config.json")).unwrap().is_some()
}

#[test]
fn fault_09_power_lost_at_any_step_of_a_backup_leaves_a_true_state() {
    let (filled, store) = sim_store(44);
    fill(&store, 300);
    let expected = content(&store);
    store.close().unwrap();
    drop(store);
    filled.settle();
    let whole = filled.fork();
    let begun = {
        let store = open_sim(&whole, 45);
        let begun = whole.operations();
        create(&store, &memory(), "nightly");
        begun
    };
    for steps in begun..=whole.operations() {
        let (disk, memory) = (filled.fork(), memory());
        {
            let store = open_sim(&disk, 45);
            disk.stop_after(steps);
            if let Ok(backups) = Backups::new(store.clone()) {
                let ended = backups.create(&memory, "nightly", quick());
                drop(ended.and_then(|handle| handle.wait()));
            }
        }
        for (index, crash) in Crash::matrix(steps).into_iter().enumerate() {
            let store = open_sim(&disk.crash(crash), 46);
            check_statuses(&store, &memory);
            assert_eq!(store.metrics().pinned_bytes, 0);
            assert_same(&content(&store), &expected);
            create(&store, &memory, &format!("after-{index}"));
        }
        let made = is_there(&memory, "nightly");
        for id in ["after-0", "nightly"].iter().take(1 + usize::from(made)) {
            check(&memory, id, &expected);
        }
    }
}

/// After a reopen no operation is left half-way, and SUCCESS is said exactly where it is true.
fn check_statuses(store: &Store, backend: &Arc<dyn Backend>) {
    drop(Backups::new(store.clone()).unwrap());
    let present = is_there(backend, "nightly");
    for status in api::statuses(store.env(), Some(backend)).unwrap() {
        assert!(status.state.is_final(), "{status:?}");
        assert_eq!(status.state == State::Success, present, "{status:?}");
    }
}

#[test]
fn fault_10_power_lost_at_any_step_of_a_restore_leaves_all_or_nothing() {
    let (_disk, store) = sim_store(48);
    fill(&store, 200);
    let expected = content(&store);
    let memory = memory();
    create(&store, &memory, "nightly");
    let mut options = RestoreOptions::default();
    options.file_bytes_max = 64 << 10; // several files, each held when it is complete
    let whole = SimDisk::new(49);
    let (begun, segment_bytes) = {
        let store = open_sim(&whole, 49);
        let begun = whole.operations();
        let backups = Backups::new(store).unwrap();
        let restored = backups.restore(&memory, "nightly", options.clone()).unwrap().wait();
        (begun, restored.unwrap().totals.segment_bytes)
    };
    let mut went_on = 0;
    for steps in begun..=whole.operations() {
        let disk = SimDisk::new(49);
        {
            let store = open_sim(&disk, 49);
            disk.stop_after(steps);
            if let Ok(backups) = Backups::new(store.clone()) {
                let ended = backups.restore(&memory, "nightly", options.clone());
                drop(ended.and_then(|handle| handle.wait()));
            }
        }
        for crash in Crash::matrix(steps) {
            let disk = disk.crash(crash);
            let store = open_sim(&disk, 50);
            let backups = Backups::new(store.clone()).unwrap();
            let found = content(&store);
            if found.is_empty() {
                let held = store.metrics().held_bytes;
                let again = backups.restore(&memory, "nightly", options.clone());
                let progress = again.unwrap().wait().unwrap().progress;
                // Held is held: what an edit named was whole and durable before.
                assert_eq!(progress.bytes_reused, held, "{steps} {crash:?}");
                assert_eq!(progress.bytes_done, segment_bytes - held, "{steps} {crash:?}");
                went_on += u32::from(held > 0);
            }
            assert_eq!(store.metrics().held_files, 0, "{steps} {crash:?}");
            assert_same(&content(&store), &expected);
            let success = |status: &Status| status.state == State::Success;
            let statuses = api::statuses(store.env(), Some(&memory)).unwrap();
            assert!(statuses.iter().all(|status| status.state.is_final()), "{statuses:?}");
            assert_eq!(statuses.iter().filter(|status| success(status)).count(), 1);
        }
    }
    assert!(went_on > 100, "{went_on}");
}

/// Cuts of the power of a real file system.
const POWER_CUTS: u32 = 20;

/// A file system of its own, on a loop device over memory; gone with the value.
struct Volume {
    image: PathBuf,
    mount: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let told = |output: Output| {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(()) } else { Err(format!("{program}: {said}")) }
    };
    let output = Command::new(program).args(arguments).output();
    output.map_err(|error| format!("{program}: {error}")).and_then(told)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of the test are text")
}

impl Volume {
    /// Makes and mounts it; why not, where that cannot be.
    fn make(folder: &Path) -> Result<Self, String> {
        let image = Path::new("/dev/shm").join(format!("siltstone-{}.img", std::process::id()));
        let mount = folder.join("volume");
        std::fs::create_dir(&mount).map_err(|error| error.to_string())?;
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(256 << 20).map_err(|error| error.to_string())?;
        let volume = Self { image, mount };
        run("mkfs.ext4", &["-q", "-F", "-J", "size=8", text(&volume.image)])?;
        volume.mount()?;
        run("python3", &["-c", "import fcntl, struct"])?;
        Ok(volume)
    }

    /// The journal is written back by requests for durability alone: the timer is set off.
    fn mount(&self) -> Result<(), String> {
        let (image, mount) = (text(&self.image), text(&self.mount));
        run("mount", &["-o", "loop,commit=600", image, mount])
    }

    /// `EXT4_IOC_SHUTDOWN` without a flush of the journal: what is not durable by now never will be.
    fn cut_power(&self) {
        let shutdown = "import fcntl, os, struct, sys\n\
                        fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        run("python3", &["-c", shutdown, text(&self.mount)]).unwrap();
        run("umount", &[text(&self.mount)]).unwrap();
        self.mount().unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // What is left of a test that failed is for its reader.
        drop(run("umount", &[text(&self.mount)]));
        drop(std::fs::remove_file(&self.image));
    }
}

/// The machine's own file system loses its power; needs root, loop devices, `mkfs.ext4` and
/// `python3`, and says loudly where it has to be skipped.
#[test]
fn fault_27_a_success_on_a_file_system_survives_power_loss() {
    let folder = tempfile::tempdir().unwrap();
    let volume = match Volume::make(folder.path()) {
        Ok(volume) => volume,
        Err(why) => {
            use std::io::Write;
            let skipped = format!("SKIPPED fault_27: no file system to cut the power of ({why})");
            writeln!(std::io::stderr(), "{skipped}").unwrap();
            return;
        }
    };
    let store = os_store(&folder.path().join("store"));
    fill(&store, 200);
    let birds = store.tree("birds", None).unwrap();
    // That the power is really cut: what nobody asked to be durable is gone.
    let lazy = volume.mount.join("lazy");
    std::fs::write(&lazy, b"never synced").unwrap();
    volume.cut_power();
    assert!(!lazy.exists(), "the file system lost nothing: the test proves nothing");
    for round in 0..POWER_CUTS {
        let config = BackendConfig::Folder(volume.mount.join("backups"));
        let id = format!("round-{round}");
        let durability = siltstone_lsm::options::Durability::Buffered;
        store.put(birds, id.as_bytes(), b"row", durability).unwrap();
        create(&store, &backend::open(&config).unwrap(), &id);
        volume.cut_power();
        let after = backend::open(&config).unwrap();
        check(&after, &id, &content(&store));
        if round == POWER_CUTS - 1 {
            check_first(&after);
        }
    }
}

/// Backups of earlier rounds are still what they were.
fn check_first(backend: &Arc<dyn Backend>) {
    let (_disk, fresh) = crate::site::fresh_store();
    restore(&fresh, backend, "round-0");
    let birds = fresh.tree("birds", None).unwrap();
    assert!(fresh.get(birds, b"round-0").unwrap().is_some());
    assert!(fresh.get(birds, b"round-1").unwrap().is_none());
}
