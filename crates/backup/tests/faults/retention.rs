//! Deletes and prunes, cut off at every request, beside backups that share chunks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use siltstone_backup::{
    api::{self, Backups, Listed},
    backend::{self, Backend, BackendConfig},
    cancel::Cancel,
    delete::{Damaged, delete},
    error::{ErrorKind, Result},
    job::Job,
    progress::Progress,
    prune::{PruneOptions, prune},
};
use siltstone_io::env::Env;
use siltstone_loopback::s3::{Act, Operation, Rule, S3};
use siltstone_lsm::{options::Durability, store::Store};

use crate::{
    site::{assert_error, bucket, check, config, plain},
    support::{Rows, content, fill, os_store},
};

type Contents = BTreeMap<String, BTreeMap<String, Rows>>;

/// Longer than a chunk is condemned before it is removed.
const GRACE: Duration = Duration::from_hours(49);

fn prune_once(env: &Env, backend: &Arc<dyn Backend>, last: Option<u32>) -> Result<()> {
    let mut options = PruneOptions::default();
    options.policy.last = last;
    let (cancel, progress) = (&Cancel::new(), &Progress::new());
    let job = Job { clock: &*env.clock, entropy: &*env.entropy, cancel, progress };
    prune(job, backend, &options).map(drop)
}

/// Three backups, the later ones on chunks of the first, a condemned list that is ripe, and objects
/// that are nobody's business.
fn repository(store: &Store, s3: &S3) -> Contents {
    let backend = bucket(s3);
    let birds = store.tree("birds", None).unwrap();
    let mut contents = Contents::new();
    for round in 0..4_u32 {
        let id = format!("backup-{round}");
        for row in 0..40 {
            let key = format!("round-{round}-{row}");
            store.put(birds, key.as_bytes(), &[b'r'; 500], Durability::Buffered).unwrap();
        }
        let backups = Backups::new(store.clone()).unwrap();
        let made = backups.create(&backend, &id, plain(2)).unwrap().wait().unwrap();
        assert_eq!(made.progress.bytes_reused > 0, round > 0, "{made:?}");
        contents.insert(id, content(store));
        s3.advance(Duration::from_hours(1));
    }
    delete(&backend, "backup-1", Damaged::Refuse).unwrap();
    s3.advance(GRACE);
    prune_once(store.env(), &backend, None).unwrap();
    s3.advance(GRACE);
    contents.remove("backup-1");
    for name in [".chunks/notes", "README", "backup-0/notes.txt"] {
        s3.set_object(name, Some("not ours".into()));
    }
    contents
}

/// Every backup that is listed restores.
fn check_all(s3: &S3, contents: &Contents) -> usize {
    let backend = bucket(s3);
    let listed = api::list(&backend).unwrap();
    for listed in &listed {
        let Listed::Backup(config) = listed else { panic!("{listed:?}") };
        check(&backend, config.id.as_str(), &contents[config.id.as_str()]);
    }
    listed.len()
}

#[test]
fn fault_30_no_delete_or_prune_takes_what_a_backup_needs() {
    let folder = tempfile::tempdir().unwrap();
    let store = os_store(&folder.path().join("store"));
    fill(&store, 100);
    let s3 = S3::start().unwrap();
    let contents = repository(&store, &s3);
    assert_eq!(check_all(&s3, &contents), 3);

    // The one that all others were built on goes, and then a prune takes what only it had.
    let work = |s3: &S3| -> Result<()> {
        let backend = bucket(s3);
        delete(&backend, "backup-0", Damaged::Refuse)?;
        prune_once(store.env(), &backend, Some(1))
    };
    let whole = s3.copy().unwrap();
    work(&whole).unwrap();
    let requests = whole.requests();
    assert_eq!(check_all(&whole, &contents), 1);
    let deleted = whole.seen().iter().filter(|it| it.operation == Operation::Delete).count();
    assert!(requests > 20 && deleted > 3, "{requests} requests, {deleted} of them deletes");

    for after in 0..requests {
        let s3 = s3.copy().unwrap();
        s3.script(Rule::new(&[], Act::Refuse(403, "AccessDenied")).after(after as u64));
        let error = work(&s3).expect_err("it is cut off");
        assert_eq!(error.kind(), ErrorKind::Denied, "after {after}: {error}");
        s3.behave();
        let left = check_all(&s3, &contents);
        assert!((1..=3).contains(&left), "after {after}: {left}");
        // The next runs finish it, and leave what is not of this program.
        for _ in 0..3 {
            prune_once(store.env(), &bucket(&s3), Some(1)).unwrap();
            s3.advance(GRACE);
        }
        assert_eq!(check_all(&s3, &contents), 1, "after {after}");
        let names = s3.names();
        for name in [".chunks/notes", "README", "backup-0/notes.txt"] {
            assert!(names.iter().any(|it| it == name), "after {after}: {name} is gone");
        }
        let chunks = names.iter().filter(|it| it.starts_with(".chunks/")).count();
        let needed = api::find(&bucket(&s3), "backup-3").unwrap().totals.chunks;
        assert_eq!(chunks as u64, needed + 1, "after {after}: {names:?}"); // and the notes
    }

    // Another bucket is another place: nothing is found, made or removed.
    let mut other = config(&s3.url());
    "another-bucket".clone_into(&mut other.bucket);
    let other = backend::open(&BackendConfig::S3(other)).unwrap();
    let before = s3.names();
    delete(&other, "backup-3", Damaged::Refuse).expect_err("no such bucket");
    prune_once(store.env(), &other, Some(1)).expect_err("no such bucket");
    let backups = Backups::new(store).unwrap();
    let error = backups.create(&other, "lost", plain(2)).expect_err("no such bucket");
    assert_error(&error, error.kind(), &["another-bucket", "bucket"]);
    assert_eq!(s3.names(), before);
}
