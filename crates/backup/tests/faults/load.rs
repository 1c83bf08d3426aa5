//! Backups of a store that everybody writes to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use siltstone_backup::{api::Backups, backend::Backend};
use siltstone_loopback::s3::S3;
use siltstone_lsm::{batch::Batch, options::Durability, store::Store, types::TreeId};

use crate::{
    site::{bucket, fresh_store},
    support::{Rows, assert_same, content, os_store, quick, restore},
};

/// How long writers and backups work against each other.
const SPAN: Duration = Duration::from_secs(8);

/// Writers, each with rows of its own.
const WRITERS: u64 = 4;

/// Accounts of each of the two ledgers, and what they hold together.
const ACCOUNTS: u64 = 64;
const TOTAL: u64 = ACCOUNTS * 2 * 1000;

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().expect("a number of eight bytes"))
}

/// One writer. Its n-th batch puts row n into two trees, deletes row n - 50 from both, and writes n
/// to both, all at once; and moves some money between accounts that are its own.
fn write(store: &Store, trees: [TreeId; 2], writer: u64, over: &AtomicBool) -> u64 {
    let mut state = writer + 1;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    for count in 1.. {
        if over.load(Ordering::SeqCst) {
            return count - 1;
        }
        let mut batch = Batch::new();
        for tree in trees {
            let row = format!("row-{writer}-{count:08}");
            batch.put(tree, row.as_bytes(), &[b'v'; 700]).unwrap();
            if count > 50 {
                let old = format!("row-{writer}-{:08}", count - 50);
                batch.delete(tree, old.as_bytes()).unwrap();
            }
            batch.put(tree, format!("count-{writer}").as_bytes(), &count.to_le_bytes()).unwrap();
        }
        let own = |draw: u64| format!("account-{:04}", draw * WRITERS + writer);
        let (from, to) = (own(draw(ACCOUNTS / WRITERS)), own(draw(ACCOUNTS / WRITERS)));
        let held = |tree, key: &str| number(&store.get(tree, key.as_bytes()).unwrap().unwrap());
        let (mut there, mut here) = (held(trees[0], &from), held(trees[1], &to));
        let moved = draw(10).min(there);
        there -= moved;
        here += moved;
        batch.put(trees[0], from.as_bytes(), &there.to_le_bytes()).unwrap();
        batch.put(trees[1], to.as_bytes(), &here.to_le_bytes()).unwrap();
        let durability = if count % 64 == 0 { Durability::Sync } else { Durability::Buffered };
        store.write(batch, durability).unwrap();
    }
    unreachable!("it counts for ever")
}

/// Whether rows are those of one moment: every writer's batches up to some number, and no others.
fn check_moment(content: &BTreeMap<String, Rows>) -> u64 {
    let [left, right] = ["left", "right"].map(|name| &content[name]);
    let mut batches = 0;
    for writer in 0..WRITERS {
        let key = format!("count-{writer}").into_bytes();
        let [count, again] = [left, right].map(|rows| rows.get(&key).map_or(0, |it| number(it)));
        assert_eq!(count, again, "both trees are of one moment");
        for rows in [left, right] {
            let prefix = format!("row-{writer}-").into_bytes();
            let found = rows.keys().filter(|key| key.starts_with(&prefix)).cloned();
            let first = count.saturating_sub(49).max(1);
            let expected = (first..=count).map(|row| format!("row-{writer}-{row:08}").into_bytes());
            assert!(found.eq(expected), "the rows of writer {writer} are those up to {count}");
        }
        batches += count;
    }
    let accounts = |rows: &Rows| -> u64 {
        let of_accounts = rows.iter().filter(|(key, _)| key.starts_with(b"account-"));
        of_accounts.map(|(_, value)| number(value)).sum()
    };
    assert_eq!(accounts(left) + accounts(right), TOTAL, "no money came or went");
    batches
}

fn back_up(store: &Store, backend: &Arc<dyn Backend>, id: &str) -> u64 {
    let backups = Backups::new(store.clone()).unwrap();
    backups.create(backend, id, quick()).unwrap().wait().unwrap();
    let (_disk, fresh) = fresh_store();
    restore(&fresh, backend, id);
    check_moment(&content(&fresh))
}

/// Eight seconds here, not sixty, in which several backups are made. How long writes take under a
/// backup is measured by `cargo xtask bench`; here none may fail.
#[test]
fn fault_28_backups_under_writers_compactions_and_drops_are_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let store = os_store(&folder.path().join("store"));
    let trees = ["left", "right"].map(|name| store.create_collection(name).unwrap());
    let mut batch = Batch::new();
    for account in 0..ACCOUNTS {
        for tree in trees {
            let key = format!("account-{account:04}");
            batch.put(tree, key.as_bytes(), &1000_u64.to_le_bytes()).unwrap();
        }
    }
    store.write(batch, Durability::Sync).unwrap();
    let s3 = S3::start().unwrap();
    let backend = bucket(&s3);
    let over = AtomicBool::new(false);
    let written = AtomicU64::new(0);
    let clock = Arc::clone(&store.env().clock);
    let mut counts = Vec::new();
    thread::scope(|scope| {
        let (store, over, written) = (&store, &over, &written);
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let batches = write(store, trees, writer, over);
                written.fetch_add(batches, Ordering::SeqCst);
            });
        }
        scope.spawn(move || {
            for round in 0.. {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                // A collection that comes, is filled, and goes while a backup may hold it.
                let name = format!("passing-{round}");
                let tree = store.create_collection(&name).unwrap();
                for row in 0..200_u32 {
                    let value = [b'p'; 900];
                    store.put(tree, &row.to_le_bytes(), &value, Durability::Buffered).unwrap();
                }
                store.compact().unwrap();
                store.drop_collection(&name).unwrap();
            }
        });
        let begun = clock.monotonic();
        while clock.monotonic().saturating_sub(begun) < SPAN {
            let id = format!("backup-{}", counts.len());
            counts.push(back_up(store, &backend, &id));
        }
        over.store(true, Ordering::SeqCst);
    });
    assert!(counts.len() > 1 && counts.is_sorted(), "{counts:?}");
    // And one more, with nobody writing: it has all that was ever acknowledged.
    let last = back_up(&store, &backend, "last");
    assert_eq!(last, written.load(Ordering::SeqCst));
    let (_disk, fresh) = fresh_store();
    restore(&fresh, &backend, "last");
    assert_same(&content(&fresh), &content(&store));
}
