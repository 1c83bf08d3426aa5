//! [`Piece`]: bytes that a stream hands out, owned until dropped.

use std::{any::Any, fmt, ops::Range, sync::Arc};

use bytes::Bytes;

/// Bytes of a stream: cheap to slice and to send; the memory goes back to the reader that made it
/// when the last slice is dropped.
#[derive(Clone)]
pub struct Piece {
    owner: Arc<dyn PieceOwner>,
    range: Range<usize>,
}

/// Memory behind a [`Piece`]: a registered slot of the ring thread, or a plain buffer.
pub trait PieceOwner: Any + Send + Sync {
    /// The whole memory, the same bytes on every call.
    fn bytes(&self) -> &[u8];
}

impl PieceOwner for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Piece {
    /// Takes `range` of the memory of `owner`.
    ///
    /// # Panics
    /// If the range is not within that memory.
    pub fn new(owner: Arc<dyn PieceOwner>, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= owner.bytes().len(), "range in memory");
        Self { owner, range }
    }

    /// A part of this piece, sharing its memory.
    ///
    /// # Panics
    /// If the range is not within the piece.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.range.len(), "range in piece");
        let start = self.range.start + range.start;
        Self { owner: Arc::clone(&self.owner), range: start..start + range.len() }
    }
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self::new(Arc::new(bytes), range)
    }
}

impl From<Piece> for Bytes {
    /// Shares the memory; nothing is copied.
    fn from(piece: Piece) -> Self {
        Self::from_owner(piece)
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.owner.bytes()[self.range.clone()]
    }
}

impl std::ops::Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({} bytes)", self.range.len())
    }
}
