//! [`Content`]: the bytes of a simulated file, kept by page.
//!
//! Invariants:
//!
//! 1. A page that is not stored is all zero, so a log of 64 MiB written ahead with zeros costs
//!    nothing.
//! 2. Bytes at and past `len` are zero in every stored page, so extending a file never shows what
//!    a shorter length had cut off.
//!
//! Pages are shared between copies until one of them writes; copying a file is copying pointers.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// Bytes of one page.
pub(super) const PAGE_BYTES: usize = 4096;

/// Bytes of one sector: what a device writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

type Page = [u8; PAGE_BYTES];

/// Bytes with a length; whatever was never written reads as zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    len: u64,
    pages: BTreeMap<u64, Arc<Page>>,
}

impl Content {
    /// The length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Cuts or extends (with zeros).
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let first_gone = len.div_ceil(PAGE_BYTES as u64);
            drop(self.pages.split_off(&first_gone));
            let kept = index(len % PAGE_BYTES as u64);
            if kept > 0
                && let Some(page) = self.pages.get_mut(&(len / PAGE_BYTES as u64))
            {
                Arc::make_mut(page)[kept..].fill(0);
            }
        }
        self.len = len;
    }

    /// Writes at a position, extending the length where needed.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let inside = index(at % PAGE_BYTES as u64);
            let (part, after) = rest.split_at(rest.len().min(PAGE_BYTES - inside));
            self.write_in_page(at / PAGE_BYTES as u64, inside, part);
            at += part.len() as u64;
            rest = after;
        }
        self.len = self.len.max(at);
    }

    fn write_in_page(&mut self, page: u64, inside: usize, part: &[u8]) {
        if is_zero(part) {
            if part.len() == PAGE_BYTES {
                self.pages.remove(&page);
            } else if let Some(stored) = self.pages.get_mut(&page) {
                Arc::make_mut(stored)[inside..inside + part.len()].fill(0);
            }
            return;
        }
        let stored = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE_BYTES]));
        Arc::make_mut(stored)[inside..inside + part.len()].copy_from_slice(part);
    }

    /// Reads at a position; returns the bytes read, 0 at the end.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let there = self.len.saturating_sub(offset).min(buf.len() as u64);
        let buf = &mut buf[..index(there)];
        self.read_padded(offset, buf);
        buf.len()
    }

    /// Fills the whole buffer; past the end come zeros.
    pub(super) fn read_padded(&self, offset: u64, buf: &mut [u8]) {
        let mut at = offset;
        let mut rest = buf;
        while !rest.is_empty() {
            let inside = index(at % PAGE_BYTES as u64);
            let step = rest.len().min(PAGE_BYTES - inside);
            let (part, after) = rest.split_at_mut(step);
            match self.pages.get(&(at / PAGE_BYTES as u64)) {
                Some(page) => part.copy_from_slice(&page[inside..inside + step]),
                None => part.fill(0),
            }
            at += step as u64;
            rest = after;
        }
    }

    /// All bytes.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; index(self.len)];
        self.read_padded(0, &mut bytes);
        bytes
    }

    /// Takes over the pages of `other` that a byte range touches; the length stays.
    pub(super) fn share_pages(&mut self, other: &Self, bytes: Range<u64>) {
        let pages = pages_of(bytes);
        let gone: Vec<u64> = self.pages.range(pages.clone()).map(|(&page, _)| page).collect();
        for page in gone {
            self.pages.remove(&page);
        }
        for (&page, stored) in other.pages.range(pages) {
            self.pages.insert(page, Arc::clone(stored));
        }
    }

    /// The numbers of the sectors in a byte range that hold stored pages.
    pub(super) fn stored_sectors(&self, bytes: Range<u64>) -> Vec<u64> {
        let per_page = (PAGE_BYTES / SECTOR_BYTES) as u64;
        let wanted = bytes.start / SECTOR_BYTES as u64..bytes.end.div_ceil(SECTOR_BYTES as u64);
        let stored = self.pages.range(pages_of(bytes));
        stored
            .flat_map(|(page, _)| page * per_page..(page + 1) * per_page)
            .filter(|sector| wanted.contains(sector))
            .collect()
    }
}

fn pages_of(bytes: Range<u64>) -> Range<u64> {
    bytes.start / PAGE_BYTES as u64..bytes.end.div_ceil(PAGE_BYTES as u64)
}

/// Whether every byte is zero.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: Page = [0; PAGE_BYTES];
    bytes.chunks(PAGE_BYTES).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// A length or position within memory.
pub(super) fn index(value: u64) -> usize {
    usize::try_from(value).expect("simulated files fit in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_over_nothing_are_not_stored() {
        let mut content = Content::default();
        content.write(0, &vec![0; 1 << 20]);
        assert_eq!((content.len(), content.pages.len()), (1 << 20, 0));
        content.write(5000, b"x");
        content.write(4096, &[0; 4096]);
        assert_eq!(content.pages.len(), 0, "a page of zeros is forgotten");
    }

    #[test]
    fn extending_after_a_cut_reads_zeros() {
        let mut content = Content::default();
        content.write(0, &[7; 6000]);
        content.set_len(100);
        content.set_len(6000);
        let bytes = content.to_vec();
        assert!(bytes[..100].iter().all(|&byte| byte == 7) && is_zero(&bytes[100..]));
    }

    #[test]
    fn copies_do_not_see_later_writes() {
        let mut content = Content::default();
        content.write(0, b"before");
        let copy = content.clone();
        content.write(0, b"after!");
        assert_eq!(copy.to_vec(), b"before");
        assert_eq!(content.to_vec(), b"after!");
    }
}
