//! [`Backups`]: makes and restores backups of an open store; and what can be asked without one.
//!
//! [`statuses`], [`list`] and [`request_cancel`] need no lock of the store: another process may be
//! running the operation that they speak of.

use std::{sync::Arc, time::Duration};

use siltstone_io::env::Env;
use siltstone_lsm::{cut::Cut, store::Store};

use crate::{
    backend::Backend,
    cancel::Cancel,
    create::{self, CreateJob},
    error::{Error, ErrorKind, Result},
    format::config::Config,
    handle::{Handle, Status},
    journal::{Begin, Entry, Journals, Kind},
    leftovers::{conclude, is_own},
    moment::{Timestamp, timestamp},
    names::{AttemptId, BackupId, NodeName, OFFLOAD_PREFIX},
    operation::{INTERRUPTED, Operation, millis},
    options::{CreateOptions, RestoreOptions},
    repository::{IntentHead, Repository, RestoreNote, is_about_bytes, taken},
    restore::{self, Destination},
    selection::select,
    state::State,
};

/// How long a caller waits at most to hear that an operation has started.
const START_LIMIT: Duration = Duration::from_secs(5);

/// Makes and restores backups of one open store.
#[derive(Clone, Debug)]
pub struct Backups {
    store: Store,
    journals: Journals,
}

/// One line of a listing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Listed {
    /// A backup that can be restored.
    Backup(Config),
    /// A backup whose descriptor cannot be read.
    Unreadable(BackupId, String),
}

