//! Any bytes as a compressed frame of a chunk. The body is `siltstone_backup::internals::frame`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| siltstone_backup::internals::frame(data));
