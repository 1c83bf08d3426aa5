//! Where one request wants its backup, if not where the configuration says.
//!
//! A path inside of the configured folder, or any prefix of the configured bucket, is free to use;
//! other folders and buckets must be on a list. Paths are checked before anything is opened: none
//! leads out by `..`, and on disk none leads out by a symbolic link.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use crate::error::{Error, ErrorKind, Result};

/// Longest path within a bucket, in bytes; names of objects come on top, and 1,024 are the end.
const PREFIX_BYTES_MAX: usize = 512;

/// A place that a request names. Empty: as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// A folder, absolute or within the configured one; or a prefix within the bucket.
    pub path: Option<String>,
    /// Another bucket or container.
    pub bucket: Option<String>,
}

impl Place {
    /// A place with a path.
    #[must_use]
    pub fn with_path(self, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..self }
    }

    /// A place in a bucket.
    #[must_use]
    pub fn with_bucket(self, bucket: impl Into<String>) -> Self {
        Self { bucket: Some(bucket.into()), ..self }
    }

    /// The path, if one is named.
    pub(super) fn path(&self) -> Option<&str> {
        self.path.as_deref().filter(|path| !path.is_empty())
    }

    /// The bucket, if one is named.
    pub(super) fn bucket(&self) -> Option<&str> {
        self.bucket.as_deref().filter(|bucket| !bucket.is_empty())
    }
}

/// A folder that is `root`, lies in it, or lies in one of `allowed`, as that folder and the way
/// from there: without links and dots.
///
/// # Errors
/// `Invalid` for any other path.
pub(super) fn folder_within(
    root: &Path,
    path: &str,
    allowed: &[PathBuf],
) -> Result<(PathBuf, String)> {
    let wanted = root.join(path); // an absolute path takes its place
    let no = |why: &str| {
        let message = format!(
            "path '{path}' {why}; name a folder inside of '{}', or add it to \
             BACKUP_FILESYSTEM_ALLOWED_PATHS",
            root.display()
        );
        Err(Error::new(ErrorKind::Invalid, message))
    };
    if path.chars().any(char::is_control) {
        return no("holds a control character");
    }
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::RootDir);
    if !wanted.is_absolute() || !wanted.components().all(is_plain) {
        return no("may not lead upwards");
    }
    let resolved = resolve(&wanted)?;
    let allowed = allowed.iter().map(PathBuf::as_path);
    for folder in std::iter::once(root).chain(allowed) {
        let base = resolve(folder)?;
        if let Ok(below) = resolved.strip_prefix(&base) {
            let Some(below) = below.to_str() else { return no("is not text") };
            return Ok((base.clone(), below.to_owned()));
        }
    }
    no("is outside of the configured folder")
}

/// The path with all links followed, as far as it exists.
fn resolve(path: &Path) -> Result<PathBuf> {
    let mut missing = Vec::new();
    let mut there = path;
    loop {
        match fs::canonicalize(there) {
            Ok(found) => return Ok(missing.iter().rev().fold(found, |path, part| path.join(part))),
            // A link to nowhere is not a missing folder: what is made there would be elsewhere.
            Err(error) if is_absent(&error) && fs::symlink_metadata(there).is_err() => {
                match (there.parent(), there.file_name()) {
                    (Some(parent), Some(name)) => {
                        missing.push(name);
                        there = parent;
                    }
                    _ => return Err(unreadable(path, error)),
                }
            }
            Err(error) => return Err(unreadable(path, error)),
        }
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let message = format!("path '{}' cannot be looked up: {error}", path.display());
    Error::new(ErrorKind::Invalid, message).caused_by(error)
}

/// A prefix of a bucket: parts between single slashes, none of them empty or a dot.
///
/// # Errors
/// `Invalid` for anything else; `named` says where it was named.
pub(super) fn prefix(path: &str, named: &str) -> Result<String> {
    let path = path.trim_matches('/');
    let no = |why: &str| {
        let message = format!("{named} '{path}' {why}; name folders such as 'backups/birds'");
        Err(Error::new(ErrorKind::Invalid, message))
    };
    if path.is_empty() {
        return Ok(String::new());
    }
    if path.len() > PREFIX_BYTES_MAX {
        return no("is longer than 512 bytes");
    }
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return no("holds a control character or a backslash");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return no("has an empty part or a part of dots");
    }
    Ok(path.to_owned())
}

