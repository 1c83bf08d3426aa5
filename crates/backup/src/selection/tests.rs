//! Selections and renames of small catalogs.

use siltstone_lsm::catalog::TenantStatus;

use super::*;
use crate::format::descriptor::StoredTenant;

/// Collections `a` (tree 10, tenants x 11, y 12), `b` (20), `c` (30).
fn all() -> Vec<StoredCollection> {
    let tenant = |(name, tree): (&str, u64)| StoredTenant {
        name: name.to_owned(),
        tree: TreeId(tree),
        status: TenantStatus::Hot,
    };
    let collection = |name: &str, tree, tenants: &[(&str, u64)]| StoredCollection {
        name: name.to_owned(),
        tree: TreeId(tree),
        tenants: tenants.iter().copied().map(tenant).collect(),
    };
    vec![
        collection("a", 10, &[("x", 11), ("y", 12)]),
        collection("b", 20, &[]),
        collection("c", 30, &[]),
    ]
}

fn selection(include: &[&str], exclude: &[&str]) -> Selection {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Selection { include: owned(include), exclude: owned(exclude) }
}

/// The trees kept of each selected collection.
fn trees(include: &[&str], exclude: &[&str]) -> Vec<(String, Vec<u64>)> {
    let selected = select(&selection(include, exclude), all()).unwrap();
    let line = |it: Selected| (it.collection.name.clone(), it.trees().map(|tree| tree.0).collect());
    selected.into_iter().map(line).collect()
}

fn refusal(include: &[&str], exclude: &[&str]) -> String {
    let error = select(&selection(include, exclude), all()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    error.to_string()
}

#[test]
fn selections_keep_the_order_of_the_catalog() {
    let line = |name: &str, trees: &[u64]| (name.to_owned(), trees.to_vec());
    let (a, b, c) = (line("a", &[10, 11, 12]), line("b", &[20]), line("c", &[30]));
    assert_eq!(trees(&[], &[]), [a.clone(), b.clone(), c.clone()]);
    assert_eq!(trees(&["c", "a"], &[]), [a.clone(), c.clone()]);
    assert_eq!(trees(&[], &["b"]), [a.clone(), c]);
    assert_eq!(trees(&["a/y"], &[]), [line("a", &[12])]);
    assert_eq!(trees(&["a/y", "a"], &[]), [a]);
    assert_eq!(trees(&["a/x", "a/y", "b"], &[]), [line("a", &[11, 12]), b.clone()]);
    assert_eq!(trees(&[], &["a/x", "c"]), [line("a", &[10, 12]), b]);
    assert!(select(&selection(&[], &[]), Vec::new()).unwrap().is_empty());
}

#[test]
fn wrong_selections_are_refused_with_all_names() {
    assert_eq!(refusal(&["a"], &["b"]), "include and exclude cannot be used together");
    assert_eq!(refusal(&[], &["a", "b", "c"]), "exclude leaves no collection");
    assert_eq!(
        refusal(&["x", "a", "y"], &[]),
        "no such collection: 'x', 'y'; the collections are 'a', 'b', 'c'"
    );
    assert_eq!(
        refusal(&[], &["a/z", "a/x", "d/x"]),
        "no such collection or tenant: 'a/z', 'd/x'; the collections are 'a', 'b', 'c'"
    );
}

fn renamed(renames: &[(&str, &str)]) -> std::result::Result<Vec<String>, String> {
    let owned = |(from, to): &(&str, &str)| ((*from).to_owned(), (*to).to_owned());
    let renames: Vec<_> = renames.iter().map(owned).collect();
    let selected = select(&Selection::default(), all()).unwrap();
    let selected = rename(selected, &renames).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.to_string()
    })?;
    let names = |it: &Selected| {
        let tenants = it.collection.tenants.iter().map(|tenant| tenant.name.clone());
        std::iter::once(it.collection.name.clone()).chain(tenants).collect::<Vec<_>>().join("/")
    };
    Ok(selected.iter().map(names).collect())
}

#[test]
fn renames_reach_collections_and_tenants() {
    assert_eq!(renamed(&[]).unwrap(), ["a/x/y", "b", "c"]);
    assert_eq!(renamed(&[("a", "A"), ("a/x", "z")]).unwrap(), ["A/z/y", "b", "c"]);
    assert_eq!(renamed(&[("b", "c"), ("c", "b")]).unwrap(), ["a/x/y", "c", "b"]);
    assert_eq!(renamed(&[("a/x", "y"), ("a/y", "x")]).unwrap(), ["a/y/x", "b", "c"]);
}

#[test]
fn wrong_renames_are_refused() {
    for (renames, message) in [
        (&[("b", "c")][..], "two collections would get the name 'c'"),
        (&[("a/x", "y")], "two tenants of 'a' would get the name 'y'"),
        (&[("b", "d"), ("b", "e")], "'b' is renamed twice"),
        (
            &[("d", "e"), ("a/z", "w")],
            "cannot rename 'a/z', 'd': what is restored is 'a', 'b', 'c'",
        ),
        (&[("a/x", "a/z")], "the name 'a/z' cannot be used: it contains '/'"),
    ] {
        assert_eq!(renamed(renames).expect_err("refused"), message);
    }
}
