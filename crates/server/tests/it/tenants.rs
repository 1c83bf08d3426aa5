//! `tenant list`, `activate`, `deactivate`, `offload` and `fetch`.

use std::{fs, path::Path};

use serde_json::json;

use crate::support::Sandbox;

/// The names of all files below a folder of the sandbox.
fn files(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            names.extend(files(&entry.path()));
        } else {
            names.push(entry.file_name().into_string().unwrap());
        }
    }
    names.sort_unstable();
    names
}

/// Files of segments hold rows; one is there for each tree of a small store, or for several.
fn segment_bytes(sandbox: &Sandbox) -> u64 {
    let files = fs::read_dir(sandbox.path("data/files")).expect("a folder").map(Result::unwrap);
    files.map(|file| file.metadata().unwrap().len()).sum()
}

#[test]
fn a_tenant_goes_to_a_backend_and_comes_back() {
    let sandbox = Sandbox::with_rows();
    let rows = sandbox.run(&["scan", "birds/eu"]).ok();
    let before = segment_bytes(&sandbox);
    let gone = sandbox.run(&["tenant", "offload", "birds/eu", "--wait", "--json"]).object();
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("offload"), &json!("FROZEN")));
    assert_eq!((&gone["chunks"], &gone["tenant"]), (&json!(1), &json!("eu")));
    let id = gone["id"].as_str().unwrap();
    assert!(id.starts_with("offload-"), "{gone}");
    assert!(gone["bytes_done"].as_u64().unwrap() > 0, "{gone}");
    sandbox.run(&["check"]).ok();
    assert!(segment_bytes(&sandbox) < before, "its rows have left the disk");

    let list = sandbox.run(&["tenant", "list"]).ok();
    assert!(list.starts_with(&format!("birds/eu  FROZEN  {id} in folder '")), "{list}");
    let place = gone["place"].as_str().unwrap();
    for args in [&["scan", "birds/eu"][..], &["get", "birds/eu", "stork"]] {
        let hint = "fetch it back first (`siltstone tenant fetch birds/eu`)";
        sandbox.run(args).fails_with(1, &["is FROZEN", id, place, hint]);
    }
    let listed = sandbox.run(&["backup", "list"]).ok();
    assert!(listed.starts_with(id), "{listed}");
    let kept = ["backup", "delete", id, "--yes"];
    sandbox.run(&kept).fails_with(2, &["perhaps nowhere else: fetch it back"]);
    let made = sandbox.run(&["backup", "create", "b"]).ok();
    assert!(made.contains("; skipped, as FROZEN: birds/eu"), "{made}");

    let back = sandbox.run(&["tenant", "fetch", "birds/eu", "--wait"]).ok();
    assert!(back.starts_with("fetched 'birds/eu' back, it is HOT: "), "{back}");
    assert_eq!(sandbox.run(&["scan", "birds/eu"]).ok(), rows);
    assert_eq!(sandbox.run(&["tenant", "list"]).ok(), "birds/eu  HOT\n");
    assert!(!sandbox.path("backups").join(id).exists(), "the copy is gone");
    sandbox.run(&["backup", "verify", "b", "--level", "2"]).ok();

    // And once more, packed in another way, from which it comes back COLD.
    let speed = ["--cpu-percent", "20", "--bytes-per-second", "10MiB"];
    let gone = [&["tenant", "offload", "birds/eu", "--compression", "NoCompression"], &speed[..]];
    let said = sandbox.run(&gone.concat()).ok();
    assert!(said.starts_with("offloaded 'birds/eu' to folder '"), "{said}");
    let back = [&["tenant", "fetch", "birds/eu", "--cold", "--json"], &speed[..]].concat();
    let back = sandbox.run(&back).object();
    assert_eq!((&back["status"], &back["leftover"]), (&json!("COLD"), &json!(null)));
    let hint = "set it to HOT first (`siltstone tenant activate birds/eu`)";
    sandbox.run(&["scan", "birds/eu"]).fails_with(1, &["is COLD", hint]);
    sandbox.write("in.jsonl", "{\"id\":1}\n");
    sandbox.run(&["import", "birds/eu", "in.jsonl"]).fails_with(1, &[hint]);
    sandbox.run(&["tenant", "activate", "birds/eu"]).ok();
    assert_eq!(sandbox.run(&["scan", "birds/eu"]).ok(), rows);
}

#[test]
fn tenants_are_listed_and_set() {
    let sandbox = Sandbox::with_rows();
    sandbox.write("in.jsonl", "{\"id\":1}\n");
    sandbox.run(&["import", "trees/oak", "in.jsonl"]).ok();
    assert_eq!(sandbox.run(&["tenant", "list"]).ok(), "birds/eu  HOT\ntrees/oak  HOT\n");
    let said = sandbox.run(&["tenant", "deactivate", "birds/eu"]).ok();
    assert_eq!(said, "'birds/eu' is COLD\n");
    let objects = sandbox.run(&["tenant", "list", "birds", "--json"]).objects();
    let expected = json!({ "type": "result", "collection": "birds", "tenant": "eu",
                           "status": "COLD", "location": null });
    assert_eq!(objects, [expected]);
    let set = sandbox.run(&["tenant", "activate", "birds/eu", "--json"]).object();
    assert_eq!((&set["status"], &set["kind"]), (&json!("HOT"), &json!("status")));
    let run = sandbox.run(&["tenant", "list", "fish"]);
    assert_eq!(run.fails(4), "there is no collection 'fish'");
    sandbox.run(&["import", "moss", "in.jsonl"]).ok();
    assert_eq!(sandbox.run(&["tenant", "list", "moss"]).ok(), "there are no tenants\n");
    assert_eq!(sandbox.run(&["tenant", "list", "moss", "--json"]).ok(), "");
}

