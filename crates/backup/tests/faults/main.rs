//! Thirty ways in which a backup or a restore can meet trouble, and what must come of each.
//!
//! One test a scenario, named `fault_NN_...`; `cargo xtask faults` runs exactly these and prints how
//! each ended, and `docs/testing.md` lists them. Remote stores are a stub that speaks S3 over HTTP
//! and goes wrong as scripted; local disks are simulated or wrapped, but for the last word on
//! durability, which a real file system has.

#[cfg(test)]
mod cancels;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod disks;
#[cfg(test)]
mod load;
#[cfg(test)]
mod power;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod site;
#[cfg(test)]
#[path = "../it/slow.rs"]
#[expect(dead_code, reason = "shared with the tests of round trips, which use all of it")]
mod slow;
#[cfg(test)]
#[path = "../it/support.rs"]
mod support;
