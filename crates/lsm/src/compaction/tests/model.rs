//! Random writes, flushes and compactions against plain maps, for the newest reader and for older
//! ones that hold their view.

use proptest::prelude::*;

use super::world::{Reader, World};
use crate::{
    compaction::{
        Job,
        inputs::{from_level, from_level0},
        policy::Policy,
    },
    types::TreeId,
};

#[derive(Clone, Debug)]
enum Step {
    Put(u8, Vec<u8>, u8),
    Delete(u8, Vec<u8>),
    DeleteRange(u8, Vec<u8>, Option<Vec<u8>>),
    Clear(u8),
    Seal,
    Flush,
    CompactOnce,
    /// Pushes a level of a tree down, due or not.
    Push(u8, u8),
    Hold,
}

const TREES: u8 = 2;

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (0_u8..40).prop_map(|a| vec![b'k', a]),
        1 => (0_u8..10, 0_u8..3).prop_map(|(a, b)| vec![b'k', a * 4, b]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let tree = || 0..TREES;
    prop_oneof![
        24 => (tree(), key(), any::<u8>()).prop_map(|(tree, key, v)| Step::Put(tree, key, v)),
        6 => (tree(), key()).prop_map(|(tree, key)| Step::Delete(tree, key)),
        3 => (tree(), key(), prop::option::weighted(0.9, key()))
            .prop_map(|(tree, start, end)| Step::DeleteRange(tree, start, end)),
        1 => tree().prop_map(Step::Clear),
        2 => Just(Step::Seal),
        3 => Just(Step::Flush),
        3 => Just(Step::CompactOnce),
        3 => (tree(), 0_u8..4).prop_map(|(tree, level)| Step::Push(tree, level)),
        1 => Just(Step::Hold),
    ]
}

fn probes() -> Vec<Vec<u8>> {
    let short = (0_u8..41).map(|a| vec![b'k', a]);
    let long = (0_u8..10).flat_map(|a| (0..3).map(move |b| vec![b'k', a * 4, b]));
    let mut probes: Vec<Vec<u8>> = short.chain(long).chain([vec![b'a'], vec![b'z']]).collect();
    probes.sort();
    probes
}

fn push(world: &mut World, tree: TreeId, level: u8) {
    let policy = Policy::new(&world.options);
    let Some(levels) = world.version.tree(tree) else { return };
    let job = if level == 0 {
        from_level0(tree, levels, &policy, &|_| false)
    } else {
        from_level(tree, levels, level, &policy)
    };
    if let Some(job) = job {
        world.run(&Job { trees: vec![job] });
    }
}

fn take(world: &mut World, held: &mut Vec<Reader>, step: Step) {
    let of = |tree: u8| TreeId(u64::from(tree) + 1);
    match step {
        // Long values, so that few rows fill a segment.
        Step::Put(tree, key, v) => world.put(of(tree), &key, &vec![v; usize::from(v)]),
        Step::Delete(tree, key) => world.delete(of(tree), &key),
        Step::DeleteRange(tree, start, end) => {
            world.delete_range(of(tree), &start, end.as_deref());
        }
        Step::Clear(tree) => world.delete_range(of(tree), b"", None),
        Step::Seal => world.seal(),
        Step::Flush => world.flush(),
        Step::CompactOnce => {
            world.compact_once();
        }
        Step::Push(tree, level) => push(world, of(tree), level),
        Step::Hold => {
            if held.len() < 3 {
                held.push(world.reader());
            }
        }
    }
}

fn check_all(world: &World, readers: &[Reader]) {
    let probes = probes();
    for reader in readers {
        for tree in 0..=TREES {
            reader.check(&world.opener, TreeId(u64::from(tree) + 1), &probes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn readers_match_plain_maps_whatever_moves_below(
        steps in prop::collection::vec(step(), 0..250),
    ) {
        let mut world = World::tiny();
        let mut held = Vec::new();
        for step in steps {
            take(&mut world, &mut held, step);
        }
        held.push(world.reader());
        check_all(&world, &held);

        world.flush();
        world.compact();
        check_all(&world, &[world.reader()]);
        check_all(&world, &held);
    }

    #[test]
    fn compacting_to_the_last_level_leaves_live_rows_alone(
        steps in prop::collection::vec(step(), 0..250),
    ) {
        let mut world = World::tiny();
        for step in steps {
            take(&mut world, &mut Vec::new(), step);
        }
        world.flush();
        for tree in 1..=u64::from(TREES) {
            for level in 0..7 {
                // One push moves a part of a level; as many as it has segments move all.
                let levels = world.version.tree(TreeId(tree)).map_or(0, |tree| tree.segments().count());
                (0..=levels).for_each(|_| push(&mut world, TreeId(tree), level.min(5)));
            }
            let rows = world.rows.get(&TreeId(tree)).map_or(0, |rows| rows.len() as u64);
            prop_assert_eq!(world.counts(TreeId(tree)), (rows, 0, 0));
        }
        check_all(&world, &[world.reader()]);
    }
}
