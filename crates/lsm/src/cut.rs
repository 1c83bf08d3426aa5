//! [`Cut`]: the whole store at one instant, as durable segments, for a backup.

use std::sync::Arc;

use crate::{catalog::Catalog, types::Sequence, version::Segment, view::View};

/// Everything committed up to and including one sequence, and nothing later.
///
/// Holding a segment pins its file: drop each when its bytes are safe elsewhere, and the space of
/// replaced files comes back while the backup still runs.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The last sequence in it.
    pub sequence: Sequence,
    /// The store it was taken from.
    pub store_id: [u8; 16],
    /// The collections and tenants at that instant.
    pub catalog: Arc<Catalog>,
    /// All segments of the catalog's trees: level 0 first, then by file and offset.
    pub segments: Vec<Arc<Segment>>,
    /// The view of the cut, for readers that compare (with [`Cut::sequence`]). It pins everything:
    /// drop it after planning.
    pub view: Option<Arc<View>>,
}
