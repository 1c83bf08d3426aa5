//! [`State`]: the whole simulated machine behind one lock: names, files, space, and the moment it
//! stops.
//!
//! Every operation that changes something is one *step*; steps are counted, and a stop is a number
//! of steps. Reads are not steps: between two steps all reads see the same disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    SimOptions, SyncFailure,
    content::{Content, PAGE_BYTES, SECTOR_BYTES, index},
    crash::Crash,
    file::File,
    names::{Inode, Missing, NameChange, Names, Place, ROOT},
    seed::mix,
};
use crate::{
    error::{Error, ErrorKind, Result},
    path::RelPath,
};

/// Numbers of Linux errors, so that kinds and messages are those of the real disk.
pub(super) mod errno {
    pub(in super::super) const NOT_FOUND: i32 = 2;
    pub(in super::super) const IO: i32 = 5;
    pub(in super::super) const EXISTS: i32 = 17;
    pub(in super::super) const NOT_A_FOLDER: i32 = 20;
    pub(in super::super) const IS_A_FOLDER: i32 = 21;
    pub(in super::super) const INVALID: i32 = 22;
    pub(in super::super) const FULL: i32 = 28;
    pub(in super::super) const NOT_EMPTY: i32 = 39;
}

/// Longest file: offsets fit in the kernel's signed 64 bits.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// What happened, for which path: the context of an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) operation: &'static str,
    pub(super) path: &'a RelPath,
}

impl Context<'_> {
    pub(super) fn error(self, errno: i32) -> Error {
        let source = std::io::Error::from_raw_os_error(errno);
        Error::from_os(self.operation, self.path, source)
    }

    fn stopped(self) -> Error {
        Error::new(ErrorKind::Device, self.operation, self.path)
            .because("the simulated machine has stopped")
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) options: SimOptions,
    pub(super) names: Names,
    files: BTreeMap<Inode, File>,
    pub(super) locks: BTreeMap<Inode, String>,
    steps: u64,
    stop_after: Option<u64>,
    stopped: bool,
    next_inode: Inode,
    next_seq: u64,
    draws: u64,
    used_bytes: u64,
    syncs: u64,
    sync_failures: BTreeMap<u64, SyncFailure>,
}

impl State {
    pub(super) fn new(options: SimOptions) -> Self {
        Self {
            options,
            names: Names::new(),
            files: BTreeMap::new(),
            locks: BTreeMap::new(),
            steps: 0,
            stop_after: None,
            stopped: false,
            next_inode: ROOT + 1,
            next_seq: 0,
            draws: 0,
            used_bytes: 0,
            syncs: 0,
            sync_failures: BTreeMap::new(),
        }
    }

