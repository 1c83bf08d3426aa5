//! Tests of the write-ahead log, on the simulated disk.
#![expect(clippy::cast_possible_truncation, reason = "the files of these tests are small")]

mod damage;
mod faults;
mod model;
mod order;
mod support;
mod torn;
