//! What the device itself can do: the yardstick of everything else.
//!
//! Files are read and written with direct I/O, in pieces of 1 MiB of which four are on their way
//! (the streams of `siltstone-io`, without hashing or any other work), and new files are synced with
//! `fdatasync`, then their folder.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use siltstone_io::{
    disk::{Disk, STREAM_PIECE_BYTES},
    os::{OsDisk, StreamEngine},
    path::RelPath,
};

/// Reads all files of a folder of a disk from front to back; the bytes there were.
///
/// # Errors
/// Those of the disk.
pub fn read_files(disk: &dyn Disk, folder: &RelPath) -> Result<u64> {
    let mut bytes = 0;
    for (path, length) in files(disk, folder)? {
        let mut stream = disk.open_stream(&path, 0..length)?;
        while let Some(piece) = stream.next_piece()? {
            bytes += piece.len() as u64;
        }
    }
    Ok(bytes)
}

/// Copies all files of a folder into a new folder, synced; the bytes there were.
///
/// # Errors
/// Those of the disks.
pub fn copy_files(disk: &dyn Disk, folder: &RelPath, to: &Path) -> Result<u64> {
    let target = open(to)?;
    let mut bytes = 0;
    for (path, length) in files(disk, folder)? {
        let mut stream = disk.open_stream(&path, 0..length)?;
        let mut copy = target.create_stream(&RelPath::new(path.name())?, length)?;
        while let Some(piece) = stream.next_piece()? {
            copy.write(&piece)?;
        }
        bytes += copy.finish()?;
    }
    target.sync_dir(&RelPath::root())?;
    Ok(bytes)
}

/// Writes new files of `lengths` bytes into a new folder, synced.
///
/// # Errors
/// Those of the disk.
pub fn write_files(to: &Path, lengths: &[u64]) -> Result<()> {
    let target = open(to)?;
    let piece = vec![0x5a; STREAM_PIECE_BYTES];
    for (number, &length) in lengths.iter().enumerate() {
        let mut file = target.create_stream(&RelPath::new(number.to_string())?, length)?;
        let mut left = length;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            file.write(&piece[..now])?;
            left -= now as u64;
        }
        file.finish()?;
    }
    target.sync_dir(&RelPath::root())?;
    Ok(())
}

/// The files of a folder with their lengths, in the order of their names.
///
/// # Errors
/// Those of the disk; when there is none.
pub fn files(disk: &dyn Disk, folder: &RelPath) -> Result<Vec<(RelPath, u64)>> {
    let mut files = Vec::new();
    for entry in disk.list(folder)?.into_iter().filter(|entry| !entry.is_dir) {
        let path = folder.join(&entry.name)?;
        let length = disk.file_len(&path)?;
        files.push((path, length));
    }
    ensure!(!files.is_empty(), "there are no files in {folder}");
    files.sort();
    Ok(files)
}

/// Opens a folder, made if need be, as a disk.
///
/// # Errors
/// Those of the system.
pub fn open(folder: &Path) -> Result<Arc<dyn Disk>> {
    let disk = OsDisk::open(folder, StreamEngine::Auto);
    Ok(Arc::new(disk.with_context(|| format!("cannot open {}", folder.display()))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write_files(&from, &[0, 1, 3 << 20]).unwrap();
        let disk = open(&from).unwrap();
        assert_eq!(read_files(disk.as_ref(), &RelPath::root()).unwrap(), (3 << 20) + 1);
        assert_eq!(copy_files(disk.as_ref(), &RelPath::root(), &to).unwrap(), (3 << 20) + 1);
        for name in ["0", "1", "2"] {
            let read = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
            assert_eq!(read(&from), read(&to), "{name}");
        }
        let empty = open(&folder.path().join("empty")).unwrap();
        assert!(read_files(empty.as_ref(), &RelPath::root()).is_err(), "nothing to measure");
    }
}