    // ---- the life of the machine ----

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    pub(super) fn stop_after(&mut self, steps: u64) {
        self.stop_after = Some(steps);
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn fail_sync(&mut self, nth: u64, failure: SyncFailure) {
        assert!(nth > 0, "the next sync is the first");
        self.sync_failures.insert(self.syncs + nth, failure);
    }

    /// Lets a read through while the machine runs.
    pub(super) fn alive(&self, context: Context<'_>) -> Result<()> {
        if self.stopped { Err(context.stopped()) } else { Ok(()) }
    }

    /// Counts a step, unless the machine has stopped before it.
    pub(super) fn step(&mut self, context: Context<'_>) -> Result<()> {
        if self.stop_after.is_some_and(|last| self.steps >= last) {
            self.stopped = true;
        }
        self.alive(context)?;
        self.steps += 1;
        Ok(())
    }

    /// The same machine, restarted without a loss: no open handles, locks, stops or failures.
    pub(super) fn restarted(&self) -> Self {
        self.restarted_with(self.names.clone(), self.files.clone())
    }

    /// The machine after a crash and a restart.
    pub(super) fn after(&self, crash: Crash) -> Self {
        if crash == Crash::All {
            return self.restarted();
        }
        let names = self.names.after_crash(|change| crash.keeps_name(change));
        self.restarted_with(names, crash.files_left(&self.files))
    }

    fn restarted_with(&self, names: Names, files: BTreeMap<Inode, File>) -> Self {
        let seed = mix(self.options.seed, self.next_seq);
        let mut next = Self {
            names,
            files,
            next_inode: self.next_inode,
            next_seq: self.next_seq,
            ..Self::new(SimOptions { seed, ..self.options.clone() })
        };
        next.settle_handles();
        next.sweep();
        next
    }

    fn settle_handles(&mut self) {
        let linked: BTreeSet<Inode> =
            self.names.file_paths().into_iter().map(|(_, inode)| inode).collect();
        self.used_bytes = 0;
        for (inode, file) in &mut self.files {
            file.handles = 0;
            file.linked = linked.contains(inode);
            file.charged = charge(file);
            self.used_bytes += file.charged;
        }
    }

    fn sweep(&mut self) {
        let referenced = self.names.referenced();
        self.names.sweep(&referenced);
        self.files.retain(|inode, file| file.handles > 0 || referenced.contains(inode));
    }

    /// The next number of the seed's sequence.
    pub(super) fn draw(&mut self, below: usize) -> usize {
        assert!(below > 0, "an empty range has no member");
        self.draws += 1;
        index(mix(self.options.seed, self.draws) % below as u64)
    }

    /// How many bytes of a call are served: all, or a share of them when short I/O is on.
    pub(super) fn share(&mut self, bytes: usize) -> usize {
        if self.options.short_io && bytes > 1 && self.draw(4) == 0 {
            1 + self.draw(bytes - 1)
        } else {
            bytes
        }
    }

    /// As [`State::share`], but cut where a sector ends: a page cache takes whole pages, so a power
    /// failure never meets a sector with half of a write in it.
    pub(super) fn share_of_write(&mut self, offset: u64, bytes: usize) -> usize {
        let share = self.share(bytes);
        let into_sector = index(offset % SECTOR_BYTES as u64);
        (into_sector + share).next_multiple_of(SECTOR_BYTES).saturating_sub(into_sector).min(bytes)
    }

    // ---- names ----

    pub(super) fn find(&self, context: Context<'_>) -> Result<Inode> {
        self.names.find(context.path.as_str()).map_err(|missing| context.error(number_of(missing)))
    }

    pub(super) fn find_file(&self, context: Context<'_>) -> Result<Inode> {
        let inode = self.find(context)?;
        if self.names.is_folder(inode) { Err(context.error(errno::IS_A_FOLDER)) } else { Ok(inode) }
    }

    /// Where a path would be: its folder, which must exist, and its name.
    pub(super) fn place(&self, context: Context<'_>) -> Result<Place> {
        let parent = context.path.parent();
        let folder = self.names.find(parent.as_str()).map_err(|m| context.error(number_of(m)))?;
        if context.path.name().is_empty() {
            return Err(context.error(errno::EXISTS)); // the root
        }
        if !self.names.is_folder(folder) {
            return Err(context.error(errno::NOT_A_FOLDER));
        }
        Ok((folder, context.path.name().to_owned()))
    }

    /// A place where nothing is yet.
    pub(super) fn free_place(&self, context: Context<'_>) -> Result<Place> {
        let place = self.place(context)?;
        if self.names.at(&place).is_some() {
            return Err(context.error(errno::EXISTS));
        }
        Ok(place)
    }

    pub(super) fn create_file(&mut self, place: Place) -> Inode {
        let inode = self.new_inode();
        self.files.insert(inode, File::default());
        self.change_names(inode, None, Some(place));
        inode
    }

    pub(super) fn create_folder(&mut self, place: Place) {
        let inode = self.new_inode();
        self.names.add_folder(inode);
        self.change_names(inode, None, Some(place));
    }

    /// Moves names, and settles the space of the files that gained or lost one.
    pub(super) fn change_names(&mut self, inode: Inode, from: Option<Place>, to: Option<Place>) {
        let seq = self.new_seq();
        let linked = to.is_some();
        let replaced = self.names.change(NameChange { seq, inode, from, to });
        for (inode, linked) in
            replaced.map(|inode| (inode, false)).into_iter().chain([(inode, linked)])
        {
            if let Some(file) = self.files.get_mut(&inode) {
                file.linked = linked;
                self.recharge(inode);
            }
        }
    }

    pub(super) fn sync_folder(&mut self, folder: Inode) {
        self.names.sync(folder);
        self.sweep();
    }

    fn new_inode(&mut self) -> Inode {
        let inode = self.next_inode;
        self.next_inode += 1;
        inode
    }

    fn new_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    // ---- files ----

    pub(super) fn file(&self, inode: Inode) -> &File {
        self.files.get(&inode).expect("an open or named file exists")
    }

    pub(super) fn file_mut(&mut self, inode: Inode) -> &mut File {
        self.files.get_mut(&inode).expect("an open or named file exists")
    }

    pub(super) fn open(&mut self, inode: Inode) {
        self.file_mut(inode).handles += 1;
    }

    pub(super) fn close(&mut self, inode: Inode) {
        let file = self.file_mut(inode);
        assert!(file.handles > 0, "a handle closes once");
        file.handles -= 1;
        self.recharge(inode);
    }

    /// Writes as much as there is room for; at least one byte, or it fails.
    pub(super) fn write(
        &mut self,
        context: Context<'_>,
        inode: Inode,
        offset: u64,
        bytes: &[u8],
    ) -> Result<usize> {
        let room = self.len_max(inode).saturating_sub(offset).min(bytes.len() as u64);
        if room == 0 {
            return Err(context.error(errno::FULL).at(offset));
        }
        let seq = self.new_seq();
        let room = index(room);
        self.file_mut(inode).write(seq, offset, &bytes[..room]);
        self.recharge(inode);
        Ok(room)
    }

    pub(super) fn set_len(&mut self, context: Context<'_>, inode: Inode, len: u64) -> Result<()> {
        if len > self.len_max(inode) {
            return Err(context.error(errno::FULL));
        }
        let seq = self.new_seq();
        self.file_mut(inode).set_len(seq, len);
        self.recharge(inode);
        Ok(())
    }

    /// Makes the bytes of a file durable, or fails as asked for.
    pub(super) fn sync(&mut self, context: Context<'_>, inode: Inode) -> Result<()> {
        self.syncs += 1;
        let syncs = self.syncs;
        match self.sync_failures.remove(&syncs) {
            None => {
                self.file_mut(inode).sync();
                return Ok(());
            }
            Some(SyncFailure::KeepCache) => self.file_mut(inode).forget_pending(),
            Some(SyncFailure::RevertCache) => self.file_mut(inode).revert(),
            Some(SyncFailure::Shutdown) => self.stop(),
        }
        self.recharge(inode);
        Err(context.error(errno::IO))
    }

    /// How long a file may become with the space that is left.
    fn len_max(&self, inode: Inode) -> u64 {
        self.file(inode).charged.saturating_add(self.room()).min(FILE_BYTES_MAX)
    }

    /// The longest file that could be created.
    pub(super) fn room(&self) -> u64 {
        let free = self.free_bytes();
        (free - free % PAGE_BYTES as u64).min(FILE_BYTES_MAX)
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.options.capacity_bytes.saturating_sub(self.used_bytes)
    }

    fn recharge(&mut self, inode: Inode) {
        let file = self.file_mut(inode);
        let before = file.charged;
        file.charged = charge(file);
        let now = file.charged;
        self.used_bytes = self.used_bytes - before + now;
    }

    // ---- what tests do to a disk from outside ----

    /// Puts a file on the device, name and all.
    pub(super) fn plant(&mut self, context: Context<'_>, content: Content) -> Result<()> {
        let place = self.place(context)?;
        let file = File { linked: true, ..File::holding(Arc::new(content)) };
        let inode = match self.names.at(&place) {
            Some(inode) if self.names.is_folder(inode) => {
                return Err(context.error(errno::IS_A_FOLDER));
            }
            Some(inode) => inode,
            None => self.new_inode(),
        };
        self.names.plant(&place, inode);
        let old = self.files.entry(inode).or_default();
        *old = File { handles: old.handles, charged: old.charged, ..file };
        self.recharge(inode);
        Ok(())
    }

    /// Takes a file off the device, name and all.
    pub(super) fn uproot(&mut self, context: Context<'_>) -> Result<()> {
        let inode = self.find_file(context)?;
        let place = self.place(context)?;
        self.names.uproot(&place);
        self.file_mut(inode).linked = false;
        self.recharge(inode);
        Ok(())
    }

    /// Makes everything shown durable.
    pub(super) fn settle(&mut self) {
        for file in self.files.values_mut() {
            file.sync();
        }
        for folder in self.names.referenced() {
            self.names.sync(folder);
        }
        self.sweep();
    }
}

/// The space a file takes: whole pages, as long as a name or a handle holds it.
fn charge(file: &File) -> u64 {
    if file.linked || file.handles > 0 {
        file.shown.len().div_ceil(PAGE_BYTES as u64) * PAGE_BYTES as u64
    } else {
        0
    }
}

fn number_of(missing: Missing) -> i32 {
    match missing {
        Missing::Name => errno::NOT_FOUND,
        Missing::Folder => errno::NOT_A_FOLDER,
    }
}
