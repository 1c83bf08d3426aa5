//! [`Arena`]: where the keys and values of a memtable lie, in chunks of [`CHUNK_BYTES`].
//!
//! One allocation for many entries, made by whoever writes and freed when the memtable goes. Were
//! each entry allocated alone, the thread that drops a flushed memtable would give 64 MiB back in
//! small pieces to the heap that the writer allocates from, and the writer would wait meanwhile.

use std::sync::{Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

/// Bytes of a chunk: what the C library of GNU systems maps on its own, past its heaps, also when
/// that limit was raised to it ([`siltstone_io::os::return_large_blocks`]).
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Entries of at least this many bytes are allocated alone, so that at most this much of a chunk
/// stays unused at its end.
const ALONE_BYTES_MIN: usize = CHUNK_BYTES / 16;

/// Memory that only grows; all of it is freed with the last entry that lies in it.
#[derive(Debug, Default)]
pub(super) struct Arena {
    /// The free rest of the newest chunk.
    rest: Mutex<BytesMut>,
}

impl Arena {
    /// A copy of `key` and `value`, one behind the other.
    pub(super) fn copy(&self, key: &[u8], value: &[u8]) -> Bytes {
        let length = key.len() + value.len();
        if length >= ALONE_BYTES_MIN {
            let mut alone = Vec::with_capacity(length);
            alone.extend_from_slice(key);
            alone.extend_from_slice(value);
            return Bytes::from(alone);
        }
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.capacity() < length {
            *rest = BytesMut::with_capacity(CHUNK_BYTES);
        }
        rest.extend_from_slice(key);
        rest.extend_from_slice(value);
        rest.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_lie_side_by_side_and_large_ones_alone() {
        let arena = Arena::default();
        let first = arena.copy(b"key", b"value");
        let large = arena.copy(b"key", &vec![7; ALONE_BYTES_MIN]);
        let second = arena.copy(b"", b"");
        let third = arena.copy(b"k", b"v");
        assert_eq!((&first[..], &second[..], &third[..]), (&b"keyvalue"[..], &b""[..], &b"kv"[..]));
        assert_eq!((&large[..3], large.len()), (&b"key"[..], 3 + ALONE_BYTES_MIN));
        assert_eq!(first.as_ptr().wrapping_add(first.len()), third.as_ptr());
    }

    #[test]
    fn no_chunk_is_left_half_empty() {
        let arena = Arena::default();
        let entry = vec![1; ALONE_BYTES_MIN - 1];
        let mut last_end = std::ptr::null();
        let mut chunks = 0;
        for _ in 0..64 {
            let copy = arena.copy(&entry[..10], &entry[10..]);
            chunks += usize::from(copy.as_ptr() != last_end);
            last_end = copy.as_ptr().wrapping_add(copy.len());
        }
        assert!(chunks <= 5, "64 entries of a sixteenth of a chunk took {chunks} chunks");
    }
}
