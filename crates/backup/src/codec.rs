//! The door to flate2: one frame to one gzip member and back.
