//! Scripts of store operations, the oracle that knows what they may leave behind, and the runner.
//!
//! The oracle keeps the state of all collections after every commit. Whatever a crash left, the
//! recovered store must equal one of these states: at or after the last commit that was
//! acknowledged as durable, at or before the last one attempted. A hole, half a batch, or a state
//! mixed over collections equals none of them.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use siltstone_io::{disk::Disk, env::Env};
use siltstone_lsm::{
    batch::Batch,
    catalog::TenantStatus,
    error::{ErrorKind, Result},
    options::{Background, Durability, Options},
    restore::{RestorePlan, RestoredCollection, RestoredSegment, RestoredTenant},
    store::{Step, Store},
    types::TreeId,
};

/// A collection, or a tenant of one.
pub(crate) type Place = (String, Option<String>);
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
/// All rows of all collections and tenants.
pub(crate) type State = BTreeMap<Place, Rows>;

/// One operation of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Create(&'static str),
    Drop(&'static str),
    Rename(&'static str, &'static str),
    CreateTenant(&'static str, &'static str),
    DropTenant(&'static str, &'static str),
    RenameTenant(&'static str, &'static str, &'static str),
    Cold(&'static str, &'static str),
    Hot(&'static str, &'static str),
    /// One batch over several places.
    Write(Vec<Change>, Durability),
    Sync,
    Flush,
    Compact,
    /// Background steps, at most this many.
    Steps(usize),
    /// A cut, and dropped at once.
    Cut,
    /// A cut of everything, taken back in under `prefix + name`.
    Restore(&'static str),
    Close,
    Reopen,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Place, Vec<u8>, Vec<u8>),
    Delete(Place, Vec<u8>),
    /// Start and end; no end means to the last key.
    DeleteRange(Place, Vec<u8>, Option<Vec<u8>>),
}

pub(crate) fn place(name: &str) -> Place {
    match name.split_once('/') {
        None => (name.to_owned(), None),
        Some((collection, tenant)) => (collection.to_owned(), Some(tenant.to_owned())),
    }
}

pub(crate) fn put(to: &str, key: &str, value: &str) -> Change {
    Change::Put(place(to), key.into(), value.into())
}

/// A durable batch of puts of `(place, key, value)`.
pub(crate) fn write(changes: &[Change]) -> Op {
    Op::Write(changes.to_vec(), Durability::Sync)
}

/// As [`write`], buffered.
pub(crate) fn buffered(changes: &[Change]) -> Op {
    Op::Write(changes.to_vec(), Durability::Buffered)
}

/// Small limits, so that few operations reach every mechanism.
pub(crate) fn small_options() -> Options {
    let mut options = Options::default();
    options.background = Background::Manual;
    options.memtable_bytes_max = 2 << 10;
    options.sealed_memtables_max = 2;
    options.cache_bytes_max = 64 << 10;
    options.block_bytes = 128;
    options.segment_bytes_max = 1 << 10;
    options.level0_segments_compact = 2;
    options.level0_segments_stop = 6;
    options.level1_bytes = 2 << 10;
    options.level_ratio = 2;
    options.manifest_roll_bytes = 2 << 10;
    options
}

/// What a script did, and what must and may be there afterwards.
#[derive(Debug)]
pub(crate) struct Run {
    /// States after 0, 1, 2... commits; the last one may be of a commit that failed.
    pub(crate) states: Vec<State>,
    /// The least number of commits that must survive a power loss.
    pub(crate) durable: usize,
    /// The least number of commits that must survive a killed process.
    pub(crate) acknowledged: usize,
    /// The first error, if the script did not get to its end.
    pub(crate) error: Option<ErrorKind>,
}

/// A store under test and the oracle beside it.
pub(crate) struct Runner {
    pub(crate) disk: Arc<dyn Disk>,
    /// Seeds the identifiers of the next session; no two sessions of a store share one.
    pub(crate) seed: u64,
    pub(crate) options: Options,
    pub(crate) store: Option<Store>,
    pub(crate) run: Run,
}

impl Runner {
    pub(crate) fn new(disk: Arc<dyn Disk>, options: Options) -> Self {
        let run = Run { states: vec![State::new()], durable: 0, acknowledged: 0, error: None };
        Self { disk, seed: 7, options, store: None, run }
    }

    /// Opens the store and runs the operations until one fails.
    pub(crate) fn run(mut self, script: &[Op]) -> Run {
        let outcome = self.open().and_then(|()| script.iter().try_for_each(|op| self.apply(op)));
        self.run.error = outcome.err().map(|error| error.kind());
        self.run
    }

    pub(crate) fn open(&mut self) -> Result<()> {
        self.seed += 1;
        let env = Env::seeded(Arc::clone(&self.disk), self.seed);
        self.store = Some(Store::open_on(env, self.options.clone())?);
        // What recovery replayed is in segments now, and durable.
        self.run.durable = self.run.acknowledged;
        Ok(())
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("the script opened the store")
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Sync => {
                self.store().sync()?;
                self.run.durable = self.run.acknowledged;
                Ok(())
            }
            Op::Flush => self.settled(Store::flush),
            Op::Compact => self.store().compact(),
            Op::Steps(most) => self.steps(*most),
            Op::Cut => self.settled(|store| store.cut().map(drop)),
            Op::Close => {
                self.settled(Store::close)?;
                self.store = None;
                self.open()
            }
            Op::Reopen => {
                self.store = None;
                self.open()
            }
            Op::Write(changes, durability) => self.write(changes, *durability),
            Op::Restore(prefix) => self.restore(prefix),
            edit => self.edit(edit),
        }
    }

    /// Runs something that leaves all acknowledged commits in segments.
    fn settled(&mut self, run: impl Fn(&Store) -> Result<()>) -> Result<()> {
        run(self.store())?;
        self.run.durable = self.run.acknowledged;
        Ok(())
    }

    fn steps(&self, most: usize) -> Result<()> {
        for _ in 0..most {
            if self.store().step()? == Step::Idle {
                break;
            }
        }
        Ok(())
    }

    /// Notes the state that a commit leads to, runs it, and notes its acknowledgement.
    fn commit(
        &mut self,
        durability: Durability,
        next: State,
        run: impl FnOnce(&Store) -> Result<()>,
    ) -> Result<()> {
        self.run.states.push(next);
        match run(self.store()) {
            Ok(()) => {
                self.run.acknowledged = self.run.states.len() - 1;
                if durability == Durability::Sync {
                    self.run.durable = self.run.acknowledged;
                }
                Ok(())
            }
            Err(error) => {
                if error.kind() == ErrorKind::NoSpace {
                    self.run.states.pop(); // nothing was written
                }
                Err(error)
            }
        }
    }

    fn write(&mut self, changes: &[Change], durability: Durability) -> Result<()> {
        let mut next = self.state();
        let mut batch = Batch::new();
        for change in changes {
            let (Change::Put(at, ..) | Change::Delete(at, _) | Change::DeleteRange(at, ..)) =
                change;
            let tree = self.tree(at)?;
            let rows = next.get_mut(at).expect("the script writes where it created");
            change_rows(rows, change);
            match change {
                Change::Put(_, key, value) => batch.put(tree, key, value)?,
                Change::Delete(_, key) => batch.delete(tree, key)?,
                Change::DeleteRange(_, start, end) => {
                    batch.delete_range(tree, start, end.as_deref())?;
                }
            }
        }
        self.commit(durability, next, |store| store.write(batch, durability).map(drop))
    }

    fn tree(&self, place: &Place) -> Result<TreeId> {
        self.store().tree(&place.0, place.1.as_deref())
    }

    pub(crate) fn state(&self) -> State {
        self.run.states.last().expect("there is the empty state").clone()
    }

    fn edit(&mut self, op: &Op) -> Result<()> {
        let mut next = self.state();
        apply_edit(&mut next, op);
        let op = op.clone();
        self.commit(Durability::Sync, next, move |store| match op {
            Op::Create(name) => store.create_collection(name).map(drop),
            Op::Drop(name) => store.drop_collection(name),
            Op::Rename(from, to) => store.rename_collection(from, to),
            Op::CreateTenant(name, tenant) => store.create_tenants(name, &[tenant]).map(drop),
            Op::DropTenant(name, tenant) => store.drop_tenants(name, &[tenant]),
            Op::RenameTenant(name, from, to) => store.rename_tenant(name, from, to),
            Op::Cold(name, tenant) => store.set_tenant_status(name, &[tenant], TenantStatus::Cold),
            Op::Hot(name, tenant) => store.set_tenant_status(name, &[tenant], TenantStatus::Hot),
            other => unreachable!("{other:?} is not an edit"),
        })
    }

    /// Cuts, copies the segments' bytes, and takes them in under other names.
    fn restore(&mut self, prefix: &str) -> Result<()> {
        let mut next = self.state();
        for (place, rows) in self.state() {
            next.insert((format!("{prefix}{}", place.0), place.1), rows);
        }
        self.commit(Durability::Sync, next, |store| restore(store, prefix))
    }
}

