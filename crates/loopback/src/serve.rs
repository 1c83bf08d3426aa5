//! One server: a port of 127.0.0.1, a thread, and a list of what was asked.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, Response, Uri},
};
use bytes::Bytes;
use tokio::{net::TcpListener, runtime, sync::oneshot};

/// Longest body of a request; more is a mistake of the test.
const BODY_BYTES_MAX: usize = 1 << 30;

/// A request, whole.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    /// A header as text; empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What a server was asked, without the body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// Method and path with query, such as `GET /token`.
    pub line: String,
    /// The `Authorization` header; empty if there was none.
    pub authorization: String,
    /// The `x-amz-security-token` header; empty if there was none.
    pub session_token: String,
}

/// A running server. Dropping it ends it and frees its port.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// All requests so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // a server that panicked has failed the test already
        }
    }
}

/// Answers every request on a port (0: a free one) with `answer`.
pub(crate) fn start(
    port: u16,
    answer: impl Fn(&Asked) -> Response<Body> + Send + Sync + 'static,
) -> io::Result<Server> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port)))?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (seen, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
    let log = Arc::clone(&seen);
    let app = Router::new().fallback(move |request: Request<Body>| {
        let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
        async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
                return Response::new(Body::empty()); // the client is gone
            };
            let asked =
                Asked { method: parts.method, uri: parts.uri, headers: parts.headers, body };
            log.lock().expect("no code panics while holding it").push(Seen {
                line: format!("{} {}", asked.method, asked.uri),
                authorization: asked.header("authorization").to_owned(),
                session_token: asked.header("x-amz-security-token").to_owned(),
            });
            answer(&asked)
        }
    });
    let thread = thread::Builder::new().name("siltstone-loopback".to_owned()).spawn(move || {
        runtime.block_on(async {
            // Open connections are dropped with the runtime; nobody waits for idle clients.
            tokio::select! {
                served = axum::serve(listener, app).into_future() => served.expect("serves"),
                _ = stopped => {}
            }
        });
    })?;
    Ok(Server { address, seen, stop: Some(stop), thread: Some(thread) })
}
