//! The ledger: what `demo` writes so that every commit can be accounted for afterwards.
//!
//! Each writer owns a share of the keys and numbers its commits 1, 2, 3... A commit puts or deletes
//! one key in `files` and `entries`, and in the same batch puts one *ledger row* (writer, counter ->
//! what was done) into three places: two collections and a tenant. After the acknowledgement the
//! same line goes to `acks.log` with one write.
//!
//! So a store proves itself: each writer's counters are 1..=k without a hole, equal in all three
//! places; replaying the rows gives exactly the keys and hashes that `files` holds; and every line
//! of `acks.log` is among the rows.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
    ops::Bound,
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use siltstone_lsm::{
    format::primitives::hash,
    store::{Snapshot, Store},
    types::TreeId,
};

/// The collection of file contents.
pub(crate) const FILES: &str = "files";
/// The collection of one JSON record a file.
pub(crate) const ENTRIES: &str = "entries";
/// The collections of ledger rows.
pub(crate) const LEDGERS: [&str; 2] = ["counters", "mirror"];
/// The collection and tenant that hold them a third time.
pub(crate) const TENANT: (&str, &str) = ("shared", "counters");

/// What one commit did, as it stands in ledger rows and in `acks.log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Who committed.
    pub(crate) writer: u32,
    /// The writer's number of the commit, from 1.
    pub(crate) counter: u64,
    /// The key in `files` and `entries`.
    pub(crate) key: String,
    /// BLAKE3 of the value in `files`, in hexadecimal; absent for a delete.
    pub(crate) hash: Option<String>,
}

impl Line {
    /// The key of the ledger row; rows of one writer sort by counter.
    pub(crate) fn row_key(&self) -> String {
        format!("writer-{:02}/{:020}", self.writer, self.counter)
    }

    /// One line of JSON, with its line feed.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("a line of plain fields is JSON");
        json.push(b'\n');
        json
    }
}

/// The hash of a value as lines carry it.
pub(crate) fn value_hash(value: &[u8]) -> String {
    hash(value).to_string()
}

/// The trees of the demo's collections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trees {
    pub(crate) files: TreeId,
    pub(crate) entries: TreeId,
    pub(crate) ledgers: [TreeId; 3],
}

impl Trees {
    /// Creates the collections in an empty store.
    pub(crate) fn create(store: &Store) -> Result<Self> {
        let files = store.create_collection(FILES)?;
        let entries = store.create_collection(ENTRIES)?;
        let [first, second] = LEDGERS;
        let (first, second) = (store.create_collection(first)?, store.create_collection(second)?);
        store.create_collection(TENANT.0)?;
        let third = store.create_tenants(TENANT.0, &[TENANT.1])?[0];
        Ok(Self { files, entries, ledgers: [first, second, third] })
    }

    /// Looks them up in a store that `demo` filled.
    pub(crate) fn open(store: &Store) -> Result<Self> {
        let tree = |collection, tenant| {
            store.tree(collection, tenant).context("the store is not one that `demo` filled")
        };
        let third = tree(TENANT.0, Some(TENANT.1))?;
        let ledgers = [tree(LEDGERS[0], None)?, tree(LEDGERS[1], None)?, third];
        Ok(Self { files: tree(FILES, None)?, entries: tree(ENTRIES, None)?, ledgers })
    }
}

/// What a ledger says.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The last counter of each writer.
    pub(crate) last: BTreeMap<u32, u64>,
    /// The last line of each key.
    keys: BTreeMap<String, Line>,
}

/// What was verified, for the report of `check`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Verified {
    pub(crate) commits: u64,
    pub(crate) keys: u64,
    pub(crate) acknowledged: u64,
}

impl Ledger {
    /// Reads the rows of all three places; they must be equal and without a hole.
    pub(crate) fn read(snapshot: &Snapshot, trees: &Trees) -> Result<Self> {
        let mut ledger = Self::default();
        let all = (Bound::Unbounded, Bound::Unbounded);
        let mut scans = Vec::new();
        for tree in trees.ledgers {
            scans.push(snapshot.scan(tree, all.clone())?);
        }
        let [mut first, mut second, mut third] =
            <[_; 3]>::try_from(scans).expect("three trees give three scans");
        loop {
            let rows =
                [first.next().transpose()?, second.next().transpose()?, third.next().transpose()?];
            let [Some((key, value)), other, another] = rows else {
                ensure!(rows.iter().all(Option::is_none), "a ledger is shorter than another");
                return Ok(ledger);
            };
            let same = |row: &Option<(Vec<u8>, Vec<u8>)>| {
                row.as_ref().is_some_and(|(k, v)| *k == key && *v == value)
            };
            ensure!(same(&other) && same(&another), "the three ledgers differ at {}", text(&key));
            ledger.add(&key, &value)?;
        }
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let line: Line = serde_json::from_slice(value)
            .with_context(|| format!("ledger row {} is not what demo wrote", text(key)))?;
        ensure!(line.row_key().as_bytes() == key, "ledger row {} has another's value", text(key));
        let last = self.last.entry(line.writer).or_default();
        ensure!(
            line.counter == *last + 1,
            "writer {} has commit {} but not {}",
            line.writer,
            line.counter,
            *last + 1
        );
        *last = line.counter;
        self.keys.insert(line.key.clone(), line);
        Ok(())
    }

    /// Whether `files` and `entries` hold exactly what the rows say.
    pub(crate) fn verify_files(&self, snapshot: &Snapshot, trees: &Trees) -> Result<Verified> {
        let mut live = 0;
        for (key, line) in &self.keys {
            let value = snapshot.get(trees.files, key.as_bytes())?;
            let entry = snapshot.get(trees.entries, key.as_bytes())?;
            let found = value.map(|value| value_hash(value.as_ref()));
            ensure!(
                found == line.hash && entry.is_some() == line.hash.is_some(),
                "'{key}' is not as commit {} of writer {} left it",
                line.counter,
                line.writer
            );
            live += u64::from(line.hash.is_some());
        }
        for tree in [trees.files, trees.entries] {
            let mut rows = 0;
            for row in snapshot.scan(tree, (Bound::Unbounded, Bound::Unbounded))? {
                row?;
                rows += 1;
            }
            ensure!(rows == live, "{rows} rows are there, the ledger accounts for {live}");
        }
        Ok(Verified { commits: self.last.values().sum(), keys: live, acknowledged: 0 })
    }

    /// Whether every acknowledged commit is among the rows. A torn last line (the process was
    /// killed while it wrote) acknowledges nothing.
    pub(crate) fn verify_acks(snapshot: &Snapshot, trees: &Trees, acks: impl Read) -> Result<u64> {
        let mut reader = BufReader::new(acks);
        let mut acknowledged = 0;
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            reader.read_until(b'\n', &mut buffer).context("cannot read the acks")?;
            if buffer.last() != Some(&b'\n') {
                return Ok(acknowledged);
            }
            let line: Line = serde_json::from_slice(&buffer)
                .with_context(|| format!("line {} is not an ack", acknowledged + 1))?;
            let row = snapshot.get(trees.ledgers[0], line.row_key().as_bytes())?;
            match row {
                Some(row) if row.as_ref() == buffer => acknowledged += 1,
                Some(_) => bail!("{} differs from what was acknowledged", line.row_key()),
                None => bail!("acknowledged commit {} is lost", line.row_key()),
            }
        }
    }
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}
