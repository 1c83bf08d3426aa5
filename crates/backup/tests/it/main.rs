//! Backups and restores of whole stores, end to end.

mod cancel;
mod damage;
mod kill;
mod round_trip;
mod slow;
mod support;
