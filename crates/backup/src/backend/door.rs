//! The one door to `OpenDAL`: the rows that make its operators, and the words its errors get.
//!
//! A further backend is a row here, its configuration in [`super::config`], its variables in
//! [`super::settings`], and a server for the suite.
//!
//! Requests to remote stores time out, then are tried again with growing, jittered delays, as far
//! as the retry budget allows. A conditional put alone is never tried again by itself: only the
//! caller can tell its own earlier success from somebody else's.

use std::{error::Error as _, sync::Arc, time::Duration};

pub(super) use opendal::{
    Buffer, Capability, Error as OperatorError, ErrorKind as OperatorErrorKind, Metadata,
    MetadataBuilder, OperationContext, Operator, Result as OperatorResult, Writer, raw,
};
use opendal::{
    layers::{RetryEvent, RetryLayer, TimeoutLayer},
    services,
};

use super::{
    Backend, Limits,
    config::{AzureAccount, AzureConfig, GcsConfig, S3Config},
    credentials::{ProvideCredentialChain, Search, aws, google},
    folder::{Folder, Root},
    message::{Doing, failure, shorten},
    operator::{CpuBeside, Operated},
    runtime::Watch,
    service::FolderService,
};
use crate::error::{Error, ErrorKind, Result};

/// Objects in a folder of the operating system or of a simulated disk.
pub(super) fn folder(root: Root, describe: String) -> Result<Arc<dyn Backend>> {
    let folder = Arc::new(Folder::new(root));
    let service = FolderService(Arc::clone(&folder));
    let operator = Operator::from_parts(OperationContext::default(), Arc::new(service));
    let streams = Box::new(move || folder.stream_cpu());
    let operators = [operator.clone(), operator];
    Operated::start(describe, operators, Watch::default(), Credentials::NONE, streams)
}

/// Objects in memory, gone with the last handle.
pub(super) fn memory() -> Result<Arc<dyn Backend>> {
    let describe = "memory".to_owned();
    let operator =
        Operator::new(services::Memory::default()).map_err(|e| unusable(&describe, &e))?;
    let operators = [operator.clone(), operator];
    Operated::start(describe, operators, Watch::default(), Credentials::NONE, nothing_beside())
}

/// A backend that is far away, before its threads are started.
pub(super) struct Remote {
    describe: String,
    operator: Operator,
    credentials: Credentials,
}

/// What a remote backend signs with.
#[derive(Clone)]
pub(super) enum Credentials {
    /// Known beforehand.
    Given(&'static str),
    /// The winner of a search.
    Sought(Search),
}

impl Credentials {
    const NONE: Self = Self::Given("none");

    /// Why there are none.
    fn failure(&self) -> Option<String> {
        match self {
            Self::Given(_) => None,
            Self::Sought(search) => search.failure(),
        }
    }
}

/// A bucket of S3 or of something that speaks its language.
pub(super) fn s3(config: &S3Config) -> Result<Remote> {
    let describe = place("s3 bucket", &config.bucket, &config.root, &config.endpoint_url());
    let chain = aws::chain(config);
    let credentials = Credentials::Sought(chain.search());
    let mut builder = services::S3::default()
        .bucket(&config.bucket)
        .root(&config.root)
        .endpoint(&config.endpoint_url())
        .region(config.region_or_default())
        .checksum_algorithm("crc32c")
        .disable_config_load()
        .credential_provider_chain(ProvideCredentialChain::new().push(chain));
    if config.is_virtual_host() {
        builder = builder.enable_virtual_host_style();
    }
    let operator = Operator::new(builder).map_err(|error| unusable(&describe, &error))?;
    Ok(Remote { describe, operator, credentials })
}

/// A bucket of Google Cloud Storage.
pub(super) fn gcs(config: &GcsConfig) -> Result<Remote> {
    let describe = place("gcs bucket", &config.bucket, &config.root, &config.endpoint_url());
    let mut builder = services::Gcs::default()
        .bucket(&config.bucket)
        .root(&config.root)
        .endpoint(&config.endpoint_url())
        .disable_config_load()
        .disable_vm_metadata();
    let credentials = if config.anonymous {
        builder = builder.skip_signature();
        Credentials::Given("none (anonymous)")
    } else {
        let chain = google::chain(&config.environment);
        let credentials = Credentials::Sought(chain.search());
        builder = builder.credential_provider_chain(ProvideCredentialChain::new().push(chain));
        credentials
    };
    let operator = Operator::new(builder).map_err(|error| unusable(&describe, &error))?;
    Ok(Remote { describe, operator, credentials })
}

/// A container of Azure Blob Storage.
pub(super) fn azure(config: &AzureConfig) -> Result<Remote> {
    let AzureConfig { container, root, account } = config;
    let at = format!("account '{}'", account.name());
    let describe = place("azure container", container, root, &at);
    let builder = match account {
        AzureAccount::ConnectionString(text) => {
            // The text of the error may hold the string.
            services::Azblob::from_connection_string(text.expose()).map_err(|_unsafe_to_show| {
                let what = "the connection string has no endpoint and account that can be used";
                failure(ErrorKind::Invalid, Doing::using(&describe), what)
            })?
        }
        AzureAccount::Named { name, key } => {
            let endpoint = format!("https://{name}.blob.core.windows.net");
            let builder = services::Azblob::default().endpoint(&endpoint).account_name(name);
            match key {
                Some(key) => builder.account_key(key.expose()),
                None => builder,
            }
        }
    };
    let mut builder = builder.container(container).root(root);
    if account.is_anonymous() {
        builder = builder.skip_signature();
    }
    let operator = Operator::new(builder).map_err(|error| unusable(&describe, &error))?;
    Ok(Remote { describe, operator, credentials: Credentials::Given(account.credentials()) })
}

/// What a place is called: everything that tells it from others, and no secret.
fn place(kind: &str, bucket: &str, root: &str, at: &str) -> String {
    let root = root.trim_matches('/');
    let below = if root.is_empty() { String::new() } else { format!(", path '{root}'") };
    format!("{kind} '{bucket}'{below} at {at}")
}

impl Remote {
    /// Adds time limits and retries, and starts the threads.
    pub(super) fn start(self, limits: &Limits) -> Result<Arc<dyn Backend>> {
        let once = self.operator.layer(timeouts(limits));
        let watch = Watch::default();
        let budget = Arc::clone(&watch.budget);
        let retry = RetryLayer::new()
            .with_jitter()
            .with_min_delay(limits.retry_delay_min)
            .with_max_delay(limits.retry_delay_max)
            .with_max_times(limits.retries_max)
            .with_notify(move |event: RetryEvent<'_>| {
                budget.count_retry(shorten(&words(event.err)));
            });
        let Self { describe, credentials, .. } = self;
        let operators = [once.clone().layer(retry), once];
        Operated::start(describe, operators, watch, credentials, nothing_beside())
    }

