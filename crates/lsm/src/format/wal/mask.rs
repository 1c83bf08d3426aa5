//! The mask of a payload: what keeps a sector from having exactly one bit set.
//!
//! A sector with one set bit that is lost in a crash would look like a sector whose bit was flipped;
//! XOR-ing the payload with a mask moves it away from that edge.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::sectors;

/// Masks tried in this order until no sector has exactly one bit set.
const MASKS: [u8; 8] = [0x00, 0x5a, 0xa5, 0xff, 0x33, 0xcc, 0x0f, 0xf0];

/// Sets or takes off a mask.
pub fn apply_mask(payload: &mut [u8], mask: u8) {
    if mask != 0 {
        for byte in payload {
            *byte ^= mask;
        }
    }
}

pub(super) fn choose_mask(start: u64, body: &[u8], payload_bytes: usize) -> u8 {
    let all_show = |mask: u8| {
        let mut left = payload_bytes;
        sectors(start, body).all(|(_, bytes)| {
            let masked = bytes.len().min(left);
            left = left.saturating_sub(masked);
            let (payload, rest) = bytes.split_at_checked(masked).unwrap_or((bytes, &[]));
            bits_upto_two(payload, mask).saturating_add(bits_upto_two(rest, 0)) != 1
        })
    };
    MASKS.into_iter().find(|&mask| all_show(mask)).unwrap_or(0)
}

/// How many bits are set under the mask, but no more than are needed to know that it is two.
pub(super) fn bits_upto_two(bytes: &[u8], mask: u8) -> u32 {
    let mut bits = 0_u32;
    for byte in bytes {
        bits = bits.saturating_add((byte ^ mask).count_ones());
        if bits >= 2 {
            break;
        }
    }
    bits
}
