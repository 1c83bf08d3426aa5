//! `backup create`, `status`, `list` and `restore`.

use std::fs;

use crate::support::Sandbox;

#[test]
fn a_backup_goes_all_the_way_round() {
    let sandbox = Sandbox::with_rows();
    let made = sandbox.run(&["backup", "create", "monday", "--json"]).object();
    assert_eq!(made["status"], "SUCCESS");
    assert_eq!(made["collections"], serde_json::json!(["birds", "trees"]));
    assert_eq!((&made["totals"]["tenants"], &made["chunks"]), (&1.into(), &1.into()));
    let status = sandbox.run(&["backup", "status", "monday", "--json"]).object();
    assert_eq!((&status["kind"], &status["status"]), (&"create".into(), &"SUCCESS".into()));
    assert_eq!(status["bytes_done"], made["bytes_done"]);
    let again = sandbox.run(&["backup", "create", "tuesday"]).ok();
    assert!(again.starts_with("backed up 'tuesday': 2 collections, 0 B in 0 chunks"), "{again}");
    let list = sandbox.run(&["backup", "list"]).ok();
    let ids: Vec<&str> = list.lines().map(|line| line.split_once(' ').unwrap().0).collect();
    assert_eq!(ids, ["tuesday", "monday"]);

    let restored = sandbox.run(&["restore", "monday", "--data", "other"]).ok();
    assert!(restored.starts_with("restored 'monday': 2 collections, "), "{restored}");
    for target in ["birds", "birds/eu", "trees"] {
        let rows = sandbox.run(&["scan", target]).ok();
        assert_eq!(sandbox.run(&["scan", target, "--data", "other"]).ok(), rows);
    }
    let status = sandbox.run(&["backup", "status", "monday", "--data", "other"]).ok();
    assert!(status.starts_with("restore of 'monday': SUCCESS"), "{status}");
    sandbox.run(&["check", "--data", "other"]).ok();
}

#[test]
fn every_compression_restores() {
    let sandbox = Sandbox::with_rows();
    for level in [
        "DefaultCompression",
        "BestSpeed",
        "BestCompression",
        "ZstdDefaultCompression",
        "ZstdBestSpeed",
        "ZstdBestCompression",
        "nocompression",
    ] {
        let root = format!("root-{level}");
        let create = ["backup", "create", "b", "--compression", level, "--chunk-size", "2"];
        sandbox.run(&[&create[..], &["--root", &root, "--wait"]].concat()).ok();
        sandbox.run(&["restore", "b", "--root", &root, "--data", level, "--wait"]).ok();
        assert_eq!(
            sandbox.run(&["get", "trees", "elm", "--data", level]).ok(),
            "{\"id\":\"elm\"}\n"
        );
    }
}

#[test]
fn a_selection_takes_known_names() {
    let sandbox = Sandbox::with_rows();
    let create = |options: &[&str]| {
        sandbox.run(&[&["backup", "create", "some", "--json"], options].concat())
    };
    let unknown = "no such collection: 'fish', 'moss'; the collections are 'birds', 'trees'";
    for list in ["--include", "--exclude"] {
        let run = sandbox.run(&["backup", "create", "some", list, "fish,trees,moss"]);
        assert_eq!(run.fails(2), unknown);
    }
    create(&["--include", "birds", "--exclude", "trees"]).refused(&["cannot be used with"]);
    let made = create(&["--exclude", "birds"]).object();
    assert_eq!(made["collections"], serde_json::json!(["trees"]));
    let run = sandbox.run(&["restore", "some", "--include", "birds"]);
    assert_eq!(run.fails(2), "no such collection: 'birds'; the collections are 'trees'");
}

#[test]
fn a_restore_names_all_conflicts_and_takes_other_names() {
    let sandbox = Sandbox::with_rows();
    sandbox.run(&["backup", "create", "b"]).ok();
    let message = sandbox.run(&["restore", "b"]).fails(5);
    assert!(message.starts_with("these collections exist already: birds, trees; "), "{message}");
    assert_eq!(message.matches("exist already").count(), 1, "{message}");
    let run = sandbox.run(&["restore", "b", "--rename", "birds=old"]);
    run.fails_with(5, &["exist already: trees;"]);
    sandbox.run(&["restore", "b", "--rename", "birds=old", "--include", "birds"]).ok();
    assert_eq!(sandbox.run(&["scan", "old/eu", "--keys-only"]).ok(), "stork\nswift\n");
    sandbox.run(&["restore", "b", "--rename", "birds="]).refused(&["expected OLD=NEW"]);
}

