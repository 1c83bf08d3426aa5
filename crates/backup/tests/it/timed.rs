//! A backend whose objects have ages by a clock that the test moves, and which lets the test do
//! something before any request of another: so that runs are interleaved as told.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use siltstone_backup::{
    api::{self, Listed},
    backend::{Backend, Conditions, Depth, ObjectEntry, ObjectMeta, ObjectWriter, PutMode},
    cancel::Cancel,
    delete,
    error::Result,
    job::Job,
    progress::Progress,
    prune::{PruneOptions, PruneReport, prune},
    show::show,
    verify::{Level, VerifyOptions, VerifyReport, verify},
};
use siltstone_io::env::{Clock, Env, ManualClock, SeededEntropy};
use siltstone_io::sim::SimDisk;
use siltstone_lsm::store::Store;

use crate::support::{memory, open};

/// What a test does before a request: it gets the number of the request.
type Hook = Box<dyn FnMut(u64) + Send>;

/// Another backend, with ages and a hook.
#[derive(Clone)]
pub(crate) struct Timed {
    inner: Arc<dyn Backend>,
    clock: Arc<ManualClock>,
    times: Arc<Mutex<BTreeMap<String, Duration>>>,
    requests: Arc<AtomicU64>,
    hook: Arc<Mutex<Option<Hook>>>,
}

impl fmt::Debug for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Timed {
    fn step(&self) {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        // It is out while it runs: what it does makes requests of its own.
        let hook = self.hook.lock().unwrap().take();
        if let Some(mut hook) = hook {
            hook(number);
            *self.hook.lock().unwrap() = Some(hook);
        }
    }

    fn wrote(&self, object: &str) {
        let now = self.clock.wall();
        self.times.lock().unwrap().insert(object.to_owned(), now);
    }

    fn age(&self, object: &str) -> Option<Duration> {
        self.times.lock().unwrap().get(object).copied()
    }
}

#[derive(Debug)]
struct TimedWriter {
    backend: Timed,
    object: String,
    inner: Box<dyn ObjectWriter>,
}

impl ObjectWriter for TimedWriter {
    fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        self.backend.step();
        let length = self.inner.finish()?;
        self.backend.wrote(&self.object);
        Ok(length)
    }

    fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort()
    }
}

impl Backend for Timed {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn cancelable(&self, cancel: &Cancel) -> Arc<dyn Backend> {
        Arc::new(Self { inner: self.inner.cancelable(cancel), ..self.clone() })
    }

    fn put(&self, object: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        self.step();
        self.inner.put(object, bytes, mode)?;
        self.wrote(object);
        Ok(())
    }

    fn writer(&self, object: &str) -> Result<Box<dyn ObjectWriter>> {
        let inner = self.inner.writer(object)?;
        Ok(Box::new(TimedWriter { backend: self.clone(), object: object.to_owned(), inner }))
    }

    fn get(&self, object: &str, bytes_max: u64) -> Result<Bytes> {
        self.step();
        self.inner.get(object, bytes_max)
    }

    fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        self.step();
        self.inner.get_range(object, range)
    }

    fn stat(&self, object: &str) -> Result<Option<ObjectMeta>> {
        self.step();
        let mut meta = self.inner.stat(object)?;
        if let Some(meta) = &mut meta {
            meta.modified = self.age(object);
        }
        Ok(meta)
    }

    fn list(&self, prefix: &str, depth: Depth) -> Result<Vec<ObjectEntry>> {
        self.step();
        let mut entries = self.inner.list(prefix, depth)?;
        for entry in &mut entries {
            entry.modified = self.age(&entry.name);
        }
        Ok(entries)
    }

    fn delete(&self, object: &str) -> Result<()> {
        self.step();
        self.inner.delete(object)
    }

    fn conditions(&self) -> Result<Conditions> {
        self.inner.conditions()
    }
}

/// A repository in memory, and the clock of its backend.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) clock: Arc<ManualClock>,
    entropy: Arc<SeededEntropy>,
    timed: Timed,
}

