//! A folder as a service of `OpenDAL`, over [`Folder`].
//!
//! Its own file system service writes through the page cache, leaves folders unsynced and modes to
//! the umask; this one passes the disk seam: written past the page cache, synced, named in one
//! step, with modes 0600 and 0700.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use siltstone_io::disk::BlockSource;

use super::{
    Depth, ObjectEntry, ObjectMeta, PutMode,
    door::{
        Buffer, Capability, Metadata, MetadataBuilder, OperationContext, OperatorError,
        OperatorErrorKind as Kind, OperatorResult,
        raw::{
            OpCopy, OpCreateDir, OpDelete, OpList, OpPresign, OpRead, OpRename, OpStat, OpWrite,
            RpCreateDir, RpPresign, RpRename, RpStat, Service, ServiceInfo, oio,
        },
    },
    folder::{Folder, NewObject},
    runtime::blocking,
};
use crate::{
    error::{ErrorKind, Result},
    moment::timestamp,
};

/// OpenDAL's view of a folder of our own.
#[derive(Debug)]
pub(super) struct FolderService(pub(super) Arc<Folder>);

const FOLDER_SCHEME: &str = "folder";

impl Service for FolderService {
    type Reader = oio::PositionReader<FolderReader>;
    type Writer = FolderWriter;
    type Lister = FolderLister;
    type Deleter = oio::OneShotDeleter<FolderDeleter>;
    type Copier = ();
    type Composer = ();

    fn info(&self) -> ServiceInfo {
        ServiceInfo::with_scheme(FOLDER_SCHEME)
    }

    fn capability(&self) -> Capability {
        Capability {
            stat: true,
            read: true,
            write: true,
            write_can_empty: true,
            write_can_multi: true,
            write_with_content_type: true,
            write_with_if_not_exists: true,
            delete: true,
            list: true,
            list_with_recursive: true,
            ..Capability::default()
        }
    }

    async fn create_dir(
        &self,
        _: &OperationContext,
        _: &str,
        _: OpCreateDir,
    ) -> OperatorResult<RpCreateDir> {
        Err(unsupported())
    }

    async fn stat(&self, _: &OperationContext, path: &str, _: OpStat) -> OperatorResult<RpStat> {
        let (folder, object) = (Arc::clone(&self.0), path.to_owned());
        let ObjectMeta { length, modified } = off(move || folder.meta(&object)).await?;
        Ok(RpStat::new(metadata(length, modified)))
    }

    fn read(&self, _: &OperationContext, path: &str, _: OpRead) -> OperatorResult<Self::Reader> {
        let reader = FolderReader { folder: Arc::clone(&self.0), object: path.to_owned() };
        Ok(oio::PositionReader::new(reader).with_max_buf_size(READ_BYTES_MAX))
    }

    fn write(&self, _: &OperationContext, path: &str, op: OpWrite) -> OperatorResult<Self::Writer> {
        let mode = if op.if_not_exists() { PutMode::NoReplace } else { PutMode::Replace };
        let (folder, object) = (Arc::clone(&self.0), path.to_owned());
        Ok(FolderWriter { folder, object, mode, new: Mutex::new(None) })
    }

    fn delete(&self, _: &OperationContext) -> OperatorResult<Self::Deleter> {
        Ok(oio::OneShotDeleter::new(FolderDeleter(Arc::clone(&self.0))))
    }

    fn list(&self, _: &OperationContext, path: &str, op: OpList) -> OperatorResult<Self::Lister> {
        let depth = if op.recursive() { Depth::All } else { Depth::One };
        let prefix = path.trim_start_matches('/').to_owned();
        Ok(FolderLister { folder: Arc::clone(&self.0), prefix, depth, found: None })
    }

    fn copy(&self, _: &OperationContext, _: &str, _: &str, _: OpCopy) -> OperatorResult<()> {
        Err(unsupported())
    }

    async fn rename(
        &self,
        _: &OperationContext,
        _: &str,
        _: &str,
        _: OpRename,
    ) -> OperatorResult<RpRename> {
        Err(unsupported())
    }

    async fn presign(
        &self,
        _: &OperationContext,
        _: &str,
        _: OpPresign,
    ) -> OperatorResult<RpPresign> {
        Err(unsupported())
    }
}

/// Bytes read from a file in one piece; covers the largest frame.
const READ_BYTES_MAX: usize = 16 << 20;

