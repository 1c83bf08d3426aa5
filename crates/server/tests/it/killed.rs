//! The program killed with -9, at moments all over a backup and a restore: the next command goes on
//! from a true state, the id can be used again, and what is restored is right.

use std::{
    fmt::Write,
    fs,
    path::PathBuf,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use siltstone_io::env::{Clock, SystemClock};

use crate::support::Sandbox;

/// Rows of about half a kilobyte that compress slowly.
const ROWS: u64 = 16_000;

/// Kills of each kind, spread over the time that the work takes when nobody kills it.
const KILLS: u32 = 8;

fn import(sandbox: &Sandbox) {
    write_rows(sandbox);
    sandbox.run(&["import", "rows", "rows.jsonl"]).ok();
}

fn write_rows(sandbox: &Sandbox) {
    let mut state = 1_u64;
    let mut lines = String::new();
    for number in 0..ROWS {
        write!(lines, "{{\"id\":{number},\"x\":\"").unwrap();
        for _ in 0..32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            write!(lines, "{:016x}", state ^ (state >> 29)).unwrap();
        }
        lines.push_str("\"}\n");
    }
    sandbox.write("rows.jsonl", lines);
}

fn started(sandbox: &Sandbox, args: &[&str]) -> Child {
    let mut command = sandbox.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// How long a command takes that nobody kills.
fn timed(sandbox: &Sandbox, args: &[&str]) -> Duration {
    let clock = SystemClock::default();
    let begun = clock.monotonic();
    sandbox.run(args).ok();
    clock.monotonic().saturating_sub(begun)
}

/// Kills a command at so many eighths of its usual time; whether it was still running.
fn kill(sandbox: &Sandbox, args: &[&str], usual: Duration, eighths: u32) -> bool {
    let mut child = started(sandbox, args);
    thread::sleep(usual * eighths / KILLS + usual / 20);
    let was_running = child.try_wait().unwrap().is_none();
    child.kill().unwrap_or_default(); // it may just have ended
    child.wait().unwrap();
    was_running
}

fn status(sandbox: &Sandbox, args: &[&str]) -> String {
    let status = sandbox.run(&[args, &["--json"]].concat()).object();
    status["status"].as_str().unwrap().to_owned()
}

#[test]
fn a_killed_backup_is_failed_or_whole_and_its_id_can_be_used() {
    let sandbox = Sandbox::new();
    import(&sandbox);
    let rows = sandbox.run(&["scan", "rows"]).ok();
    let usual = timed(&sandbox, &["backup", "create", "usual", "--root", "elsewhere"]);
    let mut killed = 0;
    for eighths in 0..KILLS {
        let root = format!("repository-{eighths}");
        let of = |verb: &[&'static str]| -> Vec<String> {
            let args = verb.iter().copied().chain(["nightly", "--root", &root]);
            args.map(str::to_owned).collect()
        };
        let run = |args: &[String]| {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            sandbox.run(&args)
        };
        let create = of(&["backup", "create"]);
        let words: Vec<&str> = create.iter().map(String::as_str).collect();
        killed += u32::from(kill(&sandbox, &words, usual, eighths));
        let config = sandbox.path(&root).join("nightly/backup_config.json");
        let committed = config.exists();
        let again = run(&create);
        if committed {
            again.fails_with(5, &["'nightly' exists already"]);
        } else {
            again.ok();
        }
        let asked = of(&["backup", "status"]);
        let words: Vec<&str> = asked.iter().map(String::as_str).collect();
        assert_eq!(status(&sandbox, &words), "SUCCESS", "after {eighths} eighths");
        let data = format!("restored-{eighths}");
        let mut restore = of(&["restore"]);
        restore.extend(["--data".to_owned(), data.clone()]);
        run(&restore).ok();
        let found = sandbox.run(&["scan", "rows", "--data", &data]).ok();
        assert!(found == rows, "rows differ after a kill at {eighths} eighths");
    }
    assert!(killed >= KILLS / 2, "{killed} of {KILLS} were still running");
}

#[test]
fn a_killed_restore_is_all_there_or_not_at_all() {
    let sandbox = Sandbox::new();
    import(&sandbox);
    let rows = sandbox.run(&["scan", "rows"]).ok();
    sandbox.run(&["backup", "create", "nightly"]).ok();
    let usual = timed(&sandbox, &["restore", "nightly", "--data", "usual"]);
    let files = |data: &str| {
        let entries = fs::read_dir(sandbox.path(data).join("files")).unwrap();
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    let bytes = files("usual");
    let mut killed = 0;
    for eighths in 0..KILLS {
        let data = format!("target-{eighths}");
        let restore = ["restore", "nightly", "--data", &data];
        killed += u32::from(kill(&sandbox, &restore, usual, eighths));
        // Whatever the kill left: either all rows are there, or the restore can be asked for again.
        let again = sandbox.run(&restore);
        if again.code == Some(5) {
            again.fails_with(5, &["exist already: rows;"]);
        } else {
            again.ok();
        }
        let found = sandbox.run(&["scan", "rows", "--data", &data]).ok();
        assert!(found == rows, "rows differ after a kill at {eighths} eighths");
        let status = status(&sandbox, &["backup", "status", "nightly", "--data", &data]);
        assert_eq!(status, "SUCCESS", "after {eighths} eighths");
        assert_eq!(files(&data), bytes, "no file of the killed restore is left");
        sandbox.run(&["check", "--data", &data]).ok();
    }
    assert!(killed >= KILLS / 2, "{killed} of {KILLS} were still running");
}

/// Objects of chunks that are there.
fn chunks(sandbox: &Sandbox, repository: &str) -> usize {
    let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
    let folders = entries(sandbox.path(repository).join(".chunks"));
    folders.map(|folder| entries(folder.path()).count()).sum()
}

#[test]
fn a_killed_copy_goes_on_when_it_is_run_again() {
    let sandbox = Sandbox::new();
    import(&sandbox);
    sandbox.run(&["import", "more", "rows.jsonl"]).ok();
    let create = ["backup", "create", "nightly", "--chunk-size", "2"];
    sandbox.run(&[&create[..], &["--compression", "NoCompression"]].concat()).ok();
    let copy = ["backup", "copy", "nightly", "--to-root", "copies"];
    let mut child = started(&sandbox, &[&copy[..], &["--bytes-per-second", "2MiB"]].concat());
    // The first four of nine chunks take four seconds.
    for _ in 0..6000 {
        if chunks(&sandbox, "copies") > 0 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(child.try_wait().unwrap().is_none(), "the bound keeps it busy");
    child.kill().unwrap();
    child.wait().unwrap();
    let there = chunks(&sandbox, "copies");
    assert!(there > 0 && there < chunks(&sandbox, "backups"), "{there}");
    sandbox.run(&["backup", "verify", "nightly", "--root", "copies"]).fails_with(4, &["no backup"]);

    let report = sandbox.run(&[&copy[..], &["--cpu-percent", "80", "--json"]].concat()).object();
    assert_eq!(report["chunks_resumed"], there, "{report}");
    assert!(report["chunks_copied"].as_u64() > Some(0), "{report}");
    assert_eq!(chunks(&sandbox, "copies"), chunks(&sandbox, "backups"), "none is there twice");
    let verify = ["backup", "verify", "nightly", "--level", "3", "--root", "copies"];
    sandbox.run(&verify).ok();
    sandbox.run(&[&copy[..], &["--cpu-percent", "81"]].concat()).refused(&["81 is not in 1..=80"]);
}
