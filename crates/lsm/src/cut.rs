//! [`Cut`]: the whole store at one instant, pinned, for a backup.
//! skeleton: owner of store/

use std::sync::Arc;

use crate::{catalog::Catalog, types::{Sequence, TreeId}, version::Segment, view::View};

/// Everything committed up to and including `sequence`, as durable segments. Holding a segment's Arc pins
/// its file; drop each when its bytes are safe elsewhere.
#[derive(Clone, Debug)]
pub struct Cut {
    pub sequence: Sequence,
    pub store_id: [u8; 16],
    pub catalog: Arc<Catalog>,
    /// All segments of all trees of the catalog, L0 first (by level ascending), then by file and offset.
    pub segments: Vec<Arc<Segment>>,
    /// The View of the cut (memtables + version) for readers that compare: `demo`, rehearsal. Drop it after planning to
    /// release segments one by one.
    pub view: Option<Arc<View>>,
}

impl Cut {
    pub fn tree_segments(&self, _tree: TreeId) -> Vec<Arc<Segment>> {
        todo!()
    }
}
