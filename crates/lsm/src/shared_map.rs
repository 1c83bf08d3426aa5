//! [`SharedMap`]: a sorted map whose clones share their nodes.
//!
//! A B+ tree of [`Arc`] nodes. A clone is one reference; a change copies only the nodes on its path
//! that another clone also holds, so an edit of a version with a million entries costs a few
//! kilobytes, and a map that nobody shares changes in place.
//!
//! Invariants:
//!
//! 1. Keys ascend within a node and from node to node; all leaves are equally deep.
//! 2. No node but the root is empty, and none holds more than `NODE_ENTRIES_MAX` entries.
//! 3. In an inner node the key beside a child is not above any key of that child and above every
//!    key of the child before. The first key of a node may be stale: a lower key still goes to the
//!    first child.
//!
//! Removal merges a node with a neighbour only when both together are half full. That bounds the
//! waste without the borrowing of a textbook B-tree.

use std::{borrow::Borrow, fmt, sync::Arc};

/// Entries of a node: a path copy of 64 small entries is one or two kilobytes.
const NODE_ENTRIES_MAX: usize = 64;

/// A child of an inner node, with a key that is not above its keys.
type Child<K, V> = (K, Arc<Node<K, V>>);

/// A sorted map; see the module.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    Inner(Vec<Child<K, V>>),
}

/// What an insertion hands up: the value it replaced, and the right half of a node that it split.
struct Inserted<K, V> {
    replaced: Option<V>,
    split: Option<Child<K, V>>,
}

impl<K, V> SharedMap<K, V> {
    /// A map without entries.
    pub fn new() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries, by ascending key.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { inner: Vec::new(), leaf: [].iter() };
        iter.descend_first(&self.root);
        iter
    }

    /// All keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, by ascending key.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => node = &*children.get(child_of(children, key))?.1,
                Node::Leaf(entries) => {
                    let at = position(entries, key).ok()?;
                    return entries.get(at).map(|(_, value)| value);
                }
            }
        }
    }

    /// Whether the key has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The entry with the highest key below `key`.
    pub fn last_before<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.root.last_before(key)
    }

    /// The entries with a key of `key` or above, ascending.
    pub fn iter_from<Q: Ord + ?Sized>(&self, key: &Q) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let mut iter = Iter { inner: Vec::new(), leaf: [].iter() };
        let mut node = &*self.root;
        loop {
            match node {
                Node::Inner(children) => {
                    let (_, rest) = children.split_at(child_of(children, key));
                    let mut rest = rest.iter();
                    let Some((_, child)) = rest.next() else { return iter };
                    iter.inner.push(rest);
                    node = child;
                }
                Node::Leaf(entries) => {
                    let at = position(entries, key).unwrap_or_else(|at| at);
                    iter.leaf = entries.split_at(at).1.iter();
                    return iter;
                }
            }
        }
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// The value of a key, to be changed; copies the path to it where it is shared.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if !self.contains_key(key) {
            return None; // and nothing is copied
        }
        let mut node = Arc::make_mut(&mut self.root);
        loop {
            match node {
                Node::Inner(children) => {
                    let at = child_of(children, key);
                    node = Arc::make_mut(&mut children.get_mut(at)?.1);
                }
                Node::Leaf(entries) => {
                    let at = position(entries, key).ok()?;
                    return entries.get_mut(at).map(|(_, value)| value);
                }
            }
        }
    }

    /// Sets the value of a key; returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Inserted { replaced, split } = Arc::make_mut(&mut self.root).insert(key, value);
        if let Some(right) = split {
            let first = self.root.first_key().unwrap_or(&right.0).clone();
            let left = (first, Arc::clone(&self.root));
            self.root = Arc::new(Node::Inner(vec![left, right]));
        }
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Removes a key; returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if !self.contains_key(key) {
            return None; // and nothing is copied
        }
        let removed = Arc::make_mut(&mut self.root).remove(key);
        self.len -= usize::from(removed.is_some());
        while let Some(only) = self.root.only_child() {
            self.root = only;
        }
        removed
    }
}

/// The child that would hold `key`.
fn child_of<K: Borrow<Q>, V, Q: Ord + ?Sized>(children: &[(K, V)], key: &Q) -> usize {
    children.partition_point(|(from, _)| from.borrow() <= key).saturating_sub(1)
}

/// Where `key` is, or would be.
fn position<K: Borrow<Q>, V, Q: Ord + ?Sized>(entries: &[(K, V)], key: &Q) -> Result<usize, usize> {
    entries.binary_search_by(|(at, _)| at.borrow().cmp(key))
}

impl<K, V> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(children) => children.len(),
        }
    }

    fn first_key(&self) -> Option<&K> {
        match self {
            Self::Leaf(entries) => entries.first().map(|(key, _)| key),
            Self::Inner(children) => children.first().map(|(key, _)| key),
        }
    }

    fn only_child(&self) -> Option<Arc<Self>> {
        match self {
            Self::Inner(children) => match children.as_slice() {
                [(_, only)] => Some(Arc::clone(only)),
                _ => None,
            },
            Self::Leaf(_) => None,
        }
    }
}

