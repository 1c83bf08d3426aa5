//! Who asks Google: application default credentials, in Google's order.
//!
//! A file that `GOOGLE_APPLICATION_CREDENTIALS` names, else the file that `gcloud auth
//! application-default login` wrote, else the account of the machine. A file that is there decides:
//! what is wrong with it is an error, not a reason to look on.

use std::path::Path;

use reqsign_google::{
    Credential, ServiceAccountTokenCredentialProvider, StaticCredentialProvider,
    VmMetadataCredentialProvider,
};

use super::{
    BUDGET, BUDGET_REMOTE, Chain, Context, Error, ProvideCredential, Redirected, Result, Source,
};
use crate::backend::config::Environment;

/// Variables that tell of credentials.
pub(in crate::backend) const VARIABLES: [&str; 5] =
    [FILE, "CLOUDSDK_CONFIG", "XDG_CONFIG_HOME", "HOME", METADATA_HOST];

const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const METADATA_HOST: &str = "GCE_METADATA_HOST";

/// The file of `gcloud`, below its folder of settings.
const WELL_KNOWN: &str = "application_default_credentials.json";

/// The right to read and write objects, and nothing else.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// Where files say that their tokens come from unless they say otherwise.
const TOKEN_HOST: &str = "oauth2.googleapis.com";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

const NONE: &str = "set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default \
                    login`, or BACKUP_GCS_USE_AUTH=false for an emulator";

/// The sources of a bucket.
pub(in crate::backend) fn chain(environment: &Environment) -> Chain<Credential> {
    let source = if let Some(path) = environment.get(FILE) {
        file(format!("{FILE} ({path})"), path)
    } else if let Some(path) = well_known(environment).filter(|path| Path::new(path).is_file()) {
        file(format!("gcloud ({path})"), &path)
    } else {
        // Of the machine itself: near, or not there.
        let provider = Box::new(VmMetadataCredentialProvider::new().with_scope(SCOPE));
        Source { name: "attached account".to_owned(), budget: BUDGET, provider }
    };
    Chain::new(vec![source], environment, NONE)
}

fn file(name: String, path: &str) -> Source<Credential> {
    let provider = Box::new(CredentialFile { path: path.to_owned() });
    Source { name, budget: BUDGET_REMOTE, provider }
}

fn well_known(environment: &Environment) -> Option<String> {
    let of = |name| environment.get(name);
    let folder = (of("CLOUDSDK_CONFIG").map(str::to_owned))
        .or_else(|| of("XDG_CONFIG_HOME").map(|folder| format!("{folder}/gcloud")))
        .or_else(|| of("HOME").map(|folder| format!("{folder}/.config/gcloud")))?;
    Some(format!("{folder}/{WELL_KNOWN}"))
}

/// A file of a service account, a workload or a user.
#[derive(Debug)]
struct CredentialFile {
    path: String,
}

impl ProvideCredential for CredentialFile {
    type Credential = Credential;

    async fn provide_credential(&self, ctx: &Context) -> Result<Option<Credential>> {
        let path = &self.path;
        let cannot = |what: &str| Error::config_invalid(format!("cannot {what} '{path}'"));
        let bytes = ctx.file_read(path).await;
        let bytes = bytes.map_err(|error| cannot("read").with_source(error))?;
        let mut json: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|error| cannot("understand").with_source(error))?;
        let text = |name: &str| json.get(name).and_then(serde_json::Value::as_str);
        let ctx = match text("token_uri") {
            Some(uri) if uri != TOKEN_URI => {
                &Redirected::context(ctx, TOKEN_HOST, uri, "its token_uri")?
            }
            _ => ctx,
        };
        let is_service_account = text("type") == Some("service_account");
        // Google says that the format of a workload's token is text unless it is told.
        if let Some(serde_json::Value::Object(source)) = json.get_mut("credential_source") {
            source.entry("format").or_insert_with(|| serde_json::json!({ "type": "text" }));
        }
        let file = StaticCredentialProvider::new(json.to_string()).with_scope(SCOPE);
        if is_service_account {
            let provider = ServiceAccountTokenCredentialProvider::from_provider(file);
            return provider.with_scope(SCOPE).provide_credential(ctx).await;
        }
        file.provide_credential(ctx).await
    }
}
