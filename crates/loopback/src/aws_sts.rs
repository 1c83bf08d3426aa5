//! The part of AWS STS that turns the token of a web identity into keys.

use std::io;

use axum::{body::Body, http::Response};
use jiff::{SignedDuration, Timestamp};

use crate::{
    reply,
    serve::{Asked, Server, start},
};

/// Who may assume what, and the keys for it.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tests fill it in")]
pub struct Role {
    /// `arn:aws:iam::...`
    pub arn: String,
    /// The token that proves the identity.
    pub token: String,
    /// The key id that is handed out.
    pub key_id: String,
    /// How long the keys are valid.
    pub valid: SignedDuration,
}

/// Starts the service for one role.
///
/// # Errors
/// When no port is free.
pub fn serve(role: Role) -> io::Result<Server> {
    start(0, move |asked| answer(&role, asked))
}

fn answer(role: &Role, asked: &Asked) -> Response<Body> {
    let form = String::from_utf8_lossy(&asked.body);
    let field = |name| reply::field(&form, name).unwrap_or_default();
    if field("Action") != "AssumeRoleWithWebIdentity" || field("RoleSessionName").is_empty() {
        return refused("InvalidAction", "no such action, or a field is missing");
    }
    if field("WebIdentityToken") != role.token {
        return refused("InvalidIdentityToken", "the token is not valid");
    }
    if field("RoleArn") != role.arn {
        return refused("AccessDenied", "not authorized to assume the role");
    }
    let (key_id, expires) = (&role.key_id, Timestamp::now() + role.valid);
    reply::xml(
        200,
        &format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key_id}</AccessKeyId>\
             <SecretAccessKey>secret-of-{key_id}</SecretAccessKey>\
             <SessionToken>session-of-{key_id}</SessionToken><Expiration>{expires:.0}</Expiration>\
             </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        ),
    )
}

fn refused(code: &str, message: &str) -> Response<Body> {
    let error = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>\
         </Error></ErrorResponse>"
    );
    reply::xml(403, &error)
}
