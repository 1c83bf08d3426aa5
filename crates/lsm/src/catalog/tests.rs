use super::*;

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let records = catalog.create_collection("Places", 1, TreeId(1)).unwrap();
    catalog = catalog.after(&records).unwrap();
    let records = catalog.create_tenants("Places", &["ann", "bob"], TreeId(2)).unwrap();
    catalog.after(&records).unwrap()
}

fn kind_and_text<T: std::fmt::Debug>(result: Result<T>) -> (ErrorKind, String) {
    let error = result.unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn names_are_checked() {
    for good in ["a", "Places", "with space", "\u{e9}t\u{e9}", &"x".repeat(NAME_BYTES_MAX)] {
        check_name(good).unwrap();
    }
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    let bad =
        [("", "empty"), ("a/b", "'/'"), ("a\nb", "control"), ("a\0", "control"), (&long, "255")];
    for (name, why) in bad {
        let (kind, text) = kind_and_text(check_name(name));
        assert_eq!(kind, ErrorKind::Invalid);
        assert!(text.contains(why) && text.len() < 200, "{text}");
    }
}

#[test]
fn names_are_exact_and_errors_name_the_thing() {
    let catalog = catalog();
    let error = kind_and_text(catalog.create_collection("Places", 2, TreeId(9)));
    assert_eq!(error, (ErrorKind::Exists, "collection 'Places' exists already".into()));
    catalog.create_collection("places", 2, TreeId(9)).unwrap();
    let error = kind_and_text(catalog.drop_collection("places"));
    assert_eq!(error, (ErrorKind::NotFound, "there is no collection 'places'".into()));
    let error = kind_and_text(catalog.tree_of("Places", Some("eve")));
    let text = "there is no tenant 'eve' in collection 'Places'";
    assert_eq!(error, (ErrorKind::NotFound, text.into()));
    let error = kind_and_text(catalog.rename_collection("Places", "Places"));
    assert_eq!(error.0, ErrorKind::Exists);
    assert_eq!(kind_and_text(catalog.rename_collection("x", "y")).0, ErrorKind::NotFound);
    assert_eq!(kind_and_text(catalog.rename_collection("Places", "")).0, ErrorKind::Invalid);
    let rename = |from, to| kind_and_text(catalog.rename_tenant("Places", from, to));
    let taken = "tenant of 'Places' exists already: 'bob'".to_owned();
    assert_eq!(rename("ann", "bob"), (ErrorKind::Exists, taken));
    assert_eq!(rename("eve", "adam").0, ErrorKind::NotFound);
    assert_eq!(rename("ann", "a/b").0, ErrorKind::Invalid);
}

#[test]
fn requests_for_many_tenants_are_all_or_nothing() {
    let catalog = catalog();
    let error = kind_and_text(catalog.create_tenants("Places", &["cat", "bob", "ann"], TreeId(9)));
    let text = "tenant of 'Places' exists already: 'bob', 'ann'";
    assert_eq!(error, (ErrorKind::Exists, text.into()));
    let error = kind_and_text(catalog.drop_tenants("Places", &["ann", "x"]));
    assert_eq!(error, (ErrorKind::NotFound, "tenant of 'Places' does not exist: 'x'".into()));
    let many: Vec<String> = (0..8).map(|n| format!("n{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (_, text) = kind_and_text(catalog.set_tenant_status("Places", &many, TenantStatus::Cold));
    assert!(text.ends_with("'n0', 'n1', 'n2', 'n3', 'n4', and 3 more"), "{text}");
    let error = kind_and_text(catalog.create_tenants("Places", &["cat", "cat"], TreeId(9)));
    assert_eq!(error.0, ErrorKind::Invalid);
    let error = kind_and_text(catalog.create_tenants("Places", &["cat", ""], TreeId(9)));
    assert_eq!(error.0, ErrorKind::Invalid);
}

#[test]
fn cold_tenants_do_not_answer_until_hot_again() {
    let hot = catalog();
    assert_eq!(hot.open_tree("Places", Some("ann")).unwrap(), TreeId(2));
    assert!(hot.answers(TreeId(2)));
    let set = |catalog: &Catalog, status| {
        let records = catalog.set_tenant_status("Places", &["ann"], status).unwrap();
        catalog.after(&records).unwrap()
    };
    let cold = set(&hot, TenantStatus::Cold);
    assert_eq!(kind_and_text(cold.open_tree("Places", Some("ann"))).0, ErrorKind::Unavailable);
    assert_eq!(cold.tree_of("Places", Some("ann")).unwrap(), TreeId(2));
    assert!(!cold.answers(TreeId(2)) && cold.answers(TreeId(3)) && cold.answers(TreeId(1)));
    assert!(hot.answers(TreeId(2)), "a clone from before is as before");
    assert_eq!(set(&cold, TenantStatus::Hot), hot);
}

#[test]
fn frozen_tenants_keep_their_location_until_they_are_back_or_gone() {
    let before = catalog();
    let freeze = |tree, location: &str| Record::FrozenTenant {
        collection: 1,
        name: "ann".into(),
        tree: TreeId(tree),
        location: location.into(),
    };
    let mut frozen = before.clone();
    assert_eq!(frozen.apply(&freeze(9, "shelf 1")).unwrap(), [TreeId(2)]);
    assert_eq!(frozen.owner(TreeId(2)), None);
    assert!(!frozen.answers(TreeId(9)) && frozen.owner(TreeId(9)).is_some());
    let (kind, text) = kind_and_text(frozen.open_tree("Places", Some("ann")));
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(text.contains("shelf 1") && text.contains("fetch it back"), "{text}");
    let records = frozen.rename_tenant("Places", "ann", "eve").unwrap();
    let renamed = frozen.after(&records).unwrap();
    let location = |catalog: &Catalog, name| {
        catalog.collection("Places").unwrap().location(name).map(str::to_owned)
    };
    assert_eq!(location(&renamed, "eve").as_deref(), Some("shelf 1"));
    assert_eq!(location(&renamed, "ann"), None);
    for status in [TenantStatus::Hot, TenantStatus::Cold] {
        let refused = kind_and_text(frozen.set_tenant_status("Places", &["bob", "ann"], status));
        assert_eq!(refused.0, ErrorKind::Unavailable);
        let record = Record::SetTenantStatus { collection: 1, name: "ann".into(), status };
        let back = frozen.after(&[record]).unwrap();
        assert_eq!(location(&back, "ann"), None);
        assert_eq!(back.collection("Places").unwrap().tenant("ann").unwrap().status, status);
    }
    let records = frozen.drop_tenants("Places", &["ann"]).unwrap();
    let mut dropped = frozen.after(&records).unwrap();
    assert_eq!(location(&dropped, "ann"), None);
    assert_eq!(dropped.apply(&freeze(10, "shelf 2")).unwrap(), [], "it may also be a new one");
    assert_eq!(location(&dropped, "ann").as_deref(), Some("shelf 2"));
    for location in ["", "a\nb", &"x".repeat(LOCATION_BYTES_MAX + 1)] {
        assert_eq!(kind_and_text(before.clone().apply(&freeze(9, location))).0, ErrorKind::Invalid);
    }
}

#[test]
fn renames_keep_trees_and_drops_return_them() {
    let before = catalog();
    let records = before.rename_collection("Places", "Sites").unwrap();
    let mut renamed = before.after(&records).unwrap();
    assert_eq!(renamed.collection("Sites").unwrap().name.as_ref(), "Sites");
    assert_eq!(renamed.tree_of("Sites", Some("bob")).unwrap(), TreeId(3));
    assert!(renamed.collection("Places").is_err());
    assert_eq!(renamed.collection_by_id(1).unwrap().name.as_ref(), "Sites");
    let records = renamed.rename_tenant("Sites", "ann", "anna").unwrap();
    renamed = renamed.after(&records).unwrap();
    assert_eq!(renamed.tree_of("Sites", Some("anna")).unwrap(), TreeId(2));
    assert_eq!(renamed.owner(TreeId(2)).unwrap().tenant.as_deref(), Some("anna"));
    assert!(renamed.tree_of("Sites", Some("ann")).is_err());
    let tenant = renamed.drop_tenants("Sites", &["anna"]).unwrap();
    assert_eq!(renamed.apply(&tenant[0]).unwrap(), [TreeId(2)]);
    assert_eq!(renamed.owner(TreeId(2)), None);
    let all = renamed.drop_collection("Sites").unwrap();
    assert_eq!(renamed.apply(&all[0]).unwrap(), [TreeId(1), TreeId(3)]);
    assert_eq!(renamed, Catalog::default());
    assert_eq!(before.trees().collect::<Vec<_>>(), [TreeId(1), TreeId(2), TreeId(3)]);
}

#[test]
fn records_that_do_not_fit_change_nothing() {
    let before = catalog();
    let tenant = |name: &str, tree| Record::CreateTenant {
        collection: 1,
        name: name.into(),
        tree: TreeId(tree),
        status: TenantStatus::Hot,
    };
    let rename = |name: &str, to: &str| Record::RenameTenant {
        collection: 1,
        name: name.into(),
        to: to.into(),
    };
    let frozen = |name: &str, tree, location: &str| Record::FrozenTenant {
        collection: 1,
        name: name.into(),
        tree: TreeId(tree),
        location: location.into(),
    };
    for record in [
        tenant("ann", 9),
        tenant("eve", 3), // the tree has an owner
        tenant("a/b", 9),
        Record::CreateCollection { id: 1, name: "x".into(), tree: TreeId(9) },
        Record::CreateCollection { id: 2, name: "x".into(), tree: TreeId(1) },
        Record::CreateCollection { id: 2, name: "Places".into(), tree: TreeId(9) },
        Record::DropCollection { id: 2 },
        Record::DropTenant { collection: 1, name: "eve".into() },
        Record::RenameCollection { id: 1, name: "Places".into() },
        rename("ann", "bob"),
        rename("ann", "a/b"),
        rename("eve", "adam"),
        Record::RenameCollection { id: 2, name: "x".into() },
        Record::SetTenantStatus { collection: 2, name: "ann".into(), status: TenantStatus::Cold },
        Record::SetTenantStatus { collection: 1, name: "ann".into(), status: TenantStatus::Frozen },
        frozen("ann", 3, "shelf"), // the tree has an owner
        frozen("ann", 2, "shelf"), // also if it is its own
        frozen("a/b", 9, "shelf"),
        frozen("ann", 9, ""),
    ] {
        let mut after = before.clone();
        assert!(after.apply(&record).is_err(), "{record:?}");
        assert_eq!(after, before, "{record:?}");
    }
}
