//! What a backend needs to be told, one type a row of [`super::open`].

use std::{collections::BTreeMap, fmt, path::PathBuf};

/// Region for endpoints that do not care about it.
const REGION_DEFAULT: &str = "us-east-1";

/// Endpoints of AWS and of Google.
const S3_ENDPOINT_DEFAULT: &str = "s3.amazonaws.com";
const GCS_ENDPOINT_DEFAULT: &str = "https://storage.googleapis.com";

/// Which backend, and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BackendConfig {
    /// A folder of the operating system; its last component is made when it is first written to.
    Folder(PathBuf),
    /// A folder within another one; what is missing of `path` is made along with it.
    FolderIn {
        /// The outer folder, as in [`BackendConfig::Folder`].
        base: PathBuf,
        /// Plain names below it, between slashes.
        path: String,
    },
    /// Memory of this process, for tests and rehearsals.
    Memory,
    /// S3, or something that speaks its language.
    S3(S3Config),
    /// Google Cloud Storage.
    Gcs(GcsConfig),
    /// Azure Blob Storage.
    Azure(AzureConfig),
}

/// A bucket of S3.
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
    /// Whether the bucket stands in the name of the host. `None`: on AWS alone, unless the bucket
    /// has a dot in its name, which the certificate of AWS would not cover.
    pub virtual_host: Option<bool>,
    /// Who asks.
    pub credentials: S3Credentials,
}

/// Who asks S3.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum S3Credentials {
    /// These keys.
    Keys {
        /// The key id.
        key_id: String,
        /// The secret key.
        secret: Secret,
        /// The token of a session, with keys that end by themselves.
        session_token: Option<Secret>,
    },
    /// What these variables lead to, a role before keys: see [`super::Settings`].
    Search(Environment),
}

impl Default for S3Credentials {
    fn default() -> Self {
        Self::Search(Environment::default())
    }
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GcsConfig {
    /// The bucket; it must exist.
    pub bucket: String,
    /// Prefix of all objects within the bucket; may be empty.
    pub root: String,
    /// Address of an emulator, with or without scheme (then `http://`); empty for Google.
    pub endpoint: String,
    /// Sign nothing: for emulators and public buckets. Default false.
    pub anonymous: bool,
    /// Where application default credentials are looked for: see [`super::Settings`].
    pub environment: Environment,
}

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct AzureConfig {
    /// The container; it must exist.
    pub container: String,
    /// Prefix of all objects within the container; may be empty.
    pub root: String,
    /// Who asks, and where.
    pub account: AzureAccount,
}

/// Who asks Azure, and where.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AzureAccount {
    /// What Azure's portal shows under "access keys".
    ConnectionString(Secret),
    /// An account of the public cloud, with a key in base64; without one nothing is signed.
    Named {
        /// The account.
        name: String,
        /// One of its two keys.
        key: Option<Secret>,
    },
}

impl Default for AzureAccount {
    fn default() -> Self {
        Self::Named { name: String::new(), key: None }
    }
}

impl S3Config {
    /// The endpoint with its scheme.
    pub fn endpoint_url(&self) -> String {
        let endpoint = match self.endpoint.trim().trim_end_matches('/') {
            "" => S3_ENDPOINT_DEFAULT,
            given => given,
        };
        with_scheme(endpoint, if self.plain_http { "http" } else { "https" })
    }

