//! `siltstone config show`, and the backend that options and environment name together.
//!
//! Options stand for variables: `--bucket` for that of the chosen backend, `--root` for
//! `BACKUP_FILESYSTEM_PATH`. Whoever types them needs no list of what is allowed.

use std::env;

use anyhow::{Context, Result};
use serde_json::json;
use siltstone_backup::backend::{self, Answer, BackendConfig, Place, Provider, Settings};

use crate::{
    cli::RepositoryArgs,
    outcome::{Output, note},
};

/// The backend that the options name, with what they leave out taken from the environment.
pub(crate) fn chosen(args: &RepositoryArgs) -> Result<BackendConfig> {
    let root = args.root.as_deref().map(|root| {
        let absolute = std::path::absolute(root);
        absolute.with_context(|| format!("'{}' cannot be a folder", root.display()))
    });
    let root = root.transpose()?.map(|root| root.to_string_lossy().into_owned());
    let bucket = |provider| args.bucket.clone().filter(|_| args.backend == provider);
    let path = |provider| args.path.clone().filter(|_| args.backend == provider);
    let settings = Settings::from_env(|name| {
        let option = match name {
            "BACKUP_FILESYSTEM_PATH" => root.clone(),
            "BACKUP_S3_BUCKET" => bucket(Provider::S3),
            "BACKUP_S3_PATH" => path(Provider::S3),
            "BACKUP_GCS_BUCKET" => bucket(Provider::Gcs),
            "BACKUP_GCS_PATH" => path(Provider::Gcs),
            "BACKUP_AZURE_CONTAINER" => bucket(Provider::Azure),
            "BACKUP_AZURE_PATH" => path(Provider::Azure),
            // Modules choose what a server offers; here somebody has chosen.
            "ENABLE_MODULES" => return None,
            _ => None,
        };
        option.or_else(|| env::var(name).ok())
    });
    let mut place = Place::default();
    if args.backend == Provider::Filesystem {
        (place.path, place.bucket) = (args.path.clone(), args.bucket.clone());
    }
    Ok(settings.config(args.backend, &place)?)
}

/// Prints each backend, who asks it, and how it answers.
pub(crate) fn show(output: Output) -> Result<()> {
    let settings = Settings::from_env(|name| env::var(name).ok());
    settings.warnings().iter().for_each(|warning| note(format_args!("warning: {warning}")));
    for provider in Provider::ALL {
        let config = settings.config(provider, &Place::default());
        let asked = config.and_then(|config| Ok((details(&config), backend::ask(&config)?)));
        let (text, json) = match asked {
            Ok((details, answer)) => row(provider, &details, &answer),
            Err(error) => {
                let status = if settings.is_meant(provider) { "wrong" } else { "not configured" };
                let json = json!({ "type": "result", "backend": provider.as_str(),
                                   "status": status, "message": error.to_string() });
                (format!("{provider:<11} {status}: {error}"), json)
            }
        };
        output.result(&text, &json)?;
    }
    if let Some(project) = settings.project() {
        let json = json!({ "type": "result", "google_project": project });
        output.result(&format!("project     {project} (requests for objects need none)"), &json)?;
    }
    Ok(())
}

fn row(provider: Provider, details: &str, answer: &Answer) -> (String, serde_json::Value) {
    let failure = answer.reached.as_ref().err().map(ToString::to_string);
    let status = if failure.is_some() { "unreachable" } else { "ready" };
    let who = answer.credentials.as_ref();
    let json = json!({
        "type": "result", "backend": provider.as_str(), "status": status, "place": answer.place,
        "credentials": who, "message": failure,
    });
    let who = who.map_or(String::new(), |who| format!(", credentials: {who}"));
    let failure = failure.map_or(String::new(), |failure| format!("\n            {failure}"));
    (format!("{provider:<11} {status}: {}{details}{who}{failure}", answer.place), json)
}

/// What the name of the place does not say.
fn details(config: &BackendConfig) -> String {
    match config {
        BackendConfig::S3(s3) => format!(", region {}", s3.region_or_default()),
        BackendConfig::Folder(_) | BackendConfig::FolderIn { .. } => {
            " (not for production)".to_owned()
        }
        _ => String::new(),
    }
}
