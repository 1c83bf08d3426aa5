//! What a backend needs to be told, one type a row of [`super::open`].

use std::{fmt, path::PathBuf};

/// Region for endpoints that do not care about it.
const REGION_DEFAULT: &str = "us-east-1";

/// Endpoint of AWS itself.
const ENDPOINT_DEFAULT: &str = "s3.amazonaws.com";

/// Which backend, and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BackendConfig {
    /// A folder of the operating system; its last component is made when it is first written to.
    Folder(PathBuf),
    /// Memory of this process, for tests and rehearsals.
    Memory,
    /// S3, or something that speaks its language.
    S3(S3Config),
}

/// A bucket.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct S3Config {
    /// The bucket; it must exist.
    pub bucket: String,
    /// Prefix of all objects within the bucket; may be empty.
    pub root: String,
    /// Host and port, with or without `http://` or `https://`; empty for AWS.
    pub endpoint: String,
    /// Without a scheme in `endpoint`: speak plain http. Default false.
    pub plain_http: bool,
    /// Empty: `us-east-1`.
    pub region: String,
    /// Key id and secret. Without: environment, profile, web identity, instance metadata.
    pub credentials: Option<(String, Secret)>,
}

impl S3Config {
    /// The endpoint with its scheme.
    pub fn endpoint_url(&self) -> String {
        let endpoint = match self.endpoint.trim().trim_end_matches('/') {
            "" => ENDPOINT_DEFAULT,
            given => given,
        };
        if endpoint.starts_with("http://") || endpoint.starts_with("https://") {
            endpoint.to_owned()
        } else if self.plain_http {
            format!("http://{endpoint}")
        } else {
            format!("https://{endpoint}")
        }
    }

    pub(super) fn region_or_default(&self) -> &str {
        if self.region.is_empty() { REGION_DEFAULT } else { &self.region }
    }
}

/// Text that is never shown.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_get_the_scheme_that_was_meant() {
        let url = |endpoint: &str, plain_http| {
            let endpoint = endpoint.to_owned();
            S3Config { endpoint, plain_http, ..S3Config::default() }.endpoint_url()
        };
        assert_eq!(url("", false), "https://s3.amazonaws.com");
        assert_eq!(url("minio:9000", true), "http://minio:9000");
        assert_eq!(url("minio:9000/", false), "https://minio:9000");
        assert_eq!(url("http://127.0.0.1:5100", false), "http://127.0.0.1:5100");
        assert_eq!(url("https://x", true), "https://x");
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Some(("id".to_owned(), Secret::new("hunter2")));
        let config = S3Config { credentials, ..S3Config::default() };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
