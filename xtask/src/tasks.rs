//! The tasks, one function each.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    backends,
    run::{cargo, exists, program, root, say, shown},
    servers::{self, Server},
    tidy as rules,
};

/// The rules of the house.
pub(crate) fn tidy() -> Result<()> {
    let broken = rules::check(&root())?;
    broken.iter().for_each(say);
    ensure!(broken.is_empty(), "{} rules are broken", broken.len());
    say("tidy: all rules hold");
    Ok(())
}

/// What decides whether a change lands.
pub(crate) fn test() -> Result<()> {
    let servers = servers::install_ahead(&Server::ALL);
    tidy()?;
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    cargo(&["test", "--workspace"])?;
    // What it could not install is told by the servers that cannot start.
    drop(servers.join());
    let mut skipped = backends::run_servers()?;
    if !exists("tar", &["--version"]) {
        skipped.push("reading chunks with the system's tar: there is none".to_owned());
    }
    report_skipped(&skipped);
    Ok(())
}

fn report_skipped(skipped: &[String]) {
    if skipped.is_empty() {
        say("\nall tests passed, none skipped");
        return;
    }
    say(format_args!("\nall tests passed; {} SKIPPED:", skipped.len()));
    for what in skipped {
        say(format_args!("  SKIPPED {what}"));
    }
}

/// Everything: tests, documentation, dependency policy.
pub(crate) fn ci() -> Result<()> {
    test()?;
    let mut doc = program("cargo", &["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    shown(doc)?;
    peers()?;
    if exists("cargo", &["deny", "--version"]) {
        cargo(&["deny", "--config", ".deny.toml", "check", "bans", "licenses", "sources"])?;
        advisories()
    } else {
        say("SKIPPED the dependency policy: cargo install cargo-deny");
        Ok(())
    }
}

/// No dependency with a known hole, by the database of advisories that this machine has: a run must
/// not depend on what somebody published a minute ago.
fn advisories() -> Result<()> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    if !home.is_some_and(|home| home.join("advisory-dbs").is_dir()) {
        say("SKIPPED the advisories: cargo deny fetch db");
        return Ok(());
    }
    cargo(&["deny", "--config", ".deny.toml", "check", "--disable-fetch", "advisories"])
}

/// The comparisons with peers (a workspace of their own) fit the rest; without RocksDB's build.
fn peers() -> Result<()> {
    let package = ["--manifest-path", "benches/peers/Cargo.toml", "--target-dir", "target"];
    let form = ["fmt", "--manifest-path", "benches/peers/Cargo.toml", "--check"];
    cargo(&form)?;
    let what = ["--no-default-features", "--all-targets"];
    cargo(&[&["clippy"], &package[..], &what, &["--", "-D", "warnings"]].concat())?;
    cargo(&[&["test"], &package[..], &what].concat())
}

/// Property tests with fresh seeds.
pub(crate) fn prop(seed: Option<u64>, cases: u32, minutes: Option<u64>) -> Result<()> {
    let started = now();
    let mut seed = seed.unwrap_or_else(fresh);
    let limit = Duration::from_secs(minutes.unwrap_or(0) * 60);
    let mut rounds = 0;
    loop {
        let mut command = program(
            "cargo",
            &[
                "test",
                "-p",
                "siltstone-lsm",
                "-p",
                "siltstone-backup",
                "--",
                "--nocapture",
                "model",
                "random",
                "match",
            ],
        );
        command.env("PROPTEST_CASES", cases.to_string()).env("PROPTEST_RNG_SEED", seed.to_string());
        shown(command)
            .with_context(|| format!("replay: cargo xtask prop --seed {seed} --cases {cases}"))?;
        rounds += 1;
        if started.elapsed() >= limit {
            say(format_args!("prop: {rounds} rounds of {cases} cases, no failure"));
            return Ok(());
        }
        seed = seed.wrapping_add(1);
    }
}

/// One fuzz target for some seconds.
pub(crate) fn fuzz(target: &str, seconds: u64) -> Result<()> {
    let folder = root().join("fuzz");
    let known = folder.join("targets").join(format!("{target}.rs"));
    ensure!(known.exists(), "there is no fuzz target '{target}'; see fuzz/targets");
    let flags = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                 -Cllvm-args=-sanitizer-coverage-pc-table \
                 -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Zsanitizer=address";
    let mut build = Command::new("cargo");
    build.args([
        "+nightly",
        "run",
        "--release",
        "--target",
        "x86_64-unknown-linux-gnu",
        "--bin",
        target,
    ]);
    build.args(["--", "-max_len=65536", &format!("-max_total_time={seconds}")]);
    let scratch = folder.join("target").join("corpus").join(target);
    fs::create_dir_all(&scratch).context("cannot make the scratch corpus")?;
    build.arg(&scratch).arg(folder.join("corpus").join(target));
    build.current_dir(&folder).env("RUSTFLAGS", flags);
    shown(build)
}

/// Kills the demo with -9 at random moments.
pub(crate) fn kills(count: u32) -> Result<()> {
    cargo(&["build", "--release", "-p", "siltstone"])?;
    let binary = root().join("target/release/siltstone");
    let folder = root().join("target/kills");
    let mut acknowledged = 0;
    for round in 1..=count {
        if folder.exists() {
            fs::remove_dir_all(&folder).context("cannot clear the folder of the last round")?;
        }
        fs::create_dir_all(&folder).context("cannot make the folder")?;
        let mut demo = Command::new(&binary);
        demo.args(["demo", "--size", "64MiB", "--dir"]).arg(&folder);
        demo.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = demo.spawn().context("cannot start the demo")?;
        let millis = 50 + fresh() % 4000;
        thread::sleep(Duration::from_millis(millis));
        child.kill().context("cannot kill the demo")?;
        child.wait().context("cannot wait for the demo")?;
        let (acks, text) = check(&binary, &folder)
            .with_context(|| format!("kill {round} of {count}, after {millis} ms"))?;
        acknowledged += acks;
        say(format_args!("kill {round:>3} of {count} after {millis:>4} ms: {text}"));
    }
    say(format_args!("{count} kills, {acknowledged} acknowledged commits, nothing lost"));
    Ok(())
}

/// Checks what a killed demo left; the acknowledged commits, and a line for the row.
fn check(binary: &Path, folder: &Path) -> Result<(u64, String)> {
    let (store, acks) = (folder.join("store"), folder.join("acks.log"));
    if !acks.exists() || !store.join("CURRENT").exists() {
        return Ok((0, "killed before the first commit".to_owned()));
    }
    let mut check = Command::new(binary);
    check.args(["check", "--json", "--data"]).arg(store).arg("--acks").arg(acks);
    let output = check.output().context("cannot run the check")?;
    if !output.status.success() {
        bail!("the check found damage: {}", String::from_utf8_lossy(&output.stderr));
    }
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).context("not JSON")?;
    let acks = json["ledger"]["acknowledged"].as_u64().unwrap_or(0);
    Ok((acks, format!("{acks} acknowledged commits are there")))
}

/// Bits that differ from call to call; randomness is not needed for more than variety.
fn fresh() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

#[expect(clippy::disallowed_methods, reason = "a tool for people may look at the clock")]
fn now() -> Instant {
    Instant::now()
}