    /// Whether the endpoint is one of AWS itself.
    pub fn is_aws(&self) -> bool {
        let url = self.endpoint_url();
        let host = url.split_once("://").map_or("", |(_, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
    }

    /// The region, or the one that stands for none.
    pub fn region_or_default(&self) -> &str {
        if self.region.is_empty() { REGION_DEFAULT } else { &self.region }
    }

    pub(super) fn is_virtual_host(&self) -> bool {
        self.virtual_host.unwrap_or_else(|| self.is_aws() && !self.bucket.contains('.'))
    }
}

impl GcsConfig {
    /// The endpoint with its scheme.
    pub fn endpoint_url(&self) -> String {
        match self.endpoint.trim().trim_end_matches('/') {
            "" => GCS_ENDPOINT_DEFAULT.to_owned(),
            given => with_scheme(given, "http"),
        }
    }
}

impl AzureAccount {
    /// What the connection string says under `field`; names are as Azure writes them.
    fn field(text: &Secret, field: &str) -> Option<String> {
        let pairs = text.expose().split(';').filter_map(|pair| pair.trim().split_once('='));
        let mut values = pairs.filter(|(name, _)| name.eq_ignore_ascii_case(field));
        values.next().map(|(_, value)| value.to_owned()).filter(|value| !value.is_empty())
    }

    /// The name of the account, as far as it is known.
    pub fn name(&self) -> String {
        match self {
            Self::Named { name, .. } => name.clone(),
            Self::ConnectionString(text) => (Self::field(text, "AccountName"))
                .or_else(|| Self::field(text, "BlobEndpoint"))
                .unwrap_or_else(|| "devstoreaccount1".to_owned()), // UseDevelopmentStorage=true
        }
    }

    /// How requests are signed, for people.
    pub fn credentials(&self) -> &'static str {
        match self {
            Self::Named { key: Some(_), .. } => "account key",
            Self::Named { key: None, .. } => "none (anonymous)",
            Self::ConnectionString(text) => {
                let has = |field| Self::field(text, field).is_some();
                if has("SharedAccessSignature") {
                    "shared access signature of the connection string"
                } else if has("AccountKey") || has("UseDevelopmentStorage") {
                    "account key of the connection string"
                } else {
                    "none (anonymous)"
                }
            }
        }
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.credentials().starts_with("none")
    }
}

fn with_scheme(endpoint: &str, scheme: &str) -> String {
    if endpoint.starts_with("http://") || endpoint.starts_with("https://") {
        endpoint.to_owned()
    } else {
        format!("{scheme}://{endpoint}")
    }
}

/// Variables, taken from the environment of a process or made up by a test.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of `names` that are set, and not empty.
    pub fn take(names: &[&str], lookup: impl Fn(&str) -> Option<String>) -> Self {
        let set = names.iter().filter_map(|name| Some(((*name).to_owned(), lookup(name)?)));
        Self(set.filter(|(_, value)| !value.is_empty()).collect())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    /// The names alone: values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
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
        let emulator = |endpoint: &str| {
            GcsConfig { endpoint: endpoint.to_owned(), ..GcsConfig::default() }.endpoint_url()
        };
        assert_eq!(emulator(""), "https://storage.googleapis.com");
        assert_eq!(emulator("localhost:4443"), "http://localhost:4443");
        assert_eq!(emulator("https://gcs.example/"), "https://gcs.example");
    }

    #[test]
    fn a_bucket_stands_in_the_host_on_aws_alone() {
        let config = |endpoint: &str, bucket: &str, virtual_host| S3Config {
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
            virtual_host,
            ..S3Config::default()
        };
        assert!(config("", "b", None).is_virtual_host());
        assert!(config("https://s3.eu-west-1.amazonaws.com:443", "b", None).is_virtual_host());
        assert!(!config("", "dotted.name", None).is_virtual_host());
        assert!(!config("minio:9000", "b", None).is_virtual_host());
        assert!(!config("amazonaws.com.example.org", "b", None).is_virtual_host());
        assert!(config("oss.example.org", "b", Some(true)).is_virtual_host());
    }

    #[test]
    fn connection_strings_tell_account_and_kind_of_credentials() {
        let of = |text: &str| AzureAccount::ConnectionString(Secret::new(text));
        let key = of("DefaultEndpointsProtocol=https;AccountName=birds;AccountKey=aGk=;\
                      EndpointSuffix=core.windows.net");
        assert_eq!((key.name().as_str(), key.is_anonymous()), ("birds", false));
        assert_eq!(key.credentials(), "account key of the connection string");
        let signed = of("BlobEndpoint=https://birds.blob.core.windows.net/;\
                         SharedAccessSignature=sv=2022-11-02&sig=hunter2");
        assert!(signed.credentials().starts_with("shared access signature"));
        assert!(!signed.name().contains("hunter2") && !signed.is_anonymous());
        assert!(of("BlobEndpoint=https://birds.blob.core.windows.net/").is_anonymous());
        assert!(!of("UseDevelopmentStorage=true").is_anonymous());
    }

    #[test]
    fn secrets_are_not_shown() {
        let secret = || Secret::new("hunter2");
        let keys = S3Credentials::Keys {
            key_id: "id".to_owned(),
            secret: secret(),
            session_token: Some(secret()),
        };
        let found = Environment::from_iter([("AWS_SECRET_ACCESS_KEY", "hunter2")]);
        let s3 = |credentials| BackendConfig::S3(S3Config { credentials, ..S3Config::default() });
        let azure = |account| BackendConfig::Azure(AzureConfig { account, ..Default::default() });
        for config in [
            s3(keys),
            s3(S3Credentials::Search(found)),
            azure(AzureAccount::ConnectionString(secret())),
            azure(AzureAccount::Named { name: "a".to_owned(), key: Some(secret()) }),
        ] {
            let text = format!("{config:?}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
