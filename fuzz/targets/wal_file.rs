//! Any bytes as two write-ahead logs. The body is `siltstone_lsm::internals::wal_file`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| siltstone_lsm::internals::wal_file(data));
