//! [`Compare`]: whether decoded bytes, window by window, are those of a frame's parts.

use bytes::Bytes;

/// The parts of a frame, and how far decoded bytes have been found equal to them.
#[derive(Debug)]
pub(super) struct Compare<'a> {
    parts: std::slice::Iter<'a, Bytes>,
    expected: &'a [u8],
}

impl<'a> Compare<'a> {
    /// Starts before the first byte.
    pub(super) fn new(parts: &'a [Bytes]) -> Self {
        Self { parts: parts.iter(), expected: &[] }
    }

    /// Whether the parts go on with these bytes.
    pub(super) fn next(&mut self, mut decoded: &[u8]) -> bool {
        while !decoded.is_empty() {
            if self.expected.is_empty() {
                match self.parts.next() {
                    Some(part) => self.expected = part,
                    None => return false,
                }
            }
            let length = decoded.len().min(self.expected.len());
            let (now, later) = decoded.split_at(length);
            let (as_now, as_later) = self.expected.split_at(length);
            if now != as_now {
                return false;
            }
            (decoded, self.expected) = (later, as_later);
        }
        true
    }

    /// Whether nothing is left of the parts.
    pub(super) fn is_at_end(&self) -> bool {
        self.expected.is_empty() && self.parts.as_slice().iter().all(Bytes::is_empty)
    }
}
