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
    cut::Cut,
    error::{ErrorKind, Result},
    options::{Background, Durability, Options},
    restore::{RestorePlan, RestoreTarget, RestoredCollection, RestoredSegment, RestoredTenant},
    store::{Step, Store},
    types::{SegmentMeta, TreeId},
};

use crate::held;

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
    /// A cut of everything, taken back in under `prefix + name`; what is held is used.
    Restore(&'static str),
    /// A cut of a tenant, taken back in as another tenant of the same, live collection.
    RestoreTenant(&'static str, &'static str, &'static str),
    /// A restore of everything that holds all files but one, and fails.
    Hold,
    /// What is held goes.
    Discard,
    /// A tenant's rows, which must be HOT, go elsewhere.
    Freeze(&'static str, &'static str),
    /// And come back, HOT.
    FetchBack(&'static str, &'static str),
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
    /// The least number of files that must be held.
    pub(crate) held: usize,
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
    /// Where frozen tenants are: rows and segments by location. It outlives every crash.
    pub(crate) elsewhere: BTreeMap<String, (Rows, Copied)>,
}

/// Segments that were copied out of a store: their sequence, and level, facts and bytes of each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copied {
    sequence: u64,
    segments: Vec<(u8, SegmentMeta, Vec<u8>)>,
}

impl Runner {
    pub(crate) fn new(disk: Arc<dyn Disk>, options: Options) -> Self {
        let run =
            Run { states: vec![State::new()], durable: 0, acknowledged: 0, held: 0, error: None };
        Self { disk, seed: 7, options, store: None, run, elsewhere: BTreeMap::new() }
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
            Op::Hold => {
                self.settled(held::hold)?;
                self.run.held = self.store().held_files().len();
                Ok(())
            }
            Op::Discard => {
                self.run.held = 0;
                self.store().discard_held().map(drop)
            }
            Op::RestoreTenant(name, tenant, to) => self.restore_tenant(name, tenant, to),
            Op::Freeze(name, tenant) => self.freeze(name, tenant),
            Op::FetchBack(name, tenant) => self.fetch_back(name, tenant),
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
        self.run.held = 0;
        self.commit(Durability::Sync, next, |store| held::restore(store, prefix))
    }

    fn restore_tenant(&mut self, name: &str, tenant: &str, to: &str) -> Result<()> {
        let mut next = self.state();
        let rows = next[&tenant_of(name, tenant)].clone();
        next.insert(tenant_of(name, to), rows);
        let target =
            RestoreTarget::Tenants { collection: name.to_owned(), tenants: vec![to.to_owned()] };
        self.commit(Durability::Sync, next, |store| {
            let cut = store.cut()?;
            let tree = cut.catalog.tree_of(name, Some(tenant))?;
            install(store, target, &copy_out(store, &cut, tree)?)
        })
    }

    /// Two commits: the tenant rests, and then its rows are elsewhere.
    fn freeze(&mut self, name: &str, tenant: &str) -> Result<()> {
        let mut cold = self.state();
        let rows = cold[&tenant_of(name, tenant)].clone();
        let mut frozen = cold.clone();
        cold.insert(cold_mark(name, tenant), Rows::new());
        let location = format!("shelf {}", self.elsewhere.len());
        frozen.remove(&tenant_of(name, tenant));
        frozen.insert(frozen_mark(name, tenant, &location), Rows::new());
        let mut begun = None;
        let outcome = self.commit(Durability::Sync, cold.clone(), |store| {
            let mut ticket = store.begin_freeze(name, tenant)?;
            let cut = ticket.take_cut();
            let tree = cut.catalog.tree_of(name, Some(tenant))?;
            begun = Some((ticket, copy_out(store, &cut, tree)?));
            Ok(())
        });
        if let Err(error) = outcome {
            if self.state() != cold {
                self.run.states.push(cold); // a full disk may have come after the first step
            }
            return Err(error);
        }
        let (ticket, copied) = begun.expect("it was begun");
        self.elsewhere.insert(location.clone(), (rows, copied));
        self.commit(Durability::Sync, frozen, |_| ticket.commit(&location))
    }

