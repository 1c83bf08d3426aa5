//! [`Operated`]: an operator of `OpenDAL` as a blocking [`Backend`].

use std::{
    fmt,
    future::Future,
    ops::Range,
    sync::{Arc, OnceLock, mpsc::Receiver},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Backend, Conditions, Depth, ObjectEntry, ObjectMeta, ObjectWriter, PART_BYTES, PARTS_IN_FLIGHT,
    PutMode,
    door::{
        Credentials, Metadata, Operator, OperatorError, OperatorErrorKind as Kind, OperatorResult,
        Writer, explain,
    },
    message::{Doing, failure},
    runtime::{Runtime, Watch, lost, wait},
};
use crate::{
    cancel::Cancel,
    error::{Error, ErrorKind, Result},
};

/// How long an abort waits for a request that a cancel left on its way, and for itself.
const ABORT_WAIT: Duration = Duration::from_secs(5);

/// The object that shows whether conditions are enforced.
pub(super) const PROBE: &str = ".probe";

/// Of chunks. Never with a `Content-Encoding`: stores and clients may decompress on the way then.
const CHUNK_CONTENT_TYPE: &str = "application/octet-stream";

/// A backend that is an operator.
#[derive(Clone)]
pub(super) struct Operated(Arc<Shared>, Watch);

/// Processor time of threads that are not the runtime's but work for it.
pub(super) type CpuBeside = Box<dyn Fn() -> Duration + Send + Sync>;

struct Shared {
    describe: String,
    /// With retries.
    operator: Operator,
    /// Without, for conditional puts.
    once: Operator,
    /// For words about failures; the operators hold their own.
    credentials: Credentials,
    runtime: Runtime,
    beside: CpuBeside,
    conditions: OnceLock<Conditions>,
}

impl Operated {
    /// Starts the threads behind an operator with retries and the same one without.
    pub(super) fn start(
        describe: String,
        [operator, once]: [Operator; 2],
        watch: Watch,
        credentials: Credentials,
        beside: CpuBeside,
    ) -> Result<Arc<dyn Backend>> {
        let (runtime, conditions) = (Runtime::start()?, OnceLock::new());
        let shared = Shared { describe, operator, once, credentials, runtime, beside, conditions };
        Ok(Arc::new(Self(Arc::new(shared), watch)))
    }

    /// Runs one request and says what was being done if it fails.
    fn request<T: Send + 'static>(
        &self,
        verb: &'static str,
        object: &str,
        request: impl Future<Output = OperatorResult<T>> + Send + 'static,
    ) -> Result<T> {
        let answer = self.0.runtime.run(&self.1, async { Ok(request.await) });
        answer?.map_err(|error| self.explain(verb, object, &error))
    }

    fn explain(&self, verb: &'static str, object: &str, error: &OperatorError) -> Error {
        let doing = Doing { verb, object, place: &self.0.describe };
        explain(doing, error, &self.0.credentials)
    }

    fn probe(&self) -> Result<Conditions> {
        // A probe left behind by a killed process would look like a refusal; the name is free then.
        self.delete(PROBE)?;
        let body =
            Bytes::from_static(b"Siltstone asks whether two writers of a name are told apart.");
        let answers = [self.conditional_put(PROBE, &body), self.conditional_put(PROBE, &body)];
        self.delete(PROBE)?;
        let refused = |error: &Error| error.kind() == ErrorKind::Exists;
        match answers {
            [Ok(()), Ok(())] => Ok(Conditions::Ignored),
            // The first is refused when another process probes at the same moment.
            [Ok(()) | Err(_), Err(error)] if refused(&error) => Ok(Conditions::Enforced),
            [Err(error), _] | [_, Err(error)] => Err(error),
        }
    }

    fn conditional_put(&self, object: &str, bytes: &Bytes) -> Result<()> {
        let (operator, name, bytes) = (self.0.once.clone(), object.to_owned(), bytes.clone());
        self.request("write", object, async move {
            operator.write_with(&name, bytes).if_not_exists(true).await.map(drop)
        })
    }

    /// For backends that ignore conditions: a look first. Two writers may both pass it.
    fn careful_put(&self, object: &str, bytes: Bytes) -> Result<()> {
        if self.stat(object)?.is_some() {
            let doing = Doing { verb: "write", object, place: &self.0.describe };
            return Err(failure(ErrorKind::Exists, doing, "it is there already"));
        }
        self.put(object, bytes, PutMode::Replace)
    }
}

impl fmt::Debug for Operated {
    /// The place alone: an operator's own text may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Operated").field(&self.0.describe).finish()
    }
}

