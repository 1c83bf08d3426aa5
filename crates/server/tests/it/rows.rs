//! `import`, `get` and `scan`.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
};

use crate::support::Sandbox;

#[test]
fn an_import_counts_new_and_replaced_keys() {
    let sandbox = Sandbox::new();
    sandbox.write("in.jsonl", "{\"id\":\"a\",\"n\":1}\n{\"id\":2}\n{\"id\":\"a\",\"n\":3}\n");
    let report = sandbox.run(&["import", "birds", "in.jsonl"]).ok();
    assert_eq!(report, "3 lines imported into 'birds': 2 new keys, 1 replaced, 40 B\n");
    let report = sandbox.run(&["import", "birds", "in.jsonl", "--json"]).object();
    let [lines, rows, duplicates] = ["lines", "rows", "duplicates"].map(|name| &report[name]);
    assert_eq!((lines, rows, duplicates), (&3.into(), &0.into(), &3.into()));
    assert_eq!(sandbox.run(&["get", "birds", "a"]).ok(), "{\"id\":\"a\",\"n\":3}\n");
    assert_eq!(sandbox.run(&["scan", "birds", "--keys-only"]).ok(), "2\na\n");
}

#[test]
fn blank_lines_and_carriage_returns_are_left_out() {
    let sandbox = Sandbox::new();
    sandbox.write("in.jsonl", "{\"id\":\"a\"}\r\n\r\n\n   \n{\"id\":\"b\"}");
    let report = sandbox.run(&["import", "birds", "in.jsonl"]).ok();
    assert_eq!(report, "2 lines imported into 'birds': 2 new keys, 0 replaced, 20 B\n");
    assert_eq!(sandbox.run(&["scan", "birds"]).ok(), "a\t{\"id\":\"a\"}\nb\t{\"id\":\"b\"}\n");
}

#[test]
fn standard_input_goes_into_a_tenant() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(&["import", "birds/eu", "-", "--key", "name"]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{\"name\":\"stork\"}\n").unwrap();
    let run = crate::support::Run::from(child.wait_with_output().unwrap());
    assert_eq!(run.ok(), "1 line imported into 'birds/eu': 1 new key, 0 replaced, 16 B\n");
    let row = sandbox.run(&["get", "birds/eu", "stork", "--json"]).object();
    assert_eq!(row, serde_json::json!({ "key": "stork", "value": "{\"name\":\"stork\"}" }));
    assert_eq!(sandbox.run(&["scan", "birds"]).ok(), "", "the collection has rows of its own");
}

#[test]
fn input_that_cannot_be_refused_by_line() {
    let sandbox = Sandbox::new();
    let long = format!("{{\"id\":\"{}\"}}", "k".repeat(65_536));
    for (bad, what) in [
        ("nonsense", "not a JSON object: expected"),
        ("[1]", "not a JSON object"),
        ("{\"id\":true}", "field 'id' is neither text nor a number"),
        ("{\"name\":1}", "there is no field 'id'; name the key field with --key"),
        ("{\"id\":\"\"}", "the key has 0 bytes; 1 to 65535 are allowed"),
        (long.as_str(), "the key has 65536 bytes; 1 to 65535 are allowed"),
    ] {
        sandbox.write("in.jsonl", format!("{{\"id\":1}}\n\n{bad}\n"));
        let message = sandbox.run(&["import", "birds", "in.jsonl"]).fails(2);
        assert!(message.starts_with(&format!("in.jsonl, line 3: {what}")), "{message}");
    }
    let longest = format!("{{\"id\":\"{}\"}}", "k".repeat(65_535));
    sandbox.write("in.jsonl", longest);
    sandbox.run(&["import", "birds", "in.jsonl"]).ok();
}

#[test]
fn files_that_cannot_be_read_are_named_before_anything_is_made() {
    let sandbox = Sandbox::new();
    let run = sandbox.run(&["import", "birds", "no.jsonl"]);
    run.fails_with(4, &["cannot open no.jsonl: No such file"]);
    fs::create_dir(sandbox.path("folder")).unwrap();
    sandbox.run(&["import", "birds", "folder"]).fails_with(2, &["folder is a folder"]);
    assert!(!sandbox.path("data").exists());
    for name in ["", "birds/", "/eu", "birds/eu/north"] {
        let run = sandbox.run(&["import", name, "no.jsonl"]);
        run.refused(&["expected COLLECTION or COLLECTION/TENANT"]);
    }
}

#[test]
fn a_scan_has_bounds_in_both_directions() {
    let sandbox = Sandbox::with_rows();
    let scan = |options: &[&str]| {
        let args = [&["scan", "birds", "--keys-only"], options].concat();
        sandbox.run(&args).ok().replace('\n', " ")
    };
    assert_eq!(scan(&[]), "7 heron robin ");
    assert_eq!(scan(&["--reverse"]), "robin heron 7 ");
    assert_eq!(scan(&["--reverse", "--limit", "2"]), "robin heron ");
    assert_eq!(scan(&["--limit", "0"]), "");
    assert_eq!(scan(&["--prefix", "r"]), "robin ");
    assert_eq!(scan(&["--start", "heron"]), "heron robin ");
    assert_eq!(scan(&["--end", "heron"]), "7 ");
    assert_eq!(scan(&["--start", "heron", "--end", "robin"]), "heron ");
    assert_eq!(scan(&["--start", "robin", "--end", "heron"]), "");
    let run = sandbox.run(&["scan", "birds", "--prefix", "a", "--start", "b"]);
    run.refused(&["--prefix", "cannot be used with", "--start"]);
    let rows = sandbox.run(&["scan", "birds/eu", "--json"]).objects();
    assert_eq!(rows[0]["key"], "stork");
    assert_eq!(rows.len(), 2);
}

#[test]
fn what_is_not_there_is_named() {
    let sandbox = Sandbox::with_rows();
    for (args, message) in [
        (["get", "birds", "owl"], "there is no key 'owl' in 'birds'"),
        (["get", "birds/eu", "owl"], "there is no key 'owl' in 'birds/eu'"),
        (["get", "fish", "owl"], "there is no collection 'fish'"),
        (["get", "birds/us", "owl"], "there is no tenant 'us' in collection 'birds'"),
    ] {
        assert_eq!(sandbox.run(&args).fails(4), message);
    }
    let error = sandbox.run(&["get", "birds", "owl", "--json"]);
    assert_eq!(error.code, Some(4));
    let error: serde_json::Value = serde_json::from_str(&error.stderr).unwrap();
    assert_eq!((&error["type"], &error["exit_code"]), (&"error".into(), &4.into()));
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let sandbox = Sandbox::new();
    let lines: String = (0..20_000).map(|n| format!("{{\"id\":\"{n:05}\",\"x\":0}}\n")).collect();
    sandbox.write("in.jsonl", lines);
    sandbox.run(&["import", "birds", "in.jsonl"]).ok();
    for json in [&[][..], &["--json"]] {
        let mut command = sandbox.command(&[&["scan", "birds"], json].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("00000"), "{line}");
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let sandbox = Sandbox::with_rows();
    for args in [&["scan", "birds"][..], &["get", "birds", "heron"], &["check"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = sandbox.command(args).stdout(full).output().unwrap();
        let run = crate::support::Run::from(output);
        run.fails_with(1, &["cannot write to standard output: No space left"]);
    }
}
