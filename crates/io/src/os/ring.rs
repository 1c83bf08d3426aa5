//! The ring thread: runs the operations of all streams of a disk on one io_uring.
//!
//! The thread is started with the first stream and sleeps in the kernel while there is nothing to
//! do. It takes [`Letter`]s from a mailbox and answers each operation to the stream that sent it.
//!
//! Ownership. From submission to completion an operation owns its buffer and its file: both travel
//! to this thread inside the letter and back inside the answer, and the future that holds them is
//! never dropped early, for a lane waits for all its operations before it closes, and the thread
//! ends only when every lane is closed. The library's handle of a registered buffer cannot leave the
//! thread; it exists only while an operation runs. What leaves is our own [`Buffer`], which proves
//! that the slot is lent, and whose memory lives on after the thread if a piece does.
//!
//! Registering the slots needs locked memory, of which ordinary users may have as little as 8 MiB
//! in all. What cannot be registered is served from plain aligned buffers, at a little more CPU
//! time.

#![expect(unsafe_code, reason = "tells the library where a buffer is; see `Slot` and `Plain`")]

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    future::{Future, poll_fn},
    io,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use tokio_uring::buf::{BoundedBuf, IoBuf, IoBufMut, fixed::FixedBufRegistry};

use super::{
    lane::{Done, Lane, Op, Span, Way},
    memory::{Buffer, Memory, Pool, SLOTS_MAX},
    sys,
};
use crate::disk::StreamWork;

/// Operations one stream has under way: with 1 MiB each, the device's full speed.
const DEPTH: usize = 4;

/// How the ring is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingSettings {
    /// Entries of the submission queue.
    pub(super) entries: u32,
    /// How many slots to register; the first number the kernel accepts is taken.
    pub(super) slots: &'static [usize],
}

impl Default for RingSettings {
    fn default() -> Self {
        Self { entries: 128, slots: &[SLOTS_MAX, SLOTS_MAX / 2] }
    }
}

/// A running ring thread; dropping it waits for the thread to end.
#[derive(Debug)]
pub(super) struct Ring {
    mailbox: Arc<Mailbox>,
    thread: Option<JoinHandle<()>>,
    files: AtomicU64,
}

impl Ring {
    /// Starts the thread; also returns why slots could not be registered, if they could not.
    ///
    /// # Errors
    /// What the system says: most often that io_uring is not allowed here.
    pub(super) fn start(
        pool: &Arc<Pool>,
        settings: RingSettings,
    ) -> io::Result<(Self, Option<io::Error>)> {
        let mailbox = Arc::new(Mailbox::default());
        let (started, start) = bounded(1);
        let closing = CloseOnExit(Arc::clone(&mailbox));
        let pool = Arc::clone(pool);
        let thread = thread::Builder::new().name("siltstone-ring".to_owned()).spawn(move || {
            run(settings, &pool, &closing.0, &started);
        })?;
        let ring = Self { mailbox, thread: Some(thread), files: AtomicU64::new(0) };
        let refusal = start.recv().map_err(io::Error::other)??;
        Ok((ring, refusal))
    }

    /// What the thread has done so far.
    pub(super) fn work(&self) -> StreamWork {
        let Mailbox { cpu_nanos, bytes, .. } = &*self.mailbox;
        let cpu = Duration::from_nanos(cpu_nanos.load(Ordering::Relaxed));
        StreamWork { cpu, bytes: bytes.load(Ordering::Relaxed) }
    }