#[test]
fn requests_that_cannot_be_are_refused() {
    let sandbox = Sandbox::with_rows();
    for id in ["Monday", "a b", "", "../up"] {
        sandbox.run(&["backup", "create", id]).fails_with(2, &["backup id", "a-z, 0-9"]);
    }
    for size in ["1", "513"] {
        let run = sandbox.run(&["backup", "create", "b", "--chunk-size", size]);
        run.refused(&["is not in 2..=512"]);
    }
    let run = sandbox.run(&["backup", "create", "b", "--compression", "zip"]);
    run.refused(&[
        "DefaultCompression, BestSpeed, BestCompression",
        "ZstdDefaultCompression, ZstdBestSpeed, ZstdBestCompression, NoCompression",
    ]);
    for percent in ["0", "81"] {
        let run = sandbox.run(&["backup", "create", "b", "--cpu-percent", percent]);
        run.refused(&["is not in 1..=80"]);
    }
    assert!(!sandbox.path("backups").exists(), "nothing was made");
}

#[test]
fn what_is_taken_or_missing_is_named() {
    let sandbox = Sandbox::with_rows();
    let missing = "there is no repository of backups in folder";
    sandbox.run(&["backup", "list"]).fails_with(4, &[missing, "/backups'"]);
    sandbox.run(&["backup", "create", "b"]).ok();
    let run = sandbox.run(&["backup", "create", "b"]);
    assert_eq!(run.fails(5), "backup 'b' exists already; choose another id");
    for args in [&["backup", "status", "c"][..], &["restore", "c", "--data", "other"]] {
        sandbox.run(args).fails_with(4, &["there is no backup 'c' in folder"]);
    }
    assert!(!sandbox.path("other").exists(), "no store is made for a backup that is not there");
    let run = sandbox.run(&["backup", "cancel", "b"]);
    assert_eq!(run.fails(4), "no backup or restore of 'b' runs here");
}

#[test]
fn a_repository_without_its_place_is_unreachable() {
    let sandbox = Sandbox::with_rows();
    let run = sandbox.run(&["backup", "create", "b", "--root", "no/such"]);
    run.fails_with(6, &["no/such'", "make the folder above it, or mount its disk"]);
    sandbox.write("file", "");
    let run = sandbox.run(&["backup", "create", "b", "--root", "file"]);
    run.fails_with(2, &["file'", "Not a directory"]);
}

#[test]
fn a_status_is_of_the_repository_that_was_asked_for() {
    let sandbox = Sandbox::with_rows();
    sandbox.run(&["backup", "create", "b"]).ok();
    sandbox.run(&["backup", "create", "c", "--root", "second"]).ok();
    let run = sandbox.run(&["backup", "status", "b", "--root", "second"]);
    run.fails_with(4, &["there is no backup 'b' in folder"]);
    let absolute = sandbox.path("backups/");
    let root = ["--root", absolute.to_str().unwrap()];
    let status = sandbox.run(&[&["backup", "status", "b"][..], &root].concat()).ok();
    assert!(status.starts_with("backup 'b': SUCCESS (") && status.contains(" of "), "{status}");
    fs::create_dir(sandbox.path("elsewhere")).unwrap();
    let status = sandbox.run(&["backup", "status", "b", "--data", "elsewhere"]).ok();
    assert!(status.starts_with("backup 'b': SUCCESS, completed "), "{status}");
}

#[test]
fn what_failed_restores_have_left_can_be_discarded() {
    let sandbox = Sandbox::with_rows();
    let told = sandbox.run(&["backup", "discard"]).ok();
    assert_eq!(told, "discarded 0 B of restores that failed\n");
    let told = sandbox.run(&["backup", "discard", "--json"]).object();
    assert_eq!((&told["kind"], &told["bytes_discarded"]), (&"discard".into(), &0.into()));
    sandbox.run(&["backup", "create", "monday"]).ok();
    sandbox.run(&["restore", "monday", "--data", "other"]).ok();
    let status = sandbox.run(&["backup", "status", "monday", "--data", "other", "--json"]).object();
    assert_eq!((&status["bytes_held"], &status["bytes_reused"]), (&0.into(), &0.into()));
    sandbox.run(&["backup", "discard", "--data", "nowhere"]).fails(4);
}
