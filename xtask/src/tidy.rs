//! The rules of the house that a machine can check. Every message says what to do.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::layers;

/// Lines of a file without its tests: beyond it a file tells more than one story.
const FILE_LINES_MAX: usize = 600;

/// Direct dependencies that `siltstone-lsm` may have.
const LSM_DEPENDENCIES_MAX: usize = 8;

/// Dependencies that exactly one file of the workspace imports.
const DOORS: [&str; 16] = [
    "tokio_uring",
    "memmap2",
    "rustix",
    "getrandom",
    "opendal",
    "reqsign_aws_v4",
    "reqsign_core",
    "reqsign_google",
    "flate2",
    "zstd_safe",
    "crc32fast",
    "blake3",
    "xxhash_rust",
    "quick_cache",
    "crossbeam_skiplist",
    "indicatif",
];

/// Words that no source holds, and what to do instead. (Split so that this file passes.)
const BANNED: [(&str, &str); 6] = [
    (concat!("#[", "allow("), "write #[expect(lint, reason = \"...\")]"),
    (concat!("#![", "allow("), "write #![expect(lint, reason = \"...\")]"),
    (concat!("#[", "ignore"), "run the test, or delete it"),
    (concat!("todo", "!("), "build it, or say it under Limitations"),
    (concat!("unimplemented", "!("), "build it, or say it under Limitations"),
    (concat!("FIX", "ME"), "mend it, or link an issue"),
];

/// Checks everything; the sentences that say what is broken.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let mut doors: Vec<Vec<PathBuf>> = vec![Vec::new(); DOORS.len()];
    for folder in ["crates", "xtask", "benches"] {
        for file in layers::rust_files(&root.join(folder))? {
            let text = fs::read_to_string(&file).context("cannot read a source file")?;
            let relative = file.strip_prefix(root).unwrap_or(&file).to_path_buf();
            broken.extend(check_file(&relative, &text));
            for (door, users) in DOORS.iter().zip(&mut doors) {
                if folder != "xtask" && uses(&text, door) {
                    users.push(relative.clone());
                }
            }
        }
    }
    for (door, users) in DOORS.iter().zip(doors) {
        if users.len() > 1 {
            broken.push(format!("{door} has {} doors, it may have one: {users:?}", users.len()));
        }
    }
    let manifest = fs::read_to_string(root.join("crates/lsm/Cargo.toml"));
    broken.extend(check_lsm(&manifest.context("cannot read the manifest of siltstone-lsm")?));
    let document = fs::read_to_string(root.join("docs/ARCHITECTURE.md"));
    for table in layers::read(&document.context("cannot read docs/ARCHITECTURE.md")?) {
        broken.extend(table.check(root)?);
    }
    Ok(broken)
}

fn check_file(path: &Path, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut say = |what: String| broken.push(format!("{}: {what}", path.display()));
    let is_test = path.iter().any(|part| part == "tests") || path.ends_with("tests.rs");
    if !text.starts_with("//!") && !is_test {
        say("begins without a `//!` header; say what the file is and why".to_owned());
    }
    if !text.is_ascii() {
        say("is not ASCII".to_owned());
    }
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text).lines().count();
    if code > FILE_LINES_MAX && !is_test {
        say(format!("has {code} lines; split it at its second story (limit {FILE_LINES_MAX})"));
    }
    for (word, instead) in BANNED {
        if text.contains(word) {
            say(format!("holds `{word}`: {instead}"));
        }
    }
    broken
}

/// Whether a source names a crate in a path or a `use`.
fn uses(text: &str, name: &str) -> bool {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or(line));
    let starts_word = |line: &str, at: usize| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
    };
    code.into_iter().any(|line| {
        let path = format!("{name}::");
        line.find(&path).is_some_and(|at| starts_word(line, at))
    })
}

fn check_lsm(manifest: &str) -> Vec<String> {
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let own = dependencies.split("\n[").next().unwrap_or_default();
    let names: Vec<&str> = own
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|n| !n.is_empty())
        .collect();
    let mut broken = Vec::new();
    if names.len() > LSM_DEPENDENCIES_MAX {
        broken.push(format!("siltstone-lsm has {} dependencies: {names:?}", names.len()));
    }
    let foreign = ["opendal", "tokio", "reqwest", "hyper", "axum", "tonic"];
    for name in names.iter().filter(|name| foreign.contains(name)) {
        broken.push(format!("siltstone-lsm may not depend on {name}"));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_file_passes_and_each_rule_bites() {
        let path = Path::new("crates/x/src/a.rs");
        assert!(check_file(path, "//! A file.\n").is_empty());
        assert_eq!(check_file(path, "fn f() {}\n").len(), 1, "no header");
        assert_eq!(check_file(path, &format!("//! A.\n{}", "\n".repeat(601))).len(), 1, "long");
        for (word, _) in BANNED {
            assert_eq!(check_file(path, &format!("//! A.\n{word}")).len(), 1, "{word}");
        }
        assert_eq!(check_file(path, "//! caf\u{e9}\n").len(), 1, "not ASCII");
    }

    #[test]
    fn doors_are_recognised_in_paths_and_not_in_comments() {
        assert!(uses("use blake3::Hasher;", "blake3"));
        assert!(uses("let h = blake3::hash(b);", "blake3"));
        assert!(!uses("// blake3::hash is fast", "blake3"));
        assert!(!uses("use my_blake3::Hasher;", "blake3"));
    }

    #[test]
    fn the_engine_keeps_its_dependencies_few() {
        let many: String = (0..9).map(|i| format!("d{i}.workspace = true\n")).collect();
        assert_eq!(check_lsm(&format!("[dependencies]\n{many}\n[lints]\n")).len(), 1);
        assert_eq!(check_lsm("[dependencies]\nopendal.workspace = true\n").len(), 1);
    }
}
