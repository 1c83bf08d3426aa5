//! The engine as a whole: against a model, across crashes, damage and failing disks.

#![forbid(unsafe_code)]

#[cfg(test)]
mod crash;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod held;
#[cfg(test)]
mod model;
#[cfg(test)]
mod order;
#[cfg(test)]
mod pins;
#[cfg(test)]
mod script;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod tickets;
#[cfg(test)]
mod trace;
