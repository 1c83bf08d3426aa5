//! Requests and answers of S3, and what the script makes of them.

use std::{
    fmt::Write,
    future::{pending, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{
    body::{Body, HttpBody, to_bytes},
    http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header},
};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use super::{
    Act, BUCKET, Inside, Operation, Seen,
    bucket::{Listing, Named, Object},
    line::Line,
    lock,
};

/// Longest body of a request; more is a mistake of the test.
const BODY_BYTES_MAX: usize = 1 << 30;

/// The header that holds the CRC-32C of a body, in base64.
const CHECKSUM: &str = "x-amz-checksum-crc32c";

/// A request, whole.
#[derive(Debug)]
struct Asked {
    operation: Operation,
    object: String,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn query(&self, name: &str) -> String {
        query(&self.uri, name).unwrap_or_default()
    }
}

fn query(uri: &Uri, name: &str) -> Option<String> {
    uri.query().unwrap_or_default().split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| decoded(&value.replace('+', " ")))
    })
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Answers one request.
pub(super) async fn answer(
    inside: Arc<Mutex<Inside>>,
    line: Line,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, mut body) = request.into_parts();
    let (operation, object) = understand(&parts.method, &parts.uri);
    #[expect(clippy::disallowed_methods, reason = "the script is about real time")]
    let at = Instant::now();
    let (index, act) = {
        let mut inside = lock(&inside);
        let key_id = signer(&parts.headers).unwrap_or_default();
        inside.seen.push(Seen { operation, object: object.clone(), at, key_id, status: None });
        (inside.seen.len() - 1, inside.script.act(operation, &object, at))
    };
    match act {
        Some(Act::Silence) => pending().await,
        Some(Act::Wait(time)) => tokio::time::sleep(time).await,
        Some(Act::CutRequest(bytes)) => {
            read_some(&mut body, bytes).await;
            line.cut_after(0);
            return Response::new(Body::empty());
        }
        _ => {}
    }
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return Response::new(Body::empty()); // the client is gone
    };
    let mut asked = Asked { operation, object, uri: parts.uri, headers: parts.headers, body };
    let mut inside = lock(&inside);
    let response = match &act {
        Some(Act::Refuse(status, code)) => refusal(*status, code),
        Some(Act::RefuseInBody(code)) => xml(200, &error_body(code)),
        Some(Act::Page) => page(),
        Some(Act::Redirect(to)) => with(status(307), "location", to),
        Some(Act::FlipOnTheWay(bit)) => {
            asked.body = flipped(&asked.body, *bit);
            perform(&mut inside, &asked)
        }
        Some(Act::CutAnswer(bytes)) => {
            line.cut_after(*bytes);
            perform(&mut inside, &asked)
        }
        Some(Act::Slow(bytes_per_second)) => {
            line.slow_down(*bytes_per_second);
            perform(&mut inside, &asked)
        }
        _ => perform(&mut inside, &asked),
    };
    if response.status().is_success() && operation != Operation::PutPart {
        harm(&mut inside, &asked.object, act.as_ref());
    }
    inside.seen[index].status = Some(response.status().as_u16());
    response
}

/// What a request asks for, and of what.
fn understand(method: &Method, uri: &Uri) -> (Operation, String) {
    let path = uri.path().trim_start_matches('/');
    let (bucket, object) = path.split_once('/').unwrap_or((path, ""));
    if bucket != BUCKET {
        return (Operation::Unknown, decoded(path));
    }
    let has = |name| query(uri, name).is_some();
    let operation = match (method.as_str(), object.is_empty()) {
        ("GET", true) if has("list-type") => Operation::List,
        ("GET", true) if has("uploads") => Operation::ListUploads,
        ("POST", true) if has("delete") => Operation::DeleteMany,
        ("GET", false) => Operation::Get,
        ("HEAD", false) => Operation::Head,
        ("PUT", false) if has("uploadId") => Operation::PutPart,
        ("PUT", false) => Operation::Put,
        ("POST", false) if has("uploads") => Operation::CreateUpload,
        ("POST", false) if has("uploadId") => Operation::CompleteUpload,
        ("DELETE", false) if has("uploadId") => Operation::AbortUpload,
        ("DELETE", false) => Operation::Delete,
        _ => Operation::Unknown,
    };
    let object = match operation {
        Operation::List => query(uri, "prefix").unwrap_or_default(),
        _ => decoded(object),
    };
    (operation, object)
}

