//! [`Buffer`]: aligned memory for direct I/O, and the [`Pool`] that lends it.
//!
//! The one rule: **a piece of [`Memory`] has at most one [`Buffer`]**, and only a buffer gives out
//! slices. So whoever holds the buffer (a stream that fills it, an operation in flight, a
//! [`Piece`](crate::buffer::Piece) in somebody's hands) is the only one to touch the bytes. The ring
//! thread keeps its registered memory alive too, but it looks at the bytes only through an
//! operation that owns the buffer.
//!
//! Bounds. The pool has at most [`SLOTS_MAX`] registered slots, and keeps at most
//! [`IDLE_PLAIN_MAX`] plain buffers for reuse, only while a stream is open. When no slot is free it
//! allocates: lending **never waits**, so two readers that share a pool cannot wait for each other,
//! however many pieces their owners hold. What bounds the memory is the streams, each of which has
//! a fixed number of pieces under way, and the owners of the pieces handed out.

#![expect(unsafe_code, reason = "memory with an alignment of 4 KiB; see `Memory` and `Buffer`")]

use std::{
    alloc::{self, Layout},
    fmt, mem,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{
    buffer::PieceOwner,
    disk::{DIRECT_ALIGN, STREAM_PIECE_BYTES},
};

/// Most slots registered with the kernel, each of [`STREAM_PIECE_BYTES`].
pub(super) const SLOTS_MAX: usize = 8;

/// Most plain buffers kept for reuse while a stream is open.
const IDLE_PLAIN_MAX: usize = 16;

/// Up to this many bytes get memory of their own size: a small file must not hold a whole piece.
const SMALL_BYTES_MAX: usize = 256 << 10;

/// Zeroed memory at a fixed address, aligned to [`DIRECT_ALIGN`].
#[derive(Debug)]
pub(super) struct Memory {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: `Memory` owns its bytes and gives out only their address. The slices come from `Buffer`,
// of which there is one for each `Memory`, under the ordinary rules of borrowing.
unsafe impl Send for Memory {}
// SAFETY: As above: a shared `Memory` reads and writes nothing.
unsafe impl Sync for Memory {}

impl Memory {
    /// Allocates `len` bytes, rounded up to the alignment; at least one block.
    fn new(len: usize) -> Self {
        let len = len.max(1).next_multiple_of(DIRECT_ALIGN);
        let layout = layout(len);
        // SAFETY: The layout has a size above zero, by the `max` above.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { alloc::handle_alloc_error(layout) };
        Self { start, len }
    }

    /// The address of the first byte.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The bytes, all of them initialised since allocation.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `start` came from the global allocator with this very layout in `new`, the only
        // constructor, and is freed here alone.
        unsafe { alloc::dealloc(self.start.as_ptr(), layout(self.len)) }
    }
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len, DIRECT_ALIGN).expect("a buffer is far smaller than isize::MAX")
}

/// The only owner of one [`Memory`]; dropping it gives the memory back to its pool.
pub(super) struct Buffer {
    memory: Arc<Memory>,
    slot: Option<u16>,
    pool: Option<Arc<Pool>>,
}

impl Buffer {
    /// Memory of its own, belonging to no pool.
    pub(super) fn alone(len: usize) -> Self {
        Self { memory: Arc::new(Memory::new(len)), slot: None, pool: None }
    }

    /// The index under which the memory is registered with the kernel, if it is.
    pub(super) fn slot(&self) -> Option<u16> {
        self.slot
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (start, len) = (self.memory.start.as_ptr(), self.memory.len);
        // SAFETY: `len` bytes from `start` live as long as `memory`, are initialised from the
        // start, and are written only through this buffer: by `deref_mut`, which borrows it
        // mutably, or by an operation of the ring thread, which owns it.
        unsafe { std::slice::from_raw_parts(start, len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let (start, len) = (self.memory.start.as_ptr(), self.memory.len);
        // SAFETY: As in `deref`; and since this is the only buffer of the memory and it is borrowed
        // mutably, no other slice of it exists.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

impl PieceOwner for Buffer {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes, slot {:?})", self.memory.len, self.slot)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.put(Arc::clone(&self.memory), self.slot);
        }
    }
}

/// Lends buffers of [`STREAM_PIECE_BYTES`] to the streams of one disk.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    slots: Vec<(Arc<Memory>, u16)>,
    plain: Vec<Arc<Memory>>,
    streams: usize,
}

impl Pool {
    /// Memory for `count` slots, to be registered with the kernel and then taken in by
    /// [`Pool::adopt`].
    pub(super) fn allocate_slots(count: usize) -> Vec<Arc<Memory>> {
        assert!(count <= SLOTS_MAX, "{count} slots are more than a pool may have");
        (0..count).map(|_| Arc::new(Memory::new(STREAM_PIECE_BYTES))).collect()
    }

