//! [`RelPath`]: a path below the root of a disk that cannot leave it.

use std::{fmt, path::Path};

use crate::error::{Error, ErrorKind, Result};

/// Longest component, in bytes (`NAME_MAX` of Linux file systems).
pub const COMPONENT_BYTES_MAX: usize = 255;

/// Longest path, in bytes; leaves room below `PATH_MAX` (4096) for the root.
pub const PATH_BYTES_MAX: usize = 2048;

/// A relative path of plain components, joined by `/`; empty means the root folder.
///
/// No component is empty, `.`, `..`, or holds a NUL or a backslash, so joining it to a root always
/// stays below that root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(String);

impl RelPath {
    /// The root folder itself.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// Checks and takes a path.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a component is empty, `.` or `..`, too long, or holds a NUL or a
    /// backslash.
    pub fn new(path: impl Into<String>) -> Result<Self> {
        let path = path.into();
        if path.is_empty() {
            return Ok(Self::root());
        }
        let fits = path.len() <= PATH_BYTES_MAX && path.split('/').all(component_is_plain);
        if fits {
            Ok(Self(path))
        } else {
            Err(Error::new(ErrorKind::Invalid, "use the path", path.escape_default())
                .because("components must be plain names below the root"))
        }
    }

    /// The path of `name` inside this folder.
    ///
    /// # Errors
    /// As [`RelPath::new`]; `name` must be one component.
    pub fn join(&self, name: &str) -> Result<Self> {
        if name.contains('/') {
            return Err(Error::new(ErrorKind::Invalid, "use the name", name.escape_default())
                .because("a name must be one component"));
        }
        if self.0.is_empty() { Self::new(name) } else { Self::new(format!("{}/{name}", self.0)) }
    }

    /// The folder that holds this path; the root holds itself.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self(self.0.rsplit_once('/').map_or_else(String::new, |(parent, _)| parent.to_owned()))
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(self.0.as_str(), |(_, name)| name)
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as a relative [`Path`].
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

fn component_is_plain(component: &str) -> bool {
    !component.is_empty()
        && component.len() <= COMPONENT_BYTES_MAX
        && component != "."
        && component != ".."
        && !component.contains(['\0', '\\'])
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str(".") } else { f.write_str(&self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_the_root_are_refused() {
        for bad in ["/etc", "..", "a/../b", "a//b", "a/", ".", "a/./b", "a\0b", "a\\b"] {
            let error = RelPath::new(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        }
        let long = "x".repeat(COMPONENT_BYTES_MAX + 1);
        assert_eq!(RelPath::new(long).expect_err("long").kind(), ErrorKind::Invalid);
    }

    #[test]
    fn join_parent_and_name_agree() {
        let path = RelPath::new("a").unwrap().join("b").unwrap();
        assert_eq!(path.as_str(), "a/b");
        assert_eq!((path.parent().as_str(), path.name()), ("a", "b"));
        assert_eq!(RelPath::root().join("c").unwrap().parent(), RelPath::root());
        assert!(path.join("c/d").is_err());
    }
}
