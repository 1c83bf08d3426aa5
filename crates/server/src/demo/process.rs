//! What the process costs: CPU seconds, and its own memory at its highest.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Clock ticks a second in /proc: fixed at 100 for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// Watches the anonymous memory of this process until stopped.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    shared: Arc<(AtomicU64, AtomicBool)>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    pub(crate) fn start() -> Self {
        let shared = Arc::new((AtomicU64::new(0), AtomicBool::new(false)));
        let watched = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !watched.1.load(Ordering::SeqCst) {
                watched.0.fetch_max(anonymous_bytes(), Ordering::SeqCst);
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// The highest value seen, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.shared.0.load(Ordering::SeqCst)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.shared.1.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It cannot have panicked: it only reads numbers.
            thread.join().unwrap_or_default();
        }
    }
}

/// Anonymous memory of this process in bytes; mapped files are not its own.
fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// CPU seconds this process has used, user and system.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name in parentheses and may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}
