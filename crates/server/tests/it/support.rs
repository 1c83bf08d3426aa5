//! A folder of its own for each test, and the program in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder that is the working directory; the store is `data`, the repository `backups`.
pub(crate) struct Sandbox {
    folder: TempDir,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// With three rows in `birds`, two in its tenant `eu`, and one in `trees`.
    pub(crate) fn with_rows() -> Self {
        let sandbox = Self::new();
        let birds = "{\"id\":\"heron\",\"legs\":2}\n{\"id\":\"robin\",\"legs\":2}\n{\"id\":7}\n";
        for (target, lines) in [
            ("birds", birds),
            ("birds/eu", "{\"id\":\"stork\"}\n{\"id\":\"swift\"}\n"),
            ("trees", "{\"id\":\"elm\"}\n"),
        ] {
            sandbox.write("input.jsonl", lines);
            sandbox.run(&["import", target, "input.jsonl"]).ok();
        }
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a file is written");
    }

    /// The program, not started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_siltstone"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("SILTSTONE_DATA", "data");
        command.env("BACKUP_FILESYSTEM_PATH", self.path("backups"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        self.command(args).output().expect("the program starts").into()
    }

    /// The only file below `folder` whose name starts with `prefix`, or the first of several.
    pub(crate) fn file(&self, folder: &str, prefix: &str) -> String {
        let entries = fs::read_dir(self.path(folder)).expect("a folder");
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let name = names.filter(|name| name.starts_with(prefix)).min().expect("such a file");
        Path::new(folder).join(name).to_str().unwrap().to_owned()
    }

    /// Changes one byte of a file; the same call again changes it back.
    pub(crate) fn flip(&self, file: &str, offset: usize) {
        let path = self.path(file);
        let mut bytes = fs::read(&path).expect("a file");
        bytes[offset] ^= 3; // 1 becomes 2
        fs::write(&path, bytes).expect("a file is written");
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is text");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Run {
    /// What a command that succeeded printed; it has nothing to say beside it.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }

    /// The objects that a command with `--json` printed, one a line.
    #[track_caller]
    pub(crate) fn objects(self) -> Vec<Value> {
        self.ok().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// The one object that a command with `--json` printed.
    #[track_caller]
    pub(crate) fn object(self) -> Value {
        let objects = self.objects();
        let [object] = <[Value; 1]>::try_from(objects).expect("one line");
        object
    }

    /// The message of a failed command: one line, and no results.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:?}");
        let line = self.stderr.strip_prefix("error: ").and_then(|text| text.strip_suffix('\n'));
        let line = line.unwrap_or_else(|| panic!("not an error: {self:?}"));
        assert!(!line.contains('\n') && !line.contains("Error {"), "{line}");
        line.to_owned()
    }

    /// As [`Run::fails`]; the message has all of `parts`.
    #[track_caller]
    pub(crate) fn fails_with(self, code: i32, parts: &[&str]) {
        let line = self.fails(code);
        for part in parts {
            assert!(line.contains(part), "'{part}' is not in '{line}'");
        }
    }

    /// A command line that cannot be; the message has all of `parts`.
    #[track_caller]
    pub(crate) fn refused(self, parts: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "'{part}' is not in '{}'", self.stderr);
        }
    }
}
