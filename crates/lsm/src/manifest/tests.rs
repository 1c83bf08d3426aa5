mod crashes;
mod damage;
mod failures;
mod reopen;

use std::sync::Arc;

use siltstone_io::{
    disk::Disk,
    sim::{Crash, SimDisk},
};

use super::*;
use crate::{
    format::{manifest::PAGE_BYTES, names},
    manifest::random::{Random, describe},
    types::{Counts, FileId, Hash, LogId, SegmentMeta, TreeId, Uid},
};

const STORE_ID: [u8; 16] = [9; 16];
const PAGE: u64 = PAGE_BYTES as u64;

/// Never rolls by itself.
const LONG: u64 = u64::MAX;

fn env(disk: &SimDisk) -> Env {
    env_on(Arc::new(disk.clone()))
}

fn env_on(disk: Arc<dyn Disk>) -> Env {
    Env::seeded(disk, 4)
}

/// A new store's manifest on a disk of its own, all durable.
fn created() -> (SimDisk, Manifest) {
    let disk = SimDisk::new(1);
    let manifest = Manifest::create(&env(&disk), STORE_ID, LONG).unwrap();
    (disk, manifest)
}

fn open(disk: &SimDisk) -> Result<Manifest> {
    Manifest::open(&env(disk), LONG)
}

/// Edits that can follow each other from the empty state, one per number: a collection, and a file
/// that is held.
fn edit(number: u64) -> Edit {
    Edit {
        records: vec![
            Record::CreateCollection {
                id: number,
                name: format!("collection {number}"),
                tree: TreeId(number),
            },
            Record::LogReady { log: LogId(number) },
            Record::HoldFile { file: FileId(number), length: 1_000 },
            Record::HoldSegment { file: FileId(number), offset: 10, meta: meta(number) },
        ],
    }
}

fn meta(number: u64) -> SegmentMeta {
    SegmentMeta {
        uid: Uid([1; 16]),
        length: 900,
        hash: Hash([2; 32]),
        counts: Counts { puts: number, ..Counts::default() },
        sum: 3,
        key_min: b"a".to_vec(),
        key_max: None,
        sequence_min: 4,
        sequence_max: 5,
    }
}

fn manifests(disk: &SimDisk) -> Vec<String> {
    disk.paths().into_iter().filter(|path| names::parse_manifest(path).is_some()).collect()
}

/// The only manifest on the disk.
fn manifest_path(disk: &SimDisk) -> String {
    let mut all = manifests(disk);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}
