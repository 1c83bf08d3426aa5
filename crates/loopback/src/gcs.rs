//! Google Cloud Storage, as far as a client that stores backups sees it.
//!
//! JSON interface: lists with prefix, delimiter and pages; get, media with ranges, delete; uploads
//! of kind media, multipart and resumable, with generation preconditions. XML interface: multipart
//! uploads and the list of those that are open. Google itself serves both under one name.
//! Absent: batches, versions, access lists, checksums.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard},
};

use axum::{
    body::Body,
    http::{Method, Response},
};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    reply,
    serve::{Asked, Server, start},
};

/// Names of a page of a list, as Google has it.
const PAGE_NAMES_MAX: usize = 1000;

/// Shortest part of an XML multipart upload but the last.
const PART_BYTES_MIN: usize = 5 << 20;

/// Pieces of a resumable upload but the last are multiples of this.
const PIECE_BYTES: usize = 256 << 10;

/// Starts the service on a port (0: a free one) with empty `buckets`. With a `token`, every request
/// must carry it as a bearer.
///
/// # Errors
/// When the port is taken.
pub fn serve(port: u16, buckets: &[&str], token: Option<&str>) -> io::Result<Server> {
    let buckets = buckets.iter().map(|name| ((*name).to_owned(), BTreeMap::new())).collect();
    let state = Mutex::new(State { buckets, ..State::default() });
    let bearer = token.map(|token| format!("Bearer {token}"));
    start(port, move |asked| {
        let is_allowed = bearer.as_deref().is_none_or(|it| asked.header("authorization") == it)
            || query(asked, "upload_id").is_some(); // the address of a session is its own secret
        let answer = if is_allowed { route(&state, asked) } else { Err(Refusal::Unauthorized) };
        answer.unwrap_or_else(Refusal::into_response)
    })
}

#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<String, Objects>,
    sessions: BTreeMap<String, Session>,
    multiparts: BTreeMap<String, Multipart>,
    /// Of the last change; also numbers uploads.
    generation: u64,
}

type Objects = BTreeMap<String, Object>;

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    generation: u64,
    content_type: String,
    updated: Timestamp,
}

/// A resumable upload.
#[derive(Debug)]
struct Session {
    bucket: String,
    name: String,
    content_type: String,
    condition: Option<u64>,
    bytes: BytesMut,
}

/// An XML multipart upload.
#[derive(Debug)]
struct Multipart {
    bucket: String,
    name: String,
    content_type: String,
    parts: BTreeMap<u32, Bytes>,
}

