//! The rows that all benchmarks share: what row `index` is follows from the number alone, so a run
//! repeats, and whoever reads a row can tell whether it is right.
//!
//! Keys are 16 bytes of text, spread evenly, so that neighbours in order were not written one after
//! the other. Values begin with what they are (index, version) and go on with words of which every
//! second is random: they shrink to about half, as much real data does.

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;

/// Least bytes of a value: its index and its version.
pub const VALUE_BYTES_MIN: usize = 16;

/// Mixes a number; no two give the same.
pub fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Numbers that look random and follow from a seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The next number below `bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "an empty range has no member");
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % bound
    }
}

/// The key of a row.
pub fn key(index: u64) -> [u8; KEY_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut rest = mix(index);
    let mut key = [0; KEY_BYTES];
    for byte in key.iter_mut().rev() {
        *byte = DIGITS[(rest & 15) as usize];
        rest >>= 4;
    }
    key
}

/// Fills `value` with that version of a row; at least [`VALUE_BYTES_MIN`] bytes.
///
/// # Panics
/// When it is shorter.
pub fn fill_value(value: &mut [u8], index: u64, version: u64) {
    assert!(value.len() >= VALUE_BYTES_MIN, "a value has room for its index and version");
    let mut dice = mix(index ^ mix(version));
    for (at, word) in value.chunks_mut(8).enumerate() {
        let number = match at {
            0 => index,
            1 => version,
            at if at % 2 == 0 => {
                dice = dice.wrapping_add(1);
                mix(dice)
            }
            _ => 0x2065_6e6f_7473_746c, // text
        };
        word.copy_from_slice(&number.to_le_bytes()[..word.len()]);
    }
}

/// The version that a value of row `index` is, if it is one, whole; `scratch` is spare memory.
pub fn version_of(value: &[u8], index: u64, scratch: &mut Vec<u8>) -> Option<u64> {
    let (_, rest) = value.split_first_chunk::<8>()?;
    let (version, _) = rest.split_first_chunk::<8>()?;
    let version = u64::from_le_bytes(*version);
    scratch.resize(value.len(), 0);
    fill_value(scratch, index, version);
    (value == scratch.as_slice()).then_some(version)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_differ_and_repeat() {
        let keys: BTreeSet<_> = (0..10_000).map(key).collect();
        assert_eq!(keys.len(), 10_000);
        assert_eq!(key(0), *b"e220a8397b1dcdaf");
    }

    #[test]
    fn a_value_tells_its_version_and_any_change_of_it_shows() {
        let (mut value, mut scratch) = (vec![0; 100], Vec::new());
        fill_value(&mut value, 7, 3);
        assert_eq!(version_of(&value, 7, &mut scratch), Some(3));
        assert_eq!(version_of(&value, 8, &mut scratch), None, "another row's");
        for at in 0..value.len() {
            value[at] ^= 1;
            assert_eq!(version_of(&value, 7, &mut scratch), None, "byte {at}");
            value[at] ^= 1;
        }
        assert_eq!(version_of(&value[..15], 7, &mut scratch), None, "too short");
    }

    #[test]
    fn dice_repeat_and_keep_their_bound() {
        let throw = || {
            let mut dice = Dice::new(5);
            (0..100).map(|_| dice.below(6)).collect::<Vec<_>>()
        };
        assert_eq!(throw(), throw());
        assert!(throw().iter().all(|number| *number < 6));
    }
}
