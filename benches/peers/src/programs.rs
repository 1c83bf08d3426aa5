//! Programs that back up files: restic, and tar through a compressor.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// Whether a program can be started at all.
pub fn exists(name: &str, argument: &str) -> bool {
    let mut command = Command::new(name);
    command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} failed ({}): {complaint}", output.status);
    Ok(())
}

/// Two folders hold the same files with the same bytes.
///
/// # Errors
/// When they do not.
pub fn compare_folders(one: &Path, other: &Path) -> Result<()> {
    run(Command::new("diff").args(["--recursive", "--brief"]).arg(one).arg(other))
}

/// A repository of restic.
#[derive(Clone, Debug)]
pub struct Restic {
    repository: PathBuf,
}

impl Restic {
    /// Makes a repository in a new folder.
    ///
    /// # Errors
    /// Those of restic.
    pub fn init(repository: &Path) -> Result<Self> {
        let restic = Self::existing(repository);
        run(restic.command().arg("init"))?;
        Ok(restic)
    }

    /// A repository that was made before.
    pub fn existing(repository: &Path) -> Self {
        Self { repository: repository.to_path_buf() }
    }

    /// The settings common to all calls; the repository holds nothing but made-up rows, so its
    /// password is no secret.
    fn command(&self) -> Command {
        let mut command = Command::new("restic");
        command.args(["--quiet", "--no-cache", "--repo"]).arg(&self.repository);
        command.env("RESTIC_PASSWORD", "benchmark");
        command
    }

    /// Backs up a folder; `compression` is restic's word: `off`, `auto` or `max`.
    ///
    /// # Errors
    /// Those of restic.
    pub fn back_up(&self, folder: &Path, compression: &str) -> Result<()> {
        let mut command = self.command();
        command.args(["--compression", compression, "backup", "."]).current_dir(folder);
        run(&mut command)
    }

    /// Restores the newest backup into a new folder.
    ///
    /// # Errors
    /// Those of restic.
    pub fn restore(&self, to: &Path) -> Result<()> {
        run(self.command().args(["restore", "latest", "--target"]).arg(to))
    }
}

/// `tar | PROGRAM`, into one file, synced.
///
/// # Errors
/// Those of the programs.
pub fn tar_through(folder: &Path, program: &str, to: &Path) -> Result<()> {
    let script = format!(r#"set -o pipefail; tar -C "$0" -cf - . | {program} > "$1" && sync "$1""#);
    run(Command::new("bash").args(["-c", &script]).arg(folder).arg(to))
}

/// What [`tar_through`] wrote holds the files of the folder.
///
/// # Errors
/// When it does not.
pub fn check_tar(folder: &Path, program: &str, file: &Path) -> Result<()> {
    let script =
        format!(r#"set -o pipefail; {program} -dc < "$1" | tar -C "$0" --compare -f - > "$1".log"#);
    run(Command::new("bash").args(["-c", &script]).arg(folder).arg(file))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_changed_byte_shows_in_a_comparison() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["one", "other"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), b"rows").unwrap();
        }
        compare_folders(&path("one"), &path("other")).unwrap();
        tar_through(&path("one"), "gzip", &path("packed")).unwrap();
        check_tar(&path("one"), "gzip", &path("packed")).unwrap();
        fs::write(path("one").join("file"), b"ROWS").unwrap();
        assert!(compare_folders(&path("one"), &path("other")).is_err());
        assert!(check_tar(&path("one"), "gzip", &path("packed")).is_err());
    }

    #[test]
    fn a_failing_program_is_an_error_that_quotes_it() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("nowhere");
        let error = tar_through(&nowhere, "gzip", &folder.path().join("packed"));
        let error = format!("{:#}", error.expect_err("there is no such folder"));
        assert!(error.contains("nowhere"), "{error}");
    }
}
