//! The rules of the repository on memory, and a backend whose puts meet scripted fates.

use std::{ops::Range, sync::Mutex};

use siltstone_io::sim::SimDisk;
use siltstone_lsm::format::primitives::hash;

use super::{notes::Condemned, *};
use crate::{
    backend::{BackendConfig, Conditions, ObjectEntry, ObjectMeta, ObjectWriter, open},
    cancel::Cancel,
    format::{
        chunk::Codec,
        config::{PartInfo, Totals},
    },
    moment::Timestamp,
};

fn env() -> Env {
    Env::seeded(Arc::new(SimDisk::new(1)), 1)
}

fn repository() -> Repository {
    Repository::open_or_create(&open(&BackendConfig::Memory).unwrap(), &env()).unwrap()
}

fn config(id: &str, attempt: u8, second: i64) -> Config {
    let at = Timestamp::from_second(second).unwrap();
    Config {
        id: BackupId::new(id).unwrap(),
        attempt: AttemptId([attempt; 16]),
        store_id: [3; 16],
        node: NodeName::default(),
        server_version: "0".to_owned(),
        started_at: at,
        completed_at: at,
        compression: Codec::Gzip,
        sequence: 7,
        totals: Totals::default(),
        parts: vec![PartInfo { length: 0, hash: hash(b"") }],
    }
}

/// What a put of the commit object does before its answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Stored, and answered.
    Stored,
    /// Stored, but the answer is lost.
    AnswerLost,
    /// Not stored, and no answer.
    Lost,
    /// Somebody else's attempt is stored first.
    Raced,
    /// Refused for good.
    Denied,
    /// Stored in part, and answered as if it were whole.
    Spoilt,
}

/// A backend whose puts meet their fates in turn; the last one repeats.
#[derive(Clone, Debug)]
struct Scripted {
    inner: Arc<dyn Backend>,
    fates: Arc<Mutex<Vec<Fate>>>,
}

impl Scripted {
    fn repository(fates: &[Fate]) -> Repository {
        let inner = Arc::clone(repository().backend());
        let fates = Arc::new(Mutex::new(fates.iter().rev().copied().collect()));
        Repository { backend: Arc::new(Self { inner, fates }) }
    }

    fn next(&self) -> Fate {
        let mut fates = self.fates.lock().unwrap();
        if fates.len() > 1 { fates.pop().expect("more than one") } else { fates[0] }
    }
}

impl Backend for Scripted {
    fn describe(&self) -> &'static str {
        "a script"
    }

    fn cancelable(&self, _: &Cancel) -> Arc<dyn Backend> {
        Arc::new(self.clone())
    }

    fn put(&self, object: &str, bytes: Bytes, mode: PutMode) -> Result<()> {
        let fate = self.next();
        let lost = Err(Error::new(ErrorKind::Unavailable, "no answer"));
        match fate {
            Fate::Stored => self.inner.put(object, bytes, mode),
            Fate::AnswerLost => self.inner.put(object, bytes, mode).and(lost),
            Fate::Lost => lost,
            Fate::Raced => {
                let other = config("b", 99, 0).encode().unwrap();
                self.inner.put(object, other.into(), PutMode::NoReplace)?;
                self.inner.put(object, bytes, mode)
            }
            Fate::Denied => Err(Error::new(ErrorKind::Denied, "no")),
            Fate::Spoilt => self.inner.put(object, bytes.slice(..bytes.len() / 2), mode),
        }
    }

    fn writer(&self, object: &str) -> Result<Box<dyn ObjectWriter>> {
        self.inner.writer(object)
    }

    fn get(&self, object: &str, bytes_max: u64) -> Result<Bytes> {
        self.inner.get(object, bytes_max)
    }

    fn get_range(&self, object: &str, range: Range<u64>) -> Result<Bytes> {
        self.inner.get_range(object, range)
    }

    fn stat(&self, object: &str) -> Result<Option<ObjectMeta>> {
        self.inner.stat(object)
    }

    fn list(&self, prefix: &str, depth: Depth) -> Result<Vec<ObjectEntry>> {
        self.inner.list(prefix, depth)
    }

    fn delete(&self, object: &str) -> Result<()> {
        self.inner.delete(object)
    }

    fn conditions(&self) -> Result<Conditions> {
        self.inner.conditions()
    }
}