impl Place {
    pub(crate) fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_hours(24 * 365 * 50));
        let timed = Timed {
            inner: memory(),
            clock: Arc::clone(&clock),
            times: Arc::default(),
            requests: Arc::default(),
            hook: Arc::default(),
        };
        Self { clock, entropy: Arc::new(SeededEntropy::new(seed ^ 0x00ab_cdef)), timed }
    }

    /// The same objects with the same ages, to be changed apart.
    pub(crate) fn fork(&self) -> Self {
        let inner = memory();
        for entry in self.timed.inner.list("", Depth::All).unwrap() {
            let bytes = self.timed.inner.get(&entry.name, 1 << 30).unwrap();
            inner.put(&entry.name, bytes, PutMode::Replace).unwrap();
        }
        let times = Arc::new(Mutex::new(self.timed.times.lock().unwrap().clone()));
        let clock = Arc::new(ManualClock::default());
        clock.advance(self.clock.wall());
        let hook = Arc::default();
        let (timed_clock, requests) = (Arc::clone(&clock), Arc::default());
        let timed = Timed { inner, clock: timed_clock, times, requests, hook };
        Self { clock, entropy: Arc::new(SeededEntropy::new(7)), timed }
    }

    pub(crate) fn backend(&self) -> Arc<dyn Backend> {
        Arc::new(self.timed.clone())
    }

    /// The same backend; `hook` is called before each request that goes through it.
    pub(crate) fn hooked(&self, hook: impl FnMut(u64) + Send + 'static) -> Arc<dyn Backend> {
        let hook: Hook = Box::new(hook);
        let hook = Arc::new(Mutex::new(Some(hook)));
        Arc::new(Timed { hook, requests: Arc::default(), ..self.timed.clone() })
    }

    /// A store whose clock is that of the backend.
    pub(crate) fn store(&self, seed: u64) -> Store {
        let disk = Arc::new(SimDisk::new(seed));
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&self.clock);
        open(Env { disk, clock, entropy: Arc::new(SeededEntropy::new(seed)) })
    }

    pub(crate) fn advance(&self, hours: u64) {
        self.clock.advance(Duration::from_hours(hours));
    }

    /// Runs something in this world.
    pub(crate) fn run<T>(&self, work: impl FnOnce(Job<'_>) -> T) -> T {
        let (cancel, progress) = (&Cancel::new(), &Progress::new());
        work(Job { clock: &*self.clock, entropy: &*self.entropy, cancel, progress })
    }

    pub(crate) fn prune(&self, options: &PruneOptions) -> PruneReport {
        self.run(|job| prune(job, &self.backend(), options)).unwrap()
    }

    pub(crate) fn delete(&self, id: &str) -> Result<()> {
        delete::delete(&self.backend(), id, delete::Damaged::Refuse).map(drop)
    }

    pub(crate) fn verify(&self, id: &str, level: Level) -> VerifyReport {
        verify_in(&self.backend(), id, level)
    }

    /// The backups that are there.
    pub(crate) fn ids(&self) -> Vec<String> {
        let listed = api::list(&self.backend()).unwrap_or_default().into_iter();
        let id = |listed| match listed {
            Listed::Backup(config) => config.id.to_string(),
            other => panic!("{other:?}"),
        };
        listed.map(id).collect()
    }

    /// Every backup that is listed has all its objects.
    pub(crate) fn assert_sound(&self, when: &str) {
        for id in self.ids() {
            let report = self.verify(&id, Level::Objects);
            assert!(report.is_sound(), "{when}: {report:?}");
        }
    }

    /// The names of all objects.
    pub(crate) fn objects(&self) -> Vec<String> {
        let entries = self.timed.inner.list("", Depth::All).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    /// All objects that are there are those of the backups that are listed.
    pub(crate) fn assert_tidy(&self, when: &str) {
        let mut expected = vec!["repository.json".to_owned()];
        for id in self.ids() {
            let contents = show(&self.backend(), &id).unwrap();
            let config = &contents.config;
            expected.push(config.id.config_object());
            for (number, _) in (0..).zip(&config.parts) {
                expected.push(config.id.part_object(&config.node, config.attempt, number));
            }
            expected.extend(contents.chunks.iter().map(|chunk| chunk.id.object()));
        }
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(self.objects(), expected, "{when}");
    }
}

/// Verifies a backup that is not of a [`Place`], too.
pub(crate) fn verify_in(backend: &Arc<dyn Backend>, id: &str, level: Level) -> VerifyReport {
    let place = Place::new(1);
    // The identities of a place repeat: rehearsals beside each other need folders of their own.
    let scratch = tempfile::tempdir().unwrap();
    let mut options = VerifyOptions::default();
    options.level = level;
    options.scratch = scratch.path().to_owned();
    place.run(|job| verify(job, backend, id, &options)).unwrap()
}