/// Takes so many bytes of a body off the wire, and leaves the others.
async fn read_some(body: &mut Body, bytes: usize) {
    let mut read = 0;
    while read < bytes {
        match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => return,
        }
    }
}

/// What the script does to an object that is stored by now.
fn harm(inside: &mut Inside, name: &str, act: Option<&Act>) {
    let Some(object) = inside.bucket.get(name) else { return };
    let harmed = match act {
        Some(Act::Truncate(length)) => object.bytes.slice(..object.bytes.len().min(*length)),
        Some(Act::FlipStored(bit)) => flipped(&object.bytes, *bit),
        _ => return,
    };
    inside.bucket.set(name, Some(harmed));
}

fn flipped(bytes: &Bytes, bit: usize) -> Bytes {
    let mut bytes = BytesMut::from(&bytes[..]);
    let at = bit / 8 % bytes.len().max(1);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << (bit % 8);
    }
    bytes.freeze()
}

/// Does what a request wishes, as far as it may.
fn perform(inside: &mut Inside, asked: &Asked) -> Response<Body> {
    if let Some(refused) = check(asked, &inside.key_ids) {
        return refused;
    }
    let (name, bucket) = (asked.object.as_str(), &mut inside.bucket);
    match asked.operation {
        Operation::Get => bucket.get(name).map_or_else(no_key, |object| get(asked, object)),
        Operation::Head => bucket.get(name).map_or_else(|| status(404), head),
        Operation::Put => match refuse_put(asked, bucket.get(name)) {
            Some(refused) => refused,
            None => tagged(&bucket.set(name, Some(asked.body.clone()))),
        },
        Operation::Delete => {
            bucket.set(name, None);
            status(204)
        }
        Operation::DeleteMany => {
            let text = String::from_utf8_lossy(&asked.body);
            let names = text.split("<Object>").skip(1).filter_map(|part| between(part, "Key"));
            names.for_each(|name| drop(bucket.set(&unescaped(&name), None)));
            xml(200, "<DeleteResult></DeleteResult>")
        }
        Operation::List => list(inside, asked),
        Operation::ListUploads => {
            let uploads: String = (bucket.uploads())
                .map(|(id, name)| {
                    let name = escaped(name);
                    format!("<Upload><Key>{name}</Key><UploadId>{id}</UploadId></Upload>")
                })
                .collect();
            xml(200, &format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>"))
        }
        Operation::CreateUpload => {
            let (id, name) = (bucket.begin(name), escaped(name));
            let body = format!("<Key>{name}</Key><UploadId>{id}</UploadId>");
            xml(
                200,
                &format!("<InitiateMultipartUploadResult>{body}</InitiateMultipartUploadResult>"),
            )
        }
        Operation::PutPart => {
            let number = asked.query("partNumber").parse().unwrap_or(0);
            let stored = bucket.put_part(&asked.query("uploadId"), number, asked.body.clone());
            stored.map_or_else(|| refusal(404, "NoSuchUpload"), |tag| tagged(&tag))
        }
        Operation::CompleteUpload => complete(inside, asked),
        Operation::AbortUpload => {
            let was_open = bucket.abort(&asked.query("uploadId"));
            if was_open { status(204) } else { refusal(404, "NoSuchUpload") }
        }
        Operation::Unknown => {
            let is_other =
                asked.uri.path().trim_start_matches('/').split('/').next() != Some(BUCKET);
            if is_other { refusal(404, "NoSuchBucket") } else { refusal(501, "NotImplemented") }
        }
    }
}

/// Who asks, and whether the body came as it was sent.
fn check(asked: &Asked, key_ids: &[String]) -> Option<Response<Body>> {
    let Some(key_id) = signer(&asked.headers) else {
        return Some(refusal(403, "AccessDenied"));
    };
    if !key_ids.contains(&key_id) {
        return Some(refusal(403, "InvalidAccessKeyId"));
    }
    let checksum = asked.header(CHECKSUM);
    let is_right =
        checksum.is_empty() || checksum == base64(crc32c(&asked.body).swap_bytes().to_le_bytes());
    (!is_right).then(|| refusal(400, "BadDigest"))
}

/// The key id that signed a request.
fn signer(headers: &HeaderMap) -> Option<String> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let scope = authorization.strip_prefix("AWS4-HMAC-SHA256 Credential=")?;
    scope.split('/').next().map(str::to_owned)
}

