//! [`Settings`]: what the variables of the environment say about backends.
//!
//! A pure mapping: each provider is ready, not configured, or wrong, and whatever is the matter
//! with one leaves the others alone. The names are those of Weaviate's modules, AWS, Google and
//! Azure; `docs/operations.md` lists them.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

use super::{
    config::{
        AzureAccount, AzureConfig, BackendConfig, Environment, GcsConfig, S3Config, S3Credentials,
        Secret,
    },
    credentials::{aws, google},
    place::{Place, bucket_among, folder_within, prefix},
};
use crate::error::{Error, ErrorKind, Result, listed};

/// Names of modules that are no providers, from which ours are told apart.
const MODULE_PREFIX: &str = "backup-";

/// A kind of backend that is set up by variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Provider {
    /// A folder; not for production.
    Filesystem,
    /// S3 and what speaks its language.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl Provider {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Filesystem, Self::S3, Self::Gcs, Self::Azure];

    /// Its name in requests, and, after `backup-`, in `ENABLE_MODULES`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Filesystem => "filesystem",
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::Azure => "azure",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == name).ok_or_else(|| {
            let known = listed(Self::ALL.iter());
            let message = format!("there is no backend '{name}'; the backends are {known}");
            Error::new(ErrorKind::Invalid, message)
        })
    }
}

/// What the environment says about backends.
#[derive(Clone, Debug)]
pub struct Settings {
    rows: BTreeMap<Provider, Row>,
    allowed_paths: Vec<PathBuf>,
    allowed_buckets: Vec<String>,
    warnings: Vec<String>,
    project: Option<String>,
}

/// How one provider stands.
#[derive(Clone, Debug)]
enum Row {
    Ready(BackendConfig),
    /// Not meant to be used: none of its variables is set, or its module is not enabled.
    Absent(String),
    /// Meant to be used, and cannot be.
    Wrong(String),
}

impl Settings {
    /// Reads the variables through `lookup`, as `|name| std::env::var(name).ok()` does.
    pub fn from_env(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let (enabled, warnings) = modules(lookup("ENABLE_MODULES").as_deref());
        let row = |provider| {
            if !enabled.contains(&provider) {
                let why = format!("not enabled; add {MODULE_PREFIX}{provider} to ENABLE_MODULES");
                return Row::Absent(why);
            }
            match provider {
                Provider::Filesystem => filesystem(&lookup),
                Provider::S3 => s3(&lookup),
                Provider::Gcs => gcs(&lookup),
                Provider::Azure => azure(&lookup),
            }
        };
        let rows = Provider::ALL.into_iter().map(|provider| (provider, row(provider))).collect();
        let list = |name| {
            let value: String = lookup(name).unwrap_or_default();
            value
                .split(',')
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect::<Vec<String>>()
        };
        let allowed_paths = list("BACKUP_FILESYSTEM_ALLOWED_PATHS").into_iter().map(PathBuf::from);
        let projects = ["GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "GCP_PROJECT"];
        Self {
            rows,
            allowed_paths: allowed_paths.filter(|path| path.is_absolute()).collect(),
            allowed_buckets: list("BACKUP_ALLOWED_BUCKETS"),
            warnings,
            project: projects.iter().find_map(|name| lookup(name)),
        }
    }

    /// What the operator should know of: names in `ENABLE_MODULES` that mean nothing here.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Google's project, which requests for objects do not need.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// The backend of a provider, at the place that a request names.
    ///
    /// # Errors
    /// `Invalid` where the provider is not configured (the message names the variable) or the place
    /// is not allowed (the message says how it would be).
    pub fn config(&self, provider: Provider, place: &Place) -> Result<BackendConfig> {
        let config = match &self.rows[&provider] {
            Row::Ready(config) => config.clone(),
            Row::Absent(why) | Row::Wrong(why) => {
                let message = format!("backend '{provider}' cannot be used: {why}");
                return Err(Error::new(ErrorKind::Invalid, message));
            }
        };
        let root = |configured: String| match place.path() {
            Some(path) => prefix(path, "path"),
            None => Ok(configured),
        };
        let bucket = |configured: String| match place.bucket() {
            Some(wanted) => bucket_among(&configured, wanted, &self.allowed_buckets),
            None => Ok(configured),
        };
        Ok(match config {
            BackendConfig::Folder(folder) => {
                if let Some(bucket) = place.bucket() {
                    let message = format!("the filesystem has no bucket '{bucket}'; name a path");
                    return Err(Error::new(ErrorKind::Invalid, message));
                }
                match place.path() {
                    None => BackendConfig::Folder(folder),
                    Some(path) => {
                        let (base, path) = folder_within(&folder, path, &self.allowed_paths)?;
                        BackendConfig::FolderIn { base, path }
                    }
                }
            }
            BackendConfig::S3(s3) => BackendConfig::S3(S3Config {
                root: root(s3.root)?,
                bucket: bucket(s3.bucket)?,
                ..s3
            }),
            BackendConfig::Gcs(gcs) => BackendConfig::Gcs(GcsConfig {
                root: root(gcs.root)?,
                bucket: bucket(gcs.bucket)?,
                ..gcs
            }),
            BackendConfig::Azure(azure) => BackendConfig::Azure(AzureConfig {
                root: root(azure.root)?,
                container: bucket(azure.container)?,
                ..azure
            }),
            other => other,
        })
    }

    /// Whether a provider is meant to be used: it is ready, or wrong and should be mended.
    pub fn is_meant(&self, provider: Provider) -> bool {
        !matches!(self.rows[&provider], Row::Absent(_))
    }
}

/// The providers that may be used, and warnings about names that are none.
fn modules(list: Option<&str>) -> (Vec<Provider>, Vec<String>) {
    let Some(list) = list else { return (Provider::ALL.to_vec(), Vec::new()) };
    let (mut enabled, mut warnings) = (Vec::new(), Vec::new());
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let name_of_ours = name.strip_prefix(MODULE_PREFIX);
        let provider: Option<Provider> = name_of_ours.and_then(|name| name.parse().ok());
        if provider.is_none() {
            let what = "is not a module of Siltstone and is ignored";
            warnings.push(format!("ENABLE_MODULES: '{name}' {what}"));
        }
        enabled.extend(provider);
    }
    (enabled, warnings)
}

