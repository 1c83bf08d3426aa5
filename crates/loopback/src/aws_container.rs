//! The endpoint from which a container (ECS, EKS) gets the keys of its role.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::json;

use crate::{
    reply,
    serve::{Server, start},
};

/// Starts the endpoint; it answers `GET /credentials` that carries `authorization` (empty: any) with
/// keys that are good for an hour.
///
/// # Errors
/// When no port is free.
pub fn serve(key_id: &str, authorization: &str) -> io::Result<Server> {
    serve_in_turn(&[(key_id, Duration::from_hours(1))], authorization)
}

/// As [`serve`]; each request gets the next of `keys`, with the time for which it is good, and those
/// after the last get the last one again.
///
/// # Errors
/// When no port is free.
pub fn serve_in_turn(keys: &[(&str, Duration)], authorization: &str) -> io::Result<Server> {
    let keys: Vec<(String, Duration)> =
        keys.iter().map(|(key_id, good_for)| ((*key_id).to_owned(), *good_for)).collect();
    let (authorization, turn) = (authorization.to_owned(), AtomicUsize::new(0));
    start(0, move |asked| {
        if asked.method != "GET" || asked.uri.path() != "/credentials" {
            return reply::status(404);
        }
        if !authorization.is_empty() && asked.header("authorization") != authorization {
            return reply::json(401, &json!({ "code": "Unauthorized" }));
        }
        let turn = turn.fetch_add(1, Ordering::SeqCst).min(keys.len().saturating_sub(1));
        let Some((key_id, good_for)) = keys.get(turn) else { return reply::status(404) };
        let expires = Timestamp::now() + *good_for;
        let keys = json!({
            "AccessKeyId": key_id, "SecretAccessKey": format!("secret-of-{key_id}"),
            "Token": format!("session-of-{key_id}"), "Expiration": format!("{expires:.0}"),
        });
        reply::json(200, &keys)
    })
}