/// Why a request is not answered as it wished.
#[derive(Debug)]
enum Refusal {
    Unauthorized,
    NotFound(&'static str),
    Condition,
    Bad(&'static str),
    Range(usize),
    Gone,
    Unknown,
}

impl Refusal {
    fn into_response(self) -> Response<Body> {
        let (code, reason, message) = match self {
            Self::Unauthorized => (401, "required", "Invalid Credentials"),
            Self::NotFound(what) => (404, "notFound", what),
            Self::Condition => (412, "conditionNotMet", "A precondition is not met."),
            Self::Bad(what) => (400, "invalid", what),
            Self::Range(_) => (416, "requestedRangeNotSatisfiable", "The range is not there."),
            Self::Gone => (410, "gone", "The upload is over."),
            Self::Unknown => (501, "notImplemented", "This server does not know how."),
        };
        let detail = json!({ "domain": "global", "reason": reason, "message": message });
        let error = json!({ "code": code, "message": message, "errors": [detail] });
        let response = reply::json(code, &json!({ "error": error }));
        match self {
            Self::Range(length) => {
                reply::with(response, "content-range", &format!("bytes */{length}"))
            }
            _ => response,
        }
    }
}

type Answer = Result<Response<Body>, Refusal>;

impl State {
    fn objects(&mut self, bucket: &str) -> Result<&mut Objects, Refusal> {
        self.buckets
            .get_mut(bucket)
            .ok_or(Refusal::NotFound("The specified bucket does not exist."))
    }

    fn object(&mut self, bucket: &str, name: &str) -> Result<&Object, Refusal> {
        let found = self.objects(bucket)?.get(name);
        found.ok_or(Refusal::NotFound("No such object."))
    }

    /// Whether the object has the generation that the caller wants (0: is absent).
    fn check(&mut self, bucket: &str, name: &str, wanted: Option<u64>) -> Result<(), Refusal> {
        let found = self.objects(bucket)?.get(name).map_or(0, |object| object.generation);
        if wanted.is_none_or(|wanted| wanted == found) { Ok(()) } else { Err(Refusal::Condition) }
    }

    fn next(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    fn store(
        &mut self,
        bucket: &str,
        name: &str,
        content_type: &str,
        bytes: Bytes,
    ) -> Result<Value, Refusal> {
        let generation = self.next();
        let content_type = if content_type.is_empty() { "text/plain" } else { content_type };
        let content_type = content_type.to_owned();
        let object = Object { bytes, generation, content_type, updated: Timestamp::now() };
        let described = describe(bucket, name, &object);
        self.objects(bucket)?.insert(name.to_owned(), object);
        Ok(described)
    }
}

fn describe(bucket: &str, name: &str, object: &Object) -> Value {
    let Object { bytes, generation, content_type, updated } = object;
    json!({
        "kind": "storage#object", "id": format!("{bucket}/{name}/{generation}"), "name": name,
        "bucket": bucket, "generation": generation.to_string(), "metageneration": "1",
        "size": bytes.len().to_string(), "contentType": content_type, "storageClass": "STANDARD",
        "etag": format!("e{generation}"), "timeCreated": format!("{updated:.3}"),
        "updated": format!("{updated:.3}"),
    })
}

fn query(asked: &Asked, name: &str) -> Option<String> {
    reply::field(asked.uri.query().unwrap_or_default(), name)
}

fn condition(asked: &Asked) -> Option<u64> {
    query(asked, "ifGenerationMatch")?.parse().ok()
}

fn route(state: &Mutex<State>, asked: &Asked) -> Answer {
    let state = state.lock().expect("no code panics while holding it");
    let path = asked.uri.path();
    if let Some(rest) = path.strip_prefix("/storage/v1/b/") {
        return match rest.split_once("/o/") {
            Some((bucket, name)) => object(state, asked, bucket, &reply::decoded(name)),
            None => match rest.strip_suffix("/o") {
                Some(bucket) if asked.method == Method::GET => list(state, asked, bucket),
                _ => Err(Refusal::Unknown),
            },
        };
    }
    if let Some(rest) = path.strip_prefix("/upload/storage/v1/b/") {
        let bucket = rest.strip_suffix("/o").ok_or(Refusal::Unknown)?;
        return match query(asked, "upload_id") {
            Some(id) => piece(state, asked, &id),
            None => upload(state, asked, bucket),
        };
    }
    match path.trim_start_matches('/').split_once('/') {
        Some((bucket, name)) if !name.is_empty() => {
            multipart(state, asked, bucket, &reply::decoded(name))
        }
        _ => open_multiparts(state, asked),
    }
}

/// An object's description, its bytes, or its end.
fn object(mut state: MutexGuard<'_, State>, asked: &Asked, bucket: &str, name: &str) -> Answer {
    let found = state.object(bucket, name)?.clone();
    state.check(bucket, name, condition(asked))?;
    match asked.method {
        Method::DELETE => {
            state.objects(bucket)?.remove(name);
            Ok(reply::status(204))
        }
        Method::GET if query(asked, "alt").as_deref() == Some("media") => media(asked, &found),
        Method::GET => Ok(reply::json(200, &describe(bucket, name, &found))),
        _ => Err(Refusal::Unknown),
    }
}

/// The bytes, or the range of them that was asked for.
fn media(asked: &Asked, object: &Object) -> Answer {
    let length = object.bytes.len();
    let send = |code, bytes: Bytes| {
        let mut response = reply::text(code, &object.content_type, String::new());
        *response.body_mut() = Body::from(bytes);
        reply::with(response, "x-goog-generation", &object.generation.to_string())
    };
    let Some(range) = asked.header("range").strip_prefix("bytes=") else {
        return Ok(send(200, object.bytes.clone()));
    };
    let (from, to) = range.split_once('-').ok_or(Refusal::Bad("a range has two ends"))?;
    let (from, to) = match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) => (from, to.saturating_add(1).min(length)),
        (Ok(from), Err(_)) => (from, length),
        (Err(_), Ok(last)) => (length.saturating_sub(last), length),
        (Err(_), Err(_)) => return Err(Refusal::Bad("a range has numbers")),
    };
    if from >= length || from >= to {
        return Err(Refusal::Range(length));
    }
    let response = send(206, object.bytes.slice(from..to));
    Ok(reply::with(response, "content-range", &format!("bytes {from}-{}/{length}", to - 1)))
}

/// One page of names; those that go on after the delimiter are folded into prefixes.
fn list(mut state: MutexGuard<'_, State>, asked: &Asked, bucket: &str) -> Answer {
    let of = |name| query(asked, name).unwrap_or_default();
    let (prefix, delimiter, after) = (of("prefix"), of("delimiter"), of("pageToken"));
    let start = of("startOffset");
    let names_max = of("maxResults").parse().unwrap_or(PAGE_NAMES_MAX).min(PAGE_NAMES_MAX);
    let (mut items, mut prefixes, mut next) = (Vec::new(), Vec::<String>::new(), None);
    let mut last = String::new();
    for (name, object) in state.objects(bucket)?.iter() {
        if !name.starts_with(&prefix) || *name < start {
            continue;
        }
        let end = name[prefix.len()..].find(&delimiter).filter(|_| !delimiter.is_empty());
        let shown = match end {
            Some(end) => &name[..prefix.len() + end + delimiter.len()],
            None => name,
        };
        if (!after.is_empty() && *shown <= *after) || prefixes.last().is_some_and(|p| p == shown) {
            continue;
        }
        if items.len() + prefixes.len() == names_max {
            next = Some(last);
            break;
        }
        shown.clone_into(&mut last);
        if end.is_some() {
            prefixes.push(shown.to_owned());
        } else {
            items.push(describe(bucket, name, object));
        }
    }
    let mut page = json!({ "kind": "storage#objects", "items": items, "prefixes": prefixes });
    if let Some(next) = next {
        page["nextPageToken"] = next.into();
    }
    Ok(reply::json(200, &page))
}

/// An upload in one request, or the start of a resumable one.
fn upload(mut state: MutexGuard<'_, State>, asked: &Asked, bucket: &str) -> Answer {
    let kind = query(asked, "uploadType").unwrap_or_default();
    let name = query(asked, "name").ok_or(Refusal::Bad("an object needs a name"))?;
    state.check(bucket, &name, condition(asked))?;
    match kind.as_str() {
        "media" => {
            let content_type = asked.header("content-type");
            let stored = state.store(bucket, &name, content_type, asked.body.clone())?;
            Ok(reply::json(200, &stored))
        }
        "multipart" => {
            let (content_type, bytes) = related(asked)?;
            Ok(reply::json(200, &state.store(bucket, &name, &content_type, bytes)?))
        }
        "resumable" => {
            let id = format!("session-{}", state.next());
            let content_type = asked.header("x-upload-content-type").to_owned();
            let (bucket, condition) = (bucket.to_owned(), condition(asked));
            let host = asked.header("host");
            let at = format!(
                "http://{host}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={id}"
            );
            let bytes = BytesMut::new();
            state.sessions.insert(id, Session { bucket, name, content_type, condition, bytes });
            Ok(reply::with(reply::status(200), "location", &at))
        }
        _ => Err(Refusal::Unknown),
    }
}

/// The second part of a `multipart/related` body, with its type.
fn related(asked: &Asked) -> Result<(String, Bytes), Refusal> {
    const BAD: Refusal = Refusal::Bad("the multipart body cannot be read");
    let boundary = asked.header("content-type").split_once("boundary=").ok_or(BAD)?.1;
    let mark = format!("--{}", boundary.trim_matches('"'));
    let find = |from: usize, what: &[u8]| {
        let at = asked.body[from..].windows(what.len()).position(|window| window == what);
        at.map(|at| from + at).ok_or(BAD)
    };
    let first = find(0, mark.as_bytes())?;
    let second = find(first + mark.len(), mark.as_bytes())? + mark.len();
    let start = find(second, b"\r\n\r\n")? + 4;
    // The line break before the mark may be the one that ends the head of an empty part.
    let end = find(start - 2, format!("\r\n{mark}").as_bytes())?.max(start);
    let head = String::from_utf8_lossy(&asked.body[second..start]).to_lowercase();
    let content_type = head.split("content-type:").nth(1).unwrap_or_default();
    let content_type = content_type.lines().next().unwrap_or_default().trim().to_owned();
    Ok((content_type, asked.body.slice(start..end)))
}

/// A piece of a resumable upload, the question how far it is, or its end.
fn piece(mut state: MutexGuard<'_, State>, asked: &Asked, id: &str) -> Answer {
    if asked.method == Method::DELETE {
        state.sessions.remove(id).ok_or(Refusal::Gone)?;
        return Ok(reply::status(499));
    }
    let session = state.sessions.get_mut(id).ok_or(Refusal::Gone)?;
    let range = asked.header("content-range");
    let (span, total) = range
        .strip_prefix("bytes ")
        .and_then(|range| range.split_once('/'))
        .ok_or(Refusal::Bad("a piece says where it belongs"))?;
    if let Some((from, _)) = span.split_once('-') {
        if from.parse() != Ok(session.bytes.len()) {
            return Err(Refusal::Bad("a piece follows the one before it"));
        }
        if total == "*" && !asked.body.len().is_multiple_of(PIECE_BYTES) {
            return Err(Refusal::Bad("a piece is a multiple of 256 KiB"));
        }
        session.bytes.extend_from_slice(&asked.body);
    }
    let length = session.bytes.len();
    if total.parse() == Ok(length) {
        let Session { bucket, name, content_type, condition, bytes } =
            state.sessions.remove(id).ok_or(Refusal::Gone)?;
        state.check(&bucket, &name, condition)?;
        return Ok(reply::json(200, &state.store(&bucket, &name, &content_type, bytes.freeze())?));
    }
    let more = reply::status(308);
    let last = length.checked_sub(1).map(|last| format!("bytes=0-{last}"));
    Ok(last.map_or(more, |last| reply::with(reply::status(308), "range", &last)))
}

/// The steps of an XML multipart upload.
fn multipart(mut state: MutexGuard<'_, State>, asked: &Asked, bucket: &str, name: &str) -> Answer {
    state.objects(bucket)?;
    let Some(id) = query(asked, "uploadId") else {
        query(asked, "uploads").filter(|_| asked.method == Method::POST).ok_or(Refusal::Unknown)?;
        let id = format!("upload-{}", state.next());
        let begun = format!(
            "<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><UploadId>{id}</UploadId>\
             </InitiateMultipartUploadResult>"
        );
        let (bucket, name) = (bucket.to_owned(), name.to_owned());
        let content_type = asked.header("content-type").to_owned();
        state
            .multiparts
            .insert(id, Multipart { bucket, name, content_type, parts: BTreeMap::new() });
        return Ok(reply::xml(200, &begun));
    };
    let begun = state.multiparts.get_mut(&id).ok_or(Refusal::NotFound("NoSuchUpload"))?;
    match asked.method {
        Method::PUT => {
            let number = query(asked, "partNumber").and_then(|number| number.parse().ok());
            let number: u32 = number.ok_or(Refusal::Bad("a part has a number"))?;
            begun.parts.insert(number, asked.body.clone());
            Ok(reply::with(reply::status(200), "etag", &part_tag(number, &asked.body)))
        }
        Method::DELETE => {
            state.multiparts.remove(&id);
            Ok(reply::status(204))
        }
        Method::POST => {
            let bytes = joined(&begun.parts, &String::from_utf8_lossy(&asked.body))?;
            let Multipart { bucket, name, content_type, .. } =
                state.multiparts.remove(&id).ok_or(Refusal::Gone)?;
            state.store(&bucket, &name, &content_type, bytes)?;
            let generation = state.generation;
            let done = format!(
                "<CompleteMultipartUploadResult><Bucket>{bucket}</Bucket><ETag>&quot;e{generation}\
                 &quot;</ETag></CompleteMultipartUploadResult>"
            );
            let done = reply::with(reply::xml(200, &done), "etag", &format!("\"e{generation}\""));
            Ok(reply::with(done, "x-goog-generation", &generation.to_string()))
        }
        _ => Err(Refusal::Unknown),
    }
}

/// Differs between parts of different length or number; that is all the client needs.
fn part_tag(number: u32, bytes: &Bytes) -> String {
    format!("\"part-{number}-{}\"", bytes.len())
}

/// The parts that the client names, in its order.
fn joined(parts: &BTreeMap<u32, Bytes>, wanted: &str) -> Result<Bytes, Refusal> {
    let plain = wanted.replace("&quot;", "\"");
    let between = |text: &str, tag: &str| {
        let rest = text.split_once(&format!("<{tag}>"))?.1;
        Some(rest.split_once(&format!("</{tag}>"))?.0.to_owned())
    };
    let (mut bytes, mut last) = (BytesMut::new(), 0);
    let named: Vec<&str> = plain.split("<Part>").skip(1).collect();
    for (at, part) in named.iter().enumerate() {
        let number = between(part, "PartNumber").and_then(|number| number.parse().ok());
        let number: u32 = number.ok_or(Refusal::Bad("MalformedXML"))?;
        let stored = parts.get(&number).ok_or(Refusal::Bad("InvalidPart"))?;
        if between(part, "ETag") != Some(part_tag(number, stored)) {
            return Err(Refusal::Bad("InvalidPart"));
        }
        if number <= last {
            return Err(Refusal::Bad("InvalidPartOrder"));
        }
        if at + 1 < named.len() && stored.len() < PART_BYTES_MIN {
            return Err(Refusal::Bad("EntityTooSmall"));
        }
        last = number;
        bytes.extend_from_slice(stored);
    }
    Ok(bytes.freeze())
}

/// `GET /BUCKET?uploads`: the multipart uploads that are open.
fn open_multiparts(mut state: MutexGuard<'_, State>, asked: &Asked) -> Answer {
    let bucket = asked.uri.path().trim_matches('/');
    query(asked, "uploads").filter(|_| asked.method == Method::GET).ok_or(Refusal::Unknown)?;
    state.objects(bucket)?;
    let uploads: String = (state.multiparts.iter())
        .filter(|(_, upload)| upload.bucket == bucket)
        .map(|(id, upload)| {
            let name = upload.name.replace('&', "&amp;").replace('<', "&lt;");
            format!("<Upload><Key>{name}</Key><UploadId>{id}</UploadId></Upload>")
        })
        .collect();
    Ok(reply::xml(
        200,
        &format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>"),
    ))
}