    fn fetch_back(&mut self, name: &str, tenant: &str) -> Result<()> {
        let catalog = self.store().catalog();
        let location = catalog.collection(name)?.location(tenant).expect("it is FROZEN");
        let (rows, copied) = self.elsewhere[location].clone();
        let mut next = self.state();
        next.remove(&frozen_mark(name, tenant, location)).expect("it is known to be FROZEN");
        next.insert(tenant_of(name, tenant), rows);
        let (collection, tenant) = (name.to_owned(), tenant.to_owned());
        let target = RestoreTarget::Frozen { collection, tenant };
        self.commit(Durability::Sync, next, |store| install(store, target, &copied))
    }
}

/// The segments of one tree, read from the files that the cut pins.
fn copy_out(store: &Store, cut: &Cut, tree: TreeId) -> Result<Copied> {
    let mut copied = Copied { sequence: cut.sequence, segments: Vec::new() };
    for segment in cut.segments.iter().filter(|segment| segment.tree == tree) {
        let bytes = held::read(store, segment.file.id, segment.offset, segment.meta.length)?;
        copied.segments.push((segment.level, segment.meta.clone(), bytes));
    }
    Ok(copied)
}

/// Restores copied segments into the one tenant of a target.
fn install(store: &Store, target: RestoreTarget, copied: &Copied) -> Result<()> {
    let (collection, tenant) = (target.collection().to_owned(), target.tenants()[0].clone());
    let mut ticket = store.begin_restore_into(vec![target])?;
    let (file, mut stream) = ticket.create_file(0)?;
    let mut offset = 0;
    let mut segments = Vec::new();
    for (level, meta, bytes) in &copied.segments {
        stream.write(bytes)?;
        segments.push(RestoredSegment { level: *level, file, offset, meta: meta.clone() });
        offset += meta.length;
    }
    stream.finish()?;
    let tenants = vec![RestoredTenant { name: tenant, status: TenantStatus::Hot, segments }];
    let collection = RestoredCollection { name: collection, segments: Vec::new(), tenants };
    ticket.commit(RestorePlan { collections: vec![collection], sequence: copied.sequence })
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

/// The mark of a FROZEN tenant, which has no rows here.
fn frozen_mark(name: &str, tenant: &str, location: &str) -> Place {
    (format!("{name}/{tenant}/{location}"), None)
}

fn tenant_of(name: &str, tenant: &str) -> Place {
    (name.to_owned(), Some(tenant.to_owned()))
}

fn apply_edit(state: &mut State, op: &Op) {
    match op {
        Op::Create(name) => {
            state.insert(place(name), Rows::new());
        }
        Op::Drop(name) => state.retain(|(collection, _), _| {
            collection.split('/').next().is_some_and(|collection| collection != *name)
        }),
        Op::Rename(from, to) => {
            let old = std::mem::take(state);
            state.extend(old.into_iter().map(|((collection, tenant), rows)| {
                let (of, mark) = collection.split_once('/').unwrap_or((&collection, ""));
                let of = if of == *from { to } else { of };
                let slash = if mark.is_empty() { "" } else { "/" };
                ((format!("{of}{slash}{mark}"), tenant), rows)
            }));
        }
        Op::CreateTenant(name, tenant) => {
            state.insert(((*name).to_owned(), Some((*tenant).to_owned())), Rows::new());
        }
        Op::DropTenant(name, tenant) => {
            state.remove(&tenant_of(name, tenant));
            let mark = cold_mark(name, tenant).0;
            let with_location = format!("{mark}/");
            state.retain(|(of, _), _| *of != mark && !of.starts_with(&with_location));
        }
        Op::RenameTenant(name, from, to) => {
            let old = std::mem::take(state);
            let (old_mark, mark) = (cold_mark(name, from).0, cold_mark(name, to).0);
            state.extend(old.into_iter().map(|(place, rows)| {
                if place == tenant_of(name, from) {
                    return (tenant_of(name, to), rows);
                }
                match place.0.strip_prefix(&old_mark) {
                    Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                        ((format!("{mark}{rest}"), None), rows)
                    }
                    _ => (place, rows),
                }
            }));
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
            if let Some(location) = collection.location(tenant) {
                assert_eq!(info.status, TenantStatus::Frozen);
                let refused = store.tree(name, Some(tenant)).expect_err("its rows are elsewhere");
                assert_eq!(refused.kind(), ErrorKind::Unavailable);
                state.insert(frozen_mark(name, tenant, location), Rows::new());
                continue;
            }
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

/// Prints what a test tried (shown with `--nocapture`).
#[expect(clippy::print_stdout, reason = "the counts are what a reader of the test wants to see")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
