//! A whole backup, a second one that uploads little, and a restore, on the server that the
//! environment names; `cargo xtask test backends` starts real ones.

use std::{env, io::Write, sync::Arc};

use siltstone_backup::{
    api,
    backend::{self, Backend, Depth, Place, Provider, Settings},
};
use siltstone_loopback::gcs;
use siltstone_lsm::options::Durability;

use crate::support::{assert_same, content, create, fill, memory, restore, sim_store};

fn read(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn back_up_twice_and_restore(name: &str, backend: &Arc<dyn Backend>, seed: u64) {
    let (_disk, store) = sim_store(seed);
    fill(&store, 3000);
    store.flush().unwrap();
    store.compact().unwrap();
    let first = create(&store, backend, "first");
    assert!(first.totals.chunks > 1, "{first:?}");
    let birds = store.tree("birds", None).unwrap();
    store.put(birds, b"one more", b"row", Durability::Sync).unwrap();
    let second = create(&store, backend, "second");
    let uploaded = second.totals.uploaded_bytes;
    assert!(uploaded > 0 && uploaded * 10 < first.totals.uploaded_bytes, "{second:?}");
    let (_other_disk, other) = sim_store(seed + 1);
    restore(&other, backend, "second");
    assert_same(&content(&other), &content(&store));
    other.verify(&mut |_, _| {}).unwrap();
    assert_eq!(api::list(backend).unwrap().len(), 2);
    for entry in backend.list("", Depth::All).unwrap() {
        backend.delete(&entry.name).unwrap();
    }
    writeln!(std::io::stderr(), "backup, backup, restore on {name}: 1 of 1").unwrap();
}

#[test]
fn memory_takes_two_backups_and_gives_one_back() {
    back_up_twice_and_restore("memory", &memory(), 40);
}

#[test]
fn the_stand_in_for_google_takes_two_backups_and_gives_one_back() {
    let storage = gcs::serve(0, &["birds"], None).unwrap();
    let pairs = [
        ("BACKUP_GCS_BUCKET", "birds".to_owned()),
        ("BACKUP_GCS_PATH", "round trip".to_owned()),
        ("BACKUP_GCS_USE_AUTH", "false".to_owned()),
        ("STORAGE_EMULATOR_HOST", storage.host()),
    ];
    let lookup = |name: &str| {
        pairs.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone())
    };
    let config = Settings::from_env(lookup).config(Provider::Gcs, &Place::default()).unwrap();
    back_up_twice_and_restore("gcs (stand-in)", &backend::open(&config).unwrap(), 60);
}

#[test]
fn a_server_of_the_environment_takes_two_backups_and_gives_one_back() {
    let Some(provider) = read("SILTSTONE_TEST_BACKEND") else {
        let skipped = "SKIPPED: backups to real servers; run cargo xtask test backends";
        writeln!(std::io::stderr(), "{skipped}").unwrap(); // past the capture of the test runner
        return;
    };
    let mut place = Place::default();
    place.path = Some(format!("round-trip-{}", std::process::id()));
    let config = Settings::from_env(read).config(provider.parse().unwrap(), &place).unwrap();
    let name = read("SILTSTONE_TEST_SERVER").unwrap_or(provider);
    back_up_twice_and_restore(&name, &backend::open(&config).unwrap(), 50);
}
