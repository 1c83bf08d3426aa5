//! What comparisons with other engines and programs share. A ruler (`src/backup`) is a program of
//! its own; it measures contenders round by round ([`rounds`]), judges its findings by goals
//! ([`report`]), and fails only when something is wrong, never when a goal is missed.
//!
//! All contenders hold the same rows ([`rows`]). Costs are read from the kernel ([`machine`]).

pub mod copies;
pub mod machine;
pub mod pace;
pub mod plot;
pub mod programs;
pub mod report;
#[cfg(feature = "rocksdb")]
pub mod rocks;
pub mod rounds;
pub mod rows;
pub mod stone;
