//! Who asks S3: a role before keys, each where there is a sign of it.
//!
//! The order is role of a web identity, role of a container, role of the instance, keys, the file
//! of shared credentials. The role of an instance is there for every program that runs on it; so
//! it is passed over where keys were given for an endpoint that is not AWS (ADR 4).

use reqsign_aws_v4::{
    AssumeRoleWithWebIdentityCredentialProvider, Credential, ECSCredentialProvider,
    IMDSv2CredentialProvider, ProfileCredentialProvider, StaticCredentialProvider,
};

use super::{BUDGET, BUDGET_REMOTE, Chain, Context, ProvideCredential, Redirected, Result, Source};
use crate::backend::config::{Environment, S3Config, S3Credentials, Secret};

/// Variables that tell of credentials.
pub(in crate::backend) const VARIABLES: [&str; 22] = [
    ROLE_ARN,
    TOKEN_FILE,
    "AWS_ROLE_SESSION_NAME",
    "AWS_STS_REGIONAL_ENDPOINTS",
    STS_ENDPOINT,
    CONTAINER_RELATIVE,
    CONTAINER_FULL,
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    METADATA_DISABLED,
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    KEY_ID.0,
    KEY_ID.1,
    SECRET.0,
    SECRET.1,
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "HOME",
];

const ROLE_ARN: &str = "AWS_ROLE_ARN";
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
const STS_ENDPOINT: &str = "AWS_ENDPOINT_URL_STS";
const CONTAINER_RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const CONTAINER_FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
/// The names that AWS uses, and those that others do.
const KEY_ID: (&str, &str) = ("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY");
const SECRET: (&str, &str) = ("AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY");

const NONE: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role";

/// The sources of a bucket.
pub(in crate::backend) fn chain(config: &S3Config) -> Chain<Credential> {
    let environment = match &config.credentials {
        S3Credentials::Keys { key_id, secret, session_token } => {
            let token = session_token.as_ref().map(Secret::expose);
            let source = keys(key_id, secret.expose(), token);
            return Chain::new(vec![source], &Environment::default(), NONE);
        }
        S3Credentials::Search(environment) => environment,
    };
    let of =
        |(first, second): (&str, &str)| environment.get(first).or_else(|| environment.get(second));
    let keys = of(KEY_ID)
        .zip(of(SECRET))
        .map(|(key_id, secret)| keys(key_id, secret, environment.get("AWS_SESSION_TOKEN")));
    let mut sources = Vec::new();
    if let (Some(arn), Some(_)) = (environment.get(ROLE_ARN), environment.get(TOKEN_FILE)) {
        let mut provider = AssumeRoleWithWebIdentityCredentialProvider::new()
            .with_region(config.region_or_default().to_owned());
        // The central endpoint is for old programs; a region's is near, and up when others are not.
        if environment.get("AWS_STS_REGIONAL_ENDPOINTS") != Some("legacy") {
            provider = provider.with_regional_sts_endpoint();
        }
        if environment.get("AWS_ROLE_SESSION_NAME").is_none() {
            provider = provider.with_role_session_name("siltstone".to_owned());
        }
        sources.push(source(format!("web identity ({arn})"), WebIdentity(provider)));
    }
    if of((CONTAINER_RELATIVE, CONTAINER_FULL)).is_some() {
        sources.push(source("container role", ECSCredentialProvider::new()));
    }
    // Without keys to fall back on, the last role that was asked for gets the time of a far network.
    if let Some(last) = sources.last_mut().filter(|_| keys.is_none()) {
        last.budget = BUDGET_REMOTE;
    }
    let is_disabled =
        environment.get(METADATA_DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if !is_disabled && (keys.is_none() || config.is_aws()) {
        sources.push(source("instance role", IMDSv2CredentialProvider::new()));
    }
    sources.extend(keys);
    sources.push(source("shared credentials file", ProfileCredentialProvider::new()));
    Chain::new(sources, environment, NONE)
}

fn source(
    name: impl Into<String>,
    provider: impl ProvideCredential<Credential = Credential>,
) -> Source<Credential> {
    Source { name: name.into(), budget: BUDGET, provider: Box::new(provider) }
}

fn keys(key_id: &str, secret: &str, session_token: Option<&str>) -> Source<Credential> {
    let mut provider = StaticCredentialProvider::new(key_id, secret);
    if let Some(token) = session_token {
        provider = provider.with_session_token(token);
    }
    source(format!("access keys ({key_id})"), provider)
}

/// A web identity that asks the STS of the environment, where that names one.
#[derive(Debug)]
struct WebIdentity(AssumeRoleWithWebIdentityCredentialProvider);

impl ProvideCredential for WebIdentity {
    type Credential = Credential;

    async fn provide_credential(&self, ctx: &Context) -> Result<Option<Credential>> {
        let endpoint = ctx.env_var(STS_ENDPOINT);
        let ctx = match &endpoint {
            Some(to) => &Redirected::context(ctx, "sts.", to, STS_ENDPOINT)?,
            None => ctx,
        };
        self.0.provide_credential(ctx).await
    }
}

/// What a bucket answers to a request that `OpenDAL` has no words for.
#[cfg(test)]
pub(in crate::backend) async fn signed_get(
    config: &S3Config,
    query: &str,
    http: impl super::HttpSend + Clone,
) -> String {
    let context = Context::new().with_http_send(http);
    let signer = reqsign_aws_v4::RequestSigner::new("s3", config.region_or_default());
    let signer = super::Signer::new(context.clone(), chain(config), signer);
    let url = format!("{}/{}?{query}", config.endpoint_url(), config.bucket);
    let request = http::Request::get(url).body(bytes::Bytes::new()).unwrap();
    let (mut head, body) = request.into_parts();
    signer.sign(&mut head, None).await.unwrap();
    let response =
        context.http_send_as_string(http::Request::from_parts(head, body)).await.unwrap();
    assert!(response.status().is_success(), "{}", response.body());
    response.into_body()
}