fn refuse_put(asked: &Asked, there: Option<&Object>) -> Option<Response<Body>> {
    let is_taken = asked.header("if-none-match") == "*" && there.is_some();
    is_taken.then(|| refusal(412, "PreconditionFailed"))
}

fn complete(inside: &mut Inside, asked: &Asked) -> Response<Body> {
    let (text, id) = (String::from_utf8_lossy(&asked.body), asked.query("uploadId"));
    let named = text.split("<Part>").skip(1).map(|part| {
        let number = between(part, "PartNumber").and_then(|number| number.parse().ok());
        let tag = between(part, "ETag").map(|tag| unescaped(&tag).trim_matches('"').to_owned());
        Named { number: number.unwrap_or(0), tag: tag.unwrap_or_default() }
    });
    let named: Vec<Named> = named.collect();
    let bucket = &mut inside.bucket;
    if let Some(refused) = refuse_put(asked, bucket.get(&asked.object)) {
        return refused;
    }
    match bucket.assemble(&id, &named) {
        Ok(bytes) => {
            let tag = bucket.set(&asked.object, Some(bytes));
            bucket.abort(&id);
            let name = escaped(&asked.object);
            let body = format!("<Key>{name}</Key><ETag>&quot;{tag}&quot;</ETag>");
            xml(
                200,
                &format!("<CompleteMultipartUploadResult>{body}</CompleteMultipartUploadResult>"),
            )
        }
        Err(code) => refusal(if code == "NoSuchUpload" { 404 } else { 400 }, code),
    }
}

fn head(object: &Object) -> Response<Body> {
    let mut response = tagged(&object.tag);
    response = with(response, "content-length", &object.bytes.len().to_string());
    with(response, "last-modified", &http_date(object.modified))
}

/// The bytes, or the range of them that was asked for.
fn get(asked: &Asked, object: &Object) -> Response<Body> {
    let length = object.bytes.len();
    let Some((from, to)) = range(asked.header("range"), length) else {
        let mut response = tagged(&object.tag);
        *response.body_mut() = Body::from(object.bytes.clone());
        return with(response, "last-modified", &http_date(object.modified));
    };
    if from >= to {
        return refusal(416, "InvalidRange");
    }
    let mut response = tagged(&object.tag);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    *response.body_mut() = Body::from(object.bytes.slice(from..to));
    with(response, "content-range", &format!("bytes {from}-{}/{length}", to - 1))
}

/// First byte and end of a range; `None` without a range that can be read.
fn range(header: &str, length: usize) -> Option<(usize, usize)> {
    let (from, to) = header.strip_prefix("bytes=")?.split_once('-')?;
    match (from.parse::<usize>(), to.parse::<usize>()) {
        (Ok(from), Ok(to)) => Some((from, to.saturating_add(1).min(length))),
        (Ok(from), Err(_)) => Some((from, length)),
        (Err(_), Ok(last)) => Some((length.saturating_sub(last), length)),
        (Err(_), Err(_)) => None,
    }
}

fn list(inside: &Inside, asked: &Asked) -> Response<Body> {
    let (prefix, delimiter) = (asked.query("prefix"), asked.query("delimiter"));
    let after = asked.query("continuation-token").max(asked.query("start-after"));
    let names_max = asked.query("max-keys").parse().unwrap_or(usize::MAX);
    let listing = Listing { prefix: &prefix, delimiter: &delimiter, after: &after, names_max };
    let page = inside.bucket.list(&listing);
    let mut body = String::from("<ListBucketResult>");
    let truncated = page.next.is_some();
    write!(body, "<IsTruncated>{truncated}</IsTruncated>").expect("text grows");
    if let Some(next) = &page.next {
        let token = escaped(next);
        write!(body, "<NextContinuationToken>{token}</NextContinuationToken>").expect("text grows");
    }
    for (name, object) in &page.objects {
        let (name, size, tag) = (escaped(name), object.bytes.len(), &object.tag);
        let modified = format!("{:.3}", object.modified);
        write!(
            body,
            "<Contents><Key>{name}</Key><LastModified>{modified}</LastModified>\
             <ETag>&quot;{tag}&quot;</ETag><Size>{size}</Size></Contents>"
        )
        .expect("text grows");
    }
    for folder in &page.folders {
        let folder = escaped(folder);
        write!(body, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>")
            .expect("text grows");
    }
    body.push_str("</ListBucketResult>");
    xml(200, &body)
}

fn status(code: u16) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(code).expect("a status of HTTP");
    response
}