/// What OpenDAL keeps of an object.
fn metadata(length: u64, modified: Option<Duration>) -> Metadata {
    let mut builder = MetadataBuilder::file(length);
    if let Some(modified) = modified {
        builder.last_modified(timestamp(modified).into());
    }
    builder.build()
}

fn unsupported() -> OperatorError {
    OperatorError::new(Kind::Unsupported, "a folder of backups does not need this")
}

/// Runs blocking work of a folder and dresses its error for the way through OpenDAL.
async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> OperatorResult<T> {
    blocking(work).await.map_err(|error| {
        let kind = match error.kind() {
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::Exists => Kind::ConditionNotMatch,
            _ => Kind::Unexpected,
        };
        OperatorError::new(kind, "the folder failed").set_source(error)
    })
}

pub(super) struct FolderReader {
    folder: Arc<Folder>,
    object: String,
}

impl oio::PositionRead for FolderReader {
    type Handle = (Arc<Folder>, Arc<dyn BlockSource>);

    async fn open(&self) -> OperatorResult<Self::Handle> {
        let (folder, object) = (Arc::clone(&self.folder), self.object.clone());
        off(move || {
            let source = folder.open(&object)?;
            Ok((folder, source))
        })
        .await
    }

    async fn read_at(handle: &Self::Handle, offset: u64, size: usize) -> OperatorResult<Buffer> {
        let (folder, source) = (Arc::clone(&handle.0), Arc::clone(&handle.1));
        let end = source.len().min(offset.saturating_add(size as u64));
        let range = offset.min(end)..end;
        off(move || folder.read_range(&*source, range)).await.map(Buffer::from)
    }
}

pub(super) struct FolderWriter {
    folder: Arc<Folder>,
    object: String,
    mode: PutMode,
    /// `None` before the first write, while a write runs, and after the end. The lock makes the
    /// writer `Sync`, as the service demands; it is never contended.
    new: Mutex<Option<NewObject>>,
}

impl FolderWriter {
    fn take(&mut self) -> Option<NewObject> {
        self.new.get_mut().expect("no code panics while holding it").take()
    }
}

impl oio::Write for FolderWriter {
    async fn write(&mut self, buffer: Buffer) -> OperatorResult<()> {
        let (folder, new) = (Arc::clone(&self.folder), self.take());
        let new = off(move || {
            let mut new = new.map_or_else(|| folder.begin(0), Ok)?;
            for bytes in buffer {
                new.write(&bytes)?;
            }
            Ok(new)
        });
        let new = new.await?;
        *self.new.get_mut().expect("no code panics while holding it") = Some(new);
        Ok(())
    }

    async fn close(&mut self) -> OperatorResult<Metadata> {
        let (folder, new) = (Arc::clone(&self.folder), self.take());
        let (object, mode) = (self.object.clone(), self.mode);
        let length = off(move || {
            let new = new.map_or_else(|| folder.begin(0), Ok)?;
            new.publish(&object, mode)
        });
        Ok(MetadataBuilder::file(length.await?).build())
    }

    async fn abort(&mut self) -> OperatorResult<()> {
        let new = self.take();
        off(move || {
            drop(new);
            Ok(())
        })
        .await
    }
}

pub(super) struct FolderLister {
    folder: Arc<Folder>,
    prefix: String,
    depth: Depth,
    found: Option<std::vec::IntoIter<ObjectEntry>>,
}

impl oio::List for FolderLister {
    async fn next(&mut self) -> OperatorResult<Option<oio::Entry>> {
        if self.found.is_none() {
            let (folder, prefix, depth) =
                (Arc::clone(&self.folder), self.prefix.clone(), self.depth);
            self.found = Some(off(move || folder.list(&prefix, depth)).await?.into_iter());
        }
        let next = self.found.as_mut().and_then(Iterator::next);
        Ok(next.map(|entry| {
            let is_dir = entry.name.ends_with('/');
            let dir = || MetadataBuilder::dir().build();
            let meta = if is_dir { dir() } else { metadata(entry.length, entry.modified) };
            oio::Entry::new(&entry.name, meta)
        }))
    }
}

pub(super) struct FolderDeleter(Arc<Folder>);

impl oio::OneShotDelete for FolderDeleter {
    async fn delete_once(&self, path: String, _: OpDelete) -> OperatorResult<()> {
        let folder = Arc::clone(&self.0);
        off(move || folder.delete(&path)).await
    }
}