/// The bucket itself, or one of `allowed`.
///
/// # Errors
/// `Invalid` for any other bucket.
pub(super) fn bucket_among(configured: &str, wanted: &str, allowed: &[String]) -> Result<String> {
    if wanted == configured || allowed.iter().any(|name| name == wanted) {
        return Ok(wanted.to_owned());
    }
    let message = format!(
        "bucket '{wanted}' is not the configured one; use '{configured}', or add it to \
         BACKUP_ALLOWED_BUCKETS"
    );
    Err(Error::new(ErrorKind::Invalid, message))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn within(root: &Path, path: &str, allowed: &[PathBuf]) -> Result<PathBuf> {
        folder_within(root, path, allowed).map(|(base, below)| base.join(below))
    }

    fn kind<T: std::fmt::Debug>(outcome: Result<T>) -> ErrorKind {
        outcome.expect_err("refused").kind()
    }

    #[test]
    fn folders_inside_of_the_root_need_no_permission() {
        let home = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(home.path()).unwrap().join("root");
        assert_eq!(within(&root, "a/b", &[]).unwrap(), root.join("a/b"));
        let absolute = root.join("c").display().to_string();
        assert_eq!(within(&root, &absolute, &[]).unwrap(), root.join("c"));
        let message = within(&root, "/etc", &[]).expect_err("outside").to_string();
        assert!(message.contains("BACKUP_FILESYSTEM_ALLOWED_PATHS"), "{message}");
        for outside in ["..", "a/../../b", "/", "a/\nb", &format!("{}2", root.display())] {
            assert_eq!(kind(within(&root, outside, &[])), ErrorKind::Invalid, "{outside}");
        }
        let other = home.path().join("other");
        let allowed = [other.clone()];
        let inside = within(&root, &other.join("x").display().to_string(), &allowed);
        assert!(inside.unwrap().ends_with("other/x"));
        assert_eq!(kind(within(&root, "/etc", &allowed)), ErrorKind::Invalid);
    }

    #[test]
    fn links_do_not_lead_out() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        fs::create_dir_all(root.join("real")).unwrap();
        symlink("/etc", root.join("out")).unwrap();
        symlink("/no/such/folder", root.join("dangling")).unwrap();
        symlink(root.join("real"), root.join("in")).unwrap();
        for bad in ["out", "out/x", "dangling", "dangling/x"] {
            assert_eq!(kind(within(&root, bad, &[])), ErrorKind::Invalid, "{bad}");
        }
        assert!(within(&root, "in/x", &[]).unwrap().ends_with("root/real/x"));
    }

    #[test]
    fn prefixes_are_plain() {
        assert_eq!(prefix("/a/b/", "path").unwrap(), "a/b");
        assert_eq!(prefix("", "path").unwrap(), "");
        for bad in ["a//b", "../a", "a/..", "a/./b", "a\\b", "a\u{0}b", &"x".repeat(513)] {
            assert_eq!(kind(prefix(bad, "path")), ErrorKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn other_buckets_must_be_listed() {
        assert_eq!(bucket_among("a", "a", &[]).unwrap(), "a");
        assert_eq!(bucket_among("a", "b", &["b".to_owned()]).unwrap(), "b");
        let message = bucket_among("a", "c", &["b".to_owned()]).expect_err("foreign").to_string();
        assert!(message.contains("BACKUP_ALLOWED_BUCKETS"), "{message}");
    }

    proptest! {
        #[test]
        fn random_paths_never_leave_the_root(parts in prop::collection::vec(
            prop_oneof![Just("..".to_owned()), Just(".".to_owned()), Just(String::new()),
                        Just("out".to_owned()), Just("/".to_owned()), "[a-c]{1,2}"], 0..6,
        )) {
            let home = tempfile::tempdir().unwrap();
            let root = fs::canonicalize(home.path()).unwrap().join("root");
            fs::create_dir_all(root.join("a/b")).unwrap();
            symlink("..", root.join("out")).unwrap();
            let path = parts.join("/");
            if let Ok(folder) = within(&root, &path, &[]) {
                // Made for real, and asked where it is.
                fs::create_dir_all(&folder).unwrap();
                prop_assert!(fs::canonicalize(&folder).unwrap().starts_with(&root), "{path}");
            }
            if let Ok(prefix) = prefix(&path, "path") {
                prop_assert!(!prefix.split('/').any(|part| part == ".." || part == "."));
                prop_assert!(!prefix.starts_with('/') && !prefix.contains("//"));
            }
        }
    }
}