impl Backups {
    /// Backups of `store`. Operations that a killed process left behind get their end here, except
    /// those whose outcome only a repository knows: they wait for the next operation on it.
    ///
    /// # Errors
    /// Those of the disk; `Corrupt` or `NewerFormat` for a journal.
    pub fn new(store: Store) -> Result<Self> {
        let env = store.env().clone();
        let journals = Journals::new(env.clone());
        let backups = Self { store, journals };
        for entry in backups.journals.entries()?.iter().filter(|entry| entry.is_interrupted()) {
            match (&entry.committing, entry.begin.kind) {
                (None, _) => conclude(&env, &backups.journals, entry, State::Failed)?,
                (Some(names), Kind::Restore) => {
                    let catalog = backups.store.catalog();
                    let committed = names.iter().all(|name| restore::is_shown(&catalog, name));
                    let state = if committed { State::Success } else { State::Failed };
                    conclude(&env, &backups.journals, entry, state)?;
                }
                (Some(_), _) => {}
            }
        }
        backups.journals.tidy()?;
        Ok(backups)
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Starts a backup of the store as it is now, and returns at once. FROZEN tenants are left out:
    /// the summary names them.
    ///
    /// # Errors
    /// `Invalid` for an id, option or collection name that cannot be; `Exists` for an id that is
    /// used; `Busy` while another operation runs; `NewerFormat`; and those of backend and disk.
    /// What fails later is in the handle.
    pub fn create(
        &self,
        backend: &Arc<dyn Backend>,
        id: &str,
        options: CreateOptions,
    ) -> Result<Handle> {
        self.start_create(backend, &own_id(id)?, options, None)
    }

    /// As [`Backups::create`], of a cut that was taken before.
    ///
    /// # Errors
    /// As [`Backups::create`]; `Invalid` for a cut of another store.
    pub fn create_from(
        &self,
        cut: Cut,
        backend: &Arc<dyn Backend>,
        id: &str,
        options: CreateOptions,
    ) -> Result<Handle> {
        if cut.store_id != self.store.store_id() {
            return Err(Error::new(ErrorKind::Invalid, "the cut is of another store"));
        }
        self.start_create(backend, &own_id(id)?, options, Some(cut))
    }

    /// As [`Backups::create_from`], of this store's own cut under any id.
    ///
    /// # Errors
    /// As [`Backups::create`].
    pub(crate) fn create_own(
        &self,
        cut: Cut,
        backend: &Arc<dyn Backend>,
        id: &BackupId,
        options: CreateOptions,
    ) -> Result<Handle> {
        self.start_create(backend, id, options, Some(cut))
    }

    /// Starts to restore a backup into the store, and returns once everything is checked that can
    /// be without fetching. All collections appear at once at the end, or none. A collection that is
    /// there already gets the tenants that are selected by name, as COLLECTION/TENANT.
    ///
    /// # Errors
    /// `NotFound` without such a backup; `Exists` naming all that are there already, collections that
    /// would be made and tenants;
    /// `Invalid`, `Corrupt`, `NoSpace`, `Busy`, `NewerFormat`; and those of backend and disk. What
    /// fails later is in the handle. Then the files that were complete stay on the disk: a restore
    /// that needs them does not fetch them again, any other removes them.
    pub fn restore(
        &self,
        backend: &Arc<dyn Backend>,
        id: &str,
        options: RestoreOptions,
    ) -> Result<Handle> {
        self.restore_to(backend, &BackupId::new(id)?, options, Destination::Names)
    }

    /// As [`Backups::restore`], to any destination.
    ///
    /// # Errors
    /// As [`Backups::restore`].
    pub(crate) fn restore_to(
        &self,
        backend: &Arc<dyn Backend>,
        id: &BackupId,
        options: RestoreOptions,
        destination: Destination,
    ) -> Result<Handle> {
        let config = Repository::open(&self.hurried(backend))?.backup(id)?;
        let repository = Repository::open(backend)?;
        // Names that the operation before this one has reserved are not there.
        drop(self.journals.take_turn()?);
        let job = restore::prepare(&self.store, repository, config, options, destination)?;
        let begin = self.begin(Kind::Restore, id, &NodeName::default(), backend);
        let note = RestoreNote::started(
            id.clone(),
            begin.attempt,
            self.store_hex(),
            job.names(),
            self.now().to_string(),
        );
        let operation = Operation::begin(&self.store, begin, None)?;
        let handle = Handle::new(Arc::clone(&operation.shared));
        operation.spawn(move |operation| restore::run(operation, job, note))?;
        Ok(handle)
    }

    /// Removes what restores that failed, or whose process died, have left for the next try; says how
    /// many bytes that were. The next restore fetches everything.
    ///
    /// # Errors
    /// `Busy` while an operation runs; `NoSpace` when the disk is so full that the store cannot note
    /// it; those of the store.
    pub fn discard_held(&self) -> Result<u64> {
        let _nothing_runs = self.journals.take_turn()?;
        Ok(self.store.discard_held()?)
    }

    fn start_create(
        &self,
        backend: &Arc<dyn Backend>,
        id: &BackupId,
        options: CreateOptions,
        cut: Option<Cut>,
    ) -> Result<Handle> {
        options.check()?;
        select(&options.selection, create::stored_collections(&self.store.catalog()))?;
        let hurried = Repository::open_or_create(&self.hurried(backend), self.store.env())?;
        if hurried.config(id)?.is_some() {
            return Err(taken(id));
        }
        let repository = hurried.cancelable(&Cancel::new());
        let begin = self.begin(Kind::Create, id, &options.node, backend);
        let head = self.intent_head(&begin);
        let operation = Operation::begin(&self.store, begin, options.pinned_bytes_max)?;
        let handle = Handle::new(Arc::clone(&operation.shared));
        let job = CreateJob { store: self.store.clone(), cut, repository, head, options };
        operation.spawn(move |operation| create::run(operation, job))?;
        Ok(handle)
    }

    /// The same backend, for the calls that somebody waits for.
    fn hurried(&self, backend: &Arc<dyn Backend>) -> Arc<dyn Backend> {
        backend.cancelable(&Cancel::new().within(&self.store.env().clock, START_LIMIT))
    }

    fn begin(
        &self,
        kind: Kind,
        id: &BackupId,
        node: &NodeName,
        backend: &Arc<dyn Backend>,
    ) -> Begin {
        let env = self.store.env();
        Begin {
            kind,
            id: id.clone(),
            attempt: AttemptId(env.unique_id()),
            node: node.clone(),
            backend: backend.describe().to_owned(),
            pid: std::process::id(),
            started_ms: millis(env.clock.wall()),
        }
    }

    fn intent_head(&self, begin: &Begin) -> IntentHead {
        IntentHead {
            attempt: begin.attempt,
            id: begin.id.clone(),
            node: begin.node.clone(),
            store_id: self.store_hex(),
            started_at: timestamp(Duration::from_millis(begin.started_ms)).to_string(),
        }
    }

    fn store_hex(&self) -> String {
        self.store.store_id().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn now(&self) -> Timestamp {
        timestamp(self.store.env().clock.wall())
    }
}

/// How the operations of a store stand, the newest first: from its journals, whoever runs them.
/// With a backend, the outcome of an attempt that was cut off in its commit is looked up.
///
/// # Errors
/// Those of the disk and the backend; `Corrupt` or `NewerFormat` for a journal.
pub fn statuses(env: &Env, backend: Option<&Arc<dyn Backend>>) -> Result<Vec<Status>> {
    let now_ms = millis(env.clock.wall());
    let mut statuses = Vec::new();
    for entry in Journals::new(env.clone()).entries()? {
        let mut status = Status::of_entry(&entry, now_ms);
        if entry.is_interrupted() {
            (status.state, status.error) = outcome(&entry, backend)?;
        }
        statuses.push(status);
    }
    Ok(statuses)
}

/// What a repository says of one backup.
///
/// # Errors
/// `Invalid` for an id that cannot be; `NotFound` without the repository or the backup; `Corrupt`,
/// `NewerFormat`, and those of the backend.
pub fn find(backend: &Arc<dyn Backend>, id: &str) -> Result<Config> {
    Repository::open(backend)?.backup(&BackupId::new(id)?)
}

/// All backups of a repository, the newest first.
///
/// # Errors
/// `NotFound` without a repository; and those of the backend.
pub fn list(backend: &Arc<dyn Backend>) -> Result<Vec<Listed>> {
    let repository = Repository::open(backend)?;
    let (mut backups, mut unreadable) = (Vec::new(), Vec::new());
    for id in repository.ids()? {
        match repository.config(&id) {
            Ok(Some(config)) => backups.push(config),
            Ok(None) => {}
            Err(error) if is_about_bytes(&error) => {
                unreadable.push(Listed::Unreadable(id, error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    backups.sort_by(|a, b| (b.started_at, &b.id).cmp(&(a.started_at, &a.id)));
    Ok(backups.into_iter().map(Listed::Backup).chain(unreadable).collect())
}

/// Asks the process that runs an operation on a backup to end it; it does so within moments.
///
/// # Errors
/// `NotFound` when none of that id runs; those of the disk.
pub fn request_cancel(env: &Env, id: &str) -> Result<Status> {
    let id = BackupId::new(id)?;
    let journals = Journals::new(env.clone());
    let running = journals.entries()?.into_iter().find(|entry| entry.begin.id == id && entry.alive);
    let Some(entry) = running else {
        let message = format!("no backup or restore of '{id}' runs here");
        return Err(Error::new(ErrorKind::NotFound, message));
    };
    journals.request_cancel(entry.begin.attempt)?;
    Ok(Status::of_entry(&entry, millis(env.clock.wall())))
}

/// The id of a backup that somebody makes: any but those of offloaded tenants.
fn own_id(id: &str) -> Result<BackupId> {
    let id = BackupId::new(id)?;
    if id.is_offload() {
        let message = format!(
            "ids that begin with '{OFFLOAD_PREFIX}' are those of offloaded tenants; choose another \
             for '{id}'"
        );
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    Ok(id)
}

/// What became of an operation whose process is gone.
fn outcome(entry: &Entry, backend: Option<&Arc<dyn Backend>>) -> Result<(State, Option<String>)> {
    let failed = (State::Failed, Some(INTERRUPTED.to_owned()));
    let not_known = "its process ended in the commit; the outcome is being checked";
    match (&entry.committing, entry.begin.kind, backend) {
        (None, _, _) => Ok(failed),
        (Some(_), Kind::Create, Some(backend)) if backend.describe() == entry.begin.backend => {
            match is_own(&Repository::open(backend)?, entry) {
                Ok(true) => Ok((State::Success, None)),
                Ok(false) => Ok(failed),
                Err(error) if is_about_bytes(&error) => {
                    let id = &entry.begin.id;
                    let why = format!(
                        "{error}; whether the backup was committed cannot be told: put the object \
                         back as it was, or delete backup '{id}' as damaged"
                    );
                    Ok((State::Transferred, Some(why)))
                }
                Err(error) => Err(error),
            }
        }
        (Some(_), _, _) => Ok((State::Transferred, Some(not_known.to_owned()))),
    }
}
