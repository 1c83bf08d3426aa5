//! `backup show`, `verify`, `copy`, `delete` and `prune`.

use std::{
    fs::OpenOptions,
    path::Path,
    time::{Duration, SystemTime},
};

use serde_json::json;

use crate::support::Sandbox;

/// Makes all files below a folder of the sandbox so much older.
fn grow_older(folder: &Path, by: Duration) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            grow_older(&entry.path(), by);
            continue;
        }
        let file = OpenOptions::new().write(true).open(entry.path()).unwrap();
        let modified: SystemTime = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - by).unwrap();
    }
}

const DAYS_3: Duration = Duration::from_hours(72);

#[test]
fn show_tells_everything_of_one_backup() {
    let sandbox = Sandbox::with_rows();
    sandbox.run(&["backup", "create", "monday"]).ok();
    sandbox.run(&["backup", "create", "tuesday"]).ok();
    let text = sandbox.run(&["backup", "show", "monday", "--chunks"]).ok();
    for part in [
        "backup 'monday' of store ",
        " on node '",
        "begun ",
        "all commits up to sequence ",
        "birds  3 puts, 0 deletes, ",
        "birds/eu  HOT, 2 puts, 0 deletes, ",
        "trees  1 put, 0 deletes, ",
        "chunk ",
    ] {
        assert!(text.contains(part), "'{part}' is not in:\n{text}");
    }
    let shown = sandbox.run(&["backup", "show", "tuesday", "--chunks", "--json"]).object();
    let totals = &shown["totals"];
    assert_eq!(
        (&totals["uploaded_bytes"], &shown["reused_bytes"]),
        (&json!(0), &totals["chunk_bytes"])
    );
    assert_eq!(shown["collections"][0]["tenants"][0]["puts"], 2);
    assert_eq!(shown["chunk_list"][0]["codec"], "gzip");
    let run = sandbox.run(&["backup", "show", "sunday"]);
    run.fails_with(4, &["there is no backup 'sunday' in folder"]);
}

#[test]
fn verify_ends_with_its_own_code_and_lists_all_damage() {
    let sandbox = Sandbox::with_rows();
    sandbox.run(&["backup", "create", "b"]).ok();
    for level in ["1", "2", "3"] {
        let verify = ["backup", "verify", "b", "--level", level, "--scratch", "."];
        let text = sandbox.run(&verify).ok();
        let says = format!("backup 'b' is sound at level {level}: 3 objects, ");
        assert!(text.starts_with(&says), "{text}");
    }
    let verify = ["backup", "verify", "b", "--level", "3", "--json"];
    let report = sandbox.run(&verify).object();
    assert_eq!((&report["sound"], &report["level"]), (&json!(true), &json!(3)));
    let rows: Vec<_> = report["trees"].as_array().unwrap().iter().map(|it| &it["rows"]).collect();
    assert_eq!(rows, [3, 2, 1]);
    assert!(!sandbox.path("siltstone-rehearsal").exists());

    let folder = sandbox.file("backups/.chunks", "");
    let chunk = sandbox.file(&folder, "");
    let name = chunk.strip_prefix("backups/").unwrap();
    sandbox.flip(&chunk, 100);
    sandbox.run(&["backup", "verify", "b"]).ok();
    for level in ["2", "3"] {
        let run = sandbox.run(&["backup", "verify", "b", "--level", level]);
        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.stdout.contains("is damaged at level") && run.stdout.contains(name), "{run:?}");
        assert!(run.stderr.starts_with("error: backup 'b' is damaged: "), "{run:?}");
        let run = sandbox.run(&["backup", "verify", "b", "--level", level, "--json"]);
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((run.code, &report["sound"]), (Some(3), &json!(false)));
    }
    sandbox.run(&["backup", "verify", "b", "--level", "4"]).refused(&["possible values: 1, 2, 3"]);
    sandbox.run(&["backup", "verify", "c"]).fails_with(4, &["there is no backup 'c'"]);
}

#[test]
fn a_copy_restores_without_its_source() {
    let sandbox = Sandbox::with_rows();
    sandbox.run(&["backup", "create", "b"]).ok();
    let copy = ["backup", "copy", "b", "--to-root", "copies"];
    let text = sandbox.run(&copy).ok();
    assert!(text.starts_with("copied 'b' to folder '") && text.contains(" as 'b': "), "{text}");
    sandbox.run(&copy).fails_with(5, &["backup 'b' exists already"]);
    let again = [&copy[..], &["--as", "b2", "--json"]].concat();
    let report = sandbox.run(&again).object();
    assert_eq!((&report["bytes_copied"], &report["verified"]["sound"]), (&json!(0), &json!(true)));
    std::fs::remove_dir_all(sandbox.path("backups")).unwrap();
    let copies = ["--root", "copies"];
    for id in ["b", "b2"] {
        let verify = ["backup", "verify", id, "--level", "3"];
        sandbox.run(&[&verify[..], &copies].concat()).ok();
        sandbox.run(&[&["restore", id, "--data", id][..], &copies].concat()).ok();
        let rows = sandbox.run(&["scan", "birds/eu"]).ok();
        assert_eq!(sandbox.run(&["scan", "birds/eu", "--data", id]).ok(), rows);
    }
    sandbox.run(&["backup", "copy", "b", "--to-root", "x"]).fails_with(4, &["no repository"]);
}