fn change_rows(rows: &mut Rows, change: &Change) {
    match change {
        Change::Put(_, key, value) => {
            rows.insert(key.clone(), value.clone());
        }
        Change::Delete(_, key) => {
            rows.remove(key);
        }
        Change::DeleteRange(_, start, end) => {
            rows.retain(|key, _| key < start || end.as_ref().is_some_and(|end| key >= end));
        }
    }
}

/// The mark of a COLD tenant in a state: a place that no collection can have.
fn cold_mark(name: &str, tenant: &str) -> Place {
    (format!("{name}/{tenant}"), None)
}

fn apply_edit(state: &mut State, op: &Op) {
    match op {
        Op::Create(name) => {
            state.insert(place(name), Rows::new());
        }
        Op::Drop(name) => state.retain(|(collection, _), _| collection != name),
        Op::Rename(from, to) => {
            let old = std::mem::take(state);
            state.extend(old.into_iter().map(|((collection, tenant), rows)| {
                let renamed = if collection == *from { (*to).to_owned() } else { collection };
                ((renamed, tenant), rows)
            }));
        }
        Op::CreateTenant(name, tenant) => {
            state.insert(((*name).to_owned(), Some((*tenant).to_owned())), Rows::new());
        }
        Op::DropTenant(name, tenant) => {
            state.remove(&((*name).to_owned(), Some((*tenant).to_owned())));
            state.remove(&cold_mark(name, tenant));
        }
        Op::RenameTenant(name, from, to) => {
            let place = |tenant: &str| ((*name).to_owned(), Some(tenant.to_owned()));
            let rows = state.remove(&place(from)).expect("the script names a tenant");
            state.insert(place(to), rows);
            if state.remove(&cold_mark(name, from)).is_some() {
                state.insert(cold_mark(name, to), Rows::new());
            }
        }
        Op::Cold(name, tenant) => {
            state.insert(cold_mark(name, tenant), Rows::new());
        }
        Op::Hot(name, tenant) => {
            state.remove(&cold_mark(name, tenant));
        }
        other => unreachable!("{other:?} is not an edit"),
    }
}

