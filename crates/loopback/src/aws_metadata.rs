//! The metadata service of an EC2 instance, version 2: a token first, then the role, then its keys.

use std::io;

use axum::{body::Body, http::Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{
    reply,
    serve::{Asked, Server, start},
};

const TOKEN: &str = "a-token-of-the-instance";
const KEYS: &str = "/latest/meta-data/iam/security-credentials/";

/// Starts the service of an instance whose role has the name `role`.
///
/// # Errors
/// When no port is free.
pub fn serve(role: &str, key_id: &str) -> io::Result<Server> {
    let (role, key_id) = (role.to_owned(), key_id.to_owned());
    start(0, move |asked| answer(&role, &key_id, asked))
}

fn answer(role: &str, key_id: &str, asked: &Asked) -> Response<Body> {
    if asked.method == "PUT" && asked.uri.path() == "/latest/api/token" {
        let ttl = asked.header("x-aws-ec2-metadata-token-ttl-seconds").parse::<u32>();
        let is_valid = ttl.is_ok_and(|seconds| (1..=21_600).contains(&seconds));
        let code = if is_valid { 200 } else { 400 };
        return reply::text(code, "text/plain", TOKEN.to_owned());
    }
    if asked.header("x-aws-ec2-metadata-token") != TOKEN {
        return reply::status(401);
    }
    match asked.uri.path().strip_prefix(KEYS) {
        Some("") => reply::text(200, "text/plain", role.to_owned()),
        Some(name) if name == role => {
            let now = Timestamp::now();
            let expires = now + SignedDuration::from_hours(6);
            let keys = json!({
                "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": format!("{now:.0}"),
                "AccessKeyId": key_id, "SecretAccessKey": format!("secret-of-{key_id}"),
                "Token": format!("session-of-{key_id}"), "Expiration": format!("{expires:.0}"),
            });
            reply::json(200, &keys)
        }
        _ => reply::status(404),
    }
}
