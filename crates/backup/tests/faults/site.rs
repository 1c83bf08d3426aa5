//! A store on a real disk, a stub that speaks S3, and the proof that a success is one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use siltstone_backup::{
    api::{self, Backups},
    backend::{self, Backend, BackendConfig, Limits, S3Config, S3Credentials, Secret},
    cancel::Cancel,
    error::{Error, ErrorKind},
    handle::Handle,
    job::Job,
    options::{Compression, CreateOptions},
    progress::Progress,
    state::State,
    verify::{Level, VerifyOptions, VerifyReport, verify},
};
use siltstone_io::{
    env::{Clock, Env},
    sim::SimDisk,
};
use siltstone_loopback::s3::{BUCKET, KEY_ID, S3};
use siltstone_lsm::{
    options::{Background, Options},
    store::Store,
};
use tempfile::TempDir;

use crate::support::{
    Rows, assert_same, content, fill, os_store, quick, restore, sim_store, wait_until,
};

/// The secret key of the stub; it must not show up anywhere.
pub(crate) const CANARY: &str = "CANARY-no-eye-shall-see-this";

/// Stores that successes are restored into, each with a seed of its own.
static FRESH_SEED: AtomicU64 = AtomicU64::new(1 << 32);

/// A store in a folder, with the system's clock, and what is in it.
pub(crate) struct Site {
    pub(crate) store: Store,
    pub(crate) expected: BTreeMap<String, Rows>,
    pub(crate) backups: Backups,
    pub(crate) folder: TempDir,
}

impl Site {
    /// With `rows` rows of a kilobyte in each of four trees.
    pub(crate) fn filled(rows: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = os_store(&folder.path().join("store"));
        fill(&store, rows);
        let expected = content(&store);
        let backups = Backups::new(store.clone()).unwrap();
        Self { store, expected, backups, folder }
    }

    pub(crate) fn start(&self, backend: &Arc<dyn Backend>, options: CreateOptions) -> Handle {
        self.backups.create(backend, "nightly", options).unwrap()
    }

    /// A backup that must succeed, and restore.
    pub(crate) fn succeeds(&self, backend: &Arc<dyn Backend>, options: CreateOptions) {
        let handle = self.start(backend, options);
        handle.wait().unwrap();
        assert_eq!(handle.status().state, State::Success);
        self.check(backend);
    }

    /// That the backup restores into a fresh store, with equal content, and passes a rehearsal.
    pub(crate) fn check(&self, backend: &Arc<dyn Backend>) {
        let report = verified(&self.store, backend, "nightly", Level::Rehearsal);
        let rows: usize = self.expected.values().map(Rows::len).sum();
        assert_eq!(report.trees.iter().map(|tree| tree.rows).sum::<u64>(), rows as u64);
        check(backend, "nightly", &self.expected);
    }

    /// A backup that must end FAILED, everywhere, and leave no backup and nothing pinned.
    pub(crate) fn fails(
        &self,
        s3: &S3,
        backend: &Arc<dyn Backend>,
        options: CreateOptions,
    ) -> Error {
        let handle = self.start(backend, options);
        let error = handle.wait().expect_err("the store misbehaves");
        let status = handle.status();
        assert_eq!(status.state, State::Failed, "{status:?}");
        assert_eq!(status.error.as_deref(), Some(error.to_string().as_str()));
        let journal = api::statuses(self.store.env(), None).unwrap();
        assert_eq!(journal[0].state, State::Failed);
        assert!(s3.object("nightly/backup_config.json").is_none(), "no backup without success");
        wait_until(|| self.store.metrics().pinned_bytes == 0);
        error
    }

    /// After a failure: the id is free, the next backup succeeds, and nothing but it is left.
    pub(crate) fn recovers(&self, s3: &S3) {
        s3.behave();
        let backend = bucket(s3);
        let handle = self.start(&backend, quick());
        let made = handle.wait().unwrap();
        self.check(&backend);
        let names = s3.names();
        let count = |prefix: &str| names.iter().filter(|it| it.starts_with(prefix)).count() as u64;
        assert_eq!(count(".chunks/"), made.totals.chunks, "{names:?}");
        assert_eq!(count("nightly/"), 3, "{names:?}"); // config, part, note of the restore
        assert!(s3.open_uploads().is_empty(), "{:?}", s3.open_uploads());
    }
}

/// Verifies every byte of a backup, restores it into a fresh store and compares.
pub(crate) fn check(backend: &Arc<dyn Backend>, id: &str, expected: &BTreeMap<String, Rows>) {
    let (_disk, fresh) = fresh_store();
    verified(&fresh, backend, id, Level::Hashes);
    restore(&fresh, backend, id);
    assert_same(&content(&fresh), expected);
}

