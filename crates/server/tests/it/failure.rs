//! Damage, newer versions and stores that are not there: what is said, and with which exit code.

use std::fs;

use crate::support::Sandbox;

#[test]
fn damage_is_named_with_file_and_offset() {
    let sandbox = Sandbox::with_rows();
    sandbox.run(&["check"]).ok();
    let files = [
        ("data/CURRENT".to_owned(), 24),
        (sandbox.file("data", "manifest-"), 20),
        (sandbox.file("data", "wal-"), 20),
        (sandbox.file("data/files", "0"), 20),
    ];
    for (file, offset) in files {
        sandbox.flip(&file, offset);
        let place = format!("({} at byte 0)", file.strip_prefix("data/").unwrap());
        let parts = [place.as_str(), "store data: ", "restore the latest backup"];
        sandbox.run(&["check"]).fails_with(3, &parts);
        sandbox.flip(&file, offset);
    }
    sandbox.run(&["check"]).ok();
}

#[test]
fn damage_is_corruption_to_other_commands() {
    let sandbox = Sandbox::with_rows();
    let file = sandbox.file("data", "manifest-");
    sandbox.flip(&file, 20);
    for args in [&["get", "trees", "elm"][..], &["scan", "birds"], &["backup", "create", "b"]] {
        sandbox.run(args).fails_with(7, &["the manifest is damaged", "manifest-"]);
    }
    sandbox.flip(&file, 20);
    fs::remove_dir_all(sandbox.path("data/files")).unwrap();
    sandbox.run(&["check"]).fails_with(3, &["the folder of the segments is missing", "(files"]);
    sandbox.run(&["get", "trees", "elm"]).fails_with(7, &["the folder of the segments"]);
}

#[test]
fn a_changed_version_is_never_taken_for_this_one() {
    let sandbox = Sandbox::with_rows();
    for name in ["CURRENT", "manifest-", "wal-"] {
        let file = sandbox.file("data", name);
        sandbox.flip(&file, 8); // the version, without its checksum
        sandbox.run(&["get", "trees", "elm"]).fails_with(7, &[name, "at byte 0"]);
        sandbox.flip(&file, 8);
    }
    sandbox.run(&["backup", "create", "b"]).ok();
    let newer = |object: &str| {
        let path = sandbox.path("backups").join(object);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"1.0\"", "\"2.0\"")).unwrap();
    };
    newer("b/backup_config.json");
    let damaged = "object 'b/backup_config.json' is damaged";
    for args in [&["restore", "b"][..], &["backup", "status", "b", "--data", "backups"]] {
        sandbox.run(args).fails_with(7, &[damaged]);
    }
    let list = sandbox.run(&["backup", "list"]).ok();
    assert!(list.starts_with("b  UNREADABLE") && list.contains(damaged), "{list}");
    newer("repository.json"); // this one has no checksum
    for args in [&["restore", "b"][..], &["backup", "list"], &["backup", "create", "c"]] {
        let parts = ["object 'repository.json' has format 2, newer than 1: upgrade siltstone"];
        sandbox.run(args).fails_with(7, &parts);
    }
}

#[test]
fn a_damaged_chunk_is_not_restored() {
    let sandbox = Sandbox::with_rows();
    sandbox.run(&["backup", "create", "b"]).ok();
    let folder = sandbox.file("backups/.chunks", "");
    let chunk = sandbox.file(&folder, "");
    sandbox.flip(&chunk, 100);
    let run = sandbox.run(&["restore", "b", "--data", "other"]);
    run.fails_with(7, &["restore of 'b' FAILED: ", chunk.strip_prefix("backups/").unwrap()]);
    sandbox.run(&["scan", "birds", "--data", "other"]).fails_with(4, &["no collection 'birds'"]);
    fs::remove_file(sandbox.path(&chunk)).unwrap();
    let run = sandbox.run(&["restore", "b", "--data", "other"]);
    run.fails_with(7, &[chunk.strip_prefix("backups/").unwrap()]);
}

#[test]
fn a_folder_that_holds_no_store_is_left_alone() {
    let sandbox = Sandbox::new();
    let absent =
        "store data: cannot open 'data': No such file or directory (os error 2); check the path";
    for args in [&["get", "a", "b"][..], &["scan", "a"], &["check"], &["backup", "create", "b"]] {
        assert_eq!(sandbox.run(args).fails(4), absent);
    }
    fs::create_dir(sandbox.path("data")).unwrap();
    for args in [&["get", "a", "b"][..], &["scan", "a"], &["check"], &["backup", "create", "b"]] {
        let message = "store data: there is no store in this folder; create one, or check the path";
        assert_eq!(sandbox.run(args).fails(4), message);
    }
    assert_eq!(fs::read_dir(sandbox.path("data")).unwrap().count(), 0);
    sandbox.write("in.jsonl", "{\"id\":1}\n");
    let run = sandbox.run(&["import", "a", "in.jsonl", "--data", "no/such"]);
    run.fails_with(4, &["cannot create 'no/such'", "make the folder above it"]);
    let run = sandbox.run(&["import", "a", "in.jsonl", "--data", "in.jsonl"]);
    run.fails_with(2, &["in.jsonl'", "Not a directory"]);
}
