//! Criterion benches live beside this file; the library itself is empty.
