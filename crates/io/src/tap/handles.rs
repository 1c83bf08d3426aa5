//! The open files behind a tap: each forwards to the file on the disk behind, call by call.

use std::{io::IoSlice, sync::Arc};

use super::{Call, Operation, Tap, Tapped, Verdict};
use crate::{
    buffer::Piece,
    disk::{BlockRead, BlockSource, Log, StreamReader, StreamWriter},
    error::{Error, ErrorKind, Result},
    exact::joined,
    path::RelPath,
};

/// What every open file behind a tap knows.
#[derive(Debug)]
pub(super) struct OpenFile<T> {
    pub(super) tapped: Arc<Tapped<T>>,
    pub(super) path: RelPath,
    pub(super) handle: u64,
}

impl<T: Tap> OpenFile<T> {
    fn call(&self, operation: Operation) -> Call<'_> {
        Call::on(operation, &self.path).with_handle(self.handle)
    }
}

#[derive(Debug)]
pub(super) struct TapLog<T> {
    pub(super) inner: Arc<dyn Log>,
    pub(super) file: OpenFile<T>,
}

impl<T: Tap> Log for TapLog<T> {
    fn path(&self) -> &RelPath {
        self.inner.path()
    }

    fn len(&self) -> Result<u64> {
        let call = self.file.call(Operation::LogLen);
        self.file.tapped.run_counted(&call, |&len| len, |_| self.inner.len())
    }

    fn write_at(&self, offset: u64, parts: &[IoSlice<'_>]) -> Result<usize> {
        let call = self.file.call(Operation::LogWrite).with_data(offset, parts);
        self.file.tapped.run_counted(
            &call,
            |&written| written as u64,
            |served| {
                if served == call.len {
                    return self.inner.write_at(offset, parts);
                }
                let bytes = joined(parts);
                let (first, _) = bytes.split_at(at_most(served, bytes.len()));
                self.inner.write_at(offset, &[IoSlice::new(first)])
            },
        )
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let call = Call { offset, ..self.file.call(Operation::LogRead) };
        self.file.tapped.run_counted(
            &call.with_len(buf.len() as u64),
            |&read| read as u64,
            |served| {
                let served = at_most(served, buf.len());
                self.inner.read_at(offset, &mut buf[..served])
            },
        )
    }

    fn sync(&self) -> Result<()> {
        self.file.tapped.run(&self.file.call(Operation::LogSync), || self.inner.sync())
    }
}

#[derive(Debug)]
pub(super) struct TapStreamWriter<T> {
    inner: Box<dyn StreamWriter>,
    file: OpenFile<T>,
    written: u64,
    dead: bool,
}

impl<T: Tap> TapStreamWriter<T> {
    pub(super) fn new(inner: Box<dyn StreamWriter>, file: OpenFile<T>) -> Self {
        Self { inner, file, written: 0, dead: false }
    }
}

impl<T: Tap> StreamWriter for TapStreamWriter<T> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let parts = [IoSlice::new(bytes)];
        let call = self.file.call(Operation::StreamWrite).with_data(self.written, &parts);
        if self.dead {
            return Err(call.error(ErrorKind::Device, "an earlier write of the stream failed"));
        }
        let len = call.len;
        let result = self.file.tapped.run_counted(&call, |()| len, |_| self.inner.write(bytes));
        self.dead = result.is_err();
        self.written += len;
        result
    }

    fn finish(self: Box<Self>) -> Result<u64> {
        let Self { inner, file, dead, .. } = *self;
        let call = file.call(Operation::StreamFinish);
        if dead {
            return Err(call.error(ErrorKind::Device, "an earlier write of the stream failed"));
        }
        file.tapped.run_counted(&call, |&len| len, |_| inner.finish())
    }
}

#[derive(Debug)]
pub(super) struct TapStreamReader<T> {
    pub(super) inner: Box<dyn StreamReader>,
    pub(super) file: OpenFile<T>,
    pub(super) offset: u64,
}

impl<T: Tap> StreamReader for TapStreamReader<T> {
    fn next_piece(&mut self) -> Result<Option<Piece>> {
        let call = Call { offset: self.offset, ..self.file.call(Operation::StreamRead) };
        let piece = self.file.tapped.run_counted(
            &call,
            |piece: &Option<Piece>| piece_len(piece.as_ref()),
            |_| self.inner.next_piece(),
        )?;
        self.offset += piece_len(piece.as_ref());
        Ok(piece)
    }
}

fn piece_len(piece: Option<&Piece>) -> u64 {
    piece.map_or(0, |piece| piece.len() as u64)
}

#[derive(Debug)]
pub(super) struct TapBlocks<T> {
    pub(super) inner: Arc<dyn BlockSource>,
    pub(super) file: OpenFile<T>,
}

impl<T: Tap> TapBlocks<T> {
    fn read_call(&self, offset: u64, len: usize) -> Call<'_> {
        Call { offset, len: len as u64, ..self.file.call(Operation::BlockRead) }
    }
}

impl<T: Tap> BlockSource for TapBlocks<T> {
    fn path(&self) -> &RelPath {
        self.inner.path()
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.file.tapped.run_counted(
            &self.read_call(offset, buf.len()),
            |&read| read as u64,
            |served| {
                let served = at_most(served, buf.len());
                self.inner.read_at(offset, &mut buf[..served])
            },
        )
    }

    /// One batch stays one batch on the disk behind: each read is cut or failed by its own verdict,
    /// and those that run go on together.
    fn read_batch(&self, reads: &mut [BlockRead<'_>]) {
        let tapped = &self.file.tapped;
        let mut failures: Vec<Option<Error>> = Vec::with_capacity(reads.len());
        let mut running = Vec::with_capacity(reads.len());
        for (place, read) in reads.iter_mut().enumerate() {
            let call = self.read_call(read.offset, read.buf.len());
            let (served, failure) = match tapped.tap.before(&call) {
                Verdict::Run => (call.len, None),
                Verdict::RunShort => (call.len.div_ceil(2), None),
                Verdict::RunThenFail(error) => (call.len, Some(error)),
                Verdict::Fail(error) => {
                    read.result = Err(error);
                    failures.push(None);
                    continue;
                }
            };
            failures.push(failure);
            let served = at_most(served, read.buf.len());
            let buf = &mut read.buf[..served];
            running.push((place, BlockRead { offset: read.offset, buf, result: Ok(0) }));
        }
        let (places, mut batch): (Vec<usize>, Vec<BlockRead<'_>>) = running.into_iter().unzip();
        self.inner.read_batch(&mut batch);
        let results: Vec<Result<usize>> = batch.into_iter().map(|read| read.result).collect();
        for (place, result) in places.into_iter().zip(results) {
            let read = &mut reads[place];
            let call = self.read_call(read.offset, read.buf.len());
            let outcome = result.as_ref().map(|&bytes| bytes as u64);
            tapped.tap.after(&call, outcome, &*tapped.disk);
            read.result = match failures[place].take() {
                Some(error) => Err(error),
                None => result,
            };
        }
    }

    fn mapped(&self) -> Option<&[u8]> {
        self.inner.mapped()
    }
}

fn at_most(served: u64, len: usize) -> usize {
    usize::try_from(served).map_or(len, |served| served.min(len))
}
