//! `demo` on a small folder, and `check --acks` of what it leaves.

use std::fs;

use crate::support::Sandbox;

#[test]
fn a_small_demo_proves_itself() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("from")).unwrap();
    for number in 0..40 {
        sandbox.write(&format!("from/{number}"), format!("file {number} ").repeat(1000));
    }
    let args = ["demo", "--from", "from", "--size", "1MiB", "--dir", "kept", "--samples", "1000"];
    let report = sandbox.run(&[&args[..], &["--json"]].concat()).object();
    assert_eq!(report["equal"], true);
    assert!(report["loaded_bytes"].as_u64().unwrap() >= 1 << 20, "{report}");

    let check = ["check", "--data", "kept/store", "--acks", "kept/acks.log"];
    let checked = sandbox.run(&[&check[..], &["--json"]].concat()).object();
    assert_eq!(checked["ledger"]["acknowledged"], report["acknowledged_commits"]);
    sandbox.run(&check).ok();

    let acks = sandbox.path("kept/acks.log");
    let mut lines = fs::read_to_string(&acks).unwrap();
    lines.push_str("{\"writer\":0,\"counter\":99999999,\"key\":\"k\",\"hash\":null}\n");
    fs::write(&acks, lines).unwrap();
    sandbox.run(&check).fails_with(3, &["acknowledged commit writer-00/", "99999999 is lost"]);
    sandbox.run(&args).fails_with(1, &["kept/store exists already"]);
    let run = sandbox.run(&["demo", "--from", "kept/nothing"]);
    run.fails_with(1, &["there is nothing to load below kept/nothing", "--from"]);
    sandbox.run(&["demo", "--size", "5 parsecs"]).refused(&["is not a size"]);
}
