//! Which collections and tenants an operation concerns, and the names they get: pure functions of
//! what there is.
//!
//! A name is `COLLECTION`, or `COLLECTION/TENANT` for one tenant; neither part can hold a `/`. Either
//! part may be a pattern: `*` stands for any characters, `?` for one. A part that is spelled like a
//! name that is there means that one alone, since names may hold these characters too.

use std::collections::{BTreeMap, BTreeSet};

use siltstone_lsm::{
    catalog::{TenantStatus, check_name},
    types::TreeId,
};

use crate::{
    error::{Error, ErrorKind, Result, listed},
    format::descriptor::{StoredCollection, StoredTenant},
    options::Selection,
    progress::TreeReport,
};

#[cfg(test)]
mod tests;

/// What is kept of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    /// The collection, with the tenants that are kept.
    pub(crate) collection: StoredCollection,
    /// Whether the rows of the collection itself are kept, not those of tenants alone.
    pub(crate) own_rows: bool,
}

impl Selected {
    /// The trees whose rows are kept.
    pub(crate) fn trees(&self) -> impl Iterator<Item = TreeId> {
        let own = self.own_rows.then_some(self.collection.tree);
        own.into_iter().chain(self.collection.tenants.iter().map(|tenant| tenant.tree))
    }
}

/// Trees of what was selected, to count progress by: each with its place in the list.
pub(crate) fn tree_reports(selected: &[Selected]) -> (Vec<TreeReport>, BTreeMap<TreeId, u32>) {
    let (mut reports, mut places) = (Vec::new(), BTreeMap::new());
    let mut add = |tree, collection: &str, tenant: Option<&str>| {
        places.insert(tree, u32::try_from(reports.len()).unwrap_or(u32::MAX));
        let (collection, tenant) = (collection.to_owned(), tenant.map(str::to_owned));
        reports.push(TreeReport { collection, tenant, bytes_total: 0, bytes_done: 0 });
    };
    for Selected { collection, own_rows } in selected {
        if *own_rows {
            add(collection.tree, &collection.name, None);
        }
        for tenant in &collection.tenants {
            add(tenant.tree, &collection.name, Some(&tenant.name));
        }
    }
    (reports, places)
}

/// Takes FROZEN tenants out, whose rows are not in the store; names them as COLLECTION/TENANT.
pub(crate) fn take_frozen(selected: &mut [Selected]) -> Vec<String> {
    let mut frozen = Vec::new();
    for StoredCollection { name, tenants, .. } in selected.iter_mut().map(|it| &mut it.collection) {
        let is_frozen = |tenant: &StoredTenant| tenant.status == TenantStatus::Frozen;
        let names = tenants.iter().filter(|tenant| is_frozen(tenant));
        frozen.extend(names.map(|tenant| format!("{name}/{}", tenant.name)));
        tenants.retain(|tenant| !is_frozen(tenant));
    }
    frozen
}

/// What one list of a selection says of a collection.
#[derive(Debug, Default)]
struct Named {
    whole: bool,
    tenants: BTreeSet<String>,
}

/// The chosen ones of `all`, in its order.
///
/// # Errors
/// `Invalid` when both lists hold names, when a listed name or pattern matches nothing in `all`
/// (every such one is in the message), or when nothing is left although `all` is not empty.
pub(crate) fn select(selection: &Selection, all: Vec<StoredCollection>) -> Result<Vec<Selected>> {
    let Selection { include, exclude } = selection;
    if !include.is_empty() && !exclude.is_empty() {
        return Err(invalid("include and exclude cannot be used together".to_owned()));
    }
    let (including, list) = if include.is_empty() { (false, exclude) } else { (true, include) };
    let named = resolve(list, &all)?;
    let nothing_there = all.is_empty();
    let keep = |mut collection: StoredCollection| {
        let own_rows = match named.get(&collection.name) {
            None if including => return None,
            Some(named) if named.whole && !including => return None,
            Some(named) if !named.whole => {
                let is_kept = |tenant: &str| named.tenants.contains(tenant) == including;
                collection.tenants.retain(|tenant| is_kept(&tenant.name));
                !including
            }
            _ => true,
        };
        Some(Selected { collection, own_rows })
    };
    let selected: Vec<Selected> = all.into_iter().filter_map(keep).collect();
    if selected.is_empty() && !nothing_there {
        return Err(invalid("exclude leaves no collection".to_owned()));
    }
    Ok(selected)
}

