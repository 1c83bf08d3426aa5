//! What a caller chooses for a backup or a restore, and the checks of those choices.

use std::{fmt, str::FromStr};

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

/// Least and most percent of the processors' time.
pub const CPU_PERCENT_MIN: u8 = 1;
/// As above.
pub const CPU_PERCENT_MAX: u8 = 80;

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
    /// Zstandard, fastest.
    ZstdBestSpeed,
    /// Zstandard, its usual level.
    ZstdDefault,
    /// Zstandard, smallest.
    ZstdBestCompression,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::GzipDefault,
        Self::GzipBestSpeed,
        Self::GzipBestCompression,
        Self::ZstdDefault,
        Self::ZstdBestSpeed,
        Self::ZstdBestCompression,
        Self::None,
    ];

    /// The name that the API and the command line know.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NoCompression",
            Self::GzipBestSpeed => "BestSpeed",
            Self::GzipDefault => "DefaultCompression",
            Self::GzipBestCompression => "BestCompression",
            Self::ZstdBestSpeed => "ZstdBestSpeed",
            Self::ZstdDefault => "ZstdDefaultCompression",
            Self::ZstdBestCompression => "ZstdBestCompression",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = Error;

    /// Reads the name, in letters of either case.
    fn from_str(name: &str) -> Result<Self> {
        let found =
            Self::ALL.into_iter().find(|compression| compression.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            let shown: String = name.chars().take(64).collect();
            invalid(format!(
                "'{}' is no compression level; there are {}",
                shown.escape_default(),
                names.join(", ")
            ))
        })
    }
}

/// What an operation concerns, by name: `COLLECTION`, or `COLLECTION/TENANT`. In either part `*` stands
/// for any characters and `?` for one, unless a name is spelled so. At most one list may hold names;
/// with neither, it is everything.
///
/// A collection of which only tenants are included has no rows of its own in the result.
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
    /// Which collections and tenants. Default all.
    pub selection: Selection,
    /// How chunks are compressed. Default gzip.
    pub compression: Compression,
    /// Bound of a stored chunk in MiB, 2..=512. Default 128.
    pub chunk_mib: u64,
    /// Bound of the memory of the pipeline in bytes, 48 MiB or more. Default 64 MiB.
    pub memory_bytes_max: u64,
    /// Bytes of files that the store no longer needs and that only backups, snapshots and readers
    /// keep on its disk: past this the backup fails, so that writers never do. Default no limit but
    /// the reserve of free space.
    pub pinned_bytes_max: Option<u64>,
    /// The name of this node in the repository. Default `node1`.
    pub node: NodeName,
    /// Percent of the time of all processors that the backup may use, 1..=80. Default 50: a live
    /// store goes on beside it.
    pub cpu_percent: u8,
    /// Bytes a second that chunks are sent with at most. Default no bound.
    pub bytes_per_second_max: Option<u64>,
    /// Threads that compress, as far as the memory goes. Default enough to use the share.
    pub workers: Option<usize>,
}

/// Choices for a restore.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// Which collections and tenants of the backup. Default all.
    pub selection: Selection,
    /// Names of nodes: (in the backup, here). Accepted where it names the one node of the backup; the
    /// backup of one node is restored onto a node of any name without it.
    pub node_mapping: Vec<(String, String)>,
    /// New names: (`COLLECTION` or `COLLECTION/TENANT` in the backup, the new name of that alone).
    pub rename: Vec<(String, String)>,
    /// Bound of the memory of the download in bytes. Default 64 MiB.
    pub memory_bytes_max: u64,
    /// Bound of a file of restored segments in bytes, 64 KiB or more; a longer segment has a file of
    /// its own. A restore that fails is asked for again without the files that were complete; up to
    /// two were not. Default 64 MiB.
    pub file_bytes_max: u64,
    /// Percent of the time of all processors that the restore may use, 1..=80. Default 50.
    pub cpu_percent: u8,
    /// Bytes a second that chunks are fetched with at most. Default no bound.
    pub bytes_per_second_max: Option<u64>,
    /// Threads that fetch, check and decompress, as far as the memory goes. Default enough to use
    /// the share.
    pub workers: Option<usize>,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            compression: Compression::default(),
            chunk_mib: 128,
            memory_bytes_max: 64 << 20,
            pinned_bytes_max: None,
            node: NodeName::default(),
            cpu_percent: CPU_PERCENT_DEFAULT,
            bytes_per_second_max: None,
            workers: None,
        }
    }
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            rename: Vec::new(),
            node_mapping: Vec::new(),
            memory_bytes_max: 64 << 20,
            file_bytes_max: 64 << 20,
            cpu_percent: CPU_PERCENT_DEFAULT,
            bytes_per_second_max: None,
            workers: None,
        }
    }
}

