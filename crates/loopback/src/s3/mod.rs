//! A bucket that speaks S3, and misbehaves on request.
//!
//! Path-style addresses; objects whole and by range, conditional puts, lists with pages, multipart
//! uploads. What a request carries is checked as a real store would: key id, conditions, CRC-32C,
//! part sizes and tags. A script of [`Rule`]s says which requests go wrong, and how; the handle looks
//! into the store behind the wire, and counts what was asked.
//!
//! Absent: signatures beyond the key id, versions, access lists, copies.

mod bucket;
mod http;
mod line;
mod script;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use bytes::Bytes;
use jiff::SignedDuration;
use tokio::{net::TcpListener, runtime, sync::oneshot};

pub use self::script::{Act, Hits, Operation, Rule};
use self::{
    bucket::Bucket,
    line::{Line, Lines},
    script::Script,
};

/// The one bucket there is.
pub const BUCKET: &str = "bucket";

/// The key id that may use it, unless [`S3::accept_keys`] says otherwise.
pub const KEY_ID: &str = "key-of-the-stub";

/// A request that has come in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// What it asks for.
    pub operation: Operation,
    /// The object; the prefix, for a list; empty for the bucket.
    pub object: String,
    /// When its head had come.
    pub at: Instant,
    /// The key id that signed it; empty if none did.
    pub key_id: String,
    /// The status of the answer; `None` while there is none, and where none was to come.
    pub status: Option<u16>,
}

/// A running store. Dropping it ends it; its objects are gone.
#[derive(Debug)]
pub struct S3 {
    address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Everything behind the wire.
#[derive(Debug, Default)]
struct Inside {
    bucket: Bucket,
    script: Script,
    seen: Vec<Seen>,
    /// Key ids that may use it.
    key_ids: Vec<String>,
}

impl S3 {
    /// Starts a store with an empty bucket.
    ///
    /// # Errors
    /// When there is no free port or thread.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Bucket::default())
    }

    /// Starts another store with the same objects, of the same ages, and no script.
    ///
    /// # Errors
    /// As [`S3::start`].
    pub fn copy(&self) -> io::Result<Self> {
        let bucket = self.inside().bucket.clone();
        Self::start_with(bucket)
    }

    fn start_with(bucket: Bucket) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let inside = Arc::new(Mutex::new(Inside {
            bucket,
            key_ids: vec![KEY_ID.to_owned()],
            ..Inside::default()
        }));
        let served = Arc::clone(&inside);
        let answer = move |ConnectInfo(line): ConnectInfo<Line>, request: Request<Body>| {
            http::answer(Arc::clone(&served), line, request)
        };
        let app = Router::new().fallback(answer).into_make_service_with_connect_info::<Line>();
        let thread = thread::Builder::new().name("s3-stub".to_owned()).spawn(move || {
            runtime.block_on(async {
                // Open connections are dropped with the runtime; nobody waits for idle clients.
                tokio::select! {
                    served = axum::serve(Lines(listener), app).into_future() => {
                        served.expect("a server goes on");
                    }
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, inside, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule to the script; of several that fit a request the first added counts.
    pub fn script(&self, rule: Rule) -> Hits {
        self.inside().script.add(rule)
    }

    /// Says which key ids may use the bucket from now on.
    pub fn accept_keys(&self, key_ids: &[&str]) {
        self.inside().key_ids = key_ids.iter().map(|key_id| (*key_id).to_owned()).collect();
    }

    /// Drops all rules: from now on nothing goes wrong.
    pub fn behave(&self) {
        self.inside().script = Script::default();
    }

    /// Names of all objects, sorted.
    pub fn names(&self) -> Vec<String> {
        self.inside().bucket.names()
    }

    /// The bytes of an object.
    pub fn object(&self, name: &str) -> Option<Bytes> {
        self.inside().bucket.get(name).map(|object| object.bytes.clone())
    }

    /// Puts an object behind the wire; `None` removes it.
    pub fn set_object(&self, name: &str, bytes: Option<Bytes>) {
        self.inside().bucket.set(name, bytes);
    }

    /// Names of the objects of multipart uploads that are neither completed nor aborted.
    pub fn open_uploads(&self) -> Vec<String> {
        self.inside().bucket.open_uploads()
    }

    /// Most names of one page of a list; 1000 at first.
    pub fn set_page_names(&self, names: usize) {
        self.inside().bucket.page_names = names;
    }

    /// Moves the clock by which objects get their age.
    ///
    /// # Panics
    /// For more time than a calendar has.
    pub fn advance(&self, time: Duration) {
        let time = SignedDuration::try_from(time).expect("tests move it by hours");
        self.inside().bucket.ahead += time;
    }

    /// All requests so far, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.inside().seen.clone()
    }

    /// How many requests there were so far.
    pub fn requests(&self) -> usize {
        self.inside().seen.len()
    }

    /// How many requests for an operation there were so far.
    pub fn count(&self, operation: Operation) -> usize {
        self.inside().seen.iter().filter(|seen| seen.operation == operation).count()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        lock(&self.inside)
    }
}

/// A handler that panicked has failed its test; the others go on.
fn lock(inside: &Mutex<Inside>) -> MutexGuard<'_, Inside> {
    inside.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // a server that panicked has failed the test already
        }
    }
}
