//! Arbitrary records, for property tests here and above.

use proptest::prelude::*;

use crate::{
    format::manifest::edit::Record,
    types::{Counts, FileId, Hash, LogId, SegmentMeta, TenantStatus, TreeId, Uid},
};

prop_compose! {
    fn meta()(
        ids in (any::<[u8; 16]>(), any::<[u8; 32]>(), any::<u128>()),
        numbers in (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()),
        sequences in (any::<u64>(), any::<u64>()),
        key_min in prop::collection::vec(any::<u8>(), 0..300),
        key_max in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    ) -> SegmentMeta {
        let (uid, hash, sum) = ids;
        let (length, puts, deletes, range_deletes) = numbers;
        SegmentMeta {
            uid: Uid(uid),
            length,
            hash: Hash(hash),
            counts: Counts { puts, deletes, range_deletes },
            sum,
            key_min,
            key_max,
            sequence_min: sequences.0,
            sequence_max: sequences.1,
        }
    }
}

fn status() -> impl Strategy<Value = TenantStatus> {
    prop_oneof![Just(TenantStatus::Hot), Just(TenantStatus::Cold), Just(TenantStatus::Frozen)]
}

/// Any record that can be encoded, sensible or not.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    let name = || "\\PC{0,60}";
    let place = || (any::<u64>(), any::<u64>(), any::<u64>());
    prop_oneof![
        (any::<u64>(), name(), any::<u64>())
            .prop_map(|(id, name, tree)| Record::CreateCollection { id, name, tree: TreeId(tree) }),
        any::<u64>().prop_map(|id| Record::DropCollection { id }),
        (any::<u64>(), name()).prop_map(|(id, name)| Record::RenameCollection { id, name }),
        (any::<u64>(), name(), any::<u64>(), status()).prop_map(
            |(collection, name, tree, status)| {
                Record::CreateTenant { collection, name, tree: TreeId(tree), status }
            }
        ),
        (any::<u64>(), name(), status()).prop_map(|(collection, name, status)| {
            Record::SetTenantStatus { collection, name, status }
        }),
        (any::<u64>(), name())
            .prop_map(|(collection, name)| Record::DropTenant { collection, name }),
        (any::<u64>(), name(), any::<u64>(), "\\PC{0,200}").prop_map(
            |(collection, name, tree, location)| {
                Record::FrozenTenant { collection, name, tree: TreeId(tree), location }
            }
        ),
        (any::<u64>(), name(), name()).prop_map(|(collection, name, to)| Record::RenameTenant {
            collection,
            name,
            to
        }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(file, length)| Record::AddFile { file: FileId(file), length }),
        (place(), any::<u8>(), meta()).prop_map(|((tree, file, offset), level, meta)| {
            Record::AddSegment { tree: TreeId(tree), level, file: FileId(file), offset, meta }
        }),
        place().prop_map(|(tree, file, offset)| {
            Record::RemoveSegment { tree: TreeId(tree), file: FileId(file), offset }
        }),
        (place(), any::<u8>()).prop_map(|((tree, file, offset), level)| {
            Record::MoveSegment { tree: TreeId(tree), file: FileId(file), offset, level }
        }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(file, length)| Record::HoldFile { file: FileId(file), length }),
        (any::<u64>(), any::<u64>(), meta()).prop_map(|(file, offset, meta)| {
            Record::HoldSegment { file: FileId(file), offset, meta }
        }),
        any::<u64>().prop_map(|file| Record::ReleaseFile { file: FileId(file) }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(log, sequence)| Record::ReplayFloor { log: LogId(log), sequence }),
        any::<u64>().prop_map(|log| Record::LogReady { log: LogId(log) }),
        any::<u64>().prop_map(|upto| Record::ReserveSequences { upto }),
        any::<u64>().prop_map(|number| Record::QueueEdit { number }),
        place().prop_map(|(tree, file, collection)| {
            Record::NextIds { tree: TreeId(tree), file: FileId(file), collection }
        }),
    ]
}
