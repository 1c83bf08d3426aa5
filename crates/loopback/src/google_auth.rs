//! Where Google's tokens come from: the metadata server of a machine, the exchange of a workload's
//! token, and the exchange of a service account's assertion or a user's refresh token.

use std::io;

use axum::{body::Body, http::Response};
use serde_json::json;

use crate::{
    reply,
    serve::{Asked, Server, start},
};

const METADATA: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ASSERTION: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// What the server believes, and the token it hands out.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests fill it in")]
pub struct Identity {
    /// The token of the workload, or the refresh token of the user.
    pub proof: String,
    /// The token for Google's services.
    pub access_token: String,
}

/// Starts the server.
///
/// # Errors
/// When no port is free.
pub fn serve(identity: Identity) -> io::Result<Server> {
    start(0, move |asked| answer(&identity, asked))
}

fn answer(identity: &Identity, asked: &Asked) -> Response<Body> {
    let granted = || {
        let token = json!({
            "access_token": identity.access_token, "expires_in": 3599, "token_type": "Bearer",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        });
        reply::json(200, &token)
    };
    let body = String::from_utf8_lossy(&asked.body);
    // The exchange of a workload's token takes a form; older clients send JSON elsewhere.
    let field = |name: &str| {
        let json = serde_json::from_str::<serde_json::Value>(&body).ok();
        let of_json = json.and_then(|json| json.get(name)?.as_str().map(str::to_owned));
        of_json.or_else(|| reply::field(&body, name)).unwrap_or_default()
    };
    match (asked.method.as_str(), asked.uri.path()) {
        ("GET", METADATA) if asked.header("metadata-flavor") == "Google" => granted(),
        ("GET", METADATA) => reply::status(403),
        ("POST", "/exchange") => {
            let is_exchange = field("grant_type") == EXCHANGE || field("grantType") == EXCHANGE;
            let token = field("subject_token") + &field("subjectToken");
            if is_exchange && token == identity.proof { granted() } else { refused() }
        }
        ("POST", "/token") => match field("grant_type").as_str() {
            "refresh_token" if field("refresh_token") == identity.proof => granted(),
            ASSERTION if field("assertion").split('.').count() == 3 => granted(),
            _ => refused(),
        },
        _ => reply::status(404),
    }
}

fn refused() -> Response<Body> {
    let what = json!({ "error": "invalid_grant", "error_description": "the proof is not known" });
    reply::json(400, &what)
}
