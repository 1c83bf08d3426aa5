//! skeleton: the commit queue (owner of store/)
