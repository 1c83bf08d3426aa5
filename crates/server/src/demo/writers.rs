//! The writer threads of `demo`: durable commits, each acknowledged in `acks.log` and timed.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use siltstone_io::env::{Clock, Entropy, SeededEntropy, SystemClock, SystemEntropy};
use siltstone_lsm::{batch::Batch, options::Durability, store::Store};

use crate::{
    demo::source::Source,
    ledger::{Line, Trees, value_hash},
};

/// Writer threads.
pub(crate) const WRITERS: u32 = 4;

/// Largest value that a writer makes up once the files are loaded, in bytes.
const MADE_UP_BYTES_MAX: u64 = 4096;

/// Highest latency that a histogram tells apart, in nanoseconds (ten minutes).
const LATENCY_NANOS_MAX: u64 = 600_000_000_000;

/// What the writers are doing at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Loading files; not timed.
    Load = 0,
    /// Mixed commits without a backup.
    Before = 1,
    /// Mixed commits beside a running backup.
    During = 2,
    /// The end.
    Stop = 3,
}

/// Commit latencies in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    pub(crate) before: Histogram<u64>,
    pub(crate) during: Histogram<u64>,
}

/// What all writers share.
#[derive(Debug)]
pub(crate) struct Shared {
    store: Store,
    trees: Trees,
    source: Source,
    phase: AtomicU8,
    /// Items loaded so far, and their bytes.
    pub(crate) loaded: AtomicU64,
    pub(crate) loaded_bytes: AtomicU64,
    /// Samples taken in each timed phase.
    pub(crate) samples: [AtomicU64; 2],
    /// For each writer the last counter it handed to the store, and the last acknowledged.
    pub(crate) assigned: Vec<AtomicU64>,
    pub(crate) acknowledged: Vec<AtomicU64>,
    loading: AtomicU64,
    failed: AtomicBool,
}

/// The running threads.
#[derive(Debug)]
pub(crate) struct Writers {
    pub(crate) shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<Latencies>>>,
}

impl Writers {
    /// Starts the threads; each appends to `acks`.
    pub(crate) fn start(store: &Store, trees: Trees, source: Source, acks: &Path) -> Result<Self> {
        let counters = || (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared {
            store: store.clone(),
            trees,
            source,
            phase: AtomicU8::new(Phase::Load as u8),
            loaded: AtomicU64::new(0),
            loaded_bytes: AtomicU64::new(0),
            samples: [AtomicU64::new(0), AtomicU64::new(0)],
            assigned: counters(),
            acknowledged: counters(),
            loading: AtomicU64::new(u64::from(WRITERS)),
            failed: AtomicBool::new(false),
        });
        let mut threads = Vec::new();
        for id in 0..WRITERS {
            let file = OpenOptions::new().create(true).append(true).open(acks);
            let file = file.with_context(|| format!("cannot open {}", acks.display()))?;
            let writer = Writer::new(id, Arc::clone(&shared), file)?;
            threads.push(thread::spawn(move || writer.run()));
        }
        Ok(Self { shared, threads })
    }

    /// Waits for all threads and adds their latencies up.
    pub(crate) fn join(self) -> Result<Latencies> {
        let mut sum = Latencies::new()?;
        for thread in self.threads {
            let latencies = thread.join().ok().context("a writer thread panicked")??;
            sum.before.add(&latencies.before)?;
            sum.during.add(&latencies.during)?;
        }
        Ok(sum)
    }
}

impl Latencies {
    fn new() -> Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3);
        Ok(Self { before: histogram()?, during: histogram()? })
    }
}

impl Shared {
    /// Tells the writers what to do from now on.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Whether all files are loaded.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loading.load(Ordering::SeqCst) == 0
    }

    /// Whether a writer gave up; joining tells why.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// The counters of one kind, by writer.
    pub(crate) fn read(counters: &[AtomicU64]) -> Vec<u64> {
        counters.iter().map(|counter| counter.load(Ordering::SeqCst)).collect()
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Load,
            1 => Phase::Before,
            2 => Phase::During,
            _ => Phase::Stop,
        }
    }
}

struct Writer {
    id: u32,
    shared: Arc<Shared>,
    acks: File,
    clock: SystemClock,
    random: SeededEntropy,
    counter: u64,
    /// Keys of this writer's own; deleted ones stay and may come back.
    keys: Vec<String>,
    /// One past the highest key made up so far.
    made_up: u64,
    latencies: Latencies,
}

