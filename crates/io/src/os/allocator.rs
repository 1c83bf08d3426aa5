//! The system's allocator, set up for a program that moves large blocks.

#![expect(unsafe_code, reason = "sets an option of the C library; see `return_large_blocks`")]

/// Size from which on a block is mapped on its own, and unmapped when it is freed.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES_MIN: i32 = 1 << 20;

/// Makes freed blocks of 1 MiB or more go back to the system at once.
///
/// The C library of GNU systems raises that limit up to 32 MiB by itself when such a block is
/// freed, and from then on keeps the gaps they leave in the heaps of all threads: values, frames
/// and buffers of many sizes then cost several times their bytes. Call it once, when a program
/// starts; it concerns the whole process, so a library never calls it. With other allocators it
/// does nothing.
pub fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` takes two integers, touches no memory of ours, and may be called at any
    // time from any thread. It answers 0 when it does not know the option; then nothing changed.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
    }
}