/// Least bound of the files of a restore, in bytes.
const FILE_BYTES_MIN: u64 = 64 << 10;

/// Percent of the processors' time where nothing is said.
pub(crate) const CPU_PERCENT_DEFAULT: u8 = 50;

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
        check_speed(self.cpu_percent, self.bytes_per_second_max)?;
        check_resources(self.memory_bytes_max, self.workers)
    }
}

impl RestoreOptions {
    /// Checks the limits that do not depend on a backup.
    ///
    /// # Errors
    /// `Invalid`, naming the option and its limits.
    pub fn check(&self) -> Result<()> {
        if self.file_bytes_max < FILE_BYTES_MIN {
            return Err(invalid(format!(
                "files of at most {} bytes are under the least bound of {FILE_BYTES_MIN}",
                self.file_bytes_max
            )));
        }
        check_speed(self.cpu_percent, self.bytes_per_second_max)?;
        check_resources(self.memory_bytes_max, self.workers)
    }
}

/// Checks what bounds memory and threads.
pub(crate) fn check_resources(memory_bytes_max: u64, workers: Option<usize>) -> Result<()> {
    if memory_bytes_max < MEMORY_BYTES_MIN {
        return Err(invalid(format!(
            "memory bound {memory_bytes_max} bytes is under the least of {MEMORY_BYTES_MIN}"
        )));
    }
    if workers == Some(0) {
        return Err(invalid("workers must be 1 or more".to_owned()));
    }
    Ok(())
}

/// Checks what bounds the speed.
pub(crate) fn check_speed(cpu_percent: u8, bytes_per_second_max: Option<u64>) -> Result<()> {
    if !(CPU_PERCENT_MIN..=CPU_PERCENT_MAX).contains(&cpu_percent) {
        return Err(invalid(format!(
            "CPU percentage {cpu_percent} is outside {CPU_PERCENT_MIN}..={CPU_PERCENT_MAX}"
        )));
    }
    if bytes_per_second_max == Some(0) {
        return Err(invalid("the bound of bytes a second must be 1 or more".to_owned()));
    }
    Ok(())
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_options_are_checked() {
        assert!(CreateOptions::default().check().is_ok());
        assert!(RestoreOptions::default().check().is_ok());
        let chunk = CreateOptions { chunk_mib: 1, ..CreateOptions::default() };
        assert!(chunk.check().expect_err("small chunk").to_string().contains("2..=512"));
        let memory = CreateOptions { memory_bytes_max: 1, ..CreateOptions::default() };
        assert_eq!(memory.check().expect_err("little memory").kind(), ErrorKind::Invalid);
        let files = RestoreOptions { file_bytes_max: 65_535, ..RestoreOptions::default() };
        assert!(files.check().expect_err("small files").to_string().contains("65536"));
        let workers = RestoreOptions { workers: Some(0), ..RestoreOptions::default() };
        assert_eq!(workers.check().expect_err("no worker").kind(), ErrorKind::Invalid);
        for cpu_percent in [0, 81, 255] {
            let create = CreateOptions { cpu_percent, ..CreateOptions::default() }.check();
            assert!(create.expect_err("no such share").to_string().contains("1..=80"));
            let restore = RestoreOptions { cpu_percent, ..RestoreOptions::default() }.check();
            assert_eq!(restore.expect_err("no such share").kind(), ErrorKind::Invalid);
        }
        let still = RestoreOptions { bytes_per_second_max: Some(0), ..RestoreOptions::default() };
        assert_eq!(still.check().expect_err("no bytes").kind(), ErrorKind::Invalid);
    }

    #[test]
    fn compressions_have_names_and_a_wrong_one_is_told_all_of_them() {
        for compression in Compression::ALL {
            for name in [compression.to_string(), compression.name().to_lowercase()] {
                assert_eq!(name.parse::<Compression>().unwrap(), compression);
            }
        }
        let error = "Zstd\u{7}".parse::<Compression>().expect_err("no such name").to_string();
        for compression in Compression::ALL {
            assert!(error.contains(compression.name()), "{error}");
        }
        assert!(error.contains("'Zstd\\u{7}'"), "{error}");
    }
}
