//! [`File`]: what a simulated file shows, what of it would survive, and the changes in between.
//!
//! `shown` is the page cache: every read sees it. `durable` is the device. `pending` is the ordered
//! list of changes that no sync has carried over yet; a crash decides about each of them.
//!
//! A pending write is recorded in whole sectors, as they look after it: a device never holds a
//! sector that mixes a write with the lack of an earlier one to the same sector.

use std::{ops::Range, sync::Arc};

use super::{
    content::{Content, SECTOR_BYTES, index, is_zero},
    seed::mix,
};

/// A file without its name.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What reads see.
    pub(super) shown: Arc<Content>,
    /// What is on the device.
    pub(super) durable: Arc<Content>,
    /// Changes that are shown and not yet durable, oldest first.
    pub(super) pending: Vec<Pending>,
    /// Whether a name leads to it now.
    pub(super) linked: bool,
    /// How many handles are open.
    pub(super) handles: u32,
    /// The bytes it takes from the disk's capacity.
    pub(super) charged: u64,
}

/// A change that no sync has carried over.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Its place in the order of all changes of the disk.
    pub(super) seq: u64,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    /// Whole sectors; `bytes` is `None` where all are zero.
    Write {
        sectors: Range<u64>,
        bytes: Option<Arc<[u8]>>,
        len_after: u64,
    },
    SetLen {
        before: u64,
        after: u64,
    },
}

/// What a crash leaves of one pending change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Nothing.
    Lost,
    /// All of it.
    Whole,
    /// A part before or after a sector chosen by the seed, never the whole.
    Torn(u64),
    /// Every sector, and the length, by the seed's coin.
    Coins(u64),
}

impl Pending {
    /// Whether it writes bytes (and does not just set the length).
    pub(super) fn is_write(&self) -> bool {
        matches!(self.change, Change::Write { .. })
    }

    /// Carries what `keep` leaves of it over to `content`.
    pub(super) fn apply(&self, keep: Keep, content: &mut Content) {
        match &self.change {
            Change::SetLen { after, .. } => {
                let kept = match keep {
                    Keep::Lost => false,
                    Keep::Whole => true,
                    Keep::Torn(seed) | Keep::Coins(seed) => mix(seed, u64::MAX) & 1 == 1,
                };
                if kept {
                    content.set_len(*after);
                }
            }
            Change::Write { sectors, bytes, len_after } => {
                let write = SectorWrite { sectors, bytes: bytes.as_deref(), len_after: *len_after };
                write.apply(keep, content);
            }
        }
    }
}

struct SectorWrite<'a> {
    sectors: &'a Range<u64>,
    bytes: Option<&'a [u8]>,
    len_after: u64,
}

