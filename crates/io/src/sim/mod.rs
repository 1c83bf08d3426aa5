//! skeleton: the simulated disk