fn not_set(variable: &str) -> Row {
    Row::Absent(format!("'{variable}' must be set"))
}

/// Only the word `false` turns a switch off, as with Weaviate.
fn is_on(value: Option<String>) -> bool {
    value.is_none_or(|value| !value.eq_ignore_ascii_case("false"))
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

fn filesystem(lookup: Lookup<'_>) -> Row {
    const PATH: &str = "BACKUP_FILESYSTEM_PATH";
    let Some(path) = lookup(PATH) else { return not_set(PATH) };
    if !path.starts_with('/') {
        return Row::Wrong(format!("{PATH} '{path}' is relative; name an absolute path"));
    }
    Row::Ready(BackendConfig::Folder(path.into()))
}

fn s3(lookup: Lookup<'_>) -> Row {
    const BUCKET: &str = "BACKUP_S3_BUCKET";
    const PATH: &str = "BACKUP_S3_PATH";
    let Some(bucket) = lookup(BUCKET) else { return not_set(BUCKET) };
    let virtual_host = match lookup("BACKUP_S3_VIRTUAL_HOST").as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Row::Wrong("BACKUP_S3_VIRTUAL_HOST is 'true' or 'false'".to_owned()),
    };
    let endpoint = lookup("BACKUP_S3_ENDPOINT").unwrap_or_default();
    if let Some(why) = bad_endpoint("BACKUP_S3_ENDPOINT", &endpoint) {
        return Row::Wrong(why);
    }
    with_root(lookup, PATH, |root| {
        BackendConfig::S3(S3Config {
            bucket,
            root,
            endpoint,
            plain_http: !is_on(lookup("BACKUP_S3_USE_SSL")),
            region: lookup("AWS_REGION")
                .or_else(|| lookup("AWS_DEFAULT_REGION"))
                .unwrap_or_default(),
            virtual_host,
            credentials: S3Credentials::Search(Environment::take(&aws::VARIABLES, lookup)),
        })
    })
}

fn gcs(lookup: Lookup<'_>) -> Row {
    const BUCKET: &str = "BACKUP_GCS_BUCKET";
    const PATH: &str = "BACKUP_GCS_PATH";
    let Some(bucket) = lookup(BUCKET) else { return not_set(BUCKET) };
    let endpoint = lookup("STORAGE_EMULATOR_HOST").unwrap_or_default();
    if let Some(why) = bad_endpoint("STORAGE_EMULATOR_HOST", &endpoint) {
        return Row::Wrong(why);
    }
    with_root(lookup, PATH, |root| {
        BackendConfig::Gcs(GcsConfig {
            bucket,
            root,
            endpoint,
            anonymous: !is_on(lookup("BACKUP_GCS_USE_AUTH")),
            environment: Environment::take(&google::VARIABLES, lookup),
        })
    })
}

fn azure(lookup: Lookup<'_>) -> Row {
    const CONTAINER: &str = "BACKUP_AZURE_CONTAINER";
    const PATH: &str = "BACKUP_AZURE_PATH";
    let Some(container) = lookup(CONTAINER) else { return not_set(CONTAINER) };
    let account = if let Some(text) = lookup("AZURE_STORAGE_CONNECTION_STRING") {
        AzureAccount::ConnectionString(Secret::new(text))
    } else if let Some(name) = lookup("AZURE_STORAGE_ACCOUNT") {
        AzureAccount::Named { name, key: lookup("AZURE_STORAGE_KEY").map(Secret::new) }
    } else {
        let why = "'AZURE_STORAGE_CONNECTION_STRING' or 'AZURE_STORAGE_ACCOUNT' must be set";
        return Row::Wrong(why.to_owned());
    };
    with_root(lookup, PATH, |root| BackendConfig::Azure(AzureConfig { container, root, account }))
}

fn with_root(
    lookup: Lookup<'_>,
    variable: &str,
    config: impl FnOnce(String) -> BackendConfig,
) -> Row {
    match prefix(&lookup(variable).unwrap_or_default(), variable) {
        Ok(root) => Row::Ready(config(root)),
        Err(error) => Row::Wrong(error.to_string()),
    }
}

/// What is wrong with an endpoint that holds more than scheme, host and port.
fn bad_endpoint(variable: &str, endpoint: &str) -> Option<String> {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let is_known = ["http", "https"].iter().any(|it| endpoint.starts_with(&format!("{it}://")));
    let has_scheme = endpoint.contains("://");
    let is_plain = !host.contains(['@', '?', '#', ' ']) && !host.chars().any(char::is_control);
    if is_plain && (is_known || !has_scheme) {
        return None;
    }
    // The value is not shown: what stands before an `@` may be a password.
    Some(format!("{variable} must be host and port, perhaps after http:// or https://"))
}

#[cfg(test)]
#[path = "tests/settings.rs"]
mod tests;