#[test]
fn nothing_is_deleted_without_a_yes() {
    let sandbox = Sandbox::with_rows();
    for id in ["a", "b"] {
        sandbox.run(&["backup", "create", id]).ok();
    }
    let run = sandbox.run(&["backup", "delete", "a"]);
    run.fails_with(2, &["Delete backup 'a' in folder '", "pass --yes"]);
    let run = sandbox.run(&["backup", "prune", "--keep-last", "1"]);
    run.fails_with(2, &["Delete 'a' in folder '", "pass --yes"]);
    sandbox.run(&["backup", "verify", "a", "--level", "2"]).ok();
    let text = sandbox.run(&["backup", "delete", "a", "--yes"]).ok();
    assert!(text.starts_with("deleted 'a'; its chunks of ") && text.contains("prune"), "{text}");
    sandbox.run(&["backup", "delete", "a", "--yes"]).fails_with(4, &["there is no backup 'a'"]);
    sandbox.run(&["backup", "verify", "b", "--level", "3"]).ok();
    sandbox.flip("backups/b/backup_config.json", 20);
    let run = sandbox.run(&["backup", "delete", "b", "--yes"]);
    run.fails_with(7, &["is damaged", "it can be deleted as damaged"]);
    sandbox.run(&["backup", "delete", "b", "--yes", "--damaged"]).ok();
    assert_eq!(sandbox.run(&["backup", "list"]).ok(), "there are no backups\n");
}

#[test]
fn a_prune_keeps_what_the_rules_say_and_frees_the_rest_after_the_grace() {
    let sandbox = Sandbox::with_rows();
    for (id, row) in [("a", "{\"id\":\"ash\"}\n"), ("b", "{\"id\":\"oak\"}\n"), ("c", "")] {
        sandbox.run(&["backup", "create", id]).ok();
        sandbox.write("more.jsonl", row);
        sandbox.run(&["import", "trees", "more.jsonl"]).ok();
    }
    let prune = |more: &[&str]| {
        let prune = ["backup", "prune", "--keep-last", "1", "--yes", "--json"];
        sandbox.run(&[&prune[..], more].concat()).object()
    };
    let text = sandbox.run(&["backup", "prune", "--keep-last", "1", "--dry-run"]).ok();
    assert!(text.starts_with("keep c  ") && text.contains("\ndelete b  "), "{text}");
    assert!(text.contains("  newest, last\n") && text.contains("would remove 0 chunks"), "{text}");
    let said = prune(&["--dry-run"]);
    let done = prune(&[]);
    assert_eq!(said["changes"], json!([{ "delete_backup": "a" }, { "delete_backup": "b" }]));
    assert_eq!((&done["changes"], &done["dry_run"]), (&said["changes"], &json!(false)));
    let list = sandbox.run(&["backup", "list"]).ok();
    assert!(list.starts_with("c  ") && list.lines().count() == 1, "{list}");

    // Two more backups leave behind what the first of them alone has.
    sandbox.run(&["import", "trees", "more.jsonl"]).ok();
    sandbox.write("more.jsonl", "{\"id\":\"elm\",\"tall\":true}\n");
    sandbox.run(&["import", "trees", "more.jsonl"]).ok();
    sandbox.run(&["backup", "create", "d", "--exclude", "birds"]).ok();
    sandbox.run(&["backup", "delete", "c", "--yes"]).ok();
    grow_older(&sandbox.path("backups"), DAYS_3);
    let report = prune(&[]);
    assert!(report["condemned"]["chunks"].as_u64() > Some(0), "{report}");
    assert_eq!(report["removed"]["chunks"], 0);
    let again = prune(&[]);
    assert_eq!((&again["waiting"], &again["changes"]), (&report["condemned"], &json!([])));
    grow_older(&sandbox.path("backups"), DAYS_3);
    let removed = prune(&[]);
    assert_eq!(removed["removed"], report["condemned"]);
    sandbox.run(&["backup", "verify", "d", "--level", "3"]).ok();
    assert_eq!(prune(&[])["changes"], json!([]));
    let run = sandbox.run(&["backup", "prune", "--grace", "10m"]);
    run.refused(&["is not an age; write such as 36h"]);
    sandbox.run(&["backup", "prune", "--grace", "0h"]).fails_with(2, &["at least 1 h"]);
}

#[test]
fn selections_take_wildcards() {
    let sandbox = Sandbox::with_rows();
    let make = |id: &str, list: &str, names: &str| {
        sandbox.run(&["backup", "create", id, list, names, "--json"])
    };
    assert_eq!(make("a", "--include", "b*").object()["collections"], json!(["birds"]));
    assert_eq!(make("b", "--exclude", "?irds").object()["collections"], json!(["trees"]));
    let run = make("c", "--include", "x*,birds/*,trees/?");
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.stderr.contains("no such collection or tenant: 'x*', 'trees/?'"), "{run:?}");
}
