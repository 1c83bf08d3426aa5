//! Time and processor time of one piece of work, and the lines that tell of it.

use std::{fs, io::Write, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;
use siltstone_io::env::{Clock, SystemClock};

use crate::{Args, world::World};

/// Clock ticks a second in /proc: fixed at 100 for user space.
const TICKS_PER_SECOND: f64 = 100.0;

const GIB: f64 = 1_073_741_824.0;

/// One measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Meter {
    what: String,
    bytes: u64,
    seconds: f64,
    mib_per_second: f64,
    cpu_process: f64,
    cpu_machine: f64,
}

impl Meter {
    /// Runs `work` on a cold cache; it says how many bytes it has moved.
    pub(crate) fn run(what: &str, work: impl FnOnce() -> Result<u64>) -> Result<Self> {
        // Only root may; then what the page cache holds is nobody's advantage.
        fs::write("/proc/sys/vm/drop_caches", "3").unwrap_or_default();
        let clock = SystemClock::default();
        let (process, machine, begin) = (cpu_process()?, cpu_machine()?, clock.monotonic());
        let bytes = work().with_context(|| what.to_owned())?;
        let seconds = (clock.monotonic().saturating_sub(begin)).max(Duration::from_micros(1));
        let seconds = seconds.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "far fewer bytes than 2^53")]
        let gib = bytes as f64 / GIB;
        Ok(Self {
            what: what.to_owned(),
            bytes,
            seconds,
            mib_per_second: gib * 1024.0 / seconds,
            cpu_process: (cpu_process()? - process) / gib,
            cpu_machine: (cpu_machine()? - machine) / gib,
        })
    }
}

/// Processor seconds of this process, user and system.
fn cpu_process() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in parentheses and may hold spaces.
    let fields = stat.rsplit_once(')').context("/proc/self/stat")?.1;
    Ok(fields.split_whitespace().skip(11).take(2).filter_map(ticks).sum::<f64>() / TICKS_PER_SECOND)
}

/// Processor seconds of the whole machine, all but idle and waiting.
fn cpu_machine() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().context("/proc/stat")?;
    let fields: Vec<f64> = all.split_whitespace().skip(1).filter_map(ticks).collect();
    let busy = fields.iter().enumerate().filter(|(at, _)| ![3, 4, 8, 9].contains(at));
    Ok(busy.map(|(_, ticks)| ticks).sum::<f64>() / TICKS_PER_SECOND)
}

fn ticks(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// Prints lines.
pub(crate) struct Reporter<'a> {
    out: &'a mut dyn Write,
}

#[derive(Serialize)]
struct Setup {
    version: &'static str,
    size_mib: u64,
    bytes: u64,
    segments: u64,
    files: usize,
    cpu_percent: u8,
    cores: usize,
    stream_engine_note: Option<String>,
}

#[derive(Serialize)]
struct Pair {
    what: String,
    /// Speed of the second beside that of the first.
    ratio: f64,
    first: Meter,
    second: Meter,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(out: &'a mut dyn Write) -> Self {
        Self { out }
    }

    pub(crate) fn setup(&mut self, world: &World, args: &Args) -> Result<()> {
        self.line(&Setup {
            version: env!("CARGO_PKG_VERSION"),
            size_mib: args.size_mib,
            bytes: world.bytes(),
            segments: world.segments(),
            files: world.file_count(),
            cpu_percent: args.cpu_percent,
            cores: std::thread::available_parallelism()?.get(),
            stream_engine_note: world.stream_engine_note(),
        })
    }

    pub(crate) fn pair(&mut self, (first, second): (Meter, Meter)) -> Result<()> {
        let (what, ratio) = (
            format!("{} / {}", second.what, first.what),
            second.mib_per_second / first.mib_per_second,
        );
        self.line(&Pair { what, ratio, first, second })
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        serde_json::to_writer(&mut *self.out, line)?;
        Ok(writeln!(self.out)?)
    }
}
