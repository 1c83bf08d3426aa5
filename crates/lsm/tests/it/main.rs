//! The engine as a whole: against a model, across crashes, damage and failing disks.

#![forbid(unsafe_code)]

mod crash;
mod damage;
mod faults;
mod model;
mod order;
mod script;
mod threads;
mod trace;