    /// A lane for one stream over `file`.
    pub(super) fn lane(self: &Arc<Self>, file: File) -> RingLane {
        let id = self.files.fetch_add(1, Ordering::Relaxed);
        let (answers, done) = unbounded();
        self.mailbox.push(Letter::Open { id, file, answers });
        RingLane { ring: Arc::clone(self), id, done, under_way: 0 }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.mailbox.close();
        // If it panicked, its lanes have seen that as an error.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// The way of one stream to the ring thread and back.
#[derive(Debug)]
pub(super) struct RingLane {
    ring: Arc<Ring>,
    id: u64,
    done: Receiver<Done>,
    under_way: usize,
}

impl Lane for RingLane {
    fn depth(&self) -> usize {
        DEPTH
    }

    fn submit(&mut self, op: Op) {
        self.under_way += 1;
        self.ring.mailbox.push(Letter::Run { id: self.id, op });
    }

    fn wait(&mut self) -> io::Result<Done> {
        let done = self.done.recv();
        self.under_way = if done.is_ok() { self.under_way.saturating_sub(1) } else { 0 };
        if let Ok(Done { result: Ok(moved), .. }) = &done {
            self.ring.mailbox.bytes.fetch_add(*moved as u64, Ordering::Relaxed);
        }
        done.map_err(|_ended| io::Error::other("the io_uring thread has ended"))
    }
}

impl Drop for RingLane {
    /// Waits for the operations under way; their buffers go back to the pool.
    fn drop(&mut self) {
        while self.under_way > 0 && self.wait().is_ok() {}
        self.ring.mailbox.push(Letter::Close { id: self.id });
    }
}

/// What a stream tells the ring thread.
#[derive(Debug)]
enum Letter {
    Open { id: u64, file: File, answers: Sender<Done> },
    Run { id: u64, op: Op },
    Close { id: u64 },
}

/// Letters from any thread to the one that sleeps on the ring.
#[derive(Debug, Default)]
struct Mailbox {
    inner: Mutex<Letters>,
    /// Processor time of the thread when it took its last letter, and bytes moved.
    cpu_nanos: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Letters {
    waiting: VecDeque<Letter>,
    reader: Option<Waker>,
    closed: bool,
}

impl Mailbox {
    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.inner.lock().expect("no code panics while holding it")
    }

    /// Adds a letter, or drops it if nobody will read it.
    fn push(&self, letter: Letter) {
        let mut letters = self.letters();
        if letters.closed {
            drop(letters);
            drop(letter);
            return;
        }
        letters.waiting.push_back(letter);
        let reader = letters.reader.take();
        drop(letters);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn close(&self) {
        let mut letters = self.letters();
        letters.closed = true;
        let reader = letters.reader.take();
        drop(letters);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The next letter; `None` when the mailbox is closed and empty.
    fn next(&self) -> impl Future<Output = Option<Letter>> {
        poll_fn(|context| {
            let mut letters = self.letters();
            if let Some(letter) = letters.waiting.pop_front() {
                return Poll::Ready(Some(letter));
            }
            if letters.closed {
                return Poll::Ready(None);
            }
            letters.reader = Some(context.waker().clone());
            Poll::Pending
        })
    }
}

/// Ends the waiting of all lanes when the thread ends, also by a panic.
struct CloseOnExit(Arc<Mailbox>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.close();
        let unread = std::mem::take(&mut self.0.letters().waiting);
        drop(unread); // drops the lanes' senders of answers
    }
}

type Started = io::Result<Option<io::Error>>;

fn run(settings: RingSettings, pool: &Pool, mailbox: &Mailbox, started: &Sender<Started>) {
    let mut builder = tokio_uring::builder();
    builder.entries(settings.entries);
    let runtime = match tokio_uring::Runtime::new(&builder) {
        Ok(runtime) => runtime,
        Err(error) => return answer(started, Err(error)),
    };
    runtime.block_on(async {
        let (registry, refusal) = register(settings.slots);
        if let Some((memory, _)) = &registry {
            pool.adopt(memory);
        }
        answer(started, Ok(refusal));
        serve(mailbox, registry.map(|(_, registry)| registry)).await;
    });
}

/// Sends to somebody who may have lost interest.
fn answer<T>(to: &Sender<T>, message: T) {
    if let Err(unsent) = to.send(message) {
        drop(unsent); // buffers inside go back to the pool
    }
}

type Registry = FixedBufRegistry<Slot>;

/// What the kernel accepted, and the memory behind it.
type Registered = (Vec<Arc<Memory>>, Registry);

/// Registers as many slots as the kernel allows; else says why not even the fewest.
fn register(counts: &[usize]) -> (Option<Registered>, Option<io::Error>) {
    let mut refusal = None;
    for &count in counts {
        let slots = Pool::allocate_slots(count);
        let registry = FixedBufRegistry::new(slots.iter().cloned().map(Slot));
        match registry.register() {
            Ok(()) => return (Some((slots, registry)), None),
            Err(error) => refusal = Some(error),
        }
    }
    (None, refusal)
}

/// One open file of a stream, on the ring thread.
struct OpenFile {
    file: tokio_uring::fs::File,
    answers: Sender<Done>,
}

async fn serve(mailbox: &Mailbox, registry: Option<Registry>) {
    let registry = Rc::new(registry);
    let mut files = BTreeMap::new();
    while let Some(letter) = mailbox.next().await {
        let cpu = u64::try_from(sys::thread_cpu().as_nanos()).unwrap_or(u64::MAX);
        mailbox.cpu_nanos.store(cpu, Ordering::Relaxed);
        match letter {
            Letter::Open { id, file, answers } => {
                let file = tokio_uring::fs::File::from_std(file);
                files.insert(id, Rc::new(OpenFile { file, answers }));
            }
            Letter::Run { id, op } => {
                let file: &Rc<OpenFile> = files.get(&id).expect("a lane opens before it runs");
                tokio_uring::spawn(perform(Rc::clone(file), Rc::clone(&registry), op));
            }
            Letter::Close { id } => {
                files.remove(&id);
            }
        }
    }
}

async fn perform(open: Rc<OpenFile>, registry: Rc<Option<Registry>>, op: Op) {
    let done = match (&*registry, op.buffer.slot()) {
        (Some(registry), Some(slot)) => with_slot(&open.file, registry, slot, op).await,
        _ => with_plain(&open.file, op).await,
    };
    answer(&open.answers, done);
}

async fn with_slot(file: &tokio_uring::fs::File, registry: &Registry, slot: u16, op: Op) -> Done {
    let Span { way, done, len, .. } = op.span;
    let slot = registry.check_out(slot.into()).expect("only the owner of the buffer asks");
    let bytes = slot.slice(done..len);
    let (result, bytes) = match way {
        Way::Read => file.read_fixed_at(bytes, op.span.offset()).await,
        Way::Write => file.write_fixed_at(bytes, op.span.offset()).await,
    };
    drop(bytes); // the slot is checked in before anyone can ask for it again
    Done { op, result }
}

async fn with_plain(file: &tokio_uring::fs::File, op: Op) -> Done {
    let Op { buffer, span } = op;
    let bytes = Plain(buffer).slice(span.done..span.len);
    let (result, bytes) = match span.way {
        Way::Read => file.read_at(bytes, span.offset()).await,
        Way::Write => file.write_at(bytes, span.offset()).submit().await,
    };
    Done { op: Op { buffer: bytes.into_inner().0, span }, result }
}

/// The memory of a registered slot, in the hands of the library.
struct Slot(Arc<Memory>);

// SAFETY: The address and the length of a `Memory` never change while it lives, `Slot` keeps it
// alive, and all its bytes are initialised from the start.
unsafe impl IoBuf for Slot {
    fn stable_ptr(&self) -> *const u8 {
        self.0.start().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.len()
    }

    fn bytes_total(&self) -> usize {
        self.0.len()
    }
}

// SAFETY: As above. The library writes only through a checked-out slot, and one is checked out only
// in `with_slot`, by the owner of the memory's only `Buffer`.
unsafe impl IoBufMut for Slot {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.start().as_ptr()
    }

    unsafe fn set_init(&mut self, _initialised: usize) {} // all of it always is
}

/// A whole buffer that is not registered, owned by the operation.
struct Plain(Buffer);

// SAFETY: The memory of a buffer has a fixed address and length, is initialised from the start, and
// lives as long as the buffer, also when the buffer is moved.
unsafe impl IoBuf for Plain {
    fn stable_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.len()
    }

    fn bytes_total(&self) -> usize {
        self.0.len()
    }
}

// SAFETY: As above; the buffer is the only one of its memory.
unsafe impl IoBufMut for Plain {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    unsafe fn set_init(&mut self, _initialised: usize) {} // all of it always is
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_registration_says_why() {
        let Ok(runtime) = tokio_uring::Runtime::new(&tokio_uring::builder()) else {
            return; // no io_uring here, so no registration either
        };
        runtime.block_on(async {
            let (first, refusal) = register(&[1]);
            assert_ne!(first.is_some(), refusal.is_some());
            if refusal.is_some() {
                return; // no locked memory here: refused in earnest
            }
            let (second, refusal) = register(&[2, 1]); // one set a ring: EBUSY
            assert!(second.is_none());
            assert_eq!(refusal.unwrap().raw_os_error(), Some(16));
        });
    }

    #[test]
    fn letters_to_a_closed_mailbox_are_dropped() {
        let mailbox = Mailbox::default();
        mailbox.close();
        let (answers, done) = unbounded();
        let file = tempfile::tempfile().unwrap();
        mailbox.push(Letter::Open { id: 0, file, answers });
        assert!(done.recv().is_err(), "the lane learns that nobody answers");
    }
}
