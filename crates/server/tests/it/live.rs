//! A backup while it runs, as other processes see it: status, lock, cancel, interrupt.

use std::{
    fmt::Write,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::support::{Run, Sandbox};

/// Rows of about a kilobyte each that compress slowly.
const ROWS: u64 = 48_000;

/// Looks for a backup, of some ten milliseconds each, before a test gives up.
const LOOKS_MAX: u32 = 3000;

fn import_much(sandbox: &Sandbox) {
    let mut state = 1_u64;
    let mut lines = String::new();
    for number in 0..ROWS {
        write!(lines, "{{\"id\":{number},\"x\":\"").unwrap();
        for _ in 0..64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            write!(lines, "{:016x}", state ^ (state >> 29)).unwrap();
        }
        lines.push_str("\"}\n");
    }
    sandbox.write("much.jsonl", lines);
    sandbox.run(&["import", "much", "much.jsonl"]).ok();
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Starts a backup and stops its process once it says that it is under way.
fn start(sandbox: &Sandbox, id: &str) -> Child {
    let args = ["backup", "create", id, "--compression", "BestCompression"];
    let mut command = sandbox.command(&args);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let is_under_way = |_: &u32| {
        thread::sleep(Duration::from_millis(5));
        sandbox.run(&["backup", "status", id]).code == Some(0)
    };
    (0..LOOKS_MAX).find(is_under_way).expect("the backup begins");
    signal(&child, "-STOP");
    child
}

fn end(child: Child) -> Run {
    signal(&child, "-CONT");
    child.wait_with_output().unwrap().into()
}

#[test]
fn others_see_a_running_backup_and_may_end_it() {
    let sandbox = Sandbox::new();
    import_much(&sandbox);

    let child = start(&sandbox, "canceled");
    let holder = format!("held by process {};", child.id());
    let status = sandbox.run(&["backup", "status", "canceled", "--json"]).object();
    assert!(["STARTED", "TRANSFERRING"].contains(&status["status"].as_str().unwrap()), "{status}");
    for args in [&["get", "much", "1"][..], &["check"], &["backup", "create", "other"]] {
        sandbox.run(args).fails_with(5, &["store data: ", &holder, "close the store there"]);
    }
    sandbox.run(&["backup", "cancel", "other"]).fails_with(4, &["'other'"]);
    let asked = sandbox.run(&["backup", "cancel", "canceled"]).ok();
    assert!(asked.starts_with("asked the backup 'canceled' to stop; it was "), "{asked}");
    assert_eq!(end(child).fails(1), "backup 'canceled' CANCELED: canceled by request");
    let status = sandbox.run(&["backup", "status", "canceled"]).ok();
    assert!(status.starts_with("backup 'canceled': CANCELED: canceled by request"), "{status}");
    assert_eq!(sandbox.run(&["backup", "list"]).ok(), "there are no backups\n");

    let child = start(&sandbox, "interrupted");
    signal(&child, "-TERM"); // a shell in the background has its children ignore SIGINT
    let run = end(child);
    assert_eq!((run.code, run.stdout.as_str()), (None, ""), "ended by the signal");
    let status = sandbox.run(&["backup", "status", "interrupted"]).ok();
    assert!(status.starts_with("backup 'interrupted': FAILED: interrupted: "), "{status}");

    let again = ["backup", "create", "interrupted", "--compression", "NoCompression"];
    sandbox.run(&again).ok();
    sandbox.run(&["restore", "interrupted", "--data", "other"]).ok();
    let row = sandbox.run(&["get", "much", "4711"]).ok();
    assert_eq!(sandbox.run(&["get", "much", "4711", "--data", "other"]).ok(), row);
}
