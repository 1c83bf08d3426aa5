//! What was committed is there after a reopen, and nothing else is.

use proptest::prelude::*;
use siltstone_io::{sim::SimOptions, trace::TraceDisk};

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn random_edits_rolls_and_reopens_end_in_the_same_state(seed in any::<u64>()) {
        let options = SimOptions { seed, short_io: true, ..SimOptions::default() };
        let disk = SimDisk::with_options(options);
        let random = Random::new(seed);
        let mut manifest = Manifest::create(&env(&disk), STORE_ID, 10 * PAGE).unwrap();
        let mut state = State::new(STORE_ID);
        for _ in 0..50 {
            let edit = random.edit(&state);
            let expected = state.apply(&edit);
            let got = manifest.commit(edit);
            prop_assert_eq!(got.is_ok(), expected.is_ok());
            if let Ok(outcome) = expected {
                state = outcome.state;
            }
            prop_assert_eq!(describe(&manifest.state()), describe(&state));
            if random.below(8) == 0 || manifest.should_roll() {
                manifest.roll().unwrap();
            }
            if random.below(8) == 0 {
                manifest = Manifest::open(&env(&disk), 10 * PAGE).unwrap();
                prop_assert_eq!(describe(&manifest.state()), describe(&state));
            }
            prop_assert_eq!(manifests(&disk).len(), 1);
        }
    }
}

#[test]
fn the_order_of_operations_is_pinned() {
    let trace = Arc::new(TraceDisk::new(Arc::new(SimDisk::new(1))));
    let env = env_on(Arc::clone(&trace) as Arc<dyn Disk>);
    trace.note("create");
    let manifest = Manifest::create(&env, STORE_ID, LONG).unwrap();
    trace.note("commit");
    manifest.commit(edit(1)).unwrap();
    trace.note("roll");
    manifest.roll().unwrap();
    trace.note("open without edits, commit");
    let manifest = Manifest::open(&env, LONG).unwrap();
    manifest.commit(edit(2)).unwrap();
    trace.note("open with edits");
    drop(manifest);
    Manifest::open(&env, LONG).unwrap();
    let text = trace.text();
    assert_eq!(text, GOLDEN, "the order is now\n{text}");
}

const GOLDEN: &str = "\
# create
remove CURRENT.tmp -> not found
remove manifest-0000000000000001 -> not found
create_log manifest-0000000000000001
write manifest-0000000000000001 0+4096
write manifest-0000000000000001 4096+4096
sync manifest-0000000000000001
sync_dir .
remove CURRENT.tmp -> not found
create_log CURRENT.tmp
write CURRENT.tmp 0+40
sync CURRENT.tmp
rename CURRENT.tmp CURRENT
sync_dir .
# commit
write manifest-0000000000000001 8192+4096
sync manifest-0000000000000001
# roll
remove manifest-0000000000000002 -> not found
create_log manifest-0000000000000002
write manifest-0000000000000002 0+4096
write manifest-0000000000000002 4096+4096
sync manifest-0000000000000002
sync_dir .
remove CURRENT.tmp -> not found
create_log CURRENT.tmp
write CURRENT.tmp 0+40
sync CURRENT.tmp
rename CURRENT.tmp CURRENT
sync_dir .
remove manifest-0000000000000001
# open without edits, commit
sync_dir .
remove CURRENT.tmp -> not found
write manifest-0000000000000002 8192+4096
sync manifest-0000000000000002
# open with edits
sync_dir .
remove CURRENT.tmp -> not found
remove manifest-0000000000000003 -> not found
create_log manifest-0000000000000003
write manifest-0000000000000003 0+4096
write manifest-0000000000000003 4096+4096
sync manifest-0000000000000003
sync_dir .
remove CURRENT.tmp -> not found
create_log CURRENT.tmp
write CURRENT.tmp 0+40
sync CURRENT.tmp
rename CURRENT.tmp CURRENT
sync_dir .
remove manifest-0000000000000002
";

#[test]
fn a_manifest_is_due_when_it_is_long_and_mostly_edits() {
    let disk = SimDisk::new(1);
    let manifest = Manifest::create(&env(&disk), STORE_ID, 4 * PAGE).unwrap();
    let mut commits = 0;
    while !manifest.should_roll() {
        commits += 1;
        manifest.commit(edit(commits)).unwrap();
    }
    assert_eq!(commits, 6, "head and snapshot are two pages, and four times that is due");
    manifest.roll().unwrap();
    assert!(!manifest.should_roll());
    assert_eq!(manifest_path(&disk), "manifest-0000000000000002");
}

#[test]
fn an_edit_without_records_writes_nothing() {
    let (disk, manifest) = created();
    let before = disk.operations();
    let outcome = manifest.commit(Edit::default()).unwrap();
    assert_eq!(describe(&outcome.state), describe(&manifest.state()));
    assert_eq!(disk.operations(), before);
}

#[test]
fn a_plan_sees_the_state_that_its_edit_applies_to() {
    let (_, manifest) = created();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    manifest.commit_with(&mut |state| Ok(edit(state.next_collection))).unwrap();
                }
            });
        }
    });
    assert_eq!(manifest.state().catalog.collections.len(), 100);
}

#[test]
fn a_refused_edit_writes_nothing_and_the_next_one_goes_on() {
    let (disk, manifest) = created();
    manifest.commit(edit(1)).unwrap();
    let before = disk.operations();
    let name = "collection 1".to_owned();
    let taken = Record::CreateCollection { id: 2, name, tree: TreeId(2) };
    let error = manifest.commit(Edit { records: vec![taken] }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    let refused = Error::new(ErrorKind::Unavailable, "not now");
    let mut refused = Some(refused);
    let error = manifest.commit_with(&mut |_| Err(refused.take().unwrap())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(disk.operations(), before);
    manifest.commit(edit(2)).unwrap();
    assert_eq!(describe(&open(&disk).unwrap().state()), describe(&manifest.state()));
}

/// Edits and snapshots longer than a frame: 1,000 segments with keys of 1,000 bytes.
#[test]
fn edits_and_snapshots_may_span_frames() {
    let (disk, manifest) = created();
    manifest.commit(edit(1)).unwrap();
    let mut records = vec![Record::AddFile { file: FileId(2), length: 1 << 20 }];
    records.extend((0..1_000_u16).map(|n| {
        let mut key_min = n.to_le_bytes().to_vec();
        key_min.resize(1_000, 0);
        let meta = SegmentMeta {
            uid: Uid([1; 16]),
            length: 1_000,
            hash: Hash([2; 32]),
            counts: Counts::default(),
            sum: 3,
            key_max: Some(vec![0xff; 1_000]),
            key_min,
            sequence_min: 4,
            sequence_max: 5,
        };
        let (tree, file, offset) = (TreeId(1), FileId(2), u64::from(n) * 1_024);
        Record::AddSegment { tree, level: 0, file, offset, meta }
    }));
    manifest.commit(Edit { records }).unwrap();
    let length = disk.read_file(&manifest_path(&disk)).unwrap().len();
    assert!(length > 2 << 20, "the edit takes several frames, {length} bytes");
    let state = manifest.state();
    drop(manifest);
    for _ in 0..2 {
        assert_eq!(describe(&open(&disk).unwrap().state()), describe(&state));
    }
}
