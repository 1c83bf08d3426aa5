//! What a caller chooses for a backup or a restore, and the checks of those choices.

use crate::{
    error::{Error, ErrorKind, Result},
    names::NodeName,
};

/// Smallest chunk, in MiB.
pub const CHUNK_MIB_MIN: u64 = 2;

/// Largest chunk, in MiB.
pub const CHUNK_MIB_MAX: u64 = 512;

/// Least memory of a pipeline, in bytes: below it reader and uploader would wait for each other.
pub const MEMORY_BYTES_MIN: u64 = 48 << 20;

/// How chunks are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// As they are: plain tar.
    None,
    /// gzip, fastest.
    GzipBestSpeed,
    /// gzip, its usual level.
    #[default]
    GzipDefault,
    /// gzip, smallest.
    GzipBestCompression,
}

/// Which collections an operation concerns, by exact names. At most one list may hold names; with
/// neither, all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only these.
    pub include: Vec<String>,
    /// All but these.
    pub exclude: Vec<String>,
}

/// Choices for a backup.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CreateOptions {
    /// Which collections. Default all.
    pub selection: Selection,
    /// How chunks are compressed. Default gzip.
    pub compression: Compression,
    /// Bound of a stored chunk in MiB, 2..=512. Default 128.
    pub chunk_mib: u64,
    /// Bound of the memory of the pipeline in bytes, 48 MiB or more. Default 64 MiB.
    pub memory_bytes_max: u64,
    /// The name of this node in the repository. Default `node1`.
    pub node: NodeName,
    /// Threads that read, frame and compress. Default: those of the machine, at most 8.
    pub workers: usize,
}

/// Choices for a restore.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Which collections of the backup. Default all.
    pub selection: Selection,
    /// New names: (name in the backup, name in the store).
    pub rename: Vec<(String, String)>,
    /// Bound of the memory of the download in bytes. Default 64 MiB.
    pub memory_bytes_max: u64,
    /// Threads that fetch, check and decompress. Default: those of the machine, at most 8.
    pub workers: usize,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            compression: Compression::default(),
            chunk_mib: 128,
            memory_bytes_max: 64 << 20,
            node: NodeName::default(),
            workers: default_workers(),
        }
    }
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            rename: Vec::new(),
            memory_bytes_max: 64 << 20,
            workers: default_workers(),
        }
    }
}

fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |count| count.get().min(8))
}

impl CreateOptions {
    /// Checks the limits that do not depend on a store.
    ///
    /// # Errors
    /// `Invalid`, naming the option and its limits.
    pub fn check(&self) -> Result<()> {
        if !(CHUNK_MIB_MIN..=CHUNK_MIB_MAX).contains(&self.chunk_mib) {
            return Err(invalid(format!(
                "chunk size {} MiB is outside {CHUNK_MIB_MIN}..={CHUNK_MIB_MAX} MiB",
                self.chunk_mib
            )));
        }
        check_resources(self.memory_bytes_max, self.workers)
    }
}

impl RestoreOptions {
    /// Checks the limits that do not depend on a backup.
    ///
    /// # Errors
    /// `Invalid`, naming the option and its limits.
    pub fn check(&self) -> Result<()> {
        check_resources(self.memory_bytes_max, self.workers)
    }
}

fn check_resources(memory_bytes_max: u64, workers: usize) -> Result<()> {
    if memory_bytes_max < MEMORY_BYTES_MIN {
        return Err(invalid(format!(
            "memory bound {memory_bytes_max} bytes is under the least of {MEMORY_BYTES_MIN}"
        )));
    }
    if workers == 0 {
        return Err(invalid("workers must be 1 or more".to_owned()));
    }
    Ok(())
}

impl Selection {
    /// The names of `all` (in its order) that are selected.
    ///
    /// # Errors
    /// `Invalid` when both lists hold names, when a listed name is not in `all` (every such name is
    /// in the message), or when nothing is left although `all` is not empty.
    pub fn apply<'a>(&self, all: &[&'a str]) -> Result<Vec<&'a str>> {
        if !self.include.is_empty() && !self.exclude.is_empty() {
            return Err(invalid("include and exclude cannot be used together".to_owned()));
        }
        let unknown: Vec<&str> = (self.include.iter().chain(&self.exclude))
            .map(String::as_str)
            .filter(|name| !all.contains(name))
            .collect();
        if !unknown.is_empty() {
            let (unknown, all) = (unknown.join("', '"), all.join("', '"));
            return Err(invalid(format!("no such collection: '{unknown}'; there is: '{all}'")));
        }
        let selected: Vec<&str> = (all.iter().copied())
            .filter(|name| {
                let holds = |list: &[String]| list.iter().any(|listed| listed == name);
                (self.include.is_empty() || holds(&self.include)) && !holds(&self.exclude)
            })
            .collect();
        if selected.is_empty() && !all.is_empty() {
            return Err(invalid("exclude leaves no collection".to_owned()));
        }
        Ok(selected)
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(include: &[&str], exclude: &[&str]) -> Selection {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Selection { include: owned(include), exclude: owned(exclude) }
    }

    #[test]
    fn selection_keeps_the_order_of_the_catalog() {
        let all = ["a", "b", "c"];
        assert_eq!(selection(&[], &[]).apply(&all).unwrap(), all);
        assert_eq!(selection(&["c", "a"], &[]).apply(&all).unwrap(), ["a", "c"]);
        assert_eq!(selection(&[], &["b"]).apply(&all).unwrap(), ["a", "c"]);
        assert!(selection(&[], &[]).apply(&[]).unwrap().is_empty());
    }

    #[test]
    fn wrong_selections_are_refused_with_all_names() {
        let all = ["a", "b"];
        for (include, exclude) in [(&["a"][..], &["b"][..]), (&[], &["a", "b"])] {
            let error = selection(include, exclude).apply(&all).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        let error = selection(&["x", "a", "y"], &[]).apply(&all).expect_err("unknown names");
        assert_eq!(error.to_string(), "no such collection: 'x', 'y'; there is: 'a', 'b'");
    }

    #[test]
    fn limits_of_options_are_checked() {
        assert!(CreateOptions::default().check().is_ok());
        assert!(RestoreOptions::default().check().is_ok());
        let chunk = CreateOptions { chunk_mib: 1, ..CreateOptions::default() };
        assert!(chunk.check().expect_err("small chunk").to_string().contains("2..=512"));
        let memory = CreateOptions { memory_bytes_max: 1, ..CreateOptions::default() };
        assert_eq!(memory.check().expect_err("little memory").kind(), ErrorKind::Invalid);
        let workers = RestoreOptions { workers: 0, ..RestoreOptions::default() };
        assert_eq!(workers.check().expect_err("no worker").kind(), ErrorKind::Invalid);
    }
}
