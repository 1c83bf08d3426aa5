//! Any bytes as a segment. The body is `siltstone_lsm::internals::segment`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| siltstone_lsm::internals::segment(data));
