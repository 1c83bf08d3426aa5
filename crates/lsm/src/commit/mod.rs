//! The commit queue: who leads, and in which order the results become visible.
//!
//! Every change of the store (a batch, a catalog edit, a cut, a restore) is one request in one
//! queue. A caller that finds nobody leading leads: it takes a group off the front, does the part
//! that must be serial, hands the lead to the next waiter, and finishes its group outside. Groups
//! become visible in the order in which they were taken, whoever finishes first.
//!
//! Nothing here touches the disk: [`queue`] and [`order`] are the two synchronisation primitives,
//! and `store::commit` is what a leader does with them.

pub mod order;
pub mod queue;