#[test]
fn what_cannot_travel_is_told_why_and_stays() {
    let sandbox = Sandbox::with_rows();
    for (target, missing) in
        [("birds/us", ["tenant", "'us'"]), ("fish/eu", ["collection", "'fish'"])]
    {
        for verb in ["offload", "fetch", "activate", "deactivate"] {
            sandbox.run(&["tenant", verb, target]).fails_with(4, &missing);
        }
    }
    for verb in ["offload", "fetch", "activate", "deactivate"] {
        sandbox.run(&["tenant", verb, "birds"]).refused(&["expected COLLECTION/TENANT"]);
    }
    let run = sandbox.run(&["tenant", "fetch", "birds/eu"]);
    assert_eq!(run.fails(2), "tenant 'eu' of 'birds' is not FROZEN");
    let elsewhere = ["--root", "no/such/folder"];
    let run = sandbox.run(&[&["tenant", "offload", "birds/eu"], &elsewhere[..]].concat());
    run.fails_with(6, &["no/such/folder'", "make the folder above it, or mount its disk"]);
    assert_eq!(sandbox.run(&["tenant", "list"]).ok(), "birds/eu  HOT\n");
    sandbox.run(&["scan", "birds/eu"]).ok();

    let gone = sandbox.run(&["tenant", "offload", "birds/eu", "--json"]).object();
    let run = sandbox.run(&["tenant", "offload", "birds/eu"]);
    assert_eq!(run.fails(2), "tenant 'eu' of 'birds' is FROZEN already");
    sandbox.run(&["tenant", "activate", "birds/eu"]).fails_with(1, &["is FROZEN", "fetch it back"]);
    sandbox.run(&["backup", "create", "b", "--root", "other"]).ok();
    for (root, why) in [("other", "there is no backup"), ("none", "there is no repository")] {
        let run = sandbox.run(&["tenant", "fetch", "birds/eu", "--root", root]);
        let place = gone["place"].as_str().unwrap();
        run.fails_with(4, &["the rows are not in folder", "they were offloaded to", place, why]);
    }
    let before = files(&sandbox.path("data/files"));
    let folder = sandbox.file("backups/.chunks", "");
    let chunk = sandbox.file(&folder, "");
    sandbox.flip(&chunk, 100);
    let run = sandbox.run(&["tenant", "fetch", "birds/eu"]);
    let failed = "the fetch of 'birds/eu' failed; the tenant is FROZEN: ";
    run.fails_with(7, &[failed, chunk.strip_prefix("backups/").unwrap()]);
    assert_eq!(files(&sandbox.path("data/files")), before, "nothing of it stays");
    sandbox.flip(&chunk, 100);
    sandbox.run(&["tenant", "fetch", "birds/eu"]).ok();
    assert_eq!(sandbox.run(&["scan", "birds/eu", "--keys-only"]).ok(), "stork\nswift\n");
}

#[test]
fn copies_that_nobody_needs_are_swept() {
    let sandbox = Sandbox::with_rows();
    sandbox.run(&["tenant", "sweep"]).fails_with(4, &["there is no repository of backups in"]);
    sandbox.run(&["backup", "create", "b"]).ok();
    let gone = sandbox.run(&["tenant", "offload", "birds/eu", "--json"]).object();
    // As if the machine had died before the copy was removed.
    let place = sandbox.path("backups");
    let id = gone["id"].as_str().unwrap();
    copy_folder(&place, &sandbox.path("kept"));
    sandbox.run(&["tenant", "fetch", "birds/eu"]).ok();
    let sweep = |options: &[&str]| sandbox.run(&[&["tenant", "sweep"], options].concat());
    assert_eq!(sweep(&[]).ok(), "removed 0 copied tenants that nobody needs, 0 B\n");
    let again =
        sandbox.run(&["tenant", "offload", "birds/eu", "--root", "kept", "--json"]).object();
    sweep(&["--root", "kept"]).fails_with(2, &["Delete", id, "pass --yes"]);
    let swept = sweep(&["--root", "kept", "--yes", "--json"]).object();
    assert_eq!(swept["removed"], json!([id]));
    assert!(swept["bytes"].as_u64().unwrap() > 0, "{swept}");
    assert!(!sandbox.path("kept").join(id).exists());
    assert!(sandbox.path("kept").join(again["id"].as_str().unwrap()).exists());
    sandbox.run(&["tenant", "fetch", "birds/eu", "--root", "kept"]).ok();
    sandbox.run(&["backup", "verify", "b", "--root", "kept", "--level", "2"]).ok();
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).expect("a folder").map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