fn with(mut response: Response<Body>, name: &'static str, value: &str) -> Response<Body> {
    response.headers_mut().insert(name, value.parse().expect("values of tests are headers"));
    response
}

fn tagged(tag: &str) -> Response<Body> {
    with(status(200), "etag", &format!("\"{tag}\""))
}

fn xml(code: u16, body: &str) -> Response<Body> {
    let mut response = with(status(code), "content-type", "application/xml");
    let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>{body}");
    *response.body_mut() = Body::from(body);
    response
}

fn page() -> Response<Body> {
    let mut response = status(200);
    let kind = "text/html".parse().expect("a header");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    *response.body_mut() = Body::from("<html><body>Please accept the terms of use</body></html>");
    response
}

fn refusal(code: u16, name: &str) -> Response<Body> {
    xml(code, &error_body(name))
}

fn no_key() -> Response<Body> {
    refusal(404, "NoSuchKey")
}

fn error_body(code: &str) -> String {
    format!(
        "<Error><Code>{code}</Code><Message>said by the stub</Message><Resource>/</Resource>\
         <RequestId>1</RequestId></Error>"
    )
}

fn between(text: &str, tag: &str) -> Option<String> {
    let rest = text.split_once(&format!("<{tag}>"))?.1;
    Some(rest.split_once(&format!("</{tag}>"))?.0.to_owned())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn unescaped(text: &str) -> String {
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    plain.replace("&amp;", "&")
}

fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// CRC-32C, by a table, as the header of a request has it.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let (mut table, mut index) = ([0; 256], 0_u32);
        while index < 256 {
            let (mut crc, mut bit) = (index, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[index as usize] = crc;
            index += 1;
        }
        table
    };
    let step = |crc: u32, byte: &u8| (crc >> 8) ^ TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)];
    !bytes.iter().fold(u32::MAX, step)
}

/// Four bytes in base64.
fn base64(bytes: [u8; 4]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = bytes.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << 4;
    let digit = |index: u32| {
        let value = bits >> (30 - 6 * index) & 63;
        char::from(DIGITS[usize::try_from(value).expect("six bits")])
    };
    (0..6).map(digit).chain(['=', '=']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_as_the_standard_has_them() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(base64([0xe3, 0x06, 0x92, 0x83]), "4waSgw==");
        assert_eq!(base64([0, 0, 0, 0]), "AAAAAA==");
    }

    #[test]
    fn ranges_have_their_three_forms() {
        assert_eq!(range("bytes=2-5", 10), Some((2, 6)));
        assert_eq!(range("bytes=2-50", 10), Some((2, 10)));
        assert_eq!(range("bytes=7-", 10), Some((7, 10)));
        assert_eq!(range("bytes=-3", 10), Some((7, 10)));
        assert_eq!(range("", 10), None);
    }

    #[test]
    fn requests_are_understood_by_method_and_query() {
        let of = |method: Method, uri: &str| understand(&method, &uri.parse().unwrap());
        let (put, get) = (Method::PUT, Method::GET);
        assert_eq!(of(put.clone(), "/bucket/a%20b"), (Operation::Put, "a b".to_owned()));
        let part = "/bucket/a?partNumber=1&uploadId=u";
        assert_eq!(of(put, part).0, Operation::PutPart);
        let list = "/bucket?list-type=2&prefix=a/";
        assert_eq!(of(get.clone(), list), (Operation::List, "a/".to_owned()));
        assert_eq!(of(get.clone(), "/bucket/?uploads").0, Operation::ListUploads);
        assert_eq!(of(get, "/other/a").0, Operation::Unknown);
        assert_eq!(of(Method::POST, "/bucket/a?uploadId=u").0, Operation::CompleteUpload);
    }
}
