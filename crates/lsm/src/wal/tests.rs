//! Tests of the write-ahead log, on the simulated disk.

mod damage;
mod faults;
mod model;
mod order;
mod support;
mod torn;
