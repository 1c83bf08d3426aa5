//! How a command ends: what is printed, and the exit code.
//!
//! Exit codes are a promise (docs/operations.md): documented, and never reused.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use serde::Serialize;
use siltstone_backup::error as backup;
use siltstone_io::error as disk;
use siltstone_lsm::error as lsm;

const STDOUT: &str = "cannot write to standard output";

/// The meaning of an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Ok = 0,
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
        let line = if self.json { serde_json::to_string(json)? } else { text.to_owned() };
        printed(writeln!(io::stdout(), "{line}"))
    }
}

/// The outcome of writing to standard output, with its name.
pub(crate) fn printed(outcome: io::Result<()>) -> anyhow::Result<()> {
    outcome.context(STDOUT)
}

/// A message for people, on standard error.
pub(crate) fn note(text: impl fmt::Display) {
    // A closed standard error leaves nobody to tell.
    writeln!(io::stderr(), "{text}").unwrap_or_default();
}

/// Reports an error and gives its exit code.
pub(crate) fn fail(error: &anyhow::Error, output: Output) -> ExitCode {
    let (exit, message) = (exit_of(error), message(error));
    if exit == Exit::Ok {
        return ExitCode::SUCCESS;
    }
    if output.json {
        let json = serde_json::json!({
            "type": "error", "message": message, "exit_code": exit as u8,
        });
        note(json);
    } else {
        note(format_args!("error: {message}"));
    }
    ExitCode::from(exit as u8)
}

/// An error with its causes on one line; a cause that is in the words of its effect is not repeated.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message.push_str(": ");
            message.push_str(&cause);
        }
    }
    message
}

/// The exit code that an error asks for: that of the outermost error with a kind.
fn exit_of(error: &anyhow::Error) -> Exit {
    let by_kind = |cause: &(dyn std::error::Error + 'static)| {
        if cause.is::<Damage>() {
            return Some(Exit::Damaged);
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return match io.kind() {
                // Who reads the output has seen enough of it, as `head` does.
                io::ErrorKind::BrokenPipe => Some(Exit::Ok),
                io::ErrorKind::NotFound => Some(Exit::NotFound),
                io::ErrorKind::PermissionDenied => Some(Exit::Unreachable),
                _ => None,
            };
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
        lsm::ErrorKind::Denied => Exit::Unreachable,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let error = backup::Error::new(backup::ErrorKind::Exists, "b: a is taken");
        let error = error.caused_by(lsm::Error::new(lsm::ErrorKind::Exists, "a is taken"));
        let error = anyhow::Error::from(error).context("restore");
        assert_eq!(message(&error), "restore: b: a is taken");
        let error = anyhow::anyhow!("cause").context("effect");
        assert_eq!(message(&error), "effect: cause");
    }

    #[test]
    fn the_outermost_kind_gives_the_exit_code() {
        let not_found = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(exit_of(&anyhow::Error::from(not_found).context("x")), Exit::NotFound);
        let pipe = printed(Err(io::ErrorKind::BrokenPipe.into())).unwrap_err();
        assert_eq!(exit_of(&pipe), Exit::Ok);
        let full = printed(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(exit_of(&full), Exit::Failed);
        assert_eq!(exit_of(&anyhow::anyhow!("x")), Exit::Failed);
    }
}
