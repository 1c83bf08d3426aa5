//! Chance that can be replayed: every decision is a hash of the seed and of what it is about.

/// A well-mixed number from a seed and a subject (the finish of `SplitMix64` over both).
pub(super) fn mix(seed: u64, subject: u64) -> u64 {
    let mut mixed = seed ^ subject.wrapping_add(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    for _ in 0..2 {
        mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
    }
    mixed
}
