//! The files that `demo` loads.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

/// Files larger than this are skipped (and counted).
pub(crate) const FILE_BYTES_MAX: u64 = 8 << 20;

/// How much is loaded unless `--size` says otherwise.
const DEFAULT_BYTES_MAX: u64 = 256 << 20;

/// What to load: files, each under one key.
#[derive(Debug, Default)]
pub(crate) struct Source {
    root: PathBuf,
    files: Vec<PathBuf>,
    /// Items to load: the files, repeated as often as the size asks for.
    items: usize,
    /// Bytes of the items.
    pub(crate) bytes: u64,
    /// Files left out for their size.
    pub(crate) skipped: u64,
}

/// One JSON record a file.
#[derive(Debug, Serialize)]
pub(crate) struct FileRecord<'a> {
    pub(crate) path: &'a str,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) mtime: i64,
}

/// One thing to load.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) key: String,
    pub(crate) record: Vec<u8>,
    pub(crate) content: Vec<u8>,
}

impl Source {
    /// Lists the regular files below `root`, in order of their names, up to `size` bytes.
    pub(crate) fn list(root: &Path, size: Option<u64>) -> Result<Self> {
        let mut source = Self { root: root.to_path_buf(), ..Self::default() };
        let wanted = size.unwrap_or(DEFAULT_BYTES_MAX);
        let mut sizes = Vec::new();
        let walk = walkdir::WalkDir::new(root).sort_by_file_name();
        for entry in walk.into_iter().filter_map(Result::ok).filter(|e| e.file_type().is_file()) {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.len() > FILE_BYTES_MAX {
                source.skipped += 1;
            } else if source.bytes < wanted && entry.path().to_str().is_some() {
                source.bytes += metadata.len();
                sizes.push(metadata.len());
                source.files.push(entry.into_path());
            }
        }
        ensure!(
            source.bytes > 0,
            "there is nothing to load below {}; choose another folder with --from",
            root.display()
        );
        source.items = source.files.len();
        while size.is_some_and(|size| source.bytes < size) {
            source.bytes += sizes[source.items % sizes.len()];
            source.items += 1;
        }
        Ok(source)
    }

    /// How many items there are.
    pub(crate) fn len(&self) -> usize {
        self.items
    }

    /// Reads one item; `None` when the file is gone or unreadable by now.
    pub(crate) fn item(&self, index: usize) -> Result<Option<Item>> {
        let path = &self.files[index % self.files.len()];
        let (Ok(content), Ok(metadata)) = (fs::read(path), fs::metadata(path)) else {
            return Ok(None);
        };
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        let name = below.to_str().context("paths that are not UTF-8 were left out")?;
        let key = match index / self.files.len() {
            0 => name.to_owned(),
            round => format!("{round}/{name}"),
        };
        let record = FileRecord {
            path: &key,
            size: content.len() as u64,
            mode: metadata.mode(),
            mtime: metadata.mtime(),
        };
        let record = serde_json::to_vec(&record).context("a record of plain fields is JSON")?;
        Ok(Some(Item { key, record, content }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_repeat_under_numbered_prefixes() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::write(folder.path().join(name), vec![b'x'; 100]).unwrap();
        }
        let source = Source::list(folder.path(), Some(450)).unwrap();
        let keys: Vec<String> =
            (0..source.len()).map(|i| source.item(i).unwrap().unwrap().key).collect();
        assert_eq!(keys, ["a", "b", "1/a", "1/b", "2/a"]);
        assert_eq!(source.bytes, 500);
        assert_eq!(Source::list(folder.path(), None).unwrap().len(), 2);
    }
}