    /// Starts it without retries, to see how it answers.
    pub(super) fn start_once(self) -> Result<(Arc<dyn Backend>, Credentials)> {
        let Self { describe, operator, credentials } = self;
        let once = operator.layer(timeouts(&Limits::default()));
        let (operators, watch) = ([once.clone(), once], Watch::default());
        let who = credentials.clone();
        Ok((Operated::start(describe, operators, watch, who, nothing_beside())?, credentials))
    }
}

fn timeouts(limits: &Limits) -> TimeoutLayer {
    TimeoutLayer::new().with_timeout(limits.control_timeout).with_io_timeout(limits.part_timeout)
}

fn nothing_beside() -> CpuBeside {
    Box::new(|| Duration::ZERO)
}

fn unusable(describe: &str, error: &OperatorError) -> Error {
    failure(ErrorKind::Invalid, Doing::using(describe), error.message())
}

/// Kind and words of a failure of the operator.
pub(super) fn explain(doing: Doing<'_>, error: &OperatorError, credentials: &Credentials) -> Error {
    if let Some(own) = error.source().and_then(|source| source.downcast_ref::<Error>()) {
        let message = format!("cannot {} '{}' in {}: {own}", doing.verb, doing.object, doing.place);
        return Error::new(own.kind(), message);
    }
    let kind = match error.kind() {
        OperatorErrorKind::ConfigInvalid
        | OperatorErrorKind::Unsupported
        | OperatorErrorKind::IsADirectory
        | OperatorErrorKind::NotADirectory => ErrorKind::Invalid,
        // Objects come to be by writing them; what is missing then is what holds them.
        OperatorErrorKind::NotFound if doing.verb == "write" => {
            return failure(ErrorKind::Invalid, doing, &missing_place(error));
        }
        OperatorErrorKind::NotFound => ErrorKind::NotFound,
        OperatorErrorKind::PermissionDenied => ErrorKind::Denied,
        OperatorErrorKind::AlreadyExists | OperatorErrorKind::ConditionNotMatch => {
            ErrorKind::Exists
        }
        OperatorErrorKind::RangeNotSatisfied => ErrorKind::Corrupt,
        _ if error.message() == SIGNING || matches!(status(error), Some(401 | 403)) => {
            ErrorKind::Denied
        }
        _ => ErrorKind::Unavailable,
    };
    if error.message() == SIGNING
        && let Some(why) = credentials.failure()
    {
        return failure(kind, doing, &why);
    }
    failure(kind, doing, &words(error))
}

/// What an error says by itself: its deepest cause where it has no name of its own, and the status
/// of an answer without a body, as those to `HEAD` are.
fn words(error: &OperatorError) -> String {
    let deepest = std::iter::successors(error.source(), |&source| source.source()).last();
    let said = match deepest {
        Some(cause) if error.kind() == OperatorErrorKind::Unexpected => cause.to_string(),
        _ => error.message().to_owned(),
    };
    match status(error) {
        Some(status) if said.is_empty() => format!("the answer was {status}, without a reason"),
        _ => said,
    }
}

/// The message of an error while credentials were looked for.
const SIGNING: &str = "signing http request";

/// The HTTP status that a store answered, which the kind does not tell everywhere.
fn status(error: &OperatorError) -> Option<u16> {
    let text = error.to_string();
    let after = text.split("Parts { status: ").nth(1)?;
    after.get(..3)?.parse().ok()
}

fn missing_place(error: &OperatorError) -> String {
    let said = shorten(error.message());
    format!("there is no such bucket or container ({said})")
}

/// The list of multipart uploads that are open in a bucket, as the store tells it.
#[cfg(test)]
pub(super) fn open_uploads(config: &S3Config) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(aws::signed_get(config, "uploads=", opendal::HttpTransporter::default()))
}
