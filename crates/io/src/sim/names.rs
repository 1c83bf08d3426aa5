//! [`Names`]: the folders of a simulated disk, what of them would survive, and the changes in
//! between.
//!
//! Like a file, a folder has entries that are shown and entries that are durable. A change of names
//! (a creation, a rename, a removal) is one [`NameChange`] that survives whole or not at all, so
//! after a crash a renamed file has its old name or its new one, never both, never none.
//!
//! Syncing a folder makes its entries durable, and nothing else: not the bytes of its files, not
//! its own name in its parent. A rename between two folders is one change of both, so syncing
//! either carries the other along, as a journal would.

use std::collections::{BTreeMap, BTreeSet};

/// A file or folder without its name.
pub(super) type Inode = u64;

/// The root folder.
pub(super) const ROOT: Inode = 0;

/// A name in a folder.
pub(super) type Place = (Inode, String);

/// All folders.
#[derive(Clone, Debug)]
pub(super) struct Names {
    folders: BTreeMap<Inode, Folder>,
    pending: Vec<NameChange>,
}

#[derive(Clone, Debug, Default)]
struct Folder {
    shown: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
}

/// One change of names.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    /// Its place in the order of all changes of the disk.
    pub(super) seq: u64,
    /// What the name leads to.
    pub(super) inode: Inode,
    /// The name that goes.
    pub(super) from: Option<Place>,
    /// The name that comes, taking the place of whatever had it.
    pub(super) to: Option<Place>,
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// No such name.
    Name,
    /// A file stands where a folder is needed.
    Folder,
}

impl Names {
    /// An empty root.
    pub(super) fn new() -> Self {
        Self { folders: BTreeMap::from([(ROOT, Folder::default())]), pending: Vec::new() }
    }

    /// Whether it is a folder.
    pub(super) fn is_folder(&self, inode: Inode) -> bool {
        self.folders.contains_key(&inode)
    }

    /// Follows shown names from the root.
    pub(super) fn find(&self, path: &str) -> Result<Inode, Missing> {
        let mut at = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let folder = self.folders.get(&at).ok_or(Missing::Folder)?;
            at = *folder.shown.get(name).ok_or(Missing::Name)?;
        }
        Ok(at)
    }

    /// The entries of a folder in the order of their names; `None` if it is a file.
    pub(super) fn entries(&self, folder: Inode) -> Option<Vec<(String, Inode)>> {
        let folder = self.folders.get(&folder)?;
        Some(folder.shown.iter().map(|(name, &inode)| (name.clone(), inode)).collect())
    }

    /// What a place shows.
    pub(super) fn at(&self, place: &Place) -> Option<Inode> {
        self.folders.get(&place.0).and_then(|folder| folder.shown.get(&place.1)).copied()
    }

    /// Makes `inode` a folder, so far without a name.
    pub(super) fn add_folder(&mut self, inode: Inode) {
        let existed = self.folders.insert(inode, Folder::default()).is_some();
        assert!(!existed, "inodes are never reused");
    }

    /// Shows a change and keeps it pending; returns what `to` had led to.
    pub(super) fn change(&mut self, change: NameChange) -> Option<Inode> {
        let replaced = change.to.as_ref().and_then(|to| self.at(to));
        change.apply(&mut self.folders, |folder| &mut folder.shown);
        self.pending.push(change);
        replaced
    }

    /// Makes the names in a folder durable.
    pub(super) fn sync(&mut self, folder: Inode) {
        let mut synced = BTreeSet::from([folder]);
        // Renames between folders tie folders together, so follow them to the end.
        loop {
            let before = synced.len();
            for change in &self.pending {
                if change.folders().any(|folder| synced.contains(&folder)) {
                    synced.extend(change.folders());
                }
            }
            if synced.len() == before {
                break;
            }
        }
        self.pending.retain(|change| !change.folders().any(|folder| synced.contains(&folder)));
        for inode in synced {
            if let Some(folder) = self.folders.get_mut(&inode) {
                folder.durable = folder.shown.clone();
            }
        }
    }

    /// The names a crash leaves, when `keep` says which pending changes survive.
    pub(super) fn after_crash(&self, keep: impl Fn(&NameChange) -> bool) -> Self {
        let mut folders = self.folders.clone();
        for change in self.pending.iter().filter(|change| keep(change)) {
            change.apply(&mut folders, |folder| &mut folder.durable);
        }
        for folder in folders.values_mut() {
            folder.shown = folder.durable.clone();
        }
        let mut names = Self { folders, pending: Vec::new() };
        let reachable = names.referenced();
        names.folders.retain(|inode, _| reachable.contains(inode));
        names
    }

    /// Everything to which a shown, durable or pending name leads, and the root.
    pub(super) fn referenced(&self) -> BTreeSet<Inode> {
        let mut found = BTreeSet::from([ROOT]);
        let mut next = vec![ROOT];
        next.extend(self.pending.iter().map(|change| change.inode));
        found.extend(self.pending.iter().map(|change| change.inode));
        while let Some(inode) = next.pop() {
            if let Some(folder) = self.folders.get(&inode) {
                let children = folder.shown.values().chain(folder.durable.values());
                next.extend(children.copied().filter(|&child| found.insert(child)));
            }
        }
        found
    }

    /// Forgets folders to which nothing leads any more.
    pub(super) fn sweep(&mut self, referenced: &BTreeSet<Inode>) {
        self.folders.retain(|inode, _| referenced.contains(inode));
    }

    /// Puts a name into the shown and the durable entries at once.
    pub(super) fn plant(&mut self, place: &Place, inode: Inode) {
        let folder = self.folders.get_mut(&place.0).expect("the caller found the folder");
        folder.shown.insert(place.1.clone(), inode);
        folder.durable.insert(place.1.clone(), inode);
    }

    /// Takes a name out of the shown and the durable entries at once.
    pub(super) fn uproot(&mut self, place: &Place) {
        let folder = self.folders.get_mut(&place.0).expect("the caller found the folder");
        folder.shown.remove(&place.1);
        folder.durable.remove(&place.1);
    }

    /// The paths of everything that is not a folder, in order.
    pub(super) fn file_paths(&self) -> Vec<(String, Inode)> {
        let mut found = Vec::new();
        let mut next = vec![(String::new(), ROOT)];
        while let Some((path, inode)) = next.pop() {
            match self.entries(inode) {
                Some(entries) => {
                    let below = |name: &str| match path.as_str() {
                        "" => name.to_owned(),
                        path => format!("{path}/{name}"),
                    };
                    next.extend(entries.iter().map(|(name, inode)| (below(name), *inode)));
                }
                None => found.push((path, inode)),
            }
        }
        found.sort();
        found
    }
}

impl NameChange {
    fn folders(&self) -> impl Iterator<Item = Inode> {
        self.from.iter().chain(&self.to).map(|place| place.0)
    }

    /// Takes the old name away only where it still leads here: an earlier change that was lost may
    /// have left something else, or nothing, under it.
    fn apply(
        &self,
        folders: &mut BTreeMap<Inode, Folder>,
        entries: impl Fn(&mut Folder) -> &mut BTreeMap<String, Inode>,
    ) {
        if let Some((folder, name)) = &self.from
            && let Some(folder) = folders.get_mut(folder)
        {
            let entries = entries(folder);
            if entries.get(name) == Some(&self.inode) {
                entries.remove(name);
            }
        }
        if let Some((folder, name)) = &self.to
            && let Some(folder) = folders.get_mut(folder)
        {
            entries(folder).insert(name.clone(), self.inode);
        }
    }
}
