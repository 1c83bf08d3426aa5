//! Any bytes as a manifest. The body is `siltstone_lsm::internals::manifest`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| siltstone_lsm::internals::manifest(data));
