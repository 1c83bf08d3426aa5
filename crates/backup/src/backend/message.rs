//! Turns what an object store says into one short line.
//!
//! The text of a failed request is about a kilobyte: address, headers, request ids, sometimes a
//! whole page of HTML. People need the code and the sentence of the store, and the next step.

use crate::error::{Error, ErrorKind};

/// Longest text taken over from a store, in characters.
const DETAIL_CHARS_MAX: usize = 400;

/// What was being done when a backend failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doing<'a> {
    /// `write`, `read`, `list`, `remove`.
    pub(super) verb: &'static str,
    /// The object or prefix.
    pub(super) object: &'a str,
    /// The backend.
    pub(super) place: &'a str,
}

impl<'a> Doing<'a> {
    /// No request yet: the backend cannot be used at all.
    pub(super) fn using(place: &'a str) -> Self {
        Self { verb: "use", object: "", place }
    }
}

/// The error of a failed request: what was done, where, what the store said, what to do.
pub(super) fn failure(kind: ErrorKind, doing: Doing<'_>, said: &str) -> Error {
    let Doing { verb, object, place } = doing;
    let object = if object.is_empty() { "objects" } else { object };
    let mut message = format!("cannot {verb} '{object}' in {place}: {}", shorten(said));
    if let Some(step) = next_step(kind) {
        message.push_str("; ");
        message.push_str(step);
    }
    Error::new(kind, message)
}

fn next_step(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Denied => Some("check the credentials and their rights"),
        ErrorKind::Invalid => Some("check bucket, endpoint and region"),
        ErrorKind::Unavailable => Some("check the endpoint and the network, then try again"),
        ErrorKind::NoSpace => Some("free space, then try again"),
        _ => None,
    }
}

/// The code and sentence of an XML answer, or the first line of anything else.
pub(super) fn shorten(said: &str) -> String {
    let text = match (quoted(said, "code: \""), quoted(said, "message: \"")) {
        (Some(code), Some(message)) if !message.is_empty() => format!("{code}: {message}"),
        (Some(code), _) => code.to_owned(),
        _ => said.lines().next().unwrap_or_default().trim().to_owned(),
    };
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    if plain.is_empty() {
        return "no reason given".to_owned();
    }
    match plain.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &plain[..end]),
        None => plain,
    }
}

fn quoted<'a>(text: &'a str, before: &str) -> Option<&'a str> {
    let start = text.find(before)? + before.len();
    let rest = &text[start..];
    Some(&rest[..rest.find('"')?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_xml_answer_becomes_its_code_and_sentence() {
        let said = r#"S3Error { code: "NoSuchBucket", message: "The specified bucket does not exist", resource: "/b", request_id: "4442587FB7D0A2F9" }"#;
        assert_eq!(shorten(said), "NoSuchBucket: The specified bucket does not exist");
        assert_eq!(shorten(r#"S3Error { code: "SlowDown", message: "" }"#), "SlowDown");
    }

    #[test]
    fn pages_and_control_characters_are_cut() {
        let page = format!("<html>\u{1b}[31m{}\nsecond line", "x".repeat(5000));
        let short = shorten(&page);
        assert!(
            short.len() <= DETAIL_CHARS_MAX + 3 && !short.contains(['\u{1b}', '\n']),
            "{short}"
        );
        assert_eq!(shorten(""), "no reason given");
    }

    #[test]
    fn a_failure_names_object_place_and_next_step() {
        let doing = Doing { verb: "write", object: "b/x", place: "s3 bucket 'v'" };
        assert_eq!(
            failure(ErrorKind::Denied, doing, "AccessDenied").to_string(),
            "cannot write 'b/x' in s3 bucket 'v': AccessDenied; check the credentials and their rights"
        );
    }
}
