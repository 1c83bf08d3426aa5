//! What an account charges, and that nobody sleeps longer than needed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use siltstone_io::{env::Clock, sim::SimDisk};

use super::*;
use crate::{
    backend::{BackendConfig, open},
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