fn put(repository: &Repository, object: &str, bytes: Vec<u8>) {
    repository.backend().put(object, bytes.into(), PutMode::Replace).unwrap();
}

#[test]
fn a_root_is_a_repository_once_it_was_made_one() {
    let backend = open(&BackendConfig::Memory).unwrap();
    assert_eq!(Repository::open(&backend).expect_err("none").kind(), ErrorKind::NotFound);
    Repository::open_or_create(&backend, &env()).unwrap();
    let made = backend.get(REPOSITORY, 1000).unwrap();
    Repository::open_or_create(&backend, &env()).unwrap();
    assert_eq!(backend.get(REPOSITORY, 1000).unwrap(), made);
    assert!(Repository::open(&backend).is_ok());
    let newer = br#"{"version":"2.0"}"#;
    backend.put(REPOSITORY, Bytes::from_static(newer), PutMode::Replace).unwrap();
    for error in [
        Repository::open(&backend).expect_err("newer"),
        Repository::open_or_create(&backend, &env()).expect_err("newer"),
    ] {
        assert_eq!(error.kind(), ErrorKind::NewerFormat);
        assert!(error.to_string().contains("upgrade"), "{error}");
    }
}

#[test]
fn the_first_commit_wins_and_says_so() {
    let repository = repository();
    let committed = commit(&repository, &config("b", 1, 1));
    assert!(matches!(committed, CommitOutcome::Committed));
    // The same attempt again, as after a lost answer.
    assert!(matches!(commit(&repository, &config("b", 1, 1)), CommitOutcome::Committed));
    match commit(&repository, &config("b", 2, 2)) {
        CommitOutcome::Refused(error) => assert_eq!(error.kind(), ErrorKind::Exists),
        outcome => panic!("{outcome:?}"),
    }
    let found = repository.config(&BackupId::new("b").unwrap()).unwrap();
    assert_eq!(found.expect("there").attempt, AttemptId([1; 16]));
}

#[test]
fn every_answer_to_a_commit_is_read_right() {
    let outcome = |fates: &[Fate]| commit(&Scripted::repository(fates), &config("b", 1, 1));
    for fates in [
        &[Fate::Stored][..],
        &[Fate::AnswerLost],
        &[Fate::Lost, Fate::Stored],
        &[Fate::Lost, Fate::AnswerLost],
    ] {
        assert!(matches!(outcome(fates), CommitOutcome::Committed), "{fates:?}");
    }
    for (fates, kind) in [
        (&[Fate::Raced][..], ErrorKind::Exists),
        (&[Fate::Lost, Fate::Raced], ErrorKind::Exists),
        (&[Fate::Denied], ErrorKind::Denied),
    ] {
        match outcome(fates) {
            CommitOutcome::Refused(error) => assert_eq!(error.kind(), kind, "{fates:?}"),
            outcome => panic!("{fates:?}: {outcome:?}"),
        }
    }
}

