//! What a commit leader does: place a group under the log lock, then finish it outside.
//!
//! *Place*: check each batch against the trees at its place, assign sequences, write the group to
//! the WAL with one write, insert it into the memtable. *Finish*: sync if anyone asked, wait for
//! the group's turn, publish. The next leader places its group while this one syncs, and one sync
//! covers all that was written before it.

use std::sync::{Arc, Mutex, atomic::Ordering};

use crate::{
    batch::{Batch, Operation},
    commit::{
        order::Failed,
        queue::{Request, Turn},
    },
    error::{Error, ErrorKind, Result},
    format::names,
    manifest::{Edit, Record},
    memtable::Memtable,
    options::Durability,
    store::{
        core::{Core, LogState, Sealed, lock},
        metrics::{add, add_time},
        work::{Committed, Plan, Work},
    },
    types::{RangeTombstone, SEQUENCE_MAX, SEQUENCE_RESERVATION, Sequence, TreeId},
    wal::{Payload, Position, ReadyLog},
};

/// Bytes of batches after which a leader takes no more into its group: enough to amortise a sync,
/// small enough that the group's own write stays in the range of one (1 MiB costs three times a
/// 4 KiB sync).
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Bytes of log between two wake-ups of the zeroer: a quarter of its step.
const WAKE_ZEROER_BYTES: u64 = 256 << 10;

type Member = Arc<Request<Work, Committed>>;

/// A group that is in the WAL and the memtable, but not yet visible.
struct Placed {
    number: u64,
    /// The last sequence assigned to it or before it.
    last: Sequence,
    /// What must be synced before it is acknowledged.
    sync_to: Option<Position>,
    /// The manifest edit that belongs to it.
    edit: Option<Edit>,
    members: Vec<(Member, Committed)>,
}

impl Core {
    /// Puts work through the queue; the calling thread may have to lead.
    pub(crate) fn submit(&self, work: Work) -> Result<Committed> {
        let request = self.queue.push(work);
        loop {
            match request.wait() {
                Turn::Done(outcome) => return outcome,
                Turn::Lead => self.lead(),
            }
        }
    }

    fn lead(&self) {
        let room = self.wait_for_room();
        let mut bytes = 0;
        let mut alone = false;
        let group = self.queue.take(|taken, work| match work {
            Work::Write { batch, .. } => {
                bytes += batch.encoded().len();
                !alone && (taken == 0 || bytes <= GROUP_BYTES_MAX)
            }
            Work::Edit(_) | Work::Barrier(_) => {
                alone = true;
                taken == 0
            }
        });
        let begun = self.env.clock.monotonic();
        let placed = room.and_then(|()| self.place(&group));
        self.queue.hand_over();
        if self.untold.swap(false, Ordering::Relaxed) {
            // Not earlier: a thread that wakes may run before its waker goes on, who held the lead.
            self.signal.notify();
            self.log_signal.notify();
        }
        if let Some(Work::Barrier(Some(_))) = group.first().map(|first| &first.work) {
            add(&self.counters.cuts, 1);
            add_time(&self.counters.cut_lead_nanos, begun, self.env.clock.monotonic());
        }
        match placed {
            Ok(Some(placed)) => self.finish(placed),
            Ok(None) => {}
            Err(error) => {
                self.note_failure(&error);
                for member in group {
                    member.finish(Err(error.repeat()));
                }
            }
        }
    }

    /// Writes a group. `None` when every member was refused (and told so). After an error no
    /// member was told anything.
    fn place(&self, group: &[Member]) -> Result<Option<Placed>> {
        let mut log = lock(&self.log);
        match group.first().map(|first| &first.work) {
            None => Ok(None),
            Some(Work::Write { .. }) => self.place_writes(&mut log, group),
            Some(Work::Edit(plan)) => {
                let plan = lock(plan).take().expect("a request is placed once");
                self.place_edit(&mut log, plan, &group[0])
            }
            Some(Work::Barrier(_)) => self.place_barrier(&mut log, &group[0]).map(Some),
        }
    }

    fn place_writes(&self, log: &mut LogState, group: &[Member]) -> Result<Option<Placed>> {
        if log.active.bytes() >= self.options.memtable_bytes_max {
            self.rotate(log)?;
        }
        let mut refused = Vec::new();
        let mut writes = Vec::with_capacity(group.len());
        let mut sequence = log.next_sequence;
        for member in group {
            let Work::Write { batch, durability } = &member.work else {
                unreachable!("groups of writes hold writes alone");
            };
            if let Err(error) = log.check(batch) {
                refused.push((member, error));
                continue;
            }
            writes.push((member, batch, *durability, sequence));
            sequence += u64::from(batch.operations());
        }
        let placed = if writes.is_empty() {
            None
        } else {
            self.reserve(log, sequence)?;
            Some(self.append_writes(log, &writes, sequence)?)
        };
        for (member, error) in refused {
            member.finish(Err(error));
        }
        Ok(placed)
    }

