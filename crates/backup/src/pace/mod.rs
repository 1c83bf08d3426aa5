//! How fast an operation may go: its share of the processors, and its bytes a second.
//!
//! Processor time is bounded as it is used, not guessed: each thread of an operation has a [`Payer`]
//! and pays in small steps for what its own clock says; threads that serve others (those of the
//! store's disk and of the backend) are measured and charged to the same account. While the account
//! is in debt every payer sleeps. So over any time the operation uses its share and at most the one
//! step that each of its threads was in.
//!
//! Where time is virtual nothing takes processor time, and this bound does nothing.

mod bucket;

use std::{
    num::NonZero,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use siltstone_io::{
    disk::{Disk, StreamWork},
    env::{Clock, Env},
};

use self::bucket::Bucket;
use crate::{backend::Backend, cancel::Cancel, error::Result, parallel::give_way};

/// Longest sleep before the next look at the cancel flag and the account.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// Time between two measurements of the threads that serve others.
const MEASURE_INTERVAL: Duration = Duration::from_millis(20);

/// What bounds the speed of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Percent of the time of all processors that this process may use.
    pub cpu_percent: u8,
    /// Bytes a second to or from the backend; `None` for no bound.
    pub bytes_per_second_max: Option<u64>,
}

impl Limits {
    /// As fast as it goes.
    pub const NONE: Self = Self { cpu_percent: 100, bytes_per_second_max: None };

    /// Threads that can use the share.
    pub fn workers(self) -> usize {
        (cores() * usize::from(self.cpu_percent)).div_ceil(100).max(1)
    }
}

/// Processors that this process may use.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// What an operation runs on.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// What time it is, and how much processor time a thread has used.
    pub clock: &'a dyn Clock,
    /// The disk whose streams it uses; `None` if it uses none.
    pub disk: Option<&'a dyn Disk>,
}

impl<'a> From<&'a Env> for Host<'a> {
    fn from(env: &'a Env) -> Self {
        Self { clock: &*env.clock, disk: Some(&*env.disk) }
    }
}

impl Host<'_> {
    fn stream_work(self) -> StreamWork {
        self.disk.map(Disk::stream_work).unwrap_or_default()
    }
}

/// The account of one operation, which all its threads share.
#[derive(Debug)]
pub struct Pace<'a> {
    host: Host<'a>,
    backends: Vec<&'a dyn Backend>,
    cancel: &'a Cancel,
    /// `None` where nothing is bounded.
    cpu: Option<Mutex<Account>>,
    bytes: Option<Mutex<Bucket>>,
}

/// The processor time of an operation.
#[derive(Debug)]
struct Account {
    bucket: Bucket,
    measured_at: Duration,
    /// What the threads of the backends had used by then.
    backend_cpu: Duration,
    /// What those of the disk had used and moved by then, for all streams of the store.
    disk_cpu: Duration,
    disk_bytes: u64,
    /// Bytes that streams of this operation have moved since.
    own_bytes: u64,
}

/// The hand of one thread in the account; made and used on that thread.
#[derive(Debug)]
pub struct Payer<'a> {
    pace: &'a Pace<'a>,
    paid: Duration,
}

impl<'a> Pace<'a> {
    /// An account that starts empty.
    pub fn new(
        host: Host<'a>,
        backend: &'a dyn Backend,
        cancel: &'a Cancel,
        limits: Limits,
    ) -> Self {
        let now = host.clock.monotonic();
        let bounded = limits.cpu_percent < 100 && host.clock.thread_cpu().is_some();
        let cpu = bounded.then(|| {
            let disk = host.stream_work();
            Mutex::new(Account {
                bucket: Bucket::new(cpu_nanos_per_second(limits.cpu_percent), now),
                measured_at: now,
                backend_cpu: backend.cpu(),
                disk_cpu: disk.cpu,
                disk_bytes: disk.bytes,
                own_bytes: 0,
            })
        });
        let bytes = limits.bytes_per_second_max.map(|rate| Mutex::new(Bucket::new(rate, now)));
        Self { host, backends: vec![backend], cancel, cpu, bytes }
    }

