//! The one place that handles short reads and writes.

use std::{borrow::Cow, io::IoSlice};

use crate::{
    disk::{BlockSource, Log},
    error::{Error, ErrorKind, Result},
};

/// Writes all bytes of all parts from `offset`.
///
/// # Errors
/// As [`Log::write_at`], with the offset of the first byte that was not taken: an error at `offset`
/// itself has written nothing. `Device` if the disk stops taking bytes.
pub fn write_all_at(log: &dyn Log, offset: u64, parts: &[&[u8]]) -> Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = slices.as_mut_slice();
    IoSlice::advance_slices(&mut left, 0); // drops leading empty parts
    let mut at = offset;
    while !left.is_empty() {
        let written = log.write_at(at, left).map_err(|error| error.at(at))?;
        if written == 0 {
            return Err(Error::new(ErrorKind::Device, "write", log.path()).at(at));
        }
        at += written as u64;
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

/// Reads until `buf` is full or the log ends; returns the bytes read.
///
/// # Errors
/// As [`Log::read_at`].
pub fn read_up_to(log: &dyn Log, offset: u64, buf: &mut [u8]) -> Result<usize> {
    fill(buf, |done, rest| log.read_at(offset + done as u64, rest))
}

/// Fills `buf` from `offset`.
///
/// # Errors
/// As [`BlockSource::read_at`]; `UnexpectedEnd` if the file ends first.
pub fn read_exact_at(source: &dyn BlockSource, offset: u64, buf: &mut [u8]) -> Result<()> {
    let wanted = buf.len();
    let read = fill(buf, |done, rest| source.read_at(offset + done as u64, rest))?;
    if read == wanted {
        return Ok(());
    }
    Err(Error::new(ErrorKind::UnexpectedEnd, "read", source.path())
        .at(offset)
        .because(format!("{wanted} bytes were asked for, the file holds {read} of them")))
}

/// The parts as one run of bytes; copied only where there are several.
pub(crate) fn joined<'a>(parts: &'a [IoSlice<'_>]) -> Cow<'a, [u8]> {
    if let [part] = parts {
        return Cow::Borrowed(part);
    }
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    Cow::Owned(bytes)
}

fn fill(buf: &mut [u8], mut read: impl FnMut(usize, &mut [u8]) -> Result<usize>) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        let got = read(done, &mut buf[done..])?;
        if got == 0 {
            break;
        }
        done += got;
    }
    Ok(done)
}
