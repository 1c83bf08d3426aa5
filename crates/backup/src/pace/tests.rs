//! What an account charges, and that nobody sleeps longer than needed.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use siltstone_io::{env::Clock, sim::SimDisk};

use super::*;
use crate::{
    backend::{
        BackendConfig, Conditions, Depth, ObjectEntry, ObjectMeta, ObjectWriter, PutMode, open,
    },
    error::ErrorKind,
};

/// Time that passes when somebody sleeps; each look at the processor clock costs 10 ms of it.
#[derive(Debug, Default)]
struct BusyClock {
    slept_nanos: AtomicU64,
    looks: AtomicU64,
}

impl Clock for BusyClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.slept_nanos.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Duration {
        self.monotonic()
    }

    fn thread_cpu(&self) -> Option<Duration> {
        let looks = self.looks.fetch_add(1, Ordering::SeqCst);
        Some(Duration::from_millis(10) * u32::try_from(looks).unwrap())
    }

    fn sleep(&self, time: Duration) {
        self.slept_nanos.fetch_add(nanos(time), Ordering::SeqCst);
    }
}

fn world(clock: Arc<dyn Clock>) -> (Env, Arc<dyn Backend>, Cancel) {
    let seeded = Env::seeded(Arc::new(SimDisk::new(1)), 1);
    (Env { clock, ..seeded }, open(&BackendConfig::Memory).unwrap(), Cancel::new())
}

#[test]
fn a_thread_that_pays_gets_its_share() {
    for percent in [1, 10, 80] {
        let (env, backend, cancel) = world(Arc::<BusyClock>::default());
        let limits = Limits { cpu_percent: percent, ..Limits::NONE };
        let pace = Pace::new(Host::from(&env), &*backend, &cancel, limits);
        let mut payer = pace.payer();
        for _ in 0..100 {
            payer.pay().unwrap();
        }
        let used = 1_000_000_000_u128; // nanoseconds, in steps of 10 ms
        let share = u128::from(cpu_nanos_per_second(percent));
        let expected = used * 1_000_000_000 / share;
        let slept = env.clock.monotonic().as_nanos();
        assert!(slept.abs_diff(expected) <= expected / 100, "{percent}: {slept} of {expected}");
    }
}

#[test]
fn bytes_a_second_are_bounded_by_sleeping() {
    let (env, backend, cancel) = world(Arc::<siltstone_io::env::ManualClock>::default());
    let limits = Limits { bytes_per_second_max: Some(1000), ..Limits::NONE };
    let pace = Pace::new(Host::from(&env), &*backend, &cancel, limits);
    for _ in 0..10 {
        pace.transfer(700).unwrap();
    }
    assert_eq!(env.clock.monotonic(), Duration::from_secs(7));
    pace.payer().pay().unwrap();
    assert_eq!(env.clock.monotonic(), Duration::from_secs(7), "no processor time, no sleep");
}

#[test]
fn a_cancel_ends_every_sleep() {
    let (env, backend, cancel) = world(Arc::<BusyClock>::default());
    let limits = Limits { cpu_percent: 1, bytes_per_second_max: Some(1) };
    let pace = Pace::new(Host::from(&env), &*backend, &cancel, limits);
    cancel.cancel();
    assert_eq!(pace.payer().pay().expect_err("canceled").kind(), ErrorKind::Canceled);
    assert_eq!(pace.transfer(1 << 30).expect_err("canceled").kind(), ErrorKind::Canceled);
    assert_eq!(env.clock.monotonic(), Duration::ZERO);
}

#[test]
fn a_share_has_threads_enough_to_use_it() {
    let workers = |cpu_percent| Limits { cpu_percent, ..Limits::NONE }.workers();
    assert_eq!((workers(1), workers(100)), (1, cores()));
    assert!(workers(50) * 2 >= cores() && workers(80) <= cores());
}

/// A backend whose threads have used so many milliseconds.
#[derive(Debug, Default)]
struct Working(AtomicU64);

impl Backend for Working {
    fn describe(&self) -> &'static str {
        "a backend at work"
    }

    fn cancelable(&self, _: &Cancel) -> Arc<dyn Backend> {
        panic!("nobody asks")
    }

    fn cpu(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn put(&self, _: &str, _: Bytes, _: PutMode) -> Result<()> {
        panic!("nobody asks")
    }

    fn writer(&self, _: &str) -> Result<Box<dyn ObjectWriter>> {
        panic!("nobody asks")
    }

    fn get(&self, _: &str, _: u64) -> Result<Bytes> {
        panic!("nobody asks")
    }

    fn get_range(&self, _: &str, _: Range<u64>) -> Result<Bytes> {
        panic!("nobody asks")
    }

    fn stat(&self, _: &str) -> Result<Option<ObjectMeta>> {
        panic!("nobody asks")
    }

    fn list(&self, _: &str, _: Depth) -> Result<Vec<ObjectEntry>> {
        panic!("nobody asks")
    }

    fn delete(&self, _: &str) -> Result<()> {
        panic!("nobody asks")
    }

    fn conditions(&self) -> Result<Conditions> {
        panic!("nobody asks")
    }
}

#[test]
fn the_threads_of_both_backends_of_a_copy_are_charged_from_its_begin_on() {
    let (env, _, cancel) = world(Arc::<BusyClock>::default());
    let backends = [Working::default(), Working::default()];
    backends[1].0.store(1_000_000, Ordering::SeqCst); // for others, before
    let limits = Limits { cpu_percent: 50, ..Limits::NONE };
    let pace = Pace::new(Host::from(&env), &backends[0], &cancel, limits).and(&backends[1]);
    for (backend, millis) in backends.iter().zip([3000, 4000]) {
        backend.0.fetch_add(millis, Ordering::SeqCst);
    }
    env.clock.sleep(MEASURE_INTERVAL);
    pace.pay(Duration::ZERO).unwrap();
    let used = 7_000_000_000_u128; // nanoseconds
    let expected = used * 1_000_000_000 / u128::from(cpu_nanos_per_second(50));
    let slept = env.clock.monotonic().as_nanos();
    assert!(slept.abs_diff(expected) <= expected / 100, "{slept} of {expected}");
}
