//! [`Poison`]: once durability is unknown, writing stops until the store is opened again.

use std::sync::OnceLock;

use crate::error::{Error, ErrorKind, Result};

/// Unset, or the first cause.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    cause: OnceLock<String>,
}

impl Poison {
    /// Poisons, unless it already is.
    pub(crate) fn set(&self, cause: &Error) {
        self.cause.get_or_init(|| cause.to_string());
    }

    /// Whether it is set.
    pub(crate) fn is_set(&self) -> bool {
        self.cause.get().is_some()
    }

    /// Fails once poisoned.
    pub(crate) fn check(&self) -> Result<()> {
        self.cause.get().map_or(Ok(()), |cause| Err(poisoned(cause)))
    }
}

fn poisoned(cause: &str) -> Error {
    Error::new(
        ErrorKind::Poisoned,
        format!(
            "the store takes no more writes since an earlier failure left durability unknown; \
             close it and open it again (the failure: {cause})"
        ),
    )
}