impl Writer {
    fn new(id: u32, shared: Arc<Shared>, acks: File) -> Result<Self> {
        let mut seed = [0; 8];
        SystemEntropy.fill(&mut seed);
        Ok(Self {
            id,
            shared,
            acks,
            clock: SystemClock::default(),
            random: SeededEntropy::new(u64::from_le_bytes(seed)),
            counter: 0,
            keys: Vec::new(),
            made_up: 0,
            latencies: Latencies::new()?,
        })
    }

    fn run(mut self) -> Result<Latencies> {
        let outcome = self.load().and_then(|()| self.mix());
        if outcome.is_err() {
            self.shared.failed.store(true, Ordering::SeqCst);
        }
        outcome.map(|()| self.latencies)
    }

    /// Loads this writer's share of the files.
    fn load(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        for index in (self.id as usize..shared.source.len()).step_by(WRITERS as usize) {
            if shared.phase() == Phase::Stop {
                break;
            }
            if let Some(item) = shared.source.item(index)? {
                self.put(&item.key, &item.content, &item.record)?;
                self.keys.push(item.key);
                shared.loaded_bytes.fetch_add(item.content.len() as u64, Ordering::Relaxed);
            }
            shared.loaded.fetch_add(1, Ordering::Relaxed);
        }
        shared.loading.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }

    /// New keys, overwrites and deletes until told to stop.
    fn mix(&mut self) -> Result<()> {
        loop {
            match self.shared.phase() {
                Phase::Stop => return Ok(()),
                Phase::Load => {
                    thread::yield_now();
                    if self.shared.has_failed() {
                        return Ok(());
                    }
                }
                phase @ (Phase::Before | Phase::During) => self.mixed_commit(phase)?,
            }
        }
    }

    fn mixed_commit(&mut self, phase: Phase) -> Result<()> {
        let dice = self.random.below(10);
        let key = if dice < 4 || self.keys.is_empty() {
            self.made_up += 1;
            let key = format!("new/{}/{}", self.id, self.made_up);
            self.keys.push(key.clone());
            key
        } else {
            let index = self.random.below(self.keys.len() as u64);
            self.keys[usize::try_from(index)?].clone()
        };
        let started = self.clock.monotonic();
        if dice < 8 {
            let mut content = vec![0; usize::try_from(self.random.below(MADE_UP_BYTES_MAX))?];
            self.random.fill(&mut content);
            let record = format!("{{\"path\":{},\"size\":{}}}", json(&key)?, content.len());
            self.put(&key, &content, record.as_bytes())?;
        } else {
            self.delete(&key)?;
        }
        let nanos = u64::try_from(self.clock.monotonic().saturating_sub(started).as_nanos())?;
        let (histogram, index) = match phase {
            Phase::During => (&mut self.latencies.during, 1),
            _ => (&mut self.latencies.before, 0),
        };
        histogram.saturating_record(nanos);
        self.shared.samples[index].fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn put(&mut self, key: &str, content: &[u8], record: &[u8]) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(self.shared.trees.files, key.as_bytes(), content)?;
        batch.put(self.shared.trees.entries, key.as_bytes(), record)?;
        self.commit(batch, key, Some(value_hash(content)))
    }

    fn delete(&mut self, key: &str) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete(self.shared.trees.files, key.as_bytes())?;
        batch.delete(self.shared.trees.entries, key.as_bytes())?;
        self.commit(batch, key, None)
    }

    /// Adds the ledger rows, commits durably, and acknowledges.
    fn commit(&mut self, mut batch: Batch, key: &str, hash: Option<String>) -> Result<()> {
        self.counter += 1;
        let line = Line { writer: self.id, counter: self.counter, key: key.to_owned(), hash };
        let (row_key, json) = (line.row_key(), line.to_json());
        for tree in self.shared.trees.ledgers {
            batch.put(tree, row_key.as_bytes(), &json)?;
        }
        let index = self.id as usize;
        self.shared.assigned[index].store(self.counter, Ordering::SeqCst);
        self.shared.store.write(batch, Durability::Sync).context("a commit failed")?;
        self.shared.acknowledged[index].store(self.counter, Ordering::SeqCst);
        self.acks.write_all(&json).context("cannot write acks.log")
    }
}

fn json(text: &str) -> Result<String> {
    serde_json::to_string(text).context("text is JSON")
}