    /// Takes in registered slots; their index is their place in the list.
    pub(super) fn adopt(&self, slots: &[Arc<Memory>]) {
        let mut idle = self.idle();
        assert!(idle.slots.is_empty(), "slots are registered once, before any is lent");
        let numbered = (0..).zip(slots).map(|(index, memory)| (Arc::clone(memory), index));
        idle.slots = numbered.collect();
    }

    /// The slots that nobody holds.
    #[cfg(test)]
    pub(super) fn idle_slots(&self) -> usize {
        self.idle().slots.len()
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().expect("no code panics while holding it")
    }

    fn put(&self, memory: Arc<Memory>, slot: Option<u16>) {
        let mut idle = self.idle();
        match slot {
            Some(index) => idle.slots.push((memory, index)),
            None if idle.streams > 0 && idle.plain.len() < IDLE_PLAIN_MAX => {
                idle.plain.push(memory);
            }
            None => {
                drop(idle);
                drop(memory);
            }
        }
    }
}

/// The right of one open stream to borrow from the pool.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Arc<Pool>,
}

impl Lease {
    /// Counts a stream in.
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        pool.idle().streams += 1;
        Self { pool: Arc::clone(pool) }
    }

    /// A buffer of at least `len` bytes: a slot, else a plain buffer. Never waits.
    pub(super) fn take(&self, len: usize) -> Buffer {
        assert!(len <= STREAM_PIECE_BYTES, "a piece has at most {STREAM_PIECE_BYTES} bytes");
        if len <= SMALL_BYTES_MAX {
            return Buffer::alone(len);
        }
        let pool = Some(Arc::clone(&self.pool));
        let mut idle = self.pool.idle();
        if let Some((memory, slot)) = idle.slots.pop() {
            return Buffer { memory, slot: Some(slot), pool };
        }
        let plain = idle.plain.pop();
        drop(idle);
        let memory = plain.unwrap_or_else(|| Arc::new(Memory::new(STREAM_PIECE_BYTES)));
        Buffer { memory, slot: None, pool }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut idle = self.pool.idle();
        idle.streams -= 1;
        if idle.streams == 0 {
            let plain = mem::take(&mut idle.plain);
            drop(idle); // free outside the lock
            drop(plain);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zeroed_and_large_enough() {
        for len in [0, 1, DIRECT_ALIGN, DIRECT_ALIGN + 1, STREAM_PIECE_BYTES] {
            let mut buffer = Buffer::alone(len);
            assert_eq!(buffer.as_ptr().addr() % DIRECT_ALIGN, 0);
            assert!(buffer.len() >= len && buffer.len().is_multiple_of(DIRECT_ALIGN));
            assert!(buffer.iter().all(|&byte| byte == 0));
            buffer.fill(7);
            assert!(buffer.iter().all(|&byte| byte == 7));
        }
    }

    #[test]
    fn slots_are_lent_first_and_come_back() {
        let pool = Arc::new(Pool::default());
        pool.adopt(&Pool::allocate_slots(2));
        let lease = Lease::new(&pool);
        let held: Vec<Buffer> = (0..3).map(|_| lease.take(STREAM_PIECE_BYTES)).collect();
        let slots: Vec<Option<u16>> = held.iter().map(Buffer::slot).collect();
        assert_eq!(slots, [Some(1), Some(0), None]);
        assert_eq!(pool.idle_slots(), 0);
        drop(lease);
        drop(held);
        assert_eq!(pool.idle_slots(), 2);
        assert!(pool.idle().plain.is_empty(), "no stream is open: nothing is kept");
    }

    #[test]
    fn plain_buffers_are_reused_while_a_stream_is_open() {
        let pool = Arc::new(Pool::default());
        let lease = Lease::new(&pool);
        let first = lease.take(STREAM_PIECE_BYTES);
        let address = first.as_ptr();
        drop(first);
        assert_eq!(lease.take(STREAM_PIECE_BYTES).as_ptr(), address);
        let many: Vec<Buffer> = (0..40).map(|_| lease.take(STREAM_PIECE_BYTES)).collect();
        drop(many);
        assert_eq!(pool.idle().plain.len(), IDLE_PLAIN_MAX);
        drop(lease);
        assert!(pool.idle().plain.is_empty());
    }

    #[test]
    fn small_requests_take_small_memory() {
        let pool = Arc::new(Pool::default());
        assert_eq!(Lease::new(&pool).take(5000).len(), 8192);
    }
}