impl SectorWrite<'_> {
    fn apply(&self, keep: Keep, content: &mut Content) {
        let Range { start, end } = *self.sectors;
        match keep {
            Keep::Lost => {}
            Keep::Whole => self.put_run(start..end, content),
            Keep::Torn(seed) => {
                let kept = mix(seed, 1) % (end - start);
                let run = if mix(seed, 2) & 1 == 0 { start..start + kept } else { end - kept..end };
                self.put_run(run, content);
            }
            Keep::Coins(seed) => self.put_by_coins(seed, content),
        }
    }

    fn put_run(&self, run: Range<u64>, content: &mut Content) {
        if run.is_empty() {
            return;
        }
        if let Some(bytes) = self.bytes {
            let first = index((run.start - self.sectors.start) * SECTOR_BYTES as u64);
            let last = index((run.end - self.sectors.start) * SECTOR_BYTES as u64);
            self.put(run.start, &bytes[first..last], content);
        } else {
            for sector in content.stored_sectors(byte_range(&run)) {
                self.put(sector, &[0; SECTOR_BYTES], content);
            }
        }
        self.reach(run.end, content);
    }

    /// A zero sector over bytes that were never stored changes nothing, so only the others are
    /// visited: tearing a log written ahead with zeros costs no more than tearing a short one.
    fn put_by_coins(&self, seed: u64, content: &mut Content) {
        let kept = |sector: &u64| mix(seed, *sector) & 1 == 1;
        if self.bytes.is_some() {
            for sector in self.sectors.clone().filter(kept) {
                self.put_run(sector..sector + 1, content);
            }
        } else {
            let stored = content.stored_sectors(byte_range(self.sectors));
            for sector in stored.into_iter().filter(kept) {
                self.put(sector, &[0; SECTOR_BYTES], content);
            }
            if let Some(last) = self.sectors.clone().rev().find(kept) {
                self.reach(last + 1, content);
            }
        }
        if mix(seed, u64::MAX) & 1 == 1 {
            content.set_len(content.len().max(self.len_after));
        }
    }

    /// Writes sectors without moving the end past what the file had.
    fn put(&self, first: u64, bytes: &[u8], content: &mut Content) {
        let len = content.len();
        let offset = first * SECTOR_BYTES as u64;
        content.write(offset, bytes);
        let end = (offset + bytes.len() as u64).min(self.len_after);
        content.set_len(len.max(end));
    }

    /// The length that a kept sector before `end` implies.
    fn reach(&self, end: u64, content: &mut Content) {
        let reached = (end * SECTOR_BYTES as u64).min(self.len_after);
        content.set_len(content.len().max(reached));
    }
}

fn byte_range(sectors: &Range<u64>) -> Range<u64> {
    sectors.start * SECTOR_BYTES as u64..sectors.end * SECTOR_BYTES as u64
}

impl File {
    /// Writes bytes that are shown at once and pending.
    pub(super) fn write(&mut self, seq: u64, offset: u64, bytes: &[u8]) {
        assert!(!bytes.is_empty(), "an empty write changes nothing");
        let shown = Arc::make_mut(&mut self.shown);
        shown.write(offset, bytes);
        let sector = SECTOR_BYTES as u64;
        let sectors = offset / sector..(offset + bytes.len() as u64).div_ceil(sector);
        let mut whole = vec![0; index((sectors.end - sectors.start) * sector)];
        shown.read_padded(sectors.start * sector, &mut whole);
        let bytes = if is_zero(&whole) { None } else { Some(Arc::from(whole)) };
        let len_after = shown.len();
        self.pending.push(Pending { seq, change: Change::Write { sectors, bytes, len_after } });
    }

    /// Sets the length: shown at once, and pending.
    pub(super) fn set_len(&mut self, seq: u64, after: u64) {
        let before = self.shown.len();
        Arc::make_mut(&mut self.shown).set_len(after);
        self.pending.push(Pending { seq, change: Change::SetLen { before, after } });
    }

    /// Carries everything shown over to the device.
    pub(super) fn sync(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        for pending in self.pending.drain(..) {
            let touched = match pending.change {
                Change::Write { sectors, .. } => byte_range(&sectors),
                Change::SetLen { before, after } => before.min(after)..before.max(after),
            };
            durable.share_pages(&self.shown, touched);
        }
        durable.set_len(self.shown.len());
    }

    /// A sync that failed as ext4's does: reads go on seeing the bytes, which will never be
    /// written, and the next sync succeeds.
    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
    }

    /// A sync that failed as btrfs's does: reads see the old bytes again.
    pub(super) fn revert(&mut self) {
        self.pending.clear();
        self.shown = Arc::clone(&self.durable);
    }

    /// A file whose bytes are on the device, with nothing pending.
    pub(super) fn holding(content: Arc<Content>) -> Self {
        Self { shown: Arc::clone(&content), durable: content, ..Self::default() }
    }

    /// Changes cache and device alike, as rot does; what is pending stays pending.
    pub(super) fn rot(&mut self, change: impl Fn(&mut Content)) {
        change(Arc::make_mut(&mut self.shown));
        change(Arc::make_mut(&mut self.durable));
    }
}
