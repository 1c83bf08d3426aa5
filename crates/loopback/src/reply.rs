//! Short words for answers.

use axum::{
    body::Body,
    http::{Response, StatusCode, header},
};
use serde_json::Value;

/// A status without a body.
pub(crate) fn status(code: u16) -> Response<Body> {
    text(code, "text/plain", String::new())
}

/// A body of a type.
pub(crate) fn text(code: u16, content_type: &str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(code).expect("a status of HTTP");
    let content_type = content_type.parse().expect("a content type is a header");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// A JSON body.
pub(crate) fn json(code: u16, body: &Value) -> Response<Body> {
    text(code, "application/json; charset=UTF-8", body.to_string())
}

/// An XML body.
pub(crate) fn xml(code: u16, body: &str) -> Response<Body> {
    text(code, "application/xml", format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}"))
}

/// Adds a header.
pub(crate) fn with(
    mut response: Response<Body>,
    name: &'static str,
    value: &str,
) -> Response<Body> {
    let value = value.parse().expect("values of tests are headers");
    response.headers_mut().insert(name, value);
    response
}

/// The value of a form field or query parameter, decoded.
pub(crate) fn field(form: &str, name: &str) -> Option<String> {
    form.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| decoded(&value.replace('+', " ")))
    })
}

/// Text without its percent encoding.
pub(crate) fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}
