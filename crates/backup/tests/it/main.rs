//! Backups and restores of whole stores, end to end.

#[cfg(test)]
mod aged;
#[cfg(test)]
mod cancel;
#[cfg(test)]
mod copy;
#[cfg(test)]
mod copy_resume;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod offload;
#[cfg(test)]
mod prune;
#[cfg(test)]
mod restore_resume;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tenants;
#[cfg(test)]
mod timed;
#[cfg(test)]
mod verify;
