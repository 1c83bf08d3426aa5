//! How a command ends: what is printed, and the exit code.
//!
//! Exit codes are a promise (docs/operations.md): documented, and never reused.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;
use siltstone_backup::error as backup;
use siltstone_io::error as disk;
use siltstone_lsm::error as lsm;

/// The meaning of an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    Damaged = 3,
    NotFound = 4,
    Conflict = 5,
    Unreachable = 6,
    Corrupt = 7,
}

/// A failed verification: the command ran to its end and found damage.
#[derive(Debug)]
pub(crate) struct Damage(pub(crate) String);

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Damage {}

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints a result: the text, or with `--json` one JSON object on one line.
    pub(crate) fn result(self, text: &str, json: &impl Serialize) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, json)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{text}")?;
        }
        Ok(out.flush()?)
    }
}

/// A message for people, on standard error.
pub(crate) fn note(text: impl fmt::Display) {
    // A closed standard error leaves nobody to tell.
    writeln!(io::stderr(), "{text}").unwrap_or_default();
}

/// Reports an error and gives its exit code.
pub(crate) fn fail(error: &anyhow::Error, output: Output) -> ExitCode {
    let exit = exit_of(error);
    if output.json {
        let json = serde_json::json!({
            "type": "error", "message": format!("{error:#}"), "exit_code": exit as u8,
        });
        note(json);
    } else {
        note(format_args!("error: {error:#}"));
    }
    ExitCode::from(exit as u8)
}

/// The exit code that an error asks for: that of the innermost error with a kind.
fn exit_of(error: &anyhow::Error) -> Exit {
    let by_kind = |cause: &(dyn std::error::Error + 'static)| {
        if cause.is::<Damage>() {
            return Some(Exit::Damaged);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return (io.kind() == io::ErrorKind::NotFound).then_some(Exit::NotFound);
        }
        let lsm = cause.downcast_ref::<lsm::Error>().map(|error| lsm_exit(error.kind()));
        let backup = || cause.downcast_ref::<backup::Error>().map(|e| backup_exit(e.kind()));
        let disk = || cause.downcast_ref::<disk::Error>().map(|e| disk_exit(e.kind()));
        lsm.or_else(backup).or_else(disk)
    };
    error.chain().find_map(by_kind).unwrap_or(Exit::Failed)
}

fn lsm_exit(kind: lsm::ErrorKind) -> Exit {
    match kind {
        lsm::ErrorKind::Invalid => Exit::Usage,
        lsm::ErrorKind::NotFound => Exit::NotFound,
        lsm::ErrorKind::Exists | lsm::ErrorKind::Locked => Exit::Conflict,
        lsm::ErrorKind::Corrupt | lsm::ErrorKind::NewerFormat => Exit::Corrupt,
        _ => Exit::Failed,
    }
}

fn disk_exit(kind: disk::ErrorKind) -> Exit {
    match kind {
        disk::ErrorKind::NotFound => Exit::NotFound,
        disk::ErrorKind::Exists | disk::ErrorKind::Locked => Exit::Conflict,
        disk::ErrorKind::Denied => Exit::Unreachable,
        _ => Exit::Failed,
    }
}

fn backup_exit(kind: backup::ErrorKind) -> Exit {
    match kind {
        backup::ErrorKind::Invalid => Exit::Usage,
        backup::ErrorKind::NotFound => Exit::NotFound,
        backup::ErrorKind::Exists | backup::ErrorKind::Busy => Exit::Conflict,
        backup::ErrorKind::Denied | backup::ErrorKind::Unavailable => Exit::Unreachable,
        backup::ErrorKind::Corrupt | backup::ErrorKind::NewerFormat => Exit::Corrupt,
        _ => Exit::Failed,
    }
}