impl Backend for Operated {
    fn describe(&self) -> &str {
        &self.0.describe
    }

    fn cancelable(&self, cancel: &Cancel) -> Arc<dyn Backend> {
        let watch = Watch { cancel: cancel.clone(), budget: Arc::clone(&self.1.budget) };
        Arc::new(Self(Arc::clone(&self.0), watch))
    }

    fn cpu(&self) -> Duration {
        self.0.runtime.cpu() + (self.0.beside)()
    }

    fn put(&self, object: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        match mode {
            PutMode::Replace => {
                let (operator, name) = (self.0.operator.clone(), object.to_owned());
                self.request("write", object, async move {
                    operator.write(&name, bytes).await.map(drop)
                })
            }
            PutMode::NoReplace => match self.conditions()? {
                Conditions::Enforced => self.conditional_put(object, &bytes),
                Conditions::Ignored => self.careful_put(object, bytes),
            },
        }
    }

    fn writer(&self, object: &str) -> Result<Box<dyn ObjectWriter>> {
        let (operator, name) = (self.0.operator.clone(), object.to_owned());
        let writer = self.request("write", object, async move {
            let writer = operator.writer_with(&name).chunk(PART_BYTES);
            writer.concurrent(PARTS_IN_FLIGHT).content_type(CHUNK_CONTENT_TYPE).await
        })?;
        let (backend, object) = (self.clone(), object.to_owned());
        Ok(Box::new(PartWriter {
            backend,
            object,
            place: Place::Here(writer),
            written: 0,
            finishing: false,
        }))
    }

    fn get(&self, object: &str, bytes_max: u64) -> Result<Bytes> {
        let Some(meta) = self.stat(object)? else {
            let doing = Doing { verb: "read", object, place: &self.0.describe };
            return Err(failure(ErrorKind::NotFound, doing, "there is no such object"));
        };
        if meta.length > bytes_max {
            let what = format!("it has {} bytes, {bytes_max} are the most", meta.length);
            return Err(Error::corrupt(object, what));
        }
        self.get_range(object, 0..meta.length)
    }

    fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        let (wanted, asked) = (range.end.saturating_sub(range.start), range.clone());
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        let (operator, name) = (self.0.operator.clone(), object.to_owned());
        let read = self.request("read", object, async move {
            operator.read_with(&name).range(asked).await.map(|buffer| buffer.to_bytes())
        });
        match read {
            Ok(bytes) if bytes.len() as u64 == wanted => Ok(bytes),
            Ok(bytes) => {
                let what = format!("bytes {range:?} were asked for, {} came", bytes.len());
                Err(Error::corrupt(object, what))
            }
            // Stores answer a range past the end in many ways; the length tells.
            Err(error) => match self.stat(object) {
                Ok(Some(meta)) if meta.length < range.end => {
                    let what = format!("it ends at byte {}, not {}", meta.length, range.end);
                    Err(Error::corrupt(object, what).caused_by(error))
                }
                _ => Err(error),
            },
        }
    }

    fn stat(&self, object: &str) -> Result<Option<ObjectMeta>> {
        let (operator, name) = (self.0.operator.clone(), object.to_owned());
        self.request("look up", object, async move {
            match operator.stat(&name).await {
                Ok(meta) => Ok(Some(meta)),
                Err(error) if error.kind() == Kind::NotFound => Ok(None),
                Err(error) => Err(error),
            }
        })
        .map(|meta| meta.map(|meta| object_meta(&meta)))
    }

    fn list(&self, prefix: &str, depth: Depth) -> Result<Vec<ObjectEntry>> {
        let (operator, folder) = (self.0.operator.clone(), format!("/{prefix}"));
        let found = self.request("list", prefix, async move {
            let recursive = matches!(depth, Depth::All);
            match operator.list_with(&folder).recursive(recursive).await {
                Err(error) if error.kind() == Kind::NotFound => Ok(Vec::new()),
                answer => answer,
            }
        })?;
        let mut entries: Vec<ObjectEntry> = (found.into_iter())
            .map(|entry| {
                let ObjectMeta { length, modified } = object_meta(entry.metadata());
                ObjectEntry { name: entry.path().to_owned(), length, modified }
            })
            .filter(|entry| entry.name != prefix && entry.name != "/")
            .filter(|entry| matches!(depth, Depth::One) || !entry.name.ends_with('/'))
            .collect();
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn delete(&self, object: &str) -> Result<()> {
        let (operator, name) = (self.0.operator.clone(), object.to_owned());
        self.request("remove", object, async move { operator.delete(&name).await })
    }

    fn conditions(&self) -> Result<Conditions> {
        if let Some(known) = self.0.conditions.get() {
            return Ok(*known);
        }
        let found = self.probe()?;
        Ok(*self.0.conditions.get_or_init(|| found))
    }
}

