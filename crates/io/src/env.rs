//! [`Env`]: the disk, the clock and the source of randomness, in one handle.
//!
//! Time and chance enter through here and nowhere else, so that a run on the simulated disk can be
//! replayed from its seed.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{disk::Disk, os};

/// What an engine needs from the world.
#[derive(Clone, Debug)]
pub struct Env {
    /// Where files live.
    pub disk: Arc<dyn Disk>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where identifiers and salts come from.
    pub entropy: Arc<dyn Entropy>,
}

impl Env {
    /// The real clock and the system's randomness over `disk`.
    pub fn system(disk: Arc<dyn Disk>) -> Self {
        Self { disk, clock: Arc::new(SystemClock::default()), entropy: Arc::new(SystemEntropy) }
    }

    /// A clock that moves only when told to, and randomness from `seed`, over `disk`.
    pub fn seeded(disk: Arc<dyn Disk>, seed: u64) -> Self {
        Self {
            disk,
            clock: Arc::new(ManualClock::default()),
            entropy: Arc::new(SeededEntropy::new(seed)),
        }
    }

    /// Sixteen bytes that no other call has returned.
    pub fn unique_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        self.entropy.fill(&mut id);
        id
    }
}

/// A source of time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;

    /// Time since 1970-01-01 UTC, as the machine believes it. For display only: nothing is ordered
    /// by it.
    fn wall(&self) -> Duration;

    /// Processor time that the calling thread has used; `None` where time is virtual, and no work
    /// takes any.
    fn thread_cpu(&self) -> Option<Duration>;

    /// Lets the calling thread wait; where time is virtual, moves it on.
    fn sleep(&self, time: Duration);
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock seam")]
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock seam")]
    fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn thread_cpu(&self) -> Option<Duration> {
        Some(os::thread_cpu())
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A clock that a test moves by hand.
#[derive(Debug, Default)]
pub struct ManualClock {
    nanos: AtomicU64,
}

impl ManualClock {
    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Duration {
        self.monotonic()
    }

    fn thread_cpu(&self) -> Option<Duration> {
        None
    }

    fn sleep(&self, time: Duration) {
        self.advance(time);
    }
}

/// A source of random bytes.
pub trait Entropy: fmt::Debug + Send + Sync {
    /// Fills the buffer.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the kernel always has random bytes");
    }
}

/// A repeatable source: the same seed gives the same bytes (`SplitMix64`).
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// The next 64 bits.
    ///
    /// # Panics
    /// Never: no code panics while it holds the state.
    pub fn next_u64(&self) -> u64 {
        let mut state = self.0.lock().expect("no code panics while holding it");
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        assert!(bound > 0, "an empty range has no member");
        self.next_u64() % bound
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_with_work_alone() {
        let clock = SystemClock::default();
        let cpu = || clock.thread_cpu().expect("real time");
        let begin = cpu();
        clock.sleep(Duration::from_millis(50));
        assert!(cpu().saturating_sub(begin) < Duration::from_millis(25), "sleep is free");
        let mut mixed = 1_u64;
        while cpu().saturating_sub(begin) < Duration::from_millis(5) {
            mixed = std::hint::black_box(mixed.wrapping_mul(3));
        }
        assert!(std::thread::scope(|scope| {
            let fresh = scope.spawn(cpu).join().expect("it ends");
            fresh < cpu()
        }));
    }

    #[test]
    fn virtual_time_passes_by_sleeping_and_takes_no_processor() {
        let clock = ManualClock::default();
        clock.sleep(Duration::from_secs(7));
        assert_eq!((clock.monotonic(), clock.thread_cpu()), (Duration::from_secs(7), None));
    }
}
