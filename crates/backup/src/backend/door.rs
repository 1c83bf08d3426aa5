//! The one door to `OpenDAL`: the rows that make its operators, and the words its errors get.
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
    Backend, Limits, S3Config,
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
    Operated::start(describe, operator.clone(), operator, Watch::default(), streams)
}

/// Objects in memory, gone with the last handle.
pub(super) fn memory() -> Result<Arc<dyn Backend>> {
    let describe = "memory".to_owned();
    let operator =
        Operator::new(services::Memory::default()).map_err(|e| unusable(&describe, &e))?;
    Operated::start(describe, operator.clone(), operator, Watch::default(), nothing_beside())
}

/// Objects in a bucket of S3 or of something that speaks its language.
pub(super) fn s3(config: &S3Config, limits: &Limits) -> Result<Arc<dyn Backend>> {
    let describe = format!("s3 bucket '{}' at {}", config.bucket, config.endpoint_url());
    let mut builder = services::S3::default()
        .bucket(&config.bucket)
        .root(&config.root)
        .endpoint(&config.endpoint_url())
        .region(config.region_or_default())
        .checksum_algorithm("crc32c");
    if let Some((key_id, secret)) = &config.credentials {
        builder = builder.access_key_id(key_id).secret_access_key(secret.expose());
        builder = builder.disable_config_load().disable_ec2_metadata();
    }
    let operator = Operator::new(builder).map_err(|error| unusable(&describe, &error))?;
    remote(describe, operator, limits)
}

/// Adds time limits and retries.
fn remote(describe: String, operator: Operator, limits: &Limits) -> Result<Arc<dyn Backend>> {
    let timeout = TimeoutLayer::new()
        .with_timeout(limits.control_timeout)
        .with_io_timeout(limits.part_timeout);
    let once = operator.layer(timeout);
    let watch = Watch::default();
    let budget = Arc::clone(&watch.budget);
    let retry = RetryLayer::new()
        .with_jitter()
        .with_min_delay(limits.retry_delay_min)
        .with_max_delay(limits.retry_delay_max)
        .with_max_times(limits.retries_max)
        .with_notify(move |event: RetryEvent<'_>| budget.count_retry(shorten(&words(event.err))));
    Operated::start(describe, once.clone().layer(retry), once, watch, nothing_beside())
}

fn nothing_beside() -> CpuBeside {
    Box::new(|| Duration::ZERO)
}

fn unusable(describe: &str, error: &OperatorError) -> Error {
    failure(ErrorKind::Invalid, Doing { verb: "use", object: "", place: describe }, error.message())
}
/// Kind and words of a failure of the operator.
pub(super) fn explain(doing: Doing<'_>, error: &OperatorError) -> Error {
    if let Some(own) = error.source().and_then(|source| source.downcast_ref::<Error>()) {
        let message = format!("cannot {} '{}' in {}: {own}", doing.verb, doing.object, doing.place);
        return Error::new(own.kind(), message);
    }
    let kind = match error.kind() {
        OperatorErrorKind::ConfigInvalid
        | OperatorErrorKind::Unsupported
        | OperatorErrorKind::IsADirectory
        | OperatorErrorKind::NotADirectory => ErrorKind::Invalid,
        OperatorErrorKind::NotFound => ErrorKind::NotFound,
        OperatorErrorKind::PermissionDenied => ErrorKind::Denied,
        OperatorErrorKind::AlreadyExists | OperatorErrorKind::ConditionNotMatch => {
            ErrorKind::Exists
        }
        OperatorErrorKind::RangeNotSatisfied => ErrorKind::Corrupt,
        _ if error.message().contains("credential") => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    };
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

/// The HTTP status that a store answered.
fn status(error: &OperatorError) -> Option<u16> {
    let text = error.to_string();
    let after = text.split("Parts { status: ").nth(1)?;
    after.get(..3)?.parse().ok()
}
