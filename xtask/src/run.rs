//! Running other programs, and speaking to the user.

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Prints a line; a closed standard error leaves nobody to tell.
pub(crate) fn say(text: impl fmt::Display) {
    writeln!(io::stderr(), "{text}").unwrap_or_default();
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.clone(), PathBuf::from)
}

/// A program to be run in the root of the workspace.
pub(crate) fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    command
}

/// Runs cargo, showing the command and what it prints.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    shown(program("cargo", arguments))
}

/// Runs a program, showing the command and what it prints.
pub(crate) fn shown(mut command: Command) -> Result<()> {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy()).collect();
    let name = command.get_program().to_string_lossy().into_owned();
    let line = format!("{name} {}", words.join(" "));
    say(format_args!("\n>> {line}"));
    let status = command.status().with_context(|| format!("cannot run {line}"))?;
    ensure!(status.success(), "{line} failed ({status})");
    Ok(())
}

/// Whether a program can be started at all.
pub(crate) fn exists(name: &str, arguments: &[&str]) -> bool {
    let mut command = program(name, arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
