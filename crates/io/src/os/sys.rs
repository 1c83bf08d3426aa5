//! The system calls that std does not offer, relative to the folder of a disk.
//!
//! Every path is resolved from an open folder, so the disk stays where it was opened even if the
//! root is renamed or the process changes its directory. The last component is never followed if it
//! is a symbolic link. Modes do not depend on the umask.

use std::{
    fs::File,
    io::{Error, ErrorKind, IoSlice, Result},
    ops::Range,
    os::fd::AsFd,
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{self, AtFlags, CWD, Dir, FallocateFlags, FileType, Mode, OFlags, RenameFlags, Stat},
    io::{self, Errno},
    time::{ClockId, clock_gettime},
};

use crate::{
    disk::{DirEntry, Rename},
    path::RelPath,
};

/// `rwx------`
const DIR_MODE: Mode = Mode::RWXU;

/// `rw-------`
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Most parts the kernel takes in one vectored call (`UIO_MAXIOV`).
const PARTS_MAX: usize = 1024;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// An existing file, to be read.
    Read,
    /// An existing file, to be read and written.
    ReadWrite,
    /// A new file, to be read and written.
    Create,
}

/// Opens a folder by its path in the file system.
pub(super) fn open_root(path: &Path) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(fs::openat(CWD, path, flags, Mode::empty())?))
}

/// Creates a folder by its path in the file system, and makes its name durable.
pub(super) fn create_root(path: &Path) -> Result<()> {
    make_dir(CWD, path)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    open_root(parent)?.sync_all()
}

/// Opens a folder below the root.
pub(super) fn open_dir(root: &File, dir: &RelPath) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(File::from(fs::openat(root, name_of(dir), flags, Mode::empty())?))
}

/// Creates a folder below the root.
pub(super) fn create_dir(root: &File, dir: &RelPath) -> Result<()> {
    make_dir(root, dir.as_path())
}

fn make_dir(from: impl AsFd, path: &Path) -> Result<()> {
    fs::mkdirat(&from, path, DIR_MODE)?;
    Ok(fs::chmodat(&from, path, DIR_MODE, AtFlags::empty())?) // whatever the umask took away
}

/// Opens a plain file below the root.
pub(super) fn open_file(root: &File, path: &RelPath, access: Access) -> Result<File> {
    let flags = OFlags::CLOEXEC
        | OFlags::NOFOLLOW
        | match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR,
            Access::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
    let file = File::from(fs::openat(root, name_of(path), flags, FILE_MODE)?);
    if access == Access::Create {
        fs::fchmod(&file, FILE_MODE)?; // whatever the umask took away
    } else if !file.metadata()?.is_file() {
        return Err(not_plain());
    }
    Ok(file)
}

/// The length of a plain file.
pub(super) fn file_len(root: &File, path: &RelPath) -> Result<u64> {
    Ok(u64::try_from(stat_file(root, path)?.st_size).unwrap_or(0))
}

/// When a plain file was last written, since 1970; `None` before that.
pub(super) fn modified(root: &File, path: &RelPath) -> Result<Option<Duration>> {
    let stat = stat_file(root, path)?;
    let parts = (u64::try_from(stat.st_mtime).ok(), u32::try_from(stat.st_mtime_nsec).ok());
    Ok(parts.0.zip(parts.1).map(|(seconds, nanos)| Duration::new(seconds, nanos)))
}

fn stat_file(root: &File, path: &RelPath) -> Result<Stat> {
    let stat = fs::statat(root, name_of(path), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
        Ok(stat)
    } else {
        Err(not_plain())
    }
}

fn not_plain() -> Error {
    Error::new(ErrorKind::InvalidInput, "not a plain file")
}

/// Lists a folder. A name that is no UTF-8 is shown with replacement characters: it is none of
/// ours, but the folder is not empty either.
pub(super) fn list(root: &File, dir: &RelPath) -> Result<Vec<DirEntry>> {
    let folder = open_dir(root, dir)?;
    let mut entries = Vec::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_dir = match entry.file_type() {
            FileType::Unknown => match fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode).is_dir(),
                Err(Errno::NOENT) => continue, // removed meanwhile
                Err(error) => return Err(error.into()),
            },
            known => known.is_dir(),
        };
        entries.push(DirEntry { name: name.to_string_lossy().into_owned(), is_dir });
    }
    Ok(entries)
}