    fn append_writes(
        &self,
        log: &mut LogState,
        writes: &[(&Member, &Batch, Durability, Sequence)],
        next_sequence: Sequence,
    ) -> Result<Placed> {
        let payloads: Vec<Payload<'_>> = writes
            .iter()
            .map(|(_, batch, _, first_sequence)| Payload::Batch {
                first_sequence: *first_sequence,
                operations: batch.operations(),
                encoded: batch.encoded(),
            })
            .collect();
        let sync = writes.iter().any(|(_, _, durability, _)| *durability == Durability::Sync);
        let durability = if sync { Durability::Sync } else { Durability::Buffered };
        let position = self.wal.append(&payloads, durability)?;
        self.wake_zeroer(log, position);
        let mut members = Vec::with_capacity(writes.len());
        for (member, batch, _, first_sequence) in writes {
            apply(&log.active, batch.encoded(), *first_sequence, |_| true)
                .expect("the batch was decoded when it was checked");
            let last = first_sequence + u64::from(batch.operations()) - 1;
            members.push((Arc::clone(member), Committed { sequence: last }));
            add(&self.counters.batch_bytes, batch.encoded().len() as u64);
        }
        add(&self.counters.commits, members.len() as u64);
        add(&self.counters.groups, 1);
        log.next_sequence = next_sequence;
        let sync_to = sync.then_some(position);
        Ok(Placed { sync_to, ..log.place(members) })
    }