/// What is wrong with the backup `nightly`, at a level.
pub(crate) fn found_at(store: &Store, backend: &Arc<dyn Backend>, level: Level) -> Vec<String> {
    verify_it(store, backend, "nightly", level).problems
}

fn verified(store: &Store, backend: &Arc<dyn Backend>, id: &str, level: Level) -> VerifyReport {
    let report = verify_it(store, backend, id, level);
    assert!(report.is_sound(), "{report:?}");
    report
}

fn verify_it(store: &Store, backend: &Arc<dyn Backend>, id: &str, level: Level) -> VerifyReport {
    let (env, cancel, progress) = (store.env(), &Cancel::new(), &Progress::new());
    let job = Job { clock: &*env.clock, entropy: &*env.entropy, cancel, progress };
    let mut options = VerifyOptions::default();
    options.level = level;
    verify(job, backend, id, &options).unwrap()
}

/// An empty store on a simulated disk.
pub(crate) fn fresh_store() -> (SimDisk, Store) {
    sim_store(FRESH_SEED.fetch_add(1, Ordering::SeqCst))
}

/// As [`fresh_store`], without threads that write of their own accord.
pub(crate) fn still_store() -> (SimDisk, Store) {
    let seed = FRESH_SEED.fetch_add(1, Ordering::SeqCst);
    let disk = SimDisk::new(seed);
    let mut options = Options::default();
    options.background = Background::Manual;
    let store = Store::open_on(Env::seeded(Arc::new(disk.clone()), seed), options).unwrap();
    (disk, store)
}

/// What a store consists of: its manifest, and the files that this names. (Journals of operations
/// come and go beside them.)
pub(crate) fn durable_files(disk: &SimDisk) -> Vec<(String, Option<Vec<u8>>)> {
    let is_durable = |path: &String| {
        path == "CURRENT" || path.starts_with("manifest-") || path.starts_with("files/")
    };
    let paths = disk.paths().into_iter().filter(is_durable);
    paths.map(|path| (path.clone(), disk.read_file(&path))).collect()
}

/// Panics unless no file changed; names the first that did.
pub(crate) fn assert_unchanged(disk: &SimDisk, before: &[(String, Option<Vec<u8>>)]) {
    let after = durable_files(disk);
    let names = |files: &[(String, Option<Vec<u8>>)]| -> Vec<(String, Option<usize>)> {
        files.iter().map(|(path, bytes)| (path.clone(), bytes.as_ref().map(Vec::len))).collect()
    };
    assert_eq!(names(&after), names(before));
    for ((path, found), (_, expected)) in after.iter().zip(before) {
        assert!(found == expected, "{path} has changed");
    }
}

/// The bucket of a stub, as a client of the usual patience sees it.
pub(crate) fn bucket(s3: &S3) -> Arc<dyn Backend> {
    within(s3, &Limits::default())
}

/// The same for a client that gives up early: what takes minutes otherwise takes a second or two.
pub(crate) fn hasty_bucket(s3: &S3) -> Arc<dyn Backend> {
    let mut limits = Limits::default();
    limits.control_timeout = Duration::from_millis(500);
    limits.part_timeout = Duration::from_millis(500);
    limits.retries_max = 2;
    limits.retry_delay_min = Duration::from_millis(50);
    within(s3, &limits)
}

pub(crate) fn within(s3: &S3, limits: &Limits) -> Arc<dyn Backend> {
    backend::open_within(&BackendConfig::S3(config(&s3.url())), limits).unwrap()
}

pub(crate) fn config(endpoint: &str) -> S3Config {
    let mut config = S3Config::default();
    BUCKET.clone_into(&mut config.bucket);
    endpoint.clone_into(&mut config.endpoint);
    config.credentials = keys(KEY_ID);
    config
}

/// A key, and the secret that must never be seen.
pub(crate) fn keys(key_id: &str) -> S3Credentials {
    let secret = Secret::new(CANARY);
    S3Credentials::Keys { key_id: key_id.to_owned(), secret, session_token: None }
}

/// Options without compression, so that the bytes that are sent are many and known.
pub(crate) fn plain(chunk_mib: u64) -> CreateOptions {
    let mut options = quick();
    options.compression = Compression::None;
    options.chunk_mib = chunk_mib;
    options
}

/// Cancels, and says how long it took until everybody was told.
pub(crate) fn cancel(handle: &Handle, clock: &Arc<dyn Clock>) -> Duration {
    let begun = clock.monotonic();
    handle.cancel();
    wait_until(|| handle.status().state.is_final());
    let shown = clock.monotonic().saturating_sub(begun);
    assert_eq!(handle.status().state, State::Canceled);
    shown
}

/// Asserts on both, so that each failure is named.
pub(crate) fn assert_error(error: &Error, kind: ErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "'{part}' is not in '{error}'");
    }
}
