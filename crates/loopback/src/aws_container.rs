//! The endpoint from which a container (ECS, EKS) gets the keys of its role.

use std::io;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{
    reply,
    serve::{Server, start},
};

/// Starts the endpoint; it answers `GET /credentials` that carries `authorization` (empty: any).
///
/// # Errors
/// When no port is free.
pub fn serve(key_id: &str, authorization: &str) -> io::Result<Server> {
    let (key_id, authorization) = (key_id.to_owned(), authorization.to_owned());
    start(0, move |asked| {
        if asked.method != "GET" || asked.uri.path() != "/credentials" {
            return reply::status(404);
        }
        if !authorization.is_empty() && asked.header("authorization") != authorization {
            return reply::json(401, &json!({ "code": "Unauthorized" }));
        }
        let expires = Timestamp::now() + SignedDuration::from_hours(1);
        let keys = json!({
            "AccessKeyId": key_id, "SecretAccessKey": format!("secret-of-{key_id}"),
            "Token": format!("session-of-{key_id}"), "Expiration": format!("{expires:.0}"),
        });
        reply::json(200, &keys)
    })
}