    fn place_edit(
        &self,
        log: &mut LogState,
        plan: Plan,
        member: &Member,
    ) -> Result<Option<Placed>> {
        let planned = plan(log).and_then(|planned| {
            let catalog = log.catalog.after(&planned.records)?;
            Ok((planned, Arc::new(catalog)))
        });
        let (planned, catalog) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                member.finish(Err(error));
                return Ok(None);
            }
        };
        let number = log.next_queue_edit;
        let sequence = log.next_sequence.max(planned.sequence_floor + 1);
        self.reserve(log, sequence + 1)?;
        let marker = Payload::Marker { sequence, number };
        let position = self.wal.append(&[marker], Durability::Sync)?;
        log.next_queue_edit += 1;
        log.next_sequence = sequence + 1;
        log.catalog = catalog;
        let mut records = planned.records;
        records.push(Record::QueueEdit { number });
        records.push(Record::NextIds {
            tree: log.next_tree,
            file: self.next_file_id(),
            collection: log.next_collection,
        });
        let committed = vec![(Arc::clone(member), Committed { sequence })];
        let edit = Some(Edit { records });
        Ok(Some(Placed { sync_to: Some(position), edit, ..log.place(committed) }))
    }

    fn place_barrier(&self, log: &mut LogState, member: &Member) -> Result<Placed> {
        if !log.active.is_empty() {
            self.rotate(log)?;
        }
        let sequence = log.next_sequence - 1;
        // Not synced: all that is written behind it would wait for that, and whoever waits for the
        // barrier waits until what is before it is in durable segments.
        Ok(log.place(vec![(Arc::clone(member), Committed { sequence })]))
    }

    /// Makes a placed group durable and visible, and tells its members.
    fn finish(&self, mut placed: Placed) {
        let outcome = self.publish(&mut placed);
        if let Err(error) = &outcome {
            self.note_failure(error);
        }
        for (member, committed) in placed.members {
            member.finish(match &outcome {
                Ok(()) => Ok(committed),
                Err(error) => Err(error.repeat()),
            });
        }
    }

    fn publish(&self, placed: &mut Placed) -> Result<()> {
        let begun = self.env.clock.monotonic();
        if let Some(position) = placed.sync_to {
            self.wal.sync_to(position).map_err(indeterminate)?;
        }
        let turn = self.order.turn(placed.number).map_err(behind_a_failure)?;
        if let Some(edit) = placed.edit.take() {
            // The WAL is durable up to the edit's marker: rule 13.
            let outcome = self.manifest.commit(edit).map_err(indeterminate)?;
            self.install(|_| ());
            self.retire(outcome.obsolete);
        }
        if let Some((member, committed)) = placed.members.first()
            && let Work::Barrier(Some(collector)) = &member.work
        {
            collector.begin(self, committed.sequence);
            add_time(&self.counters.cut_sync_nanos, begun, self.env.clock.monotonic());
        }
        turn.publish(|| self.visible.store(placed.last, Ordering::Release));
        Ok(())
    }

    /// Seals the active memtable together with its log; writing goes on in fresh ones.
    fn rotate(&self, log: &mut LogState) -> Result<()> {
        let mut ready = lock(&self.ready_log);
        let next = match ready.take() {
            Some(next) => next,
            None => self.make_log()?,
        };
        let next_log = next.id();
        if let Err(error) = self.wal.rotate(&next) {
            *ready = Some(next); // after NoSpace the old log goes on and this one is still good
            return Err(error);
        }
        drop(ready);
        log.wake_zeroer_at = 0;
        let active = Arc::new(Memtable::new());
        let sealed = Arc::new(Sealed {
            memtable: std::mem::replace(&mut log.active, Arc::clone(&active)),
            last_sequence: log.next_sequence - 1,
            next_log,
            collectors: Mutex::default(),
        });
        self.install_active(active, sealed);
        self.untold.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Creates the log after the last one and has the manifest name it.
    pub(crate) fn make_log(&self) -> Result<ReadyLog> {
        let log = self.manifest.state().last_log.next();
        // A leftover of an attempt that failed before the manifest named it.
        self.remove_if_there(&names::log(log))?;
        let ready = ReadyLog::create(&self.env, self.store_id, log)?;
        self.manifest.commit(Edit { records: vec![Record::LogReady { log }] })?;
        Ok(ready)
    }

    /// Wakes the log keeper now and then, so that zeroing stays ahead of the commits.
    fn wake_zeroer(&self, log: &mut LogState, position: Position) {
        if position.offset >= log.wake_zeroer_at {
            log.wake_zeroer_at = position.offset + WAKE_ZEROER_BYTES;
            self.log_signal.notify();
        }
    }

    /// Has the manifest reserve sequences up to `next_sequence`, if they are not.
    fn reserve(&self, log: &mut LogState, next_sequence: Sequence) -> Result<()> {
        if next_sequence > SEQUENCE_MAX {
            let message = "the store has used up its sequences; restore a backup into a new store";
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        if next_sequence > log.reserved_upto {
            let upto = next_sequence + SEQUENCE_RESERVATION;
            self.manifest.commit(Edit { records: vec![Record::ReserveSequences { upto }] })?;
            log.reserved_upto = upto;
        }
        Ok(())
    }
}

impl LogState {
    /// Refuses a batch that touches a tree which does not answer at this place.
    fn check(&self, batch: &Batch) -> Result<()> {
        for operation in Batch::decode(batch.encoded()) {
            let tree = operation.map_err(|why| Error::new(ErrorKind::Invalid, why))?.tree();
            if !self.catalog.answers(tree) {
                return Err(not_there(tree));
            }
        }
        Ok(())
    }

    fn place(&mut self, members: Vec<(Member, Committed)>) -> Placed {
        let number = self.next_group;
        self.next_group += 1;
        Placed { number, last: self.next_sequence - 1, sync_to: None, edit: None, members }
    }
}

/// The error for a tree that was dropped, never was, or belongs to a COLD or FROZEN tenant.
pub(crate) fn not_there(tree: TreeId) -> Error {
    let message = format!(
        "{tree} is not open: its collection or tenant was dropped, or is COLD or FROZEN; look it up \
         again"
    );
    Error::new(ErrorKind::NotFound, message)
}

/// Inserts the operations of an encoded batch whose trees `wanted` accepts.
pub(crate) fn apply(
    memtable: &Memtable,
    encoded: &[u8],
    first_sequence: Sequence,
    wanted: impl Fn(TreeId) -> bool,
) -> Result<()> {
    for (sequence, operation) in (first_sequence..).zip(Batch::decode(encoded)) {
        let operation = operation.map_err(|why| Error::new(ErrorKind::Corrupt, why))?;
        if !wanted(operation.tree()) {
            continue;
        }
        match operation {
            Operation::Put { tree, key, value } => memtable.put(tree, key, sequence, value),
            Operation::Delete { tree, key } => memtable.delete(tree, key, sequence),
            Operation::DeleteRange { tree, start, end } => {
                let (start, end) = (start.to_vec(), end.map(<[u8]>::to_vec));
                memtable.delete_range(tree, RangeTombstone { start, end, sequence });
            }
        }
    }
    Ok(())
}

/// A failure after the group was handed to the disk.
fn indeterminate(error: Error) -> Error {
    let message = "the commit may or may not be there after the store is opened again";
    Error::new(ErrorKind::Indeterminate, message).caused_by(error)
}

fn behind_a_failure(_: Failed) -> Error {
    let message = "an earlier commit failed, so this one may or may not be there after the store \
                   is opened again";
    Error::new(ErrorKind::Indeterminate, message)
}