#[test]
fn a_commit_that_was_stored_wrong_is_none_and_its_id_is_free() {
    let repository = Scripted::repository(&[Fate::Spoilt, Fate::Stored]);
    match commit(&repository, &config("b", 1, 1)) {
        CommitOutcome::Refused(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
        outcome => panic!("{outcome:?}"),
    }
    assert!(matches!(commit(&repository, &config("b", 2, 2)), CommitOutcome::Committed));
}

#[test]
fn a_commit_that_nobody_answers_stays_unknown() {
    // The first put may be on its way still, so that the refusal of the second proves nothing.
    let repository = Scripted::repository(&[Fate::Lost, Fate::Denied]);
    assert!(matches!(commit(&repository, &config("b", 1, 1)), CommitOutcome::Unknown(_)));
}

#[test]
fn the_newest_backup_of_the_store_is_the_base() {
    let repository = repository();
    assert!(repository.backups_of([3; 16]).unwrap().is_empty());
    let other = Config { store_id: [4; 16], ..config("other", 9, 99) };
    for config in [config("a", 1, 10), config("b", 2, 30), config("c", 3, 20), other] {
        assert!(matches!(commit(&repository, &config), CommitOutcome::Committed));
    }
    put(&repository, "damaged/backup_config.json", b"{}".to_vec());
    put(&repository, "unfinished/node1/backup-0.jsonl", b"{}".to_vec());
    let backups = repository.backups_of([3; 16]).unwrap();
    let ids: Vec<&str> = backups.iter().map(|config| config.id.as_str()).collect();
    assert_eq!(ids, ["b", "c", "a"]);
    assert!(repository.first_readable(backups).unwrap().is_none(), "their parts are missing");
}

#[test]
fn condemned_lists_add_up_and_a_damaged_one_stops_everything() {
    let repository = repository();
    assert!(repository.condemned().unwrap().is_empty());
    for number in 1..=2 {
        let list = Condemned::new(vec![ChunkId([number; 16]), ChunkId([9; 16])]);
        put(&repository, &format!(".prune/{number}.json"), encode("x", &list).unwrap());
    }
    let condemned: Vec<ChunkId> = repository.condemned().unwrap().into_iter().collect();
    assert_eq!(condemned, [1, 2, 9].map(|number| ChunkId([number; 16])));
    put(&repository, ".prune/3.json", b"[]".to_vec());
    let error = repository.condemned().expect_err("it may name any chunk");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(".prune/3.json"), "{error}");
}

#[test]
fn only_whole_chunks_are_present_however_many_are_asked_for() {
    let repository = repository();
    let chunk = |number: u8, length| Chunk {
        id: ChunkId([number; 16]),
        codec: Codec::None,
        length,
        frames: Vec::new(),
    };
    put(&repository, &chunk(1, 3).id.object(), b"abc".to_vec());
    put(&repository, &chunk(2, 3).id.object(), b"cut".to_vec());
    let few = [chunk(1, 3), chunk(2, 4), chunk(3, 3)];
    let many: Vec<Chunk> = few.iter().cloned().chain((4..40).map(|n| chunk(n, 1))).collect();
    for asked in [&few[..], &many] {
        let present: Vec<ChunkId> = repository.present(asked).unwrap().into_iter().collect();
        assert_eq!(present, [ChunkId([1; 16])], "{}", asked.len());
    }
}

#[test]
fn a_copied_chunk_equals_the_first() {
    let repository = repository();
    let bytes: Vec<u8> = (0..=250).cycle().take(2 * PART_BYTES + 77).collect();
    let chunk = Chunk {
        id: ChunkId([1; 16]),
        codec: Codec::None,
        length: bytes.len() as u64,
        frames: Vec::new(),
    };
    put(&repository, &chunk.id.object(), bytes.clone());
    let copy = ChunkId([2; 16]);
    repository.copy_chunk(&chunk, copy).unwrap();
    assert!(repository.backend().get(&copy.object(), 1 << 30).unwrap() == bytes);
    let longer = Chunk { length: chunk.length + 1, ..chunk };
    let failed = ChunkId([3; 16]);
    assert!(repository.copy_chunk(&longer, failed).is_err());
    assert_eq!(repository.backend().stat(&failed.object()).unwrap(), None);
}

#[test]
fn of_all_who_claim_the_chunks_of_an_attempt_the_first_has_them_for_ever() {
    let (id, owner) = (BackupId::new("b").unwrap(), AttemptId([1; 16]));
    let [first, second] = [2, 3].map(|number| AttemptId([number; 16]));
    let open = repository();
    assert!(open.claim(&id, owner, first).unwrap());
    assert!(!open.claim(&id, owner, second).unwrap());
    assert!(!open.claim(&id, owner, owner).unwrap());
    assert!(open.claim(&id, owner, first).unwrap(), "an answer that was lost changes nothing");
    assert!(open.claim(&id, first, second).unwrap(), "each attempt has a claim of its own");

    let lost = Scripted::repository(&[Fate::AnswerLost, Fate::Stored]);
    assert!(lost.claim(&id, owner, first).is_err(), "nobody knows");
    assert!(!lost.claim(&id, owner, second).unwrap());
}
