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

#[test]
fn patterns_match_as_in_a_shell() {
    for (pattern, name, expected) in [
        ("*", "", true),
        ("*", "anything", true),
        ("?", "", false),
        ("?", "x", true),
        ("?", "\u{e9}", true), // a character, not a byte
        ("?", "xy", false),
        ("Art*", "Articles", true),
        ("Art*", "Art", true),
        ("Art*", "art", false),
        ("*s", "Articles", true),
        ("*s", "Article", false),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-b-b", false),
        ("*aab", "aaaab", true),
        ("a?c*", "abcd", true),
        ("**?", "x", true),
        ("**?", "", false),
        ("a*", "ba", false),
        ("", "", true),
        ("", "x", false),
    ] {
        assert_eq!(matches(pattern, name), expected, "'{pattern}' on '{name}'");
    }
    let (pattern, name) = ("a*".repeat(100) + "b", "a".repeat(255));
    assert!(!matches(&pattern, &name), "stars do not multiply the work");
}

#[test]
fn patterns_select_collections_and_tenants() {
    let line = |name: &str, trees: &[u64]| (name.to_owned(), trees.to_vec());
    let (a, b, c) = (line("a", &[10, 11, 12]), line("b", &[20]), line("c", &[30]));
    assert_eq!(trees(&["*"], &[]), [a.clone(), b.clone(), c.clone()]);
    assert_eq!(trees(&[], &["?/x"]), [line("a", &[10, 12]), b.clone(), c.clone()]);
    assert_eq!(trees(&["a/*"], &[]), [line("a", &[11, 12])]);
    assert_eq!(trees(&["*/y", "c*"], &[]), [line("a", &[12]), c]);
    assert_eq!(trees(&["?/?", "a"], &[]), trees(&["a"], &[]));
    assert_eq!(trees(&[], &["*c"]), [a, b]);
    assert_eq!(refusal(&[], &["?"]), "exclude leaves no collection");
    assert_eq!(
        refusal(&["d*", "a", "??"], &[]),
        "no such collection: 'd*', '??'; the collections are 'a', 'b', 'c'"
    );
    assert_eq!(
        refusal(&["b/*", "a/z*"], &[]),
        "no such collection or tenant: 'b/*', 'a/z*'; the collections are 'a', 'b', 'c'"
    );
}

#[test]
fn a_name_that_is_spelled_like_the_pattern_wins() {
    let with_stars = |names: &[&str]| -> Vec<StoredCollection> {
        let collection = |(tree, name): (u64, &&str)| StoredCollection {
            name: (*name).to_owned(),
            tree: TreeId(tree),
            tenants: Vec::new(),
        };
        (1..).zip(names).map(collection).collect()
    };
    let names = |pattern: &str, all: &[&str]| -> Vec<String> {
        let selected = select(&selection(&[pattern], &[]), with_stars(all)).unwrap();
        selected.into_iter().map(|it| it.collection.name).collect()
    };
    assert_eq!(names("a*", &["a*", "ab"]), ["a*"]);
    assert_eq!(names("a*", &["aa", "ab"]), ["aa", "ab"]);
    assert_eq!(names("a?", &["a?", "ab"]), ["a?"]);
}

proptest::proptest! {
    #[test]
    fn a_pattern_made_of_a_name_matches_it(
        name in "[ab?*]{0,12}",
        holes in proptest::collection::vec(proptest::bool::ANY, 12),
    ) {
        // Any character may become `?`, and a `*` may stand anywhere.
        let mut pattern = String::new();
        for (letter, hole) in name.chars().zip(&holes) {
            pattern.push(if *hole { '?' } else { letter });
        }
        proptest::prop_assert!(matches(&pattern, &name), "'{}' on '{}'", pattern, name);
        for at in 0..=pattern.len() {
            let mut starred = pattern.clone();
            starred.insert(at, '*');
            proptest::prop_assert!(matches(&starred, &name), "'{}' on '{}'", starred, name);
        }
        proptest::prop_assert!(pattern.contains('*') || !matches(&pattern, &(name + "z")));
    }
}