/// What the names and patterns of a list mean, by collection.
fn resolve(list: &[String], all: &[StoredCollection]) -> Result<BTreeMap<String, Named>> {
    let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for collection in all.iter().filter(|_| !list.is_empty()) {
        let tenants = collection.tenants.iter().map(|tenant| tenant.name.as_str());
        known.insert(&collection.name, tenants.collect());
    }
    let mut named: BTreeMap<String, Named> = BTreeMap::new();
    let mut unknown = Vec::new();
    for name in list {
        let (collection, tenant) = split(name);
        let mut is_known = false;
        let spelled_so = known.get_key_value(collection).map(|(name, _)| *name);
        for collection in matching(collection, known.keys().copied(), spelled_so) {
            let there = known.get(collection);
            let Some((tenant, there)) = tenant.zip(there) else {
                named.entry(collection.to_owned()).or_default().whole = true;
                is_known = true;
                continue;
            };
            let spelled_so = there.get(tenant).copied();
            for tenant in matching(tenant, there.iter().copied(), spelled_so) {
                let of = named.entry(collection.to_owned()).or_default();
                of.tenants.insert(tenant.to_owned());
                is_known = true;
            }
        }
        if !is_known {
            unknown.push(name.as_str());
        }
    }
    if unknown.is_empty() {
        return Ok(named);
    }
    let what = if unknown.iter().any(|name| name.contains('/')) {
        "no such collection or tenant"
    } else {
        "no such collection"
    };
    let (unknown, known) = (unknown.join("', '"), listed(known.keys()));
    Err(invalid(format!("{what}: '{unknown}'; the collections are {known}")))
}

/// The names that a pattern means: the one that is spelled so, if there is one; else all that match.
fn matching<'a>(
    pattern: &str,
    names: impl Iterator<Item = &'a str>,
    spelled_so: Option<&'a str>,
) -> Vec<&'a str> {
    match spelled_so {
        Some(name) => vec![name],
        None if pattern.contains(['*', '?']) => names.filter(|it| matches(pattern, it)).collect(),
        None => Vec::new(),
    }
}

/// Whether a name is as a pattern says: `*` is any characters, also none; `?` is one.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // Where to go on when what follows the last star does not match: one more character is its own.
    let mut star = None;
    loop {
        let (mut pattern_rest, mut name_rest) = (pattern.clone(), name.clone());
        match (pattern_rest.next(), name_rest.next()) {
            (Some('*'), _) => {
                star = Some((pattern_rest.clone(), name.clone()));
                pattern = pattern_rest;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                (pattern, name) = (pattern_rest, name_rest);
            }
            (None, None) => return true,
            _ => {
                let Some((after, mut taken)) = star.take() else { return false };
                if taken.next().is_none() {
                    return false;
                }
                (pattern, name) = (after.clone(), taken.clone());
                star = Some((after, taken));
            }
        }
    }
}

/// Gives new names: (collection, or one of its tenants as COLLECTION/TENANT; the new name of that).
///
/// # Errors
/// `Invalid` for a name that is not among the selected or is renamed twice, for a new name that
/// cannot be used, and when two would have one name.
pub(crate) fn rename(
    mut selected: Vec<Selected>,
    renames: &[(String, String)],
) -> Result<Vec<Selected>> {
    let mut wanted: BTreeMap<&str, &str> = BTreeMap::new();
    for (from, to) in renames {
        check_name(to)?;
        if wanted.insert(from, to).is_some() {
            return Err(invalid(format!("'{from}' is renamed twice")));
        }
    }
    for collection in selected.iter_mut().map(|selected| &mut selected.collection) {
        if !wanted.is_empty() {
            for tenant in &mut collection.tenants {
                let from = format!("{}/{}", collection.name, tenant.name);
                replace(&mut tenant.name, wanted.remove(from.as_str()));
            }
            let to = wanted.remove(collection.name.as_str());
            replace(&mut collection.name, to);
        }
        let tenants = collection.tenants.iter().map(|tenant| tenant.name.as_str());
        if let Some(name) = doubled(tenants) {
            let of = &collection.name;
            return Err(invalid(format!("two tenants of '{of}' would get the name '{name}'")));
        }
    }
    let names = || selected.iter().map(|selected| selected.collection.name.as_str());
    if !wanted.is_empty() {
        let unknown = wanted.into_keys().collect::<Vec<_>>().join("', '");
        let there = listed(names());
        return Err(invalid(format!("cannot rename '{unknown}': what is restored is {there}")));
    }
    if let Some(name) = doubled(names()) {
        return Err(invalid(format!("two collections would get the name '{name}'")));
    }
    Ok(selected)
}

fn replace(name: &mut String, to: Option<&str>) {
    if let Some(to) = to {
        to.clone_into(name);
    }
}

fn doubled<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = BTreeSet::new();
    names.find(|name| !seen.insert(*name))
}

fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once('/').map_or((name, None), |(collection, tenant)| (collection, Some(tenant)))
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::Invalid, message)
}