/// Renames within the root.
pub(super) fn rename(root: &File, from: &RelPath, to: &RelPath, mode: Rename) -> Result<()> {
    let flags = match mode {
        Rename::Replace => RenameFlags::empty(),
        Rename::NoReplace => RenameFlags::NOREPLACE,
    };
    let moved = fs::renameat_with(root, name_of(from), root, name_of(to), flags);
    match moved {
        Err(Errno::INVAL | Errno::NOSYS) if mode == Rename::NoReplace => {
            link_then_unlink(root, from, to) // a file system without the flag
        }
        moved => Ok(moved?),
    }
}

/// A rename that never replaces, for file systems that cannot do it in one step: between the steps
/// the file has both names.
fn link_then_unlink(root: &File, from: &RelPath, to: &RelPath) -> Result<()> {
    fs::linkat(root, name_of(from), root, name_of(to), AtFlags::empty())?;
    remove(root, from)
}

/// Removes a file.
pub(super) fn remove(root: &File, path: &RelPath) -> Result<()> {
    Ok(fs::unlinkat(root, name_of(path), AtFlags::empty())?)
}

/// Removes an empty folder.
pub(super) fn remove_dir(root: &File, path: &RelPath) -> Result<()> {
    Ok(fs::unlinkat(root, name_of(path), AtFlags::REMOVEDIR)?)
}

/// Bytes that an ordinary user may still write.
pub(super) fn free_bytes(root: &File) -> Result<u64> {
    let stat = fs::fstatvfs(root)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Asks that the file be read and written past the page cache; false if its file system cannot.
pub(super) fn set_direct(file: &File) -> Result<bool> {
    match fs::fcntl_setfl(file, fs::fcntl_getfl(file)? | OFlags::DIRECT) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Goes back to the page cache, also for all duplicates of the descriptor.
pub(super) fn clear_direct(file: &File) -> Result<()> {
    Ok(fs::fcntl_setfl(file, fs::fcntl_getfl(file)? - OFlags::DIRECT)?)
}

/// Allocates a byte range of a file and makes the file that long; false if its file system cannot.
pub(super) fn allocate(file: &File, range: Range<u64>) -> Result<bool> {
    let len = range.end.saturating_sub(range.start);
    uninterrupted(|| match fs::fallocate(file, FallocateFlags::empty(), range.start, len) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    })
}

/// Writes parts one after another; returns the bytes written, maybe fewer than asked.
pub(super) fn write_parts(file: &File, offset: u64, parts: &[IoSlice<'_>]) -> Result<usize> {
    let parts = &parts[..parts.len().min(PARTS_MAX)];
    uninterrupted(|| Ok(io::pwritev(file, parts, offset)?))
}

/// Processor time that the calling thread has used, user and system.
pub(crate) fn thread_cpu() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(used.tv_sec), u32::try_from(used.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// Nice value of threads that others come before: a tenth of the weight, which still moves on when
/// the machine is busy.
const NICE: i32 = 10;

/// Lets the calling thread run after others, from now on, where processors are short. A system that
/// refuses leaves it as it is.
pub fn lower_priority() {
    // Without a process this is the calling thread (setpriority(2), "C library/kernel differences").
    let _refused = rustix::process::setpriority_process(None, NICE);
}

/// Runs a call again while a signal interrupts it.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn name_of(path: &RelPath) -> &str {
    match path.as_str() {
        "" => ".",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_then_unlink_moves_and_never_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let root = open_root(folder.path()).unwrap();
        let [a, b] = ["a", "b"].map(|name| RelPath::new(name).unwrap());
        open_file(&root, &a, Access::Create).unwrap();
        link_then_unlink(&root, &a, &b).unwrap();
        assert_eq!(file_len(&root, &a).unwrap_err().kind(), ErrorKind::NotFound);
        open_file(&root, &a, Access::Create).unwrap();
        let error = link_then_unlink(&root, &a, &b).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(list(&root, &RelPath::root()).unwrap().len(), 2);
    }

    #[test]
    fn a_file_tells_when_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let root = open_root(folder.path()).unwrap();
        let [a, b] = ["a", "b"].map(|name| RelPath::new(name).unwrap());
        assert_eq!(modified(&root, &a).unwrap_err().kind(), ErrorKind::NotFound);
        let file = open_file(&root, &a, Access::Create).unwrap();
        let at = Duration::new(1_700_000_000, 5);
        file.set_modified(std::time::UNIX_EPOCH + at).unwrap();
        assert_eq!(modified(&root, &a).unwrap(), Some(at));
        file.set_modified(std::time::UNIX_EPOCH - at).unwrap();
        assert_eq!(modified(&root, &a).unwrap(), None);
        make_dir(&root, Path::new("b")).unwrap();
        assert!(modified(&root, &b).is_err(), "a folder is no file");
    }
}