impl<K: Ord, V> Node<K, V> {
    fn last_before<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(entries) => {
                let below = entries.partition_point(|(at, _)| at.borrow() < key);
                entries.get(below.checked_sub(1)?).map(|(key, value)| (key, value))
            }
            Self::Inner(children) => {
                let at = child_of(children, key);
                let found = children.get(at)?.1.last_before(key);
                // The child holds nothing below `key`: the child before it is not empty and does.
                found.or_else(|| children.get(at.checked_sub(1)?)?.1.last_before(key))
            }
        }
    }
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    fn insert(&mut self, key: K, value: V) -> Inserted<K, V> {
        match self {
            Self::Leaf(entries) => match position(entries, &key) {
                Ok(at) => {
                    let replaced =
                        entries.get_mut(at).map(|(_, old)| std::mem::replace(old, value));
                    Inserted { replaced, split: None }
                }
                Err(at) => {
                    let split = insert_or_split(entries, at, (key, value))
                        .and_then(|right| right_half(right, Self::Leaf));
                    Inserted { replaced: None, split }
                }
            },
            Self::Inner(children) => {
                let at = child_of(children, &key);
                let child = &mut children.get_mut(at).expect("an inner node has children").1;
                let Inserted { replaced, split } = Arc::make_mut(child).insert(key, value);
                let split = split
                    .and_then(|right| insert_or_split(children, at + 1, right))
                    .and_then(|right| right_half(right, Self::Inner));
                Inserted { replaced, split }
            }
        }
    }

    fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(entries) => {
                let at = position(entries, key).ok()?;
                Some(entries.remove(at).1)
            }
            Self::Inner(children) => {
                let at = child_of(children, key);
                let removed = Arc::make_mut(&mut children.get_mut(at)?.1).remove(key)?;
                tidy(children, at);
                Some(removed)
            }
        }
    }

    /// Takes over the entries of the right neighbour, all of whose keys are `from` or above.
    fn absorb(&mut self, from: K, right: Self) {
        match (self, right) {
            (Self::Leaf(left), Self::Leaf(right)) => left.extend(right),
            (Self::Inner(left), Self::Inner(mut right)) => {
                if let Some((first, _)) = right.first_mut() {
                    *first = from; // invariant 3: the first key may be stale, here it must not
                }
                left.extend(right);
            }
            _ => unreachable!("neighbours are equally deep"),
        }
    }
}

/// Inserts into a node's entries; returns the right part if the node must split.
fn insert_or_split<T>(entries: &mut Vec<T>, at: usize, entry: T) -> Option<Vec<T>> {
    if entries.len() < NODE_ENTRIES_MAX {
        entries.insert(at, entry);
        return None;
    }
    if at == entries.len() {
        return Some(vec![entry]); // ascending insertion leaves full nodes behind
    }
    let half = NODE_ENTRIES_MAX / 2;
    let mut right = entries.split_off(half);
    if at <= half {
        entries.insert(at, entry);
    } else {
        right.insert(at - half, entry);
    }
    Some(right)
}

fn right_half<K: Clone, V, T>(
    entries: Vec<(K, T)>,
    node: impl Fn(Vec<(K, T)>) -> Node<K, V>,
) -> Option<Child<K, V>> {
    let first = entries.first()?.0.clone();
    Some((first, Arc::new(node(entries))))
}

/// After a removal from child `at`: drops it if empty, merges it with a neighbour if small.
fn tidy<K: Ord + Clone, V: Clone>(children: &mut Vec<Child<K, V>>, at: usize) {
    let len_of = |at: usize| children.get(at).map(|(_, child)| child.len());
    if len_of(at) == Some(0) {
        if children.len() > 1 {
            children.remove(at);
        }
        return;
    }
    let small = |left: usize| {
        len_of(left).zip(len_of(left + 1)).is_some_and(|(l, r)| l + r <= NODE_ENTRIES_MAX / 2)
    };
    let left = if small(at) {
        at
    } else if at > 0 && small(at - 1) {
        at - 1
    } else {
        return;
    };
    let (from, right) = children.remove(left + 1);
    let right = Arc::try_unwrap(right).unwrap_or_else(|shared| (*shared).clone());
    if let Some((_, child)) = children.get_mut(left) {
        Arc::make_mut(child).absorb(from, right);
    }
}

/// Entries in ascending order.
pub struct Iter<'a, K, V> {
    inner: Vec<std::slice::Iter<'a, Child<K, V>>>,
    leaf: std::slice::Iter<'a, (K, V)>,
}

impl<'a, K, V> Iter<'a, K, V> {
    fn descend_first(&mut self, mut node: &'a Node<K, V>) {
        loop {
            match node {
                Node::Inner(children) => {
                    let mut children = children.iter();
                    let Some((_, first)) = children.next() else { return };
                    self.inner.push(children);
                    node = first;
                }
                Node::Leaf(entries) => {
                    self.leaf = entries.iter();
                    return;
                }
            }
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.leaf.next() {
                return Some((key, value));
            }
            match self.inner.last_mut()?.next() {
                Some((_, child)) => self.descend_first(child),
                None => drop(self.inner.pop()),
            }
        }
    }
}

impl<'a, K, V> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root)
            || (self.len == other.len && self.iter().eq(other.iter()))
    }
}

impl<K: Eq, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K, V> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("in_leaf", &self.leaf.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