fn object_meta(meta: &Metadata) -> ObjectMeta {
    let modified = meta.last_modified().and_then(|at| {
        let since = at.into_inner().as_duration();
        Duration::try_from(since).ok() // before 1970: as good as unknown
    });
    let length = if meta.is_dir() { 0 } else { meta.content_length() };
    ObjectMeta { length, modified }
}
/// A writer whose requests can be left alone by a cancel, but never dropped half-way.
struct PartWriter {
    backend: Operated,
    object: String,
    place: Place,
    written: u64,
    /// The object may have come to be.
    finishing: bool,
}

type Returned<T> = (Writer, OperatorResult<T>);

enum Place {
    Here(Writer),
    /// In a request that the caller no longer waits for.
    Away(Receiver<Returned<()>>),
    Gone,
}

impl PartWriter {
    /// Runs one request of the writer and takes the writer back.
    fn step(&mut self, step: Step) -> Result<()> {
        let Place::Here(mut writer) = std::mem::replace(&mut self.place, Place::Gone) else {
            return Err(lost());
        };
        let Operated(shared, watch) = &self.backend;
        let returned = shared.runtime.start_task(watch, async move {
            let answer = match step {
                Step::Write(bytes) => writer.write(bytes).await,
                Step::Finish => writer.close().await.map(drop),
            };
            (writer, answer)
        });
        match wait(watch, &returned) {
            Ok((writer, answer)) => {
                self.place = Place::Here(writer);
                answer.map_err(|error| self.backend.explain("write", &self.object, &error))
            }
            Err(error) => {
                self.place = Place::Away(returned);
                Err(error)
            }
        }
    }

    fn left_behind(&self) -> Error {
        let Self { backend, object, .. } = self;
        let doing = Doing { verb: "give up", object, place: &backend.0.describe };
        failure(ErrorKind::Unavailable, doing, "a request is still on its way")
    }

    /// Whether the store holds as many bytes as were sent.
    fn check_length(&self) -> Result<()> {
        let stored = self.backend.stat(&self.object)?.map(|meta| meta.length);
        if stored == Some(self.written) {
            return Ok(());
        }
        let stored =
            stored.map_or_else(|| "nothing".to_owned(), |length| format!("{length} bytes"));
        let what = format!("{} bytes were sent, the store holds {stored}", self.written);
        Err(Error::corrupt(&self.object, what))
    }
}

enum Step {
    Write(Bytes),
    Finish,
}

impl fmt::Debug for PartWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartWriter").field("object", &self.object).finish_non_exhaustive()
    }
}

impl ObjectWriter for PartWriter {
    fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.backend.1.check()?;
        let length = bytes.len() as u64;
        self.step(Step::Write(bytes))?;
        self.written += length;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<u64> {
        self.backend.1.check()?;
        self.finishing = true;
        let finished = self.step(Step::Finish).and_then(|()| self.check_length());
        match finished {
            Ok(()) => Ok(self.written),
            Err(error) => {
                // The cause matters more than what may be left behind.
                drop(self.abort());
                Err(error)
            }
        }
    }

    fn abort(mut self: Box<Self>) -> Result<()> {
        if let Place::Away(returned) = &self.place {
            let (writer, _) = returned
                .recv_timeout(ABORT_WAIT)
                .map_err(|late| self.left_behind().caused_by(late))?;
            self.place = Place::Here(writer);
        }
        let Place::Here(mut writer) = std::mem::replace(&mut self.place, Place::Gone) else {
            return Err(lost());
        };
        let (operator, object) = (self.backend.0.operator.clone(), self.object.clone());
        let may_be_there = self.finishing;
        let work = async move {
            let aborted = writer.abort().await;
            // Of an object that came to be all the same nobody will ever know.
            if may_be_there { operator.delete(&object).await } else { aborted }
        };
        // A canceled operation still cleans up; what takes longer goes on without anybody waiting.
        let returned = self.backend.0.runtime.start_task(&Watch::default(), work);
        let answer =
            returned.recv_timeout(ABORT_WAIT).map_err(|late| self.left_behind().caused_by(late))?;
        answer.map_err(|error| self.backend.explain("give up", &self.object, &error))
    }
}