/// Everything a store holds. COLD tenants are activated to be read.
pub(crate) fn dump(store: &Store) -> Result<State> {
    let mut state = State::new();
    for (name, collection) in &store.catalog().collections {
        state.insert((name.to_string(), None), rows(store, name, None)?);
        for (tenant, info) in &collection.tenants {
            if info.status == TenantStatus::Cold {
                state.insert(cold_mark(name, tenant), Rows::new());
                store.set_tenant_status(name, &[tenant], TenantStatus::Hot)?;
            }
            let place = (name.to_string(), Some(tenant.to_string()));
            state.insert(place, rows(store, name, Some(tenant))?);
        }
    }
    Ok(state)
}

fn rows(store: &Store, name: &str, tenant: Option<&str>) -> Result<Rows> {
    let tree = store.tree(name, tenant)?;
    let snapshot = store.snapshot();
    let forward: Rows =
        snapshot.scan(tree, (Bound::Unbounded, Bound::Unbounded))?.collect::<Result<_>>()?;
    let backward: Rows =
        snapshot.scan(tree, (Bound::Unbounded, Bound::Unbounded))?.rev().collect::<Result<_>>()?;
    assert_eq!(forward, backward, "both directions show the same rows");
    for (key, value) in &forward {
        let got = store.get(tree, key)?;
        assert_eq!(got.as_ref().map(AsRef::as_ref), Some(value.as_slice()), "get agrees with scan");
    }
    Ok(forward)
}

/// Restores a cut of the whole store into itself under other names.
fn restore(store: &Store, prefix: &str) -> Result<()> {
    let cut = store.cut()?;
    let renamed = |name: &str| format!("{prefix}{name}");
    let names: Vec<String> =
        cut.catalog.collections.iter().map(|(name, _)| renamed(name)).collect();
    let mut ticket = store.begin_restore(&names)?;
    let (file, mut stream) = ticket.create_file(0)?;
    let mut offset = 0;
    let mut segments: BTreeMap<TreeId, Vec<RestoredSegment>> = BTreeMap::new();
    for segment in &cut.segments {
        let path = siltstone_lsm::format::names::file(segment.file.id);
        let range = segment.offset..segment.offset + segment.meta.length;
        let mut reader = store.env().disk.open_stream(&path, range)?;
        while let Some(piece) = reader.next_piece()? {
            stream.write(&piece)?;
        }
        let meta = segment.meta.clone();
        let restored = RestoredSegment { level: segment.level, file, offset, meta };
        offset += segment.meta.length;
        segments.entry(segment.tree).or_default().push(restored);
    }
    stream.finish()?;
    let mut plan = RestorePlan { collections: Vec::new(), sequence: cut.sequence };
    for (name, collection) in &cut.catalog.collections {
        let tenants = collection.tenants.iter().map(|(tenant, info)| RestoredTenant {
            name: tenant.to_string(),
            status: info.status,
            segments: segments.remove(&info.tree).unwrap_or_default(),
        });
        let tenants = tenants.collect();
        let own = segments.remove(&collection.tree).unwrap_or_default();
        plan.collections.push(RestoredCollection { name: renamed(name), segments: own, tenants });
    }
    assert!(segments.is_empty(), "a cut holds segments of its catalog's trees alone");
    ticket.commit(plan)
}

/// Prints what a test tried (shown with `--nocapture`).
#[expect(clippy::print_stdout, reason = "the counts are what a reader of the test wants to see")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
