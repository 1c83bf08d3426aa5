use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

impl<K: Ord, V> Node<K, V> {
    /// Checks the invariants below `self`; returns the depth.
    fn check(&self, low: Option<&K>, high: Option<&K>) -> usize {
        assert!(self.len() <= NODE_ENTRIES_MAX, "a node is over its limit");
        match self {
            Self::Leaf(entries) => {
                assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "a leaf is unsorted");
                for (key, _) in entries {
                    assert!(low.is_none_or(|low| low <= key), "a key is left of its node");
                    assert!(high.is_none_or(|high| key < high), "a key is right of its node");
                }
                0
            }
            Self::Inner(children) => {
                assert!(children.is_sorted_by(|a, b| a.0 < b.0), "an inner node is unsorted");
                let mut depths = Vec::new();
                for (at, (key, child)) in children.iter().enumerate() {
                    assert!(child.len() > 0, "a child is empty");
                    let low = if at == 0 { low } else { Some(key) };
                    let high = children.get(at + 1).map(|(key, _)| key).or(high);
                    depths.push(child.check(low, high));
                }
                depths.dedup();
                assert_eq!(depths.len(), 1, "leaves differ in depth");
                depths[0] + 1
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u32),
    Remove(u16),
    RemoveFrom(u16, u16),
    Change(u16, u32),
    Keep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..2_000_u16, any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        3 => (0..2_000_u16).prop_map(Step::Remove),
        1 => (0..2_000_u16, 0..600_u16).prop_map(|(from, count)| Step::RemoveFrom(from, count)),
        2 => (0..2_000_u16, any::<u32>()).prop_map(|(key, value)| Step::Change(key, value)),
        1 => Just(Step::Keep),
    ];
    prop::collection::vec(step, 0..1_500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_changes_match_a_btreemap_and_spare_clones(steps in steps(), probe in any::<u16>()) {
        let mut map = SharedMap::new();
        let mut model = BTreeMap::new();
        let mut kept = Vec::new();
        for step in steps {
            match step {
                Step::Insert(key, value) => {
                    prop_assert_eq!(map.insert(key, value), model.insert(key, value));
                }
                Step::Remove(key) => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                Step::RemoveFrom(from, count) => {
                    for key in from..from + count {
                        prop_assert_eq!(map.remove(&key), model.remove(&key));
                    }
                }
                Step::Change(key, value) => {
                    let (mine, other) = (map.get_mut(&key), model.get_mut(&key));
                    prop_assert_eq!(mine.is_some(), other.is_some());
                    if let (Some(mine), Some(other)) = (mine, other) {
                        (*mine, *other) = (value, value);
                    }
                }
                Step::Keep if kept.len() < 8 => kept.push((map.clone(), model.clone())),
                Step::Keep => {}
            }
        }
        kept.push((map, model));
        for (map, model) in kept {
            map.root.check(None, None);
            prop_assert_eq!(map.len(), model.len());
            prop_assert!(map.iter().eq(model.iter()));
            for probe in [probe % 2_000, 0, 1_999, u16::MAX] {
                prop_assert_eq!(map.get(&probe), model.get(&probe));
                prop_assert_eq!(map.last_before(&probe), model.range(..probe).next_back());
                prop_assert!(map.iter_from(&probe).eq(model.range(probe..)));
            }
        }
    }
}

#[test]
fn ascending_insertion_fills_its_nodes() {
    let map: SharedMap<u32, u32> = (0..100_000).map(|n| (n, n)).collect();
    map.root.check(None, None);
    assert_eq!(leaves(&map.root), 100_000_usize.div_ceil(NODE_ENTRIES_MAX));
}

#[test]
fn a_change_copies_only_the_path_to_it() {
    let map: SharedMap<u32, u32> = (0..10_000).map(|n| (n, n)).collect();
    let mut changed = map.clone();
    changed.insert(5_000, 1);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    nodes(&map.root, &mut before);
    nodes(&changed.root, &mut after);
    let copied = after.iter().filter(|node| !before.contains(node)).count();
    assert_eq!(copied, 3, "root, inner node and leaf");
}

fn leaves<K, V>(node: &Node<K, V>) -> usize {
    match node {
        Node::Leaf(_) => 1,
        Node::Inner(children) => children.iter().map(|(_, child)| leaves(child)).sum(),
    }
}

fn nodes<K, V>(node: &Arc<Node<K, V>>, into: &mut Vec<*const Node<K, V>>) {
    into.push(Arc::as_ptr(node));
    if let Node::Inner(children) = &**node {
        for (_, child) in children {
            nodes(child, into);
        }
    }
}
