//! Backends by options and variables: what `config show` tells, and a bucket from end to end.

use std::process::Command;

use siltstone_loopback::{gcs, recorder};

use crate::support::{Run, Sandbox};

/// A command that sees these variables of backends, and no others.
fn command(sandbox: &Sandbox, args: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command: Command = sandbox.command(args);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["AWS_", "AZURE_", "BACKUP_", "GOOGLE_"].iter().any(|it| name.starts_with(it)) {
            command.env_remove(name);
        }
    }
    command.env("AWS_EC2_METADATA_DISABLED", "true").envs(variables.iter().copied());
    command.output().expect("the program starts").into()
}

#[test]
fn config_show_tells_who_asks_and_hides_secrets() {
    let (sandbox, store) = (Sandbox::new(), recorder::serve(404).unwrap());
    let variables = [
        ("BACKUP_S3_BUCKET", "birds"),
        ("BACKUP_S3_ENDPOINT", &store.url()),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("AWS_REGION", "eu-north-1"),
        ("BACKUP_AZURE_CONTAINER", "birds"),
    ];
    let shown = command(&sandbox, &["config", "show", "--json"], &variables).objects();
    let of = |backend: &str| {
        shown.iter().find(|row| row["backend"] == backend).unwrap_or_else(|| panic!("{backend}"))
    };
    assert_eq!(of("filesystem")["status"], "ready");
    assert_eq!(of("s3")["status"], "ready");
    assert_eq!(of("s3")["credentials"], "access keys (AKIAEXAMPLE)");
    assert_eq!(of("gcs")["status"], "not configured");
    assert_eq!(of("azure")["status"], "wrong");
    let message = of("azure")["message"].as_str().unwrap();
    assert!(message.contains("AZURE_STORAGE_CONNECTION_STRING"), "{message}");
    let text = command(&sandbox, &["config", "show"], &variables).ok();
    assert!(text.contains("eu-north-1") && text.contains("not for production"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_bucket_takes_a_backup_and_gives_it_back() {
    let (sandbox, store) = (Sandbox::with_rows(), gcs::serve(0, &["birds"], None).unwrap());
    let variables =
        [("STORAGE_EMULATOR_HOST", store.url()), ("BACKUP_GCS_USE_AUTH", "false".to_owned())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let run = |words: &str| {
        let place = ["--backend", "gcs", "--bucket", "birds", "--path", "nightly/eu"];
        let words: Vec<&str> = words.split(' ').chain(place).collect();
        command(&sandbox, &words, &variables)
    };
    run("backup create monday --wait").ok();
    assert!(run("backup list").ok().contains("monday"));
    run("restore monday --data other --wait").ok();
    let rows = |data| sandbox.run(&["scan", "birds", "--data", data]).ok();
    assert_eq!(rows("data"), rows("other"));
    run("backup copy monday --to-root near").ok(); // for somebody to look at
    sandbox.run(&["restore", "monday", "--root", "near", "--data", "third", "--wait"]).ok();
    assert_eq!(rows("data"), rows("third"));
    assert!(store.seen().iter().any(|seen| seen.line.contains("nightly%2Feu%2Fmonday")
        || seen.line.contains("nightly/eu/monday")));
}

#[test]
fn options_that_cannot_be_say_why() {
    let sandbox = Sandbox::with_rows();
    for (words, named) in [
        ("--backend s3", "BACKUP_S3_BUCKET"),
        ("--backend tape", "'filesystem', 's3', 'gcs', 'azure'"),
        ("--path ../elsewhere", "may not lead upwards"),
        ("--bucket birds", "no bucket"),
        ("--backend gcs --bucket birds --path a//b", "empty part"),
    ] {
        let words: Vec<&str> = "backup list".split(' ').chain(words.split(' ')).collect();
        let run = command(&sandbox, &words, &[]);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.stderr.contains(named), "{run:?}");
    }
    sandbox.run(&["backup", "create", "b", "--path", "inside"]).ok();
    assert!(sandbox.path("backups/inside/b").exists());
}
