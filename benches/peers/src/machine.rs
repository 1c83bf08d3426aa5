//! What the kernel says of time, processors, memory and page cache.
//!
//! CPU seconds of a measurement are those of this process, of the programs it has started and waited
//! for, of kernel threads (writeback, block layer) and of interrupts. The last two belong to the
//! whole machine, so other programs can make a figure worse, never better. What other programs used
//! themselves is told apart as `foreign`: a measurement with much of it is a noisy one.

use std::{
    fs,
    ops::Sub,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use siltstone_io::env::{Clock, SystemClock};

/// Clock ticks a second in /proc: fixed at 100 for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// The parent of all kernel threads.
const KTHREADD: u64 = 2;

/// Time since the first call.
pub fn now() -> Duration {
    static CLOCK: OnceLock<SystemClock> = OnceLock::new();
    CLOCK.get_or_init(SystemClock::default).monotonic()
}

/// CPU seconds used so far, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Of this process, all threads.
    pub own: f64,
    /// Of programs that this process has waited for.
    pub programs: f64,
    /// Of kernel threads and interrupts, on behalf of anybody.
    pub kernel: f64,
    /// Of all processors, whoever used them.
    pub machine: f64,
}

impl Usage {
    /// What was used until now.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn now() -> Result<Self> {
        let (own, programs) = parse_process(&read("/proc/self/stat")?)
            .map(|process| (process.own_ticks, process.child_ticks))
            .context("/proc/self/stat has another form")?;
        let (machine, interrupts) =
            parse_machine(&read("/proc/stat")?).context("/proc/stat has another form")?;
        let seconds = |ticks: f64| ticks / TICKS_PER_SECOND;
        Ok(Self {
            own: seconds(own),
            programs: seconds(programs),
            kernel: seconds(kernel_thread_ticks()? + interrupts),
            machine: seconds(machine),
        })
    }

    /// All that the measured work can have used.
    pub fn charged(&self) -> f64 {
        self.own + self.programs + self.kernel
    }

    /// What other programs used.
    pub fn foreign(&self) -> f64 {
        (self.machine - self.charged()).max(0.0)
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            own: self.own - before.own,
            programs: self.programs - before.programs,
            kernel: (self.kernel - before.kernel).max(0.0),
            machine: self.machine - before.machine,
        }
    }
}

struct Process {
    parent: u64,
    own_ticks: f64,
    child_ticks: f64,
}

/// The fields of /proc/PID/stat that count.
fn parse_process(stat: &str) -> Option<Process> {
    // The second field is the program's name in parentheses and may hold spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        own_ticks: number(11)? + number(12)?,
        child_ticks: number(13)? + number(14)?,
    })
}

/// Ticks that processors were busy, and those of interrupts among them, from /proc/stat.
fn parse_machine(stat: &str) -> Option<(f64, f64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<f64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else { return None };
    Some((user + nice + system + irq + softirq, irq + softirq))
}

fn kernel_thread_ticks() -> Result<f64> {
    let mut ticks = 0.0;
    for entry in fs::read_dir("/proc").context("cannot list /proc")? {
        let path = entry.context("cannot list /proc")?.path().join("stat");
        // Whatever is no process, or has just ended, has no such file.
        let stat = fs::read_to_string(path).unwrap_or_default();
        if let Some(process) = parse_process(&stat)
            && process.parent == KTHREADD
        {
            ticks += process.own_ticks;
        }
    }
    Ok(ticks)
}

/// Empties the page cache, after a sync of everything. False where that is not allowed.
///
/// # Errors
/// When `sync` cannot be run.
pub fn drop_caches() -> Result<bool> {
    let status = Command::new("sync").status().context("cannot run sync")?;
    ensure!(status.success(), "sync failed ({status})");
    Ok(fs::write("/proc/sys/vm/drop_caches", "3").is_ok())
}

/// Anonymous memory of this process in bytes; mapped files are not its own.
pub fn anonymous_bytes() -> u64 {
    field_bytes(&fs::read_to_string("/proc/self/status").unwrap_or_default(), "RssAnon:")
}

/// Bytes of the page cache of the whole machine.
pub fn cached_bytes() -> u64 {
    field_bytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "Cached:")
}

fn field_bytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Bytes of these files that are in the page cache.
///
/// # Errors
/// When `fincore` (util-linux) cannot be run or says something else.
pub fn resident_bytes(files: &[PathBuf]) -> Result<u64> {
    let mut command = Command::new("fincore");
    command.args(["--bytes", "--noheadings", "--output", "RES"]).args(files);
    let output = command.output().context("cannot run fincore (util-linux)")?;
    ensure!(output.status.success(), "fincore: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("fincore is not text")?;
    text.lines().try_fold(0, |sum, line| {
        Ok(sum + line.trim().parse::<u64>().with_context(|| format!("fincore says '{line}'"))?)
    })
}

/// All files below a folder with their lengths in bytes, sorted by path.
///
/// # Errors
/// When a folder cannot be listed.
pub fn files_below(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let kind = entry.metadata()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else {
                files.push((entry.path(), kind.len()));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Processors that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The load of the last minute: how many threads wanted a processor.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_after_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a (b) c) S 2 7 7 0 -1 0 1 2 3 4 11 22 33 44 20 0 1 0";
        let process = parse_process(stat).unwrap();
        assert_eq!((process.parent, process.own_ticks, process.child_ticks), (2, 33.0, 77.0));
        assert!(parse_process("7 (a) S").is_none());
    }

    #[test]
    fn idle_and_waiting_processors_are_not_busy() {
        let (busy, interrupts) = parse_machine("cpu  1 2 4 1000 1000 8 16 32 0 0\ncpu0").unwrap();
        assert_eq!((busy, interrupts), (31.0, 24.0));
    }

    #[test]
    fn work_of_this_process_is_charged() {
        let before = Usage::now().unwrap();
        let end = now() + Duration::from_mins(1);
        let mut used = Usage::default();
        while used.own < 0.05 && now() < end {
            used = Usage::now().unwrap() - before;
        }
        assert!(used.own >= 0.05 && used.charged() >= used.own, "{used:?}");
        assert!(used.machine > 0.0, "{used:?}");
    }

    #[test]
    fn memory_fields_are_bytes() {
        assert_eq!(field_bytes("Name: x\nRssAnon:\t    12 kB\n", "RssAnon:"), 12 << 10);
        assert_eq!(field_bytes("", "RssAnon:"), 0);
        assert!(anonymous_bytes() > 0);
    }
}
