//! The one blocking seam between Siltstone and the disk.
//!
//! Everything durable passes through [`disk::Disk`]: the engine, the backup and the tests see the same
//! trait whether the bytes go to a real folder ([`os`]), to a simulated disk that can lose power
//! ([`sim`]), or through a wrapper that injects errors ([`fault`]), records the order of operations
//! ([`trace`]) or asserts the ordering rules of durability ([`check`]).
//!
//! The seam is blocking and object-safe. Every data call moves 4 KiB or more, so dynamic dispatch
//! costs nothing that can be measured; async lives only inside [`os`]'s own ring thread.

pub mod buffer;
pub mod check;
pub mod disk;
pub mod env;
pub mod error;
pub mod exact;
pub mod fault;
pub mod os;
pub mod path;
pub mod sim;
pub mod tap;
pub mod trace;