    /// The same account, to which the threads of another backend are charged, too.
    #[must_use]
    pub fn and(mut self, backend: &'a dyn Backend) -> Self {
        self.backends.push(backend);
        let used = self.backends_cpu();
        if let Some(cpu) = &self.cpu {
            lock(cpu).backend_cpu = used;
        }
        self
    }

    /// The hand of the calling thread.
    pub fn payer(&'a self) -> Payer<'a> {
        Payer { pace: self, paid: self.host.clock.thread_cpu().unwrap_or_default() }
    }

    /// Notes bytes that a stream of the store's disk moved for this operation.
    pub fn streamed(&self, bytes: usize) {
        if let Some(cpu) = &self.cpu {
            lock(cpu).own_bytes += bytes as u64;
        }
    }

    /// Sends or fetches `bytes` as far as the bound on bytes is concerned: waits while it is used up.
    ///
    /// # Errors
    /// `Canceled`, soon after the flag is raised.
    pub fn transfer(&self, bytes: usize) -> Result<()> {
        let Some(bucket) = &self.bytes else { return Ok(()) };
        let now = self.host.clock.monotonic();
        lock(bucket).charge(bytes as u64, now);
        self.sleep_while(|now| lock(bucket).wait(now))
    }

    fn pay(&self, used: Duration) -> Result<()> {
        let Some(cpu) = &self.cpu else { return self.cancel.check() };
        let now = self.host.clock.monotonic();
        let mut account = lock(cpu);
        account.bucket.charge(nanos(used), now);
        if now.saturating_sub(account.measured_at) >= MEASURE_INTERVAL {
            let served = self.served(&mut account);
            account.bucket.charge(nanos(served), now);
            account.measured_at = now;
        }
        drop(account);
        self.sleep_while(|now| lock(cpu).bucket.wait(now))
    }

    /// What other threads have done for this operation since the last measurement. The disk serves
    /// the store too: the part of this operation is that of the bytes it moved.
    fn served(&self, account: &mut Account) -> Duration {
        let backend = self.backends_cpu();
        let disk = self.host.stream_work();
        let moved = disk.bytes.saturating_sub(account.disk_bytes).max(1);
        let part = u32::try_from(account.own_bytes.min(moved) * 1000 / moved).unwrap_or(1000);
        let of_disk = disk.cpu.saturating_sub(account.disk_cpu) * part / 1000;
        let of_backend = backend.saturating_sub(account.backend_cpu);
        account.backend_cpu = backend;
        (account.disk_cpu, account.disk_bytes, account.own_bytes) = (disk.cpu, disk.bytes, 0);
        of_backend + of_disk
    }

    fn backends_cpu(&self) -> Duration {
        self.backends.iter().map(|backend| backend.cpu()).sum()
    }

    /// Sleeps until there is nothing to wait for.
    fn sleep_while(&self, mut wait: impl FnMut(Duration) -> Duration) -> Result<()> {
        loop {
            self.cancel.check()?;
            let left = wait(self.host.clock.monotonic());
            if left.is_zero() {
                return Ok(());
            }
            self.host.clock.sleep(left.min(SLEEP_MAX));
        }
    }
}

impl Payer<'_> {
    /// Pays for the processor time since the last time, sleeps while the operation is in debt, and
    /// gives way to others.
    ///
    /// # Errors
    /// `Canceled`, soon after the flag is raised.
    pub fn pay(&mut self) -> Result<()> {
        let now = self.pace.host.clock.thread_cpu().unwrap_or_default();
        let used = now.saturating_sub(self.paid);
        self.paid = now;
        give_way();
        self.pace.pay(used)
    }
}

fn cpu_nanos_per_second(percent: u8) -> u64 {
    u64::from(percent) * cores() as u64 * 10_000_000
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
