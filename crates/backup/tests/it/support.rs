//! Stores to back up, and what is in them.

use std::{collections::BTreeMap, ops::Bound, path::Path, sync::Arc, thread, time::Duration};

use siltstone_backup::{
    api::Backups,
    backend::{self, Backend, BackendConfig},
    operation::Summary,
    options::{Compression, CreateOptions, RestoreOptions},
};
use siltstone_io::{
    env::Env,
    os::{OsDisk, StreamEngine},
    sim::SimDisk,
};
use siltstone_lsm::{
    catalog::{Tenant, TenantStatus},
    options::{Durability, Options},
    store::Store,
    types::TreeId,
};

pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store on a simulated disk, small enough that a few rows make several segments.
pub(crate) fn sim_store(seed: u64) -> (SimDisk, Store) {
    let disk = SimDisk::new(seed);
    let store = open_sim(&disk, seed);
    (disk, store)
}

pub(crate) fn open_sim(disk: &SimDisk, seed: u64) -> Store {
    open(Env::seeded(Arc::new(disk.clone()), seed))
}

/// A store in a folder of the operating system, with its real clock.
pub(crate) fn os_store(folder: &Path) -> Store {
    open(Env::system(Arc::new(OsDisk::open(folder, StreamEngine::Auto).unwrap())))
}

/// Waits until something holds; a minute is far more than it takes.
pub(crate) fn wait_until(holds: impl Fn() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("it never happened");
}

pub(crate) fn open(env: Env) -> Store {
    let mut options = Options::default();
    options.memtable_bytes_max = 1 << 20;
    options.cache_bytes_max = 1 << 20;
    options.segment_bytes_max = 1 << 20;
    Store::open_on(env, options).expect("the store opens")
}

pub(crate) fn memory() -> Arc<dyn Backend> {
    backend::open(&BackendConfig::Memory).expect("memory is there")
}

/// Two collections, one with a hot and a cold tenant; `rows` rows in each tree.
pub(crate) fn fill(store: &Store, rows: u32) {
    let birds = store.create_collection("birds").unwrap();
    let fish = store.create_collection("fish").unwrap();
    let tenants = store.create_tenants("fish", &["pond", "sea"]).unwrap();
    for tree in [birds, fish, tenants[0], tenants[1]] {
        for row in 0..rows {
            let key = format!("key-{row:06}");
            let value = value(tree.0, row);
            store.put(tree, key.as_bytes(), &value, Durability::Buffered).unwrap();
        }
        store.delete(tree, b"key-000000", Durability::Sync).unwrap();
    }
    store.set_tenant_status("fish", &["sea"], TenantStatus::Cold).unwrap();
}

/// About a kilobyte that gzip does not make vanish.
fn value(tree: u64, row: u32) -> Vec<u8> {
    let mut state = tree.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(row);
    let step = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 60) as u8 + b'a'
    };
    (0..1000).map(step).collect()
}

/// Everything in a store, by collection and tenant; cold tenants are woken for a moment.
pub(crate) fn content(store: &Store) -> BTreeMap<String, Rows> {
    let mut content = BTreeMap::new();
    for collection in store.catalog().collections.values() {
        let name = &collection.name;
        content.insert(name.to_string(), rows(store, collection.tree));
        for (tenant, Tenant { tree, status }) in &collection.tenants {
            let set = |status| store.set_tenant_status(name, &[tenant], status).unwrap();
            if *status == TenantStatus::Cold {
                set(TenantStatus::Hot);
            }
            content.insert(format!("{name}/{tenant} {status:?}"), rows(store, *tree));
            if *status == TenantStatus::Cold {
                set(TenantStatus::Cold);
            }
        }
    }
    content
}

/// Panics unless both are equal; names the first difference alone.
pub(crate) fn assert_same(found: &BTreeMap<String, Rows>, expected: &BTreeMap<String, Rows>) {
    let sizes = |it: &BTreeMap<String, Rows>| -> Vec<(String, usize)> {
        it.iter().map(|(name, rows)| (name.clone(), rows.len())).collect()
    };
    assert_eq!(sizes(found), sizes(expected));
    for (name, rows) in expected {
        assert!(found[name] == *rows, "rows of {name} differ");
    }
}

fn rows(store: &Store, tree: TreeId) -> Rows {
    let rows = store.snapshot().scan(tree, (Bound::Unbounded, Bound::Unbounded)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Options that make small chunks in little time.
pub(crate) fn quick() -> CreateOptions {
    let mut options = CreateOptions::default();
    options.compression = Compression::GzipBestSpeed;
    options.chunk_mib = 2;
    options
}

pub(crate) fn create(store: &Store, backend: &Arc<dyn Backend>, id: &str) -> Summary {
    let backups = Backups::new(store.clone()).unwrap();
    backups.create(backend, id, quick()).unwrap().wait().unwrap()
}

pub(crate) fn restore(store: &Store, backend: &Arc<dyn Backend>, id: &str) -> Summary {
    let backups = Backups::new(store.clone()).unwrap();
    backups.restore(backend, id, RestoreOptions::default()).unwrap().wait().unwrap()
}
